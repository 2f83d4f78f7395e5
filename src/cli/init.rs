//! `abide init`: a fleet's repository, with a policy and a signed introduction.

use clap::Args;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::terminal::{Style, paint};
use super::{Answer, Global, OK};
use crate::author::{self, Git, GitError};
use crate::error::{Code, Explain, Problem, escaped};
use crate::source::Candidate;
use crate::source::store::Repository;
use crate::system::clock;
use crate::trust::key::PublicKey;
use crate::trust::{FreshnessRule, Introduction, IntroductionKey, RootOfTrust, judge};

const FLEET_FILE: &str = "fleet.toml";
const TRUST_FILE: &str = "trust.toml";
const ROLE_FILE: &str = "roles/base/role.toml";

/// Starts a fleet: makes a repository with a first role, a policy that trusts your key, and a signed introduction.
#[derive(Args)]
#[command(after_help = "Example:\n  abide init fleet\n  abide init fleet --new-key ~/.ssh/fleet_ed25519")]
pub struct Arguments {
    /// The repository's folder; made when it does not exist.
    #[arg(default_value = ".")]
    pub directory: PathBuf,
    /// Make a new Ed25519 key at this path and sign with it, instead of the key that Git is set to sign with.
    #[arg(long, value_name = "PATH")]
    pub new_key: Option<PathBuf>,
    /// Your name in the policy; without it, the first part of your address.
    #[arg(long)]
    pub principal: Option<String>,
    /// The fleet's name for people; without it, the folder's.
    #[arg(long)]
    pub name: Option<String>,
}

/// What stands in the way of a new fleet.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// E745: something is in the way.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// E746: the folder holds other things and is no repository.
    #[error("{} is not empty and is not the top of a Git repository", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// E747: no branch is checked out.
    #[error("the repository is not on a branch")]
    Detached,
    /// E748: a file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E749: the name is not a plain one.
    #[error("`{0}` is not a plain name")]
    Name(String),
}

impl Explain for InitError {
    fn code(&self) -> Code {
        Code(match self {
            InitError::Exists { .. } => "E745",
            InitError::NotEmpty { .. } => "E746",
            InitError::Detached => "E747",
            InitError::Write { .. } => "E748",
            InitError::Name(_) => "E749",
        })
    }

    fn remedy(&self) -> String {
        match self {
            InitError::Exists { .. } => {
                "choose another path, or move the file away; nothing is overwritten".into()
            }
            InitError::NotEmpty { .. } => {
                "choose a new folder, or run `git init` there first when its content belongs to the fleet"
                    .into()
            }
            InitError::Detached => "check out the branch that hosts are to follow: `git switch main`".into(),
            InitError::Write { .. } => "check the folder's permissions and free space".into(),
            InitError::Name(_) => "use up to 64 letters, digits and `._@+-`".into(),
        }
    }
}

/// The new fleet.
#[derive(Debug, serde::Serialize)]
pub struct Founded {
    /// The repository.
    pub directory: PathBuf,
    /// The fleet's identity.
    pub fleet: String,
    /// The branch that hosts follow.
    pub reference: String,
    /// The introduction's commit.
    pub introduction: String,
    /// The fingerprint of its key.
    pub key: String,
    /// The line that enrols a host.
    pub enroll: String,
}

/// Runs the command.
///
/// # Errors
/// See [`InitError`].
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let founded = found(arguments)?;
    global.print(&founded, || {
        format!(
            "{} {} is a fleet's repository now; its policy trusts {}\n\nPush it, then enrol each host with\n  {}\n",
            paint("✓", Style::Good),
            founded.directory.display(),
            founded.key,
            founded.enroll
        )
    });
    Ok(OK)
}

