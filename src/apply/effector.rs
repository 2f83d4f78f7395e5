//! What apply asks of the host.
//!
//! **Invariant:** every operation is idempotent, and has an answer of its own for each thing it was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Problem;
use crate::plan::{Attributes, GroupAction, PackageAction, Run, UnitAction, UserAction, WriteFile};
use crate::progress::Tell;

/// One change of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitChange {
    /// Full name with suffix.
    pub unit: String,
    /// What to do.
    pub action: UnitAction,
    /// Seconds after which a job counts as failed.
    pub timeout: u32,
}

/// The host's verbs as apply uses them. `system` is behind it; tests have one in memory.
#[allow(clippy::missing_errors_doc, reason = "every error is one explained failure of that operation")]
pub trait Effector {
    /// A file that lies ready beside its path. Dropping it removes it.
    type Staged;

    /// Seconds since the epoch.
    fn now(&self) -> i64;
    /// Time since some fixed moment.
    fn clock(&self) -> Duration;

    /// What is at a path, in a few words that change whenever it does: `absent`, `file 0644 0:0 12 sha256:…`. Content is looked at
    /// only when asked for.
    fn fingerprint(&mut self, path: &Path, content: bool) -> String;
    /// Writes content and attributes beside the path; not yet durable.
    fn stage(&mut self, file: &WriteFile, bytes: &[u8]) -> Result<Self::Staged, Problem>;
    /// Lets a program judge a staged file.
    fn validate(&mut self, command: &[String], staged: &Self::Staged) -> Result<(), Problem>;
    /// Makes staged files durable, all together.
    fn sync(&mut self, staged: &[Self::Staged]) -> Result<(), Problem>;
    /// Keeps a copy of what is at a path in the backup store.
    fn backup(&mut self, path: &Path) -> Result<(), Problem>;
    /// Puts a staged file in its place.
    fn commit(&mut self, staged: Self::Staged) -> Result<(), Problem>;
    /// Makes a directory.
    fn make_directory(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Problem>;
    /// Makes or replaces a symlink.
    fn make_symlink(
        &mut self,
        path: &Path,
        target: &Path,
        attributes: &Attributes,
        force: bool,
    ) -> Result<(), Problem>;
    /// Corrects attributes.
    fn set_attributes(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Problem>;
    /// Removes what is at a path.
    fn remove(&mut self, path: &Path, recursive: bool) -> Result<(), Problem>;
    /// Makes durable which names the given directories hold.
    fn sync_directories(&mut self, directories: &BTreeSet<PathBuf>) -> Result<(), Problem>;

    /// What there is of packages (`package`) or accounts (`user`, `group`), in a few words: those of something that is not there begin
    /// with `absent`. Those of a package change whenever its version or its state does. A name without words could not be looked at.
    fn look(&mut self, verb: &str, names: &BTreeSet<String>) -> BTreeMap<String, String>;

    /// One package transaction; all actions have the same options. One answer for each; progress goes to `say`.
    fn packages(&mut self, actions: &[PackageAction], say: &mut Tell<'_>) -> Vec<Result<(), Problem>>;
    /// Changes units: masks and enablement first, then all jobs at once. One answer for each.
    fn units(&mut self, changes: &[UnitChange]) -> Vec<Result<(), Problem>>;
    /// Lets systemd read its unit files again.
    fn daemon_reload(&mut self) -> Result<(), Problem>;
    /// Creates, changes or removes a user.
    fn user(&mut self, action: &UserAction) -> Result<(), Problem>;
    /// Creates, changes or removes a group.
    fn group(&mut self, action: &GroupAction) -> Result<(), Problem>;
    /// Runs a program to its end. How that was stays known under the ticket, whatever becomes of us, until it is forgotten.
    fn run(&mut self, run: &Run, ticket: &str) -> Result<(), Problem>;
    /// Forgets how the last program ended.
    fn forget_command(&mut self) -> Result<(), Problem>;

    /// Removes what a run that died had staged for these paths.
    fn clean_temporaries(&mut self, paths: &[PathBuf]) -> Result<(), Problem>;
    /// Waits for a package transaction that outlived its run, and repairs one that was interrupted.
    fn settle_packages(&mut self) -> Result<(), Problem>;
    /// Waits for a command that outlived its run, and forgets it. Its exit code, if it is the one of this ticket, and ended by itself
    /// in time.
    fn settle_commands(&mut self, ticket: &str) -> Result<Option<i32>, Problem>;
}
