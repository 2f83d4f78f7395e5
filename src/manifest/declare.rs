//! From the tables of a role to declared resources: conditions, `for-each`, templates, common fields, the kind's own check.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::diagnostic::{self, Diagnostic, Diagnostics, Place, Source};
use super::document::{self, Role, Table};
use super::files::{FileCache, Files};
use super::health::{self, Health};
use super::limits;
use super::node::{Node, Value};
use super::select::template_problem;
use super::template::{Engine, Scope, to_template};
use super::tree::Tree;
use crate::resource::{
    Common, Content, Declaration, DeclareError, Declared, Enforce, Field, KINDS, Kind, Relations, ResourceId,
};

/// The fields that every kind has, for suggestions, the reference and the schema.
pub const COMMON: &[Field] = &[
    Field::new("after", "list of resources", "[]", "Applied after these, such as `[\"package:nginx\"]`."),
    Field::new("before", "list of resources", "[]", "Applied before these."),
    Field::new(
        "when",
        "expression",
        "",
        "Only declared on hosts for which this is true, such as `\"host.os.family == 'debian'\"`.",
    ),
    Field::new(
        "for-each",
        "list, table or expression",
        "",
        "One resource per item; the name and the fields can use `item`.",
    ),
    Field::new(
        "prune",
        "boolean",
        "true",
        "Removed from the host again when it leaves the branch, if abide had created it.",
    ),
    Field::new(
        "enforce",
        "boolean or \"warn\"",
        "true",
        "`\"warn\"` only reports drift; `false` does not even look.",
    ),
    Field::new("ignore", "list of strings", "[]", "Fields whose drift is not looked at."),
    Field::new("wave", "integer", "0", "Resources of a lower wave come first."),
    Field::new(
        "only-in-window",
        "string",
        "",
        "Changed only while a window of this name is open, see `[[windows]]`; until then it waits, with what depends on it.",
    ),
    Field::new(
        "sensitive",
        "boolean",
        "false",
        "Content and values are never shown in diffs, journal or state.",
    ),
];

/// A resource that names another.
pub(crate) struct Reference {
    pub(crate) id: ResourceId,
    pub(crate) place: Place,
}

/// A declared resource with what the later checks need.
pub(crate) struct Entry {
    pub(crate) declared: Declared,
    pub(crate) place: Place,
    pub(crate) references: Vec<Reference>,
    pub(crate) relations: Relations,
}

/// A declared health check with what the later checks need.
pub(crate) struct Checked {
    pub(crate) health: Health,
    pub(crate) place: Place,
    pub(crate) references: Vec<Reference>,
}

/// A resource as it was rendered, for people.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its name.
    pub id: ResourceId,
    /// Where it was declared.
    pub origin: crate::resource::Origin,
    /// Its table after templates, with the common fields.
    pub table: Node,
    /// Contents of the files and templates it uses, by the name the role has for them.
    pub contents: Vec<(String, Content)>,
}

/// Declares the resources of one host.
pub(crate) struct Declarer<'a> {
    pub(crate) tree: &'a dyn Tree,
    pub(crate) engine: &'a Engine,
    pub(crate) problems: &'a mut Diagnostics,
    pub(crate) cache: FileCache,
    pub(crate) entries: Vec<Entry>,
    /// Resources whose condition is false on this host: references to them count for nothing.
    pub(crate) dropped: HashSet<ResourceId>,
    pub(crate) health: Vec<Checked>,
    /// What is kept for people; `None` when nobody asked.
    pub(crate) shown: Option<Vec<Shown>>,
}

/// One resource of a role on its way to being declared.
struct Instance<'a> {
    role: &'a Role,
    table: &'a Table,
    kind: &'static Kind,
    name: String,
    scope: &'a Scope,
}

