//! Who runs with which privileges: what is confined, what leaves the sandbox on purpose, and what is said about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::lab_is_enabled;
use crate::support::site::{Site, SiteOptions};

const SOON: Duration = Duration::from_secs(60);

/// Writes down what confines it; makes a device node and a TCP connection, which Landlock forbids.
const RECORD: &str = r#"#!/bin/bash
{
    grep -E '^(NoNewPrivs|Seccomp|Seccomp_filters|CapBnd):' /proc/self/status | tr -d '\t'
    echo "net:$(readlink /proc/self/ns/net)"
    echo "mnt:$(readlink /proc/self/ns/mnt)"
    touch /usr/writable /boot/writable /etc/writable /dev/shm/writable && echo mounts:writable || echo mounts:denied
    echo "cgroup:$(tail -n1 /proc/self/cgroup)"
    rm -f /srv/node
    mknod /srv/node c 1 3 2>/dev/null && echo node:made || echo node:denied
    (exec 3<>/dev/tcp/127.0.0.1/$(cat /srv/port)) 2>/dev/null && echo tcp:made || echo tcp:denied
} >"/srv/recorded-$1"
"#;

/// A package whose maintainer script writes down what confines it.
const PACKAGE: &str = "
    mkdir -p /srv/escape/DEBIAN
    printf 'Package: abide-escape\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: Test <test@example.org>\\nDescription: test\\n' >/srv/escape/DEBIAN/control
    printf '#!/bin/sh\\nexec /usr/local/bin/record package\\n' >/srv/escape/DEBIAN/postinst
    chmod 755 /srv/escape/DEBIAN/postinst
    dpkg-deb -Znone -b /srv/escape /srv/escape.deb
";

/// In the place of a program that the agent itself runs.
const USERADD: &str = "#!/bin/sh\n/usr/local/bin/record $(cat /srv/who)\nexec /usr/sbin/useradd \"$@\"\n";

fn recorded(site: &Site, who: &str) -> BTreeMap<String, String> {
    let text = site.host.read(&format!("/srv/recorded-{who}"));
    let line = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(line).collect()
}

fn prepared(name: &'static str, settings: &str) -> Site {
    let prepare = format!(
        "cat >/usr/local/bin/record <<'END'\n{RECORD}END\ncat >/usr/local/sbin/useradd <<'END'\n{USERADD}END\n\
         chmod 755 /usr/local/bin/record /usr/local/sbin/useradd; echo agent >/srv/who; {PACKAGE}"
    );
    let site = Site::enrolled(&SiteOptions { name, settings, prepare: &prepare, ..Default::default() });
    site.host.write("/srv/port", site.server.port().to_string());
    site
}

/// Whether the kernel under the hosts enforces all that abide asks of Landlock. Then a host has to show it.
fn landlock_is_whole(site: &Site) -> bool {
    let status = site.status();
    let abi = status["agent"]["sandbox"]["landlock"]["abi"].as_i64().unwrap_or_default();
    if abi < 6 {
        eprintln!("skipped in part: the Landlock ABI of this machine is {abi}");
    }
    abi >= 6
}

/// Attack 40: what a package's scripts do is done outside of abide's sandbox, on purpose, and nothing else is.
#[test]
fn packages_and_commands_leave_the_sandbox_and_nothing_else_does() {
    if !lab_is_enabled() {
        return;
    }
    let site = prepared("escape", "");
    let landlock = landlock_is_whole(&site);
    // What a unit has that asks for nothing; hosts of the lab are filtered themselves. And what a shell has.
    site.host.sh("systemd-run -q --wait /usr/local/bin/record host; /usr/local/bin/record shell").success();
    let role = "[package.abide-escape]\nfile = \"/srv/escape.deb\"\n\
        [command.escape]\nargv = [\"/usr/local/bin/record\", \"command\"]\ncreates = \"/srv/recorded-command\"\n\
        [user.first]\n";
    site.declare(role);
    // By the agent, then by hand from a shell.
    site.abide(&["sync", "--wait"]).success();
    site.host.write("/srv/who", "operator");
    site.converged(&format!("{role}[user.second]\n"));

    let host = recorded(&site, "host");
    assert_eq!((host["tcp"].as_str(), host["node"].as_str()), ("made", "made"), "{host:?}");
    for (who, unit) in [("package", "abide-packages"), ("command", "abide-command")] {
        let found = recorded(&site, who);
        for what in ["NoNewPrivs", "Seccomp_filters", "CapBnd", "net", "mounts", "node", "tcp"] {
            assert_eq!(found[what], host[what], "{what} of {who}");
        }
        assert!(found["cgroup"].contains(unit), "{who}: {found:?}");
    }
    // apt's units have one file of their own, which keeps services from being started by packages; commands have nothing of their own.
    assert_eq!(recorded(&site, "command")["mnt"], host["mnt"]);
    assert_eq!(host["mounts"], "writable");
    let agent = recorded(&site, "agent");
    assert_eq!((agent["NoNewPrivs"].as_str(), agent["Seccomp"].as_str()), ("1", "2"), "{agent:?}");
    for what in ["CapBnd", "Seccomp_filters", "net", "mnt"] {
        assert_ne!(agent[what], host[what], "{what}");
    }
    assert!(agent["cgroup"].ends_with("/abide.service"), "{agent:?}");
    assert_eq!((agent["node"].as_str(), agent["tcp"].as_str()), ("denied", "denied"), "{agent:?}");
    // A shell has root's capabilities, and its own network: Landlock is all that there is.
    let (operator, shell) = (recorded(&site, "operator"), recorded(&site, "shell"));
    assert_eq!((&operator["CapBnd"], &operator["net"]), (&shell["CapBnd"], &shell["net"]));
    assert_eq!((shell["tcp"].as_str(), shell["node"].as_str()), ("made", "made"), "{shell:?}");
    if landlock {
        assert_eq!(operator["NoNewPrivs"], "1", "{operator:?}");
        assert_eq!(
            (operator["node"].as_str(), operator["tcp"].as_str()),
            ("denied", "denied"),
            "{operator:?}"
        );
    }
    site.holds("getent passwd first second; dpkg -s abide-escape");
}

