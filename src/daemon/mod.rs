//! The two services: the resident agent, which waits for a poll, a drift event or the check period, and the fetcher it starts.
//!
//! **Invariant:** the agent itself decides nothing and changes nothing: each run is a process of its own (`abide sync`), so
//! that its memory goes when it ends and a run that crashes leaves the agent watching.

pub mod schedule;
pub mod watch;
