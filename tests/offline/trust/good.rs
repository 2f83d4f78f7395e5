//! What people do every day passes, and Git and OpenSSH agree about it.

use abide::trust::commit::Commit;
use abide::trust::sshsig::{Envelope, GIT};
use abide::trust::{HighWater, Rule};

use super::lab::Lab;

#[test]
fn a_linear_history_in_both_hashes() {
    for format in ["sha1", "sha256"] {
        let lab = Lab::with(format, "5a1c");
        lab.write("roles/web/role.toml", "one");
        lab.commit("bob", "One");
        lab.write("roles/web/role.toml", "two");
        let tip = lab.commit("alice", "Two\n\nwith a body");
        let judgement = lab.accepted(tip);
        let revision = judgement.verified.unwrap();
        let revision = revision.revision();
        assert_eq!((revision.signer.as_str(), revision.summary.as_str()), ("alice", "Two"));
        assert_eq!(revision.to_string(), format!("main@{format}:{}", &tip.to_string()[..8]));
        assert_eq!(judgement.commits.len(), 3);
        // From nothing, the same; and nothing new is nothing wrong.
        assert_eq!(lab.judge(None, tip).unwrap().high_water, judgement.high_water);
        let again = lab.judge(Some(&judgement.high_water), tip).unwrap();
        assert_eq!((again.high_water, again.rejection), (judgement.high_water, None));
        assert_eq!(again.commits[0].rule, Rule::HighWater);
    }
}

#[test]
fn merges_of_side_branches() {
    let lab = Lab::new();
    for (branch, signer) in [("one", "bob"), ("two", "alice")] {
        lab.git(&["checkout", "-q", "-b", branch, "main"]);
        lab.write(&format!("roles/web/{branch}.toml"), "x");
        lab.commit(signer, branch);
    }
    lab.git(&["checkout", "-q", "main"]);
    lab.merge("one", "bob");
    let tip = lab.merge("two", "alice");
    let judgement = lab.accepted(tip);
    let rules: Vec<(Rule, bool)> =
        judgement.commits.iter().map(|commit| (commit.rule, commit.merge.is_some())).collect();
    assert_eq!(
        rules,
        [
            (Rule::HighWater, false),
            (Rule::Authority, true),
            (Rule::Merge, false),
            (Rule::Authority, true),
            (Rule::Merge, false)
        ]
    );
    // A branch that was begun before the mark is merged after it.
    lab.git(&["checkout", "-q", "-b", "late", &lab.mark.commit]);
    lab.write("roles/web/late.toml", "x");
    lab.commit("bob", "Late");
    lab.git(&["checkout", "-q", "main"]);
    let tip = lab.merge("late", "alice");
    assert!(lab.judge(Some(&judgement.high_water), tip).unwrap().rejection.is_none());
}

/// Attack 6: a key that was taken off the policy; there is no list of revoked keys that could be missing.
#[test]
fn keys_are_rotated_while_a_host_sleeps() {
    let lab = Lab::new();
    lab.keygen("alice2");
    let mut policy = lab.policy(2);
    policy.principals.get_mut("alice").unwrap().push(format!("{{ key = \"{}\" }}", lab.public("alice2")));
    lab.write("trust.toml", &policy.text());
    lab.commit("alice", "Add the new key");
    policy.version = 3;
    policy.principals.get_mut("alice").unwrap().remove(0);
    lab.write("trust.toml", &policy.text());
    lab.commit("alice2", "Remove the old key");
    lab.write("fleet.toml", "by the new key");
    lab.accepted(lab.commit("alice2", "Go on"));
    let newest = lab.mark_of(lab.head());
    lab.write("fleet.toml", "by the old key");
    lab.stopped_at(lab.commit("alice", "Too late"), &newest, "E015");
}

#[test]
fn an_introduction_by_fingerprint_and_a_newer_one() {
    let mut lab = Lab::new();
    let key = abide::trust::key::PublicKey::parse(&lab.public("alice")).unwrap();
    lab.root.introduction.key = abide::trust::IntroductionKey::parse(&key.fingerprint()).unwrap();
    assert!(lab.judge(None, lab.head()).unwrap().rejection.is_none());
    // Enrolled again above the mark: the introduction takes over.
    lab.write("fleet.toml", "more");
    let newer = lab.commit("alice", "More");
    lab.root.introduction.commit = newer.to_string();
    let judgement = lab.judge(Some(&lab.mark), newer).unwrap();
    assert_eq!(
        (judgement.high_water.commit, judgement.commits[0].rule),
        (newer.to_string(), Rule::Introduction)
    );
}

#[test]
fn a_mark_that_the_store_lost_is_an_error() {
    let lab = Lab::new();
    let changed = HighWater { payload: "0".repeat(64), ..lab.mark.clone() };
    let error = lab.judge(Some(&changed), lab.head()).unwrap_err();
    assert_eq!(abide::error::Explain::code(&error).0, "E003");
}

