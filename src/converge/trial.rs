//! A new commit is on trial until its health checks have succeeded and the remote was reached again; what fails is given up.
//!
//! Nobody waits: each run looks at the trial as far as it is and leaves in the status when the next one has to look. So a newer commit
//! is taken at once, and a host that dies in between goes on where it was.
//!
//! **Invariant:** a generation that may cut the host off is on record as such before its first effect, and what was good before is
//! kept until the new one is.

use std::collections::BTreeMap;

use super::term::wait_until;
use super::undone::Undone;
use super::{Run, Target, before};
use crate::apply::{Outcome, StepOutcome};
use crate::config::{Guarding, Rollback};
use crate::error::{Code, Explain, Problem};
use crate::plan::{Plan, network};
use crate::report::EventKind;
use crate::report::status::TrialStatus;
use crate::state::{Generation, LostRemote, Pin, Standing, Trial};
use crate::system::replace::keep_link;
use crate::system::{clock, fs};

/// How many earlier generations can be returned to.
const KEPT: u32 = 10;

/// How often a change is tried again that was given up while the remote was out of reach for another reason.
pub(super) const SECOND_CHANCES: u32 = 2;

/// The code of a generation whose health checks failed.
const UNHEALTHY: &str = "E392";

/// Why a generation is given up.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// E390: the remote was not reached.
    #[error("the remote was not reached within {seconds} seconds after {revision} was applied")]
    OutOfReach {
        /// What was applied.
        revision: String,
        /// The time it had.
        seconds: u64,
    },
    /// E391: not all of it could be applied.
    #[error("not all of {revision} could be applied: {first}")]
    NotWhole {
        /// What was applied.
        revision: String,
        /// The first thing that failed.
        first: String,
    },
    /// E392: its health checks failed.
    #[error("{revision} is not healthy: {first}")]
    Unhealthy {
        /// What was applied.
        revision: String,
        /// The first check that failed.
        first: String,
    },
}

impl Explain for TrialError {
    fn code(&self) -> Code {
        Code(match self {
            TrialError::OutOfReach { .. } => "E390",
            TrialError::NotWhole { .. } => "E391",
            TrialError::Unhealthy { .. } => UNHEALTHY,
        })
    }

    fn remedy(&self) -> String {
        match self {
            TrialError::OutOfReach { .. } => {
                "correct what the change does to network, firewall, resolver or keys, and push a newer commit; `abide resume` tries this one again"
            }
            TrialError::NotWhole { .. } => {
                "correct the resource and push a newer commit; `abide resume` tries this one again"
            }
            TrialError::Unhealthy { .. } => {
                "correct what the check complains about and push a newer commit; `abide resume` tries this one again"
            }
        }
        .into()
    }
}

