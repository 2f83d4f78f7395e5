//! Where the files of a fleet are read from: the tree of a commit, or an author's working folder.
//!
//! Both give the same answers for the same files: names are sorted by bytes, and a symlink is never followed, because a host
//! would not follow it either.

use gix::ObjectId;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::source::{EntryKind, ObjectError, Objects};

/// Read access to the files of a fleet. Paths are relative, with `/` between components.
pub trait Tree {
    /// What is at a path; `None` when nothing is.
    ///
    /// # Errors
    /// See [`TreeError`].
    fn entry(&self, path: &str) -> Result<Option<TreeEntry>, TreeError>;

    /// The entries of a folder, sorted by name.
    ///
    /// # Errors
    /// There is no such folder; see [`TreeError`].
    fn list(&self, folder: &str) -> Result<Vec<TreeEntry>, TreeError>;

    /// The content of a plain file.
    ///
    /// # Errors
    /// There is no such file; see [`TreeError`].
    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError>;
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The last component.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Id in hex of the object that holds the content, when the tree is one of Git.
    pub object: Option<String>,
}

/// A file of the fleet that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Nothing is there.
    #[error("there is no `{0}`")]
    Missing(String),
    /// It is something else than what was asked for.
    #[error("`{path}` is {found}, not {wanted}")]
    WrongKind {
        /// The path.
        path: String,
        /// What is there.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The path is absolute, or has empty, `.` or `..` components.
    #[error("`{0}` is not a plain relative path")]
    BadPath(String),
    /// The store failed.
    #[error("`{path}` cannot be read")]
    Object {
        /// The path.
        path: String,
        /// The store's reason.
        #[source]
        source: ObjectError,
    },
    /// The working folder failed.
    #[error("`{path}` cannot be read")]
    Io {
        /// The path.
        path: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl TreeError {
    /// The message with its causes in one line.
    pub fn in_one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// The words of an entry's kind.
fn words(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Tree => "a folder",
        EntryKind::File | EntryKind::Executable => "a file",
        EntryKind::Symlink => "a symlink (they are not followed)",
        EntryKind::Submodule => "a submodule",
    }
}

/// The components of a plain relative path; the empty path is the root.
fn components(path: &str) -> Result<Vec<&str>, TreeError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = path.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.contains('\0');
    if parts.iter().all(plain) { Ok(parts) } else { Err(TreeError::BadPath(path.to_owned())) }
}

/// The tree of a commit.
pub struct GitTree<'a> {
    objects: &'a dyn Objects,
    root: ObjectId,
    folders: RefCell<HashMap<ObjectId, Rc<Vec<crate::source::Entry>>>>,
}

