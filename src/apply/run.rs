//! One plan from its first effect to its last.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::effector::UnitChange;
use super::files::{self, Results};
use super::intents::{is_absent, look, undertaken};
use super::schedule::{Class, Place, Schedule, name, path};
use super::{ApplyError, Contents, Effector, Outcome, StepOutcome, StepResult, in_words, units};
use crate::error::{Code, Explain, Problem, escaped};
use crate::failpoint::reach;
use crate::plan::{Effect, PackageAction, PackageOptions, Plan, Step};
use crate::progress::{Progress, Tell};
use crate::resource::{Declared, ResourceId};
use crate::state::{Finished, Notification, Owed, RunResult, RunStart, State, StepRecord};

/// Executes a plan, then delivers what is owed from earlier runs. With nothing to do and nothing owed it writes nothing and
/// returns an outcome without a run. `desired` is where the steps' declarations are.
///
/// # Errors
/// The journal could not be kept. A step that fails is in the outcome.
pub fn run<E: Effector>(
    plan: &Plan,
    desired: &[Declared],
    start: &RunStart,
    effector: &mut E,
    state: &mut State,
    contents: &dyn Contents,
    progress: &mut Tell<'_>,
) -> Result<Outcome, ApplyError> {
    let steps = plan.steps.as_slice();
    let owed = state.owed()?;
    // What is owed to those who wait is not due yet.
    let waits = |owed: &Owed| steps.iter().any(|step| step.waits.is_some() && step.resource == owed.resource);
    if steps.iter().all(Step::is_left) && owed.iter().all(waits) {
        let steps = steps.iter().map(|step| result(step, left(step))).collect();
        return Ok(Outcome { steps, ..Outcome::default() });
    }
    let number = state.begin(start)?;
    reach("run opened");
    let reload_due = owed.iter().any(|owed| owed.notification == Notification::DaemonReload);
    let mut work = Work {
        number,
        plan,
        steps,
        schedule: Schedule::new(steps),
        declared: desired.iter().map(|declared| (&declared.id, declared)).collect(),
        results: steps.iter().map(|step| result(step, StepOutcome::Done)).collect(),
        fingerprints: vec![(String::new(), String::new()); steps.len()],
        touched: vec![false; steps.len()],
        reload_due,
        effector,
        state,
        contents,
        progress,
        problems: Vec::new(),
    };
    work.execute()?;
    work.pay_owed()?;
    work.finish()
}

/// The outcome of a step that is not taken.
fn left(step: &Step) -> StepOutcome {
    if step.waits.is_some() { StepOutcome::Waiting } else { StepOutcome::Reported }
}

fn result(step: &Step, outcome: StepOutcome) -> StepResult {
    StepResult { resource: step.resource.clone(), outcome, problem: None, took: 0 }
}

pub(super) struct Work<'a, E> {
    /// The run's number.
    pub(super) number: i64,
    pub(super) plan: &'a Plan,
    pub(super) steps: &'a [Step],
    pub(super) schedule: Schedule<'a>,
    /// What the branch declares, by name.
    pub(super) declared: HashMap<&'a ResourceId, &'a Declared>,
    pub(super) results: Vec<StepResult>,
    /// Of the first path of each step, before and after.
    pub(super) fingerprints: Vec<(String, String)>,
    /// Whether an effect of the step took place.
    pub(super) touched: Vec<bool>,
    /// systemd has to read its unit files again before it is asked for anything.
    pub(super) reload_due: bool,
    pub(super) effector: &'a mut E,
    pub(super) state: &'a mut State,
    pub(super) contents: &'a dyn Contents,
    pub(super) progress: &'a mut Tell<'a>,
    pub(super) problems: Vec<Problem>,
}

