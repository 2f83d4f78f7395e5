//! The keys that a policy lists, and whose they are.
//!
//! **Invariant:** behind each listed key stands another private key, however the public ones are written: nobody counts twice.

use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

use super::{MOST, Policy, Wrong, place};
use crate::manifest::node::Node;
use crate::resource::DeclareError;
use crate::trust::file;
use crate::trust::key::PublicKey;
use crate::trust::openpgp::{Fingerprint, OpenPgpKey};

/// A key that a policy can list for a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// For SSH signatures.
    Ssh(PublicKey),
    /// For OpenPGP signatures.
    OpenPgp(OpenPgpKey),
}

impl Key {
    /// Its name, for people: `SHA256:…` or `OpenPGP:…`.
    pub fn fingerprint(&self) -> String {
        match self {
            Key::Ssh(key) => key.fingerprint(),
            Key::OpenPgp(key) => key.fingerprint().shown(),
        }
    }

    /// Whose it is under a policy.
    pub fn holder<'p>(&self, policy: &'p Policy) -> Option<&'p Holder> {
        match self {
            Key::Ssh(key) => policy.holder(key),
            Key::OpenPgp(key) => {
                let (listed, holder) = policy.openpgp_key(&key.fingerprint())?;
                (listed == key).then_some(holder)
            }
        }
    }
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The principal.
    pub principal: String,
    /// The last second at which the key counts, since the epoch.
    pub not_after: Option<i64>,
}

/// A key that may sign heartbeats, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatKey {
    /// The key.
    pub key: PublicKey,
    /// The last second at which it counts, since the epoch.
    pub not_after: Option<i64>,
}

