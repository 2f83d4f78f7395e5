//! Seals: what a forge's merge button makes comes in when enough principals vouch for it, and never otherwise.

use abide::error::Explain;
use abide::trust::{Judgement, Rule, Verdict};
use gix::ObjectId;

use super::lab::Lab;

/// A fleet whose scopes `web` (one of alice and bob) and `vault` (two of alice, bob and carol) take commits under a seal.
fn sealed() -> Lab {
    let mut lab = Lab::new();
    let mut policy = lab.policy(2);
    policy.sealed = vec!["web".into(), "vault".into()];
    lab.write("trust.toml", &policy.text());
    lab.mark = lab.mark_of(lab.commit("alice", "Take merges by the forge"));
    lab
}

/// What the button of a forge makes of a pull request: a merge, unsigned, of unsigned commits.
fn pull_request(lab: &Lab, path: &str) -> ObjectId {
    lab.git(&["checkout", "-q", "-B", "feature", "main"]);
    lab.write(path, "one");
    lab.unsigned("One");
    lab.write(path, "two");
    lab.unsigned("Two");
    lab.git(&["checkout", "-q", "main"]);
    lab.git(&["merge", "-q", "--no-gpg-sign", "--no-ff", "-m", "Merge pull request #7", "feature"]);
    lab.head()
}

fn trailer(lab: &Lab) -> String {
    format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"))
}

/// It waits, and nothing is applied.
#[track_caller]
fn waits(lab: &Lab, judgement: Judgement, have: &[&str]) {
    assert!(judgement.rejection.is_none(), "{:?}", judgement.rejection);
    assert_eq!(judgement.high_water, lab.mark);
    let pending = judgement.pending.expect("nothing waits");
    assert_eq!(pending.code().0, "E040");
    assert!(pending.needs[0].seal, "{pending}");
    assert_eq!(pending.needs[0].have, have, "{pending}");
}

#[track_caller]
fn comes_in(tip: ObjectId, judgement: &Judgement, signers: &str) {
    assert!(judgement.rejection.is_none() && judgement.pending.is_none(), "{judgement:?}");
    let revision = judgement.verified.as_ref().unwrap().revision();
    assert_eq!((revision.commit.as_str(), revision.signer.as_str()), (tip.to_string().as_str(), signers));
    assert!(judgement.commits.iter().all(|commit| commit.verdict == Verdict::Accepted));
}

#[test]
fn a_pull_request_merged_by_the_button_is_sealed_by_a_tag() {
    let lab = sealed();
    let tip = pull_request(&lab, "roles/web/role.toml");
    waits(&lab, lab.judge_with(tip, &[]), &[]);
    let tag = lab.tag("bob", "pull-7", "HEAD");
    let judgement = lab.judge_with(tip, &[tag]);
    comes_in(tip, &judgement, "bob");
    let rules: Vec<Rule> = judgement.commits.iter().skip(1).map(|commit| commit.rule).collect();
    assert_eq!(rules, [Rule::Seal, Rule::Seal, Rule::Seal]);
    assert!(judgement.commits[1].under_seal.as_ref().is_some_and(|why| why.code().0 == "E010"));
    assert_eq!(judgement.approvals[0].signer.as_deref(), Some("bob"));
    // The mark remembers the commit as it is, and goes on from there.
    let again = lab.judge(Some(&judgement.high_water), tip).unwrap();
    assert_eq!((again.high_water, again.rejection), (judgement.high_water.clone(), None));
    lab.write("fleet.toml", "# on\n");
    let next = lab.commit("alice", "Go on");
    let on = lab.judge(Some(&judgement.high_water), next).unwrap();
    assert_eq!(on.verified.unwrap().revision().commit, next.to_string());
}

#[test]
fn a_squash_is_sealed_by_a_commit_on_top() {
    let lab = sealed();
    lab.write("roles/web/role.toml", "squashed");
    let tip = lab.unsigned("Squash pull request #8");
    waits(&lab, lab.judge_with(tip, &[]), &[]);
    let tip = lab.commit_index(&[], "bob", &trailer(&lab));
    comes_in(tip, &lab.judge_with(tip, &[]), "bob");
}

#[test]
fn only_an_approval_by_name_is_a_seal() {
    let lab = sealed();
    pull_request(&lab, "roles/web/role.toml");
    // Bob goes on working and never looked at what lies below.
    lab.write("roles/web/other.toml", "x");
    let tip = lab.commit("bob", "Work on");
    waits(&lab, lab.judge_with(tip, &[]), &[]);
    let tip = lab.commit_index(&[], "bob", "Empty, and no approval");
    waits(&lab, lab.judge_with(tip, &[]), &[]);
    // A tag on what lies below lets that in, and what stands for itself above it; a tag on half of it does not.
    comes_in(tip, &lab.judge_with(tip, &[lab.tag("bob", "below", "HEAD~2")]), "bob");
    waits(&lab, lab.judge_with(tip, &[lab.tag("bob", "half", "HEAD~2^2")]), &[]);
    let tag = lab.tag("alice", "whole", "HEAD~1");
    comes_in(tip, &lab.judge_with(tip, &[tag]), "bob");
}

