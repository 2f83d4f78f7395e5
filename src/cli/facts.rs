//! `abide facts`: what a manifest can ask about this host.

use super::{Answer, Global, OK, terminal};
use crate::system::facts::Facts;

/// Print the facts of this host as JSON.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  abide facts > hosts/web-01.facts.json   record them, so that `abide check` uses them"
)]
pub struct Arguments {}

/// Runs the command.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    let facts = Facts::gather(&global.paths().facts())?;
    // Facts are plain data with string keys: they always serialise.
    let json = serde_json::to_string_pretty(&facts).unwrap_or_default();
    terminal::data(&format!("{}\n", crate::error::escaped_json(&json)));
    Ok(OK)
}
