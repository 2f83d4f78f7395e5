//! dnf (version 4) and rpm.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lock::{await_lock, await_process};
use super::rpmdb::{RpmDatabase, newest};
use super::{
    Batch, LOCK_PATIENCE, PackageError, PackageManager, Planned, Simulation, VersionOrder, bare, batches,
    check_version_and_file, compare_rpm, guard, reason, run_in_unit,
};
use crate::plan::{PackageAction, PackageOperation};
use crate::progress::{Progress, Tell};
use crate::system::clock;
use crate::system::observe::PackageState;
use crate::system::systemd::{Systemd, Transient, TransientOutput};

const PROGRAM: &str = "/usr/bin/dnf";
/// Where the versionlock plug-in keeps what it holds.
const HOLDS: &str = "/etc/dnf/plugins/versionlock.list";
const VERSIONLOCK: &str = "/etc/dnf/plugins/versionlock.conf";
/// Files with the process that works on each; dnf waits for them, but says nothing useful about it.
const PROCESS_LOCKS: [&str; 3] =
    ["/var/cache/dnf/metadata_lock.pid", "/var/lib/dnf/rpmdb_lock.pid", "/var/cache/dnf/download_lock.pid"];
/// How long a query of archives may take.
const QUERY: Duration = Duration::from_secs(300);

/// dnf, on RHEL and what derives from it.
pub struct Dnf {
    database: PathBuf,
}

impl Dnf {
    /// Finds dnf where rpm's own database has it.
    pub(super) fn find() -> Option<Dnf> {
        let database = RpmDatabase::find()?;
        let installed = RpmDatabase::open(&database).ok()?.providing("dnf").ok()?;
        (!installed.is_empty() && Path::new(PROGRAM).exists()).then_some(Dnf { database })
    }

    fn open(&self) -> Result<RpmDatabase, PackageError> {
        RpmDatabase::open(&self.database)
    }

    /// Gives every install of an installed package its exact version: `dnf install` with a name alone leaves that alone.
    fn exact(&self, actions: &[PackageAction]) -> Result<Vec<PackageAction>, PackageError> {
        let open = |action: &&PackageAction| {
            action.operation == PackageOperation::Install
                && action.version.is_none()
                && action.options.file.is_none()
        };
        let names: BTreeSet<String> = actions.iter().filter(open).map(|action| action.name.clone()).collect();
        let mut states = self.observe(&names)?;
        states.retain(|_, state| state.installed.is_some());
        if states.is_empty() {
            return Ok(actions.to_vec());
        }
        self.candidates(&mut states)?;
        let mut exact = actions.to_vec();
        for action in exact.iter_mut().filter(|action| open(&&**action)) {
            action.version = states.get(&action.name).and_then(|state| state.candidate.clone());
        }
        Ok(exact)
    }

    fn simulate_batch(&self, batch: &Batch) -> Result<Simulation, PackageError> {
        batch.actions.iter().try_for_each(check)?;
        let output = run(batch, "--assumeno", true, &mut |_| {})?;
        let text = String::from_utf8_lossy(&output.stdout);
        let said = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
        if let Some(error) = unknown(batch, &said) {
            return Err(error);
        }
        // Saying no is an exit code of its own kind; only what was worked out tells.
        if !output.success() && !said.contains("Operation aborted") {
            let reason = reason(&output.stdout, &output.stderr);
            return Err(PackageError::Unsolvable { manager: "dnf", reason });
        }
        let mut simulation = planned(&text);
        let database = self.open()?;
        for planned in simulation.upgrades.iter_mut().chain(&mut simulation.downgrades) {
            planned.from =
                database.named(&planned.name)?.into_iter().next().map(|one| one.version).unwrap_or_default();
        }
        Ok(simulation)
    }

