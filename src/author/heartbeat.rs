//! Make a heartbeat: say where the branch is, signed by a schedule's own key.

use std::path::{Path, PathBuf};

use gix::ObjectId;
use serde::Serialize;

use super::git::{Git, GitError};
use crate::error::{Code, Explain, Problem, escaped};
use crate::source::store::Repository;
use crate::source::{HEARTBEAT_FILE, Objects, heartbeat_ref};
use crate::trust::commit::Commit;
use crate::trust::heartbeat::{Heartbeat, LONGEST, NAMESPACE, SignedHeartbeat};
use crate::trust::key::PublicKey;
use crate::trust::policy::Policy;
use crate::trust::{RootOfTrust, judge};

/// Why no heartbeat is made.
#[derive(Debug, thiserror::Error)]
pub enum BeatError {
    /// E770: the key is none of the policy's heartbeat keys.
    #[error("{key} is no heartbeat key of the policy in force: {known}")]
    Key {
        /// Its fingerprint, or where it was looked for.
        key: String,
        /// Those that are.
        known: String,
    },
    /// E771: the key has expired.
    #[error("the heartbeat key {key} has expired")]
    Expired {
        /// Its fingerprint.
        key: String,
    },
    /// E772: the length of time is not sensible.
    #[error("a heartbeat of {seconds} s is too short or too long")]
    Valid {
        /// What was asked for.
        seconds: u64,
    },
    /// E773: what was signed cannot be used.
    #[error("the heartbeat that was signed cannot be used: {0}")]
    Unusable(String),
    /// E774: the file for the agent's key cannot be written.
    #[error("the agent's key cannot be handed to ssh-keygen")]
    Temporary(#[source] std::io::Error),
}

impl Explain for BeatError {
    fn code(&self) -> Code {
        Code(match self {
            BeatError::Key { .. } => "E770",
            BeatError::Expired { .. } => "E771",
            BeatError::Valid { .. } => "E772",
            BeatError::Unusable(_) => "E773",
            BeatError::Temporary(_) => "E774",
        })
    }

    fn remedy(&self) -> String {
        match self {
            BeatError::Key { .. } => "let a root signer add the schedule's public key to trust.toml: `[heartbeat]` with `keys = [{ key = \"…\" }]`; with `--key agent`, load it with `ssh-add`".into(),
            BeatError::Expired { .. } => "let a root signer put a new key beside it in trust.toml, and switch the schedule over".into(),
            BeatError::Valid { .. } => "give a few times the interval of the schedule, such as `--valid 24h`, and at most 400 days".into(),
            BeatError::Unusable(_) => "nothing was kept; look at the clock, the fleet and the branch".into(),
            BeatError::Temporary(_) => "check the folder for temporary files: TMPDIR".into(),
        }
    }
}

/// The key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A private key, or the public half of one that an agent holds.
    File(PathBuf),
    /// Whichever heartbeat key an agent holds.
    Agent,
}

/// What a heartbeat is to say.
#[derive(Debug, Clone)]
pub struct Order {
    /// The commit to name; while it waits for approvals, the newest one in effect below it is named.
    pub tip: ObjectId,
    /// The key.
    pub key: Key,
    /// For how many seconds it counts.
    pub valid: u64,
}

/// A heartbeat that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Beat {
    /// What it says.
    #[serde(flatten)]
    pub heartbeat: Heartbeat,
    /// The fingerprint of its key.
    pub key: String,
    /// The branch that holds it.
    pub branch: String,
    /// The commit that holds it.
    pub commit: String,
    /// The commit that waits for approvals above the one it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
}

/// Makes a heartbeat and moves the branch of heartbeats to it.
///
/// # Errors
/// The commit is refused, or the key may not sign heartbeats: see [`BeatError`]; or Git or `ssh-keygen` fails.
pub fn beat(
    git: &Git,
    repository: &Repository,
    root: &RootOfTrust,
    order: &Order,
    now: i64,
) -> Result<Beat, Problem> {
    let seconds = order.valid;
    let valid = i64::try_from(seconds).ok().filter(|valid| (1..=LONGEST).contains(valid));
    let valid = valid.ok_or(BeatError::Valid { seconds })?;
    let judgement = judge(repository, root, None, &repository.candidate(order.tip, &root.reference), now)?;
    if let Some(rejection) = judgement.rejection {
        return Err(rejection.into());
    }
    let policy = judgement.policy;
    let named = judgement.high_water.commit;
    let heartbeat = Heartbeat {
        fleet: root.fleet.clone(),
        reference: root.reference.clone(),
        payload: payload(repository, &named).map_err(BeatError::Unusable)?,
        tip: named,
        sequence: sequence(repository, root, &policy, now),
        issued: now,
        expires: now.saturating_add(valid),
    };
    let text = heartbeat.text().map_err(|error| BeatError::Unusable(error.to_string()))?;
    let signed = sign(git, &policy, &order.key, &text)?;
    let proven =
        SignedHeartbeat::parse(signed.as_bytes()).map_err(|error| BeatError::Unusable(error.to_string()))?;
    allowed(&policy, proven.key(), now)?;
    proven.verify().map_err(|error| BeatError::Unusable(error.to_string()))?;
    let branch = heartbeat_ref(&root.reference);
    let commit = store(git, &branch, &heartbeat, &signed)?;
    let pending = judgement.pending.map(|pending| pending.commit);
    Ok(Beat { heartbeat, key: proven.key().fingerprint(), branch, commit, pending })
}

