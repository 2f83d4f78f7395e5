//! Hashes of files that have not changed since they were hashed.
//!
//! A record is found by device and inode and believed only if size, modification and change time are the same to the
//! nanosecond. Time stamps are coarse (a clock tick; a second on some file systems), so that a file can change twice within one
//! stamp: a hash is recorded only if both stamps were older than [`MARGIN`] when the hashing began. A fresh file
//! is therefore hashed once more by the next run.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

use super::{FsError, replace};

/// Two seconds are the coarsest stamps in use (FAT); half a second is for the clock tick and for reading the clock early.
pub(crate) const MARGIN: i64 = 2_500_000_000;

const MAGIC: &[u8; 8] = b"abidefp1";
const RECORD: usize = 72;

/// What a stat call says that changes whenever content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since the epoch.
    pub(crate) modified: i64,
    /// Nanoseconds since the epoch.
    pub(crate) changed: i64,
}

impl Identity {
    fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether both stamps are old enough, at the time `taken`, that a later change cannot carry the same ones.
    pub(crate) fn settled(&self, taken: i64) -> bool {
        self.modified.max(self.changed) < taken.saturating_sub(MARGIN)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    identity: Identity,
    sha256: [u8; 32],
}

/// The cache of content hashes. Losing it costs time, nothing else.
#[derive(Debug, Default)]
pub struct Fingerprints {
    /// Sorted by device and inode, each once.
    records: Vec<Record>,
    changed: bool,
}

/// What one observation found out about hashes.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Positions of records that were right.
    used: Vec<u32>,
    fresh: Vec<Record>,
}

impl Findings {
    pub(crate) fn hashed(&mut self, identity: Identity, sha256: [u8; 32]) {
        self.fresh.push(Record { identity, sha256 });
    }
}

impl Fingerprints {
    /// Reads the cache; one that is missing or damaged is empty.
    pub fn load(path: &Path) -> Fingerprints {
        let records = super::read_file(path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Fingerprints { records, changed: false }
    }

    /// Writes the cache if anything changed: atomically, readable by root only. It is not synced: a cache that a power cut damaged is empty.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&mut self, path: &Path) -> Result<(), FsError> {
        if self.changed {
            replace(path, &encode(&self.records), false)?;
            self.changed = false;
        }
        Ok(())
    }

    /// How many files it knows.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The hash of a file that is still as it was.
    pub(crate) fn find(&self, identity: &Identity, findings: &mut Findings) -> Option<[u8; 32]> {
        let position =
            self.records.binary_search_by_key(&identity.key(), |record| record.identity.key()).ok()?;
        let record = self.records.get(position)?;
        if record.identity != *identity {
            return None;
        }
        findings.used.extend(u32::try_from(position));
        Some(record.sha256)
    }

    /// Takes over what an observation found. Records of files that are no longer looked at go once they are the majority.
    pub(crate) fn learn(&mut self, findings: Vec<Findings>) {
        let fresh: Vec<Record> = findings.iter().flat_map(|part| part.fresh.iter().copied()).collect();
        if fresh.is_empty() {
            return;
        }
        let used: usize = findings.iter().map(|part| part.used.len()).sum();
        let mut records = if self.records.len() > 2 * (used + fresh.len()) {
            let used = findings.iter().flat_map(|part| part.used.iter());
            used.filter_map(|position| self.records.get(*position as usize).copied()).collect()
        } else {
            std::mem::take(&mut self.records)
        };
        records.extend(fresh);
        // Stable: of records for one inode the latest is the last.
        records.sort_by_key(|record| record.identity.key());
        records.reverse();
        records.dedup_by_key(|record| record.identity.key());
        records.reverse();
        self.records = records;
        self.changed = true;
    }
}

