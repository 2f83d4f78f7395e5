//! abide changes its own package: a guard that is a copy of the program which works returns to it if the new one does not.
//!
//! [`arm()`] is called right before the transaction; [`watch()`] is the guard itself, a service of its own that survives reboots. It
//! judges the new version by what can be seen from outside, and needs nothing of it: its process, and the status that its runs write.
//!
//! **Invariant:** from before the first file of another version is unpacked until that version has ended a run, the program that worked
//! is on this host, and something that does not depend on the new one will bring it back.

#![allow(
    clippy::disallowed_methods,
    reason = "the guard's files are abide's own, in folders that only root can change"
)]

mod arm;
mod judge;
mod package;
mod restore;
mod watch;

pub use arm::{Upgrade, arm, arm_for_others, is_own, keep_state};
pub use package::WithoutPackage;
pub use watch::watch;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

use crate::config::Paths;
use crate::error::{Code, Explain, Problem};
use crate::system::{packages, replace};

/// The package, and the resource that may declare it.
pub const PACKAGE: &str = "abide";

/// The installed program.
pub const PROGRAM: &str = "/usr/bin/abide";

/// The guard's unit.
pub const UNIT: &str = "abide-guard.service";

/// Units that come with the package; the guard keeps them beside the program.
const UNITS: [&str; 2] =
    ["/usr/lib/systemd/system/abide.service", "/usr/lib/systemd/system/abide-fetch.service"];

/// Where the guard's unit lies, and what has it started at boot.
const UNIT_FILE: &str = "/etc/systemd/system/abide-guard.service";
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants/abide-guard.service";

/// The form of the record. Only the copy that wrote it reads it, and a newer program that finds it armed already.
const FORM: u32 = 1;

/// What is guarded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    form: u32,
    /// SHA-256 in hex of the program that works.
    program: String,
    /// Version of its package; empty: it did not come in one.
    former: String,
    /// The version that is brought, where it is known before.
    latter: Option<String>,
    /// Its package, where one could be kept: the name in the guard's folder.
    package: Option<String>,
    /// The commit that brings the other version, in hex, and how people know it.
    commit: String,
    revision: String,
    /// That commit had not been good on this host before.
    brought: bool,
    /// The agent ran.
    agent: bool,
    /// The run that brings it: process and when that began, in the kernel's ticks.
    run: (u32, u64),
    /// Seconds in which the new one has to prove itself.
    within: u64,
    /// Where everything lies.
    config: PathBuf,
    state: PathBuf,
    spool: PathBuf,
    runtime: PathBuf,
    /// Why the former one is being put back, once that is decided.
    reason: Option<String>,
}

impl std::fmt::Display for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Record { former, latter, revision, within, .. } = self;
        let latter = latter.as_deref().unwrap_or("another version");
        write!(
            formatter,
            "{revision} brings abide {latter}: it has {within} seconds after that to end a run, or {former} is put back"
        )
    }
}

impl Record {
    fn load(folder: &Path) -> Result<Option<Record>, UpgradeError> {
        let path = folder.join(RECORD);
        let unreadable = |source| UpgradeError::Record { path: path.clone(), source };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error)),
        }
    }

    fn save(&self, folder: &Path) -> std::io::Result<()> {
        replace::replace(&folder.join(RECORD), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    fn paths(&self) -> Paths {
        Paths {
            config: self.config.clone(),
            state: self.state.clone(),
            spool: self.spool.clone(),
            run: self.runtime.clone(),
        }
    }
}

const RECORD: &str = "record.json";

/// The copy of the program in the guard's folder.
const COPY: &str = "abide";

/// Where the guard may keep its files, best first: the second is on the root file system, which always lets programs run.
fn folders(paths: &Paths) -> [PathBuf; 2] {
    [paths.state.join("guard"), paths.config.join("guard")]
}

/// A version of abide that did not work on this host: not installed again for the same commit, nor as the latest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The commit that brought it, in hex.
    pub commit: String,
    /// The version, where it was known.
    pub version: Option<String>,
    /// What was wrong with it.
    pub reason: Problem,
}

