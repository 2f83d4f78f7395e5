//! The packages on real hosts, with real apt and real dnf: install, upgrade, remove, purge, install again.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::command::run;
use crate::support::fleet::{Fleet, Signer};
use crate::support::git_server::{GitServer, Place};
use crate::support::host::{Host, HostOptions, Root};
use crate::support::lab_is_enabled;

/// A version above every one that is released.
const NEWER: &str = "99.0.0";

/// Long enough for a package transaction on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The packages of this checkout, and the same contents again with a higher version.
struct Packages {
    deb: PathBuf,
    rpm: PathBuf,
    newer_deb: PathBuf,
    newer_rpm: PathBuf,
}

fn packages() -> &'static Packages {
    static BUILT: OnceLock<Packages> = OnceLock::new();
    BUILT.get_or_init(|| {
        let [deb, rpm] = build(&[]);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("newer-packages");
        let folder = folder.to_str().expect("paths of tests are UTF-8");
        let [newer_deb, newer_rpm] = build(&["--version", NEWER, "--output", folder]);
        Packages { deb, rpm, newer_deb, newer_rpm }
    })
}

/// `$ABIDE_PROGRAM` is packed if it is set, instead of a release build.
fn build(arguments: &[&str]) -> [PathBuf; 2] {
    let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    if let Ok(program) = std::env::var("ABIDE_PROGRAM") {
        arguments.extend(["--binary".into(), program]);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build");
    let paths: Vec<PathBuf> = run(script, &arguments, b"").success().lines().map(PathBuf::from).collect();
    paths.try_into().expect("one deb and one rpm")
}

fn boot(root: Root) -> Host {
    Host::boot(HostOptions { name: "packaging", root, ..HostOptions::default() })
}

const APT: &str = "env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends";

fn debian() -> Host {
    let host = boot(Root::Debian);
    host.push(&packages().deb, "/root/abide.deb");
    host.push(&packages().newer_deb, "/root/newer.deb");
    host.sh(&format!("{APT} install /root/abide.deb")).success();
    host
}

/// A host with dnf and a repository; the newer package appears in it by `offer_newer`.
fn rpm() -> Host {
    let host = boot(Root::Rpm);
    host.push(&packages().rpm, "/srv/repository/abide.rpm");
    host.push(&packages().newer_rpm, "/srv/newer.rpm");
    host.sh("createrepo_c -q /srv/repository").success();
    let repository = "[test]\nname=test\nbaseurl=file:///srv/repository\ngpgcheck=0\nmetadata_expire=0\n";
    host.write("/etc/yum.repos.d/test.repo", repository);
    host.sh("dnf -q -y install abide").success();
    host
}

/// A fleet whose hosts get `role`, served inside the host's own network, with the host enrolled.
pub(crate) struct Enrolled {
    fleet: Fleet,
    alice: Signer,
    _server: GitServer,
}

const ROLE: &str = "[file.\"/etc/by-abide\"]\ncontent = \"abide was here\\n\"\n";

impl Enrolled {
    #[track_caller]
    pub(crate) fn new(host: &Host, role: &str) -> Enrolled {
        let fleet = Fleet::new();
        let alice = fleet.signer("alice");
        let key: Vec<String> = alice.public_key().split(' ').take(2).map(str::to_owned).collect();
        let policy = format!(
            "version = 1\nfleet = \"00112233445566778899aabbccddeeff\"\nref = \"refs/heads/main\"\n\
             [principal.alice]\nkeys = [{{ key = \"{}\" }}]\n\
             [[scope]]\nname = \"everything\"\npaths = [\"**\"]\nsigners = [\"alice\"]\n",
            key.join(" ")
        );
        let manifest = "[fleet]\nname = \"packaging\"\nschema = 1\n[[assign]]\nroles = [\"base\"]\n";
        let files =
            [("trust.toml", policy.as_str()), ("fleet.toml", manifest), ("roles/base/role.toml", role)];
        let introduction = fleet.publish("Begin", &alice, &files);
        let server = GitServer::git(&fleet.repositories(), Place::In(host));
        host.sh(
            "sed -i 's/^#upgrade-within = .*/upgrade-within = \"8s\"/; s/^#poll = .*/poll = \"1s\"/; s/^#jitter = .*/jitter = \"0s\"/' /etc/abide/abide.toml",
        )
        .success();
        let url = server.url("fleet");
        let line =
            ["abide", "enroll", &url, "--introduction", &introduction, "--key", &key.join(" "), "--yes"];
        host.exec(&line).success();
        Enrolled { fleet, alice, _server: server }
    }

    pub(crate) fn publish(&self, role: &str) -> String {
        self.fleet.publish("Change the role", &self.alice, &[("roles/base/role.toml", role)])
    }
}

/// Waits until the host is as this commit says.
#[track_caller]
pub(crate) fn converged(host: &Host, commit: &str) {
    host.wait_for(
        &format!("abide status -o json | grep -q '\"commit\": \"{commit}\"' && abide status >/dev/null"),
        SOON,
    );
}

pub(crate) fn main_process(host: &Host) -> String {
    host.sh("systemctl show --property MainPID --value abide").success()
}

/// Another process than before, and ready.
#[track_caller]
pub(crate) fn restarted(host: &Host, before: &str) {
    let before = before.trim();
    let script = format!(
        "[ \"$(systemctl show --property MainPID --value abide)\" != {before} ] && systemctl is-active --quiet abide"
    );
    host.wait_for(&script, SOON);
}

#[track_caller]
pub(crate) fn no_run_was_interrupted(host: &Host) {
    let history = host.sh("abide history --runs -o json").success();
    assert!(!history.contains("nterrupted"), "{history}");
}

/// What holds for a host on which abide was installed and nothing else was done.
#[track_caller]
fn is_installed_and_idle(host: &Host) {
    assert_eq!(host.sh("systemctl is-enabled abide").stdout, "disabled\n");
    assert_eq!(host.sh("systemctl is-active abide").stdout, "inactive\n");
    // Started by hand it sees that there is nothing to abide by, and that is no failure.
    host.sh("systemctl start abide").success();
    assert_eq!(host.sh("systemctl is-active abide").stdout, "inactive\n");
    let status = host.sh("abide status");
    assert_eq!(status.code, 1);
    assert!(status.stdout.contains("not enrolled") && status.stdout.contains("do:"), "{}", status.stdout);
    let folders = "stat -c '%U %a %n' /etc/abide /var/lib/abide /var/lib/abide-fetch /run/abide";
    let expected = "root 755 /etc/abide\nroot 700 /var/lib/abide\nabide-fetch 750 /var/lib/abide-fetch\nroot 755 /run/abide\n";
    assert_eq!(host.sh(folders).success(), expected);
    assert!(host.read("/etc/passwd").contains("abide-fetch:x:"));
    // Everything in the default settings is a comment or the name of a table.
    let settings = host.read("/etc/abide/abide.toml");
    let said: Vec<&str> =
        settings.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])).collect();
    assert!(said.is_empty(), "{said:?}");
}

