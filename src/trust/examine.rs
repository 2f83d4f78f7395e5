//! One commit, judged for itself: its form, its signer, and the paths that it changes.

use std::collections::{BTreeMap, BTreeSet};

use gix::ObjectId;

use super::attestation::{Attestation, Signer};
use super::commit::Commit;
use super::error::TrustError;
use super::judgement::{CommitJudgement, Rule, ScopeUse, Verdict};
use super::paths::{self, Changed, DiffError, Trees};
use super::policy::{Merge, POLICY_FILE, Policy, Scope, Version};
use super::rejection::{Reason, Rejection};
use super::root::RootOfTrust;
use crate::error::escaped;
use crate::source::{EntryKind, ObjectError, Objects};

/// Most commits that one judgement looks at.
pub(super) const MOST_COMMITS: usize = 200_000;
/// Most tree entries that one judgement reads.
pub(super) const MOST_ENTRIES: usize = 20_000_000;

/// What a judgement works with.
pub(super) struct Judge<'a> {
    pub objects: &'a dyn Objects,
    pub root: &'a RootOfTrust,
    pub introduction: ObjectId,
    pub now: i64,
    pub commits_left: usize,
    pub entries_left: usize,
    pub trees: Trees,
}

/// Why the walk stops.
pub(super) enum Stop {
    /// The commit is refused.
    Refused(Box<Rejection>),
    /// Nothing can be judged.
    Failed(TrustError),
}

impl Stop {
    /// The rejection, which is data; a failure stays an error.
    pub fn into_rejection(self) -> Result<Rejection, TrustError> {
        match self {
            Stop::Refused(rejection) => Ok(*rejection),
            Stop::Failed(error) => Err(error),
        }
    }
}

impl From<TrustError> for Stop {
    fn from(error: TrustError) -> Stop {
        Stop::Failed(error)
    }
}

/// A commit that was read, with what it says of its signer.
pub(super) struct Signed {
    pub id: ObjectId,
    pub commit: Commit,
    pub attestation: Attestation,
    /// The principal who signed it, once that is proven.
    pub signer: Option<String>,
    /// It does not stand for itself: only approvals vouch for it.
    pub under_seal: bool,
}

/// A time as people read it.
pub(super) fn shown_time(second: i64) -> String {
    jiff::Timestamp::from_second(second).map_or_else(|_| second.to_string(), |time| time.to_string())
}

impl Signed {
    /// A rejection of this commit.
    pub fn refuse(&self, reason: Reason) -> Stop {
        Stop::Refused(Box::new(Rejection {
            commit: self.id.to_string(),
            key: self.attestation.key_name(),
            signer: self.signer.clone(),
            merge: None,
            reason,
        }))
    }
}

impl Signed {
    /// The commit as it stands in the report, accepted so far.
    pub fn report(&self, rule: Rule, scopes: Vec<ScopeUse>, signer: Option<&str>) -> CommitJudgement {
        CommitJudgement {
            commit: self.id.to_string(),
            summary: escaped(&self.commit.summary()),
            verdict: Verdict::Accepted,
            rule,
            signer: signer.map(str::to_owned).or_else(|| self.signer.clone()),
            key: self.attestation.key_name(),
            scopes,
            merge: None,
            under_seal: None,
            rejection: None,
        }
    }
}

/// A rejection of a commit about whose signer nothing is known.
pub(super) fn refuse(id: ObjectId, reason: Reason) -> Stop {
    Stop::Refused(Box::new(Rejection {
        commit: id.to_string(),
        key: None,
        signer: None,
        merge: None,
        reason,
    }))
}

/// What an unreadable object means: the store is broken, or whoever offered the commit did not offer all of it.
pub(super) fn object_reason(error: ObjectError) -> Result<Reason, TrustError> {
    match error {
        ObjectError::Store(_) => Err(TrustError::Store(error)),
        ObjectError::Malformed { .. } => Ok(Reason::BadTree(escaped(&error.to_string()))),
        ObjectError::Missing { .. } | ObjectError::TooLarge { .. } => {
            Ok(Reason::Unreadable(escaped(&error.to_string())))
        }
    }
}

