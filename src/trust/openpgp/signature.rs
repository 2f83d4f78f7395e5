//! One signature over a file, in the form in which GnuPG writes it.

use super::armour::{self, armour, dearmour};
use super::hash::Hash;
use super::key::{Fingerprint, OpenPgpKey, algorithm_name};
use super::packet::{self, put_number, take_length, take_number, take_short};
use crate::trust::sshsig::SignatureError;
use crate::trust::wire::Wire;

/// A signature by an RSA key of 8192 bits and a long user id has half of it.
const LONGEST: usize = 8192;
/// A fingerprint, a date and the user id of the signer: user ids are names and addresses.
const LONGEST_AREA: usize = 1024;
/// The signature is over the bytes of a file, not over text whose lines may be ended in several ways.
const OVER_A_FILE: u8 = 0x00;

const RSA: u8 = 1;
const EDDSA: u8 = 22;

/// Subpackets (RFC 4880, section 5.2.3.1).
const CREATED: u8 = 2;
const EXPIRES: u8 = 3;
const ISSUER: u8 = 16;
const NOTATION: u8 = 20;
const SIGNERS_USER_ID: u8 = 28;
const ISSUER_FINGERPRINT: u8 = 33;

/// The numbers of a signature, without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Numbers {
    Rsa(Vec<u8>),
    Ed25519(Vec<u8>, Vec<u8>),
}

/// A signature with what it says of itself. Nothing of it is proven before [`Signature::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key that it says it was made with.
    pub issuer: Fingerprint,
    /// How the message was hashed.
    pub hash: Hash,
    /// What is signed beside the message.
    hashed: Vec<u8>,
    /// The first two bytes of the digest.
    prefix: [u8; 2],
    numbers: Numbers,
}

impl Signature {
    /// Reads the armoured form.
    ///
    /// # Errors
    /// `Malformed` or `Algorithm`.
    pub fn parse(armoured: &[u8]) -> Result<Signature, SignatureError> {
        use SignatureError::Malformed;
        if armoured.len() > LONGEST {
            return Err(Malformed("it is too long"));
        }
        let text = std::str::from_utf8(armoured).map_err(|_| Malformed("it is not text"))?;
        let bytes = dearmour(armour::SIGNATURE, text).map_err(Malformed)?;
        let mut wire = Wire::new(&bytes);
        let packet = packet::take(&mut wire).ok_or(Malformed("it is not an OpenPGP packet"))?;
        if packet.newer {
            return Err(Malformed(
                "its packet is not written as GnuPG writes it (forges and other programs write another form)",
            ));
        }
        if packet.tag != packet::SIGNATURE || !wire.is_empty() {
            return Err(Malformed("it is not one signature and nothing else"));
        }
        let signature = Signature::from_packet(packet.body)?;
        match signature.armoured().as_bytes() == armoured {
            true => Ok(signature),
            false => Err(Malformed("it is not armoured as GnuPG does it, without comments")),
        }
    }

    fn from_packet(body: &[u8]) -> Result<Signature, SignatureError> {
        use SignatureError::Malformed;
        const CUT: SignatureError = Malformed("it ends too early");
        let mut wire = Wire::new(body);
        if wire.byte().ok_or(CUT)? != 4 {
            return Err(Malformed("its version is not 4"));
        }
        if wire.byte().ok_or(CUT)? != OVER_A_FILE {
            return Err(Malformed("it is not a signature over a file"));
        }
        let algorithm = wire.byte().ok_or(CUT)?;
        let hash = Hash::of(wire.byte().ok_or(CUT)?)?;
        let hashed = take_area(&mut wire)?;
        let issuer = issuer(hashed)?;
        if take_area(&mut wire)? != unhashed(&issuer) {
            return Err(Malformed(
                "beside what is signed it does not have the name of its key and nothing else",
            ));
        }
        let prefix = wire.bytes(2).and_then(|bytes| bytes.try_into().ok()).ok_or(CUT)?;
        let numbers = match algorithm {
            RSA => Numbers::Rsa(number(&mut wire)?),
            EDDSA => Numbers::Ed25519(number(&mut wire)?, number(&mut wire)?),
            other => {
                let name = algorithm_name(other);
                return Err(SignatureError::Algorithm(format!("its algorithm is {name}, not RSA or EdDSA")));
            }
        };
        match wire.is_empty() {
            true => Ok(Signature { issuer, hash, hashed: hashed.to_owned(), prefix, numbers }),
            false => Err(Malformed("something follows its numbers")),
        }
    }

