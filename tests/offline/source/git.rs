//! Repositories made by the real `git`, as an author makes them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use abide::config::{Limits, Paths, Source, Span};
use abide::source::{Note, fetch};
use abide::system::sandbox::{self, Rules};
use tempfile::TempDir;

/// A scratch folder with a repository, a spool and a store.
pub struct World {
    pub folder: TempDir,
}

impl World {
    pub fn new() -> World {
        World::with_format("sha1")
    }

    pub fn with_format(format: &str) -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        world.git(&["init", "-q", "-b", "main", &format!("--object-format={format}"), "."]);
        world.git(&["config", "http.receivepack", "true"]);
        world.commit("first");
        world
    }

    /// The folder that servers export.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        std::fs::create_dir_all(self.repository()).unwrap();
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.repository())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a change of one file, with this text, and returns the commit.
    pub fn commit(&self, text: &str) -> String {
        self.write("roles/web.toml", text.as_bytes());
        self.write(&format!("files/{text}"), text.as_bytes());
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", text]);
        self.tip()
    }

    /// Approves a commit with a tag, as far as an unsigned one does, and returns the tag object.
    pub fn approve(&self, name: &str, commit: &str) -> String {
        self.git(&["tag", "-f", "-a", "-m", name, &format!("abide/approve/{name}"), commit]);
        self.git(&["rev-parse", &format!("refs/tags/abide/approve/{name}")])
    }

    /// Makes this the heartbeat of `main`, and returns its commit.
    pub fn beat(&self, text: &str) -> String {
        let file = self.root().join("beat");
        std::fs::write(&file, text).unwrap();
        let blob = self.git(&["hash-object", "-w", file.to_str().unwrap()]);
        std::fs::write(&file, format!("100644 blob {blob}\theartbeat\n")).unwrap();
        self.beat_with(&self.mktree(&file))
    }

    /// Makes a heartbeat of this tree.
    pub fn beat_with(&self, tree: &str) -> String {
        let commit = self.git(&["commit-tree", "-m", "heartbeat", tree]);
        self.git(&["update-ref", "refs/heads/abide/heartbeat/main", &commit]);
        commit
    }

    /// A tree of the entries in a file, as `git ls-tree` shows them.
    pub fn mktree(&self, file: &Path) -> String {
        let output = Command::new("git")
            .arg("mktree")
            .current_dir(self.repository())
            .stdin(std::fs::File::open(file).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.repository().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn tip(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Polls these remotes.
    pub fn poll(&self, source: &Source) -> Note {
        self.poll_within(source, &Limits::default())
    }

    /// Polls under the rules that the fetcher puts on itself, as far as this machine's kernel enforces them: every transport must live with them.
    pub fn poll_within(&self, source: &Source, limits: &Limits) -> Note {
        let credentials = self.folder.path().join("credentials");
        let paths = Paths { spool: self.spool(), ..Paths::default() };
        // The unit has it already.
        std::fs::create_dir_all(&paths.spool).unwrap();
        let variable = |name: &str| match name {
            "CREDENTIALS_DIRECTORY" => Some(credentials.clone().into()),
            name => std::env::var_os(name),
        };
        let rules = Rules::fetcher(&paths, source, variable);
        let poll = || {
            let found = sandbox::enter(&rules).landlock;
            assert!(found.abi < 6 || found.enforced == sandbox::Enforced::Fully, "{found:?}");
            fetch::poll_with(source, limits, &paths.spool, Some(&credentials), 1_000_000)
        };
        std::thread::scope(|scope| scope.spawn(poll).join().unwrap())
    }

    /// Gives the fetcher a credential.
    pub fn credential(&self, name: &str, content: &str) {
        let folder = self.folder.path().join("credentials");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), content).unwrap();
    }

    /// A poll of the repository as a folder, which must be good.
    pub fn fetched(&self) -> Note {
        good(self.poll(&source(&[&self.repository().display().to_string()])))
    }
}

/// Settings for these remotes and the branch `main`.
pub fn source(urls: &[&str]) -> Source {
    Source {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        reference: "refs/heads/main".into(),
        timeout: Span::seconds(10),
        deadline: Span::seconds(20),
        ..Source::default()
    }
}

/// The note, after checking that the poll was good.
pub fn good(note: Note) -> Note {
    assert!(note.problems.is_empty() && note.failures == 0, "{note:#?}");
    note
}

/// The codes of a poll that failed.
pub fn codes(note: &Note) -> Vec<&str> {
    note.problems.iter().map(|problem| problem.code.as_str()).collect()
}
