//! abide upgrades itself: forward and back, in mid-run, with real apt and real dnf.
//!
//! The packages hold the program of these tests; that two of them hold the same one matters to nobody, since the agent looks at files.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::packaging::{Enrolled, SOON, converged, main_process, no_run_was_interrupted, restarted};
use crate::support::command::run;
use crate::support::host::{Host, HostOptions, Root};
use crate::support::lab_is_enabled;

/// A version that ends at once whatever is asked of it.
const CRASHES: &str = "1.1.0";

/// A version that never answers.
const HANGS: &str = "1.2.0";

/// A version whose package cannot be installed whole; only as a deb, since rpm leaves it at a warning.
const FAILS: &str = "1.3.0";

/// Versions whose program the kernel or the loader does not start, only as debs: what the file is to be changed by.
const UNSTARTABLE: [(&str, &str); 3] = [
    // Half of it is missing.
    ("1.4.0", "truncate -s $(($(stat -c %s $program) / 2)) $program"),
    // For another architecture: the machine in the header of the file.
    ("1.5.0", "printf '\\377\\377' | dd of=$program bs=1 seek=18 conv=notrunc status=none"),
    // It needs a library that the host does not have, as it would with a symbol of a newer C library.
    ("1.6.0", "LC_ALL=C sed -i 's/libgcc_s\\.so\\.1/libgcc_s.so.9/g' $program"),
];

/// Packages of all versions, as files of one archive for each family.
struct Archive {
    folder: PathBuf,
}

fn archive() -> &'static Archive {
    static BUILT: OnceLock<Archive> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("upgrades");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_abide"));
        for version in ["1.0.0", "2.0.0"] {
            pack(&folder, version, &program);
        }
        for (version, does) in [(CRASHES, "exit 1"), (HANGS, "exec sleep 10000")] {
            let script = folder.join(format!("program-{version}"));
            std::fs::write(&script, format!("#!/bin/sh\n{does}\n")).expect("a file");
            run("chmod", &["+x", text(&script)], b"").success();
            pack(&folder, version, &script);
        }
        let script = "printf '#!/bin/sh\\nexit 1\\n' >DEBIAN/postinst";
        repack(&folder, FAILS, script);
        for (version, change) in UNSTARTABLE {
            repack(&folder, version, &format!("program=usr/bin/abide; {change}"));
        }
        Archive { folder }
    })
}

/// Builds both packages of a version around a program.
fn pack(folder: &Path, version: &str, program: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build");
    let (program, folder) = (text(program), text(folder));
    run(script, &["--quick", "--binary", program, "--version", version, "--output", folder], b"").success();
}

/// The good version once more, as a deb of another version in which something is changed.
fn repack(folder: &Path, version: &str, change: &str) {
    let script = format!(
        "cd {} && rm -rf changed && dpkg-deb -R abide_2.0.0-1_*.deb changed && \
         (cd changed && {change} && sed -i 's/^Version: .*/Version: {version}-1/' DEBIAN/control) && \
         dpkg-deb -Znone --root-owner-group -b changed \"$(ls abide_2.0.0-1_*.deb | sed s/2.0.0/{version}/)\" && rm -rf changed",
        text(folder)
    );
    run("sh", &["-c", &script], b"").success();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A host with version 1.0.0 of the package, from an archive of its own.
fn host(root: Root) -> Host {
    let host = Host::boot(HostOptions {
        name: "upgrade",
        root,
        binds: vec![(archive().folder.clone(), "/srv/built".into())],
        ..HostOptions::default()
    });
    match root {
        Root::Debian => {
            host.sh("rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*; mkdir -p /srv/archive").success();
            host.write("/etc/apt/sources.list.d/test.list", "deb [trusted=yes] file:/srv/archive ./\n");
        }
        Root::Rpm => {
            let repository =
                "[test]\nname=test\nbaseurl=file:///srv/archive\ngpgcheck=0\nmetadata_expire=0\n";
            host.write("/etc/yum.repos.d/test.repo", repository);
        }
    }
    offer(&host, root, &every(root));
    match root {
        Root::Debian => host.sh("DEBIAN_FRONTEND=noninteractive apt-get -q -y install abide=1.0.0-1"),
        Root::Rpm => host.sh("dnf -q -y install abide-1.0.0"),
    }
    .success();
    host
}

/// Every version that there is for this family.
fn every(root: Root) -> Vec<&'static str> {
    let mut every = vec!["1.0.0", "2.0.0", CRASHES, HANGS];
    if matches!(root, Root::Debian) {
        every.push(FAILS);
        every.extend(UNSTARTABLE.map(|(version, _)| version));
    }
    every
}

