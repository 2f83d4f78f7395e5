//! Why a commit is not accepted, in words for the person who has to do something about it.

use serde::{Serialize, Serializer};

use super::commit::SignatureKind;
use super::file::FileError;
use super::sshsig::SignatureError;
use crate::error::{Code, Explain, Problem};

/// A commit that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The commit, in hex.
    pub commit: String,
    /// The fingerprint of the key that signed it, as far as it says so.
    pub key: Option<String>,
    /// The principal who holds that key under the policy in force.
    pub signer: Option<String>,
    /// The merge that brought it in, when it lies on a side branch.
    pub merge: Option<String>,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a commit. Text in it is safe to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// E010: nobody signed it.
    #[error("it carries no signature")]
    Unsigned,
    /// E011: it is not written as Git writes commits, so that it could be a second form of another one.
    #[error("it is not in canonical form: {0}")]
    Malformed(String),
    /// E012: its signature is not written the one way.
    #[error("{0}")]
    BadEnvelope(SignatureError),
    /// E013: its signature was made for something other than Git.
    #[error("{0}")]
    Namespace(SignatureError),
    /// E014: its signature is of a kind that is not accepted.
    #[error("{0}")]
    Unsupported(String),
    /// E015: the policy does not know its key.
    #[error("no principal of the policy in force holds its key")]
    UnknownKey,
    /// E016: its key has expired, by this host's time.
    #[error("its key, of {principal}, expired at {at} (by this host's time, not the commit's)")]
    ExpiredKey {
        /// Whose key it is.
        principal: String,
        /// When it expired.
        at: String,
    },
    /// E017: the signature does not belong to it.
    #[error("its signature is not valid for its content")]
    BadSignature,
    /// E018: the security key was not touched.
    #[error("its security key signed without being touched")]
    Untouched,
    /// E020: its signer may not change this path.
    #[error("its signer may not change {path}, which the scope \"{scope}\" gives to {allowed}")]
    OutsideScope {
        /// The path.
        path: String,
        /// The scope that covers it.
        scope: String,
        /// Who may.
        allowed: String,
    },
    /// E021: nobody may change this path.
    #[error("no scope covers {path}, so nobody may change it")]
    Uncovered {
        /// The path.
        path: String,
    },
    /// E022: it adds a submodule.
    #[error("{path} is a submodule")]
    Submodule {
        /// The path.
        path: String,
    },
    /// E023: it adds a symlink that leaves the tree.
    #[error("{path} is a symlink to {target}, outside of the tree")]
    Symlink {
        /// The path.
        path: String,
        /// Where it points to.
        target: String,
    },
    /// E024: its tree holds what Git would not write.
    #[error("its tree is not acceptable: {0}")]
    BadTree(String),
    /// E025: it deletes the policy, or makes it something other than a plain file.
    #[error("it takes trust.toml away")]
    PolicyDeleted,
    /// E026: its policy cannot be used.
    #[error("its policy is not valid: {0}")]
    PolicyInvalid(FileError),
    /// E027: it changes the policy without raising its version.
    #[error("it changes the policy, but its version {new} is not above {old}")]
    PolicyVersion {
        /// Version in force.
        old: u64,
        /// Version in the commit.
        new: u64,
    },
    /// E028: its policy is for another fleet or branch.
    #[error("its policy is for the {what} \"{found}\", this host follows \"{expected}\"")]
    PolicyMoved {
        /// `fleet` or `ref`.
        what: &'static str,
        /// In the commit.
        found: String,
        /// On the host.
        expected: String,
    },
    /// E029: it asks for a newer abide.
    #[error("its policy asks for abide {needed} or newer, this is {own}")]
    AgentTooOld {
        /// What it asks for.
        needed: String,
        /// This program's version.
        own: String,
    },
    /// E030: the branch was set back.
    #[error("the branch was set back: this host has already accepted {mark}, which comes after it")]
    Rewind {
        /// The high-water mark.
        mark: String,
    },
    /// E031: the branch does not continue what was accepted.
    #[error("it does not continue {mark} along first parents")]
    Fork {
        /// What it should continue.
        mark: String,
    },
    /// E032: the branch is another fleet's.
    #[error("it belongs to the fleet \"{found}\", this host to \"{expected}\"")]
    OtherFleet {
        /// In the commit.
        found: String,
        /// On the host.
        expected: String,
    },
    /// E033: the commit that trust starts from is not there.
    #[error("the branch does not contain the introduction")]
    IntroductionMissing,
    /// E034: the introduction was signed with another key.
    #[error("the introduction was not signed with the key {expected}")]
    IntroductionKey {
        /// The fingerprint in the root of trust.
        expected: String,
    },
    /// E035: a merge brings in a history with a beginning of its own.
    #[error("it is the beginning of an unrelated history")]
    UnrelatedHistory,
    /// E036: proving it would take more work than allowed.
    #[error("it takes more than {limit} {what} to prove")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// E037: an object is missing or unreadable.
    #[error("{0}")]
    Unreadable(String),
}

