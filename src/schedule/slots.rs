//! Slots of time in which the hosts of a cohort may reboot, one after the other, without talking to each other.
//!
//! Time is cut into slots, counted from the epoch, and each host has a number. With every round of all slots the numbers move on by one, so
//! that no host's slot falls on the same hours for ever, outside of every window.

/// How a cohort divides time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// How many there are.
    pub count: u32,
    /// Seconds of each.
    pub length: i64,
    /// This host's number, from 0.
    pub own: u32,
}

impl Slots {
    /// The number of a host that none was given to, from its identity.
    pub fn number(identity: &[u8], count: u32) -> u32 {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(identity);
        let first = digest.first_chunk::<8>().copied().unwrap_or_default();
        let number = u64::from_be_bytes(first) % u64::from(count.max(1));
        u32::try_from(number).unwrap_or(0)
    }

    /// Whether this host may begin a reboot now: in the first half of its slot, so that it is back before the next one's begins.
    pub fn is_open(self, now: i64) -> bool {
        let (length, count) = (self.length.max(1), i64::from(self.count.max(1)));
        let (slot, within) = (now.div_euclid(length), now.rem_euclid(length));
        let round = slot.div_euclid(count);
        let turn = (i64::from(self.own) + round).rem_euclid(count);
        count == 1 || slot.rem_euclid(count) == turn && within * 2 < length
    }

    /// When it may next, from now on.
    pub fn next(self, now: i64) -> i64 {
        if self.is_open(now) {
            return now;
        }
        let (length, count) = (self.length.max(1), i64::from(self.count.max(1)));
        let slot = now.div_euclid(length);
        // Each round has one; of two rounds the later one's is still to come.
        (slot + 1..=slot + 2 * count + 1)
            .map(|slot| slot * length)
            .find(|start| self.is_open(*start))
            .unwrap_or(now)
    }
}