impl Declarer<'_> {
    /// Declares everything a role says.
    pub(crate) fn role(&mut self, role: &Role, scope: &Scope) {
        for table in &role.resources {
            // Reading the role has refused other kinds.
            let Some(kind) = KINDS.iter().find(|kind| kind.name == table.kind) else { continue };
            self.table(role, table, kind, scope);
            if self.entries.len() > limits::RESOURCES {
                let place = Place::new(&role.source, &table.name.span, "");
                let message = format!("the host has more than {} resources", limits::RESOURCES);
                let help = "declare folders instead of single files";
                self.problems.push(Diagnostic::new("E214", message, place, help));
                return;
            }
        }
        for table in &role.health {
            self.health(role, table, scope);
        }
    }

    fn table(&mut self, role: &Role, table: &Table, kind: &'static Kind, scope: &Scope) {
        let Some(each) = table.node.get("for-each") else {
            if Engine::is_template(&table.name.name) {
                let place = Place::new(&role.source, &table.name.span, "this is taken literally");
                let help = "names are rendered only together with `for-each`";
                self.problems.push(Diagnostic::new(
                    "E216",
                    "a template in the name of a resource",
                    place,
                    help,
                ));
                return;
            }
            self.instance(Instance { role, table, kind, name: table.name.name.clone(), scope });
            return;
        };
        let Some(items) = self.items(role, each, scope) else { return };
        for item in items {
            let scope = scope.with("item", item);
            match self.engine.string(&table.name.name, &scope).map(|value| plain_text(&value)) {
                Ok(Some(name)) => self.instance(Instance { role, table, kind, name, scope: &scope }),
                Ok(None) => {
                    let place = Place::new(&role.source, &table.name.span, "");
                    let help = "make the name of a resource a string or a number";
                    self.problems.push(Diagnostic::new("E216", "the name is not a text", place, help));
                }
                Err(failure) => {
                    let problem = template_problem(&role.source, &table.name.span, &table.name.name, failure);
                    self.problems.push(problem);
                }
            }
        }
    }

    /// The items of a `for-each`; `None` after reporting what is wrong.
    fn items(&mut self, role: &Role, each: &Node, scope: &Scope) -> Option<Vec<minijinja::Value>> {
        let mut node = each.clone();
        match each.as_str() {
            // Braces are not needed where only an expression can stand.
            Some(text) if !Engine::is_template(text) => match self.engine.expression(text, scope) {
                Ok(value) => node.value = value,
                Err(failure) => {
                    self.problems.push(template_problem(&role.source, &each.span, text, failure));
                    return None;
                }
            },
            _ => self.render(&mut node, &role.source, scope)?,
        }
        let items: Vec<minijinja::Value> = match &node.value {
            Value::Array(items) => items.iter().map(to_template).collect(),
            Value::Table(entries) => entries
                .iter()
                .map(|(key, node)| {
                    minijinja::Value::from_pairs([
                        ("key", minijinja::Value::from(key.name.as_str())),
                        ("value", to_template(node)),
                    ])
                })
                .collect(),
            _ => {
                let message = format!("`for-each` is {}, not a list or a table", node.type_name());
                let help = "give a list, a table, or an expression such as `\"vars.users\"`";
                self.problems.push(Diagnostic::new(
                    "E216",
                    message,
                    Place::new(&role.source, &each.span, ""),
                    help,
                ));
                return None;
            }
        };
        if items.len() > limits::ITEMS {
            let message = format!("`for-each` has {} items, more than {}", items.len(), limits::ITEMS);
            self.problems.push(Diagnostic::new(
                "E214",
                message,
                Place::new(&role.source, &each.span, ""),
                "divide it",
            ));
            return None;
        }
        Some(items)
    }

    fn instance(&mut self, instance: Instance<'_>) {
        let Instance { role, table, kind, name, scope } = &instance;
        let id = ResourceId::new(kind.name, name);
        match self.condition(table, &role.source, scope) {
            Some(true) => {}
            Some(false) => {
                self.dropped.insert(id);
                return;
            }
            None => return,
        }
        let mut node = table.node.clone();
        node.take("when");
        node.take("for-each");
        if self.render(&mut node, &role.source, scope).is_none() {
            // What fails to render may still be referred to: one error is enough.
            self.dropped.insert(id);
            return;
        }
        let rendered = self.shown.is_some().then(|| node.clone());
        let before = self.problems.count(diagnostic::Severity::Error);
        let (common, mut references) = self.common(&mut node, kind, &role.source);
        self.known(&node, kind, &role.source);
        if self.problems.count(diagnostic::Severity::Error) > before {
            self.dropped.insert(id);
            return;
        }
        let named = candidates(&node);
        let contents = rendered.as_ref().map(|_| Rc::new(RefCell::new(Vec::new())));
        let files = Files {
            tree: self.tree,
            role: &role.name,
            engine: self.engine,
            scope,
            cache: &self.cache,
            failure: RefCell::default(),
            shown: contents.clone(),
        };
        let resource = match (kind.declare)(Declaration { name, table: node, files: &files }) {
            Ok(resource) => resource,
            Err(error) => {
                let error = with_field(error, table, kind);
                let mut problem = Diagnostic::declared("E209", error, &role.source, &table.name.span);
                if let Some(place) = files.failure.take() {
                    problem = problem.and(place);
                }
                self.problems.push(problem);
                self.dropped.insert(id);
                return;
            }
        };
        let mut relations = Relations::default();
        resource.relations(&mut relations);
        for watched in &relations.watches {
            let span =
                named.iter().find(|(known, _)| known == watched).map_or(&table.name.span, |(_, span)| span);
            references.push(Reference { id: watched.clone(), place: Place::new(&role.source, span, "") });
        }
        let origin = diagnostic::origin(&role.name, &role.source, table.name.span.start);
        if let (Some(shown), Some(table)) = (&mut self.shown, rendered) {
            let contents = contents.map(|contents| contents.take()).unwrap_or_default();
            shown.push(Shown { id: id.clone(), origin: origin.clone(), table, contents });
        }
        self.entries.push(Entry {
            declared: Declared { id, common, resource, origin },
            place: Place::new(&role.source, &table.name.span, ""),
            references,
            relations,
        });
    }

    fn condition(&mut self, table: &Table, source: &Arc<Source>, scope: &Scope) -> Option<bool> {
        let Some(when) = table.node.get("when") else { return Some(true) };
        let Some(text) = when.as_str() else {
            let message = format!("`when` is {}, not an expression", when.type_name());
            let help = "write an expression as a string, such as `\"host.os.family == 'debian'\"`";
            self.problems.push(Diagnostic::new("E205", message, Place::new(source, &when.span, ""), help));
            return None;
        };
        match self.engine.condition(text, scope) {
            Ok(matches) => Some(matches),
            Err(failure) => {
                self.problems.push(template_problem(source, &when.span, text, failure));
                None
            }
        }
    }

    /// Renders every string below a node; `None` when one failed.
    fn render(&mut self, node: &mut Node, source: &Arc<Source>, scope: &Scope) -> Option<()> {
        match &mut node.value {
            Value::String(text) if Engine::is_template(text) => match self.engine.string(text, scope) {
                Ok(value) => {
                    let span = node.span.clone();
                    node.value = value;
                    node.place_at(&span);
                    Some(())
                }
                Err(failure) => {
                    let problem = template_problem(source, &node.span, text, failure);
                    self.problems.push(problem);
                    None
                }
            },
            // No short cut on the first failure: every failing string is reported.
            Value::Array(items) => {
                let failed = items
                    .iter_mut()
                    .filter_map(|item| self.render(item, source, scope).is_none().then_some(()));
                (failed.count() == 0).then_some(())
            }
            Value::Table(entries) => {
                let items = entries.iter_mut().map(|(_, item)| item);
                let failed =
                    items.filter_map(|item| self.render(item, source, scope).is_none().then_some(()));
                (failed.count() == 0).then_some(())
            }
            _ => Some(()),
        }
    }

    /// Reports keys that the kind does not have.
    fn known(&mut self, node: &Node, kind: &Kind, source: &Arc<Source>) {
        for (key, value) in node.entries() {
            let is_section = has_sections(kind) && matches!(value.value, Value::Table(_) | Value::Array(_));
            if !is_section && !kind.fields.iter().any(|field| field.name == key.name) {
                let known = kind.fields.iter().chain(COMMON).map(|field| field.name);
                let help = document::suggest(&key.name, known, "fields");
                let message = format!("`{}` is not a field of {}", key.name, kind.name);
                self.problems.push(Diagnostic::new("E204", message, Place::new(source, &key.span, ""), help));
            }
        }
    }

    /// Takes the common fields out of a table.
    fn common(&mut self, node: &mut Node, kind: &Kind, source: &Arc<Source>) -> (Common, Vec<Reference>) {
        let mut common = Common::default();
        let mut references = Vec::new();
        for field in COMMON {
            let Some((_, value)) = node.take(field.name) else { continue };
            let result = match field.name {
                "after" => self.references(&value, source, &mut references).map(|ids| common.after = ids),
                "before" => self.references(&value, source, &mut references).map(|ids| common.before = ids),
                "prune" => value.read().ok().map(|flag| common.prune = flag),
                "sensitive" => value.read().ok().map(|flag| common.sensitive = flag),
                "only-in-window" => value.as_str().map(|name| common.only_in_window = Some(name.to_owned())),
                "wave" => value.read().ok().map(|wave| common.wave = wave),
                "enforce" => enforce(&value).map(|enforce| common.enforce = enforce),
                "ignore" => self.ignored(&value, kind, source).map(|names| common.ignore = names),
                _ => Some(()),
            };
            if result.is_none() {
                let message = format!("`{}` cannot be {}", field.name, value.type_name());
                let place = Place::new(source, &value.span, "");
                self.problems.push(Diagnostic::new(
                    "E205",
                    message,
                    place,
                    format!("expected: {}", field.kind),
                ));
            }
        }
        (common, references)
    }

    /// Reads a list of `kind:name`; `None` when it is not a list of strings.
    fn references(
        &mut self,
        value: &Node,
        source: &Arc<Source>,
        references: &mut Vec<Reference>,
    ) -> Option<Vec<ResourceId>> {
        let Value::Array(items) = &value.value else { return None };
        let mut ids = Vec::new();
        for item in items {
            ids.extend(self.reference(item.as_str()?, &item.span, source, references));
        }
        Some(ids)
    }

    /// Reads one `kind:name`; `None` after reporting that it is none.
    fn reference(
        &mut self,
        text: &str,
        span: &Range<usize>,
        source: &Arc<Source>,
        references: &mut Vec<Reference>,
    ) -> Option<ResourceId> {
        let place = Place::new(source, span, "");
        let id = ResourceId::parse(text);
        let Some(id) = id.filter(|id| KINDS.iter().any(|kind| kind.name == id.kind)) else {
            let word = text.split(':').next().unwrap_or(text);
            let help =
                document::suggest(word, KINDS.iter().map(|kind| kind.name), "write `kind:name`; kinds");
            let message = format!("`{text}` does not name a resource");
            self.problems.push(Diagnostic::new("E213", message, place, help));
            return None;
        };
        references.push(Reference { id: id.clone(), place });
        Some(id)
    }

    fn ignored(&mut self, value: &Node, kind: &Kind, source: &Arc<Source>) -> Option<Vec<String>> {
        let Value::Array(items) = &value.value else { return None };
        let mut names = Vec::new();
        for item in items {
            let name = item.as_str()?;
            if !kind.fields.iter().any(|field| field.name == name) {
                let help = document::suggest(name, kind.fields.iter().map(|field| field.name), "fields");
                let message = format!("`{name}` is not a field of {}", kind.name);
                self.problems.push(Diagnostic::new(
                    "E204",
                    message,
                    Place::new(source, &item.span, ""),
                    help,
                ));
            }
            names.push(name.to_owned());
        }
        Some(names)
    }

    fn health(&mut self, role: &Role, table: &Table, scope: &Scope) {
        let mut node = table.node.clone();
        if self.render(&mut node, &role.source, scope).is_none() {
            return;
        }
        let read = health::take_resources(&mut node).and_then(|names| {
            let origin = diagnostic::origin(&role.name, &role.source, table.name.span.start);
            Health::read(&table.name.name, &node, origin).map(|health| (health, names))
        });
        match read {
            Ok((mut health, names)) => {
                let mut references = Vec::new();
                for (name, span) in names {
                    health.resources.extend(self.reference(&name, &span, &role.source, &mut references));
                }
                let place = Place::new(&role.source, &table.name.span, "");
                self.health.push(Checked { health, place, references });
            }
            Err(error) => {
                self.problems.push(Diagnostic::declared("E209", error, &role.source, &table.name.span));
            }
        }
    }
}

