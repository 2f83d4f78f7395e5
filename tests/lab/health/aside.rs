//! What goes on beside a look and beside a trial: other runs, the agent after a run by hand, a suspension.

use std::time::Duration;

use super::codes;
use crate::support::lab_is_enabled;
use crate::support::site::{PATIENCE, Pace, ROLE, Served, Site, SiteOptions};

fn site(name: &'static str, pace: Pace, role: &str, prepare: &str) -> Site {
    let files = [(ROLE, role)];
    Site::enrolled(&SiteOptions {
        name,
        pace,
        files: &files,
        prepare,
        served: Served::Folder,
        ..Default::default()
    })
}

#[test]
fn a_look_that_takes_long_keeps_no_other_run_from_going_on() {
    if !lab_is_enabled() {
        return;
    }
    let slow = "[health.slow]
command = [\"sh\", \"-c\", \"touch /srv/looking; until test -e /srv/go; do sleep 0.1; done\"]
timeout = \"50s\"
within = \"2m\"
";
    let site = site("looking", Pace::Manual, slow, "touch /srv/go");
    site.holds("rm /srv/go /srv/looking");
    let by_hand = "abide sync --no-fetch >/srv/said 2>&1; echo $? >/srv/code";
    site.holds(&format!("setsid sh -c '{by_hand}' >/dev/null 2>&1 </dev/null &"));
    site.host.wait_for("test -e /srv/looking", PATIENCE);
    let commit = site.declare("[file.\"/srv/new\"]\ncontent = \"new\"\n");
    let status = site.synced();
    assert_eq!(status["run"]["revision"]["commit"], commit, "{status:#}");
    site.holds("test -e /srv/new; test ! -e /srv/code");
    // The first run finds out that its look is about what was in force before.
    site.holds("touch /srv/go");
    site.host.wait_for("test -e /srv/code", PATIENCE);
    site.holds("cat /srv/said; test $(cat /srv/code) = 0; grep -q 'Synced, Healthy' /srv/said");
    let status = site.status();
    assert_eq!(status["run"]["revision"]["commit"], commit, "{status:#}");
    assert_eq!(status["run"]["checks"].as_array().map(Vec::len), Some(0), "{status:#}");
    site.settled();
}

#[test]
fn after_a_run_by_hand_that_finds_a_failing_check_the_agent_looks_again() {
    if !lab_is_enabled() {
        return;
    }
    let role = "[health.ready]\ncommand = [\"test\", \"-e\", \"/srv/ready\"]\nwithin = \"1s\"\n";
    // It polls and checks once a day, and watches nothing.
    let site = site("again", Pace::Manual, role, "touch /srv/ready");
    site.holds("rm /srv/ready");
    site.sync();
    let status = site.wait_status("a failing check", |run| run["checks"][0]["state"] == "Degraded");
    assert_eq!(codes(&status["run"]), ["E850"], "{status:#}");
    site.holds("touch /srv/ready");
    site.wait_status("a good check", |run| run["checks"][0]["state"] == "Healthy");
}

#[test]
fn the_time_of_a_trial_stands_still_under_a_suspension() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("still", Pace::Live, "", "");
    let within = Duration::from_secs(10);
    let commit = site.declare(&format!(
        "[health.set]\ncommand = [\"test\", \"-e\", \"/srv/set\"]\nwithin = \"{}s\"\n",
        within.as_secs()
    ));
    site.wait_status("a trial", |run| !run["trial"].is_null());
    site.abide(&["suspend", "--reason", "lunch"]).success();
    site.wait_status("the suspension", |run| !run["suspended"].is_null());
    let uptime: u64 = site.host.sh("cut -d. -f1 /proc/uptime").success().trim().parse().expect("seconds");
    let over = format!("test $(cut -d. -f1 /proc/uptime) -gt {}", uptime + within.as_secs());
    site.host.wait_for(&over, PATIENCE);
    site.abide(&["resume"]).success();
    let status = site.wait_status("a run after it", |run| {
        run["suspended"].is_null() && run["verified"].is_null() && run["seen"] == commit.as_str()
    });
    assert!(!status["run"]["trial"].is_null(), "it was given up: {status:#}");
    site.holds("touch /srv/set");
    site.wait_synced();
    assert_eq!(site.ask(&["history"])[0]["standing"], "good");
}
