//! Trust on a real host: freezes, lost memory, wrong clocks, exceptions, the host's own law, and abide's own things.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use abide::report::EventKind::{NewsFresh, NewsStale};
use abide::state::{State, TimeSeen};
use abide::trust::commit::Commit;
use abide::trust::heartbeat::{Heartbeat, NAMESPACE};
use serde_json::Value;

use crate::support::command::{Output, complete, run};
use crate::support::fleet::{Signer, git};
use crate::support::lab_is_enabled;
use crate::support::site::{PATIENCE, Pace, ROLE, Site, SiteOptions, trust};

const FLEET: &str = "5a1c5a1c5a1c5a1c5a1c5a1c5a1c5a1c";

fn file(text: &str) -> String {
    format!("[file.\"/etc/app.conf\"]\ncontent = \"{text}\\n\"\n")
}

fn site(name: &'static str, pace: Pace) -> Site {
    Site::enrolled(&SiteOptions { name, pace, files: &[(ROLE, &file("one"))], ..SiteOptions::default() })
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    i64::try_from(since.as_secs()).expect("the clock is right")
}

fn tip(site: &Site) -> String {
    site.fleet.git(&["rev-parse", "HEAD"]).success().trim().to_owned()
}

fn codes(status: &Value) -> Vec<String> {
    let problems = status["run"]["problems"].as_array().into_iter().flatten();
    problems.filter_map(|problem| problem["code"].as_str().map(str::to_owned)).collect()
}

/// `abide sync` that ends with this code in the status; gives the status.
#[track_caller]
fn refused(site: &Site, code: &str) -> Value {
    let output = site.sync();
    let status = site.status();
    assert_eq!(output.code, 2, "{output:#?}\n{status:#}");
    assert!(codes(&status).contains(&code.to_owned()), "no {code}: {status:#}");
    assert_eq!(status["health"], "Degraded", "{status:#}");
    status
}

/// A command that is refused with this code.
#[track_caller]
fn fails(output: &Output, code: &str) {
    assert_eq!(output.code, 2, "{output:#?}");
    assert!(output.stderr.contains(&format!("[{code}]")), "no {code}: {output:#?}");
}

/// The number of journal entries with the message id of an event's catalog entry.
fn entries(site: &Site, event: abide::report::EventKind) -> usize {
    let id = format!("MESSAGE_ID={}", event.description().id);
    site.host.exec(&["journalctl", "--no-pager", "--sync", "-q"]).success();
    site.host.exec(&["journalctl", "--no-pager", "-q", "-o", "json", &id]).success().lines().count()
}

/// Has the fleet's policy know a key for heartbeats, and makes the first one.
fn expect_heartbeats(site: &Site, key: &Signer) {
    let policy = trust(&site.signer).replace("version = 1", "version = 2");
    let policy = format!("{policy}\n[heartbeat]\nkeys = [{{ key = \"{}\" }}]\n", plain(key));
    site.fleet.write(&[("trust.toml", &policy)]);
    site.fleet.commit("Expect heartbeats", Some(&site.signer));
    // It is there before the policy asks for it.
    beat(site, key, 1);
    site.fleet.push();
}

