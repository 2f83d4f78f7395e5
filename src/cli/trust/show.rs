//! `abide trust show`: the root of trust and the policy in force.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use serde::Serialize;

use crate::author::{self, RepositoryError, Start};
use crate::cli::terminal::{Style, paint};
use crate::cli::verify::Heartbeat;
use crate::cli::{Answer, Global, OK, open_state};
use crate::config::{ConfigError, Limits, Span};
use crate::error::Problem;
use crate::source::store::{Repository, Store};
use crate::source::{self, Candidate, Objects};
use crate::state::News;
use crate::system::{clock, identity};
use crate::trust::commit::tree_of_any;
use crate::trust::policy::{Merge, Policy};
use crate::trust::{FreshnessMode, Memory, RootOfTrust, assess, short};

/// Shows whom this host trusts: its root of trust and the policy in force.
///
/// With `--repo` it shows the policy in force in a fleet's repository.
#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0, or 2 when it cannot be read.\n\nExamples:\n  abide trust show\n  abide trust show --repo .\n  abide trust show -o json | jq '.policy.principals'"
)]
pub struct Arguments {
    /// Show the policy in force in this repository instead of the host's.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// With --repo: the root of trust, as in /etc/abide/trust.toml.
    #[arg(long, value_name = "FILE", requires = "repo", conflicts_with = "introduction")]
    root: Option<PathBuf>,
    /// With --repo: the commit that trust starts from; without it, `git config abide.introduction`.
    #[arg(long, value_name = "COMMIT", requires = "repo")]
    introduction: Option<String>,
    /// With --repo: the key that signed it, or its fingerprint; without it, `git config abide.key`.
    #[arg(long, value_name = "KEY", requires = "repo")]
    key: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Trusted {
    /// This host's id, for statements that break the glass; `None` for a repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where trust starts.
    pub root: Root,
    /// The policy in force; `None` when this host has none yet.
    pub policy: Option<InForce>,
    /// How fresh the news of the branch is; `None` when there is no policy in force yet.
    pub heartbeat: Option<Heartbeat>,
}

/// Where trust starts.
#[derive(Debug, Serialize)]
pub struct Root {
    /// The fleet.
    pub fleet: String,
    /// The branch.
    pub reference: String,
    /// The commit.
    pub introduction: String,
    /// The fingerprint of its key.
    pub key: String,
    /// How old the news of the branch may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// What follows when it is older.
    pub freshness: FreshnessMode,
    /// Fingerprints of the keys that may break the glass.
    pub break_glass: Vec<String>,
}

/// The policy in force.
#[derive(Debug, Serialize)]
pub struct InForce {
    /// The commit it is from.
    pub commit: String,
    /// Its version.
    pub version: u64,
    /// The oldest abide that it lets apply it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_agent: Option<String>,
    /// Who may sign.
    pub principals: Vec<Principal>,
    /// Over what.
    pub scopes: Vec<Scope>,
    /// The keys that may sign heartbeats.
    pub heartbeat_keys: Vec<Key>,
}

/// Somebody who may sign.
#[derive(Debug, Serialize)]
pub struct Principal {
    /// The name.
    pub name: String,
    /// The keys.
    pub keys: Vec<Key>,
}

/// A key of a principal.
#[derive(Debug, Serialize)]
pub struct Key {
    /// Its fingerprint.
    pub fingerprint: String,
    /// The last moment at which it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Whether that is past.
    pub expired: bool,
}

/// A scope.
#[derive(Debug, Serialize)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// Its paths.
    pub paths: Vec<String>,
    /// Who may sign.
    pub signers: Vec<String>,
    /// How many have to.
    pub threshold: usize,
    /// How commits by others come in.
    pub merge: Merge,
}

/// Runs the command.
///
/// # Errors
/// The root of trust or the policy cannot be read.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let trusted = match &arguments.repo {
        Some(repo) => in_repository(arguments, repo)?,
        None => on_host(global)?,
    };
    global.print(&trusted, || render(&trusted));
    Ok(OK)
}

