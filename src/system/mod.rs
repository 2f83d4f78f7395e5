//! The only place that touches the host: files, programs, systemd, packages, accounts, clock.
//!
//! **Invariant:** only [`exec`] starts a process, always from an argument list, and nothing outside this folder
//! opens, writes or removes a path of the managed host.

pub mod observe;

mod host;

pub use host::{Host, SystemError, parents};

pub mod fs;

pub mod accounts;

pub mod exec;

pub mod systemd;

pub mod packages;

pub mod probe;

pub mod facts;

pub mod clock;

pub mod identity;

pub mod lock;

pub mod places;

pub mod process;
pub mod reboot;

pub mod replace;

pub mod sandbox;

pub mod usage;

pub mod zone;

pub mod writer;

/// The host's name as the kernel has it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The program to start for what must run elsewhere: the installed one, also after an upgrade.
pub fn own_program() -> std::path::PathBuf {
    let called = std::env::args_os().next().map(std::path::PathBuf::from).filter(|path| path.is_absolute());
    let running = || std::env::current_exe().ok();
    let found = called.filter(|path| path.exists()).or_else(|| running().filter(|path| path.exists()));
    found.unwrap_or_else(|| "/usr/bin/abide".into())
}

/// Whether a process with this id runs.
pub fn process_exists(pid: u32) -> bool {
    pid != 0 && std::path::Path::new("/proc").join(pid.to_string()).exists()
}

/// Asks a service to read its settings again, as `systemctl reload` does.
///
/// # Errors
/// The process is gone, or belongs to somebody else.
pub fn signal_reload(pid: u32) -> std::io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::HUP)?)
}

/// Bytes that are free for root's files on the file system of a path.
///
/// # Errors
/// The path does not exist.
pub fn free_bytes(path: &std::path::Path) -> std::io::Result<u64> {
    Ok(disk_bytes(path)?.0)
}

/// Bytes of the file system of a path: those that are free for root, and all.
///
/// # Errors
/// The path does not exist.
pub fn disk_bytes(path: &std::path::Path) -> std::io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Whether the clock shows a time at which this program could run: not before it was built.
pub fn clock_is_plausible() -> bool {
    /// 2026-01-01, before the first release.
    const EARLIEST: i64 = 1_767_225_600;
    clock::now() >= EARLIEST
}
