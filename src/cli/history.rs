//! `abide history`: the commits that were brought to this host and what became of each; with `--runs`, every run.

use clap::Args;
use std::fmt::Write as _;

use super::terminal::{Style, paint, when};
use super::{Answer, Global, OK, open_state};
use crate::apply::StepOutcome;
use crate::error::escaped;
use crate::state::{Generation, Run, RunResult, Standing, StepRecord};
use crate::system::clock;

/// Lists the generations, newest first; or the runs, or one run with everything it did.
#[derive(Args)]
#[command(
    after_help = "Example:\n  abide history\n  abide history --runs\n  abide history --run 17\n  abide history -o json | jq '.[0]'"
)]
pub struct Arguments {
    /// List the runs that changed something, failed, or brought a new revision.
    #[arg(long, conflicts_with = "run")]
    runs: bool,
    /// Number of a run, to see what it did.
    #[arg(long, value_name = "NUMBER")]
    run: Option<i64>,
    /// How many to list.
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: u32,
}

/// Runs the command.
///
/// # Errors
/// The state cannot be read, or there is no such run.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let Some(state) = open_state(global)? else {
        global.print(&Vec::<Run>::new(), || "nothing was applied yet\n".into());
        return Ok(OK);
    };
    let now = clock::now();
    match arguments.run {
        None if arguments.runs => {
            let runs = state.runs(arguments.limit)?;
            global.print(&runs, || list(&runs, now));
        }
        None => {
            let generations = state.generations(arguments.limit)?;
            let kept = state.pinned()?.map(|pin| pin.generation);
            let in_force = kept.or_else(|| generations.first().map(|newest| newest.id));
            global.print(&generations, || render_generations(&generations, in_force, now));
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

fn render_generations(generations: &[Generation], in_force: Option<i64>, now: i64) -> String {
    let mut text = String::new();
    for generation in generations {
        let (mark, style, word) = match generation.standing {
            Standing::Good => ("✓", Style::Good, "good"),
            Standing::Trial => ("…", Style::Odd, "on trial"),
            Standing::Applying => ("…", Style::Odd, "not whole yet"),
            Standing::Passed => ("-", Style::Dim, "never found good"),
            Standing::RolledBack => ("✗", Style::Bad, "given up"),
        };
        let arrow = if in_force == Some(generation.id) { "→" } else { " " };
        let revision = &generation.revision;
        let _ = writeln!(
            text,
            "{arrow}{:>5} {} {}  {revision}  by {}  {}: {} changed, {} failed, {} ms  {}",
            generation.id,
            paint(mark, style),
            when(generation.since, now),
            escaped(&revision.signer),
            word,
            generation.counts.changed,
            generation.counts.failed,
            generation.took,
            escaped(&revision.summary),
        );
        if let Some(reason) = &generation.reason {
            let _ = writeln!(text, "        [{}] {}", reason.code, escaped(&reason.what));
        }
    }
    text
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
