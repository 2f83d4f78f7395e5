//! Freshness: an old state served for ever is noticed, and where freshness is required nothing new comes in without a heartbeat.

use abide::config::Span;
use abide::error::Explain;
use abide::source::Candidate;
use abide::source::store::Repository;
use abide::trust::heartbeat::{Heartbeat, NAMESPACE};
use abide::trust::{Assessment, FreshnessMode, FreshnessRule, Memory, assess};
use gix::ObjectId;

use super::lab::{Lab, NOW};

const HOUR: i64 = 3600;

/// A fleet with a heartbeat key, whose hosts require news not older than a day.
struct Fleet {
    lab: Lab,
    memory: Memory,
}

impl Fleet {
    fn new(mode: FreshnessMode) -> Fleet {
        let mut lab = Lab::new();
        for name in ["pulse", "other"] {
            lab.keygen(name);
        }
        let mut policy = lab.policy(2);
        policy.heartbeat = vec![format!("{{ key = \"{}\" }}", lab.public("pulse"))];
        lab.write("trust.toml", &policy.text());
        lab.mark = lab.mark_of(lab.commit("alice", "Heartbeats"));
        lab.root.freshness = FreshnessRule { mode, max_age: Some(Span::seconds(24 * 3600)) };
        let memory = Memory { high_water: Some(lab.mark.clone()), heartbeat: None };
        Fleet { lab, memory }
    }

    fn heartbeat(&self, tip: ObjectId, sequence: u64, issued: i64) -> Heartbeat {
        let commit = abide::trust::commit::Commit::parse(&self.lab.raw(tip), tip.kind()).unwrap();
        Heartbeat {
            fleet: self.lab.root.fleet.clone(),
            reference: self.lab.root.reference.clone(),
            tip: tip.to_string(),
            payload: commit.payload_hash(),
            sequence,
            issued,
            expires: issued + 48 * HOUR,
        }
    }

    fn sign(&self, heartbeat: &Heartbeat, signer: &str, namespace: &str) -> ObjectId {
        let text = heartbeat.text().unwrap();
        self.lab.heartbeat_of(&format!("{text}{}", self.lab.sign(signer, namespace, text.as_bytes())))
    }

    fn pulse(&self, tip: ObjectId, sequence: u64, issued: i64) -> ObjectId {
        self.sign(&self.heartbeat(tip, sequence, issued), "pulse", NAMESPACE)
    }

    fn assess(&self, tip: ObjectId, heartbeat: Option<ObjectId>, now: i64) -> Assessment {
        let repository = Repository::open(&self.lab.path()).unwrap();
        let candidate = Candidate { tip, approvals: Vec::new(), heartbeat };
        assess(&repository, &self.lab.root, &self.memory, &candidate, now).unwrap()
    }

    /// Assesses and remembers.
    fn follow(&mut self, tip: ObjectId, heartbeat: Option<ObjectId>, now: i64) -> Assessment {
        let assessment = self.assess(tip, heartbeat, now);
        self.memory.high_water = Some(assessment.judgement.high_water.clone());
        self.memory.heartbeat = assessment.freshness.heartbeat.clone();
        assessment
    }

    fn change(&self, content: &str) -> ObjectId {
        self.lab.write("roles/web/role.toml", content);
        self.lab.commit("alice", content)
    }
}

fn at(assessment: &Assessment) -> String {
    assessment.judgement.verified.as_ref().unwrap().revision().commit.clone()
}

fn problem(assessment: &Assessment) -> &'static str {
    assessment.freshness.problem.as_ref().map_or("", |problem| problem.code().0)
}

#[test]
fn only_what_a_heartbeat_names_is_applied() {
    let mut fleet = Fleet::new(FreshnessMode::Require);
    let stand = fleet.lab.mark.commit.clone();
    let named = fleet.change("named");
    let later = fleet.change("pushed after the heartbeat");
    assert_eq!(at(&fleet.assess(later, None, NOW)), stand);
    let heartbeat = fleet.pulse(named, 1, NOW - HOUR);
    let assessment = fleet.follow(later, Some(heartbeat), NOW);
    assert_eq!((at(&assessment), problem(&assessment)), (named.to_string(), ""));
    assert!(assessment.freshness.stale(NOW).is_none());
    // The next one brings the rest.
    let heartbeat = fleet.pulse(later, 2, NOW);
    assert_eq!(at(&fleet.follow(later, Some(heartbeat), NOW)), later.to_string());
}

