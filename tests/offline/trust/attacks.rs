//! Attacks: nothing new is accepted, the mark stays, the code is exact, and the host is not stuck afterwards.

use abide::error::Explain;
use abide::trust::sshsig::{Envelope, GIT, Hash, signed_data, touched_data};
use abide::trust::{TrustError, Verdict};
use ed25519_dalek::{Signer, SigningKey};
use gix::ObjectId;

use super::lab::{Lab, assembled};

/// Attack 1: an unsigned tip.
#[test]
fn an_unsigned_commit() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "evil");
    lab.refused(lab.unsigned("Change"), "E010");
}

#[test]
fn an_openpgp_signature() {
    let lab = Lab::new();
    let payload = lab.unsigned_payload(lab.id("HEAD^{tree}"));
    let tip =
        lab.assemble(&payload, "-----BEGIN PGP SIGNATURE-----\n\niHUEABYK\n-----END PGP SIGNATURE-----\n");
    lab.refused(tip, "E014");
}

/// Attack 3: a key that the policy does not know.
#[test]
fn an_unknown_key() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "evil");
    lab.refused(lab.commit("mallory", "Change"), "E015");
}

#[test]
fn a_signature_of_other_content() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "good");
    let good = lab.commit("alice", "Change");
    lab.write("roles/web/role.toml", "evil");
    let evil = lab.unsigned("Change");
    let (good, evil) = (String::from_utf8(lab.raw(good)).unwrap(), String::from_utf8(lab.raw(evil)).unwrap());
    let tree = |raw: &str| raw.lines().next().unwrap().to_owned();
    let forged = good.replace(&tree(&good), &tree(&evil));
    lab.refused(lab.object("commit", forged.as_bytes()), "E017");
}

/// Attack 20: a signature that its key made for something else.
#[test]
fn a_signature_for_another_namespace() {
    let lab = Lab::new();
    let payload = lab.unsigned_payload(lab.id("HEAD^{tree}"));
    let armoured = lab.sign("alice", "file", &payload);
    lab.refused(lab.assemble(&payload, &armoured), "E013");
}

#[test]
fn a_path_outside_of_the_signers_scope() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "his own");
    lab.write("fleet.toml", "not his");
    let tip = lab.commit("bob", "Change");
    let rejection = lab.judge(Some(&lab.mark), tip).unwrap().rejection.unwrap();
    let shown = abide::error::Problem::from(rejection).to_string();
    for part in ["fleet.toml", "\"rest\"", "alice, carol", "bob", "SHA256:", &tip.to_string()] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    lab.refused(tip, "E020");
}

#[test]
fn a_deletion_and_a_rename_outside_of_the_signers_scope() {
    let lab = Lab::new();
    lab.git(&["rm", "-q", "fleet.toml"]);
    lab.refused(lab.commit_index(&[], "bob", "Delete"), "E020");
    lab.git(&["rm", "-q", "roles/base/role.toml"]);
    lab.write("roles/web/role.toml", "# base\n");
    lab.refused(lab.commit("bob", "Rename"), "E020");
}

#[test]
fn a_file_becomes_a_folder_outside_of_the_signers_scope() {
    let lab = Lab::new();
    lab.git(&["rm", "-q", "fleet.toml"]);
    lab.write("fleet.toml/x", "evil");
    // Not even alice may: no scope covers what is in it.
    lab.refused(lab.commit("alice", "Change"), "E021");
}

#[test]
fn a_path_that_no_scope_covers() {
    let lab = Lab::new();
    lab.write("elsewhere.toml", "x");
    lab.refused(lab.commit("alice", "Change"), "E021");
}

/// Attack 5: a commit by a key that only a later policy brings, and one from the future.
#[test]
fn a_key_before_its_time() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "early");
    lab.commit("mallory", "Too early");
    let mut policy = lab.policy(2);
    policy.principals.insert("mallory".into(), vec![format!("{{ key = \"{}\" }}", lab.public("mallory"))]);
    policy.scopes[1].2.push("mallory".into());
    lab.write("trust.toml", &policy.text());
    lab.refused(lab.commit("alice", "Let mallory in"), "E015");
    // A date in the future makes no key count, and a date of tomorrow by a key that counts is no crime.
    let payload = String::from_utf8(lab.unsigned_payload(lab.id("HEAD^{tree}"))).unwrap();
    let payload = payload.replace("1780000000", "4102444800");
    let signed = |name| lab.assemble(payload.as_bytes(), &lab.sign(name, "git", payload.as_bytes()));
    lab.stopped_at(signed("mallory"), &lab.mark, "E015");
    lab.accepted(signed("alice"));
}

