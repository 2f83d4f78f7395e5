//! The contract of every package manager and of systemd, run inside a throw-away host by `packages.rs`:
//! `package-contract packages|systemd|figures`. It changes the host it runs on.
//!
//! The packages come from `package-repositories`, mounted at `/repositories`; the same names for apt and dnf.
#![allow(clippy::disallowed_methods, reason = "it changes the throw-away host that it runs on")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up shall end with its reason"
)]

use abide::error::Explain;
use abide::plan::{Conffiles, PackageAction, PackageOperation, PackageOptions, UnitAction};
use abide::progress::Progress;
use abide::system::observe::{PackageState, UnitState};
use abide::system::packages::{PackageError, PackageManager, detect, resolve};
use abide::system::systemd::{Systemd, SystemdError, Transient, UnitChange};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, Read};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("packages") => all(PACKAGES),
        Some("systemd") if arguments.get(2).is_some_and(|word| word == "be-killed") => {
            be_killed();
            ExitCode::SUCCESS
        }
        Some("systemd") => all(SYSTEMD),
        Some("figures") => figures(),
        Some("hold-lock") => hold_lock(&arguments[2]),
        _ => {
            eprintln!("usage: package-contract packages|systemd|figures");
            ExitCode::from(2)
        }
    }
}

type Case = (&'static str, fn());

/// Runs every case, says how each went, and fails if one did.
fn all(cases: &[Case]) -> ExitCode {
    let only = std::env::args().nth(2);
    let mut failed = 0;
    for (name, case) in
        cases.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| name.contains(only.as_str())))
    {
        let started = Instant::now();
        let good = std::panic::catch_unwind(case).is_ok();
        println!("{} {name} ({} ms)", if good { "ok" } else { "FAILED" }, started.elapsed().as_millis());
        failed += u8::from(!good);
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// --- packages --------------------------------------------------------------------------------------------

const PACKAGES: &[Case] = &[
    ("what archives offer is known, and what they do not", offers),
    ("present and absent", present_and_absent),
    ("an exact version, an upgrade, a downgrade only with leave", versions),
    ("an install of what is installed goes to the candidate", latest),
    ("unknown names and versions are refused by name", unknown),
    ("a name that is an option is no name", grammar),
    ("an epoch outweighs a version", epoch),
    ("who provides a name is known", provides),
    ("what nobody asked for is not removed", refuses_removals),
    ("install and removal are one transaction", one_transaction),
    ("a configuration file changed by hand is kept", conffile_kept),
    ("purging takes the configuration too", purge),
    ("a local file is installed", local_file),
    ("no service is started unless it is wanted", services),
    ("a hold is set, respected, overridden and released", holds),
    ("a lock is waited for", lock),
    ("an interrupted transaction is repaired", interrupted),
];

fn manager() -> Box<dyn PackageManager> {
    detect().expect("the host has a package manager")
}

fn state(name: &str) -> PackageState {
    manager().observe(&BTreeSet::from([name.to_owned()])).unwrap().remove(name).unwrap()
}

fn installed(name: &str) -> Option<String> {
    state(name).installed
}

fn action(name: &str, operation: PackageOperation) -> PackageAction {
    PackageAction { name: name.into(), operation, version: None, options: PackageOptions::default() }
}

fn install(name: &str) -> PackageAction {
    action(name, PackageOperation::Install)
}

fn remove(name: &str) -> PackageAction {
    action(name, PackageOperation::Remove)
}

impl Extra for PackageAction {}

trait Extra: Sized + Into<PackageAction> {
    fn version(self, version: &str) -> PackageAction {
        let mut action = self.into();
        action.version = Some(version.into());
        action
    }
    fn with(self, change: impl Fn(&mut PackageOptions)) -> PackageAction {
        let mut action = self.into();
        change(&mut action.options);
        action
    }
}

fn execute(actions: &[PackageAction]) -> Result<(), PackageError> {
    manager().execute(actions, &mut |progress| eprintln!("    {}", progress.text()))
}

#[track_caller]
fn must(actions: &[PackageAction]) {
    if let Err(error) = execute(actions) {
        panic!("{}", abide::error::Problem::from(error));
    }
}

#[track_caller]
fn refused(actions: &[PackageAction], code: &str) {
    let error = execute(actions).expect_err("it must be refused");
    assert_eq!(error.code().0, code, "{error}");
}

/// Removes these packages, whatever state they are in.
#[track_caller]
fn clean(names: &[&str]) {
    let there: Vec<PackageAction> = names
        .iter()
        .filter(|name| installed(name).is_some() || state(name).config_files)
        .map(|name| action(name, PackageOperation::Purge))
        .collect();
    if !there.is_empty() {
        must(&there);
    }
}

fn offers() {
    let mut states: BTreeMap<String, PackageState> = ["abide-one", "abide-epoch", "abide-nosuch"]
        .map(|name| (name.to_owned(), PackageState::default()))
        .into();
    let wanted = states.keys().map(|name| (name.clone(), None)).collect();
    let now = SystemTime::now();
    let mut lines = 0;
    resolve(&*manager(), &mut states, &wanted, Duration::from_secs(3600), now, &mut |_| lines += 1).unwrap();
    assert_eq!(states["abide-one"].candidate.as_deref(), Some("2.0-1"));
    assert_eq!(states["abide-one"].available, ["2.0-1", "1.0-1"]);
    assert_eq!(states["abide-epoch"].available, ["1:1.0-1", "2.0-1"]);
    assert!(states["abide-nosuch"].index_consulted && states["abide-nosuch"].candidate.is_none());
    assert!(manager().index_age(now).expect("there is an index now") < Duration::from_secs(600));
}

fn present_and_absent() {
    clean(&["abide-two"]);
    assert_eq!(state("abide-two"), PackageState::default());
    let simulation = manager().simulate(&[install("abide-two")]).unwrap();
    assert_eq!(simulation.installs.len(), 1, "{simulation:?}");
    assert_eq!(installed("abide-two"), None, "a simulation changes nothing");
    must(&[install("abide-two")]);
    assert_eq!(installed("abide-two").as_deref(), Some("1.0-1"));
    assert!(manager().simulate(&[install("abide-two")]).unwrap().is_empty(), "nothing is left to do");
    must(&[remove("abide-two")]);
    assert_eq!(installed("abide-two"), None);
}

fn versions() {
    clean(&["abide-one"]);
    must(&[install("abide-one").version("1.0-1")]);
    assert_eq!(installed("abide-one").as_deref(), Some("1.0-1"));
    let upgrade = install("abide-one").version("2.0-1");
    let simulation = manager().simulate(std::slice::from_ref(&upgrade)).unwrap();
    let planned = &simulation.upgrades[0];
    assert_eq!((planned.from.as_str(), planned.to.as_str()), ("1.0-1", "2.0-1"));
    must(&[upgrade]);
    assert_eq!(installed("abide-one").as_deref(), Some("2.0-1"));
    let downgrade = install("abide-one").version("1.0-1");
    refused(std::slice::from_ref(&downgrade), "E490");
    assert_eq!(installed("abide-one").as_deref(), Some("2.0-1"));
    must(&[downgrade.with(|options| options.allow_downgrade = true)]);
    assert_eq!(installed("abide-one").as_deref(), Some("1.0-1"));
}

fn latest() {
    clean(&["abide-one"]);
    must(&[install("abide-one").version("1.0-1")]);
    must(&[install("abide-one")]);
    assert_eq!(installed("abide-one").as_deref(), Some("2.0-1"));
}

fn unknown() {
    refused(&[install("abide-nosuch")], "E487");
    refused(&[install("abide-one").version("7.0-1")], "E488");
    clean(&["abide-two"]);
    refused(&[install("abide-two"), install("abide-nosuch")], "E487");
    assert_eq!(installed("abide-two"), None, "nothing is done of a transaction that cannot be done whole");
}

fn grammar() {
    for name in ["--help", "-o", "a b", "abide-*", ""] {
        refused(&[install(name)], "E497");
    }
    refused(&[install("abide-one").version("1.0; reboot")], "E497");
}

fn epoch() {
    clean(&["abide-epoch"]);
    must(&[install("abide-epoch").version("2.0-1")]);
    must(&[install("abide-epoch").version("1:1.0-1")]);
    assert_eq!(installed("abide-epoch").as_deref(), Some("1:1.0-1"));
    refused(&[install("abide-epoch").version("2.0-1")], "E490");
    assert!(manager().order().compare("1:1.0-1", "2.0-1").is_gt());
}

fn provides() {
    clean(&["abide-provider"]);
    assert!(state("abide-virtual").provided_by.is_empty());
    must(&[install("abide-provider")]);
    assert_eq!(state("abide-virtual").provided_by, ["abide-provider"]);
    assert_eq!(installed("abide-virtual"), None);
}

fn refuses_removals() {
    clean(&["abide-dependent", "abide-base"]);
    must(&[install("abide-dependent")]);
    assert!(installed("abide-base").is_some(), "a dependency comes along");
    refused(&[remove("abide-base")], "E489");
    assert!(installed("abide-dependent").is_some());
    must(&[remove("abide-dependent")]);
    assert!(installed("abide-base").is_some(), "what only the removed one needed stays, for nobody asked");
    must(&[remove("abide-base")]);
}

/// How many transactions the package manager's own history has.
fn transactions() -> i64 {
    if manager().name() == "apt" {
        let history = fs::read_to_string("/var/log/apt/history.log").unwrap_or_default();
        return i64::try_from(history.matches("Start-Date:").count()).unwrap();
    }
    let history = rusqlite::Connection::open("/var/lib/dnf/history.sqlite").unwrap();
    history.query_row("SELECT count(*) FROM trans", [], |row| row.get(0)).unwrap()
}

fn one_transaction() {
    clean(&["abide-one", "abide-two", "abide-provider"]);
    must(&[install("abide-two")]);
    let before = transactions();
    must(&[remove("abide-two"), install("abide-one"), install("abide-provider")]);
    assert_eq!(transactions(), before + 1);
    assert_eq!(installed("abide-two"), None);
    assert!(installed("abide-one").is_some() && installed("abide-provider").is_some());
}

const CONFFILE: &str = "/etc/abide-conf.conf";

fn conffile_kept() {
    clean(&["abide-conf"]);
    let _ = fs::remove_file(CONFFILE);
    must(&[install("abide-conf").version("1.0-1")]);
    assert_eq!(fs::read_to_string(CONFFILE).unwrap(), "from package 1.0\n");
    must(&[install("abide-conf").version("2.0-1")]);
    assert_eq!(
        fs::read_to_string(CONFFILE).unwrap(),
        "from package 2.0\n",
        "an unchanged one follows the package"
    );
    fs::write(CONFFILE, "by hand\n").unwrap();
    must(&[install("abide-conf").version("1.0-1").with(|options| options.allow_downgrade = true)]);
    assert_eq!(fs::read_to_string(CONFFILE).unwrap(), "by hand\n");
    if manager().name() == "apt" {
        let replace = install("abide-conf").with(|options| options.conffiles = Conffiles::Replace);
        must(&[replace]);
        assert_eq!(fs::read_to_string(CONFFILE).unwrap(), "from package 2.0\n");
    }
}

fn purge() {
    clean(&["abide-conf", "abide-two"]);
    let _ = fs::remove_file(CONFFILE);
    must(&[install("abide-conf"), install("abide-two")]);
    if manager().name() == "apt" {
        must(&[remove("abide-conf")]);
        assert!(state("abide-conf").config_files && Path::new(CONFFILE).exists());
        must(&[install("abide-conf")]);
    }
    must(&[action("abide-conf", PackageOperation::Purge), remove("abide-two")]);
    assert!(!Path::new(CONFFILE).exists());
    assert_eq!(state("abide-conf"), PackageState::default());
    assert_eq!(installed("abide-two"), None);
}

fn local_file() {
    clean(&["abide-two"]);
    let file = match manager().name() {
        "apt" => "/repositories/deb/abide-two_0_1.0.deb",
        _ => "/repositories/rpm/abide-two-0-1.0-1.noarch.rpm",
    };
    must(&[install("abide-two").with(|options| options.file = Some(file.into()))]);
    assert_eq!(installed("abide-two").as_deref(), Some("1.0-1"));
}

fn unit(name: &str) -> UnitState {
    Systemd::connect().unwrap().units(&BTreeSet::from([name.to_owned()])).unwrap().remove(name).unwrap()
}

fn services() {
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    clean(&["abide-served"]);
    must(&[install("abide-served")]);
    assert_eq!(unit("abide-served.service").active, "inactive");
    assert!(!Path::new(POLICY).exists(), "nothing is left of the policy");
    must(&[remove("abide-served")]);
    must(&[install("abide-served").with(|options| options.start_services = true)]);
    assert_eq!(unit("abide-served.service").active, "active");
    // A removal may stop what it removes.
    must(&[remove("abide-served")]);
    assert_ne!(unit("abide-served.service").active, "active");
    assert!(!Path::new(POLICY).exists());
    if manager().name() == "apt" {
        // A policy of the host's own is covered for the time of the transaction, and is itself again afterwards.
        fs::write(POLICY, "#!/bin/sh\nexit 0\n").unwrap();
        Command::new("chmod").args(["0755", POLICY]).status().unwrap();
        must(&[install("abide-served")]);
        assert_eq!(unit("abide-served.service").active, "inactive");
        assert_eq!(fs::read_to_string(POLICY).unwrap(), "#!/bin/sh\nexit 0\n");
        fs::remove_file(POLICY).unwrap();
        clean(&["abide-served"]);
    }
}

fn holds() {
    clean(&["abide-one"]);
    must(&[install("abide-one").version("1.0-1")]);
    let hold = action("abide-one", PackageOperation::Hold);
    if manager().name() == "dnf" && !Path::new("/etc/dnf/plugins/versionlock.conf").exists() {
        refused(&[hold], "E498");
        return;
    }
    must(&[hold]);
    assert!(state("abide-one").held);
    let upgrade = install("abide-one").version("2.0-1");
    refused(std::slice::from_ref(&upgrade), "E491");
    assert_eq!(installed("abide-one").as_deref(), Some("1.0-1"));
    must(&[upgrade.with(|options| options.change_held = true)]);
    assert_eq!(installed("abide-one").as_deref(), Some("2.0-1"));
    must(&[action("abide-one", PackageOperation::Unhold)]);
    assert!(!state("abide-one").held);
}

/// Another process holds the lock until we have said that we wait for it.
fn lock() {
    clean(&["abide-two"]);
    let path =
        if manager().name() == "apt" { "/var/lib/dpkg/lock-frontend" } else { "/var/lib/rpm/.rpm.lock" };
    let program = std::env::current_exe().unwrap();
    let mut holder = Command::new(program)
        .args(["hold-lock", path])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "locked\n");
    let mut release = holder.stdin.take();
    let mut said = Vec::new();
    let result = manager().execute(&[install("abide-two")], &mut |progress| {
        said.push(progress.text().to_owned());
        if matches!(progress, Progress::Waiting(_)) {
            release.take();
        }
    });
    drop(release);
    holder.wait().unwrap();
    result.unwrap();
    assert!(said.iter().any(|line| line.contains("locked by process")), "{said:?}");
    assert_eq!(installed("abide-two").as_deref(), Some("1.0-1"));
}

