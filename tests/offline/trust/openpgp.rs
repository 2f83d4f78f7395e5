//! Commits that GnuPG signed, for principals whose policy lists an OpenPGP key, and everything like it that must not count.

use abide::error::Explain;
use abide::trust::openpgp::{ExportError, Fingerprint, KeyError, OpenPgpKey, Signature, exported};
use abide::trust::policy::Policy;
use abide::trust::{HighWater, IntroductionKey};
use gix::ObjectId;

use super::gnupg::GnuPg;
use super::lab::Lab;

/// Lets bob sign with this key from now on; the mark after that.
fn listed(lab: &Lab, key: &OpenPgpKey, end: &str) -> HighWater {
    let mut policy = lab.policy(2);
    policy.openpgp.insert(
        "bob".into(),
        vec![format!("{{ key = \"{key}\", fingerprint = \"{}\"{end} }}", key.fingerprint())],
    );
    lab.write("trust.toml", &policy.text());
    lab.mark_of(lab.commit("alice", "Let bob sign with GnuPG"))
}

/// A commit by hand with this signature over its payload.
fn assembled(lab: &Lab, sign: impl Fn(&[u8]) -> String) -> ObjectId {
    let payload = lab.unsigned_payload(lab.id("HEAD^{tree}"));
    lab.assemble(&payload, &sign(&payload))
}

#[test]
fn commits_by_gnupg_are_accepted() {
    let gnupg = GnuPg::new();
    for (format, algorithm) in [("sha1", "ed25519"), ("sha256", "rsa3072"), ("sha1", "rsa4096")] {
        let lab = Lab::with(format, "5a1c");
        let address = format!("{algorithm}@example.org");
        let key = gnupg.key(&address, algorithm, "sign,cert", "never");
        listed(&lab, &gnupg.public(key), "");
        lab.write("roles/web/role.toml", "by gpg");
        // Named by its fingerprint, and by its address: then GnuPG says the address in the signature, too.
        gnupg.commit(&lab, &key.to_string(), "One");
        let tip = gnupg.commit(&lab, &address, "Two");
        assert!(gnupg.git_verifies(&lab, tip));
        let revision = lab.accepted(tip).verified.unwrap();
        assert_eq!(revision.revision().signer, "bob");
        assert_eq!(revision.revision().key, format!("OpenPGP:{key}"));
        // `Lab::assemble` knows the older repositories only.
        for hash in ["SHA256", "SHA384", "SHA512"].iter().filter(|_| format == "sha1") {
            lab.accepted(assembled(&lab, |payload| gnupg.sign(key, &["--digest-algo", hash], payload)));
        }
        // Scopes hold as for any other signer.
        let newest = lab.mark_of(tip);
        lab.write("fleet.toml", "not his");
        lab.stopped_at(gnupg.commit(&lab, &key.to_string(), "Too far"), &newest, "E020");
    }
}

#[test]
fn without_a_listed_key_it_is_not_even_read() {
    let (lab, gnupg) = (Lab::new(), GnuPg::new());
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    lab.refused(gnupg.commit(&lab, &key.to_string(), "Signed by GnuPG"), "E014");
    lab.refused(
        assembled(&lab, |_| "-----BEGIN PGP SIGNATURE-----\n\nrubbish\n-----END PGP SIGNATURE-----\n".into()),
        "E014",
    );
    // With one, it is read, and its key is a stranger's.
    let other = gnupg.key("b@example.org", "ed25519", "sign,cert", "never");
    let newest = listed(&lab, &gnupg.public(other), "");
    let tip = gnupg.commit(&lab, &key.to_string(), "Signed by GnuPG");
    let rejection = lab.judge(Some(&newest), tip).unwrap().rejection.unwrap();
    assert_eq!(rejection.key, Some(format!("OpenPGP:{key}")));
    lab.stopped_at(tip, &newest, "E015");
    lab.reset(&newest.commit);
    let rubbish =
        assembled(&lab, |_| "-----BEGIN PGP SIGNATURE-----\n\nrubbish\n-----END PGP SIGNATURE-----\n".into());
    lab.stopped_at(rubbish, &newest, "E012");
    // Nor does it count once the key is off the list again.
    let mut policy = lab.policy(3);
    policy.openpgp.clear();
    lab.write("trust.toml", &policy.text());
    let newest = lab.mark_of(lab.commit("alice", "No more GnuPG"));
    lab.stopped_at(gnupg.commit(&lab, &other.to_string(), "Too late"), &newest, "E014");
}

