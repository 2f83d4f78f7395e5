//! The rule of `docs/SECURITY.md` once more, as plainly as it can be written: over whole trees and whole histories, without budgets,
//! caches, hashes or bytes. The real one is compared with it over random histories; see `histories`.
//!
//! It is written from that text, and where the two disagree, one of the three is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::histories::history::{
    Commit, Content, History, Key, Pattern, Policy, POLICY, Quality, Scope, Signature, Time, Tree,
};

/// What a host makes of an offered tip.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The last commit in effect.
    pub effective: usize,
    /// The newest commit that passes and is not in effect, with each scope that lacks somebody and whether it is the new policy's.
    pub pending: Option<(usize, BTreeSet<(&'static str, bool)>)>,
    /// Which commit is refused, and every reason that there is for it.
    pub refused: Option<(usize, Codes)>,
}

/// Codes of refusals. The real rule names the first that it meets.
pub type Codes = BTreeSet<&'static str>;

/// The fleet and branch of the host.
const HOST: (&str, &str) = ("ours", "main");

/// The rule.
///
/// # Errors
/// The introduction is not what the root of trust says, so that there is nothing to stand on.
pub fn judge(history: &History, mark: Option<usize>, tip: usize, now: Time) -> Result<Answer, Codes> {
    let model = Model { history, trees: history.trees(), now };
    let introduction = history.host.introduction;
    let line = history.line(tip);
    // "Let E be the last commit in effect: the high-water mark, or at first the introduction."
    let mut effective = match mark {
        Some(mark) => mark,
        None => model.introduce(introduction)?,
    };
    // "The line must contain the introduction. It must contain the high-water mark, or a commit with the same signed
    // payload that passes in its place (a twin)."
    let stand_in = line.iter().find(|id| **id == effective || model.is_twin(**id, effective)).copied();
    let stand_in = match stand_in {
        Some(id) if line.contains(&introduction) => id,
        _ => {
            let refused = Some((tip, model.astray(tip, mark)));
            return Ok(Answer { effective, pending: None, refused });
        }
    };
    if stand_in != effective
        && let codes = model.twin_passes(stand_in)
        && !codes.is_empty()
    {
        return Ok(Answer { effective, pending: None, refused: Some((stand_in, codes)) });
    }
    let mut above: Vec<usize> = line.into_iter().take_while(|id| *id != stand_in).collect();
    above.reverse();
    let mut pending = None;
    for (position, id) in above.iter().enumerate() {
        let codes = model.refusals(*id, effective);
        if !codes.is_empty() {
            return Ok(Answer { effective, pending, refused: Some((*id, codes)) });
        }
        let missing = model.missing(effective, &above[..=position]);
        pending = if missing.is_empty() {
            effective = *id;
            None
        } else {
            Some((*id, missing))
        };
    }
    Ok(Answer { effective, pending, refused: None })
}

struct Model<'a> {
    history: &'a History,
    trees: Vec<Tree>,
    now: Time,
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
            Some(parent) => self.not_passing(twin, Some(*parent), self.policy(*parent)),
            None => Codes::from(["E035"]),
        }
    }

    /// "Otherwise the tip is refused as a rewind, a fork or another fleet's branch."
    fn astray(&self, tip: usize, mark: Option<usize>) -> Codes {
        let mut codes = Codes::new();
        if mark.is_some_and(|mark| self.history.line(mark).contains(&tip)) {
            codes.insert("E030");
        }
        if let Some(Content::Policy(policy)) = self.trees[tip].get(POLICY)
            && policy.fleet != HOST.0
        {
            codes.insert("E032");
        }
        if codes.is_empty() {
            codes.insert("E031");
        }
        codes
    }

    /// Every reason to refuse a commit of the line.
    fn refusals(&self, id: usize, effective: usize) -> Codes {
        let parent = self.commit(id).parents[0];
        let policy = self.policy(effective);
        let mut codes = self.not_passing(id, Some(parent), policy);
        // 5. "each commit that it brings in and that is not an ancestor of p passes by itself […], and has a parent"
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

    /// 1 to 4: what is wrong with a commit by itself.
    fn not_passing(&self, id: usize, parent: Option<usize>, policy: &Policy) -> Codes {
        let nothing = Tree::new();
        let before = parent.map_or(&nothing, |parent| &self.trees[parent]);
        let mut codes = Codes::new();
        let Signature::By(key, quality) = self.commit(id).signature else {
            return Codes::from(["E010"]);
        };
        // 1. "its bytes are in canonical form" 2. "its signature is an SSHSIG … that holds"
        codes.extend(form(quality));
        // 2. "that the policy in E's tree gives to a principal and that has not expired by the host's time"
        match holder(policy, key) {
            None => {
                codes.insert("E015");
            }
            Some((_, Some(last))) if self.now > last => {
                codes.insert("E016");
            }
            Some((principal, _)) => {
                // 3. "every path that differs … lies in a scope of E's policy whose signers include that principal"
                for path in differing(before, &self.trees[id]) {
                    match scope_of(policy, path) {
                        None => codes.insert("E021"),
                        Some(scope) if !scope.signers.contains(principal) => codes.insert("E020"),
                        Some(_) => false,
                    };
                }
            }
        }
        // 4. "it adds no submodule, no symlink that leaves the tree, and no name that is not a plain component"
        codes.extend(unwanted(before, &self.trees[id]));
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

    /// 6 and 7: the scopes that lack somebody before the last of these commits is in effect.
    fn missing(&self, effective: usize, above: &[usize]) -> BTreeSet<(&'static str, bool)> {
        let id = above[above.len() - 1];
        let (before, after) = (&self.trees[effective], &self.trees[id]);
        let policy = self.policy(effective);
        let vouching = self.vouching(effective, above);
        let mut missing = BTreeSet::new();
        for path in differing(before, after) {
            // A threshold of one was met by the signer of each commit.
            if let Some(scope) = scope_of(policy, path)
                && scope.threshold > 1
                && !met(scope, policy, &vouching)
            {
                missing.insert((scope.name, false));
            }
        }
        if before.get(POLICY) != after.get(POLICY)
            && let Some(Content::Policy(new)) = after.get(POLICY)
            && let Some(scope) = scope_of(new, POLICY)
            && !met(scope, new, &vouching)
        {
            missing.insert((scope.name, true));
        }
        missing
    }

    /// "the signer of the last commit that changed the tree, and the signers of later commits that change nothing and carry the
    /// trailer `Approves-tree: <tree>`"
    fn vouching(&self, effective: usize, above: &[usize]) -> BTreeSet<Key> {
        let mut vouching = BTreeSet::new();
        let mut tree = &self.trees[effective];
        for id in above {
            let Signature::By(key, _) = self.commit(*id).signature else { continue };
            if self.trees[*id] != *tree {
                vouching = BTreeSet::from([key]);
            } else if self.commit(*id).approves.is_some_and(|approved| self.trees[approved] == *tree) {
                vouching.insert(key);
            }
            tree = &self.trees[*id];
        }
        vouching
    }
}

/// Whether enough of the scope's signers vouch, as this policy knows their keys.
fn met(scope: &Scope, policy: &Policy, vouching: &BTreeSet<Key>) -> bool {
    let names = vouching.iter().filter_map(|key| holder(policy, *key)).map(|(name, _)| name);
    let names: BTreeSet<&str> = names.filter(|name| scope.signers.contains(name)).collect();
    names.len() >= scope.threshold
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
    let paths: BTreeMap<&'static str, ()> = before.keys().chain(after.keys()).map(|path| (*path, ())).collect();
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
