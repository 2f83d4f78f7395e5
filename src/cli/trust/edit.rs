//! `abide trust add-principal` and `abide trust rotate`: change `trust.toml` in an author's work tree.

use std::path::PathBuf;

use crate::cli::{Answer, FAILED, Global};

/// Adds a principal to the policy in the work tree.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  abide trust add-principal bob --key bob.pub --scope web --not-after 2027-01-01"
)]
pub struct AddPrincipal {
    /// The principal's name.
    name: String,
    /// The public key: a file, or the key itself.
    #[arg(long)]
    key: String,
    /// A scope in which the principal may sign; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The last day or moment at which the key counts.
    #[arg(long, value_name = "DATE")]
    not_after: Option<String>,
    /// The repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
}

/// Gives a principal a new key in the policy in the work tree, and takes an old one away.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  abide trust rotate alice --key new.pub --remove SHA256:… --not-after 2027-01-01"
)]
pub struct Rotate {
    /// The principal's name.
    name: String,
    /// The new public key: a file, or the key itself.
    #[arg(long)]
    key: String,
    /// The key to take away: its fingerprint, a file, or the key itself.
    #[arg(long, value_name = "KEY")]
    remove: Option<String>,
    /// The last day or moment at which the new key counts.
    #[arg(long, value_name = "DATE")]
    not_after: Option<String>,
    /// The repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
}

/// Adds a principal.
///
/// # Errors
/// The policy cannot be changed so.
pub fn add_principal(_global: &Global, _arguments: &AddPrincipal) -> Answer {
    Ok(FAILED)
}

/// Rotates a key.
///
/// # Errors
/// The policy cannot be changed so.
pub fn rotate(_global: &Global, _arguments: &Rotate) -> Answer {
    Ok(FAILED)
}
