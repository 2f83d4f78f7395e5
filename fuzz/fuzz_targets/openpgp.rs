#![no_main]
//! An OpenPGP signature that is accepted has exactly one written form, and none is valid by chance; a key is what it is written as.

use abide::trust::openpgp::{OpenPgpKey, Signature, ed25519_packet, exported};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(signature) = Signature::parse(bytes) {
        assert_eq!(signature.armoured().as_bytes(), bytes);
        let point = [[0x58].as_slice(), &[0x66; 31]].concat().try_into().unwrap();
        let key = OpenPgpKey::from_packet(&ed25519_packet(0, &point)).unwrap();
        assert!(signature.verify(&key, b"abide fuzzes signatures").is_err());
    }
    if let Ok(key) = exported(bytes, None) {
        assert_eq!(exported(bytes, Some(key.fingerprint())), Ok(key));
    }
    if let Ok(key) = OpenPgpKey::from_packet(bytes) {
        assert_eq!(OpenPgpKey::parse(&key.to_string()), Ok(key));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = OpenPgpKey::parse(text)
    {
        assert_eq!(OpenPgpKey::parse(&key.to_string()).unwrap(), key);
    }
});