/// Holds an fcntl(2) lock until standard input ends.
fn hold_lock(path: &str) -> ExitCode {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let lock = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLK(&lock)).unwrap();
    println!("locked");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    ExitCode::SUCCESS
}

fn interrupted() {
    clean(&["abide-fragile", "abide-two"]);
    if manager().name() == "apt" {
        fs::write("/run/abide-test-fail", "").unwrap();
        refused(&[install("abide-fragile")], "E493");
        fs::remove_file("/run/abide-test-fail").unwrap();
    } else {
        must(&[install("abide-fragile").version("1.0-1")]);
        // What a power cut between the two halves of an upgrade leaves.
        let file = "/repositories/rpm/abide-fragile-0-2.0-1.noarch.rpm";
        let done = Command::new("rpm")
            .args(["-i", "--force", "--nodeps", "--justdb", file])
            .args(force_debian())
            .status()
            .unwrap();
        assert!(done.success());
    }
    assert!(manager().interrupted().unwrap());
    must(&[install("abide-two")]);
    assert!(!manager().interrupted().unwrap());
    assert_eq!(installed("abide-fragile").as_deref(), Some("2.0-1"));
    assert_eq!(installed("abide-two").as_deref(), Some("1.0-1"));
}

/// Debian's rpm asks for installs to be forced.
fn force_debian() -> Option<&'static str> {
    let help = Command::new("rpm").arg("--help").output().unwrap();
    String::from_utf8_lossy(&help.stdout).contains("--force-debian").then_some("--force-debian")
}

