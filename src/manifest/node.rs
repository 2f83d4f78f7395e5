//! A parsed piece of TOML that knows where it stands in its file, and that a kind can read into its own fields.
//!
//! It exists because a manifest is rendered between parsing and reading: after templates ran, positions of the parser's own
//! types are gone, and an error without a pointer under the word is of no use to an author.

use serde::de::{self, DeserializeOwned, IntoDeserializer};
use std::fmt;
use std::ops::Range;

use crate::resource::DeclareError;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Byte range in the source file.
    pub span: Range<usize>,
}

/// The types of TOML; dates and times keep their text.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "TOML's own words")]
pub enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key, unquoted.
    pub name: String,
    /// Byte range in the source file.
    pub span: Range<usize>,
}

impl Node {
    /// Parses a whole TOML document.
    ///
    /// # Errors
    /// It is not TOML; the span says where.
    pub fn parse(text: &str) -> Result<Node, DeclareError> {
        let table = toml::de::DeTable::parse(text).map_err(|error| DeclareError {
            span: error.span(),
            message: error.message().trim().to_owned(),
            help: "correct the TOML syntax".into(),
        })?;
        let span = table.span();
        Ok(Node { value: from_table(table.into_inner()), span })
    }

    /// Parses a whole TOML document as far as it goes, with everything that is wrong with it.
    pub fn parse_all(text: &str) -> (Node, Vec<DeclareError>) {
        let (table, errors) = toml::de::DeTable::parse_recoverable(text);
        let span = table.span();
        let errors = errors.into_iter().map(|error| DeclareError {
            span: error.span(),
            message: error.message().trim().to_owned(),
            help: "correct the TOML syntax".into(),
        });
        (Node { value: from_table(table.into_inner()), span }, errors.collect())
    }

    /// Reads the node into a type; unknown keys are errors where the type says `deny_unknown_fields`.
    ///
    /// # Errors
    /// The first thing that does not fit, with its place and, for an unknown key, the nearest known one.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DeclareError> {
        T::deserialize(Reader(self)).map_err(|error| error.0)
    }

    /// The value under a key, when this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => {
                entries.iter().find(|(known, _)| known.name == key).map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// Takes a key out of a table.
    pub fn take(&mut self, key: &str) -> Option<(Key, Node)> {
        match &mut self.value {
            Value::Table(entries) => {
                let position = entries.iter().position(|(known, _)| known.name == key)?;
                Some(entries.remove(position))
            }
            _ => None,
        }
    }

    /// The text, when this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, when this is a table; otherwise none.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The word for its type.
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date or time",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Gives the node and everything in it one place: what a template made stands where the template stands.
    pub fn place_at(&mut self, span: &Range<usize>) {
        self.span = span.clone();
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.place_at(span)),
            Value::Table(entries) => {
                for (key, node) in entries {
                    key.span = span.clone();
                    node.place_at(span);
                }
            }
            _ => {}
        }
    }

    /// The value as TOML in one line.
    pub fn to_toml(&self) -> String {
        match &self.value {
            Value::String(text) => quoted(text),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) if number.is_nan() => "nan".to_owned(),
            Value::Float(number) if number.is_infinite() => {
                if *number > 0.0 { "inf" } else { "-inf" }.to_owned()
            }
            Value::Float(number) => format!("{number:?}"),
            Value::Boolean(flag) => flag.to_string(),
            Value::Datetime(text) => text.clone(),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(Node::to_toml).collect::<Vec<_>>().join(", "))
            }
            Value::Table(entries) if entries.is_empty() => "{}".to_owned(),
            Value::Table(entries) => {
                let entry =
                    |(key, node): &(Key, Node)| format!("{} = {}", key_text(&key.name), node.to_toml());
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// An error about this node.
    pub fn error(&self, message: impl Into<String>, help: impl Into<String>) -> DeclareError {
        DeclareError { span: Some(self.span.clone()), message: message.into(), help: help.into() }
    }
}