    /// The one written form.
    pub fn armoured(&self) -> String {
        let mut body = self.head();
        let unhashed = unhashed(&self.issuer);
        put_area(&mut body, &unhashed);
        body.extend_from_slice(&self.prefix);
        match &self.numbers {
            Numbers::Rsa(number) => put_number(&mut body, number),
            Numbers::Ed25519(r, s) => {
                put_number(&mut body, r);
                put_number(&mut body, s);
            }
        }
        let mut bytes = Vec::new();
        packet::put(&mut bytes, packet::SIGNATURE, &body);
        armour(armour::SIGNATURE, &bytes)
    }

    /// What is signed beside the message.
    fn head(&self) -> Vec<u8> {
        let algorithm = match self.numbers {
            Numbers::Rsa(_) => RSA,
            Numbers::Ed25519(..) => EDDSA,
        };
        let mut head = vec![4, OVER_A_FILE, algorithm, self.hash.number()];
        put_area(&mut head, &self.hashed);
        head
    }

    /// The bytes whose digest is signed (RFC 4880, section 5.2.4).
    fn signed_data(&self, message: &[u8]) -> Vec<u8> {
        let head = self.head();
        let mut data = message.to_vec();
        data.extend_from_slice(&head);
        data.extend_from_slice(&[4, 0xff]);
        // The head is a few bytes and an area of bounded size.
        data.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
        data
    }

    /// Proves that the holder of this key signed this message. Whether the key is trusted is for the caller to ask first.
    ///
    /// # Errors
    /// `Bad`.
    pub fn verify(&self, key: &OpenPgpKey, message: &[u8]) -> Result<(), SignatureError> {
        use SignatureError::Bad;
        let data = self.signed_data(message);
        let digest = self.hash.digest(&data);
        // The prefix is not signed: another one would be another form of the signature.
        if self.issuer != key.fingerprint() || !digest.starts_with(&self.prefix) {
            return Err(Bad);
        }
        let signature = match &self.numbers {
            Numbers::Rsa(number) if key.is_rsa() => filled(number, key.material().len()),
            Numbers::Ed25519(r, s) if !key.is_rsa() => {
                filled(r, 32).zip(filled(s, 32)).map(|(r, s)| [r, s].concat())
            }
            _ => None,
        };
        match signature.is_some_and(|signature| key.holds(self.hash, &data, &signature)) {
            true => Ok(()),
            false => Err(Bad),
        }
    }
}

/// An area with subpackets, which a length of two bytes precedes.
fn take_area<'a>(wire: &mut Wire<'a>) -> Result<&'a [u8], SignatureError> {
    use SignatureError::Malformed;
    let length = take_short(wire).map(usize::from).ok_or(Malformed("it ends too early"))?;
    match length {
        0..=LONGEST_AREA => wire.bytes(length).ok_or(Malformed("it ends too early")),
        _ => Err(Malformed("it says too much about itself")),
    }
}

