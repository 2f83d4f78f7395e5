//! A host that is enrolled with a fleet of its own: the whole product, installed as its package would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::command::Output;
use super::fleet::{Fleet, Signer};
use super::git_server::{GitServer, Place};
use super::host::{Host, HostOptions, Network, Root};

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Who starts runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// Nobody but the test: the agent polls and checks once a day and watches nothing.
    #[default]
    Manual,
    /// The agent: it polls every second and heals drift by events.
    Live,
    /// Events and nothing else: the agent polls and checks once a day.
    Events,
    /// The agent, with short patience for everything: polls, checks, answers of the server.
    Hasty,
}

/// How the fleet reaches the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Served {
    /// By `git daemon` on the host's own loopback.
    #[default]
    Daemon,
    /// As a folder of the host, which outlives its power cuts.
    Folder,
    /// By `git daemon` on the lab's bridge: there is a real link to be cut.
    Bridge,
    /// By `sshd` on the lab's bridge.
    Ssh,
}

/// How to set up a site.
#[derive(Debug, Clone, Default)]
pub struct SiteOptions<'a> {
    /// First part of the host's name.
    pub name: &'static str,
    /// The root file system that the host starts from.
    pub root: Root,
    /// Who starts runs.
    pub pace: Pace,
    /// How the fleet reaches the host.
    pub served: Served,
    /// More lines for `abide.toml`; tables only.
    pub settings: &'a str,
    /// Files of the fleet's first commit, beside `fleet.toml` and `trust.toml`.
    pub files: &'a [(&'a str, &'a str)],
    /// The program, where it is not the one that was built for this test.
    pub program: Option<PathBuf>,
    /// Folders or files of the machine, and where the host sees them, read-only.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// What to run in the host before it is enrolled.
    pub prepare: &'a str,
}

/// An enrolled host with its fleet and its Git server.
#[derive(Debug)]
pub struct Site {
    /// Serves the fleet.
    pub server: GitServer,
    /// Where the host finds the fleet.
    pub url: String,
    /// The fleet's repository.
    pub fleet: Fleet,
    /// Signs everything.
    pub signer: Signer,
    /// The commit that trust starts from.
    pub introduction: String,
    /// The host.
    pub host: Host,
}

/// Assigns the role `base` to every host.
pub const FLEET: &str = "[fleet]\nname = \"test\"\nschema = 1\n\n[[assign]]\nroles = [\"base\"]\n";

/// The manifest of the only role.
pub const ROLE: &str = "roles/base/role.toml";

impl Site {
    /// Boots a host, installs abide, makes a fleet, serves it, and enrols the host with it.
    #[track_caller]
    pub fn enrolled(options: &SiteOptions<'_>) -> Self {
        let site = Self::ready(options);
        site.enroll().success();
        // The agent runs when it starts, and once more when its first poll has come back.
        // Where it watches, another one may follow at once.
        site.wait_status("the run after the first poll", |run| {
            run["cause"] == "poll" || (options.pace != Pace::Manual && run["cause"] == "drift")
        });
        site.wait_synced();
        site
    }

    /// The same, up to the enrolment.
    #[track_caller]
    pub fn ready(options: &SiteOptions<'_>) -> Self {
        let fleet = Fleet::new();
        let host = install(options, &fleet);
        let signer = fleet.signer("alice");
        let trust = trust(&signer);
        fleet.write(&[("fleet.toml", FLEET), ("trust.toml", &trust), (ROLE, "")]);
        let introduction = fleet.publish("Begin", &signer, options.files);
        let (server, url) = match options.served {
            Served::Daemon => {
                let server = GitServer::git(&fleet.repositories(), Place::In(&host));
                let url = server.url("fleet");
                (server, url)
            }
            Served::Bridge => {
                let server = GitServer::git(&fleet.repositories(), Place::Bridge);
                // By its name, so that the resolver has a part in it.
                let url = format!("git://bridge:{}/fleet.git", server.port());
                (server, url)
            }
            Served::Ssh => {
                let server = GitServer::ssh(&fleet.repositories(), Place::Bridge);
                host.push(&server.ssh_key(), "/etc/abide/key");
                host.push(&server.known_hosts(), "/etc/ssh/ssh_known_hosts");
                host.sh("chown abide-fetch /etc/abide/key; chmod 400 /etc/abide/key").success();
                let url = server.url("fleet");
                (server, url)
            }
            Served::Folder => (GitServer::path(&fleet.repositories()), format!("{FOLDER}/fleet.git")),
        };
        Self { server, url, fleet, signer, introduction, host }
    }

