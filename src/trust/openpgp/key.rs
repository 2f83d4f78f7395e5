//! Public keys of OpenPGP that may sign: Ed25519 as GnuPG has it, and RSA from 3072 bits.
//!
//! **Invariant:** two keys are equal exactly when their packets are, byte for byte; a weak or small key is never an [`OpenPgpKey`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_3072_8192_SHA384,
    RsaPublicKeyComponents,
};

use super::hash::Hash;
use super::packet::{bit_length, put_number, take_number};
use crate::trust::wire::Wire;

/// RSA keys have at least so many bits; GnuPG's default since 2021.
pub const SMALLEST_RSA: usize = 3072;
/// `ring` verifies no larger ones, and GnuPG makes none above 4096 unless told twice.
const LARGEST_RSA: usize = 8192;
/// What every RSA key that GnuPG makes has for an exponent.
const EXPONENT: &[u8] = &[1, 0, 1];

const RSA: u8 = 1;
/// EdDSA as GnuPG has it, with the curve named beside the point.
const EDDSA: u8 = 22;
/// The curve Ed25519 in that form: 1.3.6.1.4.1.11591.15.1.
const ED25519: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
/// Stands in front of a point in its native form.
const NATIVE: u8 = 0x40;

/// The name of a key: SHA-1 over it. It only finds a key; the key itself stands in the policy and is what is used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 20]);

/// A key that may be trusted.
#[derive(Debug, Clone)]
pub struct OpenPgpKey {
    body: Vec<u8>,
    fingerprint: Fingerprint,
    material: Material,
}

/// What a key computes with.
#[derive(Debug, Clone)]
enum Material {
    /// The modulus; the exponent is always the same.
    Rsa(Vec<u8>),
    /// The point.
    Ed25519(VerifyingKey),
}

impl PartialEq for OpenPgpKey {
    fn eq(&self, other: &OpenPgpKey) -> bool {
        self.body == other.body
    }
}

impl Eq for OpenPgpKey {}

/// A key that is none of those.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another algorithm.
    #[error("OpenPGP keys of type {0} are not accepted, only Ed25519 and RSA from {SMALLEST_RSA} bits")]
    Kind(String),
    /// RSA, but too small or too large.
    #[error("an RSA key of {0} bits is not accepted, it must have between {SMALLEST_RSA} and {LARGEST_RSA}")]
    Size(usize),
    /// It cannot be read.
    #[error("not an OpenPGP public key: {0}")]
    Malformed(&'static str),
}

impl OpenPgpKey {
    /// Reads the form that stands in a policy: the body of the key's packet in base64.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse(text: &str) -> Result<OpenPgpKey, KeyError> {
        let body = STANDARD.decode(text).map_err(|_| KeyError::Malformed("its base64 is damaged"))?;
        OpenPgpKey::from_packet(&body)
    }

    /// Reads the body of a packet with a public key or subkey.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_packet(body: &[u8]) -> Result<OpenPgpKey, KeyError> {
        const CUT: KeyError = KeyError::Malformed("it ends too early");
        let mut wire = Wire::new(body);
        if wire.byte().ok_or(CUT)? != 4 {
            return Err(KeyError::Malformed("its version is not 4"));
        }
        // The date of its making is part of its name and means nothing here.
        wire.number().ok_or(CUT)?;
        let material = match wire.byte().ok_or(CUT)? {
            RSA => rsa(&mut wire)?,
            EDDSA => eddsa(&mut wire)?,
            other => return Err(KeyError::Kind(algorithm_name(other))),
        };
        if !wire.is_empty() {
            return Err(KeyError::Malformed("something follows it"));
        }
        Ok(OpenPgpKey { body: body.to_owned(), fingerprint: Fingerprint::of(body)?, material })
    }

    /// Its name, as GnuPG shows it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What identifies the private key behind it, however it is dressed up: an Ed25519 point or an RSA modulus.
    pub fn material(&self) -> &[u8] {
        match &self.material {
            Material::Rsa(modulus) => modulus,
            Material::Ed25519(point) => point.as_bytes(),
        }
    }

    /// For people: `Ed25519` or `RSA 4096`.
    pub fn kind(&self) -> String {
        match &self.material {
            Material::Rsa(modulus) => format!("RSA {}", bit_length(modulus)),
            Material::Ed25519(_) => "Ed25519".into(),
        }
    }

    pub(super) fn is_rsa(&self) -> bool {
        matches!(self.material, Material::Rsa(_))
    }

    /// Whether the holder of this key signed these bytes: PKCS#1 v1.5 over the data, with a signature as long as the modulus, or
    /// Ed25519 over the data's digest, which is how OpenPGP uses it, strictly.
    pub fn holds(&self, hash: Hash, data: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa(modulus) => {
                let parameters = match hash {
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &RSA_PKCS1_3072_8192_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                };
                let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: EXPONENT };
                key.verify(parameters, data, signature).is_ok()
            }
            Material::Ed25519(point) => Signature::from_slice(signature)
                .is_ok_and(|signature| point.verify_strict(&hash.digest(data), &signature).is_ok()),
        }
    }
}