impl Reason {
    /// A signature of a kind that is not accepted.
    pub(super) fn foreign(kind: SignatureKind) -> Reason {
        Reason::Unsupported(match kind {
            SignatureKind::OpenPgp => {
                "its signature is OpenPGP, and the policy in force lists no OpenPGP key".into()
            }
            kind => format!("its signature is {}, not SSH", kind.name()),
        })
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        Code(match self {
            Reason::Unsigned => "E010",
            Reason::Malformed(_) => "E011",
            Reason::BadEnvelope(_) => "E012",
            Reason::Namespace(_) => "E013",
            Reason::Unsupported(_) => "E014",
            Reason::UnknownKey => "E015",
            Reason::ExpiredKey { .. } => "E016",
            Reason::BadSignature => "E017",
            Reason::Untouched => "E018",
            Reason::OutsideScope { .. } => "E020",
            Reason::Uncovered { .. } => "E021",
            Reason::Submodule { .. } => "E022",
            Reason::Symlink { .. } => "E023",
            Reason::BadTree(_) => "E024",
            Reason::PolicyDeleted => "E025",
            Reason::PolicyInvalid(_) => "E026",
            Reason::PolicyVersion { .. } => "E027",
            Reason::PolicyMoved { .. } => "E028",
            Reason::AgentTooOld { .. } => "E029",
            Reason::Rewind { .. } => "E030",
            Reason::Fork { .. } => "E031",
            Reason::OtherFleet { .. } => "E032",
            Reason::IntroductionMissing => "E033",
            Reason::IntroductionKey { .. } => "E034",
            Reason::UnrelatedHistory => "E035",
            Reason::TooMuch { .. } => "E036",
            Reason::Unreadable(_) => "E037",
        })
    }

