//! Edits of `trust.toml` that leave everything else of the file as its authors wrote it: comments, order, blank lines.
//!
//! **Invariant:** what comes out is a valid policy with a higher version, and some principal's keys are enough to sign it.

use std::collections::BTreeSet;

use serde::Serialize;
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use crate::error::{Code, Explain, escaped};
use crate::trust::FileError;
use crate::trust::key::PublicKey;
use crate::trust::openpgp::OpenPgpKey;
use crate::trust::policy::{POLICY_FILE, Policy, Scope, last_second};

/// What is to be changed.
#[derive(Debug, Clone)]
pub enum Edit {
    /// A new principal.
    Add(AddPrincipal),
    /// Other keys for one that is there.
    Rotate(Rotate),
}

/// A key for a principal.
#[derive(Debug, Clone)]
pub enum NewKey {
    /// Of OpenSSH.
    Ssh(PublicKey),
    /// Of GnuPG.
    OpenPgp(OpenPgpKey),
}

impl NewKey {
    /// The list of a principal in which such keys stand.
    fn list(&self) -> &'static str {
        match self {
            NewKey::Ssh(_) => "keys",
            NewKey::OpenPgp(_) => "openpgp",
        }
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> String {
        match self {
            NewKey::Ssh(key) => key.fingerprint(),
            NewKey::OpenPgp(key) => key.fingerprint().to_string(),
        }
    }

    /// Its entry in the list.
    fn entry(&self, not_after: Option<&str>) -> Result<InlineTable, EditError> {
        let mut entry = match self {
            NewKey::Ssh(key) => InlineTable::from_iter([("key", Value::from(key.to_string()))]),
            // People compare fingerprints, not keys of half a thousand letters.
            NewKey::OpenPgp(key) => InlineTable::from_iter([
                ("fingerprint", Value::from(key.fingerprint().to_string())),
                ("key", Value::from(key.to_string())),
            ]),
        };
        if let Some(text) = not_after {
            let wrong = || EditError::Date(escaped(text));
            last_second(text).ok_or_else(wrong)?;
            let date: toml_edit::Datetime = text.parse().map_err(|_| wrong())?;
            entry.insert("not-after", Value::from(date));
        }
        Ok(entry)
    }

    /// Fails when the policy knows the key already.
    fn unused(&self, old: &Policy) -> Result<(), EditError> {
        let holder = match self {
            NewKey::Ssh(key) => old.holder(key),
            NewKey::OpenPgp(key) => old.openpgp_key(&key.fingerprint()).map(|(_, holder)| holder),
        };
        match holder {
            Some(holder) => {
                Err(EditError::KeyInUse { key: self.fingerprint(), holder: holder.principal.clone() })
            }
            None => Ok(()),
        }
    }
}

/// A new principal.
#[derive(Debug, Clone)]
pub struct AddPrincipal {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: NewKey,
    /// The scopes in which it may sign.
    pub scopes: Vec<String>,
    /// The last day or moment at which the key counts.
    pub not_after: Option<String>,
}

/// Other keys for a principal.
#[derive(Debug, Clone)]
pub struct Rotate {
    /// Its name.
    pub name: String,
    /// The key to add.
    pub key: Option<NewKey>,
    /// The fingerprint of the key to take away.
    pub remove: Option<String>,
    /// The last day or moment at which the new key counts.
    pub not_after: Option<String>,
}

/// The edited policy.
#[derive(Debug, Clone, Serialize)]
pub struct Edited {
    /// The file's new text.
    #[serde(skip)]
    pub text: String,
    /// The new version.
    pub version: u64,
    /// A message for its commit.
    pub subject: String,
    /// What was done, for people.
    pub done: Vec<String>,
    /// Who has to sign the change.
    pub signers: Vec<String>,
    /// How many of them.
    pub threshold: usize,
    /// Of those, the ones who hold a key that both the policy in force and the new one know, so that one commit is enough.
    pub able: Vec<String>,
}

