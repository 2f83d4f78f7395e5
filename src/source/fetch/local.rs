//! A repository on a medium of this host: a USB stick, a network mount, a folder that something else synchronises.
//!
//! It is opened directly. The Git library's own transport for `file://` would start the `git` program, and with it whatever the repository's configuration names.

use std::fs::File;
use std::path::Path;

use gix::ObjectId;
use gix::refs::transaction::PreviousValue;

use super::{Fetched, Task, remote};
use crate::source::error::FetchError;
use crate::source::pack::{self, PackError, chain};
use crate::source::reach::{self, WalkError};
use crate::source::spool;

pub(super) fn fetch(task: &Task, path: &Path, room: u64) -> Result<Fetched, FetchError> {
    let unusable = |reason: String| FetchError::NoRepository { reason };
    if let Err(error) = std::fs::metadata(path) {
        return Err(FetchError::Unreachable { reason: format!("{}: {error}", path.display()) });
    }
    let folder = if path.join(".git").is_dir() { path.join(".git") } else { path.to_owned() };
    let options = remote::open_options(task);
    let theirs = options.clone().open(folder).map_err(|error| unusable(chain(&error)))?.to_thread_local();
    let tip = tip(&theirs, &task.source.reference)?;
    let ours = spool::open_repository(&task.repository, Some(theirs.object_hash()), &options)?;
    if spool::branch(&ours) == Some(tip) {
        return Ok(Fetched { tip, received: 0 });
    }
    // A commit that we have came in a pack with all that belongs to it.
    let known = |commit: &ObjectId| ours.has_object(*commit);
    let reached = reach::walk(&theirs.objects, &[tip], &known, task.limits.commits).map_err(damaged)?;
    let names: Vec<ObjectId> = reached.commits.into_iter().chain(reached.others).collect();
    if names.len() > task.limits.objects as usize {
        return Err(FetchError::TooMuch { what: "objects", limit: task.limits.objects.into() });
    }
    let received = if names.is_empty() { 0 } else { copy(task, &theirs, &names, room)? };
    ours.reference(spool::BRANCH, tip, PreviousValue::Any, "poll")
        .map_err(|error| FetchError::Spool { path: task.repository.clone(), reason: chain(&error) })?;
    Ok(Fetched { tip, received })
}

fn tip(theirs: &gix::Repository, reference: &str) -> Result<ObjectId, FetchError> {
    let damaged = |error: gix::Error| FetchError::Protocol { reason: chain(&error) };
    let mut found = theirs
        .try_find_reference(reference)
        .map_err(damaged)?
        .ok_or_else(|| FetchError::NoBranch { reference: reference.to_owned() })?;
    Ok(found.peel_to_id().map_err(damaged)?.detach())
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