#[test]
fn a_seal_meets_the_threshold_of_distinct_signers_of_its_scope() {
    let lab = sealed();
    let tip = pull_request(&lab, "roles/vault/role.toml");
    let (alice, bob) = (lab.tag("alice", "a", "HEAD"), lab.tag("bob", "b", "HEAD"));
    let twice = lab.tag("bob", "c", "HEAD");
    let mallory = lab.tag("mallory", "m", "HEAD");
    waits(&lab, lab.judge_with(tip, &[bob, twice, mallory]), &["bob"]);
    for order in [[alice, bob, mallory], [mallory, bob, alice]] {
        let judgement = lab.judge_with(tip, &order);
        comes_in(tip, &judgement, "alice, bob");
        let refused = judgement.approvals.iter().find_map(|approval| approval.rejection.as_ref()).unwrap();
        assert_eq!(refused.code().0, "E015");
    }
    // A tag and a commit make a quorum, too.
    let tip = lab.commit_index(&[], "carol", &trailer(&lab));
    comes_in(tip, &lab.judge_with(tip, &[bob]), "carol");
}

#[test]
fn whoever_may_not_change_a_path_cannot_seal_it() {
    let lab = sealed();
    let tip = pull_request(&lab, "roles/web/role.toml");
    let tag = lab.tag("carol", "c", "HEAD");
    waits(&lab, lab.judge_with(tip, &[tag]), &[]);
}

#[test]
fn a_scope_without_seal_takes_signed_commits_only() {
    let lab = sealed();
    // One path of the pull request lies in such a scope: nothing of it comes in, whoever approves.
    let base = lab.mark.commit.clone();
    for path in ["fleet.toml", "trust.toml"] {
        lab.write("roles/web/role.toml", "x");
        lab.write(path, &format!("{}\n# more\n", std::fs::read_to_string(lab.path().join(path)).unwrap()));
        let tip = lab.unsigned("Squash");
        let tags = [lab.tag("alice", "a", "HEAD"), lab.tag("bob", "b", "HEAD")];
        let judgement = lab.judge_with(tip, &tags);
        assert_eq!(judgement.rejection.unwrap().code().0, "E010", "{path}");
        assert_eq!(judgement.high_water, lab.mark);
        lab.reset(&base);
    }
    // On a side branch the same.
    let tip = pull_request(&lab, "hosts/x.toml");
    let judgement = lab.judge_with(tip, &[lab.tag("alice", "a", "HEAD")]);
    assert_eq!(judgement.rejection.unwrap().code().0, "E010");
}

#[test]
fn what_is_forged_is_not_made_good_by_a_seal() {
    let lab = sealed();
    lab.write("roles/web/role.toml", "x");
    let tip = lab.commit("bob", "Signed");
    let payload = String::from_utf8(lab.payload(tip)).unwrap();
    let armoured = lab.sign("bob", "git", payload.as_bytes());
    let forged = lab.assemble(payload.replace("Signed", "Forged").as_bytes(), &armoured);
    let tags = [lab.tag("alice", "a", &forged.to_string()), lab.tag("bob", "b", &forged.to_string())];
    let judgement = lab.judge_with(forged, &tags);
    assert_eq!(judgement.rejection.unwrap().code().0, "E017");
    let file = lab.sign("bob", "file", payload.as_bytes());
    let forged = lab.assemble(payload.as_bytes(), &file);
    let judgement = lab.judge_with(forged, &[lab.tag("bob", "f", &forged.to_string())]);
    assert_eq!(judgement.rejection.unwrap().code().0, "E013");
}

#[test]
fn strangers_and_others_contribute_under_a_seal() {
    for signer in ["mallory", "carol"] {
        let lab = sealed();
        lab.write("roles/web/role.toml", "x");
        // A stranger's key, and a principal's who may not change this path.
        let tip = lab.commit(signer, "Contribute");
        waits(&lab, lab.judge_with(tip, &[]), &[]);
        let judgement = lab.judge_with(tip, &[lab.tag("bob", "b", "HEAD")]);
        comes_in(tip, &judgement, "bob");
        // Nobody makes a second form of a sealed commit: the mark is for this one.
        let mark = judgement.high_water;
        let payload = lab.payload(tip);
        let twin = lab.assemble(&payload, &lab.sign("bob", "git", &payload));
        let judgement = lab.judge(Some(&mark), twin).unwrap();
        assert_eq!(judgement.high_water, mark);
        assert_eq!(judgement.rejection.unwrap().code().0, "E031");
    }
}

