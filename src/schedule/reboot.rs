//! When a host may reboot by itself: what host and branch say, put together.

use serde::{Deserialize, Serialize};

use super::slots::Slots;
use super::window::Wrong;
use crate::config::Reboot;
use crate::resource::Field;

/// Whether a host may reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// Not by itself.
    Never,
    /// When something needs it.
    Needed,
}

/// What one file says about reboots. What it does not say is for the next one to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Whether.
    pub when: Option<When>,
    /// How many slots the cohort has.
    pub slots: Option<u32>,
    /// The number of this host's slot, from 0.
    pub slot: Option<u32>,
    /// Seconds of each slot.
    pub slot_length: Option<u64>,
    /// Whether people who are logged in are waited for.
    pub wait_for_sessions: Option<bool>,
    /// Seconds between two reboots, at least.
    pub pause: Option<u64>,
}

/// What counts for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether it may reboot by itself.
    pub allowed: bool,
    /// Its slots.
    pub slots: Slots,
    /// Whether people who are logged in are waited for.
    pub wait_for_sessions: bool,
    /// Seconds between two reboots, at least.
    pub pause: i64,
}

/// Fields of `[reboot]`, for the reference and the schema.
pub const FIELDS: &[Field] = &[
    Field::new(
        "when",
        "\"never\" or \"needed\"",
        "`\"never\"`",
        "Whether the host reboots by itself when something needs it.",
    ),
    Field::new(
        "slots",
        "integer",
        "8",
        "How many slots the hosts of a cohort share. `1`: all may reboot at the same time.",
    ),
    Field::new(
        "slot",
        "integer",
        "from the machine id",
        "The number of the host's slot, from 0. Hosts with different numbers never begin a reboot within half a `slot-length` of each other.",
    ),
    Field::new(
        "slot-length",
        "duration",
        "`\"15m\"`",
        "How long a slot is. A reboot begins in its first half; the second half is for coming back.",
    ),
    Field::new("wait-for-sessions", "boolean", "true", "Whether a reboot waits until nobody is logged in."),
    Field::new(
        "pause",
        "duration",
        "`\"1d\"`",
        "The least time between two reboots, also when the need for one lasts.",
    ),
];

const SLOTS: u32 = 8;
const SLOT_LENGTH: u64 = 15 * 60;
const SHORTEST_SLOT: u64 = 60;
const LONGEST_SLOT: u64 = 86_400;
const MOST_SLOTS: u32 = 10_000;
const PAUSE: u64 = 86_400;
const SHORTEST_PAUSE: u64 = 600;

impl Rules {
    /// What a `[reboot]` says, if it makes sense.
    ///
    /// # Errors
    /// It does not.
    pub fn check(fields: &Reboot) -> Result<Rules, Wrong> {
        let when = match fields.when.as_deref() {
            None => None,
            Some("never") => Some(When::Never),
            Some("needed") => Some(When::Needed),
            Some(other) => {
                let message = format!("`{}` is no time to reboot", crate::error::escaped(other));
                return Err(("when", message, "write \"never\" or \"needed\""));
            }
        };
        if fields.slots.is_some_and(|slots| !(1..=MOST_SLOTS).contains(&slots)) {
            return Err(("slots", "there are 1 to 10000 slots".into(), "give their number"));
        }
        if let Some(slot) = fields.slot
            && slot >= fields.slots.unwrap_or(SLOTS)
        {
            let message = format!(
                "slot {slot} is not one of {} slots, which count from 0",
                fields.slots.unwrap_or(SLOTS)
            );
            return Err(("slot", message, "give a smaller number, or more `slots` beside it"));
        }
        let length = fields.slot_length.map(|length| length.seconds);
        if length.is_some_and(|length| !(SHORTEST_SLOT..=LONGEST_SLOT).contains(&length)) {
            return Err(("slot-length", "a slot takes from `1m` to `1d`".into(), "write \"15m\""));
        }
        let pause = fields.pause.map(|pause| pause.seconds);
        if pause.is_some_and(|pause| pause < SHORTEST_PAUSE) {
            return Err(("pause", "reboots are at least `10m` apart".into(), "write \"1d\""));
        }
        Ok(Rules {
            when,
            slots: fields.slots,
            slot: fields.slot,
            slot_length: length,
            wait_for_sessions: fields.wait_for_sessions,
            pause,
        })
    }

    /// Lays what a more special file says over it.
    pub fn lay(&mut self, above: &Rules) {
        self.when = above.when.or(self.when);
        self.slots = above.slots.or(self.slots);
        self.slot = above.slot.or(self.slot);
        self.slot_length = above.slot_length.or(self.slot_length);
        self.wait_for_sessions = above.wait_for_sessions.or(self.wait_for_sessions);
        self.pause = above.pause.or(self.pause);
    }

    /// What counts when both the host's own file and the branch speak. A `never` of either counts; for the rest the host's word goes
    /// first. `identity` gives a number to a host that has none.
    pub fn policy(host: &Rules, branch: &Rules, identity: &[u8]) -> Policy {
        let words = [host.when, branch.when];
        let mut rules = branch.clone();
        rules.lay(host);
        let count = rules.slots.unwrap_or(SLOTS).max(1);
        let own = rules.slot.map_or_else(|| Slots::number(identity, count), |slot| slot % count);
        let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        Policy {
            allowed: words.contains(&Some(When::Needed)) && !words.contains(&Some(When::Never)),
            slots: Slots { count, length: seconds(rules.slot_length.unwrap_or(SLOT_LENGTH)), own },
            wait_for_sessions: rules.wait_for_sessions.unwrap_or(true),
            pause: seconds(rules.pause.unwrap_or(PAUSE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(when: Option<When>) -> Rules {
        Rules { when, ..Rules::default() }
    }

    #[test]
    fn either_side_can_forbid_and_one_has_to_allow() {
        let (never, needed) = (Some(When::Never), Some(When::Needed));
        for (host, branch, allowed) in [
            (None, None, false),
            (needed, None, true),
            (None, needed, true),
            (never, needed, false),
            (needed, never, false),
            (needed, needed, true),
        ] {
            assert_eq!(
                Rules::policy(&when(host), &when(branch), b"x").allowed,
                allowed,
                "{host:?} {branch:?}"
            );
        }
        let host = Rules { slots: Some(4), ..Rules::default() };
        let branch =
            Rules { slot: Some(3), slots: Some(10), wait_for_sessions: Some(false), ..Rules::default() };
        let policy = Rules::policy(&host, &branch, b"x");
        assert_eq!(
            (policy.slots, policy.wait_for_sessions),
            (Slots { count: 4, length: 900, own: 3 }, false)
        );
    }

    #[test]
    fn mistakes_are_named() {
        let none = Reboot::default();
        for (fields, key) in [
            (Reboot { when: Some("always".into()), ..none.clone() }, "when"),
            (Reboot { slots: Some(0), ..none.clone() }, "slots"),
            (Reboot { slot: Some(8), ..none.clone() }, "slot"),
            (Reboot { slot_length: Some(crate::config::Span::seconds(5)), ..none.clone() }, "slot-length"),
            (Reboot { pause: Some(crate::config::Span::seconds(5)), ..none }, "pause"),
        ] {
            assert_eq!(Rules::check(&fields).unwrap_err().0, key);
        }
    }
}
