//! A repository of a fleet and the people who work in it, each with a key of his own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::trust::lab::Lab;

/// The policy says who signs what; see the lab.
pub struct Desk {
    pub lab: Lab,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    #[track_caller]
    pub fn ok(self) -> Outcome {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// It must have failed with this code, and said what to do.
    #[track_caller]
    pub fn failed(self, code: &str) -> Outcome {
        assert_eq!(self.code, 2, "{}\n{}", self.out, self.err);
        assert!(self.err.contains(&format!("[{code}]")) && self.err.contains("do: "), "{code}: {}", self.err);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Desk {
    /// The usual repository, which knows its introduction.
    pub fn new() -> Desk {
        let lab = Lab::new();
        lab.git(&["config", "abide.introduction", &lab.root.introduction.commit]);
        lab.git(&["config", "abide.key", &lab.root.introduction.key.fingerprint()]);
        Desk { lab }
    }

    pub fn folder(&self) -> PathBuf {
        self.lab.path().parent().unwrap().to_owned()
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Runs abide in the repository as somebody whose Git signs with the key of that name.
    pub fn abide(&self, signer: &str, arguments: &[&str]) -> Outcome {
        let key = self.key(signer);
        self.with(&[("gpg.format", "ssh"), ("user.signingkey", key.to_str().unwrap())], &[], arguments)
    }

    /// Runs abide with a configuration of Git and variables of the environment.
    pub fn with(&self, config: &[(&str, &str)], variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_abide"));
        command.args(arguments).current_dir(self.lab.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.folder());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let people = [("user.name", "Somebody"), ("user.email", "somebody@example.org")];
        let settings: Vec<_> = people.iter().chain(config).collect();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (position, (name, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{position}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{position}"), value);
        }
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        let output = command.output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A change of the vault by alice, which waits for somebody else.
    pub fn waiting(&self) -> String {
        self.lab.write("roles/vault/role.toml", "[file.\"/etc/vault\"]\ncontent = \"new\\n\"\n");
        self.lab.commit("alice", "Change the vault").to_string()
    }

    /// Whether hosts would apply the newest commit.
    pub fn accepted(&self) -> bool {
        let outcome = self.abide("alice", &["verify", "--repo", ".", "-o", "json"]);
        outcome.json()["accepted"].as_bool().unwrap()
    }

    /// A bare repository that this one pushes to.
    pub fn remote(&self) -> PathBuf {
        let bare = self.folder().join("remote.git");
        self.lab.git(&["init", "-q", "--bare", bare.to_str().unwrap()]);
        self.lab.git(&["remote", "add", "origin", bare.to_str().unwrap()]);
        self.lab.git(&["push", "-q", "origin", "main"]);
        bare
    }
}

/// An agent of OpenSSH that ends with its test.
pub struct Agent {
    socket: PathBuf,
    pid: String,
}

impl Agent {
    /// Starts an agent that holds this key.
    pub fn with(folder: &Path, key: &Path) -> Agent {
        let socket = folder.join("agent");
        let output = Command::new("ssh-agent").arg("-s").arg("-a").arg(&socket).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let pid =
            text.split("SSH_AGENT_PID=").nth(1).and_then(|rest| rest.split(';').next()).unwrap().to_owned();
        let agent = Agent { socket, pid };
        let added =
            Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).status().unwrap();
        assert!(added.success());
        agent
    }

    pub fn socket(&self) -> &str {
        self.socket.to_str().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.pid).status();
    }
}