/// The key without its comment.
fn plain(key: &Signer) -> String {
    key.public_key().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Pushes a heartbeat that names the tip, as the schedule of a fleet does.
fn beat(site: &Site, key: &Signer, sequence: u64) {
    let clone = site.fleet.clone_path();
    let commit = tip(site);
    let raw = site.fleet.git(&["cat-file", "commit", &commit]).success();
    let parsed = Commit::parse(raw.as_bytes(), gix::hash::Kind::Sha1).expect("git made it");
    let heartbeat = Heartbeat {
        fleet: FLEET.into(),
        reference: "refs/heads/main".into(),
        tip: commit,
        payload: parsed.payload_hash(),
        sequence,
        issued: now(),
        expires: now() + 3600,
    };
    let statement = heartbeat.text().expect("it can be written");
    let signed = format!("{statement}{}", sign(key, NAMESPACE, &statement));
    let plumbing = |arguments: &[&str], input: &str| {
        complete(&mut git(&clone, arguments), input.as_bytes()).success().trim().to_owned()
    };
    let blob = plumbing(&["hash-object", "-w", "--stdin"], &signed);
    let tree = plumbing(&["mktree"], &format!("100644 blob {blob}\theartbeat\n"));
    let who = ["-c", "user.name=clock", "-c", "user.email=clock@example.org"];
    let commit = plumbing(&[&who[..], &["commit-tree", &tree, "-m", "Heartbeat"]].concat(), "");
    let target = format!("{commit}:refs/heads/abide/heartbeat/main");
    site.fleet.git(&["push", "-q", "--force", "origin", &target]).success();
}

fn sign(key: &Signer, namespace: &str, statement: &str) -> String {
    let arguments = ["-q", "-Y", "sign", "-n", namespace, "-f", text(key.key())];
    run("ssh-keygen", &arguments, statement.as_bytes()).success()
}

/// Attack 14: the server goes on serving what it has, and nobody hears of anything new.
/// Attack 15: it serves a commit that the heartbeat does not name.
#[test]
fn a_frozen_branch_is_noticed_by_the_clock_alone() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("frozen", Pace::Live);
    let clock = site.fleet.signer("clock");
    expect_heartbeats(&site, &clock);
    site.host.sh("echo 'max-age = \"25s\"' >> /etc/abide/trust.toml").success();
    let status = site.wait_status("a heartbeat", |run| run["news"]["heartbeat"]["sequence"] == 1);
    assert_eq!(status["run"]["news"]["mode"], "require", "{status:#}");
    site.wait_synced();

    // What no heartbeat names is not applied, though it is signed.
    site.declare(&file("two"));
    let unnamed = tip(&site);
    site.wait_status("the new tip", |run| run["seen"] == unnamed.as_str() && run["sync"] == "OutOfSync");
    assert_eq!(site.host.read("/etc/app.conf"), "one\n");
    beat(&site, &clock, 2);
    site.wait_synced();
    assert_eq!(site.host.read("/etc/app.conf"), "two\n");

    // Nothing comes any more: only the clock says so.
    let status = site.wait_status("staleness", |run| run["news"]["stale"] == true);
    assert_eq!(
        (&status["health"], codes(&status)),
        (&Value::from("Degraded"), vec!["E071".to_owned()]),
        "{status:#}"
    );
    assert!(site.abide(&["status"]).stdout.contains("stale, required"));
    // On a busy machine the first heartbeat may have become stale before the second one, too.
    let told = [NewsStale, NewsFresh].map(|kind| entries(&site, kind));
    assert!(told[0] == told[1] + 1, "each turn is told once: {told:?}");
    // The last good state stays enforced, and the same thing is not told again.
    site.host.sh("echo drift > /etc/app.conf").success();
    site.host.wait_for("grep -qx two /etc/app.conf", PATIENCE);
    site.sync();
    assert_eq!(entries(&site, NewsStale), told[0]);

    beat(&site, &clock, 3);
    site.wait_synced();
    assert_eq!(entries(&site, NewsFresh), told[1] + 1);
    // An old heartbeat again is none.
    beat(&site, &clock, 2);
    let status = site.wait_status("a replay", |run| run["news"]["problem"]["code"] == "E047");
    assert_eq!(status["run"]["news"]["heartbeat"]["sequence"], 3, "{status:#}");
}

/// Attack 14: where freshness is not required, it is still reported.
#[test]
fn news_may_be_watched_without_being_required() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("watched", Pace::Live);
    let clock = site.fleet.signer("clock");
    expect_heartbeats(&site, &clock);
    site.host.sh("printf 'max-age = \"10s\"\\nfreshness = \"warn\"\\n' >> /etc/abide/trust.toml").success();
    beat(&site, &clock, 1);
    site.wait_status("a heartbeat", |run| run["news"]["heartbeat"]["sequence"] == 1);
    let status = site.wait_status("staleness", |run| run["news"]["stale"] == true);
    assert_eq!((&status["health"], codes(&status).len()), (&Value::from("Healthy"), 0), "{status:#}");
    assert_eq!(entries(&site, abide::report::EventKind::NewsStale), 1);
    site.declare(&file("two"));
    site.wait_synced();
    assert_eq!(site.host.read("/etc/app.conf"), "two\n");
}

