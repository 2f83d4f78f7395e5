//! `trust.toml` at the root of the tree: who may change what.
//!
//! **Invariant:** a [`Policy`] is whole: every signer is a known principal, every key belongs to one principal, every threshold
//! can be met, and some scope covers the policy itself.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::file::{self, FileError};
use super::glob::Pattern;
use super::key::{PublicKey, fingerprint};
use super::openpgp::{Fingerprint, OpenPgpKey};
use crate::manifest::node::{Node, Value, nearest};
use crate::resource::DeclareError;

mod keys;

pub use keys::{HeartbeatKey, Holder, Key, last_second};
use keys::{Keys, RawHeartbeat, RawPrincipal};

/// Where the policy lies in the tree.
pub const POLICY_FILE: &str = "trust.toml";

/// A policy that people review is far smaller.
const LARGEST: usize = 256 << 10;
/// No more principals, keys, scopes, patterns and signers than a fleet could have.
const MOST: usize = 4096;

/// Who may change what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Rises with every change of the policy.
    pub version: u64,
    /// The fleet that the policy is for.
    pub fleet: String,
    /// The branch that the policy is for.
    pub reference: String,
    /// The oldest abide that may apply this tree.
    pub minimum_agent: Option<Version>,
    /// In order: the first one that matches a path decides.
    pub scopes: Vec<Scope>,
    keys: Keys,
}

/// A part of the tree with those who may change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// The paths it covers.
    pub paths: Vec<Pattern>,
    /// The principals who may change them.
    pub signers: BTreeSet<String>,
    /// How many of them have to agree.
    pub threshold: usize,
    /// How commits by others may come in.
    pub merge: Merge,
}

/// How a scope takes commits that do not stand for themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    /// Not at all: each commit is signed.
    #[default]
    Signed,
    /// Under a seal: the approvals that the scope asks for vouch for the commits below them, whoever made those.
    Seal,
}

/// A version of abide: `0.3` or `0.3.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64, u64, u64);

impl Version {
    /// Reads two or three numbers with dots; what follows a `-` or `+` is left aside.
    pub fn parse(text: &str) -> Option<Version> {
        let numbers: Option<Vec<u64>> =
            text.split(['-', '+']).next()?.split('.').map(|part| part.parse().ok()).collect();
        match numbers?[..] {
            [major, minor] => Some(Version(major, minor, 0)),
            [major, minor, patch] => Some(Version(major, minor, patch)),
            _ => None,
        }
    }

    /// The version of this program.
    pub fn own() -> Version {
        // A package's version always has three numbers.
        Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version(0, 0, 0))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Policy {
    /// Reads and validates a policy; `file` is how its place is named in errors.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Policy, FileError> {
        let text = file::text(bytes, file, LARGEST)?;
        read(text).map_err(|error| FileError::new(file, text, &error))
    }

    /// Whose key this is.
    pub fn holder(&self, key: &PublicKey) -> Option<&Holder> {
        self.keys.ssh.get(key.blob())
    }

    /// Whether any principal signs with OpenPGP. Where none does, nothing of an OpenPGP signature is ever read.
    pub fn takes_openpgp(&self) -> bool {
        !self.keys.openpgp.is_empty()
    }

    /// The OpenPGP key of this name, and whose it is.
    pub fn openpgp_key(&self, name: &Fingerprint) -> Option<(&OpenPgpKey, &Holder)> {
        self.keys.openpgp.get(name).map(|(key, holder)| (key, holder))
    }

    /// Every principal's key by its fingerprint, with whose it is; sorted by principal.
    pub fn keys(&self) -> Vec<(String, &Holder)> {
        let ssh = self.keys.ssh.iter().map(|(blob, holder)| (fingerprint(blob), holder));
        let openpgp = self.keys.openpgp.iter().map(|(name, (_, holder))| (name.to_string(), holder));
        let mut keys: Vec<(String, &Holder)> = ssh.chain(openpgp).collect();
        keys.sort_by(|one, other| (&one.1.principal, &one.0).cmp(&(&other.1.principal, &other.0)));
        keys
    }

