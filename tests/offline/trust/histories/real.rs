//! A history made real: Git's objects in memory, with signatures that hold, or do not.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use abide::config::Span;
use abide::source::{Entry, ObjectError, Objects};
use abide::trust::heartbeat::{self, Heartbeat};
use abide::trust::key::{PublicKey, ed25519_blob};
use abide::trust::sshsig::{Envelope, GIT, Hash, signed_data, touched_data};
use abide::trust::{FreshnessMode, FreshnessRule, Introduction, IntroductionKey, RootOfTrust};
use ed25519_dalek::{Signer, SigningKey};
use gix::ObjectId;
use gix::objs::Kind;

use super::history::{self, Content, History, Key, Policy, Quality, Signature, Time, Tree};

/// Day 0, 2026-01-01.
const BEGINNING: i64 = 1_767_225_600;
const SECURITY_KEY: &str = "sk-ssh-ed25519@openssh.com";

/// The last second of a day.
pub fn seconds(day: Time) -> i64 {
    BEGINNING + day * 86400
}

/// The objects of a history.
#[derive(Default)]
pub struct Real {
    objects: HashMap<ObjectId, (Kind, Vec<u8>)>,
    /// The names of the commits, by their numbers.
    pub ids: Vec<ObjectId>,
    /// The names of the tags.
    pub tags: Vec<ObjectId>,
    /// The names of the commits that hold heartbeats.
    pub heartbeats: Vec<ObjectId>,
}

struct Pair {
    secret: SigningKey,
    public: PublicKey,
}

static KEYS: LazyLock<Vec<Pair>> = LazyLock::new(|| (0..=u8::MAX).map(pair).collect());

fn pair(number: u8) -> Pair {
    let secret = SigningKey::from_bytes(&[number; 32]);
    let point = secret.verifying_key().to_bytes();
    let blob = if number < Key::TOUCHED {
        ed25519_blob(&point)
    } else {
        let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        [field(SECURITY_KEY.as_bytes()), field(&point), field(b"ssh:")].concat()
    };
    Pair { secret, public: PublicKey::from_blob(&blob).unwrap() }
}

/// The key, as the policy and the signatures have it.
pub fn public(key: Key) -> &'static PublicKey {
    &KEYS[usize::from(key.0)].public
}

impl Real {
    pub fn new(history: &History) -> Real {
        let mut real = Real::default();
        let trees: Vec<ObjectId> = history.trees().iter().map(|tree| real.tree_object(tree)).collect();
        for id in 0..history.commits.len() {
            let raw = real.raw_commit(history, &trees, id);
            let name = real.add(Kind::Commit, raw);
            real.ids.push(name);
        }
        for (number, tag) in history.tags.iter().enumerate() {
            let payload = format!(
                "object {}\ntype commit\ntag abide/approve/{number}\ntagger A <a@example.org> {BEGINNING} +0000\n\nYes\n",
                real.ids[tag.on]
            );
            let armoured = match tag.signature {
                Signature::None => String::new(),
                Signature::By(key, quality) => sign(key, GIT, quality, payload.as_bytes()),
            };
            let name = real.add(Kind::Tag, format!("{payload}{armoured}").into_bytes());
            real.tags.push(name);
        }
        for heartbeat in &history.heartbeats {
            let name = real.heartbeat(heartbeat);
            real.heartbeats.push(name);
        }
        real
    }

    pub fn root(&self, history: &History) -> RootOfTrust {
        RootOfTrust {
            fleet: "ours".into(),
            reference: "refs/heads/main".into(),
            introduction: Introduction {
                commit: self.ids[history.host.introduction].to_string(),
                key: IntroductionKey::Key(Box::new(public(history.host.key).clone())),
            },
            break_glass: Vec::new(),
            freshness: FreshnessRule {
                mode: match history.host.requires_freshness {
                    true => FreshnessMode::Require,
                    false => FreshnessMode::Warn,
                },
                max_age: history
                    .host
                    .max_age
                    .map(|days| Span { seconds: u64::try_from(days).unwrap() * 86400 }),
            },
        }
    }

    /// The number of a commit, by its name.
    pub fn number(&self, hex: &str) -> usize {
        let wanted = ObjectId::from_hex(hex.as_bytes()).unwrap();
        self.ids.iter().position(|id| *id == wanted).unwrap()
    }