/// Makes the repository, its first files and the signed introduction.
///
/// # Errors
/// See [`InitError`]; what was written is taken away again when the commit cannot be made.
pub fn found(arguments: &Arguments) -> Result<Founded, Problem> {
    let git = repository(&arguments.directory)?;
    for file in [FLEET_FILE, TRUST_FILE, ROLE_FILE] {
        let path = git.directory().join(file);
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists { path }.into());
        }
    }
    let email = git.identity()?;
    let principal = principal(arguments.principal.as_deref(), &email)?;
    let reference = git.branch().ok_or(InitError::Detached)?;
    let key = match &arguments.new_key {
        Some(path) => new_key(&git, path, &email)?,
        None => git.signing_key()?,
    };
    let fleet = identity()?;
    let folder = git.directory().file_name().and_then(|name| name.to_str()).unwrap_or("fleet");
    let name = arguments.name.as_deref().unwrap_or(folder);
    let files = [
        (FLEET_FILE, fleet_file(name)),
        (TRUST_FILE, trust_file(&fleet, &reference, &principal, &key)),
        (ROLE_FILE, ROLE.to_owned()),
    ];
    let introduction = introduce(&git, &files)?;
    let key = IntroductionKey::Key(Box::new(key));
    let fingerprint = key.fingerprint();
    let root = RootOfTrust {
        fleet: fleet.clone(),
        reference: reference.clone(),
        introduction: Introduction { commit: introduction.clone(), key },
        freshness: FreshnessRule::default(),
        break_glass: Vec::new(),
    };
    prove(&git, &root)?;
    author::remember(&git, &introduction, &fingerprint)?;
    let url = git.ask(&["config", "--get", "remote.origin.url"]).unwrap_or_else(|| "<url>".into());
    Ok(Founded {
        enroll: format!("abide enroll {} --introduction {introduction} --key {fingerprint}", escaped(&url)),
        directory: git.directory().to_owned(),
        fleet,
        reference,
        introduction,
        key: fingerprint,
    })
}

/// A fleet's identity: random, so that no two are the same.
fn identity() -> Result<String, GitError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| GitError::Program {
        command: "getrandom".into(),
        complaint: error.to_string(),
        help: "try again; the kernel gave no random numbers",
    })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is printed must work: judge the new repository as a host will.
fn prove(git: &Git, root: &RootOfTrust) -> Result<(), Problem> {
    let repository = Repository::open(git.directory())?;
    let tip = repository.resolve("HEAD")?;
    let judgement = judge(&repository, root, None, &Candidate::at(tip), clock::now())?;
    judgement.rejection.map_or(Ok(()), |rejection| Err(rejection.into()))
}

fn principal(given: Option<&str>, email: &str) -> Result<String, InitError> {
    let plain = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte))
    };
    match given {
        Some(name) if plain(name) => Ok(name.to_owned()),
        Some(name) => Err(InitError::Name(escaped(name))),
        None => {
            let first = email.split('@').next().unwrap_or_default();
            Ok(if plain(first) { first.to_owned() } else { "admin".into() })
        }
    }
}

