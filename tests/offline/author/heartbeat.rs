//! `abide heartbeat`: what a schedule needs, and what it must not get.

use super::desk::{Agent, Desk};

const BRANCH: &str = "refs/heads/abide/heartbeat/main";

impl Desk {
    /// A repository whose policy names a key for heartbeats.
    fn beating() -> Desk {
        let desk = Desk::new();
        desk.lab.keygen("beat");
        let mut policy = desk.lab.policy(2).text();
        policy.push_str(&format!("[heartbeat]\nkeys = [{{ key = \"{}\" }}]\n", desk.lab.public("beat")));
        desk.lab.write("trust.toml", &policy);
        desk.lab.commit("alice", "Expect heartbeats");
        desk
    }

    fn sequence(&self, outcome: &super::desk::Outcome) -> u64 {
        let json = outcome.json();
        assert_eq!(json["commit"], self.lab.git(&["rev-parse", BRANCH]));
        json["sequence"].as_u64().unwrap()
    }
}

#[test]
fn a_schedule_makes_heartbeats_that_rise() {
    let desk = Desk::beating();
    let remote = desk.remote();
    let beat = ["heartbeat", "--key", "../beat", "-o", "json"];
    let first = desk.sequence(&desk.abide("mallory", &beat).ok());
    let second = desk.sequence(&desk.abide("mallory", &[&beat[..], &["--push", "origin"]].concat()).ok());
    assert!(second > first);
    // One commit without parents, with one file; pushed over what was there.
    let git_dir = remote.to_str().unwrap().to_owned();
    let there =
        |what: &str| desk.lab.git(&["--git-dir", &git_dir, "show", "--no-patch", "--format=%P%s", what]);
    assert_eq!(there(BRANCH), format!("Heartbeat {second} of refs/heads/main"));
    assert_eq!(desk.lab.git(&["ls-tree", "--name-only", BRANCH]), "heartbeat");
    let text = desk.lab.git(&["show", &format!("{BRANCH}:heartbeat")]);
    for part in
        ["abide heartbeat 1", "fleet 5a1c", "ref refs/heads/main", &format!("tip {}", desk.lab.head())]
    {
        assert!(text.lines().any(|line| line == part), "{part}: {text}");
    }
    // Hosts would count it; a clone knows it by its remote, and goes on from there.
    let shown = desk.abide("alice", &["verify", "--repo", ".", "-o", "json"]).ok().json();
    assert_eq!(shown["heartbeat"]["sequence"], second);
    desk.lab.git(&["update-ref", "-d", BRANCH]);
    assert!(desk.sequence(&desk.abide("alice", &beat).ok()) > second);
    let talk =
        desk.abide("alice", &["heartbeat", "--key", "../beat", "--push", "origin", "--valid", "2h"]).ok();
    assert!(talk.out.contains("pushed to origin"), "{}", talk.out);
}

#[test]
fn an_agent_may_hold_the_key() {
    let desk = Desk::beating();
    desk.abide("alice", &["heartbeat", "--key", "agent"]).failed("E770");
    let agent = Agent::with(&desk.folder(), &desk.key("beat"));
    std::fs::remove_file(desk.key("beat")).unwrap();
    let socket = [("SSH_AUTH_SOCK", agent.socket())];
    desk.with(&[], &socket, &["heartbeat", "--key", "agent"]).ok();
    desk.with(&[], &socket, &["heartbeat", "--key", "../beat.pub"]).ok();
    let other = Desk::beating();
    other.with(&[], &socket, &["heartbeat", "--key", "agent"]).failed("E770");
}

#[test]
fn a_private_key_is_enough_and_another_one_is_refused() {
    let desk = Desk::beating();
    std::fs::remove_file(desk.key("beat.pub")).unwrap();
    desk.abide("alice", &["heartbeat", "--key", "../beat"]).ok();
    let before = desk.lab.git(&["rev-parse", BRANCH]);
    // Not even a principal who may sign everything.
    let outcome = desk.abide("alice", &["heartbeat", "--key", "../alice"]).failed("E770");
    assert!(outcome.err.contains("[heartbeat]"), "{}", outcome.err);
    desk.abide("alice", &["heartbeat", "--key", "../nowhere"]).failed("E740");
    desk.abide("alice", &["heartbeat", "--key", "../beat", "--valid", "500d"]).failed("E772");
    desk.abide("alice", &["heartbeat", "--key", "../beat", "--valid", "0s"]).failed("E772");
    desk.abide("alice", &["heartbeat", "--key", "../beat", "--push", "nowhere"]).failed("E740");
    desk.lab.write("fleet.toml", "# unsigned\n");
    desk.lab.unsigned("Sneak in");
    let newest = desk.lab.git(&["rev-parse", BRANCH]);
    desk.abide("alice", &["heartbeat", "--key", "../beat"]).failed("E010");
    assert_eq!(desk.lab.git(&["rev-parse", BRANCH]), newest);
    assert_ne!(before, newest);
}

#[test]
fn a_key_that_expired_makes_none() {
    let desk = Desk::beating();
    let text = std::fs::read_to_string(desk.lab.path().join("trust.toml")).unwrap();
    let key = desk.lab.public("beat");
    let text = text.replace("version = 2", "version = 3");
    let text = text.replace(&format!("\"{key}\" }}"), &format!("\"{key}\", not-after = 2020-01-01 }}"));
    desk.lab.write("trust.toml", &text);
    desk.lab.commit("alice", "Expire the key");
    desk.abide("alice", &["heartbeat", "--key", "../beat"]).failed("E771");
    assert!(desk.abide("alice", &["check", "."]).err.contains("W240"));
}

#[test]
fn while_something_waits_the_newest_in_effect_is_named() {
    let desk = Desk::beating();
    let effective = desk.lab.head().to_string();
    let tip = desk.waiting();
    let json = desk.abide("alice", &["heartbeat", "--key", "../beat", "-o", "json"]).ok().json();
    assert_eq!((&json["tip"], &json["pending"]), (&effective.into(), &tip.into()));
}
