//! The TOML files of a fleet: `fleet.toml`, `roles/NAME/role.toml`, `hosts/NAME.toml`. Parsed, not rendered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Place, Source};
use super::limits;
use super::node::{self, Key, Node, Value};
use super::rollback::Rollback;
use super::rules::{self, Rules};
use super::tree::{Tree, TreeError};
use crate::resource::KINDS;

/// The version of the manifest's form that this program reads.
pub const SCHEMA: i64 = 1;

/// Tables of a role that declare no resources.
const NO_KINDS: &[&str] = &["include", "vars", "health"];

/// A name with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Byte range.
    pub span: Range<usize>,
}

/// `fleet.toml`.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The file.
    pub source: Arc<Source>,
    /// The fleet's name.
    pub name: String,
    /// `[vars]`.
    pub variables: Option<Node>,
    /// `[[assign]]`, in file order.
    pub assignments: Vec<Assignment>,
    /// `[[windows]]`, `[reboot]`, `[[confirm]]`.
    pub rules: Rules,
    /// `[rollback]`.
    pub rollback: Rollback,
}

/// One `[[assign]]`.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Roles to give.
    pub roles: Vec<Word>,
    /// To which hosts; `None`: all.
    pub when: Option<Word>,
    /// Variables for these hosts.
    pub variables: Option<Node>,
    /// Where it stands.
    pub span: Range<usize>,
}

/// `hosts/NAME.toml`.
#[derive(Debug, Clone)]
pub struct HostFile {
    /// The file.
    pub source: Arc<Source>,
    /// Labels for expressions; they win over those of the host's own settings.
    pub labels: BTreeMap<String, String>,
    /// `[vars]`.
    pub variables: Option<Node>,
    /// Roles beside those that are assigned.
    pub roles: Vec<Word>,
    /// `[[windows]]`, `[reboot]`.
    pub rules: Rules,
}

/// `roles/NAME/role.toml`.
#[derive(Debug, Clone)]
pub struct Role {
    /// The file.
    pub source: Arc<Source>,
    /// Its name.
    pub name: String,
    /// Roles that come with it, before it.
    pub include: Vec<Word>,
    /// `[vars]`: defaults.
    pub variables: Option<Node>,
    /// `[kind.name]`, in file order.
    pub resources: Vec<Table>,
    /// `[health.name]`, in file order.
    pub health: Vec<Table>,
    /// `[[windows]]`, `[reboot]`.
    pub rules: Rules,
}

/// One `[kind.name]`.
#[derive(Debug, Clone)]
pub struct Table {
    /// The first word.
    pub kind: String,
    /// The second, with its place.
    pub name: Key,
    /// The rest.
    pub node: Node,
}

/// Reads one file, collecting what is wrong with it.
struct Reading<'a> {
    source: Arc<Source>,
    problems: &'a mut Diagnostics,
}

