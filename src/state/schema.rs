//! The tables, as the list of steps that led to them.
//!
//! A step also says which programs may still use the database after it, so that a host can go back to an earlier version of abide
//! without losing what it has believed since. `user_version` is the oldest version of the tables whose program may use the file: that
//! is what each program compares with its own. How far the steps have really come is the fact `schema`, written where it is more.
//!
//! **Invariant:** a step that was released is never edited; a change is a new step at the end. An older program is let in only where
//! it reads and writes everything that trust depends on as before: a step after which a fact has another form, which includes one more
//! field, is `readable_from` itself.

/// Marks the file as ours (`PRAGMA application_id`): "abde".
pub(super) const APPLICATION: u32 = 0x6162_6465;

/// The fact that says how many steps were made, where that is more than `user_version` says.
pub(super) const FACT: &str = "schema";

/// What brings a database from one version to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The statements.
    pub(super) sql: &'static str,
    /// The oldest version whose program may go on with the database after it.
    pub(super) readable_from: u32,
}

/// What brings a database from each version to the next; version 0 is an empty one.
pub(super) const MIGRATIONS: &[Step] = &[
    Step { readable_from: 1, sql: FIRST },
    // A mark has the introduction since then, and a program of version 1 refuses a mark with a field that it does not know.
    Step { readable_from: 2, sql: GENERATIONS },
    // A program of version 2 forgets what the last run has begun, and nothing else.
    Step { readable_from: 2, sql: UNDERTAKEN },
];

/// Released as 0.1.0.
const FIRST: &str = "
    -- Single facts: high-water mark, applied revision, suspension, … as JSON; sum is the start of the value's SHA-256.
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;

    -- What was last reported of a subject, so that only transitions are.
    CREATE TABLE conditions (
        subject TEXT PRIMARY KEY, state TEXT NOT NULL, since INTEGER NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, cause TEXT NOT NULL, revision TEXT, started INTEGER NOT NULL,
        ended INTEGER, result TEXT NOT NULL, problem TEXT,
        changed INTEGER NOT NULL, failed INTEGER NOT NULL, skipped INTEGER NOT NULL, unchanged INTEGER NOT NULL
    );
    CREATE INDEX runs_open ON runs (id) WHERE ended IS NULL;

    CREATE TABLE steps (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, position INTEGER NOT NULL,
        resource TEXT NOT NULL, origin TEXT NOT NULL, summary TEXT NOT NULL, outcome TEXT NOT NULL, because TEXT,
        problem TEXT, before TEXT NOT NULL, after TEXT NOT NULL, took INTEGER NOT NULL,
        PRIMARY KEY (run, position)
    ) WITHOUT ROWID;
    CREATE INDEX steps_resource ON steps (resource, run);

    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL
    );

    -- What was applied for each resource that the branch declares.
    CREATE TABLE inventory (
        resource TEXT PRIMARY KEY, declared TEXT NOT NULL, digest BLOB NOT NULL, origin TEXT NOT NULL,
        revision INTEGER NOT NULL REFERENCES revisions (id), adopted INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE revisions (id INTEGER PRIMARY KEY, commit_id TEXT NOT NULL UNIQUE, value TEXT NOT NULL);

    -- Resources that did not exist before abide made them; only these are ever removed again.
    CREATE TABLE created (resource TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;

    -- The journal of the run under way.
    CREATE TABLE intents (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, step INTEGER NOT NULL, effect INTEGER NOT NULL,
        resource TEXT NOT NULL, verb TEXT NOT NULL, target TEXT NOT NULL, before TEXT NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (run, step, effect)
    ) WITHOUT ROWID;

    -- Notifications that are owed until they are paid.
    CREATE TABLE owed (
        resource TEXT NOT NULL, verb TEXT NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL, since INTEGER NOT NULL,
        run INTEGER NOT NULL, PRIMARY KEY (verb, target, resource, reason)
    ) WITHOUT ROWID;
";

const GENERATIONS: &str = "
    -- Every commit that was brought to this host, with what became of it.
    CREATE TABLE generations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, commit_id TEXT NOT NULL, revision TEXT NOT NULL, cause TEXT NOT NULL,
        since INTEGER NOT NULL, took INTEGER NOT NULL, changed INTEGER NOT NULL, failed INTEGER NOT NULL,
        standing TEXT NOT NULL, reason TEXT, guarded INTEGER NOT NULL, packages TEXT NOT NULL
    );
    CREATE INDEX generations_commit ON generations (commit_id, id);
";

const UNDERTAKEN: &str = "
    -- What a run has begun to change, until the inventory has it and it was told; declared is NULL where it leaves the branch.
    CREATE TABLE undertaken (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, resource TEXT NOT NULL, position INTEGER NOT NULL,
        summary TEXT NOT NULL, effects INTEGER NOT NULL, declared TEXT, digest BLOB, origin TEXT NOT NULL,
        since INTEGER NOT NULL, PRIMARY KEY (run, resource)
    ) WITHOUT ROWID;
";
