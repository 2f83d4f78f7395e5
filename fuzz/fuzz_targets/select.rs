#![no_main]
//! The expression that selects a host is true, false, or explained; what it is does not change.

use abide::manifest::template::{Engine, Scope};
use minijinja::Value;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let host = serde_json::json!({
        "name": "web-01", "labels": { "tier": "web", "site": "a" }, "custom": {},
        "os": { "family": "debian", "version": "12" }, "cpus": 4, "memory": 8192,
    });
    let scope = Scope::new(vec![("host", Value::from_serialize(host))], &["host.labels", "host.custom"]);
    let engine = Engine::new();
    let one = engine.condition(text, &scope);
    assert_eq!(one, engine.condition(text, &scope));
    if let Err(failure) = one {
        assert!(!failure.message.is_empty() && !failure.help.is_empty());
    }
});
