//! When what is due: polls with jitter and back-off, checks for drift, runs after drift with a brake on fights.
//!
//! Pure: the time is given, nothing sleeps here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Runs that corrected drift, within this time, count towards a fight.
const FIGHT_WINDOW: Duration = Duration::from_secs(60);
/// So many corrections within the window are no fight yet.
const FIGHT_AFTER: usize = 5;
/// The first pause in a fight; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause in a fight.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Slows down runs of a sort when they come too often: healing, when somebody keeps changing things back; looking in vain.
#[derive(Debug, Default)]
pub struct Brake {
    corrections: VecDeque<Instant>,
    pause: Duration,
}

impl Brake {
    /// Notes that a run of the sort took place.
    pub fn corrected(&mut self, now: Instant) {
        self.forget(now);
        self.corrections.push_back(now);
        if self.corrections.len() > FIGHT_AFTER {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        }
    }

    /// How long to wait before the next correction.
    pub fn pause(&mut self, now: Instant) -> Duration {
        self.forget(now);
        if self.corrections.is_empty() {
            self.pause = Duration::ZERO;
        }
        self.pause
    }

    fn forget(&mut self, now: Instant) {
        let window = FIGHT_WINDOW.max(self.pause * 2);
        while self.corrections.front().is_some_and(|&first| now.duration_since(first) > window) {
            self.corrections.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_slowed_down_and_forgotten() {
        let start = Instant::now();
        let mut brake = Brake::default();
        for count in 0..5_u32 {
            brake.corrected(start + Duration::from_secs(count.into()));
        }
        assert_eq!(brake.pause(start + Duration::from_secs(5)), Duration::ZERO);
        brake.corrected(start + Duration::from_secs(5));
        assert_eq!(brake.pause(start + Duration::from_secs(5)), FIRST_PAUSE);
        brake.corrected(start + Duration::from_secs(7));
        assert_eq!(brake.pause(start + Duration::from_secs(7)), FIRST_PAUSE * 2);
        assert_eq!(brake.pause(start + Duration::from_secs(200)), Duration::ZERO);
    }

    #[test]
    fn the_pause_has_an_end() {
        let start = Instant::now();
        let mut brake = Brake::default();
        let mut now = start;
        for _ in 0..40 {
            brake.corrected(now);
            now += brake.pause(now);
        }
        assert_eq!(brake.pause(now), LONGEST_PAUSE);
    }
}
