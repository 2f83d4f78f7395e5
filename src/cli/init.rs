//! `abide init`: a fleet's repository, with a policy and a signed introduction.

use clap::Args;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::terminal::{Style, paint};
use super::{Answer, Global, OK};
use crate::error::{Code, Explain, Problem, escaped};
use crate::source::Candidate;
use crate::source::store::Repository;
use crate::system::clock;
use crate::system::exec::{self, Program};
use crate::trust::key::{KeyError, PublicKey};
use crate::trust::{FreshnessRule, Introduction, IntroductionKey, RootOfTrust, judge};

/// Signing may wait for a touch of a security key.
const PATIENCE: Duration = Duration::from_secs(120);

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
    /// E740: git or ssh-keygen failed.
    #[error("`{command}` failed: {complaint}")]
    Program {
        /// The command.
        command: String,
        /// What it said.
        complaint: String,
        /// What to do.
        help: &'static str,
    },
    /// E741: Git does not know who makes the commit.
    #[error("Git does not know your name and address")]
    NoIdentity,
    /// E742: Git has no SSH key to sign with.
    #[error("Git is not set to sign with an SSH key")]
    NoKey,
    /// E743: the key cannot be read.
    #[error("the public key {} cannot be read", path.display())]
    KeyUnreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E744: the key is not one that hosts accept.
    #[error("the key cannot be used: {0}")]
    Key(KeyError),
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
            InitError::Program { .. } => "E740",
            InitError::NoIdentity => "E741",
            InitError::NoKey => "E742",
            InitError::KeyUnreadable { .. } => "E743",
            InitError::Key(_) => "E744",
            InitError::Exists { .. } => "E745",
            InitError::NotEmpty { .. } => "E746",
            InitError::Detached => "E747",
            InitError::Write { .. } => "E748",
            InitError::Name(_) => "E749",
        })
    }

    fn remedy(&self) -> String {
        match self {
            InitError::Program { help, .. } => (*help).to_owned(),
            InitError::NoIdentity => "git config --global user.name 'Your Name'; git config --global user.email you@example.org".into(),
            InitError::NoKey => "git config --global gpg.format ssh; git config --global user.signingkey ~/.ssh/id_ed25519.pub — or let `--new-key PATH` make a key".into(),
            InitError::KeyUnreadable { .. } => "point `git config user.signingkey` at the .pub file of your key".into(),
            InitError::Key(_) => "make an Ed25519 key with `--new-key PATH`, or `ssh-keygen -t ed25519-sk` for a security key".into(),
            InitError::Exists { .. } => "choose another path, or move the file away; nothing is overwritten".into(),
            InitError::NotEmpty { .. } => "choose a new folder, or run `git init` there first when its content belongs to the fleet".into(),
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
    let author = Author::at(&arguments.directory)?;
    for file in [FLEET_FILE, TRUST_FILE, ROLE_FILE] {
        let path = author.directory.join(file);
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists { path }.into());
        }
    }
    let email = author.identity()?;
    let principal = principal(arguments.principal.as_deref(), &email)?;
    let reference = author.branch()?;
    let key = match &arguments.new_key {
        Some(path) => author.new_key(path, &email)?,
        None => author.signing_key()?,
    };
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| InitError::Program {
        command: "getrandom".into(),
        complaint: error.to_string(),
        help: "try again; the kernel gave no random numbers",
    })?;
    let fleet: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = author.directory.file_name().and_then(|name| name.to_str()).unwrap_or("fleet");
    let name = arguments.name.as_deref().unwrap_or(folder);
    let files = [
        (FLEET_FILE, fleet_file(name)),
        (TRUST_FILE, trust_file(&fleet, &reference, &principal, &key)),
        (ROLE_FILE, ROLE.to_owned()),
    ];
    let introduction = author.introduce(&files)?;
    let key = IntroductionKey::Key(Box::new(key));
    let fingerprint = key.fingerprint();
    let root = RootOfTrust {
        fleet: fleet.clone(),
        reference: reference.clone(),
        introduction: Introduction { commit: introduction.clone(), key },
        freshness: FreshnessRule::default(),
        break_glass: Vec::new(),
    };
    prove(&author, &root)?;
    let url = author.ask(&["config", "--get", "remote.origin.url"]).unwrap_or_else(|| "<url>".into());
    Ok(Founded {
        enroll: format!("abide enroll {} --introduction {introduction} --key {fingerprint}", escaped(&url)),
        directory: author.directory,
        fleet,
        reference,
        introduction,
        key: fingerprint,
    })
}