    /// The keys that may sign heartbeats.
    pub fn heartbeat_keys(&self) -> &[HeartbeatKey] {
        &self.keys.heartbeat
    }

    /// Whether any scope takes commits under a seal.
    pub fn knows_seals(&self) -> bool {
        self.scopes.iter().any(|scope| scope.merge == Merge::Seal)
    }

    /// The scope that decides over a path.
    pub fn scope_of(&self, path: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.paths.iter().any(|pattern| pattern.matches(path)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawPolicy {
    version: u64,
    fleet: String,
    r#ref: String,
    minimum_agent: Option<String>,
    principal: BTreeMap<String, RawPrincipal>,
    scope: Vec<RawScope>,
    heartbeat: Option<RawHeartbeat>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawScope {
    name: String,
    paths: Vec<String>,
    signers: Vec<String>,
    #[serde(default = "one")]
    threshold: usize,
    #[serde(default)]
    merge: Merge,
}

fn one() -> usize {
    1
}

/// The node at a way of keys and positions; the last one that exists, for the place of an error.
fn place<'a>(root: &'a Node, way: &[&str]) -> &'a Node {
    let mut node = root;
    for step in way {
        let next = match &node.value {
            Value::Array(items) => step.parse().ok().and_then(|position: usize| items.get(position)),
            _ => node.get(step),
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

fn read(text: &str) -> Result<Policy, DeclareError> {
    let root = Node::parse(text)?;
    let raw: RawPolicy = root.read()?;
    let wrong = |way: &[&str], message: String, help: &str| place(&root, way).error(message, help);
    if raw.version == 0 {
        return Err(wrong(&["version"], "versions start at 1".into(), "write `version = 1`"));
    }
    if !file::plain_name(&raw.fleet) {
        let help = "copy it from the host's root of trust; `abide init` makes one";
        return Err(wrong(&["fleet"], "the fleet is not a plain name".into(), help));
    }
    if !file::plain_branch(&raw.r#ref) {
        let help = "write the full name, such as `refs/heads/main`";
        return Err(wrong(&["ref"], "this is not the full name of a branch".into(), help));
    }
    let minimum_agent = match &raw.minimum_agent {
        None => None,
        Some(text) => Some(Version::parse(text).ok_or_else(|| {
            wrong(&["minimum-agent"], "this is not a version".into(), "write it as `0.3` or `0.3.1`")
        })?),
    };
    let keys = keys::read(&root, &raw.principal, raw.heartbeat.as_ref())?;
    let scopes = read_scopes(&root, &raw)?;
    let (version, fleet, reference) = (raw.version, raw.fleet, raw.r#ref);
    let policy = Policy { version, fleet, reference, minimum_agent, scopes, keys };
    if policy.scope_of(POLICY_FILE).is_none() {
        let help =
            "add a scope with `paths = [\"trust.toml\"]`; without it nobody could ever change the policy";
        return Err(wrong(&["scope"], "no scope covers trust.toml".into(), help));
    }
    Ok(policy)
}

fn read_scopes(root: &Node, raw: &RawPolicy) -> Result<Vec<Scope>, DeclareError> {
    let mut scopes: Vec<Scope> = Vec::new();
    for (position, scope) in raw.scope.iter().enumerate() {
        let position = position.to_string();
        let wrong = |way: &[&str], message: String, help: &str| {
            let way = [&["scope", position.as_str()], way].concat();
            place(root, &way).error(message, help)
        };
        let name = &scope.name;
        if !file::plain_name(name) {
            return Err(wrong(
                &["name"],
                "not a plain name".into(),
                "use up to 64 letters, digits and `._@+-`",
            ));
        }
        if scopes.iter().any(|earlier| earlier.name == *name) {
            return Err(wrong(&["name"], format!("two scopes are called {name}"), "rename one of them"));
        }
        let paths = read_patterns(&scope.paths, &|at, message, help| wrong(&["paths", at], message, help))?;
        let signers = read_signers(raw, scope, &|at, message, help| wrong(&["signers", at], message, help))?;
        if scope.threshold == 0 || scope.threshold > signers.len() {
            let message =
                format!("a threshold of {} can't be met by {} signers", scope.threshold, signers.len());
            let help = "choose a threshold between 1 and the number of signers";
            return Err(wrong(&["threshold"], message, help));
        }
        scopes.push(Scope {
            name: name.clone(),
            paths,
            signers,
            threshold: scope.threshold,
            merge: scope.merge,
        });
    }
    match scopes.len() {
        0 => Err(root.error("there is no scope", "add at least one `[[scope]]`")),
        1..=MOST => Ok(scopes),
        _ => Err(root.error(format!("more than {MOST} scopes"), "merge some of them")),
    }
}

type Wrong<'a> = dyn Fn(&str, String, &str) -> DeclareError + 'a;

fn read_patterns(paths: &[String], wrong: &Wrong<'_>) -> Result<Vec<Pattern>, DeclareError> {
    if paths.is_empty() || paths.len() > MOST {
        let message = format!("a scope has between 1 and {MOST} paths");
        return Err(wrong("", message, "add the paths that the scope covers, or remove the scope"));
    }
    let patterns = paths.iter().enumerate().map(|(position, path)| {
        let help = "write it as `roles/web/**` or `hosts/web-*.toml`";
        Pattern::parse(path).map_err(|message| wrong(&position.to_string(), message, help))
    });
    patterns.collect()
}

fn read_signers(
    raw: &RawPolicy,
    scope: &RawScope,
    wrong: &Wrong<'_>,
) -> Result<BTreeSet<String>, DeclareError> {
    let mut signers = BTreeSet::new();
    for (position, signer) in scope.signers.iter().enumerate() {
        let position = position.to_string();
        if !raw.principal.contains_key(signer) {
            let help = match nearest(signer, raw.principal.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add a table `[principal.{signer}]` with its keys"),
            };
            return Err(wrong(&position, format!("`{signer}` is no principal of this policy"), &help));
        }
        if !signers.insert(signer.clone()) {
            return Err(wrong(&position, format!("{signer} stands twice"), "name each signer once"));
        }
    }
    match signers.is_empty() {
        true => Err(wrong("", "a scope needs at least one signer".into(), "add one, or remove the scope")),
        false => Ok(signers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::key::ed25519_blob;
    use crate::trust::openpgp::ed25519_packet;
    use base64::Engine;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    fn key(seed: u8) -> String {
        let point = SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        format!("ssh-ed25519 {}", base64::engine::general_purpose::STANDARD.encode(ed25519_blob(&point)))
    }

    fn example() -> String {
        format!(
            r#"version = 7
fleet = "5a1c"
ref = "refs/heads/main"
minimum-agent = "0.1"

[principal.alice]
keys = [{{ key = "{}", not-after = 2027-01-01 }}]

[principal.bob]
keys = [{{ key = "{}" }}]

[[scope]]
name = "root"
paths = ["trust.toml"]
signers = ["alice", "bob"]
threshold = 2

[[scope]]
name = "web"
paths = ["roles/web/**", "hosts/web-*.toml"]
signers = ["bob"]
"#,
            key(1),
            key(2)
        )
    }

    #[test]
    fn a_policy_is_read() {
        let policy = Policy::parse(example().as_bytes(), "trust.toml").unwrap();
        assert_eq!((policy.version, policy.minimum_agent), (7, Version::parse("0.1.0")));
        let holder = policy.holder(&PublicKey::parse(&key(1)).unwrap()).unwrap();
        assert_eq!((holder.principal.as_str(), holder.not_after), ("alice", Some(1_798_847_999)));
        assert!(policy.holder(&PublicKey::parse(&key(3)).unwrap()).is_none());
        for (path, expected) in
            [("trust.toml", Some("root")), ("roles/web/a", Some("web")), ("fleet.toml", None)]
        {
            assert_eq!(policy.scope_of(path).map(|scope| scope.name.as_str()), expected, "{path}");
        }
        let root = policy.scope_of("trust.toml").unwrap();
        assert_eq!((root.threshold, root.merge), (2, Merge::Signed));
    }

    #[test]
    fn heartbeats_have_keys_of_their_own() {
        let with = |keys: &str| format!("{}\n[heartbeat]\nkeys = [{keys}]\n", example());
        let good = with(&format!("{{ key = \"{}\", not-after = 2027-01-01 }}", key(3)));
        let policy = Policy::parse(good.as_bytes(), "trust.toml").unwrap();
        assert_eq!(policy.heartbeat_keys().len(), 1);
        assert_eq!(policy.heartbeat_keys()[0].not_after, Some(1_798_847_999));
        assert!(policy.holder(&PublicKey::parse(&key(3)).unwrap()).is_none());
        let own = format!("{{ key = \"{}\" }}", key(3));
        for (keys, message) in [
            (format!("{{ key = \"{}\" }}", key(2)), "also a key of bob"),
            (format!("{own}, {own}"), "stands twice"),
            (String::new(), "between 1 and"),
            ("{ key = \"ssh-rsa AAAA\" }".to_owned(), "ssh-rsa"),
        ] {
            let error = Policy::parse(with(&keys).as_bytes(), "trust.toml").unwrap_err();
            assert!(error.message.contains(message) && error.line == 24, "{keys}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let twice = format!("keys = [{{ key = \"{}\" }}]", key(2));
        let alice = format!("keys = [{{ key = \"{}\", not-after = 2027-01-01 }}]", key(1));
        for (from, to, line, message) in [
            ("version = 7", "version = \"7\"", 1, "invalid type"),
            ("version = 7", "version = 0", 1, "versions start at 1"),
            ("version = 7", "version = -7", 1, "invalid value"),
            ("fleet = \"5a1c\"", "fleet = \"a b\"", 2, "the fleet is not a plain name"),
            ("refs/heads/main", "main", 3, "not the full name of a branch"),
            ("\"0.1\"", "\"soon\"", 4, "not a version"),
            ("minimum-agent", "minimum-agnet", 4, "unknown key `minimum-agnet`"),
            ("[principal.alice]", "[principal.\"al ice\"]", 6, "not a plain name"),
            ("2027-01-01", "2027-01-01T00:00:00", 7, "not a date"),
            (alice.as_str(), "keys = []", 7, "alice has no key"),
            (alice.as_str(), twice.as_str(), 10, "this key stands twice: for alice and for bob"),
            (key(1).as_str(), "ssh-rsa AAAA", 7, "keys of type ssh-rsa are not accepted"),
            ("name = \"web\"", "name = \"root\"", 19, "two scopes are called root"),
            ("signers = [\"bob\"]", "signers = [\"bbo\"]", 21, "`bbo` is no principal"),
            ("signers = [\"bob\"]", "signers = [\"bob\", \"bob\"]", 21, "bob stands twice"),
            ("signers = [\"bob\"]", "signers = []", 21, "at least one signer"),
            ("threshold = 2", "threshold = 3", 16, "a threshold of 3 can't be met by 2 signers"),
            ("threshold = 2", "threshold = 0", 16, "a threshold of 0"),
            ("threshold = 2", "merge = \"maybe\"", 16, "unknown value \"maybe\""),
            ("paths = [\"trust.toml\"]", "paths = [\"x\"]", 12, "no scope covers trust.toml"),
            ("paths = [\"trust.toml\"]", "paths = []", 14, "between 1 and"),
            ("roles/web/**", "/roles/web", 20, "no leading"),
            ("[[scope]]\nname = \"web\"", "[[scope]]\nnaem = \"web\"", 19, "unknown key `naem`"),
        ] {
            let text = example().replacen(from, to, 1);
            assert_ne!(text, example(), "{from}");
            let error = Policy::parse(text.as_bytes(), "trust.toml").unwrap_err();
            assert!(error.message.contains(message), "{to}: {error}");
            assert_eq!(error.line, line, "{to}: {error}");
            assert!(!error.help.is_empty());
        }
        assert!(Policy::parse(&vec![b' '; LARGEST + 1], "trust.toml").is_err());
        assert!(Policy::parse(&[0xff], "trust.toml").is_err());
    }

    fn openpgp_key(seed: u8, made: u32) -> OpenPgpKey {
        let point = SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        OpenPgpKey::from_packet(&ed25519_packet(made, &point)).unwrap()
    }

    #[test]
    fn openpgp_keys_are_taken_where_they_are_listed() {
        assert!(!Policy::parse(example().as_bytes(), "trust.toml").unwrap().takes_openpgp());
        let (key3, name) = (openpgp_key(3, 9), openpgp_key(3, 9).fingerprint());
        let list =
            format!("openpgp = [{{ key = \"{key3}\", fingerprint = \"{name}\", not-after = 2027-01-01 }}]");
        let bob = format!("keys = [{{ key = \"{}\" }}]", key(2));
        // Beside other keys, or alone.
        for line in [format!("{bob}\n{list}"), list.clone()] {
            let policy = Policy::parse(example().replace(&bob, &line).as_bytes(), "trust.toml").unwrap();
            assert!(policy.takes_openpgp());
            let (found, holder) = policy.openpgp_key(&name).unwrap();
            assert_eq!(
                (found, holder.principal.as_str(), holder.not_after),
                (&key3, "bob", Some(1_798_847_999))
            );
            assert!(policy.openpgp_key(&openpgp_key(3, 8).fingerprint()).is_none());
        }
        let same = |seed, made| list.replace(&key3.to_string(), &openpgp_key(seed, made).to_string());
        let twice = format!("openpgp = [{{ key = \"{key3}\" }}, {{ key = \"{}\" }}]", openpgp_key(3, 8));
        for (line, message) in [
            (same(3, 8), "the fingerprint of this key is "),
            (
                format!("openpgp = [{{ key = \"{}\" }}]", openpgp_key(1, 9)),
                "this key stands twice: for alice and for bob",
            ),
            (twice, "this key stands twice: for bob and for bob"),
            (list.replace("key = \"", "key = \"AA"), "not an OpenPGP public key"),
            (list.replace("2027-01-01", "\"soon\""), "this is not a date"),
            (list.replace("not-after", "expires"), "unknown key `expires`"),
        ] {
            let error = Policy::parse(example().replace(&bob, &line).as_bytes(), "trust.toml").unwrap_err();
            assert!(error.message.contains(message) && !error.help.is_empty(), "{line}: {error}");
            assert_eq!(error.line, 10, "{line}: {error}");
        }
        let none = example().replace(&bob, "openpgp = []");
        assert!(Policy::parse(none.as_bytes(), "trust.toml").unwrap_err().message.contains("bob has no key"));
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(Version::parse("0.10") > Version::parse("0.9.9"));
        assert_eq!(Version::parse("1.2.3-rc.1"), Version::parse("1.2.3"));
        for text in ["", "1", "1.2.3.4", "1.x", "v1.2"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Policy::parse(&bytes, "trust.toml");
        }

        #[test]
        fn damage_never_panics(position in 0usize..2000, byte in any::<u8>()) {
            let mut text = example().into_bytes();
            let position = position % text.len();
            text[position] = byte;
            let _ = Policy::parse(&text, "trust.toml");
        }
    }
}
