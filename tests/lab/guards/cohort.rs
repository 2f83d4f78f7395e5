//! Hosts of a cohort that all need a reboot take their turns: never more than one is down.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::packages::build;
use crate::support::fleet::Fleet;
use crate::support::git_server::{GitServer, Place};
use crate::support::host::{Host, HostOptions, Network};
use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, ROLE, product, trust};

/// Simulated seconds in one: the shortest slot is a minute, and takes fifteen seconds here.
const RATE: u128 = 4;

/// Half a slot, within which a host has to be back for the slots to keep their promise.
const HALF: i64 = 30;

const HOSTS: usize = 3;

fn settings(slot: usize) -> String {
    format!(
        "[source]\npoll = \"1m\"\njitter = \"0s\"\n[agent]\ncheck = \"1d\"\n\
         [reboot]\nwhen = \"needed\"\nslots = {HOSTS}\nslot = {slot}\nslot-length = \"1m\"\n"
    )
}

/// All hosts have one clock, as they should.
fn clock() -> String {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
    let uptime = std::fs::read_to_string("/proc/uptime").expect("the uptime");
    let seconds: f64 = uptime.split(' ').next().and_then(|word| word.parse().ok()).expect("seconds");
    format!("{RATE} {wall} {} 0\n", (seconds * 1000.0) as u64)
}

fn is_up(host: &Host) -> bool {
    let state = host.exec(&["systemctl", "is-system-running"]).stdout;
    matches!(state.trim(), "running" | "degraded")
}

/// When events of this kind took place on a host, seconds since the epoch by its own clock.
fn times(host: &Host, kind: &str) -> Vec<i64> {
    let events = host.sh("abide events -o json").success();
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["kind"] == kind).filter_map(|event| event["time"].as_i64()).collect()
}

#[test]
fn of_a_cohort_that_needs_reboots_one_host_is_down_at_a_time() {
    if !lab_is_enabled() {
        return;
    }
    let program = build(&["--features", "simulated-clock", "--example", "hasty"]).join("hasty");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("clock");
    std::fs::write(&file, clock()).expect("a clock");
    let fleet = Fleet::new();
    let signer = fleet.signer("alice");
    let role = "[file.\"/etc/one\"]\ncontent = \"one\"\n";
    fleet.write(&[("fleet.toml", FLEET), ("trust.toml", &trust(&signer)), (ROLE, role)]);
    let introduction = fleet.publish("Begin", &signer, &[]);
    let server = GitServer::git(&fleet.repositories(), Place::Bridge);
    let (url, key) = (server.url("fleet"), signer.public_key());
    let hosts: Vec<Host> = (0..HOSTS)
        .map(|slot| {
            let mut binds = product(&program);
            binds.push((file.clone(), "/abide-clock".into()));
            let options =
                HostOptions { name: "cohort", network: Network::Bridge, binds, ..Default::default() };
            let host = Host::boot(options);
            host.write("/etc/abide/abide.toml", settings(slot));
            host.sh("systemd-sysusers; systemd-tmpfiles --create abide.conf").success();
            host.exec(&["abide", "enroll", &url, "--introduction", &introduction, "--key", &key, "--yes"])
                .success();
            host.wait_for("test -e /etc/one", Duration::from_secs(30));
            host
        })
        .collect();
    // The need of a host is over with its reboot, since `/run` is.
    for host in &hosts {
        host.sh("touch /run/reboot-required; systemctl reload abide").success();
    }
    let start = Instant::now();
    let (mut back, mut most_down) = ([false; HOSTS], 0);
    while back.contains(&false) {
        let up: Vec<bool> = hosts.iter().map(is_up).collect();
        most_down = most_down.max(up.iter().filter(|up| !**up).count());
        for (slot, host) in hosts.iter().enumerate().filter(|(slot, _)| up[*slot]) {
            back[slot] = back[slot] || host.sh("abide events | grep -q 'the host is back'").code == 0;
        }
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(180), "not all were rebooted after {elapsed:?}: {back:?}");
    }
    let mut turns: Vec<(i64, i64)> = hosts
        .iter()
        .map(|host| match (&times(host, "rebooting")[..], &times(host, "rebooted")[..]) {
            ([begun], [over]) => (*begun, *over),
            other => panic!("one reboot was needed: {other:?}"),
        })
        .collect();
    turns.sort_unstable();
    println!(
        "{HOSTS} hosts rebooted within {:?}, at most {most_down} down at a time; turns in slots of 60 s: {turns:?}",
        start.elapsed()
    );
    assert!(
        turns.iter().all(|(begun, _)| begun.rem_euclid(2 * HALF) < HALF),
        "first half of a slot: {turns:?}"
    );
    assert!(turns.windows(2).all(|pair| pair[1].0 - pair[0].0 >= HALF), "too close: {turns:?}");
    // A machine that is too busy for this says nothing about slots.
    if turns.iter().all(|(begun, over)| over - begun <= HALF) {
        assert!(most_down <= 1, "{most_down} hosts were down at the same time: {turns:?}");
        assert!(turns.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{turns:?}");
    }
}