const DROP_INS: [&str; 2] = ["abide.service.d", "abide-fetch.service.d"];

#[test]
fn the_status_says_which_layers_confine_whom() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions { name: "layers", ..Default::default() });
    let verify = site.host.sh("systemd-analyze verify --man=no abide.service abide-fetch.service");
    assert_eq!((verify.code, verify.stderr.as_str()), (0, ""));
    for (unit, most) in [("abide.service", 35), ("abide-fetch.service", 15)] {
        let judged = site.host.sh(&format!("systemd-analyze security --no-pager --threshold={most} {unit}"));
        assert_eq!(judged.code, 0, "{}", judged.stdout.lines().last().unwrap_or_default());
    }
    let layers = |status: &Value| {
        [&status["run"]["sandbox"], &status["agent"]["sandbox"], &status["agent"]["poll"]["sandbox"]]
            .map(Value::clone)
    };
    let whole = landlock_is_whole(&site);
    let status = site.status();
    for (place, layer) in layers(&status).iter().enumerate() {
        assert_eq!(
            (&layer["seccomp"], &layer["no-new-privileges"]),
            (&"filter".into(), &true.into()),
            "{layer:#}"
        );
        let capabilities = layer["capabilities"].as_array().expect("a list");
        assert_eq!(capabilities.is_empty(), place == 2, "only the fetcher has none: {layer:#}");
        let strong = ["sys_admin", "sys_module", "net_admin", "mknod", "sys_ptrace", "sys_rawio"];
        assert!(!capabilities.iter().any(|name| strong.iter().any(|one| name == one)), "{layer:#}");
        if whole {
            assert_eq!(layer["landlock"]["enforced"], "fully", "{layer:#}");
        }
    }
    let shown = site.abide(&["status"]).stdout;
    println!("{shown}");
    let words = if whole { "agent: Landlock in force (ABI" } else { "agent: " };
    assert!(shown.contains(words) && shown.contains("no capabilities; by its own words"), "{shown}");

    // A kernel without Landlock: everything works, and the status says so plainly.
    for folder in DROP_INS {
        let hide = "[Service]\nSystemCallFilter=~landlock_create_ruleset\n";
        site.host.write(&format!("/etc/systemd/system/{folder}/hide.conf"), hide);
    }
    site.host.sh("systemctl daemon-reload; systemctl restart abide").success();
    let commit = site.declare("[file.\"/etc/first\"]\ncontent = \"1\\n\"\n");
    site.abide(&["sync", "--wait"]).success();
    let status = site.status();
    assert_eq!(
        (&status["health"], &status["run"]["revision"]["commit"]),
        (&"Healthy".into(), &commit.clone().into())
    );
    for layer in layers(&status) {
        assert_eq!(layer["landlock"]["enforced"], "not", "{layer:#}");
    }
    let shown = site.abide(&["status"]).stdout;
    assert!(shown.contains("no Landlock (the kernel has none, or a filter hides it)"), "{shown}");

    // Where it is required, nothing is fetched and nothing is applied.
    site.host
        .sh("sed -i 's/^events.*/&\\nrequire-sandbox = true/' /etc/abide/abide.toml; systemctl reload abide")
        .success();
    site.declare("[file.\"/etc/second\"]\ncontent = \"2\\n\"\n");
    site.host.wait_for(
        "systemctl start abide-fetch; (abide status || true) | grep -F 'fetcher is required'",
        SOON,
    );
    site.host.sh("abide sync --wait || true; rm /etc/first").success();
    let status = site.status();
    assert_eq!(
        (&status["health"], &status["run"]["revision"]["commit"]),
        (&"Degraded".into(), &commit.into())
    );
    for problems in
        [&status["run"]["problems"], &status["agent"]["problems"], &status["agent"]["poll"]["problems"]]
    {
        assert_eq!(problems[0]["code"], "E810", "{status:#}");
    }
    println!("{}", site.abide(&["status"]).stdout);
    site.holds("test ! -e /etc/first; test ! -e /etc/second");
    // By hand there is no filter that hides it.
    if whole {
        site.abide(&["sync", "--no-fetch"]).success();
        site.holds("test -e /etc/first; test ! -e /etc/second");
    }
    site.host
        .sh("rm /etc/systemd/system/abide*.d/hide.conf; systemctl daemon-reload; systemctl restart abide")
        .success();
    if whole {
        site.wait_synced();
        site.holds("test -e /etc/second");
    }
}