fn put_area(out: &mut Vec<u8>, area: &[u8]) {
    // Areas are read with a length of 16 bits and are shorter still.
    out.extend_from_slice(&u16::try_from(area.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(area);
}

/// The only thing that stands beside what is signed: the key's short name, which is the end of its long one. Anybody could put
/// something else there, so anything else would be a second form of the signature.
fn unhashed(issuer: &Fingerprint) -> Vec<u8> {
    [&[9, ISSUER], issuer.key_id()].concat()
}

/// Reads what is signed beside the message: the key's name and a date, once each, and perhaps the signer's user id, which GnuPG adds
/// when the key was chosen by its address. None but the name means anything to abide.
fn issuer(mut area: &[u8]) -> Result<Fingerprint, SignatureError> {
    use SignatureError::Malformed;
    const DAMAGED: SignatureError = Malformed("what it says about itself is damaged");
    let (mut issuer, mut created, mut user_id) = (None, None, None);
    while !area.is_empty() {
        let mut wire = Wire::new(area);
        let length = take_length(&mut wire).ok_or(DAMAGED)?;
        let (kind, value) = wire.bytes(length).and_then(<[u8]>::split_first).ok_or(DAMAGED)?;
        let earlier = match *kind {
            ISSUER_FINGERPRINT => {
                let name = value.split_first().filter(|(version, _)| **version == 4).ok_or(DAMAGED)?.1;
                issuer.replace(name.try_into().map(Fingerprint).map_err(|_| DAMAGED)?).is_some()
            }
            CREATED if value.len() == 4 => created.replace(()).is_some(),
            SIGNERS_USER_ID => user_id.replace(()).is_some(),
            EXPIRES => return Err(Malformed("it has an expiry of its own")),
            NOTATION => return Err(Malformed("it carries a notation")),
            _ => {
                return Err(Malformed(
                    "it says something about itself that GnuPG does not say of its own accord",
                ));
            }
        };
        if earlier {
            return Err(Malformed("it says something twice about itself"));
        }
        area = wire.rest();
    }
    created.ok_or(Malformed("it has no date"))?;
    issuer.ok_or(Malformed("it does not name its key by its fingerprint"))
}

fn number(wire: &mut Wire<'_>) -> Result<Vec<u8>, SignatureError> {
    let number = take_number(wire).map(<[u8]>::to_owned);
    number.ok_or(SignatureError::Malformed("one of its numbers is not written canonically"))
}

/// A number with zeros in front, so that it has this length.
fn filled(number: &[u8], length: usize) -> Option<Vec<u8>> {
    let zeros = length.checked_sub(number.len())?;
    Some([&vec![0; zeros], number].concat())
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::ed25519;
    use super::*;
    use ed25519_dalek::Signer;
    use proptest::prelude::*;

    fn subpacket(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[u8::try_from(value.len() + 1).unwrap(), kind], value].concat()
    }

    /// What GnuPG says in a signature by this key.
    fn usual(key: &OpenPgpKey) -> Vec<u8> {
        let name = [&[4], key.fingerprint().0.as_slice()].concat();
        [subpacket(ISSUER_FINGERPRINT, &name), subpacket(CREATED, &[0, 0, 0, 9])].concat()
    }

    fn stripped(number: &[u8]) -> Vec<u8> {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].to_vec()
    }

    /// A signature as GnuPG would make it, with this said about it.
    fn sign_with(seed: u8, hash: Hash, hashed: Vec<u8>, message: &[u8]) -> Signature {
        let (secret, key) = ed25519(seed);
        let numbers = Numbers::Ed25519(Vec::new(), Vec::new());
        let mut signature = Signature { issuer: key.fingerprint(), hash, hashed, prefix: [0; 2], numbers };
        let digest = hash.digest(&signature.signed_data(message));
        let bytes = secret.sign(&digest).to_bytes();
        signature.prefix = [digest[0], digest[1]];
        signature.numbers = Numbers::Ed25519(stripped(&bytes[..32]), stripped(&bytes[32..]));
        signature
    }

    fn sign(seed: u8, message: &[u8]) -> Signature {
        sign_with(seed, Hash::Sha256, usual(&ed25519(seed).1), message)
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let key = ed25519(1).1;
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let signature = sign_with(1, hash, usual(&key), b"message");
            assert_eq!(Signature::parse(signature.armoured().as_bytes()), Ok(signature.clone()));
            assert_eq!(signature.verify(&key, b"message"), Ok(()));
            assert_eq!(signature.verify(&key, b"other"), Err(SignatureError::Bad));
            let stranger = ed25519(2).1;
            assert_eq!(signature.verify(&stranger, b"message"), Err(SignatureError::Bad));
            let renamed = Signature { issuer: stranger.fingerprint(), ..signature.clone() };
            assert_eq!(renamed.verify(&stranger, b"message"), Err(SignatureError::Bad));
            let prefixed = Signature { prefix: [signature.prefix[0], !signature.prefix[1]], ..signature };
            assert_eq!(prefixed.verify(&key, b"message"), Err(SignatureError::Bad));
        }
    }

    #[test]
    fn numbers_with_leading_zeros_are_written_short() {
        let key = ed25519(1).1;
        let mut short = 0;
        for count in 0u32..600 {
            let message = count.to_be_bytes();
            let signature = sign(1, &message);
            let Numbers::Ed25519(r, s) = &signature.numbers else { unreachable!() };
            short += usize::from(r.len() < 32 || s.len() < 32);
            assert_eq!(Signature::parse(signature.armoured().as_bytes()), Ok(signature.clone()));
            assert_eq!(signature.verify(&key, &message), Ok(()));
        }
        assert!(short > 0);
    }

    #[test]
    fn what_it_may_say_about_itself_is_bounded() {
        let key = ed25519(1).1;
        let usual = usual(&key);
        let name = [&[4], key.fingerprint().0.as_slice()].concat();
        let with = |kind: u8, value: &[u8]| [usual.clone(), subpacket(kind, value)].concat();
        for (hashed, expected) in [
            (usual.clone(), None),
            (with(SIGNERS_USER_ID, b"alice@example.org"), None),
            ([&usual[23..], &usual[..23]].concat(), None),
            (with(EXPIRES, &[0, 0, 0, 9]), Some("it has an expiry of its own")),
            (with(NOTATION, &[0; 20]), Some("it carries a notation")),
            (with(CREATED, &[0; 4]), Some("it says something twice about itself")),
            (with(ISSUER_FINGERPRINT, &name), Some("it says something twice about itself")),
            (with(26, b"https://example.org"), Some("it says something about itself that GnuPG")),
            (with(0x80 | SIGNERS_USER_ID, b"x"), Some("it says something about itself that GnuPG")),
            (with(CREATED, &[0; 5]), Some("it says something about itself that GnuPG")),
            ([usual.clone(), vec![9, 16]].concat(), Some("what it says about itself is damaged")),
            ([usual.clone(), vec![0]].concat(), Some("what it says about itself is damaged")),
            (usual[23..].to_vec(), Some("it does not name its key")),
            (usual[..23].to_vec(), Some("it has no date")),
            (subpacket(ISSUER_FINGERPRINT, &name[..20]), Some("what it says about itself is damaged")),
            ([usual.clone(), vec![0xc0; LONGEST_AREA]].concat(), Some("it says too much")),
        ] {
            let signature = sign_with(1, Hash::Sha256, hashed, b"m");
            let parsed = Signature::parse(signature.armoured().as_bytes());
            match expected {
                None => assert_eq!(parsed.unwrap().verify(&key, b"m"), Ok(())),
                Some(expected) => {
                    let error = parsed.unwrap_err().to_string();
                    assert!(error.contains(expected), "{expected}: {error}");
                }
            }
        }
    }

    /// The packet of a good signature, changed, and in its armour again.
    fn changed(change: impl Fn(&mut Vec<u8>)) -> String {
        let mut bytes = dearmour(armour::SIGNATURE, &sign(1, b"m").armoured()).unwrap();
        change(&mut bytes);
        armour(armour::SIGNATURE, &bytes)
    }

    #[test]
    fn a_second_form_of_a_signature_is_refused() {
        let good = sign(1, b"m").armoured();
        // The packet: two bytes of header, six up to the hashed area, its 29 bytes, then the unhashed area.
        const UNHASHED: usize = 2 + 6 + 29;
        let newer = changed(|bytes| bytes[0] = 0xc0 | packet::SIGNATURE);
        let long_length = changed(|bytes| {
            bytes[0] |= 1;
            bytes.insert(1, 0);
        });
        for (form, expected) in [
            (good.replacen("\n\n", "\nComment: x\n\n", 1), "not armoured as GnuPG does it"),
            (good.replacen("\n\n", "\nVersion: GnuPG v2\n\n", 1), "not armoured as GnuPG does it"),
            (good.replace('\n', "\r\n"), "not armoured as GnuPG does it"),
            (good.replacen("\n\n", "\n \n", 1), "not armoured as GnuPG does it"),
            (format!("{good}\n"), "not armoured as GnuPG does it"),
            (format!("{good}more\n"), "it does not end with its END line"),
            (good.trim_end().to_owned(), "not armoured as GnuPG does it"),
            (
                good.lines().filter(|line| !line.starts_with('=')).map(|line| format!("{line}\n")).collect(),
                "not armoured as",
            ),
            (good.replace("SIGNATURE", "MESSAGE"), "it does not start with its BEGIN line"),
            ("A".repeat(LONGEST + 1), "it is too long"),
            (newer, "its packet is not written as GnuPG writes it"),
            (long_length, "not armoured as GnuPG does it"),
            (changed(|bytes| bytes[0] = 0x80 | packet::PUBLIC_KEY << 2), "it is not one signature"),
            (changed(|bytes| bytes.extend_from_within(..)), "it is not one signature"),
            (changed(|bytes| bytes[2] = 3), "its version is not 4"),
            (changed(|bytes| bytes[3] = 1), "it is not a signature over a file"),
            (changed(|bytes| bytes[4] = 17), "its algorithm is DSA"),
            (changed(|bytes| bytes[5] = 2), "its hash is SHA-1"),
            (changed(|bytes| bytes[UNHASHED + 11] ^= 1), "beside what is signed"),
            (
                changed(|bytes| {
                    bytes[1] -= 10;
                    bytes.splice(UNHASHED..UNHASHED + 12, [0, 0]);
                }),
                "beside what is signed",
            ),
            (
                changed(|bytes| {
                    bytes[1] += 6;
                    bytes[UNHASHED + 1] += 6;
                    bytes.splice(UNHASHED + 12..UNHASHED + 12, [5, CREATED, 0, 0, 0, 9]);
                }),
                "beside what is signed",
            ),
            (changed(|bytes| bytes[UNHASHED + 15] ^= 1), "not written canonically"),
            (
                changed(|bytes| {
                    bytes[1] += 1;
                    bytes.push(0);
                }),
                "something follows its numbers",
            ),
        ] {
            let error = Signature::parse(form.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}\n{form}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Signature::from_packet(&bytes);
            let _ = Signature::parse(&bytes);
            let _ = Signature::parse(armour(armour::SIGNATURE, &bytes).as_bytes());
        }

        #[test]
        fn what_is_accepted_has_one_form(position in 0usize..400, byte in any::<u8>(), inside in any::<bool>()) {
            let text = if inside {
                changed(|bytes| {
                    let position = position % bytes.len();
                    bytes[position] = byte;
                })
                .into_bytes()
            } else {
                let mut text = sign(1, b"m").armoured().into_bytes();
                let position = position % text.len();
                text[position] = byte;
                text
            };
            if let Ok(signature) = Signature::parse(&text) {
                let same = text == sign(1, b"m").armoured().into_bytes();
                prop_assert_eq!(signature.armoured().into_bytes(), text);
                // And whatever is written differently does not hold.
                prop_assert_eq!(signature.verify(&ed25519(1).1, b"m").is_ok(), same);
            }
        }
    }
}