#[test]
fn a_subkey_signs_for_itself() {
    let (lab, gnupg) = (Lab::new(), GnuPg::new());
    let primary = gnupg.key("a@example.org", "ed25519", "cert", "never");
    gnupg.run(&["--quick-add-key", &primary.to_string(), "rsa3072", "sign", "never"], b"");
    gnupg.run(&["--quick-add-key", &primary.to_string(), "cv25519", "encr", "never"], b"");
    let subkey = gnupg.fingerprints("a@example.org")[1];
    let export = gnupg.export(primary);
    assert!(
        matches!(exported(&export, None), Err(ExportError::Several(text)) if text.contains(&subkey.to_string()))
    );
    // The primary key does not answer for its subkeys: nothing of the certificate counts.
    let newest = listed(&lab, &gnupg.public(primary), "");
    lab.stopped_at(gnupg.commit(&lab, &subkey.to_string(), "By the subkey"), &newest, "E015");
    let lab = Lab::new();
    listed(&lab, &exported(&export, Some(subkey)).unwrap(), "");
    lab.accepted(gnupg.commit(&lab, "a@example.org", "By the subkey, which GnuPG chooses"));
}

/// Attack 4: a key that has expired signs with a date from before that.
/// Attack 6: a key is revoked; the policy says so, and no list that could be missing.
#[test]
fn the_policy_decides_over_expiry_and_revocation() {
    let gnupg = GnuPg::new();
    gnupg.options("--faked-system-time 20200101T000000!");
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "1y");
    let lab = Lab::new();
    let newest = listed(&lab, &gnupg.public(key), ", not-after = 2021-01-01");
    let tip = gnupg.commit(&lab, &key.to_string(), "Backdated");
    gnupg.options("");
    lab.stopped_at(tip, &newest, "E016");
    // The certificate's own end means nothing: the policy says until when a key counts, and here it says nothing.
    let lab = Lab::new();
    listed(&lab, &gnupg.public(key), "");
    gnupg.options("--faked-system-time 20200101T000000!");
    let tip = gnupg.commit(&lab, &key.to_string(), "By a key that has expired since");
    gnupg.options("");
    lab.accepted(tip);
    // Neither does a revocation in it; taking the key off the policy does.
    let path = gnupg.program().with_file_name("openpgp-revocs.d").join(format!("{key}.rev"));
    let certificate = std::fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
    gnupg.run(&["--import"], certificate.as_bytes());
    assert!(!gnupg.git_verifies(&lab, tip), "Git takes a revoked key for good");
    lab.accepted(tip);
    assert_eq!(gnupg.public(key).fingerprint(), key);
}

#[test]
fn keys_that_no_policy_can_list() {
    let gnupg = GnuPg::new();
    for (algorithm, reason) in [
        ("rsa2048", "an RSA key of 2048 bits"),
        ("dsa2048", "keys of type DSA"),
        ("nistp256", "keys of type ECDSA"),
    ] {
        let key = gnupg.key(&format!("{algorithm}@example.org"), algorithm, "sign,cert", "never");
        let error = exported(&gnupg.export(key), Some(key)).unwrap_err().to_string();
        assert!(error.contains(reason), "{algorithm}: {error}");
        // Nor does its signature count beside another key's.
        let lab = Lab::new();
        let other = gnupg.key(&format!("{algorithm}-other@example.org"), "ed25519", "sign,cert", "never");
        let newest = listed(&lab, &gnupg.public(other), "");
        let code = if algorithm == "rsa2048" { "E015" } else { "E014" };
        lab.stopped_at(gnupg.commit(&lab, &key.to_string(), "By a weak key"), &newest, code);
    }
}

#[test]
fn signatures_that_a_listed_key_made_otherwise() {
    let (lab, gnupg) = (Lab::new(), GnuPg::new());
    let key = gnupg.key("a@example.org", "rsa3072", "sign,cert", "never");
    let newest = listed(&lab, &gnupg.public(key), "");
    for (options, code) in [
        (&["--digest-algo", "SHA1"][..], "E014"),
        (&["--digest-algo", "SHA224"], "E014"),
        (&["--sig-notation", "note@example.org=x"], "E012"),
        (&["--default-sig-expire", "1y"], "E012"),
        (&["--sig-policy-url", "https://example.org"], "E012"),
        (&["--comment", "x"], "E012"),
        (&["--emit-version"], "E012"),
        (&["--textmode"], "E012"),
    ] {
        println!("{options:?}");
        let tip = assembled(&lab, |payload| gnupg.sign(key, options, payload));
        lab.stopped_at(tip, &newest, code);
    }
    let other = gnupg.key("b@example.org", "rsa3072", "sign,cert", "never");
    let two = assembled(&lab, |payload| gnupg.sign(key, &["-u", &other.to_string()], payload));
    lab.stopped_at(two, &newest, "E012");
    // Over other content.
    lab.stopped_at(assembled(&lab, |_| gnupg.sign(key, &[], b"other")), &newest, "E017");
}