/// Attack 11: the branch is set back.
#[test]
fn a_rewind() {
    let lab = Lab::new();
    lab.refused(lab.id("HEAD~1"), "E030");
}

/// Attack 12: a sibling of the mark, by somebody who may sign.
#[test]
fn a_fork() {
    let lab = Lab::new();
    lab.reset("HEAD~1");
    lab.write("fleet.toml", "another way");
    lab.refused(lab.commit("alice", "Fork"), "E031");
}

/// Attack 12: what was accepted becomes a side branch of something else.
#[test]
fn a_branch_whose_first_parent_is_the_other_one() {
    let lab = Lab::new();
    lab.git(&["checkout", "-q", "-b", "side", "HEAD~1"]);
    lab.write("roles/web/role.toml", "side");
    lab.commit("alice", "Side");
    lab.refused(lab.merge("main", "alice"), "E031");
}

/// Attack 6: what revokes keys is taken away.
#[test]
fn the_policy_is_deleted() {
    let lab = Lab::new();
    lab.git(&["rm", "-q", "trust.toml"]);
    lab.refused(lab.commit_index(&[], "alice", "Delete"), "E025");
    // Bob could not even touch it.
    lab.git(&["rm", "-q", "trust.toml"]);
    lab.refused(lab.commit_index(&[], "bob", "Delete"), "E020");
}

#[test]
fn the_policy_becomes_a_symlink() {
    let lab = Lab::new();
    lab.git(&["rm", "-q", "trust.toml"]);
    std::os::unix::fs::symlink("fleet.toml", lab.path().join("trust.toml")).unwrap();
    lab.refused(lab.commit("alice", "Link"), "E025");
}

/// Attack 22: a policy that lets its own signer in.
#[test]
fn a_policy_that_authorises_its_own_signer() {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    policy.principals.insert("mallory".into(), vec![format!("{{ key = \"{}\" }}", lab.public("mallory"))]);
    policy.scopes[0].2.push("mallory".into());
    lab.write("trust.toml", &policy.text());
    lab.refused(lab.commit("mallory", "Let me in"), "E015");
}

/// Attack 22: a policy that gives its own signer more.
#[test]
fn a_policy_that_widens_its_signers_scope() {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    policy.scopes[0].2.push("bob".into());
    lab.write("trust.toml", &policy.text());
    lab.refused(lab.commit("bob", "More for me"), "E020");
}

#[test]
fn a_policy_of_the_same_version() {
    let lab = Lab::new();
    let mut policy = lab.policy(1);
    policy.scopes[1].2.push("carol".into());
    lab.write("trust.toml", &policy.text());
    lab.refused(lab.commit("alice", "Change"), "E027");
}

#[test]
fn an_old_policy_replayed() {
    let lab = Lab::new();
    lab.write("trust.toml", &lab.policy(2).text());
    lab.commit("alice", "Newer");
    lab.write("trust.toml", &lab.policy(1).text());
    let tip = lab.commit("alice", "Older");
    let newest = lab.mark_of(lab.id("HEAD~1"));
    lab.stopped_at(tip, &newest, "E027");
}

#[test]
fn a_policy_that_is_broken_or_for_others() {
    let lab = Lab::new();
    for (change, code) in [
        ((|policy| policy.fleet = "other".into()) as fn(&mut super::lab::Policy), "E028"),
        (|policy| policy.reference = "refs/heads/staging".into(), "E028"),
        (|policy| policy.extra = "typo = 1".into(), "E026"),
        (|policy| policy.scopes[0].3 = 2, "E026"),
        (|policy| policy.extra = "minimum-agent = \"999.0\"".into(), "E029"),
    ] {
        let mut policy = lab.policy(2);
        change(&mut policy);
        lab.write("trust.toml", &policy.text());
        lab.refused(lab.commit("alice", "Change"), code);
    }
}

