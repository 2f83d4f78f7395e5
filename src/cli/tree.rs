//! `abide tree`: roles and resources with their state.

use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::terminal::{Style, paint};
use super::{Answer, CommandError, DIFFERS, Global, OK, need_root};
use crate::error::escaped;
use crate::manifest::Desired;
use crate::report::status::{CheckStatus, Health, RunStatus, load};

/// Shows the roles of this host with their resources and health checks, and which of them are not as they should be.
#[derive(Args)]
#[command(
    after_help = "Exit code: 1 when something is not as declared, or a health check fails.\n\nExample:\n  abide tree"
)]
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
    let (_, desired) = Desired::load(&paths.desired()).ok_or(CommandError::NothingManaged)?;
    let run: RunStatus = load(&paths.status()).unwrap_or_default();
    let mut roles: BTreeMap<&str, Vec<Leaf>> = BTreeMap::new();
    for declared in &desired.rendered().resources {
        let name = declared.id.to_string();
        let sick = || run.checks.iter().find(|check| check.resources.contains(&name) && is_failing(check));
        let state = run.differing.get(&name).cloned().or_else(|| sick().map(describe));
        let state = state.unwrap_or_else(|| SYNCED.into());
        let leaf = Leaf { state, declared_in: declared.origin.to_string(), resource: name };
        roles.entry(&declared.origin.role).or_default().push(leaf);
    }
    let checks = desired.rendered().health.iter().filter_map(|health| {
        let check = run.checks.iter().find(|check| check.name == health.name)?;
        let state = if check.state == Health::Healthy { HEALTHY.into() } else { describe(check) };
        let (resource, declared_in) = (format!("health:{}", health.name), health.origin.to_string());
        Some((health.origin.role.as_str(), Leaf { resource, declared_in, state }))
    });
    checks.for_each(|(role, leaf)| roles.entry(role).or_default().push(leaf));
    let well = run.differing.is_empty() && !run.checks.iter().any(is_failing);
    global.print(&roles, || {
        let mut text =
            format!("{}  {}\n", paint(&escaped(&desired.rendered().fleet), Style::Bold), desired.revision());
        for (role, leaves) in &roles {
            let _ = writeln!(text, "└ {}", paint(&escaped(role), Style::Bold));
            for leaf in leaves {
                let good = leaf.state == SYNCED || leaf.state == HEALTHY;
                let mark = if good { paint("✓", Style::Good) } else { paint("≠", Style::Odd) };
                let note = if good { String::new() } else { format!("  {}", escaped(&leaf.state)) };
                let place = paint(&escaped(&leaf.declared_in), Style::Dim);
                let _ = writeln!(text, "   {mark} {}{note}  {place}", escaped(&leaf.resource));
            }
        }
        text
    });
    Ok(if well { OK } else { DIFFERS })
}

const SYNCED: &str = "Synced";
const HEALTHY: &str = "Healthy";

fn is_failing(check: &CheckStatus) -> bool {
    !matches!(check.state, Health::Healthy | Health::Progressing)
}

/// How a health check stands, as one that is about a resource says it.
fn describe(check: &CheckStatus) -> String {
    let error = if check.error.is_empty() { String::new() } else { format!(", {}", check.error) };
    format!("{:?}: health check `{}`{error}", check.state, check.name)
}
