//! Former contents of files, kept by hash up to a number of bytes.

use rustix::fs::{AtFlags, Mode, OFlags, Timestamps};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::look::stat;
use super::parent::{LIST, LOOKUP, open_directory, open_parent};
use super::remove::entries;
use super::stage::{inspect, io};
use super::{FsError, read_open};
use crate::system::observe::FileType;

/// A directory of former contents, each named by its SHA-256 in hex, readable by root only.
#[derive(Debug)]
pub struct Backups {
    directory: OwnedFd,
    path: PathBuf,
    limit: u64,
    /// Bytes in the store; counted at the first use.
    held: Option<u64>,
}

impl Backups {
    /// Opens the store; the directory must exist. At most `limit` bytes are kept, the oldest go first.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(path: &Path, limit: u64) -> Result<Backups, FsError> {
        let directory = open_directory(path, LIST).map_err(|error| error.about(path))?;
        Ok(Backups { directory, path: path.to_owned(), limit, held: None })
    }

    /// Keeps the present content of a file and gives its hash; `None` when it is no regular file or larger than the whole store.
    ///
    /// # Errors
    /// The file cannot be read or the copy not be written and synced.
    pub fn keep(&mut self, path: &Path) -> Result<Option<[u8; 32]>, FsError> {
        let (directory, name) = open_parent(path, LOOKUP)?;
        let Some(status) = inspect(&directory, name, path)? else { return Ok(None) };
        if super::look::file_type(&status) != FileType::File || status.stx_size > self.limit {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, name, flags, Mode::empty()).map_err(io("open", path))?;
        let bytes = read_open(&file, self.limit).map_err(io("read", path))?;
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let name = hex(&sha256);
        let kept = self.path.join(&name);
        if inspect(&self.directory, name.as_ref(), &kept)?.is_some() {
            // Used again: it is the youngest now.
            let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            rustix::fs::utimensat(&self.directory, &name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io("touch", &kept))?;
            return Ok(Some(sha256));
        }
        let held = self.make_room(bytes.len() as u64)?;
        super::replace(&kept, &bytes, true)?;
        self.held = Some(held + bytes.len() as u64);
        Ok(Some(sha256))
    }

    /// The content with a hash; `None` when it was not kept or had to go.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(&self, sha256: &[u8; 32]) -> Result<Option<Vec<u8>>, FsError> {
        let path = self.path.join(hex(sha256));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.directory, hex(sha256), flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other.map_err(io("open", &path))?,
        };
        let bytes = read_open(&file, self.limit).map_err(io("read", &path))?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != *sha256 {
            return Err(FsError::Damaged { path, reason: "its content is not what its name says".into() });
        }
        Ok(Some(bytes))
    }

    /// Removes the oldest until `more` bytes fit; gives the bytes that are held then.
    fn make_room(&mut self, more: u64) -> Result<u64, FsError> {
        match self.held {
            Some(held) if held + more <= self.limit => return Ok(held),
            _ => {}
        }
        let mut kept = Vec::new();
        for name in entries(&self.directory, &self.path)? {
            if let Ok(status) = stat(&self.directory, &name) {
                kept.push((status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec, status.stx_size, name));
            }
        }
        kept.sort();
        let mut held: u64 = kept.iter().map(|(_, _, size, _)| size).sum();
        for (_, _, size, name) in kept {
            if held + more <= self.limit {
                break;
            }
            let path = self.path.join(&name);
            rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty()).map_err(io("remove", &path))?;
            held -= size;
        }
        Ok(held)
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
