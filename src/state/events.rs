//! What happened, one row per transition, for `abide events`.

use rusqlite::params;
use serde::Serialize;

use super::{State, StateError, resource};
use crate::resource::ResourceId;

/// How many events are kept.
const KEEP: i64 = 10_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Seconds since the epoch.
    pub time: i64,
    /// A word or an error code that tells what kind of event it is.
    pub code: String,
    /// One line.
    pub message: String,
    /// The run it belongs to.
    pub run: Option<i64>,
    /// The resource it is about.
    pub resource: Option<ResourceId>,
}

impl State {
    /// Adds an event.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn add_event(&mut self, event: &Event) -> Result<(), StateError> {
        self.transaction(|transaction| insert(transaction, event))
    }

    /// Events with a number above `after`, oldest first, at most the `limit` newest of them, each with its number.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn events(&self, after: i64, limit: u32) -> Result<Vec<(i64, Event)>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(
                "SELECT id, time, code, message, run, resource FROM
                 (SELECT * FROM events WHERE id > ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id",
            )?;
            let rows = query.query_map(params![after, limit], |row| {
                let resource = match row.get_ref(5)? {
                    rusqlite::types::ValueRef::Null => None,
                    _ => Some(resource(row, 5)?),
                };
                let event = Event {
                    time: row.get(1)?,
                    code: row.get(2)?,
                    message: row.get(3)?,
                    run: row.get(4)?,
                    resource,
                };
                Ok((row.get(0)?, event))
            })?;
            rows.collect()
        };
        self.sql(read())
    }
}

/// Adds an event and drops those that are too old.
pub(super) fn insert(transaction: &rusqlite::Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    let resource = event.resource.as_ref().map(ToString::to_string);
    transaction
        .prepare_cached(
            "INSERT INTO events (time, code, message, run, resource) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![event.time, event.code, event.message, event.run, resource])?;
    let oldest = transaction.last_insert_rowid() - KEEP;
    transaction.prepare_cached("DELETE FROM events WHERE id <= ?1")?.execute([oldest])?;
    Ok(())
}
