//! Packages, commands, order, failures, power cuts, and which roles a host gets.

use crate::support::command::run;
use crate::support::site::{FLEET, PATIENCE, ROLE, Site, SiteOptions, changed};
use crate::support::{lab_is_enabled, lab_script};

const PACKAGES: &str = r#"
[file."/etc/default/abide-served"]
content = "here first\n"

[unit."witness.service".Service]
Type = "oneshot"
ExecStart = "/bin/true"

[drop-in."abide-served.service/order".Service]
ExecStartPre = "/bin/sh -c 'cat /etc/default/abide-served >/run/seen-by-service'"

[package.abide-served]

[service.abide-served]
running = true
enabled = true
restart-on = ["file:/etc/default/abide-served"]

[package.abide-one]
version = "1.0"

[package.abide-two]
ensure = "held"

[package.abide-dependent]

[package.cron]
ensure = "absent"
"#;

#[test]
fn a_package_its_configuration_and_its_service_come_together() {
    if !lab_is_enabled() {
        return;
    }
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    let site = Site::enrolled(&SiteOptions {
        name: "packages",
        binds: vec![(repositories.path().to_owned(), "/repositories".into())],
        prepare: "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
                  echo 'deb [trusted=yes] file:/repositories/deb ./' >/etc/apt/sources.list.d/test.list
                  apt-get -qq update; apt-get -y -qq install abide-dependent",
        ..Default::default()
    });
    site.declare(PACKAGES);
    let preview = site.abide(&["sync", "--dry-run"]);
    site.converged(PACKAGES);
    assert!(preview.stdout.contains("package:abide-served"), "{preview:#?}");
    let version = "dpkg-query -W -f '${Version} ${db:Status-Abbrev}'";
    site.holds(&format!(
        "systemctl is-active abide-served; systemctl is-enabled abide-served
         test \"$(cat /run/seen-by-service)\" = 'here first'
         {version} abide-one | grep -q '^1.0-1 ii'; {version} abide-two | grep -q 'hi '; {version} abide-dependent
         {version} abide-base; test -e /repositories/deb/Packages"
    ));
    for (drift, healed) in [
        (
            "apt-get -y -qq remove abide-served",
            "systemctl is-active abide-served; dpkg-query -W abide-served",
        ),
        ("apt-mark unhold abide-two", "apt-mark showhold | grep -qx abide-two"),
    ] {
        site.holds(drift);
        assert!(changed(&site.synced()) > 0, "{drift}");
        site.holds(healed);
    }
    site.settled();

    // An upgrade, one that nobody has, one that would take a package away which nobody asked to remove.
    let upgraded = PACKAGES.replace("version = \"1.0\"", "version = \"2.*\"");
    site.converged(&upgraded);
    site.holds(&format!("{version} abide-one | grep -q '^2.0-1 ii'"));
    for (name, declared, said) in [
        ("unknown", format!("{upgraded}\n[package.no-such-package]\n"), "no-such-package"),
        ("version", upgraded.replace("\"2.*\"", "\"9.*\""), "9.*"),
        (
            "removal",
            upgraded.replace("[package.abide-dependent]", "[package.abide-base]\nensure = \"absent\""),
            "abide-dependent",
        ),
    ] {
        let before = site.status()["run"]["revision"]["commit"].clone();
        site.declare(&format!("{declared}\n[file.\"/etc/never\"]\ncontent = \"x\"\n"));
        let output = site.sync();
        assert!(output.code == 2 && output.stdout.contains(said), "{name}: {output:#?}");
        assert_eq!(
            site.status()["run"]["revision"]["commit"],
            before,
            "the last good state stays: {name}: {output:#?}"
        );
        site.holds(&format!("test ! -e /etc/never; {version} abide-dependent; {version} abide-base"));
    }
    site.converged(&upgraded.replace(
        "[package.abide-two]\nensure = \"held\"",
        "[package.abide-two]\nensure = \"purged\"\nchange-held = true",
    ));
    site.holds("not dpkg-query -W abide-two");

    // From now on the agent watches, and heals what the package database tells it.
    site.holds("sed -i 's/events = false/events = true/' /etc/abide/abide.toml; systemctl reload abide");
    site.wait_status("the run after the reload", |run| run["cause"] == "period" && run["sync"] == "Synced");
    site.holds("apt-get -y -qq remove abide-served");
    site.host.wait_for("systemctl is-active abide-served; dpkg-query -W abide-served", PATIENCE);
}

