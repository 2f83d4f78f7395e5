//! The same commits before abide, Git and OpenSSH. Where they disagree the difference is wanted, has a reason, and stands in
//! docs/SECURITY.md; what abide accepts and they refuse would be a hole.

use abide::error::Explain;
use abide::trust::HighWater;
use abide::trust::key::PublicKey;
use abide::trust::sshsig::{Envelope, GIT, Hash, SignatureError, signed_data, touched_data};
use ed25519_dalek::{Signer, SigningKey};
use gix::ObjectId;

use super::{closed, opened, wrapped};
use crate::trust::lab::{Lab, assembled};

/// A commit with what the three are to say of it.
pub struct Case {
    /// As it stands in the documentation.
    pub name: &'static str,
    pub commit: ObjectId,
    /// Whether the program that made the signature takes it, for the commit's payload.
    pub tool: bool,
    /// Whether `git verify-commit` takes the commit.
    pub git: bool,
    /// abide's code, or `accepted`.
    pub expected: &'static str,
    /// Why abide sees it in another way, where it does.
    pub why: &'static str,
}

/// Holds the verdicts against each other and the differences against the documentation.
pub fn compare(lab: &Lab, mark: &HighWater, tool: &str, cases: &[Case]) {
    let documented = include_str!("../../../docs/SECURITY.md");
    let mut missing = Vec::new();
    for case in cases {
        let judgement = lab.judge(Some(mark), case.commit).unwrap();
        let verdict = judgement.rejection.as_ref().map_or("accepted", |rejection| rejection.code().0);
        assert_eq!(verdict, case.expected, "{}: {:?}", case.name, judgement.rejection);
        let accepted = verdict == "accepted";
        let takers: Vec<&str> = [("Git", case.git), (tool, case.tool)]
            .iter()
            .filter_map(|(name, takes)| takes.then_some(*name))
            .collect();
        println!("{:60} abide {verdict:8} Git and {tool}: {takers:?}", case.name);
        let agreed = takers.len() == if accepted { 2 } else { 0 };
        assert_eq!(
            agreed,
            case.why.is_empty(),
            "{}: a difference has a reason; {takers:?} take it",
            case.name
        );
        if agreed {
            continue;
        }
        let takers = if takers.is_empty() { "nobody".to_owned() } else { takers.join(", ") };
        let row = format!("| {} | {takers} | {verdict} | {} |", case.name, case.why);
        if !documented.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "these differences are not in docs/SECURITY.md:\n{}", missing.join("\n"));
}

/// A fleet whose policy gives alice an ordinary key, a security key and one that has expired, and OpenSSH's list of the same,
/// with keys beside them that only OpenSSH takes.
struct Desk {
    lab: Lab,
    mark: HighWater,
    allowed: String,
    security_key: (SigningKey, PublicKey),
}

impl Desk {
    fn new() -> Desk {
        let lab = Lab::new();
        for (name, kind) in
            [("rsa", "rsa"), ("ecdsa", "ecdsa"), ("authority", "ed25519"), ("certified", "ed25519")]
        {
            lab.ssh_keygen(&["-q", "-t", kind, "-N", "", "-C", "", "-f", name]);
        }
        lab.ssh_keygen(&["-q", "-s", "authority", "-I", "alice", "-n", "alice", "certified.pub"]);
        lab.keygen("expired");
        let secret = SigningKey::from_bytes(&[7; 32]);
        let mut blob = Vec::new();
        for field in [b"sk-ssh-ed25519@openssh.com".as_slice(), secret.verifying_key().as_bytes(), b"ssh:"] {
            blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(field);
        }
        let key = PublicKey::from_blob(&blob).unwrap();
        let mut policy = lab.policy(2);
        let keys = policy.principals.get_mut("alice").unwrap();
        keys.push(format!("{{ key = \"{key}\" }}"));
        keys.push(format!("{{ key = \"{}\", not-after = 2026-01-01 }}", lab.public("expired")));
        lab.write("trust.toml", &policy.text());
        let mark = lab.mark_of(lab.commit("alice", "More keys"));
        let mut allowed = format!("alice {key}\nalice valid-before=\"20260101\" {}\n", lab.public("expired"));
        for name in ["alice", "rsa", "ecdsa"] {
            allowed.push_str(&format!("alice {}\n", lab.public(name)));
        }
        allowed.push_str(&format!("alice cert-authority {}\n", lab.public("authority")));
        Desk { lab, mark, allowed, security_key: (secret, key) }
    }

    fn payload(&self) -> String {
        String::from_utf8(self.lab.unsigned_payload(self.lab.id("HEAD^{tree}"))).unwrap()
    }

    fn touched(&self, flags: u8, payload: &[u8]) -> String {
        let (secret, key) = &self.security_key;
        let data = touched_data("ssh:", flags, 42, &signed_data(GIT, Hash::Sha512, payload));
        let signature = secret.sign(&data).to_bytes();
        Envelope::new(key.clone(), GIT, Hash::Sha512, signature, Some((flags, 42))).armoured()
    }

