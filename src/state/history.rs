//! Runs and what they did to each resource, for `abide history` and `abide trace`.
//!
//! Only runs that changed something, failed, or took a new revision are here: a run that finds nothing to do writes nothing.

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{State, StateError, from_json, from_json_or_null, resource, to_json};
use crate::apply::StepOutcome;
use crate::error::Problem;
use crate::resource::ResourceId;
use crate::trust::Revision;

/// How many runs are kept.
const KEEP: i64 = 1_000;

/// How many steps of all runs together are kept: fewer runs, where each did much. That many take about ten megabytes.
const KEEP_STEPS: i64 = 50_000;

/// What started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The branch moved.
    Poll,
    /// The periodic check.
    Period,
    /// Something that abide watches was changed.
    Drift,
    /// A person.
    Operator,
    /// The start of the agent.
    Boot,
    /// A generation is on trial, and it is time to look at it.
    Trial,
    /// A health check is not good, and it is time to look at it again.
    Health,
}

impl Cause {
    /// Its word on the command line and in the status.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Poll => "poll",
            Cause::Period => "period",
            Cause::Drift => "drift",
            Cause::Operator => "operator",
            Cause::Boot => "boot",
            Cause::Trial => "trial",
            Cause::Health => "health",
        }
    }

    /// The cause that has this word.
    pub fn from_word(word: &str) -> Option<Cause> {
        let all = [
            Cause::Poll,
            Cause::Period,
            Cause::Drift,
            Cause::Operator,
            Cause::Boot,
            Cause::Trial,
            Cause::Health,
        ];
        all.into_iter().find(|cause| cause.word() == word)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// It is under way.
    Running,
    /// Everything is as declared.
    Succeeded,
    /// Some resources are not.
    Failed,
    /// It died, and the next start found it.
    Interrupted,
}

/// How many resources fared how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub changed: u32,
    pub failed: u32,
    pub skipped: u32,
    pub unchanged: u32,
}

/// What is known of a run when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStart {
    /// What started it.
    pub cause: Cause,
    /// What it applies.
    pub revision: Option<Revision>,
    /// When, seconds since the epoch.
    pub started: i64,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its number; a later run has a higher one, and none is used twice.
    pub id: i64,
    /// What started it.
    pub cause: Cause,
    /// What it applied.
    pub revision: Option<Revision>,
    /// Seconds since the epoch.
    pub started: i64,
    /// Seconds since the epoch.
    pub ended: Option<i64>,
    /// How it ended.
    pub result: RunResult,
    /// How its resources fared.
    pub counts: Counts,
    /// What kept the whole run from being done.
    pub problem: Option<Problem>,
}

/// What a run did to one resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRecord {
    /// The run.
    pub run: i64,
    /// Its place in the run's plan.
    pub position: u32,
    /// Which resource.
    pub resource: ResourceId,
    /// File and line that declared it.
    pub origin: String,
    /// What was done.
    pub summary: String,
    /// How it fared.
    pub outcome: StepOutcome,
    /// Why not.
    pub problem: Option<Problem>,
    /// What was there before; empty when that is not known.
    pub before: String,
    /// What is there now.
    pub after: String,
    /// Milliseconds.
    pub took: u64,
}

impl State {
    /// Keeps a run that ended without applying anything: it took a new revision, or it failed before it could change something.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn add_run(
        &mut self,
        start: &RunStart,
        ended: i64,
        counts: Counts,
        problem: Option<&Problem>,
    ) -> Result<i64, StateError> {
        let result =
            if problem.is_some() || counts.failed > 0 { RunResult::Failed } else { RunResult::Succeeded };
        self.transaction(|transaction| {
            let id = insert(transaction, start)?;
            end(transaction, id, ended, result, counts, problem)?;
            Ok(id)
        })
    }

    /// The newest runs, newest first.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn runs(&self, limit: u32) -> Result<Vec<Run>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(&format!("{RUN} ORDER BY id DESC LIMIT ?1"))?;
            query.query_map([limit], run)?.collect()
        };
        self.sql(read())
    }

    /// One run.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn run(&self, id: i64) -> Result<Option<Run>, StateError> {
        self.sql(self.connection.query_row(&format!("{RUN} WHERE id = ?1"), [id], run).optional())
    }

    /// What a run did, in its order.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn steps(&self, run: i64) -> Result<Vec<StepRecord>, StateError> {
        let read = || {
            let mut query =
                self.connection.prepare_cached(&format!("{STEP} WHERE run = ?1 ORDER BY position"))?;
            query.query_map([run], step)?.collect()
        };
        self.sql(read())
    }

    /// What happened to a resource, newest first.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn steps_of(&self, resource: &ResourceId, limit: u32) -> Result<Vec<StepRecord>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(&format!(
                "{STEP} WHERE resource = ?1 ORDER BY run DESC, position DESC LIMIT ?2"
            ))?;
            query.query_map(params![resource.to_string(), limit], step)?.collect()
        };
        self.sql(read())
    }
}

