//! What the walk found out, commit by commit.

use serde::{Deserialize, Serialize};

use super::Verified;
use super::policy::Policy;
use super::rejection::{Rejection, short};
use crate::error::{Code, Explain};

/// The newest commit that this host has accepted. It never falls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HighWater {
    /// The commit's id in hex.
    pub commit: String,
    /// SHA-256 in hex of its signed payload; a commit with the same payload is the same commit. Of all of it where only approvals
    /// vouch for it: they name it as it is.
    pub payload: String,
    /// The introduction, in hex, on whose line it was proven to lie; empty when that is to be proven again.
    #[serde(default)]
    pub introduction: String,
}

/// The answer of [`judge`](super::judge).
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The newest good commit; it may be the high-water mark itself. `None` only when this abide is too old for its policy.
    pub verified: Option<Verified>,
    /// The mark after this judgement.
    pub high_water: HighWater,
    /// Why the offered tip, or a commit below it, is refused.
    pub rejection: Option<Rejection>,
    /// What waits for more approvals.
    pub pending: Option<Pending>,
    /// Every commit that was looked at, oldest first; the commits of a side branch before their merge.
    pub commits: Vec<CommitJudgement>,
    /// The approvals by tag of these commits, and those that cannot be read.
    pub approvals: Vec<ApprovalJudgement>,
    /// What came into effect, one after the other.
    pub steps: Vec<Step>,
    /// The policy in force after this judgement.
    pub policy: Policy,
}

/// A commit that came into effect, and with it what waited below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The commit, in hex.
    pub commit: String,
    /// What the scopes that it touches asked for beyond the signer of each commit, all of it met.
    pub scopes: Vec<Need>,
}

/// One approval by tag with its verdict. Text in it is safe to print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalJudgement {
    /// The tag object's id in hex.
    pub tag: String,
    /// The name that the tag gives itself; it means nothing.
    pub name: String,
    /// The commit that it names, in hex.
    pub commit: String,
    /// The principal who approves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Why it does not count; its `commit` is the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
}

/// One commit with its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommitJudgement {
    /// The commit's id in hex.
    pub commit: String,
    /// First line of its message, safe to print.
    pub summary: String,
    /// Whether it counts.
    pub verdict: Verdict,
    /// What let it in, or would have.
    pub rule: Rule,
    /// The principal who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The fingerprint of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The scopes that it touches.
    pub scopes: Vec<ScopeUse>,
    /// The merge that brought it in, when it lies on a side branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<String>,
    /// Why it does not stand for itself, where only a seal lets it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_seal: Option<Rejection>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
}

/// Whether a commit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is proven and in effect.
    Accepted,
    /// It is proven for itself, but its scope asks for more approvals.
    Pending,
    /// It is not acceptable, and nothing above it is.
    Refused,
}

/// What lets a commit in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Trust starts there: it is named by the root of trust.
    Introduction,
    /// It was accepted before.
    HighWater,
    /// Its signer may change every path that it changes.
    Authority,
    /// The same for a merge, over the paths that differ from its first parent; the side branch passes by itself.
    Merge,
    /// It changes nothing and approves its tree.
    Approval,
    /// It does not stand for itself; the approvals above it, or on it, vouch for what it brings.
    Seal,
}

/// A scope that a commit touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeUse {
    /// The scope.
    pub scope: String,
    /// How many paths of it.
    pub paths: usize,
    /// The first of them, safe to print.
    pub first: String,
}

/// A change that waits for approvals. What it stands on stays in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The newest commit of it, in hex.
    pub commit: String,
    /// The tree that has to be approved, in hex.
    pub tree: String,
    /// What is missing.
    pub needs: Vec<Need>,
}

/// What one scope asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The scope.
    pub scope: String,
    /// Whether it is the change's own policy that asks, rather than the one in force.
    pub new_policy: bool,
    /// Whether only approvals count that name the tree, since commits under it do not stand for themselves.
    pub seal: bool,
    /// How many principals have to agree.
    pub threshold: usize,
    /// Who has.
    pub have: Vec<String>,
    /// Who could.
    pub signers: Vec<String>,
}

impl Need {
    /// Whether enough principals agree.
    pub fn is_met(&self) -> bool {
        self.have.len() >= self.threshold
    }
}

impl std::fmt::Display for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "commit {} waits for approvals:", short(&self.commit))?;
        for need in &self.needs {
            let policy = if need.new_policy { " (as the change itself would have it)" } else { "" };
            let policy = if need.seal { format!("{policy} needs a seal and") } else { policy.to_owned() };
            let have = if need.have.is_empty() { "nobody".into() } else { need.have.join(", ") };
            write!(
                f,
                " scope \"{}\"{policy} has {have}, {} of {};",
                need.scope,
                need.have.len(),
                need.threshold
            )?;
        }
        f.write_str(" the last accepted state stays in effect")
    }
}

impl std::error::Error for Pending {}

impl Explain for Pending {
    /// E040: seen, reported, not applied.
    fn code(&self) -> Code {
        Code("E040")
    }

    fn remedy(&self) -> String {
        let missing = self.needs.iter().flat_map(|need| {
            need.signers.iter().filter(|signer| !need.have.contains(signer)).map(String::as_str)
        });
        let mut missing: Vec<&str> = missing.collect();
        missing.sort_unstable();
        missing.dedup();
        format!(
            "let others approve it ({}), each with `abide approve`, or plainly with `git commit -S --allow-empty -m Approve --trailer 'Approves-tree: {}'` on top of it",
            missing.join(", "),
            self.tree
        )
    }

    fn place(&self) -> Option<String> {
        Some(format!("commit {}", self.commit))
    }
}
