//! All kinds in one manifest, with edges between them, and the whole host killed.

use super::Case;
use super::packages::{APT, repositories};
use crate::support::lab_is_enabled;

/// A program of a package, its account, its folder, its configuration, its unit, and what has to be told of changes.
const BEFORE: &str = r#"
[group.crew]
gid = 4200
[user.runner]
uid = 4200
group = "crew"
[package.abide-one]
version = "1.0"
[package.abide-two]
[directory."/srv/app"]
owner = "runner"
group = "crew"
[file."/srv/app/conf"]
content = "1\n"
owner = "runner"
after = ["package:abide-one"]
[symlink."/srv/current"]
target = "app"
[unit."worker.service".Unit]
StartLimitIntervalSec = 0
[unit."worker.service".Service]
ExecStartPre = "/bin/sh -c 'echo start $(cat /srv/current/conf) $NUMBER >>/srv/log.worker'"
ExecStart = "/bin/sleep infinity"
[unit."worker.service".Install]
WantedBy = "multi-user.target"
[drop-in."worker.service/number".Service]
Environment = ["NUMBER=one"]
[service.worker]
running = true
enabled = true
restart-on = ["unit:worker.service", "drop-in:worker.service/number", "file:/srv/app/conf", "package:abide-one"]
[command.index]
argv = ["sh", "-c", "cat /usr/share/abide-one/version >/srv/index; echo $(cat /srv/index) >>/srv/log.index"]
refresh-only = true
refresh-on = ["package:abide-one", "file:/srv/app/conf"]
after = ["service:worker"]
[file."/srv/leaves"]
content = "leaves\n"
[user.leaves]
uid = 4210
"#;

/// What comes with the next commit.
const MORE: &str = r#"
[group.guests]
gid = 4201
[user.guest]
uid = 4201
group = "guests"
groups = ["crew"]
after = ["user:runner"]
[package.abide-served]
[directory."/srv/app/data"]
mode = "0750"
owner = "guest"
group = "guests"
[file."/srv/app/data/key"]
content = "key\n"
mode = "0600"
owner = "guest"
sensitive = true
after = ["package:abide-served"]
[service.abide-served]
running = true
restart-on = ["file:/srv/app/data/key"]
[command.once]
argv = ["sh", "-c", "echo once >>/srv/log.once; touch /srv/once"]
creates = "/srv/once"
after = ["service:abide-served"]
[symlink."/srv/last"]
target = "once"
after = ["command:once"]
"#;

#[test]
fn all_kinds_together_and_the_whole_host() {
    if !lab_is_enabled() {
        return;
    }
    let (_repositories, binds) = repositories();
    let after = BEFORE
        .replace(
            "[package.abide-one]\nversion = \"1.0\"\n[package.abide-two]",
            "[package.abide-one]\nversion = \"2.0\"",
        )
        .replace("content = \"1", "content = \"2")
        .replace("NUMBER=one", "NUMBER=two")
        .replace("[file.\"/srv/leaves\"]\ncontent = \"leaves\\n\"\n[user.leaves]\nuid = 4210\n", MORE);
    Case {
        name: "kill-mixed",
        binds,
        prepare: APT,
        before: BEFORE.into(),
        after,
        reset: "{ dpkg --purge abide-served; cd /repositories/deb
              dpkg --force-downgrade -i abide-one_0_1.0.deb abide-two_0_1.0.deb; } >/dev/null 2>&1
            systemctl stop worker 2>/dev/null || true; systemctl daemon-reload
            systemctl reset-failed worker 2>/dev/null || true; systemctl restart worker; rm -f /srv/log.*",
        holds: "test \"$(getent passwd guest | cut -d: -f1-4)\" = guest:x:4201:4201; id -nG guest | grep -q crew
            not getent passwd leaves; test ! -e /srv/leaves; test \"$(stat -c %U:%G:%a /srv/app/data)\" = guest:guests:750
            test \"$(stat -c %U:%a /srv/app/data/key)\" = guest:600; test \"$(readlink /srv/last)\" = once
            test \"$(dpkg-query -W -f '${db:Status-Status}' abide-two 2>/dev/null)\" != installed
            dpkg-query -W -f '${Version} ${db:Status-Abbrev}' abide-one | grep -q '^2.0-1 ii'; test -z \"$(dpkg --audit)\"
            systemctl is-active worker abide-served; systemctl is-enabled worker
            test \"$(tail -n 1 /srv/log.worker)\" = 'start 2 two'; test \"$(systemctl show -P NeedDaemonReload worker)\" = no
            test \"$(cat /srv/index)\" = 2.0; test \"$(tail -n 1 /srv/log.index)\" = 2.0; test \"$(cat /srv/log.once)\" = once",
        gone: "for name in one two served; do
                test \"$(dpkg-query -W -f '${db:Status-Status}' abide-$name 2>/dev/null)\" != installed; done
            for name in runner guest leaves; do not getent passwd $name; done
            for name in crew guests; do not getent group $name; done
            not systemctl is-active worker; test ! -e /etc/systemd/system/worker.service
            test -z \"$(find /srv -mindepth 1 ! -name 'log.*' ! -name once ! -name index ! -name stays)\"; test -z \"$(dpkg --audit)\"",
        places: 90,
        every: 16,
        cut: (10, 45),
        ..Case::default()
    }
    .prove();
}
