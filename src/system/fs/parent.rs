//! The way to a path: opens directories so that nobody but root can redirect us.
//!
//! A path without symlinks is opened in one call by `openat2` with `RESOLVE_NO_SYMLINKS`. A symlink on the way is followed only
//! while every directory so far is one that only root can write, and the link itself is root's: `/lib`, `/var/run` work,
//! `/tmp/link/file` does not.

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::FsError;

/// Opening for looking up names in it, nothing else.
pub(crate) const LOOKUP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Opening for listing and syncing.
pub(crate) const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// As the kernel's own limit (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// Why a directory could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WayError {
    /// A component does not exist; what is before it is a directory.
    Missing,
    /// A component is in the way.
    Blocked { at: PathBuf, reason: String },
    /// The system refused.
    Failed(Errno),
}

impl WayError {
    pub(crate) fn about(self, path: &Path) -> FsError {
        match self {
            WayError::Missing => FsError::NoParent { path: path.to_owned() },
            WayError::Blocked { at, reason } => FsError::Blocked { path: path.to_owned(), at, reason },
            WayError::Failed(errno) => FsError::from_errno("open the directory of", path, errno),
        }
    }
}

/// Opens a directory by its absolute path; `flags` are [`LOOKUP`] or [`LIST`].
pub(crate) fn open_directory(path: &Path, flags: OFlags) -> Result<OwnedFd, WayError> {
    open_below(CWD, path.as_os_str(), path, flags)
}

/// Opens the directory that holds a path, and gives the name inside it.
pub(crate) fn open_parent(path: &Path, flags: OFlags) -> Result<(OwnedFd, &OsStr), FsError> {
    let (parent, name) = split(path).ok_or_else(|| FsError::Io {
        action: "use the path",
        path: path.to_owned(),
        source: Errno::INVAL,
    })?;
    let directory = open_directory(parent, flags).map_err(|error| error.about(path))?;
    Ok((directory, name))
}

/// Splits an absolute path into directory and name; `None` for the root, relative paths and names such as `..`.
pub(crate) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/')?;
    let name = bytes.get(slash + 1..)?;
    if bytes.first() != Some(&b'/') || name.is_empty() || name == b"." || name == b".." {
        return None;
    }
    let parent = bytes.get(..slash.max(1))?;
    Some((Path::new(OsStr::from_bytes(parent)), OsStr::from_bytes(name)))
}

/// Opens a directory relative to one that is open already (`rest`), falling back to the whole path for diagnosis and trusted links.
fn open_below(base: impl AsFd, rest: &OsStr, whole: &Path, flags: OFlags) -> Result<OwnedFd, WayError> {
    match rustix::fs::openat2(base, rest, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(directory) => Ok(directory),
        Err(Errno::NOENT) => Err(WayError::Missing),
        // A symlink or another obstacle, or a kernel or seccomp filter without openat2: look at each component.
        Err(Errno::LOOP | Errno::NOTDIR | Errno::NOSYS | Errno::PERM | Errno::INVAL) => walk(whole, flags),
        Err(errno) => Err(WayError::Failed(errno)),
    }
}

/// A component that is still to be walked, and the part of the asked path that it stands for.
struct Pending {
    name: OsString,
    logical: PathBuf,
    from_link: bool,
}

