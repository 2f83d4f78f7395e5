//! What proving a branch costs, beside fetching it and beside `git verify-commit`.
//!
//! `cargo bench --bench verify --profile bench-fast [-- COMMITS]` makes a fleet of 19 roles and 200 hosts, with 50 principals and 20 scopes, and so
//! many signed commits (10,000), serves it over https with Git's own server, and times: the fetcher's poll, taking its packs into the store, the
//! verdict over everything, and a later poll that brings one commit. It fails when verifying takes as long as fetching (the poll and the taking),
//! or one commit 10 ms.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench makes its own files, starts programs and may fail"
)]

use abide::config::{Limits, Source, Span};
use abide::source::store::Store;
use abide::source::{Candidate, fetch};
use abide::trust::key::{PublicKey, ed25519_blob};
use abide::trust::sshsig::{Envelope, GIT, Hash, signed_data};
use abide::trust::{FreshnessRule, Introduction, IntroductionKey, RootOfTrust, judge};
use ed25519_dalek::{Signer, SigningKey};
use gix::ObjectId;
use gix::objs::Write as _;
use nix::sys::resource::{UsageWho, getrusage};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PRINCIPALS: usize = 50;
/// One scope for the policy, the others for a role each.
const SCOPES: usize = 20;
const HOSTS: usize = 200;
/// How many commits `git verify-commit` is timed with.
const SAMPLE: usize = 200;
const NOW: i64 = 1_780_000_000;

fn main() {
    // Cargo adds `--bench`.
    let number = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = Fleet::make(folder.path(), number);
    let server = Server::start(folder.path());
    let spool = folder.path().join("spool");
    let mut store = Store::open(&folder.path().join("store"), &Limits::default()).expect("a store");

    fleet.publish(fleet.commits[number - 1]);
    let (fetch, received) = timed(|| server.poll(&spool));
    let (take, candidate) = timed(|| store.take(&spool).expect("the spool").expect("a tip"));
    let (verify, judgement) =
        timed(|| judge(&store, &fleet.root, None, &candidate, NOW).expect("a judgement"));
    assert!(judgement.rejection.is_none(), "{:?}", judgement.rejection);
    assert_eq!(judgement.high_water.commit, candidate.tip.to_string());

    fleet.publish(fleet.commits[number]);
    let (fetch_one, _) = timed(|| server.poll(&spool));
    let (take_one, candidate) = timed(|| store.take(&spool).expect("the spool").expect("a tip"));
    let one = later(folder.path(), &fleet, &judgement.high_water, &candidate);
    let git = fleet.git_verify(folder.path());

    let line = |what: &str, time: Time, commits: usize| {
        let (wall, cpu) = (time.wall.as_secs_f64(), time.cpu.as_secs_f64());
        println!(
            "{what:30} {wall:9.3} s {:9.1} µs a commit, {cpu:8.3} s of a processor",
            wall * 1e6 / commits as f64
        );
    };
    println!(
        "{number} commits, {PRINCIPALS} principals, {SCOPES} scopes; {received} bytes over {}",
        server.kind
    );
    line("fetch", fetch, number);
    line("take into the store", take, number);
    line("verify", verify, number);
    let times = u32::try_from(number / SAMPLE).unwrap_or(1);
    line("git verify-commit (sampled)", Time { wall: git.wall * times, cpu: git.cpu * times }, number);
    line("one commit: fetch", fetch_one, 1);
    line("one commit: take", take_one, 1);
    line("one commit: verify", one, 1);
    assert!(verify.wall < fetch.wall + take.wall, "verifying takes longer than fetching");
    assert!(one.wall < Duration::from_millis(10), "verifying one commit takes longer than 10 ms");
}

/// How long something took, and the processor time of this process and of the programs that it waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    wall: Duration,
    cpu: Duration,
}

fn timed<T>(work: impl FnOnce() -> T) -> (Time, T) {
    let (begun, cpu) = (Instant::now(), processor());
    let done = work();
    (Time { wall: begun.elapsed(), cpu: processor() - cpu }, done)
}

