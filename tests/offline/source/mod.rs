//! The source stage against real Git servers on loopback and hostile spools.

mod beside;
mod git;
mod https;
mod poll;
mod servers;
mod ssh;
mod take;