    fn remedy(&self) -> String {
        const REPLACE: &str =
            "take the commit off the branch (force-push back to the last accepted one) and make it again";
        match self {
            Reason::Unsigned => format!("{REPLACE} with `git commit -S`; `git config commit.gpgsign true` signs each one"),
            Reason::Malformed(_) | Reason::BadEnvelope(_) => {
                format!("{REPLACE} with plain Git; if nobody made it on purpose, find out who can write to the repository or in between")
            }
            Reason::Namespace(_) | Reason::BadSignature => {
                format!("find out who made this commit: somebody reused or altered a signature; then {REPLACE}")
            }
            Reason::Unsupported(_) => {
                format!("{REPLACE}, signed with an Ed25519 SSH key: `git config gpg.format ssh` and `git config user.signingkey KEY.pub`; or let a root signer list the signer's OpenPGP key in trust.toml (`abide trust add-principal --openpgp`)")
            }
            Reason::UnknownKey => {
                "if the key is a colleague's, let a root signer add it to trust.toml first; otherwise find out who could push, and take the commit off the branch".into()
            }
            Reason::ExpiredKey { .. } => {
                format!("let a root signer renew the key in trust.toml, then {REPLACE} with a key that is valid; if old history is meant, enrol the host with a newer introduction")
            }
            Reason::Untouched => format!("make the key again without `-O no-touch-required`, then {REPLACE}"),
            Reason::OutsideScope { allowed, .. } => {
                format!("let one of them sign the change ({allowed}), or let a root signer widen the scope in trust.toml first")
            }
            Reason::Uncovered { .. } => "let a root signer add a scope for the path to trust.toml first".into(),
            Reason::Submodule { .. } => "put the files themselves into the repository".into(),
            Reason::Symlink { .. } => "declare a `symlink` resource instead of keeping the symlink in the repository".into(),
            Reason::BadTree(_) => format!("{REPLACE} with plain Git"),
            Reason::PolicyDeleted => "put trust.toml back as a plain file at the root of the tree".into(),
            Reason::PolicyInvalid(error) => error.help.clone(),
            Reason::PolicyVersion { old, .. } => format!("write `version = {}` in trust.toml", old.saturating_add(1)),
            Reason::PolicyMoved { what, expected, .. } => format!("write `{what} = \"{expected}\"` in trust.toml; a host moves to another only by being enrolled again"),
            Reason::AgentTooOld { needed, .. } => format!("upgrade abide on this host to {needed} or newer"),
            Reason::Rewind { mark } | Reason::Fork { mark } => {
                format!("push a branch that continues {mark}: to undo a change, commit a `git revert`; merge with the branch as first parent. If nobody force-pushed, suspect the Git server")
            }
            Reason::OtherFleet { .. } => "point the host at its own fleet's repository, or enrol it again".into(),
            Reason::IntroductionMissing => "check that the host is pointed at the right repository and branch, and that the branch was not replaced".into(),
            Reason::IntroductionKey { .. } => "compare the `abide enroll …` line with the one that `abide init` printed".into(),
            Reason::UnrelatedHistory => "merge only branches that were started from this one; bring other content in as a commit".into(),
            Reason::TooMuch { .. } => "enrol the host with a newer introduction, or split the change".into(),
            Reason::Unreadable(_) => "look at the fetcher's last poll; `abide sync` tries again. If it stays, check the remote with `git fsck`".into(),
        }
    }

    /// The scope and path that it is about.
    pub fn scope_and_path(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Reason::OutsideScope { path, scope, .. } => (Some(scope), Some(path)),
            Reason::Uncovered { path } | Reason::Submodule { path } | Reason::Symlink { path, .. } => {
                (None, Some(path))
            }
            Reason::PolicyDeleted
            | Reason::PolicyInvalid(_)
            | Reason::PolicyVersion { .. }
            | Reason::PolicyMoved { .. }
            | Reason::AgentTooOld { .. } => (None, Some(super::policy::POLICY_FILE)),
            _ => (None, None),
        }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "commit {} is refused: {}", short(&self.commit), self.reason)
    }
}

impl std::error::Error for Rejection {}

impl Explain for Rejection {
    fn code(&self) -> Code {
        self.reason.code()
    }

    fn remedy(&self) -> String {
        self.reason.remedy()
    }

    fn place(&self) -> Option<String> {
        let mut place = format!("commit {}", self.commit);
        if let Some(signer) = &self.signer {
            place.push_str(&format!(", signed by {signer}"));
        }
        if let Some(key) = &self.key {
            place.push_str(&format!(", key {key}"));
        }
        if let (_, Some(path)) = self.reason.scope_and_path() {
            place.push_str(&format!(", path {path}"));
        }
        if let Some(merge) = &self.merge {
            place.push_str(&format!(", merged by {merge}"));
        }
        Some(place)
    }

    fn excerpt(&self) -> Option<String> {
        match &self.reason {
            Reason::PolicyInvalid(error) if !error.excerpt.is_empty() => Some(error.excerpt.clone()),
            _ => None,
        }
    }
}

impl Serialize for Rejection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'a> {
            commit: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            key: &'a Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            signer: &'a Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            merge: &'a Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            scope: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            path: Option<&'a str>,
            #[serde(flatten)]
            problem: Problem,
        }
        let (scope, path) = self.reason.scope_and_path();
        let (commit, key, signer, merge) = (&self.commit, &self.key, &self.signer, &self.merge);
        View { commit, key, signer, merge, scope, path, problem: Problem::from(self.clone()) }
            .serialize(serializer)
    }
}

/// The first characters of an id, as people name commits.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
