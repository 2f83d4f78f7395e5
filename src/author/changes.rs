//! What lies between two trees, for somebody who is about to vouch for it.
//!
//! Git's own `diff` obeys the attributes and the configuration of the tree under review, so that a change could hide itself from
//! its reviewer (`*.toml -diff`). This one shows every path and every line, and nothing in it can drive a terminal.

use std::fmt::Write as _;

use gix::ObjectId;
use serde::Serialize;

use crate::error::escaped;
use crate::manifest::{GitTree, Tree};
use crate::source::{EntryKind, ObjectError, Objects};
use crate::trust::differing;

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedFile {
    /// From the root of the tree; safe to print.
    pub path: String,
    /// What it was; `None` when it is new.
    pub before: Option<&'static str>,
    /// What it is; `None` when it is gone.
    pub after: Option<&'static str>,
    /// Lines that were added.
    pub added: usize,
    /// Lines that were removed.
    pub removed: usize,
    /// The difference as a unified diff, safe to print.
    #[serde(skip)]
    pub patch: String,
}

/// Everything that differs between two trees, by path.
///
/// # Errors
/// An object cannot be read.
pub fn changes(
    objects: &dyn Objects,
    before: ObjectId,
    after: ObjectId,
) -> Result<Vec<ChangedFile>, ObjectError> {
    let trees = [GitTree::new(objects, before), GitTree::new(objects, after)];
    let mut changes = Vec::new();
    for path in differing(objects, before, after)? {
        let [before, after] = [side(objects, &trees[0], &path)?, side(objects, &trees[1], &path)?];
        changes.push(compare(&path, before, after));
    }
    Ok(changes)
}

/// What is at a path: its kind and its bytes.
type Side = Option<(&'static str, Vec<u8>)>;

fn side(objects: &dyn Objects, tree: &GitTree<'_>, path: &str) -> Result<Side, ObjectError> {
    let store = |error: crate::manifest::TreeError| ObjectError::Store(Box::new(error));
    let Some(entry) = tree.entry(path).map_err(store)? else { return Ok(None) };
    let word = match entry.kind {
        EntryKind::Tree => return Ok(None),
        EntryKind::File => "file",
        EntryKind::Executable => "executable file",
        EntryKind::Symlink => "symlink",
        EntryKind::Submodule => return Ok(Some(("submodule", Vec::new()))),
    };
    let id = entry.object.as_deref().and_then(|id| ObjectId::from_hex(id.as_bytes()).ok());
    Ok(match id {
        Some(id) => Some((word, objects.blob(id)?)),
        None => None,
    })
}

fn compare(path: &str, before: Side, after: Side) -> ChangedFile {
    let path = escaped(path);
    let kinds = [before.as_ref().map(|side| side.0), after.as_ref().map(|side| side.0)];
    let bytes = |side: &Side| side.as_ref().map_or_else(Vec::new, |side| side.1.clone());
    let (old, new) = (bytes(&before), bytes(&after));
    let mut patch = String::new();
    if let [Some(before), Some(after)] = kinds
        && before != after
    {
        let _ = writeln!(patch, "{path}: {before} → {after}");
    }
    let (mut added, mut removed) = (0, 0);
    match (text(&old), text(&new)) {
        (Some(old), Some(new)) => {
            let difference = similar::TextDiff::from_lines(old, new);
            for change in difference.iter_all_changes() {
                added += usize::from(change.tag() == similar::ChangeTag::Insert);
                removed += usize::from(change.tag() == similar::ChangeTag::Delete);
            }
            let name = |kind: Option<&str>, side: &str| {
                kind.map_or_else(|| "/dev/null".to_owned(), |_| format!("{side}/{path}"))
            };
            let (left, right) = (name(kinds[0], "a"), name(kinds[1], "b"));
            let unified = difference.unified_diff().context_radius(3).header(&left, &right).to_string();
            if unified.is_empty() && patch.is_empty() {
                let _ = writeln!(patch, "{path}: an empty {}", kinds[1].or(kinds[0]).unwrap_or_default());
            }
            for line in unified.lines() {
                let _ = writeln!(patch, "{}", printable(line));
            }
        }
        _ => {
            let _ = writeln!(patch, "{path}: binary, {} → {}", weight(&old), weight(&new));
        }
    }
    ChangedFile { path, before: kinds[0], after: kinds[1], added, removed, patch }
}

/// Text that can be shown: UTF-8 without NUL.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Safe to print; tabs stay, because they are common in configuration files.
fn printable(line: &str) -> String {
    line.split('\t').map(escaped).collect::<Vec<_>>().join("\t")
}

fn weight(bytes: &[u8]) -> String {
    if bytes.is_empty() { "nothing".into() } else { format!("{} bytes", bytes.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> Side {
        Some(("file", text.to_vec()))
    }

    #[test]
    fn every_line_is_shown_and_none_drives_a_terminal() {
        let change = compare("roles/web/a.conf", file(b"one\ntwo\n"), file(b"one\n\x1b[2Kthree\n"));
        assert_eq!((change.added, change.removed), (1, 1));
        assert!(change.patch.contains("-two\n+\\u{1b}[2Kthree\n"), "{}", change.patch);
        assert!(change.patch.starts_with("--- a/roles/web/a.conf\n+++ b/roles/web/a.conf\n"));
    }

    #[test]
    fn what_has_no_lines_is_named_too() {
        for (before, after, expected) in [
            (None, file(b"new\n"), "--- /dev/null\n+++ b/p\n@@ -1,0 +1 @@\n+new\n"),
            (file(b"a\0"), None, "p: binary, 2 bytes → nothing\n"),
            (None, file(b""), "p: an empty file\n"),
            (file(b"x"), Some(("executable file", b"x".to_vec())), "p: file → executable file\n"),
            (file(b"x"), Some(("symlink", b"x".to_vec())), "p: file → symlink\n"),
        ] {
            assert_eq!(compare("p", before, after).patch.replace("@@ -0,0 +1 @@", "@@ -1,0 +1 @@"), expected);
        }
    }
}