/// Magic, records, and the first half of the SHA-256 of everything before it. Numbers are little-endian.
fn encode(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + records.len() * RECORD + 16);
    bytes.extend_from_slice(MAGIC);
    for Record { identity, sha256 } in records {
        for number in [identity.device, identity.inode, identity.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&identity.modified.to_le_bytes());
        bytes.extend_from_slice(&identity.changed.to_le_bytes());
        bytes.extend_from_slice(sha256);
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Record>> {
    let (content, sum) = bytes.split_last_chunk::<16>()?;
    if checksum(content) != *sum {
        return None;
    }
    let (chunks, rest) = content.strip_prefix(MAGIC)?.as_chunks::<RECORD>();
    let records: Vec<Record> = chunks.iter().map(record).collect();
    let sorted = records.is_sorted_by(|a, b| a.identity.key() < b.identity.key());
    (rest.is_empty() && sorted).then_some(records)
}

fn record(bytes: &[u8; RECORD]) -> Record {
    let (numbers, sha256) = bytes.split_at(40);
    let number = |index: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&numbers[index * 8..index * 8 + 8]);
        u64::from_le_bytes(eight)
    };
    let mut hash = [0; 32];
    hash.copy_from_slice(sha256);
    let identity = Identity {
        device: number(0),
        inode: number(1),
        size: number(2),
        modified: number(3).cast_signed(),
        changed: number(4).cast_signed(),
    };
    Record { identity, sha256: hash }
}

fn checksum(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(bytes)[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, size: 5, modified: 1_000, changed: 2_000 }
    }

    fn knowing(inodes: impl IntoIterator<Item = u64>) -> Fingerprints {
        let mut fingerprints = Fingerprints::default();
        let mut findings = Findings::default();
        for inode in inodes {
            findings.hashed(identity(inode), [inode as u8; 32]);
        }
        fingerprints.learn(vec![findings]);
        fingerprints
    }

    #[test]
    fn every_part_of_the_identity_counts() {
        let fingerprints = knowing([7, 3, 9]);
        let known = identity(3);
        let mut findings = Findings::default();
        for (asked, expected) in [
            (known, Some([3; 32])),
            (Identity { device: 2, ..known }, None),
            (Identity { inode: 4, ..known }, None),
            (Identity { size: 6, ..known }, None),
            (Identity { modified: 1_001, ..known }, None),
            (Identity { changed: 2_001, ..known }, None),
        ] {
            assert_eq!(fingerprints.find(&asked, &mut findings), expected, "{asked:?}");
        }
        assert_eq!(findings.used.len(), 1);
    }

    #[test]
    fn stamps_must_be_older_than_the_margin() {
        let taken = 10_000_000_000;
        for (modified, changed, expected) in [
            (0, 0, true),
            (taken - MARGIN - 1, 0, true),
            (taken - MARGIN, 0, false),
            (0, taken - MARGIN, false),
            (0, taken + 5, false),
        ] {
            let identity = Identity { modified, changed, ..identity(1) };
            assert_eq!(identity.settled(taken), expected, "{modified} {changed}");
        }
    }

    #[test]
    fn it_survives_its_file_and_damage_empties_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fingerprints");
        let mut fingerprints = knowing(0..100);
        fingerprints.save(&path).unwrap();
        assert_eq!(Fingerprints::load(&path).records, fingerprints.records);

        let good = std::fs::read(&path).unwrap();
        for position in [0, 8, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(Fingerprints::load(&path).is_empty(), "flipped a bit at {position}");
        }
        std::fs::write(&path, &good[..good.len() - RECORD]).unwrap();
        assert!(Fingerprints::load(&path).is_empty());
        assert!(Fingerprints::load(&folder.path().join("absent")).is_empty());
    }

    #[test]
    fn it_is_written_only_when_something_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fingerprints");
        let mut fingerprints = knowing([1]);
        fingerprints.save(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        fingerprints.learn(vec![Findings::default()]);
        fingerprints.save(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_latest_hash_of_an_inode_wins_and_forgotten_files_go() {
        let mut fingerprints = knowing(0..100);
        let mut findings = Findings::default();
        assert!(fingerprints.find(&identity(5), &mut findings).is_some());
        findings.hashed(Identity { changed: 3_000, ..identity(6) }, [66; 32]);
        fingerprints.learn(vec![findings]);
        assert_eq!(fingerprints.len(), 2);
        let found = fingerprints.find(&Identity { changed: 3_000, ..identity(6) }, &mut Findings::default());
        assert_eq!(found, Some([66; 32]));
    }
}