    /// Enrols the host as the line of `abide init` says.
    #[track_caller]
    pub fn enroll(&self) -> Output {
        let (url, key) = (&self.url, self.signer.public_key());
        let introduction = &self.introduction;
        self.abide(&["enroll", url, "--introduction", introduction, "--key", &key, "--yes"])
    }

    /// Writes files of the fleet, commits them signed, and pushes; returns the commit's id.
    #[track_caller]
    pub fn push(&self, message: &str, files: &[(&str, &str)]) -> String {
        self.fleet.publish(message, &self.signer, files)
    }

    /// Pushes another manifest of the only role.
    #[track_caller]
    pub fn declare(&self, role: &str) -> String {
        self.push("Change the role", &[(ROLE, role)])
    }

    /// Proves that a script of the host ends well; says what each of its lines did when it does not. `not` is its `!`, which
    /// bash would not fail over.
    #[track_caller]
    pub fn holds(&self, script: &str) {
        self.host.sh(&format!("not() {{ ! \"$@\"; }}\nset -x\n{script}")).success();
    }

    /// `abide` with these arguments.
    #[track_caller]
    pub fn abide(&self, arguments: &[&str]) -> Output {
        let command: Vec<&str> = ["abide"].iter().chain(arguments).copied().collect();
        self.host.exec(&command)
    }

    /// `abide` with these arguments, and its answer as data.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.abide(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("abide {arguments:?} gave no JSON ({error}): {output:#?}"))
    }

    /// `abide sync`, whatever comes of it.
    #[track_caller]
    pub fn sync(&self) -> Output {
        self.abide(&["sync"])
    }

    /// `abide sync`, which must leave the host as declared; returns the status.
    #[track_caller]
    pub fn synced(&self) -> Value {
        self.sync().success();
        self.status()
    }

    /// Pushes a manifest of the only role, applies it, and proves that it needs nothing more.
    #[track_caller]
    pub fn converged(&self, role: &str) {
        let commit = self.declare(role);
        let status = self.synced();
        assert_eq!(status["run"]["revision"]["commit"], commit, "{status:#}");
        self.settled();
    }

    /// Proves that another run finds nothing to do, and writes nothing.
    #[track_caller]
    pub fn settled(&self) {
        // Writes go to the log beside it first; a run that only reads may make that, empty.
        let stat = || {
            let files = "/var/lib/abide/state.sqlite /var/lib/abide/state.sqlite-wal";
            self.host
                .sh(&format!("find {files} -size +0 -printf '%p %T@ %s\\n' 2>/dev/null || true"))
                .success()
        };
        let before = stat();
        let output = self.sync();
        let status = self.status();
        assert_eq!(output.code, 0, "{output:#?}\n{status:#}");
        assert_eq!(changed(&status), 0, "a second run changed something: {output:#?}\n{status:#}");
        assert_eq!(before, stat(), "a run without work wrote the state");
    }

    /// What `abide status -o json` says.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.ask(&["status"])
    }

    /// Waits until the newest commit of the served branch is what the host abides by.
    #[track_caller]
    pub fn wait_synced(&self) -> Value {
        let tip = self.fleet.git(&["rev-parse", "HEAD"]).success();
        self.wait_status(&format!("{} at {}", "Synced", tip.trim()), |run| {
            run["revision"]["commit"] == tip.trim() && run["sync"] == "Synced" && run["health"] == "Healthy"
        })
    }

    /// Waits for a status whose last run is as `wanted`.
    #[track_caller]
    pub fn wait_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = std::time::Instant::now();
        loop {
            let status = self.status();
            if wanted(&status["run"]) {
                return status;
            }
            if start.elapsed() > PATIENCE {
                let journal = self.host.exec(&["journalctl", "--no-pager", "-n", "60"]).stdout;
                panic!("waited for {what}: {status:#}\n--- journal\n{journal}");
            }
        }
    }

    /// Everything that the journal says of abide since the host booted.
    #[track_caller]
    pub fn journal(&self) -> String {
        self.host.exec(&["journalctl", "--no-pager", "-o", "cat", "SYSLOG_IDENTIFIER=abide"]).success()
    }
}

