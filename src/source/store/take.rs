//! Takes packs out of the spool, which may be hostile.
//!
//! Nothing is followed: the spool and its mailbox are opened as folders, everything in them relative to these, without following links and without
//! waiting for a FIFO. A file is copied under its limit before anything parses it, so that it cannot change under the parser.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind as HashKind;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shelf::{Shelf, write_atomically};
use super::{Store, failed};
use crate::source::error::SourceError;
use crate::source::pack::{self, PackError};
use crate::source::{Candidate, MAILBOX, NOTE, Note};

/// More entries than this in the mailbox are not even looked at; the fetcher keeps fewer.
const MOST_ENTRIES: usize = 256;

/// Bytes of a note. The longest that the fetcher writes has a problem per remote.
const NOTE_BYTES: u64 = 1 << 20;

/// A pack that was taken, by content and by what a look at its name shows, so that it need not be read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Taken {
    sha256: String,
    size: u64,
    modified: i64,
    modified_nanoseconds: i64,
    inode: u64,
}

/// An entry of the mailbox.
struct Letter {
    name: String,
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Store {
    /// Takes from the spool what is needed for the tip that its note offers, and proves that the tip is there as a whole.
    ///
    /// Nothing is offered before the first good poll. When the tip cannot be made whole, nothing of what was taken is kept.
    ///
    /// # Errors
    /// `E121`–`E126` for what is wrong with the spool, `E127` and `E128` for the offered history, `E120` when the store fails.
    pub fn take(&mut self, spool: &Path) -> Result<Option<Candidate>, SourceError> {
        self.refused.clear();
        let spool = Spool::open(spool)?;
        let Some(tip) = spool.tip()? else { return Ok(None) };
        let limits = self.limits.clone();
        let directory = self.directory.clone();
        let slot = self.slot(tip.kind());
        let shelf = match slot {
            Some(shelf) => shelf,
            None => slot.insert(Shelf::create(&directory, tip.kind(), &limits)?),
        };
        if !shelf.is_whole(&tip) {
            let mut taking = Taking::begin(shelf, &limits, &spool, tip.kind())?;
            let outcome = taking.until_whole(tip);
            self.refused = taking.refused;
            if let Err(error) = outcome {
                return Err(self.with_refused(error));
            }
        }
        Ok(Some(Candidate::at(tip)))
    }

    /// A hole in the history is most likely the fault of a pack that was refused: show both.
    fn with_refused(&mut self, error: SourceError) -> SourceError {
        match error {
            SourceError::Incomplete { tip, missing, .. } if !self.refused.is_empty() => {
                let pack =
                    self.refused.iter().position(|error| !matches!(error, SourceError::NotAPack { .. }));
                let refused = self.refused.remove(pack.unwrap_or(0));
                SourceError::Incomplete { tip, missing, refused: Some(Box::new(refused)) }
            }
            error => error,
        }
    }
}

/// One round of taking.
struct Taking<'a> {
    shelf: &'a mut Shelf,
    limits: &'a crate::config::Limits,
    spool: &'a Spool,
    kind: HashKind,
    taken: Vec<Taken>,
    /// Bytes that may still be read from the spool.
    budget: u64,
    added: Vec<PathBuf>,
    refused: Vec<SourceError>,
}

impl<'a> Taking<'a> {
    fn begin(
        shelf: &'a mut Shelf,
        limits: &'a crate::config::Limits,
        spool: &'a Spool,
        kind: HashKind,
    ) -> Result<Taking<'a>, SourceError> {
        let taken = match std::fs::read(shelf.path("taken.json")) {
            // What is not understood is forgotten: then packs are read once more.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        // Twice the spool: what was there before the fetcher compacted it, and after.
        let budget = limits.spool_bytes.saturating_mul(2).saturating_sub(shelf.weigh()?.1);
        Ok(Taking { shelf, limits, spool, kind, taken, budget, added: Vec::new(), refused: Vec::new() })
    }

    fn until_whole(&mut self, tip: ObjectId) -> Result<(), SourceError> {
        let letters = self.spool.letters(&mut self.refused)?;
        let known = self.taken.clone();
        let fresh = |letter: &&Letter| !known.iter().any(|taken| letter.is(taken));
        let mut outcome = self.from(letters.iter().filter(fresh), tip, false);
        if outcome.is_err() {
            // The store may have lost what it once took.
            outcome = self.from(letters.iter().filter(|letter| !fresh(letter)), tip, true);
        }
        if outcome.is_err() {
            self.shelf.remove(&self.added)?;
            return outcome;
        }
        self.taken.retain(|taken| letters.iter().any(|letter| letter.is(taken)));
        let json = serde_json::to_vec(&self.taken).unwrap_or_default();
        write_atomically(&self.shelf.path("taken.json"), &json)
    }

