//! Suites on real hosts: every test boots machines of its own in the lab (`tests/lab/lab`).
//!
//! They need root and a Linux machine that can run containers, so they run only where `ABIDE_LAB_TESTS` is set;
//! `tests/run lab` sets it.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot be set up shall end with its reason; tests have programs and files of their own"
)]

mod bad_input;
mod converge;
mod drift;
mod durability;
mod guards;
mod health;
mod hostile;
mod packages;
mod packaging;
mod privileges;
mod rollback;
mod self_test;
mod soak;
mod support;
mod trust;
mod upgrade;
