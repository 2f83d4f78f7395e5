//! `abide guard`: what abide-guard.service runs while another version of abide has to prove itself, and what a package asks before it
//! brings one.

use clap::Args;
use std::path::PathBuf;

use super::{Answer, Global, OK, need_root};
use crate::report::journal;
use crate::{config, upgrade};

/// Returns to this version of abide unless the one that is installed works; started by abide-guard.service.
#[derive(Args)]
#[command(hide = true, after_help = "Example:\n  systemctl status abide-guard")]
pub struct Arguments {
    /// The guard's folder.
    #[arg(required_unless_present = "arm")]
    folder: Option<PathBuf>,
    /// Start the guard: another version is about to be installed.
    #[arg(long)]
    arm: bool,
}

/// Runs the command.
///
/// # Errors
/// The record cannot be read, or the former version cannot be put back; with `--arm` nothing guards what comes.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    need_root("the guard")?;
    journal::open();
    match &arguments.folder {
        Some(folder) => upgrade::watch(folder)?,
        None => {
            let paths = global.paths();
            let within = config::load(&paths).unwrap_or_default().apply.upgrade_within.seconds;
            upgrade::arm_for_others(&paths, within)
                .inspect_err(|problem| journal::note(&problem.to_string()))?;
        }
    }
    Ok(OK)
}
