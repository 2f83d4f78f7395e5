//! Every version of the database that a release wrote, opened by this one; and this one's, opened by an older program.

use rusqlite::Connection;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::schema::{MIGRATIONS, Step};
use super::*;
use crate::error::Explain as _;

/// Databases as they were left by each version: a host in the middle of a run, suspended, with everything that is remembered.
const RELEASED: &[(u32, &str)] = &[
    (1, include_str!("fixtures/v1.sql")),
    (2, include_str!("fixtures/v2.sql")),
    (3, include_str!("fixtures/v3.sql")),
];

fn folder(dump: &str) -> tempfile::TempDir {
    let folder =
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let database = database(folder.path());
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute_batch(dump).unwrap();
    folder
}

fn database(folder: &Path) -> Connection {
    let path = folder.join("state.sqlite");
    let database = Connection::open(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    database
}

/// The tables with their columns, and the indexes.
fn form(database: &Connection) -> Vec<String> {
    let mut query = database
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut form: Vec<String> = rows.map(|sql| sql.unwrap().split_whitespace().collect()).collect();
    form.sort();
    form
}

#[test]
fn every_version_has_its_database_here() {
    let versions: Vec<u32> = RELEASED.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, (1..=u32::try_from(MIGRATIONS.len()).unwrap()).collect::<Vec<_>>());
    // A fixture has the tables of its version, not of a later one.
    for (version, dump) in RELEASED {
        let (folder, fresh) = (folder(dump), Connection::open_in_memory().unwrap());
        for step in &MIGRATIONS[..*version as usize] {
            fresh.execute_batch(step.sql).unwrap();
        }
        assert_eq!(form(&database(folder.path())), form(&fresh), "version {version}");
    }
}

/// Every table with its rows, as text; without the fact that says how far the steps have come.
fn rows(database: &Connection) -> BTreeMap<String, Vec<String>> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut query = database.prepare(names).unwrap();
    let tables: Vec<String> = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let of = |table: &String| -> Vec<String> {
        let mut query = database.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = query.column_names().len();
        let text = |row: &rusqlite::Row<'_>| {
            let value = |column| row.get_ref(column).map(|value| format!("{value:?}"));
            (0..columns).map(value).collect::<rusqlite::Result<Vec<String>>>().map(|row| row.join(" "))
        };
        query.query_map([], text).unwrap().map(Result::unwrap).collect()
    };
    tables.iter().map(|table| (table.clone(), of(table))).collect()
}

#[test]
fn every_table_of_every_version_has_rows_and_keeps_them() {
    for (version, dump) in RELEASED {
        let folder = folder(dump);
        let before = rows(&database(folder.path()));
        let empty: Vec<&String> =
            before.iter().filter(|(_, rows)| rows.is_empty()).map(|(name, _)| name).collect();
        assert!(empty.is_empty(), "version {version} has nothing in {empty:?}, so that nothing is tested");
        drop(State::open(folder.path()).unwrap());
        let after = rows(&database(folder.path()));
        for (table, rows) in before {
            // A column that is new is at the end.
            let kept = |row: &String| after[&table].iter().any(|after| after.starts_with(row.as_str()));
            assert!(
                rows.iter().all(kept),
                "version {version}, {table}: {rows:#?} became {:#?}",
                after[&table]
            );
        }
    }
}

#[test]
fn nothing_is_lost_from_any_version_on() {
    for (version, dump) in RELEASED {
        goes_on(*version, folder(dump).path());
    }
}

