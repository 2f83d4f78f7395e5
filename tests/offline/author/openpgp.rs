//! A principal who signs with GnuPG: taken into the policy, and approving.

use super::desk::Desk;
use crate::trust::gnupg::GnuPg;

#[test]
fn a_principal_with_gnupg_is_added_and_approves() {
    let desk = Desk::new();
    let gnupg = GnuPg::new();
    let key = gnupg.key("dora@example.org", "ed25519", "sign", "never");
    std::fs::write(desk.key("dora.gpg"), gnupg.export(key)).unwrap();
    let add = ["trust", "add-principal", "dora", "--openpgp", "../dora.gpg", "--scope", "vault"];
    let outcome = desk.abide("alice", &add).ok();
    assert!(outcome.out.contains(&format!("principal dora with the key {key}")), "{}", outcome.out);
    let text = std::fs::read_to_string(desk.lab.path().join("trust.toml")).unwrap();
    assert!(text.contains(&format!("openpgp = [{{ fingerprint = \"{key}\"")), "{text}");
    desk.lab.commit("alice", "Trust dora");
    desk.waiting();
    let (program, name) = (gnupg.program(), key.to_string());
    let config = [("gpg.program", program.to_str().unwrap()), ("user.signingkey", &name)];
    let outcome = desk.with(&config, &[], &["approve", "--yes"]).ok();
    assert!(outcome.err.contains(&format!("You sign as dora with {key}")), "{}", outcome.err);
    assert!(desk.accepted());
    // Rotated away by its fingerprint, and to a key of OpenSSH.
    desk.lab.keygen("new");
    desk.abide("alice", &["trust", "rotate", "dora", "--key", "../new.pub", "--remove", &name]).ok();
    desk.lab.commit("alice", "Dora moves on");
    assert!(desk.accepted());
    let shown = desk.abide("alice", &["trust", "show", "--repo", "."]).ok().out;
    assert!(!shown.contains(&name) && shown.contains("dora "), "{shown}");
}

#[test]
fn an_export_that_gives_no_key_says_why() {
    let desk = Desk::new();
    let gnupg = GnuPg::new();
    std::fs::write(
        desk.key("weak.gpg"),
        gnupg.export(gnupg.key("w@example.org", "rsa2048", "sign", "never")),
    )
    .unwrap();
    std::fs::write(desk.key("junk.gpg"), "junk").unwrap();
    let add = |arguments: &[&str]| {
        desk.abide("alice", &[&["trust", "add-principal", "dora", "--openpgp"], arguments].concat())
    };
    for file in ["../weak.gpg", "../junk.gpg"] {
        let outcome = add(&[file]).failed("E793");
        assert!(outcome.err.contains("gpg --export"), "{}", outcome.err);
    }
    add(&["../nowhere.gpg"]).failed("E791");
    assert_eq!(add(&["../junk.gpg", "--fingerprint", "short"]).code, 2);
}
