//! `abide trust`: whom a host or a fleet trusts, and how that is changed.
//!
//! One file per subcommand, as for commands: each has its arguments and a `run`.

pub mod break_glass;
pub mod confirm;
pub mod edit;
pub mod reset_clock;
pub mod show;

use clap::Subcommand;

use super::{Answer, Global};

/// Shows whom a host or a fleet trusts, and changes it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  abide trust show                                       this host\n  abide trust show --repo .                              a fleet's repository\n  \
    abide trust add-principal bob --key bob.pub --scope web\n  abide trust rotate alice --key new.pub --remove SHA256:…"
)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Show(show::Arguments),
    AddPrincipal(edit::AddPrincipal),
    Rotate(edit::Rotate),
    Confirm(confirm::Arguments),
    BreakGlass(break_glass::Arguments),
    ResetClock(reset_clock::Arguments),
}

/// Runs the command.
///
/// # Errors
/// See the subcommands.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    match &arguments.action {
        Action::Show(arguments) => show::run(global, arguments),
        Action::AddPrincipal(arguments) => edit::add_principal(global, arguments),
        Action::Rotate(arguments) => edit::rotate(global, arguments),
        Action::Confirm(arguments) => confirm::run(global, arguments),
        Action::BreakGlass(arguments) => break_glass::run(global, arguments),
        Action::ResetClock(arguments) => reset_clock::run(global, arguments),
    }
}
