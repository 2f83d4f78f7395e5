//! One file per command: parse arguments, call the library, render the answer.
//!
//! **Invariant:** data goes to standard output, talk to standard error, and the exit code is non-zero whenever a ✗ was printed.

pub mod fetch;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with these arguments.
pub fn run(_arguments: impl Iterator<Item = OsString>) -> ExitCode {
    ExitCode::from(2)
}
