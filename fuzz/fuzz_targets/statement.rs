#![no_main]
//! A statement that is accepted has one written form, and none is valid by chance; a heartbeat says what it is written from.

use abide::trust::heartbeat::SignedHeartbeat;
use abide::trust::statement::Form;

const BREAK_GLASS: Form = Form {
    title: "abide break-glass 1",
    fields: &["fleet", "host", "commit", "expires", "nonce"],
    namespace: "break-glass@abide",
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = BREAK_GLASS.parse(bytes) {
        assert_eq!(statement.to_text().as_bytes(), bytes);
        let values: Vec<String> =
            BREAK_GLASS.fields.iter().map(|name| statement.value(name).to_owned()).collect();
        assert!(bytes.starts_with(BREAK_GLASS.text(&values).as_bytes()));
        let _ = statement.verify();
    }
    if let Ok(signed) = SignedHeartbeat::parse(bytes) {
        assert!(bytes.starts_with(signed.heartbeat.text().unwrap().as_bytes()));
        let _ = (signed.key(), signed.verify());
    }
});
