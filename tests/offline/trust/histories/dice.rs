//! Random histories. Most of what is thrown is what people do, so that histories live on; the rest is what attackers and mistakes do.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{
    Commit, Content, Heartbeat, History, Host, Key, PATHS, POLICY, Pattern, Policy, Poll, Quality, Scope,
    Signature, Tag, Time,
};

/// A stream of random numbers (splitmix64, by Sebastiano Vigna, in the public domain).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True so often in a hundred.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Some of them, at least one.
    fn some<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let always = self.below(of.len());
        let chosen = of.iter().enumerate().filter(|(at, _)| *at == always || self.percent(50));
        chosen.map(|(_, item)| *item).collect()
    }
}

/// Who there is, and the keys that are theirs from the beginning. What keys do is for the policy to say.
const PEOPLE: &[(&str, &[u8])] = &[("alice", &[1, 11]), ("bob", &[2]), ("carol", &[3, 103]), ("dave", &[4])];
/// Keys of nobody.
const STRANGERS: &[u8] = &[8, 9, 109];
/// Keys for heartbeats.
const PULSE: &[u8] = &[20, 21];
/// The first day on which hosts look.
const TODAY: Time = 100;

/// A history with its polls.
pub fn history(seed: u64) -> History {
    let mut dice = Dice::new(seed);
    let first = policy(&mut dice);
    let key = dice_key(&mut dice, &first);
    let founding = vec![
        (POLICY, Some(Content::Policy(first))),
        ("fleet.toml", Some(Content::Text(0))),
        ("roles/web/a", Some(Content::Text(0))),
        ("roles/db/a", Some(Content::Text(0))),
    ];
    let by = |key| Signature::By(key, Quality::Good);
    let commit = |parents, edits| Commit { parents, edits, approves: None, signature: by(key), twin: None };
    let commits =
        vec![commit(vec![], founding), commit(vec![0], vec![("hosts/x.toml", Some(Content::Text(0)))])];
    let host = Host {
        introduction: 1,
        key: if dice.percent(1) { Key(9) } else { key },
        requires_freshness: dice.percent(25),
        max_age: dice.percent(50).then(|| 1 + Time::try_from(dice.below(8)).unwrap()),
    };
    let mut making = Making {
        dice,
        history: History { host, commits, tags: Vec::new(), heartbeats: Vec::new(), polls: Vec::new() },
        main: 1,
        sides: vec![],
        left: vec![],
    };
    for _ in 0..3 + making.dice.below(12) {
        making.step();
    }
    making.polls();
    making.history
}

fn dice_key(dice: &mut Dice, policy: &Policy) -> Key {
    let keys: Vec<Key> = policy.principals.values().flatten().map(|(key, _)| *key).collect();
    *dice.one(&keys)
}

fn policy(dice: &mut Dice) -> Policy {
    let mut principals: BTreeMap<&'static str, Vec<(Key, Option<Time>)>> = BTreeMap::new();
    for (name, keys) in PEOPLE {
        let keys = keys.iter().map(|key| (Key(*key), dice.percent(10).then(|| last_day(dice)))).collect();
        principals.insert(name, keys);
    }
    let names: Vec<&'static str> = principals.keys().copied().collect();
    let mut scopes = vec![
        scope(dice, &names, "root", &[Pattern::Exactly(POLICY)]),
        scope(dice, &names, "db", &[Pattern::Below("roles/db"), Pattern::Exactly("hosts/x.toml")]),
        scope(dice, &names, "web", &[Pattern::Below("roles/web")]),
        scope(dice, &names, "fleet", &[Pattern::Exactly("fleet.toml"), Pattern::Below("hosts")]),
    ];
    if dice.percent(20) {
        let all = scope(dice, &names, "all", &[Pattern::Below("")]);
        // At the end it takes what is left over, at the beginning it decides everything.
        let at = if dice.percent(70) { scopes.len() } else { 0 };
        scopes.insert(at, all);
    }
    let heartbeat_keys = match dice.percent(80) {
        true => vec![(Key(PULSE[0]), dice.percent(10).then(|| last_day(dice)))],
        false => Vec::new(),
    };
    Policy { version: 1, fleet: "ours", branch: "main", too_new: false, principals, heartbeat_keys, scopes }
}

fn last_day(dice: &mut Dice) -> Time {
    TODAY - 10 + Time::try_from(dice.below(50)).unwrap()
}

