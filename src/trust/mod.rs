//! Prove that everybody who changed the branch was allowed to.
//!
//! [`judge`] walks the branch along first parents, from the newest commit that this host has accepted to the tip that the
//! source stage offers, and judges each commit by the policy of the last tree that came into effect. It finds the *newest
//! good commit*: a bad one stops the walk, but takes nothing away from what lies below it.
//!
//! Trust comes before cryptography: bytes are read strictly ([`commit`], [`sshsig`]), then the key is looked up in the
//! [`policy`], and only a signature of a key that counts is checked.
//!
//! **Invariant:** a [`Verified`] exists only for a commit that descends from the introduction and from the high-water mark,
//! and every commit on the way to it was signed by a principal whom the policy in force allowed to change every path it changes.

mod approvals;
mod attestation;
pub mod commit;
mod error;
mod examine;
pub mod exception;
pub mod explain;
mod file;
mod freshness;
pub mod glob;
pub mod heartbeat;
mod judgement;
pub mod key;
mod line;
mod merge;
pub mod openpgp;
mod paths;
pub mod policy;
mod rejection;
mod root;
pub mod sshsig;
pub mod statement;
pub mod tag;
mod vouch;
mod walk;
mod wire;

pub use error::TrustError;
pub use file::FileError;
pub use freshness::{Assessment, Freshness, HeartbeatMark, HeartbeatProblem, Memory, Stale, assess};
pub use judgement::{
    ApprovalJudgement, CommitJudgement, HighWater, Judgement, Need, Pending, Rule, ScopeUse, Step, Verdict,
};
pub use paths::differing;
pub(crate) use rejection::short;
pub use rejection::{Reason, Rejection};
pub use root::{FreshnessMode, FreshnessRule, Introduction, IntroductionKey, RootOfTrust};
pub use walk::judge;

use serde::{Deserialize, Serialize};

/// A commit whose whole way from the root of trust was proven. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    revision: Revision,
}

impl Verified {
    /// What was proven.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }
}

/// A commit as people name it, with who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The ref, such as `refs/heads/main`.
    pub reference: String,
    /// The commit's id in hex.
    pub commit: String,
    /// Its tree's id in hex.
    pub tree: String,
    /// SHA-256 in hex of the signed payload (the commit without its signature): the same for every twin of the commit.
    pub payload: String,
    /// The principal who signed it.
    pub signer: String,
    /// The fingerprint of the key, `SHA256:…`.
    pub key: String,
    /// The committer's date, seconds since the epoch; for show only.
    pub time: i64,
    /// First line of the message, not escaped.
    pub summary: String,
}

impl std::fmt::Display for Revision {
    /// Flux's form: `main@sha1:696f056d`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let branch = self.reference.strip_prefix("refs/heads/").unwrap_or(&self.reference);
        let hash = if self.commit.len() == 64 { "sha256" } else { "sha1" };
        write!(f, "{branch}@{hash}:{}", self.commit.get(..8).unwrap_or(&self.commit))
    }
}