const COMMANDS: &str = r#"
[command.once]
argv = ["sh", "-c", "echo once >>/srv/once"]
creates = "/srv/once"

[command.unless]
argv = ["sh", "-c", "echo unless >>/srv/unless"]
unless = ["test", "-e", "/srv/unless"]

[command.only-if]
argv = ["touch", "/srv/never"]
only-if = ["test", "-e", "/no/such/thing"]

[command.who]
argv = ["sh", "-c", "echo $(id -un) $(pwd) $GREETING ${HOME:-no-home} >/tmp/who"]
creates = "/tmp/who"
user = "daemon"
cwd = "/var"
environment = { GREETING = "hello" }

[file."/srv/config"]
content = "1\n"

[command.refresh]
argv = ["sh", "-c", "echo refreshed >>/srv/refreshed"]
refresh-only = true
refresh-on = ["file:/srv/config"]
"#;

#[test]
fn commands_run_when_their_guards_say_so() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions { name: "commands", ..Default::default() });
    site.converged(COMMANDS);
    site.holds(
        "test $(cat /srv/once) = once; test $(cat /srv/unless) = unless; test ! -e /srv/never
         test $(wc -l </srv/refreshed) = 1
         case $(cat /tmp/who) in 'daemon /var hello '*) ;; *) cat /tmp/who; exit 1;; esac",
    );
    site.converged(&COMMANDS.replace("\"1\\n\"", "\"2\\n\""));
    site.holds("test $(wc -l </srv/refreshed) = 2; test $(wc -l </srv/once) = 1; rm /srv/once");
    site.synced();
    site.holds("test $(wc -l </srv/once) = 1");

    let slow = format!(
        "{COMMANDS}
[command.slow]
argv = [\"sh\", \"-c\", \"echo begun; sleep 600\"]
unless = [\"test\", \"-e\", \"/srv/slow\"]
timeout = \"1s\"

[command.fails]
argv = [\"sh\", \"-c\", \"echo the-reason >&2; exit 9\"]
creates = \"/srv/fails\"

[file.\"/srv/after\"]
content = \"x\"
after = [\"command:fails\"]
"
    );
    site.declare(&slow);
    let output = site.sync();
    assert_eq!(output.code, 2);
    for words in
        ["the-reason", "ended with code 9", "did not end within 1 s", "skipped, because command:fails failed"]
    {
        assert!(output.stdout.contains(words), "{words}: {output:#?}");
    }
    site.holds("test ! -e /srv/after; not pgrep -f 'sleep 600'");
}

const OWED: &str = r#"
[unit."app.service".Service]
ExecStart = "/bin/sleep infinity"
ExecStartPre = "/bin/sh -c 'cat /etc/app.conf >>/var/log/app'"

[unit."app.service".Install]
WantedBy = "multi-user.target"

[file."/etc/app.conf"]
content = "1\n"

[service.app]
running = true
enabled = true
restart-on = ["file:/etc/app.conf"]
after = ["command:between"]

[command.between]
argv = ["sh", "-c", "test -e /var/tmp/hung && exit; touch /var/tmp/hung; sleep 600"]
refresh-only = true
refresh-on = ["file:/etc/app.conf"]
"#;

#[test]
fn a_restart_that_a_power_cut_prevented_is_owed_and_paid() {
    if !lab_is_enabled() {
        return;
    }
    // The server goes down with the host, and nothing is to be said about the way to it.
    let settings = "\n[rollback]\nremote = \"never\"\n";
    let prepare = "touch /var/tmp/hung";
    let site = Site::enrolled(&SiteOptions { name: "owed", prepare, settings, ..Default::default() });
    site.converged(OWED);
    site.holds("test $(cat /var/log/app) = 1; rm /var/tmp/hung");
    // Cut the power after the file is in place and before its service is told.
    site.declare(&OWED.replace("\"1\\n\"", "\"2\\n\""));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| site.sync());
        site.host.wait_for("test -e /var/tmp/hung; grep -q 2 /etc/app.conf", PATIENCE);
        site.host.power_cut();
        assert_ne!(run.join().expect("the thread ends").code, 0);
    });
    // systemd starts the service at boot, and the agent's first run pays the restart that is owed.
    site.host.restart();
    let status = site.wait_synced();
    assert_eq!(status["run"]["sync"], "Synced", "{status:#}");
    assert_eq!(status["run"]["owed"].as_array().map(Vec::len), Some(0), "{status:#}");
    site.holds("grep -q 2 /etc/app.conf; test $(grep -c 2 /var/log/app) = 2; systemctl is-active app");
    // Whether the run saw its command die first depends on who lost power first.
    let history = site.ask(&["history", "--runs"]);
    let results: Vec<&str> =
        history.as_array().into_iter().flatten().filter_map(|run| run["result"].as_str()).collect();
    assert!(matches!(results[..2], ["succeeded", "interrupted" | "failed"]), "{history:#}");
    assert!(
        site.abide(&["events"]).stdout.matches("is proven").count() >= 3,
        "what was decided before the cut is kept"
    );
    site.server.start();
    site.settled();
}

#[test]
fn a_host_gets_the_roles_that_its_facts_and_labels_choose() {
    if !lab_is_enabled() {
        return;
    }
    let fleet = format!(
        "{FLEET}
[vars]
level = \"fleet\"
port = 1

[[assign]]
when = \"host.os.family == 'debian' and host.labels.tier == 'web'\"
roles = [\"web\"]
vars = {{ level = \"assignment\" }}

[[assign]]
when = \"host.os.family == 'rhel'\"
roles = [\"other\"]
"
    );
    let web = r#"
[vars]
port = 80
level = "role"
kind = "role"
users = [{ name = "ada", shell = "/bin/bash" }, { name = "bob", shell = "/bin/sh" }]

[file."/srv/levels"]
content = "{{ vars.level }} {{ vars.port }} {{ vars.kind }} {{ host.labels.tier }} {{ host.custom.site.rack }}\n"

[user."{{ item.name }}"]
for-each = "vars.users"
shell = "{{ item.shell }}"

[file."/srv/many-cpus"]
when = "host.cpus > 4096"
content = "x"
"#;
    let settings = "\n[host]\nname = \"web-01\"\nlabels = { tier = \"web\" }\n";
    let site = Site::enrolled(&SiteOptions {
        name: "layers",
        settings,
        prepare: "mkdir -p /etc/abide/facts.d; echo 'rack = \"r7\"' >/etc/abide/facts.d/site.toml",
        ..Default::default()
    });
    site.push(
        "Roles",
        &[
            ("fleet.toml", &fleet),
            ("roles/web/role.toml", web),
            ("roles/other/role.toml", "[file.\"/srv/other\"]\ncontent = \"x\"\n"),
            ("hosts/web-01.toml", "[vars]\nport = 443\n"),
        ],
    );
    site.synced();
    site.settled();
    assert_eq!(site.host.read("/srv/levels"), "assignment 443 role web r7\n");
    site.holds(
        "getent passwd ada | grep -q bash; getent passwd bob | grep -q '/bin/sh$'
         test ! -e /srv/other; test ! -e /srv/many-cpus",
    );
    // A fact that changes renders anew, without any push.
    site.holds("echo 'rack = \"r8\"' >/etc/abide/facts.d/site.toml");
    site.synced();
    assert_eq!(site.host.read("/srv/levels"), "assignment 443 role web r8\n");
    // A role file of the wrong kind does not reach the host.
    site.push("Break", &[(ROLE, "[fil.\"/x\"]\n")]);
    let output = site.sync();
    assert!(output.code == 2 && output.stdout.contains("E2"), "{output:#?}");
    assert!(
        output.stdout.contains("did you mean") && output.stdout.contains("roles/base/role.toml:1"),
        "{output:#?}"
    );
}
