//! A signed statement: a title, lines of `name value`, and an SSH signature over them.
//!
//! For what is signed and is not a Git object: heartbeats, and exceptions that break the glass. Each kind of statement has a
//! namespace of its own, so that a signature for one is worth nothing as another, or as a commit.
//!
//! **Invariant:** a [`Statement`] has exactly one written form.

use super::key::{PublicKey, shown};
use super::sshsig::{Envelope, SignatureError};

/// The longest that is written has a few hundred bytes and a signature.
pub const LARGEST: usize = 16 << 10;
/// No value is longer: the longest is the name of a branch.
const LONGEST_VALUE: usize = 512;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";

/// What a statement looks like.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The first line, with its version.
    pub title: &'static str,
    /// The fields, each once, in this order.
    pub fields: &'static [&'static str],
    /// What its signature is for.
    pub namespace: &'static str,
}

/// A statement as it was read. Its signature is not proven before [`Statement::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    values: Vec<(&'static str, String)>,
    text: String,
    envelope: Envelope,
}

/// Why this is no such statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is not written the one way.
    #[error("line {line}: {reason}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// What is wrong, safe to print.
        reason: String,
    },
    /// What stands below it is no signature for it.
    #[error(transparent)]
    Signature(SignatureError),
}

impl Form {
    /// The text that is to be signed, from the values in the order of the fields.
    pub fn text(&self, values: &[String]) -> String {
        let mut text = format!("{}\n", self.title);
        for (name, value) in self.fields.iter().zip(values) {
            text.push_str(&format!("{name} {value}\n"));
        }
        text
    }

    /// Reads a statement of this form.
    ///
    /// # Errors
    /// See [`StatementError`].
    pub fn parse(&self, bytes: &[u8]) -> Result<Statement, StatementError> {
        let wrong = |line: usize, reason: String| StatementError::Malformed { line, reason };
        if bytes.len() > LARGEST {
            return Err(wrong(1, format!("it has {} bytes, more than {LARGEST}", bytes.len())));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| wrong(1, "it is not UTF-8".into()))?;
        let signed = all.find(BEGIN).ok_or_else(|| wrong(1, "it carries no SSH signature".into()))?;
        let (text, armoured) = all.split_at(signed);
        let mut lines = text.split_terminator('\n').enumerate();
        match lines.next() {
            Some((_, title)) if title == self.title => {}
            _ => return Err(wrong(1, format!("it does not begin with \"{}\"", self.title))),
        }
        let mut values = Vec::with_capacity(self.fields.len());
        for name in self.fields {
            let missing = || wrong(values.len() + 2, format!("the field {name} is missing"));
            let (at, line) = lines.next().ok_or_else(missing)?;
            let value =
                line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(missing)?;
            if !plain(value) {
                return Err(wrong(at + 1, format!("{name} is \"{}\"", shown(value.as_bytes()))));
            }
            values.push((*name, value.to_owned()));
        }
        if let Some((at, _)) = lines.next() {
            return Err(wrong(at + 1, "something follows the last field".into()));
        }
        if !text.ends_with('\n') {
            return Err(wrong(values.len() + 1, "the last line does not end".into()));
        }
        let envelope =
            Envelope::parse(armoured.as_bytes(), self.namespace).map_err(StatementError::Signature)?;
        Ok(Statement { values, text: text.to_owned(), envelope })
    }
}

/// Printable ASCII without spaces at its ends.
fn plain(value: &str) -> bool {
    (1..=LONGEST_VALUE).contains(&value.len())
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && value.trim() == value
}

impl Statement {
    /// The value of a field of the form; empty for a name that the form does not have.
    pub fn value(&self, name: &str) -> &str {
        self.values.iter().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }

    /// A value that is written in small hex digits, of one of these lengths; `wanted` says what it should be.
    ///
    /// # Errors
    /// It is not.
    pub fn hex(&self, name: &str, lengths: &[usize], wanted: &str) -> Result<String, StatementError> {
        let value = self.value(name);
        let plain = value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match plain && lengths.contains(&value.len()) {
            true => Ok(value.to_owned()),
            false => Err(self.wrong(name, format!("{name} is not {wanted}"))),
        }
    }

    /// A value that is a time, in seconds since the epoch. There is one way to write it: in UTC, whole seconds.
    ///
    /// # Errors
    /// It is not written that way.
    pub fn time(&self, name: &str) -> Result<i64, StatementError> {
        let written = self.value(name);
        let time: Option<jiff::Timestamp> = written.parse().ok();
        let time = time.filter(|time| time.subsec_nanosecond() == 0 && time.to_string() == written);
        time.map(jiff::Timestamp::as_second)
            .ok_or_else(|| self.wrong(name, format!("{name} is not written like 2027-01-01T00:00:00Z")))
    }

