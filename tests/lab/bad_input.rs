//! Everything that can be wrong around a host that is enrolled: each time a message with a code, the last good state still
//! enforced, nothing lost, and recovery without anybody who restarts the agent.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::command::{Output, run};
use crate::support::fleet::{Fleet, Signer};
use crate::support::git_server::{GitServer, HttpsOptions, Place};
use crate::support::host::{Host, HostOptions};
use crate::support::{lab_is_enabled, lab_script};

/// Longer than anything takes here on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// The role that every test starts from; `{}` is a version that can be told on the host.
const ROLE: &str = r#"
[file."/etc/managed.conf"]
content = "version {}\n"

[unit."app.service".Service]
ExecStart = "/bin/sleep infinity"

[service.app]
running = true
restart-on = ["file:/etc/managed.conf"]
"#;

/// An enrolled host with an agent that does everything more often than in life, its fleet and the server between them.
struct Site {
    server: GitServer,
    host: Host,
    fleet: Fleet,
    alice: Signer,
    introduction: String,
}

fn role(version: &str) -> String {
    ROLE.replace("{}", version)
}

fn policy(alice: &Signer) -> String {
    format!(
        "version = 1\nfleet = \"5a1c5a1c5a1c5a1c5a1c5a1c5a1c5a1c\"\nref = \"refs/heads/main\"\n\
         [principal.alice]\nkeys = [{{ key = \"{}\" }}]\n\
         [[scope]]\nname = \"root\"\npaths = [\"trust.toml\"]\nsigners = [\"alice\"]\nthreshold = 1\n\
         [[scope]]\nname = \"all\"\npaths = [\"**\"]\nsigners = [\"alice\"]\nthreshold = 1\n",
        alice.public_key().rsplit_once(' ').map_or_else(|| alice.public_key(), |(key, _)| key.to_owned())
    )
}

/// A host with the program and its units, as the packages would leave it.
fn installed(name: &'static str, more: Vec<(PathBuf, PathBuf)>) -> Host {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut binds = vec![(PathBuf::from(env!("CARGO_BIN_EXE_abide")), "/usr/bin/abide".into())];
    for unit in ["abide.service", "abide-fetch.service"] {
        binds.push((root.join("systemd").join(unit), format!("/usr/lib/systemd/system/{unit}").into()));
    }
    for kind in ["sysusers", "tmpfiles"] {
        let source = root.join(format!("systemd/abide.{kind}"));
        binds.push((source, format!("/usr/lib/{kind}.d/abide.conf").into()));
    }
    binds.extend(more);
    let host = Host::boot(HostOptions { name, binds, ..HostOptions::default() });
    host.sh("systemd-sysusers; systemd-tmpfiles --create abide.conf; systemctl daemon-reload").success();
    host.write(
        "/etc/abide/abide.toml",
        "[source]\npoll = \"1s\"\njitter = \"0s\"\ntimeout = \"2s\"\ndeadline = \"3s\"\nbackoff = \"1s\"\n[agent]\ncheck = \"2s\"\n",
    );
    host
}

fn new_fleet() -> (Fleet, Signer, String) {
    let fleet = Fleet::new();
    let alice = fleet.signer("alice");
    let files = [
        ("trust.toml", policy(&alice)),
        ("fleet.toml", "[fleet]\nname = \"lab\"\nschema = 1\n[[assign]]\nroles = [\"base\"]\n".into()),
        ("roles/base/role.toml", role("1")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let introduction = fleet.publish("Begin", &alice, &files);
    (fleet, alice, introduction)
}

impl Site {
    #[track_caller]
    fn enrolled(name: &'static str) -> Site {
        let host = installed(name, Vec::new());
        let (fleet, alice, introduction) = new_fleet();
        let server = GitServer::git(&fleet.repositories(), Place::In(&host));
        let site = Site { server, host, fleet, alice, introduction };
        site.enroll(&site.server.url("fleet"));
        site.settled("1");
        site
    }

    #[track_caller]
    fn enroll(&self, url: &str) {
        let key = self.alice.public_key();
        self.abide(&["enroll", url, "--introduction", &self.introduction, "--key", &key, "--yes"]).success();
    }

    fn abide(&self, arguments: &[&str]) -> Output {
        self.host.exec(&[&["abide"], arguments].concat())
    }

    /// Publishes the role with this version and something more.
    #[track_caller]
    fn publish(&self, version: &str, more: &str) -> String {
        self.publish_file("roles/base/role.toml", &format!("{}{more}", role(version)))
    }

    #[track_caller]
    fn publish_file(&self, path: &str, text: &str) -> String {
        self.fleet.publish(path, &self.alice, &[(path, text)])
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.abide(&["status", "-o", "json"]).stdout).expect("a status is JSON")
    }

    /// Waits until `abide status` shows what is wanted.
    #[track_caller]
    fn wait_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            if start.elapsed() > SOON {
                let journal = self.host.exec(&["journalctl", "--no-pager", "-n", "60"]).stdout;
                panic!("no {what} within {SOON:?}; the status is {status:#}\n--- journal\n{journal}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the host is well and at this version.
    #[track_caller]
    fn settled(&self, version: &str) -> Value {
        self.host.wait_for(&format!("grep -qx 'version {version}' /etc/managed.conf"), SOON);
        let status = self.wait_status("health", |status| is_well(status));
        assert_eq!(self.abide(&["status"]).code, 0, "{}", self.abide(&["status"]).stdout);
        status
    }

    /// Waits until the status is bad with this code, and proves that the last good state is enforced nevertheless.
    #[track_caller]
    fn degraded(&self, code: &str, version: &str) -> Value {
        let status = self.wait_status(code, |status| {
            status["health"] == "Degraded" && codes(status).contains(&code.to_owned())
        });
        let shown = self.abide(&["status"]);
        assert_eq!(shown.code, 1, "a bad status is no success\n{}", shown.stdout);
        assert!(shown.stdout.contains(&format!("[{code}]")), "{}", shown.stdout);
        eprintln!("--- {code}\n{}", shown.stdout);
        self.enforced(version);
        status
    }

    /// Spoils what is managed and waits until it is healed.
    #[track_caller]
    fn enforced(&self, version: &str) {
        self.host.sh("echo spoilt > /etc/managed.conf; systemctl stop app").success();
        let healed = format!("grep -qx 'version {version}' /etc/managed.conf && systemctl -q is-active app");
        self.host.wait_for(&healed, SOON);
    }
}

fn is_well(status: &Value) -> bool {
    status["sync"] == "Synced" && status["health"] == "Healthy"
}

/// Every code that a status shows.
fn codes(status: &Value) -> Vec<String> {
    let lists =
        [&status["run"]["problems"], &status["agent"]["problems"], &status["agent"]["poll"]["problems"]];
    let problems = lists.into_iter().filter_map(Value::as_array).flatten();
    problems.filter_map(|problem| problem["code"].as_str()).map(str::to_owned).collect()
}

#[test]
fn a_remote_may_fail_in_every_way() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled("remote");
    site.server.stop();
    site.degraded("E102", "1");
    site.server.start();
    site.settled("1");
    site.server.freeze();
    site.degraded("E108", "1");
    site.server.thaw();
    site.publish("2", "");
    site.settled("2");
    site.host.sh("ip link set lo down").success();
    site.degraded("E102", "2");
    site.host.sh("ip link set lo up").success();
    site.settled("2");
}
