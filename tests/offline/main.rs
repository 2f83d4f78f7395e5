//! What can be proven without root and without a host: real programs and loopback.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests play author, server and attacker, with programs and files of their own"
)]

mod author;
mod packaging;
mod source;
mod suites;
mod trust;
