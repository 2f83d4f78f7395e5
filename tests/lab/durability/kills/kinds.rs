//! Every kind but packages, each by itself.

use super::Case;
use crate::support::lab_is_enabled;

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
        gone: "test \"$(cd /srv; find . ! -name gone | sort | xargs)\" = '. ./changed-found ./found ./own ./own/link ./stays'",
        places: 60,
        every: 5,
        ..Case::default()
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
        gone: "not systemctl is-active app; not systemctl is-active new; not systemctl is-active old; test -z \"$(ls /etc/systemd/system/app.service.d)\"
            test -z \"$(find /etc/systemd/system \\( -name 'app*.service' -o -name 'new*' -o -name 'soft*' -o -name 'quiet*' -o -name 'old*' \\) -print)\"
            test $(systemctl show -P LoadState app) = not-found",
        places: 60,
        every: 5,
        ..Case::default()
    }
    .prove();
}

#[test]
fn users_and_groups() {
    if !lab_is_enabled() {
        return;
    }
    // A group of the user's name would go with it, by userdel's own doing and a death in between: then nobody has removed it.
    Case {
        name: "kill-accounts",
        prepare: "groupadd -g 5000 found; useradd -M -u 5000 -g found -s /bin/sh found",
        before: r#"
[group.former]
gid = 4100
[user.old]
uid = 4100
group = "former"
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
            not getent passwd old; not getent group former; getent passwd found | grep -q ':/bin/bash$'
            test ! -e /etc/passwd.lock; test ! -e /etc/.pwd.lock.x"#,
        gone: "not getent passwd ada; not getent group team; not getent passwd changes; not getent passwd old; not getent group former; getent passwd found; getent group found",
        places: 40,
        every: 4,
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
        gone: "test ! -e /srv/config; test ! -e /srv/after; test ! -e /srv/log.once || test \"$(cat /srv/log.once)\" = once",
        places: 50,
        every: 4,
        ..Case::default()
    }
    .prove();
}