/// Attack 8: commits of another fleet's repository, by people whose keys are the same.
#[test]
fn an_unrelated_repository_with_the_same_keys() {
    let lab = Lab::new();
    let other = Lab::with("sha1", "another");
    // The same people: alice's key signs there, too.
    for name in ["alice", "alice.pub"] {
        std::fs::copy(lab.path().parent().unwrap().join(name), other.path().parent().unwrap().join(name))
            .unwrap();
    }
    other.write("trust.toml", &other.policy(2).text());
    let tip = other.commit("alice", "Sign with the shared key");
    lab.git(&["fetch", "-q", other.path().to_str().unwrap(), "main"]);
    lab.refused(tip, "E032");
}

/// Attack 8: another fleet, to a host that has seen nothing yet.
#[test]
fn an_unrelated_repository_at_first_contact() {
    let lab = Lab::new();
    let other = Lab::with("sha1", "another");
    let error = {
        let repository = abide::source::store::Repository::open(&other.path()).unwrap();
        let candidate = abide::source::Candidate::at(other.head());
        abide::trust::judge(&repository, &lab.root, None, &candidate, super::lab::NOW).unwrap_err()
    };
    assert_eq!(error.code().0, "E032", "{error}");
    // Even when its people enrol the host with their introduction, the fleet does not match.
    let mut lab = lab;
    lab.root.introduction = other.root.introduction.clone();
    lab.git(&["fetch", "-q", other.path().to_str().unwrap(), "main"]);
    assert_eq!(lab.judge(None, other.head()).unwrap_err().code().0, "E032");
}

/// Attack 5: a key signs before the policy lists it, even though it is listed by now.
#[test]
fn a_key_that_is_not_valid_yet() {
    let lab = Lab::new();
    lab.keygen("dave");
    lab.write("roles/web/role.toml", "too early");
    lab.commit("dave", "Too early");
    let mut policy = lab.policy(2);
    policy.principals.insert("dave".into(), vec![format!("{{ key = \"{}\" }}", lab.public("dave"))]);
    policy.scopes[1].2.push("dave".into());
    lab.write("trust.toml", &policy.text());
    lab.refused(lab.commit("alice", "Trust dave"), "E015");
    // In the right order it is fine.
    lab.write("trust.toml", &policy.text());
    lab.commit("alice", "Trust dave");
    lab.write("roles/web/role.toml", "in time");
    lab.accepted(lab.commit("dave", "In time"));
}

/// Attack 9: the branch for testing, properly signed by the same people, is served as the one that hosts follow.
#[test]
fn another_branch_of_the_same_repository() {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    policy.reference = "refs/heads/staging".into();
    lab.git(&["checkout", "-q", "-b", "staging"]);
    lab.write("trust.toml", &policy.text());
    lab.commit("alice", "A branch for testing");
    lab.write("fleet.toml", "# not tested yet\n");
    let tip = lab.commit("alice", "Try it");
    lab.git(&["checkout", "-q", "main"]);
    lab.refused(tip, "E028");
    // Nor does a host enrol there that was told to follow main.
    let mut lab = lab;
    lab.root.introduction.commit = tip.to_string();
    assert_eq!(lab.judge(None, tip).unwrap_err().code().0, "E028");
}

/// Attack 10: a tag that approves one commit is pointed at another.
#[test]
fn a_tag_that_is_pointed_elsewhere() {
    let lab = Lab::new();
    lab.write("roles/vault/role.toml", "harmless");
    let harmless = lab.commit("alice", "Change the vault");
    let tag = lab.tag("bob", "abide/approve/1", &harmless.to_string());
    assert!(lab.judge_with(harmless, &[tag]).pending.is_none());
    lab.reset(&lab.mark.commit);
    lab.write("roles/vault/role.toml", "evil");
    let evil = lab.commit("alice", "Change the vault");
    // The reference of that name leads to the other commit now, with the tag or without it.
    lab.git(&["update-ref", "refs/tags/abide/approve/1", &evil.to_string()]);
    let judgement = lab.judge_with(evil, &[tag]);
    assert!(judgement.pending.is_some() && judgement.high_water == lab.mark);
    let forged = String::from_utf8(lab.git(&["cat-file", "tag", &tag.to_string()]).into_bytes()).unwrap();
    let forged = format!("{}\n", forged.replace(&harmless.to_string(), &evil.to_string()));
    let forged = lab.object("tag", forged.as_bytes());
    let judgement = lab.judge_with(evil, &[forged]);
    assert!(judgement.pending.is_some() && judgement.high_water == lab.mark);
    let rejection = judgement.approvals[0].rejection.clone().unwrap();
    assert_eq!(rejection.code().0, "E017");
}

