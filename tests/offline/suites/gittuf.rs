//! The scenarios of gittuf's `internal/policy/verify_test.go`, rebuilt: its log of references is the branch and the host's mark, its
//! reference authorisations are approvals, its root of trust is the root of trust.

use crate::trust::lab::Lab;

/// Commits by somebody nobody knows; the last one.
fn bad(lab: &Lab, count: usize) -> gix::ObjectId {
    for number in 0..count {
        lab.write("roles/web/role.toml", &format!("bad {number}"));
        lab.commit("mallory", "Bad");
    }
    lab.head()
}

/// `TestVerifyRef`, `TestVerifyRefFull`, `TestVerifyRefFromEntry`: the last change, the whole history, and from a known place on,
/// in both hashes. From a place that was never accepted nothing starts.
#[test]
fn a_reference_is_verified() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::with(format, "5a1c");
        for number in 0..3 {
            lab.write("roles/web/role.toml", &format!("{number}"));
            lab.commit("bob", "Good");
        }
        let whole = lab.judge(None, lab.head()).unwrap();
        let last = lab.accepted(lab.head());
        assert_eq!(whole.high_water, last.high_water);
        let mut elsewhere = lab.mark.clone();
        elsewhere.commit = lab.head().to_string();
        assert!(lab.judge(Some(&elsewhere), lab.head()).is_err(), "a mark with another payload");
    }
}

/// "first entry is the very first entry but policy is not applied": an introduction without a policy starts nothing.
#[test]
fn no_policy_is_applied() {
    let mut lab = Lab::new();
    lab.git(&["rm", "-q", "trust.toml"]);
    let without = lab.commit_index(&[], "alice", "No policy");
    lab.root.introduction.commit = without.to_string();
    let error = lab.judge(None, without).unwrap_err();
    assert_eq!(abide::error::Explain::code(&error).0, "E025");
}

/// "with recovery, commit-same": the branch is set back to the last good commit, by anybody; one or several bad entries, and
/// whether or not somebody says that they were bad.
#[test]
fn recovery_to_the_same_commit() {
    for count in [1, 5] {
        let mut lab = Lab::new();
        lab.write("roles/web/role.toml", "good");
        let good = lab.commit("bob", "Good");
        lab.mark = lab.mark_of(good);
        let tip = bad(&lab, count);
        lab.stopped_at(tip, &lab.mark, "E015");
        lab.reset(&good.to_string());
        lab.accepted(good);
        lab.write("roles/web/role.toml", "better");
        lab.accepted(lab.commit("bob", "Go on"));
    }
}

/// "with recovery, tree-same": a commit above the bad ones has the good tree again. Stricter than gittuf, which takes it when the
/// bad ones are marked as skipped: here each commit counts, and the branch is set back.
#[test]
fn recovery_to_the_same_tree() {
    let lab = Lab::new();
    let good = lab.id("HEAD^{tree}");
    bad(&lab, 2);
    lab.git(&["checkout", "-q", &lab.mark.commit, "--", "."]);
    lab.git(&["rm", "-q", "--cached", "roles/web/role.toml"]);
    let tip = lab.commit_index(&[], "alice", "Back to the good tree");
    assert_eq!(lab.id("HEAD^{tree}"), good);
    lab.refused(tip, "E015");
}

/// "error because recovery goes back too far".
#[test]
fn recovery_that_goes_back_too_far() {
    let mut lab = Lab::new();
    let old = lab.head();
    lab.write("roles/web/role.toml", "good");
    lab.mark = lab.mark_of(lab.commit("bob", "Good"));
    bad(&lab, 3);
    lab.stopped_at(old, &lab.mark, "E030");
}

/// "higher threshold", with authorisations of the tree by others, in both hashes; `TestVerifyMergeable`, "not mergeable".
#[test]
fn a_threshold_and_approvals() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::with(format, "5a1c");
        lab.write("roles/vault/role.toml", "secret");
        let tip = lab.commit("alice", "Change the vault");
        let judgement = lab.judge(Some(&lab.mark), tip).unwrap();
        assert!(judgement.pending.is_some() && judgement.high_water == lab.mark);
        let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
        lab.accepted(lab.commit_index(&[], "carol", &trailer));
    }
}

/// "from an untrusted key", "invalid app key": an approval by somebody whom the policy does not know is no approval, and here not
/// even a commit that could stay.
#[test]
fn an_approval_by_a_stranger() {
    let lab = Lab::new();
    lab.write("roles/vault/role.toml", "secret");
    lab.commit("alice", "Change the vault");
    let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
    lab.refused(lab.commit_index(&[], "mallory", &trailer), "E015");
    // Nor is one of another tree, or by somebody who may not sign in the scope.
    lab.write("roles/vault/role.toml", "secret");
    lab.commit("alice", "Change the vault");
    let other = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD~1^{tree}"));
    let tip = lab.commit_index(&[], "bob", &other);
    assert!(lab.judge(Some(&lab.mark), tip).unwrap().pending.is_some());
}

/// "when a person signs reference authorization and uses GitHub approval": one person with two keys is one person.
#[test]
fn a_person_with_two_keys_counts_once() {
    let lab = Lab::new();
    lab.keygen("alice2");
    let mut policy = lab.policy(2);
    policy.principals.get_mut("alice").unwrap().push(format!("{{ key = \"{}\" }}", lab.public("alice2")));
    lab.write("trust.toml", &policy.text());
    let newest = lab.mark_of(lab.commit("alice", "Another key for alice"));
    lab.write("roles/vault/role.toml", "secret");
    lab.commit("alice", "Change the vault");
    let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
    let tip = lab.commit_index(&[], "alice2", &trailer);
    let judgement = lab.judge(Some(&newest), tip).unwrap();
    let pending = judgement.pending.unwrap();
    assert_eq!((pending.needs[0].have.len(), judgement.high_water), (1, newest));
}

/// "verify block force pushes rule": always in force here. There is no unprotected reference and no unprotected path.
#[test]
fn history_is_not_rewritten() {
    let lab = Lab::new();
    lab.git(&["checkout", "-q", "--orphan", "other"]);
    for number in 0..2 {
        lab.write("fleet.toml", &format!("rewritten {number}"));
        lab.commit("alice", "Rewrite");
    }
    lab.refused(lab.head(), "E031");
    lab.git(&["checkout", "-q", "main"]);
    lab.write("unprotected", "x");
    lab.refused(lab.commit("alice", "A path without a rule"), "E021");
}

/// `TestStateVerifyNewState`: a valid transition, one that the old root did not sign, and an older policy offered again.
#[test]
fn a_policy_follows_a_policy() {
    let lab = Lab::new();
    lab.write("trust.toml", &lab.policy(2).text());
    let newest = lab.mark_of(lab.commit("alice", "Valid"));
    let mut policy = lab.policy(3);
    policy.principals.remove("alice");
    for scope in &mut policy.scopes {
        scope.2.retain(|signer| signer != "alice");
    }
    policy.principals.insert("mallory".into(), vec![format!("{{ key = \"{}\" }}", lab.public("mallory"))]);
    policy.scopes[0].2 = vec!["mallory".into()];
    policy.scopes[2].2.push("mallory".into());
    lab.write("trust.toml", &policy.text());
    lab.stopped_at(lab.commit("mallory", "Another root"), &newest, "E015");
    lab.reset(&newest.commit);
    lab.write("trust.toml", &lab.policy(1).text());
    lab.stopped_at(lab.commit("alice", "Rolled back"), &newest, "E027");
}
