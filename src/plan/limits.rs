//! How much may be removed or changed at once without a word from somebody.
//!
//! Who says the word names what is meant: an operator on the host for this one run, or the branch for resources by name and until a day, so
//! that a word given once does not excuse the next accident.

use std::collections::HashSet;

use super::{Plan, PlanError};
use crate::error::Code;
use crate::resource::ResourceId;

/// So many removals are never too many: small inventories must not be stuck.
const FEW_REMOVALS: usize = 3;
/// So many changes are never too many.
const FEW_CHANGES: usize = 10;
/// How many names a message has.
const NAMED: usize = 5;

/// What to do about things that left the branch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prune {
    /// Leave them.
    #[default]
    Never,
    /// Remove them, but no more than this percentage of what is managed.
    Within(u8),
    /// Remove them all; somebody said so.
    Confirmed,
}

/// What is to be removed, for the judgement whether it is too much.
pub(super) struct Removals<'a> {
    /// What would go.
    pub(super) removed: Vec<&'a ResourceId>,
    /// Of those, what the branch confirms.
    pub(super) confirmed: usize,
    /// How many resources are declared.
    pub(super) desired: usize,
    /// How many are managed.
    pub(super) inventory: usize,
}

impl Removals<'_> {
    /// Why nothing is removed.
    pub(super) fn refuse(&self, prune: Prune) -> Option<PlanError> {
        let count = self.removed.len();
        let percent = match prune {
            Prune::Confirmed => return None,
            Prune::Never => {
                return Some(refused("pruning is off".into(), "set `prune = true` under [apply]".into()));
            }
            // Nobody confirms this from afar: a branch that declares nothing is a mistake more often than not.
            Prune::Within(_) if self.desired == 0 => {
                let message = format!(
                    "nothing at all is declared for this host any more; {count} managed resources would be removed: {}",
                    names(&self.removed)
                );
                return Some(refused(
                    message,
                    "if that is meant, run `abide sync --prune` on the host".into(),
                ));
            }
            Prune::Within(percent) => percent,
        };
        if !is_much(count - self.confirmed, self.inventory, percent, FEW_REMOVALS) {
            return None;
        }
        let message = format!(
            "{count} of {} managed resources would be removed, more than {percent} %: {}",
            self.inventory,
            names(&self.removed)
        );
        let help = format!(
            "if that is meant, put this into fleet.toml with a day as `until`, or run `abide sync --prune` on the host:{}",
            confirmation("remove", &self.removed)
        );
        Some(refused(message, help))
    }
}

/// What a new revision changes of what is in force, when it is more than it may without a word: that, and how many are in force.
pub fn too_many_changes<'a>(
    plan: &'a Plan,
    in_force: &HashSet<ResourceId>,
    confirmed: impl Fn(&ResourceId) -> bool,
    percent: u8,
) -> Option<PlanError> {
    let changed: Vec<&'a ResourceId> = plan
        .steps
        .iter()
        .filter(|step| !step.prune && !step.report_only && in_force.contains(&step.resource))
        .map(|step| &step.resource)
        .collect();
    let unconfirmed = changed.iter().filter(|id| !confirmed(id)).count();
    if !is_much(unconfirmed, in_force.len(), percent, FEW_CHANGES) {
        return None;
    }
    let message = format!(
        "this revision would change {} of the {} resources in force, more than {percent} %: {}",
        changed.len(),
        in_force.len(),
        names(&changed)
    );
    let help = format!(
        "if that is meant, put this into fleet.toml with a day as `until`, or run `abide sync --all-changes` on the host:{}",
        confirmation("change", &changed)
    );
    Some(PlanError::new(ResourceId::new("change", "revision"), Code("E370"), message, help))
}

fn is_much(count: usize, all: usize, percent: u8, few: usize) -> bool {
    count > few && count * 100 > all * usize::from(percent)
}

fn refused(message: String, help: String) -> PlanError {
    PlanError::new(ResourceId::new("prune", "inventory"), Code("E304"), message, help)
}

/// The first few of them.
fn names(resources: &[&ResourceId]) -> String {
    let mut text: Vec<String> = resources.iter().take(NAMED).map(ToString::to_string).collect();
    if resources.len() > NAMED {
        text.push(format!("… and {} more", resources.len() - NAMED));
    }
    text.join(", ")
}

