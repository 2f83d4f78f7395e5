//! The source stage against real Git servers on loopback and hostile spools.

mod attacks;
mod beside;
mod git;
mod https;
mod packs;
mod poll;
mod servers;
mod ssh;
mod take;
