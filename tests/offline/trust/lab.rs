//! Signed histories, made by real Git and OpenSSH in a folder of their own, and the surgery that attackers would do on them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use abide::error::Explain;
use abide::source::store::Repository;
use abide::source::{Candidate, Objects};
use abide::trust::{
    FreshnessRule, HighWater, Introduction, IntroductionKey, Judgement, RootOfTrust, TrustError, judge,
};
use gix::ObjectId;

/// The time of all judgements: 2026-06-01.
pub const NOW: i64 = 1_780_272_000;

/// Who signs what in the usual policy.
const SCOPES: &[(&str, &[&str], &[&str], usize)] = &[
    ("root", &["trust.toml"], &["alice"], 1),
    ("web", &["roles/web/**"], &["alice", "bob"], 1),
    ("vault", &["roles/vault/**"], &["alice", "bob", "carol"], 2),
    ("rest", &["fleet.toml", "roles/base/**", "hosts/*.toml"], &["alice", "carol"], 1),
];

pub struct Lab {
    folder: tempfile::TempDir,
    pub root: RootOfTrust,
    /// A good commit above the introduction, accepted.
    pub mark: HighWater,
}

/// A policy for the tests, written as TOML.
#[derive(Clone)]
pub struct Policy {
    pub version: u64,
    pub fleet: String,
    pub reference: String,
    pub extra: String,
    pub principals: BTreeMap<String, Vec<String>>,
    pub openpgp: BTreeMap<String, Vec<String>>,
    pub scopes: Vec<(String, Vec<String>, Vec<String>, usize)>,
    /// The scopes that take commits under a seal.
    pub sealed: Vec<String>,
    /// Who may sign heartbeats, as it stands in the file.
    pub heartbeat: Vec<String>,
}

impl Policy {
    pub fn text(&self) -> String {
        let mut text = format!(
            "version = {}\nfleet = \"{}\"\nref = \"{}\"\n{}\n",
            self.version, self.fleet, self.reference, self.extra
        );
        for (name, keys) in &self.principals {
            text.push_str(&format!("[principal.{name}]\nkeys = [{}]\n", keys.join(", ")));
            if let Some(keys) = self.openpgp.get(name) {
                text.push_str(&format!("openpgp = [{}]\n", keys.join(", ")));
            }
        }
        for (name, paths, signers, threshold) in &self.scopes {
            text.push_str(&format!(
                "[[scope]]\nname = \"{name}\"\npaths = {paths:?}\nsigners = {signers:?}\nthreshold = {threshold}\n"
            ));
            if self.sealed.contains(name) {
                text.push_str("merge = \"seal\"\n");
            }
        }
        if !self.heartbeat.is_empty() {
            text.push_str(&format!("[heartbeat]\nkeys = [{}]\n", self.heartbeat.join(", ")));
        }
        text
    }
}

impl Lab {
    /// A repository with an introduction and one commit above it, both by alice.
    pub fn new() -> Lab {
        Lab::with("sha1", "5a1c")
    }

