//! Health checks: they decide about a commit on trial, and are looked at afterwards, where a failure is reported and nothing else.

mod judge;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Run, Target};
use crate::apply::Outcome;
use crate::error::{Code, Explain, Problem};
use crate::manifest::health::{Health as Check, milliseconds};
use crate::plan::law::Law;
use crate::report::EventKind;
use crate::report::status::{CheckStatus, Health, TrialStatus};
use crate::state::{Cause, Generation, Standing, Trial, Watch, Watches};
use crate::system::probe::{self, Finding, Look, Probe};
use crate::system::{clock, own_program};
use judge::{Moment, Verdict};

/// After abide changed something outside of a full run, health is looked at this many seconds later.
const AFTERWARDS: i64 = 2;

/// What is said of a health check of the commit in force.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// E850: a health check fails.
    #[error("the health check `{name}` fails: {reason}")]
    Failing {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
        /// Where it was declared.
        place: String,
    },
    /// E851: a health check cannot be looked at.
    #[error("the health check `{name}` cannot be looked at: {reason}")]
    Blind {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
        /// Where it was declared.
        place: String,
    },
}

impl Explain for HealthError {
    fn code(&self) -> Code {
        Code(match self {
            HealthError::Failing { .. } => "E850",
            HealthError::Blind { .. } => "E851",
        })
    }

    fn remedy(&self) -> String {
        match self {
            HealthError::Failing { .. } => {
                "repair what it looks at; abide looks again by itself, at the latest after a minute".into()
            }
            HealthError::Blind { .. } => {
                "correct the check, or what keeps abide from looking; it looks again by itself".into()
            }
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            HealthError::Failing { place, .. } | HealthError::Blind { place, .. } => Some(place.clone()),
        }
    }
}

