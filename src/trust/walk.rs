//! The walk: from what is believed to the tip, each commit judged by the policy of the last tree in effect.

use gix::ObjectId;

use super::approvals::Approvals;
use super::attestation::{Attestation, Signer};
use super::commit::{SignatureKind, summary_of_any};
use super::error::TrustError;
use super::examine::{Judge, MOST_COMMITS, MOST_ENTRIES, Signed, Standing, Stop, scopes_of};
use super::judgement::{
    ApprovalJudgement, CommitJudgement, HighWater, Judgement, Pending, Rule, Step, Verdict,
};
use super::line::{self, Base, Line};
use super::merge::{Known, side_commits};
use super::paths::{Changed, Trees};
use super::policy::{POLICY_FILE, Policy, Version};
use super::rejection::{Reason, Rejection};
use super::root::{IntroductionKey, RootOfTrust};
use super::vouch::Vouchers;
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
    let trees = Trees::default();
    let mut judge = Judge { objects, root, introduction, now, commits_left, entries_left, trees };
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
            let proven = mark.introduction == root.introduction.commit;
            if candidate.tip != id && !proven && !line::lies_below(&mut judge, id, introduction)? {
                return Err(unrelated(id, introduction));
            }
            let refusal = match base {
                Base::Nowhere => Some(explain(&mut judge, candidate.tip, &line, introduction, Some(id))?),
                _ => None,
            };
            let mut walk = Walk::from_mark(judge, id, mark)?;
            if candidate.tip == id {
                // Nobody looked.
                walk.introduction.clone_from(&mark.introduction);
            }
            let refusal = match base {
                Base::Twin(twin) => walk.adopt_twin(twin).err().map(Stop::into_rejection).transpose()?,
                _ => refusal,
            };
            (walk, refusal)
        }
    };
    let rejection = match refusal {
        Some(refusal) => Some(refusal),
        None => {
            let approvals = Approvals::read(objects, &candidate.approvals, &mut walk.tags)?;
            walk.up(&line.above, &approvals)?
        }
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
    vouchers: Vouchers,
    pending: Option<Pending>,
    known: Known,
    commits: Vec<CommitJudgement>,
    tags: Vec<ApprovalJudgement>,
    steps: Vec<Step>,
    /// The introduction on whose line all of this lies.
    introduction: String,
}