impl<E: Effector> Work<'_, E> {
    fn execute(&mut self) -> Result<(), ApplyError> {
        let mut finished = Finished::default();
        for position in 0..self.steps.len() {
            if self.steps[position].is_left() {
                self.results[position].outcome = left(&self.steps[position]);
                self.over(position, &mut finished);
            }
        }
        self.end_empty(&mut finished);
        if !finished.steps.is_empty() {
            self.state.complete(self.number, &finished)?;
        }
        while let Some((class, batch)) = self.schedule.batch() {
            self.batch(class, &batch)?;
        }
        Ok(())
    }

    /// A step without effects is done when everything that it needs is.
    fn end_empty(&mut self, finished: &mut Finished) {
        for position in 0..self.steps.len() {
            let step = &self.steps[position];
            let empty = step.change.effects.is_empty() && !self.schedule.is_over(position);
            if empty && step.needs.iter().all(|need| self.schedule.is_over(*need)) {
                self.over(position, finished);
            }
        }
    }

    /// One batch: intents, effects, results.
    fn batch(&mut self, class: Class, batch: &[Place]) -> Result<(), ApplyError> {
        (self.progress)(Progress::Doing(&describe(class, batch, self.steps)));
        let begun = self.effector.clock();
        let intents = self.intents(batch);
        let now = self.effector.now();
        let owed = self.owed_because_of(batch, now);
        let undertaken = undertaken(self.steps, &self.declared, batch);
        self.state.intend(self.number, &intents, &undertaken, &owed, now)?;
        reach("intents written");
        let mut finished = Finished::default();
        let results = match class {
            Class::Files => files::execute(self.effector, self.steps, batch, self.contents),
            Class::Packages => self.packages(batch),
            Class::Units => self.units(batch, &mut finished),
            Class::Single => batch.iter().map(|place| Some(self.single(*place))).collect(),
        };
        reach("effects took place");
        let took = self.effector.clock().saturating_sub(begun);
        self.note(batch, results, took, &mut finished);
        self.skip_dependants(&mut finished);
        self.demand_answers(batch, &mut finished);
        self.end_empty(&mut finished);
        self.state.complete(self.number, &finished)?;
        reach("results written");
        if batch.iter().any(|place| matches!(self.effect(*place), Effect::Run(_)))
            && let Err(problem) = self.effector.forget_command()
        {
            self.problems.push(problem);
        }
        Ok(())
    }

    pub(super) fn effect(&self, (step, effect): Place) -> &Effect {
        &self.steps[step].change.effects[effect]
    }

    /// One transaction for each set of options, in the order in which the sets come first.
    fn packages(&mut self, batch: &[Place]) -> Results {
        let mut groups: Vec<(&PackageOptions, Vec<usize>)> = Vec::new();
        for (index, (step, effect)) in batch.iter().enumerate() {
            if let Effect::Package(action) = &self.steps[*step].change.effects[*effect] {
                match groups.iter_mut().find(|(options, _)| **options == action.options) {
                    Some((_, members)) => members.push(index),
                    None => groups.push((&action.options, vec![index])),
                }
            }
        }
        let mut results: Results = batch.iter().map(|_| None).collect();
        let mut failed: BTreeSet<usize> = BTreeSet::new();
        for (_, mut members) in groups {
            members.retain(|index| {
                let step = batch[*index].0;
                !failed.contains(&step) && !self.steps[step].needs.iter().any(|need| failed.contains(need))
            });
            let action = |index: &usize| match self.effect(batch[*index]) {
                Effect::Package(action) => Some(action.clone()),
                _ => None,
            };
            let actions: Vec<PackageAction> = members.iter().filter_map(action).collect();
            if actions.is_empty() {
                continue;
            }
            let answers = self.effector.packages(&actions, &mut *self.progress);
            for (index, answer) in members.into_iter().zip(answers) {
                if answer.is_err() {
                    failed.insert(batch[index].0);
                }
                results[index] = Some(answer);
            }
        }
        results
    }

    /// systemd reads its files first where that is due; then every unit gets one job.
    fn units(&mut self, batch: &[Place], finished: &mut Finished) -> Results {
        if self.reload_due
            && let Err(problem) = self.daemon_reload(finished)
        {
            return batch.iter().map(|_| Some(Err(problem.clone()))).collect();
        }
        reach("systemd reloaded");
        let mut members = Vec::new();
        let mut changes = Vec::new();
        for (index, place) in batch.iter().enumerate() {
            if let Effect::Unit { unit, action, timeout } = self.effect(*place) {
                members.push(index);
                changes.push(UnitChange { unit: unit.clone(), action: *action, timeout: *timeout });
            }
        }
        let (kept, stands_for) = units::coalesce(&changes);
        let answers = if kept.is_empty() { Vec::new() } else { self.effector.units(&kept) };
        for (change, _) in kept.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()) {
            finished.paid.extend(units::pays(change));
        }
        let mut results: Results = batch.iter().map(|_| Some(Ok(()))).collect();
        for (index, position) in members.into_iter().zip(stands_for) {
            results[index] = answers.get(position).cloned();
        }
        results
    }

    pub(super) fn daemon_reload(&mut self, finished: &mut Finished) -> Result<(), Problem> {
        self.effector.daemon_reload()?;
        self.reload_due = false;
        finished.paid.push(Notification::DaemonReload);
        Ok(())
    }

    fn single(&mut self, (step, effect): Place) -> Result<(), Problem> {
        match &self.steps[step].change.effects[effect] {
            Effect::User(action) => self.effector.user(action),
            Effect::Group(action) => self.effector.group(action),
            Effect::Run(run) => self.effector.run(run, &ticket(self.number, number(step), number(effect))),
            _ => Ok(()),
        }
    }

    /// Notes what became of a batch, and which steps are over with it.
    fn note(&mut self, batch: &[Place], results: Results, took: Duration, finished: &mut Finished) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        for (place, answer) in batch.iter().zip(results) {
            let (step, effect) = *place;
            finished.effects.push((number(step), number(effect), matches!(answer, Some(Ok(())))));
            if self.schedule.is_over(step) {
                continue;
            }
            if self.results[step].took < took {
                self.results[step].took = took;
            }
            match answer {
                Some(Ok(())) => {
                    self.touched[step] = true;
                    self.reload_due |= units::needs_reload(self.effect(*place));
                    self.schedule.advance(*place);
                    if self.schedule.is_over(step) {
                        self.over(step, finished);
                    }
                }
                Some(Err(problem)) => self.fail(step, problem, finished),
                // Not tried: its own step failed, which is noted with the effect that failed, or one that it needs.
                None => {}
            }
        }
    }

    /// Ends steps of a batch that neither advanced nor failed, which would be tried for ever.
    fn demand_answers(&mut self, batch: &[Place], finished: &mut Finished) {
        for place in batch {
            if !self.schedule.is_over(place.0) && !self.schedule.is_past(*place) {
                let problem = Problem::from(NoAnswer { effect: name(self.effect(*place)).0 });
                self.fail(place.0, problem, finished);
            }
        }
        self.skip_dependants(finished);
    }

    fn fail(&mut self, step: usize, problem: Problem, finished: &mut Finished) {
        self.results[step].outcome = StepOutcome::Failed;
        self.results[step].problem =
            Some(if self.steps[step].sensitive { without_details(problem) } else { problem });
        self.over(step, finished);
    }

    /// Skips every step that needs one which failed or was skipped.
    fn skip_dependants(&mut self, finished: &mut Finished) {
        for position in 0..self.steps.len() {
            if self.schedule.is_over(position) {
                continue;
            }
            let because =
                self.steps[position].needs.iter().find_map(|need| match &self.results[*need].outcome {
                    StepOutcome::Failed => Some(self.steps[*need].resource.clone()),
                    StepOutcome::Skipped { because } => Some(because.clone()),
                    _ => None,
                });
            if let Some(because) = because {
                self.results[position].outcome = StepOutcome::Skipped { because };
                self.over(position, finished);
            }
        }
    }

    /// Whether a package that was to be made and failed is there all the same: a transaction can fail when it has unpacked already.
    fn left_something(&mut self, position: usize) -> bool {
        let step = &self.steps[position];
        let failed = self.results[position].outcome == StepOutcome::Failed;
        match step.change.effects.first() {
            Some(effect @ Effect::Package(_)) if failed && step.change.creates => {
                let looks = look(self.effector, std::iter::once(name(effect)));
                looks.values().any(|words| !is_absent(words))
            }
            _ => false,
        }
    }

    /// Ends a step: its record, what it means for inventory and debts.
    fn over(&mut self, position: usize, finished: &mut Finished) {
        self.schedule.end(position);
        let untouched = !self.touched[position] && !self.left_something(position);
        let step = &self.steps[position];
        let result = &self.results[position];
        let done = result.outcome == StepOutcome::Done;
        if let Some(path) = step.change.effects.first().and_then(path).filter(|_| self.touched[position]) {
            self.fingerprints[position].1 = self.effector.fingerprint(path, false);
        }
        if untouched {
            finished.unchanged.push(step.resource.clone());
            if !done && step.change.creates {
                finished.not_created.push(step.resource.clone());
            }
        }
        if done && step.prune {
            finished.pruned.push(step.resource.clone());
        }
        if done && step.change.effects.iter().any(|effect| matches!(effect, Effect::Run(_))) {
            finished.paid.push(Notification::Refresh(step.resource.clone()));
        }
        let (before, after) = self.fingerprints[position].clone();
        finished.steps.push(StepRecord {
            run: self.number,
            position: number(position),
            resource: step.resource.clone(),
            origin: step.origin.to_string(),
            summary: step.change.summary.clone(),
            outcome: result.outcome.clone(),
            problem: result.problem.clone(),
            before,
            after,
            took: result.took,
        });
    }

    fn finish(self) -> Result<Outcome, ApplyError> {
        let owed = self.state.owed()?;
        let outcome = Outcome {
            run: Some(self.number),
            steps: self.results,
            owed: in_words(owed.iter().map(|owed| &owed.notification)),
            problems: self.problems,
        };
        let mut counts = outcome.counts();
        counts.unchanged += number(self.plan.unchanged.len());
        counts.failed += number(self.plan.problems.len());
        counts.skipped += number(self.plan.blocked.len());
        let good = counts.failed + counts.skipped == 0 && outcome.problems.is_empty();
        let result = if good { RunResult::Succeeded } else { RunResult::Failed };
        let now = self.effector.now();
        self.state.finish(self.number, now, result, counts, outcome.problems.first())?;
        reach("run closed");
        Ok(outcome)
    }
}

