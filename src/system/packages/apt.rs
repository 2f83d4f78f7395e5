//! apt and dpkg.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lock::{await_lock, lock_holder, tell_waiting};
use super::{
    Batch, LOCK_PATIENCE, PackageError, PackageManager, Planned, Simulation, VersionOrder, bare, batches,
    check_version_and_file, compare_dpkg, dpkg, guard, reason, run_in_unit,
};
use crate::plan::{Conffiles, PackageAction, PackageOperation};
use crate::progress::{Progress, Tell};
use crate::system::clock;
use crate::system::exec;
use crate::system::observe::PackageState;
use crate::system::systemd::{Transient, TransientOutput};

const PROGRAM: &str = "/usr/bin/apt-get";
const STATUS: &str = "/var/lib/dpkg/status";
const FILES_OF_APT: &str = "/var/lib/dpkg/info/apt.list";
/// dpkg journals what it has not merged into its status file here.
const UPDATES: &str = "/var/lib/dpkg/updates";
/// The lock that package managers take before dpkg's own.
const FRONTEND_LOCK: &str = "/var/lib/dpkg/lock-frontend";
const LISTS_LOCK: &str = "/var/lib/apt/lists/lock";
/// The place of the program that Debian Policy has maintainer scripts ask before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Ours, bound over that place for one transaction only. Not below /run, which may be mounted `noexec`.
const OUR_POLICY: &str = "/var/lib/abide/policy-rc.d";
/// How long a query of the local index may take.
const QUERY: Duration = Duration::from_secs(120);

/// Refuses everything but the stop of services whose packages are being removed.
const POLICY_SCRIPT: &str = "#!/bin/sh
# Put in place by abide for the time of one package transaction: services are started by abide, not by packages.
case \"$2\" in
stop | force-stop)
    case \" $ABIDE_REMOVES \" in *\" $DPKG_MAINTSCRIPT_PACKAGE \"*) exit 0 ;; esac
    ;;
esac
exit 101
";

/// apt, on Debian and what derives from it.
pub struct Apt;

impl Apt {
    /// Finds apt where dpkg's own database has it. Its list of apt's files tells, which costs less than reading what it knows of all
    /// packages; the list outlives the removal of a package that is not purged.
    pub(super) fn find() -> Option<Apt> {
        let exists = |path: &str| fs::metadata(path).is_ok_and(|entry| entry.is_file());
        (exists(FILES_OF_APT) && exists(PROGRAM)).then_some(Apt)
    }
}

