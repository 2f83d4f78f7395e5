//! The only place that reads the clocks; everything else gets the time as a parameter.

use std::time::{Duration, Instant, SystemTime};

#[cfg(feature = "simulated-clock")]
pub mod simulated;

#[cfg(not(feature = "simulated-clock"))]
mod simulated {
    //! Time as it is.
    pub(super) fn wall(nanoseconds: i64) -> i64 {
        nanoseconds
    }
    pub(super) fn since_boot(milliseconds: i64) -> i64 {
        milliseconds
    }
    pub(super) fn moment(now: std::time::Instant) -> std::time::Instant {
        now
    }
    pub(super) fn due(moment: std::time::Instant) -> std::time::Instant {
        moment
    }
}

/// Seconds since the epoch by the wall clock; negative before 1970.
pub fn now() -> i64 {
    simulated::wall(nanoseconds()).div_euclid(1_000_000_000)
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

/// The monotonic clock by which the agent plans: when the next poll is due, how long a fight lasts. Tests have it run faster than
/// [`instant`], by which programs and networks are waited for.
pub fn moment() -> Instant {
    simulated::moment(instant())
}

/// When a planned moment has come by the machine's own monotonic clock, for whoever waits for it.
pub fn due(moment: Instant) -> Instant {
    simulated::due(moment)
}

/// Seconds since the boot, those of a sleep included.
pub fn uptime() -> i64 {
    since_boot() / 1000
}

/// Milliseconds since the boot, those of a sleep included: setting the wall clock does not move it.
pub fn since_boot() -> i64 {
    simulated::since_boot(since_machine_boot())
}

/// The same by the machine's own clock, for whoever waits for processes: tests have [`since_boot`] run faster.
pub fn since_machine_boot() -> i64 {
    // The kernel has had this clock since 2.6.39.
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| time.tv_sec().saturating_mul(1000).saturating_add(time.tv_nsec() / 1_000_000))
}

/// Which boot this is: the kernel makes a new name for each, and a container, where a sandbox shows that of the machine, has a first
/// process that began at another time. Empty where nobody says.
pub fn boot() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    // A container has a name of its own laid over the kernel's, which units that are confined do not see: there the start of its first
    // process tells boots apart, in every unit.
    if std::path::Path::new("/run/systemd/container").exists()
        && let Some(start) = start_of(&read("/proc/1/stat"))
    {
        return format!("container {start}");
    }
    read("/proc/sys/kernel/random/boot_id").trim().to_owned()
}

/// When a process began, in ticks since the boot of the kernel, from its `/proc/PID/stat` (proc_pid_stat(5), field 22).
fn start_of(stat: &str) -> Option<u64> {
    // The name of the program may have blanks and parentheses of its own.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
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
    fn the_start_of_a_process_is_read() {
        let after: Vec<String> = (3..=52).map(|field| format!("{field}")).collect();
        let stat = format!("1 (a ) b) {}", after.join(" "));
        assert_eq!(start_of(&stat), Some(22));
        assert_eq!((start_of(""), start_of("1 (x) S 1")), (None, None));
        assert!(
            start_of(&std::fs::read_to_string("/proc/self/stat").unwrap()).is_some_and(|start| start > 0)
        );
    }

    #[test]
    fn a_deadline_that_has_passed_leaves_nothing() {
        let now = instant();
        assert_eq!(left(now), Duration::ZERO);
        assert!(left(now + Duration::from_secs(60)) > Duration::from_secs(50));
    }
}
