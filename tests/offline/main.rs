//! What can be proven without root and without a host.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests play author and attacker, with programs and files of their own"
)]

mod trust;
