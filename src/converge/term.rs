//! The time within which something has to prove itself, and the poll that proves the way to the remote.

use std::time::Duration;

use super::Run;
use crate::error::Problem;
use crate::report::status::TrialStatus;
use crate::source::{Note, read_note};
use crate::state::Term;
use crate::system::clock;

impl Term {
    /// The time since it began, at a moment in milliseconds since the boot.
    pub(super) fn elapsed(&self, at: i64) -> Duration {
        Duration::from_millis(u64::try_from(at.saturating_sub(self.uptime)).unwrap_or(0))
    }

    /// Time counts again; for how long it did not, in milliseconds.
    fn go_on(&mut self, at: i64) -> i64 {
        let stood = self.stopped.take().map_or(0, |stopped| at.saturating_sub(stopped).max(0));
        self.uptime = self.uptime.saturating_add(stood);
        stood
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
        Term { boot: clock::boot(), uptime: clock::since_boot(), note, stopped: None }
    }

    /// The same time in the present boot: the time that a host is down proves nothing. Whether it began anew.
    pub(super) fn renew(&self, term: &mut Term) -> bool {
        let old = term.boot != clock::boot();
        if old {
            *term = self.begin_term();
        }
        old
    }

    /// While applying is suspended, nothing can be done about what is on trial, so that its time does not count. Whoever suspends stops
    /// it; this is for what began under a suspension.
    pub(super) fn stop_time(&mut self) -> Result<(), Problem> {
        Ok(self.state.stop_terms(&clock::boot(), clock::since_boot())?)
    }

    /// Has the time count again, for everything that stands still.
    pub(super) fn let_time_go_on(&mut self) -> Result<(), Problem> {
        let (boot, at) = (clock::boot(), clock::since_boot());
        // After another boot it begins anew.
        let stands = |term: &Term| term.stopped.is_some() && term.boot == boot;
        if let Some(mut trial) = self.state.trial()?.filter(|trial| stands(&trial.term)) {
            let stood = trial.term.go_on(at);
            trial.health.values_mut().for_each(|watch| watch.put_off(stood));
            self.state.try_generation(&trial)?;
        }
        if let Some(mut pin) = self.state.pinned()?
            && let Some(lost) = pin.lost_remote.as_mut().filter(|lost| stands(&lost.term))
        {
            lost.term.go_on(at);
            self.state.set_pin(Some(&pin))?;
        }
        Ok(())
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
    fn time_that_stands_still_does_not_count() {
        let mut term = Term { boot: "b".into(), uptime: 1_000, note: (0, 0), stopped: None };
        assert_eq!(term.go_on(5_000), 0);
        assert!(term.stop("b", 3_000) && !term.stop("b", 9_000));
        assert_eq!((term.go_on(63_000), term.uptime, term.stopped), (60_000, 61_000, None));
        assert_eq!(term.elapsed(64_000), Duration::from_millis(3_000));
        assert!(!term.stop("another boot", 70_000));
    }

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
            let term = Term { boot: "b".into(), uptime: 100, note: known, stopped: None };
            assert_eq!(term.is_proven_by(note.as_ref()), expected, "{note:?}");
        }
    }
}