/// Why a policy cannot be edited so.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// E780: the policy is not valid as it is.
    #[error("the policy is not valid as it is: {0}")]
    Invalid(FileError),
    /// E781: there is such a principal already.
    #[error("there is a principal {0} already")]
    Exists(String),
    /// E782: there is no such principal.
    #[error("there is no principal {name}; there are {known}")]
    NoPrincipal {
        /// What was given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// E783: there is no such scope.
    #[error("there is no scope {name}; there are {known}")]
    NoScope {
        /// What was given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// E784: the key stands in the policy already.
    #[error("the key {key} stands in the policy already, for {holder}")]
    KeyInUse {
        /// Its fingerprint.
        key: String,
        /// Whose it is.
        holder: String,
    },
    /// E785: the principal does not have the key that is to go.
    #[error("{name} has no key {key}; the keys are {known}")]
    NoKey {
        /// The principal.
        name: String,
        /// What was given.
        key: String,
        /// Those there are.
        known: String,
    },
    /// E786: the edit would make a policy that is not valid.
    #[error("the policy would not be valid: {0}")]
    WouldBeInvalid(FileError),
    /// E787: nobody could sign the change.
    #[error(
        "the change needs {threshold} of {signers}, but only {able} would have a key that both the old and the new policy know"
    )]
    Unsignable {
        /// How many.
        threshold: usize,
        /// Of whom.
        signers: String,
        /// Who could.
        able: String,
    },
    /// E788: the date cannot be read.
    #[error("`{0}` is not a date")]
    Date(String),
    /// E789: the file is laid out in a way that is not edited.
    #[error("{0} is written in a form that this command does not edit")]
    Layout(String),
    /// E790: neither a new key nor one to take away was given.
    #[error("there is nothing to rotate")]
    Nothing,
}

impl Explain for EditError {
    fn code(&self) -> Code {
        Code(match self {
            EditError::Invalid(_) => "E780",
            EditError::Exists(_) => "E781",
            EditError::NoPrincipal { .. } => "E782",
            EditError::NoScope { .. } => "E783",
            EditError::KeyInUse { .. } => "E784",
            EditError::NoKey { .. } => "E785",
            EditError::WouldBeInvalid(_) => "E786",
            EditError::Unsignable { .. } => "E787",
            EditError::Date(_) => "E788",
            EditError::Layout(_) => "E789",
            EditError::Nothing => "E790",
        })
    }

    fn remedy(&self) -> String {
        match self {
            EditError::Invalid(error) | EditError::WouldBeInvalid(error) => error.help.clone(),
            EditError::Exists(name) => format!("give the principal another key with `abide trust rotate {name} --key FILE`"),
            EditError::NoPrincipal { .. } => "`abide trust add-principal NAME --key FILE` adds one".into(),
            EditError::NoScope { .. } => "give one of these, or write the `[[scope]]` into trust.toml by hand".into(),
            EditError::KeyInUse { .. } => "give each principal keys of their own; otherwise one person could count as two".into(),
            EditError::NoKey { .. } => "give one of these fingerprints; `abide trust show --repo .` lists all".into(),
            EditError::Unsignable { .. } => {
                "add the new key first, without `--remove`, and commit that, signed with the old key; then take the old key away with `--remove` alone, and sign that commit with the new key".into()
            }
            EditError::Date(_) => "write it as `2027-01-01`, or as `2027-01-01T12:00:00Z`".into(),
            EditError::Layout(_) => "write the principal's keys as `keys = [{ key = \"…\" }]` and scopes as `[[scope]]`, or edit the file by hand and raise its version".into(),
            EditError::Nothing => "give `--key NEW`, `--remove OLD`, or both".into(),
        }
    }

    fn excerpt(&self) -> Option<String> {
        match self {
            EditError::Invalid(error) | EditError::WouldBeInvalid(error) if !error.excerpt.is_empty() => {
                Some(error.excerpt.clone())
            }
            _ => None,
        }
    }
}

/// Edits the text of a policy. `now` tells which keys still count.
///
/// # Errors
/// See [`EditError`].
pub fn edit(text: &str, edit: &Edit, now: i64) -> Result<Edited, EditError> {
    let old = Policy::parse(text.as_bytes(), POLICY_FILE).map_err(EditError::Invalid)?;
    let mut document: DocumentMut = text.parse().map_err(|_| EditError::Layout("trust.toml".into()))?;
    let mut done = match edit {
        Edit::Add(add) => add_principal(&mut document, &old, add)?,
        Edit::Rotate(rotate) => rotate_keys(&mut document, &old, rotate)?,
    };
    let version = old.version.saturating_add(1);
    raise(&mut document, version)?;
    done.push(format!("version {} → {version}", old.version));
    let text = document.to_string();
    let new = Policy::parse(text.as_bytes(), POLICY_FILE).map_err(EditError::WouldBeInvalid)?;
    let (signers, threshold, able) = who_signs(&old, &new, now);
    if able.len() < threshold {
        return Err(EditError::Unsignable {
            threshold,
            signers: listed(&signers),
            able: if able.is_empty() { "nobody".into() } else { listed(&able) },
        });
    }
    let subject = match edit {
        Edit::Add(add) => format!("Trust {}", add.name),
        Edit::Rotate(rotate) => format!("Rotate the keys of {}", rotate.name),
    };
    Ok(Edited { text, version, subject, done, signers, threshold, able })
}

