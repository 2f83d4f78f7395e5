//! Freshness: whether what the remote offers is news, or an old state that somebody goes on serving.
//!
//! [`assess`] is the judgement of a candidate with its heartbeat. Where the root of trust requires freshness, only what a fresh
//! heartbeat names comes into effect; elsewhere heartbeats are looked at and reported.
//!
//! **Invariant:** a heartbeat lets nothing in that the walk would not let in; it can only hold back.

use gix::ObjectId;
use serde::{Deserialize, Serialize};

use super::commit::{Commit, first_parent_of_any};
use super::error::TrustError;
use super::examine::{MOST_COMMITS, shown_time};
use super::heartbeat::{HeartbeatError, SignedHeartbeat};
use super::judgement::{HighWater, Judgement};
use super::policy::Policy;
use super::rejection::short;
use super::root::{FreshnessMode, FreshnessRule, RootOfTrust};
use super::walk::judge;
use crate::error::{Code, Explain, escaped};
use crate::source::{Candidate, Objects};

/// Seconds by which a heartbeat may move the host's trusted time ahead of its clock: a week. A stolen key cannot make all keys
/// expire.
const FURTHEST: i64 = 7 * 24 * 60 * 60;

/// What a host remembers of earlier judgements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The newest commit that it has accepted.
    pub high_water: Option<HighWater>,
    /// The newest heartbeat that counted.
    pub heartbeat: Option<HeartbeatMark>,
}

/// A heartbeat that counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatMark {
    /// The commit that holds it, in hex.
    pub commit: String,
    /// The commit that it names, in hex.
    pub tip: String,
    /// Its place in the sequence.
    pub sequence: u64,
    /// When it was made, seconds since the epoch.
    pub issued: i64,
    /// Until when it counts by itself.
    pub expires: i64,
    /// The fingerprint of its key.
    pub key: String,
}

impl HeartbeatMark {
    /// The last second at which the news that it brought is fresh.
    pub fn fresh_until(&self, rule: &FreshnessRule) -> i64 {
        let age = rule.max_age.and_then(|age| i64::try_from(age.seconds).ok());
        let aged = age.map_or(i64::MAX, |age| self.issued.saturating_add(age));
        aged.min(self.expires)
    }
}

/// A judgement, and how fresh its news is.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// What the walk found out. In the mode [`FreshnessMode::Require`] it went no further than a fresh heartbeat names; at a first
    /// contact without one, nothing is verified.
    pub judgement: Judgement,
    /// How fresh it is.
    pub freshness: Freshness,
}

/// How fresh the news is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// What the root of trust asks for.
    pub rule: FreshnessRule,
    /// Whether heartbeats are to be expected: they are required, or the policy in force names keys for them.
    pub expected: bool,
    /// The newest heartbeat that counts.
    pub heartbeat: Option<HeartbeatMark>,
    /// Why the one on offer does not count.
    pub problem: Option<HeartbeatProblem>,
    /// The time that the expiry of keys was judged by, seconds since the epoch: the newest heartbeat may know better than the clock.
    pub time: i64,
}

impl Freshness {
    /// The last second at which the news is fresh; `None` when no heartbeat ever counted.
    pub fn until(&self) -> Option<i64> {
        Some(self.heartbeat.as_ref()?.fresh_until(&self.rule))
    }

    /// Why the news is not fresh at this time, where it should be.
    pub fn stale(&self, now: i64) -> Option<Stale> {
        if !self.expected || self.until().is_some_and(|until| now <= until) {
            return None;
        }
        Some(Stale { heartbeat: self.heartbeat.clone(), mode: self.rule.mode, until: self.until() })
    }
}

/// The news is older than it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// The newest heartbeat.
    pub heartbeat: Option<HeartbeatMark>,
    /// What follows.
    pub mode: FreshnessMode,
    /// Until when it was fresh.
    pub until: Option<i64>,
}

impl std::fmt::Display for Stale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.heartbeat, self.until) {
            (Some(heartbeat), Some(until)) => write!(
                f,
                "the news of the branch is stale: heartbeat {} was made at {} and counted until {}",
                heartbeat.sequence,
                shown_time(heartbeat.issued),
                shown_time(until)
            )?,
            _ => f.write_str("no heartbeat of the branch has ever been seen")?,
        }
        f.write_str(match self.mode {
            FreshnessMode::Require => "; nothing new is applied, the last accepted state stays in effect",
            FreshnessMode::Warn => "",
        })
    }
}

