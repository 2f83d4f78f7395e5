//! `abide approve`: what is shown, what is signed, and what it is worth afterwards.

use super::desk::{Agent, Desk};

#[test]
fn an_approval_commit_brings_a_change_into_effect() {
    let desk = Desk::new();
    let tip = desk.waiting();
    assert!(!desk.accepted());
    let outcome = desk.abide("bob", &["approve", "--yes"]).ok();
    for part in [
        "+content = \"new\\n\"",
        "Change the vault",
        "signed by alice",
        "scope vault: has alice; 1 more of bob, carol",
        "Nothing is missing any more",
        "git push origin refs/heads/main",
    ] {
        assert!(outcome.out.contains(part), "{part}: {}", outcome.out);
    }
    for part in ["You sign as bob", "for the scope vault", "every host of fleet 5a1c", "exactly the tree"] {
        assert!(outcome.err.contains(part), "{part}: {}", outcome.err);
    }
    assert!(desk.accepted());
    // One empty commit on top, with the trailer.
    assert_eq!(desk.lab.git(&["rev-parse", "HEAD^"]), tip);
    let tree = desk.lab.git(&["rev-parse", "HEAD^{tree}"]);
    assert_eq!(tree, desk.lab.git(&["rev-parse", &format!("{tip}^{{tree}}")]));
    assert!(desk.lab.git(&["log", "-1", "--format=%B"]).ends_with(&format!("Approves-tree: {tree}")));
    desk.abide("bob", &["approve", "--yes"]).failed("E760");
}

#[test]
fn neither_index_nor_work_tree_nor_hooks_come_into_it() {
    let desk = Desk::new();
    desk.waiting();
    desk.lab.write("fleet.toml", "# staged\n");
    desk.lab.git(&["add", "fleet.toml"]);
    desk.lab.write("fleet.toml", "# not staged\n");
    for hook in ["pre-commit", "commit-msg", "prepare-commit-msg", "post-commit"] {
        let path = format!(".git/hooks/{hook}");
        desk.lab.write(&path, "#!/bin/sh\ntouch hooked; exit 1\n");
        desk.lab.git(&["config", "core.hooksPath", ".git/hooks"]);
        let path = desk.lab.path().join(path);
        std::process::Command::new("chmod").arg("+x").arg(path).status().unwrap();
    }
    desk.abide("bob", &["approve", "--yes"]).ok();
    assert!(desk.accepted() && !desk.lab.path().join("hooked").exists());
    assert_eq!(desk.lab.git(&["diff", "--cached", "--name-only"]), "fleet.toml");
}

#[test]
fn the_tree_under_review_cannot_hide_itself() {
    let desk = Desk::new();
    desk.lab.write("roles/vault/.gitattributes", "* -diff -text export-ignore\n");
    desk.lab.write("roles/vault/secret.conf", "evil\u{1b}[2J = 1\n");
    desk.lab.commit("alice", "Nothing to see\u{1b}[2J");
    let outcome = desk.abide("bob", &["approve", "--dry-run"]).ok();
    assert!(
        outcome.out.contains("+evil\\u{1b}[2J = 1") && !outcome.out.contains('\u{1b}'),
        "{}",
        outcome.out
    );
    assert!(outcome.out.contains("+* -diff -text export-ignore"));
    let stat = desk.abide("bob", &["approve", "-n", "--stat"]).ok();
    assert!(stat.out.contains("+1") && stat.out.contains("roles/vault/secret.conf new"), "{}", stat.out);
    let json = desk.abide("bob", &["approve", "-n", "-o", "json"]).ok().json();
    assert_eq!(json["files"][1]["path"], "roles/vault/secret.conf");
    assert_eq!(json["needs"][0]["scope"], "vault");
    assert_eq!(json["commits"][0]["signer"], "alice");
}

#[test]
fn an_agent_signs_when_the_private_key_is_nowhere_else() {
    let desk = Desk::new();
    desk.waiting();
    let agent = Agent::with(&desk.folder(), &desk.key("bob"));
    std::fs::remove_file(desk.key("bob")).unwrap();
    let public = format!("key::{}", desk.lab.public("bob"));
    let config = [("gpg.format", "ssh"), ("user.signingkey", public.as_str())];
    let outcome = desk.with(&config, &[], &["approve", "--yes"]).failed("E740");
    assert!(outcome.err.contains("ssh-add"), "{}", outcome.err);
    desk.with(&config, &[("SSH_AUTH_SOCK", agent.socket())], &["approve", "--yes"]).ok();
    assert!(desk.accepted());
    // Without a key in the configuration Git asks the agent.
    desk.lab.reset("HEAD^");
    let config = [("gpg.format", "ssh"), ("gpg.ssh.defaultKeyCommand", "ssh-add -L")];
    desk.with(&config, &[("SSH_AUTH_SOCK", agent.socket())], &["approve", "--yes"]).ok();
    assert!(desk.accepted());
}

