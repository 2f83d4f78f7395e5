//! A suspension holds everything back, says so, survives a reboot and ends by itself.

use crate::support::lab_is_enabled;
use crate::support::site::{Pace, Served, Site, SiteOptions};

#[test]
fn a_suspension_is_clear_survives_a_reboot_and_ends_by_itself() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions {
        name: "suspended",
        pace: Pace::Live,
        served: Served::Folder,
        ..Default::default()
    });
    site.converged("[file.\"/etc/kept\"]\ncontent = \"kept\"\n");
    let since = site.ask(&["suspend", "--reason", "looking at it", "--for", "1h"]);
    assert_eq!(since["reason"], "looking at it", "{since:#}");
    site.holds("echo mine >/etc/kept");
    let sync = site.sync();
    assert_eq!(sync.code, 3, "{sync:#?}");
    for part in ["applying is suspended by root: looking at it", "abide resume", "--ignore-suspension"] {
        assert!(sync.stdout.contains(part), "{part}: {sync:#?}");
    }
    site.holds("grep -qx mine /etc/kept");

    site.host.reboot();
    let status =
        site.wait_status("a run after the reboot", |run| run["cause"] == "boot" || run["cause"] == "poll");
    assert_eq!(status["run"]["suspended"]["reason"], "looking at it", "{status:#}");
    site.holds("grep -qx mine /etc/kept");

    // Once in spite of it: it stays.
    site.abide(&["sync", "--ignore-suspension"]);
    site.holds("grep -qx kept /etc/kept; echo mine >/etc/kept");
    assert_eq!(site.sync().code, 3);
    site.holds("grep -qx mine /etc/kept");

    // A short one ends by itself, and what drifted is healed then.
    site.abide(&["suspend", "--reason", "a moment", "--for", "3s"]).success();
    site.wait_status("the suspension to end", |run| run["suspended"].is_null() && run["sync"] == "Synced");
    site.holds("grep -qx kept /etc/kept");
    let journal = site.journal();
    assert!(journal.contains("the suspension by root is over: a moment"), "{journal}");
    let events = site.abide(&["events"]).success();
    assert!(events.contains("is over: a moment"), "{events}");
}
