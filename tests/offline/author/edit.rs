//! `abide trust`: show it, add to it, rotate.

use super::desk::Desk;
use crate::trust::gnupg::GnuPg;

#[test]
fn a_principal_moves_over_with_gnupg() {
    let (desk, gnupg) = (Desk::new(), GnuPg::new());
    let primary = gnupg.key("dora@example.org", "rsa3072", "cert", "never");
    gnupg.run(&["--quick-add-key", &primary.to_string(), "ed25519", "sign", "never"], b"");
    let subkey = gnupg.fingerprints("dora@example.org")[1].to_string();
    let export = desk.lab.path().with_file_name("dora.gpg");
    std::fs::write(&export, gnupg.export(primary)).unwrap();
    let add = ["trust", "add-principal", "dora", "--scope", "web", "--openpgp", "../dora.gpg"];
    let outcome = desk.abide("alice", &add).failed("E793");
    assert!(outcome.err.contains(&subkey), "{}", outcome.err);
    let other = "77".repeat(20);
    desk.abide("alice", &[&add[..], &["--fingerprint", &other]].concat()).failed("E793");
    desk.abide("alice", &[&add[..], &["--fingerprint", &subkey]].concat()).ok();
    desk.lab.commit("alice", "Trust dora");
    desk.lab.write("roles/web/role.toml", "# by dora\n");
    gnupg.commit(&desk.lab, "dora@example.org", "Serve");
    assert!(desk.accepted());
    let shown = desk.abide("alice", &["trust", "show", "--repo", "."]).ok().out;
    assert!(shown.contains(&subkey), "{shown}");
    // And back to SSH.
    desk.lab.keygen("dora");
    let remove = format!("OpenPGP:{subkey}");
    desk.abide("alice", &["trust", "rotate", "dora", "--key", "../dora.pub", "--remove", &remove]).ok();
    desk.lab.commit("alice", "Dora signs with SSH");
    desk.lab.write("roles/web/role.toml", "# by dora again\n");
    desk.lab.commit("dora", "Serve");
    assert!(desk.accepted());
    desk.lab.write("roles/web/role.toml", "# too late\n");
    gnupg.commit(&desk.lab, "dora@example.org", "Serve");
    assert!(!desk.accepted());
}

#[test]
fn a_principal_is_added_and_counts_once_it_is_signed() {
    let desk = Desk::new();
    desk.lab.keygen("dora");
    let before = std::fs::read_to_string(desk.lab.path().join("trust.toml")).unwrap();
    let outcome = desk
        .abide("alice", &["trust", "add-principal", "dora", "--key", "../dora.pub", "--scope", "web"])
        .ok();
    for part in ["version 1 → 2", "signer of the scope web", "signed it: alice", "git commit -S"] {
        assert!(outcome.out.contains(part), "{part}: {}", outcome.out);
    }
    let after = std::fs::read_to_string(desk.lab.path().join("trust.toml")).unwrap();
    let kept = before.lines().filter(|line| !after.contains(line)).collect::<Vec<_>>();
    assert_eq!(kept.len(), 2, "{kept:?}");
    desk.lab.commit("alice", "Trust dora");
    desk.lab.write("roles/web/role.toml", "# by dora\n");
    desk.lab.commit("dora", "Serve");
    assert!(desk.accepted());
    let shown = desk.abide("alice", &["trust", "show", "--repo", ".", "-o", "json"]).ok().json();
    assert_eq!(shown["policy"]["version"], 2);
    let principals = shown["policy"]["principals"].as_array().unwrap();
    assert_eq!(principals.iter().filter(|principal| principal["name"] == "dora").count(), 1);
    let text = desk.abide("alice", &["trust", "show", "--repo", "."]).ok().out;
    for part in ["fleet         5a1c", "version 2", "dora ", "2 of alice, bob, carol", "roles/vault/**"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_root_signer_rotates_in_two_commits() {
    let desk = Desk::new();
    desk.lab.keygen("next");
    let old = desk.lab.root.introduction.key.fingerprint();
    let rotate =
        |arguments: &[&str]| desk.abide("alice", &[&["trust", "rotate", "alice"], arguments].concat());
    let outcome = rotate(&["--key", "../next.pub", "--remove", &old]).failed("E787");
    assert!(outcome.err.contains("add the new key first"), "{}", outcome.err);
    rotate(&["--key", "../next.pub", "--not-after", "2199-01-01"]).ok();
    desk.lab.commit("alice", "Add the next key");
    rotate(&["--remove", &old]).ok();
    desk.lab.commit("next", "Remove the old key");
    assert!(desk.accepted());
    desk.lab.write("fleet.toml", "# by the old key\n");
    desk.lab.commit("alice", "Too late");
    assert!(!desk.accepted());
}

#[test]
fn what_cannot_be_edited_stays_as_it_was() {
    let desk = Desk::new();
    let before = std::fs::read(desk.lab.path().join("trust.toml")).unwrap();
    for (arguments, code) in [
        (&["add-principal", "alice", "--key", "../mallory.pub"][..], "E781"),
        (&["add-principal", "m", "--key", "../alice.pub"], "E784"),
        (&["add-principal", "m", "--key", "../mallory.pub", "--scope", "wbe"], "E783"),
        (&["add-principal", "m", "--key", "../mallory.pub", "--not-after", "soon"], "E788"),
        (&["add-principal", "m", "--key", "nowhere.pub"], "E743"),
        (&["add-principal", "m", "--key", "ssh-rsa AAAA"], "E744"),
        (&["add-principal", "m m", "--key", "../mallory.pub"], "E786"),
        (&["rotate", "m", "--key", "../mallory.pub"], "E782"),
        (&["rotate", "alice", "--remove", "SHA256:x"], "E785"),
        (&["rotate", "alice"], "E790"),
        (&["add-principal", "m", "--key", "../mallory.pub", "--repo", ".."], "E791"),
        (&["add-principal", "m", "--key", "../mallory.pub", "--repo", "nowhere"], "E714"),
        (&["show", "--repo", "/"], "E129"),
    ] {
        desk.abide("alice", &[&["trust"], arguments].concat()).failed(code);
    }
    assert_eq!(std::fs::read(desk.lab.path().join("trust.toml")).unwrap(), before);
    desk.lab.git(&["config", "--unset", "abide.key"]);
    let outcome = desk.abide("alice", &["trust", "show", "--repo", "."]).failed("E750");
    assert!(outcome.err.contains("git config abide.introduction"), "{}", outcome.err);
}