#[test]
fn a_freeze_is_noticed_and_passes() {
    let mut fleet = Fleet::new(FreshnessMode::Require);
    let old = fleet.change("old");
    let heartbeat = fleet.pulse(old, 1, NOW);
    fleet.follow(old, Some(heartbeat), NOW);
    // The server goes on serving it: nothing changes but the time.
    let later = NOW + 25 * HOUR;
    let assessment = fleet.follow(old, Some(heartbeat), later);
    assert_eq!((at(&assessment), problem(&assessment)), (old.to_string(), "E072"));
    let stale = assessment.freshness.stale(later).expect("nobody noticed");
    assert_eq!(stale.code().0, "E071");
    // A new commit without a new heartbeat is not applied either.
    let new = fleet.change("new");
    assert_eq!(at(&fleet.assess(new, Some(heartbeat), later)), old.to_string());
    let fresh = fleet.pulse(new, 2, later);
    let assessment = fleet.follow(new, Some(fresh), later);
    assert_eq!(at(&assessment), new.to_string());
    assert!(assessment.freshness.stale(later).is_none());
}

#[test]
fn where_it_is_not_required_it_is_only_told() {
    let mut fleet = Fleet::new(FreshnessMode::Warn);
    let tip = fleet.change("new");
    let assessment = fleet.follow(tip, None, NOW);
    assert_eq!(at(&assessment), tip.to_string());
    assert!(assessment.freshness.stale(NOW).is_some());
    let heartbeat = fleet.pulse(tip, 1, NOW);
    assert!(fleet.follow(tip, Some(heartbeat), NOW).freshness.stale(NOW).is_none());
    let next = fleet.change("newer");
    let assessment = fleet.assess(next, Some(heartbeat), NOW + 30 * HOUR);
    assert_eq!(at(&assessment), next.to_string());
    assert!(assessment.freshness.stale(NOW + 30 * HOUR).is_some());
}

#[test]
fn heartbeats_that_do_not_count() {
    let fleet = Fleet::new(FreshnessMode::Require);
    let stand = fleet.lab.mark.commit.clone();
    let tip = fleet.change("new");
    let good = fleet.heartbeat(tip, 1, NOW);
    let other = |change: fn(&mut Heartbeat)| {
        let mut heartbeat = good.clone();
        change(&mut heartbeat);
        fleet.sign(&heartbeat, "pulse", NAMESPACE)
    };
    let text = good.text().unwrap();
    let tampered = format!("{text}{}", fleet.lab.sign("pulse", NAMESPACE, text.as_bytes()));
    let tampered = fleet.lab.heartbeat_of(&tampered.replace("sequence 1", "sequence 2"));
    for (heartbeat, code) in [
        (fleet.sign(&good, "other", NAMESPACE), "E048"),
        // A principal's key counts for commits only, and a commit's signature for commits only.
        (fleet.sign(&good, "alice", NAMESPACE), "E048"),
        (fleet.sign(&good, "pulse", "git"), "E045"),
        (tampered, "E049"),
        (other(|heartbeat| heartbeat.fleet = "other".into()), "E046"),
        (other(|heartbeat| heartbeat.reference = "refs/heads/staging".into()), "E046"),
        (other(|heartbeat| heartbeat.payload = "0".repeat(64)), "E070"),
        (other(|heartbeat| heartbeat.tip = "a".repeat(40)), "E070"),
        (other(|heartbeat| heartbeat.issued -= 24 * HOUR + 1), "E072"),
        (other(|heartbeat| heartbeat.expires = heartbeat.issued + 1), ""),
        (fleet.lab.heartbeat_of("nonsense"), "E045"),
        (tip, "E045"),
    ] {
        let assessment = fleet.assess(tip, Some(heartbeat), NOW);
        assert_eq!(problem(&assessment), code);
        let expected = if code.is_empty() { tip.to_string() } else { stand.clone() };
        assert_eq!(at(&assessment), expected, "{code}");
        assert_eq!(assessment.freshness.stale(NOW).is_some(), !code.is_empty());
    }
}

#[test]
fn an_old_heartbeat_replayed() {
    let mut fleet = Fleet::new(FreshnessMode::Require);
    let tip = fleet.change("new");
    let (first, second) = (fleet.pulse(tip, 1, NOW), fleet.pulse(tip, 2, NOW + HOUR));
    fleet.follow(tip, Some(second), NOW + HOUR);
    let replayed = fleet.assess(tip, Some(first), NOW + HOUR);
    assert_eq!(problem(&replayed), "E047");
    // It stays known what the newer one said.
    assert_eq!(replayed.freshness.heartbeat.as_ref().map(|mark| mark.sequence), Some(2));
    let split = fleet.pulse(fleet.change("another view"), 2, NOW + HOUR);
    assert_eq!(problem(&fleet.assess(fleet.lab.head(), Some(split), NOW + HOUR)), "E047");
}

