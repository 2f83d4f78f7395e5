#![no_main]
//! A signature that is accepted has exactly one written form, and none is valid by chance.

use abide::trust::key::PublicKey;
use abide::trust::sshsig::{Envelope, GIT};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse(bytes, GIT) {
        assert_eq!(envelope.armoured().as_bytes(), bytes);
        assert!(envelope.verify(b"abide fuzzes signatures").is_err());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = PublicKey::parse(text)
    {
        assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
    }
});
