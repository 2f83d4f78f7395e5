//! The agent on its own: pushes arrive, drift is healed by events, fights are slowed down.

use std::time::{Duration, Instant};

use crate::support::lab_is_enabled;
use crate::support::site::{PATIENCE, Pace, ROLE, Site, SiteOptions};

const BASE: &str = r#"
[file."/etc/watched"]
content = "watched\n"
mode = "0640"

[directory."/srv/tree"]
source = "tree"
purge = true

[unit."app.service".Service]
ExecStart = "/bin/sleep infinity"

[unit."app.service".Install]
WantedBy = "multi-user.target"

[service.app]
running = true
enabled = true
"#;

fn live(name: &'static str, settings: &str) -> Site {
    let files = [(ROLE, BASE), ("roles/base/tree/deep/leaf", "leaf\n")];
    Site::enrolled(&SiteOptions { name, pace: Pace::Live, settings, files: &files, ..Default::default() })
}

/// Runs a loop of edits in the host itself, so that only healing is measured; gives milliseconds.
fn latencies(site: &Site, edit: &str, healed: &str, count: u32) -> Vec<f64> {
    let script = format!(
        "for n in $(seq {count}); do
             sleep 0.2; {edit}; start=$(date +%s%N)
             until {healed}; do :; done
             echo $(( ($(date +%s%N) - start) / 1000 ))
         done"
    );
    let output = site.host.exec(&["timeout", "120", "bash", "-uc", &script]);
    let mut times: Vec<f64> =
        output.success().lines().filter_map(|line| line.parse::<f64>().ok()).map(|us| us / 1000.0).collect();
    times.sort_by(f64::total_cmp);
    times
}

#[test]
fn drift_is_healed_by_events_and_pushes_arrive() {
    if !lab_is_enabled() {
        return;
    }
    let site = live("live", "");
    for (drift, healed) in [
        ("rm /etc/watched", "test -e /etc/watched"),
        ("chmod 777 /etc/watched", "test $(stat -c %a /etc/watched) = 640"),
        ("mv /etc/watched /etc/elsewhere", "grep -q watched /etc/watched"),
        ("systemctl stop app", "systemctl is-active app"),
        ("systemctl kill -s KILL app", "systemctl is-active app"),
        ("systemctl disable app", "systemctl is-enabled app"),
        ("echo x >>/etc/systemd/system/app.service", "! grep -q ^x /etc/systemd/system/app.service"),
        ("touch /srv/tree/deep/stranger", "test ! -e /srv/tree/deep/stranger"),
        ("echo x >/srv/tree/deep/leaf", "grep -q leaf /srv/tree/deep/leaf"),
        ("rm -r /srv/tree", "grep -q leaf /srv/tree/deep/leaf"),
    ] {
        site.holds(drift);
        site.host.wait_for(healed, Duration::from_secs(10));
        // Corrections in a row look like a fight; let the agent forget them.
        site.holds("systemctl restart abide");
        site.wait_synced();
    }
    pushes_arrive(&site);
    a_suspension_holds_and_ends(&site);
}