/// A key as TOML has it, quoted where it must be.
pub fn key_text(key: &str) -> String {
    let bare = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

/// A basic string of TOML.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => quoted.push_str(&format!("\\u{:04X}", other as u32)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The nearest of the known words, when one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Shows the place of an error in the text of its file, in rustc's form.
pub fn excerpt(file: &str, text: &str, error: &DeclareError) -> String {
    use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
    let span = error.span.clone().unwrap_or(0..0);
    let span = span.start.min(text.len())..span.end.min(text.len());
    let annotation = AnnotationKind::Primary.span(span).label(error.message.as_str());
    let snippet = Snippet::source(text).path(file).annotation(annotation);
    let report = [Level::ERROR.primary_title(error.message.as_str()).element(snippet)];
    let shown = Renderer::plain().render(&report);
    // The title stands in the problem already: keep the place and the text.
    shown.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned())
}

fn from_table(table: toml::de::DeTable<'_>) -> Value {
    let entries = table.into_iter().map(|(key, value)| {
        (Key { span: key.span(), name: key.into_inner().into_owned() }, from_value(value))
    });
    let mut entries: Vec<(Key, Node)> = entries.collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    Value::Table(entries)
}

fn from_value(value: toml::Spanned<toml::de::DeValue<'_>>) -> Node {
    use toml::de::DeValue;
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                // Out of range: keep the text, so that reading it as a number fails with its place.
                Err(_) => Value::String(number.as_str().to_owned()),
            }
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(flag),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(from_value).collect()),
        DeValue::Table(table) => from_table(table),
    };
    Node { value, span }
}

struct Reader<'a>(&'a Node);

#[derive(Debug)]
struct ReadError(DeclareError);

impl ReadError {
    fn at(mut self, span: &Range<usize>) -> ReadError {
        if self.0.span.is_none() {
            self.0.span = Some(span.clone());
        }
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError(DeclareError { span: None, message: message.to_string(), help: String::new() })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let help = match nearest(field, expected.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if expected.is_empty() => "no keys are allowed here".to_owned(),
            None => format!("known keys: {}", expected.join(", ")),
        };
        ReadError(DeclareError { span: None, message: format!("unknown key `{field}`"), help })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let words = expected.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let help = match nearest(variant, expected.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? Possible: {words}"),
            None => format!("possible: {words}"),
        };
        ReadError(DeclareError { span: None, message: format!("unknown value \"{variant}\""), help })
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError(DeclareError {
            span: None,
            message: format!("the key `{field}` is missing"),
            help: format!("add `{field} = …`"),
        })
    }
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let span = &self.0.span;
        match &self.0.value {
            Value::String(text) | Value::Datetime(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(flag) => visitor.visit_bool(*flag),
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            Value::Table(entries) => visitor.visit_map(Entries { entries: entries.iter(), value: None }),
        }
        .map_err(|error| error.at(span))
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let span = &self.0.span;
        match &self.0.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(de::Error::custom(format!("expected one of {} for {name}", variants.join(", ")))),
        }
        .map_err(|error: ReadError| error.at(span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        self.0
            .next()
            .map(|node| seed.deserialize(Reader(node)).map_err(|error| error.at(&node.span)))
            .transpose()
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some(node);
        seed.deserialize(key.name.as_str().into_deserializer())
            .map(Some)
            .map_err(|error: ReadError| error.at(&key.span))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some(node) = self.value.take() else { return Err(de::Error::custom("value without key")) };
        seed.deserialize(Reader(node)).map_err(|error| error.at(&node.span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Fields {
        mode: Option<String>,
        reload_on: Option<Vec<String>>,
    }

    fn table(key: &str, value: Value) -> Node {
        let key = Key { name: key.into(), span: 10..14 };
        Node { value: Value::Table(vec![(key, Node { value, span: 20..25 })]), span: 0..30 }
    }

    #[test]
    fn errors_point_at_the_word_they_are_about() {
        for (key, value, span, message, help) in [
            ("mdoe", Value::Integer(1), 10..14, "unknown key `mdoe`", "did you mean `mode`?"),
            ("mode", Value::Integer(420), 20..25, "invalid type: integer `420`, expected a string", ""),
        ] {
            let error = table(key, value).read::<Fields>().unwrap_err();
            assert_eq!(
                (error.span, error.message.as_str(), error.help.as_str()),
                (Some(span), message, help)
            );
        }
    }

    #[test]
    fn what_fits_is_read() {
        let items = Value::Array(vec![Node { value: Value::String("file:/a".into()), span: 21..24 }]);
        let fields: Fields = table("reload-on", items).read().unwrap();
        assert_eq!(fields.reload_on.unwrap(), ["file:/a"]);
    }
}