impl std::fmt::Display for OpenPgpKey {
    /// The form that stands in a policy.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(&self.body))
    }
}

fn rsa(wire: &mut Wire<'_>) -> Result<Material, KeyError> {
    const NUMBER: KeyError = KeyError::Malformed("one of its numbers is not written canonically");
    let modulus = take_number(wire).ok_or(NUMBER)?;
    if take_number(wire).ok_or(NUMBER)? != EXPONENT {
        return Err(KeyError::Malformed("its exponent is not 65537"));
    }
    match bit_length(modulus) {
        SMALLEST_RSA..=LARGEST_RSA if modulus.last().is_some_and(|last| last & 1 == 1) => {
            Ok(Material::Rsa(modulus.to_owned()))
        }
        SMALLEST_RSA..=LARGEST_RSA => Err(KeyError::Malformed("its modulus is even")),
        bits => Err(KeyError::Size(bits)),
    }
}

fn eddsa(wire: &mut Wire<'_>) -> Result<Material, KeyError> {
    const POINT: KeyError = KeyError::Malformed("its point is not a usable one");
    let length = wire.byte().ok_or(POINT)?;
    let curve = wire.bytes(usize::from(length)).ok_or(POINT)?;
    if curve != ED25519 {
        return Err(KeyError::Kind("EdDSA over another curve".into()));
    }
    let (prefix, point) = take_number(wire).and_then(<[u8]>::split_first).ok_or(POINT)?;
    let point: &[u8; 32] = point.try_into().ok().filter(|_| *prefix == NATIVE).ok_or(POINT)?;
    let point = VerifyingKey::from_bytes(point).ok().filter(|point| !point.is_weak()).ok_or(POINT)?;
    Ok(Material::Ed25519(point))
}

/// The name of a public-key algorithm (RFC 4880, section 9.1, and later ones).
pub(super) fn algorithm_name(number: u8) -> String {
    match number {
        1 => "RSA".into(),
        16 => "Elgamal".into(),
        17 => "DSA".into(),
        18 => "ECDH".into(),
        19 => "ECDSA".into(),
        22 => "EdDSA".into(),
        27 => "Ed25519 in the form of RFC 9580, which GnuPG does not have".into(),
        other => format!("{other}"),
    }
}