    /// dnf's shell ends with 0 whatever became of its commands, so that only the database tells.
    fn verify(&self, batch: &Batch, output: &TransientOutput) -> Result<(), PackageError> {
        let names = batch.actions.iter().map(|action| action.name.clone()).collect();
        let states = self.observe(&names)?;
        let good = batch.actions.iter().all(|action| {
            let installed = states.get(&action.name).and_then(|state| state.installed.as_ref());
            match (action.operation, &action.version, installed) {
                (PackageOperation::Install, Some(version), Some(installed)) => {
                    compare_rpm(version, installed) == Ordering::Equal
                }
                (PackageOperation::Install, None, installed) => installed.is_some(),
                (PackageOperation::Install, Some(_), None) => false,
                (_, _, installed) => installed.is_none(),
            }
        });
        if good && output.code == Some(0) {
            return Ok(());
        }
        let reason = reason(&output.stdout, &output.stderr);
        Err(PackageError::Failed { manager: "dnf", exit: output.code, reason })
    }
}

impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        "dnf"
    }

    fn observe(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, PackageState>, PackageError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let database = self.open()?;
        let held = held();
        let mut states = BTreeMap::new();
        for name in names {
            let installed = database.named(bare(name))?.into_iter().find(|package| package.is(name));
            let mut provided_by: Vec<String> = match installed {
                Some(_) => Vec::new(),
                None => database.providing(name)?.into_iter().map(|package| package.name).collect(),
            };
            provided_by.sort();
            let held = held.contains(bare(name));
            let installed = installed.map(|package| package.version);
            states.insert(
                name.clone(),
                PackageState { installed, held, provided_by, ..PackageState::default() },
            );
        }
        Ok(states)
    }

    fn candidates(&self, states: &mut BTreeMap<String, PackageState>) -> Result<(), PackageError> {
        states.keys().try_for_each(|name| check_name(name))?;
        if states.is_empty() {
            return Ok(());
        }
        let mut argv: Vec<String> = dnf("--assumeno");
        argv.extend(
            ["--cacheonly", "--quiet", "repoquery", "--available", "--showduplicates", "--queryformat"]
                .map(String::from),
        );
        argv.push("%{name} %{arch} %{epoch}:%{version}-%{release}".into());
        argv.push("--".into());
        argv.extend(states.keys().map(|name| bare(name).to_owned()));
        let output = run_in_unit(query(argv), &mut |_| {})?;
        if !output.success() {
            let reason = reason(&output.stdout, &output.stderr);
            return Err(PackageError::Failed { manager: "dnf", exit: output.code, reason });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        for (name, state) in states {
            state.index_consulted = true;
            state.available = offered(&text, name);
            state.candidate = state.available.first().cloned();
        }
        Ok(())
    }

    fn index_age(&self, now: SystemTime) -> Option<Duration> {
        let caches = fs::read_dir("/var/cache/dnf")
            .ok()?
            .flatten()
            .filter(|entry| entry.path().join("repodata").is_dir());
        let newest = caches
            .filter_map(|entry| fs::metadata(entry.path().join("repodata")).ok()?.modified().ok())
            .max()?;
        Some(now.duration_since(newest).unwrap_or_default())
    }

    fn refresh_index(&self, progress: &mut Tell<'_>) -> Result<(), PackageError> {
        await_locks(progress)?;
        let mut argv = dnf("--assumeyes");
        argv.extend(["--setopt=skip_if_unavailable=False", "makecache", "--refresh"].map(String::from));
        let output = run_in_unit(transient("Refresh of the package index for abide", argv), progress)?;
        if output.success() {
            return Ok(());
        }
        Err(PackageError::Index { reason: reason(&output.stdout, &output.stderr) })
    }

    fn simulate(&self, actions: &[PackageAction]) -> Result<Simulation, PackageError> {
        let mut all = Simulation::default();
        for batch in batches(&self.exact(actions)?) {
            let one = self.simulate_batch(&batch)?;
            all.installs.extend(one.installs);
            all.upgrades.extend(one.upgrades);
            all.downgrades.extend(one.downgrades);
            all.removes.extend(one.removes);
        }
        Ok(all)
    }

    fn execute(&self, actions: &[PackageAction], progress: &mut Tell<'_>) -> Result<(), PackageError> {
        actions.iter().try_for_each(check)?;
        self.repair(progress)?;
        await_locks(progress)?;
        mark(actions, PackageOperation::Unhold, progress)?;
        if self.index_age(SystemTime::UNIX_EPOCH).is_none() {
            self.refresh_index(progress)?;
        }
        for batch in batches(&self.exact(actions)?) {
            let simulation = match self.simulate_batch(&batch) {
                // The index may be older than what is asked for: a repository may have come in this very run.
                Err(PackageError::UnknownPackage { .. } | PackageError::UnknownVersion { .. }) => {
                    self.refresh_index(progress)?;
                    self.simulate_batch(&batch)?
                }
                other => other?,
            };
            guard(&batch, &simulation, &held())?;
            await_locks(progress)?;
            let output =
                run(&batch, "--assumeyes", simulation.removes.is_empty() && !batch.start_services, progress)?;
            self.verify(&batch, &output)?;
            // Scriptlets could not have systemd read their unit files while it counted as offline.
            Systemd::connect()?.daemon_reload()?;
        }
        mark(actions, PackageOperation::Hold, progress)
    }

    fn interrupted(&self) -> Result<bool, PackageError> {
        Ok(!self.open()?.doubled()?.is_empty())
    }

    fn repair(&self, progress: &mut Tell<'_>) -> Result<(), PackageError> {
        if !self.interrupted()? {
            return Ok(());
        }
        // What looks interrupted may be in the middle of being done by somebody else.
        await_locks(progress)?;
        let doubled = self.open()?.doubled()?;
        if doubled.is_empty() {
            return Ok(());
        }
        progress(Progress::Doing("rpm was interrupted: removing the older of packages that are there twice"));
        let mut argv = dnf("--assumeyes");
        argv.extend(["remove".into(), "--duplicates".into()]);
        let output = run_in_unit(transient("Repair of interrupted packages for abide", argv), progress)?;
        if self.interrupted()? {
            let reason =
                format!("{} are there twice; {}", doubled.join(", "), reason(&output.stdout, &output.stderr));
            return Err(PackageError::Broken { reason });
        }
        Ok(())
    }

    fn order(&self) -> VersionOrder {
        VersionOrder::Rpm
    }
}

