//! `abide sync`: converge now. The agent runs the same command for every poll, check and drift.

use clap::Args;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::terminal::{self, Style, paint};
use super::{Answer, CommandError, FAILED, Global, OK, WAITS, need_root};
use crate::apply::{StepOutcome, StepResult};
use crate::converge::{Report, Request, Site, converge, report_failure};
use crate::daemon::{poll, program};
use crate::error::{Problem, escaped};
use crate::progress::Progress;
use crate::report::status::{Health, Sync, load};
use crate::report::{journal, status};
use crate::resource::ResourceId;
use crate::state::Cause;
use crate::system::sandbox::{self, Confinement, Rules, Surroundings};

/// Fetches, proves, plans and applies, now.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 the host is as the branch declares, 2 it is not, 3 not yet: applying is suspended, a window is not open, or the commit is on trial.\n\nExample:\n  abide sync\n  \
    abide sync --dry-run\n  abide sync --only file:/etc/motd --only service:nginx"
)]
pub struct Arguments {
    /// Only these resources, as `kind:name`.
    #[arg(long, value_name = "KIND:NAME", value_parser = parse_id)]
    only: Vec<ResourceId>,
    /// Poll, and show what would change; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Let the agent do it, and wait for the result.
    #[arg(long)]
    wait: bool,
    /// Do not poll first.
    #[arg(long)]
    no_fetch: bool,
    /// Remove what left the branch, even if it is more than the settings allow in one run.
    #[arg(long)]
    prune: bool,
    /// Take a new revision, even if it changes more of what is in force than the settings allow.
    #[arg(long)]
    all_changes: bool,
    /// Do not wait for windows to open.
    #[arg(long)]
    ignore_windows: bool,
    /// Apply this once although applying is suspended; the suspension stays.
    #[arg(long)]
    ignore_suspension: bool,
    /// Read every file's content again, instead of trusting fingerprints.
    #[arg(long)]
    rehash: bool,
    /// Report these and leave them as they are; set by the agent while somebody keeps changing them back.
    #[arg(long, hide = true, value_parser = parse_id)]
    leave: Vec<ResourceId>,
    /// Why the run is made; set by the agent.
    #[arg(long, hide = true, value_parser = parse_cause, default_value = "operator")]
    cause: Cause,
}

fn parse_id(text: &str) -> Result<ResourceId, String> {
    ResourceId::parse(text)
        .ok_or_else(|| format!("`{text}` is not of the form kind:name, such as file:/etc/motd"))
}

fn parse_cause(text: &str) -> Result<Cause, String> {
    Cause::from_word(text).ok_or_else(|| format!("`{text}` is no cause of a run"))
}

/// Runs the command.
///
/// # Errors
/// The run could not begin.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    need_root("converging a host")?;
    let by_hand = arguments.cause == Cause::Operator;
    journal::open();
    let paths = global.paths();
    let site = Site::load(&paths).inspect_err(|problem| {
        // Without a root of trust there is nothing that a run could fail at.
        if paths.trust().exists() && !arguments.dry_run {
            report_failure(&paths, arguments.cause, problem);
        }
    })?;
    if arguments.wait {
        return wait(global, &site);
    }
    let sandbox = confine(&site, by_hand).inspect_err(|problem| {
        if !arguments.dry_run {
            report_failure(&paths, arguments.cause, problem);
        }
    })?;
    let polled = !by_hand || arguments.no_fetch || fetch(&site);
    let request = Request {
        cause: arguments.cause,
        only: arguments.only.iter().cloned().collect::<BTreeSet<_>>(),
        left: arguments.leave.iter().cloned().collect(),
        prune: arguments.prune,
        all_changes: arguments.all_changes,
        ignore_windows: arguments.ignore_windows,
        ignore_suspension: arguments.ignore_suspension,
        dry_run: arguments.dry_run,
        rehash: arguments.rehash,
        pin: None,
        sandbox: Some(sandbox),
    };
    let status = match by_hand {
        true => converge_by_hand(global, &site, &request, !arguments.no_fetch)?,
        false => converge_as_told(&site, &request)?,
    };
    Ok(if polled { exit_code(&status) } else { FAILED })
}

