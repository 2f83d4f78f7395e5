//! Never half way: runs that die at every place, damaged memory, full disks, torn writes.

mod damage;
mod kills;
mod torn;

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::packages::build;

/// The program that can be made to die, built once.
pub fn program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&["--features", "failpoints", "--example", "mortal"])).join("mortal")
}

/// Whether everything is tried, not only a part that fits into `tests/run`.
pub fn everything() -> bool {
    std::env::var_os("ABIDE_DURABILITY").is_some_and(|value| value == "all")
}
