//! Health checks that a role declares: what must be true for a commit to stay, and afterwards.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::node::{Node, Value};
use crate::config::Span;
use crate::resource::{DeclareError, Field, Origin, ResourceId};
pub use crate::system::probe::Probe;

/// One `[health.name]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Its name.
    pub name: String,
    /// What is looked at.
    pub probe: Probe,
    /// Resources that are not well when this fails.
    pub resources: Vec<ResourceId>,
    /// Seconds that what is looked at may take to start, beside `within`.
    pub start_period: u64,
    /// Seconds within which it must be good.
    pub within: u64,
    /// Seconds for which it must be good without interruption.
    pub stable_for: u64,
    /// Seconds between two looks during a trial.
    pub interval: u64,
    /// Seconds that one look may take.
    pub timeout: u64,
    /// Where it was declared.
    pub origin: Origin,
}

impl Health {
    /// Whether another one looks at the same in the same way, wherever it was declared.
    pub fn is_like(&self, other: &Health) -> bool {
        Health { origin: self.origin.clone(), ..other.clone() } == *self
    }

    /// Milliseconds from the beginning on in which it may be bad.
    pub fn grace(&self) -> i64 {
        milliseconds(self.start_period.saturating_add(self.within))
    }
}

/// Seconds as the judges count.
pub fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    http: Option<String>,
    tcp: Option<String>,
    unit: Option<String>,
    command: Option<Vec<String>>,
    file: Option<PathBuf>,
    status: Option<Wanted>,
    body: Option<String>,
    verify: Option<bool>,
    user: Option<String>,
    max_age: Option<Span>,
    start_period: Option<Span>,
    within: Option<Span>,
    stable_for: Option<Span>,
    interval: Option<Span>,
    timeout: Option<Span>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wanted {
    One(u16),
    Some(String),
}

impl Wanted {
    /// `204`, `"200-399"`, `"200, 301-302"`.
    fn ranges(&self) -> Option<Vec<(u16, u16)>> {
        let text = match self {
            Wanted::One(status) => status.to_string(),
            Wanted::Some(text) => text.clone(),
        };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (100 <= first && first <= last && last <= 599).then_some((first, last))
        };
        text.split(',').map(range).collect()
    }
}

/// Fields with their types and meaning, for the reference and the schema.
pub const FIELDS: &[Field] = &[
    Field::new(
        "http",
        "string",
        "",
        "URL that must answer. Redirects are answers of their own and not followed.",
    ),
    Field::new("tcp", "string", "", "`host:port` that must accept a connection."),
    Field::new("unit", "string", "", "Unit that must be active; `nginx` is `nginx.service`."),
    Field::new("command", "list of strings", "", "Program and arguments that must exit with 0."),
    Field::new("file", "path", "", "File that must have changed within `max-age`."),
    Field::new(
        "for",
        "list of resources",
        "[]",
        "Resources that are not well when this fails, such as `[\"service:nginx\"]`. Where none of them is declared, the check is not, either.",
    ),
    Field::new(
        "status",
        "string or integer",
        "\"200-299\"",
        "Only with `http`: the answers that are good, such as `204` or `\"200-299, 401\"`.",
    ),
    Field::new(
        "body",
        "string",
        "",
        "Only with `http`: text that the first mebibyte of the answer must contain.",
    ),
    Field::new(
        "verify",
        "boolean",
        "true",
        "Only with `http`: whether the certificate of an `https` server must be good for its name and be signed by an authority that the host knows.",
    ),
    Field::new("user", "string", "\"root\"", "Only with `command`: who runs the program."),
    Field::new("max-age", "duration", "", "Only with `file`: the age allowed, such as `\"10m\"`."),
    Field::new(
        "start-period",
        "duration",
        "\"0s\"",
        "Time to start, after which `within` begins: so long failures count for nothing.",
    ),
    Field::new("within", "duration", "\"30s\"", "Time in which the check must be good."),
    Field::new(
        "stable-for",
        "duration",
        "\"0s\"",
        "So long it must be good without interruption; it may begin at the end of `within`.",
    ),
    Field::new("interval", "duration", "\"1s\"", "Time between two looks while a commit is on trial."),
    Field::new("timeout", "duration", "\"5s\"", "Time that one look may take; at most a minute."),
];