#[test]
fn an_unrelated_history_merged_in() {
    let lab = Lab::new();
    lab.git(&["checkout", "-q", "--orphan", "unrelated"]);
    lab.git(&["rm", "-qrf", "."]);
    lab.write("roles/web/role.toml", "x");
    lab.commit("alice", "Another beginning");
    lab.git(&["checkout", "-q", "main"]);
    lab.git(&["config", "merge.allowUnrelated", "1"]);
    let tree = lab.id("HEAD^{tree}");
    let payload = String::from_utf8(lab.unsigned_payload(tree)).unwrap();
    let head = format!("parent {}\n", lab.head());
    let payload = payload.replace(&head, &format!("{head}parent {}\n", lab.id("unrelated")));
    let armoured = lab.sign("alice", "git", payload.as_bytes());
    lab.refused(lab.assemble(payload.as_bytes(), &armoured), "E035");
}

#[test]
fn a_wrong_introduction() {
    let mut lab = Lab::new();
    let right = lab.root.clone();
    lab.root.introduction.key = abide::trust::IntroductionKey::parse(&lab.public("mallory")).unwrap();
    assert_eq!(lab.judge(None, lab.head()).unwrap_err().code().0, "E034");
    lab.root = right;
    lab.root.introduction.commit = "1".repeat(40);
    assert_eq!(lab.judge(None, lab.head()).unwrap_err().code().0, "E033");
    // A mark that does not descend from the introduction is no mark.
    let error = lab.judge(Some(&lab.mark), lab.commit("alice", "x")).unwrap_err();
    assert!(matches!(error, TrustError::MarkUnrelated { .. }), "{error}");
}

/// Attack 2: an unsigned commit under a good tip.
#[test]
fn a_bad_commit_under_a_good_tip() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "good");
    let good = lab.commit("bob", "Good");
    let newest = lab.mark_of(good);
    lab.write("roles/web/role.toml", "evil");
    lab.unsigned("Bad");
    lab.write("roles/web/role.toml", "fine");
    let tip = lab.commit("alice", "Good again");
    lab.stopped_at(tip, &newest, "E010");
    lab.reset(&lab.mark.commit);
    lab.unsigned("Bad");
    lab.refused(lab.commit("alice", "Good"), "E010");
}

#[test]
fn a_bad_tip_on_a_good_commit() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "good");
    let good = lab.commit("bob", "Good");
    let newest = lab.mark_of(good);
    lab.write("roles/web/role.toml", "evil");
    lab.stopped_at(lab.commit("mallory", "Bad"), &newest, "E015");
    // A tip that Git itself could not make takes nothing away either.
    lab.reset(&good.to_string());
    let mut raw = String::from_utf8(lab.raw(lab.commit("bob", "Next"))).unwrap();
    raw = raw.replacen("tree", &format!("tree {}\ntree", lab.id("HEAD^{tree}")), 1);
    lab.stopped_at(lab.object("commit", raw.as_bytes()), &newest, "E011");
    let judgement = lab.judge(Some(&lab.mark), lab.object("commit", raw.as_bytes())).unwrap();
    let verdicts: Vec<Verdict> = judgement.commits.iter().map(|commit| commit.verdict).collect();
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Accepted, Verdict::Refused]);
}

#[test]
fn a_tip_that_is_not_there() {
    let lab = Lab::new();
    let missing = ObjectId::from_hex("2".repeat(40).as_bytes()).unwrap();
    lab.refused(missing, "E037");
    // Nor is one whose tree is missing.
    let payload = lab.unsigned_payload(missing);
    let armoured = lab.sign("alice", "git", &payload);
    lab.refused(lab.assemble(&payload, &armoured), "E037");
}

/// Attack 17: a merge adds what neither of its parents has.
#[test]
fn content_smuggled_into_a_merge() {
    let lab = Lab::new();
    let before = lab.head().to_string();
    // The side branch is bob's own scope, but the merge adds what he may not change.
    lab.git(&["checkout", "-q", "-b", "side"]);
    lab.write("roles/web/role.toml", "side");
    lab.commit("bob", "Side");
    lab.git(&["checkout", "-q", "main"]);
    lab.merge("side", "bob");
    lab.write("fleet.toml", "evil");
    lab.git(&["add", "-A"]);
    let tip = lab.commit_index(&["--amend"], "bob", "Merge");
    assert_eq!(lab.git(&["rev-parse", "HEAD^1"]), before);
    lab.refused(tip, "E020");
}

