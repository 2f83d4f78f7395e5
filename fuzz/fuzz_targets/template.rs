#![no_main]
//! A template renders within its bounds, or says what is wrong.

use abide::manifest::limits;
use abide::manifest::node::Node;
use abide::manifest::template::{Engine, Scope, to_template};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let value = |text: &str| to_template(&Node::parse(text).unwrap());
    let host = value("name = \"web-01\"\ncpus = 4\nlabels = { tier = \"web\" }\n");
    let vars = value("port = 80\nnames = [\"a\", \"b\"]\ntext = \"x\"\n");
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
