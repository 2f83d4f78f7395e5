//! `abide enroll`: make this host abide by a branch.

use clap::Args;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use super::terminal::{self, Style, paint, talk};
use super::{Answer, CommandError, DIFFERS, FAILED, Global, OK, need_root};
use crate::config::Span;
use crate::converge::{Request, Site, converge};
use crate::daemon::poll;
use crate::enroll::{EnrollError, Enrolled, Invitation, enroll, with_url};
use crate::error::{Problem, escaped};
use crate::plan::UnitAction;
use crate::progress::Progress;
use crate::report::{Event, EventKind, journal};
use crate::state::State;
use crate::system::systemd::{Systemd, UnitChange};
use crate::system::{clock, free_bytes, process_exists};
use crate::trust::IntroductionKey;
use crate::trust::key::PublicKey;

/// The service that enrolment starts.
const SERVICE: &str = "abide.service";

/// A state folder with less free space than this is complained about.
const LEAST_FREE: u64 = 200 << 20;

/// Writes the root of trust, proves it against the remote, shows what the first run would change, and starts the agent.
#[derive(Args)]
#[command(
    after_help = "`abide init` prints the line to use.\n\nExample:\n  abide enroll https://git.example/fleet.git --introduction 5a1c… --key SHA256:…\n  \
    abide enroll URL --introduction … --key … --yes      # for cloud-init\n  abide enroll --check"
)]
pub struct Arguments {
    /// The repository.
    #[arg(required_unless_present = "check")]
    url: Option<String>,
    /// The whole id of the commit that trust starts from.
    #[arg(long, value_name = "COMMIT", required_unless_present = "check", value_parser = whole_commit)]
    introduction: Option<String>,
    /// The key that signed it: its fingerprint, or the public key.
    #[arg(long, required_unless_present = "check", value_parser = IntroductionKey::parse)]
    key: Option<IntroductionKey>,
    /// The ref to follow.
    #[arg(long = "ref", default_value = "refs/heads/main")]
    reference: String,
    /// Apply only what a heartbeat names that is not older than this, such as `24h`.
    #[arg(long, value_name = "TIME", value_parser = Span::parse)]
    max_age: Option<Span>,
    /// A public key that may break the glass on this host; may be given several times.
    #[arg(long, value_name = "KEY", value_parser = break_glass_key)]
    break_glass: Vec<PublicKey>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print the two files for an image, and change nothing; needs --fleet.
    #[arg(long, requires = "fleet")]
    print: bool,
    /// The fleet's identity, from trust.toml in the repository.
    #[arg(long)]
    fleet: Option<String>,
    /// Say what is wrong with a host that is enrolled.
    #[arg(long, conflicts_with_all = ["url", "introduction", "key", "print"])]
    check: bool,
}

fn whole_commit(text: &str) -> Result<String, String> {
    match gix::ObjectId::from_hex(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("give the whole id of the commit, as `abide init` printed it".into()),
    }
}

fn break_glass_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).map_err(|error| error.to_string())
}

/// Runs the command.
///
/// # Errors
/// See [`EnrollError`]; or the introduction is refused.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    if arguments.check {
        return check(global);
    }
    let (Some(url), Some(introduction), Some(key)) =
        (&arguments.url, &arguments.introduction, &arguments.key)
    else {
        return Ok(FAILED);
    };
    let invitation = Invitation {
        url: url.clone(),
        introduction: introduction.clone(),
        key: key.clone(),
        reference: arguments.reference.clone(),
        max_age: arguments.max_age,
        break_glass: arguments.break_glass.clone(),
    };
    if let (true, Some(fleet)) = (arguments.print, &arguments.fleet) {
        print(&invitation, fleet);
        return Ok(OK);
    }
    need_root("enrolling a host")?;
    journal::open();
    terminal::progress(Progress::Doing("fetching and proving the branch …"));
    let enrolled = enroll(&global.paths(), &invitation);
    terminal::progress_done();
    let enrolled = enrolled?;
    talk(&describe(&enrolled));
    if let Err(problem) = confirm(global, arguments.yes) {
        forget(global)?;
        return Err(problem);
    }
    start(global, &invitation)?;
    global.print(&serde_json::json!({ "enrolled": true, "url": url }), || {
        format!("{} enrolled; the agent is running: abide status\n", paint("✓", Style::Good))
    });
    Ok(OK)
}

fn describe(enrolled: &Enrolled) -> String {
    let mut text =
        format!("{} the introduction is proven, fleet {}", paint("✓", Style::Good), enrolled.root.fleet);
    if let Some(verified) = &enrolled.judgement.verified {
        let revision = verified.revision();
        let _ = write!(
            text,
            "\n{} {revision} by {} is proven",
            paint("✓", Style::Good),
            escaped(&revision.signer)
        );
    }
    if let Some(rejection) = &enrolled.judgement.rejection {
        let problem = Problem::from(rejection);
        let _ = write!(text, "\n{} the newest commit is refused: {problem}", paint("✗", Style::Bad));
    }
    text
}

