//! A run that could not even begin, or lost its state: it has no report of its own, but whoever asks for the status must hear of it.

use crate::config::Paths;
use crate::error::Problem;
use crate::report::status::{Health, RunStatus, Sync, load, save};
use crate::report::{Event, EventKind, journal};
use crate::state::Cause;
use crate::system::clock;

/// Puts the problem into the status, which keeps what the last run said otherwise, and into the journal when it is new.
pub fn report_failure(paths: &Paths, cause: Cause, problem: &Problem) {
    let before: RunStatus = load(&paths.status()).unwrap_or_default();
    let known = before.problems.contains(problem);
    let status = RunStatus {
        time: clock::now(),
        took: 0,
        corrected: Vec::new(),
        cause: cause.word().to_owned(),
        sync: Sync::Unknown,
        health: Health::Degraded,
        problems: vec![problem.clone()],
        ..before
    };
    // Whoever asked for the run is told in any case.
    let _ = save(&paths.status(), &status);
    if !known {
        let revision = status.revision.as_ref();
        journal::write(&Event {
            time: status.time,
            kind: Some(EventKind::RunFailed),
            message: problem.to_string(),
            code: Some(problem.code.clone()),
            revision: revision.map(ToString::to_string),
            commit: revision.map(|revision| revision.commit.clone()),
            ..Event::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_added_to_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { run: folder.path().join("not/there"), ..Paths::default() };
        let before = RunStatus {
            seen: Some("12ab".into()),
            sync: Sync::Synced,
            health: Health::Healthy,
            ..RunStatus::default()
        };
        save(&paths.status(), &before).unwrap();
        let problem = Problem {
            code: "E503".into(),
            what: "damaged".into(),
            place: None,
            why: Vec::new(),
            remedy: "restore".into(),
            excerpt: None,
        };
        report_failure(&paths, Cause::Period, &problem);
        let after: RunStatus = load(&paths.status()).unwrap();
        assert_eq!((after.sync, after.health), (Sync::Unknown, Health::Degraded));
        assert_eq!((after.seen, after.problems), (before.seen, vec![problem]));
    }
}
