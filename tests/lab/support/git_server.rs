//! Real Git servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::command::{Output, run};
use super::host::Host;
use super::lab_script;

/// Where a server is reached.
#[derive(Debug, Clone, Copy, Default)]
pub enum Place<'host> {
    /// The machine's loopback, which hosts on the machine's network share.
    #[default]
    Machine,
    /// A private host's own loopback.
    In(&'host Host),
    /// The lab's bridge, for all hosts on it.
    Bridge,
}

/// What an https server asks of its clients, and how well it serves them.
#[derive(Debug, Clone, Default)]
pub struct HttpsOptions {
    /// Demanded as a bearer token, or as the password of the user `git`.
    pub token: Option<String>,
    /// Demand a certificate of the server's authority.
    pub client_certificate: bool,
    /// At most so many bytes a second.
    pub rate: Option<u32>,
}

/// A server for a folder of bare repositories; it ends when dropped.
#[derive(Debug)]
pub struct GitServer {
    arguments: Vec<String>,
    state: TempDir,
    facts: BTreeMap<String, String>,
}

impl GitServer {
    /// `git http-backend` behind nginx with TLS.
    #[track_caller]
    pub fn https(repositories: &Path, place: Place<'_>, options: &HttpsOptions) -> Self {
        let mut more = Vec::new();
        if let Some(token) = &options.token {
            more.extend(["--token".to_owned(), token.clone()]);
        }
        if options.client_certificate {
            more.push("--client-certificate".to_owned());
        }
        if let Some(rate) = options.rate {
            more.extend(["--rate".to_owned(), rate.to_string()]);
        }
        Self::start_new("https", repositories, place, more)
    }

    /// An `sshd` of its own that speaks only Git.
    #[track_caller]
    pub fn ssh(repositories: &Path, place: Place<'_>) -> Self {
        Self::start_new("ssh", repositories, place, Vec::new())
    }

    /// `git daemon`.
    #[track_caller]
    pub fn git(repositories: &Path, place: Place<'_>) -> Self {
        Self::start_new("git", repositories, place, Vec::new())
    }

    /// No server: the folder itself, as a local medium. Bind it into the host.
    #[track_caller]
    pub fn path(repositories: &Path) -> Self {
        Self::start_new("path", repositories, Place::Machine, Vec::new())
    }

    #[track_caller]
    fn start_new(kind: &str, repositories: &Path, place: Place<'_>, more: Vec<String>) -> Self {
        let state = tempfile::Builder::new().prefix("abide-git-").tempdir().expect("a temporary folder");
        let repositories = repositories.to_str().expect("paths of tests are UTF-8");
        let folder = state.path().to_str().expect("paths of tests are UTF-8");
        let mut arguments: Vec<String> =
            ["start", kind, "--repositories", repositories, "--state", folder].map(String::from).into();
        match place {
            Place::Machine => {}
            Place::In(host) => arguments.extend(["--in".to_owned(), host.name().to_owned()]),
            Place::Bridge => arguments.extend(["--in".to_owned(), "bridge".to_owned()]),
        }
        arguments.extend(more);
        // Made before it starts, so that a half-started one is stopped too.
        let mut server = Self { arguments, state, facts: BTreeMap::new() };
        server.facts = run(lab_script("git-server"), &server.arguments, b"")
            .success()
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        server
    }

    /// URL of the repository `NAME.git` in the served folder.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.facts["URL"])
    }

    /// The TCP port that it listens on.
    #[track_caller]
    pub fn port(&self) -> u16 {
        let port = self.facts["URL"].rsplit(':').next().and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("{} has no port", self.facts["URL"]))
    }

    /// The authority that signed an https server's certificate.
    pub fn authority(&self) -> PathBuf {
        self.file("CA")
    }

    /// Certificate and key of a client that the https server accepts.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        (self.file("CLIENT_CERTIFICATE"), self.file("CLIENT_KEY"))
    }

    /// The private key that the ssh server accepts.
    pub fn ssh_key(&self) -> PathBuf {
        self.file("SSH_KEY")
    }

    /// The ssh server's line for `known_hosts`.
    pub fn known_hosts(&self) -> PathBuf {
        self.file("KNOWN_HOSTS")
    }

    /// Ends the server: connections are refused. `start` brings it back, same port and keys.
    #[track_caller]
    pub fn stop(&self) {
        self.control("stop").success();
    }

    /// Starts a stopped server again.
    #[track_caller]
    pub fn start(&self) {
        run(lab_script("git-server"), &self.arguments, b"").success();
    }

    /// From now on connections are accepted and never answered, until `thaw`.
    #[track_caller]
    pub fn freeze(&self) {
        self.control("freeze").success();
    }

    /// Wakes a frozen server.
    #[track_caller]
    pub fn thaw(&self) {
        self.control("thaw").success();
    }

    fn file(&self, key: &str) -> PathBuf {
        PathBuf::from(
            self.facts.get(key).unwrap_or_else(|| panic!("this server has no {key}: {:?}", self.facts)),
        )
    }

    #[track_caller]
    fn control(&self, command: &str) -> Output {
        run(lab_script("git-server"), &[command.as_ref(), self.state.path().as_os_str()], b"")
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        let output = self.control("stop");
        if output.code != 0 {
            eprintln!("could not stop a Git server: {}", output.stderr);
        }
    }
}
