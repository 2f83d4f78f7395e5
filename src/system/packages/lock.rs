//! The locks of package managers: looked at and waited for, never broken.

use std::fs;
use std::time::{Duration, Instant};

use super::{LOCK_PATIENCE, PackageError};
use crate::progress::{Progress, Tell};
use crate::system::clock;

/// How often a lock is looked at; neither dpkg nor rpm tells when it lets go.
const LOOK: Duration = Duration::from_millis(250);

/// Waits until nobody holds a lock file.
pub(super) fn await_lock(path: &str, deadline: Instant, progress: &mut Tell<'_>) -> Result<(), PackageError> {
    await_release(|| lock_holder(path), deadline, progress)
}

fn await_release(
    holder: impl Fn() -> Option<String>,
    deadline: Instant,
    progress: &mut Tell<'_>,
) -> Result<(), PackageError> {
    let mut told = false;
    while let Some(holder) = holder() {
        if clock::instant() >= deadline {
            return Err(PackageError::Locked { holder, minutes: LOCK_PATIENCE.as_secs() / 60 });
        }
        if !told {
            tell_waiting(&holder, progress);
            told = true;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Says for whom a lock is waited for.
pub(super) fn tell_waiting(holder: &str, progress: &mut Tell<'_>) {
    progress(Progress::Waiting(&format!("the package database is locked by {holder}: waiting")));
}

/// Who holds a lock file of apt or dpkg (they use fcntl(2) locks); `None`: nobody.
pub(super) fn lock_holder(path: &str) -> Option<String> {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let file = fs::OpenOptions::new().read(true).write(true).open(path).ok()?;
    let mut lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).ok()?,
        l_whence: i16::try_from(libc::SEEK_SET).ok()?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).ok()?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return None;
    }
    let name = fs::read_to_string(format!("/proc/{}/comm", lock.l_pid)).unwrap_or_default();
    Some(describe(u32::try_from(lock.l_pid).unwrap_or(0), &name))
}

fn describe(process: u32, name: &str) -> String {
    format!("process {process} ({})", crate::error::escaped(name.trim()))
}

/// Waits for the process that a file names to end.
pub(super) fn await_process(
    path: &str,
    deadline: Instant,
    progress: &mut Tell<'_>,
) -> Result<(), PackageError> {
    await_release(|| process(path), deadline, progress)
}

/// The living process whose number is in a file.
fn process(path: &str) -> Option<String> {
    let number: u32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    // The file outlives a dnf that was killed, and numbers are used again.
    let package_tool =
        ["dnf", "yum", "python", "platform-python", "packagekitd"].iter().any(|tool| name.starts_with(tool));
    package_tool.then(|| describe(number, &name))
}
