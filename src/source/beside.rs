//! What may lie beside a branch: approvals, which are annotated tags, and the heartbeat, which is a commit of its own.
//!
//! Both sides ask here what a sound one looks like. The bounds are far above what `abide` writes and far below what hurts.

use gix::ObjectId;
use gix::objs::{CommitRefIter, Find, FindHeader, Kind, TagRefIter, tag::ref_iter::Token};

use super::names;
use super::objects::{EntryKind, ObjectError, read};

/// Where approvals by tag lie on a remote; what follows means nothing.
pub(super) const APPROVALS: &str = "refs/tags/abide/approve/";

/// More approvals than this are not taken.
pub(super) const MOST_APPROVALS: usize = 256;

/// Bytes of an approval. One that `git tag -s` writes has half a thousand.
pub(super) const APPROVAL_BYTES: u64 = 64 << 10;

/// Bytes of a heartbeat, and of the commit and the tree around it.
pub(super) const HEARTBEAT_BYTES: u64 = 16 << 10;

/// The file in the heartbeat's tree.
pub const HEARTBEAT_FILE: &str = "heartbeat";

/// Where the heartbeat of a branch lies on a remote: for `refs/heads/main` at `refs/heads/abide/heartbeat/main`.
pub fn heartbeat_ref(reference: &str) -> String {
    let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    format!("refs/heads/abide/heartbeat/{branch}")
}

/// The commit that an approval names. A tag of a tag approves nothing.
///
/// # Errors
/// It is not there, too large, or no tag of a commit.
pub(super) fn approved(objects: &(impl Find + FindHeader), tag: ObjectId) -> Result<ObjectId, ObjectError> {
    let bytes = read(objects, tag, Kind::Tag, APPROVAL_BYTES)?;
    let mut tokens = TagRefIter::from_bytes(&bytes, tag.kind());
    match (tokens.next(), tokens.next()) {
        (Some(Ok(Token::Target { id })), Some(Ok(Token::TargetKind(Kind::Commit)))) => Ok(id),
        _ => Err(malformed(tag, "it is no tag of a commit")),
    }
}

/// The commit, the tree and the blob of a heartbeat.
///
/// # Errors
/// One of them is not there, too large, or holds more than belongs to a heartbeat.
pub(super) fn heartbeat(
    objects: &(impl Find + FindHeader),
    commit: ObjectId,
) -> Result<[ObjectId; 3], ObjectError> {
    let bytes = read(objects, commit, Kind::Commit, HEARTBEAT_BYTES)?;
    let tree = CommitRefIter::from_bytes(&bytes, commit.kind())
        .tree_id()
        .map_err(|_| malformed(commit, "it is no proper commit"))?;
    if CommitRefIter::from_bytes(&bytes, commit.kind()).parent_ids().next().is_some() {
        return Err(malformed(commit, "a heartbeat has no parent"));
    }
    let entries = names::entries(tree, &read(objects, tree, Kind::Tree, HEARTBEAT_BYTES)?)?;
    let [entry] = entries.as_slice() else {
        return Err(malformed(tree, "a heartbeat's tree has one entry"));
    };
    if entry.name != HEARTBEAT_FILE || entry.kind != EntryKind::File {
        return Err(malformed(tree, "a heartbeat's tree has one file, `heartbeat`"));
    }
    read(objects, entry.id, Kind::Blob, HEARTBEAT_BYTES)?;
    Ok([commit, tree, entry.id])
}

fn malformed(id: ObjectId, reason: &str) -> ObjectError {
    ObjectError::Malformed { id, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_has_its_heartbeat() {
        assert_eq!(heartbeat_ref("refs/heads/main"), "refs/heads/abide/heartbeat/main");
        assert_eq!(heartbeat_ref("refs/heads/a/b"), "refs/heads/abide/heartbeat/a/b");
    }
}
