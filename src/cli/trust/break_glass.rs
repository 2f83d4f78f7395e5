//! `abide trust break-glass`: a signed exception for one host, made by its author or used on the host.

use std::path::{Path, PathBuf};

use crate::author::{Git, GitError};
use crate::cli::terminal::{self, Style, paint};
use crate::cli::{Answer, Global, OK, need_root, suspend};
use crate::config::Span;
use crate::error::{Problem, escaped};
use crate::operator::{self, object_id, read_statement};
use crate::report::journal;
use crate::system::clock;
use crate::trust::exception::{Exception, LONGEST, NAMESPACE};

/// Moves this host to a commit, as a statement says that is signed with a break-glass key of its root of trust.
///
/// It is for a host that is stranded, such as one that followed a stolen key before it was revoked. No signature is skipped: the commit
/// is proven from the introduction on. The statement is for one host, counts for at most 7 days, is used once, and never comes through
/// Git.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  abide trust show                      # on the host: its id and its fleet\n  abide trust break-glass --make --host ID --fleet FLEET --commit COMMIT --key ~/.ssh/glass > statement\n  abide trust break-glass statement      # on the host, as root"
)]
pub struct Arguments {
    /// The statement.
    #[arg(required_unless_present = "make")]
    file: Option<PathBuf>,
    /// Make a statement and print it, instead of using one.
    #[arg(long, conflicts_with = "file", requires_all = ["host", "fleet", "commit", "key"])]
    make: bool,
    /// The host's id, as `abide trust show` prints it there.
    #[arg(long, requires = "make")]
    host: Option<String>,
    /// The fleet's identity, from its `trust.toml`.
    #[arg(long, requires = "make")]
    fleet: Option<String>,
    /// The whole name of the commit to move to.
    #[arg(long, requires = "make")]
    commit: Option<String>,
    /// The key to sign with: its file, as for `ssh-keygen -Y sign -f`.
    #[arg(long, value_name = "FILE", requires = "make")]
    key: Option<PathBuf>,
    /// How long the statement counts, at most 7 days.
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = at_most_a_week)]
    length: Span,
}

fn at_most_a_week(text: &str) -> Result<Span, String> {
    let span = Span::parse(text)?;
    match i64::try_from(span.seconds) {
        Ok(1..=LONGEST) => Ok(span),
        _ => Err("a statement counts for at most 7 days".into()),
    }
}

/// Runs the command.
///
/// # Errors
/// The statement cannot be made, or does not count here and now, or its commit is not proven.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let Some(file) = &arguments.file else { return make(arguments) };
    need_root("breaking the glass")?;
    journal::open();
    let revision = operator::break_glass(&global.paths(), &read_statement(file)?)?;
    suspend::wake(global);
    global.print(&revision, || format!("{} this host is moved to {revision}\n", paint("✓", Style::Good)));
    Ok(OK)
}

fn make(arguments: &Arguments) -> Answer {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let commit = text(&arguments.commit);
    object_id(&commit)?;
    let length = i64::try_from(arguments.length.seconds).unwrap_or(LONGEST);
    let exception = Exception {
        fleet: text(&arguments.fleet),
        host: text(&arguments.host),
        commit,
        expires: clock::now().saturating_add(length),
        nonce: nonce()?,
    };
    let statement = exception.text().map_err(operator::OperatorError::Statement)?;
    let key = arguments.key.clone().unwrap_or_default();
    terminal::data(&format!("{statement}{}", sign(&key, &statement)?));
    Ok(OK)
}

fn nonce() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| GitError::Program {
        command: "getrandom".into(),
        complaint: escaped(&error.to_string()),
        help: "let the system gather randomness, and try again",
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn sign(key: &Path, text: &str) -> Result<String, Problem> {
    use std::io::IsTerminal as _;
    let git = Git::at(Path::new("."), std::io::stderr().is_terminal());
    let key = key.to_string_lossy();
    let argv = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", &key];
    let output = git.program(&argv, text.as_bytes(), true)?;
    if output.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(GitError::Program {
        command: argv.join(" "),
        complaint: output.complaint(),
        help: "give the file of an Ed25519 key, or of one on a security key",
    }
    .into())
}
