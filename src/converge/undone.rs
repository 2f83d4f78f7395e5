//! What a run left undone of its plan: the one place that judges whether it was whole.

use std::collections::BTreeSet;

use super::Request;
use crate::apply::{Outcome, StepOutcome};
use crate::plan::Plan;
use crate::resource::ResourceId;

/// What a run left undone of its plan. What a declaration says is only to be reported is nothing to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Undone {
    /// Failed, could not be planned, or needs one of these.
    failed: BTreeSet<ResourceId>,
    /// Waits on purpose, for a window or for what is in use.
    waiting: BTreeSet<ResourceId>,
    /// Word of changes could not be delivered, such as a restart. It stays owed, whatever else is judged.
    owed: bool,
    /// Something that left the branch is still there.
    stays: bool,
    /// This host removes such things.
    prunes: bool,
    /// The run was limited to some resources, or told to leave some.
    limited: bool,
}

impl Undone {
    /// `prunes`: whether the host removes what leaves the branch; where it does not, what stays is nothing undone.
    pub(super) fn of(plan: &Plan, outcome: &Outcome, request: &Request, prunes: bool) -> Undone {
        let steps = |wanted: fn(&StepOutcome) -> bool| {
            let wanted = outcome.steps.iter().filter(move |step| wanted(&step.outcome));
            wanted.map(|step| step.resource.clone())
        };
        let failed =
            |outcome: &StepOutcome| matches!(outcome, StepOutcome::Failed | StepOutcome::Skipped { .. });
        let unplanned = plan.problems.iter().map(|error| &error.resource);
        let blocked = plan.blocked.iter().map(|blocked| &blocked.resource);
        Undone {
            failed: steps(failed).chain(unplanned.chain(blocked).cloned()).collect(),
            waiting: steps(|outcome| *outcome == StepOutcome::Waiting).collect(),
            owed: !outcome.problems.is_empty(),
            stays: plan.prune_refused.is_some(),
            prunes,
            limited: !request.only.is_empty() || !request.left.is_empty(),
        }
    }

    /// The resources that are not as declared.
    pub(super) fn resources(&self) -> BTreeSet<ResourceId> {
        self.failed.union(&self.waiting).cloned().collect()
    }

    /// The host is as declared, and what left the branch is gone.
    pub(super) fn nothing(&self) -> bool {
        self.nothing_declared() && !self.stays
    }

    /// The host is as declared; what is removed beside that is another matter.
    pub(super) fn nothing_declared(&self) -> bool {
        self.failed.is_empty() && self.waiting.is_empty() && !self.limited
    }

    /// Everything was done but for what waits on purpose.
    pub(super) fn only_waits(&self) -> bool {
        let removals = self.stays && self.prunes;
        self.failed.is_empty() && !self.owed && !removals && !self.limited
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::StepResult;
    use crate::error::{Code, Problem};
    use crate::plan::PlanError;

    fn outcome(outcome: StepOutcome) -> Outcome {
        let resource = ResourceId::new("file", "/x");
        Outcome {
            steps: vec![StepResult { resource, outcome, problem: None, took: 0 }],
            ..Outcome::default()
        }
    }

    #[test]
    fn whole_is_judged_in_one_place() {
        let skipped = StepOutcome::Skipped { because: ResourceId::new("file", "/y") };
        let refused = || {
            let error = PlanError::new(ResourceId::new("prune", "inventory"), Code("E304"), "", "");
            Plan { prune_refused: Some(error), ..Plan::default() }
        };
        let unplanned = || {
            let error = PlanError::new(ResourceId::new("file", "/z"), Code("E304"), "", "");
            Plan { problems: vec![error], ..Plan::default() }
        };
        let owed = || {
            let error = PlanError::new(ResourceId::new("service", "x"), Code("E304"), "", "");
            Outcome { problems: vec![Problem::from(error)], ..Outcome::default() }
        };
        let all = Request::default;
        let some = || Request { left: BTreeSet::from([ResourceId::new("file", "/x")]), ..Request::default() };
        let undone = Undone::of(&refused(), &Outcome::default(), &all(), false);
        assert!(undone.only_waits() && !undone.nothing(), "{undone:?}");
        for (plan, outcome, request, nothing, declared, waits) in [
            (Plan::default(), Outcome::default(), all(), true, true, true),
            (Plan::default(), outcome(StepOutcome::Done), all(), true, true, true),
            (Plan::default(), outcome(StepOutcome::Reported), all(), true, true, true),
            (Plan::default(), outcome(StepOutcome::Reported), some(), false, false, false),
            (Plan::default(), outcome(StepOutcome::Waiting), all(), false, false, true),
            (Plan::default(), outcome(StepOutcome::Failed), all(), false, false, false),
            (Plan::default(), outcome(skipped), all(), false, false, false),
            (Plan::default(), owed(), all(), true, true, false),
            (refused(), Outcome::default(), all(), false, true, false),
            (unplanned(), Outcome::default(), all(), false, false, false),
        ] {
            let undone = Undone::of(&plan, &outcome, &request, true);
            let judged = (undone.nothing(), undone.nothing_declared(), undone.only_waits());
            assert_eq!(judged, (nothing, declared, waits), "{undone:?}");
        }
    }
}