fn in_repository(arguments: &Arguments, repo: &Path) -> Result<Trusted, Problem> {
    let repository = Repository::open(repo)?;
    let (root, introduction, key) =
        (arguments.root.clone(), arguments.introduction.clone(), arguments.key.clone());
    let root = Start { root, introduction, key }.root_of_trust(&repository)?;
    let candidate = repository.candidate(repository.resolve("HEAD")?, &root.reference);
    look(&repository, &root, &Memory::default(), &candidate)
}

fn on_host(global: &Global) -> Result<Trusted, Problem> {
    let paths = global.paths();
    if !paths.trust().exists() {
        return Err(ConfigError::NotEnrolled { path: paths.trust() }.into());
    }
    let root = RootOfTrust::load(&paths.trust())?;
    let (mark, news) = match open_state(global)? {
        Some(state) => (state.high_water()?, state.news()?),
        None => (None, News::default()),
    };
    // A host whose machine id is not set yet has none.
    let host = identity::host_id().ok();
    let Some(mark) = mark.map(|mark| mark.high_water()) else {
        return Ok(Trusted { host, root: describe(&root), policy: None, heartbeat: None });
    };
    let store = Store::open(&paths.store(), &Limits::default())?;
    let note = source::read_note(&paths.spool).ok().flatten().unwrap_or_default();
    let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).ok();
    // What was fetched and not taken yet says nothing.
    let tip = id(&note.tip).filter(|tip| store.is_whole(*tip)).or_else(|| id(&mark.commit));
    let unreadable =
        || RepositoryError::Policy { commit: mark.commit.clone(), reason: "it has no name".into() };
    let candidate = store.candidate(tip.ok_or_else(unreadable)?, &note);
    let memory = Memory { high_water: Some(mark), heartbeat: news.heartbeat };
    Ok(Trusted { host, ..look(&store, &root, &memory, &candidate)? })
}

fn look(
    objects: &dyn Objects,
    root: &RootOfTrust,
    memory: &Memory,
    candidate: &Candidate,
) -> Result<Trusted, Problem> {
    let now = clock::now();
    let assessment = assess(objects, root, memory, candidate, now)?;
    // On a host only what it has accepted is in force.
    let commit = memory.high_water.as_ref().unwrap_or(&assessment.judgement.high_water).commit.clone();
    Ok(Trusted {
        host: None,
        root: describe(root),
        policy: Some(in_force(objects, &commit, now)?),
        heartbeat: Some(Heartbeat::of(&assessment.freshness, now)),
    })
}

fn describe(root: &RootOfTrust) -> Root {
    Root {
        fleet: root.fleet.clone(),
        reference: root.reference.clone(),
        introduction: root.introduction.commit.clone(),
        key: root.introduction.key.fingerprint(),
        max_age: root.freshness.max_age,
        freshness: root.freshness.mode,
        break_glass: root.break_glass.iter().map(|key| key.fingerprint()).collect(),
    }
}

