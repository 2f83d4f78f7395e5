#![no_main]
//! A policy that is accepted can be changed by somebody, and no input makes the parser fail in an unexplained way.

use abide::trust::RootOfTrust;
use abide::trust::policy::{POLICY_FILE, Policy};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Policy::parse(bytes, POLICY_FILE) {
        Ok(policy) => assert!(policy.scope_of(POLICY_FILE).is_some()),
        Err(error) => assert!(error.line > 0 && !error.help.is_empty()),
    }
    if let Ok(root) = RootOfTrust::parse(bytes, "trust.toml") {
        assert_eq!(RootOfTrust::parse(root.to_toml().as_bytes(), "trust.toml"), Ok(root));
    }
});
