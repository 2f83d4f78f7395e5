//! From the tree of a commit to what this host shall be: select roles, layer variables, render, declare.
//!
//! **Invariant:** a [`Desired`] is made only from a [`Verified`](crate::trust::Verified) commit; what authors render offline is
//! a [`Rendered`], which can be shown and compared, never applied.

pub mod node;

use serde::{Deserialize, Serialize};

use crate::resource::Declared;
use crate::trust::Revision;

/// What the manifest says for one host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    /// The fleet's name.
    pub fleet: String,
    /// Roles of this host in the order they were assigned.
    pub roles: Vec<String>,
    /// Everything declared, sorted by id.
    pub resources: Vec<Declared>,
}

/// What a proven commit says for this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    revision: Revision,
    rendered: Rendered,
}

impl Desired {
    /// The commit.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// What it says.
    pub fn rendered(&self) -> &Rendered {
        &self.rendered
    }
}
