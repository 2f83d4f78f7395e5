//! Which directories decide what is found at a path: the one it is in, and every one on the way there.
//!
//! **Invariant:** whatever makes a path lead elsewhere (a directory renamed, a link replaced, a folder made or removed) happens to a
//! name in one of these directories.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What matters in one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Members {
    /// Everything does.
    pub(super) all: bool,
    /// Things whose content and attributes matter.
    pub(super) whole: HashSet<OsString>,
    /// Things that only lead on: what they are matters, their attributes do not.
    pub(super) way: HashSet<OsString>,
}

impl Members {
    /// Whether a name matters.
    pub(super) fn have(&self, name: &OsStr) -> bool {
        self.all || self.whole.contains(name) || self.way.contains(name)
    }

    /// Whether nothing in it matters but where it leads.
    pub(super) fn only_way(&self) -> bool {
        !self.all && self.whole.is_empty()
    }

    /// Whether everything that matters in `other` matters here.
    pub(super) fn cover(&self, other: &Members) -> bool {
        let whole = |name: &OsString| self.all || self.whole.contains(name);
        (self.all || !other.all)
            && other.whole.iter().all(whole)
            && other.way.iter().all(|name| whole(name) || self.way.contains(name))
    }

    /// Takes over what matters in the same directory under another name of it.
    pub(super) fn join(&mut self, other: Members) {
        self.all |= other.all;
        self.whole.extend(other.whole);
        self.way.extend(other.way);
    }
}

/// The directories to watch for these paths, and for everything in and below these folders.
pub(super) fn directories(
    paths: &BTreeSet<PathBuf>,
    folders: &BTreeSet<PathBuf>,
) -> HashMap<PathBuf, Members> {
    let mut routes = Routes::default();
    for path in paths {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Some(directory) = routes.directory(parent)
        {
            routes.members(directory).whole.insert(name.to_owned());
        }
    }
    for folder in folders {
        let Some(directory) = routes.directory(folder) else { continue };
        for below in below(&directory) {
            routes.members(below).all = true;
        }
    }
    routes.found
}

/// What is found on the way.
#[derive(Default)]
struct Routes {
    /// The real directory behind a path; `None` while there is none.
    known: HashMap<PathBuf, Option<PathBuf>>,
    found: HashMap<PathBuf, Members>,
}

impl Routes {
    fn members(&mut self, directory: PathBuf) -> &mut Members {
        self.found.entry(directory).or_default()
    }

    /// The real directory at a path, links followed; every name on the way is noted, up to the one that is not there.
    fn directory(&mut self, path: &Path) -> Option<PathBuf> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        // A link that leads to itself leads nowhere.
        self.known.insert(path.to_owned(), None);
        let found = self.resolve(path);
        self.known.insert(path.to_owned(), found.clone());
        found
    }

    fn resolve(&mut self, path: &Path) -> Option<PathBuf> {
        let Some(parent) = path.parent() else { return Some(PathBuf::from("/")) };
        let parent = self.directory(parent)?;
        // A path ends without a name where it ends with `..`.
        let Some(name) = path.file_name() else {
            return Some(parent.parent().map_or(parent.clone(), Path::to_owned));
        };
        self.members(parent.clone()).way.insert(name.to_owned());
        let at = parent.join(name);
        let kind = std::fs::symlink_metadata(&at).ok()?.file_type();
        if kind.is_symlink() {
            let target = std::fs::read_link(&at).ok()?;
            return self.directory(&parent.join(target));
        }
        kind.is_dir().then_some(at)
    }
}

/// A directory and all below it; a link is not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        // One that cannot be read is gone, or the run says so.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        left.extend(entries.flatten().filter(is_folder).map(|entry| entry.path()));
        found.push(folder);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_directory_on_the_way_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        symlink("../x/../real", root.join("link")).unwrap();
        std::fs::create_dir(root.join("x")).unwrap();
        // Relative to the folder of the link: one up, and down again.
        std::fs::remove_file(root.join("link")).unwrap();
        symlink("x/../real", root.join("link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let paths = ["link/deep/file", "link/not/there", "loop/file"].map(|path| root.join(path));
        let found = directories(&paths.into(), &BTreeSet::new());
        let way = |folder: &Path| {
            let mut way: Vec<_> = found[folder].way.iter().map(|name| name.to_str().unwrap()).collect();
            way.sort_unstable();
            way
        };
        assert_eq!(way(root), ["link", "loop", "real", "x"]);
        assert_eq!(way(&root.join("real")), ["deep", "not"]);
        assert!(found[&root.join("real/deep")].whole.contains(OsStr::new("file")));
        assert!(found[Path::new("/")].only_way());
        assert!(!found.contains_key(&root.join("link")), "a link has no members of its own");
    }

    #[test]
    fn what_is_covered_needs_no_new_watch() {
        let members = |all, whole: &[&str], way: &[&str]| {
            let names = |names: &[&str]| names.iter().map(OsString::from).collect();
            Members { all, whole: names(whole), way: names(way) }
        };
        for (known, wanted, covered) in [
            (members(false, &["a", "b"], &[]), members(false, &["a"], &["b"]), true),
            (members(false, &["a"], &["b"]), members(false, &["a", "b"], &[]), false),
            (members(false, &["a"], &["b"]), members(true, &[], &[]), false),
            (members(true, &[], &[]), members(true, &["a"], &["b"]), true),
            (members(false, &["a"], &[]), members(false, &["a"], &["b"]), false),
        ] {
            assert_eq!(known.cover(&wanted), covered, "{known:?} {wanted:?}");
        }
    }
}