/// The text of a file of the fleet.
///
/// # Errors
/// It cannot be read, is too long or not UTF-8.
pub(crate) fn text(tree: &dyn Tree, path: &str) -> Result<Arc<Source>, Diagnostic> {
    let empty = Arc::new(Source::new(path.to_owned(), String::new()));
    let place = || Place::new(&empty, &(0..0), "");
    let bytes = tree.read(path).map_err(|error| match error {
        TreeError::Missing(_) => {
            Diagnostic::new("E202", format!("`{path}` is missing"), place(), "add the file")
        }
        error => {
            Diagnostic::new("E201", error.in_one_line(), place(), "make it a plain file that can be read")
        }
    })?;
    if bytes.len() > limits::TEXT_BYTES {
        let message = format!("`{path}` has {} bytes, more than {}", bytes.len(), limits::TEXT_BYTES);
        return Err(Diagnostic::new("E214", message, place(), "divide it"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Diagnostic::new(
            "E203",
            format!("`{path}` is not UTF-8 in line {line}"),
            place(),
            "save the file as UTF-8",
        )
    })?;
    Ok(Arc::new(Source::new(path, text)))
}

/// Opens and parses a TOML file; `None` after reporting why not. Of a file with syntax errors every error is reported.
fn parse<'a>(tree: &dyn Tree, path: &str, problems: &'a mut Diagnostics) -> Option<(Reading<'a>, Node)> {
    let source = match text(tree, path) {
        Ok(source) => source,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let (root, errors) = Node::parse_all(&source.text);
    let failed = !errors.is_empty();
    for error in errors {
        problems.push(Diagnostic::declared("E203", error, &source, &(0..0)));
    }
    (!failed).then_some((Reading { source, problems }, root))
}

impl Reading<'_> {
    fn problem(&mut self, code: &'static str, span: &Range<usize>, message: String, help: impl Into<String>) {
        self.problems.push(Diagnostic::new(code, message, Place::new(&self.source, span, ""), help));
    }

    /// Reports keys that nobody knows.
    fn known(&mut self, table: &Node, known: &[&str]) {
        for (key, _) in table.entries() {
            if !known.contains(&key.name.as_str()) {
                let help = suggest(&key.name, known.iter().copied(), "known keys");
                self.problem("E204", &key.span, format!("unknown key `{}`", key.name), help);
            }
        }
    }

    fn wrong(&mut self, node: &Node, key: &str, wanted: &str) {
        let message = format!("`{key}` is {}, not {wanted}", node.type_name());
        self.problem("E205", &node.span, message, format!("make it {wanted}"));
    }

    fn word(&mut self, table: &Node, key: &str) -> Option<Word> {
        let node = table.get(key)?;
        match node.as_str() {
            Some(text) => Some(Word { text: text.to_owned(), span: node.span.clone() }),
            None => {
                self.wrong(node, key, "a string");
                None
            }
        }
    }

    fn words(&mut self, table: &Node, key: &str) -> Vec<Word> {
        let Some(node) = table.get(key) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.wrong(node, key, "a list of strings");
            return Vec::new();
        };
        let mut words = Vec::new();
        for item in items {
            match item.as_str() {
                Some(text) => words.push(Word { text: text.to_owned(), span: item.span.clone() }),
                None => self.wrong(item, key, "a list of strings"),
            }
        }
        words
    }

    fn table(&mut self, table: &Node, key: &str) -> Option<Node> {
        let node = table.get(key)?;
        if matches!(node.value, Value::Table(_)) {
            return Some(node.clone());
        }
        self.wrong(node, key, "a table");
        None
    }

    fn assignments(&mut self, root: &Node) -> Vec<Assignment> {
        let Some(node) = root.get("assign") else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.wrong(node, "assign", "a list of tables");
            return Vec::new();
        };
        let mut assignments = Vec::new();
        for item in items {
            if !matches!(item.value, Value::Table(_)) {
                self.wrong(item, "assign", "a table");
                continue;
            }
            self.known(item, &["roles", "when", "vars"]);
            if item.get("roles").is_none() && item.get("vars").is_none() {
                let help = "add `roles = [\"…\"]`";
                self.problem(
                    "E205",
                    &item.span,
                    "an assignment gives neither roles nor variables".into(),
                    help,
                );
            }
            assignments.push(Assignment {
                roles: self.words(item, "roles"),
                when: self.word(item, "when"),
                variables: self.table(item, "vars"),
                span: item.span.clone(),
            });
        }
        assignments
    }

    /// Every `[kind.name]` of a role.
    fn resources(&mut self, root: &Node) -> Vec<Table> {
        let mut tables = Vec::new();
        for (kind, node) in root.entries() {
            if NO_KINDS.contains(&kind.name.as_str()) || rules::KEYS.contains(&kind.name.as_str()) {
                continue;
            }
            if !KINDS.iter().any(|known| known.name == kind.name) {
                let known =
                    KINDS.iter().map(|kind| kind.name).chain(NO_KINDS.iter().chain(rules::KEYS).copied());
                let help = suggest(&kind.name, known, "kinds");
                self.problem("E208", &kind.span, format!("there is no kind `{}`", kind.name), help);
                continue;
            }
            self.named(kind, node, &mut tables);
        }
        tables
    }

    /// The tables below a kind's word.
    fn named(&mut self, kind: &Key, node: &Node, tables: &mut Vec<Table>) {
        let help = format!("write `[{}.\"NAME\"]` with the fields below", kind.name);
        if !matches!(node.value, Value::Table(_)) {
            self.problem(
                "E205",
                &node.span,
                format!("`{}` is {}, not a table", kind.name, node.type_name()),
                help,
            );
            return;
        }
        for (name, node) in node.entries() {
            if matches!(node.value, Value::Table(_)) {
                tables.push(Table { kind: kind.name.clone(), name: name.clone(), node: node.clone() });
            } else {
                let message = format!("`{}.{}` is {}, not a table", kind.name, name.name, node.type_name());
                self.problem("E205", &name.span, message, help.clone());
            }
        }
    }
}

/// The nearest known word, or all of them when they are few.
pub(crate) fn suggest<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone, title: &str) -> String {
    match node::nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match known.collect::<Vec<_>>() {
            known if known.is_empty() => "nothing is known here".to_owned(),
            known if known.len() <= 24 => format!("{title}: {}", known.join(", ")),
            known => format!("{title}: {}, …", known[..24].join(", ")),
        },
    }
}

/// Whether a text may be the name of a role or host: one plain component of a path.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    !text.is_empty() && text.len() <= 128 && text.chars().all(plain) && !text.starts_with('.')
}

