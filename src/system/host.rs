//! The host as one thing: observed in one batch, with its backends opened when they are first needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::accounts::{self, AccountError};
use super::exec::{self, Program};
use super::fs::{self, Fingerprints, FsError, Rehash};
use super::observe::{Guard, Needs, Observed, PackageState};
use super::packages::{self, PackageError, PackageManager, VersionOrder};
use super::systemd::{Background, Systemd, SystemdError};
use crate::error::{Code, Explain};
use crate::plan::Principal;
use crate::system::accounts::Owners;

/// A guard answers a question; one that takes longer does not know the answer.
const GUARD_TIMEOUT: Duration = Duration::from_secs(60);

/// The writing view of the host. Planning gets [`Observed`] instead.
#[derive(Default)]
pub struct Host {
    systemd: Option<Systemd>,
    /// A connection that is being made.
    connecting: Option<Background>,
    packages: Option<Option<Box<dyn PackageManager>>>,
}

impl Host {
    /// A host whose backends are not opened yet: costs nothing.
    pub fn open() -> Host {
        Host::default()
    }

    /// Begins to connect to systemd, which takes time in which other things can be done.
    pub fn connect(&mut self) {
        if self.systemd.is_none() && self.connecting.is_none() {
            self.connecting = Some(Background::begin(None));
        }
    }

    /// The connection to systemd, made at the first call.
    ///
    /// # Errors
    /// systemd cannot be reached.
    pub fn systemd(&mut self) -> Result<&mut Systemd, SystemdError> {
        let systemd = match (self.systemd.take(), self.connecting.take()) {
            (Some(systemd), _) => systemd,
            (None, Some(connecting)) => connecting.finish()?.0,
            (None, None) => Systemd::connect()?,
        };
        Ok(self.systemd.insert(systemd))
    }

    /// Forgets the connection to systemd, so that the next use makes a new one: for when systemd itself may have been replaced.
    pub fn forget_systemd(&mut self) {
        self.systemd = None;
    }

    /// The package manager, found at the first call.
    ///
    /// # Errors
    /// The host has none that abide knows.
    pub fn packages(&mut self) -> Result<&dyn PackageManager, SystemError> {
        self.packages.get_or_insert_with(packages::detect).as_deref().ok_or(SystemError::NoPackageManager)
    }

    /// Answers everything that was asked for, in one batch: systemd answers while files are read.
    ///
    /// # Errors
    /// systemd, the package database, the account files or a listed directory cannot be read. What is wrong with a single path or
    /// guard is its answer.
    pub fn observe(
        &mut self,
        needs: &Needs,
        fingerprints: &mut Fingerprints,
        rehash: Rehash,
    ) -> Result<Observed, SystemError> {
        let units = (!needs.units.is_empty()).then(|| {
            let background = self.connecting.take().unwrap_or_else(|| Background::begin(self.systemd.take()));
            background.ask(needs.units.clone());
            background
        });
        let paths = fs::observe(&needs.paths, fingerprints, rehash);
        let (packages, versions) = self.observe_packages(&needs.packages)?;
        let (users, groups) = accounts::observe(&needs.users, &needs.groups)?;
        let mut listings = BTreeMap::new();
        for (path, ignore) in &needs.listings {
            listings.insert(path.clone(), fs::list(path, ignore)?);
        }
        let guards = run_guards(&needs.guards);
        let units = match units {
            Some(pending) => {
                let (systemd, states) = pending.finish()?;
                self.systemd = Some(systemd);
                states
            }
            None => BTreeMap::new(),
        };
        Ok(Observed { paths, packages, versions, units, users, groups, listings, guards })
    }

    fn observe_packages(
        &mut self,
        names: &BTreeSet<String>,
    ) -> Result<(BTreeMap<String, PackageState>, VersionOrder), SystemError> {
        if names.is_empty() {
            return Ok(Default::default());
        }
        let manager = self.packages()?;
        Ok((manager.observe(names)?, manager.order()))
    }
}

fn run_guards(guards: &BTreeSet<Guard>) -> BTreeMap<Guard, Result<bool, String>> {
    if guards.is_empty() {
        return BTreeMap::new();
    }
    let owners = Owners::load();
    guards.iter().map(|guard| (guard.clone(), run_guard(guard, &owners))).collect()
}

