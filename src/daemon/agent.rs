//! The resident agent: waits, and starts what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::attention::{Attention, Heard};
use super::drift::{Drift, Fights};
use super::poll::{self, Poll};
use super::program::{self, Renewal, Renewer};
use super::schedule;
use super::supervisor::{notify, watchdog};
use super::watch::Source;
use super::{DaemonError, OtherSide, runs};
use crate::config::{self, Paths, Settings};
use crate::error::Problem;
use crate::report::status::{AgentStatus, RunStatus, TrialStatus, load, save};
use crate::report::{Event, EventKind, journal};
use crate::resource::ResourceId;
use crate::source::Note;
use crate::state::Cause;
use crate::system::sandbox::{self, Rules, Surroundings};
use crate::system::{clock, packages, writer};

/// Whoever waits for the remote to be reached again polls after this, whatever the back-off says.
const EAGER: Duration = Duration::from_secs(2);

/// While somebody works with packages, healing looks again after this.
const PACKAGES: Duration = Duration::from_millis(250);

/// While not everything can be watched, the whole host is looked at so often.
const BLIND_CHECK: Duration = Duration::from_secs(60);

/// The agent.
pub struct Agent {
    paths: Paths,
    settings: Settings,
    attention: Attention,
    status: AgentStatus,
    drift: Drift,
    polling: Option<JoinHandle<Poll>>,
    running: Option<(Cause, JoinHandle<Result<(), Problem>>)>,
    /// The most urgent reason to run, when one is waiting, and when it may start.
    pending: Option<(Cause, Instant)>,
    next_poll: Instant,
    next_check: Instant,
    checks: u32,
    failures: u32,
    /// What was on offer when a run was started for it: tip, approvals and heartbeat.
    seen: Option<Offer>,
    stopping: bool,
    /// What a generation on trial waits for.
    trial: Option<TrialStatus>,
    /// Whether another program is installed.
    renewer: Renewer,
    /// What is wrong with the agent itself, each told once.
    troubles: BTreeMap<Trouble, Problem>,
}

/// What the fetcher found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Offer {
    tip: String,
    approvals: Vec<String>,
    heartbeat: String,
}

/// What can be wrong with the agent itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Settings,
    Sandbox,
    Watch,
    Units,
    Fight(ResourceId),
    Poll,
    Run,
}

/// Runs until it is told to stop.
///
/// # Errors
/// The host is not enrolled, the settings are wrong, or the system has no inotify.
pub fn run(paths: &Paths) -> Result<(), Problem> {
    if !paths.trust().exists() {
        return Err(config::ConfigError::NotEnrolled { path: paths.trust() }.into());
    }
    journal::open();
    let (settings, wrong) = config::load_or_last(paths, &paths.last_settings())?;
    // While there is one thread: those that come later inherit it.
    let sandbox = sandbox::enter(&Rules::converger());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(DaemonError::Runtime)?;
    let result = runtime.block_on(async {
        let mut agent = Agent::new(paths.clone(), settings);
        agent.suffer(Trouble::Settings, wrong.map(Problem::from));
        agent.status.sandbox = Some(sandbox);
        agent.demand_sandbox();
        agent.serve().await
    });
    // A poll is a unit of its own, and is not waited for: its remote may hang.
    runtime.shutdown_background();
    result
}

impl Agent {
    fn new(paths: Paths, settings: Settings) -> Agent {
        let now = clock::moment();
        let renewer = Renewer::new();
        let status = AgentStatus {
            pid: std::process::id(),
            since: clock::now(),
            renews: renewer.is_able(),
            ..AgentStatus::default()
        };
        Agent {
            attention: Attention::new(),
            status,
            drift: Drift::default(),
            polling: None,
            running: None,
            pending: Some((Cause::Boot, now)),
            next_poll: now,
            next_check: now + settings.agent.check.duration(),
            checks: 0,
            failures: 0,
            seen: None,
            stopping: false,
            trial: None,
            renewer,
            troubles: BTreeMap::new(),
            paths,
            settings,
        }
    }

    async fn serve(mut self) -> Result<(), Problem> {
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut reload = listen(SignalKind::hangup())?;
        self.watch().await;
        self.tell(EventKind::AgentStarted, format!("abide {} watches this host", env!("CARGO_PKG_VERSION")));
        notify(&[sd_notify::NotifyState::Ready]);
        let mut heartbeat = watchdog();
        while !(self.stopping && self.running.is_none()) {
            if !self.renew().await {
                self.start_due();
            }
            if self.attention.is_due(clock::moment()) {
                self.watch().await;
            }
            self.publish();
            tokio::select! {
                _ = terminate.recv() => self.stop(),
                _ = interrupt.recv() => self.stop(),
                _ = reload.recv() => self.reload().await,
                () = heartbeat.beat() => notify(&[sd_notify::NotifyState::Watchdog]),
                () = sleep_until(clock::due(self.next_wake()).into()) => {}
                poll = finished(&mut self.polling) => self.polled(poll),
                result = run_finished(&mut self.running) => self.ran(result).await,
                heard = self.attention.heard(), if self.settings.agent.events => self.heard(heard),
            }
        }
        Ok(())
    }

