//! Opening: who may have changed the folder, what is in it, which version it has.

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::rebuild::READY;
use super::{State, StateError, schema};
use crate::failpoint::reach;

pub(super) const DATABASE: &str = "state.sqlite";

/// Says that there was a database once: a database that vanished must not become an empty start, because the high-water mark
/// would vanish with it.
const MARKER: &str = "state.created";

/// How long to wait for another process of ours that is writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes folder and file where this is the first start.
pub(super) fn prepare(folder: &Path) -> Result<PathBuf, StateError> {
    if let Err(source) = DirBuilder::new().mode(0o700).create(folder)
        && source.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(io(folder, source));
    }
    if let Some(path) = find(folder)? {
        return Ok(path);
    }
    let path = folder.join(DATABASE);
    create(&path)?;
    reach("state: file made");
    Ok(path)
}

/// Makes an empty file that only root can read.
pub(super) fn create(path: &Path) -> Result<(), StateError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).map_err(|source| io(path, source))
}

/// The database of a folder, after a look at who could have changed either; `None` before the first start.
pub(super) fn find(folder: &Path) -> Result<Option<PathBuf>, StateError> {
    let path = folder.join(DATABASE);
    let Some(metadata) = look(folder)? else { return Ok(None) };
    if !metadata.is_dir() {
        return Err(StateError::Unsafe { path: folder.into(), reason: "it is not a folder".into() });
    }
    let created = look(&folder.join(MARKER))?.is_some();
    if look(&folder.join(READY))?.is_some() {
        let reason = "putting it together again was interrupted".into();
        return Err(StateError::Damaged { path, reason });
    }
    match look(&path)? {
        Some(metadata) if metadata.is_file() && created && metadata.len() == 0 => {
            Err(StateError::Gone { path })
        }
        Some(metadata) if metadata.is_file() => Ok(Some(path)),
        Some(_) => Err(StateError::Unsafe { path, reason: "it is not a plain file".into() }),
        None if created => Err(StateError::Gone { path }),
        None => Ok(None),
    }
}

pub(super) fn look(path: &Path) -> Result<Option<Metadata>, StateError> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io(path, source)),
    };
    match unsafe_because(metadata.uid(), metadata.mode(), rustix::process::geteuid().as_raw()) {
        Some(reason) => Err(StateError::Unsafe { path: path.into(), reason }),
        None => Ok(Some(metadata)),
    }
}

/// What would let somebody else change a thing with this owner and mode.
fn unsafe_because(owner: u32, mode: u32, me: u32) -> Option<String> {
    if owner != me {
        Some(format!("it belongs to user {owner}, not to user {me}"))
    } else if mode & 0o022 != 0 {
        Some(format!("its mode {:04o} lets others write", mode & 0o7777))
    } else {
        None
    }
}

pub(super) fn connect(path: &Path, write: bool) -> Result<Connection, StateError> {
    let access = if write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    // One thread uses a connection, so SQLite needs no locks of its own.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        // Set for each connection: the journal mode is kept in the file, this is not.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|source| explain(path, source))
}

/// Brings an older database, or an empty file, to the present version.
pub(super) fn migrate(state: &mut State, folder: &Path) -> Result<(), StateError> {
    migrate_by(state, folder, schema::MIGRATIONS)
}

pub(super) fn migrate_by(state: &mut State, folder: &Path, known: &[schema::Step]) -> Result<(), StateError> {
    let marker = folder.join(MARKER);
    let created = look(&marker)?.is_some();
    if created && version_by(state, known)? == 0 {
        // A few bytes are an empty database to SQLite.
        return Err(StateError::Gone { path: state.path.clone() });
    }
    fill_by(state, known)?;
    if !created {
        let create = || {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&marker)?.sync_all()?;
            File::open(folder)?.sync_all()
        };
        create().map_err(|source| io(&marker, source))?;
        reach("state: marker made");
    }
    Ok(())
}

/// The tables, as this version has them.
pub(super) fn fill(state: &mut State) -> Result<(), StateError> {
    fill_by(state, schema::MIGRATIONS)
}

fn fill_by(state: &mut State, known: &[schema::Step]) -> Result<(), StateError> {
    let version = version_by(state, known)?;
    let steps = known.get(version as usize..).unwrap_or_default();
    if !steps.is_empty() {
        if version == 0 {
            state.sql(state.connection.pragma_update(None, "journal_mode", "WAL"))?;
            reach("state: log begun");
        }
        let newest = count(known);
        let usable = known.iter().map(|step| step.readable_from).max().unwrap_or(newest);
        state.transaction(|transaction| {
            for step in steps {
                transaction.execute_batch(step.sql)?;
                reach("state: step made");
            }
            transaction.pragma_update(None, "application_id", schema::APPLICATION)?;
            transaction.pragma_update(None, "user_version", usable)?;
            super::facts::set(transaction, schema::FACT, (newest > usable).then_some(&newest))
        })?;
    }
    Ok(())
}

/// The version of the database, if it is one that this program can work with; one that is newer counts as this program's own when the
/// newer program says that it may.
pub(super) fn check_version(state: &State) -> Result<u32, StateError> {
    version_by(state, schema::MIGRATIONS)
}

pub(super) fn version_by(state: &State, known: &[schema::Step]) -> Result<u32, StateError> {
    let number =
        |pragma: &str| state.sql(state.connection.pragma_query_value(None, pragma, |row| row.get(0)));
    let usable: u32 = number("user_version")?;
    let application: u32 = number("application_id")?;
    let known = count(known);
    match (application, usable) {
        (schema::APPLICATION, usable) if usable > known => {
            Err(StateError::Newer { path: state.path.clone(), found: usable, known })
        }
        (schema::APPLICATION, usable) if usable > 0 => {
            Ok(state.fact::<u32>(schema::FACT)?.unwrap_or(usable).clamp(usable, known))
        }
        (0, 0) if is_empty(state)? => Ok(0),
        _ => Err(state.damaged("it is not a state database of abide")),
    }
}

fn count(steps: &[schema::Step]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

fn is_empty(state: &State) -> Result<bool, StateError> {
    state.sql(state.connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0)))
}

pub(super) fn io(path: &Path, source: std::io::Error) -> StateError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => StateError::Full { path: path.into() },
        _ => StateError::Open { path: path.into(), source: Box::new(source) },
    }
}

pub(super) fn explain(path: &Path, source: rusqlite::Error) -> StateError {
    let path = path.to_owned();
    // The shared memory of the journal is a file, too, and SQLite has no code of its own for a disk without room for it.
    let no_room =
        source.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    match source.sqlite_error_code() {
        Some(_) if no_room => StateError::Full { path },
        Some(ErrorCode::DiskFull) => StateError::Full { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StateError::Busy { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StateError::Damaged { path, reason: source.to_string() }
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            StateError::Open { path, source: Box::new(source) }
        }
        Some(_) => StateError::Database { path, source },
        // What is stored does not have the form that this program writes.
        None => StateError::Damaged { path, reason: source.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_write() {
        for (owner, mode, safe) in [
            (0, 0o40700, true),
            (0, 0o40755, true),
            (0, 0o40770, false),
            (0, 0o40702, false),
            (1000, 0o40700, false),
        ] {
            assert_eq!(unsafe_because(owner, mode, 0).is_none(), safe, "{owner} {mode:o}");
        }
    }
}
