//! Templates and expressions: `minijinja` without files, environment or clock, with a bound on work.
//!
//! Unknown names are errors even where the language would let them pass silently, as in `host.famly == 'x'`: every lookup
//! that misses is remembered, and fails the template unless its text asks whether names are defined.

use minijinja::value::{Enumerator, Object, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::limits;
use super::node::{self, Key, Node};

/// The template engine with everything a manifest may use.
pub struct Engine {
    environment: RefCell<Environment<'static>>,
}

/// Why a template or expression failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong, one line.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Byte range in the template's text, when known.
    pub range: Option<Range<usize>>,
}

impl Default for Engine {
    fn default() -> Engine {
        Engine::new()
    }
}

impl Engine {
    /// An engine without templates.
    pub fn new() -> Engine {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(limits::FUEL));
        environment.set_debug(true);
        let mut syntax = minijinja::syntax::SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        if let Ok(syntax) = syntax.build() {
            environment.set_syntax(syntax);
        }
        environment.remove_global("debug");
        environment.add_filter("tojson", to_json);
        environment.add_filter("toml", to_toml);
        environment.add_filter("quote", quote);
        environment.add_filter("b64encode", b64encode);
        environment.add_filter("sha256", sha256);
        environment.add_function("fail", fail);
        Engine { environment: RefCell::new(environment) }
    }

    /// Whether a text has anything to render.
    pub fn is_template(text: &str) -> bool {
        text.contains("{{") || text.contains("{%") || text.contains("{#")
    }

    /// Renders a template; `name` keeps its compiled form for the next time.
    ///
    /// # Errors
    /// It does not compile, names something unknown, or runs too long.
    pub fn file(&self, name: &str, text: &str, scope: &Scope) -> Result<String, Failure> {
        if self.environment.borrow().get_template(name).is_err() {
            let added = self.environment.borrow_mut().add_template_owned(name.to_owned(), text.to_owned());
            added.map_err(|error| Failure::of(&error).within(text))?;
        }
        let environment = self.environment.borrow();
        let template = environment.get_template(name).map_err(|error| Failure::of(&error))?;
        scope.watch(text, &environment, |root| {
            let mut output = Bounded::default();
            let rendered = template.render_captured_to(root, &mut output).map(|_| ());
            if output.full {
                return Err(too_much());
            }
            rendered?;
            String::from_utf8(output.bytes)
                .map_err(|_| Error::new(ErrorKind::WriteFailure, "the output is not UTF-8"))
        })
    }

    /// Renders a string of a manifest. When the string is exactly one `{{ expression }}`, the value keeps its type.
    ///
    /// # Errors
    /// As for [`Engine::file`]; also when the value is `none`.
    pub fn string(&self, text: &str, scope: &Scope) -> Result<node::Value, Failure> {
        let environment = self.environment.borrow();
        if let Some((expression, offset)) = only_expression(text)
            && let Ok(compiled) = environment.compile_expression(expression)
        {
            let value = scope.watch(expression, &environment, |root| compiled.eval(root).and_then(defined));
            let moved = |mut failure: Failure| {
                failure.range = failure.range.map(|range| range.start + offset..range.end + offset);
                failure
            };
            return value.map_err(moved).and_then(|value| from_template(&value));
        }
        let template =
            environment.template_from_str(text).map_err(|error| Failure::of(&error).within(text))?;
        scope.watch(text, &environment, |root| template.render(root)).map(node::Value::String)
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// It is not an expression, names something unknown, or is not `true` or `false`.
    pub fn condition(&self, text: &str, scope: &Scope) -> Result<bool, Failure> {
        let environment = self.environment.borrow();
        let compiled =
            environment.compile_expression(text).map_err(|error| Failure::of(&error).within(text))?;
        let value = scope.watch(text, &environment, |root| compiled.eval(root).and_then(defined))?;
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            other => Err(Failure {
                message: format!("the condition is {other}, not true or false"),
                help: "compare with something, as in `host.labels.tier == 'web'`".into(),
                range: None,
            }),
        }
    }

    /// Evaluates an expression to a value.
    ///
    /// # Errors
    /// As for [`Engine::string`].
    pub fn expression(&self, text: &str, scope: &Scope) -> Result<node::Value, Failure> {
        let environment = self.environment.borrow();
        let compiled =
            environment.compile_expression(text).map_err(|error| Failure::of(&error).within(text))?;
        let value = scope.watch(text, &environment, |root| compiled.eval(root).and_then(defined))?;
        from_template(&value)
    }
}

