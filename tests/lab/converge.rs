//! The whole product on real hosts: a push on one side, the host as `stat`, `getent` and `systemctl` see it on the other.
//!
//! After every change another run must find nothing to do and write nothing ([`Site::settled`](crate::support::site::Site::settled)).

mod accounts;
mod commands;
mod directories;
mod files;
mod live;
mod reports;
mod runs;
mod units;
