//! `abide check`: prove a fleet's repository for every host it knows.

use std::path::{Path, PathBuf};

use super::{Answer, DIFFERS, Global, OK, Output, need_folder, terminal};
use crate::config::ConfigError;
use crate::error::Problem;
use crate::manifest::lint::lint;
use crate::manifest::prove::{Family, Proof, prove};
use crate::manifest::{FolderTree, Severity, rules};
use crate::system::clock;
use crate::system::facts::{Facts, FactsError};

/// Check a fleet's repository for every host it knows, without root and without a host.
///
/// Each host of `hosts/` is rendered with the facts recorded in `hosts/NAME.facts.json`, or else with those of an example host of
/// each family; assignments that no known host matches are rendered for an example. Exit code 1: some host would refuse it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  abide check                    the fleet in this folder\n  abide check --strict fleet     warnings count as errors"
)]
pub struct Arguments {
    /// Folder of the fleet.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Facts to use for every host, as `abide facts` printed them.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// Families of example hosts.
    #[arg(long, value_enum, default_values = ["debian", "rhel"])]
    family: Vec<Family>,
    /// Fail on warnings too.
    #[arg(long)]
    strict: bool,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    ok: bool,
    hosts: &'a [crate::manifest::prove::Proven],
    problems: Vec<Problem>,
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    need_folder(&arguments.folder)?;
    let facts = arguments.facts.as_deref().map(read_facts).transpose()?;
    let tree = FolderTree::new(&arguments.folder);
    let mut proof = prove(&tree, &arguments.family, facts.as_ref());
    proof.problems.extend(lint(&tree, clock::now()));
    proof.problems.extend(rules::lint(&tree, clock::now()));
    let warned = arguments.strict && proof.problems.count(Severity::Warning) > 0;
    let ok = proof.holds() && !warned;
    if global.output == Output::Text && !proof.problems.is_empty() {
        terminal::talk(&format!("{}\n", proof.problems.render(terminal::colours_errors())));
    }
    let report = Report { ok, hosts: &proof.hosts, problems: proof.problems.problems() };
    global.print(&report, || text(&proof, ok));
    Ok(if ok { OK } else { DIFFERS })
}

fn text(proof: &Proof, ok: bool) -> String {
    let mut text = String::new();
    for host in &proof.hosts {
        let roles = host.roles.join(", ");
        text.push_str(&format!("{}: {} resources of {roles} [{}]\n", host.host, host.resources, host.facts));
    }
    let (errors, warnings) = (proof.problems.count(Severity::Error), proof.problems.count(Severity::Warning));
    let mark = if ok {
        terminal::paint("✓", terminal::Style::Good)
    } else {
        terminal::paint("✗", terminal::Style::Bad)
    };
    text.push_str(&format!("{mark} {}, {}\n", counted(errors, "error"), counted(warnings, "warning")));
    text
}

fn counted(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// Reads facts from a file.
pub(super) fn read_facts(path: &Path) -> Result<Facts, FactsError> {
    let text = std::fs::read(path)
        .map_err(|source| FactsError::File(ConfigError::Unreadable { path: path.to_owned(), source }))?;
    Facts::recorded(&text, &path.display().to_string())
}
