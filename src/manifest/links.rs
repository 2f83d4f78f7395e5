//! What resources of a host are to each other: doubles, two that claim one path, references to nothing.

use std::collections::HashMap;
use std::path::PathBuf;

use super::declare::{Checked, Entry, Reference};
use super::diagnostic::{Diagnostic, Diagnostics, Place};
use super::document::role_names;
use super::health::Health;
use super::node;
use super::rules::Rules;
use super::tree::Tree;
use crate::resource::{Provision, ResourceId};

/// Merges doubles and reports conflicts.
pub(crate) fn merge(entries: Vec<Entry>, problems: &mut Diagnostics) -> Vec<Entry> {
    let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut known: HashMap<ResourceId, usize> = HashMap::with_capacity(entries.len());
    for entry in entries {
        match known.get(&entry.declared.id).map(|position| &kept[*position]) {
            None => {
                known.insert(entry.declared.id.clone(), kept.len());
                kept.push(entry);
            }
            Some(first) if same(first, &entry) => {}
            Some(first) => {
                let message = format!("{} is declared twice, differently", entry.declared.id);
                let help = "make both the same, or declare it in one role and include that role";
                problems.push(both("E211", message, &entry, first, help));
            }
        }
    }
    kept
}

fn same(first: &Entry, second: &Entry) -> bool {
    first.declared.common == second.declared.common && first.declared.resource == second.declared.resource
}

fn both(code: &'static str, message: String, later: &Entry, first: &Entry, help: &str) -> Diagnostic {
    let label = |entry: &Entry| format!("declared by role `{}`", entry.declared.origin.role);
    let place = |entry: &Entry| Place { label: label(entry), ..entry.place.clone() };
    Diagnostic::new(code, message, place(later), help).and(place(first))
}

/// Reports two resources that manage one path.
pub(crate) fn paths(entries: &[Entry], problems: &mut Diagnostics) {
    let mut owners: HashMap<&PathBuf, &Entry> = HashMap::new();
    for entry in entries {
        // A user's home exists once the user does, but is not managed by it.
        if ["user", "group", "package"].contains(&entry.declared.id.kind.as_str()) {
            continue;
        }
        for provision in &entry.relations.provides {
            let Provision::Path(path) = provision else { continue };
            match owners.insert(path, entry) {
                Some(first) if first.declared.id != entry.declared.id => {
                    let message = format!(
                        "{} and {} both manage {}",
                        first.declared.id,
                        entry.declared.id,
                        path.display()
                    );
                    problems.push(both("E212", message, entry, first, "remove one of them"));
                }
                _ => {}
            }
        }
    }
}

/// Reports windows that a resource is to wait for and that nobody declares.
pub(crate) fn windows(entries: &[Entry], rules: &Rules, problems: &mut Diagnostics) {
    for entry in entries {
        let Some(name) = &entry.declared.common.only_in_window else { continue };
        let mut names = rules.windows.iter().filter_map(|window| window.name.as_deref());
        if !names.clone().any(|known| known == name) {
            let help = match node::nearest(name, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.next().is_none() => {
                    "add `[[windows]]` with this `name` to fleet.toml, a role or hosts/NAME.toml".to_owned()
                }
                None => "give the `name` of one of the windows of fleet.toml, the roles or hosts/NAME.toml"
                    .to_owned(),
            };
            let message = format!("there is no window `{name}` for {}", entry.declared.id);
            problems.push(Diagnostic::new("E224", message, entry.place.clone(), help));
        }
    }
}

/// Reports references to what nobody declares; drops those to what is not declared on this host only.
pub(crate) fn references(
    tree: &dyn Tree,
    entries: &mut [Entry],
    checks: &mut Vec<Checked>,
    dropped: &std::collections::HashSet<ResourceId>,
    problems: &mut Diagnostics,
) {
    let declared: std::collections::HashSet<ResourceId> =
        entries.iter().map(|entry| entry.declared.id.clone()).collect();
    for entry in entries.iter_mut() {
        report_missing(tree, &entry.references, &declared, dropped, problems);
        let common = &mut entry.declared.common;
        common.after.retain(|id| declared.contains(id));
        common.before.retain(|id| declared.contains(id));
    }
    for check in checks.iter_mut() {
        report_missing(tree, &check.references, &declared, dropped, problems);
        check.health.resources.retain(|id| declared.contains(id));
    }
    // One that is only about what this host does not have is not about this host.
    checks.retain(|check| check.references.is_empty() || !check.health.resources.is_empty());
}

fn report_missing(
    tree: &dyn Tree,
    references: &[Reference],
    declared: &std::collections::HashSet<ResourceId>,
    dropped: &std::collections::HashSet<ResourceId>,
    problems: &mut Diagnostics,
) {
    for reference in references {
        if declared.contains(&reference.id) || dropped.contains(&reference.id) {
            continue;
        }
        let help = remedy(tree, &reference.id, declared);
        let message = format!("{} is not declared on this host", reference.id);
        problems.push(Diagnostic::new("E213", message, reference.place.clone(), help));
    }
}

/// Health checks by name: doubles are merged, and those that are not the same reported.
pub(crate) fn checks(checks: Vec<Checked>, problems: &mut Diagnostics) -> Vec<Health> {
    let mut kept: Vec<Checked> = Vec::with_capacity(checks.len());
    for check in checks {
        let Some(first) = kept.iter().find(|first| first.health.name == check.health.name) else {
            kept.push(check);
            continue;
        };
        if !first.health.is_like(&check.health) {
            let message = format!("the health check `{}` is declared twice, differently", check.health.name);
            let label = |check: &Checked| Place {
                label: format!("declared by role `{}`", check.health.origin.role),
                ..check.place.clone()
            };
            let help = "make both the same, or give one another name";
            problems.push(Diagnostic::new("E225", message, label(&check), help).and(label(first)));
        }
    }
    kept.into_iter().map(|check| check.health).collect()
}

fn remedy(tree: &dyn Tree, id: &ResourceId, declared: &std::collections::HashSet<ResourceId>) -> String {
    // Sorted, so that the answer does not depend on the order of a hash.
    let names: std::collections::BTreeSet<String> = declared.iter().map(ToString::to_string).collect();
    if let Some(near) = node::nearest(&id.to_string(), names.iter().map(String::as_str)) {
        return format!("did you mean `{near}`?");
    }
    for role in role_names(tree) {
        // Errors of other roles are not what is being reported.
        let mut ignored = Diagnostics::default();
        let Some(role) = super::document::Role::read(tree, &role, &mut ignored) else { continue };
        if role.resources.iter().any(|table| table.kind == id.kind && table.name.name == id.name) {
            return format!("the role `{}` declares it: add it to `include`", role.name);
        }
    }
    "declare it, or remove the reference".to_owned()
}
