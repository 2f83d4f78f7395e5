//! The program that works, without its package: what the package manager says of abide is not so then, and nobody may take it for it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PROGRAM;
use crate::error::Problem;

/// The program was put back without its package (E397), and which file that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithoutPackage {
    /// What is said until a package brings a program again.
    pub problem: Problem,
    /// Number, size and time of change in nanoseconds of the file.
    file: (u64, u64, i64),
}

impl WithoutPackage {
    /// For the program as it lies there now; `None`: there is none.
    pub(super) fn now(problem: Problem) -> Option<WithoutPackage> {
        Some(WithoutPackage { problem, file: file(Path::new(PROGRAM))? })
    }

    /// Whether it is still that file: every package that is installed puts another in its place.
    pub fn holds(&self) -> bool {
        file(Path::new(PROGRAM)) == Some(self.file)
    }
}

fn file(path: &Path) -> Option<(u64, u64, i64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()))
}
