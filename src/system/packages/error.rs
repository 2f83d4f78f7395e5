//! What can go wrong with packages.

use crate::error::{Code, Explain, escaped};
use crate::system::systemd::SystemdError;
use std::path::PathBuf;

/// Why the package manager did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "fields are named by the messages")]
pub enum PackageError {
    /// E485: a database of the package manager cannot be read.
    #[error("the package database {} cannot be read: {reason}", .path.display())]
    Database { path: PathBuf, reason: String },
    /// E486: a program cannot be run.
    #[error("{program} cannot be run: {reason}")]
    Program { program: String, reason: String },
    /// E487: no archive has the package.
    #[error("no archive offers a package {}", escaped(.name))]
    UnknownPackage { name: String },
    /// E488: no archive has the version.
    #[error("no archive offers version {} of {}", escaped(.version), escaped(.name))]
    UnknownVersion { name: String, version: String },
    /// E489: something would go that nobody asked to remove.
    #[error("the transaction would remove {}, which nobody asked for", .names.join(", "))]
    WouldRemove { names: Vec<String> },
    /// E490: something would be downgraded without leave.
    #[error("the transaction would downgrade {}", .changes.join(", "))]
    WouldDowngrade { changes: Vec<String> },
    /// E491: something held would be changed without leave.
    #[error("the transaction would change {}, which is held", .names.join(", "))]
    Held { names: Vec<String> },
    /// E492: the transaction cannot be worked out.
    #[error("{manager} finds no way to do it: {reason}")]
    Unsolvable { manager: &'static str, reason: String },
    /// E493: the transaction failed.
    #[error("{manager} failed{}: {reason}", code(*.exit))]
    Failed { manager: &'static str, exit: Option<i32>, reason: String },
    /// E494: another program has the package database locked for too long.
    #[error("the package database is locked by {holder} for more than {minutes} minutes")]
    Locked { holder: String, minutes: u64 },
    /// E495: what an interrupted package manager left cannot be repaired.
    #[error("an interrupted package transaction cannot be repaired: {reason}")]
    Broken { reason: String },
    /// E496: the index of the archives cannot be refreshed.
    #[error("the package index cannot be refreshed: {reason}")]
    Index { reason: String },
    /// E497: a name or version that cannot be one.
    #[error("`{}` is not a {what} of {manager}", escaped(.text))]
    Grammar { manager: &'static str, what: &'static str, text: String },
    /// E498: the host lacks something.
    #[error("{manager} on this host cannot {what}")]
    Unsupported { manager: &'static str, what: String, remedy: &'static str },
    /// Any of E470 to E484: systemd, in whose units transactions run.
    #[error("the package transaction could not be run by systemd")]
    Systemd(#[from] SystemdError),
}

impl Explain for PackageError {
    fn code(&self) -> Code {
        Code(match self {
            PackageError::Database { .. } => "E485",
            PackageError::Program { .. } => "E486",
            PackageError::UnknownPackage { .. } => "E487",
            PackageError::UnknownVersion { .. } => "E488",
            PackageError::WouldRemove { .. } => "E489",
            PackageError::WouldDowngrade { .. } => "E490",
            PackageError::Held { .. } => "E491",
            PackageError::Unsolvable { .. } => "E492",
            PackageError::Failed { .. } => "E493",
            PackageError::Locked { .. } => "E494",
            PackageError::Broken { .. } => "E495",
            PackageError::Index { .. } => "E496",
            PackageError::Grammar { .. } => "E497",
            PackageError::Unsupported { .. } => "E498",
            PackageError::Systemd(error) => return error.code(),
        })
    }

    fn remedy(&self) -> String {
        match self {
            PackageError::Database { .. } => "run as root, and check the file system and the package manager by hand".into(),
            PackageError::Program { .. } => "install it, or see whether the host is out of memory or processes".into(),
            PackageError::UnknownPackage { .. } => "check the spelling, and that the repository which has it is configured on this host".into(),
            PackageError::UnknownVersion { name, .. } => {
                format!("name a version that is offered (`apt-cache policy {name}` or `dnf --showduplicates list {name}`), or leave `version` out")
            }
            PackageError::WouldRemove { .. } => "declare those packages with `ensure = \"absent\"` if they may go, or solve the conflict".into(),
            PackageError::WouldDowngrade { .. } => "set `allow-downgrade = true` if that is meant".into(),
            PackageError::Held { .. } => "set `change-held = true`, or release the hold".into(),
            PackageError::Unsolvable { .. } => "the package manager's words name what does not fit together; try the same by hand with a dry run".into(),
            PackageError::Failed { .. } => "its output is in `journalctl -u abide`; correct the cause, the next run tries again".into(),
            PackageError::Locked { .. } => "see what that process does, and end it by hand if it hangs; abide never does".into(),
            PackageError::Broken { .. } => "repair it by hand (`dpkg --audit`, `dpkg --configure -a`, `rpm --rebuilddb`)".into(),
            PackageError::Index { .. } => "check the network, the repositories' addresses and their keys".into(),
            PackageError::Grammar { .. } => "write it as the package manager prints it".into(),
            PackageError::Unsupported { remedy, .. } => (*remedy).into(),
            PackageError::Systemd(error) => error.remedy(),
        }
    }
}

fn code(exit: Option<i32>) -> String {
    exit.map_or_else(|| " (ended by a signal)".into(), |code| format!(" with exit code {code}"))
}