/// Attack 10: an old tag for new content.
#[test]
fn an_approval_counts_for_its_commit_line_only() {
    let lab = sealed();
    let old = pull_request(&lab, "roles/web/role.toml");
    let tag = lab.tag("bob", "old", "HEAD");
    let mark = lab.judge_with(old, &[tag]).high_water;
    // The same tree again, later: the approval named another commit.
    lab.write("roles/web/role.toml", "newer");
    let newer = lab.commit("bob", "Newer");
    lab.write("roles/web/role.toml", "two");
    let replay = lab.unsigned("Bring it back");
    let judgement = abide::trust::judge(
        &abide::source::store::Repository::open(&lab.path()).unwrap(),
        &lab.root,
        Some(&mark),
        &abide::source::Candidate { tip: replay, approvals: vec![tag], heartbeat: None },
        super::lab::NOW,
    )
    .unwrap();
    assert_eq!(judgement.high_water.commit, newer.to_string());
    assert!(judgement.pending.is_some());
}

#[test]
fn tags_that_nobody_can_use_hold_nothing_up() {
    let lab = sealed();
    lab.write("roles/web/role.toml", "x");
    let tip = lab.commit("bob", "Good");
    let unsigned = lab.object(
        "tag",
        format!("object {tip}\ntype commit\ntag abide/approve/u\ntagger A <a@example.org> 1 +0000\n\nx\n")
            .as_bytes(),
    );
    let garbage = lab.object("tag", b"nonsense");
    let missing = ObjectId::from_hex(b"00000000000000000000000000000000000000aa").unwrap();
    let judgement = lab.judge_with(tip, &[unsigned, garbage, missing, tip]);
    assert_eq!(judgement.verified.unwrap().revision().commit, tip.to_string());
    let mut codes: Vec<&str> = judgement
        .approvals
        .iter()
        .filter_map(|approval| Some(approval.rejection.as_ref()?.code().0))
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["E010", "E011", "E024", "E037"]);
}

#[test]
fn the_policy_itself_under_a_seal_meets_both_thresholds() {
    let mut lab = sealed();
    let mut policy = lab.policy(3);
    policy.sealed = vec!["root".into()];
    policy.scopes[0].2.push("bob".into());
    policy.scopes[0].3 = 2;
    lab.write("trust.toml", &policy.text());
    lab.commit("alice", "Two roots, and seals");
    lab.mark = lab.mark_of(lab.commit_index(&[], "bob", &trailer(&lab)));
    policy.version = 4;
    policy.scopes[0].2.push("carol".into());
    policy.scopes[0].3 = 3;
    lab.write("trust.toml", &policy.text());
    let tip = lab.unsigned("Squash: three roots");
    let (alice, bob, carol) =
        (lab.tag("alice", "a", "HEAD"), lab.tag("bob", "b", "HEAD"), lab.tag("carol", "c", "HEAD"));
    waits(&lab, lab.judge_with(tip, &[alice]), &["alice"]);
    // The old threshold is met, the new one is not.
    let judgement = lab.judge_with(tip, &[alice, bob]);
    assert!(judgement.pending.as_ref().unwrap().needs[0].new_policy);
    waits(&lab, judgement, &["alice", "bob"]);
    comes_in(tip, &lab.judge_with(tip, &[alice, bob, carol]), "alice, bob, carol");
}

#[test]
fn work_of_several_is_nobodys_approval() {
    let lab = Lab::new();
    lab.write("roles/vault/one.toml", "x");
    lab.commit("bob", "Into the vault");
    // Alice works on top, on something else: that is no word about the vault.
    lab.write("roles/web/role.toml", "x");
    let tip = lab.commit("alice", "Into the web");
    let pending = lab.judge_with(tip, &[]).pending.unwrap();
    assert!(pending.needs[0].have.is_empty(), "{pending}");
    let one = lab.tag("carol", "c", "HEAD");
    assert!(lab.judge_with(tip, &[one]).pending.is_some());
    comes_in(tip, &lab.judge_with(tip, &[one, lab.tag("bob", "b", "HEAD")]), "alice");
}

#[test]
fn whoever_has_two_keys_vouches_with_both() {
    let lab = Lab::new();
    lab.keygen("alice-old");
    let mut policy = lab.policy(2);
    let keys = ["alice", "alice-old"].map(|key| format!("{{ key = \"{}\" }}", lab.public(key)));
    policy.principals.insert("alice".into(), keys.into());
    policy.scopes[0].2 = vec!["alice".into(), "bob".into()];
    lab.write("trust.toml", &policy.text());
    let mark = lab.mark_of(lab.commit("alice", "Two keys"));
    // The old key goes, and two have to agree from now on.
    policy.version = 3;
    policy.principals.insert("alice".into(), vec![format!("{{ key = \"{}\" }}", lab.public("alice"))]);
    policy.scopes[0].3 = 2;
    lab.write("trust.toml", &policy.text());
    lab.commit("alice-old", "One key");
    for order in [["alice", "bob", "alice-old"], ["alice-old", "bob", "alice"]] {
        let before = lab.head().to_string();
        for signer in order {
            lab.commit_index(&[], signer, &trailer(&lab));
        }
        let judgement = lab.judge(Some(&mark), lab.head()).unwrap();
        assert!(judgement.pending.is_none(), "{:?}", judgement.pending);
        lab.reset(&before);
    }
}
