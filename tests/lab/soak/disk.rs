//! A file system of its own for what a host remembers: it can be made full, and outlives power cuts.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::command::run;

/// More than an upgrade needs, which keeps the program that works and its package.
const SIZE: u64 = 256 << 10;

/// The file system, in memory.
#[derive(Debug)]
pub struct StateDisk(TempDir);

impl StateDisk {
    /// Makes and mounts it.
    #[track_caller]
    pub fn new() -> StateDisk {
        let folder = tempfile::Builder::new().prefix("abide-soak-").tempdir().expect("a temporary folder");
        let options = format!("size={SIZE}k,mode=0700");
        let path = folder.path().to_str().expect("paths of tests are UTF-8").to_owned();
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &path], b"").success();
        StateDisk(folder)
    }

    /// Where the machine sees it.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What a host has to see as the folder of its state.
    pub fn bind(&self) -> (PathBuf, PathBuf) {
        (self.path().to_owned(), "/var/lib/abide".into())
    }

    /// Leaves so many KiB free, or all again.
    pub fn leave(&self, free: Option<u64>) {
        let used = || {
            let usage = rustix::fs::statvfs(self.path()).expect("a mounted file system");
            (usage.f_blocks - usage.f_bfree) * usage.f_frsize / 1024
        };
        let size = free.map_or(SIZE, |free| used() + free);
        let options = format!("remount,size={size}k");
        // Whoever writes at this moment may have taken more already: then it is not full this time.
        run("mount", &["-o", &options, self.path().to_str().expect("a path")], b"");
    }
}

impl Drop for StateDisk {
    fn drop(&mut self) {
        let path = self.path().to_string_lossy().into_owned();
        let output = run("umount", &["--lazy", &path], b"");
        if output.code != 0 {
            eprintln!("could not unmount {path}: {}", output.stderr);
        }
    }
}
