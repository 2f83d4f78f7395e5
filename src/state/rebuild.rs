//! A state that is damaged or gone is put together again: from what can still be read of it, and from the copy beside it.
//!
//! **Invariant:** what is not known is not made up. A mark comes from the damaged database, where every fact has a checksum, or from
//! the copy; a host that finds neither has lost its state, and says so. Whoever dies in between finds the old files or the new one.

use rusqlite::{Connection, types::Value};
use std::path::{Path, PathBuf};

use super::copy::{self, Facts};
use super::{Notification, State, StateError, facts, open};
use crate::error::{Code, Explain};
use crate::failpoint::reach;
use crate::resource::ResourceId;
use crate::system::replace;

/// What the names of databases that were moved aside start with.
const ASIDE: &str = "state.sqlite.damaged-";

/// How many of them are kept.
const KEPT: usize = 3;

/// A new database that is whole, and only has to be put in place.
pub(super) const READY: &str = "state.sqlite.new";

/// The damaged one while it is read: a copy, so that the reading changes nothing.
const READ: &str = ".state.salvage";

/// A table, and what is lost with it.
const TABLES: &[(&str, &str)] = &[
    ("revisions", "the inventory"),
    ("inventory", "the inventory"),
    ("created", "which resources abide created"),
    ("owed", "which restarts and reloads are owed"),
    ("runs", "the history of runs"),
    ("steps", "what runs did"),
    ("intents", "what the last run was doing"),
    ("undertaken", "what the last run was doing"),
    ("generations", "the generations"),
    ("conditions", "what was reported last"),
    ("events", "events"),
];

/// The state was damaged, set back or gone, and was put together again (E509).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state of this host could not be used and was put together again: {reason}")]
pub struct Rebuilt {
    /// What was wrong.
    pub reason: String,
    /// What is lost, in words.
    pub lost: Vec<String>,
    /// It has a high-water mark.
    pub marked: bool,
    /// Where the old database is.
    pub aside: Option<PathBuf>,
}

impl State {
    /// Reads everything: what is damaged shows.
    ///
    /// # Errors
    /// The state has to be put together again.
    pub fn verify(&self) -> Result<(), StateError> {
        self.check()?;
        self.check_copy()?;
        self.all_facts()?;
        self.inventory()?;
        self.owed()?;
        self.unfinished()?;
        self.untold()?;
        self.events(0, u32::MAX)?;
        self.generations(u32::MAX)?;
        self.runs(u32::MAX)?.iter().try_for_each(|run| self.steps(run.id).map(drop))
    }
}

impl Explain for Rebuilt {
    fn code(&self) -> Code {
        Code("E509")
    }

    fn remedy(&self) -> String {
        let mut text = match self.lost.as_slice() {
            [] => "nothing of it is lost".to_owned(),
            lost => format!("lost: {}", lost.join(", ")),
        };
        if self.lost.iter().any(|lost| lost.contains("created")) {
            text.push_str("; what is declared is kept, and stays when it leaves the branch");
        }
        if self.lost.iter().any(|lost| lost.contains("owed")) {
            text.push_str("; restart services whose configuration has just changed");
        }
        text.push_str("; look for a failing disk with `journalctl -k`");
        if let Some(aside) = &self.aside {
            text.push_str(&format!("; the old database is {}", aside.display()));
        }
        text
    }
}

/// Puts the state together again. For whoever holds the lock, and has nothing of it open.
///
/// # Errors
/// The folder cannot be read or written; the old state is then as it was.
pub fn rebuild(folder: &Path, reason: &str, now: i64) -> Result<Rebuilt, StateError> {
    let old = folder.join(open::DATABASE);
    let ready = folder.join(READY);
    let present = open::look(&old)?.is_some();
    let mut rebuilt = Rebuilt { reason: reason.to_owned(), lost: Vec::new(), marked: false, aside: None };
    if open::look(&ready)?.is_none() {
        make(folder, present, &mut rebuilt)?;
    }
    reach("rebuild: ready");
    let aside = folder.join(format!("{ASIDE}{now}"));
    if present {
        // Its log first: a log beside another database would be played into that.
        rename(&with(&old, "-wal"), &with(&aside, "-wal"))?;
        reach("rebuild: log aside");
        rename(&with(&old, "-shm"), &with(&aside, "-shm"))?;
        rename(&old, &aside)?;
        reach("rebuild: old one aside");
        rebuilt.aside = Some(aside);
    }
    replace::rename(&ready, &old).map_err(|source| open::io(&ready, source))?;
    sync(folder)?;
    reach("rebuild: in place");
    forget_old(folder);
    rebuilt.marked = State::open(folder)?.high_water()?.is_some();
    if !rebuilt.marked {
        rebuilt.lost.insert(0, "what this host believed".into());
    }
    Ok(rebuilt)
}