impl<'a> Walk<'a> {
    fn from_introduction(mut judge: Judge<'a>, id: ObjectId) -> Result<Walk<'a>, TrustError> {
        let refused = |stop: Stop| match stop {
            Stop::Failed(error) => error,
            Stop::Refused(rejection) => TrustError::Introduction(rejection),
        };
        let signed = judge.read(id).map_err(refused)?;
        let policy = introduce(&mut judge, &signed).map_err(refused)?;
        let signer = holder(&policy, &signed).unwrap_or_else(|| "introduction".to_owned());
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
        let mut signed = judge.read(id).map_err(refused)?;
        signed.under_seal = !signed.attestation.is_signed() || signed.commit.payload_hash() != mark.payload;
        if signed.under_seal && signed.commit.whole_hash(id.kind()) != mark.payload {
            return Err(lost("its content is not what was accepted".into()));
        }
        let policy = judge.policy_of(&signed).map_err(refused)?;
        let signer = match holder(&policy, &signed) {
            _ if signed.under_seal => "sealed".to_owned(),
            Some(holder) => holder,
            None if signed.attestation.is_by(&judge.root.introduction.key, Some(&policy)) => {
                "introduction".to_owned()
            }
            // Whoever takes himself off the policy is no principal of the new one.
            None => "former principal".to_owned(),
        };
        Ok(Walk::new(judge, signed, policy, signer, Rule::HighWater))
    }

    fn new(judge: Judge<'a>, signed: Signed, policy: Policy, signer: String, rule: Rule) -> Walk<'a> {
        let commits = vec![signed.report(rule, Vec::new(), Some(&signer))];
        let latest = (signed.id, signed.commit.tree);
        let key = signed.attestation.key_name().unwrap_or_default();
        let revision = revision(judge.root, &signed, signer, key);
        let effective = Effective { id: signed.id, tree: signed.commit.tree, policy, revision };
        let (vouchers, pending, known) = (Vouchers::default(), None, Known::default());
        let introduction = judge.root.introduction.commit.clone();
        Walk {
            judge,
            effective,
            latest,
            vouchers,
            pending,
            known,
            commits,
            tags: Vec::new(),
            steps: Vec::new(),
            introduction,
        }
    }

    /// Walks up the line; gives back why it stopped, when it did not reach the end.
    fn up(&mut self, line: &[ObjectId], approvals: &Approvals) -> Result<Option<Rejection>, TrustError> {
        if let Err(stop) = self.check_agent() {
            return stop.into_rejection().map(Some);
        }
        for id in line {
            if let Err(stop) = self.step(*id, approvals) {
                let rejection = stop.into_rejection()?;
                let raw = self.judge.objects.commit(*id).unwrap_or_default();
                self.commits.push(refused(id, summary_of_any(&raw), &rejection));
                return Ok(Some(rejection));
            }
        }
        Ok(None)
    }

    /// Judges the next commit of the line.
    fn step(&mut self, id: ObjectId, approvals: &Approvals) -> Result<(), Stop> {
        let before = self.commits.len();
        let mut signed = self.judge.read(id)?;
        let signer = self.judge.signer_or_seal(&mut signed, &self.effective.policy)?;
        if signed.commit.parents.first() != Some(&self.latest.0) {
            return Err(signed.refuse(Reason::Fork { mark: self.latest.0.to_string() }));
        }
        let changed = self.judge.changed(&signed, Some(self.latest.1), signed.commit.tree)?;
        let standing = self.judge.stand(&signed, signer, &self.effective.policy, &changed)?;
        let is_merge = signed.commit.parents.len() > 1;
        if is_merge {
            let policy = &self.effective.policy;
            let side = side_commits(&mut self.judge, &mut self.known, &signed, policy, &mut self.commits)?;
            self.known.add(side.commits);
            self.vouchers.ask_for_seal(side.unsealed);
        }
        self.known.add([id]);
        let scopes = scopes_of(&self.effective.policy, &changed);
        let mut judgement = signed.report(Rule::Authority, scopes, None);
        judgement.rule = self.vouch(&mut signed, standing, is_merge, &mut judgement.under_seal);
        for signer in approvals.of(id, &self.effective.policy, self.judge.now, &mut self.tags) {
            self.vouchers.approve(&signer);
        }
        self.settle(&signed, changed)?;
        self.latest = (id, signed.commit.tree);
        self.commits.push(judgement);
        match self.pending {
            Some(_) => self.commits[before..].iter_mut().for_each(|commit| commit.verdict = Verdict::Pending),
            // What waited below has come into effect with this commit.
            None => self.commits.iter_mut().for_each(|commit| commit.verdict = Verdict::Accepted),
        }
        Ok(())
    }

    /// Notes who vouches for the tree of this commit, and says by which rule the commit came in.
    fn vouch(
        &mut self,
        signed: &mut Signed,
        standing: Standing,
        is_merge: bool,
        under_seal: &mut Option<Rejection>,
    ) -> Rule {
        let changes = signed.commit.tree != self.latest.1;
        match standing {
            Standing::Itself(signer) => {
                let tree = signed.commit.tree.to_string();
                let approves = signed.commit.trailers(APPROVES).any(|approved| approved == tree);
                if changes {
                    self.vouchers.change(Some(&signer));
                }
                if approves {
                    self.vouchers.approve(&signer);
                }
                match (is_merge, !changes && approves) {
                    (true, _) => Rule::Merge,
                    (false, true) => Rule::Approval,
                    (false, false) => Rule::Authority,
                }
            }
            Standing::UnderSeal { scopes, because } => {
                signed.under_seal = true;
                self.vouchers.change(None);
                self.vouchers.ask_for_seal(scopes);
                *under_seal = Some(*because);
                Rule::Seal
            }
        }
    }

    /// Decides whether everything from the last commit in effect up to this one now comes into effect.
    fn settle(&mut self, signed: &Signed, changed: Vec<Changed>) -> Result<(), Stop> {
        let whole = match self.pending {
            None => changed,
            Some(_) => self.judge.changed(signed, Some(self.effective.tree), signed.commit.tree)?,
        };
        let mut asked = self.vouchers.asked(&self.effective.policy, &whole);
        let mut policy = None;
        if whole.iter().any(|change| change.path == POLICY_FILE) {
            let new = self.judge.policy_of(signed)?;
            let (old, version) = (self.effective.policy.version, new.version);
            if version <= old {
                return Err(signed.refuse(Reason::PolicyVersion { old, new: version }));
            }
            self.judge.new_enough(signed, &new)?;
            asked.extend(self.vouchers.asked_of_new(&new));
            policy = Some(new);
        }
        if asked.iter().any(|need| !need.is_met()) {
            let needs = asked.into_iter().filter(|need| !need.is_met()).collect();
            let (commit, tree) = (signed.id.to_string(), signed.commit.tree.to_string());
            self.pending = Some(Pending { commit, tree, needs });
            return Ok(());
        }
        self.pending = None;
        self.steps.push(Step { commit: signed.id.to_string(), scopes: asked });
        self.effective.id = signed.id;
        self.effective.tree = signed.commit.tree;
        self.effective.revision = self.revision_of(signed);
        self.vouchers = Vouchers::default();
        if let Some(policy) = policy {
            self.effective.policy = policy;
        }
        Ok(())
    }

    /// The commit as people name it: with its signer, or with those whose approvals let it in.
    fn revision_of(&self, signed: &Signed) -> Revision {
        let sealers = self.vouchers.sealers().filter(|_| signed.under_seal);
        let (signer, key) = match sealers {
            Some((names, key)) => (names, Some(key.fingerprint())),
            None => (signed.signer.clone().unwrap_or_default(), signed.attestation.key_name()),
        };
        revision(self.judge.root, signed, signer, key.unwrap_or_default())
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
        // The twin stands where the mark stood, so its first parent's policy is the one to ask.
        let Some(parent) = signed.commit.parents.first().copied() else {
            return Err(signed.refuse(Reason::UnrelatedHistory));
        };
        let parent = self.judge.read(parent)?;
        let policy = self.judge.policy_of(&parent)?;
        let Signer { principal, .. } = self.judge.prove_signer(&mut signed, &policy)?;
        let changed = self.judge.changed(&signed, Some(parent.commit.tree), signed.commit.tree)?;
        self.judge.authority(&signed, &principal, &policy, &changed)?;
        // The mark stays what it is; only the line goes on from the twin.
        self.latest.0 = twin;
        Ok(())
    }

    fn finish(self, rejection: Option<Rejection>) -> Judgement {
        let revision = self.effective.revision;
        let (commit, payload) = (revision.commit.clone(), revision.payload.clone());
        let introduction = self.introduction;
        let high_water = HighWater { commit, payload, introduction };
        let policy = self.effective.policy;
        let old = policy.minimum_agent.is_some_and(|needed| needed > Version::own());
        Judgement {
            verified: (!old).then_some(Verified { revision }),
            high_water,
            rejection,
            pending: self.pending,
            commits: self.commits,
            approvals: self.tags,
            steps: self.steps,
            policy,
        }
    }
}

/// Proves the introduction: the named key signed it, its tree is acceptable, and its policy is for this host.
fn introduce(judge: &mut Judge<'_>, signed: &Signed) -> Result<Policy, Stop> {
    let by_openpgp = matches!(signed.attestation, Attestation::OpenPgp(_));
    if by_openpgp && !matches!(judge.root.introduction.key, IntroductionKey::OpenPgp(_)) {
        return Err(signed.refuse(Reason::foreign(SignatureKind::OpenPgp)));
    }
    if !by_openpgp {
        prove_introduced(judge, signed, None)?;
    }
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
    if by_openpgp {
        // Such a signature only names its key. The policy has it, and the introduction's id has the policy.
        prove_introduced(judge, signed, Some(&policy))?;
    }
    judge.new_enough(signed, &policy)?;
    Ok(policy)
}

/// The key that the root of trust names signed the introduction.
fn prove_introduced(judge: &Judge<'_>, signed: &Signed, policy: Option<&Policy>) -> Result<(), Stop> {
    match signed.attestation {
        Attestation::Unsigned => return Err(signed.refuse(Reason::Unsigned)),
        Attestation::Foreign(kind) => return Err(signed.refuse(Reason::foreign(kind))),
        Attestation::Ssh(_) | Attestation::OpenPgp(_) => {}
    }
    if !signed.attestation.is_by(&judge.root.introduction.key, policy) {
        let expected = judge.root.introduction.key.fingerprint();
        return Err(signed.refuse(Reason::IntroductionKey { expected }));
    }
    judge.prove_signature(signed, policy)
}

/// Whose key a commit says it was signed with, under a policy.
fn holder(policy: &Policy, signed: &Signed) -> Option<String> {
    let (_, holder) = signed.attestation.holder(policy).ok()??;
    Some(holder.principal.clone())
}

fn revision(root: &RootOfTrust, signed: &Signed, signer: String, key: String) -> Revision {
    let payload = match signed.under_seal {
        // Approvals name the commit as it is, and no other form of it.
        true => signed.commit.whole_hash(signed.id.kind()),
        false => signed.commit.payload_hash(),
    };
    Revision {
        reference: root.reference.clone(),
        commit: signed.id.to_string(),
        tree: signed.commit.tree.to_string(),
        payload,
        signer,
        key,
        time: signed.commit.committer.time,
        summary: signed.commit.summary(),
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
        under_seal: None,
        rejection: Some(rejection.clone()),
    }
}
