//! The only place that touches the host: files, programs, systemd, packages, accounts, clock.
//!
//! **Invariant:** only [`exec`] starts a process, always from an argument list, and nothing outside this folder
//! opens, writes or removes a path of the managed host.

pub mod observe;

pub mod fs;

pub mod accounts;

pub mod exec;

pub mod systemd;

pub mod packages;

pub mod facts;

pub mod clock;

pub mod lock;

pub mod replace;

/// The host's name as the kernel has it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether a process with this id runs.
pub fn process_exists(pid: u32) -> bool {
    pid != 0 && std::path::Path::new("/proc").join(pid.to_string()).exists()
}
