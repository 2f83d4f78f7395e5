//! The rule of `docs/SECURITY.md` once more, as plainly as it can be written: over whole trees and whole histories, without budgets,
//! caches, hashes or bytes. The real one is compared with it over random histories; see `histories`.
//!
//! It is written from that text, and where the two disagree, one of the three is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::histories::history::{
    Commit, Content, Heartbeat, History, Key, POLICY, Pattern, Policy, Poll, Quality, Scope, Signature, Time,
    Tree,
};

/// What a host makes of an offered tip.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The last commit in effect.
    pub effective: usize,
    /// Whether that one came in under a seal.
    pub sealed: bool,
    /// The newest commit that passes and is not in effect, with each scope that lacks somebody and whether it is the new policy's.
    pub pending: Option<(usize, BTreeSet<(&'static str, bool)>)>,
    /// Which commit is refused, and every reason that there is for it.
    pub refused: Option<(usize, Codes)>,
}

/// The high-water mark, and whether it came in under a seal.
pub type Mark = (usize, bool);

/// Codes of refusals. The real rule names the first that it meets.
pub type Codes = BTreeSet<&'static str>;

/// The fleet and branch of the host.
const HOST: (&str, &str) = ("ours", "main");

/// The rule.
///
/// # Errors
/// The introduction is not what the root of trust says, so that there is nothing to stand on.
pub fn judge(history: &History, mark: Option<Mark>, poll: &Poll) -> Result<Answer, Codes> {
    let Poll { tip, now, .. } = *poll;
    let model = Model { history, trees: history.trees(), now, tags: &poll.tags };
    let introduction = history.host.introduction;
    let line = history.line(tip);
    // "Let E be the last commit in effect: the high-water mark, or at first the introduction."
    let (mut effective, mut sealed) = match mark {
        Some(mark) => mark,
        None => (model.introduce(introduction)?, false),
    };
    // "The line must contain the introduction. It must contain the high-water mark, or a commit with the same signed
    // payload that passes in its place (a twin; a commit that came in under seal has none […])."
    let is_stand_in = |id: &&usize| **id == effective || !sealed && model.is_twin(**id, effective);
    let stand_in = match line.iter().find(is_stand_in) {
        Some(id) if line.contains(&introduction) => *id,
        _ => {
            let refused = Some((tip, model.astray(tip, mark)));
            return Ok(Answer { effective, sealed, pending: None, refused });
        }
    };
    if stand_in != effective
        && let codes = model.twin_passes(stand_in)
        && !codes.is_empty()
    {
        return Ok(Answer { effective, sealed, pending: None, refused: Some((stand_in, codes)) });
    }
    let mut above: Vec<usize> = line.into_iter().take_while(|id| *id != stand_in).collect();
    above.reverse();
    let mut pending = None;
    // Where the last commit in effect ends among those.
    let mut since = 0;
    for (position, id) in above.iter().enumerate() {
        let codes = model.refusals(*id, effective);
        if !codes.is_empty() {
            return Ok(Answer { effective, sealed, pending, refused: Some((*id, codes)) });
        }
        let missing = model.missing(effective, &above[since..=position]);
        pending = if missing.is_empty() {
            sealed = matches!(model.standing_on_line(*id, effective), Ok(Standing::UnderSeal(_)));
            effective = *id;
            since = position + 1;
            None
        } else {
            Some((*id, missing))
        };
    }
    Ok(Answer { effective, sealed, pending, refused: None })
}

/// What a host remembers.
#[derive(Clone, Default)]
pub struct Memory {
    pub mark: Option<Mark>,
    /// The newest heartbeat that counted.
    pub heartbeat: Option<usize>,
}

/// What a host makes of a poll.
#[derive(Debug, PartialEq, Eq)]
pub struct Assessment {
    /// `None` at a first contact that nothing comes of.
    pub answer: Option<Answer>,
    /// The newest heartbeat that counted.
    pub heartbeat: Option<usize>,
    /// Why the one on offer does not count.
    pub problems: Codes,
}

/// A week.
const FURTHEST: Time = 7;

/// The rule with heartbeats.
///
/// # Errors
/// As [`judge`].
pub fn assess(history: &History, memory: &Memory, poll: &Poll) -> Result<Assessment, Codes> {
    let assessment = assess_at(history, memory, poll, poll.now)?;
    // "Its issue time moves the trusted time by which keys expire, by at most a week beyond the clock."
    let effective =
        assessment.answer.as_ref().map(|answer| answer.effective).or(memory.mark.map(|(mark, _)| mark));
    let policy = policy_in(history, effective.unwrap_or(history.host.introduction));
    let newest = assessment.heartbeat.map(|number| &history.heartbeats[number]);
    let issued = newest.filter(|newest| is_heartbeat_key(&policy, newest)).map(|newest| newest.issued);
    match issued.map(|issued| issued.min(poll.now + FURTHEST)) {
        Some(time) if time > poll.now => assess_at(history, memory, poll, time),
        _ => Ok(assessment),
    }
}

/// With keys that have expired by `time`.
fn assess_at(history: &History, memory: &Memory, poll: &Poll, time: Time) -> Result<Assessment, Codes> {
    let requires = history.host.requires_freshness;
    let mark = memory.mark;
    let at = |tip: usize| judge(history, mark, &Poll { tip, now: time, ..poll.clone() });
    let stand = mark.map_or(history.host.introduction, |(mark, _)| mark);
    let offered_number = poll.heartbeat.map(|number| history.same_heartbeat(number));
    let offered = offered_number.map(|number| &history.heartbeats[number]);
    // "the line is judged up to the commit that a counting heartbeat names, and no further; without one, nothing new comes into
    // effect"
    let line: Vec<usize> =
        history.line(poll.tip).into_iter().take_while(|id| Some(*id) != mark.map(|(id, _)| id)).collect();
    let payload = |id: usize| history.commits[id].twin.unwrap_or(id);
    // "the commit that it names is the one with that payload hash"
    let is_it = |offered: &&Heartbeat| {
        let signature = &history.commits[offered.tip].signature;
        payload(offered.tip) == payload(offered.payload)
            && !matches!(signature, Signature::By(_, Quality::StrangeHeader))
    };
    let named = offered.filter(is_it).map(|offered| offered.tip).filter(|tip| line.contains(tip));
    let up_to = if requires { named } else { Some(poll.tip) };
    let answer = at(up_to.unwrap_or(stand))?;
    let policy = policy_in(history, answer.effective);
    let problems = offered.map_or_else(Codes::new, |offered| {
        let mut problems = Codes::new();
        let Signature::By(key, quality) = offered.signature else { return Codes::from(["E045"]) };
        match quality {
            Quality::Good => {}
            Quality::OtherContent | Quality::Untouched => {
                problems.insert("E049");
            }
            _ => {
                problems.insert("E045");
            }
        }
        if offered.fleet != HOST.0 {
            problems.insert("E046");
        }
        let own = policy.heartbeat_keys.iter().find(|(own, _)| *own == key);
        if own.is_none_or(|(_, last)| last.is_some_and(|last| time > last)) {
            problems.insert("E048");
        }
        let on_it =
            named.is_some() || mark.is_some_and(|(mark, _)| history.line(mark).contains(&offered.tip));
        if !is_it(&offered) || !on_it {
            problems.insert("E070");
        }
        let aged = history.host.max_age.is_some_and(|age| poll.now > offered.issued + age);
        if poll.now > offered.expires || aged {
            problems.insert("E072");
        }
        // "not older than the newest that the host has seen: by sequence number for the same key, by time of issue for another. What a
        // key said that the policy no longer names binds nobody."
        if let Some(newest) = memory.heartbeat
            && let seen = &history.heartbeats[newest]
            && is_heartbeat_key(&policy, seen)
            && Some(newest) != offered_number
        {
            let same_key = matches!(seen.signature, Signature::By(other, _) if other == key);
            let older =
                if same_key { offered.sequence <= seen.sequence } else { offered.issued < seen.issued };
            if older {
                problems.insert("E047");
            }
        }
        problems
    });
    let counts = offered.is_some() && problems.is_empty();
    let heartbeat = if counts { offered_number } else { memory.heartbeat };
    let answer = match (requires && !counts, mark) {
        (true, None) => None,
        // Nothing new, and nothing is said about what was not looked at.
        (true, Some(_)) => Some(at(stand)?),
        _ => Some(answer),
    };
    Ok(Assessment { answer, heartbeat, problems })
}

fn policy_in(history: &History, id: usize) -> Policy {
    match history.tree(id).remove(POLICY) {
        Some(Content::Policy(policy)) => policy,
        _ => panic!("#{id} came into effect without a policy"),
    }
}

fn is_heartbeat_key(policy: &Policy, heartbeat: &Heartbeat) -> bool {
    match heartbeat.signature {
        Signature::By(key, _) => policy.heartbeat_keys.iter().any(|(own, _)| *own == key),
        Signature::None => false,
    }
}

struct Model<'a> {
    history: &'a History,
    trees: Vec<Tree>,
    now: Time,
    /// The tags on offer.
    tags: &'a [usize],
}

