//! Have the fetcher poll: it is a unit of its own, started for each poll.

use std::time::Duration;

use crate::config::{Paths, Settings};
use crate::error::Problem;
use crate::source::{self, Note, backoff};
use crate::system::facts;
use crate::system::systemd::Systemd;

/// The unit that polls.
pub const UNIT: &str = "abide-fetch.service";

/// What came of a poll.
#[derive(Debug, Default)]
pub struct Poll {
    /// What the fetcher says; untrusted.
    pub note: Option<Note>,
    /// Why the fetcher could not be started or its note not be read.
    pub problem: Option<Problem>,
}

/// The work of one poll, to be done on a thread of its own.
pub fn start(paths: &Paths, settings: &Settings) -> impl FnOnce() -> Poll + Send + 'static {
    let spool = paths.spool.clone();
    let deadline = settings.source.deadline.duration() + Duration::from_secs(30);
    move || {
        // A fetcher that exits with an error has left the reason in its note.
        let started = Systemd::connect().and_then(|systemd| systemd.start_and_wait(UNIT, deadline));
        match source::read_note(&spool) {
            Ok(Some(note)) => Poll {
                problem: started.err().filter(|_| note.failures == 0).map(Problem::from),
                note: Some(note),
            },
            Ok(None) => Poll { note: None, problem: started.err().map(Problem::from) },
            Err(error) => Poll { note: None, problem: Some(error.into()) },
        }
    }
}

/// Time to the next poll.
pub fn delay(settings: &Settings, failures: u32) -> Duration {
    let source = &settings.source;
    let seed = facts::machine_id();
    backoff::delay(
        source.poll.duration(),
        source.jitter.duration(),
        source.backoff.duration(),
        seed.as_bytes(),
        failures,
    )
}
