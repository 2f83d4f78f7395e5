//! The spool as the root process sees it, which may be hostile.
//!
//! Nothing is followed: the spool and its mailbox are opened as folders, everything in them relative to these, without following links and without
//! waiting for a FIFO. A file is copied under its limit before anything parses it, so that it cannot change under the parser.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::source::error::SourceError;
use crate::source::{MAILBOX, NOTE, Note};

/// More entries than this in the mailbox are not even looked at; the fetcher keeps fewer.
const MOST_ENTRIES: usize = 256;

/// Bytes of a note. The longest that the fetcher writes has a problem per remote.
const NOTE_BYTES: u64 = 1 << 20;

/// An entry of the mailbox.
pub(super) struct Letter {
    pub name: String,
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    pub inode: u64,
}

/// What the fetcher said last, read as carefully as its packs; `None` before the first poll.
///
/// # Errors
/// The spool cannot be opened, or the note is not one.
pub fn read_note(spool: &Path) -> Result<Option<Note>, SourceError> {
    Spool::open(spool)?.note()
}

/// The spool as the root process sees it.
pub(super) struct Spool {
    path: PathBuf,
    folder: OwnedFd,
}

const LOOK: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

impl Spool {
    pub(super) fn open(path: &Path) -> Result<Spool, SourceError> {
        let folder = rustix::fs::openat(CWD, path, LOOK | OFlags::DIRECTORY, Mode::empty())
            .map_err(|error| SourceError::Spool { path: path.to_owned(), source: error.into() })?;
        Ok(Spool { path: path.to_owned(), folder })
    }

    fn failed(&self, name: &str, error: rustix::io::Errno) -> SourceError {
        SourceError::Spool { path: self.path.join(name), source: error.into() }
    }

    /// The note; none before the first poll.
    pub(super) fn note(&self) -> Result<Option<Note>, SourceError> {
        let wrong = |reason: String| SourceError::Note { reason };
        let file = match rustix::fs::openat(&self.folder, NOTE, LOOK, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err(wrong("it is a symlink".into())),
            Err(error) => return Err(self.failed(NOTE, error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| self.failed(NOTE, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(wrong(format!("it is {}", kind_name(stat.st_mode))));
        }
        let mut bytes = Vec::new();
        file.take(NOTE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| SourceError::Spool { path: self.path.join(NOTE), source })?;
        if bytes.len() as u64 > NOTE_BYTES {
            return Err(wrong(format!("it has more than {NOTE_BYTES} bytes")));
        }
        let note: Note = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(crate::error::escaped(&error.to_string())))?;
        if !note.tip.is_empty() && ObjectId::from_hex(note.tip.as_bytes()).is_err() {
            return Err(wrong("its tip is no object name".into()));
        }
        Ok(Some(note))
    }

    /// What looks like a pack in the mailbox, newest first: most often that one is enough.
    pub(super) fn letters(&self, refused: &mut Vec<SourceError>) -> Result<Vec<Letter>, SourceError> {
        let failed = |error| self.failed(MAILBOX, error);
        let folder = self.mailbox()?;
        let mut letters = Vec::new();
        for (count, entry) in rustix::fs::Dir::read_from(&folder).map_err(failed)?.enumerate() {
            let entry = entry.map_err(failed)?;
            // `.` and `..` count, too.
            if count >= MOST_ENTRIES + 2 {
                refused.push(SourceError::TooMuch {
                    name: MAILBOX.into(),
                    what: "entries",
                    limit: MOST_ENTRIES as u64,
                });
                break;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue; // Compacted away just now.
            };
            let shown = crate::error::escaped(&name);
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                refused.push(SourceError::NotAPack { name: shown, found: kind_name(stat.st_mode) });
            } else if !is_pack_name(&name) {
                refused.push(SourceError::NotAPack { name: shown, found: "not named like a pack" });
            } else {
                letters.push(Letter {
                    name,
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                    modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
                    inode: stat.st_ino,
                });
            }
        }
        letters.sort_by(|one, other| other.modified.cmp(&one.modified).then(one.name.cmp(&other.name)));
        Ok(letters)
    }

    fn mailbox(&self) -> Result<OwnedFd, SourceError> {
        rustix::fs::openat(&self.folder, MAILBOX, LOOK | OFlags::DIRECTORY, Mode::empty())
            .map_err(|error| self.failed(MAILBOX, error))
    }

    /// Copies a pack, at most `limit` bytes of it, and returns the SHA-256 of what was copied.
    pub(super) fn copy(&self, letter: &Letter, mut to: &File, limit: u64) -> Result<String, SourceError> {
        let name = || letter.name.clone();
        if letter.size > limit {
            return Err(SourceError::TooMuch { name: name(), what: "bytes", limit });
        }
        let changing = || SourceError::Changing { name: name() };
        let file = rustix::fs::openat(&self.mailbox()?, letter.name.as_str(), LOOK, Mode::empty()).map_err(
            |error| match error {
                rustix::io::Errno::NOENT | rustix::io::Errno::LOOP => changing(),
                error => self.failed(&letter.name, error),
            },
        )?;
        let before = rustix::fs::fstat(&file).map_err(|error| self.failed(&letter.name, error))?;
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile || before.st_ino != letter.inode {
            return Err(changing());
        }
        let mut hasher = Sha256::new();
        let mut copied: u64 = 0;
        let mut reader = File::from(file).take(letter.size + 1);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = reader.read(&mut buffer).map_err(|source| SourceError::Spool {
                path: self.path.join(MAILBOX).join(&letter.name),
                source,
            })?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            to.write_all(&buffer[..count])
                .map_err(|error| SourceError::Store { path: "incoming".into(), reason: error.to_string() })?;
            copied += count as u64;
        }
        let after = rustix::fs::fstat(reader.get_ref()).map_err(|error| self.failed(&letter.name, error))?;
        let times = (after.st_mtime, i64::try_from(after.st_mtime_nsec).unwrap_or(0));
        if copied != letter.size || times != letter.modified {
            return Err(changing());
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// `pack-<hex>.pack`, as Git and the fetcher name them.
fn is_pack_name(name: &str) -> bool {
    name.strip_prefix("pack-").and_then(|rest| rest.strip_suffix(".pack")).is_some_and(|hex| {
        (hex.len() == 40 || hex.len() == 64) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn kind_name(mode: u32) -> &'static str {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symlink",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}