/// Attack 13: twins, other commits that carry the signature of a signed one.
#[test]
fn nobody_makes_a_second_form_of_a_signature() {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let (lab, gnupg) = (Lab::new(), GnuPg::new());
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    let newest = listed(&lab, &gnupg.public(key), "");
    let payload = lab.unsigned_payload(lab.id("HEAD^{tree}"));
    let good = gnupg.sign(key, &[], &payload);
    assert_eq!(Signature::parse(good.as_bytes()).unwrap().armoured(), good);
    let body: String = good.lines().filter(|line| !line.starts_with(['-', '='])).collect();
    let packet = engine.decode(&body).unwrap();
    // Written by GnuPG again from changed bytes, so that armour and checksum are in order.
    let armoured = |packet: &[u8]| {
        let text = gnupg.run(&["--enarmor"], packet);
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("Comment:"));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        text.replace("PGP ARMORED FILE", "PGP SIGNATURE")
    };
    assert_eq!(armoured(&packet), good);
    let unhashed = 2 + 6 + 29;
    let stripped =
        [&[packet[0], packet[1] - 10], &packet[2..unhashed], &[0, 0], &packet[unhashed + 12..]].concat();
    let notation = [4, 20, b'e', b'v', b'l'];
    let more = [
        &[packet[0], packet[1] + 5],
        &packet[2..unhashed],
        &[0, 15],
        &packet[unhashed + 2..unhashed + 12],
        &notation[..],
        &packet[unhashed + 12..],
    ]
    .concat();
    let mut other_id = packet.clone();
    other_id[unhashed + 5] ^= 1;
    let mut prefix = packet.clone();
    prefix[unhashed + 12] ^= 1;
    let first = format!("{}\n", good.lines().nth(2).unwrap());
    let newer = [&[0xc2, packet[1]], &packet[2..]].concat();
    let longer = [&[packet[0] | 1, 0, packet[1]], &packet[2..]].concat();
    for (name, form, code) in [
        ("without the key's name", armoured(&stripped), "E012"),
        ("with more beside it", armoured(&more), "E012"),
        ("another key's name", armoured(&other_id), "E012"),
        ("another beginning of the digest", armoured(&prefix), "E017"),
        ("the newer header", armoured(&newer), "E012"),
        ("a longer length", armoured(&longer), "E012"),
        ("twice", armoured(&packet.repeat(2)), "E012"),
        ("a comment", good.replacen("\n\n", "\nComment: x\n\n", 1), "E012"),
        (
            "no checksum",
            good.lines().filter(|line| !line.starts_with('=')).map(|line| format!("{line}\n")).collect(),
            "E012",
        ),
        ("text after it", format!("{good}x\n"), "E012"),
        ("one long line", good.replace(&first, first.trim_end()), "E012"),
    ] {
        println!("{name}: GnuPG says {}", gnupg.verifies(&form, &payload));
        assert_ne!(form, good);
        lab.stopped_at(lab.assemble(&payload, &form), &newest, code);
        lab.accepted(lab.assemble(&payload, &good));
    }
}

