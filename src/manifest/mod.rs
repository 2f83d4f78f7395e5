//! From the tree of a commit to what this host shall be: select roles, layer variables, render, declare.
//!
//! **Invariant:** a [`Desired`] is made only from a [`Verified`] commit; what authors render offline is
//! a [`Rendered`], which can be shown and compared, never applied.

pub mod cache;
pub mod declare;
pub mod diagnostic;
pub mod document;
mod files;
pub mod health;
pub mod layers;
pub mod limits;
mod links;
pub mod lint;
pub mod node;
pub mod prove;
pub mod rollback;
pub mod rules;
pub mod schema;
mod select;
pub mod template;
pub mod tree;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

pub use cache::{CacheKey, Reading, Watched};
pub use declare::Shown;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use health::{Health, Probe};
pub use rollback::Rollback;
pub use rules::Rules;
pub use tree::{FolderTree, GitTree, Tree, TreeEntry, TreeError};

use crate::resource::Declared;
use crate::source::Objects;
use crate::system::facts::Facts;
use crate::trust::{Revision, Verified};
use declare::Declarer;
use document::Fleet;
use select::Selection;
use template::Engine;

/// Who a host is, by its own settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// Name in `hosts/NAME.toml`.
    pub name: String,
    /// Labels for expressions; those of `hosts/NAME.toml` win over them.
    pub labels: BTreeMap<String, String>,
}

/// What the manifest says for one host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    /// The fleet's name.
    pub fleet: String,
    /// Roles of this host in the order they were assigned, an included one before the one that includes it.
    pub roles: Vec<String>,
    /// Everything declared, sorted by id.
    pub resources: Vec<Declared>,
    /// Health checks, in the order of their roles.
    pub health: Vec<Health>,
    /// When the host may be changed, and what is confirmed.
    pub rules: Rules,
    /// When this commit is given up; what is not said here is the host's to say.
    pub rollback: Rollback,
}

/// What a proven commit says for this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    revision: Revision,
    rendered: Rendered,
}

impl Desired {
    /// The commit.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// What it says.
    pub fn rendered(&self) -> &Rendered {
        &self.rendered
    }

    /// Adds what there was before abide changed it, where nothing else is declared in its place.
    pub fn bring_back(&mut self, before: Vec<Declared>) {
        let taken: HashSet<String> =
            self.rendered.resources.iter().map(|declared| declared.id.name.clone()).collect();
        let free = before.into_iter().filter(|declared| !taken.contains(&declared.id.name));
        self.rendered.resources.extend(free);
        self.rendered.resources.sort_by(|left, right| left.id.cmp(&right.id));
        self.rendered.resources.dedup_by(|later, first| later.id == first.id);
    }

    /// Keeps packages at versions that they had: those that a pattern of the declaration lets go to others.
    pub fn keep_versions(&mut self, versions: &BTreeMap<String, String>) {
        for declared in &mut self.rendered.resources {
            declared.resource.keep_version(versions);
        }
    }
}

/// How a host came to what it gets, for people.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// Labels, of the host's settings and of `hosts/NAME.toml`.
    pub labels: BTreeMap<String, String>,
    /// Every assignment of `fleet.toml`.
    pub assignments: Vec<ExplainedAssignment>,
    /// Roles with their variables.
    pub roles: Vec<ExplainedRole>,
    /// Resources as they were rendered, sorted by id.
    pub resources: Vec<Shown>,
}

/// One assignment, as `--explain` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedAssignment {
    /// File and line.
    pub from: String,
    /// Its condition; empty: all hosts.
    pub when: String,
    /// Whether this host is meant; `None` when the condition failed.
    pub matches: Option<bool>,
}

/// One role, as `--explain` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedRole {
    /// Its name.
    pub name: String,
    /// The line that gave it to the host.
    pub because: String,
    /// Its variables with the place of each.
    pub variables: Vec<layers::Explained>,
}

/// Whether an assignment counts whatever its condition says: `abide check` proves roles that no known host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forced {
    /// None does.
    Nothing,
    /// This one does, by position in `fleet.toml`.
    Assignment(usize),
}

