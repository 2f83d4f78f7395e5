//! A heartbeat: somebody who sees the real repository says, again and again, where its branch is.
//!
//! It is what keeps a server from simply going on to serve an old state. Its key may sign nothing else, and it changes nothing by
//! itself: what a heartbeat names has to pass every other rule, too.
//!
//! It lies on a branch of its own, [`heartbeat_ref`](crate::source::heartbeat_ref): one commit without parents, with one
//! file, [`HEARTBEAT_FILE`]. Neither the commit nor its author is believed, only the statement in the file.

use gix::ObjectId;
use serde::{Deserialize, Serialize};

use super::commit::tree_of_any;
use super::key::PublicKey;
use super::sshsig::SignatureError;
use super::statement::{Form, Statement, StatementError};
use crate::error::escaped;
use crate::source::{EntryKind, HEARTBEAT_FILE, Objects};

/// What a heartbeat's signature is for.
pub const NAMESPACE: &str = "heartbeat@abide";
/// Nobody asks to be believed for longer, in seconds: 400 days.
pub const LONGEST: i64 = 400 * 24 * 60 * 60;

const FORM: Form = Form {
    title: "abide heartbeat 1",
    fields: &["fleet", "ref", "tip", "payload", "sequence", "issued", "expires"],
    namespace: NAMESPACE,
};

/// What a heartbeat says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The fleet.
    pub fleet: String,
    /// The branch, by its full name.
    pub reference: String,
    /// The commit that the branch is at, in hex.
    pub tip: String,
    /// SHA-256 in hex of that commit's signed payload, or of all of it when it carries no signature.
    pub payload: String,
    /// Rises from one heartbeat to the next.
    pub sequence: u64,
    /// When it was made, seconds since the epoch.
    pub issued: i64,
    /// Until when it counts.
    pub expires: i64,
}

impl Heartbeat {
    /// The text that is to be signed in the namespace [`NAMESPACE`]; the signature follows it.
    ///
    /// # Errors
    /// The first field that cannot be written.
    pub fn text(&self) -> Result<String, StatementError> {
        let time = |line, second: i64| {
            jiff::Timestamp::from_second(second)
                .map(|time| time.to_string())
                .map_err(|error| StatementError::Malformed { line, reason: error.to_string() })
        };
        let values = [
            self.fleet.clone(),
            self.reference.clone(),
            self.tip.clone(),
            self.payload.clone(),
            self.sequence.to_string(),
            time(7, self.issued)?,
            time(8, self.expires)?,
        ];
        Ok(FORM.text(&values))
    }

    fn of(statement: &Statement) -> Result<Heartbeat, StatementError> {
        let wrong = |name, reason: &str| statement.wrong(name, reason.to_owned());
        let text = |name: &str| statement.value(name).to_owned();
        let sequence = statement.value("sequence").parse::<u64>().ok();
        let sequence = sequence.filter(|number| number.to_string() == statement.value("sequence"));
        let heartbeat = Heartbeat {
            fleet: text("fleet"),
            reference: text("ref"),
            tip: statement.hex("tip", &[40, 64], "a hash in hex")?,
            payload: statement.hex("payload", &[64], "a hash in hex")?,
            sequence: sequence.ok_or_else(|| wrong("sequence", "sequence is not a plain number"))?,
            issued: statement.time("issued")?,
            expires: statement.time("expires")?,
        };
        match heartbeat.expires.checked_sub(heartbeat.issued) {
            Some(1..=LONGEST) => Ok(heartbeat),
            _ => Err(wrong("expires", "it expires before it was issued, or more than 400 days later")),
        }
    }
}

/// A heartbeat as it was read; nothing of it is proven before [`SignedHeartbeat::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeartbeat {
    /// What it says.
    pub heartbeat: Heartbeat,
    statement: Statement,
}

/// Why there is no heartbeat to look at. Text in it is safe to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// Its commit does not hold one.
    #[error("its commit cannot be used: {0}")]
    Commit(String),
    /// It is not written the one way.
    #[error("it is not in its one form: {0}")]
    Form(StatementError),
}

impl SignedHeartbeat {
    /// Reads the file.
    ///
    /// # Errors
    /// It is not written the one way.
    pub fn parse(bytes: &[u8]) -> Result<SignedHeartbeat, StatementError> {
        let statement = FORM.parse(bytes)?;
        Ok(SignedHeartbeat { heartbeat: Heartbeat::of(&statement)?, statement })
    }

    /// Reads the heartbeat that a commit holds.
    ///
    /// # Errors
    /// See [`HeartbeatError`].
    pub fn read(objects: &dyn Objects, commit: ObjectId) -> Result<SignedHeartbeat, HeartbeatError> {
        let wrong = |reason: String| HeartbeatError::Commit(escaped(&reason));
        let raw = objects.commit(commit).map_err(|error| wrong(error.to_string()))?;
        let tree = tree_of_any(&raw, commit.kind()).ok_or_else(|| wrong("it names no tree".into()))?;
        let entries = objects.tree(tree).map_err(|error| wrong(error.to_string()))?;
        let [entry] = entries.as_slice() else {
            return Err(wrong(format!("its tree has {} entries, not one", entries.len())));
        };
        if entry.name != HEARTBEAT_FILE || entry.kind != EntryKind::File {
            return Err(wrong(format!("its tree does not hold a plain file \"{HEARTBEAT_FILE}\"")));
        }
        let bytes = objects.blob(entry.id).map_err(|error| wrong(error.to_string()))?;
        SignedHeartbeat::parse(&bytes).map_err(HeartbeatError::Form)
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

    fn example() -> Heartbeat {
        Heartbeat {
            fleet: "5a1c".into(),
            reference: "refs/heads/main".into(),
            tip: "4b825dc642cb6eb9a060e54bf8d69288fbee4904".into(),
            payload: "0".repeat(64),
            sequence: 42,
            issued: 1_780_272_000,
            expires: 1_780_358_400,
        }
    }

    #[test]
    fn it_is_written_and_read() {
        let text = example().text().unwrap();
        assert!(text.contains("\nissued 2026-06-01T00:00:00Z\n"), "{text}");
        let read = SignedHeartbeat::parse(signed(&text, NAMESPACE, 1).as_bytes()).unwrap();
        assert_eq!(read.heartbeat, example());
        read.verify().unwrap();
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, message) in [
            ("tip 4b", "tip 4B", 4, "tip is not a hash"),
            ("tip 4b", "tip b", 4, "tip is not a hash"),
            ("payload 00", "payload 0", 5, "payload is not a hash"),
            ("sequence 42", "sequence 042", 6, "plain number"),
            ("sequence 42", "sequence -1", 6, "plain number"),
            ("issued 2026-06-01T00:00:00Z", "issued 2026-06-01T00:00:00.5Z", 7, "issued is not written"),
            ("issued 2026-06-01T00:00:00Z", "issued 2026-06-01T02:00:00+02:00", 7, "issued is not written"),
            ("expires 2026-06-02", "expires 2026-06-00", 8, "expires is not written"),
            ("expires 2026-06-02", "expires 2026-06-01", 8, "before it was issued"),
            ("expires 2026-06-02", "expires 2036-06-01", 8, "more than 400 days"),
        ] {
            let text = example().text().unwrap();
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let error = SignedHeartbeat::parse(signed(&changed, NAMESPACE, 1).as_bytes()).unwrap_err();
            let StatementError::Malformed { line: found, reason } = &error else { panic!("{error}") };
            assert!(reason.contains(message) && *found == line, "{to}: {error}");
        }
    }
}