impl Run<'_> {
    /// Judges the health checks of a generation on trial; what is waited for goes into `status`. The reasons to give it up; `None`: another run
    /// came before.
    pub(super) fn judge_health(
        &mut self,
        target: &Target,
        trial: &mut Trial,
        status: &mut TrialStatus,
    ) -> Result<Option<Vec<String>>, Problem> {
        let checks = &target.desired.rendered().health;
        if checks.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let moment = Moment { at: clock::since_boot(), now: clock::now() };
        let due = |check: &Check, watch: Option<&Watch>| {
            // Time goes on while a run starts: half an interval is enough.
            let looked = watch.and_then(|watch| watch.looked);
            looked.is_none_or(|looked| moment.at - looked >= milliseconds(check.interval) / 2)
        };
        let asked: Vec<&Check> =
            checks.iter().filter(|check| due(check, trial.health.get(&check.name))).collect();
        let Some(looks) = self.look(&asked)? else { return Ok(None) };
        let mut failed = Vec::new();
        for (check, look) in asked.iter().zip(&looks) {
            let watch = trial.health.entry(check.name.clone()).or_insert_with(|| Watch::new(moment.now));
            if judge::on_trial(check, watch, look, moment, trial.term.uptime) == Verdict::Failed {
                failed.push(format!("the health check `{}` fails: {}", check.name, watch.error));
            }
        }
        trial.health.retain(|name, _| checks.iter().any(|check| check.name == *name));
        for check in checks {
            if let Some(watch) = trial.health.get(&check.name) {
                await_check(check, watch, trial.term.uptime, moment, status);
            }
        }
        self.show(checks, &trial.health);
        if !failed.is_empty() || trial.health.values().all(|watch| watch.state == Health::Healthy) {
            self.keep_watches(&Watches {
                boot: trial.term.boot.clone(),
                changed: trial.term.uptime,
                checks: trial.health.iter().map(|(name, watch)| (name.clone(), settled(watch))).collect(),
            })?;
        }
        Ok(Some(failed))
    }

    /// Looks at the health checks of what is in force, unless its trial did so in this run.
    pub(super) fn watch_health(&mut self, target: &Target, outcome: &Outcome) -> Result<(), Problem> {
        let checks = &target.desired.rendered().health;
        if checks.is_empty() {
            let known = !target.known && self.state.watches()?.is_some();
            return if known { Ok(self.state.set_watches(None)?) } else { Ok(()) };
        }
        let judged = !self.recorder.status.checks.is_empty();
        let on_trial = judged && self.recorder.status.trial.is_some();
        if on_trial || !self.request.only.is_empty() || self.again || self.overtaken {
            return Ok(());
        }
        let moment = Moment { at: clock::since_boot(), now: clock::now() };
        let mut watches = self.known_watches(target, moment, judged)?;
        let acted = outcome.run.is_some() && !judged;
        if acted {
            watches.changed = moment.at;
        }
        // Healing is not to wait for answers.
        let looks = self.request.cause != Cause::Drift && !judged;
        if looks {
            let asked: Vec<&Check> = checks.iter().collect();
            let Some(looks) = self.look(&asked)? else { return Ok(()) };
            for (check, look) in checks.iter().zip(&looks) {
                self.judge_one(check, look, &mut watches, moment);
            }
        }
        let afterwards = (acted && !looks).then_some(moment.now + AFTERWARDS);
        let mut next = afterwards.or(self.recorder.status.look);
        for (check, watch) in
            checks.iter().filter_map(|check| Some((check, watches.checks.get(&check.name)?)))
        {
            let again = judge::again(check, watch, moment.at);
            // To the second, and not earlier.
            let again = again.map(|pause| moment.now + pause.saturating_add(999) / 1000);
            next = [next, again].into_iter().flatten().min();
            // A trial says itself what it failed by.
            if is_failing(watch.state) && !judged {
                self.recorder.keep(problem(check, watch));
            }
        }
        self.recorder.status.look = next;
        self.show(checks, &watches.checks);
        self.keep_watches(&watches)
    }

    /// Whether everything that was looked at in this run is good.
    pub(super) fn is_healthy(&self) -> bool {
        self.recorder.status.checks.iter().all(|check| check.state == Health::Healthy)
    }

    /// What follows for a generation that failed its trial by its health and stayed in force: it is good as soon as its checks are.
    pub(super) fn weigh_sick(
        &mut self,
        target: &Target,
        outcome: &Outcome,
        generation: &Generation,
        reason: Problem,
    ) -> Result<(), Problem> {
        self.watch_health(target, outcome)?;
        if self.overtaken {
            return Ok(());
        }
        if !self.is_healthy() {
            self.recorder.keep(reason);
            return Ok(());
        }
        self.pass(target, &Generation { standing: Standing::Trial, ..generation.clone() })
    }

    fn known_watches(&self, target: &Target, moment: Moment, judged: bool) -> Result<Watches, Problem> {
        let boot = clock::boot();
        let known = self.state.watches()?.filter(|_| target.known || judged).unwrap_or_default();
        let mut watches = match known.boot == boot {
            true => known,
            false => Watches { boot, changed: 0, checks: known.checks.into_iter().map(reborn).collect() },
        };
        let checks = &target.desired.rendered().health;
        watches.checks.retain(|name, _| checks.iter().any(|check| check.name == *name));
        for check in checks {
            watches.checks.entry(check.name.clone()).or_insert_with(|| Watch::new(moment.now));
        }
        Ok(watches)
    }

    fn judge_one(&mut self, check: &Check, look: &Look, watches: &mut Watches, moment: Moment) {
        let calm = moment.at.saturating_sub(watches.changed) > check.grace();
        let Some(watch) = watches.checks.get_mut(&check.name) else { return };
        let before = watch.state;
        judge::in_force(check, watch, look, moment, calm);
        match (is_failing(before), watch.state) {
            (false, state) if is_failing(state) => {
                self.recorder.tell_problem(EventKind::HealthFailed, &problem(check, watch), moment.now);
            }
            (true, Health::Healthy) => {
                let message = format!("the health check `{}` is good again", check.name);
                self.recorder.tell(EventKind::HealthRestored, message, moment.now);
            }
            _ => {}
        }
    }

    /// Looks at these, in this order, and lets other runs go on meanwhile where that may take its time. `None`: one of them changed the
    /// state, so that what was found is about a host that this run does not know.
    fn look(&mut self, checks: &[&Check]) -> Result<Option<Vec<Look>>, Problem> {
        if !checks.iter().any(|check| check.probe.waits()) {
            return Ok(Some(self.look_now(checks)));
        }
        // What was told so far outlives a death while it waits.
        self.keep_told()?;
        let known = self.state.changes_of_others()?;
        if self.yields {
            self.lock = None;
        }
        let looking = self.site.lock_looking()?;
        let looks = self.look_now(checks);
        drop(looking);
        if self.lock.is_none() {
            self.lock = Some(self.site.lock(&mut |_| {})?);
        }
        self.overtaken = self.state.changes_of_others()? != known;
        Ok(Some(looks).filter(|_| !self.overtaken))
    }

    /// What the law of the host forbids is not run.
    fn look_now(&mut self, checks: &[&Check]) -> Vec<Look> {
        let mut looks = vec![Look::default(); checks.len()];
        let law = &self.site.settings.law;
        let law = (!law.is_empty()).then(|| Law::of_host(&self.site.paths, law));
        let mut allowed = Vec::new();
        for (place, check) in checks.iter().enumerate() {
            let forbidden = match (&check.probe, &law) {
                (Probe::Command { argv, .. }, Some(law)) => law.allows_check(&check.name, argv).err(),
                _ => None,
            };
            match forbidden {
                Some(error) => looks[place] = Look::not(Finding::Blind, error.message),
                None => allowed.push((place, &check.probe, Duration::from_secs(check.timeout))),
            }
        }
        let asked: Vec<(&Probe, Duration)> =
            allowed.iter().map(|(_, probe, limit)| (*probe, *limit)).collect();
        let found = probe::look(&mut self.host, &own_program(), &asked);
        for ((place, ..), look) in allowed.iter().zip(found) {
            looks[*place] = look;
        }
        looks
    }

    fn show(&mut self, checks: &[Check], watches: &BTreeMap<String, Watch>) {
        let status = |check: &Check| {
            let watch = watches.get(&check.name)?;
            Some(CheckStatus {
                name: check.name.clone(),
                role: check.origin.role.clone(),
                looks_at: check.probe.to_string(),
                resources: check.resources.iter().map(ToString::to_string).collect(),
                state: watch.state,
                since: watch.since,
                error: watch.error.clone(),
            })
        };
        self.recorder.status.checks = checks.iter().filter_map(status).collect();
    }

    /// Nothing is written where nothing is new.
    fn keep_watches(&mut self, watches: &Watches) -> Result<(), Problem> {
        if self.state.watches()?.as_ref() != Some(watches) {
            self.state.set_watches(Some(watches))?;
        }
        Ok(())
    }
}