/// Makes the new database beside the old one.
fn make(folder: &Path, present: bool, rebuilt: &mut Rebuilt) -> Result<(), StateError> {
    let half = folder.join(".state.new");
    let read = folder.join(READ);
    for leftover in [&half, &read] {
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = replace::remove(&with(leftover, end));
        }
    }
    open::create(&half)?;
    let mut state = State { connection: open::connect(&half, true)?, path: half.clone() };
    open::fill(&mut state)?;
    let damaged = if present { salvageable(folder, &read)? } else { None };
    let facts = fill(&mut state, damaged.as_ref(), rebuilt)?;
    let facts = match copy::read(folder) {
        Some(copied) => copy::merge(facts.0, &copied, facts.1),
        None => facts.0,
    };
    write_facts(&mut state, &facts, &rebuilt.lost)?;
    drop(damaged);
    state.connection.close().map_err(|(_, source)| open::explain(&half, source))?;
    std::fs::File::open(&half).and_then(|file| file.sync_all()).map_err(|source| open::io(&half, source))?;
    for end in ["", "-wal", "-shm"] {
        let _ = replace::remove(&with(&read, end));
    }
    reach("rebuild: made");
    rename(&half, &folder.join(READY))
}

/// A copy of the damaged database, open; `None` when it is none at all.
fn salvageable(folder: &Path, read: &Path) -> Result<Option<Connection>, StateError> {
    for end in ["", "-wal"] {
        let from = with(&folder.join(open::DATABASE), end);
        match std::fs::read(&from) {
            Ok(bytes) => replace::replace(&with(read, end), &bytes, 0o600)
                .map_err(|source| open::io(&with(read, end), source))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(open::io(&from, source)),
        }
    }
    Ok(open::connect(read, true).ok())
}

/// Takes over every table as far as it can be read; gives the facts, and whether all of them could be.
fn fill(
    state: &mut State,
    damaged: Option<&Connection>,
    rebuilt: &mut Rebuilt,
) -> Result<(Facts, bool), StateError> {
    let path = state.path.clone();
    let failed = |source| open::explain(&path, source);
    state.connection.pragma_update(None, "foreign_keys", false).map_err(failed)?;
    for (table, words) in TABLES {
        let whole = match damaged {
            Some(damaged) => take_over(damaged, &state.connection, table).map_err(failed)?,
            None => false,
        };
        if !whole || !is_sound(state, table) {
            lose(rebuilt, words);
        }
    }
    let orphans = "DELETE FROM inventory WHERE revision NOT IN (SELECT id FROM revisions);
        DELETE FROM steps WHERE run NOT IN (SELECT id FROM runs);
        DELETE FROM intents WHERE run NOT IN (SELECT id FROM runs);
        DELETE FROM undertaken WHERE run NOT IN (SELECT id FROM runs);";
    state.connection.execute_batch(orphans).map_err(failed)?;
    state.connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    if rebuilt.lost.iter().any(|lost| lost.contains("owed")) {
        owe_reload(state)?;
    }
    Ok(damaged.map(facts_of).unwrap_or_default())
}

fn lose(rebuilt: &mut Rebuilt, words: &str) {
    if !rebuilt.lost.iter().any(|lost| lost == words) {
        rebuilt.lost.push(words.to_owned());
    }
}

/// Copies the rows of a table from the front, and where that ends early from the back, too. Whether all of them could be read.
fn take_over(from: &Connection, to: &Connection, table: &str) -> rusqlite::Result<bool> {
    let transaction = to.unchecked_transaction()?;
    let mut whole = true;
    for order in ["", "DESC"] {
        match copy_rows(from, &transaction, table, order) {
            Ok(()) => break,
            Err(Trouble::Reading) => whole = false,
            Err(Trouble::Writing(error)) => return Err(error),
        }
    }
    transaction.commit()?;
    Ok(whole)
}

enum Trouble {
    Reading,
    Writing(rusqlite::Error),
}