/// Takes what a template writes, up to the limit.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > limits::OUTPUT_BYTES {
            self.full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn too_much() -> Error {
    Error::new(
        ErrorKind::WriteFailure,
        format!("the output has more than {} MiB", limits::OUTPUT_BYTES >> 20),
    )
}

/// `{{ expression }}` and nothing else: the expression and where it starts.
fn only_expression(text: &str) -> Option<(&str, usize)> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    if inner.contains("{{") || inner.contains("}}") || inner.contains("{%") {
        return None;
    }
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let inner = inner.strip_suffix('-').unwrap_or(inner).trim();
    // Both are slices of the same text.
    Some((inner, inner.as_ptr() as usize - text.as_ptr() as usize))
}

fn defined(value: Value) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "the name is not defined"));
    }
    Ok(value)
}

impl Failure {
    fn of(error: &Error) -> Failure {
        let what = match error.kind() {
            ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
            kind => match error.detail() {
                Some(detail) => format!("{kind}: {detail}"),
                None => kind.to_string(),
            },
        };
        let help = match error.kind() {
            ErrorKind::UndefinedError => "check the spelling, define it in [vars], or give a `default(…)`",
            ErrorKind::SyntaxError => {
                "correct the template; to have `{{` as it is, write `{% raw %}…{% endraw %}`"
            }
            ErrorKind::OutOfFuel => "loop over less",
            ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest => {
                "the manual's chapter on the manifest lists what there is"
            }
            _ => "correct the expression",
        };
        Failure { message: what, help: help.to_owned(), range: error.range() }
    }

    /// With a range that lies in the text: where that ends too early, the language points behind its end.
    fn within(mut self, text: &str) -> Failure {
        self.range = self.range.map(|range| {
            let boundary = |at: &usize| text.is_char_boundary(*at);
            let start = (0..=range.start.min(text.len())).rev().find(boundary).unwrap_or(0);
            let end = (range.end.min(text.len())..=text.len()).find(boundary).unwrap_or(text.len());
            start..end.max(start)
        });
        self
    }
}

/// What templates can see.
#[derive(Debug, Clone)]
pub struct Scope {
    root: Arc<Watched>,
    missed: Missed,
}

/// Names that were looked up and do not exist: the path, and its nearest neighbour.
type Missed = Arc<Mutex<Vec<(String, Option<String>)>>>;

impl Scope {
    /// A scope with these names. Names below a path of `open` may be absent: then they are `none` in conditions.
    pub fn new(names: Vec<(&str, Value)>, open: &[&str]) -> Scope {
        let missed = Missed::default();
        let open = open.iter().map(|path| (*path).to_owned()).collect();
        let root = Watched {
            path: String::new(),
            value: Value::from_pairs(names),
            open: Arc::new(open),
            missed: missed.clone(),
        };
        Scope { root: Arc::new(root), missed }
    }

    /// The same with one more name, which is not watched.
    pub fn with(&self, name: &str, value: Value) -> Scope {
        let names = ["host", "vars"].iter().filter_map(|known| {
            let value = self.root.value.get_attr(known).ok().filter(|value| !value.is_undefined())?;
            Some((*known, value))
        });
        let names: Vec<(&str, Value)> = names.chain([(name, value)]).collect();
        let open: Vec<&str> = self.root.open.iter().map(String::as_str).collect();
        Scope::new(names, &open)
    }

    /// Runs something with this scope as its root; afterwards a name that was missed is an error, unless the text deals with
    /// undefined names itself.
    fn watch<T>(
        &self,
        text: &str,
        environment: &Environment<'_>,
        run: impl FnOnce(Value) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        if let Ok(mut missed) = self.missed.lock() {
            missed.clear();
        }
        let result = run(Value::from_dyn_object(self.root.clone()));
        let missed = self.missed.lock().map(|mut missed| std::mem::take(&mut *missed)).unwrap_or_default();
        let deals_with_it = ["defined", "default(", "default "].iter().any(|word| text.contains(word));
        let is_global = |name: &str| environment.globals().any(|(known, _)| known == name);
        let unknown = missed.iter().find(|(path, _)| !is_global(path));
        match (result, unknown) {
            (Ok(value), None) => Ok(value),
            (Ok(value), Some(_)) if deals_with_it => Ok(value),
            (Err(error), None) => Err(Failure::of(&error).within(text)),
            (Err(error), _) if error.kind() != ErrorKind::UndefinedError => {
                Err(Failure::of(&error).within(text))
            }
            (result, Some((path, near))) => {
                let range = find_name(text, path).or(result.err().and_then(|error| error.range()));
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if path.starts_with("vars.") => {
                        "define it in the role's [vars], in fleet.toml or in hosts/NAME.toml".into()
                    }
                    None => "the names are `host`, `vars`, and `item` under `for-each`".into(),
                };
                Err(Failure { message: format!("`{path}` is not defined"), help, range }.within(text))
            }
        }
    }
}

