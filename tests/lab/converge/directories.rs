//! Directories with whole trees, purges, links, and what is removed when it leaves the branch.

use crate::support::lab_is_enabled;
use crate::support::site::{Site, SiteOptions, changed};

const ROLE: &str = r#"
[directory."/srv/site"]
source = "tree"
purge = true
purge-ignore = ["*.local", "cache/*"]
owner = "daemon"
mode = "0750"
file-mode = "0640"

[directory."/srv/site/cache"]

[symlink."/srv/current"]
target = "site/0"

[symlink."/srv/forced"]
target = "/srv/site"
force = true

[symlink."/srv/old-link"]
ensure = "absent"

[directory."/srv/old"]
ensure = "absent"
recursive = true
"#;

const PREPARE: &str = "
    mkdir -p /srv/site/cache /srv/old/deep; cd /srv
    touch site/stranger site/keep.local site/cache/entry old/deep/file forced
    ln -s nowhere old-link
";

#[test]
fn a_tree_of_200_files_is_one_resource_that_purges_strangers() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions { name: "tree", prepare: PREPARE, ..Default::default() });
    let files: Vec<(String, String)> =
        (0..200).map(|n| (format!("roles/base/tree/{}/{n}.txt", n % 10), format!("file {n}\n"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    site.fleet.write(&files);
    let program = site.fleet.clone_path().join("roles/base/tree/run");
    std::fs::write(&program, "#!/bin/sh\n").expect("a file");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    site.converged(ROLE);
    assert_eq!(site.status()["run"]["counts"]["resources"], 6);
    site.holds(
        "test $(find /srv/site -name '*.txt' | wc -l) = 200; test ! -e /srv/site/stranger
             test -e /srv/site/keep.local; test -e /srv/site/cache/entry
             test $(stat -c %U:%a /srv/site/3/13.txt) = daemon:640; test $(stat -c %a /srv/site/3) = 750
             test $(stat -c %a /srv/site/run) = 750
             test $(readlink /srv/current) = site/0; test $(readlink /srv/forced) = /srv/site
             test ! -L /srv/old-link; test ! -e /srv/old",
    );

    for (drift, healed) in [
        (
            "rm /srv/site/3/13.txt; echo x >/srv/site/4/14.txt; chmod 777 /srv/site/5",
            "grep -q 'file 13' /srv/site/3/13.txt; grep -q 'file 14' /srv/site/4/14.txt; test $(stat -c %a /srv/site/5) = 750",
        ),
        (
            "mkdir -p /srv/site/new/deep; touch /srv/site/new/deep/er /srv/site/3/x",
            "test ! -e /srv/site/new; test ! -e /srv/site/3/x",
        ),
        ("ln -sfn elsewhere /srv/current", "test $(readlink /srv/current) = site/0"),
        ("rm -r /srv/site", "test $(find /srv/site -name '*.txt' | wc -l) = 200"),
        ("mkdir /srv/old; touch /srv/old/x", "test ! -e /srv/old"),
    ] {
        site.holds(drift);
        assert!(changed(&site.synced()) > 0, "{drift}");
        site.holds(healed);
    }
    site.settled();

    // More strangers than the limit: none is removed, and everybody is told.
    site.holds("touch /srv/site/stranger-{1..150}");
    let output = site.sync();
    assert_eq!((output.code, output.stdout.contains("purge-limit")), (2, true), "{output:#?}");
    site.holds("test $(ls /srv/site | grep -c stranger) = 150; rm /srv/site/stranger-*");
    site.synced();
    site.settled();

    // A file that leaves the tree goes; what was purged of the role's own tree stays gone.
    site.fleet.git(&["rm", "-q", "roles/base/tree/3/13.txt"]).success();
    site.converged(ROLE);
    site.holds("test ! -e /srv/site/3/13.txt; test -e /srv/site/3/3.txt");
}

const PRUNED: &str = r#"
[file."/srv/created"]
content = "created\n"

[file."/srv/adopted"]
content = "adopted\n"

[file."/srv/changed"]
content = "changed\n"

[file."/srv/kept"]
content = "kept\n"
prune = false

[directory."/srv/folder"]

[symlink."/srv/folder/link"]
target = "x"

[user.tester]
system = true

[unit."tested.service".Service]
ExecStart = "/bin/sleep infinity"

[unit."tested.service".Install]
WantedBy = "multi-user.target"

[service.tested]
running = true
enabled = true
"#;

const STAYS: &str = "[file.\"/srv/stays\"]\ncontent = \"stays\\n\"\n";

#[test]
fn what_leaves_the_branch_goes_if_abide_had_made_it() {
    if !lab_is_enabled() {
        return;
    }
    let prepare = "echo adopted >/srv/adopted; echo other >/srv/changed";
    let site = Site::enrolled(&SiteOptions { name: "prune", prepare, ..Default::default() });
    let both = format!("{STAYS}{PRUNED}");
    site.converged(&both);
    site.holds("systemctl is-active tested; systemctl is-enabled tested; getent passwd tester");

    // Nearly all of the inventory at once: refused, and nothing else is harmed.
    site.declare(STAYS);
    let refused = site.sync();
    assert_eq!((refused.code, refused.stdout.contains("E304")), (2, true), "{refused:#?}");
    site.holds("test -e /srv/created; systemctl is-active tested");
    let status = site.status();
    assert_eq!(status["run"]["health"], "Degraded", "{status:#}");
    let preview = site.abide(&["sync", "--prune", "--dry-run"]);
    assert!(preview.stdout.contains("/srv/created"), "{preview:#?}");
    site.holds("test -e /srv/created");

    site.abide(&["sync", "--prune"]).success();
    site.holds(
        "test ! -e /srv/created; test ! -e /srv/folder; not getent passwd tester
             not systemctl is-active tested; test ! -e /etc/systemd/system/tested.service
             test ! -L /etc/systemd/system/multi-user.target.wants/tested.service
             test -e /srv/stays; test -e /srv/adopted; test -e /srv/changed; test -e /srv/kept",
    );
    site.settled();
    assert_eq!(site.abide(&["trace", "/srv/created"]).code, 1);
    assert_eq!(site.abide(&["trace", "/srv/adopted"]).code, 1);

    // And back again, then one thing alone: within the limit.
    site.converged(&both);
    site.converged(&both.replace("[symlink.\"/srv/folder/link\"]\ntarget = \"x\"\n", ""));
    site.holds("test ! -L /srv/folder/link; test -d /srv/folder");
}
