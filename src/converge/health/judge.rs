//! What follows from a look at a health check. Pure: the time is given.
//!
//! **Invariant:** on trial no check fails before its start period and `within` are over, and none succeeds before it was good for `stable-for`
//! without interruption.

use crate::manifest::health::{Health as Check, milliseconds};
use crate::report::status::Health;
use crate::state::Watch;
use crate::system::probe::{Finding, Look};

/// Once a commit is in force, a check must be bad for so long to count as failed, and be found so twice: one look that failed is no news.
const DOUBT: i64 = 2_000;

/// A check that fails is looked at again after this at the earliest, and not later than after [`LATEST`].
const SOONEST: i64 = 10_000;
const LATEST: i64 = 60_000;

/// When a look took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the boot.
    pub at: i64,
    /// Seconds since the epoch.
    pub now: i64,
}

/// What became of a check on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has time left.
    Waiting,
    /// It was good for long enough.
    Succeeded,
    /// It is bad, and its time is over.
    Failed,
}

impl Watch {
    /// Of a check that was never looked at.
    pub fn new(now: i64) -> Watch {
        Watch {
            state: Health::Progressing,
            since: now,
            good: None,
            bad: None,
            failures: 0,
            looked: None,
            error: String::new(),
            run: None,
        }
    }

    /// So many milliseconds do not count.
    pub fn put_off(&mut self, stood: i64) {
        for time in [&mut self.good, &mut self.bad, &mut self.looked].into_iter().flatten() {
            *time = time.saturating_add(stood);
        }
    }

    fn stand(&mut self, state: Health, now: i64) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }

    fn fail(&mut self, reason: &str, at: i64) {
        self.good = None;
        self.bad.get_or_insert(at);
        self.failures = self.failures.saturating_add(1);
        reason.clone_into(&mut self.error);
    }
}

/// Judges a look at a check of a commit on trial that began at `begun`, in milliseconds since the boot.
pub fn on_trial(check: &Check, watch: &mut Watch, look: &Look, moment: Moment, begun: i64) -> Verdict {
    let Moment { at, now } = moment;
    let late = at.saturating_sub(begun) > check.grace();
    let interrupted = watch.good.is_some() && watch.run.is_some() && watch.run != look.run;
    watch.looked = Some(at);
    watch.run.clone_from(&look.run);
    if look.finding != Finding::Good || (interrupted && late) {
        let again = "it was started again before it was good for long enough";
        watch.fail(if look.finding == Finding::Good { again } else { &look.reason }, at);
        watch.stand(if late { failing(look.finding) } else { Health::Progressing }, now);
        return if late { Verdict::Failed } else { Verdict::Waiting };
    }
    if interrupted {
        watch.good = None;
    }
    (watch.bad, watch.failures) = (None, 0);
    let good = *watch.good.get_or_insert(at);
    let stable = at.saturating_sub(good) >= milliseconds(check.stable_for);
    watch.stand(if stable { Health::Healthy } else { Health::Progressing }, now);
    if stable { Verdict::Succeeded } else { Verdict::Waiting }
}

/// Judges a look at a check of the commit in force. `calm`: nothing is starting any more because of the boot or of what abide changed.
pub fn in_force(check: &Check, watch: &mut Watch, look: &Look, moment: Moment, calm: bool) {
    let Moment { at, now } = moment;
    let restarts = watch.run.as_ref().zip(look.run.as_ref()).map_or(0, |(before, after)| {
        // Whoever starts a unit by hand sets its counter back.
        after.restarts.saturating_sub(before.restarts)
    });
    watch.run.clone_from(&look.run);
    if look.finding == Finding::Good && restarts == 0 {
        if watch.state != Health::Healthy {
            recover(check, watch, moment);
        }
        return;
    }
    let crashed = format!("it ended and was started again {restarts} times since the last look");
    watch.fail(if look.finding == Finding::Good { &crashed } else { &look.reason }, at);
    watch.looked = Some(at);
    let since = watch.bad.unwrap_or(at);
    let certain = watch.failures > 1 && at.saturating_sub(since) >= DOUBT;
    if certain && calm {
        watch.stand(failing(look.finding), now);
    } else if watch.state == Health::Healthy {
        watch.stand(Health::Progressing, now);
    }
}

