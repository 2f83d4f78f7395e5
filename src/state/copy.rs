//! A second copy of the single facts beside the database: what a host believes must outlive the file that it is kept in.
//!
//! **Invariant:** the copy is read only to put the state together again. It is as trustworthy as the database: it lies in the same
//! folder, which only root can write, and has a checksum against accidents.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::facts::{News, TimeSeen};
use super::{Mark, State, StateError, open};

/// The file's name.
const COPY: &str = "state.copy";

/// Facts that a rebuilt state has to find out anew: they are about what is in its tables.
pub(super) const NOT_COPIED: &[&str] = &["settled", super::schema::FACT];

/// The time that is remembered may be so much later than the copy says, in seconds: it is written with every run that writes.
const TIME_STEP: i64 = 3600;

/// Names and values, as JSON, of all facts.
pub(super) type Facts = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    sum: String,
    facts: Facts,
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(COPY)
}

/// The copy; `None` where there is none that is whole.
pub(super) fn read(folder: &Path) -> Option<Facts> {
    let path = path(folder);
    open::look(&path).ok()??;
    let copy: Copy = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (copy.sum == sum(&copy.facts)).then_some(copy.facts)
}

pub(super) fn value<T: serde::de::DeserializeOwned>(facts: &Facts, name: &str) -> Option<T> {
    serde_json::from_str(facts.get(name)?).ok()
}

/// The facts of a database that may be damaged, and what the copy knows better: a mark, a time and statements that were used can only
/// be newer. What is in the copy alone counts where not all facts of the database could be read.
pub(super) fn merge(mut found: Facts, copied: &Facts, whole: bool) -> Facts {
    let (ours, theirs): (Option<Mark>, Option<Mark>) =
        (value(&found, "high-water"), value(copied, "high-water"));
    let mut newer: Vec<&str> = Vec::new();
    if theirs.map(|mark| mark.time) > ours.map(|mark| mark.time) {
        newer.push("high-water");
    }
    let floor = |facts| value::<TimeSeen>(facts, "time").map(|seen| seen.floor);
    if floor(copied) > floor(&found) {
        newer.push("time");
    }
    let issued = |facts| value::<News>(facts, "news").and_then(|news| news.heartbeat).map(|beat| beat.issued);
    if issued(copied) > issued(&found) {
        newer.push("news");
    }
    if !found.contains_key("beginning") {
        newer.push("beginning");
    }
    for (name, text) in copied {
        if newer.contains(&name.as_str()) || !whole && !found.contains_key(name) {
            found.insert(name.clone(), text.clone());
        }
    }
    let mut nonces: BTreeMap<String, i64> = value(copied, "nonces").unwrap_or_default();
    nonces.extend(value::<BTreeMap<String, i64>>(&found, "nonces").unwrap_or_default());
    if !nonces.is_empty() {
        found.insert("nonces".into(), serde_json::to_string(&nonces).unwrap_or_default());
    }
    found
}

impl State {
    /// Brings the copy up to date; writes nothing where it is.
    ///
    /// # Errors
    /// The state cannot be read, or the copy not be written.
    pub fn keep_copy(&self) -> Result<(), StateError> {
        let mut facts = self.all_facts()?;
        facts.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        if read(folder).is_some_and(|copied| is_same(&facts, &copied)) {
            return Ok(());
        }
        let copy = Copy { sum: sum(&facts), facts };
        let path = path(folder);
        let bytes = serde_json::to_vec(&copy).unwrap_or_default();
        crate::system::replace::replace(&path, &bytes, 0o600).map_err(|source| open::io(&path, source))
    }

    /// Removes the copy, until the next run makes one.
    pub(super) fn forget_copy(&self) -> Result<(), StateError> {
        let path = path(self.path.parent().unwrap_or(Path::new("/")));
        match crate::system::replace::remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(open::io(&path, error)),
            _ => Ok(()),
        }
    }

    /// Whether the copy knows a newer mark: then the database is one from before, or its log is gone.
    ///
    /// # Errors
    /// It does.
    pub fn check_copy(&self) -> Result<(), StateError> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let copied: Option<Mark> = read(folder).as_ref().and_then(|facts| value(facts, "high-water"));
        if copied.map(|mark| mark.time) > self.high_water()?.map(|mark| mark.time) {
            return Err(self.damaged("it is older than the copy of what this host believes"));
        }
        Ok(())
    }
}

fn is_same(facts: &Facts, copied: &Facts) -> bool {
    let others = |facts: &Facts| -> Facts {
        facts
            .iter()
            .filter(|(name, _)| *name != "time")
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect()
    };
    let floor = |facts| value::<TimeSeen>(facts, "time").map_or(0, |seen| seen.floor);
    others(facts) == others(copied) && floor(facts).abs_diff(floor(copied)) < TIME_STEP.unsigned_abs()
}

fn sum(facts: &Facts) -> String {
    let mut hasher = Sha256::new();
    for (name, text) in facts {
        for part in [name, text] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
