//! The status: what the last run found, what the agent is doing, what the fetcher said. Argo CD's words.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::error::Problem;
use crate::source::Note;
use crate::state::{Pin, Suspension};
use crate::system::sandbox::Confinement;
use crate::trust::{FreshnessMode, HeartbeatMark, Revision};

/// Whether the host is as the branch declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "Argo CD's words")]
pub enum Sync {
    Synced,
    OutOfSync,
    #[default]
    Unknown,
}

/// Whether everything is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "Argo CD's words")]
pub enum Health {
    Healthy,
    Progressing,
    Degraded,
    Suspended,
    Missing,
    #[default]
    Unknown,
}

/// What a run leaves behind for everybody to read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RunStatus {
    /// When the run ended, seconds since the epoch.
    pub time: i64,
    /// How long it took, milliseconds.
    pub took: u64,
    /// Why it ran: `poll`, `check`, `drift`, `operator`.
    pub cause: String,
    /// Whether the host is as declared.
    pub sync: Sync,
    /// Whether everything is well.
    pub health: Health,
    /// What is enforced.
    pub revision: Option<Revision>,
    /// The tip that the fetcher offered, in hex.
    pub seen: Option<String>,
    /// The newest proven commit, when it is not what is enforced.
    pub verified: Option<Revision>,
    /// Number of resources: all, changed, failed, skipped.
    pub counts: Counts,
    /// Resources that were changed; only the first where they are many.
    pub corrected: Vec<String>,
    /// Resources that are not as declared, with what differs or why they failed.
    pub differing: BTreeMap<String, String>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// Notifications that are owed.
    pub owed: Vec<String>,
    /// Suspended: reason, by whom, until when.
    pub suspended: Option<Suspension>,
    /// What waits for a window; `None` where nothing does.
    pub waiting: Option<Waiting>,
    /// A reboot that the host needs.
    pub reboot: Option<RebootStatus>,
    /// What waits for approvals.
    pub pending: Option<Problem>,
    /// The trial under way.
    pub trial: Option<TrialStatus>,
    /// The health checks.
    pub checks: Vec<CheckStatus>,
    /// When somebody should look at them again, seconds since the epoch; `None`: with the next full check.
    pub look: Option<i64>,
    /// An earlier generation is kept: since when, by whom, why.
    pub pinned: Option<Pin>,
    /// How fresh the news of the branch is; `None` where no heartbeats are expected.
    pub news: Option<NewsStatus>,
    /// The time that keys are judged by, seconds since the epoch, where it is not the clock's that can be believed.
    pub clock: Option<i64>,
    /// What confined the process that ran.
    pub sandbox: Option<Confinement>,
}

/// How a health check stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// The role that declares it.
    pub role: String,
    /// What it looks at, in words.
    pub looks_at: String,
    /// Resources that are not well when it fails.
    pub resources: Vec<String>,
    /// How it stands.
    pub state: Health,
    /// Since when, seconds since the epoch.
    pub since: i64,
    /// What was wrong last; empty: nothing ever was.
    pub error: String,
}

/// A reboot that the host needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RebootStatus {
    /// Why, in words.
    pub needed: Vec<String>,
    /// What it waits for, in words; `None`: it begins at once.
    pub waits: Option<String>,
    /// When it may begin at the earliest, or is looked at again, seconds since the epoch; `None`: not by itself.
    pub next: Option<i64>,
}

/// What waits for a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Waiting {
    /// What, and for which window, in words.
    pub what: Vec<String>,
    /// When the first of it may go on, seconds since the epoch; `None`: nobody knows.
    pub until: Option<i64>,
}

impl RunStatus {
    /// When something is due that only time brings about, seconds since the epoch: what drifted under a suspension is healed when it
    /// ends by itself, what waited goes on when its window opens, a reboot has its turn, and news that is getting stale says nothing by itself.
    pub fn turns(&self) -> impl Iterator<Item = i64> {
        let suspended = self.suspended.as_ref().and_then(|suspended| suspended.until);
        let waiting = self.waiting.as_ref().and_then(|waiting| waiting.until);
        let fresh = self.news.as_ref().filter(|news| !news.stale).and_then(|news| news.until);
        let reboot = self.reboot.as_ref().and_then(|reboot| reboot.next);
        [suspended, waiting, fresh, reboot].into_iter().flatten()
    }
}

/// What a generation on trial waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct TrialStatus {
    /// The generation.
    pub generation: i64,
    /// What is waited for, in words.
    pub waiting: Vec<String>,
    /// When it is given up at the latest, seconds since the epoch.
    pub until: i64,
    /// When somebody should look again, seconds since the epoch.
    pub look: i64,
    /// A poll is what is waited for.
    pub poll: bool,
}