    /// What OpenSSH and Git say of a commit with this signature over this payload.
    fn case(
        &self,
        name: &'static str,
        payload: &str,
        armoured: &str,
        expected: &'static str,
        why: &'static str,
    ) -> Case {
        self.raw(name, payload, armoured, assembled(payload.as_bytes(), armoured), expected, why)
    }

    /// The same where the commit's bytes are something special.
    fn raw(
        &self,
        name: &'static str,
        payload: &str,
        armoured: &str,
        raw: Vec<u8>,
        expected: &'static str,
        why: &'static str,
    ) -> Case {
        let commit = self.lab.object("commit", &raw);
        let tool =
            self.lab.openssh_verifies(&self.allowed, "alice", "git", armoured.as_bytes(), payload.as_bytes());
        // `openssh_verifies` leaves the list of signers behind.
        let signers =
            format!("gpg.ssh.allowedSignersFile={}", self.lab.path().with_file_name("allowed").display());
        let git = self.lab.succeeds(&["-c", &signers, "verify-commit", &commit.to_string()]);
        Case { name, commit, tool, git, expected, why }
    }
}

const TWIN: &str = "anybody could make a second commit of a signed one by it";

#[test]
fn signatures_before_git_and_openssh() {
    let desk = Desk::new();
    let lab = &desk.lab;
    let payload = desk.payload();
    let sign = |signer: &str| lab.sign(signer, "git", payload.as_bytes());
    let good = sign("alice");
    let blob = opened(&good);
    let with = |position: usize, byte: u8| {
        let mut blob = blob.clone();
        blob[position] = byte;
        closed(&blob)
    };
    let at = blob.windows(7).position(|window| window == [0, 0, 0, 3, b'g', b'i', b't']).unwrap() + 7;
    let reserved = [&blob[..at], &[0, 0, 0, 1, b'x'], &blob[at + 4..]].concat();
    let dated = |date: &str| payload.replace("1780000000 +0000", date);
    let before = dated("1700000000 +0000");
    let secret = SigningKey::from_bytes(&[9; 32]);
    let stranger =
        PublicKey::from_blob(&abide::trust::key::ed25519_blob(secret.verifying_key().as_bytes())).unwrap();
    let short = |key: &PublicKey, secret: &SigningKey, hash| {
        let signature = secret.sign(&signed_data(GIT, hash, payload.as_bytes())).to_bytes();
        Envelope::new(key.clone(), GIT, hash, signature, None).armoured()
    };
    let cases = [
        desk.case("a plain signature", &payload, &good, "accepted", ""),
        desk.case(
            "a security key that was touched",
            &payload,
            &desk.touched(1, payload.as_bytes()),
            "accepted",
            "",
        ),
        desk.case("other content", &payload.replace("By hand", "By foot"), &good, "E017", ""),
        desk.case("another namespace", &payload, &lab.sign("alice", "file", payload.as_bytes()), "E013", ""),
        desk.case(
            "a damaged signature",
            &payload,
            &with(blob.len() - 1, blob[blob.len() - 1] ^ 1),
            "E017",
            "",
        ),
        desk.case("a key that nobody listed", &payload, &sign("mallory"), "E015", ""),
        desk.case(
            "a key that nobody listed, SHA-256",
            &payload,
            &short(&stranger, &secret, Hash::Sha256),
            "E015",
            "",
        ),
        desk.case("no armour at all", &payload, "rubbish\n", "E011", ""),
        desk.case("another version of the format", &payload, &with(9, 2), "E012", ""),
        desk.case(
            "an unknown hash",
            &payload,
            &closed(&{
                let mut blob = blob.clone();
                let at = blob.windows(6).position(|window| window == b"sha512").unwrap();
                blob[at..at + 6].copy_from_slice(b"sha384");
                blob
            }),
            "E012",
            "",
        ),
        desk.case("base64 in lines of another length", &payload, &wrapped(&blob, 64), "E012", TWIN),
        desk.case("base64 in one line", &payload, &wrapped(&blob, 4096), "E012", TWIN),
        desk.case(
            "empty lines in the base64",
            &payload,
            &good.replacen("-----\nU", "-----\n\nU", 1),
            "E012",
            TWIN,
        ),
        desk.case("carriage returns", &payload, &good.replace('\n', "\r\n"), "E011", ""),
        desk.case("text after the signature's END line", &payload, &format!("{good}more\n"), "E012", TWIN),
        desk.case("a reserved field that is not empty", &payload, &closed(&reserved), "E012", TWIN),
        desk.case(
            "a security key that was not touched",
            &payload,
            &desk.touched(0, payload.as_bytes()),
            "E018",
            "malware on the author's machine could sign without the author",
        ),
        desk.case(
            "an RSA key",
            &payload,
            &sign("rsa"),
            "E014",
            "one algorithm, strictly; RSA only through OpenPGP, where a policy lists it",
        ),
        desk.case(
            "an ECDSA key",
            &payload,
            &sign("ecdsa"),
            "E014",
            "its signatures have a second form (−s) that anybody can make",
        ),
        desk.case(
            "a certificate by a listed authority",
            &payload,
            &sign("certified-cert.pub"),
            "E014",
            "whoever holds the authority could name new signers without the policy changing",
        ),
        desk.case("a key that has expired", &payload, &sign("expired"), "E016", ""),
        desk.case(
            "a key that has expired, in a commit with an older date",
            &before,
            &lab.sign("expired", "git", before.as_bytes()),
            "E016",
            "whoever finds an old key chooses the date; the host's time decides",
        ),
    ];
    compare(lab, &desk.mark, "OpenSSH", &cases);
}

