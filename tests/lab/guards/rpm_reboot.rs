//! On a host where dnf and rpm rule: what was updated since the boot, and a kernel that is newer than the running one, need a reboot.

use crate::support::command::run;
use crate::support::host::Root;
use crate::support::site::{FLEET, PATIENCE, Pace, ROLE, Served, Site, SiteOptions};
use crate::support::{lab_is_enabled, lab_script};

/// The root says that it is Debian, which it is but for its packages.
const PREPARE: &str = "printf '[test]\\nname=test\\nbaseurl=file:///repositories/rpm\\ngpgcheck=0\\n' >/etc/yum.repos.d/test.repo
    rm /etc/os-release; printf 'ID=almalinux\\nID_LIKE=\"rhel centos fedora\"\\nVERSION_ID=9.4\\n' >/etc/os-release";

#[test]
fn what_dnf_updates_since_the_boot_needs_a_reboot_and_gets_one() {
    if !lab_is_enabled() {
        return;
    }
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    let declared = |broker: &str| format!("[package.dbus-broker]\nversion = \"{broker}\"\n");
    let site = Site::enrolled(&SiteOptions {
        name: "rpmboot",
        root: Root::Rpm,
        pace: Pace::Live,
        served: Served::Folder,
        files: &[(ROLE, &declared("1.0*"))],
        binds: vec![(repositories.path().to_owned(), "/repositories".into())],
        prepare: PREPARE,
        ..Default::default()
    });
    let boot = || site.host.sh("cat /proc/sys/kernel/random/boot_id").success();
    site.host.reboot();
    let status = site.wait_status("a run after the boot", |run| run["reboot"].is_null());
    assert_eq!(status["run"]["sync"], "Synced", "{status:#}");

    // Nobody may reboot it yet.
    let first = boot();
    site.declare(&declared("2.0*"));
    let status = site.wait_status("the need of a reboot", |run| !run["reboot"].is_null());
    let reboot = &status["run"]["reboot"];
    assert_eq!(reboot["needed"].to_string(), "[\"updated since the boot: dbus-broker\"]", "{status:#}");
    assert_eq!(reboot["waits"], "`[reboot]` does not say `when = \"needed\"`", "{status:#}");
    site.holds("test $(rpm -q --qf '%{VERSION}' dbus-broker) = 2.0");
    assert_eq!(boot(), first);

    site.push("Allow", &[("fleet.toml", &format!("{FLEET}\n[reboot]\nwhen = \"needed\"\nslots = 1\n"))]);
    let changed = format!("test \"$(cat /proc/sys/kernel/random/boot_id)\" != '{}'", first.trim());
    site.host.wait_for(&changed, PATIENCE);
    site.host.wait_for("abide events | grep 'the host is back'", PATIENCE);
    let status = site.wait_status("a run that needs no reboot", |run| run["reboot"].is_null());
    assert_eq!((&status["run"]["sync"], &status["run"]["health"]), (&"Synced".into(), &"Healthy".into()));

    // Not again so soon, and only where the kernel is the host's own: here it is made to look so.
    let second = boot();
    site.declare(&format!("{}[package.kernel-core]\n", declared("2.0*")));
    site.wait_synced();
    site.synced();
    let run = &site.status()["run"];
    assert!(run["reboot"].is_null(), "a container has no kernel: {run:#}");
    site.holds("mount -t tmpfs tmpfs /run/host; mv /run/systemd/container /run/systemd/container-kept");
    site.sync();
    let status = site.status();
    site.holds("mv /run/systemd/container-kept /run/systemd/container; umount /run/host");
    let reboot = &status["run"]["reboot"];
    let release = site.host.sh("uname -r").success().trim().to_owned();
    let expected = format!("[\"the kernel 999.{release} is installed and {release} is running\"]");
    assert_eq!(reboot["needed"].to_string(), expected, "{status:#}");
    assert_eq!(reboot["waits"], "the host has rebooted not long ago", "{status:#}");
    assert_eq!(boot(), second);
}
