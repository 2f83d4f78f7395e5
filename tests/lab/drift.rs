//! Drift healed by events alone: a thousand edits at random moments, more events than the kernel can queue, fights, and what is only
//! reported.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::command::run;
use crate::support::site::{PATIENCE, Pace, ROLE, Site, SiteOptions};
use crate::support::{lab_is_enabled, lab_script};

/// What `drifter.rs` edits.
fn role() -> String {
    let mut role = String::from(
        "[directory.\"/srv/drift\"]\nmode = \"0755\"\nforce = true\n\
         [directory.\"/srv/links\"]\nmode = \"0755\"\n\
         [directory.\"/srv/tree\"]\nsource = \"tree\"\npurge = true\nforce = true\n\
         [package.abide-base]\n",
    );
    for folder in 0..30 {
        let _ = writeln!(role, "[directory.\"/srv/drift/d{folder}\"]\nmode = \"0755\"\nforce = true");
        for file in 0..10 {
            let _ = writeln!(
                role,
                "[file.\"/srv/drift/d{folder}/f{file}\"]\ncontent = \"declared {folder} {file}\\n\"\n\
                 mode = \"0640\"\nowner = \"root\"\nforce = true"
            );
        }
    }
    for number in 0..12 {
        let _ = writeln!(
            role,
            "[symlink.\"/srv/links/l{number}\"]\ntarget = \"../somewhere/{number}\"\nforce = true\n\
             [user.drift{number}]\nuid = {uid}\nshell = \"/bin/sh\"\ncreate-home = false\n\
             [unit.\"app{number}.service\"]\nforce = true\n\
             [unit.\"app{number}.service\".Service]\nExecStart = \"/bin/sleep infinity\"\n\
             [unit.\"app{number}.service\".Install]\nWantedBy = \"multi-user.target\"\n\
             [service.app{number}]\nrunning = true\nenabled = true\nmasked = false",
            uid = 3000 + number
        );
    }
    role
}

