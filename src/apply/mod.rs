//! Execute a plan, effect by effect, journalled: intent before, done after, owed notifications until paid.
//!
//! **Invariant:** at every instant the journal on disk tells which effects may have happened, so that the next start can finish.

use serde::{Deserialize, Serialize};

use crate::error::Problem;
use crate::resource::ResourceId;

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
    /// Milliseconds.
    pub took: u64,
}

/// What became of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// One entry per step, in order.
    pub steps: Vec<StepResult>,
    /// Notifications that are still owed, in words, such as `restart nginx.service`.
    pub owed: Vec<String>,
}