/// Lets the archive offer these versions and no others.
fn offer(host: &Host, root: Root, versions: &[&str]) {
    let files =
        |pattern: &dyn Fn(&str) -> String| versions.iter().map(|v| pattern(v)).collect::<Vec<_>>().join(" ");
    match root {
        Root::Debian => {
            // dpkg-scanpackages is not on hosts: the fields that apt needs, from the packages themselves.
            let files = files(&|version| format!("/srv/built/abide_{version}-1_*.deb"));
            host.sh(&format!(
                "rm -rf /srv/archive/*; ln -s {files} /srv/archive/; cd /srv/archive; for deb in *.deb; do dpkg-deb -f $deb; \
                 echo \"Filename: ./$deb\"; echo \"Size: $(stat -L -c %s $deb)\"; echo \"SHA256: $(sha256sum <$deb | cut -d' ' -f1)\"; echo; \
                 done >Packages; apt-get -q update"
            ))
            .success();
        }
        Root::Rpm => {
            let files = files(&|version| format!("/srv/built/abide-{version}-1.*.rpm"));
            host.sh(&format!(
                "rm -rf /srv/archive; mkdir -p /srv/archive; cp {files} /srv/archive/; createrepo_c -q /srv/archive"
            ))
            .success();
        }
    }
}

fn version(host: &Host, root: Root) -> String {
    match root {
        Root::Debian => host.sh("dpkg-query -W -f '${Version} ${db:Status-Status}' abide").success(),
        Root::Rpm => host.sh("rpm -q --qf '%{version}-1 installed' abide").success(),
    }
}

/// A role that brings a version of abide, and has something slow and something else to do after it.
fn role(version: &str, downgrade: bool) -> String {
    format!(
        "[package.abide]\nversion = \"{version}\"\n{}\n\
         [command.slow]\nargv = [\"/bin/sh\", \"-c\", \"touch /run/begun; until [ -e /run/go-{version} ]; do sleep 0.1; done; \
         touch /etc/slow-{version}\"]\ncreates = \"/etc/slow-{version}\"\nafter = [\"package:abide\"]\n\
         [file.\"/etc/after\"]\ncontent = \"{version}\\n\"\nafter = [\"command:slow\"]\n",
        if downgrade { "allow-downgrade = true\n" } else { "" }
    )
}

/// How often an agent has started.
fn starts(host: &Host) -> usize {
    host.exec(&["journalctl", "--no-pager", "-o", "cat", "-u", "abide.service"])
        .success()
        .lines()
        .filter(|line| line.contains("watches this host"))
        .count()
}

fn amid_a_run_and_back(root: Root) {
    let host = host(root);
    let enrolled = Enrolled::new(&host, "");
    host.wait_for("abide status", SOON);
    for (wanted, downgrade) in [("2.0.0", false), ("1.0.0", true)] {
        let (before, begun) = (main_process(&host), starts(&host));
        host.sh("rm -f /run/begun").success();
        let commit = enrolled.publish(&role(wanted, downgrade));
        host.wait_for("test -e /run/begun", SOON);
        assert_eq!(version(&host, root), format!("{wanted}-1 installed"));
        assert_eq!(main_process(&host), before, "the agent waits for its run");
        host.write(&format!("/run/go-{wanted}"), "");
        restarted(&host, &before);
        converged(&host, &commit);
        assert_eq!(host.read("/etc/after"), format!("{wanted}\n"), "the rest of the run took place");
        assert_eq!(starts(&host), begun + 1, "once");
        let exe = "test /proc/$(systemctl show --property MainPID --value abide)/exe -ef /usr/bin/abide";
        host.sh(exe).success();
        no_run_was_interrupted(&host);
    }
    // One run for each commit did all of it.
    let history = host.sh("abide history --runs -o json").success();
    let runs: serde_json::Value = serde_json::from_str(&history).expect("a history");
    let changed = |run: &&serde_json::Value| run["counts"]["changed"].as_u64() == Some(3);
    assert_eq!(runs.as_array().map(|runs| runs.iter().filter(changed).count()), Some(2), "{history}");
}

#[test]
fn apt_brings_another_abide_amid_a_run_and_the_former_one_again() {
    if lab_is_enabled() {
        amid_a_run_and_back(Root::Debian);
    }
}

#[test]
fn dnf_brings_another_abide_amid_a_run_and_the_former_one_again() {
    if lab_is_enabled() {
        amid_a_run_and_back(Root::Rpm);
    }
}

