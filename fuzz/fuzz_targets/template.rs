#![no_main]
//! A template renders within its bounds, or says what is wrong.

use abide::manifest::limits;
use abide::manifest::template::{Engine, Scope};
use minijinja::Value;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let host = Value::from_serialize(serde_json::json!({ "name": "web-01", "cpus": 4, "labels": { "tier": "web" } }));
    let vars = Value::from_serialize(serde_json::json!({ "port": 80, "names": ["a", "b"], "text": "x" }));
    let scope = Scope::new(vec![("host", host), ("vars", vars)], &["host.labels"]);
    match Engine::new().file("fuzz", text, &scope) {
        Ok(output) => assert!(output.len() <= limits::OUTPUT_BYTES),
        Err(failure) => {
            assert!(!failure.message.is_empty() && !failure.help.is_empty());
            if let Some(range) = failure.range {
                assert!(range.start <= range.end && range.end <= text.len(), "{range:?} of {}", text.len());
            }
        }
    }
    let _ = Engine::new().string(text, &scope);
});
