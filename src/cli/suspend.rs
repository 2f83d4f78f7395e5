//! `abide suspend` and `abide resume`: pause applying. Polling and proving go on.

use clap::Args;

use super::terminal::{Style, paint, talk};
use super::{Answer, Global, HeldState, OK};
use crate::config::Span;
use crate::error::Problem;
use crate::report::status::{AgentStatus, load};
use crate::report::{EventKind, journal};
use crate::state::{Pin, Suspension};
use crate::system::{clock, process_exists, signal_reload};

/// Pauses applying; fetching and verifying go on.
#[derive(Args)]
#[command(after_help = "Example:\n  abide suspend --reason 'debugging nginx with Ada' --for 2h")]
pub struct SuspendArguments {
    /// Why; shown in the status and the journal.
    #[arg(short, long)]
    reason: String,
    /// Ends by itself after this time, such as `30m`, `2h`, `1d`.
    #[arg(long = "for", value_name = "TIME", value_parser = Span::parse)]
    length: Option<Span>,
}

/// Ends a pause, or the keeping of an earlier generation.
#[derive(Args)]
#[command(after_help = "Example:\n  abide resume")]
pub struct ResumeArguments {}

/// Runs `abide suspend`.
///
/// # Errors
/// The state cannot be written.
pub fn suspend(global: &Global, arguments: &SuspendArguments) -> Answer {
    let now = clock::now();
    let suspension = Suspension {
        reason: arguments.reason.clone(),
        by: who(),
        since: now,
        until: arguments.length.map(|length| now.saturating_add_unsigned(length.seconds)),
    };
    let until = arguments.length.map_or("until `abide resume`".to_owned(), |length| format!("for {length}"));
    let message = format!("suspended by {} {until}: {}", suspension.by, suspension.reason);
    let mut held = held(global)?;
    suspend_until(&mut held, Some(&suspension), EventKind::Suspended, message, now)?;
    held.state.stop_terms(&clock::boot(), clock::since_boot())?;
    drop(held);
    wake(global);
    global.print(&suspension, || format!("{} applying is suspended {until}\n", paint("✓", Style::Good)));
    Ok(OK)
}

/// Runs `abide resume`.
///
/// # Errors
/// The state cannot be written.
pub fn resume(global: &Global, _arguments: &ResumeArguments) -> Answer {
    let now = clock::now();
    let mut held = held(global)?;
    let pin = unpin(&mut held, now)?;
    let former = suspend_until(&mut held, None, EventKind::Resumed, format!("resumed by {}", who()), now)?;
    drop(held);
    if former.is_none() && pin.is_none() {
        talk("applying was not suspended, and no earlier generation was kept");
    }
    wake(global);
    global.print(&former, || {
        let mut text = String::new();
        if let Some(pin) = &pin {
            let done =
                format!("{} generation {} is not kept any more", paint("✓", Style::Good), pin.generation);
            text.push_str(&format!("{done}: the branch is followed again\n"));
        }
        if former.is_some() || pin.is_none() {
            text.push_str(&format!("{} applying is resumed\n", paint("✓", Style::Good)));
        }
        text
    });
    Ok(OK)
}

/// The state, for a command that root gives.
fn held(global: &Global) -> Result<HeldState, Problem> {
    super::need_root("suspend and resume")?;
    journal::open();
    HeldState::open(global)
}

/// Follows the branch again, where an earlier generation was kept, also to a version of abide that did not work.
fn unpin(held: &mut HeldState, now: i64) -> Result<Option<Pin>, Problem> {
    if held.state.refused_upgrade()?.is_some() {
        held.state.refuse_upgrade(None)?;
    }
    let Some(pin) = held.state.pinned()? else { return Ok(None) };
    held.state.set_pin(None)?;
    held.tell(EventKind::RollbackEnded, format!("{} has the host follow its branch again", who()), now)?;
    Ok(Some(pin))
}

/// Suspends, or resumes with `None`; what was in force before.
fn suspend_until(
    held: &mut HeldState,
    suspension: Option<&Suspension>,
    kind: EventKind,
    message: String,
    now: i64,
) -> Result<Option<Suspension>, Problem> {
    let former = held.state.suspension()?;
    held.state.set_suspension(suspension)?;
    if suspension.is_some() || former.is_some() {
        held.tell(kind, message, now)?;
    }
    Ok(former)
}

/// Has the agent look at once: it shows the pause in the status, or heals what drifted meanwhile.
pub(super) fn wake(global: &Global) {
    let agent: AgentStatus = load(&global.paths().agent_status()).unwrap_or_default();
    if process_exists(agent.pid) && signal_reload(agent.pid).is_err() {
        talk("the agent could not be told; it will notice with its next check");
    }
}

/// Who gave the command: the person behind sudo, if there is one.
pub(super) fn who() -> String {
    ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .unwrap_or_else(|| "root".into())
}
