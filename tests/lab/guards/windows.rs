//! Windows of the host and of the branch: what waits for them says so, and goes on by itself when they open.

use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, Pace, ROLE, Site, SiteOptions, changed};

const FILE: &str = "[file.\"/etc/one\"]\ncontent = \"one\"\n";

/// A window of some seconds that begins so many seconds from now, by the host's clock.
fn begins(site: &Site, seconds: u32) -> String {
    site.host.sh(&format!("date -u -d '+{seconds} seconds' +%H:%M:%S")).success().trim().to_owned()
}

#[test]
fn a_new_revision_waits_for_the_window_and_the_agent_takes_it_then() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions {
        name: "windows",
        pace: Pace::Live,
        files: &[(ROLE, FILE)],
        ..Default::default()
    });
    let opens = begins(&site, 12);
    let windows =
        format!("{FLEET}\n[[windows]]\nallow = \"{opens} UTC\"\nlength = \"1h\"\nreason = \"at night\"\n");
    site.push("Close", &[("fleet.toml", &windows)]);
    site.wait_synced();
    let commit = site.declare(&FILE.replace("content = \"one\"", "content = \"two\""));
    let status = site.wait_status("the revision to wait", |run| !run["waiting"].is_null());
    let run = &status["run"];
    assert_eq!(
        (&run["health"], &run["verified"]["commit"]),
        (&"Healthy".into(), &commit.into()),
        "{status:#}"
    );
    let text = site.abide(&["status"]).stdout;
    assert!(text.contains("waits: the window of fleet.toml:8 is not open (at night)"), "{text}");
    // What is in force is still healed, and who asks is told.
    site.holds("rm /etc/one");
    site.host.wait_for("grep -qx one /etc/one", crate::support::site::PATIENCE);
    let sync = site.sync();
    assert_eq!(sync.code, 3, "{sync:#?}");
    assert!(sync.stdout.contains("--ignore-windows"), "{sync:#?}");
    site.wait_status("the window to open", |run| run["waiting"].is_null() && run["sync"] == "Synced");
    site.holds("grep -qx two /etc/one");
    let journal = site.journal();
    assert_eq!(journal.matches("waits: the window").count(), 1, "{journal}");
}

const APP: &str = r#"
[unit."app.service".Service]
ExecStart = "/bin/sleep infinity"
[file."/etc/app.conf"]
content = "a = 1"
[service.app]
running = true
restart-on = ["file:/etc/app.conf"]
"#;