impl Judge<'_> {
    /// The raw bytes of a commit; each costs one of the budget.
    pub fn raw(&mut self, id: ObjectId) -> Result<Vec<u8>, Stop> {
        self.commits_left = self
            .commits_left
            .checked_sub(1)
            .ok_or_else(|| refuse(id, Reason::TooMuch { what: "commits", limit: MOST_COMMITS }))?;
        self.objects.commit(id).map_err(|error| match object_reason(error) {
            Ok(Reason::BadTree(text)) => refuse(id, Reason::Malformed(text)),
            Ok(reason) => refuse(id, reason),
            Err(error) => Stop::Failed(error),
        })
    }

    /// Reads a commit in its canonical form with its signature, which is not checked yet.
    pub fn read(&mut self, id: ObjectId) -> Result<Signed, Stop> {
        let raw = self.raw(id)?;
        let commit = Commit::parse(&raw, id.kind())
            .map_err(|error| refuse(id, Reason::Malformed(error.to_string())))?;
        let attestation = Attestation::of(commit.signature.as_ref()).map_err(|reason| refuse(id, reason))?;
        Ok(Signed { id, commit, attestation, signer: None, under_seal: false })
    }

    /// Who signed the commit. The inner rejection: no principal did, and nothing about it is forged.
    pub fn signer(
        &self,
        signed: &mut Signed,
        policy: &Policy,
    ) -> Result<Result<Signer, Box<Rejection>>, Stop> {
        match signed.attestation.principal(policy, &signed.commit.payload, self.now) {
            Ok(Ok(signer)) => {
                signed.signer = Some(signer.principal.clone());
                Ok(Ok(signer))
            }
            Ok(Err(reason)) => match signed.refuse(reason) {
                Stop::Refused(rejection) => Ok(Err(rejection)),
                failed => Err(failed),
            },
            Err(reason) => {
                signed.signer = self.holder(signed, policy);
                Err(signed.refuse(reason))
            }
        }
    }

    /// As [`signer`](Judge::signer), and refuses at once what no seal can make good under this policy.
    pub fn signer_or_seal(
        &self,
        signed: &mut Signed,
        policy: &Policy,
    ) -> Result<Result<Signer, Box<Rejection>>, Stop> {
        match self.signer(signed, policy)? {
            Err(rejection) if !policy.knows_seals() => Err(Stop::Refused(rejection)),
            signer => Ok(signer),
        }
    }

    /// Whose key a commit says it was signed with.
    fn holder(&self, signed: &Signed, policy: &Policy) -> Option<String> {
        let (_, holder) = signed.attestation.holder(policy).ok()??;
        Some(holder.principal.clone())
    }

    /// Proves that a principal of the policy signed the commit.
    pub fn prove_signer(&self, signed: &mut Signed, policy: &Policy) -> Result<Signer, Stop> {
        self.signer(signed, policy)?.map_err(Stop::Refused)
    }

    /// Proves that the commit's key signed it; whose it is does not matter.
    pub fn prove_signature(&self, signed: &Signed, policy: Option<&Policy>) -> Result<(), Stop> {
        signed.attestation.prove(policy, &signed.commit.payload).map_err(|reason| signed.refuse(reason))
    }

    /// The paths that differ between two trees, with what the later one may not contain refused.
    pub fn changed(
        &mut self,
        signed: &Signed,
        before: Option<ObjectId>,
        after: ObjectId,
    ) -> Result<Vec<Changed>, Stop> {
        paths::changed(self.objects, &mut self.trees, before, Some(after), &mut self.entries_left).map_err(
            |error| {
                let reason = match error {
                    DiffError::Object(error) => match object_reason(error) {
                        Ok(reason) => reason,
                        Err(error) => return Stop::Failed(error),
                    },
                    DiffError::TooMuch => Reason::TooMuch { what: "tree entries", limit: MOST_ENTRIES },
                    DiffError::BadEntry { path, reason } => {
                        Reason::BadTree(format!("{}: {reason}", escaped(&path)))
                    }
                    DiffError::Submodule { path } => Reason::Submodule { path: escaped(&path) },
                    DiffError::Symlink { path, target } => {
                        Reason::Symlink { path: escaped(&path), target: escaped(&target) }
                    }
                };
                signed.refuse(reason)
            },
        )
    }

    /// Whether the signer may change all these paths.
    pub fn authority(
        &self,
        signed: &Signed,
        signer: &str,
        policy: &Policy,
        changed: &[Changed],
    ) -> Result<(), Stop> {
        for change in changed {
            let path = escaped(&change.path);
            let Some(scope) = policy.scope_of(&change.path) else {
                return Err(signed.refuse(Reason::Uncovered { path }));
            };
            if !scope.signers.contains(signer) {
                let allowed = signers(scope);
                return Err(signed.refuse(Reason::OutsideScope { path, scope: scope.name.clone(), allowed }));
            }
        }
        Ok(())
    }

    /// Whether a commit stands for itself: a principal signed it who may change all that it changes. Where nobody does whom the
    /// policy counts, and each scope of the change takes it, a seal has to cover it; else it is refused.
    pub fn stand(
        &self,
        signed: &Signed,
        signer: Result<Signer, Box<Rejection>>,
        policy: &Policy,
        changed: &[Changed],
    ) -> Result<Standing, Stop> {
        let because = match signer {
            Ok(signer) => match self.authority(signed, &signer.principal, policy, changed) {
                Ok(()) => return Ok(Standing::Itself(Box::new(signer))),
                Err(Stop::Refused(rejection)) => rejection,
                Err(failed) => return Err(failed),
            },
            Err(rejection) => rejection,
        };
        match sealable(policy, changed) {
            Some(scopes) => Ok(Standing::UnderSeal { scopes, because }),
            None => Err(Stop::Refused(because)),
        }
    }

    /// The policy of a commit's tree: there, valid, for this host's fleet and branch, and not asking for a newer abide.
    pub fn policy_of(&mut self, signed: &Signed) -> Result<Policy, Stop> {
        let policy = self.policy_of_tree(signed)?;
        for (what, found, expected) in
            [("fleet", &policy.fleet, &self.root.fleet), ("ref", &policy.reference, &self.root.reference)]
        {
            if found != expected {
                let (found, expected) = (escaped(found), expected.clone());
                return Err(signed.refuse(Reason::PolicyMoved { what, found, expected }));
            }
        }
        Ok(policy)
    }

    fn policy_of_tree(&mut self, signed: &Signed) -> Result<Policy, Stop> {
        let unreadable = |error| match object_reason(error) {
            Ok(reason) => signed.refuse(reason),
            Err(error) => Stop::Failed(error),
        };
        let entries = self.objects.tree(signed.commit.tree).map_err(unreadable)?;
        let entry = entries.iter().find(|entry| entry.name == POLICY_FILE && entry.kind == EntryKind::File);
        let Some(entry) = entry else { return Err(signed.refuse(Reason::PolicyDeleted)) };
        let bytes = self.objects.blob(entry.id).map_err(unreadable)?;
        Policy::parse(&bytes, POLICY_FILE).map_err(|error| signed.refuse(Reason::PolicyInvalid(error)))
    }

    /// Refuses a policy that asks for a newer abide.
    pub fn new_enough(&self, signed: &Signed, policy: &Policy) -> Result<(), Stop> {
        match policy.minimum_agent {
            Some(needed) if needed > Version::own() => Err(signed
                .refuse(Reason::AgentTooOld { needed: needed.to_string(), own: Version::own().to_string() })),
            _ => Ok(()),
        }
    }
}