/// Number of resources that the last run changed.
pub fn changed(status: &Value) -> u64 {
    status["run"]["counts"]["changed"].as_u64().expect("a status has counts")
}

/// The policy under which one key may change everything.
pub fn trust(signer: &Signer) -> String {
    let scope = |name: &str, paths: &str| {
        format!(
            "\n[[scope]]\nname = \"{name}\"\npaths = [\"{paths}\"]\nsigners = [\"alice\"]\nthreshold = 1\n"
        )
    };
    format!(
        "version = 1\nfleet = \"5a1c5a1c5a1c5a1c5a1c5a1c5a1c5a1c\"\nref = \"refs/heads/main\"\n\n\
         [principal.alice]\nkeys = [{{ key = \"{}\" }}]\n{}{}",
        signer.public_key(),
        scope("root", "trust.toml"),
        scope("all", "**")
    )
}

/// Where a host finds a fleet that is a folder.
const FOLDER: &str = "/fleet";

/// What a host needs of the product: this program, and its units, users and folders.
pub fn product(program: &Path) -> Vec<(PathBuf, PathBuf)> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut binds: Vec<(PathBuf, PathBuf)> = vec![(program.to_owned(), "/usr/bin/abide".into())];
    for (source, destination) in [
        ("abide.service", "/usr/lib/systemd/system/abide.service"),
        ("abide-fetch.service", "/usr/lib/systemd/system/abide-fetch.service"),
        ("abide.sysusers", "/usr/lib/sysusers.d/abide.conf"),
        ("abide.tmpfiles", "/usr/lib/tmpfiles.d/abide.conf"),
    ] {
        binds.push((checkout.join("systemd").join(source), destination.into()));
    }
    binds
}

/// Boots a host with the program, its units, users and folders in place.
#[track_caller]
fn install(options: &SiteOptions<'_>, fleet: &Fleet) -> Host {
    let program = options.program.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_abide").into());
    let mut binds = product(&program);
    if options.served == Served::Folder {
        binds.push((fleet.repositories(), FOLDER.into()));
    }
    binds.extend(options.binds.iter().cloned());
    // They are there before it boots: systemd itself makes user and folders.
    let network = if matches!(options.served, Served::Bridge | Served::Ssh) {
        Network::Bridge
    } else {
        Network::default()
    };
    let host = Host::boot(HostOptions {
        name: options.name,
        root: options.root,
        binds,
        network,
        ..HostOptions::default()
    });
    let (source, agent) = match options.pace {
        Pace::Manual => ("poll = \"1d\"", "check = \"1d\"\nevents = false"),
        Pace::Events => ("poll = \"1d\"", "check = \"1d\""),
        Pace::Live => ("poll = \"1s\"", "check = \"1d\""),
        Pace::Hasty => {
            ("poll = \"1s\"\ntimeout = \"2s\"\ndeadline = \"3s\"\nbackoff = \"1s\"", "check = \"2s\"")
        }
    };
    let ssh = match options.served {
        Served::Ssh => "ssh-key = \"/etc/abide/key\"\nknown-hosts = \"/etc/ssh/ssh_known_hosts\"\n",
        _ => "",
    };
    let settings =
        format!("[source]\n{ssh}{source}\njitter = \"0s\"\n\n[agent]\n{agent}\n{}", options.settings);
    host.write("/etc/abide/abide.toml", settings);
    host.sh(&format!("systemd-sysusers; systemd-tmpfiles --create abide.conf; {}", options.prepare))
        .success();
    host
}
