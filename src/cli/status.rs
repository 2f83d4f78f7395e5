//! `abide status`: one screen that says how the host is.

use clap::Args;
use std::fmt::Write as _;

use super::terminal::{Style, ago, paint, when};
use super::{Answer, DIFFERS, Global, OK};
use crate::config::Paths;
use crate::error::escaped;
use crate::report::status::{
    AgentStatus, CheckStatus, Health, NewsStatus, RebootStatus, RunStatus, Status, Sync, Waiting, load,
};
use crate::state::Pin;
use crate::trust::{FreshnessMode, Revision};

/// Shows revision, signer, sync, health, what differs, the last and the next poll.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 synced and healthy, 1 anything else.\n\nExample:\n  abide status\n  abide status -o json | jq .run.revision.commit"
)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// None: a status that cannot be read is shown as unknown.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    let status = gather(&global.paths());
    let now = crate::system::clock::now();
    global.print(&status, || render(&status, now));
    Ok(if status.is_well() { OK } else { DIFFERS })
}

/// Collects the status from the files that run and agent leave.
pub fn gather(paths: &Paths) -> Status {
    let agent: Option<AgentStatus> = load(&paths.agent_status());
    let mut status = Status {
        host: crate::system::host_name(),
        enrolled: paths.trust().exists(),
        run: load(&paths.status()),
        agent: agent.filter(|agent| crate::system::process_exists(agent.pid)),
        ..Status::default()
    };
    status.judge();
    status
}

fn render(status: &Status, now: i64) -> String {
    let mut text = format!("{}  {}\n", paint("Host", Style::Bold), status.host);
    if !status.enrolled {
        let _ = writeln!(text, "{}", paint("not enrolled", Style::Odd));
        text.push_str("  do: run the `abide enroll …` line that `abide init` printed for your fleet\n");
        return text;
    }
    let style = |good: bool| if good { Style::Good } else { Style::Bad };
    let (sync, health) = (format!("{:?}", status.sync), format!("{:?}", status.health));
    let _ = writeln!(text, "Sync      {}", paint(&sync, style(status.sync == Sync::Synced)));
    let _ = writeln!(text, "Health    {}", paint(&health, style(status.health == Health::Healthy)));
    match &status.run {
        Some(run) => render_run(&mut text, run, now),
        None => {
            text.push_str("No run yet since the host started.\n  do: `abide sync`, or wait for the agent\n")
        }
    }
    render_agent(&mut text, status.agent.as_ref(), now);
    render_sandbox(&mut text, status);
    text
}

/// Which layers confine which process.
fn render_sandbox(text: &mut String, status: &Status) {
    let run = status.run.as_ref().and_then(|run| run.sandbox.as_ref());
    let agent = status.agent.as_ref();
    let fetcher = agent.and_then(|agent| agent.poll.as_ref()?.sandbox.as_ref());
    let processes =
        [("run", run), ("agent", agent.and_then(|agent| agent.sandbox.as_ref())), ("fetcher", fetcher)];
    for (place, (process, sandbox)) in
        processes.into_iter().filter_map(|(process, sandbox)| Some((process, sandbox?))).enumerate()
    {
        let label = if place == 0 { "Sandbox" } else { "" };
        // The fetcher's note is believed by nobody: it is shown as what it is.
        let note = if process == "fetcher" { "; by its own words" } else { "" };
        let _ = writeln!(text, "{label:<9} {process}: {}{note}", escaped(&sandbox.to_string()));
    }
}

fn render_run(text: &mut String, run: &RunStatus, now: i64) {
    match &run.revision {
        Some(revision) => render_revision(text, "Revision", revision),
        None => text.push_str("Revision  none applied yet\n"),
    }
    if let Some(verified) = &run.verified {
        render_revision(text, "Proven", verified);
    }
    let counts = run.counts;
    let _ = writeln!(
        text,
        "Resources {} declared, {} changed, {} failed, {} skipped, {} left",
        counts.resources, counts.changed, counts.failed, counts.skipped, counts.left
    );
    let _ =
        writeln!(text, "Last run  {}, took {} ms, because of {}", when(run.time, now), run.took, run.cause);
    if let Some(suspended) = &run.suspended {
        let until = suspended.until.map_or("until `abide resume`".into(), |until| {
            format!("ends {}, or by `abide resume`", ago(until, now))
        });
        let _ = writeln!(
            text,
            "{} by {}: {} ({until})",
            paint("Suspended", Style::Odd),
            escaped(&suspended.by),
            escaped(&suspended.reason)
        );
    }
    if let Some(reboot) = &run.reboot {
        render_reboot(text, reboot, now);
    }
    if let Some(waiting) = &run.waiting {
        text.push_str(&self::waiting(waiting, now));
    }
    if let Some(pin) = &run.pinned {
        render_pin(text, pin, now);
    }
    if let Some(trial) = &run.trial {
        let waiting = trial.waiting.join(", ");
        let head = paint("On trial", Style::Odd);
        let _ = writeln!(
            text,
            "{head}  until {} at most; waiting for {}",
            when(trial.until, now),
            escaped(&waiting)
        );
    }
    render_checks(text, &run.checks, now);
    if let Some(news) = &run.news {
        render_news(text, news, now);
    }
    if let Some(trusted) = run.clock {
        let _ = writeln!(text, "{} keys are judged by {}", paint("Clock", Style::Odd), when(trusted, now));
    }
    if let Some(pending) = &run.pending {
        let _ = writeln!(text, "{} {}", paint("…", Style::Odd), pending.to_string().replace('\n', "\n  "));
    }
    for (resource, difference) in &run.differing {
        let _ = writeln!(text, "  {} {}  {}", paint("≠", Style::Odd), escaped(resource), escaped(difference));
    }
    for owed in &run.owed {
        let _ = writeln!(text, "  {} owed: {}", paint("…", Style::Odd), escaped(owed));
    }
    for problem in &run.problems {
        let _ = writeln!(text, "{} {}", paint("✗", Style::Bad), problem.to_string().replace('\n', "\n  "));
    }
}

