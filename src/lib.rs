//! `abide` converges a Linux host to what a signed Git branch declares.
//!
//! Data flows one way, and each stage's output is a type that only that stage can construct, so that a
//! stage that is skipped does not compile:
//!
//! ```text
//!  source      trust        manifest      plan         apply        report
//!  fetch  ──►  verify  ──►  select,  ──►  observe, ──► journalled ─► journal, history,
//!  (spool)     history      render        diff, order  effects       status
//!  Candidate   Verified     Desired       Plan         Outcome       Report
//! ```
//!
//! [`converge`] shows the whole pipeline on one page; the modules below are in reading order.
//!
//! **Invariant:** the stages are synchronous and have no clock, network or randomness of their own. Only
//! [`system`] touches the host, only [`source`] the network, and only [`daemon`] runs an event loop.
//!
//! This library is internal to the `abide` program and not stable for others.

// Unit tests make their own temporary directories and programs.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod error;

pub mod progress;

pub mod failpoint;

pub mod config;

pub mod source;

pub mod trust;

pub mod schedule;

pub mod manifest;

pub mod resource;

pub mod plan;

pub mod apply;

pub mod report;

pub mod converge;

pub mod state;

pub mod system;

pub mod upgrade;

pub mod daemon;

pub mod enroll;

pub mod operator;

pub mod author;

pub mod cli;
