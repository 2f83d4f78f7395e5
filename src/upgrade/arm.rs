//! Before another version comes: keep what works, and start the guard.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::judge::tells;
use super::{COPY, FORM, PACKAGE, PROGRAM, Record, Refused, UNIT, UNIT_FILE, UNITS, UpgradeError, WANTS};
use super::{disarm, folders, sha256};
use crate::config::Paths;
use crate::daemon::program::UNIT as AGENT;
use crate::error::Problem;
use crate::plan::{PackageAction, PackageOperation};
use crate::progress::{Progress, Tell};
use crate::state::{State, StateError};
use crate::system::packages;
use crate::system::systemd::Systemd;
use crate::system::{Host, process, replace};

/// The guard is there at once, or something is wrong.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What a run knows of the commit that may bring another version.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The commit in hex.
    pub commit: String,
    /// How people know it.
    pub revision: String,
    /// It has not been good on this host before.
    pub brought: bool,
    /// What did not work here.
    pub refused: Option<Refused>,
    /// Seconds in which the other version has to prove itself.
    pub within: u64,
}

/// Arms the guard if one of these actions installs another version of abide.
///
/// # Errors
/// That version did not work here, or nothing would guard the change: then it must not be made.
pub fn arm(
    upgrade: &Upgrade,
    paths: &Paths,
    host: &mut Host,
    actions: &[PackageAction],
    say: &mut Tell<'_>,
) -> Result<(), Problem> {
    let Some(action) = actions.iter().find(|action| is_own(action)) else { return Ok(()) };
    refuse(upgrade, action)?;
    if !Path::new(PROGRAM).exists() {
        return Ok(());
    }
    let manager = host.packages()?;
    let manager_name = manager.name();
    let states = manager.observe(&[action.name.clone()].into())?;
    let former = states.get(&action.name).and_then(|state| state.installed.clone()).unwrap_or_default();
    if action.version.as_ref().is_some_and(|version| *version == former) && !states[&action.name].broken {
        return Ok(());
    }
    let [first, second] = folders(paths);
    let armed = armed(&first, &second);
    // Another version that has not proven itself yet: what worked before that one is what to return to.
    if let Some((folder, known)) = armed {
        let again = Record { latter: action.version.clone(), ..record(upgrade, paths, &known) };
        again.save(folder).map_err(|source| unmade(folder, source))?;
        return started(host.systemd()?);
    }
    say(Progress::Doing("keeping the abide that works, until another one has proven itself"));
    let agent = host.systemd()?.service(AGENT)?.runs();
    let latter = action.version.clone();
    let known = Record { form: FORM, former, latter, agent, ..record(upgrade, paths, &Record::default()) };
    let (name, kind) = (&action.name, manager_name);
    begin(paths, &known, host.systemd()?, |folder| packages::keep(kind, name, &known.former, folder, say))
}

/// Arms the guard before somebody else installs another version: called by a script of that package, as the program that is still there.
/// Does nothing where that does not work itself, or a guard is armed already.
///
/// # Errors
/// Nothing guards the change.
pub fn arm_for_others(paths: &Paths, within: u64) -> Result<(), Problem> {
    let [first, second] = folders(paths);
    let systemd = Systemd::connect()?;
    let status = std::fs::read(paths.status()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let works = status.is_some_and(|status| tells(&status).is_ok());
    if !works || !systemd.service(AGENT)?.runs() || armed(&first, &second).is_some() {
        return Ok(());
    }
    let Some(manager) = packages::detect() else { return Ok(()) };
    let states = manager.observe(&[PACKAGE.to_owned()].into())?;
    let former = states.get(PACKAGE).and_then(|state| state.installed.clone()).unwrap_or_default();
    let upgrade = Upgrade {
        commit: String::new(),
        revision: "an upgrade by hand".into(),
        brought: false,
        refused: None,
        within,
    };
    // Who unpacks it holds the package manager's lock, which the guard waits for.
    let known = Record {
        form: FORM,
        former,
        agent: true,
        run: (0, 0),
        ..record(&upgrade, paths, &Record::default())
    };
    begin(paths, &known, &systemd, |folder| {
        packages::keep_cached(manager.name(), PACKAGE, &known.former, folder)
    })
}

/// Keeps what works in the first folder from which systemd can run it: from then on there is a guard, also after a reboot; or nothing of it.
fn begin(
    paths: &Paths,
    record: &Record,
    systemd: &Systemd,
    mut package: impl FnMut(&Path) -> Option<String>,
) -> Result<(), Problem> {
    let mut failure = None;
    let folders = folders(paths);
    for folder in folders.iter().filter(|folder| lets_run(folder)) {
        let mut armed = || {
            let program = keep(folder, paths)?;
            let record = Record { program, package: package(folder), ..record.clone() };
            record.save(folder).map_err(|source| unmade(folder, source))?;
            start(folder, systemd)
        };
        match armed() {
            Ok(()) => return Ok(()),
            Err(problem) => failure = failure.or(Some(problem)),
        }
        // Nothing was changed yet, and a record without a guard would pass for one the next time. What cannot be removed is made anew.
        let _ = systemd.stop_later(UNIT);
        let _ = disarm(folder);
        let _ = systemd.daemon_reload();
    }
    let [first, second] = folders.map(|folder| folder.display().to_string());
    Err(failure.unwrap_or_else(|| UpgradeError::NoExec { first, second }.into()))
}

/// The guard of another version that has not proven itself yet. A record without the unit was left by a host that died before anything
/// was changed.
fn armed<'a>(first: &'a Path, second: &'a Path) -> Option<(&'a Path, Record)> {
    let records =
        [first, second].into_iter().filter_map(|folder| Some((folder, Record::load(folder).ok()??)));
    let mut whole = records.filter(|(_, known)| known.form == FORM && known.reason.is_none());
    whole.next().filter(|_| Path::new(WANTS).exists())
}

