//! A run dies at every place that it passes; the next one finishes what it began, as a model says.
//!
//! For each kind a host is brought from one commit to another again and again: from a copy of the same beginning, with a death at
//! the next place each time, a run that lives, and a last commit that takes everything away.

use std::fmt::Write as _;

use super::{everything, program};
use crate::support::command::run;
use crate::support::site::{Site, SiteOptions};
use crate::support::{lab_is_enabled, lab_script};

/// A transition, and what has to be true at both ends of it.
#[derive(Default)]
struct Case {
    name: &'static str,
    /// What to run in the host before it is enrolled.
    prepare: &'static str,
    /// The role before, after which the host is remembered.
    before: String,
    /// The role whose application dies.
    after: String,
    /// Runs each time when the host is as `before` declares, right before the run that dies.
    reset: &'static str,
    /// What holds when the host is as `after` declares.
    holds: &'static str,
    /// What holds when nothing is declared any more.
    gone: &'static str,
    /// At least so many places are passed.
    places: usize,
    /// Every how-manieth place is tried where not everything is.
    every: usize,
    /// Folders or files of the machine that the host sees.
    binds: Vec<(std::path::PathBuf, std::path::PathBuf)>,
}

/// What the host is made of in these cases: copied once, copied back before each death.
const KEPT: &str = "/srv /etc/systemd/system /etc/passwd /etc/shadow /etc/group /etc/gshadow /var/lib/abide";

/// Functions of the host's side. `died` is the run that dies, `lived` the one after it.
const DRIVER: &str = r#"
not() { ! "$@"; }
keep() { rm -rf /keep; mkdir -p /keep; for path in $KEPT; do mkdir -p "/keep$(dirname $path)"; cp -a $path "/keep$path"; done; }
back() {
    for path in $KEPT; do
        if [ -d "$path" ]; then find "$path" -mindepth 1 -delete; cp -a "/keep$path/." "$path/"; else cp -a "/keep$path" "$path"; fi
    done
}
spool() { find /var/lib/abide-fetch -mindepth 1 -delete; cp -a "/spool.$1/." /var/lib/abide-fetch/; }
check() { bash -eu "/$1" >/dev/null 2>&1 || { bash -eux "/$1"; echo "$1 does not hold"; return 1; }; }
run() { abide sync --no-fetch >/tmp/run 2>&1 || { echo "the run after it failed"; cat /tmp/run; return 1; }; }
whole() {
    local left
    left=$(find /srv /etc /run/abide /var/lib/abide \( -name '.abide-*' -o -name '.*.[0-9]*' -o -name 'incoming-*' -o -name '.tmp*' \) -print)
    if [ -n "$left" ]; then echo "left behind: $left"; return 1; fi
    abide diff >/tmp/diff 2>&1 || { echo "a difference is left"; cat /tmp/diff; return 1; }
    not grep -q '"running"' <<<"$(abide history -o json)" || { echo "a run is open"; return 1; }
}
"#;

impl Case {
    /// Kills at every place, and says how many there were.
    fn prove(&self) {
        let site = Site::enrolled(&SiteOptions {
            name: self.name,
            prepare: self.prepare,
            settings: "\n[apply]\nprune-limit = 100\n\n[rollback]\nremote = \"never\"\n",
            program: Some(program()),
            binds: self.binds.clone(),
            ..Default::default()
        });
        site.converged(&self.before);
        site.holds("systemctl stop abide; abide history >/dev/null");
        let stays = "[file.\"/srv/stays\"]\ncontent = \"x\"\n";
        for (spool, role) in [("after", self.after.as_str()), ("gone", stays)] {
            site.declare(role);
            site.holds(&format!("systemctl start abide-fetch; cp -a /var/lib/abide-fetch /spool.{spool}"));
        }
        site.host.write("/driver", format!("KEPT='{KEPT}'\n{DRIVER}"));
        for (name, script) in [("holds", self.holds), ("gone", self.gone)] {
            site.host.write(&format!("/{name}"), format!("not() {{ ! \"$@\"; }}\n{script}\n"));
        }
        site.holds(". /driver; keep");
        let places = self.list(&site);
        assert!(places.len() >= self.places, "{}: only {} places: {places:#?}", self.name, places.len());
        let mut broken = String::new();
        let mut killed = 0;
        let step = if everything() { 1 } else { self.every.max(1) };
        for (number, place) in places.iter().enumerate().step_by(step) {
            killed += 1;
            let output = site.host.sh(&self.script(number));
            if output.code != 0 {
                println!("{}: broken after {place}", self.name);
                let _ = writeln!(broken, "--- {number} {place}\n{}{}", output.stdout, output.stderr);
                if broken.len() > 20_000 {
                    break;
                }
            }
        }
        println!("{}: {} places, died at {killed}", self.name, places.len());
        assert!(broken.is_empty(), "{}\n{broken}", self.name);
    }

