//! What an operator may decide about a host's trust, on the host and as root: confirm where it stands, break the glass, reset
//! what it remembers of the time.
//!
//! **Invariant:** an operator names a commit, and only the walk from the introduction makes it count: no signature is ever skipped.

use std::path::{Path, PathBuf};

use gix::ObjectId;

use crate::config::Paths;
use crate::converge::{ConvergeError, Site};
use crate::error::{Code, Explain, Problem, escaped};
use crate::report::{Event, EventKind, journal};
use crate::source::{self, Candidate, Objects, store::Store};
use crate::state::{Beginning, Mark, State, TimeSeen};
use crate::system::lock::Lock;
use crate::system::{clock, identity};
use crate::trust::exception::{Exception, LONGEST, SignedException};
use crate::trust::statement::StatementError;
use crate::trust::{self, Revision, RootOfTrust};

/// Why an operator's decision cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// E053: the commit does not come into effect by itself.
    #[error("the commit {commit} is not in effect by the walk from the introduction; it ends at {stands}")]
    NotInEffect {
        /// The commit.
        commit: String,
        /// The newest one in effect.
        stands: String,
    },
    /// E054: there is nothing to confirm.
    #[error("this host stands at {commit}, and has lost nothing that would have to be confirmed")]
    NothingLost {
        /// Its mark.
        commit: String,
    },
    /// E055: it is not the whole name of a commit.
    #[error("`{given}` is not the whole name of a commit")]
    NotACommit {
        /// What was given.
        given: String,
    },
    /// E056: the root of trust has no key for this.
    #[error("the root of trust of this host has no break-glass key")]
    NoKeys,
    /// E057: the file is no break-glass statement.
    #[error("this is no break-glass statement: {0}")]
    Statement(StatementError),
    /// E058: the key may not break the glass here.
    #[error("the statement is signed with {key}, which is no break-glass key of this host")]
    Key {
        /// Its fingerprint.
        key: String,
    },
    /// E059: the statement is for another host or fleet.
    #[error("the statement is for the {what} {found}, and this is {own}")]
    Elsewhere {
        /// `host` or `fleet`.
        what: &'static str,
        /// In the statement.
        found: String,
        /// Here.
        own: String,
    },
    /// E060: the statement does not count now.
    #[error("the statement expires at {expires}, which is {why}")]
    Expiry {
        /// When it says.
        expires: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// E061: the statement was used already.
    #[error("the statement was used on this host already")]
    Spent,
    /// E062: this host has no identity.
    #[error("this host has no machine id")]
    NoIdentity {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E063: a file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for OperatorError {
    fn code(&self) -> Code {
        Code(match self {
            OperatorError::NotInEffect { .. } => "E053",
            OperatorError::NothingLost { .. } => "E054",
            OperatorError::NotACommit { .. } => "E055",
            OperatorError::NoKeys => "E056",
            OperatorError::Statement(_) => "E057",
            OperatorError::Key { .. } => "E058",
            OperatorError::Elsewhere { .. } => "E059",
            OperatorError::Expiry { .. } => "E060",
            OperatorError::Spent => "E061",
            OperatorError::NoIdentity { .. } => "E062",
            OperatorError::Unreadable { .. } => "E063",
        })
    }

    fn remedy(&self) -> String {
        match self {
            OperatorError::NotInEffect { .. } => {
                "name the commit at which the change got its last approval; `abide verify COMMIT` shows the walk".into()
            }
            OperatorError::NothingLost { .. } => {
                "nothing is to be done; a host on a wrong line is moved by `abide trust break-glass`".into()
            }
            OperatorError::NotACommit { .. } => "copy it from `git rev-parse REVISION`".into(),
            OperatorError::NoKeys => {
                "put `break-glass = [\"ssh-ed25519 …\"]` into trust.toml of this host, before it is needed".into()
            }
            OperatorError::Statement(_) | OperatorError::Spent => {
                "make another one: `abide trust break-glass --make`".into()
            }
            OperatorError::Key { .. } => "sign it with a key that `abide trust show` lists for this".into(),
            OperatorError::Elsewhere { .. } => {
                "make one for this host; `abide trust show` prints its id and its fleet".into()
            }
            OperatorError::Expiry { .. } => "make another one that counts for at most 7 days from now".into(),
            OperatorError::NoIdentity { .. } => "systemd-machine-id-setup".into(),
            OperatorError::Unreadable { .. } => "check the path, and who may read it".into(),
        }
    }
}

/// Sets the mark of a host that has lost its state to a commit that the operator has compared.
///
/// # Errors
/// Nothing was lost, or the walk from the introduction does not bring the commit into effect.
pub fn confirm(paths: &Paths, commit: &str) -> Result<Revision, Problem> {
    let commit = object_id(commit)?;
    let mut desk = Desk::open(paths)?;
    if let Some(mark) = desk.state.high_water()? {
        return Err(OperatorError::NothingLost { commit: mark.commit }.into());
    }
    let root = desk.root()?;
    let revision = desk.prove(&root, commit)?;
    let introduction = root.introduction.commit;
    let now = clock::now();
    desk.state.set_beginning(Some(&Beginning { introduction, since: now }))?;
    desk.state.move_mark(&mark(&revision, now), None)?;
    let message = format!("confirmed by an operator: this host stands at {revision}, {}", revision.commit);
    desk.tell(EventKind::TrustConfirmed, message, Some(&revision))?;
    Ok(revision)
}

/// Moves the mark as a signed exception says.
///
/// # Errors
/// The statement does not count here and now, or the walk from the introduction does not bring its commit into effect.
pub fn break_glass(paths: &Paths, bytes: &[u8]) -> Result<Revision, Problem> {
    let mut desk = Desk::open(paths)?;
    let root = desk.root()?;
    let exception = desk.check(&root, bytes)?;
    let revision = desk.prove(&root, object_id(&exception.commit)?)?;
    let before = desk.state.high_water()?.map_or("nothing".to_owned(), |mark| mark.commit);
    let now = clock::now();
    desk.state.move_mark(&mark(&revision, now), Some((&exception.nonce, exception.expires)))?;
    let message = format!(
        "the glass was broken: the mark moves from {before} to {}, as statement {} says",
        revision.commit, exception.nonce
    );
    desk.tell(EventKind::GlassBroken, message, Some(&revision))?;
    Ok(revision)
}

/// What was remembered of the time, and what is now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ClockReset {
    /// It was not earlier than this, seconds since the epoch.
    pub before: Option<i64>,
    /// It is not earlier than this.
    pub now: i64,
    /// A heartbeat that claims to come from later was forgotten.
    pub forgot_heartbeat: bool,
}

/// Believes the clock as it is.
///
/// # Errors
/// The state cannot be written.
pub fn reset_clock(paths: &Paths) -> Result<ClockReset, Problem> {
    let mut desk = Desk::open(paths)?;
    let now = clock::now();
    let before = desk.state.time_seen()?.map(|seen| seen.floor);
    desk.state.set_time_seen(&TimeSeen { floor: now, ahead: None })?;
    let mut news = desk.state.news()?;
    let forgot_heartbeat = news.heartbeat.take_if(|heartbeat| heartbeat.issued > now).is_some();
    desk.state.set_news(&news)?;
    let message = match before {
        Some(before) => format!(
            "what was remembered of the time was forgotten; the clock was {} s apart from it",
            now - before
        ),
        None => "nothing was remembered of the time".to_owned(),
    };
    desk.tell(EventKind::ClockReset, message, None)?;
    Ok(ClockReset { before, now, forgot_heartbeat })
}

/// The host, its state and the lock, while an operator decides.
struct Desk {
    site: Site,
    state: State,
    _lock: Lock,
}

impl Desk {
    fn open(paths: &Paths) -> Result<Desk, Problem> {
        let site = Site::load(paths)?;
        let path = paths.lock();
        let lock = Lock::take(&path).map_err(|source| ConvergeError::Lock { path, source })?;
        // After that: opening it may migrate it.
        Ok(Desk { site, state: State::open(&paths.state)?, _lock: lock })
    }

    fn root(&self) -> Result<RootOfTrust, Problem> {
        match (&self.site.root, self.site.problems.first()) {
            (Some(root), _) => Ok(root.clone()),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Ok(RootOfTrust::load(&self.site.paths.trust())?),
        }
    }

    /// Proves that a commit is in effect, by nothing but the introduction. How fresh the news is does not matter here: the operator
    /// knows what he names.
    fn prove(&self, root: &RootOfTrust, commit: ObjectId) -> Result<Revision, Problem> {
        let mut store = Store::open(&self.site.paths.store(), &self.site.settings.limits)?;
        let spool = &self.site.paths.spool;
        // A branch that cannot be taken as a whole may still have brought the commit before.
        let taken = store.take(spool);
        if !store.is_whole(commit) {
            taken?;
        }
        let note = source::read_note(spool).ok().flatten().unwrap_or_default();
        prove(&store, root, &store.candidate(commit, &note), self.now()?)
    }

    /// The time by what this host remembers.
    fn now(&self) -> Result<i64, Problem> {
        let seen = self.state.time_seen()?.map_or(i64::MIN, |seen| seen.floor);
        Ok(clock::now().max(seen))
    }

    fn check(&self, root: &RootOfTrust, bytes: &[u8]) -> Result<Exception, Problem> {
        if root.break_glass.is_empty() {
            return Err(OperatorError::NoKeys.into());
        }
        let signed = SignedException::parse(bytes).map_err(OperatorError::Statement)?;
        if !root.break_glass.contains(signed.key()) {
            return Err(OperatorError::Key { key: signed.key().fingerprint() }.into());
        }
        signed.verify().map_err(StatementError::Signature).map_err(OperatorError::Statement)?;
        let host = identity::host_id().map_err(|source| OperatorError::NoIdentity { source })?;
        let exception = signed.exception;
        for (what, found, own) in [("host", &exception.host, &host), ("fleet", &exception.fleet, &root.fleet)]
        {
            if found != own {
                return Err(OperatorError::Elsewhere { what, found: escaped(found), own: own.clone() }.into());
            }
        }
        let left = exception.expires.saturating_sub(self.now()?);
        let why = if left < 0 { "over" } else { "more than 7 days from now" };
        if !(0..=LONGEST).contains(&left) {
            let expires = jiff::Timestamp::from_second(exception.expires).map(|time| time.to_string());
            return Err(OperatorError::Expiry { expires: expires.unwrap_or_default(), why }.into());
        }
        match self.state.spent_nonces()?.contains_key(&exception.nonce) {
            true => Err(OperatorError::Spent.into()),
            false => Ok(exception),
        }
    }

    fn tell(&mut self, kind: EventKind, message: String, revision: Option<&Revision>) -> Result<(), Problem> {
        let event = Event {
            time: clock::now(),
            kind: Some(kind),
            message,
            revision: revision.map(ToString::to_string),
            commit: revision.map(|revision| revision.commit.clone()),
            signer: revision.map(|revision| revision.signer.clone()),
            ..Event::default()
        };
        journal::write(&event);
        Ok(self.state.add_events(&[event])?)
    }
}

/// Proves that the candidate's tip is in effect by the walk from the introduction.
///
/// # Errors
/// Why it is refused, what it waits for, or that something above it is what brings it into effect.
pub fn prove(
    objects: &dyn Objects,
    root: &RootOfTrust,
    candidate: &Candidate,
    now: i64,
) -> Result<Revision, Problem> {
    let judgement = trust::judge(objects, root, None, candidate, now)?;
    let verified = judgement.verified.as_ref().map(|verified| verified.revision());
    let commit = candidate.tip.to_string();
    if let Some(revision) = verified.filter(|revision| revision.commit == commit) {
        return Ok(revision.clone());
    }
    if let Some(rejection) = &judgement.rejection {
        return Err(Problem::from(rejection));
    }
    if let Some(pending) = &judgement.pending {
        return Err(Problem::from(pending));
    }
    let stands = judgement.high_water.commit;
    Err(OperatorError::NotInEffect { commit, stands }.into())
}

fn mark(revision: &Revision, time: i64) -> Mark {
    let (commit, payload) = (revision.commit.clone(), revision.payload.clone());
    Mark { commit, payload, time, introduction: String::new() }
}

/// Reads the whole name of a commit.
///
/// # Errors
/// `E055`.
pub fn object_id(text: &str) -> Result<ObjectId, OperatorError> {
    ObjectId::from_hex(text.as_bytes()).map_err(|_| OperatorError::NotACommit { given: escaped(text) })
}

/// Reads a statement's file.
///
/// # Errors
/// `E063`.
pub fn read_statement(path: &Path) -> Result<Vec<u8>, OperatorError> {
    use std::io::Read as _;
    let unreadable = |source| OperatorError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // What is longer is no statement, and the reader says so.
    let most = crate::trust::statement::LARGEST as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
