//! Health checks on hosts: they decide about a new commit, and tell of a host that is not well afterwards.

mod aside;
mod certificates;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, Pace, ROLE, Served, Site, SiteOptions};

/// A server that answers with what a file says, as inetd would run it; a service; a port.
const PREPARE: &str = r#"
cat >/etc/systemd/system/web.socket <<'END'
[Unit]
StartLimitIntervalSec=0
[Socket]
ListenStream=127.0.0.1:8080
Accept=yes
TriggerLimitIntervalSec=0
END
cat >/etc/systemd/system/web@.service <<'END'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=-/bin/bash /srv/answer
StandardInput=socket
END
cat >/srv/answer <<'END'
read -r line
printf 'HTTP/1.1 %s\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhealth' "$(cat /srv/status)"
END
cat >/etc/systemd/system/app.service <<'END'
[Service]
ExecStart=/bin/sleep infinity
END
echo '200 OK' >/srv/status
touch /srv/fresh /srv/ready
systemctl daemon-reload
systemctl start web.socket app.service
"#;

/// One check of each kind, all good; each may be bad for a second.
const CHECKS: &str = r#"
[file."/etc/motd"]
content = "hello\n"

[health.http]
http = "http://127.0.0.1:8080/"
body = "health"
within = "1s"

[health.tcp]
tcp = "localhost:8080"
within = "1s"

[health.unit]
unit = "app"
for = ["file:/etc/motd"]
within = "1s"

[health.command]
command = ["sh", "-c", "test -e /srv/ready || { echo not ready >&2; exit 3; }; test $(id -un) = nobody"]
user = "nobody"
within = "1s"

[health.file]
file = "/srv/fresh"
max-age = "1h"
within = "1s"
"#;

fn site(name: &'static str, role: &str) -> Site {
    let files = [(ROLE, role)];
    Site::enrolled(&SiteOptions {
        name,
        pace: Pace::Live,
        files: &files,
        prepare: PREPARE,
        served: Served::Folder,
        ..Default::default()
    })
}

/// The states of the checks by name.
fn states(run: &Value) -> Vec<(String, String)> {
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let mut states: Vec<(String, String)> = run["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|check| (text(check, "name"), text(check, "state")))
        .collect();
    states.sort();
    states
}

fn are(run: &Value, expected: &[(&str, &str)]) -> bool {
    let expected = expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned()));
    states(run) == expected.collect::<Vec<_>>()
}

fn codes(run: &Value) -> Vec<&str> {
    run["problems"].as_array().into_iter().flatten().filter_map(|problem| problem["code"].as_str()).collect()
}

const ALL_GOOD: &[(&str, &str)] = &[
    ("command", "Healthy"),
    ("file", "Healthy"),
    ("http", "Healthy"),
    ("tcp", "Healthy"),
    ("unit", "Healthy"),
];

#[test]
fn each_kind_of_check_tells_good_from_bad() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("checks", CHECKS);
    let status = site.status();
    assert!(are(&status["run"], ALL_GOOD), "{status:#}");
    site.settled();
    assert!(site.abide(&["status"]).success().contains("Checks    5 of 5 healthy"));
    what_looks_at_the_network_is_confined(&site);
    // The agent looks again after the run by hand that this takes, and may find the server silent, too.
    site.wait_status("five good checks", |run| are(run, ALL_GOOD) && run["health"] == "Healthy");
    let told = || {
        let journal = site.journal();
        ["the health check `http` fails", "the health check `http` is good again"]
            .map(|words| journal.matches(words).count())
    };
    let before = told();

    site.holds("echo '500 Oh no' >/srv/status; systemctl stop app; rm /srv/ready /srv/fresh");
    site.abide(&["sync", "--wait"]);
    let bad = [
        ("command", "Degraded"),
        ("file", "Missing"),
        ("http", "Degraded"),
        ("tcp", "Healthy"),
        ("unit", "Degraded"),
    ];
    // The agent looks once more by itself: one bad look is no failure.
    let status = site.wait_status("four failing checks", |run| are(run, &bad));
    assert_eq!((&status["health"], codes(&status["run"]).as_slice()), (&"Degraded".into(), &["E850"; 4][..]));
    assert_eq!(status["run"]["sync"], "Synced", "nothing is rolled back: {status:#}");
    let text = site.abide(&["status"]);
    for words in [
        "Checks    1 of 5 healthy",
        "it answers 500",
        "sh ended with code 3: not ready",
        "app.service is inactive",
        "/srv/fresh does not exist",
        "(file:/etc/motd)",
    ] {
        assert!(text.code == 1 && text.stdout.contains(words), "{words}: {}", text.stdout);
    }
    println!("$ abide status\n{}", text.stdout);
    let tree = site.abide(&["tree"]);
    assert_eq!(tree.stdout.matches("Degraded: health check `unit`").count(), 2, "{}", tree.stdout);
    site.holds("systemctl stop web.socket");
    site.abide(&["sync", "--wait"]);
    let status =
        site.wait_status("a closed port", |run| states(run).iter().all(|(_, state)| state != "Healthy"));
    assert!(status.to_string().contains("refused"), "{status:#}");

    site.holds("echo '200 OK' >/srv/status; systemctl start web.socket app; touch /srv/ready /srv/fresh");
    // Nobody asks for it.
    site.wait_status("five good checks", |run| are(run, ALL_GOOD) && run["health"] == "Healthy");
    assert_eq!(told(), before.map(|count| count + 1), "each is told once:\n{}", site.journal());
}

