//! SSHSIG, the signature format of `ssh-keygen -Y sign` and of Git's SSH signatures (`PROTOCOL.sshsig` of OpenSSH).
//!
//! **Invariant:** an [`Envelope`] has exactly one written form. What parses is, byte for byte, what [`Envelope::armoured`]
//! makes of it again, so that nobody without the key can make a second form of a signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha512};

use super::key::{ED25519, KeyError, PublicKey, SK_ED25519, shown};
use super::wire::{Wire, put_string};

/// The namespace of signatures over Git objects.
pub const GIT: &str = "git";

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
/// `ssh-keygen` breaks its base64 after so many characters.
const COLUMNS: usize = 70;
/// The largest accepted envelope has about 300 bytes and an application's name.
const LONGEST: usize = 8192;
/// The security key's "a person touched it" (WebAuthn's user presence).
const PRESENT: u8 = 0x01;

/// What the signed message was hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-512, what `ssh-keygen` uses unless told otherwise.
    Sha512,
}

impl Hash {
    fn name(self) -> &'static str {
        match self {
            Hash::Sha256 => "sha256",
            Hash::Sha512 => "sha512",
        }
    }

    fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

/// A signature with what it says of itself. Nothing of it is proven before [`Envelope::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The key that it says it was made with.
    pub key: PublicKey,
    /// What the signature is for.
    pub namespace: String,
    /// How the message was hashed.
    pub hash: Hash,
    signature: [u8; 64],
    /// Flags and counter of a security key.
    touch: Option<(u8, u32)>,
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is not written the one way.
    #[error("the signature is malformed: {0}")]
    Malformed(&'static str),
    /// A signature for something else.
    #[error("the signature was made for the namespace \"{0}\", not for \"{1}\"")]
    Namespace(String, String),
    /// A key of a type that is not accepted.
    #[error("the signature's key is not accepted: {0}")]
    Key(KeyError),
    /// A signature of OpenPGP with an algorithm that is not accepted.
    #[error("the signature is not accepted: {0}")]
    Algorithm(String),
    /// The security key was not touched.
    #[error("the security key signed without being touched")]
    Touch,
    /// The mathematics say no.
    #[error("the signature does not belong to this content")]
    Bad,
}

impl Envelope {
    /// Reads the armoured form; the signature must be for this namespace.
    ///
    /// # Errors
    /// See [`SignatureError`]; everything but `Touch` and `Bad`.
    pub fn parse(armoured: &[u8], namespace: &str) -> Result<Envelope, SignatureError> {
        use SignatureError::Malformed;
        if armoured.len() > LONGEST {
            return Err(Malformed("it is too long"));
        }
        let text = std::str::from_utf8(armoured).map_err(|_| Malformed("it is not text"))?;
        let body = text.strip_prefix(BEGIN).ok_or(Malformed("it does not start with its BEGIN line"))?;
        let body = body.strip_suffix(END).ok_or(Malformed("it does not end with its END line"))?;
        let base64: String = body.chars().filter(|character| *character != '\n').collect();
        let blob = STANDARD.decode(base64).map_err(|_| Malformed("its base64 is damaged"))?;
        let envelope = Envelope::from_blob(&blob)?;
        if envelope.armoured().as_bytes() != armoured {
            return Err(Malformed("it is not wrapped as ssh-keygen wraps it"));
        }
        if envelope.namespace != namespace {
            let found = shown(envelope.namespace.as_bytes());
            return Err(SignatureError::Namespace(found, namespace.to_owned()));
        }
        Ok(envelope)
    }

    fn from_blob(blob: &[u8]) -> Result<Envelope, SignatureError> {
        use SignatureError::Malformed;
        const CUT: SignatureError = Malformed("it ends too early");
        let mut wire = Wire::new(blob);
        if wire.bytes(MAGIC.len()) != Some(MAGIC) {
            return Err(Malformed("it is not an SSHSIG"));
        }
        if wire.number().ok_or(CUT)? != VERSION {
            return Err(Malformed("its version is not 1"));
        }
        let key = PublicKey::from_blob(wire.string().ok_or(CUT)?).map_err(SignatureError::Key)?;
        let namespace = std::str::from_utf8(wire.string().ok_or(CUT)?)
            .map_err(|_| Malformed("its namespace is not text"))?
            .to_owned();
        if !wire.string().ok_or(CUT)?.is_empty() {
            return Err(Malformed("its reserved field is not empty"));
        }
        let hash = match wire.string().ok_or(CUT)? {
            b"sha512" => Hash::Sha512,
            b"sha256" => Hash::Sha256,
            _ => return Err(Malformed("its hash is neither sha512 nor sha256")),
        };
        let (signature, touch) = inner_signature(wire.string().ok_or(CUT)?, key.kind())?;
        if !wire.is_empty() {
            return Err(Malformed("something follows it"));
        }
        Ok(Envelope { key, namespace, hash, signature, touch })
    }