fn payload(repository: &Repository, commit: &str) -> Result<String, String> {
    let id = ObjectId::from_hex(commit.as_bytes()).map_err(|error| error.to_string())?;
    let raw = repository.commit(id).map_err(|error| escaped(&error.to_string()))?;
    Commit::parse(&raw, id.kind()).map(|commit| commit.payload_hash()).map_err(|error| error.to_string())
}

/// One more than the newest heartbeat in this repository that a heartbeat key of the policy made; and never less than the time in
/// seconds, so that a schedule that keeps nothing between its runs goes on rising.
fn sequence(repository: &Repository, root: &RootOfTrust, policy: &Policy, now: i64) -> u64 {
    let known = |signed: &SignedHeartbeat| {
        signed.heartbeat.fleet == root.fleet
            && signed.heartbeat.reference == root.reference
            && policy.heartbeat_keys().iter().any(|known| known.key == *signed.key())
            && signed.verify().is_ok()
    };
    let earlier = repository.heartbeats(&root.reference).into_iter();
    let newest = earlier
        .filter_map(|commit| SignedHeartbeat::read(repository, commit).ok())
        .filter(known)
        .map(|signed| signed.heartbeat.sequence)
        .max();
    let by_time = u64::try_from(now).unwrap_or(0);
    newest.map_or(by_time, |newest| newest.saturating_add(1).max(by_time))
}

/// Whether this key may sign heartbeats now.
fn allowed(policy: &Policy, key: &PublicKey, now: i64) -> Result<(), BeatError> {
    let print = key.fingerprint();
    let Some(known) = policy.heartbeat_keys().iter().find(|known| known.key == *key) else {
        return Err(BeatError::Key { key: print, known: known(policy) });
    };
    match known.not_after.is_some_and(|last| now > last) {
        true => Err(BeatError::Expired { key: print }),
        false => Ok(()),
    }
}

fn known(policy: &Policy) -> String {
    let prints: Vec<String> = policy.heartbeat_keys().iter().map(|known| known.key.fingerprint()).collect();
    if prints.is_empty() { "it has none".into() } else { format!("those are {}", prints.join(", ")) }
}

/// The text with its signature.
fn sign(git: &Git, policy: &Policy, key: &Key, text: &str) -> Result<String, Problem> {
    let temporary;
    let file: &Path = match key {
        Key::File(file) => file,
        Key::Agent => {
            temporary = from_agent(git, policy)?;
            temporary.path()
        }
    };
    let file = std::path::absolute(file).map_err(BeatError::Temporary)?;
    let file = file.to_string_lossy();
    let argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", &file];
    let output = git.program(&argv, text.as_bytes(), true)?;
    if !output.success() {
        return Err(GitError::Program {
            command: escaped(&argv.join(" ")),
            complaint: output.complaint(),
            help: "give the private key, readable by its user only and without a passphrase, or `--key agent` with the key loaded",
        }
        .into());
    }
    Ok(format!("{text}{}", String::from_utf8_lossy(&output.stdout)))
}

/// A file with the public half of the heartbeat key that the agent holds, for `ssh-keygen`.
fn from_agent(git: &Git, policy: &Policy) -> Result<tempfile::NamedTempFile, Problem> {
    use std::io::Write as _;
    let output = git.program(&["ssh-add", "-L"], b"", false)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let held = text.lines().filter_map(|line| PublicKey::parse(line).ok());
    let key = held.into_iter().find(|key| policy.heartbeat_keys().iter().any(|known| known.key == *key));
    let none = || BeatError::Key { key: "what the agent holds".into(), known: known(policy) };
    let key = key.ok_or_else(none)?;
    let mut file = tempfile::Builder::new().suffix(".pub").tempfile().map_err(BeatError::Temporary)?;
    writeln!(file, "{key}").map_err(BeatError::Temporary)?;
    Ok(file)
}

/// A commit without parents that holds the heartbeat, on its branch.
fn store(git: &Git, branch: &str, heartbeat: &Heartbeat, signed: &str) -> Result<String, GitError> {
    let help = "look at what Git says";
    let blob = git.feed(&["hash-object", "-w", "--stdin"], signed.as_bytes(), help)?;
    let tree = git.feed(&["mktree"], format!("100644 blob {blob}\t{HEARTBEAT_FILE}\n").as_bytes(), help)?;
    let subject = format!("Heartbeat {} of {}", heartbeat.sequence, heartbeat.reference);
    // Nobody believes who made this commit: a schedule need not have a name.
    let name = ["-c", "user.name=abide heartbeat", "-c", "user.email=heartbeat@abide.invalid"];
    let commit = git.run(&[&name[..], &["commit-tree", "-m", &subject, &tree]].concat(), help)?;
    git.run(&["update-ref", "-m", "abide heartbeat", branch, &commit], help)?;
    Ok(commit)
}
