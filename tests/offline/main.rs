//! Tests that need nothing but this machine: real programs and loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod source;