/// All keys of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// Of principals, by their wire form.
    pub ssh: HashMap<Vec<u8>, Holder>,
    /// Of principals who sign with OpenPGP, by their name.
    pub openpgp: HashMap<Fingerprint, (OpenPgpKey, Holder)>,
    /// Of heartbeats.
    pub heartbeat: Vec<HeartbeatKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawPrincipal {
    #[serde(default)]
    keys: Vec<RawKey>,
    #[serde(default)]
    openpgp: Vec<RawOpenPgpKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawHeartbeat {
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawKey {
    key: String,
    not_after: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawOpenPgpKey {
    key: String,
    fingerprint: Option<String>,
    not_after: Option<String>,
}

/// Reads the keys while it remembers whose private key stands behind each.
struct Reader<'a> {
    root: &'a Node,
    keys: Keys,
    /// Points and moduli.
    materials: HashMap<Vec<u8>, &'a str>,
}

/// Reads all keys of a policy.
pub(super) fn read(
    root: &Node,
    principals: &BTreeMap<String, RawPrincipal>,
    heartbeat: Option<&RawHeartbeat>,
) -> Result<Keys, DeclareError> {
    let mut reader = Reader { root, keys: Keys::default(), materials: HashMap::new() };
    for (name, principal) in principals {
        reader.read_principal(name, principal)?;
    }
    if reader.materials.len() > MOST {
        return Err(place(root, &["principal"]).error(format!("more than {MOST} keys"), "remove unused keys"));
    }
    if let Some(heartbeat) = heartbeat {
        reader.read_heartbeat(heartbeat)?;
    }
    Ok(reader.keys)
}

impl<'a> Reader<'a> {
    fn read_principal(&mut self, name: &'a str, principal: &RawPrincipal) -> Result<(), DeclareError> {
        let root = self.root;
        let wrong = |way: &[&str], message: String, help: &str| {
            let way = [&["principal", name], way].concat();
            place(root, &way).error(message, help)
        };
        if !file::plain_name(name) {
            let help = "use up to 64 letters, digits and `._@+-`";
            return Err(wrong(&[], format!("`{name}` is not a plain name for a principal"), help));
        }
        if principal.keys.is_empty() && principal.openpgp.is_empty() {
            return Err(wrong(&["keys"], format!("{name} has no key"), "add a key or remove the principal"));
        }
        for (position, raw) in principal.keys.iter().enumerate() {
            let position = position.to_string();
            let wrong = |at: &str, message, help: &str| wrong(&["keys", &position, at], message, help);
            let (key, not_after) = read_key(raw, &wrong)?;
            self.hold(key.point(), name, &wrong)?;
            self.keys.ssh.insert(key.blob().to_owned(), Holder { principal: name.to_owned(), not_after });
        }
        for (position, raw) in principal.openpgp.iter().enumerate() {
            let position = position.to_string();
            let wrong = |at: &str, message, help: &str| wrong(&["openpgp", &position, at], message, help);
            let (key, not_after) = read_openpgp(raw, &wrong)?;
            self.hold(key.material(), name, &wrong)?;
            let holder = Holder { principal: name.to_owned(), not_after };
            self.keys.openpgp.insert(key.fingerprint(), (key, holder));
        }
        Ok(())
    }

    fn hold(&mut self, material: &[u8], name: &'a str, wrong: &Wrong<'_>) -> Result<(), DeclareError> {
        let Some(other) = self.materials.insert(material.to_owned(), name) else { return Ok(()) };
        let message = format!("this key stands twice: for {other} and for {name}");
        let help = "give each principal keys of their own; otherwise one person could count as two";
        Err(wrong("key", message, help))
    }

    /// A heartbeat's key lies where a schedule can use it, so it must be good for nothing else.
    fn read_heartbeat(&mut self, raw: &RawHeartbeat) -> Result<(), DeclareError> {
        let root = self.root;
        if raw.keys.is_empty() || raw.keys.len() > MOST {
            let help = "add the public key of whoever makes the heartbeats, or remove the table";
            let message = format!("heartbeats have between 1 and {MOST} keys");
            return Err(place(root, &["heartbeat", "keys"]).error(message, help));
        }
        for (position, raw) in raw.keys.iter().enumerate() {
            let position = position.to_string();
            let wrong = |at: &str, message: String, help: &str| {
                place(root, &["heartbeat", "keys", &position, at]).error(message, help)
            };
            let (key, not_after) = read_key(raw, &wrong)?;
            if let Some(holder) = self.materials.get(key.point().as_slice()) {
                let message = format!("this key is also a key of {holder}");
                let help = "make a key of its own for heartbeats: it may sign nothing else";
                return Err(wrong("key", message, help));
            }
            if self.keys.heartbeat.iter().any(|earlier| earlier.key == key) {
                return Err(wrong("key", "this key stands twice".into(), "name each key once"));
            }
            self.keys.heartbeat.push(HeartbeatKey { key, not_after });
        }
        Ok(())
    }
}

fn read_key(raw: &RawKey, wrong: &Wrong<'_>) -> Result<(PublicKey, Option<i64>), DeclareError> {
    let key = PublicKey::parse(&raw.key).map_err(|error| {
        let help = "make one with `ssh-keygen -t ed25519` or `ssh-keygen -t ed25519-sk`";
        wrong("key", error.to_string(), help)
    })?;
    Ok((key, read_end(raw.not_after.as_deref(), wrong)?))
}

fn read_openpgp(raw: &RawOpenPgpKey, wrong: &Wrong<'_>) -> Result<(OpenPgpKey, Option<i64>), DeclareError> {
    let key = OpenPgpKey::parse(&raw.key).map_err(|error| {
        let help =
            "take the line that `abide trust add-principal --openpgp` makes of what `gpg --export` prints";
        wrong("key", error.to_string(), help)
    })?;
    if let Some(text) = &raw.fingerprint
        && Fingerprint::parse(text) != Some(key.fingerprint())
    {
        let message = format!("the fingerprint of this key is {}", key.fingerprint());
        return Err(wrong("fingerprint", message, "find out which of the two is the one that is meant"));
    }
    Ok((key, read_end(raw.not_after.as_deref(), wrong)?))
}

fn read_end(text: Option<&str>, wrong: &Wrong<'_>) -> Result<Option<i64>, DeclareError> {
    let Some(text) = text else { return Ok(None) };
    let help = "write a date such as `2027-01-01`, or a time with its offset";
    last_second(text).map(Some).ok_or_else(|| wrong("not-after", "this is not a date".into(), help))
}

/// The last second of a date (in UTC), or the second of a time with offset.
pub fn last_second(text: &str) -> Option<i64> {
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() == "2027-01-01".len()
    {
        let end = date.at(23, 59, 59, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return Some(end.timestamp().as_second());
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}
