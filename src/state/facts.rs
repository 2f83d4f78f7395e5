//! Single facts: what is believed and since when, applied revision, suspension, and what was last reported of each condition.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use super::{State, StateError, Told, to_json};
use crate::resource::Declared;
use crate::trust::{HeartbeatMark, HighWater, Revision};

/// The newest commit that this host has proven: nothing that does not descend from it is ever applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The commit's id in hex.
    pub commit: String,
    /// SHA-256 in hex of its signed payload.
    pub payload: String,
    /// When it was proven, seconds since the epoch.
    pub time: i64,
    /// The introduction, in hex, from which it was proven; empty when nobody remembers.
    #[serde(default)]
    pub introduction: String,
}

impl Mark {
    /// The mark as it is judged by.
    pub fn high_water(&self) -> HighWater {
        let Mark { commit, payload, introduction, .. } = self.clone();
        HighWater { commit, payload, introduction }
    }
}

/// Says that proving starts at the introduction here because somebody wanted it so. A host without this note and without a mark
/// has lost its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// The introduction, in hex.
    pub introduction: String,
    /// Since when, seconds since the epoch.
    pub since: i64,
}

/// What is remembered of heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct News {
    /// Whether the policy in force has keys for heartbeats, or the root of trust requires them.
    pub expected: bool,
    /// The newest one that counted.
    pub heartbeat: Option<HeartbeatMark>,
}

/// What is remembered of the time, so that a clock that is set back revives no key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSeen {
    /// It is not earlier than this, seconds since the epoch.
    pub floor: i64,
    /// The clock was found far ahead of that, and has not been so for long enough to be believed.
    pub ahead: Option<Ahead>,
}

/// When a clock was first found far ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ahead {
    /// What it showed, seconds since the epoch.
    pub clock: i64,
    /// Seconds since the boot.
    pub uptime: i64,
}

/// Applying is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// Why, in the operator's words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when, seconds since the epoch.
    pub since: i64,
    /// When it ends by itself.
    pub until: Option<i64>,
}

impl Suspension {
    /// Whether its time is not over.
    pub fn holds(&self, now: i64) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// The last reboot that abide began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    /// When, seconds since the epoch.
    pub at: i64,
    /// Why, in words.
    pub because: String,
    /// The boot that it was to end.
    pub boot: String,
    /// The host is back.
    pub over: bool,
}

