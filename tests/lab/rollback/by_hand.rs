//! `abide rollback` and `abide resume`.

use super::{FORMER, LATTER, SETTINGS, codes, generations, is_former, is_latter};
use crate::support::lab_is_enabled;
use crate::support::site::{ROLE, Site, SiteOptions};

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

    site.abide(&["rollback", "--reason", "checkout is slow"]);
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
    site.abide(&["rollback", "1"]);
    is_former(site);
    site.abide(&["suspend", "--reason", "look"]).success();
    let output = site.abide(&["rollback"]);
    assert!(output.code == 2 && output.stderr.contains("E843"), "{output:#?}");
    site.abide(&["resume"]).success();
    site.abide(&["rollback", "1"]);
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