/// Who may sign a change of the policy, how many have to, and who holds a key that counts before and after it.
fn who_signs(old: &Policy, new: &Policy, now: i64) -> (Vec<String>, usize, Vec<String>) {
    // A policy without such a scope does not parse.
    let scopes = [old, new].map(|policy| policy.scope_of(POLICY_FILE));
    let in_both = |name: &String| scopes.iter().flatten().all(|scope: &&Scope| scope.signers.contains(name));
    let threshold = scopes.iter().flatten().map(|scope| scope.threshold).max().unwrap_or(1);
    let signers: Vec<String> =
        scopes[0].map(|scope| scope.signers.iter().cloned().collect()).unwrap_or_default();
    let counts = |last: Option<i64>| last.is_none_or(|last| now <= last);
    let both: BTreeSet<&String> = old
        .keys()
        .into_iter()
        .filter(|(_, holder)| counts(holder.not_after))
        .filter(|(key, holder)| {
            new.keys().iter().any(|(other, after)| other == key && after.principal == holder.principal)
        })
        .map(|(_, holder)| &holder.principal)
        .collect();
    let able = signers.iter().filter(|name| in_both(name) && both.contains(name)).cloned().collect();
    (signers, threshold, able)
}

fn raise(document: &mut DocumentMut, version: u64) -> Result<(), EditError> {
    let layout = || EditError::Layout("the version".into());
    let value = document.get_mut("version").and_then(Item::as_value_mut).ok_or_else(layout)?;
    let decor = value.decor().clone();
    *value = Value::from(i64::try_from(version).map_err(|_| layout())?);
    *value.decor_mut() = decor;
    Ok(())
}

fn add_principal(
    document: &mut DocumentMut,
    old: &Policy,
    add: &AddPrincipal,
) -> Result<Vec<String>, EditError> {
    let names: BTreeSet<&str> = old.keys().into_iter().map(|(_, holder)| holder.principal.as_str()).collect();
    if names.contains(add.name.as_str()) {
        return Err(EditError::Exists(add.name.clone()));
    }
    add.key.unused(old)?;
    let entry = add.key.entry(add.not_after.as_deref())?;
    let list = add.key.list();
    let mut done = vec![format!("principal {} with the key {}", escaped(&add.name), add.key.fingerprint())];
    let principals = document.get_mut("principal").ok_or_else(|| EditError::Layout("[principal]".into()))?;
    let keys = Value::Array(Array::from_iter([Value::InlineTable(entry)]));
    match principals {
        Item::Table(principals) => {
            let mut table = Table::new();
            table.insert(list, Item::Value(keys));
            principals.insert(&add.name, Item::Table(table));
        }
        Item::Value(Value::InlineTable(principals)) => {
            principals.insert(add.name.as_str(), Value::InlineTable(InlineTable::from_iter([(list, keys)])));
        }
        _ => return Err(EditError::Layout("[principal]".into())),
    }
    for scope in &add.scopes {
        let signers = signers_of(document, old, scope)?;
        push(signers, Value::from(add.name.as_str()));
        done.push(format!("signer of the scope {scope}"));
    }
    Ok(done)
}

/// The signers of a scope.
fn signers_of<'a>(
    document: &'a mut DocumentMut,
    old: &Policy,
    name: &str,
) -> Result<&'a mut Array, EditError> {
    let position = old.scopes.iter().position(|scope| scope.name == name).ok_or_else(|| {
        let known: Vec<String> = old.scopes.iter().map(|scope| scope.name.clone()).collect();
        EditError::NoScope { name: escaped(name), known: listed(&known) }
    })?;
    let signers = match document.get_mut("scope") {
        Some(Item::ArrayOfTables(scopes)) => {
            scopes.get_mut(position).and_then(|scope| scope.get_mut("signers")).and_then(Item::as_array_mut)
        }
        Some(Item::Value(Value::Array(scopes))) => scopes
            .get_mut(position)
            .and_then(Value::as_inline_table_mut)
            .and_then(|scope| scope.get_mut("signers"))
            .and_then(Value::as_array_mut),
        _ => None,
    };
    signers.ok_or_else(|| EditError::Layout(format!("the scope {name}")))
}

