//! Random histories, judged by the real rule and by the [`model`](super::model), and laws that hold for all of them.
//!
//! A usual run takes the same ten thousand each time. `ABIDE_HISTORIES=<number>` takes so many others. A failure names its seed and
//! the smallest history that still fails; `ABIDE_HISTORY_SEED=<seed>` makes the run start there.

mod dice;
pub mod history;
mod real;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use abide::error::Explain;
use abide::source::Candidate;
use abide::trust::{self, HighWater, Judgement, Memory, RootOfTrust, TrustError, assess, judge};

use self::dice::Dice;
use self::history::{Commit, History, Key, Poll, Quality, Signature};
use self::real::{Real, seconds};
use super::model::{self, Answer};

/// The commit that waits, and the scopes that it waits for: of the policy in force, or of the new one.
type Waiting = (usize, Vec<(String, bool)>);

/// How many histories a run takes.
const HISTORIES: u64 = 10_000;
/// How often each thing that can happen to an offered tip has to have happened in ten thousand histories: otherwise they prove
/// little.
const EXPECTED: &[(&str, u64)] = &[
    ("moved", 4000),
    ("pending", 2500),
    ("settled", 2000),
    ("sealed", 80),
    ("merged", 600),
    ("new policy", 600),
    ("on a twin", 10),
    ("fresh", 1500),
    ("E010", 400),
    ("E011", 20),
    ("E012", 60),
    ("E013", 60),
    ("E014", 120),
    ("E015", 1000),
    ("E016", 400),
    ("E017", 30),
    ("E018", 80),
    ("E020", 700),
    ("E021", 200),
    ("E022", 50),
    ("E023", 60),
    ("E024", 120),
    ("E025", 40),
    ("E026", 8),
    ("E027", 250),
    ("E028", 60),
    ("E029", 40),
    ("E030", 200),
    ("E031", 400),
    ("E034", 100),
    ("E035", 20),
    ("E045", 600),
    ("E046", 200),
    ("E047", 200),
    ("E048", 2000),
    ("E049", 200),
    ("E070", 200),
    ("E072", 600),
];

type Seen = BTreeMap<&'static str, u64>;
type Law = fn(&History, u64) -> Result<Seen, String>;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Where the histories of a usual run begin.
const FIRST_SEED: u64 = 0x5eed;

/// Proves a law for this many random histories, on all processors.
fn for_all(histories: u64, law: Law) -> Seen {
    let wanted = from_environment("ABIDE_HISTORIES");
    let histories = wanted.unwrap_or(histories);
    let first = from_environment("ABIDE_HISTORY_SEED").unwrap_or_else(|| match wanted {
        // What a commit proves must not depend on luck.
        None => FIRST_SEED,
        // Short enough to be typed.
        Some(_) => {
            let mut random = [0; 8];
            getrandom::fill(&mut random).unwrap();
            u64::from_le_bytes(random) >> 24
        }
    });
    let next = AtomicU64::new(0);
    let all = Mutex::new(Seen::new());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut own = Seen::new();
                while failed.lock().unwrap().is_none() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= histories {
                        break;
                    }
                    let seed = first.wrapping_add(number);
                    match holds(law, &dice::history(seed), seed) {
                        Ok(seen) => {
                            seen.into_iter().for_each(|(what, count)| *own.entry(what).or_default() += count)
                        }
                        Err(_) => *failed.lock().unwrap() = Some(seed),
                    }
                }
                let mut all = all.lock().unwrap();
                own.into_iter().for_each(|(what, count)| *all.entry(what).or_default() += count);
            });
        }
    });
    if let Some(seed) = failed.into_inner().unwrap() {
        let history = smallest(law, dice::history(seed), seed);
        let problem = holds(law, &history, seed).unwrap_err();
        panic!("ABIDE_HISTORY_SEED={seed}: {problem}\n{history:?}");
    }
    all.into_inner().unwrap()
}

fn holds(law: Law, history: &History, seed: u64) -> Result<Seen, String> {
    catch_unwind(AssertUnwindSafe(|| law(history, seed))).unwrap_or_else(|_| Err("it panicked".into()))
}

/// Leaves out whatever the failure does not need.
fn smallest(law: Law, mut history: History, seed: u64) -> History {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    while let Some(smaller) = smaller(&history).into_iter().find(|smaller| holds(law, smaller, seed).is_err())
    {
        history = smaller;
    }
    std::panic::set_hook(silent);
    history
}