/// All that a fixture tells is there in the tables of today, and can be worked with.
#[track_caller]
fn goes_on(version: u32, folder: &Path) {
    let mut state = State::open(folder).unwrap();
    let fresh = State::open(tempfile_folder().path()).unwrap();
    assert_eq!(form(&state.connection), form(&fresh.connection), "version {version}");
    state.check().unwrap();
    let mark = state.high_water().unwrap().unwrap();
    assert_eq!((mark.commit, mark.payload, mark.time), ("a1".repeat(20), "b2".repeat(32), 1_790_000_000));
    assert_eq!(state.applied().unwrap().unwrap().commit, "a1");
    assert_eq!(state.suspension().unwrap().unwrap().reason, "disk is swapped");
    assert_eq!(state.settled().unwrap().as_deref(), Some("d4"));
    assert_eq!(state.condition("poll").unwrap(), Some(("down".into(), 4)));
    let inventory = state.inventory().unwrap();
    assert_eq!(inventory.len(), 1);
    assert!(inventory[0].created && inventory[0].declared.is_some(), "{:?}", inventory[0]);
    let owed: Vec<String> = state.owed().unwrap().iter().map(|owed| owed.notification.to_string()).collect();
    assert_eq!(owed.len(), 2, "{owed:?}");
    let unfinished = state.unfinished().unwrap().unwrap();
    assert_eq!((unfinished.run, unfinished.pending.len()), (2, 1));
    assert_eq!(state.events(0, 10).unwrap().len(), 1);
    assert_eq!(state.runs(10).unwrap().len(), 2);
    if version >= 2 {
        assert_eq!(state.generations(10).unwrap().len(), 2);
        assert_eq!(state.pinned().unwrap().unwrap().from, "e5");
    }
    // And it can be written.
    state.abandon(2, 12).unwrap();
    assert_eq!(state.settle().unwrap(), (version >= 3).then(Vec::new), "version {version}");
    assert_eq!(state.inventory().unwrap().len(), if version >= 3 { 2 } else { 1 }, "version {version}");
    state.open_generation(&state.applied().unwrap().unwrap(), Cause::Poll, false, 13).unwrap();
    drop(state);
    let again = State::open(folder).unwrap();
    assert!(again.unfinished().unwrap().is_none() && again.newest_generation().unwrap().is_some());
}

/// Says to the test below that it is the process that is killed, and where.
const KILLED: &str = "ABIDE_TEST_KILLED_IN";

/// Steps that are never done: what they write does not fit into memory, so that it is in the log before it counts.
fn endless() -> Vec<Step> {
    let sql = "
        CREATE TABLE filler (x BLOB);
        INSERT INTO filler WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
            SELECT randomblob(4000) FROM n;
        UPDATE facts SET value = '0';
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n;";
    MIGRATIONS.iter().copied().chain([Step { sql, readable_from: 1 }]).collect()
}