    /// What is wrong with a field, with its line.
    pub fn wrong(&self, name: &str, reason: String) -> StatementError {
        // The title stands in the first line.
        let position = self.values.iter().position(|(field, _)| *field == name).unwrap_or(0);
        StatementError::Malformed { line: position + 2, reason }
    }

    /// The key that it says it was signed with.
    pub fn key(&self) -> &PublicKey {
        &self.envelope.key
    }

    /// The statement as it was read.
    pub fn to_text(&self) -> String {
        format!("{}{}", self.text, self.envelope.armoured())
    }

    /// Proves that the holder of its key made the statement. Whether that key may is for the caller to ask first.
    ///
    /// # Errors
    /// `Touch` or `Bad`.
    pub fn verify(&self) -> Result<(), SignatureError> {
        self.envelope.verify(self.text.as_bytes())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::trust::key::ed25519_blob;
    use crate::trust::sshsig::{Hash, signed_data};
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    const FORM: Form = Form { title: "abide test 1", fields: &["one", "two"], namespace: "test@abide" };

    /// A text with a signature by the key of this seed.
    pub fn signed(text: &str, namespace: &str, seed: u8) -> String {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from_blob(&ed25519_blob(&key.verifying_key().to_bytes())).unwrap();
        let signature = key.sign(&signed_data(namespace, Hash::Sha512, text.as_bytes())).to_bytes();
        format!("{text}{}", Envelope::new(public, namespace, Hash::Sha512, signature, None).armoured())
    }

    fn example() -> String {
        signed(&FORM.text(&["1".into(), "a b".into()]), "test@abide", 1)
    }

    #[test]
    fn a_statement_is_read() {
        let statement = FORM.parse(example().as_bytes()).unwrap();
        assert_eq!((statement.value("one"), statement.value("two")), ("1", "a b"));
        assert_eq!(statement.to_text(), example());
        statement.verify().unwrap();
        let other = FORM.parse(example().replace("one 1", "one 2").as_bytes()).unwrap();
        assert_eq!(other.verify(), Err(SignatureError::Bad));
    }

    #[test]
    fn every_other_form_is_refused() {
        for (from, to, line, expected) in [
            ("abide test 1", "abide test 2", 1, "does not begin with"),
            ("one 1", "eins 1", 2, "the field one is missing"),
            ("one 1\n", "", 2, "the field one is missing"),
            ("two a b\n", "", 3, "the field two is missing"),
            ("two a b", "two  a b", 3, "two is"),
            ("two a b", "two a\tb", 3, "two is"),
            ("two a b", "two ä", 3, "two is"),
            ("two a b\n", "two a b\nthree c\n", 4, "something follows"),
            ("-----BEGIN SSH SIGNATURE-----", "-----BEGIN-----", 1, "no SSH signature"),
        ] {
            let error = FORM.parse(example().replacen(from, to, 1).as_bytes()).unwrap_err();
            let StatementError::Malformed { line: found, reason } = error else { panic!("{error}") };
            assert!(reason.contains(expected) && found == line, "{to}: {found}: {reason}");
        }
        let foreign = signed(&FORM.text(&["1".into(), "2".into()]), "git", 1);
        let error = FORM.parse(foreign.as_bytes()).unwrap_err();
        assert!(matches!(error, StatementError::Signature(SignatureError::Namespace(..))), "{error}");
        let trailing = format!("{}x", example());
        assert!(matches!(FORM.parse(trailing.as_bytes()), Err(StatementError::Signature(_))));
        assert!(FORM.parse(&vec![b'a'; LARGEST + 1]).is_err());
        assert!(FORM.parse(&[0xff]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_has_one_form(edits in proptest::collection::vec((0usize..1000, any::<u8>(), 0u8..3), 1..4)) {
            let mut bytes = example().into_bytes();
            for (position, byte, edit) in edits {
                let position = position % bytes.len();
                match edit {
                    0 => bytes[position] = byte,
                    1 => bytes.insert(position, byte),
                    _ => { bytes.remove(position); }
                }
            }
            if let Ok(statement) = FORM.parse(&bytes) {
                prop_assert_eq!(statement.to_text().into_bytes(), bytes);
            }
        }
    }
}
