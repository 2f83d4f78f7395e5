//! A commit in its canonical form, read from its raw bytes.
//!
//! Git signs everything of a commit but its signature headers, and many Git tools read commits leniently; both let anybody make
//! a second commit, with another name, for a signature that he does not own. abide accepts one form only: the headers that
//! Git writes, in Git's order, once each, with at most one signature as the last of them.
//!
//! **Invariant:** what [`Commit::parse`] accepts is, byte for byte, what [`Commit::to_bytes`] makes of it again.

use gix::ObjectId;
use gix::hash::Kind;
use sha2::{Digest, Sha256};

use super::key::shown;

/// Commits above this size in bytes are refused: Git's messages are text for people.
const LARGEST: usize = 1 << 20;
/// Author, committer and encoding lines are short.
const LONGEST_LINE: usize = 4096;
/// No merge that people make has more parents.
const MOST_PARENTS: usize = 16;

/// A commit whose bytes are canonical. Whether its signature holds is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents, the first one first.
    pub parents: Vec<ObjectId>,
    /// Who wrote the change, as he says.
    pub author: Person,
    /// Who made the commit, as he says.
    pub committer: Person,
    /// The character set of the message, where it is not UTF-8.
    pub encoding: Option<String>,
    /// The message.
    pub message: Vec<u8>,
    /// The signature, if there is one; nothing of it is proven.
    pub signature: Option<Signature>,
    /// The signed bytes: the commit without its signature.
    pub payload: Vec<u8>,
}

/// A signature as it stands in a commit or below a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Of which kind its first line says that it is.
    pub kind: SignatureKind,
    /// The signature in its armour, each line with its end.
    pub armoured: Vec<u8>,
}

/// The kinds of signatures that Git makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// `ssh-keygen -Y sign`.
    Ssh,
    /// GnuPG and its like.
    OpenPgp,
    /// `gpgsm`.
    X509,
}

impl SignatureKind {
    /// The kind that a first line announces.
    pub fn of(first: &[u8]) -> Option<SignatureKind> {
        match first {
            b"-----BEGIN SSH SIGNATURE-----" => Some(SignatureKind::Ssh),
            b"-----BEGIN PGP SIGNATURE-----" | b"-----BEGIN PGP MESSAGE-----" => Some(SignatureKind::OpenPgp),
            b"-----BEGIN SIGNED MESSAGE-----" => Some(SignatureKind::X509),
            _ => None,
        }
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            SignatureKind::Ssh => "SSH",
            SignatureKind::OpenPgp => "OpenPGP",
            SignatureKind::X509 => "X.509",
        }
    }
}

/// A line that names a person and a time. Nobody checks either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Name.
    pub name: Vec<u8>,
    /// Address.
    pub email: Vec<u8>,
    /// Seconds since the epoch.
    pub time: i64,
    /// Offset from UTC, such as `+0100`.
    pub zone: String,
}

/// Why a commit is not canonical.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// It is not written as Git writes commits.
    #[error("line {line} is not canonical: {reason}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// What is wrong, safe to print.
        reason: String,
    },
}