    /// The places that the run passes, by name.
    fn list(&self, site: &Site) -> Vec<String> {
        let script = format!(
            ". /driver; set -e; back; spool after; {}\nABIDE_FAILPOINTS=list abide sync --no-fetch 2>&1 >/tmp/run || {{ cat /tmp/run; exit 1; }}; check holds",
            self.reset
        );
        let output = site.host.sh(&script);
        assert_eq!(output.code, 0, "{}: {output:#?}", self.name);
        output.stdout.lines().filter(|line| line.starts_with("place ")).map(str::to_owned).collect()
    }

    fn script(&self, number: usize) -> String {
        let reset = self.reset;
        format!(
            ". /driver
             back; spool after; {reset}
             code=0; ABIDE_DIE_AT={number} abide sync --no-fetch >/tmp/died 2>&1 || code=$?
             if [ $code != 134 ]; then echo \"it did not die: $code\"; cat /tmp/died; exit 1; fi
             run; whole; check holds
             cp /tmp/run /tmp/first; run; if ! grep -q ' 0 changed' /tmp/run; then echo 'not settled'; cat /tmp/first /tmp/run; exit 1; fi
             check holds
             spool gone; run; whole; check gone"
        )
    }
}

#[test]
fn files_directories_and_links() {
    if !lab_is_enabled() {
        return;
    }
    Case {
        name: "kill-files",
        prepare: "mkdir -p /srv/own; echo found >/srv/found; echo other >/srv/changed-found; ln -s nowhere /srv/own/link",
        before: r#"
[file."/srv/changed"]
content = "before\n"
[file."/srv/leaves"]
content = "leaves\n"
[directory."/srv/old"]
[file."/srv/old/inside"]
content = "x"
[symlink."/srv/old-link"]
target = "changed"
[file."/srv/found"]
content = "found\n"
"#.into(),
        after: r#"
[file."/srv/changed"]
content = "after\n"
mode = "0600"
[file."/srv/changed-found"]
content = "after\n"
[file."/srv/new"]
content = "new\n"
validate = ["grep", "-q", "new", "{file}"]
[directory."/srv/tree"]
mode = "0750"
[directory."/srv/tree/deep"]
[file."/srv/tree/deep/file"]
content = "deep\n"
[symlink."/srv/link"]
target = "tree/deep"
[symlink."/srv/old-link"]
target = "new"
[file."/srv/gone"]
ensure = "absent"
[file."/srv/found"]
content = "found\n"
"#.into(),
        reset: "touch /srv/gone",
        holds: "test $(cat /srv/changed) = after; test $(stat -c %a /srv/changed) = 600; test $(cat /srv/changed-found) = after
            test $(cat /srv/new) = new; test $(stat -c %a /srv/tree) = 750; test $(cat /srv/link/file) = deep
            test $(readlink /srv/old-link) = new; test ! -e /srv/gone; test ! -e /srv/leaves; test ! -e /srv/old
            test $(cat /srv/found) = found",
        gone: "test \"$(cd /srv; find . | sort | xargs)\" = '. ./changed-found ./found ./own ./own/link ./stays'",
        places: 60,
        every: 3,
        ..Case::default()
    }
    .prove();
}