fn rotate_keys(document: &mut DocumentMut, old: &Policy, rotate: &Rotate) -> Result<Vec<String>, EditError> {
    let name = &rotate.name;
    if rotate.key.is_none() && rotate.remove.is_none() {
        return Err(EditError::Nothing);
    }
    let principals: BTreeSet<&str> =
        old.keys().into_iter().map(|(_, holder)| holder.principal.as_str()).collect();
    if !principals.contains(name.as_str()) {
        let known: Vec<String> = principals.iter().map(|name| (*name).to_owned()).collect();
        return Err(EditError::NoPrincipal { name: escaped(name), known: listed(&known) });
    }
    let layout = || EditError::Layout(format!("the principal {name}"));
    let principal = document
        .get_mut("principal")
        .and_then(Item::as_table_like_mut)
        .and_then(|principals| principals.get_mut(name))
        .and_then(Item::as_table_like_mut)
        .ok_or_else(layout)?;
    let mut done = Vec::new();
    if let Some(key) = &rotate.key {
        key.unused(old)?;
        let entry = key.entry(rotate.not_after.as_deref())?;
        match principal.get_mut(key.list()) {
            Some(Item::Value(Value::Array(keys))) => push(keys, Value::InlineTable(entry)),
            Some(Item::ArrayOfTables(keys)) => keys.push(entry.into_table()),
            None => {
                let keys = Value::Array(Array::from_iter([Value::InlineTable(entry)]));
                principal.insert(key.list(), Item::Value(keys));
            }
            Some(_) => return Err(layout()),
        }
        done.push(format!("{name} gets the key {}", key.fingerprint()));
    }
    if let Some(remove) = &rotate.remove {
        let held = old.keys().into_iter().filter(|(_, holder)| holder.principal == *name);
        let known: Vec<String> = held.map(|(print, _)| print).collect();
        if !known.contains(remove) {
            let known = listed(&known);
            return Err(EditError::NoKey { name: name.clone(), key: escaped(remove), known });
        }
        let gone = ["keys", "openpgp"]
            .iter()
            .any(|list| principal.get_mut(list).is_some_and(|keys| take_key(keys, remove)));
        if !gone {
            return Err(layout());
        }
        done.push(format!("{name} loses the key {remove}"));
    }
    Ok(done)
}

/// The fingerprint of a key as a policy holds it.
fn print(text: Option<&str>) -> Option<String> {
    let text = text?;
    let ssh = PublicKey::parse(text).ok().map(|key| key.fingerprint());
    ssh.or_else(|| OpenPgpKey::parse(text).ok().map(|key| key.fingerprint().to_string()))
}

/// Takes the key with this fingerprint out of a list; says whether it was there.
fn take_key(keys: &mut Item, remove: &str) -> bool {
    let of_value = |entry: &Value| print(entry.as_inline_table()?.get("key").and_then(Value::as_str));
    let of_table = |entry: &Table| print(entry.get("key").and_then(Item::as_str));
    let is_it = |print: Option<String>| print.as_deref() == Some(remove);
    match keys {
        Item::Value(Value::Array(keys)) => {
            let Some(position) = keys.iter().position(|entry| is_it(of_value(entry))) else { return false };
            let gone = keys.remove(position);
            // What stood before the first one belongs to the bracket.
            if position == 0
                && let Some(first) = keys.get_mut(0)
            {
                let prefix = gone.decor().prefix().cloned().unwrap_or_default();
                first.decor_mut().set_prefix(prefix);
            }
            true
        }
        Item::ArrayOfTables(tables) => {
            let before = tables.len();
            let kept = tables.iter().filter(|table| !is_it(of_table(table))).cloned();
            *tables = ArrayOfTables::from_iter(kept);
            tables.len() < before
        }
        _ => false,
    }
}

/// Appends to an array in the way in which its last element is written.
fn push(array: &mut Array, mut value: Value) {
    let last = array.iter().last().and_then(|last| last.decor().prefix()).and_then(|prefix| prefix.as_str());
    let prefix = last.unwrap_or_default().to_owned();
    if array.len() < 2 && !prefix.contains('\n') {
        array.push(value);
        return;
    }
    // A comment behind the last element stays in its line, and only then comes the new element's own.
    let behind = array.trailing().as_str().unwrap_or_default().to_owned();
    let (comment, rest) = behind.split_at(behind.find('\n').unwrap_or(0));
    let own = prefix.rfind('\n').map_or(prefix.as_str(), |start| &prefix[start..]);
    value.decor_mut().set_prefix(format!("{comment}{own}"));
    array.set_trailing(rest.to_owned());
    array.push_formatted(value);
}