fn copy_rows(from: &Connection, to: &Connection, table: &str, order: &str) -> Result<(), Trouble> {
    let unread = |_| Trouble::Reading;
    let known = columns(to, table).map_err(Trouble::Writing)?;
    let keys: Vec<String> =
        known.iter().filter(|(_, key)| *key > 0).map(|(name, _)| format!("{name} {order}")).collect();
    let mut query =
        from.prepare(&format!("SELECT * FROM {table} ORDER BY {}", keys.join(", "))).map_err(unread)?;
    let names: Vec<String> = query.column_names().map(str::to_owned).collect();
    // A version that knows other columns left this one.
    if !names.iter().all(|name| known.iter().any(|(known, _)| known == name)) {
        return Err(Trouble::Reading);
    }
    let marks = vec!["?"; names.len()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO {table} ({}) VALUES ({marks})", names.join(", "));
    let mut rows = query.query([]).map_err(unread)?;
    while let Some(row) = rows.next().map_err(unread)? {
        let values: Vec<Value> = (0..names.len())
            .map(|column| row.get(column))
            .collect::<rusqlite::Result<_>>()
            .map_err(unread)?;
        // A row that this table cannot hold is damaged.
        let inserted = to
            .prepare_cached(&insert)
            .and_then(|mut insert| insert.execute(rusqlite::params_from_iter(values)));
        match inserted {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                return Err(Trouble::Reading);
            }
            other => other.map_err(Trouble::Writing)?,
        };
    }
    Ok(())
}

/// Names of columns, and their place in the primary key from 1 on.
fn columns(of: &Connection, table: &str) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut query = of.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY pk")?;
    query.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Whether what is in a table now can be read as what it is; what cannot is dropped, whole.
fn is_sound(state: &State, table: &str) -> bool {
    let sound = match table {
        "inventory" => state.inventory().is_ok(),
        "owed" => state.owed().is_ok(),
        "intents" => state.unfinished().is_ok(),
        "undertaken" => state.untold().is_ok(),
        "runs" => state.runs(u32::MAX).is_ok(),
        "steps" => state.runs(u32::MAX).is_ok_and(|runs| runs.iter().all(|run| state.steps(run.id).is_ok())),
        "events" => state.events(0, u32::MAX).is_ok(),
        "generations" => state.generations(u32::MAX).is_ok(),
        _ => true,
    };
    if !sound {
        // A table of a new database can be emptied; if not, the next read says so.
        let _ = state.connection.execute(&format!("DELETE FROM {table}"), []);
    }
    sound
}

/// Facts whose checksum fits, and whether that is all of them.
fn facts_of(damaged: &Connection) -> (Facts, bool) {
    let mut found = Facts::new();
    // Damage can also look like fewer rows.
    let check = damaged.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let mut whole = check.is_ok_and(|answer| answer == "ok");
    for order in ["", "DESC"] {
        let read = |found: &mut Facts| -> rusqlite::Result<bool> {
            let mut query =
                damaged.prepare(&format!("SELECT name, value, sum FROM facts ORDER BY name {order}"))?;
            let mut rows = query.query([])?;
            let mut sound = true;
            while let Some(row) = rows.next()? {
                let (name, text, sum): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                match facts::sum(&text) == sum {
                    true => drop(found.insert(name, text)),
                    false => sound = false,
                }
            }
            Ok(sound)
        };
        match read(&mut found) {
            Ok(sound) => {
                whole &= sound;
                break;
            }
            Err(_) => whole = false,
        }
    }
    (found, whole)
}

/// Writes what is believed; what speaks of tables only where they are.
pub(super) fn write_facts(state: &mut State, facts: &Facts, lost: &[String]) -> Result<(), StateError> {
    let no_generations = lost.iter().any(|lost| lost == "the generations");
    state.transaction(|transaction| {
        for (name, text) in facts {
            let of_generations = matches!(name.as_str(), "trial" | "pin");
            if copy::NOT_COPIED.contains(&name.as_str()) || of_generations && no_generations {
                continue;
            }
            transaction.execute(
                "INSERT OR REPLACE INTO facts VALUES (?1, ?2, ?3)",
                rusqlite::params![name, text, facts::sum(text)],
            )?;
        }
        Ok(())
    })
}

/// It costs nothing to have systemd read its unit files once more.
fn owe_reload(state: &mut State) -> Result<(), StateError> {
    let nobody = ResourceId::new("state", "rebuilt");
    let owed = super::Owed {
        notification: Notification::DaemonReload,
        resource: nobody.clone(),
        reason: nobody,
        since: 0,
    };
    state.transaction(|transaction| super::journal::owe(transaction, 0, &owed))
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), StateError> {
    match replace::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| open::io(from, source)),
    }
}

fn sync(folder: &Path) -> Result<(), StateError> {
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| open::io(folder, source))
}

/// Keeps the newest of what was moved aside.
fn forget_old(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut aside: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().map(str::to_owned))
        .filter(|name| {
            name.starts_with(ASIDE) && name.bytes().last().is_some_and(|byte| byte.is_ascii_digit())
        })
        .collect();
    aside.sort();
    let excess = aside.len().saturating_sub(KEPT);
    for name in aside.drain(..excess) {
        for end in ["", "-wal", "-shm"] {
            let _ = replace::remove(&with(&folder.join(&name), end));
        }
    }
}

#[cfg(test)]
mod tests;