/// Notes what a trial still waits for because of one check, until when at the latest, and when it is to be looked at again.
fn await_check(check: &Check, watch: &Watch, begun: i64, moment: Moment, status: &mut TrialStatus) {
    if watch.state == Health::Healthy {
        return;
    }
    let (words, end) = match watch.good {
        Some(good) => ("to stay good".to_owned(), good.saturating_add(milliseconds(check.stable_for))),
        None => (format!("to be good ({})", watch.error), begun.saturating_add(check.grace())),
    };
    status.waiting.push(format!("the health check `{}` {words}", check.name));
    let seconds = end.saturating_sub(moment.at).max(0).saturating_add(999) / 1000;
    status.until = status.until.max(moment.now.saturating_add(seconds));
    let look = moment.now.saturating_add_unsigned(check.interval);
    status.look = if status.look == 0 { look } else { status.look.min(look) };
}

/// What a trial knew, as it is known of what is in force.
fn settled(watch: &Watch) -> Watch {
    match watch.state {
        Health::Healthy => Watch { good: None, looked: None, ..watch.clone() },
        _ => watch.clone(),
    }
}

/// After a boot units are other ones, and times begin again.
fn reborn((name, watch): (String, Watch)) -> (String, Watch) {
    (name, Watch { good: None, bad: None, looked: None, run: None, failures: 0, ..watch })
}

fn is_failing(state: Health) -> bool {
    matches!(state, Health::Degraded | Health::Missing | Health::Unknown)
}

fn problem(check: &Check, watch: &Watch) -> Problem {
    let (name, reason, place) = (check.name.clone(), watch.error.clone(), check.origin.to_string());
    match watch.state {
        Health::Unknown => HealthError::Blind { name, reason, place }.into(),
        _ => HealthError::Failing { name, reason, place }.into(),
    }
}
