//! `abide verify --explain`: each verdict with the clause that it comes from.

use serde_json::Value;

use super::desk::Desk;

/// The clauses of the newest commit: number, outcome and text.
fn newest(desk: &Desk) -> Vec<(Value, String, String)> {
    let json = desk.abide("alice", &["verify", "--repo", ".", "-o", "json"]).json();
    let commit = json["commits"].as_array().unwrap().last().unwrap().clone();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let clauses = commit["clauses"].as_array().unwrap().iter();
    clauses
        .map(|clause| (clause["clause"].clone(), word(&clause["outcome"]), word(&clause["text"])))
        .collect()
}

#[track_caller]
fn says(clauses: &[(Value, String, String)], number: u64, outcome: &str, part: &str) {
    let found = clauses
        .iter()
        .any(|(clause, came, text)| *clause == number && came == outcome && text.contains(part));
    assert!(found, "{number} {outcome} {part}: {clauses:#?}");
}

#[test]
fn what_let_a_commit_in_is_named_clause_by_clause() {
    let desk = Desk::new();
    desk.lab.write("roles/web/role.toml", "# web\n");
    desk.lab.write("roles/web/more.toml", "# web\n");
    desk.lab.commit("bob", "Serve");
    let clauses = newest(&desk);
    says(&clauses, 1, "met", "one form");
    says(&clauses, 2, "met", "signed by bob");
    says(&clauses, 2, "met", "web (roles/web/more.toml and 1 more)");
    says(&clauses, 5, "met", "no scope asks for more than its signer");
    desk.waiting();
    says(
        &newest(&desk),
        5,
        "open",
        "scope vault asks that 2 of alice, bob, carol vouch for it: alice; 1 more of bob, carol with `abide approve`",
    );
    desk.abide("bob", &["approve", "--yes"]).ok();
    let clauses = newest(&desk);
    says(&clauses, 2, "met", "it changes nothing and names its tree");
    says(&clauses, 6, "met", "bob approves its tree by this commit: it counts for vault");
    says(&clauses, 5, "met", "scope vault asks that 2 of alice, bob, carol vouch for it: alice, bob");
    let text = desk.abide("alice", &["verify", "--repo", ".", "--explain"]).ok().out;
    for part in ["✓ trust starts here", "    5 ✓ came into effect with", "no heartbeat is expected"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn approvals_that_do_not_count_say_why() {
    let desk = Desk::new();
    let tag = |signer: &str, name: &str| {
        let key = format!("user.signingkey={}", desk.key(signer).display());
        desk.lab.git(&[
            "-c",
            "gpg.format=ssh",
            "-c",
            &key,
            "tag",
            "-s",
            "-m",
            "ok",
            &format!("abide/approve/{name}"),
        ]);
    };
    let mut policy = desk.lab.policy(2);
    policy.scopes[2].3 = 3;
    desk.lab.write("trust.toml", &policy.text());
    desk.lab.commit("alice", "Three for the vault");
    desk.waiting();
    tag("bob", "early");
    desk.lab.write("roles/vault/role.toml", "# changed again\n");
    desk.lab.commit("alice", "Change the vault again");
    tag("mallory", "stranger");
    let json = desk.abide("alice", &["verify", "--repo", ".", "-o", "json"]).json();
    assert_eq!((&json["accepted"], json["approvals"].as_array().unwrap().len()), (&false.into(), 2));
    says(&newest(&desk), 6, "ignored", "the tag abide/approve/stranger does not count: [E015]");
    let text = desk.abide("alice", &["verify", "--repo", ".", "--explain"]).out;
    assert!(
        text.contains("bob approves it by the tag abide/approve/early: it does not count any more"),
        "{text}"
    );
    tag("carol", "late");
    says(&newest(&desk), 6, "met", "carol approves it by the tag abide/approve/late: it counts for vault");
}

#[test]
fn a_refusal_names_its_clause_and_what_to_do() {
    let desk = Desk::new();
    desk.lab.write("roles/base/role.toml", "# by bob\n");
    desk.lab.commit("bob", "Out of bounds");
    says(&newest(&desk), 2, "violated", "[E020] its signer may not change roles/base/role.toml");
    desk.lab.reset("HEAD^");
    desk.lab.write("fleet.toml", "# unsigned\n");
    desk.lab.unsigned("Sneak in");
    says(&newest(&desk), 2, "violated", "[E010] it carries no signature; ");
    desk.lab.reset("HEAD^");
    let mut policy = desk.lab.policy(1);
    policy.extra = "# the same version\n".into();
    desk.lab.write("trust.toml", &policy.text());
    desk.lab.commit("alice", "Forget the version");
    says(&newest(&desk), 7, "violated", "[E027]");
}

#[test]
fn a_seal_and_a_merge_are_told_apart() {
    let desk = Desk::new();
    let policy = desk.lab.policy(2).text().replace("name = \"vault\"", "merge = \"seal\"\nname = \"vault\"");
    desk.lab.write("trust.toml", &policy);
    desk.lab.commit("alice", "Seal the vault");
    desk.lab.git(&["checkout", "-q", "-b", "side"]);
    desk.lab.write("roles/web/role.toml", "# side\n");
    desk.lab.commit("bob", "On a side branch");
    desk.lab.git(&["checkout", "-q", "main"]);
    desk.lab.merge("side", "alice");
    says(&newest(&desk), 4, "met", "the 1 commits");
    desk.lab.write("roles/vault/role.toml", "# by the forge's button\n");
    desk.lab.unsigned("Merge pull request #1");
    let clauses = newest(&desk);
    says(&clauses, 2, "met", "under seal, since it carries no signature");
    says(
        &clauses,
        6,
        "open",
        "scope vault asks that 2 of alice, bob, carol approve it: nobody so far; 2 more",
    );
    let outcome = desk.abide("bob", &["approve", "--yes", "--tag"]).ok();
    assert!(outcome.err.contains("nobody stands but those who approve"), "{}", outcome.err);
    assert!(outcome.out.contains("has bob; 1 more of alice, carol, by approval"), "{}", outcome.out);
    desk.abide("carol", &["approve", "--yes"]).ok();
    assert!(desk.accepted());
}

#[test]
fn a_heartbeat_that_does_not_count_is_explained() {
    let desk = Desk::new();
    desk.lab.keygen("beat");
    let mut policy = desk.lab.policy(2).text();
    policy.push_str(&format!("[heartbeat]\nkeys = [{{ key = \"{}\" }}]\n", desk.lab.public("beat")));
    desk.lab.write("trust.toml", &policy);
    desk.lab.commit("alice", "Expect heartbeats");
    let explain = || desk.abide("alice", &["verify", "--repo", ".", "--explain"]).ok().out;
    assert!(explain().contains("[E071]"), "{}", explain());
    desk.abide("alice", &["heartbeat", "--key", "../beat"]).ok();
    assert!(explain().contains("fresh until"), "{}", explain());
    // A host that requires freshness accepts no more than what the heartbeat names.
    let root = desk.folder().join("root.toml");
    let text = desk.lab.root.to_toml() + "max-age = \"24h\"\n";
    std::fs::write(&root, text).unwrap();
    let required = || desk.abide("alice", &["verify", "--repo", ".", "--root", root.to_str().unwrap()]);
    required().ok();
    desk.lab.write("roles/web/role.toml", "# newer\n");
    desk.lab.commit("alice", "Not beaten yet");
    assert_eq!(required().code, 1);
    desk.abide("alice", &["heartbeat", "--key", "../beat"]).ok();
    required().ok();
}