/// Shows what the first run would change, and asks.
fn confirm(global: &Global, yes: bool) -> Result<(), Problem> {
    let site = Site::load(&global.paths())?;
    let report = converge(&site, &Request { dry_run: true, ..Request::default() }, &mut |_| {})?;
    talk(&report.diff);
    for problem in &report.status.problems {
        terminal::complain(&problem.to_string());
    }
    talk(&format!("{} resources, {} would change", report.status.counts.resources, report.plan.steps.len()));
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::NotConfirmed.into());
    }
    talk("Enrol this host and apply this? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CommandError::NotConfirmed.into()),
    }
}

/// Takes the root of trust away again.
fn forget(global: &Global) -> Result<(), Problem> {
    crate::enroll::forget(&global.paths())?;
    let path = global.paths().trust();
    crate::system::replace::remove(&path).map_err(|source| EnrollError::Write { path, source })?;
    Ok(())
}

fn start(global: &Global, invitation: &Invitation) -> Result<(), Problem> {
    let mut state = State::open(&global.paths().state)?;
    let message = format!("enrolled with {} at introduction {}", invitation.url, invitation.introduction);
    let event = Event { time: clock::now(), kind: Some(EventKind::Enrolled), message, ..Event::default() };
    journal::write(&event);
    state.add_events(&[event])?;
    drop(state);
    let change = |action| UnitChange { unit: SERVICE.into(), action, timeout: 90 };
    let systemd = Systemd::connect()?;
    for result in systemd.change(&[change(UnitAction::Enable), change(UnitAction::Start)]) {
        result?;
    }
    Ok(())
}

fn print(invitation: &Invitation, fleet: &str) {
    let root = invitation.root(fleet);
    terminal::data(&format!(
        "# /etc/abide/trust.toml\n{}\n# /etc/abide/abide.toml\n{}",
        root.to_toml(),
        with_url("", &invitation.url)
    ));
}

/// One question about an enrolled host.
#[derive(serde::Serialize)]
struct Finding {
    question: &'static str,
    answer: String,
    good: bool,
}

fn check(global: &Global) -> Answer {
    need_root("checking an enrolled host")?;
    let paths = global.paths();
    let mut findings = Vec::new();
    let mut find = |question, result: Result<String, Problem>| {
        let good = result.is_ok();
        findings.push(Finding {
            question,
            good,
            answer: result.unwrap_or_else(|problem| problem.to_string()),
        });
    };
    let site = Site::load(&paths).and_then(Site::sound);
    find("settings and root of trust", site.as_ref().map(|_| "readable".into()).map_err(Clone::clone));
    find("state", State::open(&paths.state).map(|_| "readable".into()).map_err(Problem::from));
    let free = free_bytes(&paths.state).unwrap_or(0);
    find(
        "disk",
        match free >= LEAST_FREE {
            true => Ok(format!("{} MiB free", free >> 20)),
            false => {
                Err(CommandError::LittleSpace { path: paths.state.clone(), mebibytes: free >> 20 }.into())
            }
        },
    );
    find(
        "clock",
        match crate::system::clock_is_plausible() {
            true => Ok("plausible".into()),
            false => Err(CommandError::Clock.into()),
        },
    );
    if let Ok(site) = &site {
        let poll = poll::start(&site.paths, &site.settings)();
        let failed = poll
            .note
            .as_ref()
            .filter(|note| note.failures > 0)
            .and_then(|note| note.problems.first().cloned());
        find(
            "remote",
            match (poll.problem, failed) {
                (Some(problem), _) => Err(problem),
                (None, Some(problem)) => Err(EnrollError::Fetch {
                    url: problem.url,
                    reason: format!("[{}] {}", problem.code, problem.what),
                    remedy: problem.remedy,
                }
                .into()),
                (None, None) => Ok("answers".into()),
            },
        );
        let report = converge(site, &Request { dry_run: true, ..Request::default() }, &mut |_| {});
        find(
            "branch",
            report.and_then(|report| match report.status.problems.into_iter().next() {
                Some(problem) => Err(problem),
                None => Ok("proven, and it can be planned".into()),
            }),
        );
    }
    let agent: crate::report::status::AgentStatus =
        crate::report::status::load(&paths.agent_status()).unwrap_or_default();
    find(
        "agent",
        if process_exists(agent.pid) { Ok("running".into()) } else { Err(CommandError::NoAgent.into()) },
    );
    global.print(&findings, || findings.iter().map(line).collect());
    Ok(if findings.iter().all(|finding| finding.good) { OK } else { DIFFERS })
}

fn line(finding: &Finding) -> String {
    let mark = if finding.good { paint("✓", Style::Good) } else { paint("✗", Style::Bad) };
    format!("{mark} {}: {}\n", finding.question, finding.answer.replace('\n', "\n  "))
}