/// A server that says nothing keeps the look waiting long enough to be looked at.
fn what_looks_at_the_network_is_confined(site: &Site) {
    site.holds("mv /srv/answer /srv/kept; echo 'sleep 60' >/srv/answer");
    site.holds(
        "abide sync >/dev/null &
         until pid=$(systemctl show abide-probe -P MainPID) && readlink /proc/$pid/exe | grep -q abide; do :; done
         grep -q '^Uid:.[1-9]' /proc/$pid/status; grep -q '^CapBnd:.0000000000000000' /proc/$pid/status
         grep -q '^NoNewPrivs:.1' /proc/$pid/status; grep -q '^Seccomp:.2' /proc/$pid/status
         not nsenter -t $pid -m touch /srv/x; wait || true",
    );
    site.holds("mv /srv/kept /srv/answer");
    site.sync();
}

#[test]
fn a_commit_that_fails_its_checks_is_given_up() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("giveup", CHECKS);
    let good = site.status()["run"]["revision"]["commit"].clone();
    for (name, check, reason) in [
        ("answer", "http = \"http://127.0.0.1:8080/\"\nstatus = 204", "it answers 200 OK"),
        ("closed", "tcp = \"127.0.0.1:81\"", "refused"),
        ("program", "command = [\"sh\", \"-c\", \"echo broken; exit 7\"]", "sh ended with code 7: broken"),
        ("old", "file = \"/etc/machine-id\"\nmax-age = \"0s\"", "was changed"),
        ("nothing", "unit = \"nothing\"", "there is no unit nothing.service"),
    ] {
        let role = CHECKS.replace("hello", name);
        let commit = site.declare(&format!("{role}\n[health.{name}]\n{check}\nwithin = \"1s\"\n"));
        let status = site.wait_status(name, |run| {
            run["pinned"]["from"] == commit.as_str()
                && run["revision"]["commit"] == good
                && run["sync"] != "Unknown"
        });
        site.holds("grep -qx hello /etc/motd");
        let problem = status["run"]["problems"][0].to_string();
        let told = format!("the health check `{name}` fails");
        assert_eq!(codes(&status["run"]), ["E393"], "{status:#}");
        assert!(problem.contains("E392") && problem.contains(&told) && problem.contains(reason), "{problem}");
        let history = site.abide(&["history"]).success();
        assert!(history.contains("given up") && history.contains(&told), "{history}");
        let journal = site.journal();
        assert!(journal.contains(&told) && journal.contains("the host returns to generation 1"), "{journal}");
    }
    println!("$ abide history\n{}", site.abide(&["history"]).stdout);
    crashes_are_caught(&site, good.as_str().expect("a commit"));
}

