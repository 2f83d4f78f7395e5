//! The only place that touches the host: files, programs, systemd, packages, accounts, clock.
//!
//! **Invariant:** only [`exec`] starts a process, always from an argument list, and nothing outside this folder
//! opens, writes or removes a path of the managed host.

pub mod facts;
pub mod observe;
