//! Observe in batches, compare with the desired state, and order: a plan is data.
//!
//! **Invariant:** making a plan changes nothing, and the same desired state on the same host gives the same plan,
//! byte for byte.

pub mod diff;
pub mod effect;
pub mod law;
pub mod limits;
mod make;
pub mod network;
pub mod order;
pub mod reach;
#[cfg(test)]
pub(crate) mod testing;
pub mod usage;
pub mod waits;

pub use effect::{
    Attributes, Conffiles, Effect, GroupAction, PackageAction, PackageOperation, PackageOptions, Principal,
    Run, UnitAction, UserAction, WriteFile,
};
pub use law::Law;
pub use limits::{Prune, too_many_changes};
pub use make::{Managed, Scope, counts, make, needs, watched};
pub use order::CycleError;
pub use reach::Reach;
pub use waits::Wait;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Code, Explain};
use crate::resource::{Content, Origin, ResourceId};

/// Everything that a run would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Plan {
    /// What changes, in order.
    pub steps: Vec<Step>,
    /// Resources that are as declared.
    pub unchanged: Vec<ResourceId>,
    /// Resources that cannot be planned on this host.
    pub problems: Vec<PlanError>,
    /// Resources that depend on those.
    pub blocked: Vec<Blocked>,
    /// Resources that left the branch and stay on the host: no longer managed.
    pub released: Vec<ResourceId>,
    /// Why nothing is removed, when something would be.
    pub prune_refused: Option<PlanError>,
}

impl Plan {
    /// Takes steps out that turned out to be impossible, with what depends on them.
    pub fn withdraw(&mut self, mut impossible: BTreeMap<usize, PlanError>) {
        let mut because: BTreeMap<usize, ResourceId> = BTreeMap::new();
        let mut places: BTreeMap<usize, usize> = BTreeMap::new();
        for (position, mut step) in std::mem::take(&mut self.steps).into_iter().enumerate() {
            if let Some(error) = impossible.remove(&position) {
                because.insert(position, step.resource.clone());
                self.problems.push(PlanError { resource: step.resource, origin: Some(step.origin), ..error });
            } else if let Some(reason) = step.needs.iter().find_map(|needed| because.get(needed).cloned()) {
                because.insert(position, reason.clone());
                self.blocked.push(Blocked { resource: step.resource, because: reason });
            } else {
                step.needs = step.needs.iter().filter_map(|needed| places.get(needed).copied()).collect();
                places.insert(position, self.steps.len());
                self.steps.push(step);
            }
        }
    }

    /// Whether there is nothing to do and nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.problems.is_empty() && self.prune_refused.is_none()
    }
}

/// A resource that is not tried because another cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// Which resource.
    pub resource: ResourceId,
    /// The one that cannot be planned.
    pub because: ResourceId,
}

/// What one resource needs changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// One line in the past tense of what will have been done: `content changed`, `mode 0644 -> 0600`, `started`.
    pub summary: String,
    /// Whether this creates what was not there before: only such things are removed again when they leave the branch.
    pub creates: bool,
    /// What to do, in order.
    pub effects: Vec<Effect>,
    /// How to show it.
    pub diffs: Vec<Diff>,
}

/// How a change is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Diff {
    /// The content of a path becomes another; both sides are read when it is shown.
    Content {
        /// The path whose present content is the left side; absent when it does not exist.
        path: PathBuf,
        /// The right side; `None` when the path goes away.
        after: Option<Content>,
    },
    /// A property becomes another.
    Property {
        /// Its name: `mode`, `owner`, `version`, `active`.
        name: String,
        /// Present value; empty when there is none.
        before: String,
        /// Value to be.
        after: String,
    },
}

/// Why a resource cannot be planned on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{resource}: {message}")]
pub struct PlanError {
    /// Which resource.
    pub resource: ResourceId,
    /// What is wrong, without the resource's name.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Stable code, `E3xx`.
    pub code: Code,
    /// Where it was declared; filled in by the plan.
    pub origin: Option<Origin>,
}

impl PlanError {
    /// An error whose place the plan will fill in.
    pub fn new(
        resource: ResourceId,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> PlanError {
        PlanError { resource, message: message.into(), help: help.into(), code, origin: None }
    }
}

impl Explain for PlanError {
    fn code(&self) -> Code {
        self.code
    }
    fn remedy(&self) -> String {
        self.help.clone()
    }
    fn place(&self) -> Option<String> {
        self.origin.as_ref().map(ToString::to_string)
    }
}

/// One resource's change in its place in the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which resource.
    pub resource: ResourceId,
    /// Where it was declared; for something that left the branch, where it was last declared.
    pub origin: Origin,
    /// What changes.
    pub change: Change,
    /// Positions of earlier steps whose failure makes this one impossible.
    pub needs: Vec<usize>,
    /// Whether the resource left the branch.
    pub prune: bool,
    /// Never show content or values.
    pub sensitive: bool,
    /// Only reported, not done: `enforce = "warn"`.
    pub report_only: bool,
    /// The window that it is taken in, and in no other time: `only-in-window`.
    pub window: Option<String>,
    /// Why it is not taken yet, where it waits.
    pub waits: Option<Wait>,
}

impl Step {
    /// Whether a run leaves it.
    pub fn is_left(&self) -> bool {
        self.report_only || self.waits.is_some()
    }
}
