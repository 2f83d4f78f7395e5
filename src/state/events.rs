//! What happened, one row per event, for `abide events`.

use rusqlite::params;

use super::{State, StateError, from_json, to_json};
use crate::report::Event;

/// How many events are kept.
const KEEP: i64 = 10_000;

impl State {
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