/// Who stands behind a commit.
pub(super) enum Standing {
    /// A principal who may change all that it changes.
    Itself(Box<Signer>),
    /// Nobody yet: approvals have to cover it.
    UnderSeal {
        /// The scopes whose thresholds count.
        scopes: BTreeSet<String>,
        /// Why it does not stand for itself.
        because: Box<Rejection>,
    },
}

/// The scopes that a seal over these changes has to satisfy; `None` when not all of them take one, or nothing is changed, so that
/// nobody is there to ask.
fn sealable(policy: &Policy, changed: &[Changed]) -> Option<BTreeSet<String>> {
    let scopes = changed.iter().map(|change| {
        let scope = policy.scope_of(&change.path).filter(|scope| scope.merge == Merge::Seal)?;
        Some(scope.name.clone())
    });
    let scopes: BTreeSet<String> = scopes.collect::<Option<_>>()?;
    (!scopes.is_empty()).then_some(scopes)
}

/// The scopes that these changes lie in.
pub(super) fn scopes_of(policy: &Policy, changed: &[Changed]) -> Vec<ScopeUse> {
    let mut uses: BTreeMap<&str, ScopeUse> = BTreeMap::new();
    for change in changed {
        if let Some(scope) = policy.scope_of(&change.path) {
            let first = || ScopeUse { scope: scope.name.clone(), paths: 0, first: escaped(&change.path) };
            uses.entry(&scope.name).or_insert_with(first).paths += 1;
        }
    }
    uses.into_values().collect()
}

/// The signers of a scope, for people.
pub(super) fn signers(scope: &Scope) -> String {
    scope.signers.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
