//! What the branch says about when a host may be changed, and what it confirms: `[[windows]]`, `[reboot]`, `[[confirm]]`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, Diagnostics, Place, Source};
use super::document;
use super::node::{Node, Value};
use super::tree::Tree;
use crate::config::Reboot;
use crate::resource::{DeclareError, Field, KINDS, ResourceId, fields::matches_pattern};
use crate::schedule::{Window, WindowFields, reboot};
use crate::trust::policy::last_second;

/// A confirmation should not last longer, seconds.
const LONG: i64 = 90 * 86_400;

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
pub const CONFIRM_FIELDS: &[Field] = &[
    Field::new(
        "remove",
        "list of strings",
        "[]",
        "Resources that may be removed although it is more than `prune-limit`: `kind:name`, with `*` and `?`. A refused prune shows the lines to write.",
    ),
    Field::new(
        "change",
        "list of strings",
        "[]",
        "Resources that one new revision may change although they are more than `change-limit`.",
    ),
    Field::new(
        "until",
        "string",
        "",
        "The day on which it ends, such as `\"2026-12-24\"`, or a time with its offset. Required.",
    ),
    Field::new("reason", "string", "", "Why, for readers."),
];

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

/// Warns of confirmations that are over or last long, and of windows that never open again.
pub fn lint(tree: &dyn Tree, now: i64) -> Diagnostics {
    let mut problems = Diagnostics::default();
    let Ok(source) = document::text(tree, "fleet.toml") else { return problems };
    let Ok(root) = Node::parse(&source.text) else { return problems };
    // What is wrong is reported by the proof.
    let rules = Rules::read(&root, &source, &mut Diagnostics::default());
    let mut warn = |code, key: &str, place: &str, message: &str, help: &str| {
        let tables = root.get(key).map(|node| &node.value);
        let Some(Value::Array(tables)) = tables else { return };
        let line = |node: &&Node| format!("{}:{}", source.file, source.line(node.span.start)) == place;
        let span = tables.iter().find(line).map_or(0..0, |node| node.span.clone());
        problems.push(Diagnostic::new(code, message, Place::new(&source, &span, ""), help).as_warning());
    };
    for confirmation in &rules.confirmed {
        if confirmation.until < now {
            warn("W241", "confirm", &confirmation.place, "this confirmation is over", "remove it");
        } else if confirmation.until > now.saturating_add(LONG) {
            let help = "name an earlier day: what it names could go by accident until then";
            warn(
                "W242",
                "confirm",
                &confirmation.place,
                "this confirmation lasts for more than 90 days",
                help,
            );
        }
    }
    for window in rules.windows.iter().filter(|window| !window.deny) {
        let after = now.saturating_sub(window.length);
        if window.begins.iter().all(|calendar| calendar.next(after, &jiff::tz::TimeZone::UTC).is_none()) {
            warn(
                "W243",
                "windows",
                &window.place,
                "this window never opens again",
                "remove it, or name other times",
            );
        }
    }
    problems
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tree::testing::MemoryTree;
    use crate::manifest::{HostIdentity, render};

    const FLEET: &str = "[fleet]\nname = \"f\"\nschema = 1\n[[assign]]\nroles = [\"r\"]\n";
    const NOW: i64 = 1_800_000_000;

    fn tree(fleet: &str, role: &str, host: &str) -> MemoryTree {
        let fleet = format!("{FLEET}{fleet}");
        MemoryTree::of(&[("fleet.toml", &fleet), ("roles/r/role.toml", role), ("hosts/h.toml", host)])
    }

    fn rendered(fleet: &str, role: &str, host: &str) -> Result<Rules, Vec<(String, String)>> {
        let identity = HostIdentity { name: "h".into(), ..HostIdentity::default() };
        let rendered = render(&tree(fleet, role, host), &identity, &Default::default());
        rendered.map(|rendered| rendered.rules).map_err(|problems| {
            problems.problems().into_iter().map(|problem| (problem.code, problem.what)).collect()
        })
    }

    #[test]
    fn every_file_of_a_host_adds_its_part() {
        let window = |at: &str| format!("[[windows]]\nallow = \"{at}\"\nlength = \"1h\"\n");
        let rules = rendered(
            &format!("{}[reboot]\nwhen = \"needed\"\nslots = 3\n", window("1:00")),
            &format!("{}[reboot]\nslot = 2\n", window("2:00")),
            &format!("{}[reboot]\nwhen = \"never\"\n", window("3:00")),
        )
        .unwrap();
        let places: Vec<&str> = rules.windows.iter().map(|window| window.place.as_str()).collect();
        assert_eq!(places, ["fleet.toml:6", "roles/r/role.toml:1", "hosts/h.toml:1"]);
        let reboot = &rules.reboot;
        assert_eq!((reboot.when, reboot.slots, reboot.slot), (Some(reboot::When::Never), Some(3), Some(2)));
    }

    #[test]
    fn mistakes_have_a_code_and_a_place() {
        let confirm = |rest: &str| format!("[[confirm]]\n{rest}");
        for (fleet, role, code, expected) in [
            ("[[windows]]\nallow = \"1:00\"\n".to_owned(), "", "E221", "a `length` from"),
            ("[windows]\nallow = \"1:00\"\n".into(), "", "E205", "not a list of tables"),
            (confirm("remove = [\"file:/a\"]\nuntil = \"soon\"\n"), "", "E222", "not a date"),
            (confirm("until = \"2027-01-01\"\n"), "", "E222", "confirms nothing"),
            (confirm("remove = [\"*\"]\nuntil = \"2027-01-01\"\n"), "", "E222", "does not begin with a kind"),
            ("[reboot]\nwhen = \"always\"\n".into(), "", "E223", "no time to reboot"),
            (
                String::new(),
                "[file.\"/a\"]\ncontent = \"\"\nonly-in-window = \"w\"\n",
                "E224",
                "no window `w`",
            ),
            (String::new(), "[[confirm]]\nremove = []\n", "E208", "no kind `confirm`"),
        ] {
            let problems = rendered(&fleet, role, "").unwrap_err();
            let found = problems.iter().any(|(known, what)| known == code && what.contains(expected));
            assert!(found, "{fleet}{role}: {problems:?}");
        }
    }

    #[test]
    fn a_confirmation_counts_for_what_it_names_until_it_is_over() {
        let fleet = "[[confirm]]\nremove = [\"file:/etc/a/*\", \"package:x\"]\nchange = [\"service:?\"]\nuntil = \"2027-01-15\"\n";
        let rules = rendered(fleet, "", "").unwrap();
        let may = |name: &str, now| {
            let id = ResourceId::parse(name).unwrap();
            (rules.may_remove(&id, now), rules.may_change(&id, now))
        };
        assert_eq!(may("file:/etc/a/b/c", NOW), (true, false));
        assert_eq!(may("file:/etc/b", NOW), (false, false));
        assert_eq!(may("package:x", NOW + 86_400), (false, false));
        assert_eq!(may("service:a", NOW), (false, true));
    }

    #[test]
    fn what_is_over_or_lasts_long_is_a_warning() {
        let confirm = |until: &str| format!("[[confirm]]\nremove = [\"file:/a\"]\nuntil = \"{until}\"\n");
        let window = "[[windows]]\nallow = \"2020-01-01\"\nlength = \"1h\"\n";
        let warned = |fleet: &str| {
            let problems = lint(&tree(fleet, "", ""), NOW);
            problems.problems().into_iter().map(|problem| problem.code).collect::<Vec<_>>()
        };
        assert_eq!(warned(&confirm("2026-01-01")), ["W241"]);
        assert_eq!(warned(&confirm("2028-01-01")), ["W242"]);
        assert_eq!(warned(&confirm("2027-02-01")), Vec::<String>::new());
        assert_eq!(warned(window), ["W243"]);
        assert_eq!(warned(&window.replace("2020", "*")), Vec::<String>::new());
    }
}