    /// The number of a heartbeat, by the name of its commit.
    pub fn heartbeat_number(&self, hex: &str) -> usize {
        let wanted = ObjectId::from_hex(hex.as_bytes()).unwrap();
        self.heartbeats.iter().position(|id| *id == wanted).unwrap()
    }

    fn heartbeat(&mut self, said: &history::Heartbeat) -> ObjectId {
        let raw = self.commit(self.ids[said.payload]).unwrap();
        let commit = abide::trust::commit::Commit::parse(&raw, gix::hash::Kind::Sha1);
        let statement = Heartbeat {
            fleet: said.fleet.into(),
            reference: "refs/heads/main".into(),
            tip: self.ids[said.tip].to_string(),
            payload: commit.map_or_else(|_| "0".repeat(64), |commit| commit.payload_hash()),
            sequence: said.sequence,
            issued: seconds(said.issued),
            expires: seconds(said.expires),
        };
        let mut text = statement.text().unwrap();
        if let Signature::By(key, quality) = said.signature {
            text.push_str(&sign(key, heartbeat::NAMESPACE, quality, text.as_bytes()));
        }
        let blob = self.add(Kind::Blob, text.into_bytes());
        let tree = [b"100644 heartbeat\0".as_slice(), blob.as_slice()].concat();
        let tree = self.add(Kind::Tree, tree);
        let who = format!("A <a@example.org> {BEGINNING} +0000");
        self.add(
            Kind::Commit,
            format!("tree {tree}\nauthor {who}\ncommitter {who}\n\nHeartbeat\n").into_bytes(),
        )
    }

    fn add(&mut self, kind: Kind, bytes: Vec<u8>) -> ObjectId {
        let id = gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, &bytes).unwrap();
        self.objects.insert(id, (kind, bytes));
        id
    }

    fn tree_object(&mut self, tree: &Tree) -> ObjectId {
        let mut folders: BTreeMap<&str, Vec<(String, &str, ObjectId)>> = BTreeMap::from([("", Vec::new())]);
        for (path, content) in tree {
            let (mode, id) = self.leaf(content);
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            for parent in std::iter::successors(Some(folder), |at| at.rsplit_once('/').map(|(up, _)| up)) {
                folders.entry(parent).or_default();
            }
            folders.get_mut(folder).unwrap().push((name.to_owned(), mode, id));
        }
        // Longer paths come later in this order, so that folders are made before what holds them.
        while let Some((path, mut entries)) = folders.pop_last() {
            let order = |(name, mode, _): &(String, &str, ObjectId)| {
                if *mode == "40000" { format!("{name}/") } else { name.clone() }
            };
            entries.sort_by_key(order);
            let mut raw = Vec::new();
            for (name, mode, id) in &entries {
                raw.extend_from_slice(format!("{mode} {name}\0").as_bytes());
                raw.extend_from_slice(id.as_slice());
            }
            let id = self.add(Kind::Tree, raw);
            if path.is_empty() {
                return id;
            }
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            folders.get_mut(above).unwrap().push((name.to_owned(), "40000", id));
        }
        unreachable!("the root is a folder")
    }

    fn leaf(&mut self, content: &Content) -> (&'static str, ObjectId) {
        let (mode, bytes) = match content {
            Content::Text(number) => ("100644", format!("# {number}\n")),
            Content::Program(number) => ("100755", format!("# {number}\n")),
            Content::Policy(policy) => ("100644", toml(policy)),
            Content::BrokenPolicy => ("100644", "version = \"first\"\n".to_owned()),
            Content::LinkInside => ("120000", "a".to_owned()),
            Content::LinkOutside => ("120000", "../../../etc/shadow".to_owned()),
            Content::Submodule => return ("160000", ObjectId::from_bytes_or_panic(&[7; 20])),
        };
        (mode, self.add(Kind::Blob, bytes.into_bytes()))
    }

    fn raw_commit(&self, history: &History, trees: &[ObjectId], id: usize) -> Vec<u8> {
        let commit = &history.commits[id];
        let original = commit.twin.unwrap_or(id);
        let mut head = format!("tree {}\n", trees[original]);
        for parent in &commit.parents {
            head.push_str(&format!("parent {}\n", self.ids[*parent]));
        }
        let who = format!("A <a@example.org> {BEGINNING} +0000");
        head.push_str(&format!("author {who}\ncommitter {who}\n"));
        let mut message = format!("Commit {original}\n");
        if let Some(approved) = commit.approves {
            message.push_str(&format!("\nApproves-tree: {}\n", trees[approved]));
        }
        let Signature::By(key, quality) = commit.signature else {
            return format!("{head}\n{message}").into_bytes();
        };
        if quality == Quality::StrangeHeader {
            head.push_str("HG:extra x\n");
        }
        let payload = format!("{head}\n{message}");
        let armoured = sign(key, GIT, quality, payload.as_bytes());
        format!("{head}gpgsig {}\n\n{message}", armoured.trim_end().replace('\n', "\n ")).into_bytes()
    }

    fn read(&self, id: ObjectId, wanted: Kind) -> Result<Vec<u8>, ObjectError> {
        match self.objects.get(&id) {
            Some((kind, bytes)) if *kind == wanted => Ok(bytes.clone()),
            Some((kind, _)) => Err(ObjectError::Malformed { id, reason: format!("it is a {kind}") }),
            None => Err(ObjectError::Missing { id }),
        }
    }
}