/// Manual pages of all commands, completions that load, and journal entries that are explained.
#[track_caller]
fn is_documented(host: &Host) {
    let help = host.sh("abide --help").success();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("    "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 10, "{help}");
    for command in commands {
        host.sh(&format!("gzip -dc /usr/share/man/man1/abide-{command}.1.gz | grep -q '^.SH EXAMPLES'"))
            .success();
    }
    host.sh("test -s /usr/share/man/man8/abide.8.gz -a -s /usr/share/man/man5/abide.toml.5.gz").success();
    host.sh("test -s /usr/share/man/man5/abide-trust.toml.5.gz").success();
    host.sh(". /usr/share/bash-completion/completions/abide; complete -p abide").success();
    host.sh("test -s /usr/share/fish/vendor_completions.d/abide.fish").success();
    let catalog = host.sh("journalctl --list-catalog").success();
    for description in abide::report::event::DESCRIPTIONS {
        assert!(catalog.contains(description.id), "{:?} is not in the catalog", description.kind);
    }
}

#[test]
fn a_deb_does_nothing_until_the_host_is_enrolled() {
    if !lab_is_enabled() {
        return;
    }
    let host = debian();
    is_installed_and_idle(&host);
    is_documented(&host);
    let depends = host.sh("dpkg-query -W -f '${Depends}' abide").success();
    let names: Vec<&str> = depends.split(", ").filter_map(|item| item.split(' ').next()).collect();
    assert_eq!(names, ["libc6", "libgcc-s1", "systemd"], "a minimal system has nothing else");
    // Ubuntu 22.04 is the oldest that the deb is for.
    for (item, oldest) in depends.split(", ").zip(["2.35", "12", "249"]) {
        let needed = item.split_once(">= ").map_or("0", |(_, version)| version.trim_end_matches([')', '\n']));
        host.sh(&format!("dpkg --compare-versions {needed} le {oldest}")).success();
    }
    assert_eq!(host.sh("dpkg --verify abide").success(), "");
}

#[test]
fn an_installation_is_small() {
    if !lab_is_enabled() {
        return;
    }
    if std::env::var_os("ABIDE_PROGRAM").is_some() {
        eprintln!("skipped: $ABIDE_PROGRAM is not a release build");
        return;
    }
    let host = debian();
    let kibibytes: u64 = host
        .sh("dpkg-query -L abide | while read -r path; do [ -d \"$path\" ] || stat -c %s \"$path\"; done \
             | awk '{ sum += $1 } END { print int(sum / 1024) }'")
        .success()
        .trim()
        .parse()
        .expect("a number");
    assert!(kibibytes <= 12 * 1024, "{kibibytes} KiB are installed");
}