#[test]
#[ignore = "the process that `a_power_cut_amid_the_steps_leaves_the_version_before_them` kills"]
fn is_killed_amid_its_steps() {
    let Some(folder) = std::env::var_os(KILLED) else { return };
    drop(opened_by(&endless(), Path::new(&folder)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is this program that is killed")]
fn a_power_cut_amid_the_steps_leaves_the_version_before_them() {
    for (version, dump) in RELEASED {
        let folder = folder(dump);
        let log = folder.path().join("state.sqlite-wal");
        let written = || std::fs::metadata(&log).map_or(0, |log| log.len());
        let before = written();
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::migrations::is_killed_amid_its_steps", "--ignored"])
            .env(KILLED, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while written() < before + (4 << 20) {
            assert!(process.try_wait().unwrap().is_none(), "it never ends by itself");
            std::thread::yield_now();
        }
        process.kill().unwrap();
        process.wait().unwrap();
        // Of what is in the log any part may be missing on a disk that was not asked to keep it.
        let length = written();
        for kept in [length, length - 1, length / 2, before + 4096, before + 33, before + 1, before] {
            let after = tempfile_folder();
            for name in ["state.sqlite", "state.sqlite-wal"] {
                std::fs::copy(folder.path().join(name), after.path().join(name)).unwrap();
            }
            let cut =
                std::fs::OpenOptions::new().write(true).open(after.path().join("state.sqlite-wal")).unwrap();
            cut.set_len(kept).unwrap();
            goes_on(*version, after.path());
        }
    }
}

#[test]
fn a_death_at_any_place_of_the_steps_loses_nothing() {
    for place in 0.. {
        let folder = folder(RELEASED[0].1);
        let lived = crate::failpoint::lives(place, || State::open(folder.path()).unwrap()).is_some();
        goes_on(RELEASED[0].0, folder.path());
        if lived {
            assert!(place > 2, "there are places to die at");
            return;
        }
    }
}

fn tempfile_folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A later version of the tables.
fn later(readable_from: u32) -> Vec<Step> {
    let sql = "CREATE TABLE later (name TEXT PRIMARY KEY) WITHOUT ROWID;";
    MIGRATIONS.iter().copied().chain([Step { sql, readable_from }]).collect()
}

fn opened_by(steps: &[Step], folder: &Path) -> State {
    let path = open::prepare(folder).unwrap();
    let mut state = State { connection: open::connect(&path, true).unwrap(), path };
    open::migrate_by(&mut state, folder, steps).unwrap();
    state
}

#[test]
fn an_older_program_goes_on_where_the_newer_one_lets_it_and_trust_stays() {
    let present = u32::try_from(MIGRATIONS.len()).unwrap();
    let folder = tempfile_folder();
    let mark =
        |commit: &str| Mark { commit: commit.into(), payload: "p".into(), time: 3, introduction: "i".into() };
    State::open(folder.path()).unwrap().raise(&mark("old"), &events::Told::default()).unwrap();
    // The newer one adds a table, and believes more than before.
    let mut newer = opened_by(&later(present), folder.path());
    newer.raise(&mark("new"), &events::Told::default()).unwrap();
    newer.connection.execute("INSERT INTO later VALUES ('kept')", []).unwrap();
    drop(newer);
    // Back: what was believed meanwhile is still believed, and nothing of the newer one is lost.
    let mut older = State::open(folder.path()).unwrap();
    assert_eq!(older.high_water().unwrap(), Some(mark("new")));
    older.raise(&mark("newest"), &events::Told::default()).unwrap();
    assert!(State::inspect(folder.path()).unwrap().is_some());
    drop(older);
    // And forward again: the step is not made twice.
    let newer = opened_by(&later(present), folder.path());
    assert_eq!(newer.high_water().unwrap(), Some(mark("newest")));
    let kept: String = newer.connection.query_row("SELECT name FROM later", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, "kept");
    assert_eq!(open::version_by(&newer, &later(present)).unwrap(), present + 1);
}

#[test]
fn an_older_program_refuses_what_it_would_misread() {
    let present = u32::try_from(MIGRATIONS.len()).unwrap();
    let folder = tempfile_folder();
    State::open(folder.path()).unwrap();
    drop(opened_by(&later(present + 1), folder.path()));
    let error = State::open(folder.path()).unwrap_err();
    assert_eq!(error.code().0, "E507");
    assert!(error.remedy().contains("newer"), "{}", error.remedy());
}

#[test]
fn a_step_that_fails_leaves_the_database_to_the_program_before_it() {
    let folder = folder(RELEASED[0].1);
    let path = open::prepare(folder.path()).unwrap();
    let mut state = State { connection: open::connect(&path, true).unwrap(), path };
    let mut broken = later(1);
    broken.push(Step { sql: "CREATE TABLE runs (x)", readable_from: 1 });
    assert!(open::migrate_by(&mut state, folder.path(), &broken).is_err());
    drop(state);
    assert_eq!(form(&database(folder.path())), {
        let fresh = Connection::open_in_memory().unwrap();
        fresh.execute_batch(MIGRATIONS[0].sql).unwrap();
        form(&fresh)
    });
    assert!(State::open(folder.path()).unwrap().high_water().unwrap().is_some());
}

#[test]
fn no_step_lets_in_programs_that_an_earlier_one_kept_out() {
    let mut least = 0;
    for (version, step) in (1..).zip(MIGRATIONS) {
        assert!((least..=version).contains(&step.readable_from), "step {version}");
        least = step.readable_from;
    }
}