#[test]
fn a_tag_approves_where_nobody_may_push_to_the_branch() {
    let desk = Desk::new();
    let tip = desk.waiting();
    let remote = desk.remote();
    desk.lab.git(&["checkout", "-q", "--detach", "HEAD^"]);
    let outcome = desk.abide("bob", &["approve", "--tag", "--push", "--yes", "main", "-o", "json"]).ok();
    let json = outcome.json();
    let name = format!("refs/tags/abide/approve/{}-bob", &tip[..12]);
    assert_eq!(json["approval"]["reference"], name.as_str());
    assert_eq!((&json["approval"]["form"], &json["pushed"]), (&"tag".into(), &true.into()));
    assert_eq!(json["approval"]["in_effect"], true, "{json}");
    desk.lab.git(&["checkout", "-q", "main"]);
    assert!(desk.accepted());
    assert_eq!(desk.lab.git(&["rev-parse", "HEAD"]), tip);
    let pushed = desk.lab.git(&["--git-dir", remote.to_str().unwrap(), "rev-parse", &name]);
    assert_eq!(pushed, json["approval"]["object"]);
    // A second one under a name of its own, and one under a name that is taken.
    desk.lab.git(&["tag", "-d", name.strip_prefix("refs/tags/").unwrap()]);
    desk.abide("carol", &["approve", "--yes", "--tag=again"]).ok();
    desk.lab.git(&["rev-parse", "refs/tags/abide/approve/again"]);
}

#[test]
fn whoever_is_not_asked_cannot_approve() {
    let desk = Desk::new();
    let tip = desk.waiting();
    let outcome = desk.abide("alice", &["approve", "--yes"]).failed("E763");
    assert!(outcome.err.contains("still missing: bob, carol"), "{}", outcome.err);
    desk.abide("mallory", &["approve", "--yes"]).failed("E761");
    desk.abide("bob", &["approve"]).failed("E767");
    desk.abide("bob", &["approve", "--yes", "--introduction", &tip, "--key", "SHA256:x"]).failed("E751");
    let outcome = desk.with(&[], &[], &["approve", "--yes"]).failed("E742");
    assert!(
        outcome.err.contains("gpg.format ssh") && outcome.err.contains("user.signingkey"),
        "{}",
        outcome.err
    );
    desk.lab.git(&["tag", "abide/approve/taken"]);
    desk.abide("bob", &["approve", "--yes", "--tag=taken"]).failed("E768");
    desk.abide("bob", &["approve", "--yes", "--tag=a..b"]).failed("E768");
    desk.abide("bob", &["approve", "--yes", "HEAD^"]).failed("E760");
    desk.abide("bob", &["approve", "--yes", "nowhere"]).failed("E130");
    desk.lab.git(&["checkout", "-q", "--detach"]);
    let outcome = desk.abide("bob", &["approve", "--yes"]).failed("E764");
    assert!(outcome.err.contains("git switch main") && outcome.err.contains("--tag"), "{}", outcome.err);
    assert_eq!(desk.lab.git(&["rev-parse", "main"]), tip);
    assert_eq!(desk.lab.git(&["tag", "-l"]), "abide/approve/taken");
}

#[test]
fn scopes_of_others_and_keys_that_expired_do_not_count() {
    let desk = Desk::new();
    let mut policy = desk.lab.policy(2);
    policy.scopes[2].2 = vec!["alice".into(), "bob".into()];
    let key = desk.lab.public("bob");
    policy.principals.insert("bob".into(), vec![format!("{{ key = \"{key}\", not-after = 2020-01-01 }}")]);
    desk.lab.write("trust.toml", &policy.text());
    desk.lab.commit("alice", "Narrow the vault");
    desk.waiting();
    let outcome = desk.abide("carol", &["approve", "--yes"]).failed("E762");
    assert!(outcome.err.contains("vault asks for alice, bob"), "{}", outcome.err);
    desk.abide("bob", &["approve", "--yes"]).failed("E765");
}

#[test]
fn a_commit_that_is_refused_is_not_approved() {
    let desk = Desk::new();
    desk.waiting();
    desk.lab.write("fleet.toml", "# by nobody\n");
    desk.lab.unsigned("Sneak in");
    desk.abide("bob", &["approve", "--yes"]).failed("E010");
}
