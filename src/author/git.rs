//! The Git and the OpenSSH of whoever sits here, with their own configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Code, Explain, Problem, escaped};
use crate::system::exec::{self, Program};
use crate::trust::key::{KeyError, PublicKey};
use crate::trust::openpgp::Fingerprint;
use crate::trust::policy::{Holder, Policy};

/// Signing may wait for a touch of a security key.
const PATIENCE: Duration = Duration::from_secs(120);

/// What Git and OpenSSH could not do.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
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
}

impl Explain for GitError {
    fn code(&self) -> Code {
        Code(match self {
            GitError::Program { .. } => "E740",
            GitError::NoIdentity => "E741",
            GitError::NoKey => "E742",
            GitError::KeyUnreadable { .. } => "E743",
            GitError::Key(_) => "E744",
        })
    }

    fn remedy(&self) -> String {
        match self {
            GitError::Program { help, .. } => (*help).to_owned(),
            GitError::NoIdentity => "git config --global user.name 'Your Name'; git config --global user.email you@example.org".into(),
            GitError::NoKey => "git config --global gpg.format ssh; git config --global user.signingkey ~/.ssh/id_ed25519.pub — `abide init --new-key PATH` can make a key".into(),
            GitError::KeyUnreadable { .. } => "point `git config user.signingkey` at the .pub file of your key".into(),
            GitError::Key(_) => "make an Ed25519 key with `ssh-keygen -t ed25519`, or `ssh-keygen -t ed25519-sk` on a security key".into(),
        }
    }
}

/// The key that Git signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// Of OpenSSH.
    Ssh(Box<PublicKey>),
    /// Of GnuPG, by its fingerprint.
    OpenPgp(Fingerprint),
}

impl SigningKey {
    /// Its fingerprint.
    pub fn fingerprint(&self) -> String {
        match self {
            SigningKey::Ssh(key) => key.fingerprint(),
            SigningKey::OpenPgp(name) => name.to_string(),
        }
    }

    /// Whose it is under a policy.
    pub fn holder<'a>(&self, policy: &'a Policy) -> Option<&'a Holder> {
        match self {
            SigningKey::Ssh(key) => policy.holder(key),
            SigningKey::OpenPgp(name) => policy.openpgp_key(name).map(|(_, holder)| holder),
        }
    }
}

/// The Git of a working folder.
#[derive(Debug)]
pub struct Git {
    directory: PathBuf,
    attended: bool,
}

impl Git {
    /// The Git of this folder. With `attended` somebody sits at the terminal, so that a program which signs may ask him for a
    /// passphrase or a PIN; otherwise none can ask.
    pub fn at(directory: &Path, attended: bool) -> Git {
        Git { directory: directory.to_owned(), attended }
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a program and gives back how it ended.
    ///
    /// # Errors
    /// It cannot be started, or takes too long.
    pub fn program(&self, argv: &[&str], stdin: &[u8], signs: bool) -> Result<exec::Output, GitError> {
        let mut program = Program::new(argv.iter().copied());
        program.environment = std::env::vars().collect();
        program.directory = Some(self.directory.clone());
        program.timeout = PATIENCE;
        program.stdin = stdin.to_owned();
        program.limit = 1 << 20;
        let result = if signs && self.attended {
            exec::attended(&program)
        } else {
            // Nobody can answer a question here, so that none may be asked.
            program.environment.entry("SSH_ASKPASS".into()).or_insert_with(|| "/bin/false".into());
            program.environment.insert("SSH_ASKPASS_REQUIRE".into(), "force".into());
            program.environment.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
            exec::run(&program)
        };
        result.map_err(|error| GitError::Program {
            command: escaped(&argv.join(" ")),
            complaint: escaped(&Problem::from(error).to_string()),
            help: "install git and OpenSSH's ssh-keygen on this machine",
        })
    }

    /// Runs git.
    ///
    /// # Errors
    /// It fails; `help` says what to do then.
    pub fn run(&self, arguments: &[&str], help: &'static str) -> Result<String, GitError> {
        self.finish(&[&["git"], arguments].concat(), b"", false, help)
    }

    /// Runs git with something to read.
    ///
    /// # Errors
    /// See [`run`](Git::run).
    pub fn feed(&self, arguments: &[&str], stdin: &[u8], help: &'static str) -> Result<String, GitError> {
        self.finish(&[&["git"], arguments].concat(), stdin, false, help)
    }

    /// Runs git for something that is to be signed.
    ///
    /// # Errors
    /// See [`run`](Git::run).
    pub fn sign(&self, arguments: &[&str], help: &'static str) -> Result<String, GitError> {
        self.finish(&[&["git"], arguments].concat(), b"", true, help)
    }

    fn finish(
        &self,
        argv: &[&str],
        stdin: &[u8],
        signs: bool,
        help: &'static str,
    ) -> Result<String, GitError> {
        let output = self.program(argv, stdin, signs)?;
        match output.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(GitError::Program {
                command: escaped(&argv.join(" ")),
                complaint: output.complaint(),
                help,
            }),
        }
    }

    /// What Git answers, when it does.
    pub fn ask(&self, arguments: &[&str]) -> Option<String> {
        self.run(arguments, "").ok().filter(|answer| !answer.is_empty())
    }

    /// The author's address; Git must know it, and not by guessing.
    ///
    /// # Errors
    /// `E741`.
    pub fn identity(&self) -> Result<String, GitError> {
        let arguments = ["-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT"];
        let identity = self.ask(&arguments).ok_or(GitError::NoIdentity)?;
        let email = identity.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        email.map(|(email, _)| email.to_owned()).ok_or(GitError::NoIdentity)
    }

