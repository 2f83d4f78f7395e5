//! Units, drop-ins and services.

use crate::support::lab_is_enabled;
use crate::support::site::{Site, SiteOptions, changed};

const ROLE: &str = r#"
[unit."app.service".Unit]
Description = "The application"

[unit."app.service".Service]
ExecStart = "/bin/sleep infinity"
ExecStartPre = "/bin/sh -c 'echo started >>/var/log/app'"
ExecReload = "/bin/sh -c 'echo reloaded >>/var/log/app'"

[unit."app.service".Install]
WantedBy = "multi-user.target"

[drop-in."app.service/environment".Service]
Environment = ["A=1", "\"B=two words\""]

[file."/etc/app.conf"]
content = "a=1\n"

[file."/etc/app.reload"]
content = "a=1\n"

[file."/etc/app.more"]
content = "a=1\n"

[service.app]
running = true
enabled = true
restart-on = ["unit:app.service", "drop-in:app.service/environment", "file:/etc/app.conf", "file:/etc/app.more"]
reload-on = ["file:/etc/app.reload"]

[service.cron]
running = false
enabled = false

[unit."echo.socket".Socket]
ListenStream = "127.0.0.1:7007"
Accept = true

[unit."echo.socket".Install]
WantedBy = "sockets.target"

[unit."echo@.service".Service]
ExecStart = "/bin/cat"
StandardInput = "socket"

[service."echo.socket"]
running = true
enabled = true

[unit."demand.socket".Socket]
ListenStream = "/run/demand"

[unit."demand.service".Service]
ExecStart = "/bin/sleep infinity"

[service."demand.socket"]
running = true

[service.demand]
running = true

[unit."static.service".Service]
ExecStart = "/bin/sleep infinity"

[service.static]
running = true
enabled = true

[service."ctrl-alt-del.target"]
masked = true
"#;

fn log(site: &Site) -> String {
    site.host
        .sh("sort /var/log/app | uniq -c | xargs; rm -f /var/log/app; touch /var/log/app")
        .success()
        .trim()
        .to_owned()
}

#[test]
fn services_are_started_once_restarted_once_and_kept() {
    if !lab_is_enabled() {
        return;
    }
    let prepare = "printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/cron.service; systemctl enable --now cron";
    let site = Site::enrolled(&SiteOptions { name: "units", prepare, ..Default::default() });
    site.converged(ROLE);
    assert_eq!(log(&site), "1 started", "started once, after its configuration");
    site.holds(
        "systemctl is-active app echo.socket demand.socket static; systemctl is-enabled app echo.socket
             not systemctl is-active cron; not systemctl is-enabled cron
             test $(systemctl is-enabled ctrl-alt-del.target || true) = masked
             systemctl show -P Environment app | grep -q 'A=1 \"B=two words\"'
             test $(systemctl show -P NeedDaemonReload app) = no",
    );

    // Three reasons to restart and one to reload are one restart.
    let second = ROLE.replace("a=1", "a=2").replace("A=1", "A=2");
    site.converged(&second);
    assert_eq!(log(&site), "1 started");
    site.holds("systemctl show -P Environment app | grep -q A=2");
    let reload = second.replace(
        "[file.\"/etc/app.reload\"]\ncontent = \"a=2",
        "[file.\"/etc/app.reload\"]\ncontent = \"a=3",
    );
    site.converged(&reload);
    assert_eq!(log(&site), "1 reloaded");

    for (drift, healed, happened) in [
        ("systemctl stop app", "systemctl is-active app", "1 started"),
        ("systemctl disable app", "systemctl is-enabled app", ""),
        ("systemctl enable --now cron", "not systemctl is-active cron; not systemctl is-enabled cron", ""),
        (
            "systemctl unmask ctrl-alt-del.target",
            "test $(systemctl is-enabled ctrl-alt-del.target || true) = masked",
            "",
        ),
        (
            "echo '# edited' >>/etc/systemd/system/app.service",
            "not grep -q edited /etc/systemd/system/app.service",
            "1 started",
        ),
        (
            "rm /etc/systemd/system/app.service.d/environment.conf; systemctl daemon-reload",
            "systemctl show -P Environment app | grep -q A=2",
            "1 started",
        ),
        ("systemctl stop echo.socket", "systemctl is-active echo.socket", ""),
        (
            "systemctl kill -s KILL app; while systemctl is-active app; do :; done",
            "systemctl is-active app",
            "1 started",
        ),
    ] {
        site.holds(drift);
        assert!(changed(&site.synced()) > 0, "{drift}");
        site.holds(healed);
        assert_eq!(log(&site), happened, "{drift}");
    }
    // Stopped, but its socket starts it on demand: that is no drift.
    site.holds("systemctl stop demand.service 2>/dev/null; systemctl is-active demand.socket");
    site.settled();
    // Somebody else's change of a unit file is loaded too.
    site.holds("mkdir -p /etc/systemd/system/static.service.d; printf '[Service]\\nNice=3\\n' >/etc/systemd/system/static.service.d/x.conf");
    site.sync();
    site.settled();

    a_service_that_fails_says_why_and_harms_no_other(&site, &reload);
}

fn a_service_that_fails_says_why_and_harms_no_other(site: &Site, role: &str) {
    let broken = format!(
        "{role}
[unit.\"broken.service\".Service]
Type = \"oneshot\"
ExecStart = \"/bin/sh -c 'echo the-reason-is-this; exit 3'\"
RemainAfterExit = true

[service.broken]
running = true

[file.\"/etc/after\"]
content = \"after\\n\"
after = [\"service:broken\"]

[file.\"/etc/beside\"]
content = \"beside\\n\"
"
    );
    site.declare(&broken);
    let output = site.sync();
    assert_eq!(output.code, 2, "{output:#?}");
    assert!(output.stdout.contains("the-reason-is-this"), "{output:#?}");
    assert!(output.stdout.contains("skipped, because service:broken failed"), "{output:#?}");
    site.holds("test -e /etc/beside; test ! -e /etc/after; systemctl is-active app");
    let status = site.status();
    assert_eq!(status["run"]["counts"]["failed"], 1, "{status:#}");
    assert_eq!(status["run"]["counts"]["skipped"], 1, "{status:#}");
    site.converged(&broken.replace("exit 3", "exit 0"));
    site.holds("test -e /etc/after; systemctl is-active broken");
}