impl PackageManager for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn observe(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, PackageState>, PackageError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        dpkg::observe(&read_status()?, names)
    }

    fn candidates(&self, states: &mut BTreeMap<String, PackageState>) -> Result<(), PackageError> {
        let names: Vec<&String> = states.keys().collect();
        names.iter().try_for_each(|name| check_name(name))?;
        if names.is_empty() {
            return Ok(());
        }
        let arguments = ["apt-cache", "--quiet", "policy", "--"].map(String::from).into_iter();
        let output = query(&arguments.chain(names.into_iter().cloned()).collect::<Vec<_>>())?;
        let offers = policy(&String::from_utf8_lossy(&output.stdout));
        for (name, state) in states {
            state.index_consulted = true;
            let offer = offers.get(name.as_str()).cloned().unwrap_or_default();
            (state.candidate, state.available) = (offer.candidate, offer.available);
        }
        Ok(())
    }

    fn index_age(&self, now: SystemTime) -> Option<Duration> {
        // The index files keep the server's time; what a refresh touches on this host are these.
        let touched = [
            "/var/lib/apt/periodic/update-success-stamp",
            "/var/lib/apt/lists",
            "/var/lib/apt/lists/partial",
        ];
        let indexed = fs::read_dir("/var/lib/apt/lists").ok()?.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.contains("_Packages") || name.ends_with("Release")
        });
        let newest = touched
            .iter()
            .filter_map(|path| fs::metadata(path).and_then(|entry| entry.modified()).ok())
            .max()?;
        // A clock that went backwards makes an index look as if it came from the future; then it is new.
        indexed.then(|| now.duration_since(newest).unwrap_or_default())
    }

    fn refresh_index(&self, progress: &mut Tell<'_>) -> Result<(), PackageError> {
        let argv =
            ["apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"].map(String::from).to_vec();
        let deadline = clock::instant() + LOCK_PATIENCE;
        loop {
            await_lock(LISTS_LOCK, deadline, progress)?;
            let output =
                run_in_unit(transient("Refresh of the package index for abide", argv.clone()), progress)?;
            if output.success() {
                return Ok(());
            }
            let reason = reason(&output.stdout, &output.stderr);
            // Somebody may have taken the lock since we looked.
            if !reason.contains("Could not get lock") || clock::instant() >= deadline {
                return Err(PackageError::Index { reason });
            }
        }
    }

    fn simulate(&self, actions: &[PackageAction]) -> Result<Simulation, PackageError> {
        let mut all = Simulation::default();
        for batch in batches(actions) {
            let one = simulate(&batch)?;
            all.installs.extend(one.installs);
            all.upgrades.extend(one.upgrades);
            all.downgrades.extend(one.downgrades);
            all.removes.extend(one.removes);
        }
        Ok(all)
    }

    fn execute(&self, actions: &[PackageAction], progress: &mut Tell<'_>) -> Result<(), PackageError> {
        actions.iter().try_for_each(check)?;
        match self.repair(progress) {
            // A package whose own script fails is mended by nothing but another version of it.
            Err(PackageError::Broken { .. }) if self.replaces_what_is_broken(actions)? => {}
            other => other?,
        }
        mark(actions, PackageOperation::Unhold, progress)?;
        for batch in batches(actions) {
            let simulation = match simulate(&batch) {
                // The index may be older than what is asked for: a repository may have come in this very run.
                Err(PackageError::UnknownPackage { .. } | PackageError::UnknownVersion { .. }) => {
                    self.refresh_index(progress)?;
                    simulate(&batch)?
                }
                other => other?,
            };
            guard(&batch, &simulation, &dpkg::held(&read_status()?)?)?;
            transaction(&batch, &simulation, progress)?;
        }
        mark(actions, PackageOperation::Hold, progress)
    }

    fn interrupted(&self) -> Result<bool, PackageError> {
        let journal = fs::read_dir(UPDATES).map(|entries| entries.flatten().count()).unwrap_or(0);
        Ok(journal > 0 || !dpkg::broken(&read_status()?)?.is_empty())
    }

    fn repair(&self, progress: &mut Tell<'_>) -> Result<(), PackageError> {
        remove_leftover_policy();
        if !self.interrupted()? {
            return Ok(());
        }
        // What looks interrupted may be in the middle of being done by somebody else.
        await_lock(FRONTEND_LOCK, clock::instant() + LOCK_PATIENCE, progress)?;
        if !self.interrupted()? {
            return Ok(());
        }
        progress(Progress::Doing("dpkg was interrupted: finishing what it left"));
        let configure =
            ["dpkg", "--force-confdef", "--force-confold", "--configure", "-a"].map(String::from).to_vec();
        let mut last =
            run_in_unit(transient("Repair of interrupted packages for abide", configure), progress)?;
        let again: Vec<String> = dpkg::broken(&read_status()?)?
            .into_iter()
            .filter(|(_, again)| *again)
            .map(|(name, _)| name)
            .collect();
        if !again.is_empty() {
            let mut argv = apt_get(Conffiles::Keep);
            argv.extend(["--reinstall", "--no-remove", "install", "--"].map(String::from));
            argv.extend(again);
            last = run_in_unit(transient("Repair of interrupted packages for abide", argv), progress)?;
        }
        if self.interrupted()? {
            return Err(PackageError::Broken { reason: reason(&last.stdout, &last.stderr) });
        }
        Ok(())
    }

    fn order(&self) -> VersionOrder {
        VersionOrder::Dpkg
    }
}

impl Apt {
    /// Whether another version is installed of everything that is broken.
    fn replaces_what_is_broken(&self, actions: &[PackageAction]) -> Result<bool, PackageError> {
        let bare = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
        let broken = dpkg::broken(&read_status()?)?.into_iter().map(|(name, _)| bare(&name));
        let broken: BTreeSet<String> = broken.collect();
        let states = self.observe(&broken)?;
        let replaces = |name: &String| {
            let installed = states.get(name).and_then(|state| state.installed.as_ref());
            actions.iter().any(|action| {
                action.operation == PackageOperation::Install
                    && bare(&action.name) == *name
                    && action.version.is_some()
                    && action.version.as_ref() != installed
            })
        };
        Ok(!broken.is_empty() && broken.iter().all(replaces))
    }
}

