//! `abide tree`: roles and resources with their state.

use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::terminal::{Style, paint};
use super::{Answer, CommandError, DIFFERS, Global, OK, need_root};
use crate::error::escaped;
use crate::manifest::Desired;
use crate::report::status::{RunStatus, load};

/// Shows the roles of this host, their resources, and which of them are not as declared.
#[derive(Args)]
#[command(after_help = "Exit code: 1 when something is not as declared.\n\nExample:\n  abide tree")]
pub struct Arguments {}

#[derive(serde::Serialize)]
struct Leaf {
    resource: String,
    declared_in: String,
    state: String,
}

/// Runs the command.
///
/// # Errors
/// Nothing was applied yet.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    need_root("reading the state")?;
    let paths = global.paths();
    let desired = Desired::load_any(&paths.desired()).ok_or(CommandError::NothingManaged)?;
    let run: RunStatus = load(&paths.status()).unwrap_or_default();
    let mut roles: BTreeMap<&str, Vec<Leaf>> = BTreeMap::new();
    for declared in &desired.rendered().resources {
        let name = declared.id.to_string();
        let state = run.differing.get(&name).cloned().unwrap_or_else(|| "Synced".into());
        let leaf = Leaf { state, declared_in: declared.origin.to_string(), resource: name };
        roles.entry(&declared.origin.role).or_default().push(leaf);
    }
    global.print(&roles, || {
        let mut text =
            format!("{}  {}\n", paint(&escaped(&desired.rendered().fleet), Style::Bold), desired.revision());
        for (role, leaves) in &roles {
            let _ = writeln!(text, "└ {}", paint(&escaped(role), Style::Bold));
            for leaf in leaves {
                let good = leaf.state == "Synced";
                let mark = if good { paint("✓", Style::Good) } else { paint("≠", Style::Odd) };
                let note = if good { String::new() } else { format!("  {}", escaped(&leaf.state)) };
                let place = paint(&escaped(&leaf.declared_in), Style::Dim);
                let _ = writeln!(text, "   {mark} {}{note}  {place}", escaped(&leaf.resource));
            }
        }
        text
    });
    Ok(if run.differing.is_empty() { OK } else { DIFFERS })
}