/// Converges for the agent: nobody watches.
fn converge_as_told(site: &Site, request: &Request) -> Result<status::RunStatus, Problem> {
    let report = converge(site, request, &mut |progress| match progress {
        // The journal has what is done when it is done; what is waited for is worth an entry before.
        Progress::Waiting(text) => journal::note(text),
        Progress::Doing(_) => {}
    })?;
    Ok(report.status)
}

/// Converges, and shows it to whoever asked for it. What only waits for the remote to be reached again is judged at once, where it may
/// be polled.
pub(super) fn converge_by_hand(
    global: &Global,
    site: &Site,
    request: &Request,
    poll: bool,
) -> Result<status::RunStatus, Problem> {
    let mut report = converge(site, request, &mut |progress| terminal::progress(progress))?;
    terminal::progress_done();
    if poll && report.status.trial.as_ref().is_some_and(|trial| trial.poll) && fetch(site) {
        let again = Request { cause: Cause::Trial, sandbox: request.sandbox.clone(), ..Request::default() };
        let status = converge(site, &again, &mut |progress| terminal::progress(progress))?.status;
        terminal::progress_done();
        report.status = status::RunStatus { counts: report.status.counts, ..status };
    }
    global.print(&report.status, || render(&report, request.dry_run));
    if !request.dry_run && (report.status.look.is_some() || report.status.trial.is_some()) {
        wake_agent(site);
    }
    Ok(report.status)
}

/// Has the agent see that there is something to be looked at again, which it does as after its own runs.
fn wake_agent(site: &Site) {
    let agent: status::AgentStatus = load(&site.paths.agent_status()).unwrap_or_default();
    // One that was started by hand, if any, is not systemd's to tell.
    if crate::system::process_exists(agent.pid)
        && let Err(error) = program::wake()
    {
        terminal::talk(&format!("the agent could not be told; it looks with its next check ({error})"));
    }
}

/// Puts the sandbox around this process, once there is nothing left to do that leaves it.
pub(super) fn confine(site: &Site, by_hand: bool) -> Result<Confinement, Problem> {
    let sandbox = sandbox::enter(&Rules::converger());
    let surroundings = if by_hand { Surroundings::Shell } else { Surroundings::Unit };
    sandbox.demand(site.settings.agent.require_sandbox, "converger", surroundings)?;
    Ok(sandbox)
}

fn exit_code(status: &status::RunStatus) -> u8 {
    let well = status.sync == Sync::Synced && status.health == Health::Healthy;
    let held = status.suspended.is_some() || status.waiting.is_some() || status.trial.is_some();
    match (well, status.problems.is_empty() && status.counts.failed + status.counts.skipped == 0 && held) {
        (true, _) => OK,
        (false, true) => WAITS,
        (false, false) => FAILED,
    }
}

/// Polls before a run by hand. A remote that does not answer does not keep the host from being converged to what is known.
/// Whether one did.
fn fetch(site: &Site) -> bool {
    terminal::progress(Progress::Doing("polling the branch …"));
    let poll = poll::start(&site.paths, &site.settings)();
    terminal::progress_done();
    let failed = poll.note.iter().any(|note| note.failures > 0);
    if let Some(problem) = &poll.problem {
        terminal::complain(&problem.to_string());
    }
    for problem in poll.note.iter().filter(|note| note.failures > 0).flat_map(|note| &note.problems) {
        terminal::complain(&escaped(&problem.to_string()));
        terminal::talk(&format!("     do: {}", escaped(&problem.remedy)));
    }
    poll.problem.is_none() && !failed
}