/// Who answers for a commit by itself.
enum Standing {
    /// It stands for itself: this key's principal does.
    Itself(Key),
    /// Nobody yet: approvals by signers of these scopes have to.
    UnderSeal(BTreeSet<&'static str>),
}

impl Model<'_> {
    fn commit(&self, id: usize) -> &Commit {
        &self.history.commits[id]
    }

    /// The policy in a tree that came into effect.
    fn policy(&self, id: usize) -> &Policy {
        match self.trees[id].get(POLICY) {
            Some(Content::Policy(policy)) => policy,
            _ => panic!("#{id} came into effect without a policy"),
        }
    }

    /// "The introduction itself must have the id and be signed with the key that the root of trust names."
    fn introduce(&self, introduction: usize) -> Result<usize, Codes> {
        let mut codes = Codes::new();
        match self.commit(introduction).signature {
            Signature::By(key, quality) => {
                if key != self.history.host.key {
                    codes.insert("E034");
                }
                codes.extend(form(quality));
            }
            Signature::None => {
                codes.insert("E010");
            }
        }
        codes.extend(unwanted(&Tree::new(), &self.trees[introduction]));
        codes.extend(unusable(self.trees[introduction].get(POLICY)));
        if codes.remove("E028") {
            codes.extend(["E028", "E032"]);
        }
        if codes.is_empty() { Ok(introduction) } else { Err(codes) }
    }