/// Where a dotted name stands in a text: the whole of it, or else its last part.
fn find_name(text: &str, path: &str) -> Option<Range<usize>> {
    let last = path.rsplit('.').next().unwrap_or(path);
    [path, last].iter().find_map(|name| text.find(name).map(|start| start..start + name.len()))
}

/// A map that remembers the keys that were asked for and are not there.
#[derive(Debug)]
struct Watched {
    path: String,
    value: Value,
    open: Arc<Vec<String>>,
    missed: Missed,
}

impl Watched {
    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn is_open(&self) -> bool {
        self.open.iter().any(|open| self.path == *open || self.path.starts_with(&format!("{open}.")))
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let names: Vec<Value> = self.value.try_iter().ok()?.collect();
        let names = names.iter().filter_map(Value::as_str);
        node::nearest(key, names).map(|near| self.below(near))
    }
}

impl Object for Watched {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self.value.get_item(key).ok().filter(|value| !value.is_undefined());
        let Some(name) = key.as_str() else { return found };
        match found {
            // `item` is the author's own list: he decides which keys its elements have.
            Some(value) if value.kind() == ValueKind::Map && self.below(name) != "item" => {
                Some(Value::from_object(Watched {
                    path: self.below(name),
                    value,
                    open: self.open.clone(),
                    missed: self.missed.clone(),
                }))
            }
            Some(value) => Some(value),
            None if self.is_open() => Some(Value::from(())),
            None => {
                if let Ok(mut missed) = self.missed.lock() {
                    missed.push((self.below(name), self.nearest(name)));
                }
                None
            }
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.value.try_iter() {
            Ok(keys) => Enumerator::Values(keys.collect()),
            Err(_) => Enumerator::Empty,
        }
    }
}

/// A node as a value for templates.
pub fn to_template(node: &Node) -> Value {
    match &node.value {
        node::Value::String(text) | node::Value::Datetime(text) => Value::from(text.as_str()),
        node::Value::Integer(number) => Value::from(*number),
        node::Value::Float(number) => Value::from(*number),
        node::Value::Boolean(flag) => Value::from(*flag),
        node::Value::Array(items) => Value::from(items.iter().map(to_template).collect::<Vec<_>>()),
        node::Value::Table(entries) => {
            Value::from_pairs(entries.iter().map(|(key, value)| (key.name.clone(), to_template(value))))
        }
    }
}

/// A template's value as one of TOML. Positions are for the caller to fill in.
fn from_template(value: &Value) -> Result<node::Value, Failure> {
    let wrong = |what: &str| Failure {
        message: format!("the expression gives {what}, which TOML does not have"),
        help: "give a default, as in `{{ name | default('…') }}`, or select another value".into(),
        range: None,
    };
    let nodes = |value: Value| from_template(&value).map(|value| Node { value, span: 0..0 });
    Ok(match value.kind() {
        ValueKind::Bool => node::Value::Boolean(value.is_true()),
        ValueKind::Number => match value.as_i64() {
            Some(number) if value.is_integer() => node::Value::Integer(number),
            _ => node::Value::Float(f64::try_from(value.clone()).map_err(|_| wrong("a number too large"))?),
        },
        ValueKind::String => node::Value::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| Failure::of(&error))?;
            node::Value::Array(items.map(nodes).collect::<Result<_, _>>()?)
        }
        ValueKind::Map => {
            let keys = value.try_iter().map_err(|error| Failure::of(&error))?;
            let entry = |key: Value| {
                let name = key.as_str().map(str::to_owned).unwrap_or_else(|| key.to_string());
                let item = value.get_item(&key).map_err(|error| Failure::of(&error))?;
                Ok((Key { name, span: 0..0 }, nodes(item)?))
            };
            node::Value::Table(keys.map(entry).collect::<Result<_, Failure>>()?)
        }
        other => return Err(wrong(&other.to_string())),
    })
}

