//! The converger's memory: one SQLite database under `/var/lib/abide`, root only.
//!
//! It holds the high-water mark, the journal of the run under way, owed notifications, the inventory of what abide created,
//! the history of runs and their events, and whether the host is suspended.
//!
//! **Invariant:** what was acknowledged is on disk (`synchronous=FULL`), and a database that cannot be read is an error, never an
//! empty start.
