//! What can be proven without root and without a host.

#![allow(
    clippy::disallowed_methods,
    reason = "tests play author and attacker, with programs and files of their own"
)]

mod trust;