/// What this run has learned belongs to what a guard would return to: the state as it is at the end of the run that brings another
/// version, which may change the tables.
///
/// # Errors
/// There is no room for it; what was kept when the guard was armed still is.
pub fn keep_state(paths: &Paths, state: &State) -> Result<(), StateError> {
    let run = std::process::id();
    for folder in folders(paths) {
        // A version that has not proven itself yet may bring another one. What it made of the state is nothing to return to.
        let works =
            |record: &Record| sha256(Path::new("/proc/self/exe")).is_ok_and(|own| own == record.program);
        let own = |record: &Record| record.run.0 == run && record.reason.is_none() && works(record);
        if Record::load(&folder).ok().flatten().is_some_and(|record| own(&record)) {
            state.keep_whole(&folder)?;
        }
    }
    Ok(())
}

/// Whether an action installs a version of abide.
pub fn is_own(action: &PackageAction) -> bool {
    action.operation == PackageOperation::Install && action.name.split(':').next() == Some(PACKAGE)
}

/// What did not work for this commit is not tried again.
fn refuse(upgrade: &Upgrade, action: &PackageAction) -> Result<(), UpgradeError> {
    match &upgrade.refused {
        Some(refused)
            if refused.commit == upgrade.commit
                && (refused.version.is_none() || refused.version == action.version) =>
        {
            Err(UpgradeError::Refused { reason: refused.reason.what.clone() })
        }
        _ => Ok(()),
    }
}

fn record(upgrade: &Upgrade, paths: &Paths, known: &Record) -> Record {
    let run = std::process::id();
    Record {
        commit: upgrade.commit.clone(),
        revision: upgrade.revision.clone(),
        brought: upgrade.brought,
        run: (run, process::began(run).unwrap_or(0)),
        within: upgrade.within,
        config: paths.config.clone(),
        state: paths.state.clone(),
        spool: paths.spool.clone(),
        runtime: paths.run.clone(),
        ..known.clone()
    }
}

fn unmade(folder: &Path, source: std::io::Error) -> UpgradeError {
    UpgradeError::Arm { path: folder.to_owned(), source }
}

/// Whether programs can be run from a folder that is there or could be made.
fn lets_run(folder: &Path) -> bool {
    let existing = folder.ancestors().find(|path| path.exists());
    existing.and_then(|path| rustix::fs::statvfs(path).ok()).is_some_and(|system| {
        !system.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC)
            && !system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)
    })
}

/// Keeps this program, which works since it runs, the units of the package, and the state. The program's checksum.
fn keep(folder: &Path, paths: &Paths) -> Result<String, Problem> {
    let failed = |source| Problem::from(unmade(folder, source));
    // What a host that died left there is about another version.
    disarm(folder).map_err(failed)?;
    let program = keep_program(folder).map_err(failed)?;
    if let Some(state) = State::inspect(&paths.state)? {
        state.keep_whole(folder)?;
    }
    Ok(program)
}

fn keep_program(folder: &Path) -> std::io::Result<String> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?,
    }
    let (own, copy) = (Path::new("/proc/self/exe"), folder.join(COPY));
    replace::copy(own, &copy, 0o700)?;
    for unit in UNITS.map(Path::new) {
        let name = unit.file_name().unwrap_or_default();
        if unit.exists() {
            replace::copy(unit, &folder.join(name), 0o644)?;
        }
    }
    sha256(&copy)
}

/// Starts the guard, now and after a reboot.
fn start(folder: &Path, systemd: &Systemd) -> Result<(), Problem> {
    let text = format!(
        "# Made by abide while another version of it has to prove itself; goes by itself.\n\
         [Unit]\nDescription=Return to the abide that works unless the new one does\nDocumentation=man:abide(8)\n\
         ConditionPathExists={folder}/record.json\nRequiresMountsFor={folder}\nAfter=local-fs.target dbus.socket\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\nType=exec\nExecStart={folder}/abide guard {folder}\nRestart=on-failure\nRestartSec=5s\n\
         TimeoutStopSec=10min\nUMask=0077\n",
        folder = folder.display()
    );
    let unit = Path::new(UNIT_FILE);
    replace::replace(unit, text.as_bytes(), 0o644).map_err(|source| unmade(unit, source))?;
    replace::link(unit, Path::new(WANTS)).map_err(|source| unmade(Path::new(WANTS), source))?;
    started(systemd)
}

fn started(systemd: &Systemd) -> Result<(), Problem> {
    let started = systemd.daemon_reload().and_then(|()| systemd.start_and_wait(UNIT, PATIENCE));
    Ok(started.map_err(|error| UpgradeError::NotStarted { why: error.to_string() })?)
}