impl Run<'_> {
    /// What decides about giving up here.
    pub(super) fn policy(&self, target: &Target) -> Rollback {
        target.desired.rendered().rollback.over(&self.site.settings.rollback)
    }

    /// Notes, before its first effect, that a generation begins; keeps its desired state for those that come after.
    pub(super) fn open_generation(&mut self, target: &Target, plan: &Plan) -> Result<(), Problem> {
        if target.pinned || !self.request.only.is_empty() {
            return Ok(());
        }
        let guarded = match self.policy(target).remote {
            Guarding::Always => true,
            Guarding::Network => network::touched_by(plan),
            Guarding::Never => false,
        };
        let revision = target.desired.revision();
        self.state.open_generation(revision, self.request.cause, guarded, clock::now())?;
        Ok(())
    }

    /// Keeps the desired state in force under the number of its generation, and forgets those that are too old.
    pub(super) fn keep_generation(&mut self, target: &Target) -> Result<(), Problem> {
        let newest = self.state.newest_generation()?;
        let commit = &target.desired.revision().commit;
        let Some(newest) = newest.filter(|newest| newest.revision.commit == *commit && !target.pinned) else {
            return Ok(());
        };
        let (folder, desired) = (self.site.paths.generations(), self.site.paths.desired());
        let failed = |source| super::ConvergeError::Write { path: folder.clone(), source };
        let good = self.state.generations(u32::MAX)?;
        let good = good.iter().filter(|known| known.standing == Standing::Good).take(KEPT as usize);
        let mut kept: Vec<i64> = good.map(|known| known.id).chain([newest.id]).collect();
        kept.extend(self.state.pinned()?.map(|pin| pin.generation));
        let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
        let oldest = kept.iter().min().copied().unwrap_or(newest.id);
        names.extend((oldest..=newest.id).map(before::name));
        keep_link(&desired, &folder, &newest.id.to_string(), &names).map_err(failed)?;
        let path = before::file(&folder, newest.id);
        Ok(std::mem::take(&mut self.originals).save(&path, commit).map_err(failed)?)
    }

    /// Looks at how the generation in force stands, and what is to follow from what this run did and found.
    pub(super) fn weigh(
        &mut self,
        target: &Target,
        plan: &Plan,
        outcome: &Outcome,
        undone: &Undone,
    ) -> Result<(), Problem> {
        if !self.request.only.is_empty() {
            return Ok(());
        }
        if !self.is_suspended() {
            self.let_time_go_on()?;
            self.weigh_now(target, plan, outcome, undone)?;
        }
        match self.recorder.status.suspended.is_some() {
            true => self.stop_time(),
            false => Ok(()),
        }
    }

    fn weigh_now(
        &mut self,
        target: &Target,
        plan: &Plan,
        outcome: &Outcome,
        undone: &Undone,
    ) -> Result<(), Problem> {
        if target.pinned {
            return self.weigh_pin(undone);
        }
        let commit = &target.desired.revision().commit;
        // What waits is left on purpose, and may be for long.
        let whole = undone.only_waits();
        let Some(generation) =
            self.state.newest_generation()?.filter(|known| known.revision.commit == *commit)
        else {
            return self.adopt_generation(target, whole);
        };
        if outcome.run.is_some() && generation.standing != Standing::Good {
            let took = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.state.count_generation(generation.id, outcome.counts(), took)?;
        }
        match generation.standing {
            Standing::Good | Standing::RolledBack => Ok(()),
            Standing::Passed => match generation.reason.clone() {
                Some(reason) if reason.code == UNHEALTHY => {
                    self.weigh_sick(target, outcome, &generation, reason)
                }
                reason => {
                    reason.into_iter().for_each(|reason| self.recorder.keep(reason));
                    Ok(())
                }
            },
            Standing::Applying if !whole => self.weigh_failure(target, plan, outcome, &generation),
            Standing::Applying => {
                let trial = self.begin_trial(target, &generation)?;
                self.judge_trial(target, &generation, trial)
            }
            Standing::Trial => match self.state.trial()? {
                Some(trial) => self.judge_trial(target, &generation, trial),
                None => self.pass(target, &generation),
            },
        }
    }

    /// A host of an earlier version of abide has a state in force and no generation: what was applied whole was good.
    fn adopt_generation(&mut self, target: &Target, whole: bool) -> Result<(), Problem> {
        if !whole || self.state.newest_generation()?.is_some() {
            return Ok(());
        }
        let cause = self.request.cause;
        let id = self.state.open_generation(target.desired.revision(), cause, false, clock::now())?;
        let Some(generation) = self.state.generation(id)? else { return Ok(()) };
        self.keep_generation(target)?;
        self.pass(target, &generation)
    }

    fn weigh_failure(
        &mut self,
        target: &Target,
        plan: &Plan,
        outcome: &Outcome,
        generation: &Generation,
    ) -> Result<(), Problem> {
        if !self.policy(target).apply {
            return Ok(());
        }
        let steps = outcome.steps.iter().filter(|step| step.outcome == StepOutcome::Failed);
        let planned = plan.problems.iter().chain(&plan.prune_refused).cloned().map(Problem::from);
        let step = |step: &crate::apply::StepResult| {
            let what = step.problem.as_ref().map_or("failed".into(), |problem| problem.what.clone());
            format!("{}: {what}", step.resource)
        };
        let first = steps.map(step).chain(planned.map(|problem| problem.what)).next();
        let first = first.or_else(|| outcome.problems.first().map(|problem| problem.what.clone()));
        // What only waits has not failed.
        let Some(first) = first else { return Ok(()) };
        let error = TrialError::NotWhole { revision: target.desired.revision().to_string(), first };
        self.give_up(generation, error.into(), None)
    }

    fn begin_trial(&mut self, target: &Target, generation: &Generation) -> Result<Trial, Problem> {
        let policy = self.policy(target);
        let trial = Trial {
            generation: generation.id,
            begun: clock::now(),
            term: self.begin_term(),
            reach: generation.guarded.then_some(policy.remote_within.seconds),
            health: BTreeMap::new(),
        };
        if trial.reach.is_some() || !target.desired.rendered().health.is_empty() {
            self.state.try_generation(&trial)?;
            let message = format!("{} is on trial", target.desired.revision());
            self.recorder.tell(EventKind::GenerationTried, message, clock::now());
        }
        Ok(trial)
    }

    fn judge_trial(
        &mut self,
        target: &Target,
        generation: &Generation,
        mut trial: Trial,
    ) -> Result<(), Problem> {
        let before = trial.clone();
        if self.renew(&mut trial.term) {
            (trial.begun, trial.health) = (clock::now(), BTreeMap::new());
        }
        let elapsed = trial.term.elapsed(clock::since_boot());
        let mut status = TrialStatus { generation: trial.generation, ..TrialStatus::default() };
        if let Some(within) = trial.reach {
            if trial.term.is_proven_by(self.poll().as_ref()) {
                trial.reach = None;
            } else if elapsed.as_secs() > within {
                return self.lose_remote(target, generation, within);
            } else {
                status.poll = true;
                status.waiting.push("the remote to be reached again".into());
                wait_until(&mut status, within.saturating_sub(elapsed.as_secs()) + 1);
            }
        }
        let Some(failed) = self.judge_health(target, &mut trial, &mut status)? else { return Ok(()) };
        if let Some((first, others)) = failed.split_first() {
            let revision = target.desired.revision().to_string();
            let mut problem = Problem::from(TrialError::Unhealthy { revision, first: first.clone() });
            problem.why.extend_from_slice(others);
            return match self.policy(target).health {
                true => self.give_up(generation, problem, None),
                false => self.stay(generation, problem),
            };
        }
        if status.waiting.is_empty() {
            return self.pass(target, generation);
        }
        if trial != before {
            self.state.try_generation(&trial)?;
        }
        self.recorder.status.trial = Some(status);
        Ok(())
    }

    pub(super) fn pass(&mut self, target: &Target, generation: &Generation) -> Result<(), Problem> {
        let versions = self.package_versions(target);
        self.state.approve_generation(generation.id, &versions)?;
        if generation.standing == Standing::Trial {
            let message = format!("{} is good: generation {}", target.desired.revision(), generation.id);
            self.recorder.tell(EventKind::GenerationGood, message, clock::now());
        }
        Ok(())
    }

    /// Versions of the declared packages as they are now; none where the host does not tell.
    fn package_versions(&mut self, target: &Target) -> BTreeMap<String, String> {
        let resources = &target.desired.rendered().resources;
        let names = resources.iter().filter(|declared| declared.id.kind == "package");
        let needs = crate::system::observe::Needs {
            packages: names.map(|declared| declared.id.name.clone()).collect(),
            ..Default::default()
        };
        if needs.packages.is_empty() {
            return BTreeMap::new();
        }
        let observed = self.host.observe(&needs, &mut self.fingerprints, fs::Rehash::Never);
        let packages = observed.map(|observed| observed.packages).unwrap_or_default();
        packages.into_iter().filter_map(|(name, state)| Some((name, state.installed?))).collect()
    }

    fn lose_remote(&mut self, target: &Target, generation: &Generation, within: u64) -> Result<(), Problem> {
        let revision = target.desired.revision();
        let error = TrialError::OutOfReach { revision: revision.to_string(), seconds: within };
        let times = self.state.forgiven(&revision.commit)?;
        let lost = LostRemote { term: self.begin_term(), within, times };
        self.give_up(generation, error.into(), Some(lost))
    }

    /// Returns to the generation that was good before, or says that there is none.
    fn give_up(
        &mut self,
        generation: &Generation,
        reason: Problem,
        lost_remote: Option<LostRemote>,
    ) -> Result<(), Problem> {
        let now = clock::now();
        let mark = self.state.high_water()?.map(|mark| mark.commit);
        let from = mark.unwrap_or_else(|| generation.revision.commit.clone());
        let Some(good) = self.state.good_before(generation.id)? else {
            let mut reason = reason;
            reason.why.push("no earlier commit was good on this host: there is nothing to return to".into());
            return self.stay(generation, reason);
        };
        let Problem { code, what, .. } = &reason;
        let message =
            format!("[{code}] {what}: the host returns to generation {}, {}", good.id, good.revision);
        let pin = Pin {
            generation: good.id,
            commit: good.revision.commit.clone(),
            from,
            reason,
            by: String::new(),
            since: now,
            whole: false,
            lost_remote,
        };
        self.state.pin(Some(generation.id), &pin)?;
        self.recorder.tell(EventKind::RolledBack, message, now);
        self.again = true;
        Ok(())
    }
}

impl Run<'_> {
    /// A generation that failed its trial stays in force.
    fn stay(&mut self, generation: &Generation, reason: Problem) -> Result<(), Problem> {
        self.state.fail_trial(generation.id, &reason)?;
        self.recorder.tell_problem(EventKind::TrialFailed, &reason, clock::now());
        self.recorder.keep(reason);
        Ok(())
    }
}