/// What can be wrong with another version of abide.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// E395: it does not work here.
    #[error("abide{latter} of {revision} does not work on this host, and {former} is back: {reason}")]
    Undone {
        /// The commit that brought it.
        revision: String,
        /// Its version, with a blank before it.
        latter: String,
        /// What is in its place again.
        former: String,
        /// What was seen.
        reason: String,
    },
    /// E396: it did not work here, and is not tried again.
    #[error("this version of abide did not work on this host, and is not installed again: {reason}")]
    Refused {
        /// What was wrong with it.
        reason: String,
    },
    /// E397: the former program is back, but not its package.
    #[error(
        "the former package of abide could not be installed again, and its program was put back without it: {why}"
    )]
    WithoutPackage {
        /// Why not.
        why: String,
    },
    /// E398: the former one could not be put back.
    #[error("the former abide could not be put back")]
    Stuck(#[source] std::io::Error),
    /// E860: there can be no guard.
    #[error("abide is not changed, because nothing would guard that: {} cannot be made", path.display())]
    Arm {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E861: no folder lets the guard run.
    #[error(
        "abide is not changed, because nothing would guard that: neither {first} nor {second} lets programs run"
    )]
    NoExec {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// E862: systemd does not start the guard.
    #[error("abide is not changed, because nothing would guard that: systemd does not start {UNIT}: {why}")]
    NotStarted {
        /// What systemd says.
        why: String,
    },
    /// E863: the record cannot be read.
    #[error("{} cannot be read", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for UpgradeError {
    fn code(&self) -> Code {
        Code(match self {
            UpgradeError::Undone { .. } => "E395",
            UpgradeError::Refused { .. } => "E396",
            UpgradeError::WithoutPackage { .. } => "E397",
            UpgradeError::Stuck(_) => "E398",
            UpgradeError::Arm { .. } => "E860",
            UpgradeError::NoExec { .. } => "E861",
            UpgradeError::NotStarted { .. } => "E862",
            UpgradeError::Record { .. } => "E863",
        })
    }

    fn remedy(&self) -> String {
        match self {
            UpgradeError::Undone { .. } | UpgradeError::Refused { .. } => {
                "push a commit with a version that works; `abide resume` tries this one again"
            }
            UpgradeError::WithoutPackage { .. } => {
                "make the former version available to the package manager again and install it, or push a commit with a version that works"
            }
            UpgradeError::Stuck(_) => "install a version of the package that works by hand",
            UpgradeError::Arm { .. } => "check the space and the rights of the folder; the next run tries again",
            UpgradeError::NoExec { .. } => "mount one of them without noexec, or change abide by hand",
            UpgradeError::NotStarted { .. } => {
                "look at `systemctl status abide-guard`; the next run tries again"
            }
            UpgradeError::Record { .. } => {
                "remove the file once abide works: the guard that it belongs to does nothing without it"
            }
        }
        .into()
    }
}

/// Removes what a host left that died before a guard was there, or after it was not needed any more: as much as a program takes. Not
/// while somebody works with packages, since then it may be in the making.
pub fn sweep(paths: &Paths) {
    let folders = folders(paths);
    if folders.iter().any(|folder| folder.exists()) && !packages::under_way() {
        // What cannot be removed is in nobody's way until the next run.
        let _ = sweep_folders(&folders, [Path::new(WANTS), Path::new(UNIT_FILE)]);
    }
}

fn sweep_folders(folders: &[PathBuf], units: [&Path; 2]) -> std::io::Result<()> {
    // The record is written before the unit, and goes before it: only with both there is a guard.
    if units[0].exists() && folders.iter().any(|folder| folder.join(RECORD).exists()) {
        return Ok(());
    }
    folders.iter().try_for_each(|folder| remove(folder, units))
}

/// Ends the guard: nothing of it is left. Files that are gone already are no error.
fn disarm(folder: &Path) -> std::io::Result<()> {
    remove(folder, [Path::new(WANTS), Path::new(UNIT_FILE)])
}

fn remove(folder: &Path, units: [&Path; 2]) -> std::io::Result<()> {
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    // Without the record the unit does nothing, so that goes first.
    gone(std::fs::remove_file(folder.join(RECORD)))?;
    units.into_iter().try_for_each(|unit| gone(std::fs::remove_file(unit)))?;
    if let Ok(entries) = std::fs::read_dir(folder) {
        for entry in entries {
            gone(std::fs::remove_file(entry?.path()))?;
        }
    }
    gone(std::fs::remove_dir(folder))
}

/// SHA-256 of a file, in hex.
fn sha256(path: &Path) -> std::io::Result<String> {
    use sha2::Digest as _;
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => break,
            length => hasher.update(&block[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_guard_is_swept_away_and_a_whole_one_stays() {
        let host = tempfile::tempdir().unwrap();
        let folders = ["state", "config"].map(|name| host.path().join(name));
        let units = ["wants", "unit"].map(|name| host.path().join(name));
        for (record, unit, stays) in
            [(true, true, true), (true, false, false), (false, true, false), (false, false, false)]
        {
            std::fs::create_dir(&folders[0]).unwrap();
            std::fs::write(folders[0].join(COPY), "program").unwrap();
            std::fs::write(folders[0].join(".abide.new"), "half a program").unwrap();
            for (path, there) in [(&folders[0].join(RECORD), record), (&units[0], unit), (&units[1], unit)] {
                if there {
                    std::fs::write(path, "").unwrap();
                }
            }
            sweep_folders(&folders, [&units[0], &units[1]]).unwrap();
            assert_eq!(folders[0].exists(), stays, "record: {record}, unit: {unit}");
            assert_eq!(units[1].exists(), stays, "record: {record}, unit: {unit}");
            remove(&folders[0], [&units[0], &units[1]]).unwrap();
        }
    }
}
