#![no_main]
//! The expression that selects a host is true, false, or explained; what it is does not change.

use abide::manifest::node::Node;
use abide::manifest::template::{Engine, Scope, to_template};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let host = "name = \"web-01\"\ncpus = 4\nmemory = 8192\nlabels = { tier = \"web\", site = \"a\" }\ncustom = {}\n\
        os = { family = \"debian\", version = \"12\" }\n";
    let host = to_template(&Node::parse(host).unwrap());
    let scope = Scope::new(vec![("host", host)], &["host.labels", "host.custom"]);
    let engine = Engine::new();
    let one = engine.condition(text, &scope);
    assert_eq!(one, engine.condition(text, &scope));
    if let Err(failure) = one {
        assert!(!failure.message.is_empty() && !failure.help.is_empty());
    }
});
