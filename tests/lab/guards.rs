//! What holds abide back: limits on what goes at once, what is in use, suspensions, windows, and when a host may reboot.

mod cohort;
mod limits;
mod reboot;
mod rpm_reboot;
mod suspension;
mod usage;
mod windows;
