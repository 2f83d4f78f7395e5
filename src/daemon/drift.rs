//! What the agent remembers of drift: where something happened, who fights over what, and when to look again.
//!
//! **Invariant:** whatever happened since a run began is looked at by a run that begins later; brakes put a look off, they never
//! drop one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::schedule::{Brakes, Rest, Tries};
use super::watch::Source;
use crate::report::status::{RunStatus, Sync};
use crate::resource::ResourceId;
use crate::state::Cause;

/// Events that come in a burst (a package transaction, a checkout) are answered by one run after this.
const SETTLE: Duration = Duration::from_millis(10);

/// The longest pause in a fight over a resource.
const LONGEST_TRUCE: Duration = Duration::from_secs(300);

/// Drift may hide among changes that are none, in the same place: it does not wait longer than this.
const LONGEST_VAIN_PAUSE: Duration = Duration::from_secs(10);

/// A run that failed is tried again after this, doubled each time.
const FIRST_TRY: Duration = Duration::from_secs(10);

/// More places than this are not told apart.
const MOST_PLACES: usize = 1000;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Drift {
    /// Against fights over what is declared.
    fights: Brakes<ResourceId>,
    /// Against runs for changes that are nobody's drift, such as those in an ignored part of a purged directory.
    vain: Brakes<Source>,
    rest: Rest,
    tries: Tries,
    /// Where something happened since the last run began.
    heard: BTreeSet<Source>,
    /// What the run under way is about.
    looked: BTreeSet<Source>,
    began: Option<Instant>,
    /// The last run changed something, which is heard as well.
    echo: bool,
    rested: Option<Instant>,
    retry: Option<Instant>,
}

/// What a run showed of fights.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fights {
    /// Just begun.
    pub(super) begun: Vec<ResourceId>,
    /// Left as they are during a pause, so that what the other side did can be seen.
    pub(super) seen: Vec<ResourceId>,
}

impl Default for Drift {
    fn default() -> Drift {
        Drift {
            fights: Brakes::new(LONGEST_TRUCE),
            vain: Brakes::new(LONGEST_VAIN_PAUSE),
            rest: Rest::default(),
            tries: Tries::new(FIRST_TRY),
            heard: BTreeSet::new(),
            looked: BTreeSet::new(),
            began: None,
            echo: false,
            rested: None,
            retry: None,
        }
    }
}

impl Drift {
    /// Something happened: when to look.
    pub(super) fn happened(&mut self, sources: BTreeSet<Source>, now: Instant) -> Instant {
        let pause = sources.iter().map(|source| self.vain.pause(source, now)).min().unwrap_or_default();
        self.heard.extend(sources);
        if self.heard.len() > MOST_PLACES {
            self.heard = [Source::Anywhere].into();
        }
        self.not_before(now + SETTLE.max(pause))
    }

    /// The time, or the end of the rest after the last run.
    pub(super) fn not_before(&self, at: Instant) -> Instant {
        self.rested.map_or(at, |rested| rested.max(at))
    }

    /// A run begins: what it shall leave as it is.
    pub(super) fn begins(&mut self, cause: Cause, now: Instant) -> Vec<ResourceId> {
        self.began = Some(now);
        self.retry = None;
        self.looked = std::mem::take(&mut self.heard);
        match cause {
            Cause::Drift => self.fights.pausing(now),
            _ => Vec::new(),
        }
    }

    /// A run ended; `run` is what it left to read, if it got so far.
    pub(super) fn ended(
        &mut self,
        cause: Cause,
        run: Option<&RunStatus>,
        check: Duration,
        now: Instant,
    ) -> Fights {
        let took = self.began.take().map_or(Duration::ZERO, |began| now.duration_since(began));
        let looked = std::mem::take(&mut self.looked);
        let changed = run.is_some_and(|run| !run.corrected.is_empty());
        match run.is_none_or(failed) {
            true => self.retry = Some(now + self.tries.failed(check)),
            false => self.tries.succeeded(),
        }
        let echo = std::mem::replace(&mut self.echo, changed);
        if cause != Cause::Drift {
            return Fights::default();
        }
        self.rested = Some(now + self.rest.after(now, took));
        if !changed && !echo {
            for source in &looked {
                self.vain.count(source, now);
            }
        }
        run.map(|run| self.fought(run, now)).unwrap_or_default()
    }

    fn fought(&mut self, run: &RunStatus, now: Instant) -> Fights {
        let mut fights = Fights::default();
        let pausing = self.fights.pausing(now).into_iter();
        fights.seen.extend(pausing.filter(|resource| run.differing.contains_key(&resource.to_string())));
        for resource in run.corrected.iter().filter_map(|resource| ResourceId::parse(resource)) {
            if let Some((_, true)) = self.fights.count(&resource, now) {
                fights.begun.push(resource);
            }
        }
        fights
    }

