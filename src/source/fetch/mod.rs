//! The unprivileged fetcher: one poll.
//!
//! Asks each remote in order where the branch is, until one answers. If the branch moved, its objects are received as a pack into the spool; an unchanged poll transfers
//! nothing but the listing of one ref. No configuration of Git and no Git variable of the environment counts, and no `git` program is run; `ssh` is, for ssh.
//!
//! A remote that hangs is given up: the thread that waits for it is left behind, to end with the process, which is started for each poll.

mod address;
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
use super::error::FetchError;
use super::spool::{self, Spool};
use super::{Note, RemoteProblem};
use crate::config::{Limits, Source};
use crate::error::{Explain, Problem};
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
    let spool = match Spool::open(spool) {
        Ok(spool) => spool,
        Err(error) => {
            return Note { time: now, failures: 1, problems: vec![problem("", error)], ..Note::default() };
        }
    };
    let before = spool.note();
    let mut note =
        Note { tip: before.tip.clone(), failures: before.failures.saturating_add(1), ..Note::default() };
    note.sandbox = sandbox;
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
        note.changed = before.tip != note.tip;
        note.received = fetched.received;
        note.failures = 0;
        if let Err(error) = deliver(&task, &spool, &fetched) {
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
    let address = Address::parse(url, &task.source)?;
    let (sender, receiver) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let options = remote::open_options(task);
    let repository = spool::open_repository(&task.repository, None, &options)?;
    let room = spool.room(&repository, &task.limits)?;
    drop(repository);
    let attempt = {
        let (task, stop) = (task.clone(), Arc::clone(&stop));
        move || {
            let outcome = match &address {
                Address::Local(path) => local::fetch(&task, path, room),
                Address::Remote(url) => remote::fetch(&task, url, room, &stop),
            };
            // Nobody listens after the deadline.
            let _ = sender.send(outcome);
        }
    };
    std::thread::Builder::new()
        .name("fetch".into())
        .spawn(attempt)
        .map_err(spool::failed(&task.repository))?;
    match receiver.recv_timeout(share) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            stop.store(true, Ordering::Relaxed);
            Err(FetchError::Deadline { seconds: share.as_secs().max(1) })
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(FetchError::Protocol { reason: "the Git library gave up on the answer".into() })
        }
    }
}

/// Shows the packs to the root process, and uses a poll without news to keep the spool small.
fn deliver(task: &Task, spool: &Spool, fetched: &Fetched) -> Result<(), FetchError> {
    if fetched.received == 0 {
        let options = remote::open_options(task);
        let repository = spool::open_repository(&task.repository, Some(fetched.tip.kind()), &options)?;
        spool.tidy(&repository, &task.limits)?;
    }
    spool.publish()
}

fn problem(url: &str, error: FetchError) -> RemoteProblem {
    let (code, remedy) = (error.code().to_string(), error.remedy());
    RemoteProblem { url: url.to_owned(), code, what: Problem::from(error).what, remedy }
}