impl Fingerprint {
    /// The name of a key of version 4 (RFC 4880, section 12.2).
    fn of(body: &[u8]) -> Result<Fingerprint, KeyError> {
        const NO_NAME: KeyError = KeyError::Malformed("it has no fingerprint");
        let length = u16::try_from(body.len()).map_err(|_| NO_NAME)?;
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&[0x99]);
        hasher.update(&length.to_be_bytes());
        hasher.update(body);
        let digest = hasher.try_finalize().map_err(|_| NO_NAME)?;
        digest.as_slice().try_into().map(Fingerprint).map_err(|_| NO_NAME)
    }

    /// Reads 40 hexadecimal digits, with or without GnuPG's spaces between them and `OpenPGP:` in front.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        let text = text.strip_prefix("OpenPGP:").unwrap_or(text);
        let digit = |character: char| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits: Vec<u8> =
            text.chars().filter(|character| *character != ' ').map(digit).collect::<Option<_>>()?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        bytes.try_into().ok().filter(|_| digits.len() == 40).map(Fingerprint)
    }

    /// As it stands in reports, where SSH's names begin with `SHA256:`.
    pub fn shown(&self) -> String {
        format!("OpenPGP:{self}")
    }

    /// The short name that signatures carry beside it: its last eight bytes.
    pub(super) fn key_id(&self) -> &[u8] {
        &self.0[12..]
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// The packet of an Ed25519 key, for tests and tools that make keys.
pub fn ed25519_packet(made: u32, point: &[u8; 32]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend_from_slice(&made.to_be_bytes());
    body.push(EDDSA);
    body.push(9);
    body.extend_from_slice(ED25519);
    put_number(&mut body, &[&[NATIVE], point.as_slice()].concat());
    body
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    /// The packet of an RSA key with this modulus and exponent.
    pub fn rsa_packet(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let mut body = vec![4, 0, 0, 0, 9, RSA];
        put_number(&mut body, modulus);
        put_number(&mut body, exponent);
        body
    }

    pub fn ed25519(seed: u8) -> (SigningKey, OpenPgpKey) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let body = ed25519_packet(9, &secret.verifying_key().to_bytes());
        (secret, OpenPgpKey::from_packet(&body).unwrap())
    }

    fn modulus(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0xff; bits / 8];
        modulus[0] = 0x80;
        modulus
    }

    #[test]
    fn a_key_is_written_as_it_was_read() {
        let (_, key) = ed25519(1);
        assert_eq!(OpenPgpKey::parse(&key.to_string()), Ok(key.clone()));
        assert_eq!(key.kind(), "Ed25519");
        let name = key.fingerprint().to_string();
        assert_eq!(Fingerprint::parse(&name), Some(key.fingerprint()));
        for same in [name.to_lowercase(), key.fingerprint().shown(), format!("{} {}", &name[..4], &name[4..])]
        {
            assert_eq!(Fingerprint::parse(&same), Some(key.fingerprint()), "{same}");
        }
        for other in [format!("{name}0"), name[1..].to_owned(), format!("0x{name}"), String::new()] {
            assert_eq!(Fingerprint::parse(&other), None, "{other}");
        }
        let key = OpenPgpKey::from_packet(&rsa_packet(&modulus(3072), EXPONENT)).unwrap();
        assert_eq!((key.kind().as_str(), key.material().len()), ("RSA 3072", 384));
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_reason() {
        let good = ed25519_packet(9, &SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
        let weak = ed25519_packet(9, &{
            let mut point = [0; 32];
            point[0] = 1;
            point
        });
        let with = |at: usize, byte: u8| {
            let mut body = good.clone();
            body[at] = byte;
            body
        };
        let mut padded = rsa_packet(&modulus(3072), EXPONENT);
        padded[7] += 1;
        padded.insert(8, 0);
        let even = [&modulus(3072)[..383], &[0xfe]].concat();
        for (body, expected) in [
            (vec![], "it ends too early"),
            (with(0, 3), "its version is not 4"),
            (with(0, 6), "its version is not 4"),
            (with(5, 17), "keys of type DSA are not accepted"),
            (with(5, 18), "keys of type ECDH"),
            (with(5, 19), "keys of type ECDSA"),
            (with(5, 27), "in the form of RFC 9580"),
            (with(15, 2), "another curve"),
            (with(18, 0x41), "its point is not a usable one"),
            (with(17, 8), "its point is not a usable one"),
            (weak, "its point is not a usable one"),
            ([good.clone(), vec![0]].concat(), "something follows it"),
            (rsa_packet(&modulus(2048), EXPONENT), "an RSA key of 2048 bits"),
            (rsa_packet(&modulus(3064), EXPONENT), "an RSA key of 3064 bits"),
            (rsa_packet(&modulus(16384), EXPONENT), "an RSA key of 16384 bits"),
            (rsa_packet(&modulus(3072), &[3]), "its exponent is not 65537"),
            (rsa_packet(&even, EXPONENT), "its modulus is even"),
            (padded, "not written canonically"),
        ] {
            let error = OpenPgpKey::from_packet(&body).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert_eq!(OpenPgpKey::parse("mDM="), Err(KeyError::Malformed("its version is not 4")));
        assert_eq!(OpenPgpKey::parse("mDM"), Err(KeyError::Malformed("its base64 is damaged")));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), position in 0usize..60, byte in any::<u8>()) {
            let _ = OpenPgpKey::from_packet(&bytes);
            let mut damaged = ed25519_packet(9, &SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
            let position = position % damaged.len();
            damaged[position] = byte;
            if let Ok(key) = OpenPgpKey::from_packet(&damaged) {
                prop_assert_eq!(STANDARD.decode(key.to_string()).unwrap(), damaged);
            }
        }
    }
}