#[test]
fn an_rpm_does_nothing_until_the_host_is_enrolled() {
    if !lab_is_enabled() {
        return;
    }
    let host = rpm();
    is_installed_and_idle(&host);
    is_documented(&host);
    let foreign = host.sh("rpm -q --requires abide | grep -vE '^(ld-linux|lib(c|m|gcc_s)\\.so|rpmlib|rtld|config\\(abide\\)|systemd|/bin/sh)'");
    assert_eq!(foreign.stdout, "", "a minimal system has nothing else");
    // RHEL 9 is the oldest that the rpm is for.
    let newest = "rpm -q --requires abide | sed -n 's/.*(GLIBC_\\([0-9.]*\\)).*/\\1/p' | sort -V | tail -n 1";
    let newest = host.sh(newest).success();
    let minor: u32 =
        newest.trim().strip_prefix("2.").and_then(|minor| minor.parse().ok()).expect("a version");
    assert!(minor <= 34, "{newest}");
}

#[test]
fn the_units_are_sound_and_hardened() {
    if !lab_is_enabled() {
        return;
    }
    let host = debian();
    let verify = host.sh("systemd-analyze verify --man=no abide.service abide-fetch.service");
    assert_eq!((verify.code, verify.stderr.as_str()), (0, ""));
    // In tenths; 100 is no confinement at all.
    for (unit, most) in [("abide.service", 35), ("abide-fetch.service", 15)] {
        let judged = host.sh(&format!("systemd-analyze security --no-pager --threshold={most} {unit}"));
        assert_eq!(judged.code, 0, "{}", judged.stdout.lines().last().unwrap_or_default());
    }
}

#[test]
fn an_upgrade_keeps_the_settings_and_lets_a_run_finish() {
    if !lab_is_enabled() {
        return;
    }
    let host = debian();
    let enrolled = Enrolled::new(&host, ROLE);
    host.wait_for("test -e /etc/by-abide", SOON);
    host.sh("echo '# mine' >>/etc/abide/abide.toml").success();
    let slow = "[command.slow]\nargv = [\"/bin/sh\", \"-c\", \"touch /run/begun; until [ -e /run/go ]; do sleep 0.1; done; \
                touch /etc/slow-done\"]\ncreates = \"/etc/slow-done\"\n";
    let commit = enrolled.publish(&format!("{ROLE}{slow}"));
    host.wait_for("test -e /run/begun", SOON);
    let before = main_process(&host);
    // It must not wait for the agent, which waits for its run.
    host.sh(&format!("timeout 60 {APT} install /root/newer.deb")).success();
    assert!(host.sh("dpkg-query -W -f '${Version}' abide").success().starts_with(NEWER));
    assert_eq!(host.exec(&["test", "-e", "/etc/slow-done"]).code, 1);
    assert_eq!(main_process(&host), before, "the agent waits for its run");
    host.write("/run/go", "");
    restarted(&host, &before);
    converged(&host, &commit);
    host.sh("test -e /etc/slow-done").success();
    no_run_was_interrupted(&host);
    let settings = host.read("/etc/abide/abide.toml");
    assert!(settings.contains("\nurls = [") && settings.ends_with("# mine\n"), "{settings}");
}

#[test]
fn the_branch_upgrades_abide_itself() {
    if !lab_is_enabled() {
        return;
    }
    let host = debian();
    let enrolled = Enrolled::new(&host, ROLE);
    host.wait_for("test -e /etc/by-abide", SOON);
    let archive = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(&packages().newer_deb, archive.path().join("abide.deb")).expect("a copy");
    let index = run(
        "sh",
        &["-c", &format!("cd {} && dpkg-scanpackages . 2>/dev/null", archive.path().display())],
        b"",
    );
    std::fs::write(archive.path().join("Packages"), index.success()).expect("a file");
    host.push(archive.path(), "/srv/archive");
    host.sh("rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*").success();
    host.write("/etc/apt/sources.list.d/test.list", "deb [trusted=yes] file:/srv/archive ./\n");
    host.sh("apt-get -q update").success();
    let before = main_process(&host);
    let commit = enrolled.publish(&format!("{ROLE}[package.abide]\nensure = \"latest\"\n"));
    host.wait_for(&format!("dpkg-query -W -f '${{Version}}' abide | grep -q '^{NEWER}'"), SOON);
    restarted(&host, &before);
    converged(&host, &commit);
    no_run_was_interrupted(&host);
}

