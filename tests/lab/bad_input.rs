//! Everything that can be wrong around a host that is enrolled: each time a message with a code, the last good state still
//! enforced, nothing lost, and recovery without anybody who restarts the agent.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::command::run;
use crate::support::git_server::{GitServer, HttpsOptions, Place};
use crate::support::site::{self as support, Pace, Served, Site, SiteOptions};
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

/// A site that is well at version 1, and what has to hold for it whatever goes wrong.
pub(crate) struct Sturdy {
    site: Site,
}

impl std::ops::Deref for Sturdy {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

fn role(version: &str) -> String {
    ROLE.replace("{}", version)
}

fn options(name: &'static str) -> SiteOptions<'static> {
    SiteOptions { name, pace: Pace::Hasty, ..SiteOptions::default() }
}

impl Sturdy {
    #[track_caller]
    pub(crate) fn enrolled(name: &'static str) -> Sturdy {
        Sturdy::with(&options(name))
    }

    #[track_caller]
    fn with(options: &SiteOptions<'_>) -> Sturdy {
        let first = role("1");
        let files = [(support::ROLE, first.as_str())];
        let site = Sturdy { site: Site::ready(&SiteOptions { files: &files, ..options.clone() }) };
        site.enroll().success();
        site.well_at("1");
        site
    }

    /// Publishes the role with this version and something more.
    #[track_caller]
    pub(crate) fn publish(&self, version: &str, more: &str) -> String {
        self.publish_file("roles/base/role.toml", &format!("{}{more}", role(version)))
    }

    #[track_caller]
    fn publish_file(&self, path: &str, text: &str) -> String {
        self.push(path, &[(path, text)])
    }

    /// Waits until `abide status` shows what is wanted.
    #[track_caller]
    fn wait_until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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
    pub(crate) fn well_at(&self, version: &str) -> Value {
        self.host.wait_for(&format!("grep -qx 'version {version}' /etc/managed.conf"), SOON);
        let head = self.fleet.git(&["rev-parse", "HEAD"]).success();
        let status = self.wait_until("health", |status| {
            is_well(status) && status["run"]["revision"]["commit"] == head.trim()
        });
        assert_eq!(self.abide(&["status"]).code, 0, "{}", self.abide(&["status"]).stdout);
        status
    }

    /// Waits until the status is bad with this code, and proves that the last good state is enforced nevertheless.
    #[track_caller]
    pub(crate) fn degraded(&self, code: &str, version: &str) -> Value {
        let status = self.wait_until(code, |status| {
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
    pub(crate) fn enforced(&self, version: &str) {
        self.host.sh("echo spoilt > /etc/managed.conf; systemctl stop app").success();
        let healed = format!("grep -qx 'version {version}' /etc/managed.conf && systemctl -q is-active app");
        self.host.wait_for(&healed, SOON);
        // Corrections in a row look like a fight; let the agent forget them.
        self.host.sh("systemctl restart abide").success();
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
    let site = Sturdy::enrolled("remote");
    site.server.stop();
    site.degraded("E102", "1");
    site.server.start();
    site.well_at("1");
    site.server.freeze();
    site.degraded("E108", "1");
    site.server.thaw();
    site.publish("2", "");
    site.well_at("2");
    // Without a network packets are lost, and what is asked for by hand says so, too.
    let lose =
        "add table ip lost; add chain ip lost input { type filter hook input priority 0; policy drop; }";
    site.host.sh(&format!("nft '{lose}'")).success();
    site.degraded("E108", "2");
    let said = site.abide(&["sync"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("[E108]") && said.stderr.contains("do: "), "{said:?}");
    site.host.sh("nft delete table ip lost").success();
    site.well_at("2");
}

#[test]
fn a_remote_may_be_nowhere_or_trickle() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("trickle");
    let settings = "/etc/abide/abide.toml";
    site.host.sh(&format!("cp -a {settings} /root/good")).success();
    let follow = |url: &str, more: &str| {
        let urls = format!(
            "cp -a /root/good {settings}; sed -i 's|^urls* *=.*|urls = [\"{url}\"]{more}|' {settings}"
        );
        site.host.sh(&format!("{urls}; systemctl reload abide")).success();
    };
    follow("https://no-such-host.invalid/fleet.git", "");
    let status = site.degraded("E102", "1");
    let problems = status["agent"]["poll"]["problems"].to_string();
    assert!(problems.contains("no-such-host.invalid"), "{problems}");

    // It answers the question where the branch is, and takes for ever to give the objects.
    let server = GitServer::https(
        &site.fleet.repositories(),
        Place::In(&site.host),
        &HttpsOptions { rate: Some(2000), ..HttpsOptions::default() },
    );
    site.host.sh("mkdir -p /etc/abide/tls").success();
    let authority = std::fs::read_to_string(server.authority()).expect("the server has an authority");
    site.host.write("/etc/abide/tls/ca.pem", authority);
    follow(&server.url("fleet"), "\\nca-file = \"/etc/abide/tls/ca.pem\"");
    site.well_at("1");
    let noise = run("openssl", &["rand", "-base64", "200000"], b"").success();
    site.publish_file("roles/base/noise", &noise);
    let status = site.degraded("E108", "1");
    assert!(status["agent"]["backoff"].is_string(), "it says that it waits longer: {status:#}");
    site.host.sh(&format!("cp -a /root/good {settings}; systemctl reload abide")).success();
    site.publish("2", "");
    site.well_at("2");
}

#[test]
fn a_branch_may_turn_bad_and_the_last_good_state_stays() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("branch");
    let good = site.publish("2", "");
    site.well_at("2");
    let mark = || site.status()["run"]["revision"]["commit"].clone();
    let mallory = site.fleet.signer("mallory");
    let bad = role("666");
    let bad = [("roles/base/role.toml", bad.as_str())];

    site.fleet.write(&bad);
    site.fleet.commit("Unsigned", None);
    site.fleet.push();
    let status = site.degraded("E010", "2");
    assert_eq!(status["sync"], "OutOfSync", "the branch is elsewhere: {status:#}");
    assert_eq!(mark(), good);
    site.fleet.git(&["reset", "-q", "--hard", &good]).success();
    site.fleet.publish("By nobody we know", &mallory, &bad);
    site.degraded("E015", "2");
    site.fleet.git(&["reset", "-q", "--hard", &site.introduction]).success();
    site.fleet.push();
    site.degraded("E030", "2");
    site.publish("4", "");
    site.degraded("E031", "2");
    site.fleet.git(&["reset", "-q", "--hard", &good]).success();
    site.fleet.git(&["rm", "-q", "trust.toml"]).success();
    site.fleet.publish("Away with the policy", &site.signer, &[]);
    site.degraded("E025", "2");
    let served = site.fleet.repositories().join("fleet.git");
    let served = served.to_str().expect("paths of tests are UTF-8");
    site.fleet.git(&["--git-dir", served, "update-ref", "-d", "refs/heads/main"]).success();
    site.degraded("E107", "2");
    assert_eq!(mark(), good);
    site.fleet.git(&["reset", "-q", "--hard", &good]).success();
    site.publish("3", "");
    site.well_at("3");
}

#[test]
fn files_may_hold_mistakes() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("mistakes");
    let mut version = 1;
    let policy = support::trust(&site.signer);
    for (path, good, bad, code) in [
        ("roles/base/role.toml", "", "[file.\"/etc/x\"]\ncontnet = \"a\"\n", "E204"),
        ("roles/base/role.toml", "", "[file.\"/etc/x\"]\nmode = 644\n", "E209"),
        ("roles/base/role.toml", "", "[file.\"/etc/x\"]\ncontent = \"{{ nothing }}\"\n", "E210"),
        ("roles/base/role.toml", "", "[file", "E203"),
        (
            "fleet.toml",
            "[fleet]\nname = \"lab\"\nschema = 1\n[[assign]]\nroles = [\"base\"]\n",
            "[colour]\n",
            "E204",
        ),
        (
            "fleet.toml",
            "[fleet]\nname = \"lab\"\nschema = 1\n[[assign]]\nroles = [\"base\"]\n",
            "vars = 1\n",
            "E205",
        ),
        ("hosts/HOST.toml", "", "labels = 1\n", "E205"),
        ("hosts/HOST.toml", "", "rolls = [\"base\"]\n", "E204"),
        ("trust.toml", policy.as_str(), "[[scoop]]\nname = \"x\"\n", "E026"),
        ("trust.toml", policy.as_str(), "max-age = true\n", "E026"),
    ] {
        let path = path.replace("HOST", site.host.name());
        let before = site.fleet.git(&["rev-parse", "HEAD"]).success();
        let (good, start) = match path.starts_with("roles") {
            true => (role(&version.to_string()), role("666")),
            false => (good.to_owned(), good.to_owned()),
        };
        let text = if path == "fleet.toml" { format!("{bad}{start}") } else { format!("{start}{bad}") };
        site.publish_file(&path, &text);
        eprintln!("{path}: {bad}");
        let status = site.degraded(code, &version.to_string());
        assert_ne!(status["sync"], "Unknown");
        // A policy that cannot be read is repaired by going back, everything else by going on.
        if path == "trust.toml" {
            site.fleet.git(&["reset", "-q", "--hard", before.trim()]).success();
        } else {
            site.fleet.write(&[(&path, &good)]);
        }
        version += 1;
        site.publish(&version.to_string(), "");
        site.well_at(&version.to_string());
    }
}

#[test]
fn the_own_files_of_a_host_may_hold_mistakes() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("own");
    for (path, mistake, code) in [
        ("/etc/abide/abide.toml", "[source", "E602"),
        ("/etc/abide/abide.toml", "\n[agnet]\n", "E602"),
        ("/etc/abide/abide.toml", "\n[apply]\nprune = \"yes\"\n", "E602"),
        ("/etc/abide/trust.toml", "\nflete = \"x\"\n", "E002"),
        ("/etc/abide/trust.toml", "\nmax-age = 3\n", "E002"),
        ("/etc/abide/facts.d/site.toml", "rack = = 3\n", "E462"),
    ] {
        eprintln!("{path}: {mistake}");
        site.host
            .sh(&format!(
                "touch {path}; cp -a {path} /root/good; printf '%b' '{}' >> {path}",
                mistake.replace('\n', "\\n")
            ))
            .success();
        site.degraded(code, "1");
        let said = site.abide(&["sync"]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(format!("{}{}", said.stdout, said.stderr).contains(code), "{said:?}");
        // Neither a signal nor a new start makes it worse.
        site.host.sh("systemctl reload abide").success();
        site.degraded(code, "1");
        site.host.sh("systemctl restart abide").success();
        site.degraded(code, "1");
        site.host.sh(&format!("cp -a /root/good {path}")).success();
        site.well_at("1");
    }
}

#[test]
fn the_state_may_be_lost_full_or_spoilt() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("state");
    // A run is asked for by hand as well, since a periodic one may have passed just before.
    let fails = |spoil: &str, code: &str, repair: &str| {
        eprintln!("{spoil}");
        site.host.sh(spoil).success();
        let status = site.wait_until(code, |status| codes(status).contains(&code.to_owned()));
        assert_eq!(status["health"], "Degraded", "{status:#}");
        let said = site.abide(&["sync", "--no-fetch"]);
        eprintln!("{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(&format!("[{code}]")) && said.stderr.contains("do: "), "{said:?}");
        assert_eq!(site.host.read("/etc/managed.conf"), "version 1\n");
        site.host.sh(repair).success();
        site.enforced("1");
        site.well_at("1");
    };
    // A database that cannot be used is put together again, said loudly once, and the host goes on by itself.
    for (number, spoil) in [
        "dd if=/dev/urandom of=state.sqlite bs=4096 count=1 conv=notrunc status=none",
        "rm -f state.sqlite-wal state.sqlite-shm; truncate -s 5000 state.sqlite",
        "rm -f state.sqlite*",
        "rm -f state.sqlite-*; truncate -s 0 state.sqlite",
    ]
    .into_iter()
    .enumerate()
    {
        site.host
            .sh(&format!("systemctl stop abide; cd /var/lib/abide; {spoil}; systemctl start abide"))
            .success();
        let told = format!(
            "test $(journalctl --no-pager -o cat SYSLOG_IDENTIFIER=abide | grep -c E509) -gt {number}"
        );
        site.host.wait_for(&told, SOON);
        site.enforced("1");
        site.well_at("1");
    }
    fails("chmod 666 /var/lib/abide/state.sqlite", "E501", "chmod 600 /var/lib/abide/state.sqlite");
    fails("chown nobody /var/lib/abide/state.sqlite", "E501", "chown root /var/lib/abide/state.sqlite");

    // The folders that hold no memory of their own may vanish.
    site.host.sh("rm -rf /run/abide").success();
    site.abide(&["sync", "--no-fetch"]).success();
    site.well_at("1");
    site.host.sh("rm -rf /var/lib/abide/store /var/lib/abide/desired /var/lib/abide/fingerprints").success();
    site.enforced("1");
    site.well_at("1");
    site.host.sh("rm -rf /var/lib/abide-fetch/* /var/lib/abide/store").success();
    site.publish("2", "");
    site.well_at("2");

    // Half a pack, and a spool over its limits.
    site.host.sh("systemctl stop abide").success();
    site.publish("3", "");
    site.host.sh("systemctl start abide-fetch; cd /var/lib/abide-fetch/packs; for pack in *; do truncate -s -30 $pack; done").success();
    site.host.sh("sed -i 's/^poll = .*/poll = \"1h\"/' /etc/abide/abide.toml; systemctl mask --runtime abide-fetch; systemctl start abide").success();
    site.degraded("E127", "2");
    site.host.sh("rm -rf /var/lib/abide-fetch/*; sed -i 's/^poll = .*/poll = \"1s\"/' /etc/abide/abide.toml; systemctl unmask --runtime abide-fetch; systemctl reload abide").success();
    site.well_at("3");
    let limited =
        "printf '[limits]\\nspool-bytes = 20000\\n' >> /etc/abide/abide.toml; systemctl reload abide";
    site.host.sh(&format!("cp /etc/abide/abide.toml /root/; {limited}")).success();
    let large: String = (0..6000).map(|number| format!("# {:x}\n", number * 7919 * 104_729_u64)).collect();
    site.publish("4", &large);
    site.degraded("E109", "3");
    site.host.sh("cp /root/abide.toml /etc/abide/; systemctl reload abide").success();
    site.well_at("4");
}

#[test]
fn disks_may_be_full_or_read_only() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("disks");
    let small = |folder: &str, size: &str| {
        format!(
            "mkdir -p /root/old; cp -a {folder}/. /root/old; mount -t tmpfs -o size={size},mode=$(stat -c %a {folder}),uid=$(stat -c %u {folder}),gid=$(stat -c %g {folder}) tmpfs {folder}; cp -a /root/old/. {folder}; rm -rf /root/old"
        )
    };
    let fill = |folder: &str| format!("cat /dev/zero > {folder}/filler 2>/dev/null || true");
    let stop = "systemctl stop abide";

    // The state.
    site.host
        .sh(&format!(
            "{stop}; {}; {}; systemctl start abide",
            small("/var/lib/abide", "2M"),
            fill("/var/lib/abide")
        ))
        .success();
    site.publish("2", "");
    let full = |status: &Value| {
        status["health"] == "Degraded"
            && codes(status).iter().any(|code| code == "E504" || code == "E120" || code == "E723")
    };
    site.wait_until("a full state", full);
    eprintln!("{}", site.abide(&["status"]).stdout);
    site.host.sh("rm /var/lib/abide/filler").success();
    site.well_at("2");

    // The spool.
    site.host
        .sh(&format!(
            "{stop}; {}; {}; systemctl start abide",
            small("/var/lib/abide-fetch", "1M"),
            // What is not the fetcher's own it would remove, and help itself.
            fill("/var/lib/abide-fetch/repository")
        ))
        .success();
    site.publish("3", "");
    // The fetcher has no room for its note either: its last words are what there is.
    let status = site.degraded("E477", "2");
    assert!(status["agent"]["problems"].to_string().contains("[E111]"), "{status:#}");
    site.host.sh("rm /var/lib/abide-fetch/repository/filler").success();
    site.well_at("3");

    // The files' own.
    site.host
        .sh(&format!(
            "mkdir /srv/small; mount -t tmpfs -o size=64k tmpfs /srv/small; echo old > /srv/small/file; {}",
            fill("/srv/small")
        ))
        .success();
    let large = "x".repeat(9000);
    site.publish("4", &format!("[file.\"/srv/small/file\"]\ncontent = \"{large}\"\n"));
    site.degraded("E458", "4");
    // While a run tries again its own temporary file is there, too.
    site.host.wait_for("cd /srv/small; test \"$(cat file; ls -A)\" = $'old\\nfile\\nfiller'", SOON);
    site.host.sh("rm /srv/small/filler").success();
    site.well_at("4");

    // Nothing can be written under /etc.
    site.publish("4", "");
    site.well_at("4");
    site.host.sh("mount --bind /etc /etc; mount -o remount,bind,ro /etc; systemctl restart abide").success();
    site.publish("5", "");
    site.wait_until("a refusal", |status| status["health"] == "Degraded");
    eprintln!("{}", site.abide(&["status"]).stdout);
    assert_eq!(site.host.read("/etc/managed.conf"), "version 4\n");
    site.host.sh("umount /etc; systemctl restart abide").success();
    site.well_at("5");
}

#[test]
fn a_host_may_refuse_what_is_declared() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("refusing");
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    site.host.push(&repositories.path().join("deb"), "/srv/deb");
    site.host.sh("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*").success();
    site.host.write("/etc/apt/sources.list.d/test.list", "deb [trusted=yes] file:/srv/deb ./\n");
    let mut version = 1;
    for (bad, code) in [
        ("[file.\"/etc/x\"]\ncontent = \"a\"\nowner = \"nobody-here\"\n", "E307"),
        ("[package.no-such-package]\n", "E320"),
        ("[file.\"/etc/passwd/x\"]\ncontent = \"a\"\n", "E301"),
        (
            "[unit.\"bad.service\".Service]\nType = \"oneshot\"\nExecStart = \"/bin/sh -c 'echo the disk is upside down; exit 3'\"\n[service.bad]\nrunning = true\n",
            "E477",
        ),
    ] {
        eprintln!("{bad}");
        site.publish(&(version + 1).to_string(), bad);
        let status = site.wait_until(code, |status| status["health"] == "Degraded");
        let shown = site.abide(&["status"]).stdout;
        eprintln!("{shown}");
        assert!(codes(&status).contains(&code.to_owned()), "{shown}");
        version += 2;
        site.publish(&version.to_string(), "");
        site.well_at(&version.to_string());
    }
}

#[test]
fn packages_may_be_locked_and_interrupted() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("locked");
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    site.host.push(&repositories.path().join("deb"), "/srv/deb");
    site.host.sh("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*").success();
    site.host.write("/etc/apt/sources.list.d/test.list", "deb [trusted=yes] file:/srv/deb ./\n");

    // Somebody else works with dpkg: by hand and by the agent the run waits, and says for whom.
    let hold = "perl -e 'use Fcntl; open(F, \"+>>\", $ARGV[0]); $lock = pack(\"s s x4 q q i x4\", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $lock) or die; unlink \"/run/free\"; open(T, \">\", \"/run/held\"); until (-e \"/run/free\") { select(undef, undef, undef, 0.1) }' /var/lib/dpkg/lock-frontend </dev/null >/dev/null 2>&1 & timeout 9 sh -c 'until test -e /run/held; do sleep 0.05; done'; rm /run/held";
    site.host.sh(&format!("systemctl stop abide; {hold}")).success();
    site.publish("2", "[package.abide-two]\n");
    site.host.sh("abide sync < /dev/null > /root/said 2>&1 &").success();
    site.host.wait_for("grep 'locked by process [0-9]* (perl): waiting' /root/said", SOON);
    site.host.sh("! dpkg -s abide-two; touch /run/free").success();
    site.host.wait_for("dpkg -s abide-two && grep Synced /root/said", SOON);
    site.host.sh("systemctl start abide").success();
    site.well_at("2");
    site.host.sh(hold).success();
    let packages = "[package.abide-two]\n[package.abide-base]\n";
    site.publish("3", packages);
    site.host.wait_for("journalctl -u abide | grep 'locked by process [0-9]* (perl): waiting'", SOON);
    site.host.sh("touch /run/free").success();
    site.well_at("3");

    // Somebody's dpkg was interrupted.
    site.host.sh("systemctl stop abide; dpkg --unpack /srv/deb/abide-served*.deb; dpkg -s abide-served | grep 'unpacked'").success();
    site.publish("4", &format!("{packages}[package.abide-conf]\n"));
    site.host.sh("systemctl start abide").success();
    site.well_at("4");
    site.host.sh("dpkg -s abide-conf abide-served | grep -c 'ok installed' | grep -qx 2; test -z \"$(dpkg --audit)\"").success();

    // A package that is broken itself keeps neither the others nor the files away.
    site.host.sh("touch /run/abide-test-fail").success();
    site.publish(
        "5",
        &format!("{packages}[package.abide-conf]\n[package.abide-fragile]\n[package.abide-epoch]\n"),
    );
    let status = site.wait_until("a failure", |status| status["health"] == "Degraded");
    eprintln!("{}", site.abide(&["status"]).stdout);
    assert_eq!(
        status["run"]["differing"].as_object().map(|all| all.keys().cloned().collect()),
        Some(vec!["package:abide-fragile".to_owned()])
    );
    site.host.sh("dpkg -s abide-epoch | grep 'ok installed'").success();
    site.enforced("5");
    site.host.sh("rm /run/abide-test-fail").success();
    site.well_at("5");
}

/// A run may be killed at any moment, alone or with the whole machine.
#[test]
fn runs_may_end_in_the_middle() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::with(&SiteOptions { served: Served::Folder, ..options("killed") });
    for round in 0..15_u64 {
        let version = (round + 2).to_string();
        let files: String = (0..40)
            .map(|number| format!("[file.\"/etc/many/{number}\"]\ncontent = \"{version}\\n\"\n"))
            .collect();
        site.publish(&version, &format!("[directory.\"/etc/many\"]\n{files}"));
        // Somewhere between the poll and the end of the run.
        let moment = (round * 7919) % 120;
        site.host.wait_for(
            &format!("pgrep -f '[a]bide sync' || grep -qx 'version {version}' /etc/managed.conf"),
            SOON,
        );
        std::thread::sleep(Duration::from_millis(moment));
        if round % 3 == 2 {
            site.host.power_cut();
            site.host.restart();
        } else if round % 3 == 1 {
            site.host.sh("pkill -9 -x abide || true").success();
        } else {
            site.host.sh("pkill -9 -f '[a]bide sync' || true").success();
        }
        site.well_at(&version);
        let status = site.status();
        assert_eq!(status["run"]["owed"].as_array().map(Vec::len), Some(0), "{status:#}");
        let left = "find /etc /var/lib/abide -name '.*abide*' -o -name 'incoming-*' -o -path '*/many/.*'";
        assert_eq!(site.host.sh(left).success(), "", "temporary files are left");
        // The service was restarted after the file that it depends on was written.
        let order = "test $(date -d \"$(systemctl show -P ActiveEnterTimestamp app)\" +%s) -ge $(stat -c %Y /etc/managed.conf)";
        site.host.sh(order).success();
        assert_eq!(site.host.sh("cat /etc/many/* | sort -u").success().trim(), version);
    }
}

