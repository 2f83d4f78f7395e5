//! The JSON Schema for editors and the reference of kinds, both made from the tables of fields that the kinds have.

use serde_json::{Map, Value, json};
use std::fmt::Write;

use super::declare::{COMMON, has_sections};
use super::{health, rollback, rules};
use crate::resource::{Field, KINDS, Kind};
use crate::schedule::{reboot, window};

/// The JSON Schema of `roles/NAME/role.toml`.
pub fn role() -> Value {
    let mut properties = Map::new();
    properties.insert(
        "include".into(),
        described(list(json!({"type": "string"})), "Roles that come with this one, before it."),
    );
    properties
        .insert("vars".into(), described(json!({"type": "object"}), "Defaults of this role's variables."));
    for kind in KINDS {
        let fields = kind.fields.iter().chain(COMMON);
        let fields = fields.filter(|field| !field.name.contains('…'));
        let mut tables = named(fields);
        if has_sections(kind) {
            tables["additionalProperties"]["additionalProperties"] = json!({"type": ["object", "array"]});
        }
        properties.insert(kind.name.into(), described(tables, kind.summary));
    }
    properties.insert(
        "health".into(),
        described(named(health::FIELDS.iter()), "What must be true for a commit to stay, and afterwards."),
    );
    properties.extend(timing());
    document("A role of abide", properties, &[])
}

/// The JSON Schema of `fleet.toml`.
pub fn fleet() -> Value {
    let assignment = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "roles": described(list(json!({"type": "string"})), "Roles to give."),
            "when": described(json!({"type": "string"}), "Expression over `host`: to which hosts. Without it: to all."),
            "vars": described(json!({"type": "object"}), "Variables for these hosts."),
        },
    });
    let mut properties = Map::new();
    properties.insert(
        "fleet".into(),
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "schema"],
            "properties": {
                "name": described(json!({"type": "string"}), "The fleet's name."),
                "schema": {"const": super::document::SCHEMA, "description": "Version of the manifest's form."},
            },
        }),
    );
    properties.insert("vars".into(), described(json!({"type": "object"}), "Variables for all hosts."));
    properties.insert("assign".into(), described(list(assignment), "Who gets what, in order."));
    properties.insert(
        "rollback".into(),
        described(
            fields(rollback::FIELDS.iter()),
            "When a new commit is given up, and the generation before it returned to.",
        ),
    );
    properties.extend(timing());
    let confirm = list(fields(rules::CONFIRM_FIELDS.iter()));
    properties.insert(
        "confirm".into(),
        described(confirm, "What may be removed or changed although it is more than hosts allow at once."),
    );
    document("The fleet file of abide", properties, &["fleet"])
}

/// `[[windows]]` and `[reboot]`, which several files have.
fn timing() -> Vec<(String, Value)> {
    let windows = list(fields(window::FIELDS.iter()));
    let reboot = fields(reboot::FIELDS.iter());
    vec![
        ("windows".into(), described(windows, "When hosts may be changed.")),
        ("reboot".into(), described(reboot, "Whether and when hosts reboot by themselves.")),
    ]
}

/// The JSON Schema of `hosts/NAME.toml`.
pub fn host() -> Value {
    let mut properties = Map::new();
    let labels = json!({"type": "object", "additionalProperties": {"type": "string"}});
    properties
        .insert("labels".into(), described(labels, "Labels for expressions; they win over the host's own."));
    properties.insert("vars".into(), described(json!({"type": "object"}), "Variables for this host."));
    properties.insert(
        "roles".into(),
        described(list(json!({"type": "string"})), "Roles beside the assigned ones."),
    );
    properties.extend(timing());
    document("A host file of abide", properties, &[])
}

fn document(title: &str, properties: Map<String, Value>, required: &[&str]) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn described(mut schema: Value, text: &str) -> Value {
    if let Some(table) = schema.as_object_mut() {
        table.insert("description".into(), text.into());
    }
    schema
}

fn list(item: Value) -> Value {
    json!({"type": "array", "items": item})
}

/// Tables by name, each with these fields.
fn named<'a>(each: impl Iterator<Item = &'a Field>) -> Value {
    json!({"type": "object", "additionalProperties": fields(each)})
}

