//! What the next start does about a run that died.
//!
//! It does not repeat anything: the run that follows finds what is missing, because it compares the host with the branch. It only
//! clears away what the dead run left lying about, and finds out what it did: what is really owed, what abide made, and what is to be
//! told of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::intents::{is_absent, look};
use super::run::ticket;
use super::{ApplyError, Effector, in_words};
use crate::error::Problem;
use crate::failpoint::reach;
use crate::resource::ResourceId;
use crate::state::{Finished, Intent, Notification, State, Unfinished};

/// What was found of a run that died.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// Its number.
    pub run: i64,
    /// Resources that it was changing when it died.
    pub pending: Vec<ResourceId>,
    /// What is owed because of it, or of runs before it.
    pub owed: Vec<String>,
    /// What could not be cleared away.
    pub problems: Vec<Problem>,
}

impl std::fmt::Display for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "run {} was interrupted and is recovered", self.run)?;
        let pending: Vec<String> = self.pending.iter().map(ToString::to_string).collect();
        if !pending.is_empty() {
            write!(f, "; it was changing {}", pending.join(", "))?;
        }
        if !self.owed.is_empty() {
            write!(f, "; still owed: {}", self.owed.join(", "))?;
        }
        Ok(())
    }
}

/// Closes a run that died. Does nothing, and writes nothing, when there is none.
///
/// # Errors
/// The state cannot be used; then nothing may be applied.
pub fn recover<E: Effector>(state: &mut State, effector: &mut E) -> Result<Option<Recovered>, ApplyError> {
    let Some(unfinished) = state.unfinished()? else { return Ok(None) };
    state.check()?;
    let mut problems = Vec::new();
    problems.extend(effector.clean_temporaries(&paths(&unfinished)).err());
    reach("temporaries removed");
    let was = |verb: &str| unfinished.pending.iter().any(|intent| intent.verb == verb);
    if was("package") {
        problems.extend(effector.settle_packages().err());
    }
    let ended = effector.settle_commands(&running(&unfinished)).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    reach("outlived work settled");
    let finished = judge(&unfinished, ended, effector);
    state.complete(unfinished.run, &finished)?;
    reach("journal judged");
    state.abandon(unfinished.run, effector.now())?;
    reach("dead run closed");
    let owed = state.owed()?;
    let mut pending: Vec<ResourceId> = unfinished.pending.into_iter().map(|intent| intent.resource).collect();
    pending.dedup();
    let owed = in_words(owed.iter().map(|owed| &owed.notification));
    Ok(Some(Recovered { run: unfinished.run, pending, owed, problems }))
}

/// Where the dead run may have staged something.
fn paths(unfinished: &Unfinished) -> Vec<PathBuf> {
    let staging = |intent: &&Intent| matches!(intent.verb.as_str(), "write-file" | "make-symlink");
    unfinished.pending.iter().filter(staging).map(|intent| PathBuf::from(&intent.target)).collect()
}

/// The command that may have run when the run died: there is one at a time.
fn running(unfinished: &Unfinished) -> String {
    let intent = unfinished.pending.iter().find(|intent| intent.verb == "run");
    intent.map(|intent| ticket(unfinished.run, intent.step, intent.effect)).unwrap_or_default()
}

/// What a dead run did to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happened {
    Yes,
    No,
    /// It cannot be seen.
    Perhaps,
}

/// What became of an effect, by what was there before it and what is there now.
fn happened(intent: &Intent, now: &str) -> Happened {
    if intent.before.is_empty() || now.is_empty() {
        return Happened::Perhaps;
    }
    if now != intent.before {
        return Happened::Yes;
    }
    let all_is_seen = match intent.verb.as_str() {
        "package" | "make-symlink" => true,
        "write-file" => now.contains("sha256:"),
        // A folder may have lost what was in it.
        "remove" => !now.starts_with("directory"),
        // Attributes that no fingerprint has; of an account, everything but whether it is there.
        _ => false,
    };
    if all_is_seen || is_absent(now) { Happened::No } else { Happened::Perhaps }
}

/// Which resources the dead run did not get to: nothing is owed because of them, and abide did not create them. A command that
/// ended well has had its run.
fn judge<E: Effector>(unfinished: &Unfinished, ended: Option<i32>, effector: &mut E) -> Finished {
    let mut changed: BTreeSet<&ResourceId> = unfinished.touched.iter().collect();
    let mut absent = Vec::new();
    let mut effects = Vec::new();
    let mut paid = Vec::new();
    let names = unfinished.pending.iter().map(|intent| (intent.verb.as_str(), intent.target.clone()));
    let looks = look(effector, names);
    for intent in &unfinished.pending {
        if intent.verb == "run" {
            let success: Vec<i32> = serde_json::from_str(&intent.before).unwrap_or_default();
            let well = ended.is_some_and(|code| success.contains(&code));
            paid.extend(well.then(|| Notification::Refresh(intent.resource.clone())));
            effects.push((intent.step, intent.effect, well));
            changed.insert(&intent.resource);
            continue;
        }
        let now = match looks.get(&(intent.verb.clone(), intent.target.clone())) {
            Some(words) => words.clone(),
            None if intent.before.is_empty() || !is_of_path(&intent.verb) => String::new(),
            None => effector.fingerprint(Path::new(&intent.target), intent.before.contains("sha256:")),
        };
        let happened = happened(intent, &now);
        match happened {
            Happened::No if is_absent(&now) => absent.push(&intent.resource),
            Happened::No => {}
            Happened::Yes | Happened::Perhaps => drop(changed.insert(&intent.resource)),
        }
        // What cannot be seen stays pending: it may have happened.
        if happened != Happened::Perhaps {
            effects.push((intent.step, intent.effect, happened == Happened::Yes));
        }
    }
    let unchanged = |resource: &&ResourceId| !changed.contains(*resource);
    let pending = unfinished.pending.iter().map(|intent| &intent.resource);
    Finished {
        effects,
        paid,
        unchanged: pending.filter(unchanged).cloned().collect(),
        not_created: absent.into_iter().filter(unchanged).cloned().collect(),
        ..Finished::default()
    }
}

fn is_of_path(verb: &str) -> bool {
    matches!(verb, "write-file" | "make-directory" | "make-symlink" | "set-attributes" | "remove")
}