// --- systemd ---------------------------------------------------------------------------------------------

const SYSTEMD: &[Case] = &[
    ("the state of units of every sort", unit_states),
    ("enable, start, reload, restart, stop, disable", life_of_a_unit),
    ("mask and unmask, and what cannot be masked", masks),
    ("each failure says what and why", failures),
    ("jobs of many units run together", together),
    ("a program in a unit of its own", transient),
    ("a program that outlives its caller is adopted", adopted),
    ("a unit is watched", watched),
];

fn write_unit(name: &str, text: &str) {
    fs::write(format!("/etc/systemd/system/{name}"), text).unwrap();
    Systemd::connect().unwrap().daemon_reload().unwrap();
}

const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

fn change(unit: &str, action: UnitAction) -> Result<(), SystemdError> {
    change_within(unit, action, 30)
}

fn change_within(unit: &str, action: UnitAction, timeout: u32) -> Result<(), SystemdError> {
    Systemd::connect().unwrap().change(&[UnitChange { unit: unit.into(), action, timeout }]).pop().unwrap()
}

fn code(result: Result<(), SystemdError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(error) => {
            eprintln!("    {error}");
            error.code().0
        }
    }
}

fn unit_states() {
    write_unit("abide-socket.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    write_unit(
        "abide-socket.socket",
        "[Socket]\nListenStream=/run/abide-test.socket\n[Install]\nWantedBy=sockets.target\n",
    );
    write_unit("abide-template@.service", SLEEPER);
    change("abide-socket.socket", UnitAction::Start).unwrap();
    let names = [
        "abide-socket.service",
        "abide-socket.socket",
        "abide-template@.service",
        "abide-none.service",
        "no unit",
    ];
    let states = Systemd::connect().unwrap().units(&names.map(String::from).into()).unwrap();
    assert_eq!(states.len(), names.len());
    let service = &states["abide-socket.service"];
    assert_eq!(
        (service.load.as_str(), service.active.as_str(), service.file_state.as_str()),
        ("loaded", "inactive", "static")
    );
    assert_eq!(service.fragment, Path::new("/etc/systemd/system/abide-socket.service"));
    assert_eq!(service.active_triggers, ["abide-socket.socket"]);
    assert_eq!(states["abide-socket.socket"].active, "active");
    assert_eq!(states["abide-template@.service"].file_state, "disabled");
    assert_eq!(states["abide-none.service"].load, "not-found");
    assert_eq!(states["no unit"].load, "error");
    // Triggers that were not asked for are looked up.
    assert_eq!(unit("abide-socket.service").active_triggers, ["abide-socket.socket"]);
    fs::write("/etc/systemd/system/abide-socket.service", "[Service]\nExecStart=/bin/true\n").unwrap();
    assert!(unit("abide-socket.service").needs_reload);
    let background = abide::system::systemd::Background::begin(None);
    background.ask(["abide-socket.socket".to_owned()].into());
    let (systemd, states) = background.finish().unwrap();
    assert_eq!(states["abide-socket.socket"].active, "active");
    let background = abide::system::systemd::Background::begin(Some(systemd));
    assert!(background.finish().is_ok_and(|(_, states)| states.is_empty()), "nobody asked");
}

