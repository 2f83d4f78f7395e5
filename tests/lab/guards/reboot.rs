//! A host reboots by itself when something needs it, where that is allowed, and not twice for the same need.

use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, PATIENCE, Pace, ROLE, Served, Site, SiteOptions};

#[test]
fn a_host_reboots_when_it_may_and_not_again_for_the_same_need() {
    if !lab_is_enabled() {
        return;
    }
    let role = "[file.\"/etc/one\"]\ncontent = \"one\"\n";
    let site = Site::enrolled(&SiteOptions {
        name: "reboot",
        pace: Pace::Live,
        served: Served::Folder,
        files: &[(ROLE, role)],
        ..Default::default()
    });
    let boot = || site.host.sh("cat /proc/sys/kernel/random/boot_id").success();
    // A need that outlives the reboot, as with a boot loader that takes the old kernel.
    site.holds(
        "echo 'f /run/reboot-required 0644 - - - x' >/etc/tmpfiles.d/need.conf
         echo 'f /run/reboot-required.pkgs 0644 - - - linux-image' >>/etc/tmpfiles.d/need.conf
         systemd-tmpfiles --create need.conf",
    );
    let first = boot();
    site.sync().success();
    let status = site.status();
    let reboot = &status["run"]["reboot"];
    assert_eq!(reboot["needed"][0], "packages ask for it: linux-image", "{status:#}");
    assert_eq!(reboot["waits"], "`[reboot]` does not say `when = \"needed\"`", "{status:#}");
    assert!(site.abide(&["status"]).stdout.contains("needed: packages ask for it: linux-image"));

    // The branch allows it, and a session, a window and a suspension each keep it back.
    let windows = "\n[[windows]]\ndeny = \"*:*\"\nlength = \"2m\"\nfor = [\"reboot\"]\n";
    let allowed = format!("{FLEET}\n[reboot]\nwhen = \"needed\"\nslots = 1\n");
    site.push("Closed", &[("fleet.toml", &format!("{allowed}{windows}"))]);
    site.wait_status("the window", |run| {
        run["reboot"]["waits"].as_str().is_some_and(|waits| waits.contains("denies it"))
    });
    site.holds("mkdir -p /run/systemd/sessions; printf 'UID=0\\nCLASS=user\\nSTATE=active\\n' >/run/systemd/sessions/9");
    site.push("Open", &[("fleet.toml", &allowed)]);
    site.wait_status("the session", |run| run["reboot"]["waits"] == "somebody is logged in");
    site.abide(&["suspend", "--reason", "not now"]).success();
    site.holds("rm /run/systemd/sessions/9");
    site.wait_status("the suspension", |run| run["reboot"]["waits"] == "applying is suspended");
    assert_eq!(boot(), first, "it rebooted although it might not");

    // Now it may.
    site.abide(&["resume"]).success();
    let changed = format!("test \"$(cat /proc/sys/kernel/random/boot_id)\" != '{}'", first.trim());
    site.host.wait_for(&changed, PATIENCE);
    site.host.wait_for("systemctl is-system-running --wait | grep -qE 'running|degraded'", PATIENCE);
    let status = site.wait_status("a run after the reboot", |run| {
        run["reboot"]["waits"] == "the host has rebooted not long ago"
    });
    let (problems, health) = (&status["run"]["problems"], &status["run"]["health"]);
    assert_eq!((&problems[0]["code"], health), (&"E822".into(), &"Degraded".into()), "{status:#}");
    let second = boot();
    let events = site.abide(&["events"]).success();
    for part in
        ["a reboot is needed", "the host reboots now: packages ask for it: linux-image", "the host is back"]
    {
        assert!(events.contains(part), "{part}: {events}");
    }
    // Runs that follow do not begin another one.
    site.push("More", &[(ROLE, &role.replace("content = \"one\"", "content = \"two\""))]);
    site.host.wait_for("grep -qx two /etc/one", PATIENCE);
    assert_eq!(boot(), second);
}