fn scope(dice: &mut Dice, names: &[&'static str], name: &'static str, paths: &[Pattern]) -> Scope {
    let signers: BTreeSet<&'static str> = dice.some(names).into_iter().collect();
    let threshold = if dice.percent(50) { 1 } else { 1 + dice.below(signers.len()) };
    Scope { name, paths: paths.to_vec(), signers, threshold, seal: dice.percent(35) }
}

struct Making {
    dice: Dice,
    history: History,
    /// Where the branch is.
    main: usize,
    /// Where side branches are.
    sides: Vec<usize>,
    /// Where the branch was before it went on from a twin.
    left: Vec<usize>,
}

impl Making {
    fn step(&mut self) {
        match self.dice.below(100) {
            0..34 => self.change(),
            34..50 => self.approve(),
            50..62 => self.tag(),
            62..71 => self.change_policy(),
            71..77 => self.side(),
            77..84 => self.merge(),
            84..88 => self.button(),
            88..91 => self.twin(),
            _ => self.attack(),
        }
    }

    fn push(&mut self, commit: Commit) -> usize {
        self.history.commits.push(commit);
        self.history.commits.len() - 1
    }

    /// The policy in a tree, as far as it is one.
    fn policy_at(&self, id: usize) -> Option<Policy> {
        match self.history.tree(id).remove(POLICY) {
            Some(Content::Policy(policy)) => Some(policy),
            _ => None,
        }
    }

    /// Most often a key of somebody who may change the path.
    fn key_for(&mut self, on: usize, path: &str) -> Key {
        let policy = self.policy_at(on);
        if let Some(policy) = &policy
            && self.dice.percent(95)
            && let Some(scope) =
                policy.scopes.iter().find(|scope| scope.paths.iter().any(|pattern| covers(pattern, path)))
        {
            let signers: Vec<&str> = scope.signers.iter().copied().collect();
            let name = *self.dice.one(&signers);
            return self.dice.one(&policy.principals[name]).0;
        }
        self.any_key()
    }

    fn any_key(&mut self) -> Key {
        let keys: Vec<u8> =
            PEOPLE.iter().flat_map(|(_, keys)| *keys).chain(STRANGERS).chain(&[12, 13]).copied().collect();
        Key(*self.dice.one(&keys))
    }

    fn path(&mut self) -> &'static str {
        // The last two are covered by no scope, or by none in any tree.
        let usual = PATHS.len() - 2;
        if self.dice.percent(97) { PATHS[self.dice.below(usual)] } else { PATHS[usual] }
    }

    fn content(&mut self) -> Option<Content> {
        match self.dice.below(20) {
            0..3 => None,
            3 => Some(Content::Program(1)),
            4 => Some(Content::LinkInside),
            // Few texts, so that trees come back to what they were.
            _ => Some(Content::Text(u8::try_from(self.dice.below(3)).unwrap())),
        }
    }

    fn edits(&mut self) -> Vec<(&'static str, Option<Content>)> {
        let path = self.path();
        let mut edits = vec![(path, self.content())];
        if self.dice.percent(15) {
            let other = self.path();
            if other != path {
                edits.push((other, self.content()));
            }
        }
        edits
    }

    fn commit_on(&mut self, on: usize) -> usize {
        let edits = self.edits();
        let key = self.key_for(on, edits[0].0);
        let signature = Signature::By(key, Quality::Good);
        self.push(Commit { parents: vec![on], edits, approves: None, signature, twin: None })
    }

    fn change(&mut self) {
        self.main = self.commit_on(self.main);
    }

    fn side(&mut self) {
        let on = match self.sides.last() {
            Some(side) if self.dice.percent(40) => *side,
            _ if self.dice.percent(70) => self.main,
            _ => self.dice.below(self.history.commits.len()),
        };
        let side = self.commit_on(on);
        self.sides.push(side);
    }

    fn merge(&mut self) {
        let mut parents = vec![self.main];
        for _ in 0..1 + usize::from(self.dice.percent(10)) {
            let side = match self.sides.pop() {
                Some(side) => side,
                None => self.commit_on(self.main),
            };
            if !parents.contains(&side) {
                parents.push(side);
            }
        }
        if self.dice.percent(4) {
            // The other way round: the branch becomes the side.
            parents.reverse();
        }
        let first_edit =
            self.history.commits[parents[parents.len() - 1]].edits.first().map(|(path, _)| *path);
        let key = self.key_for(parents[0], first_edit.unwrap_or("fleet.toml"));
        let edits = if self.dice.percent(8) { self.edits() } else { Vec::new() };
        let approves = self.dice.percent(10).then_some(self.history.commits.len());
        let signature = Signature::By(key, Quality::Good);
        self.main = self.push(Commit { parents, edits, approves, signature, twin: None });
    }

    fn approve(&mut self) {
        let on = self.main;
        let path = self.history.commits[on].edits.first().map_or("roles/db/a", |(path, _)| *path);
        for _ in 0..1 + self.dice.below(2) {
            let key = self.key_for(on, path);
            let approves = match self.dice.below(20) {
                0 => None,
                1 => Some(self.dice.below(self.history.commits.len())),
                _ => Some(on),
            };
            let signature = Signature::By(key, Quality::Good);
            let commit =
                Commit { parents: vec![self.main], edits: Vec::new(), approves, signature, twin: None };
            self.main = self.push(commit);
        }
    }

    /// Tags on the newest commits, most of them by those who may approve what they change.
    fn tag(&mut self) {
        for _ in 0..1 + self.dice.below(3) {
            let line = self.history.line(self.main);
            let on = match self.dice.percent(85) {
                true => line[self.dice.below(line.len().min(2))],
                false => self.dice.below(self.history.commits.len()),
            };
            let path = self.history.commits[on].edits.first().map_or("roles/db/a", |(path, _)| *path);
            let key = self.key_for(on, path);
            let signature = match self.dice.below(30) {
                0 => Signature::None,
                1 => Signature::By(key, Quality::OtherContent),
                2 => Signature::By(key, Quality::OtherNamespace),
                3 => Signature::By(key, Quality::Rewrapped),
                4 => Signature::By(key, Quality::OpenPgp),
                5 => Signature::By(Key(103), Quality::Untouched),
                _ => Signature::By(key, Quality::Good),
            };
            self.history.tags.push(Tag { on, signature });
        }
    }

    /// What a forge's button makes: a merge or a squash that nobody signed, or the forge did.
    fn button(&mut self) {
        let signature = match self.dice.below(4) {
            0 => Signature::By(Key(8), Quality::Good),
            1 => Signature::By(Key(8), Quality::OpenPgp),
            _ => Signature::None,
        };
        if self.dice.percent(50) {
            self.merge();
        } else {
            self.change();
        }
        self.history.commits[self.main].signature = signature;
        // A side branch may come in with it that nobody signed either.
        if let Some(side) = self.history.commits[self.main].parents.get(1).copied()
            && self.dice.percent(30)
            && self.history.commits.iter().all(|commit| commit.twin != Some(side))
        {
            self.history.commits[side].signature = Signature::None;
        }
        // Most often where that is allowed, and with those who may let it in.
        let before = self.history.commits[self.main].parents[0];
        let Some(policy) = self.policy_at(before) else { return };
        let sealed: Vec<&Scope> = policy.scopes.iter().filter(|scope| scope.seal).collect();
        if sealed.is_empty() || self.dice.percent(20) {
            return self.tag();
        }
        let scope = *self.dice.one(&sealed);
        let inside: Vec<&'static str> = PATHS
            .iter()
            .copied()
            .filter(|path| scope.paths.iter().any(|pattern| covers(pattern, path)))
            .collect();
        if inside.is_empty() {
            return self.tag();
        }
        let content = Content::Text(u8::try_from(5 + self.dice.below(3)).unwrap());
        let commit = &mut self.history.commits[self.main];
        if commit.parents.len() == 1 {
            commit.edits = vec![(*self.dice.one(&inside), Some(content))];
        }
        let on = self.main;
        for name in scope.signers.iter().take(scope.threshold) {
            let signature = Signature::By(self.dice.one(&policy.principals[name]).0, Quality::Good);
            if self.dice.percent(60) {
                self.history.tags.push(Tag { on, signature });
            } else if self.dice.percent(90) {
                let commit = Commit {
                    parents: vec![self.main],
                    edits: vec![],
                    approves: Some(on),
                    signature,
                    twin: None,
                };
                self.main = self.push(commit);
            }
        }
    }

    fn change_policy(&mut self) {
        let Some(mut policy) = self.policy_at(self.main) else { return self.change() };
        let dice = &mut self.dice;
        policy.version = match dice.below(20) {
            0 => policy.version,
            1 => policy.version.saturating_sub(1).max(1),
            _ => policy.version + 1,
        };
        for _ in 0..1 + dice.below(2) {
            alter(dice, &mut policy);
        }
        let key = self.key_for(self.main, POLICY);
        let mut edits = vec![(POLICY, Some(Content::Policy(policy)))];
        if self.dice.percent(10) {
            edits.push((self.path(), self.content()));
        }
        let signature = Signature::By(key, Quality::Good);
        self.main =
            self.push(Commit { parents: vec![self.main], edits, approves: None, signature, twin: None });
    }

    /// Another commit with the payload of one of the branch; the branch may go on from it.
    fn twin(&mut self) {
        let line = self.history.line(self.main);
        let original = line[self.dice.below(line.len().min(3))];
        let path = self.history.commits[original].edits.first().map_or("roles/web/a", |(path, _)| *path);
        let parent = self.history.commits[original].parents.first().copied().unwrap_or(original);
        let key = if self.dice.percent(80) { self.key_for(parent, path) } else { self.any_key() };
        let quality = match self.dice.below(10) {
            0 => Quality::Rewrapped,
            1 => Quality::OtherContent,
            2 => Quality::OtherNamespace,
            _ => Quality::Good,
        };
        let signature = Signature::By(key, quality);
        let commit = self.history.commits[original].clone();
        let same = |other: &Commit| other.twin == Some(original) || other.signature == signature;
        if original == 0
            || commit.twin.is_some()
            || commit.signature == signature
            || self.history.commits.iter().any(|other| other.twin == Some(original) && same(other))
        {
            return self.change();
        }
        let twin = self.push(Commit { signature, twin: Some(original), ..commit });
        if self.dice.percent(80) {
            self.main = twin;
            self.left.push(original);
        }
    }

    fn attack(&mut self) {
        let on = if self.dice.percent(70) { self.main } else { self.dice.below(self.history.commits.len()) };
        let bad = self.commit_on(on);
        let key = self.any_key();
        let dice = &mut self.dice;
        let qualities = [
            Quality::OtherContent,
            Quality::OtherNamespace,
            Quality::Rewrapped,
            Quality::StrangeHeader,
            Quality::OpenPgp,
        ];
        let quality = *dice.one(&qualities);
        let contents = [Content::LinkOutside, Content::Submodule, Content::Text(1)];
        let content = dice.one(&contents).clone();
        let policies =
            [None, Some(Content::BrokenPolicy), Some(Content::Program(1)), Some(Content::LinkInside)];
        let policy = dice.one(&policies).clone();
        let commit = &mut self.history.commits[bad];
        match (dice.below(9), commit.signature) {
            (0, _) => commit.signature = Signature::None,
            (1, _) => commit.signature = Signature::By(key, Quality::Good),
            (2, _) => commit.signature = Signature::By(Key(STRANGERS[0]), Quality::Good),
            (3, _) => commit.signature = Signature::By(Key(103), Quality::Untouched),
            (4, Signature::By(key, _)) => commit.signature = Signature::By(key, quality),
            (5, _) => commit.edits.push((POLICY, policy)),
            (6, _) => commit.edits.push((PATHS[PATHS.len() - 1], Some(content))),
            (7, _) => {
                commit.edits.retain(|(path, _)| *path != "roles/web/b");
                commit.edits.push(("roles/web/b", Some(content)));
            }
            _ => commit.edits.push(("stray", Some(content))),
        }
        if self.dice.percent(25) {
            self.main = bad;
        }
    }

    fn polls(&mut self) {
        let mut now = TODAY;
        let line = self.history.line(self.main);
        let end = self.history.commits.len();
        if let Some(left) = self.left.pop()
            && self.dice.percent(70)
        {
            self.poll(left, now);
        }
        for round in (0..self.dice.below(4)).rev() {
            now += Time::try_from(self.dice.below(12)).unwrap();
            // The branch as it was a while ago, or anything that is there.
            let tip = match self.dice.percent(75) {
                true => line[(line.len() - 1).min(round * (1 + self.dice.below(3)))],
                false => self.dice.below(end),
            };
            self.poll(tip, now);
        }
        self.poll(self.main, now);
    }
}