impl Health {
    /// Reads a rendered table, without `for`.
    ///
    /// # Errors
    /// It does not say exactly one thing to look at, or says it wrongly.
    pub fn read(name: &str, table: &Node, origin: Origin) -> Result<Health, DeclareError> {
        let mut fields: Fields = table.read()?;
        let seconds = |span: Option<Span>, default| span.map_or(default, |span| span.seconds);
        let (start_period, within) = (seconds(fields.start_period, 0), seconds(fields.within, 30));
        let (stable_for, interval) = (seconds(fields.stable_for, 0), seconds(fields.interval, 1));
        let timeout = seconds(fields.timeout, 5);
        for (key, value, allowed) in [
            ("within", within, 1..=DAY),
            ("start-period", start_period, 0..=DAY),
            ("stable-for", stable_for, 0..=DAY),
            ("interval", interval, 1..=3600),
            ("timeout", timeout, 1..=60),
        ] {
            if !allowed.contains(&value) {
                let (least, most) = (Span::seconds(*allowed.start()), Span::seconds(*allowed.end()));
                let message = format!("`{key}` is not between {least} and {most}");
                return Err(wrong(table, key, message, "choose another time"));
            }
        }
        let probe = fields.probe(table)?;
        let resources = Vec::new();
        let name = name.to_owned();
        Ok(Health { name, probe, resources, start_period, within, stable_for, interval, timeout, origin })
    }
}

/// More than this is no time to start.
const DAY: u64 = 24 * 3600;

/// Fields that say what is looked at, each with those that belong to it.
const PROBES: &[(&str, &[&str])] = &[
    ("http", &["status", "body", "verify"]),
    ("tcp", &[]),
    ("unit", &[]),
    ("command", &["user"]),
    ("file", &["max-age"]),
];

fn wrong(table: &Node, key: &str, message: impl Into<String>, help: &str) -> DeclareError {
    table.get(key).unwrap_or(table).error(message, help)
}

impl Fields {
    fn probe(&mut self, table: &Node) -> Result<Probe, DeclareError> {
        let given: Vec<&str> =
            PROBES.iter().map(|(key, _)| *key).filter(|key| table.get(key).is_some()).collect();
        let &[key] = given.as_slice() else {
            return Err(DeclareError {
                span: None,
                message: "a health check looks at exactly one thing".into(),
                help: "give one of `http`, `tcp`, `unit`, `command`, `file`".into(),
            });
        };
        for (owner, fields) in PROBES.iter().filter(|(owner, _)| *owner != key) {
            if let Some(field) = fields.iter().find(|field| table.get(field).is_some()) {
                let message = format!("`{field}` needs `{owner}`");
                return Err(wrong(table, field, message, "remove it"));
            }
        }
        match key {
            "http" => self.http(table),
            "tcp" => self.tcp(table),
            "unit" => self.unit(table),
            "command" => self.command(table),
            _ => self.file(table),
        }
    }

    fn http(&mut self, table: &Node) -> Result<Probe, DeclareError> {
        let url = self.http.take().unwrap_or_default();
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/'))
            || url.contains(char::is_whitespace)
        {
            let help = "write `http://…` or `https://…`";
            return Err(wrong(table, "http", "this is not an http or https URL", help));
        }
        let wanted = self.status.as_ref().map_or(Some(vec![(200, 299)]), Wanted::ranges);
        let status = wanted.ok_or_else(|| {
            let help = "write it like `204`, `\"200-299\"` or `\"200, 301-302\"`";
            wrong(table, "status", "these are no answers of HTTP", help)
        })?;
        Ok(Probe::Http { url, status, body: self.body.take(), verify: self.verify.unwrap_or(true) })
    }

    fn tcp(&mut self, table: &Node) -> Result<Probe, DeclareError> {
        let address = self.tcp.take().unwrap_or_default();
        let parts = address.rsplit_once(':');
        let port = parts.filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
        match port {
            Some(1..) => Ok(Probe::Tcp { address }),
            _ => Err(wrong(table, "tcp", "this is not `host:port`", "write it like `\"127.0.0.1:5432\"`")),
        }
    }

    fn unit(&mut self, table: &Node) -> Result<Probe, DeclareError> {
        let mut unit = self.unit.take().unwrap_or_default();
        if !crate::system::systemd::is_unit_name(&unit) {
            unit.push_str(".service");
        }
        match crate::system::systemd::is_unit_name(&unit) && !unit.contains("@.") {
            true => Ok(Probe::Unit { unit }),
            false => {
                Err(wrong(table, "unit", "this cannot be the name of a unit", "write it like `\"nginx\"`"))
            }
        }
    }

    fn command(&mut self, table: &Node) -> Result<Probe, DeclareError> {
        let argv = self.command.take().unwrap_or_default();
        let help = "give a program and its arguments as a list, such as `[\"pg_isready\", \"-q\"]`";
        match argv.first() {
            None => Err(wrong(table, "command", "the command is empty", help)),
            Some(program) if program.is_empty() => {
                Err(wrong(table, "command", "the command names no program", help))
            }
            Some(program) if argv.len() == 1 && program.contains(char::is_whitespace) => {
                let message = "the command is one word with spaces: no shell splits it";
                Err(wrong(table, "command", message, help))
            }
            Some(_) if argv.iter().any(|word| word.contains('\0')) => {
                Err(wrong(table, "command", "the command contains a NUL byte", "remove it"))
            }
            Some(_) => Ok(Probe::Command { argv, user: self.user.take() }),
        }
    }

