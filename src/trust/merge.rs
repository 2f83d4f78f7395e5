//! The side branches that a merge brings in: each commit on them has to pass by itself.

use std::collections::{BTreeSet, HashSet};

use gix::ObjectId;

use super::commit::{parents_of_any, tree_of_any};
use super::examine::{Judge, Signed, Standing, Stop, scopes_of};
use super::judgement::{CommitJudgement, Rule};
use super::policy::Policy;
use super::rejection::Reason;

/// The commits that lie below the first-parent line: they were accepted, or stand before the introduction.
#[derive(Default)]
pub(super) struct Known(Option<HashSet<ObjectId>>);

impl Known {
    /// Adds a commit of the line, with what it merged.
    pub fn add(&mut self, commits: impl IntoIterator<Item = ObjectId>) {
        // Until a merge needs the set, nobody fills it.
        if let Some(known) = &mut self.0 {
            known.extend(commits);
        }
    }

    /// Everything that `tip` is made of, down to the introduction; read once, when the first merge comes.
    fn below(&mut self, judge: &mut Judge<'_>, tip: ObjectId) -> Result<&HashSet<ObjectId>, Stop> {
        let known = match self.0.take() {
            Some(known) => known,
            None => {
                let mut known = HashSet::from([tip]);
                let mut open = vec![tip];
                while let Some(id) = open.pop() {
                    if id == judge.introduction {
                        continue;
                    }
                    let raw = judge.raw(id)?;
                    open.extend(parents_of_any(&raw, id.kind()).filter(|parent| known.insert(*parent)));
                }
                known
            }
        };
        Ok(self.0.insert(known))
    }
}

/// What a merge brings in.
#[derive(Default)]
pub(super) struct Side {
    /// The commits that do not lie below its first parent.
    pub commits: HashSet<ObjectId>,
    /// The scopes that a seal has to cover.
    pub unsealed: BTreeSet<String>,
}

/// Judges the commits of a merge that do not lie below its first parent; says what they are.
pub(super) fn side_commits(
    judge: &mut Judge<'_>,
    known: &mut Known,
    merge: &Signed,
    policy: &Policy,
    report: &mut Vec<CommitJudgement>,
) -> Result<Side, Stop> {
    let mut side = Side::default();
    let mut open: Vec<ObjectId> = merge.commit.parents[1..].to_vec();
    while let Some(id) = open.pop() {
        if known.below(judge, merge.commit.parents[0])?.contains(&id) || !side.commits.insert(id) {
            continue;
        }
        let (parents, unsealed) =
            side_commit(judge, id, policy, merge, report).map_err(|stop| match stop {
                Stop::Refused(mut rejection) => {
                    rejection.merge = Some(merge.id.to_string());
                    Stop::Refused(rejection)
                }
                failed => failed,
            })?;
        side.unsealed.extend(unsealed);
        open.extend(parents);
    }
    Ok(side)
}

fn side_commit(
    judge: &mut Judge<'_>,
    id: ObjectId,
    policy: &Policy,
    merge: &Signed,
    report: &mut Vec<CommitJudgement>,
) -> Result<(Vec<ObjectId>, BTreeSet<String>), Stop> {
    let mut signed = judge.read(id)?;
    let signer = judge.signer_or_seal(&mut signed, policy)?;
    let Some(parent) = signed.commit.parents.first().copied() else {
        return Err(signed.refuse(Reason::UnrelatedHistory));
    };
    let raw = judge.raw(parent)?;
    let before = tree_of_any(&raw, parent.kind())
        .ok_or_else(|| signed.refuse(Reason::Malformed("its parent names no tree".into())))?;
    let changed = judge.changed(&signed, Some(before), signed.commit.tree)?;
    let standing = judge.stand(&signed, signer, policy, &changed)?;
    let mut judgement = signed.report(Rule::Authority, scopes_of(policy, &changed), None);
    judgement.merge = Some(merge.id.to_string());
    let unsealed = match standing {
        Standing::Itself(_) => BTreeSet::new(),
        Standing::UnderSeal { scopes, because } => {
            judgement.rule = Rule::Seal;
            judgement.under_seal = Some(*because);
            scopes
        }
    };
    report.push(judgement);
    Ok((signed.commit.parents, unsealed))
}