#[test]
fn removing_keeps_what_purging_forgets_and_neither_touches_what_was_managed() {
    if !lab_is_enabled() {
        return;
    }
    let host = debian();
    let _enrolled = Enrolled::new(&host, ROLE);
    host.wait_for("test -e /etc/by-abide && abide status", SOON);
    host.sh(&format!("{APT} remove abide")).success();
    assert_eq!(host.sh("systemctl is-active abide").stdout, "inactive\n");
    host.sh("test -e /etc/abide/trust.toml -a -e /etc/abide/abide.toml -a -e /var/lib/abide/state.sqlite")
        .success();
    assert_eq!(host.read("/etc/by-abide"), "abide was here\n");

    // Installed again it goes on as if nothing had been.
    host.sh(&format!("{APT} install /root/abide.deb")).success();
    host.sh("echo drifted >/etc/by-abide").success();
    host.wait_for("grep -q 'abide was here' /etc/by-abide && abide status", SOON);
    no_run_was_interrupted(&host);

    host.sh(&format!("{APT} purge abide")).success();
    host.sh("! ls -d /etc/abide /var/lib/abide /var/lib/abide-fetch /run/abide /usr/bin/abide 2>/dev/null | grep .").success();
    host.sh("! test -L /etc/systemd/system/multi-user.target.wants/abide.service").success();
    assert_eq!(host.read("/etc/by-abide"), "abide was here\n");
    assert!(host.read("/etc/passwd").contains("abide-fetch:"), "its number must not become another user's");
    assert_eq!(host.sh("systemctl --failed --no-legend").success(), "");

    // From the beginning: nothing of before counts.
    host.sh(&format!("{APT} install /root/abide.deb")).success();
    is_installed_and_idle(&host);
}

#[test]
fn a_service_that_was_disabled_stays_disabled() {
    if !lab_is_enabled() {
        return;
    }
    let host = debian();
    let _enrolled = Enrolled::new(&host, ROLE);
    host.sh("systemctl disable --now abide").success();
    host.sh(&format!("{APT} install /root/newer.deb")).success();
    assert_eq!(host.sh("systemctl is-active abide").stdout, "inactive\n");
    host.sh(&format!("{APT} remove abide && {APT} install /root/newer.deb")).success();
    assert_eq!(host.sh("systemctl is-enabled abide").stdout, "disabled\n");
    assert_eq!(host.sh("systemctl is-active abide").stdout, "inactive\n");
}

#[test]
fn an_image_with_a_root_of_trust_starts_by_itself() {
    if !lab_is_enabled() {
        return;
    }
    let host = boot(Root::Debian);
    host.push(&packages().deb, "/root/abide.deb");
    host.write(
        "/etc/abide/trust.toml",
        "fleet = \"00112233445566778899aabbccddeeff\"\nref = \"refs/heads/main\"\n[introduction]\n\
         commit = \"0123456789012345678901234567890123456789\"\nkey = \"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n",
    );
    host.sh(&format!("{APT} install /root/abide.deb")).success();
    assert_eq!(host.sh("systemctl is-enabled abide").stdout, "enabled\n");
    host.wait_for("systemctl is-active abide", SOON);
}

#[test]
fn dnf_upgrades_removes_and_installs_again() {
    if !lab_is_enabled() {
        return;
    }
    let host = rpm();
    let _enrolled = Enrolled::new(&host, ROLE);
    host.wait_for("test -e /etc/by-abide && abide status", SOON);
    host.sh("echo '# mine' >>/etc/abide/abide.toml").success();
    let before = main_process(&host);
    host.sh(
        "mv /srv/newer.rpm /srv/repository/ && createrepo_c -q /srv/repository && dnf -q -y upgrade abide",
    )
    .success();
    assert_eq!(host.sh("rpm -q --qf '%{version}' abide").success(), NEWER);
    restarted(&host, &before);
    let settings = host.read("/etc/abide/abide.toml");
    assert!(settings.contains("\nurls = [") && settings.ends_with("# mine\n"), "{settings}");
    host.sh("echo drifted >/etc/by-abide").success();
    host.wait_for("grep -q 'abide was here' /etc/by-abide && abide status", SOON);

    host.sh("dnf -q -y remove abide").success();
    assert_eq!(host.sh("systemctl is-active abide").stdout, "inactive\n");
    host.sh("test -e /etc/abide/trust.toml -a -e /var/lib/abide/state.sqlite").success();
    assert_eq!(host.read("/etc/by-abide"), "abide was here\n");

    host.sh("dnf -q -y install abide").success();
    assert_eq!(host.sh("systemctl is-enabled abide").stdout, "enabled\n");
}