const RUN: &str = "SELECT id, cause, revision, started, ended, result, changed, failed, skipped, unchanged, problem FROM runs";

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        cause: from_json(row, 1)?,
        revision: from_json_or_null(row, 2)?,
        started: row.get(3)?,
        ended: row.get(4)?,
        result: from_json(row, 5)?,
        counts: Counts {
            changed: row.get(6)?,
            failed: row.get(7)?,
            skipped: row.get(8)?,
            unchanged: row.get(9)?,
        },
        problem: from_json_or_null(row, 10)?,
    })
}

const STEP: &str = "SELECT run, position, resource, origin, summary, outcome, because, problem, before, after, took FROM steps";

fn step(row: &Row<'_>) -> rusqlite::Result<StepRecord> {
    let outcome = match row.get_ref(5)?.as_str()? {
        "done" => StepOutcome::Done,
        "failed" => StepOutcome::Failed,
        "skipped" => StepOutcome::Skipped { because: resource(row, 6)? },
        "waiting" => StepOutcome::Waiting,
        _ => StepOutcome::Reported,
    };
    Ok(StepRecord {
        run: row.get(0)?,
        position: row.get(1)?,
        resource: resource(row, 2)?,
        origin: row.get(3)?,
        summary: row.get(4)?,
        outcome,
        problem: from_json_or_null(row, 7)?,
        before: row.get(8)?,
        after: row.get(9)?,
        took: row.get::<_, i64>(10)?.unsigned_abs(),
    })
}

/// Opens a run.
pub(super) fn insert(transaction: &rusqlite::Transaction<'_>, start: &RunStart) -> rusqlite::Result<i64> {
    let revision = start.revision.as_ref().map(to_json).transpose()?;
    transaction.execute(
        "INSERT INTO runs (cause, revision, started, result, changed, failed, skipped, unchanged)
         VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0)",
        params![to_json(&start.cause)?, revision, start.started, to_json(&RunResult::Running)?],
    )?;
    Ok(transaction.last_insert_rowid())
}

/// Closes a run and drops those that are too old.
pub(super) fn end(
    transaction: &rusqlite::Transaction<'_>,
    id: i64,
    ended: i64,
    result: RunResult,
    counts: Counts,
    problem: Option<&Problem>,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE runs SET ended = ?2, result = ?3, changed = ?4, failed = ?5, skipped = ?6, unchanged = ?7, problem = ?8
         WHERE id = ?1",
        params![
            id,
            ended,
            to_json(&result)?,
            counts.changed,
            counts.failed,
            counts.skipped,
            counts.unchanged,
            problem.map(to_json).transpose()?
        ],
    )?;
    transaction.execute("DELETE FROM runs WHERE id <= ?1", [id - KEEP])?;
    drop_large(transaction, id, KEEP_STEPS)
}

/// Drops the oldest runs while all together have more steps than `keep`; the run that ends now stays, however much it did.
pub(super) fn drop_large(
    transaction: &rusqlite::Transaction<'_>,
    id: i64,
    keep: i64,
) -> rusqlite::Result<()> {
    // The index is counted, which is small.
    let held: i64 = transaction.query_row("SELECT count(*) FROM steps", [], |row| row.get(0))?;
    if held > keep {
        transaction.execute(
            "DELETE FROM runs WHERE id < ?1 AND id NOT IN (SELECT run FROM undertaken)
             AND id <= (SELECT run FROM steps ORDER BY run DESC, position DESC LIMIT 1 OFFSET ?2)",
            [id, keep],
        )?;
    }
    Ok(())
}

/// Keeps what a run did to one resource.
pub(super) fn insert_step(
    transaction: &rusqlite::Transaction<'_>,
    step: &StepRecord,
) -> rusqlite::Result<()> {
    let (outcome, because) = match &step.outcome {
        StepOutcome::Done => ("done", None),
        StepOutcome::Failed => ("failed", None),
        StepOutcome::Skipped { because } => ("skipped", Some(because.to_string())),
        StepOutcome::Reported => ("reported", None),
        StepOutcome::Waiting => ("waiting", None),
    };
    transaction
        .prepare_cached("INSERT OR REPLACE INTO steps VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?
        .execute(params![
            step.run,
            step.position,
            step.resource.to_string(),
            step.origin,
            step.summary,
            outcome,
            because,
            step.problem.as_ref().map(to_json).transpose()?,
            step.before,
            step.after,
            i64::try_from(step.took).unwrap_or(i64::MAX),
        ])?;
    Ok(())
}