/// Package names as dnf takes them, without its wildcards, with an optional architecture behind a colon.
fn check_name(name: &str) -> Result<(), PackageError> {
    let good = name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && name.matches(':').count() <= 1
        && !name.ends_with(':')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._:".contains(&byte));
    if good {
        Ok(())
    } else {
        Err(PackageError::Grammar { manager: "dnf", what: "package name", text: name.to_owned() })
    }
}

fn check(action: &PackageAction) -> Result<(), PackageError> {
    check_name(&action.name)?;
    check_version_and_file("dnf", b".+-~^_:", action)?;
    if !action.options.debconf.is_empty() {
        return Err(PackageError::Unsupported {
            manager: "dnf",
            what: format!("answer debconf's questions for {}", action.name),
            remedy: "leave `debconf` out on hosts with dnf; only Debian's packages ask questions",
        });
    }
    Ok(())
}

fn dnf(answer: &str) -> Vec<String> {
    // Nothing goes that nobody asked for, not even what only a removed package needed.
    let no = "--setopt=clean_requirements_on_remove=False";
    [PROGRAM, answer, "--color=never", no].map(String::from).to_vec()
}

fn transient(description: &str, argv: Vec<String>) -> Transient {
    Transient {
        description: description.into(),
        argv,
        environment: BTreeMap::from([("LC_ALL".to_owned(), "C.UTF-8".to_owned())]),
        ..Transient::default()
    }
}

fn query(argv: Vec<String>) -> Transient {
    Transient { timeout: QUERY, ..transient("Query of package archives for abide", argv) }
}

