//! Before another version comes: keep what works, and start the guard.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::{COPY, FORM, PACKAGE, PROGRAM, Record, Refused, UNIT, UNIT_FILE, UNITS, UpgradeError, WANTS};
use super::{folders, sha256};
use crate::config::Paths;
use crate::daemon::program::UNIT as AGENT;
use crate::error::Problem;
use crate::plan::{PackageAction, PackageOperation};
use crate::progress::{Progress, Tell};
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
    let states = manager.observe(&[action.name.clone()].into())?;
    let former = states.get(&action.name).and_then(|state| state.installed.clone()).unwrap_or_default();
    if action.version.as_ref().is_some_and(|version| *version == former) && !states[&action.name].broken {
        return Ok(());
    }
    let [first, second] = folders(paths);
    // Another version that has not proven itself yet: what worked before that one is what to return to.
    if let Some((folder, known)) = [&first, &second]
        .into_iter()
        .find_map(|folder| Some((folder, Record::load(folder).ok()??)))
        .filter(|(_, known)| known.form == FORM && known.reason.is_none())
    {
        let again = Record { latter: action.version.clone(), ..record(upgrade, paths, &known) };
        return again.save(folder).map_err(|source| unmade(folder, source).into());
    }
    let folder = [&first, &second].into_iter().find(|folder| lets_run(folder)).ok_or_else(|| {
        let (first, second) = (first.display().to_string(), second.display().to_string());
        UpgradeError::NoExec { first, second }
    })?;
    say(Progress::Doing("keeping the abide that works, until another one has proven itself"));
    let program = keep(folder).map_err(|source| unmade(folder, source))?;
    let package = packages::keep(manager.name(), &action.name, &former, folder, say);
    let systemd = host.systemd()?;
    let known = Record {
        form: FORM,
        program,
        former,
        latter: action.version.clone(),
        package,
        agent: systemd.service(AGENT)?.runs(),
        ..record(upgrade, paths, &Record::default())
    };
    known.save(folder).map_err(|source| unmade(folder, source))?;
    start(folder, systemd)
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

/// Copies this program, which works since it runs, and the units of the package.
fn keep(folder: &Path) -> std::io::Result<String> {
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
    let started = systemd.daemon_reload().and_then(|()| systemd.start_and_wait(UNIT, PATIENCE));
    Ok(started.map_err(|error| UpgradeError::NotStarted { why: error.to_string() })?)
}
