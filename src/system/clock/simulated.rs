//! A clock for tests that runs faster and jumps: a day passes in minutes. Only in programs built with the feature
//! `simulated-clock`, which no released one is.
//!
//! The file that [`begin`] opens says how: `RATE WALL BOOT OFFSET`, the factor, the wall clock in nanoseconds and the time since the boot in
//! milliseconds at which it began, and seconds to add to the wall clock. It is read again each time, so that writing another offset into
//! it makes the wall clock jump. What waits for programs, disks and networks goes by the real clock, since those are not any faster.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where the lab's hosts have the file.
pub const FILE: &str = "/abide-clock";

static OPEN: OnceLock<Option<File>> = OnceLock::new();
static START: OnceLock<Instant> = OnceLock::new();

/// Opens the file: before a sandbox keeps this process from it.
pub fn begin() {
    OPEN.get_or_init(|| File::open(FILE).ok());
    START.get_or_init(super::instant);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    rate: i64,
    wall: i64,
    boot: i64,
    offset: i64,
}

fn setting() -> Option<Setting> {
    let mut text = [0; 128];
    let length = OPEN.get()?.as_ref()?.read_at(&mut text, 0).ok()?;
    parse(text.get(..length)?)
}

fn parse(text: &[u8]) -> Option<Setting> {
    let numbers = std::str::from_utf8(text).ok()?.split_whitespace().map(|word| word.parse().ok());
    match numbers.collect::<Option<Vec<i64>>>()?[..] {
        [rate, wall, boot, offset] if rate > 0 => Some(Setting { rate, wall, boot, offset }),
        _ => None,
    }
}

impl Setting {
    fn wall(self, nanoseconds: i64) -> i64 {
        let passed = nanoseconds.saturating_sub(self.wall).saturating_mul(self.rate);
        self.wall.saturating_add(passed).saturating_add(self.offset.saturating_mul(1_000_000_000))
    }

    fn boot(self, milliseconds: i64) -> i64 {
        self.boot.saturating_add(milliseconds.saturating_sub(self.boot).saturating_mul(self.rate))
    }
}

pub(super) fn wall(nanoseconds: i64) -> i64 {
    setting().map_or(nanoseconds, |setting| setting.wall(nanoseconds))
}

pub(super) fn since_boot(milliseconds: i64) -> i64 {
    setting().map_or(milliseconds, |setting| setting.boot(milliseconds))
}

pub(super) fn moment(now: Instant) -> Instant {
    match (START.get(), rate()) {
        (Some(start), Some(rate)) => *start + now.saturating_duration_since(*start) * rate,
        _ => now,
    }
}

pub(super) fn due(moment: Instant) -> Instant {
    match (START.get(), rate()) {
        // A nanosecond more, since what is left over by the division would make it wake too early.
        (Some(start), Some(rate)) => {
            *start + moment.saturating_duration_since(*start) / rate + Duration::from_nanos(1)
        }
        _ => moment,
    }
}

fn rate() -> Option<u32> {
    setting().and_then(|setting| u32::try_from(setting.rate).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_faster_and_jumps() {
        let setting = parse(b"60 1000000000 5000 -3\n").unwrap();
        assert_eq!(setting.wall(1_000_000_000), -2_000_000_000);
        assert_eq!(setting.wall(3_000_000_000), 118_000_000_000);
        assert_eq!(setting.boot(6000), 65_000);
        for wrong in ["", "60 1 2", "0 1 2 3", "60 1 2 3 4", "x 1 2 3"] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