fn number(name: &str, usual: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn every_edit_is_healed_by_events_alone() {
    if !lab_is_enabled() {
        return;
    }
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    let site = Site::enrolled(&SiteOptions {
        name: "drift",
        pace: Pace::Events,
        files: &[(ROLE, &role()), ("roles/base/tree/deep/leaf", "leaf\n")],
        binds: vec![
            (repositories.path().to_owned(), "/repositories".into()),
            (crate::packages::example("drifter"), "/drifter".into()),
        ],
        prepare: "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
                  echo 'deb [trusted=yes] file:/repositories/deb ./' >/etc/apt/sources.list.d/test.list
                  apt-get -qq update",
        ..Default::default()
    });
    let seed = number("ABIDE_DRIFT_SEED", 0x5eed);
    let edits = number("ABIDE_DRIFT_EDITS", 1000);
    println!("ABIDE_DRIFT_SEED={seed} ABIDE_DRIFT_EDITS={edits}");
    let said = site.host.exec(&["/drifter", &seed.to_string(), &edits.to_string()]);
    let last = said.stdout.lines().last().unwrap_or_default().to_owned();
    println!("drift to healed by events, milliseconds, unoptimised program: {last}");
    let lost: Vec<&str> = said.stdout.lines().filter(|line| line.starts_with("LOST")).collect();
    let tail: Vec<&str> = said.stdout.lines().rev().take(40).collect();
    assert!(
        said.code == 0 && lost.is_empty(),
        "seed {seed}: {lost:#?}\n{}\n{tail:#?}\n{:#}\n{}",
        said.stderr,
        site.status(),
        site.journal()
    );
    site.wait_synced();
    site.settled();
    let status = site.status();
    assert_eq!(
        status["agent"]["problems"],
        serde_json::json!([]),
        "no edit was taken for a fight: {status:#}"
    );
}

const SMALL: &str = r#"
[file."/etc/watched"]
content = "watched\n"

[file."/etc/other"]
content = "other\n"

[directory."/srv/noise"]

[directory."/srv/tree"]
source = "tree"
purge = true
"#;

fn small(name: &'static str, role: &str) -> Site {
    let files = [(ROLE, role), ("roles/base/tree/leaf", "leaf\n")];
    Site::enrolled(&SiteOptions { name, pace: Pace::Events, files: &files, ..Default::default() })
}

#[test]
fn drift_among_more_events_than_the_kernel_queues_is_healed() {
    if !lab_is_enabled() {
        return;
    }
    let site = small("overflow", SMALL);
    // A stopped agent reads nothing, so that the queue overflows, and what happens then is not told at all.
    site.holds(
        "pid=$(systemctl show -P MainPID abide); limit=$(cat /proc/sys/fs/inotify/max_queued_events)
         test $limit -le 20000
         kill -STOP $pid
         set +x; for n in $(seq $limit); do : >/srv/tree/a; : >/srv/tree/b; done; set -x
         rm /srv/tree/a /srv/tree/b
         echo edited >/etc/watched; rm /srv/tree/leaf
         kill -CONT $pid",
    );
    site.host
        .wait_for("grep -qx watched /etc/watched && grep -qx leaf /srv/tree/leaf", Duration::from_secs(10));
    site.host.wait_for("journalctl -q -o cat -t abide | grep 'file events were lost'", PATIENCE);
    // It goes on listening.
    site.holds("echo edited >/etc/watched");
    site.host.wait_for("grep -qx watched /etc/watched", Duration::from_secs(10));
}

#[test]
fn what_changes_between_the_look_and_the_watch_is_not_missed() {
    if !lab_is_enabled() {
        return;
    }
    // The guard keeps a run busy after it has looked at the paths.
    let role = "[directory.\"/srv/gap\"]\n[directory.\"/srv/gap/folder\"]\n\
        [file.\"/srv/gap/folder/file\"]\ncontent = \"declared\\n\"\n\
        [command.slow]\nargv = [\"true\"]\nunless = [\"sh\", \"-c\", \"touch /run/looked; sleep 1\"]\n";
    let site = small("gap", role);
    site.host.wait_for("not() { ! \"$@\"; }; rm -f /run/looked; sleep 2; not test -e /run/looked", PATIENCE);
    // Another folder with the same in it: it is not watched before the run that this causes has ended.
    site.holds(
        "cd /srv/gap; cp -a folder other; mv folder old; mv other folder
         until test -e /run/looked; do sleep 0.02; done; echo edited >folder/file",
    );
    site.host.wait_for("grep -qx declared /srv/gap/folder/file", Duration::from_secs(10));
}

#[test]
fn units_are_looked_at_again_when_the_bus_comes_back() {
    if !lab_is_enabled() {
        return;
    }
    let unit = "[unit.\"app.service\".Service]\nExecStart = \"/bin/sleep infinity\"\n[service.app]\nrunning = true\n";
    let site = small("bus", unit);
    site.holds(
        "systemctl stop dbus.socket dbus.service; systemctl kill -s KILL app; systemctl start dbus.socket",
    );
    site.host.wait_for("systemctl is-active app", Duration::from_secs(20));
    for _ in 0..3 {
        site.holds("systemctl stop app");
        site.host.wait_for("systemctl is-active app", Duration::from_secs(10));
    }
}

#[test]
fn a_fight_is_named_slowed_down_and_over_when_it_is_over() {
    if !lab_is_enabled() {
        return;
    }
    let site = small("fight", SMALL);
    // The other side: whatever abide does, it writes again at once.
    site.holds(
        "useradd rival; systemd-run -q --unit rival bash -c 'while sleep 0.02; do
             if grep -qx watched /etc/watched; then echo mine >/etc/watched; chown rival /etc/watched; fi; done'",
    );
    site.host.wait_for("(abide status || true) | grep -q E830", PATIENCE);
    site.host.wait_for("(abide status || true) | grep 'user rival'", PATIENCE);
    let text = site.abide(&["status"]);
    assert!(text.code == 1 && text.stdout.contains("file:/etc/watched"), "{text:#?}");
    println!("$ abide status\n{}", text.stdout);
    // Meanwhile everything else is healed at once.
    let mut longest = Duration::ZERO;
    for _ in 0..4 {
        let start = Instant::now();
        site.holds("rm /etc/other");
        site.host.wait_for("grep -qx other /etc/other", Duration::from_secs(10));
        longest = longest.max(start.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "a fight slowed down another thing: {longest:?}");
    // In half a minute, a handful of corrections.
    let count = "journalctl -q -o cat -t abide | grep -c 'file:/etc/watched: content'";
    let corrections: u32 = site.host.sh(count).success().trim().parse().expect("a number");
    assert!((6..14).contains(&corrections), "{corrections} corrections");
    site.holds("systemctl stop rival");
    site.host.wait_for("grep -qx watched /etc/watched", PATIENCE);
    site.host
        .wait_for("not() { ! \"$@\"; }; not grep -q E830 /run/abide/agent.json", Duration::from_secs(180));
    site.host.wait_for(
        "journalctl -q -o cat -t abide | grep 'nobody changes file:/etc/watched back any more'",
        PATIENCE,
    );
    site.wait_synced();
}

#[test]
fn what_is_only_reported_is_not_healed_and_keeps_nobody_busy() {
    if !lab_is_enabled() {
        return;
    }
    let role = SMALL.replacen("content", "enforce = \"warn\"\ncontent", 1);
    let site = Site::enrolled(&SiteOptions {
        name: "warn",
        pace: Pace::Events,
        files: &[(ROLE, &role), ("roles/base/tree/leaf", "leaf\n")],
        prepare: "echo watched >/etc/watched",
        ..Default::default()
    });
    site.holds("echo edited >/etc/watched");
    site.wait_status("drift that is left", |run| run["counts"]["left"] == 1);
    // No run follows from it: the time of the last one stays.
    let last = || site.host.sh("stat -c %y /run/abide/status.json").success();
    let before = last();
    site.holds("touch /srv/noise/elsewhere; sleep 2");
    assert_eq!(before, last(), "a run took place although nothing happened");
    site.holds("grep -qx edited /etc/watched; rm /etc/other");
    site.host.wait_for("test -e /etc/other", Duration::from_secs(10));
    site.holds("grep -qx edited /etc/watched");
}
