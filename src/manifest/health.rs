//! Health checks that a role declares: what must be true after a change was applied.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::node::Node;
use crate::config::Span;
use crate::resource::{DeclareError, Origin};

/// One `[health.name]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Its name.
    pub name: String,
    /// What is looked at.
    pub probe: Probe,
    /// Seconds within which it must succeed.
    pub within: u64,
    /// Where it was declared.
    pub origin: Origin,
}

/// What a health check looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Probe {
    /// A URL answers with a status from 200 to 299.
    Http(String),
    /// A TCP connection to `host:port` is accepted.
    Tcp(String),
    /// A unit is active.
    Unit(String),
    /// A program exits with 0.
    Command(Vec<String>),
    /// A file is younger than so many seconds.
    Fresh {
        /// Absolute path.
        path: PathBuf,
        /// Seconds since its last change.
        seconds: u64,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    http: Option<String>,
    tcp: Option<String>,
    unit: Option<String>,
    command: Option<Vec<String>>,
    file: Option<PathBuf>,
    max_age: Option<Span>,
    within: Option<Span>,
}

/// Fields with their types and meaning, for the reference and the schema.
pub const FIELDS: &[crate::resource::Field] = &[
    field("http", "string", "", "URL that must answer with a status from 200 to 299."),
    field("tcp", "string", "", "`host:port` that must accept a connection."),
    field("unit", "string", "", "Unit that must be active."),
    field("command", "list of strings", "", "Program and arguments that must exit with 0."),
    field("file", "path", "", "File that must have changed within `max-age`."),
    field("max-age", "duration", "", "Only with `file`: the age allowed, such as `\"10m\"`."),
    field("within", "duration", "\"30s\"", "Time in which the check must succeed once."),
];

const fn field(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
) -> crate::resource::Field {
    crate::resource::Field { name, kind, default, doc }
}

impl Health {
    /// Reads a rendered table.
    ///
    /// # Errors
    /// It does not say exactly one thing to look at, or says it wrongly.
    pub fn read(name: &str, table: &Node, origin: Origin) -> Result<Health, DeclareError> {
        let fields: Fields = table.read()?;
        let wrong = |key: &str, message: &str, help: &str| {
            table.get(key).unwrap_or(table).error(message.to_owned(), help.to_owned())
        };
        let mut probes = Vec::new();
        if let Some(url) = fields.http {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(wrong(
                    "http",
                    "this is not an http or https URL",
                    "write `http://…` or `https://…`",
                ));
            }
            probes.push(Probe::Http(url));
        }
        if let Some(address) = fields.tcp {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            port.ok_or_else(|| {
                wrong("tcp", "this is not `host:port`", "write it like `\"127.0.0.1:5432\"`")
            })?;
            probes.push(Probe::Tcp(address));
        }
        probes.extend(fields.unit.map(Probe::Unit));
        if let Some(command) = fields.command {
            if command.is_empty() {
                return Err(wrong("command", "the command is empty", "give a program and its arguments"));
            }
            probes.push(Probe::Command(command));
        }
        match (fields.file, fields.max_age) {
            (Some(path), Some(age)) if path.is_absolute() => {
                probes.push(Probe::Fresh { path, seconds: age.seconds });
            }
            (Some(_), Some(_)) => {
                return Err(wrong("file", "this is not an absolute path", "write it from `/` on"));
            }
            (Some(_), None) => {
                return Err(wrong("file", "`file` needs `max-age`", "add `max-age = \"10m\"`"));
            }
            (None, Some(_)) => return Err(wrong("max-age", "`max-age` needs `file`", "add `file = \"/…\"`")),
            (None, None) => {}
        }
        let within = fields.within.unwrap_or(Span::seconds(30)).seconds;
        match (probes.pop(), probes.is_empty()) {
            (Some(probe), true) => Ok(Health { name: name.to_owned(), probe, within, origin }),
            _ => Err(DeclareError {
                span: None,
                message: "a health check looks at exactly one thing".into(),
                help: "give one of `http`, `tcp`, `unit`, `command`, `file`".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_looks_at_one_thing() {
        let origin = || Origin { role: "r".into(), file: "f".into(), line: 1 };
        let read = |text: &str| Health::read("x", &Node::parse(text).unwrap(), origin());
        for (text, probe, within) in [
            ("http = \"http://a/\"\nwithin = \"5s\"", Probe::Http("http://a/".into()), 5),
            ("tcp = \"[::1]:80\"", Probe::Tcp("[::1]:80".into()), 30),
            ("file = \"/a\"\nmax-age = \"1m\"", Probe::Fresh { path: "/a".into(), seconds: 60 }, 30),
        ] {
            let health = read(text).unwrap();
            assert_eq!((health.probe, health.within), (probe, within));
        }
        for (text, expected) in [
            ("", "exactly one"),
            ("unit = \"a\"\ntcp = \"b:1\"", "exactly one"),
            ("http = \"ftp://a\"", "not an http"),
            ("tcp = \"a\"", "host:port"),
            ("file = \"/a\"", "max-age"),
            ("htp = \"http://a\"", "unknown key"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains(expected), "{text}: {}", error.message);
        }
    }
}
