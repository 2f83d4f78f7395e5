//! Which roles a host gets, and with which variables.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Place, Source};
use super::document::{self, Fleet, HostFile, Role, Word};
use super::layers::Layered;
use super::limits;
use super::rules::Rules;
use super::template::{Engine, Failure, Scope};
use super::tree::Tree;
use super::{Forced, HostIdentity};
use crate::system::facts::Facts;

/// What was selected for one host.
pub(crate) struct Selection {
    pub(crate) fleet: Fleet,
    pub(crate) host_file: Option<HostFile>,
    pub(crate) labels: BTreeMap<String, String>,
    /// `host` in templates.
    pub(crate) host: minijinja::Value,
    /// Per assignment, whether it matches; `None` when its condition failed.
    pub(crate) matched: Vec<Option<bool>>,
    /// Roles in order, an included one before the one that includes it, each with the reason it is here.
    pub(crate) roles: Vec<(Role, String)>,
}

/// Paths below which names may be absent: conditions see `none` there.
const OPEN: &[&str] = &["host.labels", "host.custom"];

impl Selection {
    /// Selects; `None` after reporting that there is no usable `fleet.toml`.
    pub(crate) fn make(
        tree: &dyn Tree,
        host: &HostIdentity,
        facts: &Facts,
        forced: Forced,
        engine: &Engine,
        problems: &mut Diagnostics,
    ) -> Option<Selection> {
        let fleet = Fleet::read(tree, problems)?;
        let host_file = HostFile::read(tree, &host.name, problems);
        let mut labels = host.labels.clone();
        labels.extend(host_file.iter().flat_map(|file| file.labels.clone()));
        let host = host_value(host, &labels, facts);
        let mut selection =
            Selection { fleet, host_file, labels, host, matched: Vec::new(), roles: Vec::new() };
        selection.matched = selection.match_assignments(engine, forced, problems);
        selection.load_roles(tree, problems);
        Some(selection)
    }

    fn match_assignments(
        &self,
        engine: &Engine,
        forced: Forced,
        problems: &mut Diagnostics,
    ) -> Vec<Option<bool>> {
        let scope = Scope::new(vec![("host", self.host.clone())], OPEN);
        let mut matched = Vec::new();
        for (number, assignment) in self.fleet.assignments.iter().enumerate() {
            let matches = match &assignment.when {
                _ if forced == Forced::Assignment(number) => Some(true),
                None => Some(true),
                Some(when) => match engine.condition(&when.text, &scope) {
                    Ok(matches) => Some(matches),
                    Err(failure) => {
                        problems.push(template_problem(&self.fleet.source, &when.span, &when.text, failure));
                        None
                    }
                },
            };
            matched.push(matches);
        }
        matched
    }

    fn load_roles(&mut self, tree: &dyn Tree, problems: &mut Diagnostics) {
        let mut wanted: Vec<(Word, Arc<Source>)> = Vec::new();
        for (assignment, matched) in self.fleet.assignments.iter().zip(&self.matched) {
            if *matched == Some(true) {
                wanted.extend(assignment.roles.iter().map(|word| (word.clone(), self.fleet.source.clone())));
            }
        }
        if let Some(file) = &self.host_file {
            wanted.extend(file.roles.iter().map(|word| (word.clone(), file.source.clone())));
        }
        let mut loader = Loader { tree, problems, roles: Vec::new(), stack: Vec::new(), failed: Vec::new() };
        for (word, source) in wanted {
            let because = format!("{}:{}", source.file, source.line(word.span.start));
            loader.load(&word, &source, because);
        }
        self.roles = loader.roles;
    }

    /// The variables that a role sees.
    pub(crate) fn variables(&self, role: &Role) -> Layered {
        let mut layered = Layered::default();
        let mut put = |node: &Option<super::node::Node>, source: &Arc<Source>| {
            if let Some(node) = node {
                layered.merge(node, source);
            }
        };
        put(&role.variables, &role.source);
        put(&self.fleet.variables, &self.fleet.source);
        for (assignment, matched) in self.fleet.assignments.iter().zip(&self.matched) {
            if *matched == Some(true) {
                put(&assignment.variables, &self.fleet.source);
            }
        }
        if let Some(file) = &self.host_file {
            put(&file.variables, &file.source);
        }
        layered
    }