/// Attack 38: the state is deleted, so that the host could be shown any old state of the branch.
#[test]
fn a_lost_state_waits_for_the_word_of_an_operator() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("lost", Pace::Manual);
    let old = tip(&site);
    site.converged(&file("two"));
    let new = tip(&site);
    fails(&site.abide(&["trust", "confirm", &new]), "E054");

    // The server takes the chance to show the old state.
    site.host.sh("systemctl stop abide; rm -rf /var/lib/abide; mkdir -m 700 /var/lib/abide").success();
    site.fleet.git(&["reset", "-q", "--hard", &old]).success();
    site.fleet.push();
    site.host.sh("echo drift > /etc/app.conf").success();
    let status = refused(&site, "E050");
    assert!(status["run"]["revision"].is_null(), "{status:#}");
    assert_eq!(site.host.read("/etc/app.conf"), "drift\n", "nothing is enforced");
    assert_eq!(entries(&site, abide::report::EventKind::StateLost), 1);

    // A word for a commit that nobody proved is none.
    site.fleet.git(&["reset", "-q", "--hard", &new]).success();
    site.fleet.write(&[(ROLE, &file("evil"))]);
    let evil = site.fleet.commit("Unsigned", None);
    site.fleet.push();
    fails(&site.abide(&["trust", "confirm", &evil]), "E010");
    fails(&site.abide(&["trust", "confirm", &"0".repeat(40)]), "E037");
    fails(&site.abide(&["trust", "confirm", "main"]), "E055");
    site.abide(&["trust", "confirm", &new]).success();
    let status = refused(&site, "E010");
    assert_eq!(
        (&status["run"]["revision"]["commit"], site.host.read("/etc/app.conf")),
        (&Value::from(new.as_str()), "two\n".into())
    );
    // And there is no way back.
    site.fleet.git(&["reset", "-q", "--hard", &old]).success();
    site.fleet.push();
    refused(&site, "E030");
    assert_eq!(entries(&site, abide::report::EventKind::TrustConfirmed), 1);
}

/// Attack 38: only the database is gone; what was enforced last lies in the same folder, and is kept.
#[test]
fn without_its_memory_a_host_keeps_what_it_has() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("memory", Pace::Manual);
    site.host.sh("systemctl stop abide; rm /var/lib/abide/state.*").success();
    site.declare(&file("two"));
    site.host.sh("echo drift > /etc/app.conf").success();
    refused(&site, "E050");
    assert_eq!(site.host.read("/etc/app.conf"), "one\n");
    site.abide(&["trust", "confirm", &tip(&site)]).success();
    site.synced();
    assert_eq!(site.host.read("/etc/app.conf"), "two\n");
}

/// Attack 38: with freshness required, a lost state is bounded by the age of a heartbeat.
/// Attack 7: an old, properly signed state is not what a fresh heartbeat names.
#[test]
fn with_fresh_news_a_lost_state_heals_itself() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("fresh", Pace::Manual);
    let clock = site.fleet.signer("clock");
    expect_heartbeats(&site, &clock);
    site.converged(&file("two"));
    let new = tip(&site);
    beat(&site, &clock, 2);
    site.host.sh("echo 'max-age = \"1h\"' >> /etc/abide/trust.toml").success();
    site.synced();
    site.host.sh("systemctl stop abide; rm -rf /var/lib/abide; mkdir -m 700 /var/lib/abide; echo drift > /etc/app.conf").success();
    site.fleet.git(&["reset", "-q", "--hard", &site.introduction]).success();
    site.fleet.push();
    refused(&site, "E071");
    assert_eq!(site.host.read("/etc/app.conf"), "drift\n");
    site.fleet.git(&["reset", "-q", "--hard", &new]).success();
    site.fleet.push();
    let status = site.synced();
    assert_eq!(status["run"]["revision"]["commit"], new.as_str(), "{status:#}");
    assert_eq!(site.host.read("/etc/app.conf"), "two\n");
    site.settled();
}