fn recover(check: &Check, watch: &mut Watch, Moment { at, now }: Moment) {
    let good = *watch.good.get_or_insert(at);
    (watch.bad, watch.failures) = (None, 0);
    if at.saturating_sub(good) >= milliseconds(check.stable_for) {
        watch.stand(Health::Healthy, now);
        // What is good is not written down anew by each look.
        (watch.good, watch.looked) = (None, None);
    } else {
        watch.looked = Some(at);
    }
}

fn failing(finding: Finding) -> Health {
    match finding {
        Finding::Missing => Health::Missing,
        Finding::Blind => Health::Unknown,
        Finding::Good | Finding::Bad => Health::Degraded,
    }
}

/// In how many milliseconds a check of the commit in force is to be looked at again; `None`: with the next full check.
pub fn again(check: &Check, watch: &Watch, at: i64) -> Option<i64> {
    let soon = milliseconds(check.interval).max(DOUBT);
    let pause = match (watch.state, watch.bad) {
        (Health::Healthy, _) => return None,
        (Health::Progressing, _) | (_, None) => soon,
        // The longer it is bad the less a moment matters.
        (_, Some(bad)) => (at.saturating_sub(bad) / 2).clamp(SOONEST, LATEST),
    };
    let looked = watch.looked.unwrap_or(at);
    Some(looked.saturating_add(pause).saturating_sub(at).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Origin;
    use crate::system::probe::{Probe, UnitRun};
    use proptest::prelude::*;

    fn check(start_period: u64, within: u64, stable_for: u64) -> Check {
        Check {
            name: "x".into(),
            probe: Probe::Unit { unit: "x.service".into() },
            resources: Vec::new(),
            start_period,
            within,
            stable_for,
            interval: 1,
            timeout: 5,
            origin: Origin { role: "r".into(), file: "f".into(), line: 1 },
        }
    }

    fn bad() -> Look {
        Look::not(Finding::Bad, "down")
    }

    fn up(invocation: &str, restarts: u32) -> Look {
        Look { run: Some(UnitRun { invocation: invocation.into(), restarts }), ..Look::good() }
    }

    fn at(seconds: i64) -> Moment {
        Moment { at: seconds * 1000, now: 1_000_000 + seconds }
    }

    /// Looks at a trial that begins at second 100, at seconds after that; gives the verdicts.
    fn trial(check: &Check, looks: &[(i64, Look)]) -> Vec<Verdict> {
        let mut watch = Watch::new(0);
        looks
            .iter()
            .map(|(seconds, look)| on_trial(check, &mut watch, look, at(100 + seconds), 100_000))
            .collect()
    }

    #[test]
    fn a_trial_waits_succeeds_or_fails() {
        use Verdict::{Failed, Succeeded, Waiting};
        let plain = check(0, 30, 0);
        assert_eq!(trial(&plain, &[(0, Look::good())]), [Succeeded]);
        assert_eq!(trial(&plain, &[(0, bad()), (30, bad()), (31, bad())]), [Waiting, Waiting, Failed]);
        assert_eq!(trial(&plain, &[(0, bad()), (29, Look::good())]), [Waiting, Succeeded]);
        // It succeeded while others were still waited for, and does not stay so.
        assert_eq!(
            trial(&plain, &[(0, Look::good()), (5, bad()), (31, bad())]),
            [Succeeded, Waiting, Failed]
        );
        let slow = check(60, 30, 0);
        assert_eq!(trial(&slow, &[(89, bad()), (90, bad()), (91, bad())]), [Waiting, Waiting, Failed]);
        let stable = check(0, 10, 5);
        assert_eq!(
            trial(&stable, &[(0, up("a", 0)), (4, up("a", 0)), (5, up("a", 0))]),
            [Waiting, Waiting, Succeeded]
        );
        // The good time may begin at the end of `within`.
        assert_eq!(
            trial(&stable, &[(9, bad()), (10, up("a", 0)), (15, up("a", 0))]),
            [Waiting, Waiting, Succeeded]
        );
        assert_eq!(trial(&stable, &[(10, up("a", 0)), (13, bad())]), [Waiting, Failed]);
    }

    #[test]
    fn a_unit_that_comes_back_again_and_again_is_not_stable() {
        use Verdict::{Failed, Waiting};
        let stable = check(0, 10, 5);
        let looks: Vec<(i64, Look)> =
            [0, 3, 6, 9, 12].iter().map(|second| (*second, up(&format!("run {second}"), 1))).collect();
        assert_eq!(trial(&stable, &looks), [Waiting, Waiting, Waiting, Waiting, Failed]);
    }

    #[test]
    fn one_bad_look_in_force_is_no_failure() {
        let plain = check(0, 30, 0);
        let mut watch = Watch { state: Health::Healthy, ..Watch::new(0) };
        let mut look = |look: &Look, second: i64, calm: bool| {
            in_force(&plain, &mut watch, look, at(second), calm);
            (watch.state, watch.since - 1_000_000, again(&plain, &watch, at(second).at))
        };
        assert_eq!(look(&Look::good(), 0, true), (Health::Healthy, -1_000_000, None));
        assert_eq!(look(&bad(), 100, true), (Health::Progressing, 100, Some(2_000)));
        assert_eq!(look(&bad(), 101, true), (Health::Progressing, 100, Some(2_000)), "twice, but too soon");
        assert_eq!(look(&bad(), 103, true), (Health::Degraded, 103, Some(10_000)));
        assert_eq!(look(&bad(), 150, true), (Health::Degraded, 103, Some(25_000)));
        assert_eq!(look(&bad(), 900, true), (Health::Degraded, 103, Some(60_000)));
        assert_eq!(look(&Look::not(Finding::Missing, "gone"), 910, true).0, Health::Missing);
        assert_eq!(look(&Look::good(), 920, true), (Health::Healthy, 920, None));
        // While things start, it takes its time.
        assert_eq!(look(&bad(), 930, false).0, Health::Progressing);
        assert_eq!(look(&bad(), 940, false).0, Health::Progressing);
        assert_eq!(look(&bad(), 941, true).0, Health::Degraded);
    }

    #[test]
    fn in_force_a_crash_shows_although_the_unit_is_up_again() {
        let stable = check(0, 30, 4);
        let mut watch = Watch { state: Health::Healthy, ..Watch::new(0) };
        let mut look = |restarts: u32, second: i64| {
            in_force(&stable, &mut watch, &up("x", restarts), at(second), true);
            watch.state
        };
        assert_eq!(
            [look(0, 0), look(1, 10), look(1, 12)],
            [Health::Healthy, Health::Progressing, Health::Progressing]
        );
        assert_eq!(look(1, 16), Health::Healthy, "one crash is over after `stable-for`");
        assert_eq!([look(2, 20), look(3, 23)], [Health::Progressing, Health::Degraded]);
        assert_eq!(
            [look(0, 30), look(0, 33), look(0, 34)],
            [Health::Degraded, Health::Degraded, Health::Healthy]
        );
    }

    #[test]
    fn what_is_good_leaves_no_trace() {
        let stable = check(0, 30, 0);
        let mut watch = Watch::new(0);
        in_force(&stable, &mut watch, &up("x", 0), at(1), true);
        let before = watch.clone();
        in_force(&stable, &mut watch, &up("x", 0), at(500), true);
        assert_eq!((watch.state, &watch), (Health::Healthy, &before));
    }

    proptest! {
        /// Against the words of the manual, on looks of any kind at any time.
        #[test]
        fn a_trial_keeps_its_times(
            (start, within, stable) in (0u64..20, 1u64..20, 0u64..10),
            looks in prop::collection::vec((1i64..4_000, 0u8..4), 1..60),
        ) {
            let check = check(start, within, stable);
            let begun = 77_000;
            let (mut watch, mut time, mut since) = (Watch::new(0), begun, None::<(i64, u8)>);
            for (step, kind) in looks {
                time += step;
                // Kinds 2 and 3 are two runs of the unit, 0 and 1 are bad.
                let look = if kind < 2 { bad() } else { up(&kind.to_string(), 0) };
                since = match (kind, since) {
                    (0 | 1, _) => None,
                    (_, Some((begun, same))) if same == kind => Some((begun, kind)),
                    _ => Some((time, kind)),
                };
                let verdict = on_trial(&check, &mut watch, &look, Moment { at: time, now: 0 }, begun);
                let late = time - begun > milliseconds(start + within);
                match verdict {
                    Verdict::Failed => {
                        prop_assert!(late, "failed after {} ms", time - begun);
                        break;
                    }
                    Verdict::Succeeded => {
                        let good = since.map(|(since, _)| time - since);
                        prop_assert!(good.is_some_and(|good| good >= milliseconds(stable)), "{good:?}");
                    }
                    Verdict::Waiting => {
                        prop_assert!(kind >= 2 || !late, "bad, late, and not failed");
                        let good = since.map_or(-1, |(since, _)| time - since);
                        prop_assert!(good < milliseconds(stable), "good for {good} ms and not succeeded");
                    }
                }
            }
        }
    }
}