    /// Whether a look is due that nothing asked for: a pause in a fight is over, or a failure is to be tried again.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let resumed = self.fights.resume(now);
        self.retry.take_if(|at| *at <= now).is_some() || resumed
    }

    /// The fights that are over.
    pub(super) fn over(&mut self, now: Instant) -> Vec<ResourceId> {
        self.vain.settle(now);
        self.fights.settle(now)
    }

    /// When to ask again, if nothing happens.
    pub(super) fn next(&self) -> Option<Instant> {
        self.fights.next().into_iter().chain(self.retry).min()
    }
}

/// Whether a run did not get to its end, or not everywhere.
fn failed(run: &RunStatus) -> bool {
    run.counts.failed + run.counts.skipped > 0 || run.sync == Sync::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::Counts;

    const CHECK: Duration = Duration::from_secs(900);

    fn place(name: &str) -> BTreeSet<Source> {
        [Source::Path(name.into())].into()
    }

    fn run(corrected: &[&str], failed: usize) -> RunStatus {
        let corrected: Vec<String> = corrected.iter().map(|id| (*id).to_owned()).collect();
        let counts = Counts { changed: corrected.len(), failed, ..Counts::default() };
        RunStatus { corrected, counts, sync: Sync::Synced, ..RunStatus::default() }
    }

    /// A run of no length that comes to this.
    fn ran(drift: &mut Drift, status: &RunStatus, now: Instant) -> (Vec<ResourceId>, Fights) {
        let left = drift.begins(Cause::Drift, now);
        (left, drift.ended(Cause::Drift, Some(status), CHECK, now))
    }

    #[test]
    fn a_fight_over_one_resource_leaves_the_others_alone() {
        let mut now = Instant::now();
        let mut drift = Drift::default();
        let fought = ResourceId::new("file", "/a");
        for round in 0..6 {
            now += Duration::from_secs(1);
            assert_eq!(drift.happened(place("/a"), now), now + SETTLE, "{round}");
            let (left, fights) = ran(&mut drift, &run(&["file:/a"], 0), now);
            assert_eq!(left, []);
            assert_eq!(fights.begun.len(), usize::from(round == 5), "{round}");
        }
        // In the pause another thing is healed at once, and this one left.
        now += Duration::from_secs(1);
        assert_eq!(drift.happened(place("/b"), now), now + SETTLE);
        let mut other = run(&["file:/b"], 0);
        other.differing.insert("file:/a".into(), "differs".into());
        let (left, fights) = ran(&mut drift, &other, now);
        assert_eq!((left, fights.seen), (vec![fought.clone()], vec![fought.clone()]));
        // It is looked at again when the pause ends, even if nothing happens.
        let end = drift.next().unwrap();
        assert!(!drift.is_due(now) && drift.is_due(end) && !drift.is_due(end));
        assert_eq!(drift.begins(Cause::Drift, end), []);
        assert_eq!(drift.over(end + Duration::from_secs(120)), [fought]);
        assert_eq!(drift.next(), None);
    }

    #[test]
    fn looking_in_vain_slows_down_one_place_only() {
        let now = Instant::now();
        let mut drift = Drift::default();
        for _ in 0..8 {
            drift.happened(place("/noise"), now);
            ran(&mut drift, &run(&[], 0), now);
        }
        assert!(drift.happened(place("/noise"), now) > now + Duration::from_secs(1));
        assert_eq!(drift.happened(place("/quiet"), now), now + SETTLE);
    }

    #[test]
    fn what_abide_changed_itself_is_not_looked_at_in_vain() {
        let now = Instant::now();
        let mut drift = Drift::default();
        for number in 0..20 {
            drift.happened(place("/a"), now);
            ran(&mut drift, &run(&[&format!("file:/{number}")], 0), now);
            drift.happened(place("/a"), now);
            ran(&mut drift, &run(&[], 0), now);
        }
        assert_eq!(drift.happened(place("/a"), now), now + SETTLE);
    }

    #[test]
    fn what_failed_is_tried_again() {
        let now = Instant::now();
        let mut drift = Drift::default();
        ran(&mut drift, &run(&[], 1), now);
        assert_eq!(drift.next(), Some(now + FIRST_TRY));
        assert!(!drift.is_due(now) && drift.is_due(now + FIRST_TRY));
        drift.begins(Cause::Period, now);
        drift.ended(Cause::Period, None, CHECK, now);
        assert_eq!(drift.next(), Some(now + FIRST_TRY * 2));
        ran(&mut drift, &run(&[], 0), now);
        assert_eq!(drift.next(), None);
    }

    #[test]
    fn a_run_makes_the_next_one_wait_as_long_as_it_took() {
        let now = Instant::now();
        let mut drift = Drift::default();
        drift.begins(Cause::Drift, now);
        let end = now + Duration::from_millis(300);
        drift.ended(Cause::Drift, Some(&run(&[], 0)), CHECK, end);
        assert_eq!(drift.happened(place("/a"), end), end + Duration::from_millis(300));
    }
}
