//! The time that keys and heartbeats are judged by: the clock, unless the host knows that it is later.
//!
//! **Invariant:** setting the clock back revives no key, and one boot with a clock far ahead kills none for longer than it lasts.

use crate::error::{Code, Explain};
use crate::state::{Ahead, TimeSeen};

/// Seconds that a clock may lie behind what was seen: daemons that set it do so by less.
const BEHIND: i64 = 5 * 60;

/// Seconds that a clock may be ahead of what was seen before it has to prove itself: no host is off for longer without notice.
const AHEAD: i64 = 30 * 24 * 60 * 60;

/// Seconds for which a clock that is ahead has to run on evenly to be believed.
const PROBATION: i64 = 60 * 60;

/// What was seen is written when it is older than this, where nothing else is written.
const WRITE_AFTER: i64 = 60 * 60;

/// What time it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Time {
    /// Seconds since the epoch, for judging.
    pub(super) trusted: i64,
    /// What is to be remembered.
    pub(super) seen: TimeSeen,
    /// What is wrong with the clock.
    pub(super) doubt: Option<ClockError>,
    /// What is remembered has to be written even if nothing else is.
    pub(super) due: bool,
}

/// What is wrong with the clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// E051: the clock shows a time that is over, by what this host has seen.
    #[error("the clock shows {}, and this host has seen {}", shown(*clock), shown(*seen))]
    Behind {
        /// What it shows, seconds since the epoch.
        clock: i64,
        /// What was seen.
        seen: i64,
    },
    /// E052: the clock has jumped far ahead, and nothing confirms it yet.
    #[error("the clock shows {}, more than 30 days after what this host has seen, {}", shown(*clock), shown(*seen))]
    Ahead {
        /// What it shows, seconds since the epoch.
        clock: i64,
        /// What was seen.
        seen: i64,
    },
}

impl Explain for ClockError {
    fn code(&self) -> Code {
        Code(match self {
            ClockError::Behind { .. } => "E051",
            ClockError::Ahead { .. } => "E052",
        })
    }

    fn remedy(&self) -> String {
        match self {
            ClockError::Behind { .. } => {
                "set the clock: timedatectl; if it is right and what was seen is not, run `abide trust reset-clock`".into()
            }
            ClockError::Ahead { .. } => {
                "check the clock: timedatectl; if it is right, this ends by itself in an hour, or by `abide trust reset-clock`".into()
            }
        }
    }
}

fn shown(second: i64) -> String {
    jiff::Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
}

/// Judges the clock by what is remembered. `uptime`: seconds since the boot; `heartbeat`: when the newest that counts was made.
pub(super) fn judge(clock: i64, uptime: i64, known: Option<&TimeSeen>, heartbeat: Option<i64>) -> Time {
    let Some(known) = known else {
        let seen = TimeSeen { floor: clock, ahead: None };
        return Time { trusted: clock, seen, doubt: None, due: true };
    };
    let floor = known.floor;
    if clock < floor.saturating_sub(BEHIND) {
        let seen = TimeSeen { floor, ahead: None };
        let doubt = Some(ClockError::Behind { clock, seen: floor });
        return Time { trusted: floor, due: seen != *known, seen, doubt };
    }
    let supported = heartbeat.map_or(floor, |issued| floor.max(issued));
    if clock <= supported.saturating_add(AHEAD) {
        let seen = TimeSeen { floor: clock.max(floor), ahead: None };
        let due = seen.floor - floor >= WRITE_AFTER || known.ahead.is_some();
        return Time { trusted: clock.max(floor), seen, doubt: None, due };
    }
    let began = known.ahead.filter(|ahead| runs_evenly(ahead, clock, uptime));
    match began {
        Some(ahead) if uptime - ahead.uptime >= PROBATION => {
            let seen = TimeSeen { floor: clock, ahead: None };
            Time { trusted: clock, seen, doubt: None, due: true }
        }
        began => {
            let ahead = Some(began.unwrap_or(Ahead { clock, uptime }));
            let seen = TimeSeen { floor, ahead };
            let doubt = Some(ClockError::Ahead { clock, seen: floor });
            Time { trusted: clock, due: seen != *known, seen, doubt }
        }
    }
}