/// Attack 17: a merge by somebody trusted brings in what nobody trusted made.
#[test]
fn a_side_branch_that_does_not_pass_by_itself() {
    for (signer, path, code) in [
        (Some("mallory"), "roles/web/role.toml", "E015"),
        (None, "roles/web/role.toml", "E010"),
        (Some("bob"), "fleet.toml", "E020"),
    ] {
        let lab = Lab::new();
        lab.git(&["checkout", "-q", "-b", "side"]);
        lab.write(path, "side");
        let side = match signer {
            Some(signer) => lab.commit(signer, "Side"),
            None => lab.unsigned("Side"),
        };
        lab.write("roles/web/more.toml", "side");
        lab.commit("alice", "On top of it");
        lab.git(&["checkout", "-q", "main"]);
        let tip = lab.merge("side", "alice");
        let rejection = lab.judge(Some(&lab.mark), tip).unwrap().rejection.unwrap();
        assert_eq!((rejection.commit, rejection.merge), (side.to_string(), Some(tip.to_string())));
        lab.refused(tip, code);
    }
}

/// Attack 17: one of several side branches does not pass.
#[test]
fn an_octopus_with_one_bad_arm() {
    let lab = Lab::new();
    for (branch, signer) in [("one", "alice"), ("two", "mallory")] {
        lab.git(&["checkout", "-q", "-b", branch, "main"]);
        lab.write(&format!("roles/web/{branch}.toml"), "x");
        lab.commit(signer, branch);
    }
    lab.git(&["checkout", "-q", "main"]);
    lab.git(&["merge", "-q", "--no-ff", "--no-gpg-sign", "-m", "Octopus", "one", "two"]);
    lab.refused(lab.commit_index(&["--amend"], "alice", "Octopus"), "E015");
}

/// Attack 18: headers that programs read differently, and a NUL.
#[test]
fn headers_that_git_would_not_write() {
    let lab = Lab::new();
    let payload = String::from_utf8(lab.unsigned_payload(lab.id("HEAD^{tree}"))).unwrap();
    let tree = payload.lines().next().unwrap().to_owned();
    let author = payload.lines().nth(2).unwrap().to_owned();
    for forged in [
        payload.replacen(&tree, &format!("{tree}\n{tree}"), 1),
        payload.replacen(&author, &format!("{author}\n{author}"), 1),
        payload.replacen("\n\n", "\nmergetag object x\n\n", 1),
        payload.replacen("\n\n", "\nHG:extra x\n\n", 1),
        payload.replacen("By hand", "By\0hand", 1),
        payload.replacen("1780000000 +0000", "1780000000", 1),
    ] {
        let armoured = lab.sign("alice", "git", forged.as_bytes());
        lab.refused(lab.assemble(forged.as_bytes(), &armoured), "E011");
    }
}

/// Attack 4: a key that has expired signs with a date from before that.
#[test]
fn an_expired_key_that_backdates() {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    // NOW is in June 2026; the lab's commits are dated 2023.
    policy
        .principals
        .insert("bob".into(), vec![format!("{{ key = \"{}\", not-after = 2026-01-01 }}", lab.public("bob"))]);
    lab.write("trust.toml", &policy.text());
    let newest = lab.mark_of(lab.commit("alice", "Let bob's key expire"));
    lab.write("roles/web/role.toml", "late");
    lab.stopped_at(lab.commit("bob", "Backdated"), &newest, "E016");
}

