//! Approvals by signed tag: a tag on a commit says that its signer vouches for the tree of exactly that commit.
//!
//! For branches that accept only merges made by the forge, on which nobody can put an approval commit.

use std::collections::HashMap;

use gix::ObjectId;

use super::attestation::{Attestation, Signer};
use super::error::TrustError;
use super::examine::object_reason;
use super::judgement::ApprovalJudgement;
use super::policy::Policy;
use super::rejection::{Reason, Rejection};
use super::tag::Tag;
use crate::error::escaped;
use crate::source::Objects;

/// Most tags that one judgement looks at.
pub const MOST: usize = 256;

/// The tags on offer, by the commit that they name.
pub(super) struct Approvals {
    tags: HashMap<ObjectId, Vec<Approval>>,
}

struct Approval {
    id: ObjectId,
    tag: Tag,
    attestation: Result<Attestation, Reason>,
}

impl Approvals {
    /// Reads the tags; those that cannot be read are reported, and hold up nothing.
    pub fn read(
        objects: &dyn Objects,
        ids: &[ObjectId],
        report: &mut Vec<ApprovalJudgement>,
    ) -> Result<Approvals, TrustError> {
        let mut ids: Vec<ObjectId> = ids.iter().take(MOST).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut tags: HashMap<ObjectId, Vec<Approval>> = HashMap::new();
        for id in ids {
            let tag = match objects.tag(id) {
                Ok(raw) => Tag::parse(&raw, id.kind()).map_err(|error| Reason::Malformed(error.to_string())),
                Err(error) => Err(object_reason(error)?),
            };
            match tag {
                Ok(tag) => {
                    let attestation = Attestation::of(tag.signature.as_ref());
                    tags.entry(tag.target).or_default().push(Approval { id, tag, attestation });
                }
                Err(reason) => report.push(ApprovalJudgement {
                    tag: id.to_string(),
                    name: String::new(),
                    commit: String::new(),
                    signer: None,
                    rejection: Some(rejection(id, None, None, reason)),
                }),
            }
        }
        Ok(Approvals { tags })
    }

    /// The principals who approve this commit by tag.
    pub fn of(
        &self,
        commit: ObjectId,
        policy: &Policy,
        now: i64,
        report: &mut Vec<ApprovalJudgement>,
    ) -> Vec<Signer> {
        let mut signers = Vec::new();
        for approval in self.tags.get(&commit).into_iter().flatten() {
            let verdict = approval.signer(policy, now);
            report.push(ApprovalJudgement {
                tag: approval.id.to_string(),
                name: escaped(&approval.tag.name),
                commit: commit.to_string(),
                signer: verdict.as_ref().ok().map(|signer| signer.principal.clone()),
                rejection: verdict.as_ref().err().cloned(),
            });
            signers.extend(verdict);
        }
        signers
    }
}

impl Approval {
    fn signer(&self, policy: &Policy, now: i64) -> Result<Signer, Rejection> {
        let attestation = match &self.attestation {
            Ok(attestation) => attestation,
            Err(reason) => return Err(rejection(self.id, None, None, reason.clone())),
        };
        let holder = attestation.holder(policy).ok().flatten();
        let holder = holder.map(|(_, holder)| holder.principal.clone());
        let key = attestation.key_name();
        attestation
            .principal(policy, &self.tag.payload, now)
            .and_then(|verdict| verdict)
            .map_err(|reason| rejection(self.id, key, holder, reason))
    }
}

fn rejection(id: ObjectId, key: Option<String>, signer: Option<String>, reason: Reason) -> Rejection {
    Rejection { commit: id.to_string(), key, signer, merge: None, reason }
}
