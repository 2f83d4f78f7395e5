//! Whole directory trees by name, for purge.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::FsError;
use super::look::{file_type, mount_point, stat};
use super::parent::{LIST, WayError, open_directory};
use super::remove::{entries, open_tree};
use crate::system::observe::FileType;

/// What is deeper is not listed, so that it is not purged either: a directory that holds it is not empty.
const DEEPEST: usize = 64;

/// The most entries listed; a purge of so many is refused by its own limit.
const MOST: usize = 100_000;

/// Everything below a directory, sorted, relative to it; entries whose name is in `ignore` are left out with what is below them, and
/// so are mount points. Symlinks are not followed. Empty when there is no such directory.
///
/// # Errors
/// Something on the way or below cannot be read.
pub fn list(path: &Path, ignore: &[String]) -> Result<Vec<PathBuf>, FsError> {
    let directory = match open_directory(path, LIST) {
        Ok(directory) => directory,
        Err(WayError::Missing) => return Ok(Vec::new()),
        Err(error) => return Err(error.about(path)),
    };
    let mut found = Vec::new();
    descend(&directory, path, Path::new(""), ignore, 0, &mut found)?;
    found.sort();
    Ok(found)
}

fn descend(
    directory: &OwnedFd,
    path: &Path,
    relative: &Path,
    ignore: &[String],
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), FsError> {
    for name in entries(directory, path)? {
        if found.len() >= MOST {
            return Ok(());
        }
        if ignore.iter().any(|ignored| name == ignored.as_str()) {
            continue;
        }
        // Gone meanwhile: then it needs no purge.
        let Ok(status) = stat(directory, &name) else { continue };
        if mount_point(&status, Some(directory)) {
            continue;
        }
        let below = relative.join(&name);
        if file_type(&status) == FileType::Directory && depth < DEEPEST {
            let path = path.join(&name);
            descend(&open_tree(directory, &name, &path)?, &path, &below, ignore, depth + 1, found)?;
        }
        found.push(below);
    }
    Ok(())
}
