//! `abide diff`: what a run would change.

use clap::Args;
use std::fmt::Write as _;

use super::terminal::{Style, paint};
use super::{Answer, DIFFERS, FAILED, Global, OK, need_root};
use crate::converge::{Request, Site, converge};

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
