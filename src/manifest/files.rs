//! The files of a role as its resources see them.

use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::diagnostic::{Place, Source};
use super::document;
use super::limits;
use super::template::{Engine, Scope};
use super::tree::{Tree, TreeError};
use crate::resource::{Content, ContentOrigin, FolderEntry, RoleFiles};
use crate::source::EntryKind;

/// What was read already, shared by every resource of a render.
#[derive(Default)]
pub(crate) struct FileCache {
    texts: RefCell<HashMap<String, Arc<Source>>>,
    contents: RefCell<HashMap<String, Content>>,
}

/// Contents by the name that the role has for them.
pub(crate) type HandedOut = Rc<RefCell<Vec<(String, Content)>>>;

/// The files of one role, for one resource.
pub(crate) struct Files<'a> {
    pub(crate) tree: &'a dyn Tree,
    pub(crate) role: &'a str,
    pub(crate) engine: &'a Engine,
    pub(crate) scope: &'a Scope,
    pub(crate) cache: &'a FileCache,
    /// Where a template failed, for the report.
    pub(crate) failure: RefCell<Option<Place>>,
    pub(crate) shown: Option<HandedOut>,
}

impl Files<'_> {
    /// The path in the tree of a file that a role names.
    fn path(&self, path: &str) -> Result<String, String> {
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if path.split('/').all(plain) {
            return Ok(format!("roles/{}/{path}", self.role));
        }
        Err(format!(
            "`{}` is not a path below the role's folder: write it relative, without `.` and `..`",
            crate::error::escaped(path)
        ))
    }

    /// The message for a file that cannot be had, with the nearest one that can.
    fn missing(&self, path: &str, error: &TreeError) -> String {
        let TreeError::Missing(_) = error else { return error.in_one_line() };
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let entries = self.tree.list(folder).unwrap_or_default();
        let near = super::node::nearest(name, entries.iter().map(|entry| entry.name.as_str()));
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("there is no file `{path}`{near}")
    }

    fn remember(&self, path: &str, content: Content) -> Content {
        if let Some(shown) = &self.shown {
            shown.borrow_mut().push((path.to_owned(), content.clone()));
        }
        content
    }

    fn content(&self, path: &str) -> Result<Content, String> {
        if let Some(known) = self.cache.contents.borrow().get(path) {
            return Ok(known.clone());
        }
        let bytes = self.tree.read(path).map_err(|error| self.missing(path, &error))?;
        if bytes.len() > limits::SOURCE_BYTES {
            return Err(format!("`{path}` has {} bytes, more than {}", bytes.len(), limits::SOURCE_BYTES));
        }
        let object = self.tree.entry(path).ok().flatten().and_then(|entry| entry.object);
        let content = Content {
            sha256: Sha256::digest(&bytes).into(),
            size: bytes.len() as u64,
            origin: object.map_or_else(|| ContentOrigin::Inline(bytes), ContentOrigin::Blob),
        };
        self.cache.contents.borrow_mut().insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn text(&self, path: &str) -> Result<Arc<Source>, String> {
        if let Some(known) = self.cache.texts.borrow().get(path) {
            return Ok(known.clone());
        }
        if let Err(error @ TreeError::Missing(_)) = self.tree.read(path) {
            return Err(self.missing(path, &error));
        }
        let source = document::text(self.tree, path).map_err(|problem| problem.message)?;
        self.cache.texts.borrow_mut().insert(path.to_owned(), source.clone());
        Ok(source)
    }

    fn walk(&self, top: &str, below: &str, depth: usize, found: &mut Vec<FolderEntry>) -> Result<(), String> {
        if depth > limits::FOLDER_DEPTH {
            return Err(format!("`{top}` has folders more than {} deep", limits::FOLDER_DEPTH));
        }
        let folder = if below.is_empty() { top.to_owned() } else { format!("{top}/{below}") };
        for entry in self.tree.list(&folder).map_err(|error| self.missing(&folder, &error))? {
            let path = if below.is_empty() { entry.name } else { format!("{below}/{}", entry.name) };
            match entry.kind {
                EntryKind::Tree => self.walk(top, &path, depth + 1, found)?,
                EntryKind::File | EntryKind::Executable => {
                    let content = self.content(&format!("{top}/{path}"))?;
                    found.push(FolderEntry {
                        path,
                        executable: entry.kind == EntryKind::Executable,
                        content,
                    });
                }
                EntryKind::Symlink => {
                    return Err(format!("`{top}/{path}` is a symlink: declare it as a `symlink`"));
                }
                EntryKind::Submodule => {
                    return Err(format!("`{top}/{path}` is a submodule; they are not fetched"));
                }
            }
            if found.len() > limits::FOLDER_FILES {
                return Err(format!("`{top}` has more than {} files", limits::FOLDER_FILES));
            }
        }
        Ok(())
    }
}

impl RoleFiles for Files<'_> {
    fn source(&self, path: &str) -> Result<Content, String> {
        let content = self.content(&self.path(path)?)?;
        Ok(self.remember(path, content))
    }

    fn template(&self, path: &str) -> Result<Content, String> {
        let full = self.path(path)?;
        let source = self.text(&full)?;
        let text = self.engine.file(&full, &source.text, self.scope).map_err(|failure| {
            let range = failure.range.clone().unwrap_or(0..0);
            *self.failure.borrow_mut() = Some(Place::new(&source, &range, failure.message.clone()));
            let line = source.line(range.start);
            format!("{full}:{line}: {} ({})", failure.message, failure.help)
        })?;
        let bytes = text.into_bytes();
        let content = Content {
            sha256: Sha256::digest(&bytes).into(),
            size: bytes.len() as u64,
            origin: ContentOrigin::Inline(bytes),
        };
        Ok(self.remember(path, content))
    }

    fn folder(&self, path: &str) -> Result<Vec<FolderEntry>, String> {
        let top = self.path(path)?;
        let mut found = Vec::new();
        self.walk(&top, "", 0, &mut found)?;
        found.sort_by(|left, right| left.path.cmp(&right.path));
        for entry in &found {
            self.remember(&format!("{path}/{}", entry.path), entry.content.clone());
        }
        Ok(found)
    }
}