    /// The branch that is checked out, by its full name.
    pub fn branch(&self) -> Option<String> {
        self.ask(&["symbolic-ref", "-q", "HEAD"])
    }

    /// The key that Git signs with: `user.signingkey` is a key itself, or a file.
    ///
    /// # Errors
    /// `E742` to `E744`.
    pub fn signing_key(&self) -> Result<PublicKey, GitError> {
        if self.ask(&["config", "--get", "gpg.format"]).as_deref() != Some("ssh") {
            return Err(GitError::NoKey);
        }
        let Some(key) = self.ask(&["config", "--get", "user.signingkey"]) else { return self.default_key() };
        let literal = key.strip_prefix("key::").or_else(|| key.starts_with("ssh-").then_some(key.as_str()));
        if let Some(literal) = literal {
            return PublicKey::parse(literal).map_err(GitError::Key);
        }
        let path = self.ask(&["config", "--type=path", "--get", "user.signingkey"]).ok_or(GitError::NoKey)?;
        let path = self.directory.join(path);
        if path.extension().is_some_and(|extension| extension == "pub") {
            return read_key(&path);
        }
        read_key(&public_half(&path))
    }

    /// The key that Git signs with, for a policy that may know OpenPGP keys: of several that GnuPG could take, the one that the
    /// policy knows.
    ///
    /// # Errors
    /// `E742` to `E744`.
    pub fn signer(&self, policy: &Policy) -> Result<SigningKey, GitError> {
        let format = self.ask(&["config", "--get", "gpg.format"]);
        if !policy.takes_openpgp() || format.is_some_and(|format| format != "openpgp") {
            return self.signing_key().map(|key| SigningKey::Ssh(Box::new(key)));
        }
        let program = ["gpg.openpgp.program", "gpg.program"];
        let program = program.iter().find_map(|name| self.ask(&["config", "--get", name]));
        let wanted = match self.ask(&["config", "--get", "user.signingkey"]) {
            Some(key) => key,
            None => self.identity()?,
        };
        let program = program.unwrap_or_else(|| "gpg".into());
        let argv = [&program, "--batch", "--with-colons", "--list-secret-keys", "--", &wanted];
        let output = self.program(&argv, b"", false)?;
        let names = fingerprints(&String::from_utf8_lossy(&output.stdout));
        let known = names.iter().find(|name| policy.openpgp_key(name).is_some());
        known.or(names.first()).map(|name| SigningKey::OpenPgp(*name)).ok_or(GitError::NoKey)
    }

    /// Without `user.signingkey` Git asks the command in `gpg.ssh.defaultKeyCommand`, mostly `ssh-add -L`.
    fn default_key(&self) -> Result<PublicKey, GitError> {
        let command = self.ask(&["config", "--get", "gpg.ssh.defaultKeyCommand"]).ok_or(GitError::NoKey)?;
        let argv: Vec<&str> = command.split_ascii_whitespace().collect();
        let output = self.program(&argv, b"", false)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next().filter(|_| output.success()).ok_or(GitError::NoKey)?;
        PublicKey::parse(first.strip_prefix("key::").unwrap_or(first)).map_err(GitError::Key)
    }

    /// Makes a key and has Git sign with it in this repository.
    ///
    /// # Errors
    /// `ssh-keygen` or git fails.
    pub fn new_key(&self, path: &Path, email: &str) -> Result<PublicKey, GitError> {
        let text = path.to_string_lossy().into_owned();
        let argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", email, "-f", &text];
        let output = self.program(&argv, b"", false)?;
        if !output.success() {
            let help = "choose a path in an existing folder that you may write";
            return Err(GitError::Program {
                command: "ssh-keygen".into(),
                complaint: output.complaint(),
                help,
            });
        }
        let public = public_half(path);
        let help = "look at what Git says";
        self.run(&["config", "gpg.format", "ssh"], help)?;
        self.run(&["config", "user.signingkey", &public.to_string_lossy()], help)?;
        read_key(&public)
    }
}

/// The fingerprints in what `gpg --with-colons` lists: the tenth field of each `fpr` record.
fn fingerprints(listing: &str) -> Vec<Fingerprint> {
    let records = listing.lines().filter_map(|line| line.strip_prefix("fpr:"));
    records.filter_map(|record| Fingerprint::parse(record.split(':').nth(8)?)).collect()
}

/// Where `ssh-keygen` leaves the public half of a key.
pub(super) fn public_half(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// Reads a public key from its file.
///
/// # Errors
/// `E743` and `E744`.
pub fn read_key(path: &Path) -> Result<PublicKey, GitError> {
    let line = std::fs::read_to_string(path)
        .map_err(|source| GitError::KeyUnreadable { path: path.to_owned(), source })?;
    PublicKey::parse(line.trim_end()).map_err(GitError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_from_a_listing() {
        let listing = "sec:u:255:22:44AB1C91C5E86C1C:1700000000:::u:::scESC:::+::ed25519:::0:\n\
            fpr:::::::::0123456789ABCDEF0123456789ABCDEF01234567:\n\
            grp:::::::::0123456789ABCDEF0123456789ABCDEF00000000:\nfpr:short:\n";
        let names: Vec<String> = fingerprints(listing).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["0123456789ABCDEF0123456789ABCDEF01234567"]);
    }
}