    /// Makes an envelope of a signature over [`signed_data`]. `touch` holds flags and counter of a security key.
    pub fn new(
        key: PublicKey,
        namespace: &str,
        hash: Hash,
        signature: [u8; 64],
        touch: Option<(u8, u32)>,
    ) -> Envelope {
        Envelope { key, namespace: namespace.to_owned(), hash, signature, touch }
    }

    /// The one written form.
    pub fn armoured(&self) -> String {
        let mut inner = Vec::new();
        put_string(&mut inner, self.key.kind().as_bytes());
        put_string(&mut inner, &self.signature);
        if let Some((flags, counter)) = self.touch {
            inner.push(flags);
            inner.extend_from_slice(&counter.to_be_bytes());
        }
        let mut blob = MAGIC.to_vec();
        blob.extend_from_slice(&VERSION.to_be_bytes());
        for field in
            [self.key.blob(), self.namespace.as_bytes(), b"", self.hash.name().as_bytes(), inner.as_slice()]
        {
            put_string(&mut blob, field);
        }
        let base64 = STANDARD.encode(blob);
        let mut text = BEGIN.to_owned();
        for (position, character) in base64.chars().enumerate() {
            if position > 0 && position % COLUMNS == 0 {
                text.push('\n');
            }
            text.push(character);
        }
        text.push('\n');
        text.push_str(END);
        text
    }

    /// Proves that the holder of the envelope's key signed this message. Whether that key is trusted is for the caller to
    /// ask first.
    ///
    /// # Errors
    /// `Touch` or `Bad`.
    pub fn verify(&self, message: &[u8]) -> Result<(), SignatureError> {
        let mut data = signed_data(&self.namespace, self.hash, message);
        if let (Some(application), Some((flags, counter))) = (self.key.application(), self.touch) {
            if flags & PRESENT == 0 {
                return Err(SignatureError::Touch);
            }
            data = touched_data(application, flags, counter, &data);
        }
        match self.key.holds(&data, &self.signature) {
            true => Ok(()),
            false => Err(SignatureError::Bad),
        }
    }
}

/// The bytes that an ordinary key signs.
pub fn signed_data(namespace: &str, hash: Hash, message: &[u8]) -> Vec<u8> {
    let mut data = MAGIC.to_vec();
    for field in [namespace.as_bytes(), b"", hash.name().as_bytes(), hash.digest(message).as_slice()] {
        put_string(&mut data, field);
    }
    data
}

/// The bytes that a security key signs in their place (`PROTOCOL.u2f` of OpenSSH).
pub fn touched_data(application: &str, flags: u8, counter: u32, data: &[u8]) -> Vec<u8> {
    let mut touched = Sha256::digest(application.as_bytes()).to_vec();
    touched.push(flags);
    touched.extend_from_slice(&counter.to_be_bytes());
    touched.extend_from_slice(&Sha256::digest(data));
    touched
}

type Inner = ([u8; 64], Option<(u8, u32)>);

