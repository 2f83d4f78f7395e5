//! The state's database damaged, cut short or gone; disks full at every write; a root that is read-only.

use super::program;
use crate::support::lab_is_enabled;
use crate::support::site::{Site, SiteOptions};

const DECLARED: &str = r#"
[file."/srv/one"]
content = "1\n"
[file."/srv/two"]
content = "1\n"
[directory."/srv/tree"]
[file."/srv/found"]
content = "found\n"
"#;

fn site(name: &'static str) -> Site {
    let site = Site::enrolled(&SiteOptions {
        name,
        prepare: "echo found >/srv/found",
        settings: "\n[apply]\nprune-limit = 100\n\n[rollback]\nremote = \"never\"\n",
        program: Some(program()),
        ..Default::default()
    });
    site.converged(DECLARED);
    site.holds("systemctl stop abide; sync; cp -a /var/lib/abide /good");
    site
}

const DAMAGES: &[(&str, &str, bool)] = &[
    ("the header", "dd if=/dev/urandom of=$db bs=100 count=1 conv=notrunc", false),
    ("its middle", "dd if=/dev/urandom of=$db bs=4096 seek=3 count=4 conv=notrunc", false),
    ("its end", "truncate -s -8192 $db", false),
    ("all of it", "echo nothing >$db", false),
    ("gone", "rm $db", false),
    ("gone with its copy", "rm $db /var/lib/abide/state.copy", true),
    ("noise", "dd if=/dev/urandom of=$db bs=4096 count=20", false),
];

/// The host says so once, goes on by itself with the mark that it had, and takes new commits; without any memory it waits.
#[test]
fn a_damaged_state_is_put_together_again() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("damage");
    let next = site.declare(&DECLARED.replace("one\"]\ncontent = \"1", "one\"]\ncontent = \"2"));
    site.holds("systemctl start abide-fetch; cp -a /var/lib/abide-fetch /spool");
    for (what, damage, lost) in DAMAGES {
        site.holds(&format!(
            "find /var/lib/abide -mindepth 1 -delete; cp -a /good/. /var/lib/abide/; echo 1 >/srv/one; rm -f /srv/two
             db=/var/lib/abide/state.sqlite; rm -f $db-wal $db-shm; {damage} 2>/dev/null"
        ));
        let first = site.abide(&["sync", "--no-fetch"]);
        assert_eq!(first.code, 2, "{what}: {first:#?}");
        assert!(first.stdout.contains("E509"), "{what}: {first:#?}");
        let status = site.status();
        // What was in force is enforced, in any case.
        site.holds("test $(cat /srv/two) = 1; test $(cat /srv/found) = found");
        assert!(site.abide(&["events"]).stdout.contains("put together again"), "{what}");
        if *lost {
            assert!(first.stdout.contains("E050"), "{what}: {first:#?}");
            site.holds("test $(cat /srv/one) = 1");
            continue;
        }
        assert_eq!(status["run"]["revision"]["commit"], next, "{what}: {status:#}");
        site.holds("test $(cat /srv/one) = 2");
        let second = site.abide(&["sync", "--no-fetch"]);
        assert!(second.code == 0 && second.stdout.contains(" 0 changed"), "{what}: {second:#?}");
        assert_eq!(site.abide(&["diff"]).code, 0, "{what}");
        // What was there before abide is never removed, whatever is known of it.
        site.holds("ls /var/lib/abide/state.sqlite; test $(ls /var/lib/abide | grep -c damaged) -le 3");
    }
    site.declare("[file.\"/srv/stays\"]\ncontent = \"x\"\n");
    site.holds("find /var/lib/abide -mindepth 1 -delete; cp -a /good/. /var/lib/abide/; dd if=/dev/urandom of=/var/lib/abide/state.sqlite bs=100 count=1 conv=notrunc");
    site.sync();
    site.synced();
    site.holds("test -e /srv/found; test -e /srv/stays");
}