/// Attack 25: names that mean something else.
/// Attack 26: symlinks that leave the tree.
/// Attack 27: a submodule.
#[test]
fn entries_that_reach_out_of_the_tree() {
    let lab = Lab::new();
    let blob = lab.object("blob", b"x").to_string();
    let nested = |name: &[u8], mode: &str, id: &str| {
        let raw = |name: &[u8], mode: &str, id: &str| {
            let id = ObjectId::from_hex(id.as_bytes()).unwrap();
            [mode.as_bytes(), b" ", name, b"\0", id.as_slice()].concat()
        };
        let inner = lab.object("tree", &raw(name, mode, id)).to_string();
        let web = lab.object("tree", &raw(b"web", "40000", &inner)).to_string();
        let listing = lab.git(&["ls-tree", "HEAD"]);
        let others = listing.lines().filter(|line| !line.ends_with("\troles"));
        let mut entries: Vec<String> = others.map(str::to_owned).collect();
        entries.push(format!("040000 tree {web}\troles"));
        ObjectId::from_hex(
            lab.git_with(&["mktree"], format!("{}\n", entries.join("\n")).as_bytes()).as_bytes(),
        )
        .unwrap()
    };
    let outside = lab.object("blob", b"../../../etc/shadow").to_string();
    let absolute = lab.object("blob", b"/etc/shadow").to_string();
    for (name, mode, id, code) in [
        (b"..".as_slice(), "100644", blob.as_str(), "E024"),
        (b".", "100644", &blob, "E024"),
        (b".git", "100644", &blob, "E024"),
        (b".GiT", "40000", &lab.id("HEAD^{tree}").to_string(), "E024"),
        (b"a/b", "100644", &blob, "E024"),
        (b"a\nb", "100644", &blob, "E024"),
        (b"\xff", "100644", &blob, "E024"),
        (b"module", "160000", &lab.mark.commit, "E022"),
        (b"link", "120000", &outside, "E023"),
        (b"link", "120000", &absolute, "E023"),
    ] {
        let tip = {
            // The surgery removes roles/base, which is alice's as well.
            let tree = nested(name, mode, id);
            lab.handmade(tree, "alice")
        };
        lab.refused(tip, code);
    }
}

#[test]
fn a_name_that_stands_twice_in_its_folder() {
    let lab = Lab::new();
    let (one, two) = (lab.object("blob", b"shown"), lab.object("blob", b"used"));
    let entry = |id: ObjectId| [b"100644 role.toml\0", id.as_slice()].concat();
    let web = lab.object("tree", &[entry(one), entry(two)].concat());
    let roles = lab.object("tree", &[b"40000 web\0", web.as_slice()].concat());
    let mut top = Vec::new();
    for (mode, name, id) in [
        ("100644", "fleet.toml", lab.id("HEAD:fleet.toml")),
        ("40000", "roles", roles),
        ("100644", "trust.toml", lab.id("HEAD:trust.toml")),
    ] {
        top.extend([mode.as_bytes(), b" ", name.as_bytes(), b"\0", id.as_slice()].concat());
    }
    let tree = lab.object("tree", &top);
    lab.refused(lab.handmade(tree, "alice"), "E024");
}

/// A policy with a security key of alice's, and a commit signed with it, with these flags.
fn touched(lab: &Lab, flags: u8) -> ObjectId {
    let secret = SigningKey::from_bytes(&[7; 32]);
    let mut blob = Vec::new();
    for field in [b"sk-ssh-ed25519@openssh.com".as_slice(), secret.verifying_key().as_bytes(), b"ssh:"] {
        blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend_from_slice(field);
    }
    let key = abide::trust::key::PublicKey::from_blob(&blob).unwrap();
    let mut policy = lab.policy(2);
    policy.principals.get_mut("alice").unwrap().push(format!("{{ key = \"{key}\" }}"));
    lab.write("trust.toml", &policy.text());
    lab.commit("alice", "Add a security key");
    let payload = lab.unsigned_payload(lab.id("HEAD^{tree}"));
    let data = touched_data("ssh:", flags, 42, &signed_data(GIT, Hash::Sha512, &payload));
    let envelope = Envelope::new(key, GIT, Hash::Sha512, secret.sign(&data).to_bytes(), Some((flags, 42)));
    lab.object("commit", &assembled(&payload, &envelope.armoured()))
}

/// Attack 21: a security key that signed without being touched.
#[test]
fn a_security_key_without_touch() {
    let lab = Lab::new();
    let tip = touched(&lab, 0);
    let newest = lab.mark_of(lab.head());
    lab.stopped_at(tip, &newest, "E018");
    let lab = Lab::new();
    lab.accepted(touched(&lab, 1));
}

