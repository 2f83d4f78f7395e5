//! The host's verbs: everything that abide can ever do to a host is one of these values.
//!
//! **Invariant:** an effect is idempotent: executing it on a host where it already took place changes nothing. That is
//! what lets recovery finish an interrupted run.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use crate::resource::Content;

/// One thing to do to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Put a whole file in place, atomically, with its attributes right before it is visible.
    WriteFile(WriteFile),
    /// Make a directory (not its parents).
    MakeDirectory {
        /// Absolute path.
        path: PathBuf,
        /// Owner, group, mode.
        attributes: Attributes,
    },
    /// Make or replace a symlink.
    MakeSymlink {
        /// Absolute path of the link.
        path: PathBuf,
        /// What it points to, verbatim.
        target: PathBuf,
        /// Owner and group of the link itself.
        attributes: Attributes,
        /// Replace something that is not a symlink.
        force: bool,
    },
    /// Correct owner, group, mode or extended attributes of what is there.
    SetAttributes {
        /// Absolute path.
        path: PathBuf,
        /// Only what is `Some` is set.
        attributes: Attributes,
    },
    /// Remove a file, symlink or directory.
    Remove {
        /// Absolute path.
        path: PathBuf,
        /// Remove a directory with what is in it.
        recursive: bool,
    },
    /// Change packages; all of one run that can be together become one transaction.
    Package(PackageAction),
    /// Change a unit's state.
    Unit {
        /// Full name with suffix.
        unit: String,
        /// What to do.
        action: UnitAction,
        /// Seconds after which the job counts as failed.
        timeout: u32,
    },
    /// Make systemd read its unit files again. Added by the plan wherever it is due; never by a kind.
    DaemonReload,
    /// Create or change a user.
    User(UserAction),
    /// Create or change a group.
    Group(GroupAction),
    /// Run a program.
    Run(Run),
}

/// A file to put in place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteFile {
    /// Absolute path.
    pub path: PathBuf,
    /// What it shall contain.
    pub content: Content,
    /// Owner, group, mode, … of the new file.
    pub attributes: Attributes,
    /// Program that judges the staged file before it replaces the old one; `{file}` stands for its path.
    pub validate: Option<Vec<String>>,
    /// Keep the former content in the backup store.
    pub backup: bool,
    /// Replace a symlink, directory or other thing in the way.
    pub force: bool,
    /// Write into the existing file instead of replacing it (bind mounts); not atomic.
    pub in_place: bool,
}

/// What can be set beside content. `None`: as it is, or the default for something new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Owner.
    pub owner: Option<Principal>,
    /// Group.
    pub group: Option<Principal>,
    /// Permission bits, including set-id and sticky.
    pub mode: Option<u32>,
    /// SELinux label (`security.selinux`), verbatim.
    pub selinux: Option<String>,
    /// POSIX ACL as `setfacl` text entries; empty list removes.
    pub acl: Option<Vec<String>>,
    /// Extended attributes by name.
    pub xattrs: std::collections::BTreeMap<String, String>,
    /// The immutable flag (`chattr +i`).
    pub immutable: Option<bool>,
}

/// A user or group by name or number. Names are resolved when the effect runs, because the plan may create them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Principal {
    /// By name.
    Name(String),
    /// By number.
    Id(u32),
}

/// What to do with one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageAction {
    /// Name by the package manager's grammar, optionally with `:arch`.
    pub name: String,
    /// What to do.
    pub operation: PackageOperation,
    /// An exact version, or `None` for the candidate.
    pub version: Option<String>,
    /// Options of the transaction; packages with different options are different transactions.
    pub options: PackageOptions,
}

/// The operations of a package transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PackageOperation {
    /// Install, upgrade or downgrade to the version.
    Install,
    /// Remove, keeping configuration.
    Remove,
    /// Remove with configuration.
    Purge,
    /// Hold at the installed version.
    Hold,
    /// Release a hold.
    Unhold,
}

/// Options of a package transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageOptions {
    /// Install recommended (apt) or weak (dnf) dependencies; `None`: as the host is configured.
    pub recommends: Option<bool>,
    /// Allow going to a lower version.
    pub allow_downgrade: bool,
    /// Allow changing a held package.
    pub change_held: bool,
    /// Release or repository to take it from.
    pub release: Option<String>,
    /// What happens to configuration files changed by hand.
    pub conffiles: Conffiles,
    /// debconf answers, set before the transaction: lines as `debconf-set-selections` reads them.
    pub debconf: Vec<String>,
    /// Let maintainer scripts start or restart services themselves.
    pub start_services: bool,
    /// A local package file to install, instead of one from an archive.
    pub file: Option<PathBuf>,
}

/// Policy for configuration files of packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conffiles {
    /// Keep a changed one, take the new one where it was unchanged (`confdef,confold`).
    #[default]
    Keep,
    /// Take the package's.
    Replace,
}

/// What to do with one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitAction {
    /// Remove the mask.
    Unmask,
    /// Mask it.
    Mask,
    /// Enable it at boot.
    Enable,
    /// Do not start it at boot.
    Disable,
    /// Clear a failed state.
    ResetFailed,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Reload it if it runs and can; restart it if it cannot reload; leave it if it does not run.
    Reload,
    /// Restart it if it runs; leave it if it does not run.
    Restart,
}

/// A user to create, change or remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAction {
    /// Login name.
    pub name: String,
    /// Remove instead of create; with the home directory when `remove_home`.
    pub absent: bool,
    /// Remove the home directory too.
    pub remove_home: bool,
    /// Create it as a system user.
    pub system: bool,
    /// Numeric id.
    pub uid: Option<u32>,
    /// Primary group.
    pub group: Option<String>,
    /// Supplementary groups; `None`: as they are.
    pub groups: Option<Vec<String>>,
    /// Home directory.
    pub home: Option<PathBuf>,
    /// Create the home directory.
    pub create_home: bool,
    /// Login shell.
    pub shell: Option<PathBuf>,
    /// The comment (GECOS) field.
    pub comment: Option<String>,
    /// Password hash as in `/etc/shadow`.
    pub password: Option<String>,
    /// Locked password.
    pub locked: Option<bool>,
    /// Expiry date `YYYY-MM-DD`; empty: never.
    pub expires: Option<String>,
}

/// A group to create, change or remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAction {
    /// Name.
    pub name: String,
    /// Remove instead of create.
    pub absent: bool,
    /// Create it as a system group.
    pub system: bool,
    /// Numeric id.
    pub gid: Option<u32>,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Program and arguments; never a shell string.
    pub argv: Vec<String>,
    /// Working directory.
    pub directory: Option<PathBuf>,
    /// User to run as; root when absent.
    pub user: Option<String>,
    /// Variables added to a clean environment.
    pub environment: std::collections::BTreeMap<String, String>,
    /// Seconds after which it is ended and counts as failed.
    pub timeout: u32,
    /// Extra systemd properties that confine it: `read-only`, `no-network`.
    pub sandbox: Vec<String>,
    /// Exit codes that count as success.
    pub success: Vec<i32>,
}
