//! What a plan would take away although it is in use: those steps wait, and the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::waits::{Obstacle, Wait};
use super::{Effect, PackageOperation, Plan, Reach, Step};
use crate::resource::{Declared, Enforce};
use crate::system::observe::Observed;
use crate::system::usage::Usage;

/// How many processes a message names.
const NAMED: usize = 3;

/// Whether anything of the plan has to be held against what is in use.
pub fn matters(plan: &Plan) -> bool {
    plan.steps.iter().filter(|step| !step.is_left()).flat_map(|step| &step.change.effects).any(takes_away)
}

fn takes_away(effect: &Effect) -> bool {
    match effect {
        Effect::User(action) => action.absent,
        Effect::Group(action) => action.absent,
        Effect::Remove { .. } | Effect::WriteFile(_) => true,
        Effect::Package(action) => removes(action.operation),
        _ => false,
    }
}

fn removes(operation: PackageOperation) -> bool {
    matches!(operation, PackageOperation::Remove | PackageOperation::Purge)
}

/// Unit files of services that are declared to run, and run: a package that holds one is in use.
pub fn running<'a>(desired: &'a [Declared], observed: &'a Observed) -> Vec<(&'a str, &'a Path)> {
    let services = desired
        .iter()
        .filter(|declared| declared.id.kind == "service" && declared.common.enforce == Enforce::Yes);
    let units = services.flat_map(|declared| {
        let mut reach = Vec::new();
        declared.resource.reach(&mut reach);
        reach.into_iter().filter_map(|reach| match reach {
            Reach::Unit(unit) => Some(unit),
            _ => None,
        })
    });
    let running = units.filter_map(|unit| {
        let (name, state) = observed.units.get_key_value(&unit)?;
        let runs = state.active == "active" && !state.fragment.as_os_str().is_empty();
        runs.then_some((name.as_str(), state.fragment.as_path()))
    });
    running.collect()
}

/// The steps that wait because of what is in use. `files` knows the files of an installed package.
pub fn judge(
    plan: &Plan,
    usage: &Usage,
    running: &[(&str, &Path)],
    files: impl Fn(&str) -> Vec<std::path::PathBuf>,
) -> BTreeMap<usize, Wait> {
    let mut waits = BTreeMap::new();
    let steps = || plan.steps.iter().enumerate().filter(|(_, step)| !step.is_left());
    for (position, step) in steps() {
        let obstacle = step.change.effects.iter().find_map(|effect| match effect {
            Effect::User(action) if action.absent => user(usage, &action.name),
            Effect::Remove { path, recursive } => taken(usage, path, *recursive),
            Effect::WriteFile(file) if !file.in_place => replaced(usage, &file.path),
            Effect::Package(action) if removes(action.operation) => {
                let name = action.name.split(':').next().unwrap_or_default();
                let files = if running.is_empty() { Vec::new() } else { files(name) };
                let service = running.iter().find(|(_, fragment)| holds(&files, fragment));
                service.map(|(unit, _)| {
                    wait(Obstacle::Package, format!("{unit}, which is declared and runs, is in it"))
                })
            }
            _ => None,
        });
        if let Some(wait) = obstacle {
            waits.insert(position, wait);
        }
    }
    // A user who goes in this run keeps no group.
    let goes = steps().filter(|(position, _)| !waits.contains_key(position));
    let leaving: BTreeSet<&str> = goes.filter_map(|(_, step)| removed_user(step)).collect();
    let groups: Vec<(usize, Wait)> = steps()
        .filter_map(|(position, step)| {
            let group = step.change.effects.iter().find_map(|effect| match effect {
                Effect::Group(action) if action.absent => usage.groups.get(&action.name),
                _ => None,
            })?;
            let owner =
                usage.users.iter().find(|(name, _, own)| own == group && !leaving.contains(name.as_str()));
            owner.map(|(name, ..)| {
                (position, wait(Obstacle::Group, format!("it is the primary group of {name}")))
            })
        })
        .collect();
    waits.extend(groups);
    waits
}

fn wait(obstacle: Obstacle, why: String) -> Wait {
    Wait { what: format!("in use: {why}"), until: None, obstacle: Some(obstacle) }
}

fn removed_user(step: &Step) -> Option<&str> {
    step.change.effects.iter().find_map(|effect| match effect {
        Effect::User(action) if action.absent => Some(action.name.as_str()),
        _ => None,
    })
}

fn user(usage: &Usage, name: &str) -> Option<Wait> {
    let (_, uid, _) = usage.users.iter().find(|(known, ..)| known == name)?;
    if let Some(processes) = usage.processes.get(uid) {
        let shown: Vec<String> =
            processes.iter().take(NAMED).map(|(pid, name)| format!("{pid} ({name})")).collect();
        let more = processes.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Some(wait(Obstacle::User, format!("{name} runs {}{more}", shown.join(", "))));
    }
    usage.sessions.contains(uid).then(|| wait(Obstacle::User, format!("{name} is logged in")))
}