fn smaller(history: &History) -> Vec<History> {
    let mut all = Vec::new();
    for poll in 0..if history.polls.len() > 1 { history.polls.len() } else { 0 } {
        let mut smaller = history.clone();
        smaller.polls.remove(poll);
        all.push(smaller);
    }
    all.extend((0..history.commits.len()).rev().filter_map(|id| history.without(id)));
    for (id, commit) in history.commits.iter().enumerate() {
        let alone = commit.twin.is_none() && history.commits.iter().all(|other| other.twin != Some(id));
        for edit in 0..if alone { commit.edits.len() } else { 0 } {
            let mut smaller = history.clone();
            smaller.commits[id].edits.remove(edit);
            all.push(smaller);
        }
    }
    all
}

/// A host that looks at a branch.
struct Looking {
    real: Real,
    root: RootOfTrust,
}

impl Looking {
    fn new(history: &History) -> Looking {
        let real = Real::new(history);
        let root = real.root(history);
        Looking { real, root }
    }

    fn judge(&self, mark: Option<&HighWater>, poll: &Poll) -> Result<Judgement, TrustError> {
        let approvals = poll.tags.iter().map(|tag| self.real.tags[*tag]).collect();
        let candidate = Candidate { tip: self.real.ids[poll.tip], approvals, heartbeat: None };
        judge(&self.real, &self.root, mark, &candidate, seconds(poll.now))
    }

    fn assess(&self, memory: &Memory, poll: &Poll) -> Result<trust::Assessment, TrustError> {
        let approvals = poll.tags.iter().map(|tag| self.real.tags[*tag]).collect();
        let heartbeat = poll.heartbeat.map(|number| self.real.heartbeats[number]);
        let candidate = Candidate { tip: self.real.ids[poll.tip], approvals, heartbeat };
        assess(&self.real, &self.root, memory, &candidate, seconds(poll.now))
    }

    /// The number of the last commit in effect.
    fn effective(&self, judgement: &Judgement) -> usize {
        let verified = judgement.verified.as_ref().expect("this abide is new enough");
        assert_eq!(verified.revision().commit, judgement.high_water.commit);
        self.real.number(&judgement.high_water.commit)
    }

