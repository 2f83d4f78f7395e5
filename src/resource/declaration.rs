//! What an author declared: tables as kinds get them, with their place, contents, and the fields that every kind has.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::{AnyResource, ResourceId};

/// The table of one resource as its kind gets it: rendered, with positions, and with access to the role's files.
pub struct Declaration<'a> {
    /// The name inside the kind.
    pub name: &'a str,
    /// The rendered table without the common fields.
    pub table: crate::manifest::node::Node,
    /// Files beside the role, templates.
    pub files: &'a dyn RoleFiles,
}

impl Declaration<'_> {
    /// An error about one key of the table, or about the table when it has no such key.
    pub fn error(&self, key: &str, message: impl Into<String>, help: impl Into<String>) -> DeclareError {
        self.table.get(key).unwrap_or(&self.table).error(message, help)
    }

    /// An error about the name in the table's head.
    pub fn name_error(&self, message: impl Into<String>, help: impl Into<String>) -> DeclareError {
        DeclareError { span: None, message: message.into(), help: help.into() }
    }
}

/// Access of a kind to the files of the role that declares it, below the role's folder of the desired-state tree.
pub trait RoleFiles {
    /// A file's content, not rendered.
    ///
    /// # Errors
    /// There is no such file, it is a symlink, or it is over the size limit.
    fn source(&self, path: &str) -> Result<Content, String>;

    /// A template, rendered with the resource's variables.
    ///
    /// # Errors
    /// The template is missing or fails; the message names file, line and expression.
    fn template(&self, path: &str) -> Result<Content, String>;

    /// Every file below a folder, sorted by path, with paths relative to it.
    ///
    /// # Errors
    /// There is no such folder, or it holds something that is not a plain file.
    fn folder(&self, path: &str) -> Result<Vec<FolderEntry>, String>;
}

/// One file of a source folder.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderEntry {
    /// Path relative to the folder, with `/` between components.
    pub path: String,
    /// Whether Git has it as executable.
    pub executable: bool,
    /// Its content.
    pub content: Content,
}

/// Content that a file shall have: known by hash at plan time, read only when it is written or shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256 of the bytes.
    #[serde(with = "super::bytes")]
    pub sha256: [u8; 32],
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub origin: ContentOrigin,
}

impl Content {
    /// Content that is in the manifest itself.
    pub fn inline(bytes: Vec<u8>) -> Content {
        use sha2::Digest;
        Content {
            sha256: sha2::Sha256::digest(&bytes).into(),
            size: bytes.len() as u64,
            origin: ContentOrigin::Inline(bytes),
        }
    }
}

/// Where the bytes of a [`Content`] are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ContentOrigin {
    /// Rendered or written in the manifest.
    Inline(#[serde(with = "super::bytes")] Vec<u8>),
    /// An object of the store, by its id in hex.
    Blob(String),
}

/// The reason why a table is not a resource, with the key it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclareError {
    /// Byte range in the source file that the reader shall look at; `None` for the table's head.
    pub span: Option<std::ops::Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do; empty when the message says it.
    pub help: String,
}

/// Fields that every kind has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Common {
    /// Apply after these.
    pub after: Vec<ResourceId>,
    /// Apply before these.
    pub before: Vec<ResourceId>,
    /// Remove it from the host when it leaves the branch.
    pub prune: bool,
    /// Change the host, or only report.
    pub enforce: Enforce,
    /// Fields whose drift is not looked at.
    pub ignore: Vec<String>,
    /// Position among waves; resources of a lower wave come first.
    pub wave: i32,
    /// Never shown in diffs, journal or state.
    pub sensitive: bool,
    /// Only changed while the window of this name is open.
    #[serde(default)]
    pub only_in_window: Option<String>,
}

impl Default for Common {
    fn default() -> Common {
        Common {
            after: Vec::new(),
            before: Vec::new(),
            prune: true,
            enforce: Enforce::Yes,
            ignore: Vec::new(),
            wave: 0,
            sensitive: false,
            only_in_window: None,
        }
    }
}

/// What to do about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforce {
    /// `true`: correct it.
    Yes,
    /// `"warn"`: report it.
    Warn,
    /// `false`: do not even look.
    No,
}

/// A resource with everything around it: the element of a desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declared {
    /// Its name.
    pub id: ResourceId,
    /// The common fields.
    pub common: Common,
    /// The kind's own part.
    pub resource: AnyResource,
    /// Where it was declared.
    pub origin: Origin,
}

/// The place of a declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Role that declares it.
    pub role: String,
    /// File in the tree.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
