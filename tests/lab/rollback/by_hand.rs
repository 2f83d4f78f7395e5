//! `abide rollback` and `abide resume`.

use super::{FORMER, LATTER, SETTINGS, codes, generations, is_former, is_latter};
use crate::support::command::run;
use crate::support::host::Root;
use crate::support::site::{ROLE, Site, SiteOptions};
use crate::support::{lab_is_enabled, lab_script};

#[test]
fn an_operator_returns_and_goes_on() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions {
        name: "back",
        files: &[(ROLE, FORMER)],
        settings: SETTINGS,
        ..Default::default()
    });
    is_former(&site);
    nothing_to_return_to(&site);
    site.converged(LATTER);
    is_latter(&site);
    assert_eq!(generations(&site), [(2, "good".into()), (1, "good".into())]);

    let before = site.host.sh("find /srv /etc/systemd -printf '%p %T@\\n'; cat /etc/passwd").success();
    let dry = site.abide(&["rollback", "--dry-run"]);
    assert!(dry.stdout.contains("-latter") && dry.stdout.contains("+former"), "{dry:#?}");
    let after = site.host.sh("find /srv /etc/systemd -printf '%p %T@\\n'; cat /etc/passwd").success();
    assert_eq!(before, after, "a dry run changed the host");
    site.settled();

    site.abide(&["rollback", "--reason", "checkout is slow"]).success();
    is_former(&site);
    let status = site.status();
    assert_eq!(status["run"]["pinned"]["generation"], 1, "{status:#}");
    assert_eq!(status["run"]["pinned"]["reason"]["what"], "checkout is slow");
    assert_eq!(status["run"]["sync"], "OutOfSync");
    assert!(codes(&status).is_empty(), "what an operator wants is no problem: {status:#}");
    assert_eq!(generations(&site), [(2, "rolled-back".into()), (1, "good".into())]);
    stays(&site);

    // Drift of what is kept is healed.
    site.holds("echo drift >/srv/app.conf");
    site.sync();
    is_former(&site);
    site.abide(&["resume"]).success();
    site.synced();
    is_latter(&site);
    site.settled();
    assert_eq!(generations(&site), [(2, "good".into()), (1, "good".into())]);
    a_newer_commit_ends_it(&site);
}

fn nothing_to_return_to(site: &Site) {
    for (arguments, code) in
        [(&["rollback"][..], "E842"), (&["rollback", "7"], "E840"), (&["rollback", "1"], "E844")]
    {
        let output = site.abide(arguments);
        assert_eq!(output.code, 2, "{output:#?}");
        assert!(output.stderr.contains(code), "{arguments:?}: {output:#?}");
    }
    site.settled();
}

/// Runs that find nothing to do neither change nor write anything, and do not go back to what is skipped.
fn stays(site: &Site) {
    let state = "sha256sum /var/lib/abide/state.sqlite; find /srv -printf '%p %T@\\n'";
    let before = site.host.sh(state).success();
    for _ in 0..2 {
        site.sync();
        is_former(site);
    }
    assert_eq!(site.host.sh(state).success(), before);
}

fn a_newer_commit_ends_it(site: &Site) {
    // What was kept of it cannot be read: it is proven and rendered anew.
    site.holds("echo x >/var/lib/abide/generations/1");
    site.abide(&["rollback", "1"]).success();
    is_former(site);
    site.abide(&["suspend", "--reason", "look"]).success();
    let output = site.abide(&["rollback"]);
    assert!(output.code == 2 && output.stderr.contains("E843"), "{output:#?}");
    site.abide(&["resume"]).success();
    site.abide(&["rollback", "1"]).success();
    is_former(site);
    // Even one that reverts to what is kept: it is the branch's word.
    let commit = site.declare(&LATTER.replace("latter\\n", "newest\\n"));
    let status = site.synced();
    assert_eq!(status["run"]["revision"]["commit"], commit, "{status:#}");
    assert!(status["run"]["pinned"].is_null(), "{status:#}");
    site.holds("grep -qx newest /srv/app.conf; not test -e /srv/only-former");
    site.settled();
    let events = site.host.sh("abide events -o json").success();
    for kind in ["rolled-back", "rollback-ended"] {
        assert!(events.contains(kind), "no event {kind}: {events}");
    }
}

/// What was there before abide, and that a later generation declares first.
const TAKEN: &str = r#"
[file."/etc/app.conf"]
content = "by the branch\n"
mode = "0600"

