//! What is allowed in a `trust.toml` and probably not meant: warnings of `abide check`.
//!
//! Whether a policy is valid is for [`Policy::parse`](crate::trust::policy::Policy::parse) to say; here it is read the way its
//! authors will have to live with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Place, Source};
use super::node::{Node, Value};
use super::tree::Tree;
use crate::error::escaped;
use crate::source::EntryKind;
use crate::trust::key::PublicKey;
use crate::trust::openpgp::OpenPgpKey;
use crate::trust::policy::{POLICY_FILE, Policy, Scope, last_second};

/// A key that expires within so many seconds is worth a word: 30 days.
const SOON: i64 = 30 * 86_400;

/// How many paths a message names.
const NAMED: usize = 3;

/// Fingerprints of the keys with which GitHub signs what its buttons make, from <https://github.com/web-flow.gpg>. Whoever
/// controls an account there can have anything signed with them.
const FORGE_KEYS: &[&str] =
    &["5DE3E0509C47EA3CF04A42D34AEE18F83AFDEB23", "968479A1AFF927E37D1A566BB5690EEEBB952194"];

/// Names under which forges and their robots commit.
const FORGE_NAMES: &[&str] = &[
    "web-flow",
    "github",
    "gitlab",
    "gitea",
    "forgejo",
    "bitbucket",
    "github-actions",
    "dependabot",
    "renovate",
];

/// Looks at the policy of a fleet: how it will hold up from `now` on, and over the paths that the tree has.
pub fn lint(tree: &dyn Tree, now: i64) -> Diagnostics {
    let mut problems = Diagnostics::default();
    let Ok(bytes) = tree.read(POLICY_FILE) else { return problems };
    let source = Arc::new(Source::new(POLICY_FILE, String::from_utf8_lossy(&bytes).into_owned()));
    let policy = match Policy::parse(&bytes, POLICY_FILE) {
        Ok(policy) => policy,
        Err(error) => {
            let start = source.text.split_inclusive('\n').take(error.line - 1).map(str::len).sum();
            let end = source.text[start..].find('\n').map_or(source.text.len(), |end| start + end);
            problems.push(Diagnostic::new(
                "E219",
                format!("no host accepts this policy: {}", error.message),
                Place::new(&source, &(start..end), ""),
                error.help,
            ));
            return problems;
        }
    };
    let Ok(root) = Node::parse(&source.text) else { return problems };
    let mut linter = Linter { source, root, policy, now, problems };
    linter.root_scope();
    linter.forge();
    linter.unreachable();
    linter.thresholds();
    linter.expiry();
    linter.idle_principals();
    linter.uncovered(tree);
    linter.heartbeat();
    linter.problems
}

struct Linter {
    source: Arc<Source>,
    root: Node,
    policy: Policy,
    now: i64,
    problems: Diagnostics,
}

/// A key with its place.
struct Key {
    principal: String,
    print: String,
    last: Option<i64>,
    span: std::ops::Range<usize>,
}

impl Linter {
    fn warn(
        &mut self,
        code: &'static str,
        message: String,
        span: &std::ops::Range<usize>,
        label: &str,
        help: impl Into<String>,
    ) {
        let place = Place::new(&self.source, span, label);
        self.problems.push(Diagnostic::new(code, message, place, help).as_warning());
    }

