//! When what is due: runs after drift, with a brake on each fight and on looking in vain, rest between runs, tries after a failure.
//!
//! Pure: the time is given, nothing sleeps here.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// So many times within the window are no fight yet.
pub(super) const FREE: usize = 5;
/// Times within this count.
const WINDOW: Duration = Duration::from_secs(60);
/// The first pause; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Slows down what happens too often about one thing, and nothing about others: correcting a resource that somebody keeps changing
/// back, looking at a place where nothing is wrong.
#[derive(Debug)]
pub struct Brakes<K> {
    things: BTreeMap<K, Brake>,
    longest: Duration,
}

#[derive(Debug, Default)]
struct Brake {
    times: VecDeque<Instant>,
    pause: Duration,
    /// The end of the pause under way.
    until: Option<Instant>,
}

/// More things than this are not told apart; those that were quiet for longest are forgotten.
const MOST: usize = 1000;

impl<K: Ord + Clone> Brakes<K> {
    /// Brakes whose pauses grow up to `longest`.
    pub fn new(longest: Duration) -> Brakes<K> {
        Brakes { things: BTreeMap::new(), longest }
    }

    /// Notes that it happened once more. The pause that follows, where there is one, and whether it is the first.
    pub fn count(&mut self, thing: &K, now: Instant) -> Option<(Duration, bool)> {
        if self.things.len() >= MOST && !self.things.contains_key(thing) {
            self.forget_oldest();
        }
        let brake = self.things.entry(thing.clone()).or_default();
        brake.forget(now);
        brake.times.push_back(now);
        if brake.pause.is_zero() && brake.times.len() <= FREE {
            return None;
        }
        let first = brake.pause.is_zero();
        brake.pause = (brake.pause * 2).clamp(FIRST_PAUSE, self.longest);
        brake.until = Some(now + brake.pause);
        Some((brake.pause, first))
    }

    /// How long to wait for the end of a thing's pause.
    pub fn pause(&self, thing: &K, now: Instant) -> Duration {
        let until = self.things.get(thing).and_then(|brake| brake.until);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// What is in a pause.
    pub fn pausing(&self, now: Instant) -> Vec<K> {
        let pausing = self.things.iter().filter(|(_, brake)| brake.until.is_some_and(|until| until > now));
        pausing.map(|(thing, _)| thing.clone()).collect()
    }

    /// Whether a pause is over since the last time that was asked.
    pub fn resume(&mut self, now: Instant) -> bool {
        let mut over = false;
        for brake in self.things.values_mut() {
            over |= brake.until.take_if(|until| *until <= now).is_some();
        }
        over
    }

    /// Forgets what has not happened for a while; gives what was in a fight until then.
    pub fn settle(&mut self, now: Instant) -> Vec<K> {
        let mut over = Vec::new();
        self.things.retain(|thing, brake| {
            let fought = !brake.pause.is_zero();
            brake.forget(now);
            let quiet = brake.times.is_empty();
            if quiet && fought {
                over.push(thing.clone());
            }
            !quiet
        });
        over
    }

    /// When something changes by itself in what is in a fight: a pause ends, or the fight is over.
    pub fn next(&self) -> Option<Instant> {
        let fights = self.things.values().filter(|brake| !brake.pause.is_zero());
        fights.filter_map(|brake| brake.until.or(brake.over())).min()
    }

    fn forget_oldest(&mut self) {
        let oldest = self.things.iter().min_by_key(|(_, brake)| brake.times.back().copied());
        if let Some(oldest) = oldest.map(|(thing, _)| thing.clone()) {
            self.things.remove(&oldest);
        }
    }
}

impl Brake {
    fn window(&self) -> Duration {
        WINDOW.max(self.pause * 2)
    }

    /// When all of it is long ago.
    fn over(&self) -> Option<Instant> {
        self.times.back().map(|last| *last + self.window() + Duration::from_millis(1))
    }

    fn forget(&mut self, now: Instant) {
        let window = self.window();
        while self.times.front().is_some_and(|&first| now.duration_since(first) > window) {
            self.times.pop_front();
        }
        if self.times.is_empty() {
            (self.pause, self.until) = (Duration::ZERO, None);
        }
    }
}

/// Keeps healing from taking all of the processor, whoever changes whatever: after a run as much time passes as it took, and
/// four times as much once runs took a quarter of the last minute.
#[derive(Debug, Default)]
pub struct Rest {
    runs: VecDeque<(Instant, Duration)>,
}

/// No run makes the next one wait for longer than this.
const LONGEST_REST: Duration = Duration::from_secs(10);

impl Rest {
    /// Notes that a run of drift ended, and how long it took; gives how long the next one has to wait.
    pub fn after(&mut self, now: Instant, took: Duration) -> Duration {
        self.runs.push_back((now, took));
        while self.runs.front().is_some_and(|(end, _)| now.duration_since(*end) > WINDOW) {
            self.runs.pop_front();
        }
        let busy: Duration = self.runs.iter().map(|(_, took)| *took).sum();
        let factor = if busy > WINDOW / 4 { 4 } else { 1 };
        (took * factor).min(LONGEST_REST)
    }
}

/// Time to the next try of something that fails again and again: doubled each time, up to a longest.
#[derive(Debug)]
pub struct Tries {
    first: Duration,
    pause: Duration,
}

impl Tries {
    /// The first pause is this long.
    pub fn new(first: Duration) -> Tries {
        Tries { first, pause: Duration::ZERO }
    }