    fn is_twin(&self, one: usize, other: usize) -> bool {
        let payload = |id: usize| self.commit(id).twin.unwrap_or(id);
        payload(one) == payload(other)
    }

    /// A twin passes where the mark stood.
    fn twin_passes(&self, twin: usize) -> Codes {
        match self.commit(twin).parents.first() {
            Some(parent) => match self.standing(twin, Some(*parent), self.policy(*parent)) {
                // Nobody would answer for this one.
                Ok(Standing::UnderSeal(_)) => self.short_of(twin, Some(*parent), self.policy(*parent)),
                _ => self.not_passing(twin, Some(*parent), self.policy(*parent)),
            },
            None => Codes::from(["E035"]),
        }
    }

    /// "Otherwise the tip is refused as a rewind, a fork or another fleet's branch."
    fn astray(&self, tip: usize, mark: Option<Mark>) -> Codes {
        let mut codes = Codes::new();
        if mark.is_some_and(|(mark, _)| self.history.line(mark).contains(&tip)) {
            codes.insert("E030");
        }
        if let Some(Content::Policy(policy)) = self.trees[tip].get(POLICY)
            && policy.fleet != HOST.0
        {
            codes.insert("E032");
        }
        // Of a tip that cannot be read nobody can say whose it is.
        let unreadable =
            matches!(self.commit(tip).signature, Signature::By(_, quality) if form(quality).is_some());
        if codes.is_empty() || (unreadable && !codes.contains("E030")) {
            codes.insert("E031");
        }
        codes
    }