fn walk(path: &Path, flags: OFlags) -> Result<OwnedFd, WayError> {
    let mut directory = root()?;
    let mut trusted = only_root_writes(&stat(&directory)?);
    let mut pending: Vec<Pending> = Vec::new();
    let mut logical = PathBuf::from("/");
    for component in path.components() {
        if let Component::Normal(name) = component {
            logical.push(name);
            pending.push(Pending { name: name.to_owned(), logical: logical.clone(), from_link: false });
        }
    }
    pending.reverse();
    let mut links = 0;
    while let Some(Pending { name, logical, from_link }) = pending.pop() {
        let blocked = |reason: &str| WayError::Blocked { at: logical.clone(), reason: reason.to_owned() };
        let child = match open_component(&directory, &name) {
            Ok(child) => child,
            Err(Errno::NOENT) if from_link => {
                return Err(blocked("is a symlink to something that does not exist"));
            }
            Err(Errno::NOENT) => return Err(WayError::Missing),
            Err(errno) => return Err(WayError::Failed(errno)),
        };
        let status = stat(&child)?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => {
                trusted &= only_root_writes(&status);
                directory = child;
            }
            FileType::Symlink => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(blocked("is a symlink that leads through too many others"));
                }
                if !trusted || status.st_uid != 0 {
                    return Err(blocked("is a symlink that others than root can change"));
                }
                let target = rustix::fs::readlinkat(&child, "", Vec::new()).map_err(WayError::Failed)?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    directory = root()?;
                }
                push_target(&mut pending, &target, &logical);
            }
            _ => return Err(blocked("is not a directory")),
        }
    }
    rustix::fs::openat(&directory, ".", flags, Mode::empty()).map_err(WayError::Failed)
}

fn push_target(pending: &mut Vec<Pending>, target: &Path, logical: &Path) {
    for component in target.components().rev() {
        let name = match component {
            Component::Normal(name) => name.to_owned(),
            Component::ParentDir => OsString::from(".."),
            _ => continue,
        };
        pending.push(Pending { name, logical: logical.to_owned(), from_link: true });
    }
}

fn root() -> Result<OwnedFd, WayError> {
    rustix::fs::open("/", LOOKUP, Mode::empty()).map_err(WayError::Failed)
}

fn open_component(directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn stat(directory: &OwnedFd) -> Result<Stat, WayError> {
    rustix::fs::fstat(directory).map_err(WayError::Failed)
}

/// Whether nobody but root can change the entries of a directory. The sticky bit is no help: others may add what root then uses.
/// The group's bits show the mask of an ACL, so that one is covered too.
pub(crate) fn only_root_writes(directory: &Stat) -> bool {
    directory.st_uid == 0 && directory.st_mode & 0o022 == 0
}

/// Directories opened for a sorted run of paths: each one once, relative to the nearest that is open.
#[derive(Default)]
pub(crate) struct Parents<'a> {
    stack: Vec<(&'a Path, Result<OwnedFd, WayError>)>,
}

impl<'a> Parents<'a> {
    /// The open directory for `parent`, which must be absolute. Sorted calls keep the stack short and make each open happen once.
    pub(crate) fn open(&mut self, parent: &'a Path) -> &Result<OwnedFd, WayError> {
        while self.stack.last().is_some_and(|(open, _)| !encloses(open, parent)) {
            self.stack.pop();
        }
        if self.stack.last().is_none_or(|(open, _)| open.as_os_str().len() != parent.as_os_str().len()) {
            let opened = match self.stack.last() {
                Some((open, Ok(directory))) => open_below(directory, below(open, parent), parent, LOOKUP),
                _ => open_directory(parent, LOOKUP),
            };
            self.stack.push((parent, opened));
        }
        #[expect(clippy::expect_used, reason = "an entry was pushed above if there was none")]
        let (_, opened) = self.stack.last().expect("the stack has the directory");
        opened
    }
}

/// Whether `outer` is `inner` or one of its ancestors, by bytes: both are normal absolute paths.
fn encloses(outer: &Path, inner: &Path) -> bool {
    let (outer, inner) = (outer.as_os_str().as_bytes(), inner.as_os_str().as_bytes());
    inner.starts_with(outer)
        && (outer == b"/" || inner.len() == outer.len() || inner.get(outer.len()) == Some(&b'/'))
}

fn below<'a>(outer: &Path, inner: &'a Path) -> &'a OsStr {
    let outer = outer.as_os_str().as_bytes();
    let skip = if outer == b"/" { 1 } else { outer.len() + 1 };
    OsStr::from_bytes(inner.as_os_str().as_bytes().get(skip..).unwrap_or_default())
}
