//! What is only reported, and who listens.

use crate::support::lab_is_enabled;
use crate::support::site::{PATIENCE, ROLE, Site, SiteOptions, changed};

const WARN: &str = r#"
[file."/etc/ours"]
content = "ours\n"

[file."/etc/theirs"]
content = "as declared\n"
enforce = "warn"

[file."/etc/nobodys"]
content = "never written\n"
enforce = false
"#;

#[test]
fn what_is_only_to_be_reported_is_told_once_and_left() {
    if !lab_is_enabled() {
        return;
    }
    let options =
        SiteOptions { name: "warn", prepare: "echo edited > /etc/theirs", ..SiteOptions::default() };
    let site = Site::enrolled(&options);
    site.declare(WARN);
    let told = || {
        let events = site.abide(&["events", "-o", "json"]).success();
        events.lines().filter(|line| line.contains("resource-drifted")).count()
    };
    for _ in 0..2 {
        let output = site.sync();
        let status = site.status();
        assert_eq!(status["run"]["sync"], "OutOfSync", "{output:#?}\n{status:#}");
        assert_eq!(status["run"]["health"], "Healthy", "a report is no failure: {status:#}");
        assert_eq!(status["run"]["counts"]["left"], 1, "{status:#}");
        assert!(status["run"]["differing"]["file:/etc/theirs"].is_string(), "{status:#}");
        assert_eq!(told(), 1, "it is told when it begins, not with each run");
    }
    site.holds("grep -qx ours /etc/ours; grep -qx edited /etc/theirs; test ! -e /etc/nobodys");
    let diff = site.abide(&["diff"]);
    assert!(diff.code == 1 && diff.stdout.contains("+as declared"), "{diff:#?}");

    // Whoever brings it back by hand ends the report.
    site.holds("echo as declared > /etc/theirs");
    let status = site.synced();
    assert_eq!((&status["run"]["sync"], changed(&status)), (&"Synced".into(), 0), "{status:#}");
    // What it left is not its own: it goes away without being removed.
    site.converged("[file.\"/etc/other\"]\ncontent = \"\"\n");
    site.holds("test ! -e /etc/ours; grep -qx 'as declared' /etc/theirs");
}

#[test]
fn events_are_followed_as_they_happen() {
    if !lab_is_enabled() {
        return;
    }
    let files = [(ROLE, "[file.\"/etc/one\"]\ncontent = \"one\\n\"\n")];
    let site = Site::enrolled(&SiteOptions { name: "follow", files: &files, ..Default::default() });
    site.holds("nohup abide events -n 0 --follow > /root/text 2>&1 & echo $! > /root/pid");
    site.holds("nohup abide events -n 1 --follow -o json > /root/json 2>&1 & echo $! >> /root/pid");
    site.host.wait_for("grep -q . /root/json", PATIENCE);
    site.holds("echo spoilt > /etc/one");
    site.synced();
    site.host.wait_for("grep -q 'file:/etc/one' /root/text && grep -q resource-changed /root/json", PATIENCE);
    // A line is whole as soon as it is there, and none comes twice.
    let lines = site.host.sh("cat /root/json").success();
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is one event");
    }
    assert_eq!(lines.lines().filter(|line| line.contains("resource-changed")).count(), 1, "{lines}");
    site.holds("kill $(cat /root/pid)");
}
