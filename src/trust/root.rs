//! `/etc/abide/trust.toml`: what this host believes before it has seen anything. No branch can change it.

use serde::{Deserialize, Serialize};
use std::path::Path;

use super::TrustError;
use super::file::{self, FileError};
use super::key::PublicKey;
use super::openpgp::Fingerprint;
use crate::config::Span;
use crate::error::escaped;
use crate::manifest::node::Node;
use crate::resource::DeclareError;

const LARGEST: usize = 64 << 10;

/// The root of trust of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootOfTrust {
    /// The fleet's identity, also inside every tree.
    pub fleet: String,
    /// The branch, such as `refs/heads/main`.
    pub reference: String,
    /// The commit that trust starts from.
    pub introduction: Introduction,
    /// How old the news of the branch may be.
    pub freshness: FreshnessRule,
    /// Keys for exceptions made on the spot, by local root only.
    pub break_glass: Vec<PublicKey>,
}

/// How old the news of the branch may be, and what follows when it is older.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FreshnessRule {
    /// What follows.
    pub mode: FreshnessMode,
    /// The greatest age of a heartbeat; without it, only a heartbeat's own expiry counts.
    pub max_age: Option<Span>,
}

/// What a host makes of heartbeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FreshnessMode {
    /// Heartbeats are shown, and reported when they stop coming.
    #[default]
    Warn,
    /// Only what a heartbeat names is applied.
    Require,
}

/// The commit that trust starts from, and the key that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// The commit's id in hex.
    pub commit: String,
    /// Its signer.
    pub key: IntroductionKey,
}

/// The key of an introduction, whole or by its fingerprint; a signature carries the whole key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntroductionKey {
    /// The key.
    Key(Box<PublicKey>),
    /// Its fingerprint, `SHA256:…`.
    Fingerprint(String),
    /// An OpenPGP key, which the introduction's own policy lists: `OpenPGP:` and its fingerprint.
    OpenPgp(Fingerprint),
}

impl IntroductionKey {
    /// Reads a public key, or the fingerprint of one.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<IntroductionKey, String> {
        if text.starts_with("OpenPGP:") {
            let name = Fingerprint::parse(text).map(IntroductionKey::OpenPgp);
            return name.ok_or_else(|| "the fingerprint is not `OpenPGP:` and 40 hexadecimal digits".into());
        }
        match text.strip_prefix("SHA256:") {
            Some(digest) => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
                match digest.len() == 43 && digest.bytes().all(plain) {
                    true => Ok(IntroductionKey::Fingerprint(text.to_owned())),
                    false => Err("the fingerprint is not `SHA256:` and 43 characters".into()),
                }
            }
            None => PublicKey::parse(text)
                .map(|key| IntroductionKey::Key(Box::new(key)))
                .map_err(|error| error.to_string()),
        }
    }

    /// Whether it is this key.
    pub fn is(&self, key: &PublicKey) -> bool {
        match self {
            IntroductionKey::Key(own) => **own == *key,
            IntroductionKey::Fingerprint(fingerprint) => *fingerprint == key.fingerprint(),
            IntroductionKey::OpenPgp(_) => false,
        }
    }

    /// Whether it is the OpenPGP key of this name.
    pub fn is_openpgp(&self, name: &Fingerprint) -> bool {
        matches!(self, IntroductionKey::OpenPgp(own) if own == name)
    }

    /// The fingerprint.
    pub fn fingerprint(&self) -> String {
        match self {
            IntroductionKey::Key(key) => key.fingerprint(),
            IntroductionKey::Fingerprint(fingerprint) => fingerprint.clone(),
            IntroductionKey::OpenPgp(name) => name.shown(),
        }
    }
}

impl std::fmt::Display for IntroductionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IntroductionKey::Key(key) => key.fmt(f),
            IntroductionKey::Fingerprint(fingerprint) => f.write_str(fingerprint),
            IntroductionKey::OpenPgp(name) => f.write_str(&name.shown()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRoot {
    fleet: String,
    r#ref: String,
    introduction: RawIntroduction,
    max_age: Option<String>,
    freshness: Option<FreshnessMode>,
    #[serde(default)]
    break_glass: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawIntroduction {
    commit: String,
    key: String,
}

impl RootOfTrust {
    /// Reads the root of trust from its file.
    ///
    /// # Errors
    /// `E001` when it cannot be read, `E002` when it does not say what it should.
    pub fn load(path: &Path) -> Result<RootOfTrust, TrustError> {
        let bytes = std::fs::read(path)
            .map_err(|source| TrustError::RootUnreadable { path: path.to_owned(), source })?;
        RootOfTrust::parse(&bytes, &path.display().to_string()).map_err(TrustError::RootInvalid)
    }

    /// Reads a root of trust; `file` is how its place is named in errors.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(bytes: &[u8], file: &str) -> Result<RootOfTrust, FileError> {
        let text = file::text(bytes, file, LARGEST)?;
        read(text).map_err(|error| FileError::new(file, text, &error))
    }

    /// The file's text, for enrolment.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# The root of trust of this host. abide never changes it, whatever a branch says.\n\
             fleet = \"{}\"\nref = \"{}\"\nintroduction = {{ commit = \"{}\", key = \"{}\" }}\n",
            self.fleet, self.reference, self.introduction.commit, self.introduction.key
        );
        if let Some(age) = self.freshness.max_age {
            text.push_str(&format!("max-age = \"{age}\"\n"));
        }
        match (self.freshness.mode, self.freshness.max_age) {
            (FreshnessMode::Require, None) => text.push_str("freshness = \"require\"\n"),
            (FreshnessMode::Warn, Some(_)) => text.push_str("freshness = \"warn\"\n"),
            (FreshnessMode::Require, Some(_)) | (FreshnessMode::Warn, None) => {}
        }
        if !self.break_glass.is_empty() {
            let keys: Vec<String> = self.break_glass.iter().map(|key| format!("\"{key}\"")).collect();
            text.push_str(&format!("break-glass = [{}]\n", keys.join(", ")));
        }
        text
    }
}

