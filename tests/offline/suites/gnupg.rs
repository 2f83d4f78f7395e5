//! Signatures by GnuPG before GnuPG, Git and abide; see `differences.rs`.

use abide::trust::HighWater;
use abide::trust::openpgp::{Fingerprint, OpenPgpKey, Signature};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::differences::{Case, compare};
use crate::trust::gnupg::GnuPg;
use crate::trust::lab::{Lab, assembled};

/// A fleet in which bob may sign with these keys.
fn desk(keys: &[OpenPgpKey]) -> (Lab, HighWater) {
    let lab = Lab::new();
    let mut policy = lab.policy(2);
    let listed = keys.iter().map(|key| format!("{{ key = \"{key}\" }}"));
    policy.openpgp.insert("bob".into(), listed.collect());
    lab.write("trust.toml", &policy.text());
    let mark = lab.mark_of(lab.commit("alice", "Let bob sign with GnuPG"));
    (lab, mark)
}

/// What GnuPG and Git say of a commit with this signature over this payload.
fn case(
    (gnupg, lab): (&GnuPg, &Lab),
    name: &'static str,
    payload: &[u8],
    armoured: &str,
    expected: &'static str,
    why: &'static str,
) -> Case {
    let commit = lab.object("commit", &assembled(payload, armoured));
    let tool = gnupg.verifies(armoured, payload);
    Case { name, commit, tool, git: gnupg.git_verifies(lab, commit), expected, why }
}

