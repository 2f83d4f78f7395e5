//! Durability for batches.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::FsError;
use super::parent::{LIST, LOOKUP, WayError, open_directory, open_parent};
use super::stage::{Staged, io};
use crate::failpoint::reach;

/// From this many files on one file system, one `syncfs` costs less than an `fsync` each (see `benches/observe.rs`). It also waits for what
/// others wrote, so that a few files are not worth it.
const WORTH_SYNCFS: usize = 100;

/// Makes the content and attributes of all staged files durable.
///
/// # Errors
/// A file cannot be synced: what it holds is not known to be on disk, so that none of them should be put in place.
pub fn sync_all(staged: &[Staged]) -> Result<(), FsError> {
    reach("files: before they are synced");
    if staged.len() < WORTH_SYNCFS {
        return sync_each(staged);
    }
    let mut synced = BTreeSet::new();
    for staged in staged {
        let path = staged.path();
        let device = staged.device();
        if synced.insert(device) {
            let file = open_file(path)?;
            rustix::fs::syncfs(&file).map_err(io("sync the file system of", path))?;
        }
    }
    Ok(())
}

/// Makes the entries of directories durable: renames, creations, removals. One that is gone needs nothing.
///
/// # Errors
/// A directory cannot be opened or synced.
pub fn sync_directories(directories: &BTreeSet<PathBuf>) -> Result<(), FsError> {
    for path in directories {
        reach("directory: before it is synced");
        let directory = match open_directory(path, LIST) {
            Ok(directory) => directory,
            Err(WayError::Missing) => continue,
            Err(error) => return Err(error.about(path)),
        };
        match rustix::fs::fsync(&directory) {
            // A file system that does not sync directories keeps them in order itself.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(FsError::from_errno("sync", path, errno)),
        }
    }
    Ok(())
}

/// Has all files written before it waits for the first: a file system with a journal then has all of them in the one commit that the
/// first `fsync` makes, and the others find it made.
fn sync_each(staged: &[Staged]) -> Result<(), FsError> {
    let mut files = Vec::with_capacity(staged.len());
    for staged in staged {
        let file = open_file(staged.path())?;
        // What the kernel does first when told that pages are not needed is to write them; the promise is kept by the `fsync`.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        files.push((file, staged.path()));
    }
    files.iter().try_for_each(|(file, path)| rustix::fs::fsync(file).map_err(io("sync", path)))
}

fn open_file(path: &Path) -> Result<std::os::fd::OwnedFd, FsError> {
    let (directory, name) = open_parent(path, LOOKUP)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(io("open", path))
}
