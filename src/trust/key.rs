//! Public keys that may sign: Ed25519, in a file or an agent, and Ed25519 on a security key.
//!
//! **Invariant:** two keys are equal exactly when their wire form is, byte for byte; a weak point is never a [`PublicKey`].

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::wire::{Wire, put_string};
use crate::error::escaped;

/// The words in front of a key that abide accepts.
pub const ED25519: &str = "ssh-ed25519";
/// The same algorithm on a FIDO security key (`PROTOCOL.u2f` of OpenSSH).
pub const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";

/// No line with a key is longer: the longest that is accepted has about 150 bytes and a comment.
const LONGEST_LINE: usize = 4096;

/// A key that may be trusted.
#[derive(Debug, Clone)]
pub struct PublicKey {
    point: VerifyingKey,
    application: Option<String>,
    blob: Vec<u8>,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.blob == other.blob
    }
}

impl Eq for PublicKey {}

/// A key that is none of those.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another algorithm.
    #[error("keys of type {kind} are not accepted, only {ED25519} and {SK_ED25519}")]
    Kind {
        /// The type, escaped.
        kind: String,
    },
    /// It cannot be read.
    #[error("not a public key: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl PublicKey {
    /// Reads the line that `ssh-keygen` writes to a `.pub` file: type, base64 and an optional comment.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(line: &str) -> Result<PublicKey, KeyError> {
        if line.len() > LONGEST_LINE || line.trim_end().contains(['\n', '\r', '\0']) {
            return Err(KeyError::Malformed { reason: "it is not one short line" });
        }
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().ok_or(KeyError::Malformed { reason: "it is empty" })?;
        if kind != ED25519 && kind != SK_ED25519 {
            return Err(KeyError::Kind { kind: shown(kind.as_bytes()) });
        }
        let base64 = words.next().ok_or(KeyError::Malformed { reason: "nothing follows the type" })?;
        let blob =
            STANDARD.decode(base64).map_err(|_| KeyError::Malformed { reason: "its base64 is damaged" })?;
        let key = PublicKey::from_blob(&blob)?;
        match key.kind() == kind {
            true => Ok(key),
            false => Err(KeyError::Malformed { reason: "its type is not the one that it says inside" }),
        }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_blob(blob: &[u8]) -> Result<PublicKey, KeyError> {
        let cut = KeyError::Malformed { reason: "it ends too early" };
        let mut wire = Wire::new(blob);
        let kind = wire.string().ok_or_else(|| cut.clone())?;
        let security_key = match kind {
            kind if kind == ED25519.as_bytes() => false,
            kind if kind == SK_ED25519.as_bytes() => true,
            other => return Err(KeyError::Kind { kind: shown(other) }),
        };
        let point: &[u8; 32] = wire
            .string()
            .ok_or_else(|| cut.clone())?
            .try_into()
            .map_err(|_| KeyError::Malformed { reason: "its point does not have 32 bytes" })?;
        let application = if security_key {
            let application = wire.string().ok_or(cut)?;
            let text = std::str::from_utf8(application).ok().filter(|text| text.starts_with("ssh:"));
            Some(text.ok_or(KeyError::Malformed { reason: "its application is not `ssh:…`" })?.to_owned())
        } else {
            None
        };
        if !wire.is_empty() {
            return Err(KeyError::Malformed { reason: "something follows it" });
        }
        let point = VerifyingKey::from_bytes(point)
            .ok()
            .filter(|point| !point.is_weak())
            .ok_or(KeyError::Malformed { reason: "its point is not a usable one" })?;
        Ok(PublicKey { point, application, blob: blob.to_owned() })
    }

    /// The word for its type.
    pub fn kind(&self) -> &'static str {
        if self.application.is_some() { SK_ED25519 } else { ED25519 }
    }

    /// The wire form.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// For a key on a security key, the application that it is bound to, `ssh:…`.
    pub fn application(&self) -> Option<&str> {
        self.application.as_deref()
    }

    /// The fingerprint in OpenSSH's form, `SHA256:` and base64 without padding.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    /// The point, which identifies the private key, wherever that is kept.
    pub(super) fn point(&self) -> &[u8; 32] {
        self.point.as_bytes()
    }

    /// Whether the holder of this key signed these bytes, strictly: neither a second form of the signature nor one that other
    /// verifiers could judge differently holds.
    pub fn holds(&self, data: &[u8], signature: &[u8; 64]) -> bool {
        self.point.verify_strict(data, &Signature::from_bytes(signature)).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    /// The line of a `.pub` file, without comment.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind(), STANDARD.encode(&self.blob))
    }
}

/// The fingerprint of a wire form, whatever its type.
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// A few characters of what somebody else wrote, safe to print.
pub(super) fn shown(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(64).collect();
    escaped(&text)
}

/// The type and point for tests and tools that make keys: the wire form of an Ed25519 key.
pub fn ed25519_blob(point: &[u8; 32]) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, ED25519.as_bytes());
    put_string(&mut blob, point);
    blob
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The base point of the curve: a valid, strong point.
    const POINT: [u8; 32] = {
        let mut point = [0x66; 32];
        point[0] = 0x58;
        point
    };

    fn sk_blob(application: &str) -> Vec<u8> {
        let mut blob = Vec::new();
        put_string(&mut blob, SK_ED25519.as_bytes());
        put_string(&mut blob, &POINT);
        put_string(&mut blob, application.as_bytes());
        blob
    }

    #[test]
    fn a_key_is_written_as_it_was_read() {
        let line = format!("ssh-ed25519 {}", STANDARD.encode(ed25519_blob(&POINT)));
        let key = PublicKey::parse(&format!("{line} alice@laptop\n")).unwrap();
        assert_eq!((key.to_string(), key.application()), (line, None));
        let key = PublicKey::from_blob(&sk_blob("ssh:")).unwrap();
        assert_eq!((key.kind(), key.application()), (SK_ED25519, Some("ssh:")));
        assert_eq!(PublicKey::parse(&key.to_string()).unwrap(), key);
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_reason() {
        let good = STANDARD.encode(ed25519_blob(&POINT));
        let weak = STANDARD.encode(ed25519_blob(&{
            let mut point = [0; 32];
            point[0] = 1;
            point
        }));
        let long = STANDARD.encode([ed25519_blob(&POINT), vec![0]].concat());
        for (line, expected) in [
            (String::new(), "it is empty"),
            ("ssh-rsa AAAA".into(), "keys of type ssh-rsa are not accepted"),
            ("ecdsa-sha2-nistp256 AAAA".into(), "keys of type ecdsa-sha2-nistp256"),
            ("ssh-ed25519".into(), "nothing follows the type"),
            ("ssh-ed25519 A=A".into(), "its base64 is damaged"),
            (format!("{SK_ED25519} {good}"), "its type is not the one"),
            (format!("ssh-ed25519 {weak}"), "its point is not a usable one"),
            (format!("ssh-ed25519 {long}"), "something follows it"),
            (format!("ssh-ed25519 {good}\nssh-ed25519 {good}"), "it is not one short line"),
            ("ssh-\u{1b}[31m x".into(), "ssh-\\u{1b}[31m"),
        ] {
            let error = PublicKey::parse(&line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line:?}: {error}");
        }
        assert_eq!(
            PublicKey::from_blob(&sk_blob("https://example.org")),
            Err(KeyError::Malformed { reason: "its application is not `ssh:…`" })
        );
    }
}