/// Renders what a tree says for a host.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn render(tree: &dyn Tree, host: &HostIdentity, facts: &Facts) -> Result<Rendered, Diagnostics> {
    let (rendered, _, problems) = evaluate(tree, host, facts, Forced::Nothing, false);
    if problems.has_errors() { Err(problems) } else { Ok(rendered) }
}

/// Renders, and tells how it came about; what could be rendered is there even when something is wrong.
pub fn explain(tree: &dyn Tree, host: &HostIdentity, facts: &Facts) -> (Rendered, Explanation, Diagnostics) {
    evaluate(tree, host, facts, Forced::Nothing, true)
}

/// Renders what a proven commit says for this host.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn desire(
    verified: Verified,
    objects: &dyn Objects,
    host: &HostIdentity,
    facts: &Facts,
) -> Result<Desired, Diagnostics> {
    let revision = verified.revision().clone();
    let Ok(root) = gix::ObjectId::from_hex(revision.tree.as_bytes()) else {
        let source = diagnostic::Source::new(revision.to_string(), String::new());
        let place = diagnostic::Place::new(&std::sync::Arc::new(source), &(0..0), "");
        let mut problems = Diagnostics::default();
        problems.push(Diagnostic::new("E201", "the commit names no tree", place, "push a sound commit"));
        return Err(problems);
    };
    let rendered = render(&GitTree::new(objects, root), host, facts)?;
    Ok(Desired { revision, rendered })
}

/// The whole stage.
fn evaluate(
    tree: &dyn Tree,
    host: &HostIdentity,
    facts: &Facts,
    forced: Forced,
    keep: bool,
) -> (Rendered, Explanation, Diagnostics) {
    let mut problems = Diagnostics::default();
    let engine = Engine::new();
    let Some(selection) = Selection::make(tree, host, facts, forced, &engine, &mut problems) else {
        return (Rendered::default(), Explanation::default(), problems);
    };
    let mut explanation = explained(&selection, keep);
    let rules = selection.rules();
    let mut declarer = Declarer {
        tree,
        engine: &engine,
        problems: &mut problems,
        cache: files::FileCache::default(),
        entries: Vec::new(),
        dropped: HashSet::new(),
        health: Vec::new(),
        shown: keep.then(Vec::new),
    };
    for (role, because) in &selection.roles {
        let variables = selection.variables(role);
        declarer.role(role, &selection.scope(&variables));
        if keep {
            let because = because.clone();
            explanation.roles.push(ExplainedRole {
                name: role.name.clone(),
                because,
                variables: variables.explain(),
            });
        }
    }
    let Declarer { entries, dropped, mut health, shown, .. } = declarer;
    let mut entries = links::merge(entries, &mut problems);
    links::windows(&entries, &rules, &mut problems);
    links::paths(&entries, &mut problems);
    // Where something could not be read, what is missing may be there: one error is enough.
    if !problems.has_errors() {
        links::references(tree, &mut entries, &mut health, &dropped, &mut problems);
    }
    let health = links::checks(health, &mut problems);
    let mut resources: Vec<Declared> = entries.into_iter().map(|entry| entry.declared).collect();
    resources.sort_by(|left, right| left.id.cmp(&right.id));
    explanation.resources = shown.unwrap_or_default();
    explanation.resources.sort_by(|left, right| left.id.cmp(&right.id));
    explanation.resources.dedup_by(|later, first| later.id == first.id);
    let roles = selection.roles.into_iter().map(|(role, _)| role.name).collect();
    let Fleet { name: fleet, rollback, .. } = selection.fleet;
    (Rendered { fleet, roles, resources, health, rules, rollback }, explanation, problems)
}

fn explained(selection: &Selection, keep: bool) -> Explanation {
    if !keep {
        return Explanation::default();
    }
    let source = &selection.fleet.source;
    let assignments = selection.fleet.assignments.iter().zip(&selection.matched);
    let assignments = assignments.map(|(assignment, matches)| ExplainedAssignment {
        from: format!("{}:{}", source.file, source.line(assignment.span.start)),
        when: assignment.when.as_ref().map(|when| when.text.clone()).unwrap_or_default(),
        matches: *matches,
    });
    Explanation {
        labels: selection.labels.clone(),
        assignments: assignments.collect(),
        ..Explanation::default()
    }
}

#[cfg(test)]
mod tests;
