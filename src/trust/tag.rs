//! A signed annotated tag in its canonical form, read from its raw bytes: what an approval by tag is.
//!
//! Git appends the signature to the message. As with commits, one written form is accepted only; a tag whose bytes differ is
//! another tag, and since a tag names a commit by its id, it vouches for exactly one history.
//!
//! **Invariant:** what [`Tag::parse`] accepts is the payload followed by the signature, byte for byte.

use gix::ObjectId;
use gix::hash::Kind;

use super::commit::{Signature, SignatureKind, object_id, person};
use super::key::shown;

/// No tag that approves is larger, in bytes.
pub const LARGEST: usize = 64 << 10;

/// A tag whose bytes are canonical. Whether its signature holds is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The commit that it names.
    pub target: ObjectId,
    /// The name that it gives itself.
    pub name: String,
    /// The signature, if there is one.
    pub signature: Option<Signature>,
    /// The signed bytes: the tag without its signature.
    pub payload: Vec<u8>,
}

/// Why a tag is not canonical.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tag is not canonical: {0}")]
pub struct TagError(String);

impl Tag {
    /// Reads the raw bytes of a tag object, without the object's own header.
    ///
    /// # Errors
    /// What is not as Git writes it.
    pub fn parse(raw: &[u8], kind: Kind) -> Result<Tag, TagError> {
        let wrong = |reason: &str| TagError(reason.to_owned());
        if raw.len() > LARGEST {
            return Err(TagError(format!("it has {} bytes, more than {LARGEST}", raw.len())));
        }
        if raw.contains(&0) {
            return Err(wrong("it contains a NUL byte"));
        }
        let mut rest = raw;
        let object = header(&mut rest, "object")?;
        let target = object_id(object, kind).ok_or_else(|| wrong("its object is no object name"))?;
        match header(&mut rest, "type")? {
            b"commit" => {}
            other => return Err(TagError(format!("it names a {}, not a commit", shown(other)))),
        }
        let name = std::str::from_utf8(header(&mut rest, "tag")?).ok().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| wrong("its name is not text"))?.to_owned();
        person(header(&mut rest, "tagger")?)
            .ok_or_else(|| wrong("the tagger is not `name <address> time zone`"))?;
        let message = rest.strip_prefix(b"\n").ok_or_else(|| wrong("a header of no known kind"))?;
        let signature = signature_of(message);
        let armoured = signature.as_ref().map_or(0, |signature| signature.armoured.len());
        let payload = raw[..raw.len() - armoured].to_vec();
        Ok(Tag { target, name, signature, payload })
    }
}

/// Takes the line with this header and gives back its value.
fn header<'a>(rest: &mut &'a [u8], name: &str) -> Result<&'a [u8], TagError> {
    let end = rest.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| TagError("its headers do not end".into()))?;
    let value = rest[..end].strip_prefix(name.as_bytes()).and_then(|value| value.strip_prefix(b" "));
    let value = value.ok_or_else(|| TagError(format!("{name} is missing")))?;
    *rest = &rest[end + 1..];
    Ok(value)
}

/// The signature below a message: from the first line that begins one to the end.
fn signature_of(message: &[u8]) -> Option<Signature> {
    let mut at = 0;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if let Some(kind) = line.strip_suffix(b"\n").and_then(SignatureKind::of) {
            return Some(Signature { kind, armoured: message[at..].to_vec() });
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    const ARMOUR: &str = "-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----\n";

    fn tag(message: &str) -> String {
        format!(
            "object {ID}\ntype commit\ntag abide/approve/x\ntagger A <a@example.org> 1700000000 +0100\n\n{message}"
        )
    }

    #[test]
    fn the_signature_is_what_follows_the_message() {
        let raw = tag(&format!("Approve\n{ARMOUR}"));
        let parsed = Tag::parse(raw.as_bytes(), Kind::Sha1).unwrap();
        assert_eq!((parsed.target.to_string().as_str(), parsed.name.as_str()), (ID, "abide/approve/x"));
        assert_eq!(parsed.payload, tag("Approve\n").as_bytes());
        assert_eq!(parsed.signature.unwrap().armoured, ARMOUR.as_bytes());
        assert_eq!(Tag::parse(tag("plain\n").as_bytes(), Kind::Sha1).unwrap().signature, None);
    }

    #[test]
    fn every_other_form_is_refused() {
        for (raw, expected) in [
            (tag("").replace("type commit", "type tree"), "it names a tree"),
            (tag("").replace("object", "subject"), "object is missing"),
            (tag("").replace(ID, &ID.to_uppercase()), "no object name"),
            (tag("").replace("tag abide", "tab abide"), "tag is missing"),
            (tag("").replace("tagger", "tagged"), "tagger is missing"),
            (tag("").replace("1700000000", "-1"), "the tagger is not"),
            (tag("").replace("+0100\n", "+0100\nx y\n"), "a header of no known kind"),
            (tag("a\0b"), "NUL"),
            (format!("object {ID}"), "do not end"),
        ] {
            let error = Tag::parse(raw.as_bytes(), Kind::Sha1).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}\n{raw}");
        }
        assert!(Tag::parse(&vec![b'x'; LARGEST + 1], Kind::Sha1).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_payload_and_signature(edits in proptest::collection::vec((0usize..1000, any::<u8>()), 0..4)) {
            let mut raw = tag(&format!("Approve\n{ARMOUR}")).into_bytes();
            for (position, byte) in edits {
                let position = position % raw.len();
                raw[position] = byte;
            }
            if let Ok(tag) = Tag::parse(&raw, Kind::Sha1) {
                let armoured = tag.signature.map_or(Vec::new(), |signature| signature.armoured);
                prop_assert_eq!([tag.payload, armoured].concat(), raw);
            }
        }
    }
}
