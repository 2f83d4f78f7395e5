//! `abide trust confirm`: say where a host stands that has lost its state.

use crate::cli::terminal::{self, Style, paint};
use crate::cli::{Answer, Global, OK, need_root, suspend};
use crate::converge::Site;
use crate::daemon::poll;
use crate::operator::{self, object_id};
use crate::progress::Progress;
use crate::report::journal;

/// Confirms, on a host that has lost its state, the commit at which it stands.
///
/// Compare the commit out of band first: with an author's clone, or with `abide status` of other hosts. It still has to be proven from
/// the introduction on.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  abide trust confirm 696f056d54abf2c64f8e7cc4ed5d51a8a0b1e2c3")]
pub struct Arguments {
    /// The whole name of the commit.
    commit: String,
}

/// Runs the command.
///
/// # Errors
/// Nothing was lost, or the commit is not proven by the walk from the introduction.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    need_root("confirming a commit")?;
    journal::open();
    object_id(&arguments.commit)?;
    let paths = global.paths();
    let site = Site::load(&paths)?;
    terminal::progress(Progress::Doing("polling the branch …"));
    let polled = poll::start(&site.paths, &site.settings)();
    terminal::progress_done();
    if let Some(problem) = &polled.problem {
        // What came before may be enough.
        terminal::complain(&problem.to_string());
    }
    let revision = operator::confirm(&paths, &arguments.commit)?;
    suspend::wake(global);
    global.print(&revision, || format!("{} this host stands at {revision}\n", paint("✓", Style::Good)));
    Ok(OK)
}
