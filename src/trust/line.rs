//! The first-parent line from the offered tip down to what this host already believes.

use gix::ObjectId;

use super::commit::{Commit, first_parent_of_any};
use super::error::TrustError;
use super::examine::{Judge, Stop, refuse};
use super::judgement::HighWater;
use super::rejection::{Reason, Rejection};

/// Where the line meets what is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// At the high-water mark.
    Mark(ObjectId),
    /// At a commit with the payload of the high-water mark: its twin.
    Twin(ObjectId),
    /// At the introduction.
    Introduction(ObjectId),
    /// Nowhere.
    Nowhere,
}

/// The line: where it begins, and the commits above that, oldest first.
pub(super) struct Line {
    pub base: Base,
    pub above: Vec<ObjectId>,
    /// Why it could not be followed further, when it meets nothing.
    pub broken: Option<Rejection>,
}

/// Follows first parents from the tip. Nothing that is read here is believed: the names are only followed downwards, and
/// each commit is judged on the way up.
pub(super) fn find(
    judge: &mut Judge<'_>,
    tip: ObjectId,
    mark: Option<(ObjectId, &HighWater)>,
    introduction: ObjectId,
) -> Result<Line, TrustError> {
    let mut walked = Vec::new();
    let mut next = Some(tip);
    let mut broken = None;
    let mut introduced = false;
    while let Some(id) = next {
        if mark.is_some_and(|(mark, _)| mark == id) {
            walked.reverse();
            return Ok(Line { base: Base::Mark(id), above: walked, broken: None });
        }
        if id == introduction {
            introduced = true;
            break;
        }
        next = match judge.raw(id) {
            Ok(raw) => first_parent_of_any(&raw, id.kind()),
            Err(Stop::Refused(rejection)) => {
                broken = Some(*rejection);
                None
            }
            Err(Stop::Failed(error)) => return Err(error),
        };
        walked.push(id);
    }
    // The introduction is what the root of trust names, and nothing else.
    if let Some((id, mark)) = mark
        && id != introduction
        && let Some(position) = twin(judge, &walked, mark)?
    {
        let above = walked[..position].iter().rev().copied().collect();
        return Ok(Line { base: Base::Twin(walked[position]), above, broken: None });
    }
    // A newer introduction takes over from a mark below it.
    let overtaken = match mark {
        Some((mark, _)) => introduced && lies_below(judge, introduction, mark)?,
        None => introduced,
    };
    if overtaken {
        walked.reverse();
        return Ok(Line { base: Base::Introduction(introduction), above: walked, broken: None });
    }
    Ok(Line { base: Base::Nowhere, above: Vec::new(), broken })
}

/// The commit that has the payload of the mark, in canonical form.
fn twin(judge: &mut Judge<'_>, walked: &[ObjectId], mark: &HighWater) -> Result<Option<usize>, TrustError> {
    for (position, id) in walked.iter().enumerate() {
        match judge.raw(*id) {
            Ok(raw) => {
                let commit = Commit::parse(&raw, id.kind());
                if commit.is_ok_and(|commit| commit.payload_hash() == mark.payload) {
                    return Ok(Some(position));
                }
            }
            Err(Stop::Refused(_)) => return Ok(None),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether `id` lies on the first-parent line below `from`.
pub(super) fn lies_below(judge: &mut Judge<'_>, from: ObjectId, id: ObjectId) -> Result<bool, TrustError> {
    let mut next = Some(from);
    while let Some(at) = next {
        if at == id {
            return Ok(true);
        }
        next = match judge.raw(at) {
            Ok(raw) => first_parent_of_any(&raw, at.kind()),
            Err(Stop::Refused(_)) => None,
            Err(Stop::Failed(error)) => return Err(error),
        };
    }
    Ok(false)
}

/// Says what a tip that meets nothing is: set back, another fleet's, or a fork.
pub(super) fn explain(
    judge: &mut Judge<'_>,
    tip: ObjectId,
    mark: Option<ObjectId>,
    introduction: ObjectId,
) -> Result<Rejection, TrustError> {
    let reason = match judge.read(tip).and_then(|signed| judge.policy_of(&signed)) {
        Err(Stop::Failed(error)) => return Err(error),
        Err(Stop::Refused(rejection)) => match rejection.reason {
            Reason::PolicyMoved { what: "fleet", found, expected } => {
                Some(Reason::OtherFleet { found, expected })
            }
            _ => None,
        },
        Ok(_) => None,
    };
    let reason = match (reason, mark) {
        (Some(reason), _) => reason,
        (None, Some(mark)) if lies_below(judge, mark, tip)? => Reason::Rewind { mark: mark.to_string() },
        (None, mark) => Reason::Fork { mark: mark.unwrap_or(introduction).to_string() },
    };
    match refuse(tip, reason) {
        Stop::Refused(rejection) => Ok(*rejection),
        Stop::Failed(error) => Err(error),
    }
}