#[test]
fn restarts_and_single_resources_wait_and_nothing_that_is_owed_is_lost() {
    if !lab_is_enabled() {
        return;
    }
    // Of the host itself: restarts at no time that comes soon; its own zone is UTC in the lab.
    let settings = "[[windows]]\nallow = \"02-29 04:00\"\nlength = \"1m\"\nfor = [\"restarts\"]\n";
    // What a host begins with waits for nothing: there is nothing to protect yet.
    let quiet = format!("{FLEET}\n[[windows]]\nname = \"quiet\"\nallow = \"02-29 04:00\"\nlength = \"1m\"\n");
    let first = "[file.\"/etc/first\"]\ncontent = \"x\"\nonly-in-window = \"quiet\"\n";
    let files = [("fleet.toml", quiet.as_str()), (ROLE, first)];
    let site =
        Site::enrolled(&SiteOptions { name: "restarts", settings, files: &files, ..Default::default() });
    site.holds("test -e /etc/first");
    // It leaves, in its window.
    site.declare(APP);
    assert_eq!(site.sync().code, 3);
    site.holds("systemctl is-active app; test -e /etc/first");
    site.abide(&["sync", "--ignore-windows"]).success();
    site.holds("test ! -e /etc/first");
    site.settled();
    let pid = || site.host.sh("systemctl show -P MainPID app").success();
    let before = pid();
    let changed_app = APP.replace("a = 1", "a = 2");
    site.declare(&changed_app);
    let sync = site.sync();
    assert_eq!(sync.code, 3, "{sync:#?}");
    site.holds("grep -qx 'a = 2' /etc/app.conf");
    assert_eq!(pid(), before, "it was restarted outside of its window");
    let status = site.status();
    assert_eq!(status["run"]["owed"].as_array().map(Vec::len), Some(1), "{status:#}");
    // Nothing is forgotten by runs in between, and nothing is written by them.
    let runs = || site.ask(&["history"]).as_array().map(Vec::len);
    let known = runs();
    assert_eq!(site.sync().code, 3);
    assert_eq!(runs(), known, "a run that only waits is no entry of the history");
    assert_eq!(pid(), before);
    site.abide(&["sync", "--ignore-windows"]).success();
    assert_ne!(pid(), before);
    site.settled();

    // One resource with a window of its own; what depends on it waits with it, the rest does not.
    let role = format!(
        "{changed_app}[file.\"/etc/slow\"]\ncontent = \"x\"\nonly-in-window = \"quiet\"\n\
         [file.\"/etc/after\"]\ncontent = \"x\"\nafter = [\"file:/etc/slow\"]\n[file.\"/etc/now\"]\ncontent = \"x\"\n"
    );
    site.declare(&role);
    assert_eq!(site.sync().code, 3);
    site.holds("test ! -e /etc/slow; test ! -e /etc/after; test -e /etc/now");
    let status = site.status();
    let differing = &status["run"]["differing"];
    assert!(
        differing["file:/etc/after"].as_str().is_some_and(|why| why.contains("waits for file:/etc/slow"))
    );
    site.abide(&["sync", "--ignore-windows"]).success();
    site.settled();
    what_leaves_waits_for_its_window_too(&site, &role);

    // The host's own file may close everything, drift included; a zone that nobody knows allows nothing.
    let settings = site.host.read("/etc/abide/abide.toml");
    let closed = "[[windows]]\ndeny = \"*:*\"\nlength = \"2m\"\nfor = [\"revisions\", \"healing\"]\n";
    site.host.write("/etc/abide/abide.toml", format!("{settings}\n{closed}"));
    site.holds("rm /etc/now");
    assert_eq!(site.sync().code, 3);
    assert_eq!(changed(&site.status()), 0);
    site.holds("test ! -e /etc/now");
    let nowhere =
        "[[windows]]\nallow = \"daily\"\nlength = \"1d\"\ntimezone = \"Not/There\"\nfor = [\"healing\"]\n";
    site.host.write("/etc/abide/abide.toml", format!("{settings}\n{nowhere}"));
    let sync = site.sync();
    assert!(sync.stdout.contains("E376"), "{sync:#?}");
    site.holds("test ! -e /etc/now");
    site.host.write("/etc/abide/abide.toml", settings);
    site.synced();
    site.holds("test -e /etc/now");
}

/// Removing is a change like any other, also of what the branch says no more word about.
fn what_leaves_waits_for_its_window_too(site: &Site, role: &str) {
    site.declare(&format!(
        "{role}[directory.\"/etc/kept\"]\n[file.\"/etc/kept/one\"]\ncontent = \"x\"\nonly-in-window = \"quiet\"\n\
         [file.\"/etc/gone\"]\ncontent = \"x\"\n"
    ));
    site.abide(&["sync", "--ignore-windows"]).success();
    site.settled();
    site.declare(role);
    assert_eq!(site.sync().code, 3);
    // The folder cannot go before what lies in it.
    site.holds("test -e /etc/kept/one; test ! -e /etc/gone");
    let status = site.status();
    let differing = &status["run"]["differing"];
    let why = |name: &str| differing[name].as_str().unwrap_or_default().to_owned();
    assert!(why("file:/etc/kept/one").contains("waits: the window of fleet.toml"), "{status:#}");
    assert!(why("directory:/etc/kept").contains("waits for file:/etc/kept/one"), "{status:#}");
    assert_eq!(site.sync().code, 3);
    site.abide(&["sync", "--ignore-windows"]).success();
    site.holds("test ! -e /etc/kept");
    site.settled();
}