    /// It failed: the pause before the next try.
    pub fn failed(&mut self, longest: Duration) -> Duration {
        self.pause = (self.pause * 2).max(self.first).min(longest.max(self.first));
        self.pause
    }

    /// It went well.
    pub fn succeeded(&mut self) {
        self.pause = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(300);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_fight_is_slowed_down_and_forgotten() {
        let start = Instant::now();
        let mut brakes = Brakes::new(LONGEST);
        for count in 0..5 {
            assert_eq!(brakes.count(&"a", start + seconds(count)), None);
        }
        assert_eq!((brakes.pause(&"a", start + seconds(5)), brakes.next()), (Duration::ZERO, None));
        assert_eq!(brakes.count(&"a", start + seconds(5)), Some((FIRST_PAUSE, true)));
        assert_eq!(brakes.pause(&"a", start + seconds(6)), seconds(1));
        assert_eq!(brakes.pausing(start + seconds(6)), ["a"]);
        assert_eq!(brakes.next(), Some(start + seconds(7)));
        assert!(!brakes.resume(start + seconds(6)) && brakes.resume(start + seconds(7)));
        assert!(!brakes.resume(start + seconds(7)), "told once");
        assert_eq!(brakes.count(&"a", start + seconds(7)), Some((FIRST_PAUSE * 2, false)));
        assert!(brakes.settle(start + seconds(60)).is_empty());
        assert!(brakes.resume(start + seconds(60)));
        let over = brakes.next().unwrap();
        assert!(brakes.settle(over - seconds(1)).is_empty());
        assert_eq!(brakes.settle(over), ["a"]);
        assert!(brakes.settle(over).is_empty() && brakes.next().is_none() && brakes.things.is_empty());
    }

    #[test]
    fn a_fight_over_one_thing_slows_down_no_other() {
        let start = Instant::now();
        let mut brakes = Brakes::new(LONGEST);
        for count in 0..20 {
            brakes.count(&"a", start + seconds(count));
        }
        assert!(brakes.pause(&"a", start + seconds(20)) > Duration::ZERO);
        assert_eq!(brakes.count(&"b", start + seconds(20)), None);
        assert_eq!(brakes.pause(&"b", start + seconds(20)), Duration::ZERO);
    }

    #[test]
    fn the_pause_has_an_end() {
        let mut now = Instant::now();
        let mut brakes = Brakes::new(LONGEST);
        for _ in 0..40 {
            brakes.count(&"a", now);
            now += brakes.pause(&"a", now);
        }
        brakes.count(&"a", now);
        assert_eq!(brakes.pause(&"a", now), LONGEST);
    }

    #[test]
    fn many_things_are_not_all_remembered() {
        let start = Instant::now();
        let mut brakes = Brakes::new(LONGEST);
        for number in 0..3000_u32 {
            brakes.count(&number, start + Duration::from_millis(number.into()));
        }
        assert_eq!(brakes.things.len(), MOST);
        assert!(brakes.things.contains_key(&2999) && !brakes.things.contains_key(&0));
    }

    #[test]
    fn runs_leave_the_processor_to_others() {
        let mut now = Instant::now();
        let mut rest = Rest::default();
        let took = Duration::from_millis(20);
        let mut worked = Duration::ZERO;
        let start = now;
        while now - start < seconds(600) {
            now += took;
            worked += took;
            now += rest.after(now, took);
        }
        assert!(worked < seconds(200), "{worked:?} of ten minutes");
        assert_eq!(Rest::default().after(now, took), took);
        assert_eq!(Rest::default().after(now, seconds(100)), LONGEST_REST);
    }

    #[test]
    fn tries_get_rarer() {
        let mut tries = Tries::new(seconds(10));
        let pauses: Vec<u64> = (0..5).map(|_| tries.failed(seconds(60)).as_secs()).collect();
        assert_eq!(pauses, [10, 20, 40, 60, 60]);
        tries.succeeded();
        assert_eq!(tries.failed(seconds(60)), seconds(10));
        assert_eq!(tries.failed(seconds(1)), seconds(10), "never more often than at first");
    }
}