    pub fn with(format: &str, fleet: &str) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let mark = HighWater { commit: String::new(), payload: String::new(), introduction: String::new() };
        let key = IntroductionKey::Fingerprint(String::new());
        let introduction = Introduction { commit: String::new(), key };
        let root = RootOfTrust {
            fleet: fleet.into(),
            reference: "refs/heads/main".into(),
            introduction,
            freshness: FreshnessRule::default(),
            break_glass: Vec::new(),
        };
        let mut lab = Lab { folder, root, mark };
        for name in ["alice", "bob", "carol", "mallory"] {
            lab.keygen(name);
        }
        lab.git(&["init", "-q", "-b", "main", &format!("--object-format={format}")]);
        lab.found();
        lab
    }

    fn found(&mut self) {
        self.write("trust.toml", &self.policy(1).text());
        self.write("fleet.toml", "[fleet]\nname = \"test\"\n");
        let introduction = self.commit("alice", "Introduce");
        self.root.introduction = Introduction {
            commit: introduction.to_string(),
            key: IntroductionKey::parse(&self.public("alice")).unwrap(),
        };
        self.write("roles/base/role.toml", "# base\n");
        let good = self.commit("alice", "Begin");
        let judgement = self.judge(None, good).unwrap();
        assert!(judgement.rejection.is_none(), "{:?}", judgement.rejection);
        self.mark = judgement.high_water;
        assert_eq!(self.mark.commit, good.to_string());
    }

    /// The usual policy.
    pub fn policy(&self, version: u64) -> Policy {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let principal =
            |name: &str| (name.to_owned(), vec![format!("{{ key = \"{}\" }}", self.public(name))]);
        let scopes = SCOPES.iter().map(|(name, paths, signers, threshold)| {
            ((*name).to_owned(), list(paths), list(signers), *threshold)
        });
        Policy {
            version,
            fleet: self.root.fleet.clone(),
            reference: "refs/heads/main".into(),
            extra: String::new(),
            principals: ["alice", "bob", "carol"].map(principal).into(),
            openpgp: BTreeMap::new(),
            scopes: scopes.collect(),
            sealed: Vec::new(),
            heartbeat: Vec::new(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The public key, as it stands in a policy.
    pub fn public(&self, name: &str) -> String {
        let line = fs::read_to_string(self.key(name).with_extension("pub")).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    pub fn keygen(&self, name: &str) {
        let key = self.key(name);
        run(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", text(&key)],
            self.folder.path(),
            b"",
        );
    }

    /// Runs git in the repository, without anybody's configuration.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    pub fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        fs::create_dir_all(self.path()).unwrap();
        let output = run("git", arguments, &self.path(), input);
        String::from_utf8_lossy(&output).trim().to_owned()
    }

    /// Runs ssh-keygen among the keys.
    pub fn ssh_keygen(&self, arguments: &[&str]) {
        run("ssh-keygen", arguments, self.folder.path(), b"");
    }

    /// Whether git ends well.
    pub fn succeeds(&self, arguments: &[&str]) -> bool {
        try_run("git", arguments, &self.path(), b"").status.success()
    }

    /// Whether `ssh-keygen -Y verify` takes this signature for the principal's, with these lines as allowed signers.
    pub fn openssh_verifies(
        &self,
        allowed: &str,
        principal: &str,
        namespace: &str,
        armoured: &[u8],
        message: &[u8],
    ) -> bool {
        let (signers, signature) = (self.folder.path().join("allowed"), self.folder.path().join("signature"));
        fs::write(&signers, allowed).unwrap();
        fs::write(&signature, armoured).unwrap();
        let arguments =
            ["-Y", "verify", "-f", text(&signers), "-I", principal, "-n", namespace, "-s", text(&signature)];
        try_run("ssh-keygen", &arguments, self.folder.path(), message).status.success()
    }

    pub fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Commits everything in the work tree, signed by this key's owner.
    pub fn commit(&self, signer: &str, message: &str) -> ObjectId {
        self.git(&["add", "-A"]);
        self.commit_index(&[], signer, message)
    }

    /// Commits the index with more options.
    pub fn commit_index(&self, options: &[&str], signer: &str, message: &str) -> ObjectId {
        let key = format!("user.signingkey={}", text(&self.key(signer)));
        let mut arguments =
            vec!["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "-S", "--allow-empty", "-m", message];
        arguments.extend(options);
        self.git(&arguments);
        self.head()
    }

    /// Tags a commit as `git tag -s` does; gives back the tag object.
    pub fn tag(&self, signer: &str, name: &str, commit: &str) -> ObjectId {
        let key = format!("user.signingkey={}", text(&self.key(signer)));
        let name = format!("abide/approve/{name}");
        self.git(&["-c", "gpg.format=ssh", "-c", &key, "tag", "-s", "-f", "-m", "Approve", &name, commit]);
        self.id(&format!("refs/tags/{name}"))
    }

    /// A commit that holds this file as heartbeat, as `abide heartbeat` makes it.
    pub fn heartbeat_of(&self, text: &str) -> ObjectId {
        let blob = self.object("blob", text.as_bytes());
        let tree = self.git_with(&["mktree"], format!("100644 blob {blob}\theartbeat\n").as_bytes());
        let commit = self.git(&["commit-tree", "--no-gpg-sign", "-m", "Heartbeat", &tree]);
        ObjectId::from_hex(commit.as_bytes()).unwrap()
    }

    pub fn unsigned(&self, message: &str) -> ObjectId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", message]);
        self.head()
    }

    /// Merges a branch into the present one without a fast-forward; the merge is signed.
    pub fn merge(&self, branch: &str, signer: &str) -> ObjectId {
        let key = format!("user.signingkey={}", text(&self.key(signer)));
        self.git(&[
            "-c",
            "gpg.format=ssh",
            "-c",
            &key,
            "merge",
            "-q",
            "-S",
            "--no-ff",
            "-m",
            "Merge",
            branch,
        ]);
        self.head()
    }

    pub fn head(&self) -> ObjectId {
        self.id("HEAD")
    }

    pub fn id(&self, revision: &str) -> ObjectId {
        ObjectId::from_hex(self.git(&["rev-parse", revision]).as_bytes()).unwrap()
    }

    pub fn reset(&self, revision: &str) {
        self.git(&["reset", "-q", "--hard", revision]);
        self.git(&["clean", "-qfdx"]);
    }

    /// The raw bytes of a commit.
    pub fn raw(&self, id: ObjectId) -> Vec<u8> {
        Repository::open(&self.path()).unwrap().commit(id).unwrap()
    }

    /// Writes any bytes as an object of this type.
    pub fn object(&self, kind: &str, bytes: &[u8]) -> ObjectId {
        let hex = self.git_with(&["hash-object", "-w", "-t", kind, "--literally", "--stdin"], bytes);
        ObjectId::from_hex(hex.as_bytes()).unwrap()
    }

    /// The payload of a commit made by Git: what lies around its signature.
    pub fn payload(&self, id: ObjectId) -> Vec<u8> {
        let raw = String::from_utf8(self.raw(id)).unwrap();
        let (head, message) = raw.split_once("\n\n").unwrap();
        let head = head.split("\ngpgsig").next().unwrap();
        format!("{head}\n\n{message}").into_bytes()
    }

    /// Signs bytes with `ssh-keygen -Y sign`.
    pub fn sign(&self, signer: &str, namespace: &str, payload: &[u8]) -> String {
        let key = self.key(signer);
        let output = run(
            "ssh-keygen",
            &["-q", "-Y", "sign", "-n", namespace, "-f", text(&key)],
            self.folder.path(),
            payload,
        );
        String::from_utf8(output).unwrap()
    }

    /// A commit object of a payload and a signature.
    pub fn assemble(&self, payload: &[u8], armoured: &str) -> ObjectId {
        self.object("commit", &assembled(payload, armoured))
    }

    /// Signs the payload of HEAD's successor: a commit with this tree, made by hand.
    pub fn handmade(&self, tree: ObjectId, signer: &str) -> ObjectId {
        let payload = self.unsigned_payload(tree);
        let armoured = self.sign(signer, "git", &payload);
        self.assemble(&payload, &armoured)
    }

    pub fn unsigned_payload(&self, tree: ObjectId) -> Vec<u8> {
        let who = "A U Thor <a@example.org> 1780000000 +0000";
        format!("tree {tree}\nparent {}\nauthor {who}\ncommitter {who}\n\nBy hand\n", self.head())
            .into_bytes()
    }

    pub fn judge(&self, mark: Option<&HighWater>, tip: ObjectId) -> Result<Judgement, TrustError> {
        let repository = Repository::open(&self.path()).unwrap();
        judge(&repository, &self.root, mark, &Candidate::at(tip), NOW)
    }

    /// Judges with approvals by tag.
    pub fn judge_with(&self, tip: ObjectId, approvals: &[ObjectId]) -> Judgement {
        let repository = Repository::open(&self.path()).unwrap();
        let candidate = Candidate { tip, approvals: approvals.to_vec(), heartbeat: None };
        judge(&repository, &self.root, Some(&self.mark), &candidate, NOW).unwrap()
    }

    /// The tip must be accepted on top of the mark.
    #[track_caller]
    pub fn accepted(&self, tip: ObjectId) -> Judgement {
        let judgement = self.judge(Some(&self.mark), tip).unwrap();
        assert!(judgement.rejection.is_none(), "{:?}", judgement.rejection);
        assert_eq!(judgement.verified.as_ref().unwrap().revision().commit, tip.to_string());
        judgement
    }

    /// Nothing new may be accepted, the mark stays, the code is this one, and the host is not stuck: an honest commit on top of
    /// the mark is accepted afterwards.
    #[track_caller]
    pub fn refused(&self, tip: ObjectId, code: &str) {
        self.stopped_at(tip, &self.mark, code);
        self.reset(&self.mark.commit);
        self.write("fleet.toml", "# the honest way on\n");
        let honest = self.commit("alice", "Go on");
        self.accepted(honest);
        self.reset(&self.mark.commit);
    }

    /// The walk stops at this commit, with this code.
    #[track_caller]
    pub fn stopped_at(&self, tip: ObjectId, newest: &HighWater, code: &str) {
        let judgement = self.judge(Some(&self.mark), tip).unwrap();
        let rejection = judgement.rejection.expect("nothing was refused");
        assert_eq!(rejection.code().0, code, "{rejection:?}");
        assert_eq!(&judgement.high_water, newest);
        assert_eq!(judgement.verified.unwrap().revision().commit, newest.commit);
        assert!(!rejection.remedy().is_empty() && rejection.place().is_some());
    }

    /// The mark that a good commit would leave.
    pub fn mark_of(&self, tip: ObjectId) -> HighWater {
        self.accepted(tip).high_water
    }
}

/// The bytes of a commit object with its signature as last header.
pub fn assembled(payload: &[u8], armoured: &str) -> Vec<u8> {
    let payload = String::from_utf8(payload.to_vec()).unwrap();
    let (head, message) = payload.split_once("\n\n").unwrap();
    let signature = armoured.trim_end().replace('\n', "\n ");
    format!("{head}\ngpgsig {signature}\n\n{message}").into_bytes()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(program: &str, arguments: &[&str], directory: &Path, input: &[u8]) -> Vec<u8> {
    let output = try_run(program, arguments, directory, input);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    output.stdout
}

/// Runs a program without anybody's configuration, whatever comes of it.
fn try_run(program: &str, arguments: &[&str], directory: &Path, input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1"), ("HOME", text(directory))])
        .envs([("GIT_AUTHOR_NAME", "A U Thor"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "C"), ("GIT_COMMITTER_EMAIL", "c@example.org")])
        .envs([("GIT_AUTHOR_DATE", "1700000000 +0000"), ("GIT_COMMITTER_DATE", "1700000000 +0000")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read what is given to him says so by his status.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Writes a commit as a loose object.
pub fn loose(objects: &Path, raw: &[u8]) -> ObjectId {
    use gix::objs::Write as _;
    let store = gix::odb::loose::Store::at(objects, gix::hash::Kind::Sha1);
    store.write_buf(gix::objs::Kind::Commit, raw).unwrap()
}
