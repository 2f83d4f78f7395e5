//! `abide verify`: why a revision is or is not accepted, commit by commit.

use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;

use gix::ObjectId;

use super::terminal::{Style, paint};
use super::{Answer, DIFFERS, Global, OK, open_state};
use crate::author::Start;
use crate::config::{ConfigError, Limits};
use crate::error::{Code, Explain, Problem, escaped};
use crate::source::store::{Repository, Store};
use crate::source::{self, Candidate, Objects};
use crate::state::News;
use crate::system::clock;
use crate::trust::explain::{Explained, Outcome, explain};
use crate::trust::{
    ApprovalJudgement, Freshness, FreshnessMode, Memory, Pending, Rejection, Revision, RootOfTrust, Verdict,
    assess, short,
};

/// Explains why a revision is or is not accepted: which rule, which principals, which scopes.
///
/// On an enrolled host it looks into the host's own store. With `--repo` it looks into an author's repository, with the
/// introduction that hosts were enrolled with.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 accepted, 1 refused or waiting for approvals.\n\nExample:\n  abide verify\n  abide verify --explain | less\n  abide verify --repo . --introduction 696f056d… --key SHA256:… HEAD"
)]
pub struct Arguments {
    /// The commit. On a host, its full name; without it, what the remote offered last. In a repository, any revision;
    /// without it, HEAD.
    pub revision: Option<String>,
    /// Look into this repository instead of the host's store.
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Say of each commit which clause of the rule (docs/SECURITY.md) let it in, who and what counted, and what is still needed.
    #[arg(long)]
    pub explain: bool,
    /// The root of trust, as in /etc/abide/trust.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "introduction")]
    pub root: Option<PathBuf>,
    /// The commit that trust starts from, with `--repo`; without it, `git config abide.introduction`.
    #[arg(long, value_name = "COMMIT", requires = "repo")]
    pub introduction: Option<String>,
    /// The key that signed the introduction, or its fingerprint; without it, `git config abide.key`.
    #[arg(long, value_name = "KEY", requires = "repo")]
    pub key: Option<String>,
}

