//! What happened, one row per event, for `abide events`.

use rusqlite::params;
use std::collections::BTreeMap;

use super::{State, StateError, from_json, to_json};
use crate::report::Event;

/// How many events are kept.
const KEEP: i64 = 10_000;

/// What a run has told and the state does not know yet: events, and the conditions that they are about.
///
/// They are written together, so that no death can keep one without the other: a condition that is known is told no more.
#[derive(Debug, Default)]
pub struct Told {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// By subject: its state, and since when, seconds since the epoch. An empty state is that of what there is nothing to tell about.
    pub conditions: BTreeMap<String, (String, i64)>,
    /// Everything that was undertaken so far is in the inventory, and among the events.
    pub concluded: bool,
}

impl Told {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.conditions.is_empty() && !self.concluded
    }

    pub(super) fn write(&self, transaction: &rusqlite::Transaction<'_>) -> rusqlite::Result<()> {
        for (subject, (state, since)) in &self.conditions {
            // What is as it should be needs no row, or each resource that ever failed would keep one.
            if state.is_empty() {
                transaction.execute("DELETE FROM conditions WHERE subject = ?1", [subject])?;
                continue;
            }
            transaction
                .prepare_cached(
                    "INSERT INTO conditions VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET state = excluded.state, since = excluded.since",
                )?
                .execute(params![subject, state, since])?;
        }
        if self.concluded {
            super::undertaken::clear(transaction)?;
        }
        self.events.iter().try_for_each(|event| insert(transaction, event))
    }
}

impl State {
    /// Writes what was told, all of it or nothing.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn tell(&mut self, told: &Told) -> Result<(), StateError> {
        if told.is_empty() {
            return Ok(());
        }
        self.transaction(|transaction| told.write(transaction))
    }

    /// Adds events, together.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn add_events(&mut self, events: &[Event]) -> Result<(), StateError> {
        if events.is_empty() {
            return Ok(());
        }
        self.transaction(|transaction| events.iter().try_for_each(|event| insert(transaction, event)))
    }

    /// Events with a number above `after`, oldest first, at most the `limit` newest of them, each with its number.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn events(&self, after: i64, limit: u32) -> Result<Vec<(i64, Event)>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(
                "SELECT id, event FROM
                 (SELECT * FROM events WHERE id > ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
            )?;
            let rows = query.query_map(params![after, limit], |row| Ok((row.get(0)?, from_json(row, 1)?)))?;
            rows.collect()
        };
        self.sql(read())
    }
}

/// Adds an event and drops those that are too old.
pub(super) fn insert(transaction: &rusqlite::Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT INTO events (event) VALUES (?1)")?.execute([to_json(event)?])?;
    let oldest = transaction.last_insert_rowid() - KEEP;
    transaction.prepare_cached("DELETE FROM events WHERE id <= ?1")?.execute([oldest])?;
    Ok(())
}
