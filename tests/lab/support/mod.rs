//! What every lab suite starts from: hosts, Git servers, and fleets to serve.
//!
//! Invariant: what a value of this module creates is gone when it is dropped, also after a failed assertion.
//! Set `ABIDE_LAB_KEEP` to keep hosts up for a look after a failure.

pub mod command;
pub mod fleet;
pub mod git_server;
pub mod host;
pub mod site;

use std::path::PathBuf;

/// True where lab tests shall run. A suite's tests begin with `if !lab_is_enabled() { return; }`.
pub fn lab_is_enabled() -> bool {
    let enabled = std::env::var_os("ABIDE_LAB_TESTS").is_some();
    if !enabled {
        eprintln!("skipped: lab tests boot real hosts and need root; run them with `tests/run lab`");
    }
    enabled
}

/// A script of the lab by its name.
pub fn lab_script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}
