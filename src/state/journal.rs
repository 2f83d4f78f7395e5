//! The journal of the run under way, and notifications that are owed.
//!
//! **Invariant:** an effect that may have happened has an intent on disk, and whatever it makes necessary (a reload, a restart, a
//! refresh) is on disk in the same transaction, until it is paid.

use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{
    Counts, RunResult, RunStart, State, StateError, StepRecord, Undertaken, history, inventory, resource,
    undertaken,
};
use crate::error::Problem;
use crate::resource::ResourceId;

/// An effect that is about to happen. It says what, never with which content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// Position of the step in the plan.
    pub step: u32,
    /// Position of the effect in the step.
    pub effect: u32,
    /// Which resource.
    pub resource: ResourceId,
    /// The kind of effect, such as `write-file`.
    pub verb: String,
    /// Path, unit, package, account or program.
    pub target: String,
    /// What was there before; of a program, the codes with which it ends well.
    pub before: String,
    /// Abide makes what was not there before.
    pub creates: bool,
}

/// Something that has to be told that something else changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notification {
    /// systemd has to read its unit files again.
    DaemonReload,
    /// A unit has to read its configuration again.
    Reload(String),
    /// A unit has to be restarted.
    Restart(String),
    /// A command has to be run.
    Refresh(ResourceId),
}

/// A notification that was not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Owed {
    /// What has to be told.
    pub notification: Notification,
    /// The resource that asked to be told.
    pub resource: ResourceId,
    /// The resource whose change is the reason.
    pub reason: ResourceId,
    /// Since when, seconds since the epoch.
    pub since: i64,
}

/// What became of effects; written in one transaction when they are on disk.
#[derive(Debug, Default)]
pub struct Finished {
    /// Step and effect, and whether it took place.
    pub effects: Vec<(u32, u32, bool)>,
    /// Steps that are over.
    pub steps: Vec<StepRecord>,
    /// Of these, the ones that removed what left the branch.
    pub pruned: Vec<ResourceId>,
    /// Of these, the ones that abide was to make and did not.
    pub not_created: Vec<ResourceId>,
    /// Notifications that are paid.
    pub paid: Vec<Notification>,
    /// Resources that did not change after all: this run owes nothing because of them.
    pub unchanged: Vec<ResourceId>,
}

/// A run that did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its number.
    pub run: i64,
    /// Effects that may have happened and were not confirmed, in order.
    pub pending: Vec<Intent>,
    /// Resources with at least one effect that is known to have taken place.
    pub touched: Vec<ResourceId>,
}

impl Notification {
    fn columns(&self) -> (&'static str, String) {
        match self {
            Notification::DaemonReload => ("daemon-reload", String::new()),
            Notification::Reload(unit) => ("reload", unit.clone()),
            Notification::Restart(unit) => ("restart", unit.clone()),
            Notification::Refresh(resource) => ("refresh", resource.to_string()),
        }
    }

    fn from_columns(verb: &str, target: String) -> Option<Notification> {
        match verb {
            "daemon-reload" => Some(Notification::DaemonReload),
            "reload" => Some(Notification::Reload(target)),
            "restart" => Some(Notification::Restart(target)),
            "refresh" => ResourceId::parse(&target).map(Notification::Refresh),
            _ => None,
        }
    }
}

impl std::fmt::Display for Notification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (verb, target) = self.columns();
        if target.is_empty() { f.write_str(verb) } else { write!(f, "{verb} {target}") }
    }
}