#[test]
fn a_branch_behind_its_heartbeat() {
    let fleet = Fleet::new(FreshnessMode::Require);
    let old = fleet.change("old");
    let new = fleet.change("new");
    let heartbeat = fleet.pulse(new, 1, NOW);
    // The mirror serves the old branch with the new heartbeat.
    let assessment = fleet.assess(old, Some(heartbeat), NOW);
    assert_eq!((at(&assessment), problem(&assessment)), (fleet.lab.mark.commit.clone(), "E070"));
}

#[test]
fn a_heartbeat_for_what_was_accepted_counts() {
    let mut fleet = Fleet::new(FreshnessMode::Warn);
    let old = fleet.change("old");
    let new = fleet.change("new");
    fleet.follow(new, None, NOW);
    fleet.lab.root.freshness.mode = FreshnessMode::Require;
    // It was made just before the push.
    let assessment = fleet.follow(new, Some(fleet.pulse(old, 1, NOW)), NOW);
    assert_eq!((at(&assessment), problem(&assessment)), (new.to_string(), ""));
    assert!(assessment.judgement.rejection.is_none() && assessment.freshness.stale(NOW).is_none());
}

#[test]
fn the_first_contact_needs_a_heartbeat() {
    let mut fleet = Fleet::new(FreshnessMode::Require);
    let tip = fleet.change("new");
    fleet.memory = Memory::default();
    assert!(fleet.assess(tip, None, NOW).judgement.verified.is_none());
    let stale = fleet.pulse(tip, 1, NOW - 30 * HOUR);
    assert!(fleet.assess(tip, Some(stale), NOW).judgement.verified.is_none());
    assert_eq!(at(&fleet.assess(tip, Some(fleet.pulse(tip, 2, NOW)), NOW)), tip.to_string());
}

#[test]
fn a_heartbeat_cannot_let_anything_in() {
    let fleet = Fleet::new(FreshnessMode::Require);
    let good = fleet.change("good");
    fleet.lab.write("roles/web/role.toml", "bad");
    let bad = fleet.lab.commit("mallory", "Bad");
    let assessment = fleet.assess(bad, Some(fleet.pulse(bad, 1, NOW)), NOW);
    assert_eq!(at(&assessment), good.to_string());
    assert_eq!(assessment.judgement.rejection.unwrap().code().0, "E015");
    // The host knows all that there is, and is not behind.
    assert!(assessment.freshness.problem.is_none());
}

#[test]
fn the_key_changes_with_the_policy() {
    let mut fleet = Fleet::new(FreshnessMode::Require);
    let before = fleet.change("before");
    // A thief of the key runs up the numbers and the time.
    let poisoned = fleet.pulse(before, u64::MAX, NOW + 300 * 24 * HOUR);
    fleet.follow(before, Some(poisoned), NOW);
    let mut policy = fleet.lab.policy(3);
    policy.heartbeat = vec![format!("{{ key = \"{}\" }}", fleet.lab.public("other"))];
    fleet.lab.write("trust.toml", &policy.text());
    let tip = fleet.lab.commit("alice", "Another key");
    let old = fleet.assess(tip, Some(fleet.pulse(tip, 7, NOW)), NOW);
    assert_eq!((at(&old), problem(&old)), (before.to_string(), "E048"));
    let new = fleet.sign(&fleet.heartbeat(tip, 1, NOW), "other", NAMESPACE);
    let assessment = fleet.follow(tip, Some(new), NOW);
    assert_eq!((at(&assessment), problem(&assessment)), (tip.to_string(), ""));
}

#[test]
fn a_heartbeat_tells_the_time() {
    let mut fleet = Fleet::new(FreshnessMode::Require);
    let mut policy = fleet.lab.policy(3);
    policy.heartbeat = vec![format!("{{ key = \"{}\" }}", fleet.lab.public("pulse"))];
    let short = format!("{{ key = \"{}\", not-after = 2026-06-02 }}", fleet.lab.public("bob"));
    policy.principals.insert("bob".into(), vec![short]);
    fleet.lab.write("trust.toml", &policy.text());
    let tip = fleet.lab.commit("alice", "Bob's key expires");
    fleet.follow(tip, Some(fleet.pulse(tip, 1, NOW)), NOW);
    fleet.lab.write("roles/web/role.toml", "x");
    let tip = fleet.lab.commit("bob", "Too late");
    // By the clock the key is valid; the heartbeat says that it is three days later.
    let heartbeat = fleet.pulse(tip, 2, NOW + 72 * HOUR);
    let assessment = fleet.assess(tip, Some(heartbeat), NOW);
    assert_eq!(assessment.judgement.rejection.unwrap().code().0, "E016");
    assert_eq!(assessment.freshness.time, NOW + 72 * HOUR);
}
