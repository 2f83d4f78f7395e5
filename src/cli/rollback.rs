//! `abide rollback`: return to an earlier generation, and keep it until the branch has something newer.

use clap::Args;

use super::suspend::who;
use super::sync::{self, converge_by_hand};
use super::{Answer, FAILED, Global, HeldState, OK, need_root};
use crate::converge::{Request, Site};
use crate::error::{Code, Explain, Problem};
use crate::report::{EventKind, journal};
use crate::state::{Generation, Pin, Standing, State};
use crate::system::clock;

/// Returns to an earlier generation, and keeps it until a newer commit arrives or `abide resume`.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 the host is at that generation, 2 not all of it.\n\nExample:\n  abide history\n  abide rollback\n  \
    abide rollback 12 --reason 'checkout is slow since 13'\n  abide resume"
)]
pub struct Arguments {
    /// Number of the generation, as `abide history` shows it; without it, the last good one before the one in force.
    generation: Option<i64>,
    /// Why; shown in the status and the journal.
    #[arg(short, long, default_value = "asked for by an operator")]
    reason: String,
    /// Show what would change; change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Why there is no rollback.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// E840: there is no such generation.
    #[error("there is no generation {id} on this host")]
    Unknown {
        /// What was asked for.
        id: i64,
    },
    /// E841: it was not good.
    #[error("generation {id} was never found good on this host")]
    NotGood {
        /// What was asked for.
        id: i64,
    },
    /// E842: there is nothing to return to.
    #[error("there is no good generation before the one in force")]
    Nothing,
    /// E843: applying is suspended.
    #[error("applying is suspended by {by}: {reason}")]
    Suspended {
        /// Who suspended it.
        by: String,
        /// Why.
        reason: String,
    },
    /// E845: an operator wants it; the reason that is kept with it.
    #[error("{reason}")]
    Asked {
        /// In the operator's words.
        reason: String,
    },
    /// E844: it is in force.
    #[error("generation {id} is in force")]
    InForce {
        /// What was asked for.
        id: i64,
    },
}

impl Explain for RollbackError {
    fn code(&self) -> Code {
        Code(match self {
            RollbackError::Unknown { .. } => "E840",
            RollbackError::NotGood { .. } => "E841",
            RollbackError::Nothing => "E842",
            RollbackError::Suspended { .. } => "E843",
            RollbackError::InForce { .. } => "E844",
            RollbackError::Asked { .. } => "E845",
        })
    }

    fn remedy(&self) -> String {
        match self {
            RollbackError::Unknown { .. } | RollbackError::NotGood { .. } => {
                "`abide history` lists the generations; choose one that is marked as good".into()
            }
            RollbackError::Nothing => "revert the commit on the branch instead".into(),
            RollbackError::Suspended { .. } => "`abide resume` first".into(),
            RollbackError::Asked { .. } => "`abide resume` follows the branch again".into(),
            RollbackError::InForce { .. } => "choose an earlier one; `abide history` lists them".into(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// There is no such generation, or the run could not begin.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    need_root("a rollback")?;
    journal::open();
    let paths = global.paths();
    let site = Site::load(&paths)?;
    let sandbox = sync::confine(&site, true)?;
    let pin = pin(&mut HeldState::open(global)?, arguments)?;
    let (pin, dry_run) = (arguments.dry_run.then_some(pin), arguments.dry_run);
    let request = Request { dry_run, pin, sandbox: Some(sandbox), ..Request::default() };
    let status = converge_by_hand(global, &site, &request, false)?;
    let whole = status.problems.is_empty() && status.differing.is_empty();
    Ok(if whole || dry_run { OK } else { FAILED })
}

/// What is to be kept from now on; on record already, unless it is only to be shown.
fn pin(held: &mut HeldState, arguments: &Arguments) -> Result<Pin, Problem> {
    let state = &mut held.state;
    let now = clock::now();
    if let Some(suspension) = state.suspension()?.filter(|suspension| suspension.holds(now)) {
        return Err(RollbackError::Suspended { by: suspension.by, reason: suspension.reason }.into());
    }
    let chosen = choose(state, arguments.generation)?;
    let mark = state.high_water()?.map(|mark| mark.commit);
    let reason = Problem::from(RollbackError::Asked { reason: arguments.reason.clone() });
    let pin = Pin {
        generation: chosen.id,
        commit: chosen.revision.commit.clone(),
        from: mark.unwrap_or_default(),
        reason,
        by: who(),
        since: now,
        whole: false,
        lost_remote: None,
    };
    if arguments.dry_run {
        return Ok(pin);
    }
    let given_up = state.newest_generation()?.filter(|newest| newest.revision.commit == pin.from);
    state.pin(given_up.map(|newest| newest.id).filter(|newest| *newest != chosen.id), &pin)?;
    let message =
        format!("{} returns to generation {}, {}: {}", pin.by, chosen.id, chosen.revision, arguments.reason);
    held.tell(EventKind::RolledBack, message, now)?;
    Ok(pin)
}

/// The generation that is meant.
fn choose(state: &State, wanted: Option<i64>) -> Result<Generation, Problem> {
    let pinned = state.pinned()?.map(|pin| pin.generation);
    let in_force = pinned.or(state.newest_generation()?.map(|newest| newest.id));
    let chosen = match wanted {
        Some(id) => state.generation(id)?.ok_or(RollbackError::Unknown { id })?,
        None => state.good_before(in_force.unwrap_or(0))?.ok_or(RollbackError::Nothing)?,
    };
    if in_force == Some(chosen.id) {
        return Err(RollbackError::InForce { id: chosen.id }.into());
    }
    if chosen.standing != Standing::Good {
        return Err(RollbackError::NotGood { id: chosen.id }.into());
    }
    Ok(chosen)
}
