//! Approvals and the heartbeat, after the branch: what of the listing is worth fetching, and what came of it.
//!
//! Nothing here keeps the branch from arriving. What was tried and cannot be had is not tried again until the remote lists something else,
//! so that a bad tag costs one attempt and not one a minute.

use std::collections::{HashMap, HashSet, VecDeque};

use gix::ObjectId;
use serde::{Deserialize, Serialize};

use super::listing::{ANSWER_BYTES, Approval, Listing};
use super::remote::open_options;
use super::{Remote, Task, Wanted, problem};
use crate::source::RemoteProblem;
use crate::source::beside::{self, APPROVAL_BYTES, HEARTBEAT_BYTES, MOST_APPROVALS, heartbeat_ref};
use crate::source::error::FetchError;
use crate::source::spool;

/// The file of the private repository that remembers which listing was dealt with.
const SEEN: &str = "seen.json";

/// What lies beside the branch, as far as it is in the spool.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub approvals: Vec<ObjectId>,
    pub heartbeat: Option<ObjectId>,
    pub problems: Vec<RemoteProblem>,
    /// Bytes of packs.
    pub received: u64,
}

/// The listing that was dealt with last, and what was wrong with it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    listing: String,
    problems: Vec<RemoteProblem>,
}

/// Brings what the listing has beside the branch, unless nothing changed. `url` is for problems, `room` in bytes.
///
/// # Errors
/// `E111` when the spool does not work.
pub(super) fn gather(
    task: &Task,
    remote: &mut dyn Remote,
    listing: &Listing,
    url: &str,
    room: u64,
) -> Result<Beside, FetchError> {
    let options = open_options(task);
    let repository = spool::open_repository(&task.repository, Some(listing.tip.kind()), &options)?;
    let path = task.repository.join(SEEN);
    let seen: Seen =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let digest = listing.digest();
    if seen.listing == digest {
        let (approvals, heartbeat) = (spool::approvals(&repository), spool::heartbeat(&repository));
        return Ok(Beside { approvals, heartbeat, problems: seen.problems, received: 0 });
    }
    let mut gathering = Gathering {
        task,
        repository: &repository,
        remote,
        room,
        received: 0,
        problems: vec![],
        settled: true,
    };
    if listing.cut {
        gathering.problems.push(FetchError::Listing { limit: ANSWER_BYTES });
    }
    let approvals = gathering.approvals(listing);
    let heartbeat = gathering.heartbeat(listing);
    let Gathering { received, problems, settled, .. } = gathering;
    spool::remember(&repository, &approvals, heartbeat)?;
    let problems: Vec<RemoteProblem> = problems.into_iter().map(|error| problem(url, error)).collect();
    let seen = Seen { listing: if settled { digest } else { String::new() }, problems };
    spool::write_whole(&task.repository, SEEN, &seen)?;
    Ok(Beside { approvals, heartbeat, problems: seen.problems, received })
}

struct Gathering<'a> {
    task: &'a Task,
    repository: &'a gix::Repository,
    remote: &'a mut dyn Remote,
    room: u64,
    received: u64,
    problems: Vec<FetchError>,
    /// Whether trying again would end in the same way.
    settled: bool,
}

impl Gathering<'_> {
    fn approvals(&mut self, listing: &Listing) -> Vec<ObjectId> {
        // What is approved elsewhere costs nothing here.
        let mut names = HashSet::new();
        let mut wanted: Vec<&Approval> = listing
            .approvals
            .iter()
            .filter(|approval| self.repository.has_object(approval.commit) && names.insert(approval.tag))
            .collect();
        if wanted.len() > MOST_APPROVALS {
            self.problems.push(FetchError::Approvals { count: wanted.len(), limit: MOST_APPROVALS });
            nearest(self.repository, listing.tip, &mut wanted, self.task.limits.commits);
        }
        let missing: Vec<Wanted> = wanted
            .iter()
            .filter(|approval| !self.repository.has_object(approval.tag))
            .map(|approval| Wanted { name: approval.name.clone(), id: approval.tag })
            .collect();
        let mut told = false;
        if let Some(first) = missing.first()
            && let Err(error) = self.bring(&missing, APPROVAL_BYTES * (missing.len() as u64 + 1))
        {
            told = true;
            self.problems.push(FetchError::Approval { name: first.name.clone(), reason: error.to_string() });
        }
        let mut sound = Vec::new();
        for approval in wanted {
            let reason = match beside::approved(&self.repository.objects, approval.tag) {
                Ok(commit) if commit == approval.commit => {
                    sound.push(approval.tag);
                    continue;
                }
                Ok(_) => "it is not on the commit that the remote says".to_owned(),
                Err(error) => error.to_string(),
            };
            if !std::mem::replace(&mut told, true) {
                self.problems.push(FetchError::Approval { name: approval.name.clone(), reason });
            }
        }
        // As the spool remembers them, so that the next note is the same.
        sound.sort();
        sound
    }

    /// The listed heartbeat; the one before while the listed one cannot be had.
    fn heartbeat(&mut self, listing: &Listing) -> Option<ObjectId> {
        let id = listing.heartbeat?;
        let name = heartbeat_ref(&self.task.source.reference);
        let brought = if self.repository.has_object(id) {
            Ok(())
        } else {
            let wanted = [Wanted { name: name.clone(), id }];
            self.bring(&wanted, 4 * HEARTBEAT_BYTES).map_err(|error| error.to_string())
        };
        let sound = brought.and_then(|()| {
            beside::heartbeat(&self.repository.objects, id).map_err(|error| error.to_string())
        });
        match sound {
            Ok(_) => Some(id),
            Err(reason) => {
                self.problems.push(FetchError::Heartbeat { name, reason });
                spool::heartbeat(self.repository)
            }
        }
    }

    fn bring(&mut self, wanted: &[Wanted], limit: u64) -> Result<(), FetchError> {
        let room = self.room.saturating_sub(self.received);
        match self.remote.bring(wanted, limit.min(room)) {
            Ok(received) => {
                self.received += received;
                Ok(())
            }
            Err(error) => {
                self.settled &= matches!(error, FetchError::TooMuch { .. }) && limit <= room;
                Err(error)
            }
        }
    }
}

/// Keeps as many approvals as are taken: those whose commits are the fewest steps below the tip.
fn nearest(repository: &gix::Repository, tip: ObjectId, wanted: &mut Vec<&Approval>, most_commits: u32) {
    let mut left: HashMap<ObjectId, usize> = HashMap::new();
    for approval in wanted.iter() {
        *left.entry(approval.commit).or_default() += 1;
    }
    let mut found: HashMap<ObjectId, usize> = HashMap::new();
    let (mut count, mut seen, mut queue) = (0, HashSet::from([tip]), VecDeque::from([tip]));
    while let Some(id) = queue.pop_front() {
        if let Some(approvals) = left.remove(&id) {
            found.insert(id, found.len());
            count += approvals;
        }
        if count >= MOST_APPROVALS || left.is_empty() || seen.len() > most_commits as usize {
            break;
        }
        let Ok(commit) = repository.find_commit(id) else { continue };
        queue.extend(commit.parent_ids().map(gix::Id::detach).filter(|parent| seen.insert(*parent)));
    }
    wanted.retain(|approval| found.contains_key(&approval.commit));
    wanted.sort_by_key(|approval| found.get(&approval.commit).copied());
    wanted.truncate(MOST_APPROVALS);
}