/// The table that confirms them: each by its name, where they are few; else the folder or the kind that they share.
fn confirmation(key: &str, resources: &[&ResourceId]) -> String {
    let patterns: Vec<String> = match resources.len() <= NAMED {
        true => resources.iter().map(|id| format!("\"{id}\"")).collect(),
        false => shared(resources).into_iter().map(|pattern| format!("\"{pattern}\"")).collect(),
    };
    format!("\n[[confirm]]\n{key} = [{}]\nuntil = \"YYYY-MM-DD\"", patterns.join(", "))
}

/// For each kind the longest beginning that all of them have.
fn shared(resources: &[&ResourceId]) -> Vec<String> {
    let mut kinds: Vec<(&str, String, usize)> = Vec::new();
    for id in resources {
        match kinds.iter_mut().find(|(kind, ..)| *kind == id.kind) {
            None => kinds.push((&id.kind, id.name.clone(), 1)),
            Some((_, start, count)) => {
                let same = start.chars().zip(id.name.chars()).take_while(|(a, b)| a == b);
                *start = same.map(|(letter, _)| letter).collect();
                *count += 1;
            }
        }
    }
    let pattern = |(kind, start, count): (&str, String, usize)| match count {
        1 => format!("{kind}:{start}"),
        _ => format!("{kind}:{start}*"),
    };
    kinds.into_iter().map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<ResourceId> {
        names.iter().map(|name| ResourceId::parse(name).unwrap()).collect()
    }

    #[test]
    fn a_few_are_never_much() {
        for (count, all, percent, much) in [
            (3, 3, 30, false),
            (4, 5, 30, true),
            (4, 14, 30, false),
            (5, 10, 50, false),
            (6, 10, 50, true),
            (10, 10, 100, false),
        ] {
            assert_eq!(is_much(count, all, percent, FEW_REMOVALS), much, "{count} of {all}");
        }
    }

    #[test]
    fn a_refusal_names_what_would_go_and_how_to_confirm_it() {
        let many = ids(&[
            "file:/etc/a/1",
            "file:/etc/a/2",
            "package:x",
            "file:/etc/a/3",
            "file:/etc/a/4",
            "file:/etc/a/5",
        ]);
        let removals = |confirmed, desired| Removals {
            removed: many.iter().collect(),
            confirmed,
            desired,
            inventory: 8,
        };
        let error = removals(0, 2).refuse(Prune::Within(30)).unwrap();
        assert!(error.message.contains("6 of 8 managed resources"), "{}", error.message);
        assert!(error.message.contains("file:/etc/a/1, file:/etc/a/2, package:x"), "{}", error.message);
        assert!(error.message.ends_with("… and 1 more"), "{}", error.message);
        let table = "[[confirm]]\nremove = [\"file:/etc/a/*\", \"package:x\"]\nuntil = \"YYYY-MM-DD\"";
        assert!(error.help.ends_with(table), "{}", error.help);
        assert!(removals(3, 2).refuse(Prune::Within(30)).is_none(), "what is confirmed does not count");
        assert!(
            removals(6, 0).refuse(Prune::Within(30)).is_some(),
            "an empty state is confirmed on the host only"
        );
        assert!(removals(0, 0).refuse(Prune::Confirmed).is_none());
    }

    #[test]
    fn much_is_what_a_revision_changes_of_what_is_in_force() {
        let names: Vec<String> = (0..20).map(|number| format!("/{number}")).collect();
        let step = |name: &String, prune| super::super::Step {
            resource: ResourceId::new("symlink", name),
            prune,
            ..crate::plan::testing::step()
        };
        let in_force: HashSet<ResourceId> =
            names.iter().map(|name| ResourceId::new("symlink", name)).collect();
        let plan = |count: usize, prune| Plan {
            steps: names.iter().take(count).map(|name| step(name, prune)).collect(),
            ..Plan::default()
        };
        let judge = |plan: &Plan, percent| too_many_changes(plan, &in_force, |_| false, percent).is_some();
        assert!(!judge(&plan(10, false), 20), "ten are few");
        assert!(judge(&plan(11, false), 50));
        assert!(!judge(&plan(11, false), 60));
        assert!(!judge(&plan(20, false), 100), "off");
        assert!(!judge(&plan(20, true), 10), "removals are for the other limit");
        assert!(too_many_changes(&plan(20, false), &in_force, |id| id.name == "/0", 10).is_some());
        assert!(too_many_changes(&plan(20, false), &in_force, |_| true, 10).is_none());
        assert!(too_many_changes(&plan(20, false), &HashSet::new(), |_| false, 10).is_none(), "a first run");
    }
}