impl Making {
    /// Most often what an honest schedule says of the branch, sometimes something old or something else.
    fn heartbeat(&mut self, tip: usize, now: Time) -> Option<usize> {
        let number = self.history.heartbeats.len();
        if number > 0 && self.dice.percent(15) {
            return Some(self.dice.below(number));
        }
        let line = self.history.line(tip);
        let tip = match self.dice.below(10) {
            0 => self.dice.below(self.history.commits.len()),
            1..4 => line[self.dice.below(line.len().min(3))],
            _ => tip,
        };
        let issued = now - Time::try_from(self.dice.below(4)).unwrap();
        let issued =
            if self.dice.percent(8) { now + Time::try_from(self.dice.below(15)).unwrap() } else { issued };
        let key = if self.dice.percent(85) { Key(PULSE[0]) } else { Key(*self.dice.one(&[21, 21, 1, 9])) };
        let quality = match self.dice.below(25) {
            0 => Quality::OtherContent,
            1 => Quality::OtherNamespace,
            2 => Quality::Rewrapped,
            _ => Quality::Good,
        };
        let heartbeat = Heartbeat {
            tip,
            payload: if self.dice.percent(96) { tip } else { line[0] },
            fleet: if self.dice.percent(97) { "ours" } else { "theirs" },
            sequence: if self.dice.percent(90) { number as u64 } else { 0 },
            issued,
            expires: issued + 1 + Time::try_from(self.dice.below(8)).unwrap(),
            signature: Signature::By(key, quality),
        };
        self.history.heartbeats.push(heartbeat);
        Some(number)
    }

