//! One commit, judged for itself: its form, its signer, and the paths that it changes.

use std::collections::BTreeMap;

use gix::ObjectId;

use super::commit::{Commit, CommitError};
use super::error::TrustError;
use super::judgement::ScopeUse;
use super::key::PublicKey;
use super::paths::{self, Changed, DiffError};
use super::policy::{POLICY_FILE, Policy, Scope, Version};
use super::rejection::{Reason, Rejection};
use super::root::RootOfTrust;
use super::sshsig::{self, Envelope, SignatureError};
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

/// A commit that was read, with who signed it.
pub(super) struct Signed {
    pub id: ObjectId,
    pub commit: Commit,
    pub envelope: Envelope,
    pub signer: Option<String>,
}

impl Signed {
    /// A rejection of this commit.
    pub fn refuse(&self, reason: Reason) -> Stop {
        Stop::Refused(Box::new(Rejection {
            commit: self.id.to_string(),
            key: Some(self.envelope.key.fingerprint()),
            signer: self.signer.clone(),
            merge: None,
            reason,
        }))
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
        let commit = Commit::parse(&raw, id.kind()).map_err(|error| {
            refuse(
                id,
                match error {
                    CommitError::Unsigned => Reason::Unsigned,
                    CommitError::Foreign(_) => Reason::Unsupported(error.to_string()),
                    CommitError::Malformed { .. } => Reason::Malformed(error.to_string()),
                },
            )
        })?;
        let envelope = Envelope::parse(&commit.signature, sshsig::GIT).map_err(|error| {
            refuse(
                id,
                match error {
                    SignatureError::Namespace(..) => Reason::Namespace(error),
                    SignatureError::Key(_) => Reason::Unsupported(error.to_string()),
                    _ => Reason::BadEnvelope(error),
                },
            )
        })?;
        Ok(Signed { id, commit, envelope, signer: None })
    }

    /// Proves that a principal of the policy signed the commit: first whether the key counts, then whether the signature does.
    pub fn prove_signer(&self, signed: &mut Signed, policy: &Policy) -> Result<String, Stop> {
        let Some(holder) = policy.holder(&signed.envelope.key) else {
            return Err(signed.refuse(Reason::UnknownKey));
        };
        signed.signer = Some(holder.principal.clone());
        if let Some(last) = holder.not_after
            && self.now > last
        {
            let date =
                jiff::Timestamp::from_second(last).map_or_else(|_| last.to_string(), |time| time.to_string());
            return Err(signed.refuse(Reason::ExpiredKey(date)));
        }
        self.prove_signature(signed)?;
        Ok(holder.principal.clone())
    }

    /// Proves that the commit's key signed it; whose it is does not matter.
    pub fn prove_signature(&self, signed: &Signed) -> Result<(), Stop> {
        signed.envelope.verify(&signed.commit.payload).map_err(|error| {
            signed.refuse(match error {
                SignatureError::Touch => Reason::Untouched,
                _ => Reason::BadSignature,
            })
        })
    }

    /// The paths that differ between two trees, with what the later one may not contain refused.
    pub fn changed(
        &mut self,
        signed: &Signed,
        before: Option<ObjectId>,
        after: ObjectId,
    ) -> Result<Vec<Changed>, Stop> {
        paths::changed(self.objects, before, Some(after), &mut self.entries_left).map_err(|error| {
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
        })
    }

    /// Whether the signer may change all these paths; which scopes they are in.
    pub fn authority(
        &self,
        signed: &Signed,
        signer: &str,
        policy: &Policy,
        changed: &[Changed],
    ) -> Result<Vec<ScopeUse>, Stop> {
        let mut uses: BTreeMap<&str, ScopeUse> = BTreeMap::new();
        for change in changed {
            let path = escaped(&change.path);
            let Some(scope) = policy.scope_of(&change.path) else {
                return Err(signed.refuse(Reason::Uncovered { path }));
            };
            if !scope.signers.contains(signer) {
                let allowed = signers(scope);
                return Err(signed.refuse(Reason::OutsideScope { path, scope: scope.name.clone(), allowed }));
            }
            uses.entry(&scope.name)
                .or_insert_with(|| ScopeUse { scope: scope.name.clone(), paths: 0, first: path })
                .paths += 1;
        }
        Ok(uses.into_values().collect())
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

/// The signers of a scope, for people.
pub(super) fn signers(scope: &Scope) -> String {
    scope.signers.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether a key of the envelope is the one of the introduction.
pub(super) fn is_introduced(root: &RootOfTrust, key: &PublicKey) -> bool {
    root.introduction.key.is(key)
}
