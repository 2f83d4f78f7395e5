//! What a unit has to be told at most once, and which changes make systemd read its files again.

use std::collections::BTreeMap;
use std::path::Path;

use super::effector::UnitChange;
use crate::plan::{Effect, Step, UnitAction};
use crate::state::Notification;

/// The jobs of one batch: for each unit the strongest one. A start or a stop makes restart and reload needless, a restart makes
/// a reload needless. Answers, for each change of the list, with the position of the change that stands for it.
pub(super) fn coalesce(changes: &[UnitChange]) -> (Vec<UnitChange>, Vec<usize>) {
    let mut kept: Vec<UnitChange> = Vec::new();
    let mut stands_for = Vec::with_capacity(changes.len());
    // Where each unit's job is among the kept.
    let mut jobs: BTreeMap<&str, usize> = BTreeMap::new();
    for change in changes {
        let Some(strength) = strength(change.action) else {
            let same =
                kept.iter().position(|other| other.unit == change.unit && other.action == change.action);
            stands_for.push(same.unwrap_or(kept.len()));
            if same.is_none() {
                kept.push(change.clone());
            }
            continue;
        };
        match jobs.get(change.unit.as_str()).copied() {
            None => {
                jobs.insert(&change.unit, kept.len());
                stands_for.push(kept.len());
                kept.push(change.clone());
            }
            Some(position) => {
                let job = &mut kept[position];
                if Some(strength) > self::strength(job.action) {
                    job.action = change.action;
                }
                job.timeout = job.timeout.max(change.timeout);
                stands_for.push(position);
            }
        }
    }
    (kept, stands_for)
}

/// How a job compares with another of the same unit; `None` for what is not a job.
fn strength(action: UnitAction) -> Option<u8> {
    match action {
        UnitAction::Reload => Some(1),
        UnitAction::Restart => Some(2),
        UnitAction::Start => Some(3),
        UnitAction::Stop => Some(4),
        _ => None,
    }
}

/// What is not owed any more once this was done to a unit.
pub(super) fn pays(change: &UnitChange) -> Option<Notification> {
    match change.action {
        UnitAction::Reload => Some(Notification::Reload(change.unit.clone())),
        UnitAction::Restart | UnitAction::Start | UnitAction::Stop => {
            Some(Notification::Restart(change.unit.clone()))
        }
        _ => None,
    }
}

/// What a step is to tell others when something that it needs changes.
pub(super) fn notifications(step: &Step) -> Vec<Notification> {
    let notification = |effect: &Effect| match effect {
        Effect::Unit { unit, action: UnitAction::Reload, .. } => Some(Notification::Reload(unit.clone())),
        Effect::Unit { unit, action: UnitAction::Restart, .. } => Some(Notification::Restart(unit.clone())),
        Effect::Run(_) => Some(Notification::Refresh(step.resource.clone())),
        _ => None,
    };
    let mut found: Vec<Notification> = step.change.effects.iter().filter_map(notification).collect();
    found.dedup();
    found
}

/// Whether systemd has to read its unit files again after this.
pub(super) fn needs_reload(effect: &Effect) -> bool {
    match effect {
        // Packages bring units, and not every maintainer script tells systemd.
        Effect::Package(_) | Effect::DaemonReload => true,
        Effect::Unit { .. } | Effect::User(_) | Effect::Group(_) | Effect::Run(_) => false,
        _ => super::schedule::path(effect).is_some_and(is_unit_path),
    }
}

/// Whether systemd reads its system units from here: systemd.unit(5), "Unit File Load Path".
fn is_unit_path(path: &Path) -> bool {
    const FOLDERS: &[&str] = &[
        "/etc/systemd/system",
        "/etc/systemd/system.control",
        "/etc/systemd/system.attached",
        "/run/systemd/system",
        "/run/systemd/system.control",
        "/run/systemd/transient",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    FOLDERS.iter().any(|folder| path != Path::new(folder) && path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnitAction::{Enable, Reload, Restart, Start, Stop};

    #[test]
    fn a_unit_gets_one_job() {
        for (actions, expected) in [
            (vec![Reload, Reload], vec![Reload]),
            (vec![Reload, Restart, Reload], vec![Restart]),
            (vec![Restart, Start], vec![Start]),
            (vec![Enable, Start, Enable, Restart], vec![Enable, Start]),
            (vec![Restart, Stop], vec![Stop]),
        ] {
            let change = |action| UnitChange { unit: "a.service".into(), action, timeout: 9 };
            let changes: Vec<UnitChange> = actions.iter().copied().map(change).collect();
            let (kept, stands_for) = coalesce(&changes);
            assert_eq!(kept.iter().map(|change| change.action).collect::<Vec<_>>(), expected, "{actions:?}");
            assert_eq!(stands_for.len(), actions.len());
            assert!(stands_for.iter().all(|position| *position < kept.len()));
        }
    }

    #[test]
    fn only_unit_files_make_systemd_read_again() {
        for (path, expected) in [
            ("/etc/systemd/system/a.service", true),
            ("/etc/systemd/system/a.service.d/x.conf", true),
            ("/usr/lib/systemd/system/b.timer", true),
            ("/etc/systemd/system", false),
            ("/etc/systemd/journald.conf", false),
            ("/etc/motd", false),
        ] {
            assert_eq!(is_unit_path(Path::new(path)), expected, "{path}");
        }
    }
}
