//! A break-glass statement: somebody with a key that is kept for emergencies moves one host to one commit, once.
//!
//! It never comes through Git: root hands it to the host. It bypasses no signature: the walk from the introduction has to prove
//! the commit by itself. What it overrides is only what the host has seen before.

use serde::{Deserialize, Serialize};

use super::key::PublicKey;
use super::sshsig::SignatureError;
use super::statement::{Form, Statement, StatementError};

/// What its signature is for.
pub const NAMESPACE: &str = "break-glass@abide";

/// Nobody makes one that counts for longer, in seconds: 7 days.
pub const LONGEST: i64 = 7 * 24 * 60 * 60;

const FORM: Form = Form {
    title: "abide break-glass 1",
    fields: &["fleet", "host", "commit", "expires", "nonce"],
    namespace: NAMESPACE,
};

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The fleet.
    pub fleet: String,
    /// The host's id, 32 hex digits.
    pub host: String,
    /// The commit to move to, in hex.
    pub commit: String,
    /// Until when it may be used, seconds since the epoch.
    pub expires: i64,
    /// 32 hex digits that no other statement has.
    pub nonce: String,
}

impl Exception {
    /// The text that is to be signed in the namespace [`NAMESPACE`]; the signature follows it.
    ///
    /// # Errors
    /// The time cannot be written.
    pub fn text(&self) -> Result<String, StatementError> {
        let expires = jiff::Timestamp::from_second(self.expires)
            .map_err(|error| StatementError::Malformed { line: 5, reason: error.to_string() })?;
        let values = [&self.fleet, &self.host, &self.commit, &expires.to_string(), &self.nonce];
        Ok(FORM.text(&values.map(Clone::clone)))
    }

    fn of(statement: &Statement) -> Result<Exception, StatementError> {
        let hex = |name, lengths: &[usize]| statement.hex(name, lengths, "of the right length in hex");
        Ok(Exception {
            fleet: statement.value("fleet").to_owned(),
            host: hex("host", &[32])?,
            commit: hex("commit", &[40, 64])?,
            expires: statement.time("expires")?,
            nonce: hex("nonce", &[32])?,
        })
    }
}

/// A statement as it was read; nothing of it is proven before [`SignedException::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedException {
    /// What it says.
    pub exception: Exception,
    statement: Statement,
}

impl SignedException {
    /// Reads a statement.
    ///
    /// # Errors
    /// It is not written the one way.
    pub fn parse(bytes: &[u8]) -> Result<SignedException, StatementError> {
        let statement = FORM.parse(bytes)?;
        Ok(SignedException { exception: Exception::of(&statement)?, statement })
    }

    /// The key that it says it was signed with.
    pub fn key(&self) -> &PublicKey {
        self.statement.key()
    }

    /// Proves that the holder of its key made it. Whether that key may is for the caller to ask first.
    ///
    /// # Errors
    /// `Touch` or `Bad`.
    pub fn verify(&self) -> Result<(), SignatureError> {
        self.statement.verify()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::statement::tests::signed;

    fn example() -> Exception {
        Exception {
            fleet: "5a1c".into(),
            host: "0123456789abcdef0123456789abcdef".into(),
            commit: "4b825dc642cb6eb9a060e54bf8d69288fbee4904".into(),
            expires: 1_780_272_000,
            nonce: "f".repeat(32),
        }
    }

    #[test]
    fn it_is_written_and_read() {
        let text = example().text().unwrap();
        let read = SignedException::parse(signed(&text, NAMESPACE, 1).as_bytes()).unwrap();
        assert_eq!(read.exception, example());
        read.verify().unwrap();
    }

    /// Attack 20: a signature that was made for something else.
    #[test]
    fn a_signature_for_something_else_is_none() {
        let text = example().text().unwrap();
        for namespace in ["git", "file", super::super::heartbeat::NAMESPACE] {
            let error = SignedException::parse(signed(&text, namespace, 1).as_bytes()).unwrap_err();
            assert!(matches!(error, StatementError::Signature(_)), "{namespace}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, message) in [
            ("host 01", "host 1", 3, "host is not of the right length"),
            ("host 01", "host AB", 3, "host is not"),
            ("commit 4b", "commit b", 4, "commit is not"),
            ("expires 2026-06-01T00:00:00Z", "expires tomorrow", 5, "expires is not written"),
            ("nonce f", "nonce ", 6, "nonce is not"),
        ] {
            let changed = example().text().unwrap().replacen(from, to, 1);
            let error = SignedException::parse(signed(&changed, NAMESPACE, 1).as_bytes()).unwrap_err();
            let StatementError::Malformed { line: found, reason } = &error else { panic!("{error}") };
            assert!(reason.contains(message) && *found == line, "{to}: {error}");
        }
    }
}