    /// A poll brings most of the tags, in any order.
    fn poll(&mut self, tip: usize, now: Time) {
        let mut tags: Vec<usize> = (0..self.history.tags.len()).collect();
        tags.retain(|_| self.dice.percent(85));
        for at in (1..tags.len()).rev() {
            tags.swap(at, self.dice.below(at + 1));
        }
        let heartbeat = self.dice.percent(90).then(|| self.heartbeat(tip, now)).flatten();
        self.history.polls.push(Poll { tip, now, tags, heartbeat });
    }
}

fn covers(pattern: &Pattern, path: &str) -> bool {
    match pattern {
        Pattern::Exactly(exactly) => path == *exactly,
        Pattern::Below(folder) => path.starts_with(folder),
    }
}

/// A change of a policy that leaves it valid.
fn alter(dice: &mut Dice, policy: &mut Policy) {
    let names: Vec<&'static str> = policy.principals.keys().copied().collect();
    match dice.below(12) {
        0..3 => {
            // Rotation: a new key for somebody, or an old one taken away.
            let name = *dice.one(&names);
            let keys = policy.principals.get_mut(name).unwrap();
            if keys.len() > 1 && dice.percent(60) {
                keys.remove(dice.below(keys.len()));
            } else {
                let new = Key(*dice.one(&[12, 13]));
                if !policy.principals.values().flatten().any(|(key, _)| *key == new) {
                    policy.principals.get_mut(name).unwrap().push((new, None));
                }
            }
        }
        3 => {
            let name = *dice.one(&names);
            let day = dice.percent(70).then(|| last_day(dice));
            policy.principals.get_mut(name).unwrap()[0].1 = day;
        }
        4..8 => {
            let at = dice.below(policy.scopes.len());
            let old = policy.scopes[at].clone();
            policy.scopes[at] = scope(dice, &names, old.name, &old.paths);
        }
        8 => {
            // A key goes from one to the other.
            let (from, to) = (*dice.one(&names), *dice.one(&names));
            if from != to && policy.principals[from].len() > 1 {
                let key = policy.principals.get_mut(from).unwrap().remove(0);
                policy.principals.get_mut(to).unwrap().push(key);
            }
        }
        9 => {
            let last = policy.scopes.len() - 1;
            policy.scopes.swap(last, last - 1);
        }
        10 if dice.percent(40) => {
            // The schedule gets another key.
            policy.heartbeat_keys = dice.some(PULSE).into_iter().map(|key| (Key(key), None)).collect();
        }
        10 => policy.scopes[0].threshold = policy.scopes[0].signers.len(),
        _ => match dice.below(6) {
            0 => policy.fleet = "theirs",
            1 => policy.branch = "staging",
            2 => policy.too_new = true,
            _ => {
                for scope in &mut policy.scopes {
                    scope.threshold = 1;
                }
            }
        },
    }
}