/// At every level of fullness the run says that there is no room, keeps what was good, and heals when there is room again.
#[test]
fn a_full_disk_loses_nothing() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("full");
    let big = "x".repeat(20_000);
    site.declare(&format!(
        "{}\n[file.\"/full/big\"]\ncontent = \"{big}\"\n[file.\"/full/other\"]\ncontent = \"o\"\n",
        DECLARED.replace("one\"]\ncontent = \"1", "one\"]\ncontent = \"2")
    ));
    site.holds("systemctl start abide-fetch; cp -a /var/lib/abide-fetch /spool; mkdir /full; mount -t tmpfs -o size=64k tmpfs /full");
    site.holds(
        "size=$(( $(du -sk /good | cut -f1) + 4096 )); mkdir -p /small
         mount -t tmpfs -o size=${size}k,mode=0700 tmpfs /small; cp -a /good/. /small/; mount --bind /small /var/lib/abide",
    );
    let mut refused = 0;
    // Free kilobytes of the state's file system, then of the target's.
    let levels = [0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
    for (state, target) in
        levels.iter().map(|level| (*level, 64)).chain([0, 4, 12, 20].map(|level| (4096, level)))
    {
        let context = format!("{state} KiB for the state, {target} KiB for the target");
        site.holds(&format!(
            "find /var/lib/abide -mindepth 1 -delete; cp -a /good/. /var/lib/abide/; echo 1 >/srv/one; rm -f /full/*
             free() {{ df --output=avail -k $1 | tail -n 1; }}
             fill() {{ local left=$(( $(free $1) - $2 )); [ $left -le 0 ] || head -c ${{left}}k /dev/zero >$1/ballast; }}
             fill /var/lib/abide {state}; fill /full {target}"
        ));
        let output = site.abide(&["sync", "--no-fetch"]);
        let said = format!("{}{}", output.stdout, output.stderr);
        if output.code != 0 {
            refused += 1;
            let coded = said.contains("[E")
                && (said.contains("room") || said.contains("space") || said.contains("full"));
            assert!(coded, "{context}: {output:#?}");
        }
        // What was good is there; nothing is half there.
        site.holds(
            "test $(cat /srv/two) = 1; test $(cat /srv/found) = found; grep -qx '[12]' /srv/one
             test ! -e /full/big || test $(stat -c %s /full/big) = 20000",
        );
        site.holds("rm -f /var/lib/abide/ballast /full/ballast");
        let output = site.abide(&["sync", "--no-fetch"]);
        assert_eq!(output.code, 0, "{context}: {output:#?}");
        site.holds(
            "test $(cat /srv/one) = 2; test $(stat -c %s /full/big) = 20000; test -e /full/other
             test -z \"$(find /srv /full /var/lib/abide \\( -name '.abide-*' -o -name 'incoming-*' -o -name '.*.[0-9]*' \\) -print)\"",
        );
        assert_eq!(site.abide(&["diff"]).code, 0, "{context}");
    }
    assert!(refused > 5, "only {refused} levels were too full");
}

/// Disks that are read-only are said to be so, and the host heals when they are not any more.
#[test]
fn everything_is_read_only() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("read-only");
    site.declare(&DECLARED.replace("one\"]\ncontent = \"1", "one\"]\ncontent = \"2"));
    site.holds(
        "systemctl start abide-fetch
         for path in /etc /srv /var/lib/abide; do mount --bind $path $path; mount -o remount,bind,ro $path; done",
    );
    let output = site.abide(&["sync", "--no-fetch"]);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        output.code == 2 && said.contains("[E") && said.to_lowercase().contains("read-only"),
        "{output:#?}"
    );
    let status = site.status();
    assert_eq!(status["run"]["health"], "Degraded", "{status:#}");
    site.holds("test $(cat /srv/one) = 1; for path in /etc /srv /var/lib/abide; do umount -l $path; done");
    site.synced();
    site.holds("test $(cat /srv/one) = 2");
    site.settled();
}