#[test]
fn symlinks_within_the_tree_are_fine() {
    let lab = Lab::new();
    lab.write("roles/web/a", "x");
    std::os::unix::fs::symlink("a", lab.path().join("roles/web/b")).unwrap();
    lab.accepted(lab.commit("bob", "Link"));
}

#[test]
fn git_and_openssh_agree() {
    let lab = Lab::new();
    let allowed = lab.path().with_file_name("allowed");
    std::fs::write(&allowed, format!("alice {}\n", lab.public("alice"))).unwrap();
    let setting = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
    for message in ["plain", "ünïcode", "with\n\nbody\n\nSigned-off-by: x", "trailing spaces   "] {
        let id = lab.commit_index(&["--cleanup=verbatim"], "alice", message);
        lab.git(&["-c", &setting, "-c", "gpg.format=ssh", "verify-commit", &id.to_string()]);
        let raw = lab.raw(id);
        let commit = Commit::parse(&raw, id.kind()).unwrap();
        assert_eq!(commit.to_bytes(id.kind()), raw);
        assert_eq!(commit.payload, lab.payload(id));
        let armoured = commit.signature.unwrap().armoured;
        let envelope = Envelope::parse(&armoured, GIT).unwrap();
        envelope.verify(&commit.payload).unwrap();
        // The other way round: what this code writes, OpenSSH reads.
        assert_eq!(envelope.armoured().into_bytes(), armoured);
    }
    // Names and character sets as Git takes them.
    lab.git(&["config", "i18n.commitEncoding", "ISO-8859-1"]);
    lab.accepted(lab.commit_index(&["--author=J\u{f6}rg D. O'X <>"], "alice", "latin"));
}

#[test]
fn a_thousand_commits() {
    let lab = Lab::new();
    // The commits are made by hand: a thousand calls of git and ssh-keygen would take longer than everything else here.
    let secret = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let blob = abide::trust::key::ed25519_blob(&secret.verifying_key().to_bytes());
    let key = abide::trust::key::PublicKey::from_blob(&blob).unwrap();
    let mut policy = lab.policy(2);
    policy.principals.get_mut("alice").unwrap().push(format!("{{ key = \"{key}\" }}"));
    lab.write("trust.toml", &policy.text());
    let mut parent = lab.commit("alice", "Add a key");
    let mut import = String::new();
    for number in 0..1000 {
        import.push_str(&format!("blob\nmark :{}\ndata {}\n# {number:04}\n\n", number + 1, 7));
    }
    let marks = lab.path().join("marks");
    lab.git_with(
        &["fast-import", "--quiet", &format!("--export-marks={}", marks.display())],
        import.as_bytes(),
    );
    let blobs = std::fs::read_to_string(&marks).unwrap();
    let top = ["fleet.toml", "trust.toml", "roles/base"]
        .map(|name| lab.git(&["rev-parse", &format!("HEAD:{name}")]));
    let mut trees = String::new();
    for line in blobs.lines() {
        trees.push_str(&format!("100644 blob {}\trole.toml\n\n", line.split(' ').nth(1).unwrap()));
    }
    let webs = lab.git_with(&["mktree", "--batch"], trees.as_bytes());
    let roles: String =
        webs.lines().map(|web| format!("040000 tree {}\tbase\n040000 tree {web}\tweb\n\n", top[2])).collect();
    let roles = lab.git_with(&["mktree", "--batch"], roles.as_bytes());
    let tops: String = roles
        .lines()
        .map(|roles| {
            format!(
                "100644 blob {}\tfleet.toml\n040000 tree {roles}\troles\n100644 blob {}\ttrust.toml\n\n",
                top[0], top[1]
            )
        })
        .collect();
    let tops = lab.git_with(&["mktree", "--batch"], tops.as_bytes());
    assert_eq!(tops.lines().count(), 1000);
    let objects = lab.path().join(".git/objects");
    for tree in tops.lines() {
        use ed25519_dalek::Signer;
        let who = "A <a@example.org> 1780000000 +0000";
        let payload = format!("tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nStep\n");
        let data =
            abide::trust::sshsig::signed_data(GIT, abide::trust::sshsig::Hash::Sha512, payload.as_bytes());
        let signature = secret.sign(&data).to_bytes();
        let envelope = Envelope::new(key.clone(), GIT, abide::trust::sshsig::Hash::Sha512, signature, None);
        let raw = super::lab::assembled(payload.as_bytes(), &envelope.armoured());
        parent = super::lab::loose(&objects, &raw);
    }
    let begun = std::time::Instant::now();
    let judgement = lab.accepted(parent);
    println!("1,000 commits judged in {:?}", begun.elapsed());
    assert_eq!(judgement.commits.len(), 1002);
}
