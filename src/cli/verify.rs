//! `abide verify`: why a revision is or is not accepted, commit by commit.

use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;

use gix::ObjectId;

use super::terminal::{Style, paint};
use super::{Answer, DIFFERS, Global, OK, open_state};
use crate::config::{ConfigError, Limits};
use crate::error::{Code, Explain, Problem, escaped};
use crate::source::store::{Repository, Store};
use crate::source::{Candidate, EntryKind, Note, Objects};
use crate::system::clock;
use crate::trust::commit::tree_of_any;
use crate::trust::policy::{POLICY_FILE, Policy};
use crate::trust::{
    CommitJudgement, FreshnessRule, HighWater, Introduction, IntroductionKey, Judgement, Pending, Rejection,
    Revision, RootOfTrust, Verdict, judge,
};

/// Explains why a revision is or is not accepted: which rule, which principals, which scopes.
///
/// On an enrolled host it looks into the host's own store. With `--repo` it looks into an author's repository, with the
/// introduction that hosts were enrolled with.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 accepted, 1 refused or waiting for approvals.\n\nExample:\n  abide verify\n  abide verify --repo . --introduction 696f056d… --key SHA256:… HEAD"
)]
pub struct Arguments {
    /// The commit. On a host, its full name; without it, what the remote offered last. In a repository, any revision;
    /// without it, HEAD.
    pub revision: Option<String>,
    /// Look into this repository instead of the host's store.
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// The root of trust, as in /etc/abide/trust.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "introduction")]
    pub root: Option<PathBuf>,
    /// The commit that trust starts from, with `--repo`.
    #[arg(long, value_name = "COMMIT", requires_all = ["key", "repo"])]
    pub introduction: Option<String>,
    /// The key that signed the introduction, or its fingerprint.
    #[arg(long, value_name = "KEY", requires = "introduction")]
    pub key: Option<String>,
}

/// Why a revision cannot even be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// E750: nobody said what to trust.
    #[error("nothing says what to trust in this repository")]
    NoRoot,
    /// E751: the introduction cannot be used.
    #[error("the introduction cannot be used: {reason}")]
    Introduction {
        /// What is wrong with it.
        reason: String,
    },
    /// E752: on a host, revisions are full names.
    #[error("`{revision}` is not the full name of a commit")]
    NotACommit {
        /// What was given.
        revision: String,
    },
}

impl Explain for VerifyError {
    fn code(&self) -> Code {
        Code(match self {
            VerifyError::NoRoot => "E750",
            VerifyError::Introduction { .. } => "E751",
            VerifyError::NotACommit { .. } => "E752",
        })
    }

    fn remedy(&self) -> String {
        match self {
            VerifyError::NoRoot | VerifyError::Introduction { .. } => {
                "give `--introduction` and `--key` as in the `abide enroll …` line, or a host's root of trust with `--root`".into()
            }
            VerifyError::NotACommit { .. } => "copy it from `git rev-parse REVISION`".into(),
        }
    }
}

/// The answer.
#[derive(serde::Serialize)]
pub struct Explanation {
    /// The commit that was asked about, in hex.
    pub tip: String,
    /// Whether it is accepted.
    pub accepted: bool,
    /// The newest commit that is.
    pub verified: Option<Revision>,
    /// Each commit that was looked at, oldest first.
    pub commits: Vec<CommitJudgement>,
    /// Why the walk stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// What waits for approvals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// Runs the command.
///
/// # Errors
/// The root of trust, the repository or the store cannot be used.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let explanation = match &arguments.repo {
        Some(repo) => in_repository(arguments, repo)?,
        None => on_host(global, arguments)?,
    };
    global.print(&explanation, || render(&explanation));
    Ok(if explanation.accepted { OK } else { DIFFERS })
}

/// Explains a revision of an author's repository.
///
/// # Errors
/// See [`run`].
pub fn in_repository(arguments: &Arguments, repo: &std::path::Path) -> Result<Explanation, Problem> {
    let repository = Repository::open(repo)?;
    let tip = repository.resolve(arguments.revision.as_deref().unwrap_or("HEAD"))?;
    let root = match (&arguments.root, &arguments.introduction, &arguments.key) {
        (Some(root), _, _) => RootOfTrust::load(root)?,
        (None, Some(commit), Some(key)) => introduced(&repository, repository.resolve(commit)?, key)?,
        _ => return Err(VerifyError::NoRoot.into()),
    };
    explain(&repository, &root, None, tip)
}

