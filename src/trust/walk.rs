//! The walk: from what is believed to the tip, each commit judged by the policy of the last tree in effect.

use std::collections::BTreeMap;

use gix::ObjectId;

use super::commit::summary_of_any;
use super::error::TrustError;
use super::examine::{Judge, MOST_COMMITS, MOST_ENTRIES, Signed, Stop, is_introduced};
use super::judgement::{CommitJudgement, HighWater, Judgement, Need, Pending, Rule, Verdict};
use super::key::PublicKey;
use super::line::{self, Base, Line};
use super::merge::{Known, side_commits};
use super::paths::Changed;
use super::policy::{POLICY_FILE, Policy, Scope};
use super::rejection::{Reason, Rejection};
use super::root::RootOfTrust;
use super::{Revision, Verified};
use crate::error::escaped;
use crate::source::{Candidate, Objects};

/// The trailer of an approval.
const APPROVES: &str = "Approves-tree";

/// Finds the newest good commit between the high-water mark (or the introduction) and the candidate.
///
/// `now` is the host's trusted time, in seconds since the epoch; commits' own dates decide nothing.
///
/// # Errors
/// Only what keeps the host from judging: a bad commit is data in the [`Judgement`]. Without a high-water mark, a bad
/// introduction is an error too, since there is nothing to fall back to.
pub fn judge(
    objects: &dyn Objects,
    root: &RootOfTrust,
    high_water: Option<&HighWater>,
    candidate: &Candidate,
    now: i64,
) -> Result<Judgement, TrustError> {
    let introduction = object_id(&root.introduction.commit)?;
    let (commits_left, entries_left) = (MOST_COMMITS, MOST_ENTRIES);
    let mut judge = Judge { objects, root, introduction, now, commits_left, entries_left };
    let mark = match high_water {
        Some(mark) => Some((object_id(&mark.commit)?, mark)),
        None => None,
    };
    let line = line::find(&mut judge, candidate.tip, mark, introduction)?;
    let (mut walk, refusal) = match (line.base, mark) {
        (Base::Introduction(id), _) => (Walk::from_introduction(judge, id)?, None),
        (Base::Nowhere, None) | (Base::Mark(_) | Base::Twin(_), None) => {
            let refusal = explain(&mut judge, candidate.tip, &line, introduction, None)?;
            let walk =
                Walk::from_introduction(judge, introduction).map_err(|error| missing(error, &refusal))?;
            (walk, Some(refusal))
        }
        (base, Some((id, mark))) => {
            // While nothing moves, what was proven when the mark rose need not be proven again.
            if candidate.tip != id && !line::lies_below(&mut judge, id, introduction)? {
                return Err(unrelated(id, introduction));
            }
            let refusal = match base {
                Base::Nowhere => Some(explain(&mut judge, candidate.tip, &line, introduction, Some(id))?),
                _ => None,
            };
            let mut walk = Walk::from_mark(judge, id, mark)?;
            let refusal = match base {
                Base::Twin(twin) => walk.adopt_twin(twin).err().map(Stop::into_rejection).transpose()?,
                _ => refusal,
            };
            (walk, refusal)
        }
    };
    let rejection = match refusal {
        Some(refusal) => Some(refusal),
        None => walk.up(&line.above)?,
    };
    Ok(walk.finish(rejection))
}

/// Why the line meets nothing that is believed.
fn explain(
    judge: &mut Judge<'_>,
    tip: ObjectId,
    line: &Line,
    introduction: ObjectId,
    mark: Option<ObjectId>,
) -> Result<Rejection, TrustError> {
    match &line.broken {
        Some(broken) => Ok(broken.clone()),
        None => line::explain(judge, tip, mark, introduction),
    }
}

fn unrelated(mark: ObjectId, introduction: ObjectId) -> TrustError {
    TrustError::MarkUnrelated { commit: mark.to_string(), introduction: introduction.to_string() }
}

/// When the introduction is not even there, what is there says more.
fn missing(error: TrustError, tip: &Rejection) -> TrustError {
    match error {
        TrustError::Introduction(mut rejection) if matches!(rejection.reason, Reason::Unreadable(_)) => {
            rejection.reason = match tip.reason {
                Reason::OtherFleet { .. } => tip.reason.clone(),
                _ => Reason::IntroductionMissing,
            };
            TrustError::Introduction(rejection)
        }
        error => error,
    }
}

