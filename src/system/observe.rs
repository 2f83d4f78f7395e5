//! What the plan knows of the host: asked for in one batch, answered as plain data.
//!
//! **Invariant:** once observed, the host is not asked again while a plan is made.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::packages::VersionOrder;

/// What belongs to each of thousands of paths. Not ordered, since comparing paths goes through their components, which costs more than
/// looking at them does: whoever needs an order makes one. Hashed quickly, since the paths come from a branch that is proven.
pub type ByPath<T> = HashMap<PathBuf, T, foldhash::fast::RandomState>;

/// Everything that a desired state needs to know, collected from all resources before the host is asked.
#[derive(Debug, Default)]
pub struct Needs {
    /// Paths to look at, and what of them.
    pub paths: ByPath<PathNeed>,
    /// Packages by name.
    pub packages: BTreeSet<String>,
    /// Of those packages, the ones whose versions on offer matter even when the installed one would do (`latest`), with the version
    /// that, once installed, settles it. The package manager has to be asked for them, which is slow:
    /// [`Host::observe`](super::Host::observe) leaves it to the run.
    pub offers: BTreeMap<String, Option<String>>,
    /// Units by full name.
    pub units: BTreeSet<String>,
    /// Users by name.
    pub users: BTreeSet<String>,
    /// Groups by name.
    pub groups: BTreeSet<String>,
    /// Whole directory trees to list (for purge), with names of entries to leave alone.
    pub listings: BTreeMap<PathBuf, Vec<String>>,
    /// Guard programs to run (`unless`, `only-if`), by their argument list.
    pub guards: BTreeSet<Guard>,
}

/// How much of a path is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathNeed {
    /// The SHA-256 of a regular file's content.
    pub content: bool,
    /// Extended attributes, ACL, label and inode flags.
    pub extended: bool,
}

impl Needs {
    /// Asks for a path; needs for the same path add up.
    pub fn path(&mut self, path: &Path, need: PathNeed) {
        let known = self.paths.entry(path.to_owned()).or_default();
        known.content |= need.content;
        known.extended |= need.extended;
    }
}

/// A guard program of a command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Guard {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// User to run as.
    pub user: Option<String>,
    /// Working directory.
    pub directory: Option<PathBuf>,
}

/// The host, as far as it was asked for.
#[derive(Debug, Default)]
pub struct Observed {
    /// Answers for paths. Missing from the map: was not asked for.
    pub paths: ByPath<PathState>,
    /// Answers for packages.
    pub packages: BTreeMap<String, PackageState>,
    /// How the package manager that gave them orders versions.
    pub versions: VersionOrder,
    /// Answers for units.
    pub units: BTreeMap<String, UnitState>,
    /// Users of the host that were asked for and exist.
    pub users: BTreeMap<String, UserState>,
    /// Groups of the host that were asked for and exist.
    pub groups: BTreeMap<String, GroupState>,
    /// Entries of listed directories, relative paths, sorted.
    pub listings: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Whether each guard exited with 0; an error text when it could not be run.
    pub guards: BTreeMap<Guard, Result<bool, String>>,
}

/// One path of the host.
#[derive(Debug, Clone, PartialEq)]
pub enum PathState {
    /// Nothing is there; its nearest existing ancestor is a directory.
    Absent,
    /// Something on the way is not a directory, or a symlink that is not trusted.
    Blocked {
        /// The component in the way.
        at: PathBuf,
        /// What it is, in words.
        reason: String,
    },
    /// It could not be looked at.
    Unreadable(String),
    /// It is there.
    Present(Box<Present>),
}

/// Something that exists at a path; symlinks are not followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Present {
    /// What it is.
    pub file_type: FileType,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// SHA-256 of the content, when it was asked for and this is a regular file.
    pub sha256: Option<[u8; 32]>,
    /// Target of a symlink.
    pub target: Option<PathBuf>,
    /// Extended attributes, when asked for.
    pub extended: Option<Extended>,
    /// Whether the path itself is a mount point.
    pub mount_point: bool,
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FileType {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    BlockDevice,
    CharacterDevice,
}

impl FileType {
    /// What it is, as a message says it: `a symlink`.
    pub fn words(self) -> &'static str {
        match self {
            FileType::File => "a file",
            FileType::Directory => "a directory",
            FileType::Symlink => "a symlink",
            FileType::Fifo => "a named pipe",
            FileType::Socket => "a socket",
            FileType::BlockDevice => "a block device",
            FileType::CharacterDevice => "a character device",
        }
    }
}

/// Extended attributes of a path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extended {
    /// SELinux label.
    pub selinux: Option<String>,
    /// ACL entries as text, sorted.
    pub acl: Vec<String>,
    /// User-visible extended attributes (`user.*`, `trusted.*`, `security.capability`).
    pub xattrs: BTreeMap<String, String>,
    /// The immutable flag.
    pub immutable: bool,
}

/// One package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageState {
    /// Installed version with epoch and release; `None`: not installed.
    pub installed: Option<String>,
    /// Only configuration files are left (dpkg).
    pub config_files: bool,
    /// Held back.
    pub held: bool,
    /// Version that an archive offers; `None`: not asked for or unknown.
    pub candidate: Option<String>,
    /// Every version that an archive offers, newest first; empty when not asked for.
    pub available: Vec<String>,
    /// Installed packages that provide this name.
    pub provided_by: Vec<String>,
    /// The archive index was consulted, so an empty candidate means: no such package.
    pub index_consulted: bool,
    /// dpkg was interrupted inside this package.
    pub broken: bool,
}

/// One unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, `error`, ….
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, ….
    pub active: String,
    /// The finer state of its type.
    pub sub: String,
    /// `enabled`, `disabled`, `static`, `indirect`, `masked`, `alias`, `linked`, `generated`, …; empty when there is no unit file.
    pub file_state: String,
    /// Path of the unit file.
    pub fragment: PathBuf,
    /// The unit file on disk is newer than what systemd has read.
    pub needs_reload: bool,
    /// Whether the unit knows how to reload.
    pub can_reload: bool,
    /// Units that start this one when they are used (sockets, paths, timers).
    pub triggered_by: Vec<String>,
    /// Of those, which are active.
    pub active_triggers: Vec<String>,
}

/// One line of the password database, with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserState {
    /// Numeric id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Name of the primary group, when it has one.
    pub group: String,
    /// Names of the supplementary groups, sorted.
    pub groups: Vec<String>,
    /// Comment field.
    pub comment: String,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
    /// Hash in the shadow file; empty when it could not be read.
    pub password: String,
    /// Locked password (`!` in front of the hash).
    pub locked: bool,
    /// Expiry date `YYYY-MM-DD`; empty: never.
    pub expires: String,
    /// In the host's own files, not from a directory service.
    pub local: bool,
}

/// One line of the group database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Numeric id.
    pub gid: u32,
    /// Names of the members, sorted.
    pub members: Vec<String>,
    /// In the host's own files.
    pub local: bool,
}