impl std::error::Error for Stale {}

impl Explain for Stale {
    /// E071: the remote, or somebody before it, may be holding back what is new.
    fn code(&self) -> Code {
        Code("E071")
    }

    fn remedy(&self) -> String {
        "look whether the schedule that makes heartbeats (`abide heartbeat`) still runs and can push; if it does, suspect the remote: compare its branch with an author's".into()
    }
}

/// Why a heartbeat does not count. Text in it is safe to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatProblem {
    /// E045: it cannot be read.
    #[error("the heartbeat cannot be read: {0}")]
    Unreadable(HeartbeatError),
    /// E046: it is for another fleet or branch.
    #[error("the heartbeat is for the {what} \"{found}\", this host follows \"{expected}\"")]
    Elsewhere {
        /// `fleet` or `ref`.
        what: &'static str,
        /// In the heartbeat.
        found: String,
        /// On the host.
        expected: String,
    },
    /// E047: it is older than one that was seen.
    #[error("the heartbeat has the number {sequence} of {issued}, and this host has seen {seen}")]
    Replayed {
        /// Its number.
        sequence: u64,
        /// When it was made.
        issued: String,
        /// The newest that was seen.
        seen: String,
    },
    /// E048: its key may not sign heartbeats.
    #[error("the heartbeat's key {key} {why}")]
    Key {
        /// The fingerprint.
        key: String,
        /// Why not.
        why: String,
    },
    /// E049: the signature does not belong to it.
    #[error("the heartbeat's signature is not valid for its content")]
    BadSignature,
    /// E070: it names a commit that the remote does not offer.
    #[error("the heartbeat names the commit {tip}, which the branch on offer does not contain")]
    NotOnBranch {
        /// The commit.
        tip: String,
    },
    /// E072: it had expired before it came.
    #[error("the heartbeat counted until {until}")]
    Expired {
        /// Until when it counted.
        until: String,
    },
}

impl Explain for HeartbeatProblem {
    fn code(&self) -> Code {
        Code(match self {
            HeartbeatProblem::Unreadable(_) => "E045",
            HeartbeatProblem::Elsewhere { .. } => "E046",
            HeartbeatProblem::Replayed { .. } => "E047",
            HeartbeatProblem::Key { .. } => "E048",
            HeartbeatProblem::BadSignature => "E049",
            HeartbeatProblem::NotOnBranch { .. } => "E070",
            HeartbeatProblem::Expired { .. } => "E072",
        })
    }

    fn remedy(&self) -> String {
        match self {
            HeartbeatProblem::Unreadable(_) | HeartbeatProblem::BadSignature => {
                "make heartbeats with `abide heartbeat`; if nobody made this one on purpose, find out who can push to its branch".into()
            }
            HeartbeatProblem::Elsewhere { .. } => {
                "let the schedule make heartbeats from a clone of this fleet's own branch".into()
            }
            HeartbeatProblem::Replayed { .. } => {
                "if the schedule was moved or lost its numbers, give it a new key in trust.toml; otherwise suspect the remote: it serves an old heartbeat".into()
            }
            HeartbeatProblem::Key { .. } => {
                "let a root signer put the schedule's public key under [heartbeat] in trust.toml".into()
            }
            HeartbeatProblem::NotOnBranch { .. } => {
                "it passes when a poll falls between a push and its heartbeat; if it stays, the remote serves an old or another branch: compare it with an author's".into()
            }
            HeartbeatProblem::Expired { .. } => {
                "look whether the schedule that makes heartbeats still runs, and whether this host's clock is right".into()
            }
        }
    }
}

/// Judges a candidate with its heartbeat. `now` is the host's trusted time, in seconds since the epoch.
///
/// # Errors
/// As [`judge`].
pub fn assess(
    objects: &dyn Objects,
    root: &RootOfTrust,
    memory: &Memory,
    candidate: &Candidate,
    now: i64,
) -> Result<Assessment, TrustError> {
    let round = Round { objects, root, memory, candidate, now };
    let assessment = round.at(now)?;
    match assessment.freshness.time > now {
        // The heartbeat knows better what time it is: keys may have expired by it.
        true => round.at(assessment.freshness.time),
        false => Ok(assessment),
    }
}

