//! The only place that reads the clocks; everything else gets the time as a parameter.

use std::time::{Duration, Instant, SystemTime};

/// Seconds since the epoch by the wall clock; negative before 1970.
pub fn now() -> i64 {
    nanoseconds().div_euclid(1_000_000_000)
}

/// Nanoseconds since the epoch by the wall clock, the clock that file systems stamp with. Good until the year 2262.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
pub fn nanoseconds() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanoseconds| -nanoseconds)
        }
    }
}

/// The monotonic clock, for durations and deadlines: setting the wall clock does not move it.
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Seconds since the boot, those of a sleep included.
pub fn uptime() -> i64 {
    rustix::system::sysinfo().uptime
}

/// Milliseconds since the boot, those of a sleep included: setting the wall clock does not move it.
pub fn since_boot() -> i64 {
    // The kernel has had this clock since 2.6.39.
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| time.tv_sec().saturating_mul(1000).saturating_add(time.tv_nsec() / 1_000_000))
}

/// Which boot this is: the kernel makes a new name for each, and a container, where a sandbox shows that of the machine, has a first
/// process that began at another time. Empty where nobody says.
pub fn boot() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let first = std::fs::read_to_string("/proc/1/stat").unwrap_or_default();
    // The name of the process, which may hold anything, ends with the last parenthesis; field 22 is the 20th after it (proc_pid_stat(5)).
    let began = first.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    [name.trim(), began.unwrap_or_default()].join(" ").trim().to_owned()
}

/// What is left until a deadline; zero once it has passed.
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(instant())
}

/// The wall clock, for ages of files.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn system_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Waits.
pub fn wait(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_units_of_the_wall_clock_agree() {
        let (before, fine, after) = (now(), nanoseconds(), now());
        assert!((before..=after).contains(&(fine / 1_000_000_000)));
        assert!(before > 1_600_000_000, "this machine's clock is set before 2020: {before}");
    }

    #[test]
    fn a_deadline_that_has_passed_leaves_nothing() {
        let now = instant();
        assert_eq!(left(now), Duration::ZERO);
        assert!(left(now + Duration::from_secs(60)) > Duration::from_secs(50));
    }
}