    /// Every reason to refuse a commit of the line.
    fn refusals(&self, id: usize, effective: usize) -> Codes {
        let parent = self.commit(id).parents[0];
        let policy = self.policy(effective);
        let mut codes = self.not_passing(id, Some(parent), policy);
        // 4. "each commit that it brings in and that is not an ancestor of p passes by itself […], and has a parent"
        for side in self.brought_in(id) {
            let parent = self.commit(side).parents.first().copied();
            codes.extend(self.not_passing(side, parent, policy));
            if parent.is_none() {
                codes.insert("E035");
            }
        }
        // 7. "where trust.toml differs: it is there as a plain file and valid, names the same fleet and branch as the host, has a
        // higher version than E's, asks for no newer abide"
        let new = self.trees[id].get(POLICY);
        if new != self.trees[effective].get(POLICY) {
            codes.extend(unusable(new));
            if let Some(Content::Policy(new)) = new
                && new.version <= policy.version
            {
                codes.insert("E027");
            }
        }
        codes
    }

    /// 1 to 3: what is wrong with a commit by itself.
    fn not_passing(&self, id: usize, parent: Option<usize>, policy: &Policy) -> Codes {
        let mut codes = self.standing(id, parent, policy).err().unwrap_or_default();
        // 3. "it adds no submodule, no symlink that leaves the tree, and no name that is not a plain component"
        codes.extend(unwanted(&self.before(parent), &self.trees[id]));
        codes
    }

    fn before(&self, parent: Option<usize>) -> Tree {
        parent.map_or_else(Tree::new, |parent| self.trees[parent].clone())
    }

    /// 1 and 2: who answers for a commit, or every reason why nobody can.
    fn standing(&self, id: usize, parent: Option<usize>, policy: &Policy) -> Result<Standing, Codes> {
        let codes = self.short_of(id, parent, policy);
        if codes.is_empty()
            && let Signature::By(key, _) = self.commit(id).signature
        {
            return Ok(Standing::Itself(key));
        }
        // "Or it is under seal: it carries no signature, or one of another kind, or one whose key no principal holds or that has
        // expired, or its signer may not change all of these paths; and it changes something, and every path that it changes lies
        // in a scope with merge = "seal". What is forged […] is refused all the same"
        let nobody = ["E010", "E014", "E015", "E016", "E020", "E021"];
        let scopes =
            differing(&self.before(parent), &self.trees[id]).into_iter().map(|path| scope_of(policy, path));
        let scopes: Vec<Option<&Scope>> = scopes.collect();
        if codes.iter().all(|code| nobody.contains(code))
            && !scopes.is_empty()
            && scopes.iter().all(|scope| scope.is_some_and(|scope| scope.seal))
        {
            return Ok(Standing::UnderSeal(scopes.into_iter().flatten().map(|scope| scope.name).collect()));
        }
        Err(codes)
    }

    fn standing_on_line(&self, id: usize, effective: usize) -> Result<Standing, Codes> {
        self.standing(id, self.commit(id).parents.first().copied(), self.policy(effective))
    }

    /// What a commit lacks to stand for itself.
    fn short_of(&self, id: usize, parent: Option<usize>, policy: &Policy) -> Codes {
        let Signature::By(key, quality) = self.commit(id).signature else {
            return Codes::from(["E010"]);
        };
        // "its bytes are in canonical form […], an SSH signature armoured and wrapped exactly as ssh-keygen does it"
        let mut codes: Codes = form(quality).into_iter().collect();
        let principal = match principal(policy, key, self.now) {
            // Nobody asks whether a signature holds that would not count. An OpenPGP signature tells nothing of this key.
            Err(_) if ["E014", "E017", "E018"].iter().any(|code| codes.contains(code)) => {
                codes.retain(|code| *code == "E014");
                codes.extend(principal(policy, key, self.now).err());
                return codes;
            }
            Err(code) => {
                codes.insert(code);
                return codes;
            }
            Ok(principal) => principal,
        };
        // "every path that differs between the trees of p and c lies in a scope of E's policy whose signers include that principal"
        for path in differing(&self.before(parent), &self.trees[id]) {
            match scope_of(policy, path) {
                None => codes.insert("E021"),
                Some(scope) if !scope.signers.contains(principal) => codes.insert("E020"),
                Some(_) => false,
            };
        }
        codes
    }