fn sign(key: Key, namespace: &str, quality: Quality, payload: &[u8]) -> String {
    if quality == Quality::OpenPgp {
        return "-----BEGIN PGP SIGNATURE-----\n\niHUEABYK\n-----END PGP SIGNATURE-----\n".to_owned();
    }
    let Pair { secret, public } = &KEYS[usize::from(key.0)];
    let namespace = if quality == Quality::OtherNamespace { "file" } else { namespace };
    let payload = if quality == Quality::OtherContent { b"something else".as_slice() } else { payload };
    let mut data = signed_data(namespace, Hash::Sha512, payload);
    let touch = public.application().map(|_| (u8::from(quality != Quality::Untouched), 7));
    if let Some((flags, counter)) = touch {
        data = touched_data("ssh:", flags, counter, &data);
    }
    let signature = secret.sign(&data).to_bytes();
    let armoured = Envelope::new(public.clone(), namespace, Hash::Sha512, signature, touch).armoured();
    match quality {
        Quality::Rewrapped => {
            let lines: Vec<&str> = armoured.lines().collect();
            let joined = format!("{}{}", lines[1], lines[2]);
            let (first, second) = joined.split_at(20);
            armoured.replacen(&format!("{}\n{}", lines[1], lines[2]), &format!("{first}\n{second}"), 1)
        }
        _ => armoured,
    }
}

/// The policy as people write it.
fn toml(policy: &Policy) -> String {
    let mut text = format!(
        "version = {}\nfleet = \"{}\"\nref = \"refs/heads/{}\"\n",
        policy.version, policy.fleet, policy.branch
    );
    if policy.too_new {
        text.push_str("minimum-agent = \"999.0\"\n");
    }
    let keys = |keys: &[(Key, Option<Time>)]| {
        let keys = keys.iter().map(|(key, last)| {
            let last = last.map(|day| jiff::Timestamp::from_second(seconds(day)).unwrap());
            let last = last.map_or_else(String::new, |time| format!(", not-after = {time}"));
            format!("{{ key = \"{}\"{last} }}", public(*key))
        });
        keys.collect::<Vec<_>>().join(", ")
    };
    if !policy.heartbeat_keys.is_empty() {
        text.push_str(&format!("[heartbeat]\nkeys = [{}]\n", keys(&policy.heartbeat_keys)));
    }
    for (name, own) in &policy.principals {
        text.push_str(&format!("[principal.{name}]\nkeys = [{}]\n", keys(own)));
    }
    for scope in &policy.scopes {
        let paths: Vec<String> = scope.paths.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "[[scope]]\nname = \"{}\"\npaths = {paths:?}\nsigners = {:?}\nthreshold = {}\nmerge = \"{}\"\n",
            scope.name,
            scope.signers.iter().collect::<Vec<_>>(),
            scope.threshold,
            if scope.seal { "seal" } else { "signed" }
        ));
    }
    text
}

impl Objects for Real {
    fn commit(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
        self.read(id, Kind::Commit)
    }

    fn tag(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
        self.read(id, Kind::Tag)
    }

    fn tree(&self, id: ObjectId) -> Result<Vec<Entry>, ObjectError> {
        abide::source::tree_entries(id, &self.read(id, Kind::Tree)?)
    }

    fn blob(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
        self.read(id, Kind::Blob)
    }
}
