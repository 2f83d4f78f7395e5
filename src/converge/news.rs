//! How fresh the news of the branch is, and whether the clock can be believed: told once when it changes, shown while it lasts.
//!
//! Time alone makes news stale: each run looks, and leaves in the status when the next one has to.

use super::time::{self, ClockError};
use super::{ConvergeError, Run};
use crate::error::{Explain as _, Problem};
use crate::report::EventKind;
use crate::report::status::NewsStatus;
use crate::state::News;
use crate::system::clock;
use crate::trust::{Freshness, FreshnessMode, HeartbeatProblem};

impl Run<'_> {
    /// Judges the clock. Before anything is proven, since keys are judged by it.
    pub(super) fn judge_clock(&mut self) -> Result<(), Problem> {
        let doubt = self.time.doubt.clone();
        let subject = doubt.as_ref().map_or("", |doubt| doubt.code().0);
        if self.news("clock", subject)? {
            let now = clock::now();
            match &doubt {
                Some(doubt) => {
                    self.recorder.tell_problem(EventKind::ClockDoubted, &Problem::from(doubt), now)
                }
                None => {
                    self.recorder.tell(EventKind::ClockTrusted, "the clock can be believed again".into(), now)
                }
            }
        }
        self.recorder.status.clock = doubt.as_ref().map(|_| self.time.trusted);
        doubt.into_iter().for_each(|doubt| self.recorder.keep(doubt.into()));
        Ok(())
    }

    /// A host with a root of trust, and without a mark or a reason to begin at the introduction, has lost its state: it could be shown
    /// any old state of the branch.
    pub(super) fn judge_memory(&mut self) -> Result<(), Problem> {
        let Some(root) = &self.site.root else { return Ok(()) };
        let introduction = root.introduction.commit.clone();
        let begins = self.state.beginning()?.is_some_and(|beginning| beginning.introduction == introduction);
        if begins || self.state.high_water()?.is_some() {
            self.news("memory", "")?;
            return Ok(());
        }
        let fresh = root.freshness.mode == FreshnessMode::Require;
        let problem = Problem::from(ConvergeError::StateLost { introduction });
        if self.news("memory", "lost")? {
            self.recorder.tell_problem(EventKind::StateLost, &problem, clock::now());
        }
        if !fresh {
            self.lost = true;
            self.recorder.keep(problem);
        }
        Ok(())
    }

    /// Takes what a judgement found out about heartbeats.
    pub(super) fn hear(&mut self, freshness: Freshness) -> Result<(), Problem> {
        self.time.reaches(freshness.time);
        if !self.request.dry_run {
            let heartbeat = freshness.heartbeat.clone();
            self.state.set_news(&News { expected: freshness.expected, heartbeat })?;
        }
        // A second judgement, to render what was proven before, has no heartbeat to look at.
        self.freshness.get_or_insert(freshness);
        Ok(())
    }

    /// Says how fresh the news is, as far as it is known.
    pub(super) fn weigh_news(&mut self) -> Result<(), Problem> {
        let Some(root) = &self.site.root else { return Ok(()) };
        let rule = root.freshness;
        let freshness = match self.freshness.take() {
            Some(freshness) => freshness,
            None => {
                let News { expected, heartbeat } = self.state.news()?;
                let expected = expected || rule.mode == FreshnessMode::Require;
                Freshness { rule, expected, heartbeat, problem: None, time: self.time.trusted }
            }
        };
        let stale = freshness.stale(self.time.trusted);
        let now = clock::now();
        if self.news("news", stale.as_ref().map_or("", |stale| stale.code().0))? {
            match &stale {
                Some(stale) => self.recorder.tell_problem(EventKind::NewsStale, &Problem::from(stale), now),
                None => self.recorder.tell(
                    EventKind::NewsFresh,
                    "the news of the branch is fresh again".into(),
                    now,
                ),
            }
        }
        let refused = freshness.problem.as_ref().map(Problem::from);
        // Between a push and its heartbeat it is usual that one names what is not there yet, or no longer the tip.
        let told = freshness
            .problem
            .as_ref()
            .filter(|problem| !matches!(problem, HeartbeatProblem::NotOnBranch { .. }));
        if self.news("heartbeat", told.map_or("", |problem| problem.code().0))?
            && let (Some(_), Some(problem)) = (told, &refused)
        {
            self.recorder.tell_problem(EventKind::HeartbeatRefused, problem, now);
        }
        self.recorder.status.news = freshness.expected.then(|| NewsStatus {
            mode: rule.mode,
            max_age: rule.max_age.map(|age| age.seconds),
            until: freshness.until(),
            stale: stale.is_some(),
            heartbeat: freshness.heartbeat.clone(),
            problem: refused,
        });
        if let Some(stale) = stale.filter(|stale| stale.mode == FreshnessMode::Require) {
            self.recorder.keep(stale.into());
        }
        self.freshness = Some(freshness);
        Ok(())
    }

    /// Remembers the time: where something was written anyway, or the memory is an hour old.
    pub(super) fn remember_time(&mut self) -> Result<(), Problem> {
        let worth = self.time.due || self.state.was_written();
        if worth && !self.request.dry_run && self.state.time_seen()?.as_ref() != Some(&self.time.seen) {
            self.state.set_time_seen(&self.time.seen)?;
        }
        Ok(())
    }
}

/// What time it is by everything that the state remembers.
pub(super) fn time(state: &crate::state::State) -> Result<time::Time, Problem> {
    let heartbeat = state.news()?.heartbeat.map(|heartbeat| heartbeat.issued);
    Ok(time::judge(clock::now(), clock::uptime(), state.time_seen()?.as_ref(), heartbeat))
}

impl time::Time {
    /// Somebody who may say so says that it is at least so late.
    fn reaches(&mut self, at_least: i64) {
        self.trusted = self.trusted.max(at_least);
        if !matches!(self.doubt, Some(ClockError::Ahead { .. })) {
            self.seen.floor = self.seen.floor.max(at_least);
        }
    }
}
