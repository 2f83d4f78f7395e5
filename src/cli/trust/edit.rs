//! `abide trust add-principal` and `abide trust rotate`: change `trust.toml` in an author's work tree.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::author::{self, Edit, Edited, GitError, NewKey};
use crate::cli::terminal::{Style, paint};
use crate::cli::{Answer, Global, OK, need_folder};
use crate::error::{Code, Explain, Problem};
use crate::system::{clock, replace};
use crate::trust::key::PublicKey;
use crate::trust::openpgp::{ExportError, Fingerprint, exported};
use crate::trust::policy::POLICY_FILE;

/// Adds a principal to the policy in the work tree.
///
/// Comments, order and layout of trust.toml stay as they are, and its version is raised. Nothing is committed.
#[derive(clap::Args)]
#[command(
    after_help = "Exit code: 0 the file is written, 2 it is as it was.\n\nExamples:\n  abide trust add-principal bob --key bob.pub --scope web --not-after 2027-01-01\n  \
    abide trust add-principal bob --key 'ssh-ed25519 AAAA…' --scope web --scope base\n  abide trust add-principal carol --openpgp carol.gpg --scope web"
)]
pub struct AddPrincipal {
    /// The principal's name.
    name: String,
    /// The public key: a file, or the key itself.
    #[arg(long, required_unless_present = "openpgp")]
    key: Option<String>,
    /// An OpenPGP key instead: what `gpg --export KEY` printed, as a file.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    openpgp: Option<PathBuf>,
    /// Which key of the export signs, where it holds several.
    #[arg(long, value_name = "FINGERPRINT", requires = "openpgp", value_parser = print)]
    fingerprint: Option<Fingerprint>,
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
    /// A new OpenPGP key instead: what `gpg --export KEY` printed, as a file.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    openpgp: Option<PathBuf>,
    /// Which key of the export signs, where it holds several.
    #[arg(long, value_name = "FINGERPRINT", requires = "openpgp", value_parser = print)]
    fingerprint: Option<Fingerprint>,
    /// The key to take away: its fingerprint, a file, or the key itself.
    #[arg(long, value_name = "KEY")]
    remove: Option<String>,
    /// The last day or moment at which the new key counts.
    #[arg(long, value_name = "DATE")]
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
    /// E793: there is no key to take from an OpenPGP export.
    #[error("{} gives no key: {reason}", path.display())]
    OpenPgp {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: ExportError,
    },
}

impl Explain for FileError {
    fn code(&self) -> Code {
        Code(match self {
            FileError::Io { .. } => "E791",
            FileError::OpenPgp { .. } => "E793",
        })
    }

    fn remedy(&self) -> String {
        match self {
            FileError::Io { .. } => {
                "check the path; the folder of the fleet (`--repo`) is the one with trust.toml".into()
            }
            FileError::OpenPgp { .. } => {
                "write it with `gpg --export KEY > FILE`, and name one of its keys with `--fingerprint`"
                    .into()
            }
        }
    }
}

/// Adds a principal.
///
/// # Errors
/// The policy cannot be changed so: see [`author::EditError`].
pub fn add_principal(global: &Global, arguments: &AddPrincipal) -> Answer {
    let edit = Edit::Add(author::AddPrincipal {
        name: arguments.name.clone(),
        key: new_key(arguments.key.as_deref(), arguments.openpgp.as_deref(), arguments.fingerprint)?
            .ok_or(author::EditError::Nothing)?,
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
    let remove = arguments.remove.as_deref().map(|text| match (text.starts_with("SHA256:"), print(text)) {
        (true, _) => Ok(text.to_owned()),
        (false, Ok(name)) => Ok(name.to_string()),
        (false, Err(_)) => key(text).map(|key| key.fingerprint()),
    });
    let edit = Edit::Rotate(author::Rotate {
        name: arguments.name.clone(),
        key: new_key(arguments.key.as_deref(), arguments.openpgp.as_deref(), arguments.fingerprint)?,
        remove: remove.transpose()?,
        not_after: arguments.not_after.clone(),
    });
    change(global, &arguments.repo, &edit)
}

fn print(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).ok_or_else(|| "give the 40 hex digits of the fingerprint".into())
}

/// The new key from the command line.
fn new_key(
    ssh: Option<&str>,
    openpgp: Option<&Path>,
    wanted: Option<Fingerprint>,
) -> Result<Option<NewKey>, Problem> {
    if let Some(path) = openpgp {
        let failed = |source| FileError::Io { path: path.to_owned(), verb: "read", source };
        let export = std::fs::read(path).map_err(failed)?;
        let path = path.to_owned();
        let key = exported(&export, wanted).map_err(|reason| FileError::OpenPgp { path, reason })?;
        return Ok(Some(NewKey::OpenPgp(key)));
    }
    Ok(ssh.map(key).transpose()?.map(NewKey::Ssh))
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