/// What is removed: the path itself, or with everything below it.
fn taken(usage: &Usage, path: &Path, recursive: bool) -> Option<Wait> {
    let used = usage.paths.iter().find(|(used, _)| used == path || recursive && used.starts_with(path))?;
    Some(wait(Obstacle::Path, format!("{}: {}", used.0.display(), used.1)))
}

/// A file that is replaced; one that something is mounted on is refused before, or written in place.
fn replaced(usage: &Usage, path: &Path) -> Option<Wait> {
    let used = usage.paths.iter().find(|(used, why)| used == path && !why.contains("mounted"))?;
    Some(wait(Obstacle::Path, format!("{}: {}", used.0.display(), used.1)))
}

/// Whether a unit file is one of a package's, also where `/lib` is a link to `/usr/lib`.
fn holds(files: &[std::path::PathBuf], fragment: &Path) -> bool {
    let plain = |path: &Path| {
        path.strip_prefix("/usr").map(|rest| Path::new("/").join(rest)).unwrap_or(path.to_owned())
    };
    let wanted = plain(fragment);
    files.iter().any(|file| plain(file) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::step;
    use crate::plan::{GroupAction, PackageAction, PackageOptions, UserAction};

    fn user_gone(name: &str) -> Effect {
        Effect::User(UserAction { name: name.into(), absent: true, ..UserAction::default() })
    }

    fn group_gone(name: &str) -> Effect {
        Effect::Group(GroupAction { name: name.into(), absent: true, system: false, gid: None })
    }

    fn remove(path: &str, recursive: bool) -> Effect {
        Effect::Remove { path: path.into(), recursive }
    }

    fn package_gone(name: &str) -> Effect {
        Effect::Package(PackageAction {
            name: name.into(),
            operation: PackageOperation::Remove,
            version: None,
            options: PackageOptions::default(),
        })
    }

    fn usage() -> Usage {
        Usage {
            processes: [(
                1000,
                vec![(7, "sleep".into()), (8, "a".into()), (9, "b".into()), (10, "c".into())],
            )]
            .into(),
            sessions: vec![1001],
            paths: vec![
                ("/srv/data".into(), "something is mounted there"),
                ("/swap".into(), "it is swapped to"),
            ],
            users: vec![("ada".into(), 1000, 50), ("bob".into(), 1001, 51), ("eve".into(), 1002, 52)],
            groups: [("staff".to_owned(), 50), ("eve".to_owned(), 52), ("empty".to_owned(), 60)].into(),
        }
    }

    #[test]
    fn what_is_in_use_waits_and_says_why() {
        let running = [("web.service", Path::new("/lib/systemd/system/web.service"))];
        let files = |name: &str| match name {
            "web" => vec!["/usr/lib/systemd/system/web.service".into()],
            _ => Vec::new(),
        };
        for (effects, expected) in [
            (vec![user_gone("ada")], "in use: ada runs 7 (sleep), 8 (a), 9 (b) and 1 more"),
            (vec![user_gone("bob")], "in use: bob is logged in"),
            (vec![user_gone("eve")], ""),
            (vec![user_gone("nobody-here")], ""),
            (vec![group_gone("staff")], "in use: it is the primary group of ada"),
            (vec![group_gone("empty")], ""),
            (vec![group_gone("eve")], "in use: it is the primary group of eve"),
            (vec![remove("/srv/data", false)], "in use: /srv/data: something is mounted there"),
            (vec![remove("/srv", true)], "in use: /srv/data: something is mounted there"),
            (vec![remove("/srv", false)], ""),
            (vec![remove("/srv/database", true)], ""),
            (vec![remove("/other", false), remove("/swap", false)], "in use: /swap: it is swapped to"),
            (vec![package_gone("web:amd64")], "in use: web.service, which is declared and runs, is in it"),
            (vec![package_gone("other")], ""),
        ] {
            let mut step = step();
            step.change.effects = effects;
            let plan = Plan { steps: vec![step], ..Plan::default() };
            let waits = judge(&plan, &usage(), &running, files);
            assert_eq!(waits.get(&0).map_or("", |wait| wait.what.as_str()), expected);
        }
    }

    #[test]
    fn a_group_goes_with_its_user_unless_that_one_stays() {
        let of = |names: [&str; 2]| {
            let mut steps = [step(), step()];
            steps[0].change.effects = vec![user_gone(names[0])];
            steps[1].change.effects = vec![group_gone(names[1])];
            let plan = Plan { steps: steps.into(), ..Plan::default() };
            judge(&plan, &usage(), &[], |_| Vec::new()).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(of(["eve", "eve"]), Vec::<usize>::new());
        assert_eq!(of(["ada", "staff"]), [0, 1]);
    }
}
