//! Packages: what is installed, what archives offer, and transactions. One backend a file, behind one trait.
//!
//! **Invariant:** nothing is removed, downgraded or changed in spite of a hold that was not asked for: every transaction is
//! simulated before it runs.

#![allow(clippy::disallowed_methods, reason = "the helper files of a transaction are abide's own")]

mod apt;
mod dnf;
mod dpkg;
mod error;
mod keep;
mod lock;
mod rpmdb;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::plan::{Conffiles, PackageAction, PackageOperation};
use crate::progress::Tell;
use crate::system::observe::PackageState;
use crate::system::systemd::{Systemd, Transient, TransientOutput};

pub use self::apt::Apt;
pub use self::dnf::Dnf;
pub use self::error::PackageError;
pub use self::keep::{keep, keep_cached, reinstate};
pub use self::version::VersionOrder;
use self::version::{compare_dpkg, compare_rpm};

/// The unit in which package transactions run, without its suffix.
pub const UNIT: &str = "abide-packages";

/// How long a lock of the package database may be held by others.
const LOCK_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What a transaction would do, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Packages that come new.
    pub installs: Vec<Planned>,
    /// Packages that go to a higher version.
    pub upgrades: Vec<Planned>,
    /// Packages that go to a lower version.
    pub downgrades: Vec<Planned>,
    /// Packages that go away.
    pub removes: Vec<Planned>,
}

impl Simulation {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.installs.is_empty()
            && self.upgrades.is_empty()
            && self.downgrades.is_empty()
            && self.removes.is_empty()
    }
}

/// One package of a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name, without architecture.
    pub name: String,
    /// Version that is installed; empty when none is.
    pub from: String,
    /// Version that will be; empty for a removal.
    pub to: String,
}

/// A package manager of the host.
pub trait PackageManager: Send {
    /// `apt` or `dnf`.
    fn name(&self) -> &'static str;

