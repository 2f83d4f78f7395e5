//! Directories, symlinks and attributes.

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::look::{file_type, mount_point, read_link};
use super::parent::{LIST, LOOKUP, only_root_writes, open_parent};
use super::stage::{inspect, io, locked, open_entry, temporary_name};
use super::{FsError, attributes, extended};
use crate::failpoint::reach;
use crate::plan::{Attributes, Principal};
use crate::system::accounts::Owners;
use crate::system::observe::FileType;

/// Mode of a new directory for which none is declared; a new directory belongs to root.
const NEW_DIRECTORY_MODE: u32 = 0o755;

/// Makes a directory, or corrects the attributes of the one that is there. Parents are not made.
///
/// # Errors
/// Something else is in the way, or see [`FsError`].
pub fn make_directory(path: &Path, wanted: &Attributes, owners: &Owners) -> Result<(), FsError> {
    let (parent, name) = open_parent(path, LOOKUP)?;
    reach("directory: before");
    // Closed to everybody else until owner and mode are right.
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            return match inspect(&parent, name, path)? {
                Some(status) if file_type(&status) == FileType::Directory => {
                    set_attributes(path, wanted, owners)
                }
                _ => Err(FsError::InTheWay {
                    path: path.to_owned(),
                    what: "is something other than a directory",
                }),
            };
        }
        Err(errno) => return Err(FsError::from_errno("make the directory", path, errno)),
    }
    reach("directory: made");
    let directory = rustix::fs::openat(&parent, name, LIST | OFlags::NOFOLLOW, Mode::empty());
    let directory = directory.map_err(io("open", path))?;
    let mut wanted = wanted.clone();
    wanted.owner.get_or_insert(Principal::Id(0));
    wanted.group.get_or_insert(Principal::Id(0));
    wanted.mode.get_or_insert(NEW_DIRECTORY_MODE);
    attributes::write(&directory, path, FileType::Directory, &wanted, owners)?;
    reach("directory: attributes set");
    match wanted.immutable {
        Some(true) => extended::set_immutable(&directory, FileType::Directory, path, true),
        _ => Ok(()),
    }
}

/// Makes or replaces a symlink, atomically. With `force` it also replaces a file or an empty directory.
///
/// # Errors
/// Something that is not a symlink is in the way, or see [`FsError`].
pub fn make_symlink(
    path: &Path,
    target: &Path,
    wanted: &Attributes,
    force: bool,
    owners: &Owners,
    tag: &str,
) -> Result<(), FsError> {
    let (directory, name) = open_parent(path, LOOKUP)?;
    if let Some(former) = inspect(&directory, name, path)? {
        let kind = file_type(&former);
        if kind == FileType::Symlink && read_link(&directory, name).is_ok_and(|present| present == target) {
            let link = open_entry(&directory, name).map_err(io("open", path))?;
            return attributes::write(&link, path, kind, wanted, owners);
        }
        if kind != FileType::Symlink && !force {
            return Err(FsError::InTheWay {
                path: path.to_owned(),
                what: "is something other than a symlink",
            });
        }
        if mount_point(&former, Some(&directory)) {
            return Err(FsError::MountPoint { path: path.to_owned() });
        }
        if locked(&former) {
            return Err(FsError::Immutable { path: path.to_owned() });
        }
        if kind == FileType::Directory {
            rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR).map_err(io("replace", path))?;
            reach("symlink: directory removed");
        }
    }
    reach("symlink: before");
    let temporary = loop {
        let temporary = temporary_name(tag);
        match rustix::fs::symlinkat(target, &directory, &temporary) {
            Ok(()) => break temporary,
            Err(Errno::EXIST) => continue,
            Err(errno) => return Err(FsError::from_errno("make a symlink beside", path, errno)),
        }
    };
    reach("symlink: made");
    let placed = open_entry(&directory, &temporary)
        .map_err(io("open", path))
        .and_then(|link| attributes::write(&link, path, FileType::Symlink, wanted, owners))
        .and_then(|()| {
            rustix::fs::renameat(&directory, &temporary, &directory, name).map_err(io("put in place", path))
        });
    reach("symlink: put in place");
    if placed.is_err() {
        let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
    }
    placed
}

/// Sets what is `Some` on what is at a path, never through a symlink.
///
/// # Errors
/// Nothing is there, it is immutable and `immutable` is not declared, or see [`FsError`].
pub fn set_attributes(path: &Path, wanted: &Attributes, owners: &Owners) -> Result<(), FsError> {
    let (directory, name) = open_parent(path, LOOKUP)?;
    let entry = open_entry(&directory, name).map_err(io("open", path))?;
    let status = inspect_open(&entry, path)?;
    let kind = file_type(&status);
    refuse_borrowed_file(&directory, &status, path)?;
    if locked(&status) {
        if wanted.immutable.is_none() {
            return Err(FsError::Immutable { path: path.to_owned() });
        }
        extended::set_immutable(&entry, kind, path, false)?;
    }
    reach("attributes: before");
    attributes::write(&entry, path, kind, wanted, owners)?;
    reach("attributes: set");
    match wanted.immutable {
        Some(immutable) => extended::set_immutable(&entry, kind, path, immutable),
        None => Ok(()),
    }
}

fn inspect_open(entry: &OwnedFd, path: &Path) -> Result<rustix::fs::Statx, FsError> {
    rustix::fs::statx(entry, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::BASIC_STATS)
        .map_err(io("look at", path))
}

/// In a directory where others can make entries, a file with several names may be a hard link to a file that they must not
/// own, such as `/etc/shadow`: its attributes are not for this path to say.
fn refuse_borrowed_file(directory: &OwnedFd, status: &rustix::fs::Statx, path: &Path) -> Result<(), FsError> {
    if file_type(status) == FileType::Directory || status.stx_nlink < 2 {
        return Ok(());
    }
    let directory = rustix::fs::fstat(directory).map_err(io("look at the directory of", path))?;
    if only_root_writes(&directory) {
        return Ok(());
    }
    Err(FsError::HardLinked { path: path.to_owned(), links: u64::from(status.stx_nlink) })
}