/// The former version is back by itself, and everything says so.
#[track_caller]
fn is_back(host: &Host, root: Root, commit: &str) {
    let given_up = format!(
        "{{ timeout 5 abide status -o json || true; }} | grep -A4 '\"from\": \"{commit}\"' | grep -q E395"
    );
    host.wait_for(&given_up, SOON);
    host.wait_for("test ! -e /var/lib/abide/guard && ! systemctl is-active --quiet abide-guard", SOON);
    assert_eq!(version(host, root), "1.0.0-1 installed");
    host.sh("test ! -e /etc/systemd/system/abide-guard.service && systemctl is-active --quiet abide")
        .success();
    let status = host.sh("abide status -o json").stdout;
    assert!(
        status.contains("\"health\": \"Degraded\"") && status.contains("does not work on this host"),
        "{status}"
    );
    // It is not tried again.
    assert_eq!(host.sh("abide sync --no-fetch").code, 2);
    assert_eq!(version(host, root), "1.0.0-1 installed");
    assert!(host.sh("abide events").success().contains("[E395]"));
}

#[track_caller]
fn works(host: &Host, root: Root, enrolled: &Enrolled) {
    let commit = enrolled.publish("[package.abide]\nversion = \"2.0.0\"\n");
    converged(host, &commit);
    host.wait_for("test ! -e /var/lib/abide/guard", SOON);
    assert_eq!(version(host, root), "2.0.0-1 installed");
    converged(host, &commit);
    assert_eq!(host.sh("systemctl --failed --no-legend").success(), "");
}

fn what_does_not_work_is_replaced(root: Root, versions: &[&str]) {
    let host = host(root);
    let enrolled = Enrolled::new(&host, "");
    host.wait_for("abide status", SOON);
    for bad in versions {
        let role =
            format!("[package.abide]\nversion = \"{bad}\"\n[file.\"/etc/brought\"]\ncontent = \"{bad}\"\n");
        let commit = enrolled.publish(&role);
        is_back(&host, root, &commit);
        assert_eq!(host.sh("test -e /etc/brought").code, 1, "the whole commit is given up");
        no_run_was_interrupted(&host);
    }
    works(&host, root, &enrolled);
}

#[test]
fn a_deb_that_crashes_or_cannot_be_started_is_replaced_by_the_former_one() {
    if lab_is_enabled() {
        let mut versions = vec![CRASHES];
        versions.extend(UNSTARTABLE.map(|(version, _)| version));
        what_does_not_work_is_replaced(Root::Debian, &versions);
    }
}

#[test]
fn a_deb_that_hangs_or_whose_script_fails_is_replaced_by_the_former_one() {
    if lab_is_enabled() {
        what_does_not_work_is_replaced(Root::Debian, &[HANGS, FAILS]);
    }
}

#[test]
fn an_rpm_that_does_not_work_is_replaced_by_the_former_one() {
    if lab_is_enabled() {
        what_does_not_work_is_replaced(Root::Rpm, &[CRASHES]);
    }
}

/// The former package is nowhere any more: its program comes back alone, and that is said until a package brings one again.
fn comes_back_alone(root: Root, bad: &str, bring: impl Fn(&str) -> String) {
    let host = host(root);
    let enrolled = Enrolled::new(&host, "");
    host.wait_for("abide status", SOON);
    let program = host.sh("sha256sum </usr/bin/abide").success();
    offer(&host, root, &[bad, "2.0.0"]);
    match root {
        Root::Debian => host.sh("rm -f /var/cache/apt/archives/*.deb"),
        Root::Rpm => host.sh("dnf -q clean packages; dnf -q makecache"),
    }
    .success();
    let commit = enrolled.publish(&bring(bad));
    let given_up = format!(
        "{{ timeout 5 abide status -o json || true; }} | grep -A4 '\"from\": \"{commit}\"' | grep -q E395"
    );
    host.wait_for(&given_up, SOON);
    host.wait_for("test ! -e /var/lib/abide/guard && systemctl is-active --quiet abide", SOON);
    assert_eq!(host.sh("sha256sum </usr/bin/abide").success(), program);
    let left = if bad == FAILS { "half-configured" } else { "installed" };
    // The package manager believes something else, and whoever asks abide is told so: also later, and after a newer commit.
    assert_eq!(version(&host, root), format!("{bad}-1 {left}"));
    let told = "{ abide status -o json || true; } | grep -q '\"code\": \"E397\"'";
    host.sh("abide sync --no-fetch || true").success();
    host.sh(told).success();
    let commit = enrolled.publish("[file.\"/etc/brought\"]\ncontent = \"x\"\n");
    host.wait_for(
        &format!(
            "test -e /etc/brought && {{ abide status -o json || true; }} | grep -q '\"commit\": \"{commit}\"'"
        ),
        SOON,
    );
    host.sh(told).success();
    assert!(host.sh("abide status").stdout.contains("without it"));
    let commit = enrolled.publish(&bring("2.0.0"));
    converged(&host, &commit);
    assert_eq!(version(&host, root), "2.0.0-1 installed");
    host.wait_for("test ! -e /var/lib/abide/guard", SOON);
    assert_eq!(host.sh(told).code, 1);
}