    /// The commits that a merge brings in: those below it that are not below its first parent.
    fn brought_in(&self, id: usize) -> BTreeSet<usize> {
        let mut known = BTreeSet::new();
        let mut open = vec![self.commit(id).parents[0]];
        while let Some(id) = open.pop() {
            // What lies below the introduction is not known: nobody proved it.
            if known.insert(id) && id != self.history.host.introduction {
                open.extend(&self.commit(id).parents);
            }
        }
        let mut brought_in = BTreeSet::new();
        let mut open = self.commit(id).parents[1..].to_vec();
        while let Some(id) = open.pop() {
            if !known.contains(&id) && brought_in.insert(id) {
                open.extend(&self.commit(id).parents);
            }
        }
        brought_in
    }

    /// 5 to 7: the scopes that lack somebody before the last of these commits is in effect; those are the line above it.
    fn missing(&self, effective: usize, above: &[usize]) -> BTreeSet<(&'static str, bool)> {
        let id = above[above.len() - 1];
        let (before, after) = (&self.trees[effective], &self.trees[id]);
        let policy = self.policy(effective);
        let approving = self.approving(effective, above);
        let vouching: BTreeSet<Key> = approving.union(&self.by_work(effective, above)).copied().collect();
        let under_seal = self.under_seal(effective, above);
        let mut missing = BTreeSet::new();
        // 5. "every scope touched between the trees of E and c whose threshold is above one"
        for path in differing(before, after) {
            if let Some(scope) = scope_of(policy, path)
                && scope.threshold > 1
                && !met(scope, policy, &vouching)
            {
                missing.insert((scope.name, false));
            }
        }
        // 6. "every scope in which a commit under seal […] changes a path"
        for scope in policy.scopes.iter().filter(|scope| under_seal.contains(scope.name)) {
            if !met(scope, policy, &approving) {
                missing.insert((scope.name, false));
            }
        }
        // 7. "its own scope over trust.toml has its threshold […] who vouch for c (who approve it, if any commit above E is under seal)"
        if before.get(POLICY) != after.get(POLICY)
            && let Some(Content::Policy(new)) = after.get(POLICY)
            && let Some(scope) = scope_of(new, POLICY)
            && !met(scope, new, if under_seal.is_empty() { &vouching } else { &approving })
        {
            missing.insert((scope.name, true));
        }
        missing
    }

    /// "A principal approves c by a commit that stands for itself, is on the line, has the tree of c, carries the trailer, and has no
    /// other tree between itself and c; or by a signed annotated tag on c, or on a commit of the line with the tree of c and no other
    /// tree between, whose signature holds under point 2 for the principal."
    fn approving(&self, effective: usize, above: &[usize]) -> BTreeSet<Key> {
        let policy = self.policy(effective);
        let tree = &self.trees[above[above.len() - 1]];
        let mut approving = BTreeSet::new();
        for id in above.iter().rev().take_while(|id| self.trees[**id] == *tree) {
            if let Ok(Standing::Itself(key)) = self.standing_on_line(*id, effective)
                && self.commit(*id).approves.is_some_and(|approved| self.trees[approved] == *tree)
            {
                approving.insert(key);
            }
            for tag in self.tags.iter().map(|tag| &self.history.tags[*tag]).filter(|tag| tag.on == *id) {
                if let Signature::By(key, Quality::Good) = tag.signature
                    && principal(policy, key, self.now).is_ok()
                {
                    approving.insert(key);
                }
            }
        }
        approving
    }

    /// "the signer of c vouches for it by his work alone when each commit of the line above E and up to c that changes the tree stands
    /// for itself and was signed by him": with the key of the last of these.
    fn by_work(&self, effective: usize, above: &[usize]) -> BTreeSet<Key> {
        let policy = self.policy(effective);
        let mut authors = BTreeSet::new();
        let mut last = None;
        let mut before = effective;
        for id in above {
            if self.trees[*id] != self.trees[before] {
                let Ok(Standing::Itself(key)) = self.standing_on_line(*id, effective) else {
                    return BTreeSet::new();
                };
                authors.extend(holder(policy, key).map(|(name, _)| name));
                last = Some(key);
            }
            before = *id;
        }
        if authors.len() == 1 { last.into_iter().collect() } else { BTreeSet::new() }
    }

