//! The scenarios of Guix's tests of `guix git authenticate` and of its channels, rebuilt with a policy in the place of
//! `.guix-authorizations`. Where abide's verdict differs from Guix's, the test says so.

use abide::error::Explain;
use abide::trust::{IntroductionKey, Rule, Verdict};

use crate::trust::lab::Lab;

/// "unsigned commits": the first one is named, not the tip.
#[test]
fn unsigned_commits() {
    let lab = Lab::new();
    lab.write("roles/web/a", "A");
    let first = lab.unsigned("first commit");
    lab.write("roles/web/b", "B");
    let tip = lab.unsigned("second commit");
    let rejection = lab.judge(Some(&lab.mark), tip).unwrap().rejection.unwrap();
    assert_eq!(rejection.commit, first.to_string());
    lab.refused(tip, "E010");
}

/// "signed commits, default authorizations": from the introduction on.
#[test]
fn signed_commits_from_the_introduction() {
    let lab = Lab::new();
    lab.write("fleet.toml", "A");
    lab.commit("alice", "first commit");
    lab.write("fleet.toml", "B");
    let tip = lab.commit("alice", "second commit");
    let judgement = lab.judge(None, tip).unwrap();
    assert_eq!(judgement.high_water.commit, tip.to_string());
    assert_eq!(judgement.commits[0].rule, Rule::Introduction);
    assert!(judgement.commits.iter().all(|commit| commit.verdict == Verdict::Accepted));
}

/// "signed commits, .guix-authorizations": who was taken off the list signs no more, although he himself signed that. A policy
/// without anybody on it, as in the original, is refused at once: nobody could ever change it again.
#[test]
fn a_signer_is_taken_off_the_policy() {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    policy.scopes[0].2.clear();
    lab.write("trust.toml", &policy.text());
    lab.refused(lab.commit("alice", "nobody"), "E026");
    let mut policy = lab.policy(2);
    policy.principals.remove("alice");
    for scope in &mut policy.scopes {
        scope.2.retain(|signer| signer != "alice");
    }
    policy.scopes[0].2 = vec!["carol".into()];
    policy.scopes[2].2 = vec!["bob".into(), "carol".into()];
    lab.write("trust.toml", &policy.text());
    lab.commit("alice", "second commit");
    // Stricter than Guix: whoever is to sign policies from now on has to agree.
    let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
    let newest = lab.mark_of(lab.commit_index(&[], "carol", &trailer));
    lab.write("fleet.toml", "B");
    lab.stopped_at(lab.commit("alice", "third commit"), &newest, "E015");
}

/// "signed commits, .guix-authorizations, unauthorized merge": the merge is authorised, a commit that it brings in is not.
#[test]
fn an_unauthorised_commit_under_an_authorised_merge() {
    let lab = Lab::new();
    lab.git(&["checkout", "-q", "-b", "devel"]);
    lab.write("roles/web/devel", "1");
    let devel = lab.commit("mallory", "first devel commit");
    lab.git(&["checkout", "-q", "main"]);
    lab.write("fleet.toml", "B");
    let newest = lab.mark_of(lab.commit("alice", "second commit"));
    let merge = lab.merge("devel", "alice");
    let rejection = lab.judge(Some(&lab.mark), merge).unwrap().rejection.unwrap();
    assert_eq!((rejection.commit, rejection.merge), (devel.to_string(), Some(merge.to_string())));
    lab.stopped_at(merge, &newest, "E015");
}

/// "signed commits, .guix-authorizations, authorized merge": a side branch adds a signer; after the merge he signs on the
/// branch.
#[test]
fn a_signer_who_comes_in_by_a_merge() {
    let lab = Lab::new();
    lab.keygen("dave");
    let mut policy = lab.policy(2);
    policy.principals.insert("dave".into(), vec![format!("{{ key = \"{}\" }}", lab.public("dave"))]);
    policy.scopes[1].2.push("dave".into());
    lab.git(&["checkout", "-q", "-b", "devel"]);
    lab.write("trust.toml", &policy.text());
    lab.commit("alice", "first devel commit");
    lab.git(&["checkout", "-q", "main"]);
    lab.write("fleet.toml", "B");
    lab.commit("alice", "second commit");
    lab.merge("devel", "alice");
    lab.write("roles/web/c", "C");
    lab.accepted(lab.commit("dave", "third commit"));
    // Stricter than Guix: on the side branch itself he does not count yet, since its policy has come into effect nowhere.
    lab.reset(&lab.mark.commit);
    lab.git(&["checkout", "-q", "devel"]);
    lab.write("roles/web/devel", "2");
    lab.commit("dave", "second devel commit");
    lab.git(&["checkout", "-q", "main"]);
    lab.refused(lab.merge("devel", "alice"), "E015");
}

/// "signed commits, .guix-authorizations removed".
#[test]
fn the_list_of_signers_is_removed() {
    let lab = Lab::new();
    lab.git(&["rm", "-q", "trust.toml"]);
    let removal = lab.commit_index(&[], "alice", "second commit");
    lab.write("fleet.toml", "B");
    let tip = lab.commit("alice", "third commit");
    let rejection = lab.judge(Some(&lab.mark), tip).unwrap().rejection.unwrap();
    assert_eq!(rejection.commit, removal.to_string());
    lab.refused(tip, "E025");
}

/// Channels: the introductory commit has to be signed by the key that the introduction names.
#[test]
fn the_introduction_by_the_wrong_signer() {
    let mut lab = Lab::new();
    lab.root.introduction.key = IntroductionKey::parse(&lab.public("bob")).unwrap();
    let error = lab.judge(None, lab.head()).unwrap_err();
    assert_eq!(error.code().0, "E034");
}

/// Channels: a commit by a stranger above the introduction, and one by a principal.
#[test]
fn a_channel_with_a_stranger() {
    let lab = Lab::new();
    lab.write("fleet.toml", "A");
    let newest = lab.mark_of(lab.commit("alice", "good"));
    lab.write("fleet.toml", "B");
    lab.stopped_at(lab.commit("mallory", "bad"), &newest, "E015");
}

/// Channels, and the bug that Guix once had: a target that does not descend from the introduction, signed by the right people.
#[test]
fn a_target_beside_the_introduction() {
    let mut lab = Lab::new();
    let fork = lab.head();
    lab.write("fleet.toml", "introduced");
    let introduction = lab.commit("alice", "Introduce again");
    lab.root.introduction.commit = introduction.to_string();
    let descendant = lab.commit("alice", "Go on");
    assert!(lab.judge(None, descendant).unwrap().rejection.is_none());
    lab.reset(&fork.to_string());
    lab.write("fleet.toml", "another way");
    let beside = lab.commit("alice", "Beside it");
    for tip in [fork, beside] {
        let judgement = lab.judge(None, tip).unwrap();
        assert_eq!(judgement.high_water.commit, introduction.to_string());
        assert_eq!(judgement.rejection.unwrap().code().0, "E031");
    }
}

/// Channels: `guix pull` goes forward only.
#[test]
fn a_downgrade() {
    let mut lab = Lab::new();
    let before = lab.head();
    lab.write("fleet.toml", "newer");
    lab.mark = lab.mark_of(lab.commit("alice", "Newer"));
    let judgement = lab.judge(Some(&lab.mark), before).unwrap();
    assert_eq!(judgement.high_water, lab.mark);
    lab.stopped_at(before, &lab.mark, "E030");
}
