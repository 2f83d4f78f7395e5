//! Which program the agent is, and what it does when another one is installed: it has systemd start that one in its place, with the unit
//! file that came with it, between two runs. A run that is under way ends as the program that it is.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::system::systemd::{Systemd, SystemdError};

/// The agent's unit.
pub const UNIT: &str = "abide.service";

/// While somebody works with packages, the next look comes after this.
const LOOK: Duration = Duration::from_millis(250);

/// Who leaves a package manager open for longer than this does not keep the agent from being the installed program.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// systemd has been asked to restart the agent; if it has not by then, the agent ends by itself, and is started again as well.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an agent has to do about another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Nothing: it is the installed one.
    None,
    /// Start nothing more, and look again then.
    Wait(Instant),
    /// Ask systemd.
    Ask,
    /// End: systemd does not answer.
    End,
}

/// Watches which program is installed.
#[derive(Debug, Default)]
pub(super) struct Renewer {
    own: Option<Installed>,
    /// Since when there is another.
    since: Option<Instant>,
    asked: Option<Instant>,
    wake: Option<Instant>,
}

impl Renewer {
    /// For an agent that a service manager started; any other one stays what it is.
    pub(super) fn new() -> Renewer {
        let own = std::env::var_os("NOTIFY_SOCKET").and_then(|_| Installed::own());
        Renewer { own, ..Renewer::default() }
    }

    /// Whether this agent will be replaced by what is installed.
    pub(super) fn is_able(&self) -> bool {
        self.own.is_some()
    }

    /// When to look again.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// What is to be done by an agent that has no run under way; `busy` says whether somebody works with packages.
    pub(super) fn due(&mut self, now: Instant, busy: impl FnOnce() -> bool) -> Renewal {
        let renewal = self.judge(now, busy);
        self.wake = match renewal {
            Renewal::Wait(at) => Some(at),
            _ => None,
        };
        renewal
    }

    fn judge(&mut self, now: Instant, busy: impl FnOnce() -> bool) -> Renewal {
        if let Some(asked) = self.asked {
            let end = asked + PATIENCE;
            return if now < end { Renewal::Wait(end) } else { Renewal::End };
        }
        if !self.own.as_ref().is_some_and(Installed::is_replaced) {
            self.since = None;
            return Renewal::None;
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < LONGEST && busy() {
            return Renewal::Wait(now + LOOK);
        }
        self.asked = Some(now);
        Renewal::Ask
    }
}

/// Asks systemd to restart the agent, as it would be started now.
pub(super) fn ask() -> Result<(), SystemdError> {
    let systemd = Systemd::connect()?;
    systemd.daemon_reload()?;
    systemd.restart_later(UNIT)
}

/// Has the agent look at everything, where it runs. For those whose sandbox leaves them no signals.
///
/// # Errors
/// The agent does not run as a service, or systemd does not answer.
pub fn wake() -> Result<(), SystemdError> {
    Systemd::connect()?.reload_later(UNIT)
}

/// A program: where it is installed, and which file it was when it was started.
///
/// The version says nothing here: a package may be built twice. A file that was put in the place of another is another one.
#[derive(Debug, Clone)]
pub(super) struct Installed {
    path: PathBuf,
    file: (u64, u64),
}

impl Installed {
    /// The program of this process. `None`: it was not started by an absolute path, so that nobody can tell what is installed.
    pub(super) fn own() -> Option<Installed> {
        let path = std::env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute())?;
        Some(Installed { path, file: file(Path::new("/proc/self/exe"))? })
    }

    /// Whether another file is in its place. None at all is what a package transaction shows for a moment, or somebody's mistake.
    pub(super) fn is_replaced(&self) -> bool {
        file(&self.path).is_some_and(|now| now != self.file)
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_in_its_place_is_another_program() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("abide"), folder.path().join("next"));
        std::fs::write(&path, "same").unwrap();
        let installed = Installed { path: path.clone(), file: file(&path).unwrap() };
        assert!(!installed.is_replaced());
        std::fs::write(&next, "same").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert!(installed.is_replaced(), "whatever it holds");
        std::fs::remove_file(&path).unwrap();
        assert!(!installed.is_replaced(), "in between there is none");
    }

    #[test]
    fn the_installed_one_is_asked_for_once_and_not_amid_packages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abide");
        std::fs::write(&path, "").unwrap();
        let own = Installed { path, file: (0, 0) };
        let mut renewer = Renewer { own: Some(own), ..Renewer::default() };
        let start = crate::system::clock::instant();
        assert_eq!(renewer.due(start, || true), Renewal::Wait(start + LOOK));
        assert_eq!(renewer.wake(), Some(start + LOOK));
        let later = start + LOOK;
        assert_eq!(renewer.due(later, || false), Renewal::Ask);
        assert_eq!(renewer.due(later, || false), Renewal::Wait(later + PATIENCE));
        assert_eq!(renewer.due(later + PATIENCE, || false), Renewal::End);
        let mut renewer = Renewer { asked: None, since: Some(start), ..renewer };
        assert_eq!(renewer.due(start + LONGEST, || true), Renewal::Ask);
        assert_eq!(Renewer::default().due(start, || false), Renewal::None);
    }

    #[test]
    fn a_running_program_is_found() {
        let own = Installed::own().unwrap();
        assert!(own.path.is_absolute() && !own.is_replaced());
    }
}