/// What a command is known by, whatever becomes of its run.
pub(super) fn ticket(run: i64, step: u32, effect: u32) -> String {
    format!("run {run}, step {step}.{effect}")
}

/// The host did not say what became of an effect (E401).
#[derive(Debug, thiserror::Error)]
#[error("the host gave no answer for the effect `{effect}`")]
struct NoAnswer {
    effect: &'static str,
}

impl Explain for NoAnswer {
    fn code(&self) -> Code {
        Code("E401")
    }
    fn remedy(&self) -> String {
        "the next run tries again; report this if it stays".into()
    }
}

/// Programs may print what they were given, so of a sensitive resource only the kind of problem is kept.
fn without_details(problem: Problem) -> Problem {
    Problem { why: vec!["details are not kept: the resource is sensitive".into()], excerpt: None, ..problem }
}

fn describe(class: Class, batch: &[Place], steps: &[Step]) -> String {
    let names = || {
        let mut names: Vec<&str> =
            batch.iter().map(|(step, _)| steps[*step].resource.name.as_str()).collect();
        names.dedup();
        escaped(&match names.as_slice() {
            [one] => (*one).to_owned(),
            [one, two] => format!("{one} and {two}"),
            [one, rest @ ..] => format!("{one} and {} more", rest.len()),
            [] => String::new(),
        })
    };
    match class {
        Class::Files => format!("writing {}", names()),
        Class::Packages => format!("changing packages: {}", names()),
        Class::Units => format!("telling {}", names()),
        Class::Single => format!("changing {}", names()),
    }
}

pub(super) fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