/// Rewrites what a host remembers of the time; its agent is stopped for good.
fn remember(site: &Site, floor: i64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = folder.path().join("state.sqlite");
    let script =
        "systemctl stop abide; cd /var/lib/abide; test ! -s state.sqlite-wal; base64 -w0 state.sqlite";
    let encoded = site.host.sh(script).success();
    let decode = "base64 -d > \"$1\"; chmod 700 \"$2\"; chmod 600 \"$1\"";
    run("sh", &["-euc", decode, "sh", text(&database), text(folder.path())], encoded.as_bytes()).success();
    let mut state = State::open(folder.path()).expect("it is a state");
    state.set_time_seen(&TimeSeen { floor, ahead: None }).expect("it can be written");
    drop(state);
    let encoded = run("base64", &["-w0", text(&database)], b"").success();
    let restore = "rm -f /var/lib/abide/state.sqlite-*; base64 -d > /var/lib/abide/state.sqlite";
    site.host.exec_with_input(&["sh", "-euc", restore], encoded.as_bytes()).success();
}

/// Attack 36: the clock is a year behind what the host has seen.
/// Attack 4: by that clock an expired key would count.
#[test]
fn a_clock_a_year_off_revives_no_key() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("clock", Pace::Manual);
    let year = 365 * 24 * 3600;
    let soon = jiff::Timestamp::from_second(now() + 30 * 24 * 3600).expect("a time").to_string();
    let policy = trust(&site.signer).replace("version = 1", "version = 2");
    let policy = policy.replace(" }]", &format!(", not-after = \"{soon}\" }}]"));
    site.push("Let the key end", &[("trust.toml", &policy)]);
    site.synced();
    remember(&site, now() + year);
    site.declare(&file("late"));
    let status = refused(&site, "E051");
    assert!(codes(&status).contains(&"E016".to_owned()), "the key has expired by then: {status:#}");
    assert!(status["run"]["clock"].as_i64().is_some_and(|time| time >= now() + year - 600), "{status:#}");
    assert_eq!(site.host.read("/etc/app.conf"), "one\n");
    assert_eq!(entries(&site, abide::report::EventKind::ClockDoubted), 1);
    site.sync();
    assert_eq!(entries(&site, abide::report::EventKind::ClockDoubted), 1, "told once");
    site.abide(&["trust", "reset-clock"]).success();
    site.synced();
    assert_eq!(site.host.read("/etc/app.conf"), "late\n");
    assert_eq!(entries(&site, abide::report::EventKind::ClockTrusted), 1);
    site.settled();

    // The clock is far ahead: it is told, judged by, and not remembered.
    remember(&site, now() - year);
    refused(&site, "E052");
    refused(&site, "E052");
    site.abide(&["trust", "reset-clock"]).success();
    site.synced();
}

/// Attack 7: a stolen key forks a host; its own branch is refused from then on, until the glass is broken.
#[test]
fn a_stranded_host_is_moved_by_breaking_the_glass() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("glass", Pace::Manual);
    let base = tip(&site);
    let stolen = {
        site.declare(&file("stolen"));
        site.synced();
        tip(&site)
    };
    site.fleet.git(&["reset", "-q", "--hard", &base]).success();
    let honest = site.declare(&file("honest"));
    refused(&site, "E031");
    assert_eq!(site.host.read("/etc/app.conf"), "stolen\n");

    let glass = site.fleet.signer("glass");
    let (host, other) = (host_id(&site), "0".repeat(32));
    let make = |host: &str, fleet: &str, commit: &str, key: &Signer| {
        let program = env!("CARGO_BIN_EXE_abide");
        let arguments =
            ["trust", "break-glass", "--make", "--host", host, "--fleet", fleet, "--commit", commit];
        run(program, &[&arguments[..], &["--key", text(key.key())]].concat(), b"").success()
    };
    let attempt = |statement: &str| {
        site.host.write("/root/statement", statement);
        site.abide(&["trust", "break-glass", "/root/statement"])
    };
    let good = make(&host, FLEET, &honest, &glass);
    fails(&attempt(&good), "E056");
    let line = format!("echo 'break-glass = [\"{}\"]' >> /etc/abide/trust.toml", plain(&glass));
    site.host.sh(&line).success();
    let mallory = site.fleet.signer("mallory");
    fails(&attempt(&make(&host, FLEET, &honest, &mallory)), "E058");
    fails(&attempt(&make(&host, FLEET, &honest, &site.signer)), "E058");
    fails(&attempt(&make(&other, FLEET, &honest, &glass)), "E059");
    fails(&attempt(&make(&host, "5a1d", &honest, &glass)), "E059");
    fails(&attempt(&good.replace(&honest, &stolen)), "E057");
    fails(&attempt("no statement"), "E057");
    // It skips no signature.
    site.fleet.write(&[(ROLE, &file("evil"))]);
    let evil = site.fleet.commit("Unsigned", None);
    site.fleet.push();
    site.sync();
    fails(&attempt(&make(&host, FLEET, &evil, &glass)), "E010");
    assert_eq!(site.host.read("/etc/app.conf"), "stolen\n");

    attempt(&good).success();
    site.fleet.git(&["reset", "-q", "--hard", &honest]).success();
    site.fleet.push();
    site.synced();
    assert_eq!(site.host.read("/etc/app.conf"), "honest\n");
    assert_eq!(entries(&site, abide::report::EventKind::GlassBroken), 1);
    fails(&attempt(&good), "E061");
    site.settled();
}

