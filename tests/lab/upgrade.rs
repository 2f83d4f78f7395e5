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
const CRASHES: &str = "2.1.0";

/// A version that never answers.
const HANGS: &str = "2.2.0";

/// A version whose package cannot be installed whole; only as a deb, since rpm leaves it at a warning.
const FAILS: &str = "2.3.0";

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
        break_script(&folder);
        Archive { folder }
    })
}

/// Builds both packages of a version around a program.
fn pack(folder: &Path, version: &str, program: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build");
    let (program, folder) = (text(program), text(folder));
    run(script, &["--quick", "--binary", program, "--version", version, "--output", folder], b"").success();
}

/// The good version once more, in a deb whose script fails.
fn break_script(folder: &Path) {
    let script = format!(
        "cd {} && rm -rf broken && dpkg-deb -R abide_2.0.0-1_*.deb broken && \
         printf '#!/bin/sh\\nexit 1\\n' >broken/DEBIAN/postinst && \
         sed -i 's/^Version: .*/Version: {FAILS}-1/' broken/DEBIAN/control && \
         dpkg-deb -Znone --root-owner-group -b broken \"$(ls abide_2.0.0-1_*.deb | sed s/2.0.0/{FAILS}/)\" && rm -rf broken",
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
    let every = ["1.0.0", "2.0.0", CRASHES, HANGS, FAILS];
    let last = if matches!(root, Root::Rpm) { every.len() - 1 } else { every.len() };
    offer(&host, root, &every[..last]);
    match root {
        Root::Debian => host.sh("DEBIAN_FRONTEND=noninteractive apt-get -q -y install abide=1.0.0-1"),
        Root::Rpm => host.sh("dnf -q -y install abide-1.0.0"),
    }
    .success();
    host
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
                "rm -rf /srv/archive/*; cp {files} /srv/archive/; cd /srv/archive; for deb in *.deb; do dpkg-deb -f $deb; \
                 echo \"Filename: ./$deb\"; echo \"Size: $(stat -c %s $deb)\"; echo \"SHA256: $(sha256sum <$deb | cut -d' ' -f1)\"; echo; \
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
fn a_deb_that_crashes_is_replaced_by_the_former_one() {
    if lab_is_enabled() {
        what_does_not_work_is_replaced(Root::Debian, &[CRASHES]);
    }
}

#[test]
fn a_deb_that_hangs_is_replaced_by_the_former_one() {
    if lab_is_enabled() {
        what_does_not_work_is_replaced(Root::Debian, &[HANGS]);
    }
}

#[test]
fn a_deb_whose_script_fails_is_replaced_by_the_former_one() {
    if lab_is_enabled() {
        what_does_not_work_is_replaced(Root::Debian, &[FAILS]);
    }
}

#[test]
fn an_rpm_that_does_not_work_is_replaced_by_the_former_one() {
    if lab_is_enabled() {
        what_does_not_work_is_replaced(Root::Rpm, &[CRASHES]);
    }
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
