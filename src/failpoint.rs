//! Places where a process can be made to die, so that what comes after is tested from every one of them: before and after every
//! write of the state, and between all steps that change the host.
//!
//! A place is nothing outside of tests, unless the feature `failpoints` is on. With it
//! - `ABIDE_FAILPOINTS=list` tells each place that is passed on standard error: its number, its name with how often that was passed,
//!   and where it stands;
//! - `ABIDE_DIE_AT=17` or `ABIDE_DIE_AT='files: renamed#2'` ends the process there, at once and without any cleaning;
//! - `ABIDE_WAIT_AT=17` has it wait there for its host to die, and says so on standard error.
//!
//! In unit tests a death unwinds to `lives`, and whoever cleans when dropped asks [`is_dead`] first.

/// Passes a place where the process can be made to die.
#[cfg(not(any(test, feature = "failpoints")))]
#[inline(always)]
pub fn reach(_place: &'static str) {}

/// Whether this thread died, in a unit test: a dead process cleans nothing.
#[cfg(not(test))]
#[inline(always)]
pub const fn is_dead() -> bool {
    false
}

#[cfg(all(feature = "failpoints", not(test)))]
pub use process::reach;

#[cfg(all(feature = "failpoints", not(test)))]
mod process {
    use std::collections::BTreeMap;
    use std::panic::Location;
    use std::sync::{LazyLock, Mutex, PoisonError};

    /// Where to die, and what was passed.
    struct Passed {
        chosen: Option<String>,
        /// Wait there instead of dying.
        waits: bool,
        list: bool,
        number: u32,
        times: BTreeMap<&'static str, u32>,
    }

    static PASSED: LazyLock<Mutex<Passed>> = LazyLock::new(|| {
        let wait_at = std::env::var("ABIDE_WAIT_AT").ok();
        Mutex::new(Passed {
            waits: wait_at.is_some(),
            chosen: wait_at.or_else(|| std::env::var("ABIDE_DIE_AT").ok()),
            list: std::env::var_os("ABIDE_FAILPOINTS").is_some_and(|value| value == "list"),
            number: 0,
            times: BTreeMap::new(),
        })
    });

    /// Passes a place where the process can be made to die.
    #[track_caller]
    pub fn reach(place: &'static str) {
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let number = passed.number;
        passed.number += 1;
        let times = passed.times.entry(place).or_default();
        *times += 1;
        let name = format!("{place}#{times}");
        if passed.list {
            let at = Location::caller();
            eprintln!("place {number}: {name} ({}:{})", at.file(), at.line());
        }
        let here = |chosen: &String| *chosen == name || chosen.parse() == Ok(number);
        if passed.chosen.as_ref().is_some_and(here) {
            if passed.waits {
                eprintln!("waiting at place {number}: {name}");
                loop {
                    std::thread::park();
                }
            }
            eprintln!("dying at place {number}: {name}");
            std::process::abort();
        }
    }
}

#[cfg(test)]
pub use counted::{is_dead, lives, lives_until, reach};

#[cfg(test)]
mod counted {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    thread_local! {
        /// How often it is passed before this thread dies, and the place; any, when there is no name.
        static LEFT: Cell<Option<(u32, Option<&'static str>)>> = const { Cell::new(None) };
        static DEAD: Cell<bool> = const { Cell::new(false) };
    }

    /// What unwinds.
    struct Death;

    /// Whether this thread died: nothing may be cleaned any more, because a dead process cleans nothing.
    pub fn is_dead() -> bool {
        DEAD.get()
    }

    /// Does `work`, which dies at the place with this number, counted from 0; `None` when it died.
    pub fn lives<T>(number: u32, work: impl FnOnce() -> T) -> Option<T> {
        with(number, None, work)
    }

    /// Does `work`, which dies when it passes the place of this name first.
    pub fn lives_until<T>(place: &'static str, work: impl FnOnce() -> T) -> Option<T> {
        with(0, Some(place), work)
    }

    fn with<T>(number: u32, place: Option<&'static str>, work: impl FnOnce() -> T) -> Option<T> {
        LEFT.set(Some((number, place)));
        let result = catch_unwind(AssertUnwindSafe(work));
        LEFT.set(None);
        DEAD.set(false);
        match result {
            Ok(value) => Some(value),
            Err(cause) if cause.is::<Death>() => None,
            Err(cause) => resume_unwind(cause),
        }
    }

    /// Passes a place where the process can be made to die.
    pub fn reach(place: &'static str) {
        match LEFT.get() {
            Some((left, chosen)) if chosen.is_none_or(|chosen| chosen == place) => match left {
                0 => {
                    LEFT.set(None);
                    DEAD.set(true);
                    resume_unwind(Box::new(Death));
                }
                left => LEFT.set(Some((left - 1, chosen))),
            },
            _ => {}
        }
    }
}