    /// The node at a way of keys and positions; the last one that exists.
    fn place(&self, way: &[&str]) -> std::ops::Range<usize> {
        let mut node = &self.root;
        for step in way {
            let next = match &node.value {
                Value::Array(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
                _ => node.get(step),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.span.clone()
    }

    fn scope_place(&self, position: usize, field: &str) -> std::ops::Range<usize> {
        self.place(&["scope", &position.to_string(), field])
    }

    /// Who can change everything else.
    fn root_scope(&mut self) {
        let covers = |scope: &Scope| scope.paths.iter().any(|pattern| pattern.matches(POLICY_FILE));
        let Some(position) = self.policy.scopes.iter().position(covers) else { return };
        let scope = self.policy.scopes[position].clone();
        if scope.signers.len() == 1 {
            let who = scope.signers.first().cloned().unwrap_or_default();
            let message = format!("{who} alone can change the policy");
            let help = "add a second signer to this scope: if this key is lost nobody can change the policy, and if it is stolen nobody can stop it";
            let span = self.scope_place(position, "signers");
            self.warn("W230", message, &span, "a lone root signer", help);
        } else if scope.threshold == 1 {
            let message = format!("each of {} signers can change the policy alone", scope.signers.len());
            let help = "write `threshold = 2`: then no single stolen key changes who is trusted";
            let span = self.scope_place(position, "threshold");
            self.warn("W231", message, &span, "one is enough", help);
        }
    }

    /// A key of the forge makes the forge an authority, which is what signatures are to prevent.
    fn forge(&mut self) {
        let Some(principals) = self.root.get("principal").map(|node| node.entries().to_vec()) else { return };
        for (name, node) in &principals {
            let robot = |name: &str| {
                let name = name.to_ascii_lowercase();
                FORGE_NAMES.iter().any(|forge| name == *forge || name == format!("{forge}-bot"))
            };
            if robot(&name.name) || name.name.to_ascii_lowercase().starts_with("noreply@") {
                let message = format!("the principal {} looks like a forge or a robot", escaped(&name.name));
                let help = "give people keys of their own, and let a scope have `merge = \"seal\"` for what the forge's button merges";
                self.warn("W232", message, &name.span, "whoever holds an account there can sign", help);
            }
            let prints = self.policy.keys().into_iter().filter(|(_, holder)| holder.principal == name.name);
            if prints.map(|(print, _)| print).any(|print| FORGE_KEYS.contains(&print.as_str())) {
                let message = format!("{} has the key with which GitHub signs", escaped(&name.name));
                let help = "take it away: it signs whatever anybody does in the web interface; let a scope have `merge = \"seal\"` instead";
                let span = node.get("openpgp").unwrap_or(node).span.clone();
                self.warn("W232", message, &span, "not a person's key", help);
            }
        }
    }

    /// A scope behind others that match everything it matches never decides.
    fn unreachable(&mut self) {
        let scopes = self.policy.scopes.clone();
        for (position, scope) in scopes.iter().enumerate() {
            let shadow = |pattern| {
                scopes[..position]
                    .iter()
                    .find(|earlier| earlier.paths.iter().any(|other| other.covers(pattern)))
            };
            let shadows: Option<Vec<&Scope>> = scope.paths.iter().map(shadow).collect();
            let Some(shadows) = shadows else { continue };
            let names: BTreeSet<&str> = shadows.iter().map(|scope| scope.name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let message = format!("the scope \"{}\" never decides anything", scope.name);
            let label = format!("all of it is covered by {} above", names.join(", "));
            let span = self.scope_place(position, "paths");
            self.warn(
                "W233",
                message,
                &span,
                &label,
                "move it up: the first scope that matches a path decides",
            );
        }
    }

    /// A threshold that expired keys put out of reach freezes its paths.
    fn thresholds(&mut self) {
        let keys = self.keys();
        for (position, scope) in self.policy.scopes.clone().iter().enumerate() {
            // For each signer the moment of his last key's end; those without end come last.
            let mut ends: Vec<i64> = scope
                .signers
                .iter()
                .filter_map(|signer| {
                    let ends = keys.iter().filter(|key| key.principal == *signer);
                    ends.map(|key| key.last.unwrap_or(i64::MAX)).max()
                })
                .collect();
            ends.sort_unstable_by(|one, other| other.cmp(one));
            let Some(end) = ends.get(scope.threshold - 1).copied() else { continue };
            if end > self.now.saturating_add(SOON) {
                continue;
            }
            let left = ends.iter().filter(|end| **end >= self.now).count();
            let (message, label) = match end < self.now {
                true => (
                    format!("nobody can change the scope \"{}\" any more", scope.name),
                    format!("{left} of its signers have a key that still counts"),
                ),
                false => (
                    format!("nobody can change the scope \"{}\" after {}", scope.name, date(end)),
                    "then too few of its signers have a key that counts".to_owned(),
                ),
            };
            let help = "renew keys with `abide trust rotate`, or add signers to the scope";
            let span = self.scope_place(position, "threshold");
            self.warn("W234", message, &span, &label, help);
        }
    }

    fn expiry(&mut self) {
        for key in self.keys() {
            let Some(last) = key.last else { continue };
            let who = &key.principal;
            let help = format!("`abide trust rotate {who} --key NEW.pub --remove {}`", key.print);
            if last < self.now {
                let message = format!("a key of {who} expired on {}", date(last));
                self.warn("W236", message, &key.span, "hosts refuse what it signs", help);
            } else if last <= self.now.saturating_add(SOON) {
                let days = (last - self.now) / 86_400;
                let message = format!("a key of {who} expires on {}", date(last));
                let label = format!("in {days} days, on hosts that catch up later too");
                self.warn("W235", message, &key.span, &label, help);
            }
        }
    }

    fn idle_principals(&mut self) {
        let Some(principals) = self.root.get("principal").map(|node| node.entries().to_vec()) else { return };
        for (name, _) in principals {
            if self.policy.scopes.iter().any(|scope| scope.signers.contains(&name.name)) {
                continue;
            }
            let message = format!("{} may sign nothing", name.name);
            let help = "add the principal to the signers of a scope, or remove it";
            self.warn("W237", message, &name.span, "in no scope", help);
        }
    }

    /// Paths that nobody may change, not even to delete them.
    fn uncovered(&mut self, tree: &dyn Tree) {
        let (mut found, mut more) = (Vec::new(), 0);
        let mut open = vec![String::new()];
        while let Some(folder) = open.pop() {
            for entry in tree.list(&folder).unwrap_or_default() {
                let path = if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
                if entry.kind == EntryKind::Tree {
                    open.push(path);
                } else if self.policy.scope_of(&path).is_none() {
                    more += 1;
                    found.push(escaped(&path));
                }
            }
        }
        if found.is_empty() {
            return;
        }
        found.sort();
        more -= found.len().min(NAMED);
        found.truncate(NAMED);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("no scope covers {}{rest}", found.join(", "));
        let help = "add a scope for them; hosts refuse every commit that changes a path without one";
        let span = self.place(&["scope"]);
        self.warn("W238", message, &span, "nobody may change them", help);
    }

    /// Without a heartbeat a host cannot tell a server that stays silent from a branch where nothing happens.
    fn heartbeat(&mut self) {
        let keys = self.root.get("heartbeat").and_then(|node| node.get("keys")).cloned();
        let items = match keys.map(|keys| keys.value) {
            Some(Value::Array(items)) if !items.is_empty() => items,
            _ => {
                let message = "no key may sign heartbeats".to_owned();
                let help = "add `[heartbeat]` with `keys = [{ key = \"…\" }]` and run `abide heartbeat` on a schedule; hosts with `max-age` need it";
                let span = self.place(&["version"]);
                let label = "hosts cannot notice that a server only repeats old answers";
                return self.warn("W239", message, &span, label, help);
            }
        };
        for item in items {
            let last = item.get("not-after").and_then(word).and_then(|text| last_second(&text));
            let Some(last) = last.filter(|last| *last <= self.now.saturating_add(SOON)) else { continue };
            let verb = if last < self.now { "expired" } else { "expires" };
            let message = format!("a heartbeat key {verb} on {}", date(last));
            let help = "add a new one beside it, switch the schedule over, then remove it";
            let label = "hosts that require a heartbeat stop following then";
            self.warn("W240", message, &item.span.clone(), label, help);
        }
    }

    /// Every key with its place: where the policy can be read, each entry of a list is a key.
    fn keys(&self) -> Vec<Key> {
        let mut found = Vec::new();
        let principals = self.root.get("principal").map(Node::entries).unwrap_or_default();
        for (name, principal) in principals {
            for list in ["keys", "openpgp"] {
                let Some(Value::Array(items)) = principal.get(list).map(|node| &node.value) else { continue };
                for item in items {
                    let Some(print) = item.get("key").and_then(Node::as_str).and_then(fingerprint) else {
                        continue;
                    };
                    let last = item.get("not-after").and_then(word).and_then(|text| last_second(&text));
                    found.push(Key { principal: name.name.clone(), print, last, span: item.span.clone() });
                }
            }
        }
        found
    }
}

/// The fingerprint of a key as a policy holds it.
fn fingerprint(text: &str) -> Option<String> {
    let ssh = PublicKey::parse(text).ok().map(|key| key.fingerprint());
    ssh.or_else(|| OpenPgpKey::parse(text).ok().map(|key| key.fingerprint().to_string()))
}

/// A date as it is written, quoted or not.
fn word(node: &Node) -> Option<String> {
    match &node.value {
        Value::String(text) | Value::Datetime(text) => Some(text.clone()),
        _ => None,
    }
}

fn date(time: i64) -> String {
    jiff::Timestamp::from_second(time)
        .map_or_else(|_| time.to_string(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tree::testing::MemoryTree;
    use crate::trust::key::ed25519_blob;

    /// 2026-06-01.
    const NOW: i64 = 1_780_272_000;

    fn key(seed: u8) -> String {
        let point = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        PublicKey::from_blob(&ed25519_blob(&point)).unwrap().to_string()
    }

    /// A policy that nothing is to be said against.
    fn good() -> String {
        format!(
            r#"version = 1
fleet = "5a1c"
ref = "refs/heads/main"

[principal.alice]
keys = [{{ key = "{}", not-after = 2027-06-01 }}]

[principal.bob]
keys = [{{ key = "{}" }}]

[[scope]]
name = "root"
paths = ["trust.toml"]
signers = ["alice", "bob"]
threshold = 2

[[scope]]
name = "rest"
paths = ["roles/**", "fleet.toml"]
signers = ["alice", "bob"]

[heartbeat]
keys = [{{ key = "{}", not-after = 2027-06-01 }}]
"#,
            key(1),
            key(2),
            key(3)
        )
    }

    fn lints(policy: &str, more: &[&str]) -> Diagnostics {
        let mut files = vec![("trust.toml", policy), ("fleet.toml", ""), ("roles/base/role.toml", "")];
        files.extend(more.iter().map(|path| (*path, "")));
        lint(&MemoryTree::of(&files), NOW)
    }

    #[test]
    fn nothing_is_said_about_a_good_policy() {
        let problems = lints(&good(), &[]);
        assert!(problems.is_empty(), "{}", problems.render(false));
        assert!(lint(&MemoryTree::of(&[]), NOW).is_empty());
    }

    /// Attack 24: a forge's own key among the principals.
    #[test]
    fn each_weakness_has_its_warning_at_its_place() {
        for (from, to, expected, line) in [
            ("signers = [\"alice\", \"bob\"]\nthreshold = 2", "signers = [\"alice\"]", "W230", 14),
            ("threshold = 2", "threshold = 1", "W231", 15),
            ("bob", "GitHub", "W232", 8),
            ("alice", "dependabot-bot", "W232", 5),
            ("not-after = 2027-06-01 }]\n\n[principal", "not-after = 2026-06-20 }]\n\n[principal", "W235", 6),
            ("not-after = 2027-06-01 }]\n\n[principal", "not-after = 2026-05-20 }]\n\n[principal", "W236", 6),
            ("[heartbeat]", "[other]", "E219", 22),
        ] {
            // A name stands everywhere, anything else once.
            let times = if expected == "W232" { 9 } else { 1 };
            let text = good().replacen(from, to, times);
            assert_ne!(text, good(), "{from}");
            let problems = lints(&text, &[]);
            let found = problems.iter().find(|problem| problem.code.0 == expected);
            let found = found.unwrap_or_else(|| panic!("{expected}: {}", problems.render(false)));
            let place = &found.places[0];
            assert_eq!(place.source.line(place.span.start), line, "{}", problems.render(false));
            assert!(!found.help.is_empty());
        }
    }

    #[test]
    fn thresholds_scopes_paths_and_principals_are_looked_at() {
        let expired = good().replacen("not-after = 2027-06-01", "not-after = 2026-05-01", 1);
        let codes = |text: &str, more: &[&str]| -> Vec<&'static str> {
            lints(text, more).iter().map(|problem| problem.code.0).collect()
        };
        assert_eq!(codes(&expired, &[]), ["W234", "W236"]);
        let soon = good().replacen("not-after = 2027-06-01", "not-after = 2026-06-15", 1);
        assert_eq!(codes(&soon, &[]), ["W234", "W235"]);
        let shadowed = format!(
            "{}\n[[scope]]\nname = \"web\"\npaths = [\"roles/web/**\"]\nsigners = [\"bob\"]\n",
            good()
        );
        let problems = lints(&shadowed, &[]);
        assert_eq!(problems.iter().map(|problem| problem.code.0).collect::<Vec<_>>(), ["W233"]);
        assert!(
            problems.render(false).contains("all of it is covered by rest above"),
            "{}",
            problems.render(false)
        );
        let idle = good().replace(
            "[heartbeat]",
            &format!("[principal.carol]\nkeys = [{{ key = \"{}\" }}]\n\n[heartbeat]", key(4)),
        );
        assert_eq!(codes(&idle, &[]), ["W237"]);
        let problems = lints(&good(), &["hosts/a.toml", "hosts/b.toml", "x", "y"]);
        assert_eq!(
            problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(),
            ["no scope covers hosts/a.toml, hosts/b.toml, x and 1 more"]
        );
        let silent = good().split("\n[heartbeat]").next().unwrap().to_owned();
        assert_eq!(codes(&silent, &[]), ["W239"]);
        let late = good()
            .replace(&format!("{}\", not-after = 2027", key(3)), &format!("{}\", not-after = 2025", key(3)));
        assert_eq!(codes(&late, &[]), ["W240"]);
    }
}