fn read_status() -> Result<Vec<u8>, PackageError> {
    fs::read(STATUS)
        .map_err(|error| PackageError::Database { path: STATUS.into(), reason: error.to_string() })
}

/// Package names as Debian Policy 5.6.7 has them, with an optional architecture.
fn check_name(name: &str) -> Result<(), PackageError> {
    let (bare, architecture) = name.split_once(':').unwrap_or((name, "any"));
    let plain = |text: &str, more: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte))
    };
    let starts = bare.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    if bare.len() > 1
        && starts
        && plain(bare, b"+-.")
        && !architecture.is_empty()
        && plain(architecture, b"-")
    {
        return Ok(());
    }
    Err(PackageError::Grammar { manager: "apt", what: "package name", text: name.to_owned() })
}

fn check(action: &PackageAction) -> Result<(), PackageError> {
    check_name(&action.name)?;
    check_version_and_file("apt", b".+-~:", action)?;
    Ok(())
}

/// What `apt-cache policy` says of one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Offer {
    candidate: Option<String>,
    available: Vec<String>,
}

/// Reads `apt-cache policy`: a head per package, its candidate, and a table of versions with where each is from. The host's
/// own database is one of those sources and does not count.
fn policy(text: &str) -> BTreeMap<String, Offer> {
    let mut offers: BTreeMap<String, Offer> = BTreeMap::new();
    let mut name = String::new();
    let mut version = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            name = head.to_owned();
            offers.entry(name.clone()).or_default();
            continue;
        }
        let Some(offer) = offers.get_mut(&name) else { continue };
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Candidate:", "(none)"] | ["Installed:" | "Version", ..] => {}
            ["Candidate:", candidate] => offer.candidate = Some((*candidate).to_owned()),
            ["***", word, _] => version = (*word).to_owned(),
            [word, _] if line.starts_with("     ") && !line.starts_with("      ") => {
                version = (*word).to_owned()
            }
            [_, source, ..] if *source != STATUS && offer.available.last() != Some(&version) => {
                offer.available.push(version.clone());
            }
            _ => {}
        }
    }
    for offer in offers.values_mut() {
        offer.available.sort_by(|left, right| compare_dpkg(right, left));
        offer.available.dedup();
    }
    offers
}

