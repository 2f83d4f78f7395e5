//! Removal, with guards: never through a symlink, never across a mount, never what the system stands on.

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::FsError;
use super::look::{file_type, mount_point};
use super::parent::{LIST, LOOKUP, WayError, open_directory, open_parent};
use super::stage::{TEMPORARY, inspect, io, locked};
use crate::failpoint::reach;
use crate::system::observe::FileType;

/// Directories without which a system does not boot or log in; hier(7) and file-hierarchy(7).
const PROTECTED: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/boot/efi",
    "/dev",
    "/efi",
    "/etc",
    "/etc/systemd",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

/// Deeper than any directory tree of a system; each level holds a descriptor open.
const DEEPEST: usize = 128;

/// Removes what is at a path; nothing there is fine. A directory goes only if it is empty or `recursive`.
///
/// # Errors
/// It is protected, a mount point, contains one, is immutable, or see [`FsError`]. A tree is checked before anything of it is removed.
pub fn remove(path: &Path, recursive: bool) -> Result<(), FsError> {
    if PROTECTED.iter().any(|protected| Path::new(protected) == path) {
        return Err(FsError::Protected { path: path.to_owned() });
    }
    let (directory, name) = match open_parent(path, LOOKUP) {
        Err(FsError::NoParent { .. }) => return Ok(()),
        other => other?,
    };
    let Some(status) = inspect(&directory, name, path)? else { return Ok(()) };
    if mount_point(&status, Some(&directory)) {
        return Err(FsError::MountPoint { path: path.to_owned() });
    }
    if file_type(&status) == FileType::Directory && recursive {
        let tree = open_tree(&directory, name, path)?;
        inspect_tree(&tree, path, 0)?;
        empty_tree(&tree, path)?;
    }
    if locked(&status) {
        return Err(FsError::Immutable { path: path.to_owned() });
    }
    unlink(&directory, name, path, file_type(&status))
}

/// Removes temporary files of one tag (of every run, if the tag is empty) that were left in directories. Gives how many.
///
/// # Errors
/// A directory cannot be listed, or a file in it not be removed.
pub fn clean_temporaries(directories: &BTreeSet<PathBuf>, tag: &str) -> Result<usize, FsError> {
    let start = if tag.is_empty() { TEMPORARY.to_owned() } else { format!("{TEMPORARY}{tag}-") };
    let mut removed = 0;
    for path in directories {
        let directory = match open_directory(path, LIST) {
            Ok(directory) => directory,
            Err(WayError::Missing) => continue,
            Err(error) => return Err(error.about(path)),
        };
        for name in entries(&directory, path)? {
            if !name.as_bytes().starts_with(start.as_bytes()) {
                continue;
            }
            let found = path.join(&name);
            // Others may use such a name in a directory of theirs: only what is root's, and never a directory.
            let ours = inspect(&directory, &name, &found)?.is_some_and(|status| {
                status.stx_uid == rustix::process::geteuid().as_raw() || file_type(&status) == FileType::File
            });
            if ours {
                match rustix::fs::unlinkat(&directory, &name, AtFlags::empty()) {
                    Ok(()) => removed += 1,
                    Err(Errno::NOENT | Errno::ISDIR) => {}
                    Err(errno) => return Err(FsError::from_errno("remove", &found, errno)),
                }
            }
        }
    }
    Ok(removed)
}

/// Names in a directory, sorted.
pub(crate) fn entries(directory: &OwnedFd, path: &Path) -> Result<Vec<OsString>, FsError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(io("list", path))? {
        let entry = entry.map_err(io("list", path))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_owned()));
        }
    }
    names.sort();
    Ok(names)
}

pub(crate) fn open_tree(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, FsError> {
    rustix::fs::openat(directory, name, LIST | OFlags::NOFOLLOW, Mode::empty()).map_err(io("open", path))
}

/// Finds what forbids the removal of a tree, before anything of it is gone.
fn inspect_tree(directory: &OwnedFd, path: &Path, depth: usize) -> Result<(), FsError> {
    if depth > DEEPEST {
        return Err(FsError::from_errno("remove the deeply nested", path, Errno::NAMETOOLONG));
    }
    for name in entries(directory, path)? {
        let path = path.join(&name);
        let Some(status) = inspect(directory, &name, &path)? else { continue };
        if mount_point(&status, Some(directory)) {
            return Err(FsError::MountPoint { path });
        }
        if locked(&status) {
            return Err(FsError::Immutable { path });
        }
        if file_type(&status) == FileType::Directory {
            inspect_tree(&open_tree(directory, &name, &path)?, &path, depth + 1)?;
        }
    }
    Ok(())
}

/// Removes what is in a directory; its depth was checked by [`inspect_tree`], and a directory that appeared since is
/// not removed across a mount because that fails as busy.
fn empty_tree(directory: &OwnedFd, path: &Path) -> Result<(), FsError> {
    for name in entries(directory, path)? {
        let path = path.join(&name);
        let Some(status) = inspect(directory, &name, &path)? else { continue };
        if mount_point(&status, Some(directory)) {
            return Err(FsError::MountPoint { path });
        }
        if file_type(&status) == FileType::Directory {
            empty_tree(&open_tree(directory, &name, &path)?, &path)?;
        }
        unlink(directory, &name, &path, file_type(&status))?;
    }
    Ok(())
}

fn unlink(directory: &OwnedFd, name: &OsStr, path: &Path, kind: FileType) -> Result<(), FsError> {
    let flags = if kind == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    reach("remove: before");
    match rustix::fs::unlinkat(directory, name, flags) {
        Ok(()) | Err(Errno::NOENT) => {
            reach("remove: done");
            Ok(())
        }
        Err(errno) => Err(FsError::from_errno("remove", path, errno)),
    }
}
