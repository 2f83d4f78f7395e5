#![no_main]
//! An OpenPGP signature that is accepted has exactly one written form; keys and exports of GnuPG never surprise.

use abide::trust::openpgp::{OpenPgpKey, Signature, exported};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(signature) = Signature::parse(bytes) {
        assert_eq!(signature.armoured().as_bytes(), bytes);
    }
    if let Ok(key) = OpenPgpKey::from_packet(bytes) {
        assert_eq!(OpenPgpKey::parse(&key.to_string()), Ok(key));
    }
    if let Ok(key) = exported(bytes, None) {
        assert_eq!(exported(bytes, Some(key.fingerprint())), Ok(key));
    }
});