#[test]
fn without_its_deb_the_program_comes_back_alone_and_says_so() {
    if lab_is_enabled() {
        // From a file, so that no archive has what came before it.
        comes_back_alone(Root::Debian, FAILS, |version| {
            let file = format!("/srv/built/abide_{version}-1_{}.deb", architecture());
            format!("[package.abide]\nversion = \"{version}\"\nfile = \"{file}\"\n")
        });
    }
}

#[test]
fn without_its_rpm_the_program_comes_back_alone_and_says_so() {
    if lab_is_enabled() {
        comes_back_alone(Root::Rpm, CRASHES, |version| format!("[package.abide]\nversion = \"{version}\"\n"));
    }
}

/// As dpkg calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A version that did not work is not taken again because it is the latest; a newer one is. Here an operator's own run brings it.
#[test]
fn the_latest_version_is_passed_over_when_it_did_not_work() {
    if !lab_is_enabled() {
        return;
    }
    let (root, latest) = (Root::Debian, "[package.abide]\nensure = \"latest\"\n");
    let host = host(root);
    offer(&host, root, &["1.0.0"]);
    let enrolled = Enrolled::new(&host, latest);
    host.wait_for("abide status", SOON);
    offer(&host, root, &["1.0.0", CRASHES]);
    host.sh("abide sync --no-fetch").success();
    let told = "{ timeout 5 abide status -o json || true; } | grep -q '\"code\": \"E396\"'";
    host.wait_for(&format!("test ! -e /var/lib/abide/guard && {told}"), SOON);
    for commit in [None, Some(format!("{latest}[file.\"/etc/brought\"]\ncontent = \"x\"\n"))] {
        if let Some(role) = &commit {
            enrolled.publish(role);
            host.wait_for("test -e /etc/brought", SOON);
        }
        host.sh("abide sync --no-fetch || true").success();
        assert_eq!(version(&host, root), "1.0.0-1 installed");
        host.sh(&format!("test ! -e /var/lib/abide/guard && {told}")).success();
    }
    // Bounds that nothing else on offer is within: the commit is refused before anything is done for it.
    enrolled.publish("[package.abide]\nversion = \"> 1.0.0-1\"\n");
    host.wait_for(&told.replace("E396", "E321"), SOON);
    host.sh(&format!("test ! -e /var/lib/abide/guard && {told}")).success();
    assert_eq!(version(&host, root), "1.0.0-1 installed");
    enrolled.publish(&format!("{latest}[file.\"/etc/brought-later\"]\ncontent = \"x\"\n"));
    host.wait_for("test -e /etc/brought-later", SOON);
    offer(&host, root, &["1.0.0", CRASHES, "2.0.0"]);
    host.sh("abide sync --no-fetch").success();
    assert_eq!(version(&host, root), "2.0.0-1 installed");
    host.wait_for("test ! -e /var/lib/abide/guard && timeout 5 abide status", SOON);
    assert_eq!(version(&host, root), "2.0.0-1 installed");
    assert_eq!(host.sh(told).code, 1);
}

/// Somebody else's transaction brings it: the guard is armed by the package.
fn by_hand(root: Root) {
    let host = host(root);
    let _enrolled = Enrolled::new(&host, "");
    host.wait_for("abide status", SOON);
    let bring = |version: &str| {
        let before = main_process(&host);
        match root {
            Root::Debian => {
                host.sh(&format!("DEBIAN_FRONTEND=noninteractive apt-get -q -y install abide={version}-1"))
            }
            Root::Rpm => host.sh(&format!("dnf -q -y upgrade abide-{version}")),
        }
        .success();
        before
    };
    let before = bring(CRASHES);
    assert_eq!(version(&host, root), format!("{CRASHES}-1 installed"));
    let back = "timeout 5 abide events | grep -q 'an upgrade by hand does not work on this host'";
    host.wait_for(&format!("test ! -e /var/lib/abide/guard && {back}"), SOON);
    assert_eq!(version(&host, root), "1.0.0-1 installed");
    restarted(&host, &before);
    host.wait_for("abide status", SOON);
    let before = bring("2.0.0");
    restarted(&host, &before);
    host.wait_for("test ! -e /var/lib/abide/guard && abide status", SOON);
    assert_eq!(version(&host, root), "2.0.0-1 installed");
    assert_eq!(host.sh("systemctl --failed --no-legend").success(), "");
    no_run_was_interrupted(&host);
}