impl<'a> GitTree<'a> {
    /// The tree with this id.
    pub fn new(objects: &'a dyn Objects, root: ObjectId) -> GitTree<'a> {
        GitTree { objects, root, folders: RefCell::default() }
    }

    fn folder(&self, path: &str, id: ObjectId) -> Result<Rc<Vec<crate::source::Entry>>, TreeError> {
        if let Some(known) = self.folders.borrow().get(&id) {
            return Ok(known.clone());
        }
        let entries =
            self.objects.tree(id).map_err(|source| TreeError::Object { path: path.to_owned(), source })?;
        let entries = Rc::new(entries);
        self.folders.borrow_mut().insert(id, entries.clone());
        Ok(entries)
    }

    fn find(&self, path: &str) -> Result<Option<(EntryKind, ObjectId)>, TreeError> {
        let mut found = (EntryKind::Tree, self.root);
        for part in components(path)? {
            if found.0 != EntryKind::Tree {
                return Ok(None);
            }
            let entries = self.folder(path, found.1)?;
            match entries.iter().find(|entry| entry.name == part) {
                Some(entry) => found = (entry.kind, entry.id),
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }
}

impl Tree for GitTree<'_> {
    fn entry(&self, path: &str) -> Result<Option<TreeEntry>, TreeError> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(self.find(path)?.map(|(kind, id)| TreeEntry { name, kind, object: Some(id.to_string()) }))
    }

    fn list(&self, folder: &str) -> Result<Vec<TreeEntry>, TreeError> {
        match self.find(folder)? {
            Some((EntryKind::Tree, id)) => {
                let entries = self.folder(folder, id)?;
                let mut entries: Vec<TreeEntry> = entries
                    .iter()
                    .map(|entry| TreeEntry {
                        name: entry.name.clone(),
                        kind: entry.kind,
                        object: Some(entry.id.to_string()),
                    })
                    .collect();
                entries.sort_by(|left, right| left.name.cmp(&right.name));
                Ok(entries)
            }
            Some((kind, _)) => {
                Err(TreeError::WrongKind { path: folder.to_owned(), found: words(kind), wanted: "a folder" })
            }
            None => Err(TreeError::Missing(folder.to_owned())),
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        match self.find(path)? {
            Some((EntryKind::File | EntryKind::Executable, id)) => {
                self.objects.blob(id).map_err(|source| TreeError::Object { path: path.to_owned(), source })
            }
            Some((kind, _)) => {
                Err(TreeError::WrongKind { path: path.to_owned(), found: words(kind), wanted: "a file" })
            }
            None => Err(TreeError::Missing(path.to_owned())),
        }
    }
}

/// An author's working folder, as it is on disk, committed or not.
pub struct FolderTree {
    root: PathBuf,
}

impl FolderTree {
    /// The fleet in this folder.
    pub fn new(root: &Path) -> FolderTree {
        FolderTree { root: root.to_owned() }
    }

    /// The kind of what is at a path. No component on the way is a symlink, so nothing outside of the folder is ever read.
    fn find(&self, path: &str) -> Result<Option<EntryKind>, TreeError> {
        let mut place = self.root.clone();
        let mut kind = EntryKind::Tree;
        for part in components(path)? {
            if kind != EntryKind::Tree || part.eq_ignore_ascii_case(".git") {
                return Ok(None);
            }
            place.push(part);
            match std::fs::symlink_metadata(&place) {
                Ok(metadata) => match kind_of(&metadata) {
                    Some(found) => kind = found,
                    None => return Ok(None),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(TreeError::Io { path: path.to_owned(), source }),
            }
        }
        Ok(Some(kind))
    }
}

/// What Git would call it; `None` for sockets, devices and pipes, which Git does not have.
fn kind_of(metadata: &std::fs::Metadata) -> Option<EntryKind> {
    use std::os::unix::fs::PermissionsExt;
    let file_type = metadata.file_type();
    if file_type.is_symlink() {
        Some(EntryKind::Symlink)
    } else if file_type.is_dir() {
        Some(EntryKind::Tree)
    } else if file_type.is_file() {
        let executable = metadata.permissions().mode() & 0o100 != 0;
        Some(if executable { EntryKind::Executable } else { EntryKind::File })
    } else {
        None
    }
}

impl Tree for FolderTree {
    fn entry(&self, path: &str) -> Result<Option<TreeEntry>, TreeError> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(self.find(path)?.map(|kind| TreeEntry { name, kind, object: None }))
    }

    fn list(&self, folder: &str) -> Result<Vec<TreeEntry>, TreeError> {
        match self.find(folder)? {
            Some(EntryKind::Tree) => {}
            Some(kind) => {
                return Err(TreeError::WrongKind {
                    path: folder.to_owned(),
                    found: words(kind),
                    wanted: "a folder",
                });
            }
            None => return Err(TreeError::Missing(folder.to_owned())),
        }
        let failed = |source| TreeError::Io { path: folder.to_owned(), source };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(self.root.join(folder)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Names that are not UTF-8 are refused on the host too; they cannot be named in a manifest.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = kind_of(&entry.metadata().map_err(failed)?);
            if let Some(kind) = kind.filter(|_| !name.eq_ignore_ascii_case(".git")) {
                entries.push(TreeEntry { name, kind, object: None });
            }
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        match self.find(path)? {
            Some(EntryKind::File | EntryKind::Executable) => std::fs::read(self.root.join(path))
                .map_err(|source| TreeError::Io { path: path.to_owned(), source }),
            Some(kind) => {
                Err(TreeError::WrongKind { path: path.to_owned(), found: words(kind), wanted: "a file" })
            }
            None => Err(TreeError::Missing(path.to_owned())),
        }
    }
}

/// A tree that remembers which files were read, so that `abide check` can name those that nobody uses.
pub struct Recorder<'a> {
    tree: &'a dyn Tree,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Recorder<'a> {
    /// Watches this tree.
    pub fn new(tree: &'a dyn Tree) -> Recorder<'a> {
        Recorder { tree, read: RefCell::default() }
    }

    /// Whether a file was read.
    pub fn was_read(&self, path: &str) -> bool {
        self.read.borrow().contains(path)
    }
}

impl Tree for Recorder<'_> {
    fn entry(&self, path: &str) -> Result<Option<TreeEntry>, TreeError> {
        self.tree.entry(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<TreeEntry>, TreeError> {
        self.tree.list(folder)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
        self.read.borrow_mut().insert(path.to_owned());
        self.tree.read(path)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::collections::BTreeMap;

    /// A tree in memory.
    #[derive(Default)]
    pub(crate) struct MemoryTree(pub(crate) BTreeMap<String, Vec<u8>>);

    impl MemoryTree {
        pub(crate) fn of(files: &[(&str, &str)]) -> MemoryTree {
            MemoryTree(
                files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect(),
            )
        }
    }

    impl Tree for MemoryTree {
        fn entry(&self, path: &str) -> Result<Option<TreeEntry>, TreeError> {
            components(path)?;
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let kind = if self.0.contains_key(path) {
                EntryKind::File
            } else if path.is_empty() || self.0.keys().any(|known| known.starts_with(&format!("{path}/"))) {
                EntryKind::Tree
            } else {
                return Ok(None);
            };
            Ok(Some(TreeEntry { name, kind, object: None }))
        }

        fn list(&self, folder: &str) -> Result<Vec<TreeEntry>, TreeError> {
            let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            let below = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
            let names: BTreeSet<&str> = below.filter_map(|rest| rest.split('/').next()).collect();
            if names.is_empty() {
                return Err(TreeError::Missing(folder.to_owned()));
            }
            names.iter().filter_map(|name| self.entry(&format!("{prefix}{name}")).transpose()).collect()
        }

        fn read(&self, path: &str) -> Result<Vec<u8>, TreeError> {
            components(path)?;
            self.0.get(path).cloned().ok_or_else(|| TreeError::Missing(path.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, plain) in [
            ("", true),
            ("a", true),
            ("a/b", true),
            ("/a", false),
            ("a/../b", false),
            ("./a", false),
            ("a//b", false),
        ] {
            assert_eq!(components(path).is_ok(), plain, "{path}");
        }
    }

    #[test]
    fn a_folder_does_not_follow_symlinks() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::write(inside.path().join("plain"), "p").unwrap();
        std::fs::create_dir(inside.path().join(".git")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("way")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("link")).unwrap();
        let tree = FolderTree::new(inside.path());
        assert_eq!(tree.read("plain").unwrap(), b"p");
        assert!(matches!(tree.read("link"), Err(TreeError::WrongKind { .. })));
        assert!(matches!(tree.read("way/secret"), Err(TreeError::Missing(_))));
        assert!(tree.entry(".git").unwrap().is_none());
        let names: Vec<String> = tree.list("").unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["link", "plain", "way"]);
    }
}
