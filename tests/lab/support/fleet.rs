//! Signed fleet repositories, made by git and ssh-keygen as a person would make them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::command::{Output, complete, run};

/// A person's SSH signing key.
#[derive(Debug, Clone)]
pub struct Signer {
    name: String,
    key: PathBuf,
}

impl Signer {
    /// Name that the key's comment and commits carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The private key's file.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The public key's one line: type, data, comment.
    pub fn public_key(&self) -> String {
        let path = self.key.with_extension("pub");
        let line =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        line.trim().to_owned()
    }
}

/// A bare repository `fleet.git` in a folder to serve, a clone to commit in, and the keys.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
}

impl Fleet {
    /// An empty repository with the branch `main`.
    #[track_caller]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("abide-fleet-").tempdir().expect("a temporary folder");
        let fleet = Self { folder };
        let bare = fleet.repositories().join("fleet.git");
        fleet.git_in(fleet.folder.path(), &["init", "-q", "--bare", "-b", "main", text(&bare)]).success();
        fleet.git_in(fleet.folder.path(), &["init", "-q", "-b", "main", text(&fleet.clone_path())]).success();
        fleet.git(&["remote", "add", "origin", text(&bare)]).success();
        fleet
    }

    /// The folder of bare repositories, for a [`super::git_server::GitServer`].
    pub fn repositories(&self) -> PathBuf {
        self.folder.path().join("repositories")
    }

    /// The clone in which commits are made.
    pub fn clone_path(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    /// A new Ed25519 key.
    #[track_caller]
    pub fn signer(&self, name: &str) -> Signer {
        let key = self.folder.path().join(name);
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", text(&key)], b"").success();
        Signer { name: name.to_owned(), key }
    }

    /// Writes files of the clone, by their paths in it.
    #[track_caller]
    pub fn write(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.clone_path().join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder"))
                .expect("a folder in the clone");
            std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    /// Commits everything in the clone, signed by `signer` or by nobody; returns the commit's id.
    #[track_caller]
    pub fn commit(&self, message: &str, signer: Option<&Signer>) -> String {
        self.git(&["add", "--all"]).success();
        let name = signer.map_or("nobody", Signer::name);
        let mut arguments: Vec<String> = ["-c", &format!("user.name={name}")].map(String::from).into();
        arguments.extend(["-c".into(), format!("user.email={name}@example.org")]);
        if let Some(signer) = signer {
            arguments.extend(["-c".into(), "gpg.format=ssh".into()]);
            arguments.extend(["-c".into(), format!("user.signingkey={}", text(signer.key()))]);
        }
        arguments.extend(["commit", "-q", "--allow-empty", "-m", message].map(String::from));
        arguments.push(if signer.is_some() { "-S" } else { "--no-gpg-sign" }.into());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.git(&arguments).success();
        self.git(&["rev-parse", "HEAD"]).success().trim().to_owned()
    }

    /// Pushes the clone's HEAD to the served `main`, also where that rewinds it.
    #[track_caller]
    pub fn push(&self) {
        self.git(&["push", "-q", "--force", "origin", "HEAD:main"]).success();
    }

    /// Writes files, commits them signed and pushes; returns the commit's id.
    #[track_caller]
    pub fn publish(&self, message: &str, signer: &Signer, files: &[(&str, &str)]) -> String {
        self.write(files);
        let commit = self.commit(message, Some(signer));
        self.push();
        commit
    }

    /// Any git command in the clone.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> Output {
        self.git_in(&self.clone_path(), arguments)
    }

    #[track_caller]
    fn git_in(&self, folder: &Path, arguments: &[&str]) -> Output {
        complete(&mut git(folder, arguments), b"")
    }
}

/// git in `folder`, with nothing of the caller's own settings.
pub fn git(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.env("GIT_TERMINAL_PROMPT", "0").current_dir(folder).args(arguments);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}