fn main_process(unit: &str) -> String {
    let output = Command::new("systemctl").args(["show", "-P", "MainPID", unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn life_of_a_unit() {
    write_unit("abide-life.service", SLEEPER);
    assert_eq!(unit("abide-life.service").file_state, "disabled");
    change("abide-life.service", UnitAction::Restart).unwrap();
    change("abide-life.service", UnitAction::Reload).unwrap();
    assert_eq!(unit("abide-life.service").active, "inactive", "what does not run is left alone");
    let both = [UnitAction::Start, UnitAction::Enable].map(|action| UnitChange {
        unit: "abide-life.service".into(),
        action,
        timeout: 30,
    });
    assert!(Systemd::connect().unwrap().change(&both).iter().all(Result::is_ok));
    let state = unit("abide-life.service");
    assert_eq!((state.active.as_str(), state.file_state.as_str()), ("active", "enabled"));
    let first = main_process("abide-life.service");
    change("abide-life.service", UnitAction::Reload).unwrap();
    let second = main_process("abide-life.service");
    assert_ne!(first, second, "what cannot reload is restarted");
    change("abide-life.service", UnitAction::Restart).unwrap();
    assert_ne!(second, main_process("abide-life.service"));
    change("abide-life.service", UnitAction::Stop).unwrap();
    change("abide-life.service", UnitAction::Disable).unwrap();
    let state = unit("abide-life.service");
    assert_eq!((state.active.as_str(), state.file_state.as_str()), ("inactive", "disabled"));
}

fn masks() {
    write_unit("abide-own.service", SLEEPER);
    assert_eq!(code(change("abide-own.service", UnitAction::Mask)), "E475");
    fs::write("/usr/lib/systemd/system/abide-vendor.service", SLEEPER).unwrap();
    Systemd::connect().unwrap().daemon_reload().unwrap();
    change("abide-vendor.service", UnitAction::Mask).unwrap();
    let state = unit("abide-vendor.service");
    assert_eq!((state.load.as_str(), state.file_state.as_str()), ("masked", "masked"));
    assert_eq!(code(change("abide-vendor.service", UnitAction::Start)), "E474");
    assert_eq!(code(change("abide-vendor.service", UnitAction::Enable)), "E474");
    change("abide-vendor.service", UnitAction::Unmask).unwrap();
    assert_eq!(unit("abide-vendor.service").file_state, "disabled");
}

fn failures() {
    write_unit(
        "abide-fails.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo the reason is here; exit 3'\n",
    );
    let error = change("abide-fails.service", UnitAction::Start).unwrap_err();
    assert_eq!(error.code().0, "E477");
    assert!(error.to_string().contains("the reason is here"), "{error}");
    assert_eq!(unit("abide-fails.service").active, "failed");
    change("abide-fails.service", UnitAction::ResetFailed).unwrap();
    assert_eq!(unit("abide-fails.service").active, "inactive");
    write_unit("abide-slow.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n");
    assert_eq!(code(change_within("abide-slow.service", UnitAction::Start, 1)), "E478");
    change("abide-slow.service", UnitAction::Stop).unwrap();
    write_unit(
        "abide-when.service",
        "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/sleep infinity\n",
    );
    assert_eq!(code(change("abide-when.service", UnitAction::Start)), "E479");
    write_unit("abide-static.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    assert_eq!(code(change("abide-static.service", UnitAction::Enable)), "E476");
    for (unit, action, expected) in [
        ("abide-none.service", UnitAction::Start, "E473"),
        ("abide-none.service", UnitAction::Enable, "E473"),
        ("abide-none.service", UnitAction::ResetFailed, "ok"),
        ("abide.service", UnitAction::Restart, "E480"),
        ("no unit", UnitAction::Start, "E484"),
    ] {
        assert_eq!(code(change(unit, action)), expected, "{unit} {action:?}");
    }
}

fn together() {
    let one = "[Service]\nType=oneshot\nExecStart=/bin/sleep 1\n[Install]\nWantedBy=multi-user.target\n";
    let names: Vec<String> = (0..20).map(|number| format!("abide-many{number}.service")).collect();
    for name in &names {
        fs::write(format!("/etc/systemd/system/{name}"), one).unwrap();
    }
    let systemd = Systemd::connect().unwrap();
    systemd.daemon_reload().unwrap();
    let mut changes: Vec<UnitChange> = names
        .iter()
        .flat_map(|name| {
            [UnitAction::Start, UnitAction::Enable].map(|action| UnitChange {
                unit: name.clone(),
                action,
                timeout: 30,
            })
        })
        .collect();
    changes.push(UnitChange { unit: "abide-none.service".into(), action: UnitAction::Enable, timeout: 30 });
    let started = Instant::now();
    let results = systemd.change(&changes);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "twenty waits of a second are one: {:?}",
        started.elapsed()
    );
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    let states = systemd.units(&names.into_iter().collect()).unwrap();
    assert!(
        states.values().all(|state| state.file_state == "enabled"),
        "one bad unit does not spoil the others"
    );
}

fn run(
    argv: &[&str],
    change: impl Fn(&mut Transient),
) -> Result<abide::system::systemd::TransientOutput, SystemdError> {
    let mut transient = Transient {
        name: "abide-test-run".into(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        timeout: Duration::from_secs(30),
        ..Transient::default()
    };
    change(&mut transient);
    Systemd::connect().unwrap().run_transient(&transient, &mut |_| {})
}

fn transient() {
    let output = run(
        &["sh", "-c", "echo out; echo err >&2; cat; echo \"$WORD $0\"; pwd; id -un; exit 7", "$HOME ${A}%n"],
        |transient| {
            transient.stdin = b"typed\n".to_vec();
            transient.environment.insert("WORD".into(), "with space".into());
            transient.directory = Some("/usr".into());
            transient.user = Some("nobody".into());
        },
    )
    .unwrap();
    assert_eq!(output.code, Some(7));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "out\ntyped\nwith space $HOME ${A}%n\n/usr\nnobody\n"
    );
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(unit("abide-test-run.service").load, "not-found", "nothing is left");
    assert!(run(&["true"], |_| {}).unwrap().success());
    assert!(
        run(&["sleep", "infinity"], |transient| transient.timeout = Duration::from_secs(1))
            .unwrap()
            .timed_out
    );
    assert_eq!(run(&["sh", "-c", "kill -9 $$"], |_| {}).unwrap().signal, Some(9));
    let confined =
        |word: &'static str| move |transient: &mut Transient| transient.sandbox = vec![word.into()];
    assert!(!run(&["touch", "/etc/abide-test"], confined("read-only")).unwrap().success());
    assert!(run(&["touch", "/etc/abide-test"], |_| {}).unwrap().success());
    let interfaces = run(&["ls", "/sys/class/net"], confined("no-network")).unwrap();
    assert!(interfaces.success());
    for argv in [&["/nowhere/program"][..], &["abide-no-such-program"], &["/etc/passwd"]] {
        assert_eq!(run(argv, |_| {}).unwrap_err().code().0, "E481", "{argv:?}");
    }
    let error = run(&["true"], |transient| transient.user = Some("abide-nobody".into())).unwrap_err();
    assert!(error.to_string().contains("user"), "{error}");
    let much = run(&["sh", "-c", "head -c 40000000 /dev/zero; echo end"], |_| {}).unwrap();
    assert!(
        much.stdout.len() <= 1 << 20 && much.stdout.ends_with(b"end\n"),
        "only the end of much output is kept"
    );
}

fn adopted() {
    let program = std::env::current_exe().unwrap();
    let _ = fs::remove_file("/run/abide-test-go");
    // A caller that is killed while its program runs.
    let mut caller = Command::new("systemd-run")
        .args(["--quiet", "--unit=abide-test-caller", "--service-type=exec", "--collect"])
        .arg(&program)
        .args(["systemd", "be-killed"])
        .spawn()
        .unwrap();
    caller.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while unit("abide-test-adopt.service").active != "active" {
        assert!(Instant::now() < deadline, "the program never ran");
    }
    Command::new("systemctl").args(["kill", "--signal=KILL", "abide-test-caller"]).status().unwrap();
    assert_eq!(unit("abide-test-adopt.service").active, "active", "it lives on");
    fs::write("/run/abide-test-go", "").unwrap();
    let output =
        Systemd::connect().unwrap().adopt("abide-test-adopt", &mut |_| {}).unwrap().expect("it is there");
    assert_eq!((output.code, output.stdout.as_slice()), (Some(5), &b"adopted\n"[..]));
    assert_eq!(Systemd::connect().unwrap().adopt("abide-test-adopt", &mut |_| {}).unwrap(), None);
}

/// The part of [`adopted`] that is killed; not a case of its own.
fn be_killed() {
    let script = "while ! [ -e /run/abide-test-go ]; do sleep 0.05; done; echo adopted; exit 5";
    run(&["sh", "-c", script], |transient| transient.name = "abide-test-adopt".into()).unwrap();
}

fn watched() {
    use abide::system::systemd::{UnitEvent, watch};
    write_unit("abide-watched.service", SLEEPER);
    write_unit("abide-other.service", SLEEPER);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut watch = watch(BTreeSet::from(["abide-watched.service".to_owned()])).await.unwrap();
        let task = tokio::task::spawn_blocking(|| {
            change("abide-other.service", UnitAction::Start).unwrap();
            change("abide-watched.service", UnitAction::Start).unwrap();
        });
        let mut first = UnitEvent::FilesChanged;
        // systemd may still have to say that it has read the files above.
        while first == UnitEvent::FilesChanged {
            first =
                tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("in time").unwrap();
        }
        assert_eq!(first, UnitEvent::Changed("abide-watched.service".into()));
        task.await.unwrap();
        tokio::task::spawn_blocking(|| change("abide-other.service", UnitAction::Enable).unwrap())
            .await
            .unwrap();
        loop {
            let event =
                tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("in time").unwrap();
            if event == UnitEvent::FilesChanged {
                break;
            }
        }
    });
    for unit in ["abide-watched.service", "abide-other.service"] {
        change(unit, UnitAction::Stop).unwrap();
    }
}

// --- figures ---------------------------------------------------------------------------------------------

fn least(mut work: impl FnMut()) -> Duration {
    (0..21)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .min()
        .unwrap()
}

fn figures() -> ExitCode {
    let names: BTreeSet<String> = (0..20).map(|number| format!("abide-none{number}")).collect();
    let manager = manager();
    println!("{}: observe 20 names: {:?}", manager.name(), least(|| drop(manager.observe(&names).unwrap())));
    println!("systemd: connect: {:?}", least(|| drop(Systemd::connect().unwrap())));
    let listed =
        Command::new("systemctl").args(["list-units", "--all", "--plain", "--no-legend"]).output().unwrap();
    let units: Vec<String> = String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|unit| unit.ends_with(".service") || unit.ends_with(".socket") || unit.ends_with(".timer"))
        .map(str::to_owned)
        .collect();
    let systemd = Systemd::connect().unwrap();
    for count in [10, 50] {
        let units: BTreeSet<String> = units.iter().take(count).cloned().collect();
        let took = least(|| drop(systemd.units(&units).unwrap()));
        println!("systemd: state of {} units: {took:?}", units.len());
    }
    ExitCode::SUCCESS
}
