//! Have the fetcher poll: it is a unit of its own, started for each poll, and watched while it runs.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::config::{Paths, Settings};
use crate::error::{Code, Explain, Problem};
use crate::source::guard::{self, Bounds, Excess};
use crate::source::{self, Note, SourceError, backoff};
use crate::system::systemd::{Systemd, SystemdError};
use crate::system::{disk_bytes, facts};

/// The unit that polls.
pub const UNIT: &str = "abide-fetch.service";

/// How often a running fetcher is looked after. Most polls end before the first look.
const LOOK: Duration = Duration::from_millis(250);

/// What came of a poll.
#[derive(Debug, Default)]
pub struct Poll {
    /// What the fetcher says; untrusted.
    pub note: Option<Note>,
    /// Why the fetcher could not be started or its note not be read.
    pub problem: Option<Problem>,
}

/// What is wrong with a fetcher that is no longer ours.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// E811: the fetcher took more of the disk than a fetcher needs.
    #[error("the fetcher was ended and its spool emptied: {excess}")]
    Excess {
        /// What was too much.
        excess: Excess,
    },
    /// E812: what the fetcher left in its spool cannot be removed.
    #[error("the fetcher left {excess}, and that cannot be removed")]
    Stuck {
        /// What is too much.
        excess: Excess,
        /// Why.
        #[source]
        source: SourceError,
    },
}

impl Explain for PollError {
    fn code(&self) -> Code {
        Code(match self {
            PollError::Excess { .. } => "E811",
            PollError::Stuck { .. } => "E812",
        })
    }

    fn remedy(&self) -> String {
        match self {
            PollError::Excess { .. } => {
                "a sound fetcher keeps within `[limits] spool-bytes`: see `journalctl -u abide-fetch` and whether \
                 `systemctl cat abide-fetch` starts /usr/bin/abide; the next poll starts with an empty spool"
                    .into()
            }
            PollError::Stuck { .. } => "stop abide.service, empty the spool by hand, and start it again".into(),
        }
    }
}

/// The work of one poll, to be done on a thread of its own.
pub fn start(paths: &Paths, settings: &Settings) -> impl FnOnce() -> Poll + Send + 'static {
    let spool = paths.spool.clone();
    let bounds = Bounds::of(&settings.limits);
    let deadline = settings.source.deadline.duration() + Duration::from_secs(30);
    move || {
        let watch = Watch { free: disk_bytes(&spool).ok().map(|(free, _)| free), spool, bounds };
        let (started, excess) = watch.over(|| start_unit(deadline));
        if let Some(error) = watch.tidy(excess) {
            return Poll { note: None, problem: Some(error.into()) };
        }
        // A fetcher that exits with an error has left the reason in its note.
        match source::read_note(&watch.spool) {
            Ok(Some(note)) => Poll {
                problem: started.err().filter(|_| note.failures == 0).map(Problem::from),
                note: Some(note),
            },
            Ok(None) => Poll { note: None, problem: started.err().map(Problem::from) },
            Err(error) => Poll { note: None, problem: Some(error.into()) },
        }
    }
}

/// Starts the unit and waits for its end, which comes at the latest with the deadline.
fn start_unit(deadline: Duration) -> Result<(), SystemdError> {
    let systemd = Systemd::connect()?;
    let started = systemd.start_and_wait(UNIT, deadline);
    if matches!(started, Err(SystemdError::TimedOut { .. })) {
        systemd.kill(UNIT)?;
    }
    started
}

/// What is watched while a fetcher runs.
struct Watch {
    spool: PathBuf,
    bounds: Bounds,
    /// Bytes that were free on the disk of the spool when it began.
    free: Option<u64>,
}

impl Watch {
    /// Does `work`, which ends with the unit, and ends the unit when it takes too much.
    fn over<T>(&self, work: impl FnOnce() -> T) -> (T, Option<Excess>) {
        std::thread::scope(|scope| {
            let (done, over) = channel::<()>();
            let watching = scope.spawn(move || self.until(&over));
            let result = work();
            drop(done);
            (result, watching.join().unwrap_or_default())
        })
    }

    /// Looks again and again until the work is over.
    fn until(&self, over: &Receiver<()>) -> Option<Excess> {
        let mut found = None;
        while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            if let Some(excess) = self.excess() {
                // If it cannot be ended now, the next look tries again.
                let _ = Systemd::connect().and_then(|systemd| systemd.kill(UNIT));
                found.get_or_insert(excess);
            }
        }
        found
    }

    fn excess(&self) -> Option<Excess> {
        let disk = self.free.zip(disk_bytes(&self.spool).ok());
        match disk {
            Some((before, (now, all))) if is_filling(before, now, all, self.bounds) => Some(Excess::Disk),
            _ => guard::weigh(&self.spool, self.bounds).err(),
        }
    }

    /// After the end: what cannot be a spool is emptied, whoever left it.
    fn tidy(&self, during: Option<Excess>) -> Option<PollError> {
        let after = guard::weigh(&self.spool, self.bounds).err();
        let emptied = after.as_ref().map(|_| guard::clear(&self.spool));
        let excess = during.or(after)?;
        Some(match emptied {
            Some(Err(source)) => PollError::Stuck { excess, source },
            _ => PollError::Excess { excess },
        })
    }
}

/// Whether the disk fills up while the fetcher runs. A file without a name takes its place, too, and nobody can see whose it is: so as long as there
/// is room, what others write is nobody's fault.
fn is_filling(before: u64, now: u64, all: u64, bounds: Bounds) -> bool {
    let floor = all / 8;
    now < floor && before.saturating_sub(now) > bounds.bytes.min(floor)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_outgrew_its_bounds_is_emptied_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch { spool: folder.path().to_owned(), bounds: Bounds { bytes: 1 << 20 }, free: None };
        let (result, excess) = watch.over(|| 7);
        assert_eq!((result, &excess), (7, &None));
        assert!(watch.tidy(excess).is_none());
        std::fs::write(folder.path().join("large"), vec![1; 2 << 20]).unwrap();
        assert_eq!(watch.excess(), Some(Excess::Bytes(1 << 20)));
        let error = watch.tidy(None).unwrap();
        assert_eq!((error.code().0, error.to_string().contains("1 MiB")), ("E811", true));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(watch.tidy(Some(Excess::Disk)).is_some(), "what is gone is told all the same");
    }

    #[test]
    fn only_a_disk_that_fills_up_is_told_from_what_others_write() {
        let bounds = Bounds { bytes: 100 };
        for (before, now, filling) in [
            (8000, 4000, false),
            (1200, 999, true),
            (1050, 999, false),
            (1200, 1001, false),
            (500, 600, false),
        ] {
            assert_eq!(is_filling(before, now, 8000, bounds), filling, "{before} {now}");
        }
        // A disk that is smaller than what a spool may take.
        assert!(is_filling(700, 90, 800, Bounds { bytes: 10_000 }));
    }
}
