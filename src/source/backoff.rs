//! When to poll next.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// Time from the end of a poll to the next: the interval, doubled for every failure in a row up to `cap`, and up to `jitter` more.
///
/// `seed` is the host's identity (its machine ID). The jitter follows from it and from the number of failures, so that a fleet that lost its
/// remote at one moment does not come back at one moment, and so that the same host shows the same plan. `cap` below the interval
/// means the interval.
pub fn delay(interval: Duration, jitter: Duration, cap: Duration, seed: &[u8], failures: u32) -> Duration {
    // 2^20 intervals of a second are twelve days: beyond any cap that makes sense, and far from overflow.
    let doubled = interval.saturating_mul(1 << failures.min(20));
    let base = doubled.min(cap.max(interval));
    // After failures the hosts of a fleet wait long: spread them over a tenth of it.
    let spread = if failures == 0 { jitter } else { jitter.max(base / 10) };
    base.saturating_add(spread.mul_f64(fraction(seed, failures)))
}

/// A number from 0 to below 1 that looks random and is the same for the same host and count.
fn fraction(seed: &[u8], failures: u32) -> f64 {
    let digest = Sha256::new()
        .chain_update(b"abide poll\0")
        .chain_update(seed)
        .chain_update(failures.to_le_bytes())
        .finalize();
    let number = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failures: u32, from: u64, to: u64) {
        for seed in 0..200_u32 {
            let minute = Duration::from_secs(60);
            let delay = delay(minute, Duration::from_secs(10), 30 * minute, &seed.to_le_bytes(), failures);
            assert!(delay >= Duration::from_secs(from), "{failures}: {delay:?}");
            assert!(delay < Duration::from_secs(to), "{failures}: {delay:?}");
        }
    }

    #[test]
    fn the_interval_doubles_up_to_the_cap() {
        check(0, 60, 70);
        check(1, 120, 132);
        check(3, 480, 528);
        check(5, 1800, 1980);
        check(u32::MAX, 1800, 1980);
    }

    #[test]
    fn a_cap_below_the_interval_is_the_interval() {
        let hour = Duration::from_secs(3600);
        assert_eq!(delay(hour, Duration::ZERO, Duration::from_secs(1), b"x", 0), hour);
    }

    #[test]
    fn hosts_are_spread_and_each_is_steady() {
        let delay = |seed: u32| {
            delay(
                Duration::from_secs(60),
                Duration::from_secs(10),
                Duration::from_secs(60),
                &seed.to_le_bytes(),
                0,
            )
        };
        assert_eq!(delay(7), delay(7));
        let mut delays: Vec<_> = (0..100).map(delay).collect();
        delays.sort();
        delays.dedup();
        assert!(delays.len() > 95);
        assert!(delays[99 - 5] - delays[0] > Duration::from_secs(8), "the whole jitter is used");
    }

    #[test]
    fn an_endless_interval_does_not_overflow() {
        assert_eq!(delay(Duration::MAX, Duration::MAX, Duration::MAX, b"x", 9), Duration::MAX);
    }
}