    /// Has systemd start the installed program in place of this one, when it is another and no run is under way. Whether so: then nothing
    /// else is started.
    async fn renew(&mut self) -> bool {
        if self.stopping || self.running.is_some() {
            return false;
        }
        match self.renewer.due(clock::moment(), packages::under_way) {
            Renewal::None => return false,
            Renewal::Wait(_) => {}
            Renewal::Ask => {
                journal::note("another abide is installed: the agent starts again as that one");
                let asked = tokio::task::spawn_blocking(program::ask).await;
                if !matches!(asked, Ok(Ok(()))) {
                    self.stop();
                }
            }
            Renewal::End => self.stop(),
        }
        true
    }

    fn stop(&mut self) {
        self.stopping = true;
        notify(&[sd_notify::NotifyState::Stopping]);
    }

    async fn reload(&mut self) {
        notify(&[sd_notify::NotifyState::Reloading]);
        self.read_settings();
        self.next_poll = clock::moment();
        // Whoever asks wants to see what is: another setting, the end of a suspension.
        self.ask(Cause::Period, self.next_poll);
        self.watch().await;
        notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Takes the settings as they are now; wrong ones change nothing.
    fn read_settings(&mut self) {
        let wrong = config::load(&self.paths).map(|settings| self.settings = settings).err();
        self.suffer(Trouble::Settings, wrong.map(Problem::from));
        self.demand_sandbox();
    }

    /// Says what is missing of a sandbox that is required. The agent stays, to say so; fetcher and runs refuse by themselves.
    fn demand_sandbox(&mut self) {
        let required = self.settings.agent.require_sandbox;
        let sandbox = self.status.sandbox.as_ref();
        let missing = sandbox.and_then(|found| found.demand(required, "agent", Surroundings::Unit).err());
        self.suffer(Trouble::Sandbox, missing.map(Problem::from));
    }

    /// Notes what is wrong with the agent, or that it is no longer; tells it when it is new.
    fn suffer(&mut self, trouble: Trouble, problem: Option<Problem>) {
        let before = match problem.clone() {
            Some(problem) => self.troubles.insert(trouble, problem),
            None => self.troubles.remove(&trouble),
        };
        if let Some(problem) = problem.filter(|problem| before.as_ref() != Some(problem)) {
            self.tell_problem(EventKind::RunFailed, &problem);
        }
        self.status.problems = self.troubles.values().cloned().collect();
    }

    /// Starts a poll or a run when it is due and nothing of its kind is under way.
    fn start_due(&mut self) {
        let now = clock::moment();
        if self.stopping {
            return;
        }
        if self.polling.is_none() && now >= self.next_poll {
            self.polling = Some(tokio::task::spawn_blocking(poll::start(&self.paths, &self.settings)));
        }
        if now >= self.next_check {
            self.next_check = now + self.settings.agent.check.duration();
            self.ask(Cause::Period, now);
        }
        if self.drift.is_due(now) {
            self.ask(Cause::Drift, self.drift.not_before(now));
        }
        for resource in self.drift.over(now) {
            self.tell_fight_is_over(resource);
        }
        self.let_packages_finish(now);
        if self.running.is_none()
            && let Some((cause, _)) = self.pending.take_if(|(_, at)| now >= *at)
        {
            self.checks += u32::from(cause == Cause::Period);
            let every = self.settings.agent.rehash_every;
            let rehash = cause == Cause::Period && every > 0 && self.checks.is_multiple_of(every);
            let leave = self.drift.begins(cause, now);
            let run = runs::start(&self.paths, cause, rehash, &leave);
            self.running = Some((cause, tokio::task::spawn_blocking(run)));
        }
    }

    /// Puts healing off while somebody works with packages: a service that is stopped for an upgrade is no drift, and starting it
    /// would make the upgrade fail.
    fn let_packages_finish(&mut self, now: Instant) {
        if self.running.is_none()
            && let Some((Cause::Drift, at)) = &mut self.pending
            && now >= *at
            && packages::under_way()
        {
            *at = now + PACKAGES;
        }
    }

    fn next_wake(&self) -> Instant {
        if self.stopping {
            // Whoever it waits for says so.
            return clock::moment() + BLIND_CHECK;
        }
        let mut next = self.next_check;
        if let Some(wake) = self.renewer.wake() {
            return wake;
        }
        for other in self.drift.next().into_iter().chain(self.attention.again()) {
            next = next.min(other);
        }
        if self.polling.is_none() {
            next = next.min(self.next_poll);
        }
        if self.running.is_none()
            && let Some((_, at)) = self.pending
        {
            next = next.min(at);
        }
        next
    }

    /// Asks for a run. One that waits already takes the earlier time, and the more telling cause.
    fn ask(&mut self, cause: Cause, at: Instant) {
        self.pending = Some(match self.pending.take() {
            Some((waiting, earlier)) => {
                (if waiting == Cause::Poll { waiting } else { cause }, earlier.min(at))
            }
            None => (cause, at),
        });
    }

    /// Something happened to what is watched.
    fn heard(&mut self, heard: Heard) {
        if heard.lost {
            self.tell(EventKind::EventsLost, "file events were lost: looking at everything".into());
        }
        self.happened(heard.sources);
    }

    fn happened(&mut self, sources: BTreeSet<Source>) {
        let at = self.drift.happened(sources, clock::moment());
        self.ask(Cause::Drift, at);
    }

    /// What is watched from now on may have changed since a run last looked there.
    fn look_once_more(&mut self) {
        let cause = self.pending.map_or(Cause::Drift, |(cause, _)| cause);
        self.ask(cause, self.drift.not_before(clock::moment()));
    }

    fn polled(&mut self, poll: Poll) {
        let Poll { note, problem } = poll;
        let reason = || problem.as_ref().map_or_else(|| reason(note.as_ref()), ToString::to_string);
        let failed = problem.is_some() || note.as_ref().is_none_or(|note| note.failures > 0);
        let before = self.failures;
        self.failures = if failed { before.saturating_add(1) } else { 0 };
        match (before, failed) {
            (0, true) => {
                self.tell(EventKind::PollFailed, format!("the branch cannot be polled: {}", reason()));
            }
            (1.., false) => self.tell(EventKind::PollRecovered, "the branch can be polled again".into()),
            _ => {}
        }
        // Told above, as what it is.
        match problem {
            Some(problem) => self.troubles.insert(Trouble::Poll, problem),
            None => self.troubles.remove(&Trouble::Poll),
        };
        self.status.problems = self.troubles.values().cloned().collect();
        let mut delay = poll::delay(&self.settings, self.failures);
        if self.trial.as_ref().is_some_and(|trial| trial.poll) {
            delay = delay.min(EAGER);
            self.ask(Cause::Trial, clock::moment());
        }
        self.next_poll = clock::moment() + delay;
        self.status.next_poll = Some(clock::now().saturating_add_unsigned(delay.as_secs()));
        self.status.backoff = (self.failures > 0)
            .then(|| format!("waiting longer after {} failed polls in a row", self.failures));
        if let Some(note) = note {
            let offer = Offer {
                tip: note.tip.clone(),
                approvals: note.approvals.clone(),
                heartbeat: note.heartbeat.clone(),
            };
            if !note.tip.is_empty() && self.seen.as_ref() != Some(&offer) {
                self.seen = Some(offer);
                self.ask(Cause::Poll, clock::moment());
            }
            self.status.poll = Some(note);
        }
    }

    async fn ran(&mut self, (cause, result): (Cause, Result<(), Problem>)) {
        let ended = result.is_ok();
        self.suffer(Trouble::Run, result.err());
        if self.troubles.contains_key(&Trouble::Settings) {
            self.read_settings();
        }
        let run: Option<RunStatus> = load(&self.paths.status());
        if self.settings.agent.events {
            let check = self.settings.agent.check.duration();
            let fights = self.drift.ended(cause, run.as_ref().filter(|_| ended), check, clock::moment());
            self.tell_fights(fights);
        }
        self.attend(run.as_ref().and_then(|run| run.trial.clone()));
        if let Some(look) = run.as_ref().and_then(|run| run.look) {
            self.ask(Cause::Health, clock::moment() + until(look));
        }
        for turn in run.iter().flat_map(RunStatus::turns) {
            let due = clock::moment().checked_add(until(turn).saturating_add(Duration::from_secs(1)));
            self.next_check = due.map_or(self.next_check, |due| self.next_check.min(due));
        }
        self.watch().await;
    }

    /// Looks at a generation on trial when it is time to, and polls at once where that is what it waits for.
    fn attend(&mut self, trial: Option<TrialStatus>) {
        if let Some(trial) = &trial {
            self.ask(Cause::Trial, clock::moment() + until(trial.look));
            if trial.poll && self.polling.is_none() {
                let eager = if self.failures == 0 { Duration::ZERO } else { EAGER };
                self.next_poll = self.next_poll.min(clock::moment() + eager);
            }
        }
        self.trial = trial;
    }

    /// Watches what the desired state in force is about.
    async fn watch(&mut self) {
        if !self.settings.agent.events {
            return;
        }
        let turned = self.attention.turn(&self.paths).await;
        self.suffer(Trouble::Watch, turned.blind);
        self.suffer(Trouble::Units, turned.deaf);
        if turned.fresh {
            self.look_once_more();
        }
        if [Trouble::Watch, Trouble::Units].iter().any(|trouble| self.troubles.contains_key(trouble)) {
            self.next_check = self.next_check.min(clock::moment() + BLIND_CHECK);
        }
        self.status.watches = turned.count;
    }

    fn tell_fights(&mut self, fights: Fights) {
        for resource in fights.begun {
            self.tell_fight(resource, None);
        }
        for resource in fights.seen {
            // Where a thing is a path, whoever wrote it left traces.
            let path = resource.name.starts_with('/').then(|| PathBuf::from(&resource.name));
            if let Some(other) = path.and_then(|path| writer::last_writer(&path)) {
                self.tell_fight(resource, Some(OtherSide(other)));
            }
        }
    }

    /// Tells a fight when it begins, and once more when something is known of the other side.
    fn tell_fight(&mut self, resource: ResourceId, other: Option<OtherSide>) {
        let fight = DaemonError::Fight { resource: resource.to_string(), times: schedule::FREE + 1, other };
        let problem = Problem::from(fight);
        let known = self.troubles.insert(Trouble::Fight(resource.clone()), problem.clone());
        self.status.problems = self.troubles.values().cloned().collect();
        if known.is_none_or(|known| known.why.is_empty() && !problem.why.is_empty()) {
            let code = Some(problem.code.clone());
            self.tell_of(EventKind::FightBegan, &resource, problem.to_string(), code);
        }
    }

    fn tell_fight_is_over(&mut self, resource: ResourceId) {
        if self.troubles.remove(&Trouble::Fight(resource.clone())).is_some() {
            self.status.problems = self.troubles.values().cloned().collect();
            let message = format!("nobody changes {resource} back any more");
            self.tell_of(EventKind::FightEnded, &resource, message, None);
        }
    }

    fn publish(&mut self) {
        let left = self.next_check.saturating_duration_since(clock::moment());
        let next_check = clock::now().saturating_add_unsigned(left.as_secs());
        // A second more or less is no news.
        if self.status.next_check.is_none_or(|known| known.abs_diff(next_check) > 1) {
            self.status.next_check = Some(next_check);
        }
        let text = serde_json::to_vec(&self.status).unwrap_or_default();
        let written = std::fs::read(self.paths.agent_status()).unwrap_or_default();
        if text != written
            && let Err(error) = save(&self.paths.agent_status(), &self.status)
        {
            tracing::debug!(target: "abide", "the agent's status cannot be written: {error}");
        }
    }

    fn tell(&self, kind: EventKind, message: String) {
        journal::write(&Event { time: clock::now(), kind: Some(kind), message, ..Event::default() });
    }

    fn tell_of(&self, kind: EventKind, resource: &ResourceId, message: String, code: Option<String>) {
        let resource = Some(resource.to_string());
        let event =
            Event { time: clock::now(), kind: Some(kind), message, resource, code, ..Event::default() };
        journal::write(&event);
    }

    fn tell_problem(&self, kind: EventKind, problem: &Problem) {
        let (message, code) = (problem.to_string(), Some(problem.code.clone()));
        journal::write(&Event { time: clock::now(), kind: Some(kind), message, code, ..Event::default() });
    }
}

/// What is left until a second since the epoch.
fn until(time: i64) -> Duration {
    Duration::from_secs(u64::try_from(time.saturating_sub(clock::now())).unwrap_or(0))
}

fn reason(note: Option<&Note>) -> String {
    let Some(note) = note else { return "the fetcher left no note".into() };
    note.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn listen(kind: SignalKind) -> Result<Signal, DaemonError> {
    signal(kind).map_err(DaemonError::Runtime)
}

/// Waits for a task; for ever when there is none. A task that panicked counts as one that found nothing.
async fn finished(task: &mut Option<JoinHandle<Poll>>) -> Poll {
    match task {
        Some(handle) => {
            let result = handle.await;
            *task = None;
            result.unwrap_or_default()
        }
        None => std::future::pending().await,
    }
}

async fn run_finished(
    task: &mut Option<(Cause, JoinHandle<Result<(), Problem>>)>,
) -> (Cause, Result<(), Problem>) {
    match task {
        Some((cause, handle)) => {
            let (cause, result) = (*cause, handle.await);
            *task = None;
            (cause, result.unwrap_or_else(|error| Err(DaemonError::Task(error.to_string()).into())))
        }
        None => std::future::pending().await,
    }
}
