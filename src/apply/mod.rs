//! Execute a plan, effect by effect, journalled: intent before, done after, owed notifications until paid.
//!
//! [`run()`] takes the plan batch by batch: all files that can go together are staged, judged by their validators, made durable and
//! put in place together; packages are one transaction; every unit is told once. [`recover()`] is what the next start does about
//! a run that died.
//!
//! **Invariant:** at every instant the journal on disk tells which effects may have happened, so that the next start can finish.

mod debts;
mod effector;
mod files;
pub mod host;
mod intents;
mod recover;
mod run;
mod schedule;
mod transaction;
mod units;

pub use effector::{Effector, UnitChange};
pub use recover::{Recovered, recover};
pub use run::run;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Explain, Problem};
use crate::resource::{Content, ResourceId};
use crate::state::{Counts, Notification, StateError};

/// How one resource fared in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// It is as declared now.
    Done,
    /// It could not be brought there.
    Failed,
    /// It was not tried, because this earlier resource failed.
    Skipped {
        /// The resource that failed.
        because: ResourceId,
    },
    /// Not tried: only reported, by `enforce = "warn"`.
    Reported,
    /// Not tried yet: it waits for a window, or what it would remove is in use.
    Waiting,
}

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepResult {
    /// Which resource.
    pub resource: ResourceId,
    /// How it fared.
    pub outcome: StepOutcome,
    /// Why not, when it failed.
    pub problem: Option<Problem>,
    /// Milliseconds that the batches took in which it had a part.
    pub took: u64,
}

/// What became of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// The run's number in the history; `None` when there was nothing to do.
    pub run: Option<i64>,
    /// One entry per step, in order.
    pub steps: Vec<StepResult>,
    /// Notifications that are still owed, in words, such as `restart nginx.service`.
    pub owed: Vec<String>,
    /// Why they could not be delivered, when that was tried.
    pub problems: Vec<Problem>,
}

impl Outcome {
    /// How the steps fared; what was only reported counts as unchanged.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in &self.steps {
            match step.outcome {
                StepOutcome::Done => counts.changed += 1,
                StepOutcome::Failed => counts.failed += 1,
                StepOutcome::Skipped { .. } => counts.skipped += 1,
                StepOutcome::Reported | StepOutcome::Waiting => counts.unchanged += 1,
            }
        }
        counts
    }
}

/// Where the bytes of contents are read.
pub trait Contents {
    /// The bytes, proven to have the hash that the content names.
    ///
    /// # Errors
    /// They cannot be read.
    fn bytes(&self, content: &Content) -> Result<Vec<u8>, Problem>;
}

/// Why a plan was given up in the middle. What happened until then is in the journal, and the next start goes on from there. A
/// resource that fails is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The journal cannot be kept, so nothing more may be done (E5xx).
    #[error(transparent)]
    State(#[from] StateError),
}

impl Explain for ApplyError {
    fn code(&self) -> Code {
        match self {
            ApplyError::State(error) => error.code(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            ApplyError::State(error) => error.remedy(),
        }
    }
}

/// What is owed, in words, each thing once.
fn in_words<'a>(owed: impl Iterator<Item = &'a Notification>) -> Vec<String> {
    let mut words: Vec<String> = owed.map(ToString::to_string).collect();
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
