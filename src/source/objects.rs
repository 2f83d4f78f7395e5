//! Read access to Git objects, as the trust and manifest stages see them.

use gix::ObjectId;
use gix::objs::{Find, FindHeader, Kind};

/// A source of objects whose names were checked: the store on a host, a plain repository on an author's machine.
pub trait Objects {
    /// The raw bytes of a commit object, without the object header.
    ///
    /// # Errors
    /// See [`ObjectError`].
    fn commit(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError>;

    /// The raw bytes of an annotated tag, without the object header.
    ///
    /// # Errors
    /// See [`ObjectError`].
    fn tag(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError>;

    /// The entries of a tree, in Git's order, with names checked by component.
    ///
    /// # Errors
    /// See [`ObjectError`].
    fn tree(&self, id: ObjectId) -> Result<Vec<Entry>, ObjectError>;

    /// The bytes of a blob.
    ///
    /// # Errors
    /// See [`ObjectError`].
    fn blob(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError>;
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the entry: one path component of UTF-8, never empty, `.`, `..` or `.git` in any case, without `/`, NUL or
    /// control characters.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// The object.
    pub id: ObjectId,
}

/// What a tree entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Tree,
    /// A plain file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A symlink; the blob is its target.
    Symlink,
    /// A submodule.
    Submodule,
}

/// An object that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store does not have it.
    #[error("object {id} is missing from the store")]
    Missing {
        /// Which one.
        id: ObjectId,
    },
    /// It is larger than the limit.
    #[error("object {id} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Which one.
        id: ObjectId,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// It is not what it should be.
    #[error("object {id} is malformed: {reason}")]
    Malformed {
        /// Which one.
        id: ObjectId,
        /// What is wrong with it.
        reason: String,
    },
    /// The store cannot be read.
    #[error("the object store cannot be read")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads one object of the expected kind; asks for its size before its content.
pub(super) fn read(
    objects: &(impl Find + FindHeader),
    id: ObjectId,
    kind: Kind,
    limit: u64,
) -> Result<Vec<u8>, ObjectError> {
    let store = |error: gix::Error| ObjectError::Store(Box::new(error));
    let header = objects.try_header(&id).map_err(store)?.ok_or(ObjectError::Missing { id })?;
    if header.size > limit {
        return Err(ObjectError::TooLarge { id, size: header.size, limit });
    }
    if header.kind != kind {
        return Err(ObjectError::Malformed { id, reason: format!("it is a {}, not a {kind}", header.kind) });
    }
    let mut bytes = Vec::new();
    objects.try_find(&id, &mut bytes).map_err(store)?.ok_or(ObjectError::Missing { id })?;
    Ok(bytes)
}
