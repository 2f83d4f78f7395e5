//! The fetcher's side of the spool: a private repository to negotiate with, and the mailbox with hard links to its packs.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind as HashKind;
use gix::refs::transaction::{PreviousValue, RefEdit};

use super::error::FetchError;
use super::pack::{self, PackError, chain};
use super::{MAILBOX, NOTE, Note, beside, reach};
use crate::config::Limits;

/// The ref of the private repository that remembers the branch.
pub(super) const BRANCH: &str = "refs/abide/branch";

/// The ref of the private repository that remembers the heartbeat.
const HEARTBEAT: &str = "refs/abide/heartbeat";

/// Where the private repository remembers approvals, each under its own object's name.
const APPROVALS: &str = "refs/abide/approve/";

/// More packs than this are rewritten as one, when a poll has nothing else to do.
const MOST_PACKS: usize = 16;

/// More packs than this are rewritten as one in any case: the root process looks at 256 entries of the mailbox.
const TOO_MANY_PACKS: usize = 4 * MOST_PACKS;

/// So many packs that could not be rewritten as one are given up, to be fetched anew as one.
const FAR_TOO_MANY_PACKS: usize = 12 * MOST_PACKS;

/// The spool, held by one fetcher at a time.
pub(super) struct Spool {
    path: PathBuf,
    lock: File,
}