    /// The scopes in which commits under seal change something, on the line or brought in by it.
    fn under_seal(&self, effective: usize, above: &[usize]) -> BTreeSet<&'static str> {
        let all = above.iter().flat_map(|id| std::iter::once(*id).chain(self.brought_in(*id)));
        let standings = all.map(|id| self.standing_on_line(id, effective));
        standings
            .flat_map(|standing| match standing {
                Ok(Standing::UnderSeal(scopes)) => scopes,
                _ => BTreeSet::new(),
            })
            .collect()
    }
}

/// Whether enough of the scope's signers vouch, as this policy knows their keys.
fn met(scope: &Scope, policy: &Policy, vouching: &BTreeSet<Key>) -> bool {
    let names = vouching.iter().filter_map(|key| holder(policy, *key)).map(|(name, _)| name);
    let names: BTreeSet<&str> = names.filter(|name| scope.signers.contains(name)).collect();
    names.len() >= scope.threshold
}

/// The principal of a key that counts at this time.
fn principal(policy: &Policy, key: Key, now: Time) -> Result<&'static str, &'static str> {
    match holder(policy, key) {
        None => Err("E015"),
        Some((_, Some(last))) if now > last => Err("E016"),
        Some((principal, _)) => Ok(principal),
    }
}

fn holder(policy: &Policy, key: Key) -> Option<(&'static str, Option<Time>)> {
    let of = |(name, keys): (&&'static str, &Vec<(Key, Option<Time>)>)| {
        keys.iter().find(|(own, _)| *own == key).map(|(_, last)| (*name, *last))
    };
    policy.principals.iter().find_map(of)
}

/// "The first scope that matches decides; a path without a scope may be changed by nobody"
fn scope_of<'a>(policy: &'a Policy, path: &str) -> Option<&'a Scope> {
    policy.scopes.iter().find(|scope| scope.paths.iter().any(|pattern| covers(pattern, path)))
}

fn covers(pattern: &Pattern, path: &str) -> bool {
    match pattern {
        Pattern::Exactly(exactly) => path == *exactly,
        Pattern::Below("") => true,
        Pattern::Below(folder) => path.starts_with(&format!("{folder}/")),
    }
}

fn differing(before: &Tree, after: &Tree) -> BTreeSet<&'static str> {
    let paths: BTreeMap<&'static str, ()> =
        before.keys().chain(after.keys()).map(|path| (*path, ())).collect();
    paths.into_keys().filter(|path| before.get(path) != after.get(path)).collect()
}

/// What is wrong with a signature, whoever made it.
fn form(quality: Quality) -> Option<&'static str> {
    match quality {
        Quality::Good => None,
        Quality::StrangeHeader => Some("E011"),
        Quality::Rewrapped => Some("E012"),
        Quality::OtherNamespace => Some("E013"),
        Quality::OpenPgp => Some("E014"),
        Quality::OtherContent => Some("E017"),
        Quality::Untouched => Some("E018"),
    }
}

/// What no commit may add, whoever signs it.
fn unwanted(before: &Tree, after: &Tree) -> Codes {
    let mut codes = Codes::new();
    for path in differing(before, after) {
        match after.get(path) {
            None => {}
            Some(_) if path.split('/').any(|name| name == ".git") => {
                codes.insert("E024");
            }
            Some(Content::Submodule) => {
                codes.insert("E022");
            }
            Some(Content::LinkOutside) => {
                codes.insert("E023");
            }
            Some(_) => {}
        }
    }
    codes
}

/// What is wrong with a policy before anybody is asked whether he may change it.
fn unusable(policy: Option<&Content>) -> Codes {
    match policy {
        Some(Content::Policy(policy)) => {
            let moved = (policy.fleet, policy.branch) != HOST;
            moved.then_some("E028").into_iter().chain(policy.too_new.then_some("E029")).collect()
        }
        // Git knows a file by its mode, and what a file says by reading it.
        Some(Content::BrokenPolicy | Content::Text(_)) => Codes::from(["E026"]),
        _ => Codes::from(["E025"]),
    }
}