/// What is printed must work: judge the new repository as a host will.
fn prove(author: &Author, root: &RootOfTrust) -> Result<(), Problem> {
    let repository = Repository::open(&author.directory)?;
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

/// An author's repository and the Git that he uses, with his own configuration.
struct Author {
    directory: PathBuf,
}

impl Author {
    /// Makes the folder and the repository where they are missing.
    #[expect(clippy::disallowed_methods, reason = "an author's new repository, not a managed host")]
    fn at(directory: &Path) -> Result<Author, InitError> {
        let write = |source| InitError::Write { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(write)?;
        let author = Author { directory: directory.canonicalize().map_err(write)? };
        let top = author.ask(&["rev-parse", "--show-toplevel"]);
        if top.is_some_and(|top| Path::new(&top) == author.directory) {
            return Ok(author);
        }
        if std::fs::read_dir(&author.directory).map_err(write)?.next().is_some() {
            return Err(InitError::NotEmpty { path: author.directory });
        }
        author.git(&["init", "-q", "-b", "main"], "install git, or look at what it says")?;
        Ok(author)
    }

    fn program(&self, argv: &[&str]) -> Result<exec::Output, InitError> {
        let mut program = Program::new(argv.iter().copied());
        // An author's Git needs his home, agent and settings. Nobody can answer a question here, so that none may be asked.
        program.environment = std::env::vars().collect();
        program.environment.entry("SSH_ASKPASS".into()).or_insert_with(|| "/bin/false".into());
        program.environment.insert("SSH_ASKPASS_REQUIRE".into(), "force".into());
        program.directory = Some(self.directory.clone());
        program.timeout = PATIENCE;
        exec::run(&program).map_err(|error| InitError::Program {
            command: argv.join(" "),
            complaint: escaped(&Problem::from(error).to_string()),
            help: "install git and OpenSSH's ssh-keygen on this machine",
        })
    }

    fn git(&self, arguments: &[&str], help: &'static str) -> Result<String, InitError> {
        let argv = [&["git"], arguments].concat();
        let output = self.program(&argv)?;
        match output.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(InitError::Program {
                command: escaped(&argv.join(" ")),
                complaint: output.complaint(),
                help,
            }),
        }
    }

    /// What Git answers, when it does.
    fn ask(&self, arguments: &[&str]) -> Option<String> {
        self.git(arguments, "").ok().filter(|answer| !answer.is_empty())
    }

    /// The author's address; Git must know it, and not by guessing.
    fn identity(&self) -> Result<String, InitError> {
        let arguments = ["-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"];
        let identity = self.ask(&arguments).ok_or(InitError::NoIdentity)?;
        let email = identity.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        email.map(|(email, _)| email.to_owned()).ok_or(InitError::NoIdentity)
    }

    fn branch(&self) -> Result<String, InitError> {
        self.ask(&["symbolic-ref", "-q", "HEAD"]).ok_or(InitError::Detached)
    }

    fn new_key(&self, path: &Path, email: &str) -> Result<PublicKey, InitError> {
        let path = std::path::absolute(path)
            .map_err(|source| InitError::KeyUnreadable { path: path.to_owned(), source })?;
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists { path });
        }
        let text = path.to_string_lossy().into_owned();
        let argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", email, "-f", &text];
        let output = self.program(&argv)?;
        if !output.success() {
            let help = "choose a path in an existing folder that you may write";
            return Err(InitError::Program {
                command: "ssh-keygen".into(),
                complaint: output.complaint(),
                help,
            });
        }
        let public = public_half(&path);
        let help = "look at what Git says";
        self.git(&["config", "gpg.format", "ssh"], help)?;
        self.git(&["config", "user.signingkey", &public.to_string_lossy()], help)?;
        read_key(&public)
    }

    /// The key that Git signs with: `user.signingkey` is a key itself, or a file.
    fn signing_key(&self) -> Result<PublicKey, InitError> {
        if self.ask(&["config", "--get", "gpg.format"]).as_deref() != Some("ssh") {
            return Err(InitError::NoKey);
        }
        let key = self.ask(&["config", "--get", "user.signingkey"]).ok_or(InitError::NoKey)?;
        let literal = key.strip_prefix("key::").or_else(|| key.starts_with("ssh-").then_some(key.as_str()));
        if let Some(literal) = literal {
            return PublicKey::parse(literal).map_err(InitError::Key);
        }
        let path =
            self.ask(&["config", "--type=path", "--get", "user.signingkey"]).ok_or(InitError::NoKey)?;
        let path = self.directory.join(path);
        if path.extension().is_some_and(|extension| extension == "pub") {
            return read_key(&path);
        }
        read_key(&public_half(&path))
    }

    /// Writes the files and commits them, signed. When that fails nothing stays.
    fn introduce(&self, files: &[(&str, String)]) -> Result<String, InitError> {
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        let made =
            files.iter().try_for_each(|(name, content)| write_new(&self.directory.join(name), content));
        let made = made.and_then(|()| {
            let help =
                "if the key has a passphrase, load it first with `ssh-add`; then run `abide init` again";
            self.git(&["config", "commit.gpgsign", "true"], help)?;
            self.git(&[&["add", "--"], names.as_slice()].concat(), help)?;
            let message = "Introduce the fleet";
            self.git(&[&["commit", "-q", "-S", "-m", message, "--"], names.as_slice()].concat(), help)
        });
        if let Err(error) = made {
            // Only what this call has written: none of these was there before.
            let _ = self.ask(&[&["rm", "-q", "-f", "--ignore-unmatch", "--"], names.as_slice()].concat());
            for name in names {
                remove(&self.directory.join(name));
            }
            return Err(error);
        }
        self.git(&["rev-parse", "HEAD"], "look at what Git says")
    }
}

#[expect(clippy::disallowed_methods, reason = "an author's own file that this command has just written")]
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Where `ssh-keygen` leaves the public half of a key.
fn public_half(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

fn read_key(path: &Path) -> Result<PublicKey, InitError> {
    let line = std::fs::read_to_string(path)
        .map_err(|source| InitError::KeyUnreadable { path: path.to_owned(), source })?;
    PublicKey::parse(line.trim_end()).map_err(InitError::Key)
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
