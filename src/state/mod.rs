//! The converger's memory: one SQLite database under `/var/lib/abide`, root only.
//!
//! It holds the high-water mark, the journal of the run under way, owed notifications, the inventory of what abide created,
//! the history of runs and their events, the generations and which of them is on trial or pinned, and whether the host is suspended.
//!
//! **Invariant:** what was acknowledged is on disk (`synchronous=FULL`), and a database that cannot be read is an error, never an
//! empty start.

mod copy;
pub mod error;
pub mod events;
pub mod facts;
pub mod generations;
pub mod health;
pub mod history;
pub mod inventory;
pub mod journal;
mod open;
mod rebuild;
mod returning;
mod schema;
pub mod undertaken;

pub use error::StateError;
pub use events::Told;
pub use facts::{Ahead, Beginning, Mark, News, Reboot, Suspension, TimeSeen};
pub use generations::{Generation, LostRemote, Pin, Standing, Term, Trial};
pub use health::{Watch, Watches};
pub use history::{Cause, Counts, Run, RunResult, RunStart, StepRecord};
pub use inventory::Entry;
pub use journal::{Finished, Intent, Notification, Owed, Unfinished};
pub use rebuild::{Rebuilt, rebuild};
pub use returning::return_to_kept;
pub use undertaken::{Undertaken, Untold};

use crate::failpoint::reach;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// The open database.
#[derive(Debug)]
pub struct State {
    connection: Connection,
    path: PathBuf,
}

impl State {
    /// Makes folder and file where this is the first start, so that the folder's lock can be taken before the state is opened: opening
    /// changes the tables where another version of abide wrote them, and that one may be in the middle of a run.
    ///
    /// # Errors
    /// Others could have changed it, it was there once and is gone, or the disk is full.
    pub fn prepare(folder: &Path) -> Result<(), StateError> {
        open::prepare(folder).map(drop)
    }

    /// Opens the state, and creates it in a new or empty folder.
    ///
    /// # Errors
    /// Others could have changed it, it is damaged, it was there once and is gone, or the disk is full.
    pub fn open(folder: &Path) -> Result<State, StateError> {
        let path = open::prepare(folder)?;
        let mut state = State { connection: open::connect(&path, true)?, path };
        open::migrate(&mut state, folder)?;
        Ok(state)
    }

    /// Opens the state for reading only; `None` when this host has none yet.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn inspect(folder: &Path) -> Result<Option<State>, StateError> {
        let Some(path) = open::find(folder)? else { return Ok(None) };
        let state = State { connection: open::connect(&path, false)?, path };
        open::check_version(&state)?;
        Ok(Some(state))
    }

    /// Reads every page and compares the indexes with their tables. Takes some milliseconds for each megabyte; done when the
    /// last run did not end as it should.
    ///
    /// # Errors
    /// The database is damaged.
    pub fn check(&self) -> Result<(), StateError> {
        let answer: String =
            self.sql(self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        if answer == "ok" { Ok(()) } else { Err(self.damaged(answer)) }
    }

    /// Ends the use of the state at the end of a process; all that was written is on disk when this returns. Where nothing was written,
    /// SQLite's two helper files stay for the next process, because making and removing them takes longer than a run that finds
    /// nothing to do.
    ///
    /// # Errors
    /// What was written cannot be brought to disk.
    pub fn leave(self) -> Result<(), StateError> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        if std::fs::metadata(&log).is_ok_and(|log| log.len() == 0) {
            // The system closes what it holds when the process ends.
            std::mem::forget(self.connection);
            return Ok(());
        }
        // Closing brings the log into the database, unless somebody reads it at this moment.
        reach("state: before it is left");
        let synced = std::fs::File::open(&log).and_then(|log| log.sync_data());
        match synced {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(open::io(&log, source)),
            _ => Ok(()),
        }
    }

    /// Changes whenever another process changes the state, and only then.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn changes_of_others(&self) -> Result<i64, StateError> {
        // SQLite's documentation of this pragma: the same connection sees another number once another one has committed.
        self.sql(self.connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    /// Whether each transaction waits until it is on disk, and all before it.
    fn wait_for_disk(&self, wait: bool) -> Result<(), StateError> {
        let level = if wait { "FULL" } else { "NORMAL" };
        self.sql(self.connection.pragma_update(None, "synchronous", level))
    }

    /// Tells SQLite's errors apart.
    fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T, StateError> {
        result.map_err(|source| open::explain(&self.path, source))
    }

    fn damaged(&self, reason: impl Into<String>) -> StateError {
        StateError::Damaged { path: self.path.clone(), reason: reason.into() }
    }

    /// Runs `work` in one transaction, which is on disk when this returns, but for what [`State::begin`] says.
    #[track_caller]
    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let path = &self.path;
        let run = || {
            let transaction =
                self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        reach("state: before");
        let result = run().map_err(|source| open::explain(path, source));
        reach("state: written");
        result
    }
}

/// JSON of our own types for a column; it cannot fail for types without maps keyed by structures.
fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Reads a JSON column.
fn from_json<T: serde::de::DeserializeOwned>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Reads a JSON column that may be NULL.
fn from_json_or_null<T: serde::de::DeserializeOwned>(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => from_json(row, column).map(Some),
    }
}

/// Reads the name of a resource.
fn resource(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<crate::resource::ResourceId> {
    let text = row.get_ref(column)?.as_str()?;
    crate::resource::ResourceId::parse(text).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            format!("`{}` is not the name of a resource", crate::error::escaped(text)).into(),
        )
    })
}

#[cfg(test)]
mod migrations;
#[cfg(test)]
mod tests;
