//! What the commands say, as data and as text.

use crate::support::lab_is_enabled;
use crate::support::site::{ROLE, Site, SiteOptions};

const BASE: &str =
    "[file.\"/etc/one\"]\ncontent = \"one\\ntwo\\nthree\\n\"\n\n[file.\"/etc/two\"]\ncontent = \"two\\n\"\n";

#[test]
fn commands_tell_the_truth_as_text_and_as_data() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::ready(&SiteOptions { name: "words", files: &[(ROLE, BASE)], ..Default::default() });
    let before = site.abide(&["status"]);
    assert!(
        before.code == 1 && before.stdout.contains("not enrolled") && before.stdout.contains("abide enroll"),
        "{before:#?}"
    );
    let sync = site.sync();
    assert!(sync.code == 2 && sync.stderr.contains("E") && sync.stderr.contains("do:"), "{sync:#?}");
    let enrolled = site.enroll();
    assert_eq!(enrolled.code, 0, "{enrolled:#?}");
    assert!(
        enrolled.stderr.contains("+one") && enrolled.stderr.contains("2 resources, 2 would change"),
        "{enrolled:#?}"
    );
    site.wait_synced();
    let again = site.enroll();
    assert!(again.code == 2 && again.stderr.contains("E730"), "{again:#?}");

    let check = site.ask(&["enroll", "--check"]);
    assert!(
        check.as_array().is_some_and(|all| all.len() >= 6 && all.iter().all(|one| one["good"] == true)),
        "{check:#}"
    );

    // Nothing to do.
    let diff = site.abide(&["diff"]);
    assert_eq!((diff.code, diff.stdout.as_str()), (0, "✓ nothing would change\n"), "{diff:#?}");
    assert_eq!(site.ask(&["diff"])["steps"].as_array().map(Vec::len), Some(0));

    // Something to do: the diff shows it, a dry run leaves it, `--only` does a part.
    site.holds("sed -i s/two/2/ /etc/one; rm /etc/two");
    let diff = site.abide(&["diff"]);
    assert_eq!(diff.code, 1, "{diff:#?}");
    for line in ["-2\n", "+two\n", " three\n", "/etc/two"] {
        assert!(diff.stdout.contains(line), "{line:?}: {diff:#?}");
    }
    assert_eq!(site.ask(&["diff"])["steps"].as_array().map(Vec::len), Some(2));
    let dry = site.abide(&["sync", "--dry-run"]);
    assert!(dry.stdout.contains("+two"), "{dry:#?}");
    site.holds("grep -q 2 /etc/one; test ! -e /etc/two");
    let status = site.status();
    assert_eq!(status["run"]["sync"], "Synced", "a dry run is no news: {status:#}");
    let only = site.abide(&["sync", "--only", "file:/etc/two"]);
    site.holds("grep -q 2 /etc/one; grep -q two /etc/two");
    assert_eq!(only.code, 0, "{only:#?}");
    let unknown = site.abide(&["sync", "--only", "file:/etc/tow"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("/etc/two"), "{unknown:#?}");
    site.synced();

    let history = site.ask(&["history", "--runs"]);
    let runs = history.as_array().expect("a list");
    assert!(runs.len() >= 3 && runs[0]["counts"]["changed"] == 1, "{history:#}");
    let number = runs[0]["id"].to_string();
    let one = site.ask(&["history", "--run", &number]);
    assert_eq!(one["steps"][0]["resource"]["name"], "/etc/one", "{one:#}");
    assert_eq!(site.abide(&["history", "--run", "4711"]).code, 2);

    let trace = site.ask(&["trace", "/etc/one"]);
    assert_eq!(trace[0]["entry"]["revision"]["signer"], "alice", "{trace:#}");
    assert_eq!(trace[0]["entry"]["declared-in"], "roles/base/role.toml:1", "{trace:#}");
    assert_eq!(site.abide(&["trace", "/etc/passwd"]).code, 1);

    let tree = site.ask(&["tree"]);
    assert_eq!(tree["base"].as_array().map(Vec::len), Some(2), "{tree:#}");
    let events = site.abide(&["events", "-o", "json"]).success();
    let kinds: Vec<String> = events
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("an event is JSON")["kind"].to_string()
        })
        .collect();
    for kind in ["enrolled", "revision-accepted", "resource-changed", "run-finished"] {
        assert!(kinds.iter().any(|known| known.contains(kind)), "{kind}: {events}");
    }

    // The agent does it, and `--wait` says what came of it.
    let commit = site.push("Third", &[(ROLE, &BASE.replace("three", "drei"))]);
    let waited = site.ask(&["sync", "--wait"]);
    assert_eq!(waited["revision"]["commit"], commit, "{waited:#}");
    site.holds("grep -q drei /etc/one");

    for command in [
        &["status"][..],
        &["history", "--runs"],
        &["events"],
        &["tree"],
        &["trace", "/etc/one"],
        &["enroll", "--check"],
        &["facts"],
    ] {
        println!("$ abide {}\n{}", command.join(" "), site.abide(command).stdout);
    }
    println!("$ abide enroll\n{}{}", enrolled.stderr, enrolled.stdout);
    println!(
        "$ abide diff\n{}$ abide sync --only\n{}$ abide sync --only file:/etc/tow\n{}",
        diff.stdout, only.stdout, unknown.stderr
    );

    // Nobody but root changes anything; everybody may look.
    site.holds("setpriv --reuid=nobody --regid=nogroup --clear-groups abide status");
    let user = site.host.sh("setpriv --reuid=nobody --regid=nogroup --clear-groups abide sync");
    assert!(user.code == 2 && user.stderr.contains("E701"), "{user:#?}");
}