/// A service that dies after two seconds looks well at first. `stable-for` waits, whether systemd starts it again or not.
fn crashes_are_caught(site: &Site, good: &str) {
    // Without systemd abide does so itself: it heals.
    for restart in ["no", "always"] {
        let role = format!(
            "{CHECKS}
            [unit.\"crash.service\".Unit]
            StartLimitIntervalSec = 0
            [unit.\"crash.service\".Service]
            ExecStart = \"/bin/sh -c 'sleep 2; exit 1'\"
            Restart = \"{restart}\"
            RestartSec = \"100ms\"
            [service.crash]
            running = true
            [health.crash]
            unit = \"crash\"
            for = [\"service:crash\"]
            within = \"3s\"
            stable-for = \"4s\"
            "
        );
        let commit = site.declare(&role);
        let status = site.wait_status("a crash", |run| {
            run["pinned"]["from"] == commit.as_str() && run["revision"]["commit"] == good
        });
        assert!(status.to_string().contains("`crash` fails: "), "{status:#}");
        site.holds("not systemctl is-active crash; test ! -e /etc/systemd/system/crash.service");
    }
    site.declare(&CHECKS.replace("hello", "good again"));
    site.wait_synced();
    site.holds("grep -qx 'good again' /etc/motd");
}

#[test]
fn a_trial_waits_is_preempted_and_outlives_its_host() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("waiting", "");
    site.wait_synced();
    // The port opens after three seconds, of which `within` alone would allow one.
    let slow = r#"
[unit."slow.service".Service]
ExecStart = "/bin/sh -c 'sleep 3; touch /run/slow; exec sleep infinity'"
[service.slow]
running = true
[health.slow]
command = ["test", "-e", "/run/slow"]
start-period = "20s"
within = "1s"
"#;
    let start = Instant::now();
    site.declare(slow);
    let status = site.wait_status("a trial", |run| !run["trial"].is_null());
    assert_eq!(status["health"], "Progressing", "{status:#}");
    let text = site.abide(&["status"]).stdout;
    assert!(
        text.contains("waiting for the health check `slow` to be good (test ended with code 1)"),
        "{text}"
    );
    println!("$ abide status\n{text}");
    site.wait_synced();
    assert!(start.elapsed() < Duration::from_secs(20), "it was looked at meanwhile: {:?}", start.elapsed());

    // One that would wait for an hour gives way to the next commit.
    let waiting = |text: &str| {
        format!(
            "{slow}[file.\"/etc/motd\"]\ncontent = \"{text}\\n\"\n[health.never]\nunit = \"{text}\"\nwithin = \"1h\"\n"
        )
    };
    site.declare(&waiting("never"));
    site.wait_status("a long trial", |run| !run["trial"].is_null() && run["health"] == "Progressing");
    let start = Instant::now();
    site.declare(&waiting("later").replace("[health.never]", "[health.later]"));
    site.wait_status("the next trial", |run| run["trial"]["waiting"].to_string().contains("later"));
    println!("push to preempted, poll interval 1 s: {} ms", start.elapsed().as_millis());
    site.holds("grep -qx later /etc/motd");
    let history = site.abide(&["history"]).success();
    assert!(history.contains("never found good") && history.contains("on trial"), "{history}");

    // Neither the end of the agent nor of the host ends the trial.
    site.holds("systemctl kill -s KILL abide");
    site.host.power_cut();
    site.host.restart();
    site.wait_status("the trial after the boot", |run| run["trial"]["waiting"].to_string().contains("later"));
    site.holds("printf '[Service]\\nExecStart=sleep infinity\\n' >/etc/systemd/system/later.service; systemctl start later");
    site.wait_synced();
    let history = site.ask(&["history"]);
    assert_eq!(history[0]["standing"], "good", "{history:#}");
}

#[test]
fn a_commit_stays_where_there_is_no_way_back_or_none_is_wanted() {
    if !lab_is_enabled() {
        return;
    }
    let role = "[health.ready]\ncommand = [\"test\", \"-e\", \"/srv/set\"]\nwithin = \"1s\"\n";
    let settings = "[law]\ncommands = [\"curl\"]\n";
    let files = [(ROLE, role)];
    let site = Site::ready(&SiteOptions {
        name: "stays",
        pace: Pace::Live,
        settings,
        files: &files,
        prepare: PREPARE,
        ..Default::default()
    });
    site.enroll();
    let status = site.wait_status("a first commit that fails", |run| codes(run).contains(&"E392"));
    assert!(status.to_string().contains("there is nothing to return to"), "{status:#}");
    assert_eq!(status["health"], "Degraded", "{status:#}");
    // It is good as soon as its checks are.
    site.holds("touch /srv/set");
    site.wait_synced();
    assert_eq!(site.ask(&["history"])[0]["standing"], "good");

    site.push("Stay", &[("fleet.toml", &format!("{FLEET}\n[rollback]\nhealth = false\n"))]);
    site.wait_synced();
    let commit = site.declare(&role.replace("/srv/set", "/srv/other"));
    let status = site.wait_status("a commit that stays", |run| codes(run).contains(&"E392"));
    assert_eq!(status["run"]["revision"]["commit"], commit, "{status:#}");
    assert_eq!(
        (&status["health"], &status["run"]["pinned"]),
        (&"Degraded".into(), &Value::Null),
        "{status:#}"
    );
    assert!(site.journal().contains("is not healthy: the health check `ready` fails"));
    site.holds("touch /srv/other");
    site.wait_synced();

    // What the host forbids to run is not run for its health either.
    site.declare(&role.replace("test\", \"-e", "curl\", \"-f"));
    let status = site.wait_status("a forbidden check", |run| codes(run).contains(&"E364"));
    assert_eq!(status["run"]["revision"]["commit"], commit, "{status:#}");
}
