//! What keeps a run from doing all that it could: windows, too many changes at once, what is in use, a suspension that is not over.
//!
//! **Invariant:** a guard only ever holds back. What is held is in the status with its reason, and the agent comes back when that ends.

use std::collections::{BTreeMap, HashSet};

use super::{Run, Target};
use crate::config::Settings;
use crate::error::{Explain as _, Problem};
use crate::manifest::{Desired, Rules};
use crate::plan::waits::Wait;
use crate::plan::{self, Effect, Plan, PlanError, Step, UnitAction, usage};
use crate::progress::Tell;
use crate::report::EventKind;
use crate::report::status::Waiting;
use crate::resource::{Declared, ResourceId};
use crate::schedule::{Activity, Gate, Verdict, Window};
use crate::system::observe::Observed;
use crate::system::usage::{Usage, package_files};
use crate::system::{clock, zone};

/// A time zone that a window names and the host does not know.
#[derive(Debug, thiserror::Error)]
#[error("this host does not know the time zone `{zone}`, so nothing is allowed by the windows that name it")]
pub struct UnknownZone {
    /// Its name.
    pub zone: String,
}

impl crate::error::Explain for UnknownZone {
    /// E376: a window names a time zone that the host does not know.
    fn code(&self) -> crate::error::Code {
        crate::error::Code("E376")
    }

    fn remedy(&self) -> String {
        "correct the name, or install the package `tzdata`; a window without `timezone` has the host's own"
            .into()
    }
}

impl Run<'_> {
    /// Ends a suspension whose time is over.
    pub(super) fn end_suspension(&mut self) -> Result<(), Problem> {
        let now = clock::now();
        let over = self.state.suspension()?.filter(|suspension| !suspension.holds(now));
        let Some(over) = over.filter(|_| !self.request.dry_run) else { return Ok(()) };
        self.state.set_suspension(None)?;
        let message = format!("the suspension by {} is over: {}", over.by, over.reason);
        self.recorder.tell(EventKind::Resumed, message, now);
        Ok(())
    }

    /// Whether nothing is to be applied now.
    pub(super) fn is_suspended(&self) -> bool {
        self.recorder.status.suspended.is_some() && !self.request.ignore_suspension
    }

    /// The plan of the target, as far as nothing holds it: a new revision that has to wait is replaced by what is in force, and steps that have to wait are marked.
    pub(super) fn guarded(
        &mut self,
        target: Target,
        progress: &mut Tell<'_>,
    ) -> Result<(Target, Plan), Problem> {
        // A host on which nothing was ever in force has nothing to protect.
        let first = !self.site.paths.desired().exists();
        let (mut target, mut plan) = self.plan(target, progress)?;
        if target.pinned {
            // Going back is repair; no window keeps a host broken.
            return Ok((target, plan));
        }
        let rules = target.desired.rendered().rules.clone();
        let own = own_windows(&self.site.settings);
        let gate = Gate::new(&own, &rules.windows, zone::find);
        for zone in gate.unknown_zones() {
            self.recorder.keep(UnknownZone { zone: zone.clone() }.into());
        }
        if let Some(last) = self.hold(&target, &plan, &gate, &rules)? {
            plan = self.make(&last, progress)?;
            target = last;
        }
        if !self.request.ignore_windows && !first {
            let known = target.known;
            let waits = waits(&plan, &gate, known, clock::now());
            let until = waits.values().filter_map(|wait| wait.until).min();
            if let Some(first) = waits.values().next() {
                self.wait(first.what.clone(), until);
            }
            plan.postpone(waits);
        }
        Ok((target, plan))
    }

    /// What is enforced instead of a new revision that may not be taken yet.
    fn hold(
        &mut self,
        target: &Target,
        plan: &Plan,
        gate: &Gate<'_>,
        rules: &Rules,
    ) -> Result<Option<Target>, Problem> {
        let nothing = plan.steps.is_empty() && plan.prune_refused.is_none();
        // Without anything in force there is nothing to wait with, and the same commit rendered anew is not news.
        let in_force = if target.known || nothing { None } else { Desired::load(&self.site.paths.desired()) };
        let commit = target.desired.revision().commit.clone();
        if in_force.is_none_or(|(_, in_force)| in_force.revision().commit == commit) {
            return Ok(None);
        }
        let verdict = gate.judge(Activity::Revisions, clock::now());
        if let Verdict::Closed { opens, because } = verdict
            && !self.request.ignore_windows
        {
            self.recorder.status.verified = Some(target.desired.revision().clone());
            let what = format!("{} waits: {because}", target.desired.revision());
            if self.news("window", &commit)? {
                self.recorder.tell(EventKind::RevisionWaits, what.clone(), clock::now());
            }
            self.wait(what, opens);
            return Ok(self.last().filter(|_| !self.request.dry_run));
        }
        let limit = self.site.settings.apply.change_limit;
        if self.request.all_changes || limit >= 100 {
            return Ok(None);
        }
        let in_force: HashSet<ResourceId> =
            self.state.inventory()?.into_iter().map(|entry| entry.resource).collect();
        let confirmed = |id: &ResourceId| rules.may_change(id, clock::now());
        let Some(error) = plan::too_many_changes(plan, &in_force, confirmed, limit) else {
            self.news("changes", "")?;
            return Ok(None);
        };
        self.recorder.status.verified = Some(target.desired.revision().clone());
        let last = self.refuse(EventKind::ChangeHeld, "changes", vec![Problem::from(error)], &commit)?;
        Ok(last.filter(|_| !self.request.dry_run))
    }

    /// Says in the status that something waits; the agent comes back when the first of all may go on.
    fn wait(&mut self, what: String, until: Option<i64>) {
        let waiting = self.recorder.status.waiting.get_or_insert_with(Waiting::default);
        waiting.what.push(what);
        waiting.until = waiting.until.into_iter().chain(until).min();
    }

    /// Has steps wait that would take away what is in use.
    pub(super) fn spare_what_is_used(&mut self, plan: &mut Plan, desired: &[Declared], observed: &Observed) {
        if usage::matters(plan) {
            let running = usage::running(desired, observed);
            plan.postpone(usage::judge(plan, &Usage::look(), &running, package_files));
        }
    }
}

