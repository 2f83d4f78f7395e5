//! Fetch the branch, and take what was fetched into a store of our own.
//!
//! Two processes meet here. The *fetcher* (no root, network) polls the remotes and leaves packs and one [`Note`] in its *spool*.
//! The *converger* (root, no network) presumes the fetcher hostile: it opens the spool by directory descriptor, copies each pack
//! under its limits into its own *store*, and re-hashes every object while it indexes them. What the note says is for people;
//! nothing is decided by it.
//!
//! **Invariant:** an object that the later stages can read from the [`Store`](store::Store) has been hashed by this process
//! under its own name.
#![expect(
    clippy::disallowed_methods,
    reason = "spool and store are folders of abide's own, not the managed host; a poll measures its own deadline"
)]

pub mod fetch;

pub mod store;

pub mod backoff;

pub mod objects;

pub mod error;

pub mod guard;

mod beside;

mod names;

mod pack;

mod reach;

mod spool;

pub use beside::{HEARTBEAT_FILE, heartbeat_ref};
pub use error::{FetchError, SourceError};
pub use names::entries as tree_entries;
pub use objects::{Entry, EntryKind, ObjectError, Objects};
pub use pack::{PackError, inspect as inspect_pack};
pub use store::read_note;

use serde::{Deserialize, Serialize};

use crate::system::sandbox::Confinement;

/// The folder of the spool where packs lie for the root process.
const MAILBOX: &str = "packs";

/// The file of the spool with the [`Note`].
const NOTE: &str = "note.json";

/// The tip that the spool offers, whole in the store but proven by nobody. Only [`trust`](crate::trust) makes more of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The commit that the fetcher says the branch is at.
    pub tip: gix::ObjectId,
    /// Tag objects that may approve a commit; unproven like the rest.
    pub approvals: Vec<gix::ObjectId>,
    /// The commit that may hold the branch's heartbeat, as its only file; unproven, too.
    pub heartbeat: Option<gix::ObjectId>,
}

impl Candidate {
    /// A tip with nothing beside it.
    pub fn at(tip: gix::ObjectId) -> Candidate {
        Candidate { tip, approvals: Vec::new(), heartbeat: None }
    }
}

/// What the fetcher says of its last poll; written whole, by rename, as `note.json` in the spool. Shown in the status, trusted for nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// When the poll ended, seconds since the epoch.
    pub time: i64,
    /// When the poll began, milliseconds since the boot: setting the clock does not move it.
    #[serde(default)]
    pub began: i64,
    /// The remote that answered, without credentials; empty when none did.
    pub url: String,
    /// The commit that the branch is at, in hex; empty when unknown.
    pub tip: String,
    /// Approvals of commits on the branch: tag objects, in hex.
    #[serde(default)]
    pub approvals: Vec<String>,
    /// The branch's heartbeat: a commit, in hex; empty when there is none.
    #[serde(default)]
    pub heartbeat: String,
    /// Whether tip, approvals or heartbeat differ from the poll before.
    pub changed: bool,
    /// Bytes of pack that were received.
    pub received: u64,
    /// How long it took, milliseconds.
    pub took: u64,
    /// Polls that failed in a row, this one included; 0 after a good one.
    pub failures: u32,
    /// Per remote that was tried and failed: URL and explained problem.
    pub problems: Vec<RemoteProblem>,
    /// What the fetcher says that confines it.
    #[serde(default)]
    pub sandbox: Option<Confinement>,
}

/// A remote that did not answer as it should.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteProblem {
    /// The remote, without credentials.
    pub url: String,
    /// The stable code, `E1xx`.
    pub code: String,
    /// What happened.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for RemoteProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.url.is_empty() {
            true => write!(f, "[{}] {}", self.code, self.what),
            false => write!(f, "[{}] {}: {}", self.code, self.url, self.what),
        }
    }
}