fn to_json(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

fn to_toml(value: &Value) -> Result<String, Error> {
    let value =
        from_template(value).map_err(|failure| Error::new(ErrorKind::BadSerialization, failure.message))?;
    Ok(Node { value, span: 0..0 }.to_toml())
}

/// Quotes for a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn b64encode(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fail(message: &str) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let vars = Node::parse("port = 80\nname = \"a b\"\nlist = [1, 2]\n[t]\nx = true\n").unwrap();
        let host = Node::parse("[os]\nfamily = \"debian\"\n[labels]\ntier = \"web\"\n").unwrap();
        Scope::new(vec![("vars", to_template(&vars)), ("host", to_template(&host))], &["host.labels"])
    }

    fn string(text: &str) -> Result<String, String> {
        let value = Engine::new().string(text, &scope());
        value.map(|value| Node { value, span: 0..0 }.to_toml()).map_err(|failure| failure.message)
    }

    #[test]
    fn one_expression_keeps_its_type() {
        for (text, expected) in [
            ("{{ vars.port }}", "80"),
            ("{{- vars.list -}}", "[1, 2]"),
            ("{{ vars.t }}", "{ x = true }"),
            ("{{ vars.port }}0", "\"800\""),
            ("{{ vars.port > 5 }}", "true"),
            ("{% if vars.t.x %}yes{% endif %}", "\"yes\""),
            ("{{ vars.missing | default(3) }}", "3"),
            ("{{ vars.name | quote }}", "\"'a b'\""),
            ("{{ vars.list | tojson }}", "\"[1,2]\""),
            ("{{ vars.t | toml }}", "\"{ x = true }\""),
            ("{{ 'a' | b64encode }}", "\"YQ==\""),
            ("{{ range(3) | list }}", "[0, 1, 2]"),
            ("{{ [1,2] | map('string') | join('-') }}", "\"1-2\""),
            ("plain", "\"plain\""),
        ] {
            assert_eq!(string(text).as_deref(), Ok(expected), "{text}");
        }
    }

    /// Attack 30: a template that reaches for another file.
    #[test]
    fn what_cannot_be_rendered_says_why() {
        for (text, expected) in [
            ("{{ vars.prot }}", "`vars.prot` is not defined"),
            ("a {{ vrs.port }}", "`vrs` is not defined"),
            ("{% if vars.prot == 1 %}{% endif %}", "`vars.prot` is not defined"),
            ("{{ vars.t.y }}", "`vars.t.y` is not defined"),
            ("{{ none }}", "the expression gives none, which TOML does not have"),
            ("{{ vars.port", "syntax error"),
            ("{{ fail('not here') }}", "invalid operation: not here"),
            ("{{ vars.port | frobnicate }}", "unknown filter"),
            (
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
                "too many steps",
            ),
            ("{% include 'x' %}", "syntax error"),
        ] {
            let message = string(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn places_lie_in_the_text() {
        for text in ["{# a", "{{ fail(\"n) }}", "{{ 'é", "{% if", "{{ x", "é{{", "{% for a in [1"] {
            let failure = Engine::new().file("x", text, &scope()).unwrap_err();
            if let Some(range) = failure.range {
                assert!(text.get(range.clone()).is_some(), "{text}: {range:?}");
            }
        }
    }

    #[test]
    fn conditions_are_strict_but_labels_may_be_absent() {
        let engine = Engine::new();
        for (text, expected) in [
            ("host.os.family == 'debian'", Ok(true)),
            ("host.labels.tier == 'web' and vars.port > 1", Ok(true)),
            ("host.labels.nothing == 'web'", Ok(false)),
            ("vars.nothing is defined", Ok(false)),
            ("host.os.famly == 'debian'", Err("`host.os.famly` is not defined")),
            ("vars.port", Err("the condition is number, not true or false")),
        ] {
            let result = engine.condition(text, &scope());
            assert_eq!(
                result.as_ref().map_err(|failure| failure.message.as_str()),
                expected.as_ref().map_err(|e| *e),
                "{text}"
            );
        }
        let failure = engine.condition("host.os.famly == 'debian'", &scope()).unwrap_err();
        assert_eq!((failure.range, failure.help.as_str()), (Some(0..13), "did you mean `host.os.family`?"));
    }
}
