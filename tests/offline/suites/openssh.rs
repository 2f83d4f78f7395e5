//! OpenSSH's own test data of `sshsig`, which Debian packages in `openssh-tests`: a key and a signature of each type.

use std::fs;
use std::path::Path;

use super::{closed, opened};
use abide::trust::key::{KeyError, PublicKey};
use abide::trust::sshsig::{Envelope, SignatureError};

const DATA: &str = "/usr/lib/openssh/regress/unittests/sshsig/testdata";

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(DATA).join(name);
    fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `tests/install-tools` installs openssh-tests", path.display())
    })
}

#[test]
fn each_type_of_key_has_its_verdict() {
    let namespace = String::from_utf8(read("namespace")).unwrap();
    let message = read("signed-data");
    let mut names: Vec<String> = fs::read_dir(DATA)
        .unwrap_or_else(|error| panic!("{DATA}: {error}; `tests/install-tools` installs openssh-tests"))
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".sig")?.to_owned()))
        .collect();
    names.sort();
    for needed in ["ecdsa", "ecdsa_sk", "ecdsa_sk_webauthn", "ed25519", "ed25519_sk", "rsa"] {
        assert!(names.iter().any(|name| name == needed), "{needed} is not in {names:?}");
    }
    for name in names {
        let (public, signature) = (read(&format!("{name}.pub")), read(&format!("{name}.sig")));
        let key = PublicKey::parse(std::str::from_utf8(&public).unwrap());
        let envelope = Envelope::parse(&signature, &namespace);
        if !["ed25519", "ed25519_sk"].contains(&name.as_str()) {
            // In a commit: E014.
            assert!(
                matches!(envelope, Err(SignatureError::Key(KeyError::Kind { .. }))),
                "{name}: {envelope:?}"
            );
            assert!(
                matches!(key, Err(KeyError::Kind { .. }) | Err(KeyError::Malformed { .. })),
                "{name}: {key:?}"
            );
            continue;
        }
        let envelope = envelope.unwrap();
        assert_eq!(envelope.key, key.unwrap(), "{name}");
        assert_eq!(envelope.armoured().into_bytes(), signature, "{name}");
        assert_eq!(envelope.verify(&message), Ok(()), "{name}");
        // And not otherwise: each byte of the message and the namespace counts.
        for position in 0..message.len() {
            let mut other = message.clone();
            other[position] ^= 1;
            assert_eq!(envelope.verify(&other), Err(SignatureError::Bad), "{name}");
        }
        for other in ["unittes", "unittest1", "UNITTEST", "git", "file", ""] {
            let parsed = Envelope::parse(&signature, other);
            assert!(matches!(parsed, Err(SignatureError::Namespace(..))), "{name}: {parsed:?}");
        }
    }
}

/// Attack 21: a security key that signed without being touched. The flags lie inside of what is signed, so that taking the
/// touch out of a real signature breaks it as well.
#[test]
fn the_flags_of_a_real_security_key_cannot_be_changed() {
    let namespace = String::from_utf8(read("namespace")).unwrap();
    let real = String::from_utf8(read("ed25519_sk.sig")).unwrap();
    let message = read("signed-data");
    let blob = opened(&real);
    // Flags and counter are its last five bytes.
    let at = blob.len() - 5;
    assert_eq!((closed(&blob).as_str(), blob[at] & 1), (real.as_str(), 1));
    for flags in 0..=255u8 {
        let mut forged = blob.clone();
        forged[at] = flags;
        let expected = match flags {
            same if same == blob[at] => Ok(()),
            untouched if untouched & 1 == 0 => Err(SignatureError::Touch),
            _ => Err(SignatureError::Bad),
        };
        let envelope = Envelope::parse(closed(&forged).as_bytes(), &namespace).unwrap();
        assert_eq!(envelope.verify(&message), expected, "{flags:#x}");
    }
}