/// The bytes of a signature.
fn opened(armoured: &str) -> Vec<u8> {
    let lines = armoured.lines().filter(|line| !line.starts_with(['-', '=']) && !line.contains(':'));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// Bytes in the armour that GnuPG puts around them.
fn closed(gnupg: &GnuPg, packet: &[u8]) -> String {
    let text = String::from_utf8(gnupg.run(&["--enarmor"], packet)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("Comment:"));
    lines.map(|line| format!("{}\n", line.replace("PGP ARMORED FILE", "PGP SIGNATURE"))).collect()
}

const TWIN: &str = "anybody could make a second commit of a signed one by it";
const POLICY: &str = "the policy decides until when a key counts; take it off, or let it expire there";

#[test]
fn signatures_before_git_and_gnupg() {
    let gnupg = GnuPg::new();
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    let rsa = gnupg.key("b@example.org", "rsa3072", "sign,cert", "never");
    let (lab, mark) = desk(&[gnupg.public(key), gnupg.public(rsa)]);
    let payload = lab.unsigned_payload(lab.id("HEAD^{tree}"));
    let sign = |key: Fingerprint, options: &[&str]| gnupg.sign(key, options, &payload);
    let made = |address: &str, algorithm: &str| gnupg.key(address, algorithm, "sign,cert", "never");
    let good = sign(key, &[]);
    let packet = opened(&good);
    // Two bytes of header, six up to the hashed area of 29, the length and the ten bytes of the unhashed one.
    const UNHASHED: usize = 2 + 6 + 29;
    let body = |unhashed: &[u8]| [&packet[2..UNHASHED], unhashed, &packet[UNHASHED + 12..]].concat();
    let framed = |body: &[u8]| [&[packet[0], u8::try_from(body.len()).unwrap()], body].concat();
    let stripped = framed(&body(&[0, 0]));
    let more =
        framed(&body(&[&[0, 15], &packet[UNHASHED + 2..UNHASHED + 12], &[4, 20, b'e', b'v', b'l']].concat()));
    let newer = [&[0xc2, packet[1]], &packet[2..]].concat();
    let both = (&gnupg, &lab);
    let cases = [
        case(both, "a plain signature", &payload, &good, "accepted", ""),
        case(both, "a plain signature by RSA", &payload, &sign(rsa, &[]), "accepted", ""),
        case(
            both,
            "a signature with SHA-384",
            &payload,
            &sign(rsa, &["--digest-algo", "SHA384"]),
            "accepted",
            "",
        ),
        case(both, "a signature of other content", &payload, &gnupg.sign(key, &[], b"other"), "E017", ""),
        case(
            both,
            "OpenPGP: a comment or version in the armour",
            &payload,
            &good.replacen("\n\n", "\nComment: x\n\n", 1),
            "E012",
            TWIN,
        ),
        case(
            both,
            "OpenPGP: without the key's name beside it",
            &payload,
            &closed(&gnupg, &stripped),
            "E012",
            TWIN,
        ),
        case(both, "OpenPGP: more beside what is signed", &payload, &closed(&gnupg, &more), "E012", TWIN),
        case(
            both,
            "OpenPGP: a packet with the newer header",
            &payload,
            &closed(&gnupg, &newer),
            "E012",
            "anybody could make a second commit of a signed one by it; it is also what forges write, whose keys are nobody's",
        ),
        case(
            both,
            "OpenPGP: a signature with SHA-1",
            &payload,
            &sign(rsa, &["--digest-algo", "SHA1"]),
            "E014",
            "collisions can be bought",
        ),
        case(
            both,
            "OpenPGP: a signature with a notation",
            &payload,
            &sign(key, &["--sig-notation", "note@example.org=x"]),
            "E012",
            "what it asks for is not understood, so it is not done",
        ),
        case(
            both,
            "OpenPGP: a signature with an expiry of its own",
            &payload,
            &sign(key, &["--default-sig-expire", "1y"]),
            "E012",
            "what it asks for is not understood, so it is not done",
        ),
        case(
            both,
            "OpenPGP: RSA below 3072 bits",
            &payload,
            &sign(made("c@example.org", "rsa2048"), &[]),
            "E015",
            "no policy can list such a key",
        ),
        case(
            both,
            "OpenPGP: a DSA key",
            &payload,
            &sign(made("d@example.org", "dsa2048"), &[]),
            "E014",
            "no policy can list such a key",
        ),
        case(
            both,
            "OpenPGP: a key over NIST P-256",
            &payload,
            &sign(made("e@example.org", "nistp256"), &[]),
            "E014",
            "no policy can list such a key",
        ),
        case(
            both,
            "OpenPGP: a key in the keyring that the policy does not list",
            &payload,
            &sign(made("f@example.org", "ed25519"), &[]),
            "E015",
            "the policy lists keys; there is no keyring",
        ),
    ];
    compare(&lab, &mark, "GnuPG", &cases);
}

/// The one thing that abide takes and they do not: what a certificate says of its own end.
#[test]
fn certificates_decide_nothing() {
    let gnupg = GnuPg::new();
    gnupg.options("--faked-system-time 20200101T000000!");
    let expired = gnupg.key("a@example.org", "ed25519", "sign,cert", "1y");
    gnupg.options("");
    let revoked = gnupg.key("b@example.org", "ed25519", "sign,cert", "never");
    let (lab, mark) = desk(&[gnupg.public(expired), gnupg.public(revoked)]);
    let payload = lab.unsigned_payload(lab.id("HEAD^{tree}"));
    gnupg.options("--faked-system-time 20200101T000000!");
    let by_expired = gnupg.sign(expired, &[], &payload);
    gnupg.options("");
    let by_revoked = gnupg.sign(revoked, &[], &payload);
    let path = gnupg.program().with_file_name("openpgp-revocs.d").join(format!("{revoked}.rev"));
    let certificate = std::fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
    gnupg.run(&["--import"], certificate.as_bytes());
    let both = (&gnupg, &lab);
    let cases = [
        case(
            both,
            "OpenPGP: a certificate that has expired since",
            &payload,
            &by_expired,
            "accepted",
            POLICY,
        ),
        case(both, "OpenPGP: a certificate that was revoked", &payload, &by_revoked, "accepted", POLICY),
    ];
    compare(&lab, &mark, "GnuPG", &cases);
}

/// A signature's bytes with any one changed: what abide takes, GnuPG takes as well.
#[test]
fn gnupg_takes_whatever_abide_takes() {
    let gnupg = GnuPg::new();
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    let public = gnupg.public(key);
    let packet = opened(&gnupg.sign(key, &[], b"message"));
    let (mut both, mut lax) = (0, 0);
    for position in 0..=packet.len() {
        let mut form = packet.clone();
        if let Some(byte) = form.get_mut(position) {
            *byte ^= 1 << (position % 8);
        }
        let armoured = closed(&gnupg, &form);
        let verdict = Signature::parse(armoured.as_bytes()).and_then(|one| one.verify(&public, b"message"));
        match (verdict, gnupg.verifies(&armoured, b"message")) {
            (Ok(()), true) => both += 1,
            (Ok(()), false) => panic!("only abide takes it:\n{armoured}"),
            (Err(_), true) => lax += 1,
            (Err(_), false) => {}
        }
    }
    println!("{both} forms are the signature itself, {lax} are taken by GnuPG only");
    assert!(both == 1 && lax > 0);
}

/// Guix, "signed commits, SHA1 signature": refused, although the key is a principal's.
#[test]
fn signed_commits_with_sha1() {
    let gnupg = GnuPg::new();
    let key = gnupg.key("a@example.org", "ed25519", "sign,cert", "never");
    let (lab, mark) = desk(&[gnupg.public(key)]);
    lab.write("roles/web/a", "A");
    gnupg.options("--digest-algo sha1");
    lab.stopped_at(gnupg.commit(&lab, &key.to_string(), "first commit"), &mark, "E014");
    gnupg.options("");
    lab.reset(&mark.commit);
    lab.write("roles/web/a", "A");
    lab.accepted(gnupg.commit(&lab, &key.to_string(), "first commit"));
}