#[test]
fn a_shared_scope_signed_by_one() {
    let lab = Lab::new();
    lab.write("roles/vault/role.toml", "secret");
    let tip = lab.commit("alice", "Change the vault");
    let judgement = lab.judge(Some(&lab.mark), tip).unwrap();
    assert_eq!(judgement.high_water, lab.mark);
    let pending = judgement.pending.unwrap();
    assert_eq!((pending.code().0, pending.needs.len()), ("E040", 1));
    assert_eq!(
        (pending.needs[0].threshold, pending.needs[0].have.as_slice()),
        (2, ["alice".to_owned()].as_slice())
    );
    // Alice cannot be two people, and an approval of something else is none.
    let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
    lab.commit_index(&[], "alice", &trailer);
    let other = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD~2^{tree}"));
    let tip = lab.commit_index(&[], "bob", &other);
    let judgement = lab.judge(Some(&lab.mark), tip).unwrap();
    assert!(judgement.pending.is_some() && judgement.high_water == lab.mark);
    // What comes after it waits with it, and changed content starts over.
    lab.commit_index(&[], "bob", &trailer);
    lab.accepted(lab.head());
    lab.reset("HEAD~1");
    lab.write("roles/vault/role.toml", "changed after bob looked");
    let tip = lab.commit("alice", "Change it again");
    assert!(lab.judge(Some(&lab.mark), tip).unwrap().pending.is_some());
}

/// Attack 40: a new source of packages, which has a scope and a quorum of its own, is brought in by one of them.
#[test]
fn a_package_source_added_by_one() {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    let sources =
        ("sources".into(), vec!["roles/*/sources/**".into()], vec!["alice".into(), "carol".into()], 2);
    policy.scopes.insert(0, sources);
    lab.write("trust.toml", &policy.text());
    let newest = lab.mark_of(lab.commit("alice", "Sources take two"));
    lab.write("roles/web/sources/evil.sources", "Types: deb\nURIs: https://example.org\nTrusted: yes\n");
    // Whoever may change the role around it may not touch its sources.
    lab.stopped_at(lab.commit("bob", "Add a source"), &newest, "E020");
    lab.reset(&newest.commit);
    lab.write(
        "roles/web/sources/new.sources",
        "Types: deb\nURIs: https://example.org\nSigned-By: /etc/x.asc\n",
    );
    let tip = lab.commit("alice", "Add a source");
    let judgement = lab.judge(Some(&newest), tip).unwrap();
    assert_eq!((judgement.high_water, judgement.pending.unwrap().code().0), (newest.clone(), "E040"));
    let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
    let tip = lab.commit_index(&[], "carol", &trailer);
    assert_eq!(lab.judge(Some(&newest), tip).unwrap().high_water.commit, tip.to_string());
}

/// Attack 23: one of two root signers lowers the threshold to one.
#[test]
fn a_threshold_lowered_by_one() {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    policy.scopes[0].2.push("bob".into());
    policy.scopes[0].3 = 2;
    lab.write("trust.toml", &policy.text());
    // To raise the threshold to two takes two: it must be met under the new policy as well.
    let tip = lab.commit("alice", "Two roots");
    let pending = lab.judge(Some(&lab.mark), tip).unwrap().pending.unwrap();
    assert!(pending.needs[0].new_policy);
    let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
    // Bob is no root signer yet, but would be: he counts for the new policy only.
    let newest = lab.mark_of(lab.commit_index(&[], "bob", &trailer));
    policy.version = 3;
    policy.scopes[0].3 = 1;
    lab.write("trust.toml", &policy.text());
    let tip = lab.commit("alice", "One root is enough");
    let judgement = lab.judge(Some(&newest), tip).unwrap();
    assert!(judgement.pending.is_some_and(|pending| !pending.needs[0].new_policy));
    assert_eq!(judgement.high_water, newest);
}

/// Attack 44: names and messages that would drive a terminal.
#[test]
fn text_of_others_cannot_drive_a_terminal() {
    let lab = Lab::new();
    lab.write("roles/web/\u{1b}[31mred", "x");
    let tip = lab.commit("bob", "\u{1b}[2J");
    // The store refuses control characters in names; the message stays harmless.
    lab.stopped_at(tip, &lab.mark, "E024");
    let judgement = lab.judge(Some(&lab.mark), tip).unwrap();
    let shown =
        format!("{}{}", serde_json::to_string(&judgement.commits).unwrap(), judgement.rejection.unwrap());
    assert!(!shown.contains('\u{1b}') && !shown.contains("\\u001b"), "{shown}");
}