#[test]
fn commits_before_git_and_openssh() {
    let desk = Desk::new();
    let lab = &desk.lab;
    let payload = desk.payload();
    let good = lab.sign("alice", "git", payload.as_bytes());
    let commit = String::from_utf8(assembled(payload.as_bytes(), &good)).unwrap();
    let end = " -----END SSH SIGNATURE-----\n";
    let beside = |name, from: &str, to: &str| {
        let raw = commit.replacen(from, to, 1);
        assert_ne!(raw, commit);
        desk.raw(name, &payload, &good, raw.into_bytes(), "E011", TWIN)
    };
    let within = |name, from: &str, to: &str, why| {
        let payload = payload.replacen(from, to, 1);
        desk.case(name, &payload, &lab.sign("alice", "git", payload.as_bytes()), "E011", why)
    };
    let tree = payload.lines().next().unwrap();
    let author = payload.lines().nth(2).unwrap();
    const ODD: &str = "programs that read commits disagree about what it says, so that people could be shown another commit";
    let cases = [
        beside("a header `gpgsig-sha256` beside the signature", end, &format!("{end}gpgsig-sha256 junk\n")),
        beside("a header that only begins with `gpgsig`", "gpgsig ", "gpgsigZZZ junk\ngpgsig "),
        beside("a second `gpgsig`", end, &format!("{end}gpgsig junk\n")),
        within("a second `tree`", tree, &format!("{tree}\n{tree}"), ODD),
        within("a second `author`", author, &format!("{author}\n{author}"), ODD),
        within("a header that Git does not write", "\n\n", "\nHG:extra x\n\n", ODD),
        within(
            "a `mergetag`",
            "\n\n",
            "\nmergetag object x\n\n",
            "tags play no part; a signed merge says the same",
        ),
        within("a date with a leading zero", "1780000000", "01780000000", ODD),
        within("a date before 1970", "1780000000", "-1", ODD),
        within("a date without a time zone", " +0000", "", ODD),
    ];
    compare(lab, &desk.mark, "OpenSSH", &cases);
}

/// A signature's text with a character changed or put in, and its contents with any byte changed: what abide takes, OpenSSH takes as well, and what only OpenSSH
/// takes is another way to write the same.
#[test]
fn openssh_takes_whatever_abide_takes() {
    let desk = Desk::new();
    let payload = desk.payload();
    let good = desk.lab.sign("alice", "git", payload.as_bytes());
    let blob = opened(&good);
    let mut forms: Vec<Vec<u8>> = Vec::new();
    for position in (0..good.len()).step_by(5) {
        let byte = [b'A', b'\n', b' ', b'='][position % 4];
        let mut form = good.clone().into_bytes();
        form[position] = byte;
        forms.push(form);
        let mut form = good.clone().into_bytes();
        form.insert(position, byte);
        forms.push(form);
    }
    for position in 0..blob.len() {
        let mut form = blob.clone();
        form[position] ^= 1 << (position % 8);
        forms.push(closed(&form).into_bytes());
    }
    let (mut both, mut lax) = (0, 0);
    for form in forms {
        let verdict = Envelope::parse(&form, GIT).and_then(|envelope| envelope.verify(payload.as_bytes()));
        let openssh = desk.lab.openssh_verifies(&desk.allowed, "alice", "git", &form, payload.as_bytes());
        match (&verdict, openssh) {
            (Ok(()), true) => both += 1,
            (Ok(()), false) => panic!("only abide takes it:\n{}", String::from_utf8_lossy(&form)),
            (Err(SignatureError::Malformed(_)), true) => lax += 1,
            (Err(error), true) => panic!("{error}:\n{}", String::from_utf8_lossy(&form)),
            (Err(_), false) => {}
        }
    }
    println!("{both} forms are the signature itself, {lax} are taken by OpenSSH only");
    assert!(both > 0 && lax > 0);
}