impl State {
    /// The high-water mark; `None` before the first proven commit.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn high_water(&self) -> Result<Option<Mark>, StateError> {
        self.fact("high-water")
    }

    /// Raises the high-water mark, and writes with it what was told of that. That the new commit descends from the former is for
    /// [`trust`](crate::trust) to prove.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn raise(&mut self, mark: &Mark, told: &Told) -> Result<(), StateError> {
        let former = self.high_water()?;
        if former.is_some_and(|former| former.high_water() == mark.high_water()) {
            return self.tell(told);
        }
        self.transaction(|transaction| {
            set(transaction, "high-water", Some(mark))?;
            told.write(transaction)
        })?;
        self.keep_copy()
    }

    /// Moves the high-water mark to where an operator, and the walk from the introduction, put it: also backwards.
    ///
    /// A statement's `nonce` is spent with it for ever: a clock that was wrong once must not bring it back.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn move_mark(&mut self, mark: &Mark, nonce: Option<(&str, i64)>) -> Result<(), StateError> {
        let mut spent = self.spent_nonces()?;
        spent.extend(nonce.map(|(nonce, expires)| (nonce.to_owned(), expires)));
        self.transaction(|transaction| {
            set(transaction, "high-water", Some(mark))?;
            set(transaction, "nonces", (!spent.is_empty()).then_some(&spent))
        })?;
        self.keep_copy()
    }

    /// Nonces of statements that were used, and until when they count.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn spent_nonces(&self) -> Result<BTreeMap<String, i64>, StateError> {
        Ok(self.fact("nonces")?.unwrap_or_default())
    }

    /// Forgets what was believed, for a host that is enrolled anew.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn forget_mark(&mut self) -> Result<(), StateError> {
        // First, or it would know a mark that the database does not have.
        self.forget_copy()?;
        self.transaction(|transaction| {
            set(transaction, "high-water", None::<&Mark>)?;
            set(transaction, "news", None::<&News>)
        })
    }

    /// The note that proving starts at the introduction here on purpose.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn beginning(&self) -> Result<Option<Beginning>, StateError> {
        self.fact("beginning")
    }

    /// Writes that note, or takes it away.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_beginning(&mut self, beginning: Option<&Beginning>) -> Result<(), StateError> {
        self.set_fact("beginning", beginning)
    }

    /// What is remembered of heartbeats.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn news(&self) -> Result<News, StateError> {
        Ok(self.fact("news")?.unwrap_or_default())
    }

    /// Remembers what is known of heartbeats; writes nothing when it is known already.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_news(&mut self, news: &News) -> Result<(), StateError> {
        if self.news()? == *news {
            return Ok(());
        }
        self.set_fact("news", Some(news))
    }

    /// What is remembered of the time.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn time_seen(&self) -> Result<Option<TimeSeen>, StateError> {
        self.fact("time")
    }

    /// Remembers the time.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_time_seen(&mut self, seen: &TimeSeen) -> Result<(), StateError> {
        self.set_fact("time", Some(seen))
    }

    /// Whether anything was written since it was opened.
    pub fn was_written(&self) -> bool {
        self.connection.total_changes() > 0
    }

    /// The revision that was applied last, without failures.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn applied(&self) -> Result<Option<Revision>, StateError> {
        self.fact("applied")
    }

    /// Notes the revision that was applied.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_applied(&mut self, revision: &Revision) -> Result<(), StateError> {
        self.set_fact("applied", Some(revision))
    }

    /// The suspension in force, whether or not its time is over.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn suspension(&self) -> Result<Option<Suspension>, StateError> {
        self.fact("suspension")
    }

    /// Suspends, or resumes with `None`.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_suspension(&mut self, suspension: Option<&Suspension>) -> Result<(), StateError> {
        self.set_fact("suspension", suspension)?;
        self.keep_copy()
    }

    /// The last reboot that abide began.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn reboot(&self) -> Result<Option<Reboot>, StateError> {
        self.fact("reboot")
    }

    /// Notes a reboot that is about to begin, or that it is over.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_reboot(&mut self, reboot: &Reboot) -> Result<(), StateError> {
        self.set_fact("reboot", Some(reboot))
    }

    /// The key of the desired state that the inventory tells exactly; while it is the present one, the inventory need not be read.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn settled(&self) -> Result<Option<String>, StateError> {
        self.fact("settled")
    }

    /// Notes that the inventory tells a desired state exactly: everything in it was recorded, nothing is left to prune.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_settled(&mut self, key: &str) -> Result<(), StateError> {
        self.set_fact("settled", Some(&key))
    }

    /// Notes that the inventory tells no desired state exactly: another one is about to be applied.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub fn unsettle(&mut self) -> Result<(), StateError> {
        match self.settled()? {
            Some(_) => self.set_fact("settled", None::<&String>),
            None => Ok(()),
        }
    }

    /// What was last noted of a subject, and since when.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn condition(&self, subject: &str) -> Result<Option<(String, i64)>, StateError> {
        self.sql(
            self.connection
                .prepare_cached("SELECT state, since FROM conditions WHERE subject = ?1")
                .and_then(|mut query| {
                    query.query_row([subject], |row| Ok((row.get(0)?, row.get(1)?))).optional()
                }),
        )
    }

    /// Forgets what was last noted of resources that nobody manages any more: neither declared nor in the inventory.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub fn forget_conditions(&mut self, declared: &[Declared]) -> Result<(), StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(
                "SELECT substr(subject, 10) FROM conditions WHERE subject > 'resource ' AND subject < 'resource!'
                 AND substr(subject, 10) NOT IN (SELECT resource FROM inventory)",
            )?;
            query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
        };
        let mut gone = self.sql(read())?;
        gone.retain(|name| !declared.iter().any(|declared| declared.id.to_string() == *name));
        if gone.is_empty() {
            return Ok(());
        }
        self.transaction(|transaction| {
            let mut delete =
                transaction.prepare_cached("DELETE FROM conditions WHERE subject = 'resource ' || ?1")?;
            gone.iter().try_for_each(|name| delete.execute([name]).map(drop))
        })
    }

    /// Names and values, as JSON.
    pub(super) fn all_facts(&self) -> Result<BTreeMap<String, String>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached("SELECT name, value, sum FROM facts")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, String, Vec<u8>)>>>()
        };
        let facts = self.sql(read())?;
        match facts.iter().find(|(_, text, checksum)| *checksum != sum(text)) {
            Some((name, ..)) => Err(self.damaged(format!("the checksum of `{name}` does not fit"))),
            None => Ok(facts.into_iter().map(|(name, text, _)| (name, text)).collect()),
        }
    }

    pub(super) fn fact<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached("SELECT value, sum FROM facts WHERE name = ?1")?;
            query
                .query_row([name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
                .optional()
        };
        let Some((text, checksum)) = self.sql(read())? else { return Ok(None) };
        if checksum != sum(&text) {
            return Err(self.damaged(format!("the checksum of `{name}` does not fit")));
        }
        serde_json::from_str(&text).map(Some).map_err(|error| self.damaged(format!("`{name}`: {error}")))
    }

    #[track_caller]
    pub(super) fn set_fact<T: Serialize>(&mut self, name: &str, value: Option<&T>) -> Result<(), StateError> {
        self.transaction(|transaction| set(transaction, name, value))
    }
}

/// Writes or removes one fact.
pub(super) fn set<T: Serialize>(
    transaction: &rusqlite::Transaction<'_>,
    name: &str,
    value: Option<&T>,
) -> rusqlite::Result<()> {
    match value {
        Some(value) => {
            let text = to_json(value)?;
            let checksum = sum(&text);
            transaction
                .execute("INSERT OR REPLACE INTO facts VALUES (?1, ?2, ?3)", params![name, text, checksum])?;
        }
        None => {
            transaction.execute("DELETE FROM facts WHERE name = ?1", [name])?;
        }
    }
    Ok(())
}

/// The first eight bytes of the SHA-256: enough to notice rot, which is all it is for.
pub(super) fn sum(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).iter().take(8).copied().collect()
}