/// As `abide trust show` prints it: made of the machine id, which is not shown.
fn host_id(site: &Site) -> String {
    let script = "printf 'abide host %s' $(cat /etc/machine-id) | sha256sum | cut -c-32";
    let id = site.host.sh(script).success().trim().to_owned();
    let shown: Value = serde_json::from_str(&site.abide(&["trust", "show", "-o", "json"]).success())
        .expect("the answer is JSON");
    assert_eq!(shown["host"], id.as_str());
    let mark = site.status()["run"]["revision"]["commit"].clone();
    assert_eq!((&shown["policy"]["commit"], &shown["root"]["fleet"]), (&mark, &FLEET.into()), "{shown:#}");
    let explained = site.abide(&["verify", "--explain"]);
    assert!(explained.stdout.contains("this host has accepted it before"), "{explained:#?}");
    id
}

/// What a revision with this role is refused for; then the role is taken back.
#[track_caller]
fn forbidden(site: &Site, role: &str, code: &str) {
    let before = site.status()["run"]["revision"]["commit"].clone();
    site.declare(&format!("{}{role}", file("new")));
    let status = refused(site, code);
    assert_eq!(status["run"]["revision"]["commit"], before, "{role}: {status:#}");
    assert_eq!(site.host.read("/etc/app.conf"), "one\n", "{role}");
    site.declare(&file("one"));
    site.synced();
}

/// Attack 38: a branch reaches for what is abide's own, by kinds, symlinks, mounts and purges.
#[test]
fn abide_is_not_managed_by_a_branch() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("own", Pace::Manual);
    site.host
        .sh("mkdir -p /srv/bound /srv/tree; mount --bind /etc /srv/bound; ln -s /etc/abide /srv/link; touch /srv/keep")
        .success();
    let before =
        site.host.sh("cat /etc/abide/*.toml /usr/lib/systemd/system/abide*.service | sha256sum").success();
    for role in [
        "[file.\"/etc/abide/trust.toml\"]\ncontent = \"x\"\n",
        "[file.\"/srv/link/trust.toml\"]\ncontent = \"x\"\n",
        "[file.\"/srv/bound/abide/trust.toml\"]\ncontent = \"x\"\n",
        "[file.\"/proc/self/root/etc/abide/trust.toml\"]\ncontent = \"x\"\n",
        "[symlink.\"/srv/new\"]\ntarget = \"../etc/abide\"\n[file.\"/srv/new/trust.toml\"]\ncontent = \"x\"\n",
        "[directory.\"/var/lib\"]\npurge = true\npurge-limit = 100000\n",
        "[directory.\"/etc/systemd\"]\nensure = \"absent\"\nrecursive = true\n",
        "[directory.\"/etc\"]\nmode = \"0777\"\n",
        "[drop-in.\"abide.service/x\".Service]\nProtectClock = false\n",
        "[symlink.\"/etc/systemd/system/abide.service\"]\ntarget = \"/dev/null\"\n",
        "[service.abide-fetch]\nrunning = false\n",
        "[user.abide-fetch]\nshell = \"/bin/sh\"\n",
    ] {
        forbidden(&site, role, "E365");
    }
    forbidden(&site, "[package.abide]\nensure = \"purged\"\n", "E209");
    assert_eq!(
        site.host.sh("cat /etc/abide/*.toml /usr/lib/systemd/system/abide*.service | sha256sum").success(),
        before
    );
    site.host.sh("systemctl is-active abide; test -e /var/lib/abide/state.sqlite").success();
}