fn run_guard(guard: &Guard, owners: &Owners) -> Result<bool, String> {
    let mut program = Program::new(guard.argv.iter().cloned());
    program.timeout = GUARD_TIMEOUT;
    program.directory = guard.directory.clone();
    if let Some(name) = &guard.user {
        let (uid, gid) =
            owners.login(&Principal::Name(name.clone())).ok_or(format!("there is no user `{name}`"))?;
        program = as_user(program, uid, gid);
    }
    let output = exec::run(&program).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    })?;
    match output.code {
        Some(code) => Ok(code == 0),
        None => Err(output.complaint()),
    }
}

/// Lets a program run with a user's supplementary groups too, as a transient unit does. `setpriv` is of util-linux, without which no
/// distribution boots.
fn as_user(mut program: Program, uid: u32, gid: u32) -> Program {
    let mut argv: Vec<String> =
        ["setpriv", "--init-groups", "--reuid"].into_iter().map(str::to_owned).collect();
    argv.extend([uid.to_string(), "--regid".to_owned(), gid.to_string(), "--".to_owned()]);
    argv.append(&mut program.argv);
    program.argv = argv;
    program
}

/// Directories that hold paths: those to sync after changes to the paths.
pub fn parents<'a>(paths: impl IntoIterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    paths.into_iter().filter_map(Path::parent).map(Path::to_owned).collect()
}

/// The host, or a part of it, cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A path.
    #[error(transparent)]
    Files(#[from] FsError),
    /// systemd.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The package manager.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// The account files.
    #[error(transparent)]
    Accounts(#[from] AccountError),
    /// Packages are declared, but there is nothing to install them with (E468).
    #[error("packages are declared, but the host has neither apt nor dnf")]
    NoPackageManager,
}

impl Explain for SystemError {
    fn code(&self) -> Code {
        match self {
            SystemError::Files(error) => error.code(),
            SystemError::Systemd(error) => error.code(),
            SystemError::Packages(error) => error.code(),
            SystemError::Accounts(error) => error.code(),
            SystemError::NoPackageManager => Code("E468"),
        }
    }

    fn remedy(&self) -> String {
        match self {
            SystemError::Files(error) => error.remedy(),
            SystemError::Systemd(error) => error.remedy(),
            SystemError::Packages(error) => error.remedy(),
            SystemError::Accounts(error) => error.remedy(),
            SystemError::NoPackageManager => {
                "take the packages off this host, or install its package manager".into()
            }
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            SystemError::Files(error) => error.place(),
            SystemError::Systemd(error) => error.place(),
            SystemError::Packages(error) => error.place(),
            SystemError::Accounts(error) => error.place(),
            SystemError::NoPackageManager => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::observe::{PathNeed, PathState};

    fn guard(argv: &[&str], user: Option<&str>) -> Guard {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Guard { argv, user: user.map(str::to_owned), directory: None }
    }

    #[test]
    fn one_batch_answers_everything() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let mut needs = Needs::default();
        needs.path(&folder.path().join("file"), PathNeed { content: true, extended: false });
        needs.listings.insert(folder.path().to_owned(), Vec::new());
        needs.users.extend(["root".to_owned(), "nobody-of-this-name".to_owned()]);
        needs.groups.insert("root".into());
        needs.guards.insert(guard(&["true"], None));
        let observed = Host::open().observe(&needs, &mut Fingerprints::default(), Rehash::Never).unwrap();
        assert!(matches!(&observed.paths[&folder.path().join("file")], PathState::Present(_)));
        assert_eq!(observed.listings[folder.path()], [PathBuf::from("file")]);
        assert_eq!((observed.users.len(), observed.users["root"].uid), (1, 0));
        assert_eq!(observed.groups["root"].gid, 0);
        assert_eq!(observed.guards[&guard(&["true"], None)], Ok(true));
    }

    #[test]
    fn a_guard_answers_or_says_why_not() {
        for (argv, user, expected) in [
            (&["true"][..], None, Ok(true)),
            (&["sh", "-c", "exit 7"], None, Ok(false)),
            (&["sh", "-c", "kill $$"], None, Err("ended by signal 15")),
            (
                &["/nonexistent"],
                None,
                Err("`/nonexistent` cannot be started: No such file or directory (os error 2)"),
            ),
            (&["true"], Some("nobody-of-this-name"), Err("there is no user `nobody-of-this-name`")),
        ] {
            let answer = run_guard(&guard(argv, user), &Owners::load());
            assert_eq!(answer, expected.map_err(str::to_owned), "{argv:?}");
        }
    }

    #[test]
    fn a_guard_runs_as_its_user() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let script = guard(&["sh", "-c", "test $(id -un) = nobody"], Some("nobody"));
        assert_eq!(run_guard(&script, &Owners::load()), Ok(true));
    }
}