/// How many health checks are good, and each that is not.
fn render_checks(text: &mut String, checks: &[CheckStatus], now: i64) {
    let is_good = |check: &&CheckStatus| check.state == Health::Healthy;
    if checks.is_empty() {
        return;
    }
    let good = checks.iter().filter(is_good).count();
    let _ = writeln!(text, "Checks    {good} of {} healthy", checks.len());
    for check in checks.iter().filter(|check| !is_good(check)) {
        let style = if check.state == Health::Progressing { Style::Odd } else { Style::Bad };
        let state = paint(&format!("{:?}", check.state), style);
        let about = check.resources.join(", ");
        let about = if about.is_empty() { about } else { format!("  ({about})") };
        let error = if check.error.is_empty() { String::new() } else { format!(": {}", check.error) };
        let (name, since) = (escaped(&check.name), when(check.since, now));
        let _ = writeln!(text, "  {state} {name}{} since {since}{}", escaped(&about), escaped(&error));
    }
}

fn render_reboot(text: &mut String, reboot: &RebootStatus, now: i64) {
    let why = escaped(&reboot.needed.join("; "));
    let _ = writeln!(text, "{}    needed: {why}", paint("Reboot", Style::Odd));
    if let Some(waits) = &reboot.waits {
        let next = reboot.next.map_or(String::new(), |next| format!(", next look {}", when(next, now)));
        let _ = writeln!(text, "          waits: {}{next}", escaped(waits));
    }
}

/// What waits for a window, and until when.
pub(super) fn waiting(waiting: &Waiting, now: i64) -> String {
    let until = waiting.until.map_or("nobody knows when".into(), |until| when(until, now));
    let lines = waiting.what.iter().map(|what| format!("{} {}\n", paint("…", Style::Odd), escaped(what)));
    lines.chain([format!("     opens {until}\n")]).collect()
}

fn render_pin(text: &mut String, pin: &Pin, now: i64) {
    let by = if pin.by.is_empty() { "abide".into() } else { escaped(&pin.by) };
    let head = paint("Kept", Style::Odd);
    let _ =
        writeln!(text, "{head}      generation {} since {}, by {by}", pin.generation, when(pin.since, now));
    let _ = writeln!(text, "          because: {}", escaped(&pin.reason.what));
    let _ = writeln!(text, "          ends with a commit newer than {:.12}, or by `abide resume`", pin.from);
}

fn render_news(text: &mut String, news: &NewsStatus, now: i64) {
    // Time goes on after the run that looked.
    let stale = news.stale || news.until.is_none_or(|until| until < now);
    let mode = match news.mode {
        FreshnessMode::Require => "required",
        FreshnessMode::Warn => "only reported",
    };
    let state = match (stale, news.until) {
        (false, Some(until)) => format!("fresh, {mode}, ends {}", ago(until, now)),
        (true, Some(until)) => format!("stale, {mode}, ended {}", ago(until, now)),
        (_, None) => format!("stale, {mode}, no heartbeat has ever counted"),
    };
    let style = if stale { Style::Bad } else { Style::Good };
    let _ = writeln!(text, "News      {}", paint(&state, style));
    if let Some(heartbeat) = &news.heartbeat {
        let (issued, expires) = (when(heartbeat.issued, now), when(heartbeat.expires, now));
        let _ = writeln!(text, "          heartbeat {} of {issued}, expires {expires}", heartbeat.sequence);
        let _ = writeln!(text, "          signed by {}", escaped(&heartbeat.key));
    }
    if let Some(problem) = &news.problem {
        let _ = writeln!(text, "{} {}", paint("…", Style::Odd), problem.to_string().replace('\n', "\n  "));
    }
}

fn render_revision(text: &mut String, label: &str, revision: &Revision) {
    let _ = writeln!(text, "{label:<9} {revision}  {}", escaped(&revision.summary));
    let _ = writeln!(text, "          signed by {} ({})", escaped(&revision.signer), revision.key);
}

fn render_agent(text: &mut String, agent: Option<&AgentStatus>, now: i64) {
    let Some(agent) = agent else {
        let _ = writeln!(text, "{} the agent is not running", paint("✗", Style::Bad));
        text.push_str("  do: systemctl enable --now abide.service\n");
        return;
    };
    for problem in &agent.problems {
        let _ = writeln!(text, "{} {}", paint("✗", Style::Bad), problem.to_string().replace('\n', "\n  "));
    }
    match &agent.poll {
        Some(note) => {
            let result = match note.failures {
                0 => format!("ok, {}", escaped(&note.url)),
                _ => "failed".to_owned(),
            };
            let _ = writeln!(text, "Last poll {}, {result}", when(note.time, now));
            if note.failures > 0 {
                for problem in &note.problems {
                    let head = problem.to_string();
                    let _ = writeln!(
                        text,
                        "{} {}\n     do: {}",
                        paint("✗", Style::Bad),
                        escaped(&head),
                        escaped(&problem.remedy)
                    );
                }
            }
        }
        None => text.push_str("Last poll none yet\n"),
    }
    if let Some(next) = agent.next_poll {
        let why = agent.backoff.as_deref().map(|why| format!(", {why}")).unwrap_or_default();
        let due = if next > now { ago(next, now) } else { "due".into() };
        let _ = writeln!(text, "Next poll {due}{why}");
    }
    let _ = writeln!(text, "Agent     running since {}, {} watches", when(agent.since, now), agent.watches);
}
