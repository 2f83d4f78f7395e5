//! `abide history`: the runs that changed something, failed, or brought a new revision.

use clap::Args;
use std::fmt::Write as _;

use super::terminal::{Style, paint, when};
use super::{Answer, Global, OK, open_state};
use crate::apply::StepOutcome;
use crate::error::escaped;
use crate::state::{Run, RunResult, StepRecord};
use crate::system::clock;

/// Lists runs, newest first, or shows one run with everything it did.
#[derive(Args)]
#[command(after_help = "Example:\n  abide history\n  abide history 17\n  abide history -o json | jq '.[0]'")]
pub struct Arguments {
    /// Number of a run, to see what it did.
    run: Option<i64>,
    /// How many runs to list.
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: u32,
}

/// Runs the command.
///
/// # Errors
/// The state cannot be read, or there is no such run.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let Some(state) = open_state(global)? else {
        global.print(&Vec::<Run>::new(), || "no runs yet\n".into());
        return Ok(OK);
    };
    let now = clock::now();
    match arguments.run {
        None => {
            let runs = state.runs(arguments.limit)?;
            global.print(&runs, || list(&runs, now));
        }
        Some(id) => {
            let run = state.run(id)?.ok_or(super::CommandError::NoSuchRun { id })?;
            let steps = state.steps(id)?;
            global.print(&serde_json::json!({ "run": run, "steps": steps }), || {
                format!("{}{}", list(std::slice::from_ref(&run), now), render_steps(&steps))
            });
        }
    }
    Ok(OK)
}

fn list(runs: &[Run], now: i64) -> String {
    let mut text = String::new();
    for run in runs {
        let (mark, style) = match run.result {
            RunResult::Succeeded => ("✓", Style::Good),
            RunResult::Failed => ("✗", Style::Bad),
            RunResult::Running => ("…", Style::Odd),
            RunResult::Interrupted => ("!", Style::Odd),
        };
        let revision = run.revision.as_ref().map_or("-".into(), ToString::to_string);
        let signer = run.revision.as_ref().map_or("-", |revision| revision.signer.as_str());
        let took = run.ended.map_or(0, |ended| ended - run.started);
        let _ = writeln!(
            text,
            "{:>5} {} {}  {revision}  by {}  {:?}: {} changed, {} failed, {} skipped, {took}s",
            run.id,
            paint(mark, style),
            when(run.started, now),
            escaped(signer),
            run.cause,
            run.counts.changed,
            run.counts.failed,
            run.counts.skipped
        );
    }
    text
}

/// Shows what was done to resources.
pub(super) fn render_steps(steps: &[StepRecord]) -> String {
    let mut text = String::new();
    for step in steps {
        let (mark, style, note) = match &step.outcome {
            StepOutcome::Done => ("✓", Style::Good, String::new()),
            StepOutcome::Failed => ("✗", Style::Bad, reason(step)),
            StepOutcome::Skipped { because } => {
                ("-", Style::Dim, format!("  skipped, because {because} failed"))
            }
            StepOutcome::Waiting => ("…", Style::Odd, "  waits".into()),
            StepOutcome::Reported => ("≠", Style::Odd, "  only reported".into()),
        };
        let head = format!("{}  {}", step.resource, step.summary);
        let _ = writeln!(
            text,
            "      {} {}{note}  ({})",
            paint(mark, style),
            escaped(&head),
            escaped(&step.origin)
        );
    }
    text
}

fn reason(step: &StepRecord) -> String {
    step.problem.as_ref().map(|problem| format!("  {}", escaped(&problem.what))).unwrap_or_default()
}