fn inner_signature(blob: &[u8], kind: &str) -> Result<Inner, SignatureError> {
    use SignatureError::Malformed;
    const CUT: SignatureError = Malformed("its signature ends too early");
    let mut wire = Wire::new(blob);
    if wire.string().ok_or(CUT)? != kind.as_bytes() {
        return Err(Malformed("its signature is of another type than its key"));
    }
    let signature: [u8; 64] = wire
        .string()
        .ok_or(CUT)?
        .try_into()
        .map_err(|_| Malformed("its signature does not have 64 bytes"))?;
    let touch = match kind {
        SK_ED25519 => Some((wire.byte().ok_or(CUT)?, wire.number().ok_or(CUT)?)),
        ED25519 => None,
        _ => return Err(Malformed("its signature is of an unknown type")),
    };
    match wire.is_empty() {
        true => Ok((signature, touch)),
        false => Err(Malformed("something follows its signature")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::key::ed25519_blob;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    fn signer(seed: u8) -> (SigningKey, PublicKey) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let key = PublicKey::from_blob(&ed25519_blob(&secret.verifying_key().to_bytes())).unwrap();
        (secret, key)
    }

    fn security_key(seed: u8) -> (SigningKey, PublicKey) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let mut blob = Vec::new();
        for field in [SK_ED25519.as_bytes(), &secret.verifying_key().to_bytes(), b"ssh:"] {
            put_string(&mut blob, field);
        }
        (secret, PublicKey::from_blob(&blob).unwrap())
    }

    fn sign(seed: u8, message: &[u8]) -> Envelope {
        let (secret, key) = signer(seed);
        let signature = secret.sign(&signed_data(GIT, Hash::Sha512, message));
        Envelope::new(key, GIT, Hash::Sha512, signature.to_bytes(), None)
    }

    #[test]
    fn a_signature_holds_for_its_message_only() {
        let envelope = sign(1, b"message");
        assert_eq!(Envelope::parse(envelope.armoured().as_bytes(), GIT), Ok(envelope.clone()));
        assert_eq!(envelope.verify(b"message"), Ok(()));
        assert_eq!(envelope.verify(b"other"), Err(SignatureError::Bad));
        let stranger = Envelope { key: signer(2).1, ..envelope };
        assert_eq!(stranger.verify(b"message"), Err(SignatureError::Bad));
    }

    #[test]
    fn a_security_key_must_have_been_touched() {
        let (secret, key) = security_key(3);
        for (flags, expected) in [
            (0x01, Ok(())),
            (0x05, Ok(())),
            (0x00, Err(SignatureError::Touch)),
            (0x04, Err(SignatureError::Touch)),
        ] {
            let data = touched_data("ssh:", flags, 7, &signed_data(GIT, Hash::Sha256, b"m"));
            let envelope = Envelope::new(
                key.clone(),
                GIT,
                Hash::Sha256,
                secret.sign(&data).to_bytes(),
                Some((flags, 7)),
            );
            let parsed = Envelope::parse(envelope.armoured().as_bytes(), GIT).unwrap();
            assert_eq!(parsed.verify(b"m"), expected, "flags {flags:#x}");
            let replayed = Envelope { touch: Some((flags | PRESENT, 8)), ..parsed };
            assert_eq!(replayed.verify(b"m"), Err(SignatureError::Bad));
        }
    }

    #[test]
    fn a_second_form_of_a_signature_is_refused() {
        let good = sign(1, b"m").armoured();
        let rewrapped = {
            let body: String = good.lines().filter(|line| !line.starts_with('-')).collect();
            format!("{BEGIN}{}\n{}\n{END}", &body[..60], &body[60..])
        };
        for (form, expected) in [
            (format!("{good}trailing\n"), "it does not end with its END line"),
            (good.replace('\n', "\r\n"), "it does not start with its BEGIN line"),
            (rewrapped, "it is not wrapped as ssh-keygen wraps it"),
            (good.replacen("-----\nU", "-----\n\nU", 1), "it is not wrapped as ssh-keygen wraps it"),
            (good.trim_end().to_owned(), "it does not end with its END line"),
            ("A".repeat(LONGEST + 1), "it is too long"),
        ] {
            assert_eq!(
                Envelope::parse(form.as_bytes(), GIT),
                Err(SignatureError::Malformed(expected)),
                "{form}"
            );
        }
        let file = Envelope { namespace: "file".into(), ..sign(1, b"m") };
        assert_eq!(
            Envelope::parse(file.armoured().as_bytes(), GIT),
            Err(SignatureError::Namespace("file".into(), GIT.into()))
        );
    }

    #[test]
    fn a_malleated_signature_is_refused() {
        // s + L: the same point for a verifier that does not reduce.
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut envelope = sign(1, b"m");
        let mut carry = 0;
        for (byte, order) in envelope.signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert_eq!(envelope.verify(b"m"), Err(SignatureError::Bad));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Envelope::from_blob(&bytes);
            let _ = Envelope::parse(&bytes, GIT);
        }

        #[test]
        fn what_is_accepted_has_one_form(position in 0usize..400, byte in any::<u8>()) {
            let mut text = sign(1, b"m").armoured().into_bytes();
            let position = position % text.len();
            text[position] = byte;
            if let Ok(envelope) = Envelope::parse(&text, GIT) {
                prop_assert_eq!(envelope.armoured().into_bytes(), text);
            }
        }
    }
}
