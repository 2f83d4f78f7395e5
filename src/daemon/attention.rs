//! What the agent listens to: files through inotify, units through signals of systemd.
//!
//! **Invariant:** whatever breaks off is begun anew, and what may have been missed meanwhile counts as heard.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::DaemonError;
use super::schedule::Tries;
use super::watch::{Armed, Source, Watches};
use crate::config::Paths;
use crate::error::Problem;
use crate::manifest::Watched;
use crate::system::systemd::{self, SystemdError, UnitEvent, UnitWatch};
use crate::system::{clock, packages};

/// The first and the longest time to the next try to listen to units.
const LISTEN_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Watches, and a connection to systemd.
pub(super) struct Attention {
    /// `None`: the system has no inotify left, and drift is healed by the periodic check.
    files: Option<Watches>,
    units: Option<UnitWatch>,
    /// When to try again to listen to units, after it failed.
    again: Option<Instant>,
    tries: Tries,
}

/// What came of turning to a desired state.
pub(super) struct Turned {
    /// Something is watched that was not before.
    pub(super) fresh: bool,
    /// Why not all files are watched.
    pub(super) blind: Option<Problem>,
    /// Why units are not listened to.
    pub(super) deaf: Option<Problem>,
    /// Number of watched directories and units.
    pub(super) count: usize,
}

/// What was heard.
pub(super) struct Heard {
    /// Where something happened.
    pub(super) sources: BTreeSet<Source>,
    /// Events of files were lost.
    pub(super) lost: bool,
}

impl Attention {
    /// Listens to nothing yet.
    pub(super) fn new() -> Attention {
        Attention { files: None, units: None, again: None, tries: Tries::new(LISTEN_AGAIN.0) }
    }

    /// Turns to what the desired state in force is about.
    pub(super) async fn turn(&mut self, paths: &Paths) -> Turned {
        let Watched { paths: mut files, folders, units, packages } =
            Watched::load(&paths.desired()).unwrap_or_default();
        // A run by an operator, or a change of the settings, changes what has to be watched.
        files.extend([paths.desired()]);
        if packages {
            files.extend(packages::databases());
        }
        files.extend(systemd::enablement(&units));
        let count = units.len();
        let (mut fresh, blind) = match self.watch(&files, &folders) {
            Ok(Armed { fresh, missing }) => (fresh, missing),
            Err(error) => (false, Some(error)),
        };
        let deaf = match self.listen(units).await {
            Ok(begun) => {
                fresh |= begun;
                None
            }
            Err(error) => Some(DaemonError::Units(error).into()),
        };
        Turned {
            fresh,
            blind: blind.map(|error| DaemonError::Watch(error).into()),
            deaf,
            count: self.files.as_ref().map_or(0, Watches::len) + count,
        }
    }

    fn watch(&mut self, files: &BTreeSet<PathBuf>, folders: &BTreeSet<PathBuf>) -> std::io::Result<Armed> {
        let watches = match self.files.take() {
            Some(watches) => watches,
            None => Watches::new()?,
        };
        Ok(self.files.insert(watches).set(files, folders))
    }

    /// Listens to these units; whether it has just begun to.
    async fn listen(&mut self, units: BTreeSet<String>) -> Result<bool, SystemdError> {
        if self.units.as_ref().is_some_and(|watch| *watch.units() == units) {
            return Ok(false);
        }
        self.units = None;
        let watch = match units.is_empty() {
            true => Ok(None),
            false => systemd::watch(units).await.map(Some),
        };
        match &watch {
            Ok(_) => self.tries.succeeded(),
            Err(_) => self.again = Some(clock::moment() + self.tries.failed(LISTEN_AGAIN.1)),
        }
        self.units = watch?;
        Ok(self.units.is_some())
    }

    /// When to turn to the same once more, after something of it failed.
    pub(super) fn again(&self) -> Option<Instant> {
        self.again
    }

    /// Whether it is time to; says so once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.again.take_if(|at| *at <= now).is_some()
    }

    /// Waits until something happens. Dropping the future loses nothing.
    pub(super) async fn heard(&mut self) -> Heard {
        tokio::select! {
            event = changed(&mut self.files) => self.heard_files(event),
            event = next_unit(&mut self.units) => self.heard_unit(event),
        }
    }

    fn heard_files(&mut self, event: std::io::Result<BTreeSet<Source>>) -> Heard {
        let sources = event.unwrap_or_else(|error| {
            tracing::debug!(target: "abide", "file events broke off: {error}");
            // The run that follows is followed by new watches.
            self.files = None;
            [Source::Anywhere].into()
        });
        Heard { lost: sources.contains(&Source::Anywhere), sources }
    }

    fn heard_unit(&mut self, event: Result<UnitEvent, SystemdError>) -> Heard {
        let source = match event {
            Ok(UnitEvent::Changed(unit)) => Source::Unit(unit),
            Ok(UnitEvent::FilesChanged) => Source::Unit("unit files".into()),
            Err(error) => {
                tracing::debug!(target: "abide", "signals of units broke off: {error}");
                self.units = None;
                Source::Anywhere
            }
        };
        Heard { sources: [source].into(), lost: false }
    }
}

async fn changed(files: &mut Option<Watches>) -> std::io::Result<BTreeSet<Source>> {
    match files {
        Some(watches) => watches.changed().await,
        None => std::future::pending().await,
    }
}

async fn next_unit(units: &mut Option<UnitWatch>) -> Result<UnitEvent, SystemdError> {
    match units {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}
