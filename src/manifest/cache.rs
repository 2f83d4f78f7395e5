//! The compiled desired state on disk, so that a run on which nothing changed reads one file instead of a repository.
//!
//! It is a cache: whatever is wrong with it only means that it is made anew.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Desired, HostIdentity};
use crate::system::facts::Facts;

/// What a compiled desired state was made of; another key means that it must be made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheKey {
    /// The commit in hex.
    pub commit: String,
    /// [`Facts::digest`](crate::system::facts::Facts::digest).
    pub facts: String,
    /// Digest of the settings that rendering depends on: the host's name and labels.
    pub settings: String,
    /// The program's version: another one may read a manifest differently.
    pub version: String,
}

impl CacheKey {
    /// The key of this commit on this host, for this version of the program.
    pub fn new(commit: &str, facts: &Facts, identity: &HostIdentity) -> CacheKey {
        // Names and labels are strings: their JSON is as good as any other unambiguous form.
        let settings = serde_json::to_string(&(&identity.name, &identity.labels)).unwrap_or_default();
        CacheKey {
            commit: commit.to_owned(),
            facts: facts.digest(),
            settings,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The key in one line, to be compared with another.
    pub fn digest(&self) -> String {
        use sha2::Digest as _;
        let mut hasher = sha2::Sha256::new();
        for part in [&self.commit, &self.facts, &self.settings, &self.version] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the file begins with. The last byte changes with the form of the file.
const MAGIC: &[u8; 8] = b"abideDS\x04";

/// Where drift of a desired state can show: all that the agent has to know of it. It stands in the file before the rest, so that
/// the agent, which stays in memory, never has to make the whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Files, links and directories.
    pub paths: BTreeSet<PathBuf>,
    /// Directories with everything below them.
    pub folders: BTreeSet<PathBuf>,
    /// Units by full name.
    pub units: BTreeSet<String>,
    /// Whether packages are declared.
    pub packages: bool,
}

impl Watched {
    /// Reads it from the file of a desired state; `None` where there is none.
    pub fn load(path: &Path) -> Option<Watched> {
        let bytes = std::fs::read(path).ok()?;
        let (_, watched, _) = parts(&bytes)?;
        postcard::from_bytes(watched).ok()
    }
}

/// Key, what is to be watched, and the desired state, out of an undamaged file.
fn parts(bytes: &[u8]) -> Option<(CacheKey, &[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, body) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return None;
    }
    let (key, body) = postcard::take_from_bytes::<CacheKey>(body).ok()?;
    let (watched, desired) = postcard::take_from_bytes::<&[u8]>(body).ok()?;
    Some((key, watched, desired))
}

impl Desired {
    /// Writes the file, durably: whole or not at all, readable by its owner only.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, path: &Path, key: &CacheKey, watched: &Watched) -> std::io::Result<()> {
        let watched = postcard::to_stdvec(watched).map_err(std::io::Error::other)?;
        let mut body = postcard::to_stdvec(&(key, watched.as_slice())).map_err(std::io::Error::other)?;
        body.extend(postcard::to_stdvec(self).map_err(std::io::Error::other)?);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(crc32fast::hash(&body).to_le_bytes());
        bytes.extend(body);
        crate::system::replace::replace(path, &bytes, 0o600)
    }

    /// Reads the file back, with what it was made of; `None` when there is none, or it is damaged.
    pub fn load(path: &Path) -> Option<(CacheKey, Desired)> {
        let bytes = std::fs::read(path).ok()?;
        let (key, _, desired) = parts(&bytes)?;
        Some((key, postcard::from_bytes(desired).ok()?))
    }
}

/// A desired state that is being read, which for thousands of resources takes milliseconds in which other things can be done.
pub struct Reading {
    thread: std::thread::JoinHandle<Option<(CacheKey, Desired)>>,
}

impl Reading {
    /// Begins to read the file.
    pub fn begin(path: PathBuf) -> Reading {
        Reading { thread: std::thread::spawn(move || Desired::load(&path)) }
    }

    /// Waits for it: as [`Desired::load`].
    pub fn finish(self) -> Option<(CacheKey, Desired)> {
        match self.thread.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Rendered, render, tree::testing::MemoryTree};
    use crate::trust::Revision;

    fn key() -> CacheKey {
        CacheKey { commit: "c".into(), facts: "f".into(), settings: "s".into(), version: "1".into() }
    }

    fn rendered(count: usize) -> Rendered {
        let links: String = (0..count)
            .map(|number| format!("[symlink.\"/etc/many/{number}\"]\ntarget = \"to-{number}\"\n"))
            .collect();
        let tree = MemoryTree::of(&[
            ("fleet.toml", "[fleet]\nname = \"f\"\nschema = 1\n[[assign]]\nroles = [\"many\"]\n"),
            ("roles/many/role.toml", &links),
        ]);
        render(&tree, &HostIdentity::default(), &Default::default()).unwrap()
    }

    fn desired(count: usize) -> Desired {
        let revision = Revision {
            reference: "refs/heads/main".into(),
            commit: "c".into(),
            tree: "t".into(),
            payload: "p".into(),
            signer: "s".into(),
            key: "k".into(),
            time: 0,
            summary: "m".into(),
        };
        Desired { revision, rendered: rendered(count) }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desired");
        let desired = desired(20);
        let watched = Watched { paths: ["/etc/many/1".into()].into(), packages: true, ..Watched::default() };
        desired.save(&path, &key(), &watched).unwrap();
        assert_eq!(Watched::load(&path), Some(watched));
        assert_eq!(Desired::load(&path), Some((key(), desired)));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn another_key_shows_and_a_flipped_bit_means_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desired");
        assert_eq!(Desired::load(&path), None);
        desired(3).save(&path, &key(), &Watched::default()).unwrap();
        for other in [
            CacheKey { commit: "x".into(), ..key() },
            CacheKey { facts: "x".into(), ..key() },
            CacheKey { settings: "x".into(), ..key() },
            CacheKey { version: "x".into(), ..key() },
        ] {
            assert_ne!(Desired::load(&path).unwrap().0, other);
        }
        let good = std::fs::read(&path).unwrap();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(Desired::load(&path), None, "byte {position}");
        }
        for length in [0, 5, 11, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert_eq!(Desired::load(&path), None);
        }
    }
}