    fn file(&mut self, table: &Node) -> Result<Probe, DeclareError> {
        let path = self.file.take().unwrap_or_default();
        match self.max_age {
            _ if !path.is_absolute() => {
                Err(wrong(table, "file", "this is not an absolute path", "write it from `/` on"))
            }
            None => Err(wrong(table, "file", "`file` needs `max-age`", "add `max-age = \"10m\"`")),
            Some(age) => Ok(Probe::Fresh { path, seconds: age.seconds }),
        }
    }
}

/// Takes `for` out of a table: the names as they are written.
///
/// # Errors
/// It is not a list of strings.
pub(super) fn take_resources(
    table: &mut Node,
) -> Result<Vec<(String, std::ops::Range<usize>)>, DeclareError> {
    let Some((_, node)) = table.take("for") else { return Ok(Vec::new()) };
    let help = "write it like `for = [\"service:nginx\"]`";
    let Value::Array(items) = &node.value else {
        return Err(node.error(format!("`for` is {}, not a list of resources", node.type_name()), help));
    };
    let named = |item: &Node| match item.as_str() {
        Some(text) => Ok((text.to_owned(), item.span.clone())),
        None => Err(item.error(format!("this is {}, not a resource", item.type_name()), help)),
    };
    items.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Health, DeclareError> {
        let origin = Origin { role: "r".into(), file: "f".into(), line: 1 };
        Health::read("x", &Node::parse(text).unwrap(), origin)
    }

    #[test]
    fn a_check_looks_at_one_thing() {
        let http = |status, body: Option<&str>, verify| {
            let (url, body) = ("http://a/".into(), body.map(str::to_owned));
            Probe::Http { url, status, body, verify }
        };
        let url = "http = \"http://a/\"\n";
        for (text, probe) in [
            (url.to_owned(), http(vec![(200, 299)], None, true)),
            (format!("{url}status = 204\nverify = false"), http(vec![(204, 204)], None, false)),
            (
                format!("{url}status = \"200, 300-399\"\nbody = \"ok\""),
                http(vec![(200, 200), (300, 399)], Some("ok"), true),
            ),
            ("tcp = \"[::1]:80\"".into(), Probe::Tcp { address: "[::1]:80".into() }),
            ("unit = \"nginx\"".into(), Probe::Unit { unit: "nginx.service".into() }),
            ("unit = \"a@b.timer\"".into(), Probe::Unit { unit: "a@b.timer".into() }),
            (
                "command = [\"a\", \"b c\"]\nuser = \"www\"".into(),
                Probe::Command { argv: vec!["a".into(), "b c".into()], user: Some("www".into()) },
            ),
            ("file = \"/a\"\nmax-age = \"1m\"".into(), Probe::Fresh { path: "/a".into(), seconds: 60 }),
        ] {
            assert_eq!(read(&text).unwrap().probe, probe, "{text}");
        }
    }

    #[test]
    fn its_times_have_defaults_and_bounds() {
        let check = read("unit = \"a\"").unwrap();
        let times = |check: &Health| {
            (check.start_period, check.within, check.stable_for, check.interval, check.timeout)
        };
        assert_eq!((times(&check), check.grace()), ((0, 30, 0, 1, 5), 30_000));
        let check = read(
            "unit = \"a\"\nstart-period = \"1m\"\nwithin = \"20s\"\nstable-for = \"5s\"\ninterval = \"2s\"\ntimeout = \"3s\"",
        );
        let check = check.unwrap();
        assert_eq!((times(&check), check.grace()), ((60, 20, 5, 2, 3), 80_000));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("", "exactly one"),
            ("unit = \"a\"\ntcp = \"b:1\"", "exactly one"),
            ("http = \"ftp://a\"", "not an http"),
            ("http = \"http:///x\"", "not an http"),
            ("http = \"http://a\"\nstatus = 99", "no answers"),
            ("http = \"http://a\"\nstatus = \"300-200\"", "no answers"),
            ("tcp = \"a\"", "host:port"),
            ("tcp = \"a:0\"", "host:port"),
            ("tcp = \":80\"", "host:port"),
            ("tcp = \"a:80\"\nbody = \"x\"", "`body` needs `http`"),
            ("unit = \"a b\"", "name of a unit"),
            ("unit = \"a@.service\"", "name of a unit"),
            ("command = []", "empty"),
            ("command = [\"a b\"]", "no shell"),
            ("unit = \"a\"\nuser = \"x\"", "`user` needs `command`"),
            ("file = \"/a\"", "max-age"),
            ("file = \"a\"\nmax-age = \"1m\"", "absolute"),
            ("unit = \"a\"\nmax-age = \"1m\"", "`max-age` needs `file`"),
            ("htp = \"http://a\"", "unknown key"),
            ("unit = \"a\"\nwithin = \"0s\"", "`within` is not between"),
            ("unit = \"a\"\ntimeout = \"2m\"", "`timeout` is not between 1s and 1m"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains(expected), "{text}: {}", error.message);
        }
    }
}
