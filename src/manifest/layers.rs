//! Variables in layers: a higher layer replaces values of a lower one, tables are merged key by key, lists are replaced whole.
//!
//! Low to high: the role's own `[vars]` (its defaults), `[vars]` of `fleet.toml`, `vars` of the matching assignments in file
//! order, `[vars]` of `hosts/NAME.toml`. A role sees its own defaults and nobody else's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::Source;
use super::node::{Node, Value};

/// Merged variables that remember where each value came from.
#[derive(Debug, Clone, PartialEq)]
pub enum Layered {
    /// A value that is not a table.
    Value {
        /// The value of the highest layer.
        node: Node,
        /// Where it was set, lowest layer first; the last one counts.
        places: Vec<SetAt>,
    },
    /// A table, merged by key.
    Table(BTreeMap<String, Layered>),
}

/// Where a variable was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAt {
    /// The file.
    pub source: Arc<Source>,
    /// Byte offset.
    pub offset: usize,
}

impl std::fmt::Display for SetAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.source.file, self.source.line(self.offset))
    }
}

/// One variable as `--explain` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Explained {
    /// Dotted name.
    pub name: String,
    /// Its value as TOML.
    pub value: String,
    /// Where the value was set.
    pub from: String,
    /// Where lower layers had set it, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<String>,
}

impl Default for Layered {
    fn default() -> Layered {
        Layered::Table(BTreeMap::new())
    }
}

impl Layered {
    /// Puts a layer on top.
    pub fn merge(&mut self, layer: &Node, source: &Arc<Source>) {
        let below = match self {
            Layered::Value { places, .. } => std::mem::take(places),
            Layered::Table(table) => {
                if let Value::Table(entries) = &layer.value {
                    for (key, node) in entries {
                        match table.get_mut(&key.name) {
                            Some(known) => known.merge(node, source),
                            None => {
                                let new = Layered::of(node, source, Vec::new());
                                table.insert(key.name.clone(), new);
                            }
                        }
                    }
                    return;
                }
                Vec::new()
            }
        };
        *self = Layered::of(layer, source, below);
    }

    fn of(node: &Node, source: &Arc<Source>, mut below: Vec<SetAt>) -> Layered {
        if let Value::Table(entries) = &node.value {
            let entries = entries.iter();
            return Layered::Table(
                entries
                    .map(|(key, node)| (key.name.clone(), Layered::of(node, source, Vec::new())))
                    .collect(),
            );
        }
        below.push(SetAt { source: source.clone(), offset: node.span.start });
        Layered::Value { node: node.clone(), places: below }
    }

    /// As a value for templates.
    pub fn to_template(&self) -> minijinja::Value {
        match self {
            Layered::Value { node, .. } => super::template::to_template(node),
            Layered::Table(table) => minijinja::Value::from_pairs(
                table.iter().map(|(key, value)| (key.clone(), value.to_template())),
            ),
        }
    }

    /// Every value with its place, by name.
    pub fn explain(&self) -> Vec<Explained> {
        let mut lines = Vec::new();
        self.explain_into("", &mut lines);
        lines
    }

    fn explain_into(&self, name: &str, lines: &mut Vec<Explained>) {
        match self {
            Layered::Table(table) => {
                for (key, value) in table {
                    let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    value.explain_into(&name, lines);
                }
            }
            Layered::Value { node, places } => {
                let mut places = places.iter().rev().map(ToString::to_string);
                lines.push(Explained {
                    name: name.to_owned(),
                    value: node.to_toml(),
                    from: places.next().unwrap_or_default(),
                    instead_of: places.collect(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layers(texts: &[&str]) -> Layered {
        let mut layered = Layered::default();
        for (number, text) in texts.iter().enumerate() {
            let source = Arc::new(Source::new(format!("layer-{number}"), (*text).to_owned()));
            layered.merge(&Node::parse(text).unwrap(), &source);
        }
        layered
    }

    fn shown(layered: &Layered) -> Vec<String> {
        layered
            .explain()
            .into_iter()
            .map(|line| format!("{} = {} <- {}", line.name, line.value, line.from))
            .collect()
    }

    #[test]
    fn higher_layers_win_and_tables_are_merged() {
        for (texts, expected) in [
            (&["a = 1", "a = 2"][..], &["a = 2 <- layer-1:1"][..]),
            (&["[t]\na = 1\nb = 1", "t = { b = 2 }"], &["t.a = 1 <- layer-0:2", "t.b = 2 <- layer-1:1"]),
            (&["l = [1, 2]", "l = [3]"], &["l = [3] <- layer-1:1"]),
            (&["t = { a = 1 }", "t = 5"], &["t = 5 <- layer-1:1"]),
            (&["t = 5", "t = { a = 1 }"], &["t.a = 1 <- layer-1:1"]),
        ] {
            assert_eq!(shown(&layers(texts)), expected);
        }
        assert_eq!(layers(&["a = 1", "a = 2", "a = 3"]).explain()[0].instead_of, ["layer-1:1", "layer-0:1"]);
    }

    fn document() -> impl Strategy<Value = String> {
        let value = prop_oneof!["[1-9][0-9]{0,2}", "\"[a-z]{0,4}\"", "\\[[0-9]\\]", "\\{ [xy] = [0-9] \\}"];
        proptest::collection::btree_map("[a-c]", value, 0..4)
            .prop_map(|entries| entries.iter().map(|(key, value)| format!("{key} = {value}\n")).collect())
    }

    proptest! {
        #[test]
        fn merging_is_deterministic_and_repeating_a_layer_changes_no_value(texts in proptest::collection::vec(document(), 0..4)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(layers(&texts), layers(&texts));
            if let Some(last) = texts.last() {
                let twice: Vec<&str> = texts.iter().copied().chain([*last]).collect();
                prop_assert_eq!(layers(&twice).to_template(), layers(&texts).to_template());
            }
        }

        #[test]
        fn the_highest_layer_that_has_a_key_decides(texts in proptest::collection::vec("[0-9]{1,3}", 1..5)) {
            let documents: Vec<String> = texts.iter().map(|text| format!("a = \"{text}\"")).collect();
            let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
            let explained = layers(&documents).explain();
            prop_assert_eq!(&explained[0].value, &format!("\"{}\"", texts[texts.len() - 1]));
        }
    }
}