fn pushes_arrive(site: &Site) {
    let mut times = Vec::new();
    for number in 0..5 {
        let role = BASE.replace("watched\\n", &format!("pushed {number}\\n"));
        let start = Instant::now();
        site.declare(&role);
        site.host.wait_for(&format!("grep -q 'pushed {number}' /etc/watched"), PATIENCE);
        times.push(start.elapsed().as_millis());
    }
    times.sort_unstable();
    println!("push to converged, poll interval 1 s: median {} ms of {times:?}", times[2]);

    // A revert is a push like any other.
    site.fleet
        .git(&[
            "-c",
            "user.name=alice",
            "-c",
            "user.email=alice@example.org",
            "-c",
            "gpg.format=ssh",
            "-c",
            &format!("user.signingkey={}", site.signer.key().display()),
            "revert",
            "--no-edit",
            "-S",
            "HEAD",
        ])
        .success();
    site.fleet.push();
    site.host.wait_for("grep -q 'pushed 3' /etc/watched", PATIENCE);
    let good = site.wait_synced()["run"]["revision"]["commit"].clone();

    // A manifest that cannot be read: the last good state stays, and the host says so.
    site.declare(&BASE.replace("mode = \"0640\"", "mod = \"0640\""));
    let status = site.wait_status("a refused manifest", |run| run["health"] == "Degraded");
    assert_eq!(status["run"]["revision"]["commit"], good, "{status:#}");
    let code = status["run"]["problems"][0]["code"].as_str().unwrap_or_default().to_owned();
    assert!(code.starts_with("E2"), "{status:#}");
    site.holds("rm /etc/watched");
    site.host.wait_for("grep -q 'pushed 3' /etc/watched", Duration::from_secs(10));
    let text = site.abide(&["status"]).stdout;
    assert!(text.contains("did you mean `mode`?") && text.contains("roles/base/role.toml:4"), "{text}");
    println!("$ abide status\n{text}");
    site.declare(BASE);
    site.wait_synced();

    // A commit that nobody signed: the same.
    let good = site.status()["run"]["revision"]["commit"].clone();
    site.fleet.write(&[(ROLE, &BASE.replace("watched\\n", "unsigned\\n"))]);
    site.fleet.commit("Nobody signed this", None);
    site.fleet.push();
    let status = site.wait_status("a refused commit", |run| run["health"] == "Degraded");
    assert_eq!(status["run"]["revision"]["commit"], good, "{status:#}");
    assert!(
        status["run"]["problems"][0]["code"].as_str().unwrap_or_default().starts_with("E0"),
        "{status:#}"
    );
    site.holds("rm /etc/watched");
    site.host.wait_for("grep -qx watched /etc/watched", Duration::from_secs(10));
    let code = status["run"]["problems"][0]["code"].as_str().expect("a problem has a code");
    let (journal, told) = (site.journal(), format!("[{code}]"));
    assert_eq!(journal.matches(&told).count(), 1, "{told} is told once, not with every run:\n{journal}");
    let text = site.abide(&["status"]);
    assert!(text.code == 1 && text.stdout.contains(&told) && text.stdout.contains("do:"), "{text:#?}");
    println!("$ abide status\n{}", text.stdout);
    // Replaced by a signed one, it is forgotten.
    site.fleet.git(&["reset", "-q", "--hard", "HEAD~1"]).success();
    site.declare(BASE);
    site.wait_synced();
}

fn a_suspension_holds_and_ends(site: &Site) {
    site.abide(&["suspend", "--reason", "looking around", "--for", "1h"]).success();
    site.holds("rm /etc/watched");
    let status =
        site.wait_status("a suspended run", |run| run["health"] == "Suspended" && run["counts"]["left"] == 1);
    assert_eq!(status["run"]["suspended"]["reason"], "looking around", "{status:#}");
    site.holds("test ! -e /etc/watched");
    let text = site.abide(&["status"]);
    assert!(text.code == 1 && text.stdout.contains("looking around"), "{text:#?}");
    println!("$ abide status\n{}", text.stdout);
    site.abide(&["resume"]).success();
    site.host.wait_for("test -e /etc/watched", Duration::from_secs(10));
    site.wait_synced();
    // One with an end ends by itself, and what drifted meanwhile is healed then.
    site.abide(&["suspend", "--reason", "a moment", "--for", "2s"]).success();
    site.holds("rm /etc/watched; sleep 0.3; test ! -e /etc/watched");
    site.host.wait_for("test -e /etc/watched", Duration::from_secs(10));
    site.wait_synced();
}

#[test]
fn drift_is_healed_within_a_moment_and_a_fight_is_slowed_down() {
    if !lab_is_enabled() {
        return;
    }
    let site = live("moment", "");
    let mut times = Vec::new();
    for _ in 0..4 {
        // Five edits in a minute are no fight; a new agent has forgotten those before.
        times.extend(latencies(&site, "echo edited >/etc/watched", "grep -qx watched /etc/watched", 5));
        site.holds("systemctl restart abide");
        site.wait_synced();
    }
    times.sort_by(f64::total_cmp);
    println!(
        "drift to healed by event, unoptimised program: median {:.0} ms of {times:.0?}",
        times[times.len() / 2]
    );

    let start = Instant::now();
    latencies(&site, "echo edited >/etc/watched", "grep -qx watched /etc/watched", 8);
    assert!(start.elapsed() > Duration::from_secs(5), "a fight of 8 rounds took only {:?}", start.elapsed());
}