    /// When this host may be changed, and what is confirmed for it: the fleet's word, the roles', the host's own.
    pub(crate) fn rules(&self) -> Rules {
        let mut rules = self.fleet.rules.clone();
        self.roles.iter().for_each(|(role, _)| rules.add(&role.rules));
        self.host_file.iter().for_each(|file| rules.add(&file.rules));
        rules
    }

    /// What templates of a role see.
    pub(crate) fn scope(&self, variables: &Layered) -> Scope {
        Scope::new(vec![("host", self.host.clone()), ("vars", variables.to_template())], OPEN)
    }
}

/// `host` as templates see it: facts, name and labels.
fn host_value(host: &HostIdentity, labels: &BTreeMap<String, String>, facts: &Facts) -> minijinja::Value {
    let mut value = serde_json::to_value(facts).unwrap_or_default();
    if let Some(table) = value.as_object_mut() {
        table.insert("name".into(), host.name.clone().into());
        table.insert(
            "labels".into(),
            labels
                .iter()
                .map(|(key, text)| (key.clone(), text.clone().into()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        );
    }
    minijinja::Value::from(minijinja::value::Serde(value))
}

/// A failed template or expression inside a string of a TOML file.
pub(crate) fn template_problem(
    source: &Arc<Source>,
    span: &Range<usize>,
    text: &str,
    failure: Failure,
) -> Diagnostic {
    let span = failure
        .range
        .and_then(|range| inside(&source.text, span, text, range))
        .unwrap_or_else(|| span.clone());
    Diagnostic::new("E210", failure.message, Place::new(source, &span, ""), failure.help)
}

/// Where a range of a string's value stands in the file; `None` when escapes make that unclear.
fn inside(file: &str, span: &Range<usize>, text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let literal = file.get(span.clone())?;
    let start = literal.find(text)?;
    (range.end <= text.len()).then(|| span.start + start + range.start..span.start + start + range.end)
}

/// Loads roles with what they include.
struct Loader<'a> {
    tree: &'a dyn Tree,
    problems: &'a mut Diagnostics,
    roles: Vec<(Role, String)>,
    stack: Vec<(String, Place)>,
    failed: Vec<String>,
}

impl Loader<'_> {
    fn load(&mut self, word: &Word, source: &Arc<Source>, because: String) {
        let name = &word.text;
        let place = Place::new(source, &word.span, "");
        if let Some(start) = self.stack.iter().position(|(known, _)| known == name) {
            self.cycle(start, name, place);
            return;
        }
        if self.roles.iter().any(|(role, _)| role.name == *name) || self.failed.contains(name) {
            return;
        }
        if self.stack.len() >= limits::INCLUDE_DEPTH || self.roles.len() >= limits::ROLES {
            let message = format!(
                "too many roles: at most {} for one host, {} inside each other",
                limits::ROLES,
                limits::INCLUDE_DEPTH
            );
            self.problems.push(Diagnostic::new("E214", message, place, "include less"));
            return;
        }
        let file = format!("roles/{name}/role.toml");
        if !document::is_name(name) || !matches!(self.tree.entry(&file), Ok(Some(_))) {
            let known = document::role_names(self.tree);
            let help = document::suggest(name, known.iter().map(String::as_str), "roles");
            let message = format!("there is no role `{name}` (no file `{file}`)");
            self.problems.push(Diagnostic::new("E206", message, place, help));
            return;
        }
        let Some(role) = Role::read(self.tree, name, self.problems) else {
            self.failed.push(name.clone());
            return;
        };
        self.stack.push((name.clone(), place));
        for included in &role.include {
            let because = format!(
                "included by {name} ({}:{})",
                role.source.file,
                role.source.line(included.span.start)
            );
            self.load(included, &role.source, because);
        }
        self.stack.pop();
        self.roles.push((role, because));
    }

    fn cycle(&mut self, start: usize, name: &str, place: Place) {
        let names = self.stack[start..].iter().map(|(known, _)| known.as_str()).chain([name]);
        let message = format!("roles include each other: {}", names.collect::<Vec<_>>().join(" -> "));
        let mut problem = Diagnostic::new("E207", message, place, "remove one of these includes");
        for (_, place) in &self.stack[start + 1..] {
            problem = problem.and(place.clone());
        }
        self.problems.push(problem);
    }
}
