//! A repository on a medium of this host: a USB stick, a network mount, a folder that something else synchronises.
//!
//! It is opened directly. The Git library's own transport for `file://` would start the `git` program, and with it whatever the repository's configuration names.

use std::fs::File;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::refs::transaction::PreviousValue;

use super::listing::{ANSWER_BYTES, Listing};
use super::{Branch, Remote, Task, Wanted, remote};
use crate::source::beside::{self, APPROVALS, heartbeat_ref};
use crate::source::error::FetchError;
use crate::source::pack::{self, PackError, chain};
use crate::source::reach::{self, WalkError};
use crate::source::spool;

/// Approvals that are looked at: about as many as fit into a listing.
const MOST_REFS: usize = ANSWER_BYTES as usize / 128;

/// A repository as a folder.
pub(super) struct Folder {
    task: Task,
    path: PathBuf,
    room: u64,
}

impl Folder {
    pub(super) fn new(task: &Task, path: &Path, room: u64) -> Folder {
        Folder { task: task.clone(), path: path.to_owned(), room }
    }

    fn open(&self) -> Result<gix::Repository, FetchError> {
        let path = &self.path;
        if let Err(error) = std::fs::metadata(path) {
            return Err(FetchError::Unreachable { reason: format!("{}: {error}", path.display()) });
        }
        let folder = if path.join(".git").is_dir() { path.join(".git") } else { path.clone() };
        let theirs = remote::open_options(&self.task)
            .open(folder)
            .map_err(|error| FetchError::NoRepository { reason: chain(&error) })?;
        Ok(theirs.to_thread_local())
    }

    fn ours(&self, theirs: &gix::Repository) -> Result<gix::Repository, FetchError> {
        let options = remote::open_options(&self.task);
        spool::open_repository(&self.task.repository, Some(theirs.object_hash()), &options)
    }
}

impl Remote for Folder {
    fn branch(&mut self) -> Result<Branch, FetchError> {
        let theirs = self.open()?;
        let listing = listing(&theirs, &self.task.source.reference)?;
        let (task, tip) = (&self.task, listing.tip);
        let ours = self.ours(&theirs)?;
        if spool::branch(&ours) == Some(tip) {
            return Ok(Branch { received: 0, listing });
        }
        // A commit that we have came in a pack with all that belongs to it.
        let known = |commit: &ObjectId| ours.has_object(*commit);
        let reached = reach::walk(&theirs.objects, &[tip], &known, task.limits.commits).map_err(damaged)?;
        let names: Vec<ObjectId> = reached.commits.into_iter().chain(reached.others).collect();
        if names.len() > task.limits.objects as usize {
            return Err(FetchError::TooMuch { what: "objects", limit: task.limits.objects.into() });
        }
        let received = if names.is_empty() { 0 } else { copy(task, &theirs, &names, self.room)? };
        ours.reference(spool::BRANCH, tip, PreviousValue::Any, "poll")
            .map_err(|error| FetchError::Spool { path: task.repository.clone(), reason: chain(&error) })?;
        Ok(Branch { received, listing })
    }

    fn bring(&mut self, wanted: &[Wanted], limit: u64) -> Result<u64, FetchError> {
        let theirs = self.open()?;
        let ours = self.ours(&theirs)?;
        let mut names = Vec::new();
        for Wanted { name, id } in wanted {
            if name.starts_with(APPROVALS) {
                names.push(*id);
            } else {
                let parts = beside::heartbeat(&theirs.objects, *id)
                    .map_err(|error| FetchError::Protocol { reason: error.to_string() })?;
                names.extend(parts);
            }
        }
        names.retain(|name| !ours.has_object(*name));
        if names.is_empty() { Ok(0) } else { copy(&self.task, &theirs, &names, limit) }
    }
}

fn listing(theirs: &gix::Repository, reference: &str) -> Result<Listing, FetchError> {
    let damaged = |error: gix::Error| FetchError::Protocol { reason: chain(&error) };
    let mut branch = theirs
        .try_find_reference(reference)
        .map_err(damaged)?
        .ok_or_else(|| FetchError::NoBranch { reference: reference.to_owned() })?;
    let tip = branch.peel_to_id().map_err(damaged)?.detach();
    let mut refs = vec![(reference.to_owned(), tip, None)];
    let heartbeat = heartbeat_ref(reference);
    if let Ok(Some(found)) = theirs.try_find_reference(heartbeat.as_str())
        && let Some(id) = found.try_id()
    {
        refs.push((heartbeat, id.detach(), None));
    }
    let tags = theirs.references().map_err(damaged)?;
    let mut cut = false;
    for (count, tag) in tags.prefixed(APPROVALS).map_err(damaged)?.enumerate() {
        if count >= MOST_REFS {
            cut = true;
            break;
        }
        let Ok(tag) = tag else { continue };
        let (Ok(name), Some(id)) = (tag.name().as_bstr().to_str(), tag.try_id()) else { continue };
        refs.push((name.to_owned(), id.detach(), beside::approved(&theirs.objects, id.detach()).ok()));
    }
    let refs = refs.iter().map(|(name, id, peeled)| (name.as_str(), *id, *peeled));
    let listing = Listing::choose(refs, reference)
        .ok_or_else(|| FetchError::NoBranch { reference: reference.to_owned() })?;
    Ok(Listing { cut, ..listing })
}

fn copy(task: &Task, theirs: &gix::Repository, names: &[ObjectId], room: u64) -> Result<u64, FetchError> {
    let directory = task.repository.join("objects/pack");
    let failed = spool::failed(&directory);
    let temporary = tempfile::Builder::new().prefix("tmp-").tempfile_in(&directory).map_err(&failed)?;
    let explain = |error: PackError| match error {
        PackError::TooMuch { what, limit } => FetchError::TooMuch { what, limit },
        PackError::Damaged(reason) => FetchError::Protocol { reason },
        PackError::Io(error) => failed(error),
    };
    let hash = theirs.object_hash();
    let size = pack::write(&theirs.objects, names, hash, room, temporary.as_file()).map_err(explain)?;
    pack::index(temporary.path(), &directory, gix::objs::find::Never, hash, task.limits.object_bytes)
        .map_err(explain)?;
    File::open(&directory).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(size)
}

fn damaged(error: WalkError) -> FetchError {
    let reason = match error {
        WalkError::Missing(id) => format!("object {id} is missing from it"),
        WalkError::NotACommit(id) => format!("object {id} is not a proper commit"),
        WalkError::TooLong(limit) => return FetchError::TooMuch { what: "commits", limit: limit.into() },
        WalkError::Database(error) => chain(&error),
    };
    FetchError::Protocol { reason }
}
