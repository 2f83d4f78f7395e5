//! The whole pipeline on one page: each stage takes what the one before it made.
//!
//! **Invariant:** whatever goes wrong with a new revision, the last good one stays enforced, and the report says both.

mod before;
mod ending;
mod failing;
mod guards;
mod health;
mod mending;
mod news;
mod own;
mod pinned;
mod planning;
mod proving;
mod reboot;
mod site;
mod term;
mod time;
mod trial;
mod undone;

use std::collections::BTreeSet;
use std::time::Instant;

use before::Originals;

use crate::apply::{self, Contents, Outcome, host::LocalHost};
use crate::error::Problem;
use crate::manifest::{CacheKey, Desired, Reading, node::nearest};
use crate::plan::{self, Plan};
use crate::progress::Tell;
use crate::report::status::RunStatus;
use crate::report::{EventKind, Recorder};
use crate::resource::ResourceId;
use crate::resource::{Content, ContentOrigin};
use crate::source::{Objects as _, store::Store};
use crate::state::{Cause, Pin, Rebuilt, RunStart, State};
use crate::system::facts::Facts;
use crate::system::fs::Fingerprints;
use crate::system::lock::Lock;
use crate::system::sandbox::Confinement;
use crate::system::{Host, clock, fs, replace};
use crate::trust::Freshness;
use crate::upgrade;

pub use failing::report_failure;
pub use health::HealthError;
pub use pinned::PinError;
pub use site::{ConvergeError, Site};
pub use time::ClockError;
pub use trial::TrialError;

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct Request {
    /// Why it runs.
    pub cause: Cause,
    /// Only these resources; empty: all.
    pub only: BTreeSet<ResourceId>,
    /// Left as they are, and only reported.
    pub left: BTreeSet<ResourceId>,
    /// Remove what left the branch, however much it is.
    pub prune: bool,
    /// Take a new revision, however much of what is in force it changes.
    pub all_changes: bool,
    /// Do not wait for windows.
    pub ignore_windows: bool,
    /// Apply in spite of a suspension.
    pub ignore_suspension: bool,
    /// Plan, and change nothing.
    pub dry_run: bool,
    /// Read every file's content again.
    pub rehash: bool,
    /// Plan as if this were pinned.
    pub pin: Option<Pin>,
    /// What confines the process that runs; for the status.
    pub sandbox: Option<Confinement>,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            cause: Cause::Operator,
            only: BTreeSet::new(),
            left: BTreeSet::new(),
            prune: false,
            all_changes: false,
            ignore_windows: false,
            ignore_suspension: false,
            dry_run: false,
            rehash: false,
            pin: None,
            sandbox: None,
        }
    }
}

/// What a run did, and how the host is now.
#[derive(Debug, Default)]
pub struct Report {
    /// How the host is.
    pub status: RunStatus,
    /// What was to be changed.
    pub plan: Plan,
    /// The plan as unified diffs; made only for a dry run.
    pub diff: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What is to follow at once.
    next: Next,
}

/// What is to follow a run at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    /// Nothing.
    #[default]
    End,
    /// What was applied is given up, or what was given up is tried again.
    Turn,
    /// The same once more: another run changed the state while this one looked at health.
    Again,
}

/// So often a run begins again because others came before it while it looked at health. Then it lets nobody in meanwhile.
const OVERTAKEN: u32 = 2;

/// Brings the host to what its branch declares.
///
/// # Errors
/// The run could not begin, or the state failed under it. Everything else that goes wrong is in the report.
pub fn converge(site: &Site, request: &Request, progress: &mut Tell<'_>) -> Result<Report, Problem> {
    let result = converge_with(site, request, None, progress)
        .or_else(|problem| mending::mend(site, request, problem, progress));
    if let Err(problem) = &result
        && !request.dry_run
        && request.only.is_empty()
    {
        report_failure(&site.paths, request.cause, problem);
    }
    result
}

fn converge_with(
    site: &Site,
    request: &Request,
    rebuilt: Option<&Rebuilt>,
    progress: &mut Tell<'_>,
) -> Result<Report, Problem> {
    let (mut turned, mut overtaken, mut earlier) = (false, 0, None);
    loop {
        let report = attempt(site, request, rebuilt, overtaken < OVERTAKEN, progress)?.after(earlier);
        match report.next {
            Next::Again => overtaken += 1,
            // Each at most once in a run.
            Next::Turn if !turned => turned = true,
            _ => return Ok(report),
        }
        earlier = (report.next == Next::Again).then_some(report);
    }
}

impl Report {
    /// This report, with what an attempt did that others came before.
    fn after(self, earlier: Option<Report>) -> Report {
        match earlier {
            Some(Report { plan, outcome, .. }) if self.outcome.run.is_none() && outcome.run.is_some() => {
                let mut status = self.status;
                status.counts.changed = outcome.counts().changed as usize;
                Report { status, plan, outcome, ..self }
            }
            _ => self,
        }
    }
}

