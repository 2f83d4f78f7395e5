//! Rows of a host's state: how many there are, how many there may be, and a long history for a host that is young.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// How many rows a table may have.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// So many, whatever happens.
    Fixed(u64),
    /// So many, and one for each thing that abide manages.
    Managed(u64),
}

/// Every table of the state: one that is not here has no bound that anybody thought of.
const BOUNDS: &[(&str, Bound)] = &[
    ("conditions", Bound::Managed(16)),
    ("created", Bound::Managed(0)),
    ("events", Bound::Fixed(10_000)),
    ("facts", Bound::Fixed(24)),
    ("generations", Bound::Fixed(200)),
    ("intents", Bound::Fixed(0)),
    ("inventory", Bound::Managed(0)),
    ("owed", Bound::Fixed(0)),
    ("revisions", Bound::Managed(0)),
    ("runs", Bound::Fixed(1_000)),
    ("steps", Bound::Fixed(50_000)),
    ("undertaken", Bound::Fixed(0)),
];

/// Rows as if the host had lived long: every table that keeps history is as full as it may be, so that whatever comes drives something
/// older out. What is added lies before everything else.
const LONG_HISTORY: &str = "
    BEGIN IMMEDIATE;
    CREATE TEMP TABLE model AS SELECT * FROM runs WHERE ended IS NOT NULL AND id IN (SELECT run FROM steps) ORDER BY id DESC LIMIT 1;
    CREATE TEMP TABLE step AS SELECT * FROM steps WHERE run IN (SELECT id FROM model) LIMIT 1;
    CREATE TEMP TABLE past AS
        WITH RECURSIVE n(id) AS (SELECT (SELECT max(id) FROM runs) - 999 UNION ALL SELECT id + 1 FROM n WHERE id < 0)
        SELECT id FROM n WHERE id < 1;
    INSERT INTO runs SELECT past.id, cause, revision, started, ended, result, problem, changed, failed, skipped, unchanged
        FROM past, model;
    INSERT INTO steps
        WITH RECURSIVE n(position) AS (SELECT 0 UNION ALL SELECT position + 1 FROM n WHERE position < 48)
        SELECT past.id, n.position, 'file:/srv/past/' || n.position, origin, summary, outcome, because, problem, before, after, took
        FROM past, n, step;
    INSERT INTO events
        WITH RECURSIVE n(id) AS (SELECT (SELECT max(id) FROM events) - 9999 UNION ALL SELECT id + 1 FROM n WHERE id < 0)
        SELECT n.id, (SELECT event FROM events ORDER BY id DESC LIMIT 1) FROM n WHERE n.id < 1;
    INSERT INTO generations
        WITH RECURSIVE n(id) AS (SELECT (SELECT max(id) FROM generations) - 199 UNION ALL SELECT id + 1 FROM n WHERE id < 0)
        SELECT n.id, commit_id, revision, cause, since, took, changed, failed, 'passed', reason, guarded, packages
        FROM n, (SELECT * FROM generations ORDER BY id LIMIT 1) WHERE n.id < 1;
    COMMIT;
    DROP TABLE model; DROP TABLE step; DROP TABLE past;
";

/// Gives a host a long history.
#[track_caller]
pub fn age(state: &Path) {
    let connection = open(state, OpenFlags::SQLITE_OPEN_READ_WRITE);
    connection.execute_batch(LONG_HISTORY).expect("a long history");
}

/// Every table with its number of rows.
#[track_caller]
pub fn count(state: &Path) -> Vec<(String, u64)> {
    let connection = open(state, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let names =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut query = connection.prepare(names).expect("a state");
    let names = query.query_map([], |row| row.get::<_, String>(0)).expect("its tables");
    let names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    let rows = |name: &String| {
        connection.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get::<_, i64>(0))
    };
    names.iter().map(|name| (name.clone(), rows(name).expect("a number").unsigned_abs())).collect()
}

/// Says which table has more rows than it may have.
pub fn too_many(rows: &[(String, u64)]) -> Vec<String> {
    let managed = rows.iter().find(|(name, _)| name == "inventory").map_or(0, |(_, rows)| *rows);
    let bound = |name: &str| match BOUNDS.iter().find(|(table, _)| *table == name)?.1 {
        Bound::Fixed(rows) => Some(rows),
        Bound::Managed(more) => Some(managed + more),
    };
    rows.iter()
        .filter_map(|(name, rows)| match bound(name) {
            None => Some(format!("nobody says how many rows {name} may have")),
            Some(most) if *rows > most => Some(format!("{name} has {rows} rows and may have {most}")),
            Some(_) => None,
        })
        .collect()
}

#[track_caller]
fn open(state: &Path, access: OpenFlags) -> Connection {
    let path = state.join("state.sqlite");
    let connection = Connection::open_with_flags(path, access).expect("the state opens");
    connection.busy_timeout(Duration::from_secs(20)).expect("patience");
    connection
}
