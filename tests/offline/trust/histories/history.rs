//! Histories as the model sees them: who changed what on top of what, without bytes, hashes or signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Everything that is known of a branch's world: all commits that anybody made, and what a host is shown of them.
#[derive(Clone)]
pub struct History {
    pub host: Host,
    /// In order of making: parents have lower numbers than their children.
    pub commits: Vec<Commit>,
    pub tags: Vec<Tag>,
    pub heartbeats: Vec<Heartbeat>,
    pub polls: Vec<Poll>,
}

/// The root of trust.
#[derive(Clone)]
pub struct Host {
    pub introduction: usize,
    pub key: Key,
    /// It applies only what a heartbeat names.
    pub requires_freshness: bool,
    /// Days after which a heartbeat is old.
    pub max_age: Option<Time>,
}

/// What a host is offered, and when.
#[derive(Clone)]
pub struct Poll {
    pub tip: usize,
    pub now: Time,
    /// Tags that may approve something.
    pub tags: Vec<usize>,
    pub heartbeat: Option<usize>,
}

/// Somebody says where the branch is.
#[derive(Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub tip: usize,
    /// The payload is this commit's, which should be the tip.
    pub payload: usize,
    pub fleet: &'static str,
    pub sequence: u64,
    pub issued: Time,
    pub expires: Time,
    pub signature: Signature,
}

/// A signed tag.
#[derive(Clone)]
pub struct Tag {
    pub on: usize,
    pub signature: Signature,
}

/// Days, from some day on.
pub type Time = i64;

/// A key by its number. Numbers from [`Key::TOUCHED`] on are security keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u8);

impl Key {
    pub const TOUCHED: u8 = 100;
}

#[derive(Clone)]
pub struct Commit {
    pub parents: Vec<usize>,
    /// What it makes of the merge of its parents' trees; `None` deletes.
    pub edits: Vec<(&'static str, Option<Content>)>,
    /// It carries the trailer `Approves-tree` with the tree of this commit, which may be itself.
    pub approves: Option<usize>,
    pub signature: Signature,
    /// Everything but its signature is the same as that commit's.
    pub twin: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    None,
    By(Key, Quality),
}

/// How a signature was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quality {
    Good,
    /// Over something else.
    OtherContent,
    /// In the namespace `file`.
    OtherNamespace,
    /// Good, but its base64 is wrapped in another way.
    Rewrapped,
    /// Good, over a commit with a header that Git does not write.
    StrangeHeader,
    /// An OpenPGP signature.
    OpenPgp,
    /// By a security key that nobody touched.
    Untouched,
}

pub type Tree = BTreeMap<&'static str, Content>;