/// How fresh the news of the branch is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct NewsStatus {
    /// What follows when it is stale.
    pub mode: FreshnessMode,
    /// The greatest age of a heartbeat, seconds; `None`: as long as each says.
    pub max_age: Option<u64>,
    /// The last second at which it is fresh; `None`: no heartbeat ever counted.
    pub until: Option<i64>,
    /// Whether it was stale when the run looked.
    pub stale: bool,
    /// The newest heartbeat that counted.
    pub heartbeat: Option<HeartbeatMark>,
    /// Why the one on offer does not count.
    pub problem: Option<Problem>,
}

/// Numbers of resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Counts {
    /// Declared for this host.
    pub resources: usize,
    /// Changed in the run.
    pub changed: usize,
    /// Could not be changed.
    pub failed: usize,
    /// Not tried, because something they need failed.
    pub skipped: usize,
    /// Differ and are left, by `enforce = "warn"`, a dry run or a suspension.
    pub left: usize,
}

/// What the agent is doing, in a file of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct AgentStatus {
    /// Its process.
    pub pid: u32,
    /// Since when it runs, seconds since the epoch.
    pub since: i64,
    /// The last poll, as the fetcher reported it.
    pub poll: Option<Note>,
    /// When the next poll is due, seconds since the epoch.
    pub next_poll: Option<i64>,
    /// Why the next poll is later than the interval says.
    pub backoff: Option<String>,
    /// When the next full check is due.
    pub next_check: Option<i64>,
    /// It has itself replaced by the installed program when that is another. The package's scripts look for this.
    pub renews: bool,
    /// Number of directories, units and databases watched.
    pub watches: usize,
    /// What keeps the agent itself from doing its work.
    pub problems: Vec<Problem>,
    /// What confines the agent.
    pub sandbox: Option<Confinement>,
}

/// Everything that `abide status` shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Status {
    /// The host's name.
    pub host: String,
    /// Whether the root of trust is there.
    pub enrolled: bool,
    /// Whether the host is as declared, as the last run found it.
    pub sync: Sync,
    /// Whether everything is well: run, polls and agent.
    pub health: Health,
    /// The last run.
    pub run: Option<RunStatus>,
    /// The agent; `None` when it does not run.
    pub agent: Option<AgentStatus>,
}

impl Status {
    /// The state of the host in one word each, from all that is known.
    pub fn judge(&mut self) {
        let run = self.run.as_ref();
        self.sync = run.map_or(Sync::Unknown, |run| run.sync);
        let agent = self.agent.as_ref();
        let well = agent.is_some_and(|agent| {
            agent.problems.is_empty() && agent.poll.as_ref().is_none_or(|note| note.failures == 0)
        });
        self.health = match (self.enrolled, well) {
            (false, _) => Health::Missing,
            (true, false) => Health::Degraded,
            (true, true) => run.map_or(Health::Progressing, |run| run.health),
        };
    }

    /// Whether there is nothing to look at.
    pub fn is_well(&self) -> bool {
        self.sync == Sync::Synced && self.health == Health::Healthy
    }
}

/// Writes a status file, whole, by rename, readable by all.
///
/// # Errors
/// The system's.
pub fn save<T: Serialize>(path: &Path, status: &T) -> std::io::Result<()> {
    // The folder is in memory, and it may be that nothing made it since the boot.
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    crate::system::replace::replace(path, &serde_json::to_vec_pretty(status)?, 0o644)
}

/// Reads a status file; `None` when there is none or it is of another version.
pub fn load<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_well_only_when_all_of_it_is() {
        let run = RunStatus { sync: Sync::Synced, health: Health::Healthy, ..RunStatus::default() };
        let agent = |failures| AgentStatus {
            poll: Some(Note { failures, ..Note::default() }),
            ..AgentStatus::default()
        };
        for (enrolled, run, agent, health, well) in [
            (true, Some(run.clone()), Some(agent(0)), Health::Healthy, true),
            (true, Some(run.clone()), Some(agent(1)), Health::Degraded, false),
            (true, Some(run.clone()), None, Health::Degraded, false),
            (true, None, Some(agent(0)), Health::Progressing, false),
            (false, None, None, Health::Missing, false),
        ] {
            let mut status = Status { enrolled, run, agent, ..Status::default() };
            status.judge();
            assert_eq!((status.health, status.is_well()), (health, well));
        }
    }
}
