//! Throw-away hosts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::command::{Output, run};
use super::lab_script;

/// The root file system that a host starts from.
#[derive(Debug, Clone, Copy, Default)]
pub enum Root {
    /// Debian with apt.
    #[default]
    Debian,
    /// A root in which dnf and rpm rule.
    Rpm,
}

/// What a host can reach.
#[derive(Debug, Clone, Copy, Default)]
pub enum Network {
    /// Its own loopback; Git servers can be put there.
    #[default]
    Private,
    /// The other hosts of the lab, by name, and servers on the bridge.
    Bridge,
    /// All that the machine reaches, the distribution's archive for one. Ports are shared with the machine.
    Machine,
}

/// How to boot a host.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// First part of its name.
    pub name: &'static str,
    /// The root file system that it starts from.
    pub root: Root,
    /// What it can reach.
    pub network: Network,
    /// Folders or files of the machine, and where the host sees them, read-only.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// The same, which the host may write.
    pub writable: Vec<(PathBuf, PathBuf)>,
}

/// A running host; it is removed when dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
}

impl Host {
    /// Boots a host and waits until its systemd is up.
    #[track_caller]
    pub fn boot(options: HostOptions) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = if options.name.is_empty() { "host" } else { options.name };
        let name = format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = match options.root {
            Root::Debian => "debian",
            Root::Rpm => "rpm",
        };
        let network = match options.network {
            Network::Private => "private",
            Network::Bridge => "bridge",
            Network::Machine => "host",
        };
        // Made before it boots, so that a failed boot is cleaned up too.
        let host = Self { name };
        let mut arguments: Vec<String> =
            ["up", &host.name, "--root", root, "--network", network].map(String::from).into();
        for (option, binds) in [("--bind-ro", &options.binds), ("--bind", &options.writable)] {
            for (source, destination) in binds {
                arguments.push(option.into());
                arguments.push(format!("{}:{}", source.display(), destination.display()));
            }
        }
        run(lab_script("lab"), &arguments, b"").success();
        host
    }

    /// Its name, by which hosts on the bridge know each other.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the bridge.
    #[track_caller]
    pub fn address(&self) -> String {
        self.lab(&["ip"]).success().trim().to_owned()
    }

    /// Runs a command in the host.
    #[track_caller]
    pub fn exec(&self, command: &[&str]) -> Output {
        self.exec_with_input(command, b"")
    }

    /// Runs a command in the host with `input` on its standard input.
    #[track_caller]
    pub fn exec_with_input(&self, command: &[&str], input: &[u8]) -> Output {
        let arguments: Vec<&str> = ["exec", &self.name, "--"].iter().chain(command).copied().collect();
        run(lab_script("lab"), &arguments, input)
    }

    /// Runs a script with `bash -e` in the host.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        self.exec(&["bash", "-euo", "pipefail", "-c", script])
    }

    /// Content of a file in the host.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        self.exec(&["cat", "--", path]).success()
    }

    /// Writes a file in the host, with its folders and mode 0644.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        self.exec_with_input(&["install", "-D", "-m", "0644", "/dev/stdin", path], content.as_ref())
            .success();
    }

    /// Copies a file or a folder of the machine into the host.
    #[track_caller]
    pub fn push(&self, source: &Path, destination: &str) {
        let source = source.to_str().expect("paths of tests are UTF-8");
        self.lab(&["push", source, destination]).success();
    }

    /// Runs `script` until it ends with 0 and returns what it printed then. Panics when `deadline` has passed,
    /// with the last try's output and the end of the journal.
    #[track_caller]
    pub fn wait_for(&self, script: &str, deadline: Duration) -> String {
        let start = Instant::now();
        loop {
            let output = self.sh(script);
            if output.code == 0 {
                return output.stdout;
            }
            if start.elapsed() >= deadline {
                let journal = self.exec(&["journalctl", "--no-pager", "-n", "40"]).stdout;
                panic!(
                    "'{script}' did not come true on {} within {deadline:?}; last: {output:#?}\n--- journal\n{journal}",
                    self.name
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The journal of a unit since this boot, one message a line.
    #[track_caller]
    pub fn journal(&self, unit: &str) -> String {
        self.exec(&["journalctl", "--no-pager", "--sync", "-q"]).success();
        self.exec(&["journalctl", "--no-pager", "-q", "-b", "-o", "cat", "-u", unit]).success()
    }

    /// Kills all that runs in the host at once; its disk stays as it is.
    #[track_caller]
    pub fn power_cut(&self) {
        self.lab(&["kill"]).success();
    }

    /// Boots the host again after a power cut.
    #[track_caller]
    pub fn restart(&self) {
        self.lab(&["start"]).success();
    }

    /// Reboots the host in an orderly way.
    #[track_caller]
    pub fn reboot(&self) {
        self.lab(&["reboot"]).success();
    }

    /// The same command of the machine, to be run in this host's network.
    #[track_caller]
    pub fn beside(&self, command: &Command) -> Command {
        let namespace = self.lab(&["netns"]).success();
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net={}", namespace.trim())).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        inside
    }

    #[track_caller]
    fn lab(&self, command: &[&str]) -> Output {
        let arguments: Vec<&str> =
            command[..1].iter().chain([&self.name.as_str()]).chain(&command[1..]).copied().collect();
        run(lab_script("lab"), &arguments, b"")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("ABIDE_LAB_KEEP").is_some() {
            eprintln!("kept: tests/lab/lab shell {}; tests/lab/lab down {0} removes it", self.name);
            return;
        }
        let output = self.lab(&["down"]);
        if output.code != 0 {
            // Not a panic: the one that may be under way says more.
            eprintln!("could not remove host {}: {}", self.name, output.stderr);
        }
    }
}
