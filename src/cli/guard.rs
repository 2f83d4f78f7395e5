//! `abide guard`: what abide-guard.service runs while another version of abide has to prove itself.

use clap::Args;
use std::path::PathBuf;

use super::{Answer, OK, need_root};
use crate::report::journal;
use crate::upgrade;

/// Returns to this version of abide unless the one that is installed works; started by abide-guard.service.
#[derive(Args)]
#[command(hide = true, after_help = "Example:\n  systemctl status abide-guard")]
pub struct Arguments {
    /// The guard's folder.
    folder: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The record cannot be read, or the former version cannot be put back.
pub fn run(arguments: &Arguments) -> Answer {
    need_root("the guard")?;
    journal::open();
    upgrade::watch(&arguments.folder)?;
    Ok(OK)
}
