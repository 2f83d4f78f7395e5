//! The time within which something has to prove itself, and the poll that proves the way to the remote.

use std::time::Duration;

use super::Run;
use crate::report::status::TrialStatus;
use crate::source::{Note, read_note};
use crate::state::Term;
use crate::system::clock;

impl Term {
    /// The time since it began, at a moment in milliseconds since the boot.
    pub(super) fn elapsed(&self, at: i64) -> Duration {
        Duration::from_millis(u64::try_from(at.saturating_sub(self.uptime)).unwrap_or(0))
    }

    /// Whether a poll that began later reached the remote.
    pub(super) fn is_proven_by(&self, note: Option<&Note>) -> bool {
        note.is_some_and(|note| note.failures == 0 && note.began > self.uptime && mark(note) != self.note)
    }
}

impl Run<'_> {
    /// A time that begins now; what was polled before proves nothing.
    pub(super) fn begin_term(&self) -> Term {
        let note = self.poll().as_ref().map_or((0, 0), mark);
        Term { boot: clock::boot(), uptime: clock::since_boot(), note }
    }

    /// The same time in the present boot: the time that a host is down proves nothing. Whether it began anew.
    pub(super) fn renew(&self, term: &mut Term) -> bool {
        let old = term.boot != clock::boot();
        if old {
            *term = self.begin_term();
        }
        old
    }

    /// The note of the last poll, as far as there is one.
    pub(super) fn poll(&self) -> Option<Note> {
        read_note(&self.site.paths.spool).ok().flatten()
    }
}

/// Which poll a note is of.
fn mark(note: &Note) -> (i64, i64) {
    (note.began, note.time)
}

/// Notes that somebody has to look when so many seconds have passed.
pub(super) fn wait_until(status: &mut TrialStatus, seconds: u64) {
    let at = clock::now().saturating_add_unsigned(seconds);
    status.until = status.until.max(at);
    status.look = if status.look == 0 { at } else { status.look.min(at) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_later_and_good_poll_proves_the_way() {
        let note = |began, failures| Note { began, failures, time: 5, ..Note::default() };
        for (note, known, expected) in [
            (None, (0, 0), false),
            (Some(note(100, 0)), (0, 0), false),
            (Some(note(101, 1)), (0, 0), false),
            (Some(note(101, 0)), (0, 0), true),
            // Of an earlier boot, which lasted longer.
            (Some(note(9_000, 0)), (9_000, 5), false),
        ] {
            let term = Term { boot: "b".into(), uptime: 100, note: known };
            assert_eq!(term.is_proven_by(note.as_ref()), expected, "{note:?}");
        }
    }
}
