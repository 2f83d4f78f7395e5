//! When what is allowed: calendar expressions, windows, and slots for reboots.
//!
//! **Invariant:** pure: moments and time zones are parameters, and nothing here waits or looks at a clock.

mod calendar;
mod gate;
mod next;
pub mod reboot;
mod slots;
pub mod window;

pub use calendar::Calendar;
pub use gate::{Gate, Verdict};
pub use slots::Slots;
pub use window::{Activity, Window, WindowFields};

#[cfg(test)]
mod tests;