/// Whether clock and uptime went on by the same amount since: the host ran on, and nobody set the clock.
fn runs_evenly(began: &Ahead, clock: i64, uptime: i64) -> bool {
    let (ran, went) = (uptime.saturating_sub(began.uptime), clock.saturating_sub(began.clock));
    ran >= 0 && ran.abs_diff(went) <= BEHIND.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 60 * 60;

    fn seen(floor: i64) -> TimeSeen {
        TimeSeen { floor, ahead: None }
    }

    fn code(time: &Time) -> &'static str {
        time.doubt.as_ref().map_or("", |doubt| doubt.code().0)
    }

    /// Attack 36: the clock is set back, so that an expired key would count again.
    #[test]
    fn time_does_not_go_back() {
        for (clock, trusted, expected, floor) in [
            (NOW - 365 * DAY, NOW, "E051", NOW),
            (NOW - 301, NOW, "E051", NOW),
            (NOW - 299, NOW, "", NOW),
            (NOW, NOW, "", NOW),
            (NOW + 10, NOW + 10, "", NOW + 10),
            (NOW + 30 * DAY, NOW + 30 * DAY, "", NOW + 30 * DAY),
        ] {
            let time = judge(clock, 100, Some(&seen(NOW)), None);
            assert_eq!((time.trusted, code(&time), time.seen.floor), (trusted, expected, floor), "{clock}");
        }
    }

    /// Attack 36: the clock jumps far ahead for one boot; what it showed is not what the host believes afterwards.
    #[test]
    fn a_jump_ahead_is_not_remembered_before_it_has_proven_itself() {
        let far = NOW + 3650 * DAY;
        let first = judge(far, 100, Some(&seen(NOW)), None);
        assert_eq!((first.trusted, code(&first), first.seen.floor, first.due), (far, "E052", NOW, true));
        let later = judge(far + 600, 700, Some(&first.seen), None);
        assert_eq!((code(&later), later.due, &later.seen), ("E052", false, &first.seen));
        // The next boot has the right clock again.
        let repaired = judge(NOW + 900, 10, Some(&later.seen), None);
        assert_eq!((repaired.trusted, code(&repaired), &repaired.seen), (NOW + 900, "", &seen(NOW + 900)));
        // Or it goes on for an hour.
        let proven = judge(far + 3600, 3700, Some(&later.seen), None);
        assert_eq!((code(&proven), proven.seen.floor), ("", far + 3600));
        // A boot later, or a clock that jumps again, starts anew.
        for (clock, uptime) in [(far + 7200, 50), (far + 9000, 3700)] {
            let again = judge(clock, uptime, Some(&later.seen), None);
            assert_eq!((code(&again), again.seen.ahead), ("E052", Some(Ahead { clock, uptime })), "{clock}");
        }
    }

    #[test]
    fn a_heartbeat_confirms_a_jump() {
        let far = NOW + 90 * DAY;
        assert_eq!(code(&judge(far, 100, Some(&seen(NOW)), Some(NOW))), "E052");
        let time = judge(far, 100, Some(&seen(NOW)), Some(far - DAY));
        assert_eq!((code(&time), time.seen.floor), ("", far));
    }

    #[test]
    fn little_is_written() {
        assert!(judge(NOW, 1, None, None).due);
        assert!(!judge(NOW + 3599, 1, Some(&seen(NOW)), None).due);
        assert!(judge(NOW + 3600, 1, Some(&seen(NOW)), None).due);
        assert!(!judge(NOW - DAY, 1, Some(&seen(NOW)), None).due);
    }
}
