//! What the branch says about when a host may be changed, and what it confirms: `[[windows]]`, `[reboot]`, `[[confirm]]`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, Diagnostics, Place, Source};
use super::node::{Node, Value};
use crate::config::Reboot;
use crate::resource::{DeclareError, KINDS, ResourceId, fields::matches_pattern};
use crate::schedule::{Window, WindowFields, reboot};
use crate::trust::policy::last_second;

/// The keys that these tables have in a file.
pub(crate) const KEYS: &[&str] = &["windows", "reboot"];

/// Everything that the files of a host say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Windows, in the order of the files: `fleet.toml`, roles, `hosts/NAME.toml`.
    pub windows: Vec<Window>,
    /// Reboots; a later file's word counts.
    pub reboot: reboot::Rules,
    /// What may be done although it is much.
    pub confirmed: Vec<Confirmation>,
}

/// One `[[confirm]]`: what may be removed or changed although it is more than the host's settings allow at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Resources that may be removed, as patterns.
    pub remove: Vec<String>,
    /// Resources that may be changed, as patterns.
    pub change: Vec<String>,
    /// The last second at which it counts.
    pub until: i64,
    /// Where it stands.
    pub place: String,
}

/// Fields of `[[confirm]]`, for the reference and the schema.
pub const CONFIRM_FIELDS: &[crate::resource::Field] = &[
    field(
        "remove",
        "list of strings",
        "[]",
        "Resources that may be removed although it is more than `prune-limit`: `kind:name`, with `*` and `?`. A refused prune shows the lines to write.",
    ),
    field(
        "change",
        "list of strings",
        "[]",
        "Resources that one new revision may change although they are more than `change-limit`.",
    ),
    field(
        "until",
        "string",
        "",
        "The day on which it ends, such as `\"2026-12-24\"`, or a time with its offset. Required.",
    ),
    field("reason", "string", "", "Why, for readers."),
];

const fn field(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
) -> crate::resource::Field {
    crate::resource::Field { name, kind, default, doc }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ConfirmFields {
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    change: Vec<String>,
    until: String,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Rules {
    /// Adds what a more special file says.
    pub(crate) fn add(&mut self, other: &Rules) {
        self.windows.extend(other.windows.iter().cloned());
        self.reboot.lay(&other.reboot);
        self.confirmed.extend(other.confirmed.iter().cloned());
    }

    /// Whether a resource may be removed although it is one of many.
    pub fn may_remove(&self, id: &ResourceId, now: i64) -> bool {
        self.confirmed.iter().any(|confirmed| now <= confirmed.until && named(&confirmed.remove, id))
    }

    /// Whether it may be changed although it is one of many.
    pub fn may_change(&self, id: &ResourceId, now: i64) -> bool {
        self.confirmed.iter().any(|confirmed| now <= confirmed.until && named(&confirmed.change, id))
    }

    /// Reads the tables of a file; what is wrong with them is reported.
    pub(crate) fn read(root: &Node, source: &Arc<Source>, problems: &mut Diagnostics) -> Rules {
        let mut reader = Reader { source, problems };
        let windows = reader.tables(root, "windows", "E221", |node, place| {
            let fields: WindowFields = node.read()?;
            fields.check(place).map_err(|wrong| at(node, wrong))
        });
        let confirmed = reader.tables(root, "confirm", "E222", confirmation);
        let rules = root.get("reboot").map(|node| {
            let fields: Result<Reboot, DeclareError> = node.read();
            fields.and_then(|fields| reboot::Rules::check(&fields).map_err(|wrong| at(node, wrong)))
        });
        let reboot = match rules {
            Some(Err(error)) => {
                reader.report("E223", error, root.get("reboot"));
                reboot::Rules::default()
            }
            Some(Ok(rules)) => rules,
            None => reboot::Rules::default(),
        };
        Rules { windows, reboot, confirmed }
    }
}

fn named(patterns: &[String], id: &ResourceId) -> bool {
    let name = id.to_string();
    patterns.iter().any(|pattern| matches_pattern(pattern, &name))
}

/// The error under the key it is about.
fn at(node: &Node, (key, message, help): (&str, String, &str)) -> DeclareError {
    node.get(key).unwrap_or(node).error(message, help)
}

fn confirmation(node: &Node, place: String) -> Result<Confirmation, DeclareError> {
    let fields: ConfirmFields = node.read()?;
    let wrong = |key: &str, message: String, help: &str| at(node, (key, message, help));
    let until = last_second(&fields.until)
        .ok_or_else(|| wrong("until", "this is not a date".into(), "write it like \"2026-12-24\""))?;
    if fields.remove.is_empty() && fields.change.is_empty() {
        return Err(wrong("until", "this confirms nothing".into(), "add `remove` or `change`"));
    }
    for (key, patterns) in [("remove", &fields.remove), ("change", &fields.change)] {
        let known = |pattern: &String| {
            ResourceId::parse(pattern).is_some_and(|id| KINDS.iter().any(|kind| kind.name == id.kind))
        };
        if let Some(pattern) = patterns.iter().find(|pattern| !known(pattern)) {
            let message = format!("`{pattern}` does not begin with a kind");
            return Err(wrong(key, message, "write it like \"file:/etc/nginx/*\" or \"package:nginx\""));
        }
    }
    Ok(Confirmation { remove: fields.remove, change: fields.change, until, place })
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    problems: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn report(&mut self, code: &'static str, error: DeclareError, node: Option<&Node>) {
        let head = node.map_or(0..0, |node| node.span.clone());
        self.problems.push(Diagnostic::declared(code, error, self.source, &head));
    }

    /// Reads `[[key]]` tables, each with its place.
    fn tables<T>(
        &mut self,
        root: &Node,
        key: &str,
        code: &'static str,
        read: impl Fn(&Node, String) -> Result<T, DeclareError>,
    ) -> Vec<T> {
        let Some(node) = root.get(key) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            let message = format!("`{key}` is {}, not a list of tables", node.type_name());
            let place = Place::new(self.source, &node.span, "");
            self.problems.push(Diagnostic::new("E205", message, place, format!("write it as `[[{key}]]`")));
            return Vec::new();
        };
        let mut read_ones = Vec::new();
        for item in items {
            let place = format!("{}:{}", self.source.file, self.source.line(item.span.start));
            match read(item, place) {
                Ok(value) => read_ones.push(value),
                Err(error) => self.report(code, error, Some(item)),
            }
        }
        read_ones
    }
}