fn processor() -> Duration {
    let of = |who| {
        let usage = getrusage(who).expect("usage");
        let both = [usage.user_time(), usage.system_time()];
        let microseconds = both.map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
        Duration::from_micros(u64::try_from(microseconds.iter().sum::<i64>()).expect("positive"))
    };
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

/// A poll that brings one commit, as a run of its own sees it: the store is opened anew. The median of several.
fn later(folder: &Path, fleet: &Fleet, mark: &abide::trust::HighWater, candidate: &Candidate) -> Time {
    let once = || {
        let store = Store::open(&folder.join("store"), &Limits::default()).expect("a store");
        let judgement = judge(&store, &fleet.root, Some(mark), candidate, NOW).expect("a judgement");
        assert_eq!(judgement.high_water.commit, candidate.tip.to_string());
    };
    let mut times: Vec<Time> = (0..21).map(|_| timed(once).0).collect();
    times.sort();
    times[times.len() / 2]
}

/// A repository with its policy.
struct Fleet {
    repository: PathBuf,
    commits: Vec<ObjectId>,
    root: RootOfTrust,
}

impl Fleet {
    fn make(folder: &Path, number: usize) -> Fleet {
        let repository = folder.join("repositories/fleet.git");
        std::fs::create_dir_all(&repository).expect("a folder");
        git(&repository, &["init", "-q", "--bare", "-b", "main"], b"");
        let people: Vec<SigningKey> = (1..=PRINCIPALS)
            .map(|number| SigningKey::from_bytes(&[u8::try_from(number).expect("few"); 32]))
            .collect();
        git(&repository, &["fast-import", "--quiet"], import(&people, number).as_bytes());
        let trees = git(&repository, &["log", "--reverse", "--format=%T", "unsigned"], b"");
        let store = gix::odb::loose::Store::at(repository.join("objects"), gix::hash::Kind::Sha1);
        let mut commits: Vec<ObjectId> = Vec::new();
        for (number, tree) in trees.lines().enumerate() {
            let secret = &people[signer(number)];
            let raw = signed(tree, commits.last(), secret, number);
            commits.push(store.write_buf(gix::objs::Kind::Commit, &raw).expect("an object"));
        }
        git(&repository, &["branch", "-q", "-D", "unsigned"], b"");
        git(&repository, &["update-ref", "refs/heads/main", &commits[number].to_string()], b"");
        git(&repository, &["repack", "-q", "-a", "-d"], b"");
        let root = RootOfTrust {
            fleet: "5a1c".into(),
            reference: "refs/heads/main".into(),
            introduction: Introduction {
                commit: commits[0].to_string(),
                key: IntroductionKey::Key(Box::new(public(&people[signer(0)]))),
            },
            freshness: FreshnessRule::default(),
            break_glass: Vec::new(),
        };
        Fleet { repository, commits, root }
    }

    fn publish(&self, tip: ObjectId) {
        git(&self.repository, &["update-ref", "refs/heads/main", &tip.to_string()], b"");
    }

    /// The time that Git takes for a sample of the commits, each in a process of its own, as it works.
    fn git_verify(&self, folder: &Path) -> Time {
        let allowed = folder.join("allowed");
        let mut text = String::new();
        for number in 1..=PRINCIPALS {
            let secret = SigningKey::from_bytes(&[u8::try_from(number).expect("few"); 32]);
            let _ = writeln!(text, "p{number} {}", public(&secret));
        }
        std::fs::write(&allowed, text).expect("a file");
        let setting = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
        let step = (self.commits.len() / SAMPLE).max(1);
        let sample: Vec<String> =
            self.commits.iter().step_by(step).take(SAMPLE).map(ToString::to_string).collect();
        let mut arguments = vec!["-c", &setting, "verify-commit"];
        arguments.extend(sample.iter().map(String::as_str));
        timed(|| git(&self.repository, &arguments, b"")).0
    }
}

/// Who signs a commit: somebody of the scope that it changes.
fn signer(number: usize) -> usize {
    number % (SCOPES - 1)
}

fn public(secret: &SigningKey) -> PublicKey {
    PublicKey::from_blob(&ed25519_blob(&secret.verifying_key().to_bytes())).expect("a key")
}

fn policy(people: &[SigningKey]) -> String {
    let mut text = "version = 1\nfleet = \"5a1c\"\nref = \"refs/heads/main\"\n".to_owned();
    for (number, secret) in people.iter().enumerate() {
        let _ = write!(text, "[principal.p{number}]\nkeys = [{{ key = \"{}\" }}]\n", public(secret));
    }
    let _ = write!(
        text,
        "[[scope]]\nname = \"root\"\npaths = [\"trust.toml\", \"fleet.toml\", \"hosts/**\"]\nsigners = [\"p0\"]\n"
    );
    for scope in 0..SCOPES - 1 {
        // Every principal has a scope, and the first of each signs in the bench.
        let signers: Vec<String> =
            (scope..PRINCIPALS).step_by(SCOPES - 1).map(|number| format!("p{number}")).collect();
        let _ = write!(
            text,
            "[[scope]]\nname = \"role-{scope}\"\npaths = [\"roles/r{scope:02}/**\"]\nsigners = {signers:?}\n"
        );
    }
    text
}

/// The history for `git fast-import`, unsigned: each commit changes a file of a role.
fn import(people: &[SigningKey], number: usize) -> String {
    let mut text = String::new();
    let file = |text: &mut String, path: &str, content: &str| {
        let _ = write!(text, "M 100644 inline {path}\ndata {}\n{content}\n", content.len());
    };
    let commit = |text: &mut String, message: &str| {
        let _ = write!(
            text,
            "commit refs/heads/unsigned\ncommitter A <a@example.org> 1780000000 +0000\ndata {}\n{message}\n",
            message.len()
        );
    };
    commit(&mut text, "Begin");
    file(&mut text, "trust.toml", &policy(people));
    file(&mut text, "fleet.toml", "[fleet]\nname = \"bench\"\n");
    for host in 0..HOSTS {
        file(&mut text, &format!("hosts/h{host:03}.toml"), &format!("[labels]\nnumber = \"{host}\"\n"));
    }
    for role in 0..SCOPES - 1 {
        for name in ["role.toml", "a.conf", "b.conf", "c.conf", "d.conf"] {
            let content: String =
                (0..40).fold(String::new(), |text, line| format!("{text}setting-{line} = {role}\n"));
            file(&mut text, &format!("roles/r{role:02}/{name}"), &content);
        }
    }
    for step in 1..=number {
        commit(&mut text, "Change");
        let name = ["role.toml", "a.conf", "b.conf", "c.conf", "d.conf"][step % 5];
        let content: String = (0..40).fold(String::new(), |text, line| {
            format!("{text}setting-{line} = {}\n", if line == step % 40 { step } else { line })
        });
        file(&mut text, &format!("roles/r{:02}/{name}", signer(step)), &content);
    }
    text
}

fn signed(tree: &str, parent: Option<&ObjectId>, secret: &SigningKey, number: usize) -> Vec<u8> {
    let parent = parent.map(|id| format!("parent {id}\n")).unwrap_or_default();
    let who = "A U Thor <a@example.org> 1780000000 +0000";
    let head = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n");
    let message = format!("Change number {number}\n\nIt says why, in a sentence or two, as commits do.\n");
    let signature = secret.sign(&signed_data(GIT, Hash::Sha512, format!("{head}\n{message}").as_bytes()));
    let armoured = Envelope::new(public(secret), GIT, Hash::Sha512, signature.to_bytes(), None).armoured();
    format!("{head}gpgsig {}\n\n{message}", armoured.trim_end().replace('\n', "\n ")).into_bytes()
}

/// Git's own server behind nginx where it can be had, or the folder itself.
struct Server {
    kind: &'static str,
    url: String,
    authority: Option<PathBuf>,
    state: PathBuf,
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/git-server");

impl Server {
    fn start(folder: &Path) -> Server {
        let (repositories, state) = (folder.join("repositories"), folder.join("server"));
        let output = Command::new(SCRIPT)
            .args(["start", "https", "--repositories"])
            .arg(&repositories)
            .arg("--state")
            .arg(&state)
            .output()
            .expect("the script");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let fact = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        match (fact("URL"), fact("CA")) {
            (Some(url), Some(authority)) if output.status.success() => Server {
                kind: "https",
                url: format!("{url}/fleet.git"),
                authority: Some(authority.into()),
                state,
            },
            _ => Server {
                kind: "a local folder (no https: needs root and nginx)",
                url: repositories.join("fleet.git").display().to_string(),
                authority: None,
                state,
            },
        }
    }

    fn poll(&self, spool: &Path) -> u64 {
        let source = Source {
            urls: vec![self.url.clone()],
            reference: "refs/heads/main".into(),
            deadline: Span::minutes(10),
            ca_file: self.authority.clone(),
            ..Source::default()
        };
        let note = fetch::poll_with(&source, &Limits::default(), spool, None, NOW);
        assert!(note.problems.is_empty() && note.changed, "{note:#?}");
        note.received
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.authority.is_some() {
            let _ = Command::new(SCRIPT).arg("stop").arg(&self.state).status();
        }
    }
}

fn git(repository: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(repository)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("git ends")
    });
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