/// Why a revision cannot even be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
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
            VerifyError::NotACommit { .. } => "E752",
        })
    }

    fn remedy(&self) -> String {
        match self {
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
    pub commits: Vec<Explained>,
    /// The approvals by tag that were looked at.
    pub approvals: Vec<ApprovalJudgement>,
    /// The newest heartbeat.
    pub heartbeat: Heartbeat,
    /// Why the walk stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// What waits for approvals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// How fresh the news is.
#[derive(Debug, serde::Serialize)]
pub struct Heartbeat {
    /// Whether nothing is applied without a fresh one.
    pub required: bool,
    /// Whether one is to be expected.
    pub expected: bool,
    /// The place in the sequence of the newest that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The commit that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tip: Option<String>,
    /// The fingerprint of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<i64>,
    /// Until when it is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Why the one on offer does not count, or why there is none where there should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl Heartbeat {
    /// How fresh the news is at this time.
    pub fn of(freshness: &Freshness, now: i64) -> Heartbeat {
        let mark = freshness.heartbeat.as_ref();
        let problem = freshness.problem.clone().map(Problem::from);
        Heartbeat {
            required: freshness.rule.mode == FreshnessMode::Require,
            expected: freshness.expected,
            sequence: mark.map(|mark| mark.sequence),
            tip: mark.map(|mark| mark.tip.clone()),
            key: mark.map(|mark| mark.key.clone()),
            issued: mark.map(|mark| mark.issued),
            until: freshness.until(),
            problem: problem.or_else(|| freshness.stale(now).map(Problem::from)),
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        let time = |second: i64| {
            jiff::Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
        };
        let mut text = match (self.sequence, &self.tip, self.until) {
            (Some(sequence), Some(tip), Some(until)) => {
                let key = self.key.as_deref().unwrap_or_default();
                format!("heartbeat {sequence} names {}, fresh until {}, by {key}\n", short(tip), time(until))
            }
            _ if self.expected => "no heartbeat that counts was seen\n".to_owned(),
            _ => "no heartbeat is expected: the policy names no key for them, and the root of trust asks for none\n".to_owned(),
        };
        if let Some(problem) = &self.problem {
            let _ = writeln!(text, "{} {problem}", paint("!", Style::Odd));
        }
        text
    }
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
    global.print(&explanation, || render(&explanation, arguments.explain));
    Ok(if explanation.accepted { OK } else { DIFFERS })
}

/// Explains a revision of an author's repository.
///
/// # Errors
/// See [`run`].
pub fn in_repository(arguments: &Arguments, repo: &std::path::Path) -> Result<Explanation, Problem> {
    let repository = Repository::open(repo)?;
    let tip = repository.resolve(arguments.revision.as_deref().unwrap_or("HEAD"))?;
    let start = Start {
        root: arguments.root.clone(),
        introduction: arguments.introduction.clone(),
        key: arguments.key.clone(),
    };
    let root = start.root_of_trust(&repository)?;
    look(&repository, &root, Memory::default(), &repository.candidate(tip, &root.reference))
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
    let (mark, news) = match open_state(global)? {
        Some(state) => (state.high_water()?, state.news()?),
        None => (None, News::default()),
    };
    let mark = mark.map(|mark| mark.high_water());
    let store = Store::open(&paths.store(), &Limits::default())?;
    // The note is as untrusted here as in a run; without one that can be read the mark is explained.
    let note = source::read_note(&paths.spool).ok().flatten().unwrap_or_default();
    let revision = arguments
        .revision
        .clone()
        .or_else(|| Some(note.tip.clone()).filter(|tip| !tip.is_empty()))
        .or_else(|| mark.as_ref().map(|mark| mark.commit.clone()))
        .unwrap_or_else(|| root.introduction.commit.clone());
    let tip = ObjectId::from_hex(revision.as_bytes())
        .map_err(|_| VerifyError::NotACommit { revision: escaped(&revision) })?;
    let candidate = store.candidate(tip, &note);
    look(&store, &root, Memory { high_water: mark, heartbeat: news.heartbeat }, &candidate)
}

fn look(
    objects: &dyn Objects,
    root: &RootOfTrust,
    mut memory: Memory,
    candidate: &Candidate,
) -> Result<Explanation, Problem> {
    let now = clock::now();
    let mut assessment = assess(objects, root, &memory, candidate, now)?;
    // A commit below the mark was accepted in its time: say how, rather than that it would be a step back now.
    if assessment.judgement.rejection.as_ref().is_some_and(|rejection| rejection.code() == Code("E030")) {
        memory.high_water = None;
        assessment = assess(objects, root, &memory, candidate, now)?;
    }
    let heartbeat = Heartbeat::of(&assessment.freshness, now);
    let judgement = assessment.judgement;
    let commits = explain(&judgement);
    let tip = candidate.tip.to_string();
    let verified = judgement.verified.map(|verified| verified.revision().clone());
    // Where heartbeats are required, the line may have been judged only up to the commit that the heartbeat names.
    let reached = verified.as_ref().is_some_and(|verified| !heartbeat.required || verified.commit == tip);
    let accepted = judgement.rejection.is_none() && judgement.pending.is_none() && reached;
    let (rejection, pending, approvals) = (judgement.rejection, judgement.pending, judgement.approvals);
    Ok(Explanation { tip, accepted, verified, commits, approvals, heartbeat, rejection, pending })
}

/// The answer for people; `explained` with every clause of the rule.
pub fn render(explanation: &Explanation, explained: bool) -> String {
    let mut text = String::new();
    for commit in &explanation.commits {
        text.push_str(&if explained { in_full(commit) } else { in_short(commit) });
    }
    if explained {
        text.push_str(&explanation.heartbeat.text());
    }
    if let Some(rejection) = &explanation.rejection {
        let _ = writeln!(text, "{}", Problem::from(rejection.clone()));
    }
    if let Some(pending) = &explanation.pending {
        let _ = writeln!(text, "{}", Problem::from(pending.clone()));
    }
    if explanation.heartbeat.required
        && !explained
        && let Some(problem) = &explanation.heartbeat.problem
    {
        let _ = writeln!(text, "{problem}");
    }
    let newest = explanation.verified.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    let verdict = if explanation.accepted { "accepted" } else { "not accepted" };
    let name = short(&explanation.tip);
    let _ = writeln!(text, "{name} is {verdict}; the newest good commit is {newest}");
    text
}

/// A commit's first line.
fn headline(commit: &Explained) -> String {
    let commit = &commit.judgement;
    let mark = match commit.verdict {
        Verdict::Accepted => paint("✓ accepted", Style::Good),
        Verdict::Pending => paint("… pending ", Style::Odd),
        Verdict::Refused => paint("✗ refused ", Style::Bad),
    };
    let indent = if commit.merge.is_some() { "  " } else { "" };
    format!("{indent}{mark} {} {}\n", short(&commit.commit), commit.summary)
}

fn in_short(explained: &Explained) -> String {
    let mut text = headline(explained);
    let commit = &explained.judgement;
    let indent = if commit.merge.is_some() { "  " } else { "" };
    let rule = format!("{:?}", commit.rule).to_lowercase();
    let signer = commit.signer.as_deref().unwrap_or("nobody known");
    let key = commit.key.as_deref().unwrap_or("no key");
    let _ = writeln!(text, "{indent}      rule {rule}, signed by {signer} ({key})");
    for scope in &commit.scopes {
        let more = if scope.paths > 1 { format!(" and {} more", scope.paths - 1) } else { String::new() };
        let _ = writeln!(text, "{indent}      scope {}: {}{more}", scope.scope, scope.first);
    }
    text
}

fn in_full(explained: &Explained) -> String {
    let mut text = headline(explained);
    let indent = if explained.judgement.merge.is_some() { "  " } else { "" };
    for clause in &explained.clauses {
        let mark = match clause.outcome {
            Outcome::Met => paint("✓", Style::Good),
            Outcome::Open => paint("…", Style::Odd),
            Outcome::Violated => paint("✗", Style::Bad),
            Outcome::Ignored => paint("-", Style::Dim),
        };
        let number = clause.clause.map_or_else(|| " ".to_owned(), |number| number.to_string());
        let _ = writeln!(text, "{indent}    {number} {mark} {}", clause.text);
    }
    text
}
