//! What is in use is not taken away: it waits, says why, and the rest goes on.

use crate::support::command::run;
use crate::support::site::{Site, SiteOptions};
use crate::support::{lab_is_enabled, lab_script};

const MADE: &str = r#"
[user.busy]
system = true
[group.ours]
[user.member]
group = "ours"
system = true
[directory."/srv/mounted"]
[file."/srv/swap"]
content = "swap"
[package.abide-served]
[unit."tested.service".Service]
ExecStart = "/bin/sleep infinity"
[service.tested]
running = true
[file."/srv/stays"]
content = "one"
"#;

#[test]
fn what_is_in_use_waits_and_the_rest_goes_on() {
    if !lab_is_enabled() {
        return;
    }
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    let site = Site::enrolled(&SiteOptions {
        name: "in-use",
        settings: "[apply]\nprune-limit = 100\n",
        binds: vec![(repositories.path().to_owned(), "/repositories".into())],
        prepare: "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
                  echo 'deb [trusted=yes] file:/repositories/deb ./' >/etc/apt/sources.list.d/test.list
                  apt-get -qq update; apt-get -y -qq install abide-served",
        ..Default::default()
    });
    site.converged(MADE);
    site.holds(
        "systemd-run --quiet --unit=busy --uid=busy sleep infinity
         mount -t tmpfs none /srv/mounted; systemctl is-active abide-served",
    );

    // The package is found, so that only a declared absence takes it away; its service is still wanted.
    site.declare(
        "[user.busy]\nensure = \"absent\"\n[group.ours]\nensure = \"absent\"\n[directory.\"/srv/tree\"]\nensure = \"absent\"\nrecursive = true\n\
         [package.abide-served]\nensure = \"absent\"\n[service.abide-served]\nrunning = true\n[file.\"/srv/stays\"]\ncontent = \"two\"\n\
         [user.member]\n",
    );
    site.holds("mkdir -p /srv/tree/deep; mount -t tmpfs none /srv/tree/deep");
    let sync = site.sync();
    assert_eq!(sync.code, 2, "{sync:#?}");
    for part in [
        "[E371] user:busy: in use: busy runs",
        "(sleep)",
        "[E372] group:ours: in use: it is the primary group of member",
        "[E373] directory:/srv/tree: in use: /srv/tree/deep: something is mounted there",
        "[E374] package:abide-served: in use: abide-served.service, which is declared and runs, is in it",
    ] {
        assert!(sync.stdout.contains(part), "{part}: {sync:#?}");
    }
    // The others went on: what left was stopped before its file went.
    site.holds(
        "grep -qx two /srv/stays; test ! -e /srv/swap; getent passwd busy; getent group ours; test -d /srv/tree/deep
         systemctl is-active abide-served; not systemctl is-active tested
         test ! -e /etc/systemd/system/tested.service; mountpoint -q /srv/mounted",
    );
    let journal = site.journal();
    assert_eq!(journal.matches("user:busy: in use").count(), 1, "{journal}");
    assert_eq!(site.sync().code, 2);
    assert_eq!(site.journal().matches("user:busy: in use").count(), 1, "told once");

    // It is over: the next run does it.
    site.holds(
        "systemctl stop busy; umount /srv/tree/deep; usermod -g nogroup member; systemctl stop abide-served",
    );
    site.abide(&["sync", "--only", "user:busy", "--only", "group:ours", "--only", "directory:/srv/tree"])
        .success();
    site.holds("not getent passwd busy; not getent group ours; test ! -e /srv/tree");
}