impl State {
    /// Opens a run. From here on only intents are waited for, and with them all that was written before: the rest comes to disk in the
    /// order in which it was written, at the latest by [`State::leave`]. A power cut that takes the end of it leaves an earlier moment of
    /// the same run, with effects that may have happened, and recovery finds out which did.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn begin(&mut self, start: &RunStart) -> Result<i64, StateError> {
        self.wait_for_disk(false)?;
        self.transaction(|transaction| history::insert(transaction, start))
    }

    /// Notes effects that are about to happen, of which resources, and what will be owed because of them.
    ///
    /// # Errors
    /// The state cannot be written; then nothing may be done.
    pub fn intend(
        &mut self,
        run: i64,
        intents: &[Intent],
        undertaken: &[Undertaken<'_>],
        owed: &[Owed],
        now: i64,
    ) -> Result<(), StateError> {
        self.wait_for_disk(true)?;
        let intended = self.transaction(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO intents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending')",
            )?;
            for intent in intents {
                let name = intent.resource.to_string();
                insert.execute(params![
                    run,
                    intent.step,
                    intent.effect,
                    name,
                    intent.verb,
                    intent.target,
                    intent.before
                ])?;
                if intent.creates {
                    inventory::mark_created(transaction, &intent.resource, now)?;
                }
            }
            undertaken.iter().try_for_each(|one| undertaken::insert(transaction, run, one, now))?;
            owed.iter().try_for_each(|owed| owe(transaction, run, owed))
        });
        self.wait_for_disk(false)?;
        intended
    }

    /// Notes what became of effects. Should a power cut take that, they are pending again.
    ///
    /// # Errors
    /// The state cannot be written; the effects stay pending.
    pub fn complete(&mut self, run: i64, finished: &Finished) -> Result<(), StateError> {
        self.transaction(|transaction| {
            let mut update = transaction.prepare_cached(
                "UPDATE intents SET state = ?4 WHERE run = ?1 AND step = ?2 AND effect = ?3",
            )?;
            for (step, effect, done) in &finished.effects {
                update.execute(params![run, step, effect, if *done { "done" } else { "failed" }])?;
            }
            finished.steps.iter().try_for_each(|step| history::insert_step(transaction, step))?;
            finished.pruned.iter().try_for_each(|resource| inventory::forget(transaction, resource))?;
            finished
                .not_created
                .iter()
                .try_for_each(|resource| inventory::unmark_created(transaction, resource))?;
            finished.paid.iter().try_for_each(|paid| pay(transaction, paid))?;
            finished.unchanged.iter().try_for_each(|resource| {
                undertaken::leave(transaction, run, resource)?;
                not_owed(transaction, run, resource)
            })
        })
    }

    /// Closes a run; its journal is not needed any more.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn finish(
        &mut self,
        run: i64,
        ended: i64,
        result: RunResult,
        counts: Counts,
        problem: Option<&Problem>,
    ) -> Result<(), StateError> {
        self.transaction(|transaction| {
            history::end(transaction, run, ended, result, counts, problem)?;
            transaction.execute("DELETE FROM intents WHERE run = ?1", [run])?;
            Ok(())
        })
    }

    /// Closes a run that died. What it is known to have done whole is in its history then.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn abandon(&mut self, run: i64, now: i64) -> Result<(), StateError> {
        self.transaction(|transaction| {
            undertaken::note_done(transaction, run)?;
            let changed = transaction.query_row(
                "SELECT count(*) FROM steps WHERE run = ?1 AND outcome = 'done'",
                [run],
                |row| row.get(0),
            )?;
            let counts = Counts { changed, ..Counts::default() };
            history::end(transaction, run, now, RunResult::Interrupted, counts, None)?;
            transaction.execute("DELETE FROM intents WHERE run = ?1", [run])?;
            Ok(())
        })
    }

    /// The run that did not end, if there is one.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn unfinished(&self) -> Result<Option<Unfinished>, StateError> {
        let read = || {
            let mut query = self
                .connection
                .prepare_cached("SELECT id FROM runs WHERE ended IS NULL ORDER BY id LIMIT 1")?;
            let Some(run) = query.query_row([], |row| row.get::<_, i64>(0)).optional()? else {
                return Ok(None);
            };
            let mut pending = Vec::new();
            let mut touched = Vec::new();
            let mut query = self.connection.prepare_cached(
                "SELECT step, effect, resource, verb, target, before, state FROM intents WHERE run = ?1 ORDER BY step, effect",
            )?;
            let mut rows = query.query([run])?;
            while let Some(row) = rows.next()? {
                let intent = Intent {
                    step: row.get(0)?,
                    effect: row.get(1)?,
                    resource: resource(row, 2)?,
                    verb: row.get(3)?,
                    target: row.get(4)?,
                    before: row.get(5)?,
                    creates: false,
                };
                match row.get_ref(6)?.as_str()? {
                    "pending" => pending.push(intent),
                    "done" => touched.push(intent.resource),
                    _ => {}
                }
            }
            touched.dedup();
            Ok(Some(Unfinished { run, pending, touched }))
        };
        self.sql(read())
    }

    /// Everything that is owed, sorted.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn owed(&self) -> Result<Vec<Owed>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(
                "SELECT resource, verb, target, reason, since FROM owed ORDER BY verb, target, resource, reason",
            )?;
            let rows = query.query_map([], |row| {
                let verb: String = row.get(1)?;
                let notification = Notification::from_columns(&verb, row.get(2)?).ok_or_else(|| {
                    let reason = format!("`{verb}` is no notification");
                    rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, reason.into())
                })?;
                Ok(Owed {
                    notification,
                    resource: resource(row, 0)?,
                    reason: resource(row, 3)?,
                    since: row.get(4)?,
                })
            })?;
            rows.collect()
        };
        self.sql(read())
    }
}

pub(super) fn owe(transaction: &Transaction<'_>, run: i64, owed: &Owed) -> rusqlite::Result<()> {
    let (verb, target) = owed.notification.columns();
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO owed (resource, verb, target, reason, since, run) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![owed.resource.to_string(), verb, target, owed.reason.to_string(), owed.since, run])?;
    Ok(())
}

/// A restart also pays a reload of the same unit.
pub(super) fn pay(transaction: &Transaction<'_>, paid: &Notification) -> rusqlite::Result<()> {
    let (verb, target) = paid.columns();
    let mut delete = transaction.prepare_cached("DELETE FROM owed WHERE verb = ?1 AND target = ?2")?;
    delete.execute(params![verb, target])?;
    if verb == "restart" {
        delete.execute(params!["reload", target])?;
    }
    Ok(())
}

/// What earlier runs owe stays owed.
fn not_owed(transaction: &Transaction<'_>, run: i64, reason: &ResourceId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM owed WHERE reason = ?1 AND run = ?2")?
        .execute(params![reason.to_string(), run])?;
    Ok(())
}
