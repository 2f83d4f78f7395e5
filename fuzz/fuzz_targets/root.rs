#![no_main]
//! A root of trust that is accepted is what it is written as.

use abide::trust::RootOfTrust;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match RootOfTrust::parse(bytes, "trust.toml") {
        Ok(root) => assert_eq!(RootOfTrust::parse(root.to_toml().as_bytes(), "trust.toml"), Ok(root)),
        Err(error) => assert!(error.line > 0 && !error.help.is_empty()),
    }
});
