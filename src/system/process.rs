//! Processes of this host, as the kernel tells of them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// When a process began, in ticks since the boot: tells it from a later one with the same id. `None`: there is none.
pub fn began(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program comes second, in parentheses, and may hold anything; the start is field 22 (proc(5)).
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

/// The same in milliseconds since the boot.
pub fn began_at(pid: u32) -> Option<i64> {
    /// Ticks of a second as user space sees them, on every machine that abide is built for.
    const TICKS: u64 = 100;
    i64::try_from(began(pid)?.saturating_mul(1000 / TICKS)).ok()
}

/// Whether a process runs the program that lies at a path now.
pub fn runs(pid: u32, program: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let running = file(Path::new(&format!("/proc/{pid}/exe")));
    running.is_some() && running == file(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::clock;

    #[test]
    fn this_process_is_known() {
        let pid = std::process::id();
        let began_at = began_at(pid).unwrap();
        assert!((0..=clock::since_boot()).contains(&began_at), "{began_at}");
        assert!(clock::since_boot() - began_at < 3_600_000, "tests do not take an hour");
        assert!(runs(pid, &std::env::current_exe().unwrap()));
        assert!(!runs(pid, Path::new("/bin/sh")));
        assert_eq!(began(u32::MAX), None);
    }
}