fn attempt(
    site: &Site,
    request: &Request,
    rebuilt: Option<&Rebuilt>,
    yields: bool,
    progress: &mut Tell<'_>,
) -> Result<Report, Problem> {
    let mut run = Run::begin(site, request, progress)?;
    run.yields = yields;
    if let Some(rebuilt) = rebuilt {
        run.report_rebuilt(rebuilt);
    }
    run.judge_clock()?;
    run.judge_memory()?;
    run.end_suspension()?;
    run.note_return()?;
    run.judge_own_package()?;
    let target = match run.frozen || run.lost {
        true => run.last(),
        false => {
            let candidate = run.take();
            let Some(proof) = run.prove(candidate)? else { return run.end_without_revision() };
            match run.pinned(proof.commit())? {
                Some(kept) => Some(kept),
                None => run.desire(proof)?,
            }
        }
    };
    let Some(target) = target else { return run.end_without_revision() };
    run.check_only(&target)?;
    // What led here outlives a death in the middle of what follows.
    run.keep_told()?;
    let (target, plan) = run.guarded(target, progress)?;
    let outcome = run.apply(&target, &plan, progress)?;
    let report = run.end(&target, plan, outcome);
    // The process ends soon, and thousands of small pieces need not be given back one by one before it does.
    std::mem::forget(target);
    report
}

/// A run under way.
struct Run<'a> {
    site: &'a Site,
    request: &'a Request,
    started: Instant,
    state: State,
    store: Option<Store>,
    host: Host,
    fingerprints: Fingerprints,
    /// The desired state that is in force, until it is asked for.
    reading: Option<Reading>,
    facts: Facts,
    recorder: Recorder,
    /// What the host is to be judged by cannot be read: what was enforced last stays, and nothing new is looked at.
    frozen: bool,
    /// The state was lost: what is enforced still is kept, and nothing new is looked at.
    lost: bool,
    /// The time that keys and heartbeats are judged by.
    time: time::Time,
    /// Another generation is to be brought into force at once.
    again: bool,
    /// What the plan of a new generation changes for the first time.
    originals: Originals,
    /// What a judgement of this run found out about heartbeats.
    freshness: Option<Freshness>,
    /// Other runs may go on while this one looks at health.
    yields: bool,
    /// One of them has changed the state since, so that this run knows nothing any more.
    overtaken: bool,
    /// Held until the run is over, but for the time in which it looks at health.
    lock: Option<Lock>,
}

/// What a run enforces.
struct Target {
    desired: Desired,
    /// Under which the desired state is kept.
    key: CacheKey,
    /// It is what the last run enforced.
    known: bool,
    /// It is an earlier generation that is kept.
    pinned: bool,
}

