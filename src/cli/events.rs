//! `abide events`: what happened, one line each.

use clap::Args;

use super::terminal::{Style, data, paint};
use super::{Answer, Global, OK, Output, open_state};
use crate::error::{escaped, escaped_json};
use crate::report::Event;
use crate::report::event::Priority;

/// Lists what happened, oldest first; with `--follow` goes on until it is interrupted.
#[derive(Args)]
#[command(
    after_help = "The same entries are in the journal: journalctl -u abide\n\nExample:\n  abide events -n 50\n  abide events --follow"
)]
pub struct Arguments {
    /// How many events to list.
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: u32,
    /// Wait for more.
    #[arg(short, long)]
    follow: bool,
}

/// Runs the command.
///
/// # Errors
/// The state cannot be read.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let mut last = 0;
    let mut limit = arguments.limit;
    loop {
        if let Some(state) = open_state(global)? {
            for (number, event) in state.events(last, limit)? {
                show(global, &event);
                last = number;
            }
        }
        if !arguments.follow {
            return Ok(OK);
        }
        limit = u32::MAX;
        crate::system::clock::wait(std::time::Duration::from_millis(500));
    }
}

fn show(global: &Global, event: &Event) {
    if global.output == Output::Json {
        // One object per line, so that a follower can read as it comes.
        data(&format!("{}\n", escaped_json(&serde_json::to_string(event).unwrap_or_default())));
        return;
    }
    let style = match event.kind.map(|kind| kind.description().priority) {
        Some(Priority::Error) => Style::Bad,
        Some(Priority::Warning) => Style::Odd,
        _ => Style::Good,
    };
    let time =
        jiff::Timestamp::from_second(event.time).map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string());
    let message = event.message.lines().map(escaped).collect::<Vec<_>>().join("\n                      ");
    data(&format!("{}  {}  {message}\n", time.unwrap_or_default(), paint("●", style)));
}