#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    Text(u8),
    Program(u8),
    Policy(Policy),
    /// Text that is no policy.
    BrokenPolicy,
    LinkInside,
    LinkOutside,
    Submodule,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    pub version: u64,
    pub fleet: &'static str,
    pub branch: &'static str,
    /// It asks for an abide that does not exist yet.
    pub too_new: bool,
    pub principals: BTreeMap<&'static str, Vec<(Key, Option<Time>)>>,
    pub heartbeat_keys: Vec<(Key, Option<Time>)>,
    pub scopes: Vec<Scope>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Scope {
    pub name: &'static str,
    pub paths: Vec<Pattern>,
    pub signers: BTreeSet<&'static str>,
    pub threshold: usize,
    pub seal: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Pattern {
    Exactly(&'static str),
    Below(&'static str),
}

/// The policy's place.
pub const POLICY: &str = "trust.toml";
/// All other paths there are; the last one is a name that no tree may have.
pub const PATHS: &[&str] = &[
    "fleet.toml",
    "hosts/x.toml",
    "roles/db/a",
    "roles/db/b",
    "roles/web/a",
    "roles/web/b",
    "stray",
    "roles/web/.git",
];

impl History {
    /// The number of a heartbeat; of the first one, where several are the same to the letter and so are one object.
    pub fn same_heartbeat(&self, number: usize) -> usize {
        let one = &self.heartbeats[number];
        self.heartbeats.iter().position(|other| other == one).unwrap_or(number)
    }

    /// The tree of a commit: what merging its parents gives, and its own edits.
    pub fn tree(&self, id: usize) -> Tree {
        self.trees().swap_remove(id)
    }

    pub fn trees(&self) -> Vec<Tree> {
        let mut trees: Vec<Tree> = Vec::new();
        for commit in &self.commits {
            let mut tree = commit.parents.first().map_or_else(Tree::new, |parent| trees[*parent].clone());
            for side in commit.parents.iter().skip(1) {
                let base =
                    self.common(commit.parents[0], *side).map_or_else(Tree::new, |base| trees[base].clone());
                for path in trees[*side].keys().chain(base.keys()) {
                    if trees[*side].get(path) != base.get(path) {
                        set(&mut tree, path, trees[*side].get(path).cloned());
                    }
                }
            }
            for (path, content) in &commit.edits {
                set(&mut tree, path, content.clone());
            }
            trees.push(tree);
        }
        trees
    }

    /// The newest commit that both stand on.
    fn common(&self, one: usize, other: usize) -> Option<usize> {
        self.below(one).intersection(&self.below(other)).max().copied()
    }

    /// A commit and all its ancestors.
    pub fn below(&self, id: usize) -> BTreeSet<usize> {
        let mut below = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if below.insert(id) {
                open.extend(&self.commits[id].parents);
            }
        }
        below
    }

    /// The first-parent line from a commit down to its beginning.
    pub fn line(&self, id: usize) -> Vec<usize> {
        let first = |id: &usize| self.commits[*id].parents.first().copied();
        std::iter::successors(Some(id), first).collect()
    }

    /// The same without one commit: its children stand on its first parent. `None` when that cannot be.
    pub fn without(&self, gone: usize) -> Option<History> {
        let heir = self.commits[gone].parents.first().copied();
        let of = |id: usize| if id == gone { heir } else { Some(id) };
        let number = |id: usize| id - usize::from(id > gone);
        let moved = |id: usize| of(id).map(number);
        let mut commits = Vec::new();
        for (id, commit) in self.commits.iter().enumerate().filter(|(id, _)| *id != gone) {
            let mut parents: Vec<usize> = commit.parents.iter().filter_map(|parent| moved(*parent)).collect();
            let mut seen = BTreeSet::new();
            parents.retain(|parent| seen.insert(*parent));
            if commit.twin == Some(gone) || parents.is_empty() && id > 0 && !commit.parents.is_empty() {
                return None;
            }
            let approves = commit.approves.and_then(moved);
            commits.push(Commit { parents, approves, twin: commit.twin.map(number), ..commit.clone() });
        }
        let polls = self.polls.iter().map(|poll| Some(Poll { tip: moved(poll.tip)?, ..poll.clone() }));
        // A tag approves one commit and no other; this one approves nothing any more.
        let tag = |tag: &Tag| match tag.on == gone {
            true => Tag { on: 0, ..tag.clone() },
            false => Tag { on: number(tag.on), ..tag.clone() },
        };
        let heartbeat = |heartbeat: &Heartbeat| {
            let (tip, payload) = (moved(heartbeat.tip)?, moved(heartbeat.payload)?);
            Some(Heartbeat { tip, payload, ..heartbeat.clone() })
        };
        let introduction = of(self.host.introduction).map(number)?;
        Some(History {
            host: Host { introduction, ..self.host.clone() },
            commits,
            heartbeats: self.heartbeats.iter().map(heartbeat).collect::<Option<_>>()?,
            tags: self.tags.iter().map(tag).collect(),
            polls: polls.collect::<Option<_>>()?,
        })
    }
}

fn set(tree: &mut Tree, path: &'static str, content: Option<Content>) {
    match content {
        Some(content) => tree.insert(path, content),
        None => tree.remove(path),
    };
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Text(number) => write!(f, "text {number}"),
            Content::Program(number) => write!(f, "program {number}"),
            Content::Policy(policy) => write!(f, "{policy:?}"),
            Content::BrokenPolicy => f.write_str("no policy"),
            Content::LinkInside => f.write_str("link inside"),
            Content::LinkOutside => f.write_str("link outside"),
            Content::Submodule => f.write_str("submodule"),
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy { version, fleet, branch, too_new, principals, heartbeat_keys, scopes } = self;
        write!(f, "policy {version} of {fleet} {branch}")?;
        if *too_new {
            f.write_str(", too new")?;
        }
        for (name, keys) in principals {
            write!(f, "\n           {name}:")?;
            for (key, last) in keys {
                write!(f, " {key:?}")?;
                if let Some(last) = last {
                    write!(f, " until {last}")?;
                }
            }
        }
        if !heartbeat_keys.is_empty() {
            write!(f, "\n           heartbeats by {heartbeat_keys:?}")?;
        }
        for scope in scopes {
            let Scope { name, paths, signers, threshold, seal } = scope;
            let seal = if *seal { ", seal" } else { "" };
            write!(f, "\n           scope {name} {paths:?}: {threshold} of {signers:?}{seal}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exactly(path) => f.write_str(path),
            Pattern::Below("") => f.write_str("**"),
            Pattern::Below(folder) => write!(f, "{folder}/**"),
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Host { introduction, key, requires_freshness, max_age } = &self.host;
        write!(f, "introduction #{introduction} by {key:?}, max-age {max_age:?}")?;
        writeln!(f, "{}", if *requires_freshness { ", requires freshness" } else { "" })?;
        for (id, commit) in self.commits.iter().enumerate() {
            let parents: Vec<String> = commit.parents.iter().map(|parent| format!("#{parent}")).collect();
            write!(f, "#{id} on {}", parents.join(" "))?;
            match commit.signature {
                Signature::None => f.write_str(", unsigned")?,
                Signature::By(key, Quality::Good) => write!(f, ", by {key:?}")?,
                Signature::By(key, quality) => write!(f, ", by {key:?} {quality:?}")?,
            }
            if let Some(original) = commit.twin {
                write!(f, ", a twin of #{original}")?;
            }
            if let Some(approved) = commit.approves {
                write!(f, ", approves the tree of #{approved}")?;
            }
            for (path, content) in &commit.edits {
                match content {
                    Some(content) => write!(f, "\n       {path} = {content:?}")?,
                    None => write!(f, "\n       {path} deleted")?,
                }
            }
            writeln!(f)?;
        }
        for (number, tag) in self.tags.iter().enumerate() {
            let (key, quality) = match tag.signature {
                Signature::None => ("nobody".to_owned(), String::new()),
                Signature::By(key, Quality::Good) => (format!("{key:?}"), String::new()),
                Signature::By(key, quality) => (format!("{key:?}"), format!(" {quality:?}")),
            };
            writeln!(f, "tag {number} on #{} by {key}{quality}", tag.on)?;
        }
        for (number, heartbeat) in self.heartbeats.iter().enumerate() {
            let Heartbeat { tip, payload, fleet, sequence, issued, expires, signature } = heartbeat;
            let by = match signature {
                Signature::None => "nobody".to_owned(),
                Signature::By(key, quality) => format!("{key:?} {quality:?}"),
            };
            write!(f, "heartbeat {number} of {fleet}: #{tip} (payload of #{payload}), number {sequence}")?;
            writeln!(f, ", day {issued} to {expires}, by {by}")?;
        }
        for Poll { tip, now, tags, heartbeat } in &self.polls {
            writeln!(f, "day {now}: offered #{tip} with tags {tags:?} and heartbeat {heartbeat:?}")?;
        }
        Ok(())
    }
}
