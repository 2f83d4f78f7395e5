//! What the unit tests of kinds share: a table from text, a host from a few states.

use super::{Context, Declaration, DeclareError, Resource, RoleFiles};
use crate::manifest::node::Node;
use crate::system::observe::{FileType, Observed, PathState, Present};

/// Declares a resource from the text of its table.
pub(crate) fn declare<R: Resource>(name: &str, table: &str) -> Result<R, DeclareError> {
    R::declare(Declaration { name, table: Node::parse(table).unwrap(), files: &NoFiles })
}

/// A host on which nothing but this path is known.
pub(crate) fn path(path: &str, state: PathState) -> Observed {
    Observed { paths: [(path.into(), state)].into(), ..Observed::default() }
}

/// Something plain of this type, root's, mode 0644.
pub(crate) fn present(file_type: FileType) -> PathState {
    PathState::Present(Box::new(Present {
        file_type,
        uid: 0,
        gid: 0,
        mode: 0o644,
        size: 0,
        links: 1,
        sha256: None,
        target: None,
        extended: None,
        mount_point: false,
    }))
}

impl PathState {
    pub(crate) fn with_target(mut self, target: &str) -> PathState {
        if let PathState::Present(present) = &mut self {
            present.target = Some(target.into());
        }
        self
    }
}

/// A context in which nothing else changes.
pub(crate) fn context(host: &Observed) -> Context<'_> {
    Context { host, changes: &|_| false, provided: &|_| false }
}

/// A role without files.
pub(crate) struct NoFiles;

impl RoleFiles for NoFiles {
    fn source(&self, path: &str) -> Result<super::Content, String> {
        Err(format!("no file {path}"))
    }
    fn template(&self, path: &str) -> Result<super::Content, String> {
        Err(format!("no template {path}"))
    }
    fn folder(&self, path: &str) -> Result<Vec<super::FolderEntry>, String> {
        Err(format!("no folder {path}"))
    }
}