fn on_host(global: &Global, arguments: &Arguments) -> Result<Explanation, Problem> {
    let paths = global.paths();
    let root = match &arguments.root {
        Some(root) => RootOfTrust::load(root)?,
        None if !paths.trust().exists() => {
            return Err(ConfigError::NotEnrolled { path: paths.trust() }.into());
        }
        None => RootOfTrust::load(&paths.trust())?,
    };
    let mark = match open_state(global)? {
        Some(state) => {
            state.high_water()?.map(|mark| HighWater { commit: mark.commit, payload: mark.payload })
        }
        None => None,
    };
    let store = Store::open(&paths.store(), &Limits::default())?;
    let offered = || {
        let note = std::fs::read(paths.spool.join("note.json")).ok()?;
        let note: Note = serde_json::from_slice(&note).ok()?;
        Some(note.tip).filter(|tip| !tip.is_empty())
    };
    let revision = arguments
        .revision
        .clone()
        .or_else(offered)
        .or_else(|| mark.as_ref().map(|mark| mark.commit.clone()))
        .unwrap_or_else(|| root.introduction.commit.clone());
    let tip = ObjectId::from_hex(revision.as_bytes())
        .map_err(|_| VerifyError::NotACommit { revision: escaped(&revision) })?;
    explain(&store, &root, mark.as_ref(), tip)
}

/// The root of trust that a host enrolled with this introduction has: fleet and branch are those of its policy.
fn introduced(objects: &dyn Objects, id: ObjectId, key: &str) -> Result<RootOfTrust, Problem> {
    let wrong = |reason: String| VerifyError::Introduction { reason };
    let unreadable = |error: crate::source::ObjectError| wrong(escaped(&error.to_string()));
    let key = IntroductionKey::parse(key).map_err(wrong)?;
    let raw = objects.commit(id).map_err(unreadable)?;
    let tree = tree_of_any(&raw, id.kind()).ok_or_else(|| wrong("it names no tree".into()))?;
    let entries = objects.tree(tree).map_err(unreadable)?;
    let entry = entries.iter().find(|entry| entry.name == POLICY_FILE && entry.kind == EntryKind::File);
    let entry = entry.ok_or_else(|| wrong("its tree has no trust.toml".into()))?;
    let bytes = objects.blob(entry.id).map_err(unreadable)?;
    let policy = Policy::parse(&bytes, POLICY_FILE).map_err(|error| wrong(error.to_string()))?;
    Ok(RootOfTrust {
        fleet: policy.fleet,
        reference: policy.reference,
        introduction: Introduction { commit: id.to_string(), key },
        freshness: FreshnessRule::default(),
        break_glass: Vec::new(),
    })
}

fn explain(
    objects: &dyn Objects,
    root: &RootOfTrust,
    mark: Option<&HighWater>,
    tip: ObjectId,
) -> Result<Explanation, Problem> {
    let candidate = Candidate::at(tip);
    let mut judgement = judge(objects, root, mark, &candidate, clock::now())?;
    // A commit below the mark was accepted in its time: say how, rather than that it would be a step back now.
    if judgement.rejection.as_ref().is_some_and(|rejection| rejection.code() == Code("E030")) {
        judgement = judge(objects, root, None, &candidate, clock::now())?;
    }
    let Judgement { verified, rejection, pending, commits, .. } = judgement;
    let verified = verified.map(|verified| verified.revision().clone());
    let tip = tip.to_string();
    let accepted = rejection.is_none() && pending.is_none() && verified.is_some();
    Ok(Explanation { tip, accepted, verified, commits, rejection, pending })
}

/// The answer for people.
pub fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    for commit in &explanation.commits {
        let mark = match commit.verdict {
            Verdict::Accepted => paint("✓ accepted", Style::Good),
            Verdict::Pending => paint("… pending ", Style::Odd),
            Verdict::Refused => paint("✗ refused ", Style::Bad),
        };
        let name = commit.commit.get(..12).unwrap_or(&commit.commit);
        let indent = if commit.merge.is_some() { "  " } else { "" };
        let _ = writeln!(text, "{indent}{mark} {name} {}", commit.summary);
        let rule = format!("{:?}", commit.rule).to_lowercase();
        let signer = commit.signer.as_deref().unwrap_or("nobody known");
        let key = commit.key.as_deref().unwrap_or("no key");
        let _ = writeln!(text, "{indent}      rule {rule}, signed by {signer} ({key})");
        for scope in &commit.scopes {
            let more = if scope.paths > 1 { format!(" and {} more", scope.paths - 1) } else { String::new() };
            let _ = writeln!(text, "{indent}      scope {}: {}{more}", scope.scope, scope.first);
        }
    }
    if let Some(rejection) = &explanation.rejection {
        let _ = writeln!(text, "{}", Problem::from(rejection.clone()));
    }
    if let Some(pending) = &explanation.pending {
        let _ = writeln!(text, "{}", Problem::from(pending.clone()));
    }
    let newest = explanation.verified.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    let verdict = if explanation.accepted { "accepted" } else { "not accepted" };
    let name = explanation.tip.get(..12).unwrap_or(&explanation.tip);
    let _ = writeln!(text, "{name} is {verdict}; the newest good commit is {newest}");
    text
}