/// Whether a kind also takes sections whose names it checks itself, as `unit` does: its table of fields then ends in `…`.
pub(crate) fn has_sections(kind: &Kind) -> bool {
    kind.fields.iter().any(|field| field.name.contains('…'))
}

/// Where a kind's error has no remedy of its own, the meaning of the field it points at is one.
fn with_field(mut error: DeclareError, table: &Table, kind: &Kind) -> DeclareError {
    let span = error.span.clone().filter(|_| error.help.is_empty());
    let inside = |node: &Node| {
        span.as_ref().is_some_and(|span| node.span.start <= span.start && span.end <= node.span.end)
    };
    let key = table.node.entries().iter().find(|(_, node)| inside(node)).map(|(key, _)| key.name.as_str());
    if let Some(field) = kind.fields.iter().find(|field| Some(field.name) == key) {
        error.help = format!("`{}` takes: {}. {}", field.name, field.kind, field.doc);
    }
    error
}

fn enforce(value: &Node) -> Option<Enforce> {
    match &value.value {
        Value::Boolean(true) => Some(Enforce::Yes),
        Value::Boolean(false) => Some(Enforce::No),
        Value::String(text) if text == "warn" => Some(Enforce::Warn),
        _ => None,
    }
}

/// A value that can be a name.
fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Strings of a table that could name resources, with their places.
fn candidates(node: &Node) -> Vec<(ResourceId, Range<usize>)> {
    let named = |node: &Node| ResourceId::parse(node.as_str()?).map(|id| (id, node.span.clone()));
    let below = |node: &Node| match &node.value {
        Value::Array(items) => items.iter().filter_map(named).collect::<Vec<_>>(),
        _ => named(node).into_iter().collect(),
    };
    node.entries().iter().flat_map(|(_, node)| below(node)).collect()
}