impl Fleet {
    /// Reads `fleet.toml`.
    pub fn read(tree: &dyn Tree, problems: &mut Diagnostics) -> Option<Fleet> {
        let (mut reading, root) = parse(tree, "fleet.toml", problems)?;
        reading.known(&root, &["fleet", "vars", "assign", "windows", "reboot", "confirm", "rollback"]);
        let fleet = reading.table(&root, "fleet");
        if fleet.is_none() && root.get("fleet").is_none() {
            reading.problem(
                "E205",
                &(0..0),
                "the table `[fleet]` is missing".into(),
                "add `[fleet]` with `name` and `schema = 1`",
            );
        }
        let name = fleet.as_ref().and_then(|fleet| reading.head(fleet)).unwrap_or_default();
        let variables = reading.table(&root, "vars");
        let assignments = reading.assignments(&root);
        let rules = Rules::read(&root, &reading.source, reading.problems);
        let rollback = match reading.table(&root, "rollback").map(|table| Rollback::read(&table)) {
            None => Rollback::default(),
            Some(Ok(rollback)) => rollback,
            Some(Err(error)) => {
                let span = error.span.clone().unwrap_or(0..0);
                reading.problem("E205", &span, error.message, error.help);
                Rollback::default()
            }
        };
        Some(Fleet { name, variables, assignments, rules, rollback, source: reading.source })
    }
}

impl Reading<'_> {
    /// `[fleet]`: its name; its schema is checked.
    fn head(&mut self, fleet: &Node) -> Option<String> {
        self.known(fleet, &["name", "schema"]);
        match fleet.get("schema").map(|schema| (&schema.value, schema.span.clone())) {
            Some((Value::Integer(SCHEMA), _)) => {}
            Some((Value::Integer(other), span)) => {
                let message = format!("schema {other} is not known to this version of abide");
                self.problem(
                    "E217",
                    &span,
                    message,
                    format!("use schema {SCHEMA}, or upgrade abide on the hosts first"),
                );
            }
            Some((_, span)) => {
                self.problem("E205", &span, "`schema` is not an integer".into(), "write `schema = 1`")
            }
            None => {
                self.problem("E205", &fleet.span, "the key `schema` is missing".into(), "add `schema = 1`")
            }
        }
        let word = self.word(fleet, "name");
        match &word {
            Some(word) if !is_name(&word.text) => {
                let message = format!("`{}` is not a name", word.text);
                self.problem("E205", &word.span, message, "use letters, digits, `-`, `_` and `.`");
            }
            None if fleet.get("name").is_none() => {
                self.problem("E205", &fleet.span, "the key `name` is missing".into(), "add `name = \"…\"`");
            }
            _ => {}
        }
        word.map(|word| word.text)
    }
}

impl HostFile {
    /// Reads `hosts/NAME.toml`; `None` when there is none, or after reporting what is wrong.
    pub fn read(tree: &dyn Tree, name: &str, problems: &mut Diagnostics) -> Option<HostFile> {
        let path = format!("hosts/{name}.toml");
        if !is_name(name) || matches!(tree.entry(&path), Ok(None)) {
            return None;
        }
        let (mut reading, root) = parse(tree, &path, problems)?;
        reading.known(&root, &["labels", "vars", "roles", "windows", "reboot"]);
        let mut labels = BTreeMap::new();
        if let Some(table) = reading.table(&root, "labels") {
            for (key, node) in table.entries() {
                match node.as_str() {
                    Some(text) => {
                        labels.insert(key.name.clone(), text.to_owned());
                    }
                    None => reading.wrong(node, &key.name, "a string"),
                }
            }
        }
        let variables = reading.table(&root, "vars");
        let roles = reading.words(&root, "roles");
        let rules = Rules::read(&root, &reading.source, reading.problems);
        Some(HostFile { labels, variables, roles, rules, source: reading.source })
    }
}

impl Role {
    /// Reads `roles/NAME/role.toml`.
    pub fn read(tree: &dyn Tree, name: &str, problems: &mut Diagnostics) -> Option<Role> {
        let (mut reading, root) = parse(tree, &format!("roles/{name}/role.toml"), problems)?;
        let include = reading.words(&root, "include");
        let variables = reading.table(&root, "vars");
        let resources = reading.resources(&root);
        let mut health = Vec::new();
        for (key, node) in root.entries().iter().filter(|(key, _)| key.name == "health") {
            reading.named(key, node, &mut health);
        }
        let rules = Rules::read(&root, &reading.source, reading.problems);
        let name = name.to_owned();
        Some(Role { name, include, variables, resources, health, rules, source: reading.source })
    }
}

/// Names of the folders of `roles/` that hold a role.
pub(crate) fn role_names(tree: &dyn Tree) -> Vec<String> {
    let entries = tree.list("roles").unwrap_or_default();
    let holds_role = |name: &String| matches!(tree.entry(&format!("roles/{name}/role.toml")), Ok(Some(_)));
    entries.into_iter().map(|entry| entry.name).filter(holds_role).collect()
}
