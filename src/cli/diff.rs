//! `abide diff`: what a run would change.

use clap::Args;
use std::fmt::Write as _;

use super::terminal::{Style, paint};
use super::{Answer, DIFFERS, FAILED, Global, OK, need_root};
use crate::apply::{StepOutcome, StepResult};
use crate::converge::{Request, Site, converge};
use crate::error::escaped;

/// Shows what a run would change, as unified diffs.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 nothing would change, 1 something would, 2 errors.\n\nExample:\n  abide diff\n  abide diff -o json | jq '.steps[].resource'"
)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// The plan could not be made.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    need_root("comparing the host")?;
    let site = Site::load(&global.paths())?;
    let report = converge(&site, &Request { dry_run: true, ..Request::default() }, &mut |_| {})?;
    global.print(&report.plan, || {
        let mut text = report.diff.clone();
        for problem in &report.status.problems {
            let _ =
                writeln!(text, "{} {}", paint("✗", Style::Bad), problem.to_string().replace('\n', "\n  "));
        }
        if report.plan.is_empty() && report.status.problems.is_empty() {
            let _ = writeln!(text, "{} nothing would change", paint("✓", Style::Good));
        }
        text
    });
    Ok(match (report.status.problems.is_empty(), report.plan.steps.is_empty()) {
        (false, _) => FAILED,
        (true, false) => DIFFERS,
        (true, true) => OK,
    })
}

/// One line about a step that was done.
pub(super) fn step_line(step: &StepResult) -> String {
    let (mark, style, note) = match &step.outcome {
        StepOutcome::Done => ("✓", Style::Good, String::new()),
        StepOutcome::Failed => ("✗", Style::Bad, String::new()),
        StepOutcome::Skipped { because } => ("-", Style::Dim, format!("skipped, because {because} failed")),
        StepOutcome::Reported => ("≠", Style::Odd, "only reported".into()),
    };
    let mut text =
        format!("{} {}  {}\n", paint(mark, style), escaped(&step.resource.to_string()), escaped(&note));
    if let Some(problem) = &step.problem {
        let _ = writeln!(text, "  {}", problem.to_string().replace('\n', "\n  "));
    }
    text
}