    /// What is installed, from the package database alone, without starting a program.
    ///
    /// # Errors
    /// [`PackageError::Database`].
    fn observe(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, PackageState>, PackageError>;

    /// Fills in what archives offer, by one program that reads the local index.
    ///
    /// # Errors
    /// The program cannot be run or fails.
    fn candidates(&self, states: &mut BTreeMap<String, PackageState>) -> Result<(), PackageError>;

    /// How old the local index is; `None` when there is none.
    fn index_age(&self, now: SystemTime) -> Option<Duration>;

    /// Fetches the index anew.
    ///
    /// # Errors
    /// [`PackageError::Index`], or the lock is held too long.
    fn refresh_index(&self, progress: &mut Tell<'_>) -> Result<(), PackageError>;

    /// What these actions would do. Holds and releases of holds count for nothing here.
    ///
    /// # Errors
    /// A package or version is unknown, or the actions do not fit together.
    fn simulate(&self, actions: &[PackageAction]) -> Result<Simulation, PackageError>;

    /// Does all of it, in one transaction where options agree: repairs an interrupted one first, releases holds, simulates, runs, sets
    /// holds. Waits for locks and says so through `progress`.
    ///
    /// # Errors
    /// Any; what was done until then stays.
    fn execute(&self, actions: &[PackageAction], progress: &mut Tell<'_>) -> Result<(), PackageError>;

    /// Whether a package manager was interrupted in the middle of a transaction.
    ///
    /// # Errors
    /// [`PackageError::Database`].
    fn interrupted(&self) -> Result<bool, PackageError>;

    /// Finishes what an interrupted package manager left; nothing when nothing is.
    ///
    /// # Errors
    /// [`PackageError::Broken`].
    fn repair(&self, progress: &mut Tell<'_>) -> Result<(), PackageError>;

    /// How this package manager orders versions.
    fn order(&self) -> VersionOrder;
}

/// Whether somebody works with packages at this moment.
pub fn under_way() -> bool {
    ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/rpm/.rpm.lock"]
        .into_iter()
        .any(|path| lock::lock_holder(path).is_some())
}

/// Files that change when packages do, to be watched. Those of package managers that the host does not have do not exist.
pub fn databases() -> [PathBuf; 2] {
    ["/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite"].map(PathBuf::from)
}

/// The host's package manager: the one that its own database says is installed. A tool of the other family, which some hosts have, is
/// not in a database of its own.
pub fn detect() -> Option<Box<dyn PackageManager>> {
    match Dnf::find() {
        Some(dnf) => Some(Box::new(dnf)),
        None => Apt::find().map(|apt| Box::new(apt) as Box<dyn PackageManager>),
    }
}

/// Checks what an action names beside its package: a version of letters, digits and `marks` that begins with a letter or digit, and a
/// file by its absolute path. Both go into argument lists.
fn check_version_and_file(
    manager: &'static str,
    marks: &[u8],
    action: &PackageAction,
) -> Result<(), PackageError> {
    if let Some(version) = &action.version {
        let good = version.starts_with(|first: char| first.is_ascii_alphanumeric())
            && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte));
        if !good {
            return Err(PackageError::Grammar { manager, what: "version", text: version.clone() });
        }
    }
    if let Some(file) = action.options.file.as_ref().filter(|file| !file.is_absolute()) {
        let text = file.display().to_string();
        return Err(PackageError::Grammar { manager, what: "absolute path", text });
    }
    Ok(())
}

/// Looks up what archives offer for the packages of `wanted` (name and, where one is asked for, exact version), and refreshes the index
/// once if it is older than `oldest`, missing, or does not know one of them.
///
/// # Errors
/// As [`PackageManager::candidates`] and [`PackageManager::refresh_index`].
pub fn resolve(
    manager: &dyn PackageManager,
    states: &mut BTreeMap<String, PackageState>,
    wanted: &BTreeMap<String, Option<String>>,
    oldest: Duration,
    now: SystemTime,
    progress: &mut Tell<'_>,
) -> Result<(), PackageError> {
    let stale = manager.index_age(now).is_none_or(|age| age > oldest);
    if stale {
        manager.refresh_index(progress)?;
    }
    manager.candidates(states)?;
    let known = |states: &BTreeMap<String, PackageState>| {
        wanted.iter().all(|(name, version)| {
            let state = states.get(name);
            match version {
                Some(version) => state.is_some_and(|state| {
                    state.installed.as_ref() == Some(version) || state.available.contains(version)
                }),
                None => state.is_some_and(|state| state.candidate.is_some() || state.installed.is_some()),
            }
        })
    };
    if !stale && !known(states) {
        manager.refresh_index(progress)?;
        manager.candidates(states)?;
    }
    Ok(())
}

/// The options that make two transactions of what could be one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    recommends: Option<bool>,
    allow_downgrade: bool,
    change_held: bool,
    release: Option<String>,
    conffiles: Conffiles,
    start_services: bool,
    actions: Vec<PackageAction>,
}

/// Puts installs and removals with the same options together, in the order of the first of each. Removals know fewer options, so that they join
/// the first transaction that treats services and holds as they want it.
fn batches(actions: &[PackageAction]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let (installs, removals): (Vec<_>, Vec<_>) = actions
        .iter()
        .filter(|action| !matches!(action.operation, PackageOperation::Hold | PackageOperation::Unhold))
        .partition(|action| action.operation == PackageOperation::Install);
    for action in installs.into_iter().chain(removals) {
        let removal = action.operation != PackageOperation::Install;
        let options = &action.options;
        let same = |batch: &&mut Batch| {
            batch.change_held == options.change_held
                && batch.start_services == options.start_services
                && (removal
                    || (batch.recommends == options.recommends
                        && batch.allow_downgrade == options.allow_downgrade
                        && batch.release == options.release
                        && batch.conffiles == options.conffiles))
        };
        match batches.iter_mut().find(same) {
            Some(batch) => batch.actions.push(action.clone()),
            None => batches.push(Batch {
                recommends: options.recommends,
                allow_downgrade: options.allow_downgrade,
                change_held: options.change_held,
                release: options.release.clone(),
                conffiles: options.conffiles,
                start_services: options.start_services,
                actions: vec![action.clone()],
            }),
        }
    }
    batches
}

/// Refuses what a simulation shows and nobody asked for.
fn guard(batch: &Batch, simulation: &Simulation, held: &BTreeSet<String>) -> Result<(), PackageError> {
    let asked = |name: &str, operations: &[PackageOperation]| {
        batch
            .actions
            .iter()
            .any(|action| bare(&action.name) == name && operations.contains(&action.operation))
    };
    let removals = [PackageOperation::Remove, PackageOperation::Purge];
    let unasked: Vec<String> = simulation
        .removes
        .iter()
        .filter(|planned| !asked(&planned.name, &removals))
        .map(|planned| planned.name.clone())
        .collect();
    if !unasked.is_empty() {
        return Err(PackageError::WouldRemove { names: unasked });
    }
    if !batch.allow_downgrade && !simulation.downgrades.is_empty() {
        let change = |planned: &Planned| format!("{} from {} to {}", planned.name, planned.from, planned.to);
        return Err(PackageError::WouldDowngrade {
            changes: simulation.downgrades.iter().map(change).collect(),
        });
    }
    let touched = [&simulation.upgrades, &simulation.downgrades, &simulation.removes];
    let names: Vec<String> = touched
        .into_iter()
        .flatten()
        .map(|planned| planned.name.clone())
        .filter(|name| held.contains(name))
        .collect();
    if !batch.change_held && !names.is_empty() {
        return Err(PackageError::Held { names });
    }
    Ok(())
}

/// A name without its architecture.
fn bare(name: &str) -> &str {
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// Runs a package tool in a unit of its own: outside of our sandbox, and going on if we are killed.
fn run_in_unit(transient: Transient, progress: &mut Tell<'_>) -> Result<TransientOutput, PackageError> {
    Ok(Systemd::connect()?.run_transient(&Transient { name: UNIT.into(), ..transient }, progress)?)
}

/// The part of a tool's output that says why: its error lines, or else its last lines.
fn reason(stdout: &[u8], stderr: &[u8]) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    let errors: Vec<&str> = stderr
        .lines()
        .chain(stdout.lines())
        .map(str::trim)
        .filter(|line| line.starts_with("E:") || line.starts_with("Error") || line.starts_with("dpkg: error"))
        .collect();
    let lines = if errors.is_empty() {
        let all: Vec<&str> =
            stdout.lines().chain(stderr.lines()).map(str::trim).filter(|line| !line.is_empty()).collect();
        all[all.len().saturating_sub(5)..].to_vec()
    } else {
        errors
    };
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PackageOptions;

    fn action(name: &str, operation: PackageOperation, options: PackageOptions) -> PackageAction {
        PackageAction { name: name.into(), operation, version: None, options }
    }

    #[test]
    fn what_can_be_together_is_one_transaction() {
        let plain = PackageOptions::default();
        let lean = PackageOptions { recommends: Some(false), ..plain.clone() };
        let batches = batches(&[
            action("old", PackageOperation::Remove, plain.clone()),
            action("a", PackageOperation::Install, lean.clone()),
            action("h", PackageOperation::Hold, plain.clone()),
            action("b", PackageOperation::Install, plain.clone()),
            action("c", PackageOperation::Install, lean),
            action("older", PackageOperation::Purge, PackageOptions { start_services: true, ..plain }),
        ]);
        let names: Vec<Vec<&str>> = batches
            .iter()
            .map(|batch| batch.actions.iter().map(|action| action.name.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["a", "c", "old"], vec!["b"], vec!["older"]]);
    }

    #[test]
    fn nothing_unasked_passes_the_guard() {
        let planned =
            |from: &str, to: &str| vec![Planned { name: "a".into(), from: from.into(), to: to.into() }];
        let removal = Simulation { removes: planned("1", ""), ..Simulation::default() };
        let downgrade = Simulation { downgrades: planned("2", "1"), ..Simulation::default() };
        let upgrade = Simulation { upgrades: planned("1", "2"), ..Simulation::default() };
        let batch = |operation, options| batches(&[action("a", operation, options)]).remove(0);
        let plain = PackageOptions::default();
        let install = batch(PackageOperation::Install, plain.clone());
        let held = BTreeSet::from(["a".to_owned()]);
        let none = BTreeSet::new();
        assert!(matches!(guard(&install, &removal, &none), Err(PackageError::WouldRemove { .. })));
        assert!(matches!(guard(&install, &downgrade, &none), Err(PackageError::WouldDowngrade { .. })));
        assert!(matches!(guard(&install, &upgrade, &held), Err(PackageError::Held { .. })));
        assert!(guard(&install, &upgrade, &none).is_ok());
        assert!(guard(&batch(PackageOperation::Purge, plain.clone()), &removal, &none).is_ok());
        let willing = PackageOptions { allow_downgrade: true, change_held: true, ..plain };
        assert!(guard(&batch(PackageOperation::Install, willing), &downgrade, &held).is_ok());
    }
}