struct Round<'a> {
    objects: &'a dyn Objects,
    root: &'a RootOfTrust,
    memory: &'a Memory,
    candidate: &'a Candidate,
    /// What a heartbeat's age is judged by: no heartbeat makes another one old.
    now: i64,
}

/// Where the commit that a heartbeat names lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// On the branch on offer, above what was accepted.
    Above(ObjectId),
    /// At or below what was accepted: the host is not behind it.
    Accepted,
    Nowhere,
}

impl Round<'_> {
    /// Judges with keys that have expired by `time`.
    fn at(&self, time: i64) -> Result<Assessment, TrustError> {
        let offered = self.candidate.heartbeat.map(|commit| self.read(commit));
        let position = match &offered {
            Some(Ok(offered)) => self.position(offered),
            _ => Position::Nowhere,
        };
        let require = self.root.freshness.mode == FreshnessMode::Require;
        let tip = match (require, position) {
            (false, _) => Some(self.candidate.tip),
            (true, Position::Above(tip)) => Some(tip),
            (true, Position::Accepted | Position::Nowhere) => None,
        };
        let judgement = self.judge(tip, time)?;
        let verdict = offered.map(|offered| {
            let offered = offered?;
            self.check(&offered, position, &judgement.policy, time)
        });
        let (counted, problem) = match verdict {
            None => (None, None),
            Some(Ok(mark)) => (Some(mark), None),
            Some(Err(problem)) => (None, Some(problem)),
        };
        let judgement = match (require && tip.is_some(), &counted) {
            // What it named was believed only as long as it counts.
            (true, None) => self.judge(None, time)?,
            _ => judgement,
        };
        Ok(self.conclude(judgement, counted, problem))
    }

    fn conclude(
        &self,
        mut judgement: Judgement,
        counted: Option<HeartbeatMark>,
        problem: Option<HeartbeatProblem>,
    ) -> Assessment {
        let rule = self.root.freshness;
        let require = rule.mode == FreshnessMode::Require;
        if require && counted.is_none() && self.memory.high_water.is_none() {
            judgement.verified = None;
        }
        let expected = require || !judgement.policy.heartbeat_keys().is_empty();
        let heartbeat = counted.or_else(|| self.memory.heartbeat.clone());
        let furthest = self.now.saturating_add(FURTHEST);
        let told = heartbeat.as_ref().filter(|mark| in_force(&judgement.policy, mark));
        let time = told.map_or(self.now, |mark| self.now.max(mark.issued.min(furthest)));
        Assessment { judgement, freshness: Freshness { rule, expected, heartbeat, problem, time } }
    }

    /// Judges up to this commit; without one, nothing new.
    fn judge(&self, tip: Option<ObjectId>, now: i64) -> Result<Judgement, TrustError> {
        let mark = self.memory.high_water.as_ref();
        let approvals = self.candidate.approvals.clone();
        let candidate = match tip {
            Some(tip) => Candidate { tip, approvals, heartbeat: None },
            None => {
                let stand = mark.map_or(&self.root.introduction.commit, |mark| &mark.commit);
                let tip = ObjectId::from_hex(stand.as_bytes()).map_err(|error| TrustError::MarkLost {
                    commit: escaped(stand),
                    reason: error.to_string(),
                })?;
                Candidate::at(tip)
            }
        };
        judge(self.objects, self.root, mark, &candidate, now)
    }

    /// Reads the heartbeat on offer; nothing of it is proven yet.
    fn read(&self, commit: ObjectId) -> Result<(ObjectId, SignedHeartbeat), HeartbeatProblem> {
        let signed = SignedHeartbeat::read(self.objects, commit).map_err(HeartbeatProblem::Unreadable)?;
        for (what, found, expected) in [
            ("fleet", &signed.heartbeat.fleet, &self.root.fleet),
            ("ref", &signed.heartbeat.reference, &self.root.reference),
        ] {
            if found != expected {
                let (found, expected) = (escaped(found), expected.clone());
                return Err(HeartbeatProblem::Elsewhere { what, found, expected });
            }
        }
        Ok((commit, signed))
    }

    fn position(&self, (_, signed): &(ObjectId, SignedHeartbeat)) -> Position {
        let Ok(named) = ObjectId::from_hex(signed.heartbeat.tip.as_bytes()) else { return Position::Nowhere };
        let is_it = self.objects.commit(named).ok().and_then(|raw| Commit::parse(&raw, named.kind()).ok());
        if is_it.is_none_or(|commit| commit.payload_hash() != signed.heartbeat.payload) {
            return Position::Nowhere;
        }
        let stand = self.memory.high_water.as_ref().map(|mark| &mark.commit);
        let stand = stand.and_then(|hex| ObjectId::from_hex(hex.as_bytes()).ok());
        match (self.follow(self.candidate.tip, named, stand), stand) {
            (true, _) => Position::Above(named),
            (false, Some(stand)) if self.follow(stand, named, None) => Position::Accepted,
            (false, _) => Position::Nowhere,
        }
    }

    /// Whether a commit lies on the first-parent line that begins at `from` and ends before `end`.
    fn follow(&self, from: ObjectId, wanted: ObjectId, end: Option<ObjectId>) -> bool {
        let mut next = Some(from);
        for _ in 0..MOST_COMMITS {
            match next {
                None => return false,
                at if at == end => return false,
                Some(at) if at == wanted => return true,
                Some(at) => {
                    let raw = self.objects.commit(at).unwrap_or_default();
                    next = first_parent_of_any(&raw, at.kind());
                }
            }
        }
        false
    }

    /// Whether a heartbeat counts under the policy that is in force with what it names.
    fn check(
        &self,
        (commit, signed): &(ObjectId, SignedHeartbeat),
        position: Position,
        policy: &Policy,
        time: i64,
    ) -> Result<HeartbeatMark, HeartbeatProblem> {
        let heartbeat = &signed.heartbeat;
        let key = signed.key().fingerprint();
        let refuse = |why: String| HeartbeatProblem::Key { key: key.clone(), why };
        let known = policy.heartbeat_keys().iter().find(|known| known.key == *signed.key());
        let known = known.ok_or_else(|| refuse("is no heartbeat key of the policy in force".into()))?;
        if let Some(last) = known.not_after.filter(|last| time > *last) {
            return Err(refuse(format!("expired at {}", shown_time(last))));
        }
        signed.verify().map_err(|_| HeartbeatProblem::BadSignature)?;
        if position == Position::Nowhere {
            return Err(HeartbeatProblem::NotOnBranch { tip: heartbeat.tip.clone() });
        }
        let (tip, sequence, issued) = (heartbeat.tip.clone(), heartbeat.sequence, heartbeat.issued);
        let mark = HeartbeatMark {
            commit: commit.to_string(),
            tip,
            sequence,
            issued,
            expires: heartbeat.expires,
            key: key.clone(),
        };
        self.check_order(&mark, policy)?;
        let until = mark.fresh_until(&self.root.freshness);
        if self.now > until {
            return Err(HeartbeatProblem::Expired { until: shown_time(until) });
        }
        Ok(mark)
    }

    /// Refuses what is older than what was seen. What a key said that the policy has taken back binds nobody.
    fn check_order(&self, mark: &HeartbeatMark, policy: &Policy) -> Result<(), HeartbeatProblem> {
        let Some(seen) = &self.memory.heartbeat else { return Ok(()) };
        let older = match mark.key == seen.key {
            true => {
                let same = mark.sequence == seen.sequence && mark.commit != seen.commit;
                mark.sequence < seen.sequence || same
            }
            false => mark.issued < seen.issued,
        };
        if !older || !in_force(policy, seen) {
            return Ok(());
        }
        Err(HeartbeatProblem::Replayed {
            sequence: mark.sequence,
            issued: shown_time(mark.issued),
            seen: format!("number {} of {}", seen.sequence, shown_time(seen.issued)),
        })
    }
}

/// Whether the policy still names the key of a heartbeat.
fn in_force(policy: &Policy, mark: &HeartbeatMark) -> bool {
    policy.heartbeat_keys().iter().any(|known| known.key.fingerprint() == mark.key)
}

impl std::fmt::Display for HeartbeatMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (issued, tip) = (shown_time(self.issued), short(&self.tip));
        write!(f, "number {} of {issued}, for {tip}", self.sequence)
    }
}