fn object_id(hex: &str) -> Result<ObjectId, TrustError> {
    ObjectId::from_hex(hex.as_bytes()).map_err(|error| TrustError::MarkLost {
        commit: escaped(hex),
        reason: format!("it is not the name of a commit: {error}"),
    })
}

/// The last commit in effect.
struct Effective {
    id: ObjectId,
    tree: ObjectId,
    policy: Policy,
    revision: Revision,
}

/// Where the walk stands: `effective` is proven and in effect; above it may be a run of commits that wait for approvals.
struct Walk<'a> {
    judge: Judge<'a>,
    effective: Effective,
    /// The newest commit of the line that passed, in effect or not.
    latest: (ObjectId, ObjectId),
    /// Who vouches for the tree of `latest`.
    approvers: BTreeMap<String, PublicKey>,
    pending: Option<Pending>,
    known: Known,
    commits: Vec<CommitJudgement>,
}

impl<'a> Walk<'a> {
    fn from_introduction(mut judge: Judge<'a>, id: ObjectId) -> Result<Walk<'a>, TrustError> {
        let refused = |stop: Stop| match stop {
            Stop::Failed(error) => error,
            Stop::Refused(rejection) => TrustError::Introduction(rejection),
        };
        let signed = judge.read(id).map_err(refused)?;
        let policy = introduce(&mut judge, &signed).map_err(refused)?;
        let signer = policy
            .holder(&signed.envelope.key)
            .map_or_else(|| "introduction".to_owned(), |holder| holder.principal.clone());
        Ok(Walk::new(judge, signed, policy, signer, Rule::Introduction))
    }

    fn from_mark(mut judge: Judge<'a>, id: ObjectId, mark: &HighWater) -> Result<Walk<'a>, TrustError> {
        let lost = |reason: String| TrustError::MarkLost { commit: mark.commit.clone(), reason };
        let introduction = judge.root.introduction.commit.clone();
        let refused = |stop: Stop| match stop {
            Stop::Failed(error) => error,
            Stop::Refused(rejection) if matches!(rejection.reason, Reason::PolicyMoved { .. }) => {
                TrustError::MarkUnrelated { commit: rejection.commit, introduction: introduction.clone() }
            }
            Stop::Refused(rejection) => lost(rejection.reason.to_string()),
        };
        let signed = judge.read(id).map_err(refused)?;
        if signed.commit.payload_hash() != mark.payload {
            return Err(lost("its content is not what was accepted".into()));
        }
        let policy = judge.policy_of(&signed).map_err(refused)?;
        let signer = match policy.holder(&signed.envelope.key) {
            Some(holder) => holder.principal.clone(),
            None if is_introduced(judge.root, &signed.envelope.key) => "introduction".to_owned(),
            // Whoever takes himself off the policy is no principal of the new one.
            None => "former principal".to_owned(),
        };
        Ok(Walk::new(judge, signed, policy, signer, Rule::HighWater))
    }

    fn new(judge: Judge<'a>, signed: Signed, policy: Policy, signer: String, rule: Rule) -> Walk<'a> {
        let commits = vec![report(&signed, rule, Vec::new(), Some(&signer))];
        let latest = (signed.id, signed.commit.tree);
        let revision = revision(judge.root, &signed, &signer);
        let effective = Effective { id: signed.id, tree: signed.commit.tree, policy, revision };
        let (approvers, pending, known) = (BTreeMap::new(), None, Known::default());
        Walk { judge, effective, latest, approvers, pending, known, commits }
    }

    /// Walks up the line; gives back why it stopped, when it did not reach the end.
    fn up(&mut self, line: &[ObjectId]) -> Result<Option<Rejection>, TrustError> {
        if let Err(stop) = self.check_agent() {
            return stop.into_rejection().map(Some);
        }
        for id in line {
            if let Err(stop) = self.step(*id) {
                let rejection = stop.into_rejection()?;
                let raw = self.judge.objects.commit(*id).unwrap_or_default();
                self.commits.push(refused(id, summary_of_any(&raw), &rejection));
                return Ok(Some(rejection));
            }
        }
        Ok(None)
    }

    /// Judges the next commit of the line.
    fn step(&mut self, id: ObjectId) -> Result<(), Stop> {
        let before = self.commits.len();
        let mut signed = self.judge.read(id)?;
        let signer = self.judge.prove_signer(&mut signed, &self.effective.policy)?;
        if signed.commit.parents.first() != Some(&self.latest.0) {
            return Err(signed.refuse(Reason::Fork { mark: self.latest.0.to_string() }));
        }
        let changed = self.judge.changed(&signed, Some(self.latest.1), signed.commit.tree)?;
        let scopes = self.judge.authority(&signed, &signer, &self.effective.policy, &changed)?;
        let is_merge = signed.commit.parents.len() > 1;
        if is_merge {
            let policy = &self.effective.policy;
            let side = side_commits(&mut self.judge, &mut self.known, &signed, policy, &mut self.commits)?;
            self.known.add(side);
        }
        self.known.add([id]);
        let tree = signed.commit.tree;
        let named = tree.to_string();
        let approves = signed.commit.trailers(APPROVES).any(|approved| approved == named);
        let rule = match (is_merge, tree == self.latest.1 && approves) {
            (true, _) => Rule::Merge,
            (false, true) => Rule::Approval,
            (false, false) => Rule::Authority,
        };
        if tree != self.latest.1 {
            self.approvers.clear();
        }
        if tree != self.latest.1 || approves {
            self.approvers.insert(signer.clone(), signed.envelope.key.clone());
        }
        self.settle(&signed, &signer, changed)?;
        self.latest = (id, tree);
        self.commits.push(report(&signed, rule, scopes, Some(&signer)));
        match self.pending {
            Some(_) => self.commits[before..].iter_mut().for_each(|commit| commit.verdict = Verdict::Pending),
            // What waited below has come into effect with this commit.
            None => self.commits.iter_mut().for_each(|commit| commit.verdict = Verdict::Accepted),
        }
        Ok(())
    }

    /// Decides whether everything from the last commit in effect up to this one now comes into effect.
    fn settle(&mut self, signed: &Signed, signer: &str, changed: Vec<Changed>) -> Result<(), Stop> {
        let whole = match self.pending {
            None => changed,
            Some(_) => self.judge.changed(signed, Some(self.effective.tree), signed.commit.tree)?,
        };
        let mut needs = needs(&self.effective.policy, &whole, |scope| self.agreeing(scope, None));
        let mut policy = None;
        if whole.iter().any(|change| change.path == POLICY_FILE) {
            let new = self.judge.policy_of(signed)?;
            let (old, version) = (self.effective.policy.version, new.version);
            if version <= old {
                return Err(signed.refuse(Reason::PolicyVersion { old, new: version }));
            }
            self.judge.new_enough(signed, &new)?;
            needs.extend(self.needs_of_new(&new));
            policy = Some(new);
        }
        if !needs.is_empty() {
            let (commit, tree) = (signed.id.to_string(), signed.commit.tree.to_string());
            self.pending = Some(Pending { commit, tree, needs });
            return Ok(());
        }
        self.pending = None;
        self.effective.id = signed.id;
        self.effective.tree = signed.commit.tree;
        self.effective.revision = revision(self.judge.root, signed, signer);
        if let Some(policy) = policy {
            self.effective.policy = policy;
        }
        Ok(())
    }

    /// A policy change has to meet the threshold of the policy that it makes, too.
    fn needs_of_new(&self, new: &Policy) -> Option<Need> {
        // A policy without such a scope does not parse.
        let scope = new.scope_of(POLICY_FILE)?;
        let have = self.agreeing(scope, Some(new));
        (have.len() < scope.threshold).then(|| need(scope, have, true))
    }

    /// The principals of a scope who vouch for the latest tree, as the policy in force or another one knows their keys.
    fn agreeing(&self, scope: &Scope, policy: Option<&Policy>) -> Vec<String> {
        let names = self.approvers.iter().filter_map(|(name, key)| match policy {
            None => Some(name.clone()),
            Some(policy) => policy.holder(key).map(|holder| holder.principal.clone()),
        });
        let mut names: Vec<String> = names.filter(|name| scope.signers.contains(name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn check_agent(&mut self) -> Result<(), Stop> {
        match self.effective.policy.minimum_agent {
            Some(_) => {
                let signed = self.judge.read(self.effective.id)?;
                self.judge.new_enough(&signed, &self.effective.policy)
            }
            None => Ok(()),
        }
    }

    /// Takes a twin of the mark for the mark, when it was signed by somebody who may: its content is the mark's, byte for byte.
    fn adopt_twin(&mut self, twin: ObjectId) -> Result<(), Stop> {
        let mut signed = self.judge.read(twin)?;
        if self.effective.id == self.judge.introduction {
            introduce(&mut self.judge, &signed)?;
        } else {
            // The twin stands where the mark stood, so its first parent's policy is the one to ask.
            let policy = match signed.commit.parents.first().copied() {
                Some(parent) => {
                    let parent = self.judge.read(parent)?;
                    self.judge.policy_of(&parent)?
                }
                None => return Err(signed.refuse(Reason::UnrelatedHistory)),
            };
            let signer = self.judge.prove_signer(&mut signed, &policy)?;
            let parent = signed.commit.parents[0];
            let parent = self.judge.read(parent)?;
            let changed = self.judge.changed(&signed, Some(parent.commit.tree), signed.commit.tree)?;
            self.judge.authority(&signed, &signer, &policy, &changed)?;
        }
        // The mark stays what it is; only the line goes on from the twin.
        self.latest.0 = twin;
        Ok(())
    }

    fn finish(self, rejection: Option<Rejection>) -> Judgement {
        let revision = self.effective.revision;
        let high_water = HighWater { commit: revision.commit.clone(), payload: revision.payload.clone() };
        let own = crate::trust::policy::Version::own();
        let old = self.effective.policy.minimum_agent.is_some_and(|needed| needed > own);
        Judgement {
            verified: (!old).then_some(Verified { revision }),
            high_water,
            rejection,
            pending: self.pending,
            commits: self.commits,
        }
    }
}

/// Proves the introduction: the named key signed it, its tree is acceptable, and its policy is for this host.
fn introduce(judge: &mut Judge<'_>, signed: &Signed) -> Result<Policy, Stop> {
    if !is_introduced(judge.root, &signed.envelope.key) {
        let expected = judge.root.introduction.key.fingerprint();
        return Err(signed.refuse(Reason::IntroductionKey { expected }));
    }
    judge.prove_signature(signed)?;
    judge.changed(signed, None, signed.commit.tree)?;
    let policy = judge.policy_of(signed).map_err(|stop| match stop {
        Stop::Refused(mut rejection) => {
            if let Reason::PolicyMoved { what: "fleet", found, expected } = rejection.reason {
                rejection.reason = Reason::OtherFleet { found, expected };
            }
            Stop::Refused(rejection)
        }
        failed => failed,
    })?;
    judge.new_enough(signed, &policy)?;
    Ok(policy)
}

/// What the scopes touched by a change still ask for. A threshold of one is met by each commit's own signer.
fn needs(policy: &Policy, changed: &[Changed], agreeing: impl Fn(&Scope) -> Vec<String>) -> Vec<Need> {
    let mut touched: BTreeMap<&str, &Scope> = BTreeMap::new();
    for scope in changed.iter().filter_map(|change| policy.scope_of(&change.path)) {
        touched.insert(&scope.name, scope);
    }
    let open = touched.into_values().filter(|scope| scope.threshold > 1).filter_map(|scope| {
        let have = agreeing(scope);
        (have.len() < scope.threshold).then(|| need(scope, have, false))
    });
    open.collect()
}

fn need(scope: &Scope, have: Vec<String>, new_policy: bool) -> Need {
    let signers = scope.signers.iter().cloned().collect();
    Need { scope: scope.name.clone(), new_policy, threshold: scope.threshold, have, signers }
}

fn revision(root: &RootOfTrust, signed: &Signed, signer: &str) -> Revision {
    Revision {
        reference: root.reference.clone(),
        commit: signed.id.to_string(),
        tree: signed.commit.tree.to_string(),
        payload: signed.commit.payload_hash(),
        signer: signer.to_owned(),
        key: signed.envelope.key.fingerprint(),
        time: signed.commit.committer.time,
        summary: signed.commit.summary(),
    }
}

fn report(
    signed: &Signed,
    rule: Rule,
    scopes: Vec<super::judgement::ScopeUse>,
    signer: Option<&str>,
) -> CommitJudgement {
    CommitJudgement {
        commit: signed.id.to_string(),
        summary: escaped(&signed.commit.summary()),
        verdict: Verdict::Accepted,
        rule,
        signer: signer.map(str::to_owned),
        key: Some(signed.envelope.key.fingerprint()),
        scopes,
        merge: None,
        rejection: None,
    }
}

fn refused(id: &ObjectId, summary: String, rejection: &Rejection) -> CommitJudgement {
    CommitJudgement {
        commit: id.to_string(),
        summary,
        verdict: Verdict::Refused,
        rule: Rule::Authority,
        signer: rejection.signer.clone(),
        key: rejection.key.clone(),
        scopes: Vec::new(),
        merge: None,
        rejection: Some(rejection.clone()),
    }
}
