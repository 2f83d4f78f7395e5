//! Which objects belong to a commit.

use std::collections::HashSet;

use gix::ObjectId;
use gix::objs::{CommitRefIter, Find, Kind, TreeRefIter, tree::EntryKind};

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum WalkError {
    /// An object is not there.
    Missing(ObjectId),
    /// What should be a commit is none, or cannot be parsed.
    NotACommit(ObjectId),
    /// The history has more commits than allowed.
    TooLong(u32),
    /// The object database failed.
    Database(gix::Error),
}

/// Objects that were reached, commits apart, each list in the order of discovery.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Commits, from the tip to older ones.
    pub commits: Vec<ObjectId>,
    /// Trees and blobs.
    pub others: Vec<ObjectId>,
}

/// Walks from `tips` to the commits for which `known` is true, which with all that belongs to them are taken for present.
///
/// A tree that cannot be parsed hides what it names: the later stages cannot read it either. Submodules belong to other repositories.
pub(super) fn walk(
    objects: &(impl Find + gix::objs::Exists),
    tips: &[ObjectId],
    known: &dyn Fn(&ObjectId) -> bool,
    most_commits: u32,
) -> Result<Reached, WalkError> {
    let mut walk = Walk {
        objects,
        commits: HashSet::new(),
        trees: HashSet::new(),
        blobs: HashSet::new(),
        reached: Reached::default(),
        buffer: Vec::new(),
    };
    let mut queue: Vec<ObjectId> = tips.to_vec();
    while let Some(commit) = queue.pop() {
        if known(&commit) || !walk.commits.insert(commit) {
            continue;
        }
        if walk.reached.commits.len() >= most_commits as usize {
            return Err(WalkError::TooLong(most_commits));
        }
        let (tree, parents) = walk.commit(commit)?;
        walk.reached.commits.push(commit);
        walk.tree(tree)?;
        queue.extend(parents);
    }
    Ok(walk.reached)
}

struct Walk<'a, O> {
    objects: &'a O,
    commits: HashSet<ObjectId>,
    // Apart from each other: an object that one tree calls a file must still be walked when another calls it a folder.
    trees: HashSet<ObjectId>,
    blobs: HashSet<ObjectId>,
    reached: Reached,
    buffer: Vec<u8>,
}

impl<O: Find + gix::objs::Exists> Walk<'_, O> {
    fn commit(&mut self, id: ObjectId) -> Result<(ObjectId, Vec<ObjectId>), WalkError> {
        let data = self
            .objects
            .try_find(&id, &mut self.buffer)
            .map_err(WalkError::Database)?
            .ok_or(WalkError::Missing(id))?;
        if data.kind != Kind::Commit {
            return Err(WalkError::NotACommit(id));
        }
        let tree = CommitRefIter::from_bytes(data.data, id.kind())
            .tree_id()
            .map_err(|_| WalkError::NotACommit(id))?;
        let parents = CommitRefIter::from_bytes(data.data, id.kind()).parent_ids().collect();
        Ok((tree, parents))
    }

    fn tree(&mut self, root: ObjectId) -> Result<(), WalkError> {
        let mut queue = vec![root];
        while let Some(id) = queue.pop() {
            if !self.trees.insert(id) {
                continue;
            }
            let data = self
                .objects
                .try_find(&id, &mut self.buffer)
                .map_err(WalkError::Database)?
                .ok_or(WalkError::Missing(id))?;
            if !self.blobs.contains(&id) {
                self.reached.others.push(id);
            }
            if data.kind != Kind::Tree {
                continue;
            }
            for entry in TreeRefIter::from_bytes(data.data, id.kind()).map_while(Result::ok) {
                let child = entry.oid.to_owned();
                match entry.mode.kind() {
                    EntryKind::Tree => queue.push(child),
                    EntryKind::Commit => {}
                    EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => {
                        if self.blobs.insert(child) && !self.trees.contains(&child) {
                            if !self.objects.exists(&child) {
                                return Err(WalkError::Missing(child));
                            }
                            self.reached.others.push(child);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