/// How dnf is told which package is meant: `name-version` or `name.arch`.
fn specification(action: &PackageAction) -> String {
    let (name, architecture) = match action.name.split_once(':') {
        Some((name, architecture)) => (name, format!(".{architecture}")),
        None => (action.name.as_str(), String::new()),
    };
    match (&action.options.file, &action.version) {
        (Some(file), _) if action.operation == PackageOperation::Install => file.display().to_string(),
        (_, Some(version)) if action.operation == PackageOperation::Install => {
            format!("{name}-{version}{architecture}")
        }
        _ => format!("{name}{architecture}"),
    }
}

/// Runs a batch as one transaction. Installs with removals go through dnf's shell, which takes both.
fn run(
    batch: &Batch,
    answer: &str,
    quiet_services: bool,
    progress: &mut Tell<'_>,
) -> Result<TransientOutput, PackageError> {
    let mut argv = dnf(answer);
    if answer == "--assumeno" {
        argv.push("--cacheonly".into());
    }
    if let Some(weak) = batch.recommends {
        argv.push(format!("--setopt=install_weak_deps={}", if weak { "True" } else { "False" }));
    }
    if let Some(repository) = &batch.release {
        argv.push(format!("--repo={repository}"));
    }
    if batch.change_held && Path::new(VERSIONLOCK).exists() {
        argv.push("--disableplugin=versionlock".into());
    }
    let (installs, removals): (Vec<_>, Vec<_>) =
        batch.actions.iter().partition(|action| action.operation == PackageOperation::Install);
    let specifications =
        |actions: &[&PackageAction]| actions.iter().map(|action| specification(action)).collect::<Vec<_>>();
    let (installs, removals) = (specifications(&installs), specifications(&removals));
    let mut transient = transient("Package transaction of abide", Vec::new());
    if !installs.is_empty() && !removals.is_empty() {
        argv.push("shell".into());
        let script = format!("install {}\nremove {}\nrun\n", installs.join(" "), removals.join(" "));
        transient.stdin = script.into_bytes();
    } else {
        argv.push(if removals.is_empty() { "install" } else { "remove" }.into());
        argv.push("--".into());
        argv.extend(installs.into_iter().chain(removals));
    }
    transient.argv = argv;
    if quiet_services {
        // Makes every systemctl of a scriptlet leave running services alone; enabling works as ever.
        transient.environment.insert("SYSTEMD_OFFLINE".into(), "1".into());
    }
    if answer == "--assumeno" {
        transient.timeout = QUERY;
    }
    run_in_unit(transient, progress)
}

/// Recognises dnf's words for what it does not know.
fn unknown(batch: &Batch, said: &str) -> Option<PackageError> {
    said.lines().find_map(|line| {
        let (_, rest) = line
            .split_once("Unable to find a match: ")
            .or_else(|| line.split_once("No match for argument: "))?;
        let missing = rest.split_whitespace().next()?;
        let action = batch.actions.iter().find(|action| specification(action) == missing);
        match action {
            // Removing what is not there is no error.
            Some(action) if action.operation != PackageOperation::Install => None,
            Some(PackageAction { name, version: Some(version), .. }) => {
                Some(PackageError::UnknownVersion { name: name.clone(), version: version.clone() })
            }
            _ => Some(PackageError::UnknownPackage { name: missing.to_owned() }),
        }
    })
}