impl Spool {
    /// Creates what is missing and takes the lock.
    pub(super) fn open(path: &Path) -> Result<Spool, FetchError> {
        let failed = failed(path);
        if path.is_dir() {
            remove_strangers(path).map_err(&failed)?;
        }
        std::fs::create_dir_all(path.join(MAILBOX)).map_err(&failed)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(&failed)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Spool { path: path.to_owned(), lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FetchError::Busy { path: path.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Where the private repository is.
    pub(super) fn repository(&self) -> PathBuf {
        self.path.join("repository")
    }

    /// Where ssh writes what it has to say.
    pub(super) fn ssh_log(&self) -> PathBuf {
        self.path.join("ssh.log")
    }

    /// The note of the poll before; an empty one when there is none that can be read.
    pub(super) fn note(&self) -> Note {
        std::fs::read(self.path.join(NOTE))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Writes the note as a whole or not at all.
    pub(super) fn write_note(&self, note: &Note) -> Result<(), FetchError> {
        write_whole(&self.path, NOTE, note)
    }

    /// Makes the mailbox show exactly the packs of the private repository.
    pub(super) fn publish(&self) -> Result<(), FetchError> {
        let mailbox = self.path.join(MAILBOX);
        let failed = failed(&mailbox);
        let directory = self.repository().join("objects/pack");
        let packs = if directory.is_dir() { pack::list(&directory).map_err(&failed)? } else { Vec::new() };
        let mut names = Vec::new();
        for pack in packs {
            let Some(name) = pack.file_name() else { continue };
            let letter = mailbox.join(name);
            if !is_same_file(&pack, &letter) {
                remove(&letter).map_err(&failed)?;
                std::fs::hard_link(&pack, &letter).map_err(&failed)?;
            }
            names.push(name.to_owned());
        }
        for entry in std::fs::read_dir(&mailbox).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            if !names.contains(&entry.file_name()) {
                remove(&entry.path()).map_err(&failed)?;
            }
        }
        Ok(())
    }

    /// Bytes that may still be received. Makes room when little is left.
    pub(super) fn room(&self, repository: &gix::Repository, limits: &Limits) -> Result<u64, FetchError> {
        let (_, used) = self.weigh(repository)?;
        if used <= limits.spool_bytes / 2 {
            return Ok(limits.spool_bytes - used);
        }
        self.compact(repository, limits)?;
        let (_, used) = self.weigh(repository)?;
        Ok(limits.spool_bytes.saturating_sub(used))
    }

    /// Rewrites many packs as one; when `idle`, earlier than when it must be.
    pub(super) fn tidy(
        &self,
        repository: &gix::Repository,
        limits: &Limits,
        idle: bool,
    ) -> Result<(), FetchError> {
        let (packs, _) = self.weigh(repository)?;
        if packs <= if idle { MOST_PACKS } else { TOO_MANY_PACKS } {
            return Ok(());
        }
        self.compact(repository, limits)?;
        let (packs, _) = self.weigh(repository)?;
        let directory = self.repository();
        if packs > FAR_TOO_MANY_PACKS { remove(&directory).map_err(failed(&directory)) } else { Ok(()) }
    }

    /// Rewrites everything as one pack, without what nothing names any more: old heartbeats, approvals of commits that were taken back.
    fn compact(&self, repository: &gix::Repository, limits: &Limits) -> Result<(), FetchError> {
        let Some(tip) = branch(repository) else { return Ok(()) };
        let directory = self.repository().join("objects/pack");
        let broken = |reason: String| FetchError::Spool { path: directory.clone(), reason };
        let reached = reach::walk(&repository.objects, &[tip], &|_| false, limits.commits)
            .map_err(|error| broken(format!("{error:?}")))?;
        let mut approvals = approvals(repository);
        let commits: HashSet<&ObjectId> = reached.commits.iter().collect();
        approvals.retain(|tag| {
            beside::approved(&repository.objects, *tag).is_ok_and(|commit| commits.contains(&commit))
        });
        let heartbeat = heartbeat(repository)
            .and_then(|commit| Some((commit, beside::heartbeat(&repository.objects, commit).ok()?)));
        drop(commits);
        let mut names: Vec<ObjectId> = reached.commits.into_iter().chain(reached.others).collect();
        let mut seen: HashSet<ObjectId> = names.iter().copied().collect();
        let beside = heartbeat.iter().flat_map(|(_, parts)| parts).chain(&approvals);
        names.extend(beside.filter(|name| seen.insert(**name)).copied());
        match pack::replace_all(&repository.objects, &names, tip.kind(), &directory, limits) {
            Ok(_) => remember(repository, &approvals, heartbeat.map(|(commit, _)| commit)),
            // Too large without deltas: then the packs stay as they are.
            Err(PackError::TooMuch { .. }) => Ok(()),
            Err(PackError::Damaged(reason)) => Err(broken(reason)),
            Err(PackError::Io(error)) => Err(failed(&directory)(error)),
        }
    }

    fn weigh(&self, repository: &gix::Repository) -> Result<(usize, u64), FetchError> {
        let directory = repository.objects.store_ref().path().join("pack");
        pack::weigh(&directory).map_err(failed(&directory))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Closing would do, were it not for a child that another thread is just starting, which holds the same file for a moment.
        let _ = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock);
    }
}

/// Opens the private repository. One that cannot be opened, has another object format or configuration, or has lost its objects, is made anew: it
/// holds nothing that the next fetch does not bring.
pub(super) fn open_repository(
    directory: &Path,
    hash: Option<HashKind>,
    options: &gix::open::Options,
) -> Result<gix::Repository, FetchError> {
    sweep(directory);
    if is_ours(directory)
        && let Ok(repository) = options.clone().open(directory)
    {
        let repository = repository.to_thread_local();
        let format = hash.is_none_or(|hash| hash == repository.object_hash());
        let sound = branch(&repository).is_none_or(|tip| repository.has_object(tip));
        if format && sound {
            return Ok(repository);
        }
    }
    remove(directory).map_err(failed(directory))?;
    let hash = hash.unwrap_or(HashKind::Sha1);
    let create = gix::create::Options { object_hash: Some(hash), ..Default::default() };
    let broken = |error: gix::Error| FetchError::Spool { path: directory.to_owned(), reason: chain(&error) };
    gix::create::into(directory, gix::create::Kind::Bare, create).map_err(broken)?;
    std::fs::write(directory.join("config"), configuration(hash)).map_err(failed(directory))?;
    Ok(options.clone().open(directory).map_err(broken)?.to_thread_local())
}

/// Whether the configuration is what was written here: no other could send the fetcher elsewhere, or have it do otherwise.
fn is_ours(directory: &Path) -> bool {
    let found = std::fs::read_to_string(directory.join("config")).unwrap_or_default();
    let more = ["commondir", "shallow", "config.worktree", "objects/info/alternates"];
    [HashKind::Sha1, HashKind::Sha256].iter().any(|hash| found == configuration(*hash))
        && more.iter().all(|name| std::fs::symlink_metadata(directory.join(name)).is_err())
}

fn configuration(hash: HashKind) -> String {
    let version = if hash == HashKind::Sha1 { 0 } else { 1 };
    let core = format!("[core]\n\trepositoryformatversion = {version}\n\tbare = true\n");
    if hash == HashKind::Sha1 { core } else { format!("{core}[extensions]\n\tobjectFormat = {hash}\n") }
}

/// The commit that the branch was at when it was last fetched.
pub(super) fn branch(repository: &gix::Repository) -> Option<ObjectId> {
    Some(repository.try_find_reference(BRANCH).ok()??.try_id()?.detach())
}

/// Removes everything from the spool that is not ours, or not of the kind that ours is: what somebody else's program left under this user.
fn remove_strangers(spool: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(spool)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let ours = match entry.file_name().to_str() {
            Some("repository" | MAILBOX) => kind.is_dir(),
            Some("lock" | "ssh.log" | "settings.toml" | NOTE) => kind.is_file(),
            _ => false,
        };
        let path = entry.path();
        if !ours {
            remove(&path)?;
        } else if entry.metadata()?.permissions().mode() & 0o600 != 0o600 {
            // Ours, but shut even to us.
            let mode = if kind.is_dir() { 0o700 } else { 0o600 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// The heartbeat that was fetched last.
pub(super) fn heartbeat(repository: &gix::Repository) -> Option<ObjectId> {
    Some(repository.try_find_reference(HEARTBEAT).ok()??.try_id()?.detach())
}

/// The approvals that were fetched and are still on the remote, in the order of their names.
pub(super) fn approvals(repository: &gix::Repository) -> Vec<ObjectId> {
    let Ok(refs) = repository.references() else { return Vec::new() };
    let Ok(refs) = refs.prefixed(APPROVALS) else { return Vec::new() };
    let mut approvals: Vec<ObjectId> =
        refs.flatten().filter_map(|found| found.try_id().map(gix::Id::detach)).collect();
    approvals.sort();
    approvals
}

/// Remembers exactly these approvals and this heartbeat.
pub(super) fn remember(
    repository: &gix::Repository,
    wanted: &[ObjectId],
    wanted_heartbeat: Option<ObjectId>,
) -> Result<(), FetchError> {
    let broken =
        |error: gix::Error| FetchError::Spool { path: repository.path().to_owned(), reason: chain(&error) };
    let delete = |name: String| Some(RefEdit::delete(name.try_into().ok()?, PreviousValue::Any));
    let update = |name: String, id: ObjectId| {
        Some(RefEdit::update(name.try_into().ok()?, id, PreviousValue::Any, "poll"))
    };
    let held = approvals(repository);
    let named = |id: &ObjectId| format!("{APPROVALS}{id}");
    let mut edits: Vec<RefEdit> = Vec::new();
    edits.extend(held.iter().filter(|id| !wanted.contains(id)).filter_map(|id| delete(named(id))));
    edits.extend(wanted.iter().filter(|id| !held.contains(id)).filter_map(|id| update(named(id), *id)));
    match (heartbeat(repository), wanted_heartbeat) {
        (held, wanted) if held == wanted => {}
        (_, Some(id)) => edits.extend(update(HEARTBEAT.into(), id)),
        (_, None) => edits.extend(delete(HEARTBEAT.into())),
    }
    if !edits.is_empty() {
        repository.edit_references(edits).map_err(broken)?;
    }
    Ok(())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((inode(one), inode(other)), (Ok(one), Ok(other)) if one == other)
}

/// Writes a small file of JSON as a whole or not at all.
pub(super) fn write_whole(
    folder: &Path,
    name: &str,
    content: &impl serde::Serialize,
) -> Result<(), FetchError> {
    let failed = failed(folder);
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(&failed)?;
    serde_json::to_writer(&mut file, content).map_err(|error| failed(error.into()))?;
    file.write_all(b"\n").map_err(&failed)?;
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(folder.join(name)).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Removes what an interrupted fetch left, and what would lead to objects elsewhere. Failing is harmless.
fn sweep(repository: &Path) {
    let _ = remove(&repository.join("objects/info"));
    let Ok(entries) = std::fs::read_dir(repository.join("objects/pack")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("pack-") || name.to_string_lossy().ends_with(".keep") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Removes a file or a folder, or nothing.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path).or_else(|_| {
            open_up(path)?;
            std::fs::remove_dir_all(path)
        }),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Lets us into folders of ours that are shut even to us. The root process lets no spool become deep.
fn open_up(folder: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes `E111` of an I/O error at `path`.
pub(super) fn failed(path: &Path) -> impl Fn(std::io::Error) -> FetchError {
    move |error| FetchError::Spool { path: path.to_owned(), reason: error.to_string() }
}
