//! Packages, with apt and with dnf, from a repository in the host.

use super::Case;
use crate::support::command::run;
use crate::support::host::Root;
use crate::support::{lab_is_enabled, lab_script};

/// The packages of both worlds, where the host sees them.
pub(super) fn repositories() -> (tempfile::TempDir, Vec<(std::path::PathBuf, std::path::PathBuf)>) {
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    let binds = vec![(repositories.path().to_owned(), "/repositories".into())];
    (repositories, binds)
}

/// What a host with apt needs to find them.
pub(super) const APT: &str = "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
    echo 'deb [trusted=yes] file:/repositories/deb ./' >/etc/apt/sources.list.d/test.list
    apt-get -qq update; apt-get -y -qq install abide-dependent";

const BEFORE: &str = r#"
[package.abide-one]
version = "1.0"
[package.abide-two]
[package.abide-dependent]
"#;

const AFTER: &str = r#"
[package.abide-one]
version = "2.0"
[package.abide-served]
[service.abide-served]
running = true
restart-on = ["file:/srv/served"]
[file."/srv/served"]
content = "x\n"
[package.abide-epoch]
ensure = "held"
[package.abide-dependent]
"#;

#[test]
fn packages_with_apt() {
    if !lab_is_enabled() {
        return;
    }
    let (_repositories, binds) = repositories();
    Case {
        name: "kill-packages",
        binds,
        prepare: APT,
        before: BEFORE.into(),
        after: AFTER.into(),
        reset: "apt-mark -qq unhold abide-epoch >/dev/null
            { dpkg --purge abide-served abide-epoch; cd /repositories/deb
              dpkg --force-downgrade -i abide-one_0_1.0.deb abide-two_0_1.0.deb; } >/dev/null 2>&1",
        holds: "systemctl is-active abide-served; test \"$(dpkg-query -W -f '${db:Status-Status}' abide-two 2>/dev/null)\" != installed
            dpkg-query -W -f '${Version} ${db:Status-Abbrev}' abide-one | grep -q '^2.0-1 ii'
            dpkg-query -W -f '${db:Status-Abbrev}' abide-epoch | grep -q hi; test -z \"$(dpkg --audit)\"
            not systemctl is-failed abide-packages",
        gone: "for name in one two served epoch; do
                test \"$(dpkg-query -W -f '${db:Status-Status}' abide-$name 2>/dev/null)\" != installed; done
            dpkg-query -W -f '${db:Status-Status}' abide-dependent | grep -qx installed; test -z \"$(dpkg --audit)\"",
        places: 60,
        every: 10,
        ..Case::default()
    }
    .prove();
}

#[test]
fn packages_with_dnf() {
    if !lab_is_enabled() {
        return;
    }
    let (_repositories, binds) = repositories();
    Case {
        name: "kill-dnf",
        root: Root::Rpm,
        binds,
        prepare: "rm -f /etc/yum.repos.d/*
            printf '[test]\\nname=test\\nbaseurl=file:///repositories/rpm\\ngpgcheck=0\\n' >/etc/yum.repos.d/test.repo
            dnf -q -y install abide-dependent",
        before: BEFORE.into(),
        // The root has no plug-in that could hold.
        after: AFTER.replace("ensure = \"held\"\n", ""),
        reset: "debian=''; not rpm --help | grep -q -e --force-debian || debian=--force-debian
            { for name in served epoch; do not rpm -q abide-$name || rpm -e $debian abide-$name; done
              cd /repositories/rpm
              rpm -U --force $debian --oldpackage abide-one-0-1.0-1.noarch.rpm abide-two-0-1.0-1.noarch.rpm; } >/tmp/reset 2>&1 || { cat /tmp/reset; exit 1; }",
        holds: "systemctl is-active abide-served; not rpm -q abide-two; test \"$(rpm -q abide-one)\" = abide-one-2.0-1.noarch
            rpm -q abide-epoch; not systemctl is-failed abide-packages",
        gone: "for name in one two served epoch; do not rpm -q abide-$name; done; rpm -q abide-dependent",
        places: 60,
        every: 40,
        ..Case::default()
    }
    .prove();
}
