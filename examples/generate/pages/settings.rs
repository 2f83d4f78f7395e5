//! `abide.toml`: the reference, the manual page and the default file, from the comments and defaults in `config/settings.rs`.

use abide::config::Settings;
use serde_json::Value;
use std::fmt::Write as _;

/// The source whose comments are the text.
const SOURCE: &str = include_str!("../../../src/config/settings.rs");

struct Table {
    name: String,
    doc: String,
    settings: Vec<Setting>,
    /// There may be several.
    many: bool,
}

impl Table {
    fn head(&self) -> String {
        if self.many { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

struct Setting {
    name: String,
    doc: String,
    kind: &'static str,
    default: Option<String>,
}

/// What `Vec<WindowFields>` stands for in the settings.
const WINDOWS: &str = "Vec<WindowFields>";

/// Markdown reference.
pub fn reference() -> String {
    let mut text = format!("# Settings of a host\n\n{}\n\n{INTRODUCTION}\n", super::NOTE);
    for table in tables() {
        let _ = write!(text, "\n## `{}`\n\n{}\n\n", table.head(), table.doc);
        text.push_str("| setting | type | default | meaning |\n|---|---|---|---|\n");
        for setting in table.settings {
            let default = setting.default.map_or("not set".into(), |default| format!("`{default}`"));
            let _ = writeln!(text, "| `{}` | {} | {default} | {} |", setting.name, setting.kind, setting.doc);
        }
    }
    text
}

const INTRODUCTION: &str = "\
`/etc/abide/abide.toml` holds what only this host decides; no branch can change it. Every setting has a default, and a missing file\n\
means all defaults. An unknown setting is an error that names the line. Durations are written like `30s`, `5m`, `1h30m`, `2d`.\n\
After a change: `systemctl reload abide`.";

/// The text of abide.toml(5), in Markdown.
pub fn manual_page() -> String {
    let mut text =
        format!("# abide.toml - settings of this host for abide\n\n## Description\n\n{INTRODUCTION}\n");
    for table in tables() {
        let _ = write!(text, "\n## {}\n\n{}\n\n", table.head(), table.doc);
        for setting in table.settings {
            let default = setting.default.map_or("not set".into(), |default| format!("`{default}`"));
            let _ = writeln!(
                text,
                "| `{}` ({}, default: {default}) | {} |",
                setting.name, setting.kind, setting.doc
            );
        }
    }
    text.push_str("\n## See also\n\n`abide(8)`, `abide-trust.toml(5)`\n");
    text
}

/// The file that the packages install: every setting, commented, with its default.
pub fn default_file() -> String {
    let mut text = String::from(
        "# Settings of this host for abide(8); abide.toml(5) explains them. No branch can change this file.\n\
         # Every setting is shown with its default. Nothing happens on this host until `abide enroll`.\n\
         # After a change: systemctl reload abide\n",
    );
    for table in tables() {
        if table.many {
            // Each of them is one more: an example that means nothing while it is a comment.
            text.push_str("\n# [[windows]]: when this host may be changed; abide.toml(5) explains it.\n");
            text.push_str(
                "# allow = \"Mon..Fri 22:00\"\n# length = \"4h\"\n# for = [\"revisions\", \"reboot\"]\n",
            );
            continue;
        }
        let _ = write!(text, "\n[{}]\n", table.name);
        for setting in table.settings {
            for line in wrapped(&setting.doc.replace('`', ""), 100) {
                let _ = writeln!(text, "# {line}");
            }
            let _ = match setting.default {
                Some(default) => writeln!(text, "#{} = {default}", setting.name),
                None => writeln!(text, "#{} = \"…\"", setting.name),
            };
        }
    }
    text
}

/// Every table with its settings, in the order of the source.
fn tables() -> Vec<Table> {
    let defaults = serde_json::to_value(Settings::default()).expect("settings are plain data");
    let structs = structs();
    let (_, whole) = structs.iter().find(|(name, _)| name == "Settings").expect("the whole file has a type");
    let table = |field: &Field| {
        if field.kind == WINDOWS {
            let settings = abide::schedule::window::FIELDS.iter().map(window_setting).collect();
            return Table { name: field.name.clone(), doc: field.doc.clone(), settings, many: true };
        }
        let (_, fields) =
            structs.iter().find(|(name, _)| *name == field.kind).expect("every table has a type");
        let name = field.name.replace('_', "-");
        let settings = fields.iter().map(|field| setting(field, &defaults[&name])).collect();
        Table { name, doc: field.doc.clone(), settings, many: false }
    };
    whole.iter().map(table).collect()
}

fn window_setting(field: &abide::resource::Field) -> Setting {
    let default = Some(field.default.trim_matches('`').to_owned()).filter(|default| !default.is_empty());
    Setting { name: field.name.into(), doc: field.doc.into(), kind: field.kind, default }
}

fn setting(field: &Field, defaults: &Value) -> Setting {
    let name = field.name.replace('_', "-");
    let plain =
        field.kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')).unwrap_or(&field.kind);
    let kind = match plain {
        "String" | "Guarding" => "string",
        "bool" => "boolean",
        "u8" | "u32" | "u64" => "integer",
        "Span" => "duration",
        "PathBuf" => "path",
        "Vec<String>" => "list of strings",
        "BTreeMap<String, String>" => "table of strings",
        other => panic!("how do people write a {other}? Say it here, for `{name}`"),
    };
    let default = match &defaults[&name] {
        Value::Null => None,
        Value::Object(table) if table.is_empty() => Some("{}".into()),
        // What is left is written in TOML as in JSON.
        value => Some(value.to_string()),
    };
    Setting { name, doc: field.doc.clone(), kind, default }
}

struct Field {
    name: String,
    kind: String,
    doc: String,
}

/// Structs of the source with their public, documented fields.
fn structs() -> Vec<(String, Vec<Field>)> {
    let mut structs: Vec<(String, Vec<Field>)> = Vec::new();
    let (mut doc, mut skipped) = (Vec::new(), false);
    for line in SOURCE.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
        } else if line == "#[serde(skip)]" {
            skipped = true;
        } else if let Some(name) = line.strip_prefix("pub struct ") {
            structs.push((name.trim_end_matches(" {").to_owned(), Vec::new()));
            doc.clear();
        } else if let Some((name, kind)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) {
            if let Some((_, fields)) = structs.last_mut().filter(|_| !skipped) {
                let kind = kind.trim_end_matches(',').to_owned();
                fields.push(Field { name: name.to_owned(), kind, doc: doc.join(" ") });
            }
            (doc, skipped) = (Vec::new(), false);
        }
    }
    structs
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