fn in_force(objects: &dyn Objects, commit: &str, now: i64) -> Result<InForce, Problem> {
    let unreadable = |reason: String| RepositoryError::Policy { commit: commit.to_owned(), reason };
    let id = ObjectId::from_hex(commit.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    let raw = objects.commit(id).map_err(|error| unreadable(error.to_string()))?;
    let tree = tree_of_any(&raw, id.kind()).ok_or_else(|| unreadable("it names no tree".into()))?;
    let policy = author::policy_of(objects, tree).map_err(unreadable)?;
    Ok(InForce {
        commit: commit.to_owned(),
        version: policy.version,
        minimum_agent: policy.minimum_agent.map(|version| version.to_string()),
        principals: principals(&policy, now),
        scopes: policy.scopes.iter().map(scope).collect(),
        heartbeat_keys: policy
            .heartbeat_keys()
            .iter()
            .map(|known| key(known.key.fingerprint(), known.not_after, now))
            .collect(),
    })
}

fn key(fingerprint: String, last: Option<i64>, now: i64) -> Key {
    let date =
        |last| jiff::Timestamp::from_second(last).map_or_else(|_| last.to_string(), |time| time.to_string());
    Key { fingerprint, not_after: last.map(date), expired: last.is_some_and(|last| now > last) }
}

fn principals(policy: &Policy, now: i64) -> Vec<Principal> {
    let mut principals: Vec<Principal> = Vec::new();
    for (fingerprint, holder) in policy.keys() {
        let key = key(fingerprint, holder.not_after, now);
        match principals.last_mut() {
            Some(principal) if principal.name == holder.principal => principal.keys.push(key),
            _ => principals.push(Principal { name: holder.principal.clone(), keys: vec![key] }),
        }
    }
    principals
}

fn scope(scope: &crate::trust::policy::Scope) -> Scope {
    Scope {
        name: scope.name.clone(),
        paths: scope.paths.iter().map(ToString::to_string).collect(),
        signers: scope.signers.iter().cloned().collect(),
        threshold: scope.threshold,
        merge: scope.merge,
    }
}

fn render(trusted: &Trusted) -> String {
    let root = &trusted.root;
    let bold = |text: &str| paint(text, Style::Bold);
    let mut text = format!(
        "{}\n  fleet         {}\n  branch        {}\n  introduction  {}\n  signed with   {}\n",
        bold("Root of trust"),
        root.fleet,
        root.reference,
        root.introduction,
        root.key
    );
    let freshness = match (root.freshness, root.max_age) {
        (FreshnessMode::Require, Some(age)) => {
            format!("nothing is applied without a heartbeat of the last {age}")
        }
        (FreshnessMode::Require, None) => "nothing is applied without a heartbeat that counts".to_owned(),
        (FreshnessMode::Warn, _) => "heartbeats are reported, not required".to_owned(),
    };
    let _ = writeln!(text, "  freshness     {freshness}");
    for key in &root.break_glass {
        let _ = writeln!(text, "  break-glass   {key}");
    }
    if let Some(host) = &trusted.host {
        let _ = writeln!(text, "  this host     {host}");
    }
    let Some(policy) = &trusted.policy else {
        let _ = writeln!(text, "\nThere is no policy in force yet: nothing was accepted on this host.");
        return text;
    };
    let name = short(&policy.commit);
    let _ = writeln!(text, "\n{} version {}, of commit {name}", bold("Policy in force"), policy.version);
    if let Some(version) = &policy.minimum_agent {
        let _ = writeln!(text, "  asks for abide {version} or newer");
    }
    let _ = writeln!(text, "\n{}", bold("Principals"));
    for principal in &policy.principals {
        for (position, key) in principal.keys.iter().enumerate() {
            let name = if position == 0 { principal.name.as_str() } else { "" };
            let _ = writeln!(text, "  {name:<13} {}", shown(key));
        }
    }
    let _ = writeln!(text, "\n{} (the first that matches a path decides)", bold("Scopes"));
    for scope in &policy.scopes {
        let merge = if scope.merge == Merge::Seal { "; seals" } else { "" };
        let _ = writeln!(
            text,
            "  {:<13} {}\n                {} of {}{merge}",
            scope.name,
            scope.paths.join(" "),
            scope.threshold,
            scope.signers.join(", ")
        );
    }
    let _ = writeln!(text, "\n{}", bold("Heartbeat"));
    for key in &policy.heartbeat_keys {
        let _ = writeln!(text, "  key           {}", shown(key));
    }
    for line in trusted.heartbeat.as_ref().map(Heartbeat::text).unwrap_or_default().lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// A key with its end.
fn shown(key: &Key) -> String {
    let until = match (&key.not_after, key.expired) {
        (None, _) => String::new(),
        (Some(date), false) => format!("  until {date}"),
        (Some(date), true) => paint(&format!("  expired {date}"), Style::Bad),
    };
    format!("{}{until}", key.fingerprint)
}
