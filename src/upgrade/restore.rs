//! Put the version back that worked. Each step can be taken again: a power cut in the middle only means that it is.

use std::path::Path;
use std::time::Duration;

use super::{COPY, PACKAGE, PROGRAM, Record, Refused, UNITS, UpgradeError, WithoutPackage, disarm, sha256};
use crate::converge::report_failure;
use crate::daemon::poll::UNIT as FETCHER;
use crate::daemon::program::UNIT as AGENT;
use crate::error::Problem;
use crate::report::{Event, EventKind, journal};
use crate::state::{Cause, Pin, State, StateError, return_to_kept};
use crate::system::lock::Lock;
use crate::system::packages::{self, PackageManager};
use crate::system::systemd::{Systemd, SystemdError};
use crate::system::{clock, replace};

/// How long an agent and a run may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOK: Duration = Duration::from_millis(100);

/// Puts the former version back, has the commit that brought the other one given up, and ends the guard.
pub(super) fn restore(folder: &Path, record: &Record, reason: &str) -> Result<(), Problem> {
    // Whoever brought it by hand did not say what.
    let latter = record.latter.clone().or_else(|| installed().filter(|version| *version != record.former));
    let record = &Record { reason: Some(reason.to_owned()), latter, ..record.clone() };
    record.save(folder).map_err(UpgradeError::Stuck)?;
    journal::note(&format!("the new version of abide does not work: {reason}"));
    let systemd = Systemd::connect()?;
    stop(&systemd)?;
    let lock = wait_for_lock(record);
    let without_package = program(folder, record)?;
    systemd.daemon_reload()?;
    // Nobody else may have the state open while it is replaced.
    let state_failure = match lock {
        Some(_) => return_to_kept(&record.state, folder, clock::now()).map(drop),
        None => Ok(()),
    };
    let undone = give_up(record, reason, without_package, state_failure.err());
    drop(lock);
    // Before the record goes: what dies here is done once more.
    match record.agent {
        true => systemd.restart_later(AGENT)?,
        // Nobody makes a run that would say it.
        false => report_failure(&record.paths(), Cause::Boot, &undone),
    }
    disarm(folder).map_err(UpgradeError::Stuck)?;
    Ok(systemd.daemon_reload()?)
}

fn installed() -> Option<String> {
    let states = packages::detect()?.observe(&[PACKAGE.to_owned()].into()).ok()?;
    states.get(PACKAGE)?.installed.clone()
}

/// Ends the agent with its run, whatever it says to that, and a poll that the new version has begun.
fn stop(systemd: &Systemd) -> Result<(), SystemdError> {
    systemd.stop_later(AGENT)?;
    systemd.kill(FETCHER)?;
    let deadline = clock::instant() + PATIENCE;
    while !matches!(systemd.service(AGENT)?.active.as_str(), "inactive" | "failed") {
        if clock::instant() >= deadline {
            systemd.kill(AGENT)?;
        }
        clock::wait(LOOK);
    }
    Ok(())
}

/// A run by hand may end; one that does not is not waited for for ever.
fn wait_for_lock(record: &Record) -> Option<Lock> {
    let deadline = clock::instant() + PATIENCE;
    while clock::instant() < deadline {
        match Lock::try_take(&record.paths().lock()) {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => clock::wait(LOOK),
            Err(_) => return None,
        }
    }
    None
}

/// Installs the former package; failing that, puts the program and its units back alone, and says why.
fn program(folder: &Path, record: &Record) -> Result<Option<UpgradeError>, UpgradeError> {
    let manager: Option<Box<dyn PackageManager>> = packages::detect();
    let failure = match &manager {
        None => Some("the host has no package manager that abide knows".to_owned()),
        Some(manager) => {
            let file = record.package.as_ref().map(|name| folder.join(name));
            let (name, former) = (manager.name(), &record.former);
            match packages::reinstate(name, PACKAGE, former, file.as_deref(), &mut |_| {}) {
                Ok(()) => None,
                Err(error) => Some(error.to_string()),
            }
        }
    };
    let same = |path: &Path| sha256(path).is_ok_and(|sum| sum == record.program);
    if failure.is_none() && same(Path::new(PROGRAM)) {
        return Ok(None);
    }
    replace::copy(&folder.join(COPY), Path::new(PROGRAM), 0o755).map_err(UpgradeError::Stuck)?;
    for unit in UNITS.map(Path::new) {
        let kept = folder.join(unit.file_name().unwrap_or_default());
        if kept.exists() {
            replace::copy(&kept, unit, 0o644).map_err(UpgradeError::Stuck)?;
        }
    }
    let why = failure.unwrap_or_else(|| "the former package holds another program".into());
    Ok(Some(UpgradeError::WithoutPackage { why }))
}

/// Notes what happened, and that it is not tried again. What is wrong, for the status.
fn give_up(
    record: &Record,
    reason: &str,
    without_package: Option<UpgradeError>,
    state_failure: Option<StateError>,
) -> Problem {
    let mut undone = Problem::from(UpgradeError::Undone {
        revision: record.revision.clone(),
        latter: record.latter.as_ref().map(|version| format!(" {version}")).unwrap_or_default(),
        former: if record.former.is_empty() { "the former one".into() } else { record.former.clone() },
        reason: reason.to_owned(),
    });
    let loud = without_package.map(Problem::from);
    undone.why.extend(loud.iter().map(|problem| problem.what.clone()));
    let events: Vec<Event> = [Some(&undone), loud.as_ref()].into_iter().flatten().map(event).collect();
    events.iter().for_each(journal::write);
    if let Err(error) = state_failure.map_or_else(|| note(record, &undone, loud, &events), Err) {
        // The former program says the same about the state with its first run; that it is back is told above.
        undone.why.push(error.to_string());
    }
    undone
}

fn event(problem: &Problem) -> Event {
    Event {
        time: clock::now(),
        kind: Some(EventKind::UpgradeUndone),
        message: problem.to_string(),
        code: Some(problem.code.clone()),
        ..Event::default()
    }
}

/// The commit is given up as a failed trial is, if it was new; the version is not installed again for it in any case.
fn note(
    record: &Record,
    undone: &Problem,
    without_package: Option<Problem>,
    events: &[Event],
) -> Result<(), StateError> {
    let mut state = State::open(&record.state)?;
    state.add_events(events)?;
    state.refuse_upgrade(Some(&Refused {
        commit: record.commit.clone(),
        version: record.latter.clone(),
        reason: undone.clone(),
    }))?;
    state.set_without_package(without_package.and_then(WithoutPackage::now).as_ref())?;
    let generation = state.generation_of(&record.commit)?.filter(|_| record.brought);
    let Some(generation) = generation else { return state.leave() };
    if let Some(good) = state.good_before(generation.id)? {
        let mark = state.high_water()?.map(|mark| mark.commit);
        let pin = Pin {
            generation: good.id,
            commit: good.revision.commit,
            from: mark.unwrap_or_else(|| record.commit.clone()),
            reason: undone.clone(),
            by: String::new(),
            since: clock::now(),
            whole: false,
            lost_remote: None,
        };
        state.pin(Some(generation.id), &pin)?;
    }
    state.leave()
}