/// The windows of the host's own settings, which were checked when they were read.
pub(super) fn own_windows(settings: &Settings) -> Vec<Window> {
    let place = |number: usize| format!("abide.toml, number {}", number + 1);
    let windows = settings.windows.iter().enumerate();
    windows.filter_map(|(number, fields)| fields.clone().check(place(number)).ok()).collect()
}

/// The steps that wait for a window.
fn waits(plan: &Plan, gate: &Gate<'_>, known: bool, now: i64) -> BTreeMap<usize, Wait> {
    let mut waits = BTreeMap::new();
    if plan.steps.is_empty() {
        return waits;
    }
    let closed = |verdict: Verdict| match verdict {
        Verdict::Closed { opens, because } => Some(Wait::window(&because, opens)),
        Verdict::Open => None,
    };
    let of = |activity| closed(gate.judge(activity, now));
    let healing = of(Activity::Healing).filter(|_| known);
    let (packages, restarts) = (of(Activity::Packages), of(Activity::Restarts));
    for (position, step) in plan.steps.iter().enumerate().filter(|(_, step)| !step.is_left()) {
        let own = step.window.as_ref().and_then(|name| closed(gate.judge_named(name, now)));
        let wait = own
            .or_else(|| healing.clone())
            .or_else(|| packages.clone().filter(|_| changes_packages(step)))
            .or_else(|| restarts.clone().filter(|_| restarts_something(step)));
        waits.extend(wait.map(|wait| (position, wait)));
    }
    waits
}

fn changes_packages(step: &Step) -> bool {
    step.change.effects.iter().any(|effect| matches!(effect, Effect::Package(_)))
}

fn restarts_something(step: &Step) -> bool {
    let restart = |action: &UnitAction| matches!(action, UnitAction::Restart | UnitAction::Reload);
    step.change.effects.iter().any(|effect| matches!(effect, Effect::Unit { action, .. } if restart(action)))
}

/// The problem of a step that waits because something is in the way.
pub(super) fn obstacle(step: &Step) -> Option<PlanError> {
    let wait = step.waits.as_ref().filter(|wait| wait.obstacle.is_some())?;
    let error = PlanError::new(step.resource.clone(), wait.code(), wait.what.clone(), wait.remedy());
    Some(PlanError { origin: Some(step.origin.clone()), ..error })
}
