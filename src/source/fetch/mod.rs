//! The unprivileged fetcher: one poll.
//!
//! Asks each remote in order where the branch is, until one answers. If the branch moved, its objects are received as a pack into the spool; an unchanged poll transfers
//! nothing but the listing of a few refs.
//! What lies beside the branch, approvals and the heartbeat, comes after it and never instead of it. No configuration of Git and no Git variable of the environment counts, and no `git` program is run; `ssh` is, for ssh.
//!
//! A remote that hangs is given up: the thread that waits for it is left behind, to end with the process, which is started for each poll.

mod address;
mod beside;
mod bounded;
mod explain;
mod http;
mod listing;
mod local;
mod meter;
mod remote;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gix::ObjectId;

use self::address::Address;
use self::beside::Beside;
use self::listing::Listing;
use self::local::Folder;
use self::remote::Network;
use super::error::FetchError;
use super::spool::{self, Spool};
use super::{Note, RemoteProblem};
use crate::config::{Limits, Source};
use crate::error::{Explain, Problem};
use crate::system::clock;
use crate::system::sandbox::{Confinement, SandboxError};

/// One poll of the remotes with these settings, as the service does it. Writes the packs and the note into the spool and returns the note; whatever
/// goes wrong is in its `problems`. `now` is in seconds since the epoch. Credentials are read from `$CREDENTIALS_DIRECTORY`.
pub fn poll(source: &Source, limits: &Limits, spool: &Path, now: i64, sandbox: Confinement) -> Note {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    poll_as(source, limits, spool, credentials.as_deref(), now, Some(sandbox))
}

/// Leaves a note that says why there was no poll.
pub fn refuse(spool: &Path, now: i64, error: SandboxError, sandbox: Confinement) -> Note {
    let (code, remedy) = (error.code().to_string(), error.remedy());
    let what = Problem::from(error).what;
    let mut note = Note { time: now, sandbox: Some(sandbox), ..Note::default() };
    note.problems.push(RemoteProblem { url: String::new(), code, what, remedy });
    note.failures = 1;
    match Spool::open(spool) {
        Ok(spool) => {
            let before = spool.note();
            note.failures = before.failures.saturating_add(1);
            note.tip = before.tip;
            note.approvals = before.approvals;
            note.heartbeat = before.heartbeat;
            if let Err(error) = spool.write_note(&note) {
                note.problems.push(problem("", error));
            }
        }
        Err(error) => note.problems.push(problem("", error)),
    }
    note
}

/// As [`poll`], with the folder of credentials named.
pub fn poll_with(
    source: &Source,
    limits: &Limits,
    spool: &Path,
    credentials: Option<&Path>,
    now: i64,
) -> Note {
    poll_as(source, limits, spool, credentials, now, None)
}

fn poll_as(
    source: &Source,
    limits: &Limits,
    spool: &Path,
    credentials: Option<&Path>,
    now: i64,
    sandbox: Option<Confinement>,
) -> Note {
    let started = Instant::now();
    let began = clock::since_boot();
    let spool = match Spool::open(spool) {
        Ok(spool) => spool,
        Err(error) => {
            return Note { time: now, failures: 1, problems: vec![problem("", error)], ..Note::default() };
        }
    };
    let before = spool.note();
    let mut note = Note {
        tip: before.tip.clone(),
        approvals: before.approvals.clone(),
        heartbeat: before.heartbeat.clone(),
        failures: before.failures.saturating_add(1),
        sandbox,
        began,
        ..Note::default()
    };
    let task = Task {
        source: source.clone(),
        limits: limits.clone(),
        credentials: credentials.map(Path::to_owned),
        repository: spool.repository(),
        ssh_log: spool.ssh_log(),
    };
    let found = ask_all(&task, &spool, started, &mut note);
    if let Some((url, fetched)) = found {
        note.tip = fetched.tip.to_string();
        note.received = fetched.received;
        note.failures = 0;
        match &fetched.beside {
            Ok(beside) => {
                note.approvals = beside.approvals.iter().map(ToString::to_string).collect();
                note.heartbeat = beside.heartbeat.map_or_else(String::new, |commit| commit.to_string());
                note.problems.extend(beside.problems.iter().cloned());
                note.received += beside.received;
            }
            Err(problem) => note.problems.push(problem.clone()),
        }
        note.changed = (&before.tip, &before.approvals, &before.heartbeat)
            != (&note.tip, &note.approvals, &note.heartbeat);
        if let Err(error) = deliver(&task, &spool, &fetched, note.received == 0) {
            note.failures = before.failures.saturating_add(1);
            note.problems.push(problem(&url, error));
        }
        note.url = url;
    }
    let took = started.elapsed();
    note.took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    note.time = now.saturating_add(i64::try_from(took.as_secs()).unwrap_or(0));
    if let Err(error) = spool.write_note(&note) {
        note.failures = before.failures.saturating_add(1);
        note.problems.push(problem("", error));
    }
    note
}

/// Everything that one attempt needs, owned, since an attempt may outlive the poll.
#[derive(Clone)]
struct Task {
    source: Source,
    limits: Limits,
    credentials: Option<PathBuf>,
    repository: PathBuf,
    ssh_log: PathBuf,
}

/// What a good attempt brought.
struct Fetched {
    tip: ObjectId,
    received: u64,
    /// What lies beside the branch, or why it is not known.
    beside: Result<Beside, RemoteProblem>,
}

