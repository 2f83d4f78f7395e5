//! `abide trust reset-clock`: forget what was remembered of the time.

use crate::cli::terminal::{Style, paint};
use crate::cli::{Answer, Global, OK, need_root, suspend};
use crate::operator;
use crate::report::journal;

/// Believes the clock of this host as it is, after it was wrong.
///
/// A host judges keys by the latest time that it has seen, so that a clock that is set back revives none. Where that memory itself
/// came from a wrong clock, this forgets it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  timedatectl && abide trust reset-clock")]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// The state cannot be written.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    need_root("resetting what is remembered of the time")?;
    journal::open();
    let reset = operator::reset_clock(&global.paths())?;
    suspend::wake(global);
    global.print(&reset, || {
        let heartbeat = match reset.forgot_heartbeat {
            true => "; a heartbeat from after that was forgotten",
            false => "",
        };
        format!("{} the clock is believed as it is{heartbeat}\n", paint("✓", Style::Good))
    });
    Ok(OK)
}
