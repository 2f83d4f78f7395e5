//! The object store of the root process.
//!
//! A folder per object format, each with packs that this process indexed itself, the list of commits known to be whole, and the memory of what was taken
//! from the spool, approvals and the heartbeat among it. There is no repository: no configuration, references, alternates or hooks.

mod mailbox;
mod offer;
mod repository;
mod shelf;
mod take;

pub use mailbox::read_note;
pub use repository::Repository;

use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind as HashKind;
use gix::objs::{Find, Kind};

use self::shelf::Shelf;
use super::error::SourceError;
use super::names;
use super::objects::{Entry, ObjectError, Objects, read};
use crate::config::Limits;

/// The objects that the root process has.
pub struct Store {
    directory: PathBuf,
    limits: Limits,
    sha1: Option<Shelf>,
    sha256: Option<Shelf>,
    refused: Vec<SourceError>,
}

impl Store {
    /// Opens the store in this folder, and creates it if need be.
    ///
    /// # Errors
    /// `E120` when the folder cannot be created or read.
    pub fn open(directory: &Path, limits: &Limits) -> Result<Store, SourceError> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed(directory))?;
        let shelf = |kind| Shelf::open_existing(directory, kind, limits);
        Ok(Store {
            directory: directory.to_owned(),
            limits: limits.clone(),
            sha1: shelf(HashKind::Sha1)?,
            sha256: shelf(HashKind::Sha256)?,
            refused: Vec::new(),
        })
    }

    /// What the last [`take`](Store::take) found in the spool and did not take, although the offered tip may be whole without it. Report it:
    /// a sound fetcher leaves no such things.
    pub fn refused(&self) -> &[SourceError] {
        &self.refused
    }

    /// Whether this commit and everything that belongs to it is in the store.
    pub fn is_whole(&self, commit: ObjectId) -> bool {
        self.shelf(commit.kind()).is_some_and(|shelf| shelf.is_whole(&commit))
    }

    /// Rewrites the store as one pack of what `roots` reach, when it has become many packs or large. Give the high-water mark and the
    /// introduction, and the commit that is applied; what lay beside the branch at the last [`take`](Store::take) stays, too. Returns whether
    /// anything was done.
    ///
    /// # Errors
    /// `E120` when the disk fails, `E127` or `E128` when a root is not whole; the store then stays as it was.
    pub fn compact(&mut self, roots: &[ObjectId]) -> Result<bool, SourceError> {
        let Some(kind) = roots.first().map(|root| root.kind()) else { return Ok(false) };
        let limits = self.limits.clone();
        let Some(shelf) = self.slot(kind).as_mut() else { return Ok(false) };
        shelf.compact(roots, &limits)
    }

    fn shelf(&self, kind: HashKind) -> Option<&Shelf> {
        if kind == HashKind::Sha1 { self.sha1.as_ref() } else { self.sha256.as_ref() }
    }

    fn slot(&mut self, kind: HashKind) -> &mut Option<Shelf> {
        if kind == HashKind::Sha1 { &mut self.sha1 } else { &mut self.sha256 }
    }

    fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>, ObjectError> {
        let shelf = self.shelf(id.kind()).ok_or(ObjectError::Missing { id })?;
        let limit = self.limits.object_bytes;
        // The database allocates no more than the limit. To ask for the size first would follow each chain of deltas twice.
        let mut bytes = Vec::new();
        match shelf.objects().try_find(&id, &mut bytes) {
            Ok(Some(object)) if object.kind == kind && object.data.len() as u64 <= limit => Ok(bytes),
            // What is wrong is for the careful way to say.
            _ => read(shelf.objects(), id, kind, limit),
        }
    }
}

impl Objects for Store {
    fn commit(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
        self.read(id, Kind::Commit)
    }

    fn tag(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
        self.read(id, Kind::Tag)
    }

    fn tree(&self, id: ObjectId) -> Result<Vec<Entry>, ObjectError> {
        names::entries(id, &self.read(id, Kind::Tree)?)
    }

    fn blob(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
        self.read(id, Kind::Blob)
    }
}

/// Makes `E120` of an I/O error at `path`.
fn failed(path: &Path) -> impl Fn(std::io::Error) -> SourceError {
    move |error| SourceError::Store { path: path.to_owned(), reason: error.to_string() }
}
