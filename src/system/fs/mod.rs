//! Files of the managed host: one pass that observes them, and the steps that change them.
//!
//! **Invariant:** a path is reached by a directory descriptor on a way that only root can redirect, and a name at its end is never
//! followed when it is a symlink.

mod acl;
mod attributes;
mod backup;
mod change;
mod durable;
mod error;
mod extended;
mod fingerprint;
mod listing;
mod look;
mod parent;
mod remove;
mod stage;

#[cfg(test)]
mod tests;

pub(crate) use acl::Names;
pub use backup::Backups;
pub use change::{make_directory, make_symlink, set_attributes};
pub use durable::{sync_all, sync_directories};
pub use error::FsError;
pub use extended::{canonical_acl, value_bytes, value_text};
pub use fingerprint::Fingerprints;
pub use listing::list;
pub use look::{Rehash, look, observe};
pub use remove::{clean_temporaries, remove};
pub use stage::{Staged, stage};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::failpoint::reach;
use parent::{LOOKUP, open_parent};
use stage::io;

/// The most that [`read`] and [`read_file`] read.
const LARGEST: u64 = 256 << 20;

/// The content of a regular file of the host, for showing a difference; `None` when nothing is there.
///
/// # Errors
/// It is not a regular file, is larger than 256 MiB, or cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    match read_file(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FsError::NoParent { .. } | FsError::Io { source: Errno::NOENT, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, FsError> {
    let (directory, name) = open_parent(path, LOOKUP)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(io("open", path))?;
    read_open(&file, LARGEST).map_err(io("read", path))
}

fn read_open(file: &OwnedFd, limit: u64) -> Result<Vec<u8>, Errno> {
    let status = rustix::fs::fstat(file)?;
    if rustix::fs::FileType::from_raw_mode(status.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let size = u64::try_from(status.st_size).unwrap_or_default();
    if size > limit {
        return Err(Errno::FBIG);
    }
    let mut bytes = vec![0; size as usize + 1];
    let mut length = 0;
    loop {
        match rustix::io::read(file, &mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if length as u64 > limit {
            return Err(Errno::FBIG);
        }
        if length == bytes.len() {
            bytes.resize(length * 2, 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Replaces a file of our own atomically, readable by root only; synced if it shall be `durable` (its directory too).
fn replace(path: &Path, bytes: &[u8], durable: bool) -> Result<(), FsError> {
    let (directory, name) = open_parent(path, parent::LIST)?;
    reach("record: before");
    let (file, temporary) = stage::create(&directory, path, "own")?;
    reach("record: made");
    let written = stage::write_all(&file, bytes)
        .and_then(|()| if durable { rustix::fs::fsync(&file) } else { Ok(()) })
        .inspect(|()| reach("record: written"))
        .and_then(|()| rustix::fs::renameat(&directory, &temporary, &directory, name))
        .inspect(|()| reach("record: renamed"))
        .and_then(|()| if durable { rustix::fs::fsync(&directory) } else { Ok(()) });
    reach("record: kept");
    if written.is_err() {
        let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
    }
    written.map_err(io("write", path))
}
