//! Which paths differ between two trees.
//!
//! **Invariant:** every entry of the later tree that differs is named in the answer or is the error; work is bounded by a budget
//! of entries and by depth, and nothing recurses.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use gix::ObjectId;

use crate::source::{Entry, EntryKind, ObjectError, Objects};

/// Folders in folders; a path of this depth is longer than most file systems take.
const DEEPEST: usize = 128;
/// Longest target of a symlink, as on Linux.
const LONGEST_TARGET: usize = 4096;

/// More entries than somebody could look at.
const MOST_PATHS: usize = 1_000_000;

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    /// From the root of the tree, without leading slash.
    pub path: String,
    /// What it is now; `None` when it is gone.
    pub after: Option<EntryKind>,
}

/// Why two trees cannot be compared, or what the later one may not contain.
#[derive(Debug)]
pub(super) enum DiffError {
    Object(ObjectError),
    TooMuch,
    BadEntry { path: String, reason: &'static str },
    Submodule { path: String },
    Symlink { path: String, target: String },
}

impl From<ObjectError> for DiffError {
    fn from(error: ObjectError) -> DiffError {
        DiffError::Object(error)
    }
}

/// The paths that differ between two trees, for people who look at a change; what is not acceptable in them is an error.
///
/// # Errors
/// An object cannot be read, or there is too much of it.
pub fn differing(
    objects: &dyn Objects,
    before: ObjectId,
    after: ObjectId,
) -> Result<Vec<String>, ObjectError> {
    let malformed = |reason: String| ObjectError::Malformed { id: after, reason };
    let mut budget = MOST_PATHS;
    let found =
        changed(objects, &mut Trees::default(), Some(before), Some(after), &mut budget).map_err(|error| {
            match error {
                DiffError::Object(error) => error,
                DiffError::TooMuch => malformed(format!("more than {MOST_PATHS} entries differ")),
                DiffError::BadEntry { path, reason } => malformed(format!("{path}: {reason}")),
                DiffError::Submodule { path } => malformed(format!("{path} is a submodule")),
                DiffError::Symlink { path, target } => malformed(format!("{path} is a symlink to {target}")),
            }
        })?;
    Ok(found.into_iter().map(|change| change.path).collect())
}

/// More entries than this are not kept in memory.
const MOST_KEPT: usize = 1 << 15;

/// Trees that were read: what a commit makes is what the next one starts from.
#[derive(Default)]
pub(super) struct Trees {
    kept: HashMap<ObjectId, Rc<[Entry]>>,
    entries: usize,
}

impl Trees {
    fn read(&mut self, objects: &dyn Objects, tree: ObjectId) -> Result<Rc<[Entry]>, ObjectError> {
        if let Some(entries) = self.kept.get(&tree) {
            return Ok(entries.clone());
        }
        let entries: Rc<[Entry]> = objects.tree(tree)?.into();
        if self.entries + entries.len() > MOST_KEPT {
            self.kept.clear();
            self.entries = 0;
        }
        self.entries += entries.len() + 1;
        self.kept.insert(tree, entries.clone());
        Ok(entries)
    }
}

struct Pair {
    prefix: String,
    depth: usize,
    before: Option<ObjectId>,
    after: Option<ObjectId>,
}

/// Compares two trees; `None` is the empty one. Each entry that is read costs one of the budget.
pub(super) fn changed(
    objects: &dyn Objects,
    trees: &mut Trees,
    before: Option<ObjectId>,
    after: Option<ObjectId>,
    budget: &mut usize,
) -> Result<Vec<Changed>, DiffError> {
    let mut found = Vec::new();
    let mut pairs = vec![Pair { prefix: String::new(), depth: 0, before, after }];
    while let Some(pair) = pairs.pop() {
        if pair.before == pair.after {
            continue;
        }
        if pair.depth > DEEPEST {
            return Err(DiffError::BadEntry { path: pair.prefix, reason: "folders are nested too deeply" });
        }
        let mut read = |tree: Option<ObjectId>| match tree {
            Some(tree) => trees.read(objects, tree),
            None => Ok(Rc::default()),
        };
        let (before, after) = (read(pair.before)?, read(pair.after)?);
        let before = by_name(&before, &pair.prefix)?;
        let mut after = by_name(&after, &pair.prefix)?;
        *budget = budget.checked_sub(before.len() + after.len() + 1).ok_or(DiffError::TooMuch)?;
        let mut names: Vec<(Option<&Entry>, Option<&Entry>)> =
            before.into_iter().map(|(name, entry)| (Some(entry), after.remove(name))).collect();
        names.extend(after.into_values().map(|entry| (None, Some(entry))));
        for (before, after) in names {
            compare(objects, &pair, before, after, &mut found, &mut pairs)?;
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn compare(
    objects: &dyn Objects,
    pair: &Pair,
    before: Option<&Entry>,
    after: Option<&Entry>,
    found: &mut Vec<Changed>,
    pairs: &mut Vec<Pair>,
) -> Result<(), DiffError> {
    let same = |one: &Entry, other: &Entry| one.kind == other.kind && one.id == other.id;
    if let (Some(before), Some(after)) = (before, after)
        && same(before, after)
    {
        return Ok(());
    }
    let Some(name) = before.or(after).map(|entry| &entry.name) else { return Ok(()) };
    let path = if pair.prefix.is_empty() { name.clone() } else { format!("{}/{name}", pair.prefix) };
    if let Some(after) = after {
        check(objects, &path, after)?;
    }
    let tree =
        |entry: Option<&Entry>| entry.filter(|entry| entry.kind == EntryKind::Tree).map(|entry| entry.id);
    let (before_tree, after_tree) = (tree(before), tree(after));
    if before_tree.is_some() || after_tree.is_some() {
        pairs.push(Pair {
            prefix: path.clone(),
            depth: pair.depth + 1,
            before: before_tree,
            after: after_tree,
        });
    }
    let leaf =
        |entry: Option<&Entry>| entry.filter(|entry| entry.kind != EntryKind::Tree).map(|entry| entry.kind);
    if leaf(before).is_some() || leaf(after).is_some() {
        found.push(Changed { path, after: leaf(after) });
    }
    Ok(())
}

fn by_name<'a>(entries: &'a [Entry], prefix: &str) -> Result<BTreeMap<&'a str, &'a Entry>, DiffError> {
    let mut names = BTreeMap::new();
    for entry in entries {
        if names.insert(entry.name.as_str(), entry).is_some() {
            let path = format!("{prefix}/{}", entry.name);
            return Err(DiffError::BadEntry { path, reason: "the name stands twice in its folder" });
        }
    }
    Ok(names)
}

/// What the later tree may not contain.
fn check(objects: &dyn Objects, path: &str, entry: &Entry) -> Result<(), DiffError> {
    // The store checks names as well. Here it costs little, and whoever reads this need not look there.
    let name = entry.name.as_str();
    let hostile = name.is_empty()
        || [".", ".."].contains(&name)
        || name.eq_ignore_ascii_case(".git")
        || name.chars().any(|character| character == '/' || character.is_control());
    if hostile {
        return Err(DiffError::BadEntry { path: path.to_owned(), reason: "the name is not allowed" });
    }
    match entry.kind {
        EntryKind::Submodule => Err(DiffError::Submodule { path: path.to_owned() }),
        EntryKind::Symlink => {
            let target = objects.blob(entry.id)?;
            match std::str::from_utf8(&target) {
                Ok(text) if stays_inside(path, text) => Ok(()),
                _ => {
                    let target = String::from_utf8_lossy(&target[..target.len().min(256)]).into_owned();
                    Err(DiffError::Symlink { path: path.to_owned(), target })
                }
            }
        }
        EntryKind::Tree | EntryKind::File | EntryKind::Executable => Ok(()),
    }
}

/// Whether a symlink at this path stays within the tree, whatever its own folders are.
fn stays_inside(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.len() > LONGEST_TARGET || target.contains('\0')
    {
        return false;
    }
    let mut depth = path.matches('/').count();
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlinks_stay_inside_the_tree() {
        for (path, target, expected) in [
            ("a", "b", true),
            ("a", "../b", false),
            ("roles/a", "../b", true),
            ("roles/a", "../../b", false),
            ("roles/a", "x/../../../b", false),
            ("a", "/etc/passwd", false),
            ("a", "", false),
            ("a/b/c", "../..", true),
        ] {
            assert_eq!(stays_inside(path, target), expected, "{path} -> {target}");
        }
    }
}