/// Makes the folder and the repository where they are missing.
#[expect(clippy::disallowed_methods, reason = "an author's new repository, not a managed host")]
fn repository(directory: &Path) -> Result<Git, Problem> {
    let write = |source| InitError::Write { path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(write)?;
    let directory = directory.canonicalize().map_err(write)?;
    let git = Git::at(&directory, std::io::stdin().is_terminal());
    let top = git.ask(&["rev-parse", "--show-toplevel"]);
    if top.is_some_and(|top| Path::new(&top) == directory) {
        return Ok(git);
    }
    if std::fs::read_dir(&directory).map_err(write)?.next().is_some() {
        return Err(InitError::NotEmpty { path: directory }.into());
    }
    git.run(&["init", "-q", "-b", "main"], "install git, or look at what it says")?;
    Ok(git)
}

fn new_key(git: &Git, path: &Path, email: &str) -> Result<PublicKey, Problem> {
    let path = std::path::absolute(path)
        .map_err(|source| GitError::KeyUnreadable { path: path.to_owned(), source })?;
    if path.symlink_metadata().is_ok() {
        return Err(InitError::Exists { path }.into());
    }
    Ok(git.new_key(&path, email)?)
}

/// Writes the files and commits them, signed. When that fails nothing stays.
fn introduce(git: &Git, files: &[(&str, String)]) -> Result<String, Problem> {
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let written =
        files.iter().try_for_each(|(name, content)| write_new(&git.directory().join(name), content));
    let made = written.map_err(Problem::from).and_then(|()| {
        let help = "if the key has a passphrase, load it first with `ssh-add`; then run `abide init` again";
        git.run(&["config", "commit.gpgsign", "true"], help)?;
        git.run(&[&["add", "--"], names.as_slice()].concat(), help)?;
        let message = "Introduce the fleet";
        Ok(git.sign(&[&["commit", "-q", "-S", "-m", message, "--"], names.as_slice()].concat(), help)?)
    });
    if let Err(problem) = made {
        // Only what this call has written: none of these was there before.
        let _ = git.ask(&[&["rm", "-q", "-f", "--ignore-unmatch", "--"], names.as_slice()].concat());
        for name in names {
            remove(&git.directory().join(name));
        }
        return Err(problem);
    }
    Ok(git.run(&["rev-parse", "HEAD"], "look at what Git says")?)
}

#[expect(clippy::disallowed_methods, reason = "an author's own file that this command has just written")]
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

#[expect(clippy::disallowed_methods, reason = "an author's new file, not a managed host")]
fn write_new(path: &Path, content: &str) -> Result<(), InitError> {
    let write = |source| InitError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(write)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(write)?;
    file.write_all(content.as_bytes()).map_err(write)
}

fn fleet_file(name: &str) -> String {
    let name: String =
        name.chars().filter(|character| !character.is_control() && !"\"\\".contains(*character)).collect();
    format!(
        "# Who gets what. `abide build --host NAME` shows what a host would get.\n\n\
         [fleet]\nname = \"{name}\"\nschema = 1\n\n\
         # Every host has the role `base`. Narrow further assignments with\n\
         # `when = \"host.labels.tier == 'web'\"`.\n[[assign]]\nroles = [\"base\"]\n"
    )
}

fn trust_file(fleet: &str, reference: &str, principal: &str, key: &PublicKey) -> String {
    format!(
        "# Who may change what. Hosts refuse every commit that this policy, as it was before the commit, does not allow.\n\
         # Raise the version with every change. This file can't be deleted.\n\
         version = 1\nfleet = \"{fleet}\"\nref = \"{reference}\"\n\n\
         [principal.\"{principal}\"]\nkeys = [{{ key = \"{key}\" }}]\n\n\
         # The first scope that matches a path decides who may change it.\n\
         # With a second principal, set `threshold = 2` here: then nobody changes the policy alone.\n\
         [[scope]]\nname = \"root\"\npaths = [\"trust.toml\"]\nsigners = [\"{principal}\"]\nthreshold = 1\n\n\
         [[scope]]\nname = \"everything\"\npaths = [\"**\"]\nsigners = [\"{principal}\"]\nthreshold = 1\n"
    )
}

const ROLE: &str = r#"# The role that every host has. A resource is a table: [kind.name].
# Harmless to begin with: one small file, so that the first run has something to show.

[file."/etc/abide-fleet"]
content = "This host abides by Git.\n"
mode = "0644"

# More to try:
#
# [package.htop]
# ensure = "present"
#
# [service.cron]
# enabled = true
# running = true
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::policy::Policy;

    #[test]
    fn the_first_policy_is_valid() {
        let point = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
        let key = PublicKey::from_blob(&crate::trust::key::ed25519_blob(&point)).unwrap();
        let text = trust_file("5a1c", "refs/heads/main", "a@b", &key);
        let policy = Policy::parse(text.as_bytes(), TRUST_FILE).unwrap();
        assert_eq!(
            policy.scope_of("roles/base/role.toml").map(|scope| scope.name.as_str()),
            Some("everything")
        );
        assert_eq!(policy.holder(&key).map(|holder| holder.principal.as_str()), Some("a@b"));
    }

    #[test]
    fn principals_are_named_after_addresses() {
        for (given, email, expected) in [
            (None, "alice@example.org", Some("alice")),
            (None, "\u{fc}@example.org", Some("admin")),
            (None, "", Some("admin")),
            (Some("bob"), "alice@example.org", Some("bob")),
            (Some("b b"), "alice@example.org", None),
        ] {
            assert_eq!(principal(given, email).ok().as_deref(), expected, "{given:?} {email}");
        }
    }
}