impl Commit {
    /// Reads the raw bytes of a commit object, without the object's own header.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn parse(raw: &[u8], kind: Kind) -> Result<Commit, CommitError> {
        let mut lines = Lines { rest: raw, line: 0 };
        if raw.len() > LARGEST {
            return Err(lines.error(format!("the commit has {} bytes, more than {LARGEST}", raw.len())));
        }
        if raw.contains(&0) {
            return Err(lines.error("the commit contains a NUL byte".into()));
        }
        let tree = lines.take_object("tree", kind)?.ok_or_else(|| lines.unexpected("tree"))?;
        let mut parents = Vec::new();
        while let Some(parent) = lines.take_object("parent", kind)? {
            parents.push(parent);
            if parents.len() > MOST_PARENTS {
                return Err(lines.error(format!("more than {MOST_PARENTS} parents")));
            }
        }
        let author = lines.take_person("author")?;
        let committer = lines.take_person("committer")?;
        let encoding = lines.take_encoding()?;
        let signed_head = raw.len() - lines.rest.len();
        let signature = lines.take_signature(signature_header(kind))?;
        if lines.take("")?.is_none() {
            return Err(lines.unexpected("the end of the headers"));
        }
        let message = lines.rest.to_vec();
        let mut payload = raw[..signed_head].to_vec();
        payload.push(b'\n');
        payload.extend_from_slice(&message);
        Ok(Commit { tree, parents, author, committer, encoding, message, signature, payload })
    }

    /// The commit as an object's bytes.
    pub fn to_bytes(&self, kind: Kind) -> Vec<u8> {
        let mut raw = format!("tree {}\n", self.tree).into_bytes();
        for parent in &self.parents {
            raw.extend_from_slice(format!("parent {parent}\n").as_bytes());
        }
        for (header, person) in [("author", &self.author), ("committer", &self.committer)] {
            raw.extend_from_slice(header.as_bytes());
            raw.push(b' ');
            raw.extend_from_slice(&person.name);
            raw.extend_from_slice(b" <");
            raw.extend_from_slice(&person.email);
            raw.extend_from_slice(format!("> {} {}\n", person.time, person.zone).as_bytes());
        }
        if let Some(encoding) = &self.encoding {
            raw.extend_from_slice(format!("encoding {encoding}\n").as_bytes());
        }
        if let Some(signature) = &self.signature {
            raw.extend_from_slice(signature_header(kind).as_bytes());
            for line in signature.armoured.split_inclusive(|byte| *byte == b'\n') {
                raw.push(b' ');
                raw.extend_from_slice(line);
            }
        }
        raw.push(b'\n');
        raw.extend_from_slice(&self.message);
        raw
    }

    /// SHA-256 in hex of the signed bytes: the same for every twin of this commit.
    pub fn payload_hash(&self) -> String {
        hex(&Sha256::digest(&self.payload))
    }

    /// A hash in hex of the whole commit, with whatever signature it carries: what an approval of exactly this object vouches for. It is
    /// never the [`payload_hash`](Commit::payload_hash) of another commit.
    pub fn whole_hash(&self, kind: Kind) -> String {
        hex(&Sha256::new().chain_update(b"whole\0").chain_update(self.to_bytes(kind)).finalize())
    }

    /// First line of the message, as far as it is UTF-8.
    pub fn summary(&self) -> String {
        let first = self.message.split(|byte| *byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(first).into_owned()
    }

    /// The values of a trailer such as `Approves-tree`, in the last paragraph of the message.
    pub fn trailers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let text = std::str::from_utf8(&self.message).unwrap_or_default().trim_end();
        let last = text.rsplit("\n\n").next().unwrap_or_default();
        last.lines().filter_map(move |line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    }
}

/// The first parent that a commit names, canonical or not: only to find the commits below a bad one, which are then
/// judged for themselves.
pub fn first_parent_of_any(raw: &[u8], kind: Kind) -> Option<ObjectId> {
    parents_of_any(raw, kind).next()
}

/// All parents that a commit names in its headers, canonical or not.
pub fn parents_of_any(raw: &[u8], kind: Kind) -> impl Iterator<Item = ObjectId> {
    raw.split(|byte| *byte == b'\n')
        .take_while(|line| !line.is_empty())
        .filter_map(move |line| object_id(line.strip_prefix(b"parent ")?, kind))
}

/// The tree that a commit names, canonical or not.
pub fn tree_of_any(raw: &[u8], kind: Kind) -> Option<ObjectId> {
    let first = raw.split(|byte| *byte == b'\n').next()?;
    object_id(first.strip_prefix(b"tree ")?, kind)
}

/// First line of the message of a commit, canonical or not, safe to print.
pub fn summary_of_any(raw: &[u8]) -> String {
    let message = raw.windows(2).position(|pair| pair == b"\n\n").map_or(&[][..], |end| &raw[end + 2..]);
    shown(message.split(|byte| *byte == b'\n').next().unwrap_or_default())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signature_header(kind: Kind) -> &'static str {
    match kind {
        Kind::Sha1 => "gpgsig",
        _ => "gpgsig-sha256",
    }
}

pub(super) fn object_id(text: &[u8], kind: Kind) -> Option<ObjectId> {
    let plain = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !plain || text.len() != kind.len_in_hex() {
        return None;
    }
    ObjectId::from_hex(text).ok()
}