[file."/etc/adopted"]
content = "as it is\n"

[file."/etc/doomed"]
ensure = "absent"

[symlink."/etc/app-link"]
target = "by-the-branch"

[user.games]
shell = "/bin/sh"

[service.dropped]
running = false
enabled = false
"#;

#[test]
fn what_was_there_before_comes_back() {
    if !lab_is_enabled() {
        return;
    }
    let prepare = "printf 'by hand\\n' >/etc/app.conf; chmod 640 /etc/app.conf; chown daemon /etc/app.conf
        printf 'as it is\\n' >/etc/adopted; echo here >/etc/doomed; ln -s by-hand /etc/app-link
        printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/dropped.service
        systemctl daemon-reload; systemctl enable -q --now dropped";
    let files = &[(ROLE, FORMER)];
    let site = Site::enrolled(&SiteOptions {
        name: "origin",
        files,
        settings: SETTINGS,
        prepare,
        ..Default::default()
    });
    let original = "stat -c '%n %a %U:%G %F' /etc/app.conf /etc/adopted /etc/doomed; cat /etc/app.conf /etc/doomed
        readlink /etc/app-link; getent passwd games; systemctl is-active dropped; systemctl is-enabled dropped";
    let before = site.host.sh(original).success();
    site.converged(&format!("{FORMER}{TAKEN}"));
    site.holds(
        "grep -q branch /etc/app.conf; not test -e /etc/doomed; test $(readlink /etc/app-link) = by-the-branch
         getent passwd games | grep /bin/sh; not systemctl is-active dropped",
    );
    // One more generation, which changes what the one before it took over unchanged.
    let more = TAKEN.replace("as it is", "otherwise").replace("by the branch", "once more");
    site.converged(&format!("{FORMER}{more}"));
    site.holds("grep -q otherwise /etc/adopted");

    site.abide(&["rollback", "1"]).success();
    assert_eq!(site.host.sh(original).success(), before);
    is_former(&site);
    stays_as(&site, original, &before);
    // What the rollback brought back is the host's own again afterwards.
    site.declare(&FORMER.replace("former\\n", "newest\\n"));
    site.synced();
    assert_eq!(site.host.sh(original).success(), before);
    site.settled();
}

fn stays_as(site: &Site, script: &str, expected: &str) {
    site.sync();
    assert_eq!(site.host.sh(script).success(), expected);
}

#[test]
fn packages_of_apt_return_to_the_versions_that_they_had() {
    let prepare = "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
        echo 'deb [trusted=yes] file:/repositories/deb ./' >/etc/apt/sources.list.d/test.list";
    packages_return(Root::Debian, prepare, "dpkg-query -W -f '${Version}' abide-one");
}

#[test]
fn packages_of_dnf_return_to_the_versions_that_they_had() {
    let repository = "[test]\\nname=test\\nbaseurl=file:///repositories/rpm\\ngpgcheck=0\\n";
    let prepare = format!("printf '{repository}' >/etc/yum.repos.d/test.repo");
    packages_return(Root::Rpm, &prepare, "rpm -q --qf '%{EVR}' abide-one");
}

/// One package, in several versions, with the rest of a generation around it.
fn packages_return(root: Root, prepare: &str, query: &str) {
    if !lab_is_enabled() {
        return;
    }
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    let binds = vec![(repositories.path().to_owned(), "/repositories".into())];
    let declared = |app: &str| format!("{FORMER}\n[package.abide-one]\n{app}\n");
    let role = declared("version = \"1.0*\"");
    let files = &[(ROLE, role.as_str())];
    let options = SiteOptions { name: "versions", root, files, binds, prepare, ..Default::default() };
    let site = Site::enrolled(&options);
    let version = || site.host.sh(query).success();
    let former = version();
    site.converged(&declared("ensure = \"latest\""));
    assert_ne!(version(), former, "there is no newer version to come back from");
    let output = site.abide(&["rollback"]);
    assert_eq!(version(), former, "{output:#?}");
    is_former(&site);
    site.abide(&["resume"]).success();
    site.synced();
    assert_ne!(version(), former);
    // Back again, from a generation that wants a version to one that takes whatever it finds.
    site.converged(&declared(""));
    let newest = version();
    site.converged(&declared("version = \"1.0*\"\nallow-downgrade = true"));
    assert_eq!(version(), former);
    site.abide(&["rollback"]).success();
    assert_eq!(version(), newest);
}
