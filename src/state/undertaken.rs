//! What a run has begun to change, until the inventory has it and it was told.
//!
//! **Invariant:** a resource is here with its declaration before it is changed, and leaves only when it turned out not to be changed,
//! or with the transaction that tells of it. So no death leaves something on the host that abide made and knows nothing of.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{
    State, StateError, StepRecord, from_json, from_json_or_null, history, inventory, resource, to_json,
};
use crate::apply::StepOutcome;
use crate::resource::{Declared, Origin, ResourceId};
use crate::trust::Revision;

/// A resource that is about to be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Undertaken<'a> {
    /// Its place in the run's plan.
    pub position: u32,
    /// Which.
    pub resource: &'a ResourceId,
    /// What will have been done.
    pub summary: &'a str,
    /// How many effects that takes.
    pub effects: u32,
    /// Where it is declared, or was last.
    pub origin: &'a Origin,
    /// Its declaration; `None` where it leaves the branch.
    pub declared: Option<&'a Declared>,
}

/// A change that was made and that nobody told of.
#[derive(Debug, Clone, PartialEq)]
pub struct Untold {
    /// The run that made it.
    pub run: i64,
    /// What that run applied.
    pub revision: Option<Revision>,
    /// Of which resource.
    pub resource: ResourceId,
    /// What was done.
    pub summary: String,
}

impl State {
    /// Takes what dead runs have undertaken into the inventory: for whoever has recovered them, since what turned out not to be changed
    /// has left by then, and a declaration that was never brought about is not what is on the host. What they are known to have done and did not tell; `None` when they
    /// left nothing behind, which is when nothing is written.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub fn settle(&mut self) -> Result<Option<Vec<Untold>>, StateError> {
        let left =
            self.connection.query_row("SELECT EXISTS (SELECT * FROM undertaken)", [], |row| row.get(0));
        if !self.sql(left)? {
            return Ok(None);
        }
        self.transaction(|transaction| {
            promote(transaction)?;
            inventory::drop_unused_revisions(transaction)
        })?;
        self.untold().map(Some)
    }

    /// Changes that were made whole, and that nobody told of.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn untold(&self) -> Result<Vec<Untold>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(
                "SELECT u.run, r.revision, u.resource, u.summary FROM undertaken u JOIN runs r ON r.id = u.run
                 JOIN steps s ON s.run = u.run AND s.position = u.position
                 WHERE s.outcome = 'done' AND r.ended IS NOT NULL ORDER BY u.run, u.position",
            )?;
            let rows = query.query_map([], |row| {
                Ok(Untold {
                    run: row.get(0)?,
                    revision: from_json_or_null(row, 1)?,
                    resource: resource(row, 2)?,
                    summary: row.get(3)?,
                })
            })?;
            rows.collect()
        };
        self.sql(read())
    }

    /// Resources that are declared and that a run has begun to change.
    pub(super) fn begun(&self) -> Result<std::collections::HashSet<ResourceId>, StateError> {
        let read = || {
            let mut query = self
                .connection
                .prepare_cached("SELECT resource FROM undertaken WHERE declared IS NOT NULL")?;
            query.query_map([], |row| resource(row, 0))?.collect()
        };
        self.sql(read())
    }
}

/// Notes a resource before its first effect.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    run: i64,
    one: &Undertaken<'_>,
    now: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO undertaken VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            run,
            one.resource.to_string(),
            one.position,
            one.summary,
            one.effects,
            one.declared.map(inventory::without_content),
            one.declared.map(inventory::digest),
            to_json(one.origin)?,
            now
        ])?;
    Ok(())
}

/// Takes that back: it was not changed.
pub(super) fn leave(transaction: &Transaction<'_>, run: i64, resource: &ResourceId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM undertaken WHERE run = ?1 AND resource = ?2")?
        .execute(params![run, resource.to_string()])?;
    Ok(())
}

/// Everything is told.
pub(super) fn clear(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM undertaken", []).map(drop)
}

/// Takes what was undertaken into the inventory. Doing it again changes nothing.
pub(super) fn promote(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let runs: Vec<i64> = {
        let mut query = transaction
            .prepare_cached("SELECT DISTINCT run FROM undertaken WHERE declared IS NOT NULL ORDER BY run")?;
        query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
    };
    for run in runs {
        let read = |row: &rusqlite::Row<'_>| from_json_or_null::<Revision>(row, 0);
        let revision =
            transaction.query_row("SELECT revision FROM runs WHERE id = ?1", [run], read).optional()?;
        // A run without a revision declares nothing.
        let Some(revision) = revision.flatten() else { continue };
        transaction.execute(
            "INSERT INTO inventory SELECT resource, declared, digest, origin, ?2, 0, since, since FROM undertaken
             WHERE run = ?1 AND declared IS NOT NULL
             ON CONFLICT DO UPDATE SET declared = excluded.declared, digest = excluded.digest,
             origin = excluded.origin, revision = iif(digest = excluded.digest, revision, excluded.revision),
             last = excluded.last",
            params![run, inventory::revision_row(transaction, &revision)?],
        )?;
    }
    Ok(())
}

/// Adds to the history of a dead run what it is known to have done whole and did not note any more.
pub(super) fn note_done(transaction: &Transaction<'_>, run: i64) -> rusqlite::Result<()> {
    let records: Vec<StepRecord> = {
        let mut query = transaction.prepare_cached(
            "SELECT u.position, u.resource, u.origin, u.summary,
             coalesce((SELECT before FROM intents i WHERE i.run = u.run AND i.step = u.position AND i.effect = 0
                       AND i.verb IN ('write-file', 'make-directory', 'make-symlink', 'set-attributes', 'remove')), '')
             FROM undertaken u WHERE u.run = ?1
             AND NOT EXISTS (SELECT * FROM steps s WHERE s.run = u.run AND s.position = u.position)
             AND u.effects = (SELECT count(*) FROM intents i
                              WHERE i.run = u.run AND i.step = u.position AND i.state = 'done')",
        )?;
        let rows = query.query_map([run], |row| {
            let origin: Origin = from_json(row, 2)?;
            Ok(StepRecord {
                run,
                position: row.get(0)?,
                resource: resource(row, 1)?,
                origin: origin.to_string(),
                summary: row.get(3)?,
                outcome: StepOutcome::Done,
                problem: None,
                before: row.get(4)?,
                after: String::new(),
                took: 0,
            })
        })?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    records.iter().try_for_each(|record| history::insert_step(transaction, record))
}