/// Attack 38: the way is laid by a step of the same run, which no plan can see: a unit that mounts.
#[test]
fn the_way_to_abide_may_be_laid_while_a_run_is_under_way() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("laid", Pace::Manual);
    site.host.sh("mkdir -p /srv/mine").success();
    let role = "[command.lay]\nargv = [\"ln\", \"-sfn\", \"/etc/abide\", \"/srv/mine/way\"]\ncreates = \"/srv/mine/way\"\n\
        [file.\"/srv/mine/way/facts.d/evil.toml\"]\ncontent = \"x = 1\"\nafter = [\"command:lay\"]\n";
    site.declare(&format!("{}{role}", file("one")));
    let status = refused(&site, "E365");
    assert!(status["run"]["differing"]["file:/srv/mine/way/facts.d/evil.toml"].is_string(), "{status:#}");
    site.holds("test -L /srv/mine/way; test ! -e /etc/abide/facts.d/evil.toml");
}

#[test]
fn a_host_has_a_law_of_its_own() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("law", Pace::Manual);
    let law = "[law]\nkinds = [\"user\"]\npaths = [\"/srv/secret\"]\nunits = [\"cron.service\"]\npackages = [\"telnet*\"]\ncommands = [\"sh\"]\n";
    let with = format!("cat >> /etc/abide/abide.toml <<'EOF'\n{law}EOF\n");
    site.host.sh(&format!("mkdir -p /srv/secret; {with}")).success();
    for (role, code) in [
        ("[user.x]\n", "E360"),
        ("[file.\"/srv/secret/x\"]\ncontent = \"\"\n", "E361"),
        ("[directory.\"/srv\"]\nsource = \"tree\"\n", "E361"),
        ("[drop-in.\"cron.service/x\".Service]\nNice = 1\n", "E362"),
        ("[file.\"/etc/systemd/system/cron.service.d/x.conf\"]\ncontent = \"\"\n", "E362"),
        ("[package.telnetd]\n", "E363"),
        ("[command.x]\nargv = [\"sh\", \"-c\", \"touch /root/ran\"]\ncreates = \"/root/never\"\n", "E364"),
        ("[command.x]\nargv = [\"true\"]\nunless = [\"sh\", \"-c\", \"touch /root/ran\"]\n", "E364"),
    ] {
        site.fleet.write(&[("roles/base/tree/secret/x", "x")]);
        forbidden(&site, role, code);
    }
    site.holds("test ! -e /root/ran; test ! -e /srv/secret/x; not id x");

    // A law that comes later binds what is in force already, and nothing else.
    let more = "[file.\"/srv/old\"]\ncontent = \"old\\n\"\n";
    site.converged(&format!("{}{more}", file("one")));
    site.host
        .sh("sed -i 's|/srv/secret|/srv/old|' /etc/abide/abide.toml; echo drift | tee /srv/old /etc/app.conf")
        .success();
    refused(&site, "E361");
    assert_eq!(
        (site.host.read("/srv/old"), site.host.read("/etc/app.conf")),
        ("drift\n".into(), "one\n".into())
    );
}

/// Attack 39: an old program goes on with a policy that it does not fully understand.
#[test]
fn a_policy_may_ask_for_a_newer_abide() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("newer", Pace::Manual);
    let before = tip(&site);
    let policy = trust(&site.signer).replace("version = 1", "version = 2\nminimum-agent = \"99.0\"");
    site.push("Ask for a newer abide", &[("trust.toml", &policy), (ROLE, &file("two"))]);
    let status = refused(&site, "E029");
    assert_eq!(status["run"]["revision"]["commit"], before.as_str(), "{status:#}");
    assert_eq!(site.host.read("/etc/app.conf"), "one\n");
    site.fleet.git(&["reset", "-q", "--hard", &before]).success();
    site.declare(&file("three"));
    site.synced();
}