/// The schema of one table with these fields.
fn fields<'a>(fields: impl Iterator<Item = &'a Field>) -> Value {
    let properties = fields.map(|field| {
        let text = if field.default.is_empty() {
            field.doc.to_owned()
        } else {
            format!("{} Default: {}.", field.doc, field.default.replace('`', ""))
        };
        (field.name.to_owned(), described(type_of(field.kind), &text))
    });
    let properties: Map<String, Value> = properties.collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// The schema of a type as the tables of fields name it. What is not a string may also be a template.
fn type_of(kind: &str) -> Value {
    let quoted: Vec<&str> = kind.split('"').skip(1).step_by(2).collect();
    let plain = match kind {
        "string" | "path" | "expression" | "duration" | "time" => return json!({"type": "string"}),
        "boolean" => json!({"type": "boolean"}),
        "integer" => json!({"type": "integer"}),
        "string or list of strings" => {
            return json!({"anyOf": [{"type": "string"}, list(json!({"type": "string"}))]});
        }
        "string or integer" => json!({"type": ["string", "integer"]}),
        "list of strings" | "list of resources" => list(json!({"type": "string"})),
        "list of integers" => list(json!({"type": "integer"})),
        "table" => json!({"type": "object"}),
        "table of strings" => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        "boolean or \"warn\"" => json!({"enum": [true, false, "warn"]}),
        // Exactly the quoted words: `"present" or "absent"`.
        _ if !quoted.is_empty() && kind.starts_with('"') => json!({"enum": quoted}),
        _ => return json!({}),
    };
    json!({"anyOf": [plain, {"type": "string", "pattern": "\\{[{%]"}]})
}

/// The reference of all kinds, as Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Kinds of resource\n\n\
         <!-- Generated from the program; `tests` compare. Do not edit. -->\n\n\
         A resource is a table `[kind.\"name\"]` in a `role.toml`, and is called `kind:name` elsewhere. Fields without a default are \
         optional unless the text says otherwise. Every string may hold templates, see [the manifest](manifest.md).\n\n",
    );
    for kind in KINDS {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- [`{}`](#{}): {}", kind.name, kind.name, kind.summary);
    }
    text.push_str("\n## Fields of every kind\n\n");
    table(&mut text, COMMON);
    for kind in KINDS {
        section(&mut text, kind);
    }
    text.push_str("\n## Health checks\n\n`[health.name]` tables say what must be true for a commit to stay, and afterwards: [health](health.md). One of the first five fields is needed.\n\n");
    table(&mut text, health::FIELDS);
    text.push_str("\n## Windows, reboots, confirmations\n\nNo resources, but tables beside them: `[[windows]]` and `[reboot]` in `fleet.toml`, in a role and in `hosts/NAME.toml`, `[[confirm]]` in `fleet.toml`; [operate](operate.md) tells what follows from them.\n\n### `[[windows]]`\n\n");
    table(&mut text, window::FIELDS);
    text.push_str("\n### `[reboot]`\n\n");
    table(&mut text, reboot::FIELDS);
    text.push_str("\n### `[[confirm]]`\n\n");
    table(&mut text, rules::CONFIRM_FIELDS);
    text
}

fn section(text: &mut String, kind: &Kind) {
    let _ =
        write!(text, "\n## {}\n\n{}\n\n```toml\n{}\n```\n\n", kind.name, kind.summary, kind.example.trim());
    table(text, kind.fields);
}

fn table(text: &mut String, fields: &[Field]) {
    text.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    for field in fields {
        let (kind, default, doc) = (cell(field.kind), cell(field.default), cell(field.doc));
        let _ = writeln!(text, "| `{}` | {kind} | {default} | {doc} |", field.name);
    }
}

/// The generated files of the manual, by path from the repository's root.
pub fn generated() -> Vec<(&'static str, String)> {
    // A value of JSON always serialises.
    let pretty = |value: Value| format!("{}\n", serde_json::to_string_pretty(&value).unwrap_or_default());
    vec![
        ("docs/manual/kinds.md", reference()),
        ("docs/schema/role.json", pretty(role())),
        ("docs/schema/fleet.json", pretty(fleet())),
        ("docs/schema/host.json", pretty(host())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tree::testing::MemoryTree;
    use crate::manifest::{HostIdentity, node::Node, prove::Family, render};

    /// `ABIDE_GENERATE=1 cargo test generated_files` writes them.
    #[test]
    fn generated_files_are_current() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for (path, text) in generated() {
            let path = root.join(path);
            if std::env::var_os("ABIDE_GENERATE").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == text,
                "{} is old: run ABIDE_GENERATE=1 cargo test generated_files",
                path.display()
            );
        }
    }

    /// Names of files that a table uses as `source` or `template`.
    fn files(node: &Node, found: &mut Vec<(String, bool)>) {
        for (key, value) in node.entries() {
            match value.as_str() {
                Some(path) if key.name == "template" => found.push((path.to_owned(), false)),
                // A directory's source is a folder, a file's is a file; the tree below has both.
                Some(path) if key.name == "source" => found.push((path.to_owned(), true)),
                _ => files(value, found),
            }
        }
    }

    #[test]
    fn every_example_renders() {
        for kind in KINDS {
            let example = Node::parse(kind.example).unwrap();
            let mut named = Vec::new();
            for (word, tables) in example.entries() {
                let mut of_kind = Vec::new();
                files(tables, &mut of_kind);
                named.extend(of_kind.into_iter().map(|(path, source)| match (word.name.as_str(), source) {
                    ("directory", true) => format!("roles/r/{path}/one"),
                    _ => format!("roles/r/{path}"),
                }));
            }
            let fleet = "[fleet]\nname = \"f\"\nschema = 1\n[[assign]]\nroles = [\"r\"]\n";
            let mut tree = MemoryTree::of(&[("fleet.toml", fleet), ("roles/r/role.toml", kind.example)]);
            tree.0.extend(named.into_iter().map(|path| (path, b"content\n".to_vec())));
            for family in Family::ALL {
                if let Err(problems) = render(&tree, &HostIdentity::default(), &family.facts()) {
                    panic!("the example of {} does not render:\n{}", kind.name, problems.render(false));
                }
            }
        }
    }

    #[test]
    fn types_become_schemas() {
        assert_eq!(type_of("string"), json!({"type": "string"}));
        assert_eq!(type_of("\"a\" or \"b\"")["anyOf"][0], json!({"enum": ["a", "b"]}));
        assert_eq!(type_of("list of strings")["anyOf"][0]["items"]["type"], "string");
        assert_eq!(type_of("something new"), json!({}));
        let symlink = &role()["properties"]["symlink"]["additionalProperties"]["properties"];
        assert_eq!(symlink["force"]["anyOf"][0]["type"], "boolean");
        assert!(symlink.get("for-each").is_some());
    }
}
