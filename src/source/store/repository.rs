//! An author's own repository, read with the same strictness.

use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::objs::{CommitRefIter, Kind};

use crate::config::Limits;
use crate::source::Candidate;
use crate::source::beside::{APPROVALS, heartbeat_ref};
use crate::source::error::SourceError;
use crate::source::names;
use crate::source::objects::{Entry, ObjectError, Objects, read};
use crate::source::pack::chain;

/// A plain repository, for `check`, `build` and `verify` on an author's machine. Its objects are as trustworthy as its owner: Git checked their names when it
/// took them.
pub struct Repository {
    repository: gix::Repository,
    path: PathBuf,
    object_bytes: u64,
}

impl Repository {
    /// Opens the repository that this folder is, or is in. Configuration of the user and the system is not read.
    ///
    /// # Errors
    /// `E129` when there is none or it cannot be opened.
    pub fn open(path: &Path) -> Result<Repository, SourceError> {
        let failed =
            |error: gix::Error| SourceError::Repository { path: path.to_owned(), reason: chain(&error) };
        let place = gix::discover::upwards(path)
            .map_err(|error| SourceError::Repository { path: path.to_owned(), reason: chain(&error) })?;
        let (git_directory, _) = place.0.into_repository_and_work_tree_directories();
        let repository = gix::open::Options::isolated()
            .open_path_as_is(true)
            .config_overrides(["core.useReplaceRefs=false"])
            .open(git_directory)
            .map_err(failed)?
            .to_thread_local();
        Ok(Repository { repository, path: path.to_owned(), object_bytes: Limits::default().object_bytes })
    }

    /// The commit that a revision names: a branch, a tag, `HEAD`, a whole or shortened object name, each with any number of `~N` and `^` for
    /// ancestors along the first parents.
    ///
    /// # Errors
    /// `E130` when there is no such commit.
    pub fn resolve(&self, revision: &str) -> Result<ObjectId, SourceError> {
        let missing =
            || SourceError::Revision { revision: crate::error::escaped(revision), path: self.path.clone() };
        let (name, steps) = ancestors(revision).ok_or_else(missing)?;
        let named = self.named(name).ok_or_else(missing)?;
        let object = self.repository.find_object(named).map_err(|_| missing())?;
        let mut commit = object.peel_to_kind(Kind::Commit).map_err(|_| missing())?.id;
        for _ in 0..steps {
            let bytes = self.read(commit, Kind::Commit).map_err(|_| missing())?;
            commit =
                CommitRefIter::from_bytes(&bytes, commit.kind()).parent_ids().next().ok_or_else(missing)?;
        }
        Ok(commit)
    }

    /// A ref wins over an object name, as in Git.
    fn named(&self, name: &str) -> Option<ObjectId> {
        if let Ok(Some(mut reference)) = self.repository.try_find_reference(name) {
            return Some(reference.peel_to_id().ok()?.detach());
        }
        let prefix = gix::hash::Prefix::from_hex(name).ok()?;
        self.repository.objects.lookup_prefix(prefix, None).ok()??.ok()
    }

    /// The working tree, unless the repository is bare.
    pub fn work_tree(&self) -> Option<&Path> {
        self.repository.workdir()
    }

    /// A tip with what this repository has beside it, as a fetcher would bring it: the approval tags, and the newest heartbeat for
    /// this branch, its own or one that was fetched from a remote.
    pub fn candidate(&self, tip: ObjectId, reference: &str) -> Candidate {
        Candidate {
            tip,
            approvals: self.approvals(),
            heartbeat: self.heartbeats(reference).into_iter().next(),
        }
    }

    /// The commits of the heartbeats for this branch, each once, the newest first: the repository's own, and those that were fetched
    /// from remotes.
    pub fn heartbeats(&self, reference: &str) -> Vec<ObjectId> {
        let own = heartbeat_ref(reference);
        let mut found: Vec<ObjectId> = self.reference(&own).into_iter().collect();
        // A branch of a remote is called `refs/remotes/origin/…`.
        let suffix = own.trim_start_matches("refs/heads").to_owned();
        if let Ok(references) = self.repository.references()
            && let Ok(remotes) = references.prefixed("refs/remotes/")
        {
            let fetched = remotes
                .filter_map(Result::ok)
                .filter(|remote| remote.name().as_bstr().to_string().ends_with(&suffix));
            found.extend(fetched.filter_map(|remote| remote.try_id().map(gix::Id::detach)));
        }
        // By the commits' own dates: whether one counts is for others to say.
        let time =
            |id: &ObjectId| self.repository.find_commit(*id).ok()?.time().ok().map(|time| time.seconds);
        found.sort_by_cached_key(|id| (std::cmp::Reverse(time(id)), *id));
        found.dedup();
        found
    }

    /// The tag objects under `refs/tags/abide/approve/`, by the names of their references.
    pub fn approvals(&self) -> Vec<ObjectId> {
        let Ok(references) = self.repository.references() else { return Vec::new() };
        let Ok(tags) = references.prefixed(APPROVALS) else { return Vec::new() };
        let objects = tags.filter_map(|tag| tag.ok()?.try_id().map(gix::Id::detach));
        objects
            .filter(|id| self.repository.find_header(*id).is_ok_and(|header| header.kind() == Kind::Tag))
            .collect()
    }

    /// A value of the repository's own configuration, such as `abide.introduction`; that of the user and the system is not read.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.repository.config_snapshot().string(name).map(|value| value.to_string())
    }

    /// The object that a reference names by its full name, not peeled; `None` when there is no such reference.
    pub fn reference(&self, name: &str) -> Option<ObjectId> {
        self.repository.try_find_reference(name).ok()??.try_id().map(gix::Id::detach)
    }

    fn read(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>, ObjectError> {
        if id.kind() != self.repository.object_hash() {
            return Err(ObjectError::Missing { id });
        }
        read(&self.repository.objects, id, kind, self.object_bytes)
    }
}

impl Objects for Repository {
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

/// Splits `name~2^` into the name and the number of steps back.
fn ancestors(revision: &str) -> Option<(&str, u32)> {
    let end = revision.find(['~', '^']).unwrap_or(revision.len());
    let (name, mut rest) = revision.split_at(end);
    let mut steps: u32 = 0;
    while !rest.is_empty() {
        if !rest.starts_with(['~', '^']) {
            return None;
        }
        let digits =
            rest[1..].find(|character: char| !character.is_ascii_digit()).map_or(rest.len(), |at| at + 1);
        let (step, following) = rest.split_at(digits);
        steps = match step.split_at(1) {
            ("^", "") | ("~", "") => steps.checked_add(1)?,
            ("~", count) => steps.checked_add(count.parse().ok()?)?,
            _ => return None,
        };
        rest = following;
    }
    (!name.is_empty()).then_some((name, steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_split() {
        for (text, expected) in [
            ("main", Some(("main", 0))),
            ("HEAD~3", Some(("HEAD", 3))),
            ("v1^^", Some(("v1", 2))),
            ("a/b~1^~2", Some(("a/b", 4))),
            ("HEAD^2", None),
            ("~1", None),
            ("", None),
            ("HEAD~99999999999", None),
            ("HEAD~é", None),
        ] {
            assert_eq!(ancestors(text), expected, "{text}");
        }
    }
}