#[test]
fn commands_may_be_typed_wrongly() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::ready(&options("typing"));
    let host = &site.host;
    let says = |command: &str, code: i32, words: &[&str]| {
        let said = host.sh(command);
        eprintln!("$ {command}\n{}{}", said.stdout, said.stderr);
        assert_eq!(said.code, code, "{command}: {said:?}");
        for word in words {
            assert!(
                format!("{}{}", said.stdout, said.stderr).contains(word),
                "{command}: no `{word}` in {said:?}"
            );
        }
    };
    for (command, code, words) in [
        ("abide", 2, &["Usage"] as &[&str]),
        ("abide snyc", 2, &["snyc", "sync"]),
        ("abide sync --dry", 2, &["--dry-run"]),
        ("abide enroll", 2, &["--introduction"]),
        ("abide enroll https://x --introduction $(printf %040d 7) --key nonsense", 2, &["--key"]),
        ("abide enroll https://x --introduction 5a1c --key nonsense", 2, &["--introduction", "whole id"]),
        ("abide sync --only nonsense", 2, &["file:/etc/motd"]),
        ("abide status", 1, &["not enrolled", "abide enroll"]),
        ("abide sync", 2, &["E603", "abide enroll"]),
        ("abide diff", 2, &["E603"]),
        ("abide agent", 2, &["E603"]),
        ("abide fetch", 2, &["E603"]),
        ("abide tree", 2, &["E703"]),
        ("abide trace /etc/motd", 2, &["E703"]),
        (
            "abide enroll git://127.0.0.1/x.git --introduction $(printf %040d 7) --key SHA256:nZMogq2o4KCMP/0XC41hhDZnpMujBkfYr+esXTO+nGM --yes",
            2,
            &["E73"],
        ),
        ("setpriv --reuid nobody --clear-groups abide sync", 2, &["E701", "sudo"]),
        (
            "setpriv --reuid nobody --clear-groups abide enroll git://x --introduction $(printf %040d 7) --key SHA256:nZMogq2o4KCMP/0XC41hhDZnpMujBkfYr+esXTO+nGM",
            2,
            &["E701"],
        ),
        ("setpriv --reuid nobody --clear-groups abide status", 1, &["not enrolled"]),
        ("cd /tmp; abide check", 1, &["fleet.toml"]),
        ("cd /tmp; abide build --host x", 2, &["fleet.toml"]),
        ("abide check /no/such/folder", 2, &["E714", "/no/such/folder"]),
    ] {
        says(command, code, words);
    }
    assert_eq!(
        host.sh("ls /etc/abide").success(),
        "abide.toml\nfacts.d\n",
        "nothing is left of an enrolment that failed"
    );
}

#[test]
fn the_agent_lives_with_what_the_system_lacks() {
    if !lab_is_enabled() {
        return;
    }
    let site = Sturdy::enrolled("lacking");
    let drop_in = "/etc/systemd/system/abide.service.d/lack.conf";
    for lack in ["inotify_init1:EMFILE", "inotify_add_watch:ENOSPC"] {
        site.host.write(drop_in, format!("[Service]\nSystemCallFilter=~{lack}\n"));
        site.host.sh("systemctl daemon-reload; systemctl restart abide").success();
        site.degraded("E711", "1");
    }
    site.host.sh(&format!("rm {drop_in}; systemctl daemon-reload; systemctl restart abide")).success();
    site.well_at("1");

    // Two runs at once: the second one waits for the first.
    site.host.sh("exec 9>/var/lib/abide/lock; flock 9; (sleep 2; echo free > /root/free) & abide sync --no-fetch & sleep 1; test ! -e /root/free; flock -u 9; wait").success();
    site.well_at("1");

    let said = site.abide(&["sync", "--no-fetch", "--only", "file:/etc/no-such-resource"]);
    eprintln!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("file:/etc/no-such-resource"), "{said:?}");
}
