//! What can go wrong with files, each with what to do about it.

use rustix::io::Errno;
use std::path::{Path, PathBuf};

use crate::error::{Code, Explain};

/// A failure to look at or change a path of the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FsError {
    /// Something on the way to the path is not a directory, or a symlink that is not trusted (E450).
    #[error("{} cannot be reached: {} {reason}", path.display(), at.display())]
    Blocked {
        /// The path.
        path: PathBuf,
        /// The component in the way.
        at: PathBuf,
        /// What it is.
        reason: String,
    },
    /// The directory that the path shall be in does not exist (E451).
    #[error("{} has no directory to be in", path.display())]
    NoParent {
        /// The path.
        path: PathBuf,
    },
    /// Something else is at the path (E452).
    #[error("{} {what} in the way", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// `is a directory`, ….
        what: &'static str,
    },
    /// The path is a mount point (E453).
    #[error("{} is a mount point", path.display())]
    MountPoint {
        /// The path.
        path: PathBuf,
    },
    /// The path has the immutable or append-only flag (E454).
    #[error("{} has the immutable flag", path.display())]
    Immutable {
        /// The path.
        path: PathBuf,
    },
    /// The file has other names (E455).
    #[error("{} has {links} hard links, so other names share its content", path.display())]
    HardLinked {
        /// The path.
        path: PathBuf,
        /// How many.
        links: u64,
    },
    /// A directory still has entries (E456).
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The path.
        path: PathBuf,
    },
    /// The path is never removed (E457).
    #[error("{} is never removed", path.display())]
    Protected {
        /// The path.
        path: PathBuf,
    },
    /// No space or quota is left (E458).
    #[error("no space is left for {}", path.display())]
    NoSpace {
        /// The path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: Errno,
    },
    /// The file system is mounted read-only, or the process is confined (E459).
    #[error("{} is on a read-only file system", path.display())]
    ReadOnly {
        /// The path.
        path: PathBuf,
    },
    /// An owner or group that the host does not know (E460).
    #[error("{} shall belong to the {what} `{name}`, which does not exist", path.display())]
    UnknownPrincipal {
        /// The path.
        path: PathBuf,
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// An attribute that is malformed or that the file system does not take (E464).
    #[error("{} of {} cannot be set: {reason}", attribute, path.display())]
    Attribute {
        /// The path.
        path: PathBuf,
        /// Which attribute.
        attribute: String,
        /// Why.
        reason: String,
    },
    /// Somebody exchanged the file between two steps of ours (E465).
    #[error("{} was changed by somebody else meanwhile", path.display())]
    Changed {
        /// The path.
        path: PathBuf,
    },
    /// A stored file is damaged (E466).
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else the system said (E467).
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: Errno,
    },
}

impl FsError {
    /// Sorts an error of the system into the kinds that have a remedy of their own.
    pub(crate) fn from_errno(action: &'static str, path: &Path, source: Errno) -> FsError {
        let path = path.to_owned();
        match source {
            Errno::NOSPC | Errno::DQUOT => FsError::NoSpace { path, source },
            Errno::ROFS => FsError::ReadOnly { path },
            Errno::BUSY => FsError::MountPoint { path },
            Errno::NOTEMPTY => FsError::NotEmpty { path },
            _ => FsError::Io { action, path, source },
        }
    }

    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            FsError::Blocked { path, .. }
            | FsError::NoParent { path }
            | FsError::InTheWay { path, .. }
            | FsError::MountPoint { path }
            | FsError::Immutable { path }
            | FsError::HardLinked { path, .. }
            | FsError::NotEmpty { path }
            | FsError::Protected { path }
            | FsError::NoSpace { path, .. }
            | FsError::ReadOnly { path }
            | FsError::UnknownPrincipal { path, .. }
            | FsError::Attribute { path, .. }
            | FsError::Changed { path }
            | FsError::Damaged { path, .. }
            | FsError::Io { path, .. } => path,
        }
    }
}

impl Explain for FsError {
    fn code(&self) -> Code {
        Code(match self {
            FsError::Blocked { .. } => "E450",
            FsError::NoParent { .. } => "E451",
            FsError::InTheWay { .. } => "E452",
            FsError::MountPoint { .. } => "E453",
            FsError::Immutable { .. } => "E454",
            FsError::HardLinked { .. } => "E455",
            FsError::NotEmpty { .. } => "E456",
            FsError::Protected { .. } => "E457",
            FsError::NoSpace { .. } => "E458",
            FsError::ReadOnly { .. } => "E459",
            FsError::UnknownPrincipal { .. } => "E460",
            FsError::Attribute { .. } => "E464",
            FsError::Changed { .. } => "E465",
            FsError::Damaged { .. } => "E466",
            FsError::Io { .. } => "E467",
        })
    }

    fn remedy(&self) -> String {
        match self {
            FsError::Blocked { at, .. } => {
                format!(
                    "move {} away; a symlink on the way must belong to root, in directories that only root writes",
                    at.display()
                )
            }
            FsError::NoParent { path } => match path.parent() {
                Some(parent) => format!("declare the directory {}", parent.display()),
                None => "give a path below `/`".into(),
            },
            FsError::InTheWay { .. } => {
                "move it away, or set `force = true`; a directory must be empty".into()
            }
            FsError::MountPoint { .. } => {
                "set `in-place = true` to write into a mounted file, or unmount it".into()
            }
            FsError::Immutable { path } => {
                format!("run `chattr -i -a {}`, or declare `immutable` for it", path.display())
            }
            FsError::HardLinked { .. } => {
                "remove the other names, or set `force = true` to give this name a file of its own".into()
            }
            FsError::NotEmpty { .. } => "move what is in it away, or remove it recursively".into(),
            FsError::Protected { .. } => {
                "the system needs it: take it off the branch, or set `prune = false`".into()
            }
            FsError::NoSpace { .. } => "free space or raise the quota; the next run tries again".into(),
            FsError::ReadOnly { .. } => "remount it writable, or exclude the path from the branch".into(),
            FsError::UnknownPrincipal { what, name, .. } => {
                format!("declare the {what} `{name}`, or correct the name")
            }
            FsError::Attribute { .. } => {
                "correct the attribute, or use a file system that supports it".into()
            }
            FsError::Changed { .. } => "the next run tries again; find out who else writes there".into(),
            FsError::Damaged { path, .. } => format!("remove {}; it is made anew", path.display()),
            FsError::Io { .. } => "run as root, and check the file system for errors".into(),
        }
    }
}