/// A remote that can be asked, in this order, where the branch is, and for what its listing shows beside the branch.
trait Remote {
    /// Asks where the branch is, and brings it if it moved.
    fn branch(&mut self) -> Result<Branch, FetchError>;

    /// Brings what these refs name, at most `limit` bytes of it, and returns how many came. What came is proven by nobody.
    fn bring(&mut self, wanted: &[Wanted], limit: u64) -> Result<u64, FetchError>;
}

/// The branch is here.
struct Branch {
    /// Bytes of packs.
    received: u64,
    listing: Listing,
}

/// A ref and what it was listed to name.
struct Wanted {
    name: String,
    id: ObjectId,
}

/// What an attempt has to say, in this order.
enum News {
    Branch(Result<Branch, FetchError>),
    Beside(Result<Beside, FetchError>),
}

/// Asks one remote after the other; the failures go into the note.
fn ask_all(task: &Task, spool: &Spool, started: Instant, note: &mut Note) -> Option<(String, Fetched)> {
    if task.source.urls.is_empty() {
        note.problems.push(problem("", FetchError::NoRemote));
    }
    let deadline = task.source.deadline.duration();
    let count = task.source.urls.len();
    for (index, url) in task.source.urls.iter().enumerate() {
        // Each remote may use its part of what is left, so that one that hangs does not cost the others their turn.
        let left = deadline.saturating_sub(started.elapsed());
        let share = left / u32::try_from(count - index).unwrap_or(1);
        let shown = address::shown(url);
        match ask(task, spool, url, share) {
            Ok(fetched) => return Some((shown, fetched)),
            Err(error) => note.problems.push(problem(&shown, error)),
        }
    }
    None
}

/// Asks one remote, for at most so long.
fn ask(task: &Task, spool: &Spool, url: &str, share: Duration) -> Result<Fetched, FetchError> {
    let started = Instant::now();
    let address = Address::parse(url, &task.source)?;
    let shown = address::shown(url);
    let (sender, receiver) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let options = remote::open_options(task);
    let repository = spool::open_repository(&task.repository, None, &options)?;
    let room = spool.room(&repository, &task.limits)?;
    drop(repository);
    let attempt = {
        let (task, stop, shown) = (task.clone(), Arc::clone(&stop), shown.clone());
        // Nobody listens after the deadline.
        move || attempt(&task, &address, &shown, room, &stop, &|news| drop(sender.send(news)))
    };
    std::thread::Builder::new()
        .name("fetch".into())
        .spawn(attempt)
        .map_err(spool::failed(&task.repository))?;
    let next = || {
        receiver.recv_timeout(share.saturating_sub(started.elapsed())).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => {
                stop.store(true, Ordering::Relaxed);
                FetchError::Deadline { seconds: share.as_secs().max(1) }
            }
            mpsc::RecvTimeoutError::Disconnected => {
                FetchError::Protocol { reason: "the Git library gave up on the answer".into() }
            }
        })
    };
    let mut branch = None;
    loop {
        match (next(), branch.take()) {
            (Ok(News::Branch(found)), _) => branch = Some(found?),
            (Ok(News::Beside(beside)), Some(Branch { received, listing })) => {
                let beside = beside.map_err(|error| problem(&shown, error));
                return Ok(Fetched { tip: listing.tip, received, beside });
            }
            // The branch is here: what hangs after it is told, and tried again.
            (Err(error), Some(Branch { received, listing })) => {
                return Ok(Fetched { tip: listing.tip, received, beside: Err(problem(&shown, error)) });
            }
            (Err(error), None) => return Err(error),
            (Ok(News::Beside(_)), None) => {}
        }
    }
}

/// Everything that is asked of one remote, on a thread of its own.
fn attempt(
    task: &Task,
    address: &Address,
    shown: &str,
    room: u64,
    stop: &Arc<AtomicBool>,
    tell: &dyn Fn(News),
) {
    let mut remote: Box<dyn Remote> = match address {
        Address::Local(path) => Box::new(Folder::new(task, path, room)),
        Address::Remote(url) => match Network::new(task, url, room, stop) {
            Ok(network) => Box::new(network),
            Err(error) => return tell(News::Branch(Err(error))),
        },
    };
    match remote.branch() {
        Err(error) => tell(News::Branch(Err(error))),
        Ok(branch) => {
            let (listing, room) = (branch.listing.clone(), room.saturating_sub(branch.received));
            tell(News::Branch(Ok(branch)));
            tell(News::Beside(beside::gather(task, remote.as_mut(), &listing, shown, room)));
        }
    }
}

/// Shows the packs to the root process, and uses a poll without news to keep the spool small.
fn deliver(task: &Task, spool: &Spool, fetched: &Fetched, idle: bool) -> Result<(), FetchError> {
    // Not while an attempt that hangs may still write.
    if fetched.beside.is_ok() {
        let options = remote::open_options(task);
        let repository = spool::open_repository(&task.repository, Some(fetched.tip.kind()), &options)?;
        spool.tidy(&repository, &task.limits, idle)?;
    }
    spool.publish()
}

fn problem(url: &str, error: FetchError) -> RemoteProblem {
    let (code, remedy) = (error.code().to_string(), error.remedy());
    RemoteProblem { url: url.to_owned(), code, what: Problem::from(error).what, remedy }
}