struct Lines<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Lines<'a> {
    fn error(&self, reason: String) -> CommitError {
        CommitError::Malformed { line: self.line.max(1), reason }
    }

    /// An error about the line that comes next, which is not the one that belongs there.
    fn unexpected(&self, wanted: &str) -> CommitError {
        let line = self.rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let header = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let reason = match header {
            b"" => format!("{wanted} is missing"),
            header => format!("the header \"{}\" stands where {wanted} belongs", shown(header)),
        };
        CommitError::Malformed { line: self.line + 1, reason }
    }

    fn peek(&self) -> Result<&'a [u8], CommitError> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        end.map(|end| &self.rest[..end]).ok_or_else(|| self.error("the headers do not end".into()))
    }

    /// The value of the next line when it starts with this header; the empty header stands for the empty line.
    fn take(&mut self, header: &str) -> Result<Option<&'a [u8]>, CommitError> {
        let line = self.peek()?;
        let value = match header {
            "" => line.is_empty().then_some(line),
            header => line.strip_prefix(header.as_bytes()).and_then(|rest| rest.strip_prefix(b" ")),
        };
        if value.is_some() {
            self.rest = &self.rest[line.len() + 1..];
            self.line += 1;
            if line.len() > LONGEST_LINE {
                return Err(self.error("the line is too long".into()));
            }
        }
        Ok(value)
    }

    fn take_object(&mut self, header: &str, kind: Kind) -> Result<Option<ObjectId>, CommitError> {
        let Some(value) = self.take(header)? else { return Ok(None) };
        let id = object_id(value, kind).ok_or_else(|| self.error(format!("{header} is no object name")))?;
        Ok(Some(id))
    }

    fn take_person(&mut self, header: &str) -> Result<Person, CommitError> {
        let Some(value) = self.take(header)? else { return Err(self.unexpected(header)) };
        person(value).ok_or_else(|| self.error(format!("the {header} is not `name <address> time zone`")))
    }

    fn take_encoding(&mut self) -> Result<Option<String>, CommitError> {
        let Some(value) = self.take("encoding")? else { return Ok(None) };
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        match std::str::from_utf8(value) {
            Ok(text) if (1..=40).contains(&text.len()) && value.iter().all(plain) => {
                Ok(Some(text.to_owned()))
            }
            _ => Err(self.error("the encoding is not a plain word".into())),
        }
    }

    fn take_signature(&mut self, header: &str) -> Result<Option<Signature>, CommitError> {
        let Some(first) = self.take(header)? else {
            return if self.peek()?.is_empty() { Ok(None) } else { Err(self.unexpected(header)) };
        };
        let kind = SignatureKind::of(first);
        let mut armoured = first.to_vec();
        armoured.push(b'\n');
        while let Some(line) = self.peek()?.strip_prefix(b" ") {
            armoured.extend_from_slice(line);
            armoured.push(b'\n');
            self.rest = &self.rest[line.len() + 2..];
            self.line += 1;
        }
        let kind = kind.ok_or_else(|| self.error("the signature is of no known kind".into()))?;
        Ok(Some(Signature { kind, armoured }))
    }
}