impl<'a> Run<'a> {
    /// Takes the lock, opens the state, and recovers what an earlier run left unfinished.
    fn begin(site: &'a Site, request: &'a Request, progress: &mut Tell<'_>) -> Result<Run<'a>, Problem> {
        let started = clock::instant();
        let mut host = Host::open();
        host.connect();
        State::prepare(&site.paths.state)?;
        let lock = site.lock(progress)?;
        sweep(site);
        let reading = Some(Reading::begin(site.paths.desired()));
        let mut state = State::open(&site.paths.state)?;
        state.check_copy()?;
        let mut recorder = Recorder::default();
        recorder.status.cause = request.cause.word().to_owned();
        recorder.status.sandbox.clone_from(&request.sandbox);
        if !request.dry_run {
            recover(&mut state, &mut effector(&mut host, site), &mut recorder)?;
        }
        for problem in site.problems.iter().cloned() {
            recorder.keep(problem);
        }
        let facts = Facts::gather(&site.paths.facts()).map_err(|error| recorder.keep(error.into())).ok();
        let frozen = site.root.is_none() || facts.is_none();
        let facts = facts.unwrap_or_default();
        let fingerprints = Fingerprints::load(&site.paths.fingerprints());
        let (store, lock) = (None, Some(lock));
        let (time, freshness, lost, again) = (news::time(&state)?, None, false, false);
        Ok(Run {
            site,
            request,
            started,
            state,
            store,
            host,
            fingerprints,
            reading,
            facts,
            recorder,
            frozen,
            lost,
            again,
            originals: Originals::default(),
            time,
            freshness,
            yields: false,
            overtaken: false,
            lock,
        })
    }

    /// The object store, opened when it is needed first: a run that finds nothing new does without.
    fn store(&mut self) -> Result<&mut Store, Problem> {
        let opened = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.site.paths.store(), &self.site.settings.limits)?,
        };
        Ok(self.store.insert(opened))
    }

    /// Takes from the spool again what a store lost. Does nothing to one that has the commit.
    fn refill(&mut self, commit: &str) -> Result<(), Problem> {
        let spool = self.site.paths.spool.clone();
        let store = self.store()?;
        let whole = gix::ObjectId::from_hex(commit.as_bytes()).is_ok_and(|id| store.is_whole(id));
        if !whole {
            store.take(&spool)?;
        }
        Ok(())
    }

    /// Whether everything that the run is limited to is there to be converged.
    fn check_only(&self, target: &Target) -> Result<(), Problem> {
        let resources = &target.desired.rendered().resources;
        for id in &self.request.only {
            let managed = || -> Result<bool, Problem> {
                Ok(self.state.inventory()?.iter().any(|entry| entry.resource == *id))
            };
            if !resources.iter().any(|declared| declared.id == *id) && !managed()? {
                let names: Vec<String> = resources.iter().map(|declared| declared.id.to_string()).collect();
                let near = nearest(&id.to_string(), names.iter().map(String::as_str)).map(str::to_owned);
                return Err(ConvergeError::NotDeclared { resource: id.to_string(), near }.into());
            }
        }
        Ok(())
    }

    /// Executes the plan; nothing of it in a dry run or under a suspension.
    fn apply(&mut self, target: &Target, plan: &Plan, progress: &mut Tell<'_>) -> Result<Outcome, Problem> {
        let now = clock::now();
        self.recorder.status.suspended = self.state.suspension()?.filter(|suspension| suspension.holds(now));
        if self.request.dry_run || self.is_suspended() {
            return Ok(Outcome::default());
        }
        if !target.known {
            self.open_generation(target, plan)?;
            self.state.unsettle()?;
            // From here on this is what is enforced, whether or not all of it succeeds at once.
            let path = self.site.paths.desired();
            target
                .desired
                .save(&path, &target.key, &plan::watched(&target.desired.rendered().resources))
                .map_err(|source| ConvergeError::Write { path, source })?;
            self.keep_generation(target)?;
        }
        if plan.steps.is_empty() && self.state.owed()?.is_empty() {
            return Ok(Outcome::default());
        }
        self.keep_told()?;
        // Contents that lie in the manifest need no store; for the others each resource says what is wrong.
        if let Err(problem) = self.refill(&target.desired.revision().commit) {
            self.recorder.keep(problem);
        }
        let revision = Some(target.desired.revision().clone());
        let start = RunStart { cause: self.request.cause, revision, started: now };
        let contents = Stored { store: self.store.as_ref() };
        let upgrade = self.upgrade(target)?;
        Ok(apply::run(
            plan,
            &target.desired.rendered().resources,
            &start,
            &mut effector(&mut self.host, self.site).upgrading(upgrade, &self.site.paths),
            &mut self.state,
            &contents,
            progress,
        )?)
    }
}

/// Closes a run that died, and tells what it did and did not tell.
fn recover(state: &mut State, host: &mut LocalHost<'_>, recorder: &mut Recorder) -> Result<(), Problem> {
    let now = clock::now();
    if let Some(recovered) = apply::recover(state, host)? {
        for problem in recovered.problems.iter().cloned() {
            recorder.keep(problem);
        }
        recorder.tell(EventKind::RunRecovered, recovered.to_string(), now);
    }
    if let Some(untold) = state.settle()? {
        for change in &untold {
            let subject = format!("resource {}", change.resource);
            if state.condition(&subject)?.is_some_and(|(former, _)| !former.is_empty()) {
                recorder.note(&subject, "", now);
            }
            recorder.tell_earlier(change, now);
        }
        recorder.conclude();
    }
    Ok(())
}

/// Removes what dead runs left of abide's own files; what cannot be removed is in nobody's way.
fn sweep(site: &Site) {
    replace::sweep(&site.paths.state);
    replace::sweep(&site.paths.generations());
    replace::sweep(&site.paths.run);
    upgrade::sweep(&site.paths);
    let _ = fs::clean_temporaries(&BTreeSet::from([site.paths.state.clone()]), "");
}

fn effector<'a>(host: &'a mut Host, site: &Site) -> LocalHost<'a> {
    LocalHost::new(host, &site.paths.backups(), site.settings.apply.backup_bytes)
        .under(&site.paths, &site.settings.law)
}

/// Contents of declared files, from the manifest or the object store.
struct Stored<'a> {
    store: Option<&'a Store>,
}

impl Contents for Stored<'_> {
    fn bytes(&self, content: &Content) -> Result<Vec<u8>, Problem> {
        let id = match &content.origin {
            ContentOrigin::Inline(bytes) => return Ok(bytes.clone()),
            ContentOrigin::Blob(id) => id,
        };
        let missing = || ConvergeError::Content { id: id.clone() };
        let id = gix::ObjectId::from_hex(id.as_bytes()).map_err(|_| missing())?;
        let bytes =
            self.store.ok_or_else(missing)?.blob(id).map_err(|source| ConvergeError::Store { source })?;
        Ok(bytes)
    }
}