fn environment(conffiles: Conffiles) -> BTreeMap<String, String> {
    let ucf = match conffiles {
        Conffiles::Keep => "UCF_FORCE_CONFFOLD",
        Conffiles::Replace => "UCF_FORCE_CONFFNEW",
    };
    [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("APT_LISTCHANGES_FRONTEND", "none"),
        ("NEEDRESTART_SUSPEND", "1"),
        ("NEEDRESTART_MODE", "l"),
        ("LC_ALL", "C.UTF-8"),
        (ucf, "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn transient(description: &str, argv: Vec<String>) -> Transient {
    Transient {
        description: description.into(),
        argv,
        environment: environment(Conffiles::Keep),
        ..Transient::default()
    }
}

fn apt_get(conffiles: Conffiles) -> Vec<String> {
    let mut argv = ["apt-get", "-y", "-q", "-o"].map(String::from).to_vec();
    argv.push(format!("DPkg::Lock::Timeout={}", LOCK_PATIENCE.as_secs()));
    let policy: &[&str] = match conffiles {
        Conffiles::Keep => &["--force-confdef", "--force-confold"],
        Conffiles::Replace => &["--force-confnew"],
    };
    argv.extend(policy.iter().flat_map(|option| ["-o".to_owned(), format!("DPkg::Options::={option}")]));
    argv
}

/// The options and names of a batch, as `apt-get install` takes them: `name=version` to install, `name-` to remove.
fn arguments(batch: &Batch) -> Vec<String> {
    let mut argv = Vec::new();
    match batch.recommends {
        Some(true) => argv.push("--install-recommends".into()),
        Some(false) => argv.push("--no-install-recommends".into()),
        None => {}
    }
    if let Some(release) = &batch.release {
        argv.push(format!("--target-release={release}"));
    }
    let removals = batch.actions.iter().filter(|action| action.operation != PackageOperation::Install);
    if removals.clone().count() > 0
        && removals.clone().all(|action| action.operation == PackageOperation::Purge)
    {
        argv.push("--purge".into());
    }
    argv.extend(["install".into(), "--".into()]);
    argv.extend(batch.actions.iter().map(|action| match (&action.options.file, &action.version) {
        _ if action.operation != PackageOperation::Install => format!("{}-", action.name),
        (Some(file), _) => file.display().to_string(),
        (None, Some(version)) => format!("{}={version}", action.name),
        (None, None) => action.name.clone(),
    }));
    argv
}

fn simulate(batch: &Batch) -> Result<Simulation, PackageError> {
    batch.actions.iter().try_for_each(check)?;
    // What is allowed is judged by us, on the result.
    let mut argv = ["apt-get", "-s", "-q", "--allow-downgrades", "--allow-change-held-packages"]
        .map(String::from)
        .to_vec();
    argv.extend(arguments(batch));
    let output = query(&argv)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.success() {
        return Ok(planned(&text));
    }
    let reason = reason(&output.stdout, &output.stderr);
    Err(unknown(batch, &reason).unwrap_or(PackageError::Unsolvable { manager: "apt", reason }))
}

/// Recognises apt's words for what it does not know.
fn unknown(batch: &Batch, reason: &str) -> Option<PackageError> {
    let quoted = |text: &str| text.split(['\'', '‘', '’', '"']).nth(1).map(str::to_owned);
    reason.split("; ").find_map(|line| {
        if let Some(name) = line.strip_prefix("E: Unable to locate package ") {
            return Some(PackageError::UnknownPackage { name: name.trim().to_owned() });
        }
        if line.contains("has no installation candidate") {
            return Some(PackageError::UnknownPackage { name: quoted(line)? });
        }
        if line.starts_with("E: Version ") && line.contains("was not found") {
            let version = quoted(line)?;
            let name =
                batch.actions.iter().find(|action| action.version.as_ref() == Some(&version))?.name.clone();
            return Some(PackageError::UnknownVersion { name, version });
        }
        None
    })
}

/// Reads the lines of `apt-get -s`: `Inst name [old] (new where [arch])`, `Remv name [old]`, `Purg name [old]`.
fn planned(text: &str) -> Simulation {
    let mut simulation = Simulation::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
        let mut from = String::new();
        let mut to = String::new();
        for word in words {
            if let Some(version) = word.strip_prefix('(').filter(|_| to.is_empty()) {
                to = version.trim_end_matches(')').to_owned();
            } else if let Some(version) = word.strip_prefix('[').filter(|_| from.is_empty() && to.is_empty())
            {
                from = version.trim_end_matches(']').to_owned();
            }
        }
        let planned = Planned { name: bare(name).to_owned(), from, to };
        match verb {
            "Inst" if planned.from.is_empty() => simulation.installs.push(planned),
            "Inst" if compare_dpkg(&planned.to, &planned.from) == Ordering::Less => {
                simulation.downgrades.push(planned)
            }
            "Inst" => simulation.upgrades.push(planned),
            "Remv" | "Purg" => simulation.removes.push(planned),
            _ => {}
        }
    }
    simulation
}

fn transaction(batch: &Batch, simulation: &Simulation, progress: &mut Tell<'_>) -> Result<(), PackageError> {
    preseed(batch, progress)?;
    let mut argv = apt_get(batch.conffiles);
    if batch.allow_downgrade {
        argv.push("--allow-downgrades".into());
    }
    if batch.change_held {
        argv.push("--allow-change-held-packages".into());
    }
    if batch.actions.iter().all(|action| action.operation == PackageOperation::Install) {
        // Holds what the simulation showed, even if the archive changes meanwhile.
        argv.push("--no-remove".into());
    }
    argv.extend(arguments(batch));
    run(batch, simulation, argv, progress)?;
    // `name-` removes; what shall be purged among what is only removed takes a second step.
    let purged: Vec<String> = batch
        .actions
        .iter()
        .filter(|action| action.operation == PackageOperation::Purge)
        .map(|action| action.name.clone())
        .collect();
    if purged.is_empty() || batch.actions.iter().all(|action| action.operation != PackageOperation::Remove) {
        return Ok(());
    }
    let mut argv = apt_get(batch.conffiles);
    argv.extend(["purge".into(), "--".into()]);
    argv.extend(purged);
    run(batch, simulation, argv, progress)
}

fn run(
    batch: &Batch,
    simulation: &Simulation,
    argv: Vec<String>,
    progress: &mut Tell<'_>,
) -> Result<(), PackageError> {
    if let Some(holder) = lock_holder(FRONTEND_LOCK) {
        tell_waiting(&holder, progress);
    }
    let mut transient = transient("Package transaction of abide", argv);
    transient.environment = environment(batch.conffiles);
    if !batch.start_services {
        suppress_services(&mut transient, simulation)?;
    }
    let output = run_in_unit(transient, progress);
    remove_leftover_policy();
    judge(&output?)
}

fn judge(output: &TransientOutput) -> Result<(), PackageError> {
    if output.success() {
        return Ok(());
    }
    let reason = reason(&output.stdout, &output.stderr);
    if reason.contains("Could not get lock") {
        let holder = lock_holder(FRONTEND_LOCK).unwrap_or_else(|| "another program".into());
        return Err(PackageError::Locked { holder, minutes: LOCK_PATIENCE.as_secs() / 60 });
    }
    Err(PackageError::Failed { manager: "apt", exit: output.code, reason })
}

/// Binds our policy over the host's, visible to this transaction alone. Where the host has none, systemd makes an empty, not
/// executable file to bind on, which means the same as none; it is removed when the unit ends, and by [`remove_leftover_policy`].
fn suppress_services(transient: &mut Transient, simulation: &Simulation) -> Result<(), PackageError> {
    let path = Path::new(OUR_POLICY);
    let failed = |error: std::io::Error| PackageError::Program {
        program: OUR_POLICY.into(),
        reason: error.to_string(),
    };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    fs::write(path, POLICY_SCRIPT).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    let removes: Vec<&str> = simulation.removes.iter().map(|planned| planned.name.as_str()).collect();
    transient.environment.insert("ABIDE_REMOVES".into(), removes.join(" "));
    transient.binds.push((PathBuf::from(OUR_POLICY), PathBuf::from(POLICY)));
    transient
        .cleanup
        .push(["/usr/bin/find", POLICY, "-maxdepth", "0", "-empty", "-delete"].map(String::from).to_vec());
    Ok(())
}

/// Removes the empty file that a power cut may have left; a policy of the host is never empty.
fn remove_leftover_policy() {
    if fs::symlink_metadata(POLICY).is_ok_and(|entry| entry.is_file() && entry.len() == 0) {
        // If it stays it still means nothing, and the next transaction tries again.
        let _ = fs::remove_file(POLICY);
    }
}

/// Sets debconf's answers before the packages ask.
fn preseed(batch: &Batch, progress: &mut Tell<'_>) -> Result<(), PackageError> {
    let lines: Vec<&str> =
        batch.actions.iter().flat_map(|action| &action.options.debconf).map(String::as_str).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let mut transient =
        transient("Answers to package questions by abide", vec!["debconf-set-selections".into()]);
    transient.stdin = format!("{}\n", lines.join("\n")).into_bytes();
    let output = run_in_unit(transient, progress)?;
    if output.success() {
        return Ok(());
    }
    let reason = format!("debconf-set-selections: {}", reason(&output.stdout, &output.stderr));
    Err(PackageError::Failed { manager: "apt", exit: output.code, reason })
}

/// Holds or releases; waits for the lock like a transaction, since it writes dpkg's status.
fn mark(
    actions: &[PackageAction],
    operation: PackageOperation,
    progress: &mut Tell<'_>,
) -> Result<(), PackageError> {
    let names: Vec<String> = actions
        .iter()
        .filter(|action| action.operation == operation)
        .map(|action| action.name.clone())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let verb = if operation == PackageOperation::Hold { "hold" } else { "unhold" };
    await_lock(FRONTEND_LOCK, clock::instant() + LOCK_PATIENCE, progress)?;
    let mut argv = vec!["apt-mark".to_owned(), verb.to_owned(), "--".to_owned()];
    argv.extend(names);
    judge(&run_in_unit(transient("Holds of packages by abide", argv), &mut |_| {})?)
}

fn query(argv: &[String]) -> Result<exec::Output, PackageError> {
    let failed = |error: exec::ExecError| PackageError::Program {
        program: argv[0].clone(),
        reason: error.to_string(),
    };
    let program = exec::Program {
        environment: environment(Conffiles::Keep),
        timeout: QUERY,
        limit: 64 << 20,
        ..exec::Program::new(argv.iter().cloned())
    };
    exec::run(&program).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PackageOptions;

    #[test]
    fn a_policy_table_is_read() {
        let offers = policy(
            "nginx:\n  Installed: 1.0-1\n  Candidate: 1.22.1-9+deb12u2\n  Version table:\n     1.22.1-9+deb12u2 500\n        500 http://archive.example/debian bookworm/main amd64 Packages\n     1.22.1-9 500\n        500 http://a b Packages\n        500 http://c d Packages\n *** 1.0-1 100\n        100 /var/lib/dpkg/status\nvirtual:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\nlibc6:i386:\n  Installed: (none)\n  Candidate: 2.36\n  Version table:\n     2.36 500\n        500 http://a b Packages\n",
        );
        let nginx = Offer {
            candidate: Some("1.22.1-9+deb12u2".into()),
            available: vec!["1.22.1-9+deb12u2".into(), "1.22.1-9".into()],
        };
        assert_eq!(offers["nginx"], nginx);
        assert_eq!(offers["virtual"], Offer::default());
        assert_eq!(offers["libc6:i386"].candidate.as_deref(), Some("2.36"));
    }

    #[test]
    fn a_simulation_is_read() {
        let simulation = planned(
            "Reading package lists...\nRemv old [1.0] []\nPurg older [1]\nInst new (2.0 Local:1 [amd64])\nInst up [1.0] (1.10 Local:1 [amd64]) []\nInst down:i386 [2:1.0] (1.9 Local [i386])\nConf new (2.0 Local:1 [amd64])\n",
        );
        let planned = |name: &str, from: &str, to: &str| Planned {
            name: name.into(),
            from: from.into(),
            to: to.into(),
        };
        assert_eq!(simulation.installs, [planned("new", "", "2.0")]);
        assert_eq!(simulation.upgrades, [planned("up", "1.0", "1.10")]);
        assert_eq!(simulation.downgrades, [planned("down", "2:1.0", "1.9")]);
        assert_eq!(simulation.removes, [planned("old", "1.0", ""), planned("older", "1", "")]);
    }

    /// Attack 34: what could be an option or a path to apt is no name.
    #[test]
    fn names_are_judged_by_policy() {
        for (name, good) in [
            ("nginx", true),
            ("g++", true),
            ("libstdc++6:i386", true),
            ("0ad", true),
            ("a", false),
            ("-o", false),
            ("-oDpkg::Pre-Invoke::=touch", false),
            ("./a.deb", false),
            ("a\nb", false),
            ("--purge", false),
            ("Nginx", false),
            ("a b", false),
            ("a=1", false),
            ("a/stable", false),
            ("libc6:", false),
            ("", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn one_call_installs_and_removes() {
        let action = |name: &str, operation, version: Option<&str>| PackageAction {
            name: name.into(),
            operation,
            version: version.map(str::to_owned),
            options: PackageOptions { recommends: Some(false), ..PackageOptions::default() },
        };
        let batch = batches(&[
            action("a", PackageOperation::Install, Some("1:2-3")),
            action("b", PackageOperation::Install, None),
            action("c", PackageOperation::Purge, None),
        ])
        .remove(0);
        assert_eq!(arguments(&batch).join(" "), "--no-install-recommends --purge install -- a=1:2-3 b c-");
    }

    #[test]
    fn what_apt_does_not_know_is_recognised() {
        let batch = batches(&[PackageAction {
            name: "a".into(),
            operation: PackageOperation::Install,
            version: Some("9".into()),
            options: PackageOptions::default(),
        }])
        .remove(0);
        let code = |reason: &str| unknown(&batch, reason).map(|error| crate::error::Explain::code(&error).0);
        assert_eq!(code("E: Unable to locate package nosuch"), Some("E487"));
        assert_eq!(code("E: Package 'v' has no installation candidate"), Some("E487"));
        assert_eq!(code("E: Version '9' for 'a' was not found"), Some("E488"));
        assert_eq!(code("E: Unable to correct problems, you have held broken packages."), None);
    }
}
