//! The objects of one format, SHA-1 or SHA-256, with what is known about them.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind as HashKind;

use super::failed;
use super::recent::Recent;
use crate::config::Limits;
use crate::failpoint::reach;
use crate::source::error::SourceError;
use crate::source::pack::{self, PackError};
use crate::source::reach::{self, Reached, WalkError};
use crate::source::{Candidate, beside};

/// More packs than this are rewritten as one: every lookup may have to ask each of them.
const MOST_PACKS: usize = 24;

/// The file with the approvals and the heartbeat of the last candidate.
const BESIDE: &str = "beside";

/// Packs, commits known to be whole, and packs that were taken already.
pub(super) struct Shelf {
    directory: PathBuf,
    kind: HashKind,
    object_bytes: u64,
    objects: gix::odb::Handle,
    whole: HashSet<ObjectId>,
}

impl Shelf {
    /// Opens it if it exists.
    pub(super) fn open_existing(
        store: &Path,
        kind: HashKind,
        limits: &Limits,
    ) -> Result<Option<Shelf>, SourceError> {
        let directory = store.join(kind.to_string());
        if !directory.join("pack").is_dir() {
            return Ok(None);
        }
        let objects = database(&directory, kind, limits.object_bytes)?;
        let whole = read_names(&directory.join("whole"), kind)?.into_iter().collect();
        Ok(Some(Shelf { directory, kind, object_bytes: limits.object_bytes, objects, whole }))
    }

    /// Creates it empty.
    pub(super) fn create(store: &Path, kind: HashKind, limits: &Limits) -> Result<Shelf, SourceError> {
        let pack = store.join(kind.to_string()).join("pack");
        std::fs::create_dir_all(&pack).map_err(failed(&pack))?;
        Shelf::open_existing(store, kind, limits)?
            .ok_or_else(|| SourceError::Store { path: pack, reason: "it vanished".into() })
    }

    /// For reading; sees packs that were added since.
    pub(super) fn objects(&self) -> &gix::odb::Handle {
        &self.objects
    }

    /// Where things of this shelf lie.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whether this commit was proven whole.
    pub(super) fn is_whole(&self, commit: &ObjectId) -> bool {
        self.whole.contains(commit)
    }

    /// Number and bytes of packs.
    pub(super) fn weigh(&self) -> Result<(usize, u64), SourceError> {
        pack::weigh(&self.path("pack")).map_err(failed(&self.directory))
    }

    /// Indexes a pack that lies in a file of ours, and makes its objects readable. Returns where it is kept, unless it was empty.
    pub(super) fn add(&mut self, file: &Path) -> Result<Option<PathBuf>, PackError> {
        let kept = pack::index(file, &self.path("pack"), &self.objects, self.kind, self.object_bytes)?;
        self.reopen().map_err(|error| PackError::Io(std::io::Error::other(error)))?;
        Ok(kept)
    }