    /// What the real rule says, in the model's words.
    fn answer(&self, judgement: &Judgement) -> (usize, Option<Waiting>, Option<(usize, &'static str)>) {
        let pending = judgement.pending.as_ref().map(|pending| {
            let needs = pending.needs.iter().map(|need| (need.scope.clone(), need.new_policy));
            let mut needs: Vec<(String, bool)> = needs.collect();
            needs.sort();
            (self.real.number(&pending.commit), needs)
        });
        let refused = judgement.rejection.as_ref().map(|rejection| {
            let commit = rejection.merge.as_ref().unwrap_or(&rejection.commit);
            (self.real.number(commit), rejection.code().0)
        });
        (self.effective(judgement), pending, refused)
    }
}

#[test]
fn the_rule_is_the_model_over_random_histories() {
    let seen = for_all(HISTORIES, as_the_model_says);
    println!("{seen:#?}");
    if from_environment("ABIDE_HISTORIES").is_none() {
        for (what, least) in EXPECTED {
            let count = seen.get(what).copied().unwrap_or(0);
            assert!(count >= *least, "{what} was seen only {count} times, not {least}: {seen:#?}");
        }
    }
}

/// A host that looks at the offered tips one after the other does at each of them what the model says.
fn as_the_model_says(history: &History, _: u64) -> Result<Seen, String> {
    let looking = Looking::new(history);
    let mut seen = Seen::new();
    let mut expected_memory = model::Memory::default();
    let mut memory = Memory::default();
    for (number, poll) in history.polls.iter().enumerate() {
        let expected = model::assess(history, &expected_memory, poll);
        let found = looking.assess(&memory, poll);
        match (expected, found) {
            (Ok(expected), Ok(found)) => {
                let is_verified = found.judgement.verified.is_some();
                let answer = is_verified.then(|| looking.answer(&found.judgement));
                let problem = found.freshness.problem.as_ref().map(|problem| problem.code().0);
                let heartbeat = found.freshness.heartbeat.clone();
                let newest = heartbeat.as_ref().map(|mark| looking.real.heartbeat_number(&mark.commit));
                let judged = match (&expected.answer, &answer) {
                    (None, None) => true,
                    (Some(expected), Some(answer)) => same(expected, answer),
                    _ => false,
                };
                // The same heartbeat may have been made twice.
                let newest_is = expected.heartbeat.map(|number| looking.real.heartbeats[number])
                    == newest.map(|number| looking.real.heartbeats[number]);
                let problem_is = problem.is_some() != expected.problems.is_empty()
                    && problem.is_none_or(|code| expected.problems.contains(code));
                if !judged || !newest_is || !problem_is {
                    let found = (answer, newest, problem);
                    return Err(format!("poll {number}: the model says {expected:?}, the rule {found:?}"));
                }
                problem.into_iter().for_each(|code| *seen.entry(code).or_default() += 1);
                if history.host.requires_freshness && newest.is_some() {
                    *seen.entry("fresh").or_default() += 1;
                }
                if let (Some(expected), Some(answer)) = (expected.answer, answer) {
                    count(
                        &mut seen,
                        history,
                        expected_memory.mark.map(|(mark, _)| mark),
                        &answer,
                        expected.sealed,
                    );
                    expected_memory.mark = Some((expected.effective, expected.sealed));
                    memory.high_water = Some(found.judgement.high_water);
                }
                expected_memory.heartbeat = expected.heartbeat;
                memory.heartbeat = heartbeat;
            }
            (Err(codes), Err(error)) if codes.contains(error.code().0) => {
                *seen.entry(error.code().0).or_default() += 1;
            }
            (expected, found) => {
                let found =
                    found.map(|found| looking.answer(&found.judgement)).map_err(|error| error.code().0);
                return Err(format!("poll {number}: the model says {expected:?}, the rule {found:?}"));
            }
        }
    }
    Ok(seen)
}

type Found = (usize, Option<(usize, Vec<(String, bool)>)>, Option<(usize, &'static str)>);

fn same(expected: &Answer, (effective, pending, refused): &Found) -> bool {
    let pending_is = match (&expected.pending, pending) {
        (None, None) => true,
        (Some((commit, missing)), Some((found, needs))) => {
            commit == found
                && missing.len() == needs.len()
                && missing.iter().zip(needs).all(|(one, other)| (one.0, one.1) == (other.0.as_str(), other.1))
        }
        _ => false,
    };
    let refused_is = match (&expected.refused, refused) {
        (None, None) => true,
        (Some((commit, codes)), Some((found, code))) => commit == found && codes.contains(code),
        _ => false,
    };
    expected.effective == *effective && pending_is && refused_is
}

fn count(
    seen: &mut Seen,
    history: &History,
    mark: Option<usize>,
    (effective, pending, refused): &Found,
    sealed: bool,
) {
    let mut saw = |what| *seen.entry(what).or_default() += 1;
    if let Some((_, code)) = refused {
        saw(*code);
    }
    if pending.is_some() {
        saw("pending");
    }
    let start = mark.unwrap_or(history.host.introduction);
    if *effective != start {
        saw("moved");
    }
    let line = history.line(*effective);
    let new: Vec<usize> = line.iter().copied().take_while(|id| *id != start).collect();
    let any = |is: &dyn Fn(&Commit) -> bool| new.iter().any(|id| is(&history.commits[*id]));
    if any(&|commit| commit.approves.is_some()) {
        saw("settled");
    }
    if sealed && *effective != start || any(&|commit| commit.signature == Signature::None) {
        saw("sealed");
    }
    if any(&|commit| commit.parents.len() > 1) {
        saw("merged");
    }
    if any(&|commit| commit.edits.iter().any(|(path, _)| *path == history::POLICY)) {
        saw("new policy");
    }
    if *effective != start && !line.contains(&start) {
        saw("on a twin");
    }
}

#[test]
fn nothing_is_in_effect_that_nobody_answers_for() {
    for_all(HISTORIES / 4, |history, _| {
        let looking = Looking::new(history);
        let trees = history.trees();
        let mut mark = None;
        let mut offered = Vec::new();
        for poll in &history.polls {
            offered.extend(&poll.tags);
            let Ok(judgement) = looking.judge(mark.as_ref(), poll) else { continue };
            let line = history.line(looking.effective(&judgement));
            let is_good = |signature| matches!(signature, Signature::By(_, Quality::Good));
            let tagged =
                |id| {
                    history.tags.iter().enumerate().any(|(number, tag)| {
                        tag.on == id && is_good(tag.signature) && offered.contains(&number)
                    })
                };
            let approved = |id: usize| {
                let commit = &history.commits[id];
                is_good(commit.signature)
                    && commit.approves.is_some_and(|approved| trees[approved] == trees[id])
                    || tagged(id)
            };
            // From the newest commit down: an approval answers for everything below it.
            let mut answered = false;
            for id in line.into_iter().take_while(|id| *id != history.host.introduction) {
                answered |= approved(id);
                if !is_good(history.commits[id].signature) && !answered {
                    return Err(format!("#{id} is in effect"));
                }
            }
            mark = Some(judgement.high_water);
        }
        Ok(Seen::new())
    });
}

#[test]
fn a_host_that_looks_twice_sees_what_one_sees_that_looks_once() {
    for_all(HISTORIES / 4, |history, seed| {
        let looking = Looking::new(history);
        let poll = &history.polls[history.polls.len() - 1];
        let tip = poll.tip;
        let Ok(once) = looking.judge(None, poll) else { return Ok(Seen::new()) };
        let line = history.line(tip);
        let halfway = line[Dice::new(seed).below(line.len())];
        let first =
            looking.judge(None, &Poll { tip: halfway, ..poll.clone() }).map_err(|error| error.to_string())?;
        // Offered what lies below the introduction, a host stays where it is.
        let twice = looking.judge(Some(&first.high_water), poll).map_err(|error| error.to_string())?;
        let (once, twice) = (looking.answer(&once), looking.answer(&twice));
        // Only a host that has a mark can tell a rewind from a fork.
        let off = |answer: &Found| {
            answer.2.is_some_and(|(commit, code)| commit == tip && ["E030", "E031"].contains(&code))
        };
        if once == twice || once.0 == twice.0 && off(&once) && off(&twice) {
            Ok(Seen::new())
        } else {
            Err(format!("by #{halfway} {twice:?}, at once {once:?}"))
        }
    });
}

#[test]
fn a_bad_tip_takes_nothing_away() {
    for_all(HISTORIES / 4, |history, seed| {
        let poll = &history.polls[history.polls.len() - 1];
        let tip = poll.tip;
        let mut dice = Dice::new(seed);
        // What no seal makes good.
        let (quality, content) = match dice.below(4) {
            0 => (Quality::OtherNamespace, history::Content::Text(9)),
            1 => (Quality::StrangeHeader, history::Content::Text(9)),
            2 => (Quality::Rewrapped, history::Content::Text(9)),
            _ => (Quality::Good, history::Content::LinkOutside),
        };
        let signature = Signature::By(Key(1), quality);
        let edits = vec![("roles/web/a", Some(content))];
        let bad = Commit { parents: vec![tip], edits, approves: None, signature, twin: None };
        let mut worse = history.clone();
        worse.commits.push(bad);
        let looking = Looking::new(&worse);
        let on_top = Poll { tip: worse.commits.len() - 1, ..poll.clone() };
        let (before, after) = (looking.judge(None, poll), looking.judge(None, &on_top));
        match (before, after) {
            (Ok(before), Ok(after)) => {
                let (before, after) = (looking.answer(&before), looking.answer(&after));
                let stays = before.0 == after.0 && before.1 == after.1 && after.2.is_some();
                // What was refused below it still is.
                let refusal = before.2.is_none() || before.2 == after.2 || !history.line(tip).contains(&1);
                if stays && refusal {
                    Ok(Seen::new())
                } else {
                    Err(format!("{before:?}, with the bad tip {after:?}"))
                }
            }
            (Err(_), Err(_)) => Ok(Seen::new()),
            (before, after) => Err(format!("{before:?}, with the bad tip {after:?}")),
        }
    });
}

#[test]
fn the_order_of_approvals_does_not_matter() {
    for_all(HISTORIES / 4, |history, seed| {
        let poll = &history.polls[history.polls.len() - 1];
        let now = poll.now;
        let looking = Looking::new(history);
        let Ok(judgement) = looking.judge(None, poll) else { return Ok(Seen::new()) };
        let (Some(pending), None) = (&judgement.pending, &judgement.rejection) else {
            return Ok(Seen::new());
        };
        let pending = looking.real.number(&pending.commit);
        let effective = looking.effective(&judgement);
        let Some(history::Content::Policy(policy)) = history.tree(effective).remove(history::POLICY) else {
            return Err("in effect without a policy".into());
        };
        let mut dice = Dice::new(seed);
        let mut keys: Vec<Key> = policy
            .principals
            .values()
            .flatten()
            .filter(|(_, last)| last.is_none_or(|last| now <= last))
            .map(|(key, _)| *key)
            .collect();
        keys.retain(|_| dice.percent(60));
        let in_effect = |keys: &[Key]| {
            let mut approved = history.clone();
            let mut on = pending;
            for key in keys {
                let signature = Signature::By(*key, Quality::Good);
                let approval = Commit {
                    parents: vec![on],
                    edits: Vec::new(),
                    approves: Some(pending),
                    signature,
                    twin: None,
                };
                approved.commits.push(approval);
                on = approved.commits.len() - 1;
            }
            let looking = Looking::new(&approved);
            let judgement =
                looking.judge(None, &Poll { tip: on, ..poll.clone() }).map_err(|error| error.to_string())?;
            Ok::<_, String>(approved.tree(looking.effective(&judgement)) == approved.tree(pending))
        };
        let one = in_effect(&keys)?;
        let order = format!("{keys:?}");
        for at in (1..keys.len()).rev() {
            keys.swap(at, dice.below(at + 1));
        }
        let other = in_effect(&keys)?;
        if one == other { Ok(Seen::new()) } else { Err(format!("{order}: {one}, but {keys:?}: {other}")) }
    });
}