#[test]
fn an_operator_with_apt_is_guarded_as_well() {
    if lab_is_enabled() {
        by_hand(Root::Debian);
    }
}

#[test]
fn an_operator_with_dnf_is_guarded_as_well() {
    if lab_is_enabled() {
        by_hand(Root::Rpm);
    }
}

/// A version that changes the tables of the state before it fails: the former one could not go on with them.
#[test]
fn a_state_that_only_the_other_version_can_read_goes_back_with_it() {
    if !lab_is_enabled() {
        return;
    }
    let host = host(Root::Debian);
    let enrolled = Enrolled::new(&host, "");
    host.wait_for("abide status", SOON);
    // What it does first of all, once: the number of the tables' version in the file's header.
    host.write(
        "/root/changes-tables",
        "[ -e /etc/slow-2.0.0 ] && [ ! -e /root/changed ] || exit 0\ntouch /root/changed\n\
         printf '\\0\\0\\0\\11' | dd of=/var/lib/abide/state.sqlite bs=1 seek=60 conv=notrunc status=none\n\
         rm -f /var/lib/abide/state.sqlite-wal /var/lib/abide/state.sqlite-shm\n",
    );
    let drop_in = "[Service]\nExecStartPre=/bin/sh /root/changes-tables\n";
    host.write("/etc/systemd/system/abide.service.d/test.conf", drop_in);
    host.write("/run/go-2.0.0", "");
    let commit = enrolled.publish(&role("2.0.0", false));
    is_back(&host, Root::Debian, &commit);
    let events = host.sh("abide events").success();
    assert!(events.contains("[E507]"), "what was wrong with it: {events}");
    // What its run had done was remembered: the file of the commit that was given up goes again.
    host.wait_for("test ! -e /etc/after", SOON);
    works(&host, Root::Debian, &enrolled);
}

/// Where the guard could not be run nothing is changed; it is enough that it can be run from one of its places.
#[test]
fn nothing_is_changed_where_the_guard_could_not_run() {
    if !lab_is_enabled() {
        return;
    }
    let host = host(Root::Debian);
    let enrolled = Enrolled::new(&host, "");
    host.wait_for("abide status", SOON);
    let deny = |path: &str| {
        host.sh(&format!("mount --bind {path} {path} && mount -o remount,bind,noexec {path}")).success();
    };
    deny("/var/lib/abide");
    deny("/etc/abide");
    enrolled.publish(&role("2.0.0", false));
    // The agent's view of the file systems is from before, so that only systemd notices; a run by hand sees it as it is.
    host.wait_for("{ abide status -o json || true; } | grep -q '\"code\": \"E862\"'", SOON);
    let by_hand = host.sh("abide sync --no-fetch");
    assert!(by_hand.code == 2 && format!("{by_hand:?}").contains("E861"), "{by_hand:?}");
    assert_eq!(version(&host, Root::Debian), "1.0.0-1 installed");
    host.sh("test ! -e /var/lib/abide/guard && test ! -e /etc/systemd/system/abide-guard.service").success();
    host.sh("umount /etc/abide").success();
    let commit =
        enrolled.publish(&format!("{}[file.\"/etc/other\"]\ncontent = \"x\"\n", role("2.0.0", false)));
    host.wait_for("test -e /run/begun", SOON);
    host.sh("test -e /etc/abide/guard/record.json && systemctl is-active --quiet abide-guard").success();
    host.write("/run/go-2.0.0", "");
    converged(&host, &commit);
    host.wait_for("test ! -e /etc/abide/guard", SOON);
}

#[test]
fn a_power_cut_amid_an_upgrade_does_not_keep_the_former_one_away() {
    if !lab_is_enabled() {
        return;
    }
    let host = host(Root::Debian);
    let enrolled = Enrolled::new(&host, "");
    host.wait_for("abide status", SOON);
    let commit = enrolled.publish(&role(CRASHES, false));
    host.wait_for("test -e /run/begun", SOON);
    host.power_cut();
    host.restart();
    is_back(&host, Root::Debian, &commit);
}