/// Reads the table of a transaction: heads such as `Upgrading:`, below each a line per package with name, architecture, version; a name
/// that is too long stands on a line of its own.
fn planned(text: &str) -> Simulation {
    let mut simulation = Simulation::default();
    let mut section = String::new();
    let mut long_name: Option<String> = None;
    for line in text.lines().skip_while(|line| !line.starts_with("Dependencies resolved")) {
        if line.starts_with("Transaction Summary") {
            break;
        }
        if !line.starts_with(' ') {
            section = line.trim_end_matches(':').to_owned();
            continue;
        }
        let mut words: Vec<String> =
            long_name.take().into_iter().chain(line.split_whitespace().map(str::to_owned)).collect();
        if words.len() == 1 {
            long_name = words.pop();
            continue;
        }
        let [name, architecture, version, ..] = words.as_slice() else { continue };
        if name == "replacing" {
            // `replacing name.arch version`: something goes because another package obsoletes it.
            let name = architecture.rsplit_once('.').map_or(architecture.as_str(), |(name, _)| name);
            simulation.removes.push(Planned { name: name.into(), from: version.clone(), to: String::new() });
            continue;
        }
        let new = |to: &str| Planned { name: name.clone(), from: String::new(), to: to.to_owned() };
        match section.as_str() {
            head if head.starts_with("Installing") => simulation.installs.push(new(version)),
            "Upgrading" => simulation.upgrades.push(new(version)),
            "Downgrading" => simulation.downgrades.push(new(version)),
            head if head.starts_with("Removing") => {
                simulation.removes.push(Planned {
                    name: name.clone(),
                    from: version.clone(),
                    to: String::new(),
                });
            }
            _ => {}
        }
    }
    simulation
}

/// The versions of one package in the answer of `repoquery`, newest first.
fn offered(text: &str, asked: &str) -> Vec<String> {
    let architecture = asked.split_once(':').map(|(_, architecture)| architecture);
    let mut versions: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, found, version) = (words.next()?, words.next()?, words.next()?);
            let meant = name == bare(asked)
                && architecture.is_none_or(|architecture| architecture == found)
                && found != "src";
            meant.then(|| version.strip_prefix("0:").unwrap_or(version).to_owned())
        })
        .collect();
    newest(&mut versions);
    versions.dedup();
    versions
}

/// Names in the versionlock plug-in's list: `name-epoch:version-release.arch`, or with wildcards for the latter parts.
fn held() -> BTreeSet<String> {
    parse_held(&fs::read_to_string(HOLDS).unwrap_or_default())
}

fn parse_held(list: &str) -> BTreeSet<String> {
    list.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        .filter_map(|line| line.rsplitn(3, '-').nth(2).map(str::to_owned))
        .collect()
}

fn mark(
    actions: &[PackageAction],
    operation: PackageOperation,
    progress: &mut Tell<'_>,
) -> Result<(), PackageError> {
    let names: Vec<String> = actions
        .iter()
        .filter(|action| action.operation == operation)
        .map(|action| bare(&action.name).to_owned())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    if !Path::new(VERSIONLOCK).exists() {
        return Err(PackageError::Unsupported {
            manager: "dnf",
            what: format!("hold {}", names.join(", ")),
            remedy: "install python3-dnf-plugin-versionlock, in whose list holds are kept",
        });
    }
    let mut argv = dnf("--assumeyes");
    argv.push("versionlock".into());
    argv.push(if operation == PackageOperation::Hold { "add" } else { "delete" }.into());
    argv.extend(names);
    let output = run_in_unit(transient("Holds of packages by abide", argv), progress)?;
    if output.success() {
        return Ok(());
    }
    let reason = reason(&output.stdout, &output.stderr);
    Err(PackageError::Failed { manager: "dnf", exit: output.code, reason })
}

