//! `abide trust add-principal` and `abide trust rotate`: change `trust.toml` in an author's work tree.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::author::{self, Edit, Edited, GitError};
use crate::cli::terminal::{Style, paint};
use crate::cli::{Answer, Global, OK, need_folder};
use crate::error::{Code, Explain, Problem};
use crate::system::{clock, replace};
use crate::trust::key::PublicKey;
use crate::trust::policy::POLICY_FILE;

/// Adds a principal to the policy in the work tree.
///
/// Comments, order and layout of trust.toml stay as they are, and its version is raised. Nothing is committed.
#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 the file is written, 2 it is as it was.\n\nExamples:\n  abide trust add-principal bob --key bob.pub --scope web --not-after 2027-01-01\n  \
    abide trust add-principal bob --key 'ssh-ed25519 AAAA…' --scope web --scope base"
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
    /// The folder of the fleet.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
}

/// Gives a principal a new key in the policy in the work tree, and takes an old one away.
///
/// A signer whose key the policy itself hangs on rotates in two commits: one that adds the new key, signed with the old one, and
/// one that takes the old key away, signed with the new one.
#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 the file is written, 2 it is as it was.\n\nExamples:\n  abide trust rotate alice --key new.pub --not-after 2027-01-01\n  \
    abide trust rotate alice --remove SHA256:…"
)]
pub struct Rotate {
    /// The principal's name.
    name: String,
    /// The new public key: a file, or the key itself.
    #[arg(long)]
    key: Option<String>,
    /// The key to take away: its fingerprint, a file, or the key itself.
    #[arg(long, value_name = "KEY")]
    remove: Option<String>,
    /// The last day or moment at which the new key counts.
    #[arg(long, value_name = "DATE", requires = "key")]
    not_after: Option<String>,
    /// The folder of the fleet.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
}

/// Why the file cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// E791: the policy cannot be read or written.
    #[error("{} cannot be {verb}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for FileError {
    fn code(&self) -> Code {
        Code("E791")
    }

    fn remedy(&self) -> String {
        "give the folder of the fleet with `--repo`, the one with trust.toml; `abide init` makes one".into()
    }
}

/// Adds a principal.
///
/// # Errors
/// The policy cannot be changed so: see [`author::EditError`].
pub fn add_principal(global: &Global, arguments: &AddPrincipal) -> Answer {
    let edit = Edit::Add(author::AddPrincipal {
        name: arguments.name.clone(),
        key: key(&arguments.key)?,
        scopes: arguments.scopes.clone(),
        not_after: arguments.not_after.clone(),
    });
    change(global, &arguments.repo, &edit)
}

/// Rotates a key.
///
/// # Errors
/// The policy cannot be changed so: see [`author::EditError`].
pub fn rotate(global: &Global, arguments: &Rotate) -> Answer {
    let remove = arguments.remove.as_deref().map(|text| match text.starts_with("SHA256:") {
        true => Ok(text.to_owned()),
        false => key(text).map(|key| key.fingerprint()),
    });
    let edit = Edit::Rotate(author::Rotate {
        name: arguments.name.clone(),
        key: arguments.key.as_deref().map(key).transpose()?,
        remove: remove.transpose()?,
        not_after: arguments.not_after.clone(),
    });
    change(global, &arguments.repo, &edit)
}

/// A public key from the command line: the key itself, or its file.
fn key(text: &str) -> Result<PublicKey, GitError> {
    if text.starts_with("ssh-") || text.starts_with("sk-ssh-") {
        return PublicKey::parse(text).map_err(GitError::Key);
    }
    author::read_key(Path::new(text))
}

fn change(global: &Global, folder: &Path, edit: &Edit) -> Answer {
    need_folder(folder)?;
    let path = folder.join(POLICY_FILE);
    let failed = |verb| {
        let path = path.clone();
        move |source| Problem::from(FileError::Io { path, verb, source })
    };
    let text = std::fs::read_to_string(&path).map_err(failed("read"))?;
    let edited = author::edit(&text, edit, clock::now())?;
    replace::replace(&path, edited.text.as_bytes(), mode(&path)).map_err(failed("written"))?;
    global.print(&edited, || describe(&path, &edited));
    Ok(OK)
}

/// The file keeps its mode.
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().map_or(0o644, |metadata| metadata.permissions().mode() & 0o7777)
}

fn describe(path: &Path, edited: &Edited) -> String {
    let mut text = format!("{} {}\n", paint("✓", Style::Good), path.display());
    for line in &edited.done {
        let _ = writeln!(text, "  {line}");
    }
    let able = edited.able.join(", ");
    let _ = match edited.threshold {
        1 => writeln!(
            text,
            "\nIt counts once one of these has signed it: {able}.\n  git diff {POLICY_FILE}\n  git commit -S -m '{}' {POLICY_FILE}",
            edited.subject
        ),
        number => writeln!(
            text,
            "\nIt counts once {number} of these have signed it: {able}.\n  git diff {POLICY_FILE}\n  git commit -S -m '{}' {POLICY_FILE}      # the first\n  abide approve      # each other one",
            edited.subject
        ),
    };
    text
}