fn listed(names: &[String]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::key::ed25519_blob;

    const NOW: i64 = 1_780_272_000;

    fn key(seed: u8) -> PublicKey {
        let point = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        PublicKey::from_blob(&ed25519_blob(&point)).unwrap()
    }

    fn policy() -> String {
        format!(
            r#"# Who may change what.
version = 3   # raise me
fleet = "5a1c"
ref = "refs/heads/main"

# The founder.
[principal."alice"]
keys = [{{ key = "{}" }}] # laptop

[[scope]]
name = "root"
paths = ["trust.toml"]
signers = ["alice"]

# Everything else.
[[scope]]
name = "rest"
paths = ["**"]
signers = [
    "alice", # first
]
threshold = 1
"#,
            key(1)
        )
    }

    fn add(name: &str, seed: u8, scopes: &[&str], not_after: Option<&str>) -> Edit {
        Edit::Add(AddPrincipal {
            name: name.into(),
            key: NewKey::Ssh(key(seed)),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            not_after: not_after.map(str::to_owned),
        })
    }

    fn rotate(name: &str, seed: Option<u8>, remove: Option<u8>) -> Edit {
        let remove = remove.map(|seed| key(seed).fingerprint());
        Edit::Rotate(Rotate {
            name: name.into(),
            key: seed.map(|seed| NewKey::Ssh(key(seed))),
            remove,
            not_after: None,
        })
    }

    #[test]
    fn a_principal_is_added_and_the_rest_of_the_file_stays() {
        let edited = edit(&policy(), &add("bob", 2, &["root", "rest"], Some("2027-01-01")), NOW).unwrap();
        insta::assert_snapshot!(edited.text);
        assert_eq!((edited.version, edited.threshold), (4, 1));
        assert_eq!((edited.signers, edited.able), (vec!["alice".to_owned()], vec!["alice".to_owned()]));
        let after = Policy::parse(edited.text.as_bytes(), "trust.toml").unwrap();
        assert_eq!(after.holder(&key(2)).unwrap().not_after, Some(1_798_847_999));
        assert!(after.scopes.iter().all(|scope| scope.signers.contains("bob")));
    }

    #[test]
    fn a_key_is_rotated_in_two_steps_by_whoever_signs_alone() {
        let added = edit(&policy(), &rotate("alice", Some(2), None), NOW).unwrap();
        assert!(added.text.contains(" # laptop"), "{}", added.text);
        let removed = edit(&added.text, &rotate("alice", None, Some(1)), NOW).unwrap();
        insta::assert_snapshot!(removed.text);
        assert_eq!(removed.version, 5);
        let error = edit(&policy(), &rotate("alice", Some(2), Some(1)), NOW).unwrap_err();
        assert_eq!(error.code(), Code("E787"), "{error}");
        // Who is no root signer can be given a new key at once.
        let with_bob = edit(&policy(), &add("bob", 3, &["rest"], None), NOW).unwrap().text;
        let rotated = edit(&with_bob, &rotate("bob", Some(4), Some(3)), NOW).unwrap();
        assert!(!rotated.text.contains(&key(3).to_string()) && rotated.text.contains(&key(4).to_string()));
    }

    #[test]
    fn keys_in_tables_of_their_own_are_edited_too() {
        let text = policy().replacen(
            &format!("keys = [{{ key = \"{}\" }}] # laptop", key(1)),
            &format!("[[principal.alice.keys]]\nkey = \"{}\" # laptop", key(1)),
            1,
        );
        let added = edit(&text, &rotate("alice", Some(2), None), NOW).unwrap();
        let removed = edit(&added.text, &rotate("alice", None, Some(1)), NOW).unwrap();
        assert!(removed.text.contains(&key(2).to_string()) && !removed.text.contains(&key(1).to_string()));
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        for (wanted, code) in [
            (add("alice", 2, &[], None), "E781"),
            (add("bob", 1, &[], None), "E784"),
            (add("bob", 2, &["web"], None), "E783"),
            (add("bob", 2, &[], Some("soon")), "E788"),
            (add("b b", 2, &[], None), "E786"),
            (rotate("bob", Some(2), None), "E782"),
            (rotate("alice", Some(2), Some(3)), "E785"),
            (rotate("alice", None, None), "E790"),
            (rotate("alice", None, Some(1)), "E786"),
        ] {
            let error = edit(&policy(), &wanted, NOW).unwrap_err();
            assert_eq!(error.code(), Code(code), "{wanted:?}: {error}");
            assert!(!error.remedy().is_empty());
        }
        assert_eq!(edit("version = 1", &add("b", 2, &[], None), NOW).unwrap_err().code(), Code("E780"));
    }
}