fn read(text: &str) -> Result<RootOfTrust, DeclareError> {
    let root = Node::parse(text)?;
    let raw: RawRoot = root.read()?;
    let at = |way: &[&str]| way.iter().fold(&root, |node, key| node.get(key).unwrap_or(node));
    let again = "write it again with the `abide enroll …` line that `abide init` printed";
    if !file::plain_name(&raw.fleet) {
        return Err(at(&["fleet"]).error("the fleet is not a plain name", again));
    }
    if !file::plain_branch(&raw.r#ref) {
        let help = "write the full name, such as `refs/heads/main`";
        return Err(at(&["ref"]).error("this is not the full name of a branch", help));
    }
    let commit = raw.introduction.commit;
    let hexadecimal = commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !hexadecimal || ![40, 64].contains(&commit.len()) {
        let message = format!("`{}` is not the full name of a commit", escaped(&commit));
        return Err(at(&["introduction", "commit"]).error(message, again));
    }
    let key = IntroductionKey::parse(&raw.introduction.key)
        .map_err(|message| at(&["introduction", "key"]).error(message, again))?;
    let max_age = match &raw.max_age {
        None => None,
        Some(text) => Some(Span::parse(text).ok().filter(|age| age.seconds > 0).ok_or_else(|| {
            let help = "write it like `24h` or `3d`; a few times the interval at which heartbeats are made";
            at(&["max-age"]).error(format!("`{}` is not an age", escaped(text)), help)
        })?),
    };
    // Whoever says how old the news may be wants it to count.
    let usual = if max_age.is_some() { FreshnessMode::Require } else { FreshnessMode::Warn };
    let freshness = FreshnessRule { mode: raw.freshness.unwrap_or(usual), max_age };
    let break_glass = raw.break_glass.iter().map(|key| {
        PublicKey::parse(key)
            .map_err(|error| at(&["break-glass"]).error(error.to_string(), "give Ed25519 public keys"))
    });
    Ok(RootOfTrust {
        fleet: raw.fleet,
        reference: raw.r#ref,
        introduction: Introduction { commit, key },
        freshness,
        break_glass: break_glass.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "fleet = \"5a1c\"\nref = \"refs/heads/main\"\n\
        introduction = { commit = \"4b825dc642cb6eb9a060e54bf8d69288fbee4904\", key = \"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\" }\n";

    #[test]
    fn it_is_read_and_written() {
        let root = RootOfTrust::parse(FILE.as_bytes(), "trust.toml").unwrap();
        assert_eq!(root.introduction.key.fingerprint(), "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU");
        assert_eq!(RootOfTrust::parse(root.to_toml().as_bytes(), "x").unwrap(), root);
    }

    #[test]
    fn an_age_makes_freshness_a_must_unless_it_says_otherwise() {
        let (require, warn) = (FreshnessMode::Require, FreshnessMode::Warn);
        for (lines, mode, age) in [
            ("", warn, None),
            ("max-age = \"24h\"\n", require, Some(86_400)),
            ("max-age = \"24h\"\nfreshness = \"warn\"\n", warn, Some(86_400)),
            ("freshness = \"require\"\n", require, None),
        ] {
            let root = RootOfTrust::parse(format!("{FILE}{lines}").as_bytes(), "x").unwrap();
            assert_eq!((root.freshness.mode, root.freshness.max_age.map(|age| age.seconds)), (mode, age));
            assert_eq!(RootOfTrust::parse(root.to_toml().as_bytes(), "x").unwrap(), root, "{lines}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, message) in [
            ("fleet", "feelt", 1, "unknown key `feelt`"),
            ("refs/heads/main", "main", 2, "not the full name of a branch"),
            ("4b825", "4B825", 3, "not the full name of a commit"),
            ("4b825", "", 3, "not the full name of a commit"),
            ("SHA256:47", "SHA256:4", 3, "43 characters"),
            ("SHA256:47", "MD5:47", 3, "MD5"),
            ("fleet", "max-age = \"soon\"\nfleet", 1, "`soon` is not an age"),
            ("fleet", "max-age = \"0s\"\nfleet", 1, "`0s` is not an age"),
            ("fleet", "freshness = \"maybe\"\nfleet", 1, "unknown value"),
            ("fleet", "break-glass = [\"ssh-rsa A\"]\nfleet", 1, "ssh-rsa"),
            ("fleet = ", "fleet ", 1, ""),
        ] {
            let text = FILE.replacen(from, to, 1);
            let error = RootOfTrust::parse(text.as_bytes(), "trust.toml").unwrap_err();
            assert!(error.message.contains(message) && error.line == line, "{to}: {error}");
        }
    }
}
