#![no_main]
//! A policy that is accepted can be changed by somebody, and no input makes the parser fail in an unexplained way.

use abide::trust::policy::{POLICY_FILE, Policy};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Policy::parse(bytes, POLICY_FILE) {
        Ok(policy) => {
            assert!(policy.scope_of(POLICY_FILE).is_some());
            for scope in &policy.scopes {
                assert!((1..=scope.signers.len()).contains(&scope.threshold));
            }
        }
        Err(error) => assert!(error.line > 0 && !error.help.is_empty()),
    }
});
