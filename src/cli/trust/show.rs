//! `abide trust show`: the root of trust and the policy in force.

use std::path::PathBuf;

use crate::cli::{Answer, Global, OK};
use crate::trust::RootOfTrust;

/// Shows whom this host trusts: its root of trust and the policy in force.
#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0, or 2 when it cannot be read.\n\nExample:\n  abide trust show\n  abide trust show --repo ."
)]
pub struct Arguments {
    /// Show the policy of this repository instead of the host's.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The root of trust cannot be read.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    let root = RootOfTrust::load(&global.paths().trust())?;
    global.print(&root.reference, || root.to_toml());
    Ok(OK)
}
