#![no_main]
//! A note of the fetcher that is understood is what it is written as.

use abide::source::Note;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = serde_json::from_slice::<Note>(bytes) {
        let written = serde_json::to_vec(&note).unwrap();
        assert_eq!(serde_json::from_slice::<Note>(&written).unwrap(), note);
    }
});
