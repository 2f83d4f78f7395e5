//! A commit that cannot be applied whole is given up, where the policy says so.

use super::{FORMER, LATTER, SETTINGS, codes, generations, is_former};
use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, ROLE, Site, SiteOptions};

/// A command that fails after everything else was done.
const FAILS: &str = "\n[command.last]\nargv = [\"/bin/false\"]\ncreates = \"/srv/never\"\nafter = [\"file:/srv/only-latter\", \"service:app\", \"user:newcomer\"]\n";

#[test]
fn what_fails_is_given_up_where_the_branch_says_so() {
    if !lab_is_enabled() {
        return;
    }
    let fleet = format!("{FLEET}\n[rollback]\napply = true\n");
    let files = [("fleet.toml", fleet.as_str()), (ROLE, FORMER)];
    let site = Site::enrolled(&SiteOptions {
        name: "fails",
        files: &files,
        settings: SETTINGS,
        ..Default::default()
    });
    is_former(&site);

    let bad = site.declare(&format!("{LATTER}{FAILS}"));
    assert_eq!(site.sync().code, 2);
    is_former(&site);
    let status = site.status();
    assert_eq!(codes(&status), ["E393"], "{status:#}");
    assert_eq!(status["run"]["health"], "Degraded");
    assert_eq!(status["run"]["pinned"]["from"], bad.as_str());
    assert_eq!(status["run"]["pinned"]["reason"]["code"], "E391");
    assert_eq!(generations(&site), [(2, "rolled-back".into()), (1, "good".into())]);
    // Neither the next run nor a restart of the agent tries it again.
    site.sync();
    site.holds("systemctl restart abide");
    site.wait_status("the run of the restarted agent", |run| {
        run["cause"] == "boot" || run["cause"] == "poll"
    });
    is_former(&site);
    assert_eq!(site.host.sh("abide history --runs -o json | grep -c '\"failed\": 1'").success().trim(), "1");

    let good = site.declare(LATTER);
    let status = site.synced();
    assert_eq!(status["run"]["revision"]["commit"], good.as_str(), "{status:#}");
    super::is_latter(&site);
    site.settled();
}

#[test]
fn what_fails_stays_where_nobody_says_otherwise() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions {
        name: "stays",
        files: &[(ROLE, FORMER)],
        settings: SETTINGS,
        ..Default::default()
    });
    site.declare(&format!("{LATTER}{FAILS}"));
    assert_eq!(site.sync().code, 2);
    super::is_latter(&site);
    assert_eq!(generations(&site), [(2, "applying".into()), (1, "good".into())]);
    // It can be corrected, and what was not whole was never good.
    site.converged(LATTER);
    assert_eq!(generations(&site), [(3, "good".into()), (2, "passed".into()), (1, "good".into())]);
    let output = site.abide(&["rollback", "2"]);
    assert!(output.code == 2 && output.stderr.contains("E841"), "{output:#?}");
    site.abide(&["rollback"]);
    is_former(&site);
}