/// Attack 24: the forge's own key, in the form in which forges write (the newer header), whether or not somebody signs with OpenPGP.
#[test]
fn a_forges_own_signature_is_nobodys() {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let (lab, gnupg) = (Lab::new(), GnuPg::new());
    let forge = gnupg.key("noreply@example.org", "rsa4096", "sign,cert", "never");
    let member = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    let by_forge = |payload: &[u8]| {
        let old = gnupg.sign(forge, &[], payload);
        let body: String = old.lines().filter(|line| !line.starts_with(['-', '='])).collect();
        let packet = engine.decode(body).unwrap();
        // The older header has a length of two bytes; the newer one counts from 192.
        let length = packet.len() - 3 - 192;
        let head = [0xc2, u8::try_from(length / 256 + 192).unwrap(), u8::try_from(length % 256).unwrap()];
        let text = gnupg.run(&["--enarmor"], &[&head, &packet[3..]].concat());
        let text = String::from_utf8(text).unwrap().replace("PGP ARMORED FILE", "PGP SIGNATURE");
        text.lines().filter(|line| !line.starts_with("Comment:")).map(|line| format!("{line}\n")).collect()
    };
    let tip = assembled(&lab, by_forge);
    assert!(gnupg.git_verifies(&lab, tip), "Git takes it for good");
    lab.refused(tip, "E014");
    let newest = listed(&lab, &gnupg.public(member), "");
    lab.stopped_at(assembled(&lab, by_forge), &newest, "E012");
    // In GnuPG's form it would still be a stranger's.
    lab.stopped_at(assembled(&lab, |payload| gnupg.sign(forge, &[], payload)), &newest, "E015");
}

#[test]
fn a_fleet_is_founded_with_gnupg() {
    let gnupg = GnuPg::new();
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    let mut lab = Lab::new();
    let ssh = lab.root.introduction.key.clone();
    let mut policy = lab.policy(2);
    policy.openpgp.insert("bob".into(), vec![format!("{{ key = \"{}\" }}", gnupg.public(key))]);
    lab.write("trust.toml", &policy.text());
    lab.root.introduction.commit = gnupg.commit(&lab, &key.to_string(), "Introduce").to_string();
    lab.write("roles/web/role.toml", "by gpg");
    let tip = gnupg.commit(&lab, &key.to_string(), "Go on");
    let introduced_by = |lab: &mut Lab, key: &str| {
        lab.root.introduction.key = IntroductionKey::parse(key).unwrap();
        lab.judge(None, tip).map(|judgement| judgement.high_water).map_err(|error| error.code().0)
    };
    let mark = introduced_by(&mut lab, &format!("OpenPGP:{key}")).unwrap();
    assert_eq!(mark.commit, tip.to_string());
    assert_eq!(lab.judge(Some(&mark), tip).unwrap().verified.unwrap().revision().signer, "bob");
    assert_eq!(introduced_by(&mut lab, &format!("OpenPGP:{}", "7".repeat(40))), Err("E034"));
    // Where the root of trust names an SSH key, nothing of an OpenPGP signature is read; and the other way round.
    assert_eq!(introduced_by(&mut lab, &ssh.to_string()), Err("E014"));
    lab.root.introduction.commit = lab.id("HEAD~2").to_string();
    assert_eq!(introduced_by(&mut lab, &format!("OpenPGP:{key}")), Err("E034"));
}

#[test]
fn approvals_by_gnupg_count() {
    let gnupg = GnuPg::new();
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    let lab = Lab::new();
    listed(&lab, &gnupg.public(key), "");
    lab.write("roles/vault/role.toml", "secret");
    let tip = lab.commit("alice", "Change the vault");
    assert!(lab.judge_with(tip, &[]).pending.is_some());
    // By tag.
    let program = format!("gpg.program={}", gnupg.program().display());
    let user = format!("user.signingkey={key}");
    lab.git(&[
        "-c",
        "gpg.format=openpgp",
        "-c",
        &program,
        "-c",
        &user,
        "tag",
        "-s",
        "-m",
        "Approve",
        "approval",
    ]);
    let judgement = lab.judge_with(tip, &[lab.id("refs/tags/approval")]);
    assert!(judgement.pending.is_none(), "{:?}", judgement.approvals);
    assert_eq!(judgement.high_water.commit, tip.to_string());
    // By a commit.
    let trailer = format!("Approve\n\nApproves-tree: {}", lab.id("HEAD^{tree}"));
    lab.accepted(gnupg.commit(&lab, &key.to_string(), &trailer));
}

#[test]
fn a_fingerprint_that_is_not_the_keys() {
    let gnupg = GnuPg::new();
    let key = gnupg.public(gnupg.key("a@example.org", "ed25519", "sign,cert", "never"));
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    let other = Fingerprint([7; 20]);
    policy.openpgp.insert("bob".into(), vec![format!("{{ key = \"{key}\", fingerprint = \"{other}\" }}")]);
    assert!(Policy::parse(policy.text().as_bytes(), "trust.toml").is_err());
    lab.write("trust.toml", &policy.text());
    lab.refused(lab.commit("alice", "Add it"), "E026");
    assert_eq!(OpenPgpKey::parse(&format!("{key}=")), Err(KeyError::Malformed("its base64 is damaged")));
}
