//! The cases of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020), on which verifiers of Ed25519 disagree, made anew
//! with the curve's own arithmetic: points of small order, mixed order, encodings that are not canonical, scalars that are not reduced.

use abide::trust::key::{KeyError, PublicKey, ed25519_blob};
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT as BASE, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest, Sha512};

/// The order of the base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
/// The identity, written with y = p + 1 in the place of 1.
const LONG_IDENTITY: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xee;
    bytes[31] = 0x7f;
    bytes
};

fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    let digest: [u8; 64] =
        Sha512::new().chain_update(r).chain_update(a).chain_update(message).finalize().into();
    Scalar::from_bytes_mod_order_wide(&digest)
}

fn joined(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    signature
}

/// What a verifier without cofactor computes: S·B = R + h·A, as encodings.
fn without_cofactor(a: EdwardsPoint, signature: &[u8; 64], message: &[u8]) -> bool {
    let (r, s): ([u8; 32], [u8; 32]) =
        (signature[..32].try_into().unwrap(), signature[32..].try_into().unwrap());
    let h = challenge(&r, &a.compress().to_bytes(), message);
    (BASE * Scalar::from_bytes_mod_order(s) - a * h).compress().to_bytes() == r
}

/// What a verifier with cofactor computes: 8·S·B = 8·R + 8·h·A.
fn with_cofactor(a: EdwardsPoint, r: EdwardsPoint, signature: &[u8; 64], message: &[u8]) -> bool {
    let bytes: [u8; 32] = signature[..32].try_into().unwrap();
    let s = Scalar::from_bytes_mod_order(signature[32..].try_into().unwrap());
    let h = challenge(&bytes, &a.compress().to_bytes(), message);
    (BASE * s - a * h - r).mul_by_cofactor() == EdwardsPoint::default()
}

/// A key with a secret and, perhaps, a part of small order.
struct Signer {
    secret: Scalar,
    point: EdwardsPoint,
}

impl Signer {
    fn new(torsion: EdwardsPoint) -> Signer {
        let secret = Scalar::from(0x1234_5678_9abc_def0_u64);
        Signer { secret, point: BASE * secret + torsion }
    }

    fn key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_blob(&ed25519_blob(&self.point.compress().to_bytes()))
    }

    /// R = r·B + torsion, S = r + h·a.
    fn sign(&self, nonce: u64, torsion: EdwardsPoint, message: &[u8]) -> (EdwardsPoint, [u8; 64]) {
        let r = Scalar::from(nonce);
        let point = BASE * r + torsion;
        let bytes = point.compress().to_bytes();
        let s = r + challenge(&bytes, &self.point.compress().to_bytes(), message) * self.secret;
        (point, joined(bytes, s.to_bytes()))
    }
}

/// Messages, until one of them makes this true.
fn search<T>(mut attempt: impl FnMut(&[u8]) -> Option<T>) -> T {
    (0u32..10_000).find_map(|count| attempt(&count.to_be_bytes())).unwrap()
}

#[test]
fn keys_of_small_order_are_none() {
    // Cases 0 and 1, 10 and 11: with such a key, one signature holds for many messages.
    for torsion in EIGHT_TORSION {
        let blob = ed25519_blob(&torsion.compress().to_bytes());
        assert!(matches!(PublicKey::from_blob(&blob), Err(KeyError::Malformed { .. })));
    }
    assert!(PublicKey::from_blob(&ed25519_blob(&LONG_IDENTITY)).is_err());
}

#[test]
fn a_commitment_of_small_order_is_refused() {
    // Case 2: R has small order, S = h·a, and the equation holds.
    for key in [EdwardsPoint::default(), EIGHT_TORSION[1]] {
        let signer = Signer::new(key);
        for torsion in EIGHT_TORSION {
            let r = torsion.compress().to_bytes();
            let (message, signature) = search(|message| {
                let h = challenge(&r, &signer.point.compress().to_bytes(), message);
                let signature = joined(r, (h * signer.secret).to_bytes());
                with_cofactor(signer.point, torsion, &signature, message)
                    .then(|| (message.to_owned(), signature))
            });
            assert!(!signer.key().unwrap().holds(&message, &signature));
        }
        // Cases 8 and 9: the same with an encoding that is not canonical.
        let h = challenge(&LONG_IDENTITY, &signer.point.compress().to_bytes(), b"m");
        let signature = joined(LONG_IDENTITY, (h * signer.secret).to_bytes());
        assert!(with_cofactor(signer.point, EdwardsPoint::default(), &signature, b"m"));
        assert!(!signer.key().unwrap().holds(b"m", &signature));
    }
}

#[test]
fn what_holds_only_with_the_cofactor_is_refused() {
    // Case 4: both mixed; case 5: only the key.
    let signer = Signer::new(EIGHT_TORSION[1]);
    for torsion in [EIGHT_TORSION[3], EdwardsPoint::default()] {
        let (message, signature) = search(|message| {
            let (r, signature) = signer.sign(99, torsion, message);
            assert!(with_cofactor(signer.point, r, &signature, message));
            (!without_cofactor(signer.point, &signature, message)).then(|| (message.to_owned(), signature))
        });
        assert!(!signer.key().unwrap().holds(&message, &signature));
    }
}

#[test]
fn a_mixed_key_whose_equation_holds_is_accepted() {
    // Case 3: all verifiers agree, and only the key's holder can have made it.
    let signer = Signer::new(EIGHT_TORSION[1]);
    let (message, signature) = search(|message| {
        let (_, signature) = signer.sign(99, EIGHT_TORSION[3], message);
        without_cofactor(signer.point, &signature, message).then(|| (message.to_owned(), signature))
    });
    assert!(signer.key().unwrap().holds(&message, &signature));
    // An honest key, for comparison.
    let signer = Signer::new(EdwardsPoint::default());
    let (_, signature) = signer.sign(99, EdwardsPoint::default(), b"m");
    assert!(signer.key().unwrap().holds(b"m", &signature));
}

/// Attack 19: anybody can add the order to the scalar of a signature.
#[test]
fn a_scalar_that_is_not_reduced_is_refused() {
    // Cases 6 and 7: S + L, S + 2·L, ... as long as it fits.
    let signer = Signer::new(EdwardsPoint::default());
    let (_, signature) = signer.sign(99, EdwardsPoint::default(), b"m");
    let mut s: [u8; 32] = signature[32..].try_into().unwrap();
    for times in 1..=14 {
        let mut carry = 0u16;
        for (byte, order) in s.iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        let forged = joined(signature[..32].try_into().unwrap(), s);
        assert_eq!(carry, 0);
        assert!(without_cofactor(signer.point, &forged, b"m"), "{times}");
        assert!(!signer.key().unwrap().holds(b"m", &forged), "{times}");
    }
}