/// Reads `name <address> time zone` as Git writes it: see `fmt_ident` in Git's `ident.c`.
pub(super) fn person(line: &[u8]) -> Option<Person> {
    let open = line.iter().position(|byte| *byte == b'<')?;
    let close = line.iter().position(|byte| *byte == b'>')?;
    let name = line[..open].strip_suffix(b" ")?;
    let email = line.get(open + 1..close)?;
    let rest = std::str::from_utf8(line[close + 1..].strip_prefix(b" ")?).ok()?;
    let (time, zone) = rest.split_once(' ')?;
    let written_by_git =
        |text: &[u8]| !text.iter().any(|byte| byte.is_ascii_control() || b"<>".contains(byte));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let zone_digits = zone.strip_prefix(['+', '-'])?;
    let plain = !name.is_empty()
        && written_by_git(name)
        && written_by_git(email)
        && digits(time)
        && (time == "0" || !time.starts_with('0'))
        && digits(zone_digits)
        && zone_digits.len() == 4;
    if !plain {
        return None;
    }
    Some(Person {
        name: name.to_owned(),
        email: email.to_owned(),
        time: time.parse().ok()?,
        zone: zone.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    const PEOPLE: &str = "author A U Thor <a@example.org> 1700000000 +0100\ncommitter C <> 0 -0000\n";
    const SIGNATURE: &str = "gpgsig -----BEGIN SSH SIGNATURE-----\n U1NI\n -----END SSH SIGNATURE-----\n";

    fn commit(before: &str, after: &str) -> String {
        format!("tree {TREE}\nparent {TREE}\n{before}{PEOPLE}{after}\nsubject\n\nbody\n")
    }

    #[test]
    fn the_canonical_form_is_split_into_payload_and_signature() {
        let raw = commit("", &format!("encoding ISO-8859-1\n{SIGNATURE}"));
        let parsed = Commit::parse(raw.as_bytes(), Kind::Sha1).unwrap();
        assert_eq!(parsed.to_bytes(Kind::Sha1), raw.as_bytes());
        assert_eq!(parsed.payload, commit("", "encoding ISO-8859-1\n").as_bytes());
        assert_eq!(parsed.summary(), "subject");
        let signature = parsed.signature.unwrap();
        assert_eq!(signature.kind, SignatureKind::Ssh);
        assert_eq!(signature.armoured, b"-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----\n");
        assert_eq!((parsed.author.time, parsed.committer.email.len()), (1_700_000_000, 0));
    }

    #[test]
    fn a_commit_says_how_it_is_signed() {
        for (signature, kind) in [
            (String::new(), None),
            (SIGNATURE.to_owned(), Some(SignatureKind::Ssh)),
            (SIGNATURE.replace("SSH", "PGP"), Some(SignatureKind::OpenPgp)),
            (SIGNATURE.replace("SSH SIGNATURE", "SIGNED MESSAGE"), Some(SignatureKind::X509)),
        ] {
            let raw = commit("", &signature);
            let parsed = Commit::parse(raw.as_bytes(), Kind::Sha1).unwrap();
            assert_eq!(parsed.signature.as_ref().map(|signature| signature.kind), kind);
            assert_eq!(parsed.to_bytes(Kind::Sha1), raw.as_bytes());
            assert_eq!(parsed.payload, commit("", "").as_bytes());
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let malformed = [
            (commit(&format!("tree {TREE}\n"), SIGNATURE), "the header \"tree\" stands where author belongs"),
            (commit(PEOPLE, SIGNATURE), "the header \"author\" stands where gpgsig belongs"),
            (
                commit("", &format!("{SIGNATURE}{SIGNATURE}")),
                "\"gpgsig\" stands where the end of the headers",
            ),
            (commit("", &format!("{SIGNATURE}gpgsig-sha256 x\n")), "\"gpgsig-sha256\" stands where the end"),
            (commit("", &format!("gpgsigZZZ x\n{SIGNATURE}")), "\"gpgsigZZZ\" stands where gpgsig"),
            (commit("", &format!("mergetag object x\n{SIGNATURE}")), "\"mergetag\" stands where gpgsig"),
            (commit("", &format!("encoding a b\n{SIGNATURE}")), "the encoding is not a plain word"),
            (commit("", SIGNATURE).replace("subject", "sub\0ject"), "NUL"),
            (commit("", SIGNATURE).replace("1700000000", "01700000000"), "the author is not"),
            (commit("", SIGNATURE).replace("1700000000", "-1"), "the author is not"),
            (commit("", SIGNATURE).replace("+0100", "+100"), "the author is not"),
            (commit("", SIGNATURE).replace("a@example", "a>b<example"), "the author is not"),
            (commit("", SIGNATURE).replace(&TREE[..6], &TREE[..6].to_uppercase()), "tree is no object name"),
            (commit("", SIGNATURE).replace("BEGIN SSH", "BEGIN"), "of no known kind"),
            (format!("tree {TREE}\n"), "the headers do not end"),
            (String::new(), "the headers do not end"),
            (commit(&format!("parent {TREE}\n").repeat(16), SIGNATURE), "more than 16 parents"),
        ];
        for (raw, expected) in malformed {
            let error = Commit::parse(raw.as_bytes(), Kind::Sha1).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}\n{raw}");
        }
    }

    #[test]
    fn the_signature_header_belongs_to_the_hash() {
        let tree = "a".repeat(64);
        let raw = |header: &str| {
            let signature = SIGNATURE.replace("gpgsig", header);
            format!("tree {tree}\n{PEOPLE}{signature}\nsubject\n")
        };
        assert!(Commit::parse(raw("gpgsig-sha256").as_bytes(), Kind::Sha256).is_ok());
        assert!(Commit::parse(raw("gpgsig").as_bytes(), Kind::Sha256).is_err());
    }

    #[test]
    fn trailers_are_read_from_the_last_paragraph() {
        let raw =
            commit("", SIGNATURE).replace("body\n", "Approves-tree: no\n\nApproves-tree: abc\nOther: x\n");
        let parsed = Commit::parse(raw.as_bytes(), Kind::Sha1).unwrap();
        assert_eq!(parsed.trailers("Approves-tree").collect::<Vec<_>>(), ["abc"]);
    }

    #[test]
    fn parents_are_found_in_commits_that_are_not_canonical() {
        let raw = format!("tree {TREE}\ntree {TREE}\nparent {TREE}\njunk\n\nparent {TREE}\n");
        assert_eq!(parents_of_any(raw.as_bytes(), Kind::Sha1).count(), 1);
        assert_eq!(first_parent_of_any(b"\0\xff", Kind::Sha1), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Commit::parse(&bytes, Kind::Sha1);
            let _ = first_parent_of_any(&bytes, Kind::Sha256);
        }

        #[test]
        fn what_is_accepted_has_one_form(edits in proptest::collection::vec((0usize..1000, any::<u8>(), 0u8..3), 1..4)) {
            let mut raw = commit("", &format!("encoding ISO-8859-1\n{SIGNATURE}")).into_bytes();
            for (position, byte, edit) in edits {
                let position = position % raw.len();
                match edit {
                    0 => raw[position] = byte,
                    1 => raw.insert(position, byte),
                    _ => { raw.remove(position); }
                }
            }
            if let Ok(parsed) = Commit::parse(&raw, Kind::Sha1) {
                prop_assert_eq!(parsed.to_bytes(Kind::Sha1), raw);
            }
        }
    }
}
