//! What can be proven without root and without a host: real programs and loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

mod source;
mod trust;