/// Packages of the distribution's kind, from a repository in the host.
#[test]
fn packages() {
    if !lab_is_enabled() {
        return;
    }
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    Case {
        name: "kill-packages",
        binds: vec![(repositories.path().to_owned(), "/repositories".into())],
        prepare: "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
                  echo 'deb [trusted=yes] file:/repositories/deb ./' >/etc/apt/sources.list.d/test.list
                  apt-get -qq update; apt-get -y -qq install abide-dependent",
        before: r#"
[package.abide-one]
version = "1.0"
[package.abide-two]
[package.abide-dependent]
"#
        .into(),
        after: r#"
[package.abide-one]
version = "2.0"
[package.abide-served]
[service.abide-served]
running = true
restart-on = ["file:/srv/served"]
[file."/srv/served"]
content = "x\n"
[package.abide-epoch]
ensure = "held"
[package.abide-dependent]
"#
        .into(),
        reset: "cp /srv/served /tmp 2>/dev/null || true; apt-mark -qq unhold abide-epoch >/dev/null
            apt-get -y -qq --allow-downgrades purge abide-served abide-epoch >/dev/null 2>&1
            apt-get -y -qq --allow-downgrades install abide-one=1.0-1 abide-two >/dev/null 2>&1; rm -f /tmp/served",
        holds: "systemctl is-active abide-served; test \"$(dpkg-query -W -f '${db:Status-Status}' abide-two 2>/dev/null)\" != installed
            dpkg-query -W -f '${Version} ${db:Status-Abbrev}' abide-one | grep -q '^2.0-1 ii'
            dpkg-query -W -f '${db:Status-Abbrev}' abide-epoch | grep -q hi; test -z \"$(dpkg --audit)\"
            not systemctl is-failed abide-packages",
        gone: "for name in one two served epoch; do
                test \"$(dpkg-query -W -f '${db:Status-Status}' abide-$name 2>/dev/null)\" != installed; done
            dpkg-query -W -f '${db:Status-Status}' abide-dependent | grep -qx installed; test -z \"$(dpkg --audit)\"",
        places: 60,
        every: 4,
    }
    .prove();
}

/// A service that writes down what it reads, when it starts and when it reloads.
const SERVICES: &str = r#"
[unit."app.service".Unit]
StartLimitIntervalSec = 0
[unit."app.service".Service]
ExecStartPre = "/bin/sh -c 'echo start $(cat /srv/app.conf /srv/app.reload) $NUMBER >>/srv/log.app'"
ExecStart = "/bin/sleep infinity"
ExecReload = "/bin/sh -c 'echo reload $(cat /srv/app.conf /srv/app.reload) >>/srv/log.app'"
[unit."app.service".Install]
WantedBy = "multi-user.target"
[drop-in."app.service/number".Service]
Environment = ["NUMBER=one"]
[file."/srv/app.conf"]
content = "1\n"
[file."/srv/app.reload"]
content = "1\n"
[file."/srv/quiet.conf"]
content = "1\n"
[service.app]
running = true
enabled = true
restart-on = ["unit:app.service", "drop-in:app.service/number", "file:/srv/app.conf"]
reload-on = ["file:/srv/app.reload"]

[unit."soft.service".Unit]
StartLimitIntervalSec = 0
[unit."soft.service".Service]
ExecStart = "/bin/sleep infinity"
ExecReload = "/bin/sh -c 'echo reload $(cat /srv/app.reload) >>/srv/log.soft'"
[service.soft]
running = true
reload-on = ["file:/srv/app.reload"]

[unit."quiet.service".Unit]
StartLimitIntervalSec = 0
[unit."quiet.service".Service]
ExecStartPre = "/bin/sh -c 'echo start >>/srv/log.quiet'"
ExecStart = "/bin/sleep infinity"
[service.quiet]
running = true
restart-on = ["file:/srv/quiet.conf"]
"#;

/// How a host gets its services back to where they were.
const RESTART: &str = "systemctl stop app soft quiet new old 2>/dev/null || true; systemctl daemon-reload
    systemctl reset-failed app soft quiet new old 2>/dev/null || true; systemctl restart app soft quiet old
    rm -f /srv/log.*";