fn await_locks(progress: &mut Tell<'_>) -> Result<(), PackageError> {
    let deadline = clock::instant() + LOCK_PATIENCE;
    for path in PROCESS_LOCKS {
        await_process(path, deadline, progress)?;
    }
    await_lock("/var/lib/rpm/.rpm.lock", deadline, progress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PackageOptions;

    fn action(name: &str, operation: PackageOperation, version: Option<&str>) -> PackageAction {
        let version = version.map(str::to_owned);
        PackageAction { name: name.into(), operation, version, options: PackageOptions::default() }
    }

    #[test]
    fn a_transaction_table_is_read() {
        let simulation = planned(
            "Last metadata expiration check: 0:00:01 ago.\nDependencies resolved.\n=====\n Package  Arch  Version  Repository  Size\n=====\nInstalling:\n new  noarch  1.0-1  local  6.1 k\n     replacing  old.noarch 0.9-1\nInstalling dependencies:\n a-name-that-is-much-too-long-for-its-column\n      noarch  2-1  local  6 k\nUpgrading:\n up  x86_64  1:2.0-1  local  6 k\nDowngrading:\n down  noarch  1.0-1  local  12\nRemoving:\n gone  noarch  3-1  @local  0\nRemoving dependent packages:\n needs-gone  noarch  1-1  @System  0\n\nTransaction Summary\n=====\nInstall  1 Package\n",
        );
        let planned = |name: &str, from: &str, to: &str| Planned {
            name: name.into(),
            from: from.into(),
            to: to.into(),
        };
        assert_eq!(
            simulation.installs,
            [planned("new", "", "1.0-1"), planned("a-name-that-is-much-too-long-for-its-column", "", "2-1")]
        );
        assert_eq!(simulation.upgrades, [planned("up", "", "1:2.0-1")]);
        assert_eq!(simulation.downgrades, [planned("down", "", "1.0-1")]);
        let removes =
            [planned("old", "0.9-1", ""), planned("gone", "3-1", ""), planned("needs-gone", "1-1", "")];
        assert_eq!(simulation.removes, removes);
    }

    #[test]
    fn an_offer_is_read() {
        let text = "a noarch 0:1.9-1\na noarch 0:1.10-1\na src 0:2-1\na x86_64 1:1.0-1\nab noarch 0:9-1\na noarch 0:1.10-1\n";
        assert_eq!(offered(text, "a"), ["1:1.0-1", "1.10-1", "1.9-1"]);
        assert_eq!(offered(text, "a:noarch"), ["1.10-1", "1.9-1"]);
        assert_eq!(offered(text, "none"), Vec::<String>::new());
    }

    #[test]
    fn what_is_meant_is_said_in_dnfs_words() {
        for (name, version, expected) in [
            ("a", None, "a"),
            ("a", Some("1:2-3"), "a-1:2-3"),
            ("a:x86_64", None, "a.x86_64"),
            ("a:x86_64", Some("2-3"), "a-2-3.x86_64"),
        ] {
            assert_eq!(specification(&action(name, PackageOperation::Install, version)), expected);
        }
        assert_eq!(specification(&action("a", PackageOperation::Purge, None)), "a");
    }

    #[test]
    fn names_are_judged() {
        for (name, good) in [
            ("bash", true),
            ("python3.11", true),
            ("gcc-c++", true),
            ("NetworkManager", true),
            ("glibc:i686", true),
            ("-y", false),
            ("a*", false),
            ("a b", false),
            ("@group", false),
            ("a:", false),
            ("", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn what_dnf_does_not_know_is_recognised() {
        let batch = batches(&[
            action("a", PackageOperation::Install, Some("9-1")),
            action("b", PackageOperation::Install, None),
            action("c", PackageOperation::Remove, None),
        ])
        .remove(0);
        let code = |said: &str| unknown(&batch, said).map(|error| crate::error::Explain::code(&error).0);
        assert_eq!(code("Error: Unable to find a match: a-9-1"), Some("E488"));
        assert_eq!(code("No match for argument: b\nError: x"), Some("E487"));
        assert_eq!(code("No match for argument: c"), None);
        assert_eq!(code("Nothing to do."), None);
    }

    #[test]
    fn a_list_of_locks_is_read() {
        let list = "# Added lock on Mon\nbash-0:5.1-6.el9.*\n!bad-0:1-1.*\ngcc-c++-0:11-2.x86_64\n\n";
        assert_eq!(parse_held(list), BTreeSet::from(["bash".to_owned(), "gcc-c++".to_owned()]));
    }
}
