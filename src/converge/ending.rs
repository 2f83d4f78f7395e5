//! Remember what was applied, and say how the host is.

use std::collections::HashMap;

use super::guards::obstacle;
use super::undone::Undone;
use super::{Next, Report, Run, Stored, Target};
use crate::apply::{Contents, Outcome, StepOutcome};
use crate::error::{Explain as _, Problem};
use crate::plan::Plan;
use crate::plan::diff::{self, Sides};
use crate::report::EventKind;
use crate::report::status::{Health, Sync, save};
use crate::resource::{Content, ResourceId};
use crate::state::{Counts, RunStart};
use crate::system::{clock, fs};

/// A run that corrects more than this at once is no party to a fight over one of them.
const MOST_NAMED: usize = 100;

impl Run<'_> {
    /// Ends a run that has nothing to enforce.
    pub(super) fn end_without_revision(mut self) -> Result<Report, Problem> {
        self.recorder.status.sync = Sync::Unknown;
        self.recorder.status.health = Health::Degraded;
        self.close()?;
        Ok(Report { status: self.recorder.status, ..Report::default() })
    }

    /// Ends a run.
    pub(super) fn end(mut self, target: &Target, plan: Plan, outcome: Outcome) -> Result<Report, Problem> {
        let diff = if self.request.dry_run { self.diff(&plan) } else { String::new() };
        if !self.request.dry_run {
            let undone = Undone::of(&plan, &outcome, self.request, self.site.settings.apply.prune);
            self.remember(target, &plan, &outcome, &undone)?;
            self.tell(&plan, &outcome)?;
            self.weigh(target, &plan, &outcome, &undone)?;
            self.watch_health(target, &outcome)?;
        }
        if self.overtaken {
            return self.end_overtaken(plan, outcome);
        }
        self.describe(target, &plan, &outcome);
        if !self.request.dry_run {
            self.tell_result(target, clock::now())?;
            self.compact(target);
            // Only a memory of what was read: without it the next run reads more.
            if let Err(error) = self.fingerprints.save(&self.site.paths.fingerprints()) {
                self.recorder.keep(error.into());
            }
        }
        if self.consider_reboot(target, &plan, &outcome)? {
            self.reboot()?;
        }
        self.close()?;
        if outcome.run.is_some() {
            self.keep_for_guard();
        }
        let Run { state, recorder, again, .. } = self;
        state.leave()?;
        let next = if again { Next::Turn } else { Next::End };
        Ok(Report { status: recorder.status, plan, diff, outcome, next })
    }

    /// Ends a run that another one came before: that one's status stands, and this one begins again.
    fn end_overtaken(mut self, plan: Plan, outcome: Outcome) -> Result<Report, Problem> {
        self.keep_told()?;
        self.state.leave()?;
        Ok(Report { plan, outcome, next: Next::Again, ..Report::default() })
    }

    fn describe(&mut self, target: &Target, plan: &Plan, outcome: &Outcome) {
        let done = |step: &crate::apply::StepResult| step.outcome == StepOutcome::Done;
        let status = &mut self.recorder.status;
        status.revision = Some(target.desired.revision().clone());
        status.owed.clone_from(&outcome.owed);
        status.counts.resources = match self.request.only.len() {
            0 => target.desired.rendered().resources.len(),
            some => some,
        };
        let results: HashMap<&ResourceId, &crate::apply::StepResult> =
            outcome.steps.iter().map(|result| (&result.resource, result)).collect();
        for (position, step) in plan.steps.iter().enumerate() {
            let result = results.get(&step.resource);
            let note = match result.map(|result| (&result.outcome, &result.problem)) {
                Some((StepOutcome::Done, _)) => {
                    status.counts.changed += 1;
                    if status.corrected.len() < MOST_NAMED {
                        status.corrected.push(step.resource.to_string());
                    }
                    continue;
                }
                Some((StepOutcome::Failed, problem)) => {
                    status.counts.failed += 1;
                    problem.as_ref().map_or("failed".to_owned(), |problem| problem.what.clone())
                }
                Some((StepOutcome::Skipped { because }, _)) => {
                    status.counts.skipped += 1;
                    format!("skipped, because {because} failed")
                }
                _ if step.waits.is_some() => {
                    status.counts.left += 1;
                    step.waits.as_ref().map(ToString::to_string).unwrap_or_default()
                }
                Some((StepOutcome::Reported | StepOutcome::Waiting, _)) | None => {
                    status.counts.left += 1;
                    format!("to do: {}", plan.steps[position].change.summary)
                }
            };
            status.differing.insert(step.resource.to_string(), note);
        }
        for error in &plan.problems {
            status.counts.failed += 1;
            status.differing.insert(error.resource.to_string(), error.message.clone());
        }
        for blocked in &plan.blocked {
            status.counts.skipped += 1;
            let note = format!("skipped, because {} cannot be planned", blocked.because);
            status.differing.insert(blocked.resource.to_string(), note);
        }
        let steps = outcome.steps.iter().filter(|step| !done(step)).filter_map(|step| step.problem.clone());
        let problems = steps.chain(outcome.problems.iter().cloned());
        let obstacles = plan.steps.iter().filter_map(obstacle);
        let planning =
            plan.problems.iter().chain(&plan.prune_refused).cloned().chain(obstacles).map(Problem::from);
        for problem in problems.chain(planning) {
            self.recorder.keep(problem);
        }
        let status = &mut self.recorder.status;
        // Refused or waiting: the branch is elsewhere than the host.
        let behind = status.seen.as_ref().is_some_and(|seen| *seen != target.desired.revision().commit);
        let left = !status.differing.is_empty() || plan.prune_refused.is_some();
        status.sync = match !behind && !left {
            true => Sync::Synced,
            false => Sync::OutOfSync,
        };
        let unproven = status.checks.iter().any(|check| check.state != Health::Healthy);
        status.health = match (&status.suspended, status.problems.is_empty()) {
            (_, false) => Health::Degraded,
            (Some(_), true) => Health::Suspended,
            (None, true) if status.trial.is_some() || unproven => Health::Progressing,
            (None, true) => Health::Healthy,
        };
    }

    /// Tells what was done, before anything is waited for.
    fn tell(&mut self, plan: &Plan, outcome: &Outcome) -> Result<(), Problem> {
        let now = clock::now();
        if let Some(run) = outcome.run {
            self.recorder.within(run);
            self.recorder.conclude();
        }
        let summaries: HashMap<&ResourceId, &str> =
            plan.steps.iter().map(|step| (&step.resource, step.change.summary.as_str())).collect();
        for result in &outcome.steps {
            let summary = summaries.get(&result.resource).copied().unwrap_or_default().to_owned();
            let id = &result.resource;
            let subject = format!("resource {id}");
            match &result.outcome {
                StepOutcome::Done => {
                    self.news(&subject, "")?;
                    self.recorder.tell_resource(
                        EventKind::ResourceChanged,
                        id,
                        &summary,
                        format!("{id}: {summary}"),
                        now,
                    );
                }
                StepOutcome::Failed => {
                    let what = result.problem.as_ref().map_or("failed".to_owned(), ToString::to_string);
                    if self.news(&subject, &what)? {
                        self.recorder.tell_resource(
                            EventKind::ResourceFailed,
                            id,
                            &summary,
                            format!("{id}: {what}"),
                            now,
                        );
                    }
                }
                // The agent tells of a fight itself.
                StepOutcome::Reported if self.request.left.contains(id) => {}
                StepOutcome::Reported => {
                    if self.news(&subject, &summary)? {
                        let message = format!("{id} differs and is left: {summary}");
                        self.recorder.tell_resource(EventKind::ResourceDrifted, id, &summary, message, now);
                    }
                }
                StepOutcome::Waiting => self.tell_waiting(plan, id, &summary, now)?,
                StepOutcome::Skipped { .. } => {}
            }
        }
        if let Some(refused) = plan.prune_refused.clone() {
            let problem = Problem::from(refused);
            if self.news("prune", &problem.what)? {
                self.recorder.tell_problem(EventKind::PruneRefused, &problem, now);
            }
        }
        Ok(())
    }

    fn tell_waiting(&mut self, plan: &Plan, id: &ResourceId, summary: &str, now: i64) -> Result<(), Problem> {
        let step = plan.steps.iter().find(|step| step.resource == *id);
        let Some(wait) = step.and_then(|step| step.waits.as_ref()) else { return Ok(()) };
        // Who is in the way may change from run to run; that somebody is, is told once.
        if self.news(&format!("resource {id}"), wait.code().0)? {
            self.recorder.tell_resource(EventKind::ResourceWaits, id, summary, format!("{id}: {wait}"), now);
        }
        Ok(())
    }

    fn tell_result(&mut self, target: &Target, now: i64) -> Result<(), Problem> {
        let counts = self.recorder.status.counts;
        let revision = target.desired.revision();
        let sync = self.recorder.status.sync;
        let text = format!(
            "{sync:?} at {revision}: {} resources, {} changed, {} failed, {} skipped",
            counts.resources, counts.changed, counts.failed, counts.skipped
        );
        let failed = counts.failed + counts.skipped > 0;
        let state = format!("{} {failed} {sync:?}", revision.commit);
        let news = self.news("run", &state)?;
        if news || counts.changed > 0 {
            let kind = if failed { EventKind::RunFailed } else { EventKind::RunFinished };
            self.recorder.tell(kind, text, now);
        }
        Ok(())
    }

    /// Brings inventory and applied revision up to date. Nothing is written when nothing is new.
    fn remember(
        &mut self,
        target: &Target,
        plan: &Plan,
        outcome: &Outcome,
        undone: &Undone,
    ) -> Result<(), Problem> {
        if self.is_suspended() {
            return Ok(());
        }
        let settled = self.state.settled()?.is_some_and(|settled| settled == target.key.digest());
        if settled && outcome.steps.is_empty() {
            return Ok(());
        }
        let revision = target.desired.revision();
        let done = outcome.steps.iter().filter(|step| step.outcome == StepOutcome::Done);
        let changed = done.map(|step| step.resource.clone()).collect();
        let now = clock::now();
        let resources = &target.desired.rendered().resources;
        self.state.record(resources, revision, &changed, &undone.resources(), now)?;
        self.state.release(&plan.released)?;
        self.state.forget_conditions(resources)?;
        if undone.nothing() {
            self.note_applied(target, outcome, now)?;
        }
        Ok(())
    }

    fn note_applied(&mut self, target: &Target, outcome: &Outcome, now: i64) -> Result<(), Problem> {
        let revision = target.desired.revision();
        if self.state.applied()?.as_ref() != Some(revision) {
            self.state.set_applied(revision)?;
            if outcome.steps.is_empty() {
                let start =
                    RunStart { cause: self.request.cause, revision: Some(revision.clone()), started: now };
                let unchanged = u32::try_from(target.desired.rendered().resources.len()).unwrap_or(u32::MAX);
                self.state.add_run(&start, now, Counts { unchanged, ..Counts::default() }, None)?;
            }
        }
        Ok(self.state.set_settled(&target.key.digest())?)
    }

    /// Keeps the object store small: every poll that brings something adds a pack. Without a store nothing was added.
    fn compact(&mut self, target: &Target) {
        let introduction = self.site.root.as_ref().map(|root| root.introduction.commit.clone());
        let mark = self.state.high_water().ok().flatten().map(|mark| mark.commit);
        let applied = target.desired.revision().commit.clone();
        let roots: Vec<gix::ObjectId> = [introduction, mark, Some(applied)]
            .into_iter()
            .flatten()
            .filter_map(|commit| gix::ObjectId::from_hex(commit.as_bytes()).ok())
            .collect();
        if let Some(store) = &mut self.store
            && let Err(error) = store.compact(&roots)
        {
            self.recorder.keep(Problem::from(error));
        }
    }

    /// Writes what was told so far. A dry run tells nothing.
    pub(super) fn keep_told(&mut self) -> Result<(), Problem> {
        if !self.request.dry_run {
            self.state.tell(&self.recorder.take())?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let took = self.started.elapsed();
        self.keep_told()?;
        self.remember_time()?;
        if !self.request.dry_run {
            self.state.keep_copy()?;
        }
        let status = self.recorder.finish(clock::now(), took);
        if !self.request.dry_run && self.request.only.is_empty() {
            save(&self.site.paths.status(), status)
                .map_err(|source| super::ConvergeError::Write { path: self.site.paths.status(), source })?;
        }
        Ok(())
    }

    fn diff(&mut self, plan: &Plan) -> String {
        // Without a store inline content is still shown.
        let _ = self.store();
        let sides = HostSides { contents: Stored { store: self.store.as_ref() } };
        plan.steps.iter().map(|step| diff::render(step, &sides)).collect()
    }
}

struct HostSides<'a> {
    contents: Stored<'a>,
}

impl Sides for HostSides<'_> {
    fn before(&self, path: &std::path::Path) -> Option<Vec<u8>> {
        fs::read(path).ok().flatten()
    }

    fn after(&self, content: &Content) -> Option<Vec<u8>> {
        self.contents.bytes(content).ok()
    }
}
