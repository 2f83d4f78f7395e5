//! What a note offers beside the branch, read as the word of a liar.

use std::collections::BTreeSet;

use gix::ObjectId;
use gix::hash::Kind as HashKind;
use gix::objs::Exists;

use crate::source::beside::{self, MOST_APPROVALS};
use crate::source::error::SourceError;
use crate::source::objects::ObjectError;
use crate::source::{Candidate, Note};

/// What a note offers beside the branch, as far as it can be understood.
pub(super) struct Offer {
    approvals: Vec<ObjectId>,
    heartbeat: Option<ObjectId>,
}

impl Offer {
    /// Reads the names; what is none, or is too much, is left out and told.
    pub(super) fn read(note: &Note, kind: HashKind) -> (Offer, Vec<SourceError>) {
        let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).ok().filter(|id| id.kind() == kind);
        let reason = || "that is no object's name".to_owned();
        let mut doubts = Vec::new();
        let mut approvals = BTreeSet::new();
        let mut wrong = note.approvals.iter().take(MOST_APPROVALS).filter(|hex| match id(hex) {
            Some(id) => {
                approvals.insert(id);
                false
            }
            None => true,
        });
        if let Some(first) = wrong.next() {
            let count = 1 + wrong.count();
            doubts.push(SourceError::Approvals { count, name: shown(first), reason: reason() });
        }
        if note.approvals.len() > MOST_APPROVALS {
            doubts.push(SourceError::TooManyApprovals { count: note.approvals.len(), limit: MOST_APPROVALS });
        }
        let heartbeat = id(&note.heartbeat);
        if heartbeat.is_none() && !note.heartbeat.is_empty() {
            doubts.push(SourceError::Heartbeat { name: shown(&note.heartbeat), reason: reason() });
        }
        (Offer { approvals: approvals.into_iter().collect(), heartbeat }, doubts)
    }

    /// How much of it is not in the store.
    pub(super) fn missing(&self, objects: &gix::odb::Handle) -> usize {
        let approvals = self.approvals.iter().filter(|tag| !objects.exists(tag)).count();
        let heartbeat = self.heartbeat.map(|commit| beside::heartbeat(objects, commit));
        approvals + usize::from(matches!(heartbeat, Some(Err(ObjectError::Missing { .. }))))
    }

    /// What of it is in the store and sound.
    pub(super) fn candidate(
        &self,
        tip: ObjectId,
        objects: &gix::odb::Handle,
        refused: &mut Vec<SourceError>,
    ) -> Candidate {
        let mut candidate = Candidate::at(tip);
        let mut wrong: Vec<(ObjectId, ObjectError)> = Vec::new();
        for tag in &self.approvals {
            match beside::approved(objects, *tag) {
                Ok(_) => candidate.approvals.push(*tag),
                Err(error) => wrong.push((*tag, error)),
            }
        }
        if let Some((tag, error)) = wrong.first() {
            let (name, reason) = (tag.to_string(), crate::error::escaped(&error.to_string()));
            refused.push(SourceError::Approvals { count: wrong.len(), name, reason });
        }
        match self.heartbeat.map(|commit| (commit, beside::heartbeat(objects, commit))) {
            Some((commit, Ok(_))) => candidate.heartbeat = Some(commit),
            Some((commit, Err(error))) => {
                let (name, reason) = (commit.to_string(), crate::error::escaped(&error.to_string()));
                refused.push(SourceError::Heartbeat { name, reason });
            }
            None => {}
        }
        candidate
    }
}

/// The beginning of what stands in a note, safe to print.
fn shown(text: &str) -> String {
    crate::error::escaped(&text.chars().take(80).collect::<String>())
}
