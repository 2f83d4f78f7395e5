//! A branch that removes or changes much at once is asked whether it means it.

use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, ROLE, Site, SiteOptions, changed};

/// Files of the role with this content.
fn files(names: impl Iterator<Item = u32>, content: &str) -> String {
    names.map(|name| format!("[file.\"/srv/{name}\"]\ncontent = \"{content}\"\n")).collect()
}

#[test]
fn what_is_much_needs_a_signed_word_or_one_on_the_host() {
    if !lab_is_enabled() {
        return;
    }
    let settings = "[apply]\nchange-limit = 40\n";
    let site = Site::enrolled(&SiteOptions { name: "limits", settings, ..Default::default() });
    // A first run may do as much as it likes, and additions are no changes.
    site.converged(&files(0..20, "one"));

    // Many changes: held whole, the last state stays enforced, and the refusal says what to write.
    site.declare(&files(0..20, "two"));
    let held = site.sync();
    assert_eq!(held.code, 2, "{held:#?}");
    for part in ["E370", "20 of the 20 resources in force", "change = [\"file:/srv/*\"]", "--all-changes"] {
        assert!(held.stdout.contains(part), "{part}: {held:#?}");
    }
    site.holds("! grep -l two /srv/*; rm /srv/3");
    assert_eq!(
        changed(&{
            site.sync();
            site.status()
        }),
        1,
        "drift is still healed"
    );
    let preview = site.abide(&["sync", "--dry-run"]);
    assert!(preview.stdout.contains("+two"), "{preview:#?}");
    let journal = site.journal();
    assert_eq!(journal.matches("E370").count(), 1, "told once: {journal}");

    // A confirmation that is over does not count; one that counts does.
    let confirm =
        |until: &str| format!("{FLEET}\n[[confirm]]\nchange = [\"file:/srv/*\"]\nuntil = \"{until}\"\n");
    site.push("Too late", &[("fleet.toml", &confirm("2026-01-01"))]);
    assert_eq!(site.sync().code, 2);
    site.push("Confirm", &[("fleet.toml", &confirm("2099-01-01"))]);
    site.synced();
    site.holds("test $(grep -l two /srv/* | wc -l) = 20");
    site.settled();

    // Many removals, with what the refusal says put into the branch.
    let few = files(0..2, "two");
    site.push("Less", &[("fleet.toml", FLEET), (ROLE, &few)]);
    let refused = site.sync();
    assert_eq!(refused.code, 2);
    for part in
        ["E304", "18 of 20 managed resources", "file:/srv/9", "… and 13 more", "remove = [\"file:/srv/*\"]"]
    {
        assert!(refused.stdout.contains(part), "{part}: {refused:#?}");
    }
    site.holds("test -e /srv/9");
    let confirm = format!("{FLEET}\n[[confirm]]\nremove = [\"file:/srv/*\"]\nuntil = \"2099-01-01\"\n");
    site.push("Confirm", &[("fleet.toml", &confirm)]);
    site.synced();
    site.holds("test ! -e /srv/9; test ! -e /srv/19; test -e /srv/1");
    site.settled();

    // Nothing at all: even a confirmation from afar does not count.
    site.push("Nothing", &[(ROLE, "")]);
    let refused = site.sync();
    assert!(refused.stdout.contains("nothing at all is declared"), "{refused:#?}");
    site.holds("test -e /srv/1");
    site.abide(&["sync", "--prune"]).success();
    site.holds("test ! -e /srv/1");
    site.settled();

    // By hand, on the host.
    site.converged(&files(0..20, "three"));
    site.declare(&files(0..20, "four"));
    assert_eq!(site.sync().code, 2);
    site.abide(&["sync", "--all-changes"]).success();
    site.settled();
}
