//! What an author's repository says of its fleet: where trust starts, and the policy of a tree.

use std::path::PathBuf;

use gix::ObjectId;

use super::git::{Git, GitError};
use crate::error::{Code, Explain, Problem, escaped};
use crate::source::store::Repository;
use crate::source::{EntryKind, Objects};
use crate::trust::commit::tree_of_any;
use crate::trust::policy::{POLICY_FILE, Policy};
use crate::trust::{FreshnessRule, Introduction, IntroductionKey, RootOfTrust};

/// Where a repository's own configuration remembers the introduction.
const INTRODUCTION: &str = "abide.introduction";
/// Where it remembers the introduction's key.
const KEY: &str = "abide.key";

/// Why a repository cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// E750: nobody said what to trust.
    #[error("nothing says what to trust in this repository")]
    NoRoot,
    /// E751: the introduction cannot be used.
    #[error("the introduction cannot be used: {reason}")]
    Introduction {
        /// What is wrong with it.
        reason: String,
    },
    /// E792: the policy of a commit cannot be read.
    #[error("the policy of commit {commit} cannot be read: {reason}")]
    Policy {
        /// The commit.
        commit: String,
        /// Why not.
        reason: String,
    },
}

impl Explain for RepositoryError {
    fn code(&self) -> Code {
        Code(match self {
            RepositoryError::NoRoot => "E750",
            RepositoryError::Introduction { .. } => "E751",
            RepositoryError::Policy { .. } => "E792",
        })
    }

    fn remedy(&self) -> String {
        if let RepositoryError::Policy { .. } = self {
            return "`abide verify` says what is wrong with the commit; on a host, `abide enroll --check` what is wrong with its store".into();
        }
        "give the introduction and its key as in the `abide enroll …` line, or a host's root of trust with `--root`; \
         `git config abide.introduction COMMIT` and `git config abide.key SHA256:…` remember them in this clone"
            .into()
    }
}

/// Where trust starts, as a command line says it; what it leaves out is looked up in the repository's own configuration.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// A file like `/etc/abide/trust.toml`.
    pub root: Option<PathBuf>,
    /// The commit that trust starts from.
    pub introduction: Option<String>,
    /// The key that signed it, or its fingerprint.
    pub key: Option<String>,
}

impl Start {
    /// The root of trust.
    ///
    /// # Errors
    /// `E750` and `E751`; or the file cannot be used.
    pub fn root_of_trust(&self, repository: &Repository) -> Result<RootOfTrust, Problem> {
        if let Some(root) = &self.root {
            return Ok(RootOfTrust::load(root)?);
        }
        let remembered = |given: &Option<String>, name| given.clone().or_else(|| repository.setting(name));
        match (remembered(&self.introduction, INTRODUCTION), remembered(&self.key, KEY)) {
            (Some(commit), Some(key)) => Ok(introduced(repository, repository.resolve(&commit)?, &key)?),
            _ => Err(RepositoryError::NoRoot.into()),
        }
    }
}

/// Keeps the introduction in the repository's own configuration, so that no command has to be told again.
///
/// # Errors
/// Git cannot write it.
pub fn remember(git: &Git, introduction: &str, key: &str) -> Result<(), GitError> {
    let help = "look at what Git says";
    git.run(&["config", INTRODUCTION, introduction], help)?;
    git.run(&["config", KEY, key], help).map(drop)
}

/// The root of trust that a host enrolled with this introduction has: fleet and branch are those of its policy.
fn introduced(objects: &dyn Objects, id: ObjectId, key: &str) -> Result<RootOfTrust, RepositoryError> {
    let wrong = |reason: String| RepositoryError::Introduction { reason };
    let key = IntroductionKey::parse(key).map_err(wrong)?;
    let raw = objects.commit(id).map_err(|error| wrong(escaped(&error.to_string())))?;
    let tree = tree_of_any(&raw, id.kind()).ok_or_else(|| wrong("it names no tree".into()))?;
    let policy = policy_of(objects, tree).map_err(wrong)?;
    Ok(RootOfTrust {
        fleet: policy.fleet,
        reference: policy.reference,
        introduction: Introduction { commit: id.to_string(), key },
        freshness: FreshnessRule::default(),
        break_glass: Vec::new(),
    })
}

/// The policy of a tree.
///
/// # Errors
/// Why there is none, in words that are safe to print.
pub fn policy_of(objects: &dyn Objects, tree: ObjectId) -> Result<Policy, String> {
    let unreadable = |error: crate::source::ObjectError| escaped(&error.to_string());
    let entries = objects.tree(tree).map_err(unreadable)?;
    let entry = entries.iter().find(|entry| entry.name == POLICY_FILE && entry.kind == EntryKind::File);
    let entry = entry.ok_or_else(|| "its tree has no trust.toml".to_owned())?;
    let bytes = objects.blob(entry.id).map_err(unreadable)?;
    Policy::parse(&bytes, POLICY_FILE).map_err(|error| error.to_string())
}