#[test]
fn units_drop_ins_and_services() {
    if !lab_is_enabled() {
        return;
    }
    let before = format!(
        "{SERVICES}
[unit.\"old.service\".Service]
ExecStart = \"/bin/sleep infinity\"
[unit.\"old.service\".Install]
WantedBy = \"multi-user.target\"
[service.old]
running = true
enabled = true
"
    );
    let after = format!(
        "{}
[unit.\"new.service\".Unit]
StartLimitIntervalSec = 0
[unit.\"new.service\".Service]
ExecStart = \"/bin/sleep infinity\"
[unit.\"new.service\".Install]
WantedBy = \"multi-user.target\"
[service.new]
running = true
enabled = true
",
        SERVICES
            .replace("/srv/app.conf\"]\ncontent = \"1", "/srv/app.conf\"]\ncontent = \"2")
            .replace("/srv/app.reload\"]\ncontent = \"1", "/srv/app.reload\"]\ncontent = \"3")
            .replace("NUMBER=one", "NUMBER=two")
    );
    Case {
        name: "kill-units",
        before,
        after,
        reset: RESTART,
        // A death between a restart and the note of it pays the restart twice, but nothing ever restarts twice for no reason.
        holds: "systemctl is-active app soft quiet new; systemctl is-enabled app new; not systemctl is-active old
            test ! -e /etc/systemd/system/old.service; test ! -e /etc/systemd/system/multi-user.target.wants/old.service
            test \"$(tail -n 1 /srv/log.app)\" = 'start 2 3 two'; test $(grep -c start /srv/log.app) -le 2
            test \"$(tail -n 1 /srv/log.soft)\" = 'reload 3'; test $(wc -l </srv/log.soft) -le 2; test ! -e /srv/log.quiet
            test $(systemctl show -P NeedDaemonReload app new soft | grep -c no) = 3",
        gone: "not systemctl is-active app; not systemctl is-active new; test -z \"$(ls /etc/systemd/system/app.service.d)\"
            test -z \"$(find /etc/systemd/system \\( -name 'app*.service' -o -name 'new*' -o -name 'soft*' -o -name 'quiet*' \\) -print)\"
            test $(systemctl show -P LoadState app) = not-found",
        places: 60,
        every: 3,
        ..Case::default()
    }
    .prove();
}

#[test]
fn users_and_groups() {
    if !lab_is_enabled() {
        return;
    }
    Case {
        name: "kill-accounts",
        prepare: "groupadd -g 5000 found; useradd -M -u 5000 -g found -s /bin/sh found",
        before: r#"
[group.old]
gid = 4100
[user.old]
uid = 4100
group = "old"
[user.changes]
uid = 4101
shell = "/bin/sh"
"#.into(),
        after: r#"
[group.team]
gid = 4000
[user.ada]
uid = 4001
group = "team"
groups = ["adm"]
password = "$6$canary5f3a9c$abcdefghijklmnopqrstuv"
[user.changes]
uid = 4101
shell = "/bin/bash"
password = "$6$canary5f3a9c$abcdefghijklmnopqrstuv"
locked = true
[user.found]
shell = "/bin/bash"
"#.into(),
        holds: r#"test "$(getent passwd ada | cut -d: -f1-4)" = ada:x:4001:4000; test "$(id -nG ada)" = 'team adm'
            test "$(getent shadow ada | cut -d: -f2)" = '$6$canary5f3a9c$abcdefghijklmnopqrstuv'
            getent passwd changes | grep -q ':/bin/bash$'; test "$(getent shadow changes | cut -d: -f2)" = '!$6$canary5f3a9c$abcdefghijklmnopqrstuv'
            not getent passwd old; not getent group old; getent passwd found | grep -q ':/bin/bash$'
            test ! -e /etc/passwd.lock; test ! -e /etc/.pwd.lock.x"#,
        gone: "not getent passwd ada; not getent group team; not getent passwd changes; getent passwd found; getent group found",
        places: 40,
        every: 2,
        ..Case::default()
    }
    .prove();
}

#[test]
fn commands() {
    if !lab_is_enabled() {
        return;
    }
    Case {
        name: "kill-commands",
        before: r#"
[file."/srv/config"]
content = "1\n"
[command.refresh]
argv = ["sh", "-c", "echo $(cat /srv/config) >>/srv/log.refresh"]
refresh-only = true
refresh-on = ["file:/srv/config"]
"#.into(),
        after: r#"
[file."/srv/config"]
content = "2\n"
[command.refresh]
argv = ["sh", "-c", "echo $(cat /srv/config) >>/srv/log.refresh"]
refresh-only = true
refresh-on = ["file:/srv/config"]
[command.second]
argv = ["sh", "-c", "echo $(cat /srv/config) >>/srv/log.second"]
refresh-only = true
refresh-on = ["file:/srv/config"]
after = ["command:refresh"]
[command.once]
argv = ["sh", "-c", "echo once >>/srv/log.once; touch /srv/once"]
creates = "/srv/once"
[file."/srv/after"]
content = "x\n"
after = ["command:once"]
"#.into(),
        reset: "rm -f /srv/log.*",
        holds: "test \"$(cat /srv/log.refresh)\" = 2; test \"$(cat /srv/log.second)\" = 2; test \"$(cat /srv/log.once)\" = once
            test -e /srv/after; test \"$(systemctl show -P LoadState abide-command)\" = not-found",
        gone: "test ! -e /srv/config; test ! -e /srv/after; test \"$(cat /srv/log.once)\" = once",
        places: 50,
        every: 2,
        ..Case::default()
    }
    .prove();
}