    /// Removes what a dead process left: packs that were being copied, indexed or removed. For whoever holds the lock.
    pub(super) fn sweep(&self) {
        let folders = [self.directory.clone(), self.path("pack")];
        for entry in folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let copied = name.starts_with("incoming-") || name.starts_with('.');
            // A pack is removed after its index, and gets its name before.
            let half =
                name.ends_with(".pack") && !path.with_extension("idx").exists() || name.ends_with(".keep");
            if copied || half || name.starts_with("tmp_") {
                // What cannot be removed is in nobody's way.
                let _ = std::fs::remove_file(&path);
            }
        }
    }

    /// Takes packs out again.
    pub(super) fn remove(&mut self, packs: &[PathBuf]) -> Result<(), SourceError> {
        for pack in packs {
            reach("store: before a pack is removed");
            std::fs::remove_file(pack.with_extension("idx")).map_err(failed(pack))?;
            reach("store: index removed");
            std::fs::remove_file(pack).map_err(failed(pack))?;
        }
        self.reopen()
    }

    /// Proves that everything from `tip` down to commits known to be whole is there, and remembers it.
    pub(super) fn prove(&mut self, tip: ObjectId, limits: &Limits) -> Result<(), SourceError> {
        let walked =
            reach::walk(&self.objects, &[tip], &|commit| self.whole.contains(commit), limits.commits);
        let reached = walked.map_err(|error| self.explain(tip, error))?;
        self.whole.extend(&reached.commits);
        self.write_whole()
    }

    /// Remembers what lies beside the branch now, so that it outlasts a compaction.
    pub(super) fn remember(&self, candidate: &Candidate) -> Result<(), SourceError> {
        let mut names = candidate.approvals.clone();
        names.extend(candidate.heartbeat);
        if read_names(&self.path(BESIDE), self.kind)? == names {
            return Ok(());
        }
        write_names(&self.path(BESIDE), &names)
    }

    /// What is remembered beside the branch, with all that belongs to it and is there.
    fn beside(&self) -> Result<Vec<ObjectId>, SourceError> {
        let mut names = Vec::new();
        for id in read_names(&self.path(BESIDE), self.kind)? {
            match (beside::approved(&self.objects, id), beside::heartbeat(&self.objects, id)) {
                (Ok(_), _) => names.push(id),
                (_, Ok(parts)) => names.extend(parts),
                _ => {}
            }
        }
        Ok(names)
    }

    /// See [`Store::compact`](super::Store::compact).
    pub(super) fn compact(&mut self, roots: &[ObjectId], limits: &Limits) -> Result<bool, SourceError> {
        let (packs, bytes) = self.weigh()?;
        if packs <= MOST_PACKS && bytes <= limits.spool_bytes {
            return Ok(false);
        }
        let reached = self.reached(roots)?;
        let mut names: Vec<ObjectId> = reached.commits.iter().chain(&reached.others).copied().collect();
        let mut seen: HashSet<ObjectId> = names.iter().copied().collect();
        names.extend(self.beside()?.into_iter().filter(|name| seen.insert(*name)));
        // First forget, then remove: what is forgotten in vain is only proven once more.
        self.whole = reached.commits.iter().copied().collect();
        self.write_whole()?;
        forget(&self.path("taken.json"))?;
        match pack::replace_all(&self.objects, &names, self.kind, &self.path("pack"), limits) {
            Ok(_) => {}
            // Without deltas it would be larger than it may: then the packs stay as they are.
            Err(PackError::TooMuch { .. }) => return Ok(false),
            Err(PackError::Damaged(reason)) => {
                return Err(SourceError::Store { path: self.path("pack"), reason });
            }
            Err(PackError::Io(error)) => return Err(failed(&self.path("pack"))(error)),
        }
        self.reopen()?;
        Ok(true)
    }

    fn reached(&self, roots: &[ObjectId]) -> Result<Reached, SourceError> {
        reach::walk(&self.objects, roots, &|_| false, u32::MAX).map_err(|error| self.explain(roots[0], error))
    }

    fn explain(&self, tip: ObjectId, error: WalkError) -> SourceError {
        match error {
            WalkError::Missing(missing) => SourceError::Incomplete { tip, missing, refused: None },
            WalkError::NotACommit(id) => {
                SourceError::History { tip, reason: format!("object {id} is not a proper commit") }
            }
            WalkError::TooLong(limit) => {
                SourceError::History { tip, reason: format!("it has more than {limit} new commits") }
            }
            WalkError::Database(error) => {
                SourceError::Store { path: self.directory.clone(), reason: pack::chain(&error) }
            }
        }
    }

    fn reopen(&mut self) -> Result<(), SourceError> {
        self.objects = database(&self.directory, self.kind, self.object_bytes)?;
        Ok(())
    }

    fn write_whole(&self) -> Result<(), SourceError> {
        let mut names: Vec<ObjectId> = self.whole.iter().copied().collect();
        names.sort();
        write_names(&self.path("whole"), &names)
    }
}

/// Writes a small file as a whole or not at all.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let failed = failed(path);
    reach("store: before a file");
    let folder = path.parent().unwrap_or(path);
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
    temporary.write_all(bytes).map_err(&failed)?;
    temporary.as_file().sync_all().map_err(&failed)?;
    reach("store: file written");
    temporary.persist(path).map_err(|error| failed(error.error))?;
    reach("store: file renamed");
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Removes a file that may not exist.
fn forget(path: &Path) -> Result<(), SourceError> {
    reach("store: before a file is forgotten");
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// Object names, one after the other.
fn read_names(path: &Path, kind: HashKind) -> Result<Vec<ObjectId>, SourceError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(path)(error)),
    };
    Ok(bytes.chunks_exact(kind.len_in_bytes()).filter_map(|name| ObjectId::try_from(name).ok()).collect())
}

fn write_names(path: &Path, names: &[ObjectId]) -> Result<(), SourceError> {
    let bytes: Vec<u8> = names.iter().flat_map(|name| name.as_slice().iter().copied()).collect();
    write_atomically(path, &bytes)
}

fn database(directory: &Path, kind: HashKind, object_bytes: u64) -> Result<gix::odb::Handle, SourceError> {
    let options = gix::odb::store::init::Options {
        use_multi_pack_index: false,
        alloc_limit_bytes: usize::try_from(object_bytes).ok(),
        ..Default::default()
    };
    let mut handle =
        gix::odb::at_opts(directory.to_owned(), kind, None, options).map_err(failed(directory))?;
    // Trees of successive commits are deltas of each other: keep a few inflated.
    handle.set_pack_cache(|| Box::new(Recent::default()));
    handle.refresh_never();
    Ok(handle)
}