    /// Takes one pack after the other until the tip is whole.
    fn from<'l>(
        &mut self,
        letters: impl Iterator<Item = &'l Letter>,
        tip: ObjectId,
        again: bool,
    ) -> Result<(), SourceError> {
        for letter in letters {
            let before = self.added.len();
            match self.one(letter, again) {
                Ok(()) if self.added.len() > before => {
                    if self.shelf.prove(tip, self.limits).is_ok() {
                        return Ok(());
                    }
                }
                Ok(()) => {}
                Err(error @ SourceError::Store { .. }) => return Err(error),
                Err(error) => self.refused.push(error),
            }
        }
        self.shelf.prove(tip, self.limits)
    }

    /// Takes one pack; `again` if it may have been taken before.
    fn one(&mut self, letter: &Letter, again: bool) -> Result<(), SourceError> {
        let incoming = tempfile::Builder::new()
            .prefix("incoming-")
            .tempfile_in(self.shelf.path(""))
            .map_err(failed(&self.shelf.path("")))?;
        let sha256 = self.spool.copy(letter, incoming.as_file(), self.budget)?;
        self.budget = self.budget.saturating_sub(letter.size);
        if !again && self.taken.iter().any(|taken| taken.sha256 == sha256) {
            self.remember(letter, sha256);
            return Ok(());
        }
        let packs = self.shelf.path("pack");
        let refuse = |error| explain(letter, packs.clone(), error);
        let file = File::open(incoming.path()).map_err(failed(incoming.path()))?;
        pack::inspect(&mut BufReader::with_capacity(64 << 10, file), self.kind, self.limits)
            .map_err(refuse)?;
        let existing = pack::list(&packs).map_err(failed(&packs))?;
        match self.shelf.add(incoming.path()) {
            // What was there before must stay when this round fails.
            Ok(Some(pack)) if !existing.contains(&pack) => self.added.push(pack),
            Ok(_) => {}
            Err(error) => return Err(refuse(error)),
        }
        self.remember(letter, sha256);
        Ok(())
    }

    fn remember(&mut self, letter: &Letter, sha256: String) {
        self.taken.push(Taken {
            sha256,
            size: letter.size,
            modified: letter.modified.0,
            modified_nanoseconds: letter.modified.1,
            inode: letter.inode,
        });
    }
}

fn explain(letter: &Letter, path: PathBuf, error: PackError) -> SourceError {
    let name = letter.name.clone();
    match error {
        PackError::TooMuch { what, limit } => SourceError::TooMuch { name, what, limit },
        PackError::Damaged(reason) => SourceError::Damaged { name, reason },
        PackError::Io(error) => SourceError::Store { path, reason: error.to_string() },
    }
}

impl Letter {
    fn is(&self, taken: &Taken) -> bool {
        self.size == taken.size
            && self.modified == (taken.modified, taken.modified_nanoseconds)
            && self.inode == taken.inode
    }
}

/// What the fetcher said last, read as carefully as its packs; `None` before the first poll.
///
/// # Errors
/// The spool cannot be opened, or the note is not one.
pub fn read_note(spool: &Path) -> Result<Option<Note>, SourceError> {
    Spool::open(spool)?.note()
}

/// The spool as the root process sees it.
struct Spool {
    path: PathBuf,
    folder: OwnedFd,
}

const LOOK: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY);

impl Spool {
    fn open(path: &Path) -> Result<Spool, SourceError> {
        let folder = rustix::fs::openat(CWD, path, LOOK | OFlags::DIRECTORY, Mode::empty())
            .map_err(|error| SourceError::Spool { path: path.to_owned(), source: error.into() })?;
        Ok(Spool { path: path.to_owned(), folder })
    }

    fn failed(&self, name: &str, error: rustix::io::Errno) -> SourceError {
        SourceError::Spool { path: self.path.join(name), source: error.into() }
    }

    /// The note; none before the first poll.
    fn note(&self) -> Result<Option<Note>, SourceError> {
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

    /// The tip that the note offers; none before the first good poll.
    fn tip(&self) -> Result<Option<ObjectId>, SourceError> {
        let note = self.note()?;
        Ok(note.and_then(|note| ObjectId::from_hex(note.tip.as_bytes()).ok()))
    }

    /// What looks like a pack in the mailbox, newest first: most often that one is enough.
    fn letters(&self, refused: &mut Vec<SourceError>) -> Result<Vec<Letter>, SourceError> {
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
    fn copy(&self, letter: &Letter, mut to: &File, limit: u64) -> Result<String, SourceError> {
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
