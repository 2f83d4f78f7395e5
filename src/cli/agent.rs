//! `abide agent`: the resident service.

use clap::Args;

use super::{Answer, Global, OK, need_root};

/// Runs the service that polls, checks and heals; started by abide.service.
#[derive(Args)]
#[command(after_help = "Example:\n  systemctl enable --now abide.service")]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// The host is not enrolled, or the event loop cannot be set up.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    need_root("the agent")?;
    crate::daemon::agent::run(&global.paths())?;
    Ok(OK)
}