/// Tells the agent to poll and run, and waits until it has.
fn wait(global: &Global, site: &Site) -> Answer {
    let paths = &site.paths;
    let agent: status::AgentStatus = load(&paths.agent_status()).unwrap_or_default();
    if !crate::system::process_exists(agent.pid) {
        return Err(CommandError::NoAgent.into());
    }
    let before: Option<status::RunStatus> = load(&paths.status());
    crate::system::signal_reload(agent.pid).map_err(|source| CommandError::Signal { source })?;
    loop {
        crate::system::clock::wait(std::time::Duration::from_millis(100));
        if terminal::watched() {
            terminal::progress(Progress::Waiting("waiting for the agent …"));
        }
        let polled: status::AgentStatus = load(&paths.agent_status()).unwrap_or_default();
        let now: Option<status::RunStatus> = load(&paths.status());
        let done = polled.poll != agent.poll
            && now.as_ref().map(|run| run.time) >= before.as_ref().map(|run| run.time);
        let caught_up = match (&polled.poll, &now) {
            (Some(note), Some(run)) => note.failures > 0 || run.seen.as_deref() == Some(note.tip.as_str()),
            _ => false,
        };
        // A commit on trial may still be given up.
        let decided = now.as_ref().is_some_and(|run| run.trial.is_none() || run.pinned.is_some());
        if let Some(run) = now.filter(|_| done && caught_up && decided) {
            terminal::progress_done();
            let code = exit_code(&run);
            global.print(&run, || headline(&run));
            return Ok(code);
        }
    }
}

fn headline(run: &status::RunStatus) -> String {
    let revision = run.revision.as_ref().map_or("no revision".into(), ToString::to_string);
    format!("{:?}, {:?} at {revision}\n", run.sync, run.health)
}

fn render(report: &Report, dry_run: bool) -> String {
    let mut text = String::new();
    if dry_run {
        text.push_str(&report.diff);
    }
    for step in &report.outcome.steps {
        let planned = report.plan.steps.iter().find(|planned| planned.resource == step.resource);
        text.push_str(&step_line(step, planned.map_or("", |planned| &planned.change.summary)));
    }
    let run = &report.status;
    let told: Vec<&Problem> = report.outcome.steps.iter().filter_map(|step| step.problem.as_ref()).collect();
    for problem in run.problems.iter().filter(|problem| !told.contains(problem)) {
        let _ = writeln!(text, "{} {}", paint("✗", Style::Bad), shown(problem));
    }
    if let Some(suspended) = &run.suspended {
        let _ = writeln!(
            text,
            "{} applying is suspended by {}: {}",
            paint("…", Style::Odd),
            escaped(&suspended.by),
            escaped(&suspended.reason)
        );
        text.push_str(
            "     do: `abide resume` ends it, `abide sync --ignore-suspension` applies once in spite of it\n",
        );
    }
    if let Some(waiting) = &run.waiting {
        text.push_str(&super::status::waiting(waiting, run.time));
        text.push_str("     do: wait, or run `abide sync --ignore-windows`\n");
    }
    let counts = run.counts;
    if let Some(pin) = &run.pinned {
        let until = "until a newer commit arrives, or `abide resume`";
        let _ = writeln!(text, "{} generation {} is kept {until}", paint("→", Style::Odd), pin.generation);
    }
    let _ = write!(text, "{}", headline(run));
    let _ = writeln!(
        text,
        "{} resources, {} changed, {} failed, {} skipped, {} left, in {} ms",
        counts.resources, counts.changed, counts.failed, counts.skipped, counts.left, run.took
    );
    text
}

fn shown(problem: &Problem) -> String {
    problem.to_string().replace('\n', "\n  ")
}

/// What became of a step, and why it failed.
fn step_line(step: &StepResult, summary: &str) -> String {
    let (mark, style, note) = match &step.outcome {
        StepOutcome::Done => ("✓", Style::Good, String::new()),
        StepOutcome::Failed => ("✗", Style::Bad, String::new()),
        StepOutcome::Skipped { because } => {
            ("-", Style::Dim, format!(" (skipped, because {because} failed)"))
        }
        StepOutcome::Waiting => ("…", Style::Odd, " (waits)".into()),
        StepOutcome::Reported => ("≠", Style::Odd, " (only reported)".into()),
    };
    let what = escaped(&format!("{}  {summary}{note}", step.resource));
    let mut text = format!("{} {what}\n", paint(mark, style));
    if let Some(problem) = &step.problem {
        let _ = writeln!(text, "  {}", shown(problem));
    }
    text
}
