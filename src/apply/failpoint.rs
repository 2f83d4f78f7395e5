//! Places where a run can be made to die, so that recovery is tested from every one of them.
//!
//! Outside tests and without the feature `failpoints` a place is nothing. In unit tests reaching the chosen place returns an error
//! that unwinds without any cleaning; with the feature, `ABIDE_DIE_AT=<number>` aborts the process at that place.

use super::ApplyError;

/// Passes a place where a run can be made to die.
#[cfg(not(any(test, feature = "failpoints")))]
pub(super) fn reach(_place: &'static str) -> Result<(), ApplyError> {
    Ok(())
}

/// Passes a place where a run can be made to die.
#[cfg(all(feature = "failpoints", not(test)))]
pub(super) fn reach(place: &'static str) -> Result<(), ApplyError> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let number = PASSED.fetch_add(1, Ordering::Relaxed);
    let chosen = std::env::var("ABIDE_DIE_AT").ok().and_then(|text| text.parse::<u32>().ok());
    if chosen == Some(number) {
        eprintln!("dying at place {number}: {place}");
        std::process::abort();
    }
    Ok(())
}

#[cfg(test)]
pub(super) use counted::{arm, is_dead, reach};

#[cfg(test)]
mod counted {
    use super::ApplyError;
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
        static DEAD: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether this thread died: nothing may be cleaned any more, because a dead process cleans nothing.
    pub(in super::super) fn is_dead() -> bool {
        DEAD.get()
    }

    /// Lets this thread die at the place with this number, counted from 0; `None`: nowhere. Says whether the former place was
    /// not reached.
    pub(in super::super) fn arm(number: Option<u32>) -> bool {
        DEAD.set(false);
        LEFT.replace(number).is_some()
    }

    /// Passes a place where a run can be made to die.
    pub(in super::super) fn reach(place: &'static str) -> Result<(), ApplyError> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => {
                LEFT.set(None);
                DEAD.set(true);
                Err(ApplyError::Died(place))
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
