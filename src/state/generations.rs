//! Generations: every commit that was brought to this host, and what became of it; which one is on trial, and which one is pinned.
//!
//! **Invariant:** a generation stands as good only after all of it was applied, but for what waits on purpose, and its trial, if it
//! had one, was passed; only such a one is ever returned to.

use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{Cause, Counts, State, StateError, Watch, from_json, from_json_or_null, to_json};
use crate::error::Problem;
use crate::trust::Revision;
use crate::upgrade::{Refused, WithoutPackage};

/// How many generations are remembered.
const KEEP: i64 = 200;

/// How a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is being applied, or not all of it could be yet.
    Applying,
    /// It was applied, and is on trial: health checks and the way to the remote have time to prove themselves.
    Trial,
    /// It was applied, and passed its trial.
    Good,
    /// A newer one came before all of it was applied or its trial was over.
    Passed,
    /// It was given up, and an earlier one was returned to.
    RolledBack,
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Standing::Applying => "applying",
            Standing::Trial => "trial",
            Standing::Good => "good",
            Standing::Passed => "passed",
            Standing::RolledBack => "rolled-back",
        }
    }

    fn from_word(word: &str) -> Option<Standing> {
        [Standing::Applying, Standing::Trial, Standing::Good, Standing::Passed, Standing::RolledBack]
            .into_iter()
            .find(|standing| standing.word() == word)
    }
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation {
    /// Its number; a later one has a higher one.
    pub id: i64,
    /// The commit.
    pub revision: Revision,
    /// What brought it first.
    pub cause: Cause,
    /// When it was begun, seconds since the epoch.
    pub since: i64,
    /// How long it was applied, milliseconds, over all runs until it was whole.
    pub took: u64,
    /// Resources that were changed for it, and that failed in the last of those runs.
    pub counts: Counts,
    /// How it stands.
    pub standing: Standing,
    /// Why it was given up.
    pub reason: Option<Problem>,
    /// It changed what the way to the remote may depend on.
    pub guarded: bool,
    /// Versions of the declared packages when it was found good.
    pub packages: BTreeMap<String, String>,
}

/// The time within which something has to prove itself. It counts in one boot; in another one it begins again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The boot of the host in which the times count.
    pub boot: String,
    /// Milliseconds since that boot when it began.
    pub uptime: i64,
    /// The poll that was known then, which proves nothing: the `began` and `time` of its note.
    pub note: (i64, i64),
    /// Since when it does not count, in milliseconds since that boot: applying is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<i64>,
}

/// The trial of the newest generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The generation.
    pub generation: i64,
    /// When it began, seconds since the epoch; for people.
    pub begun: i64,
    /// The time that counts.
    #[serde(flatten)]
    pub term: Term,
    /// Seconds within which the remote must be reached; `None` once it was, or where that does not matter.
    pub reach: Option<u64>,
    /// What is known of the health checks so far, by their names.
    #[serde(default)]
    pub health: BTreeMap<String, Watch>,
}

/// An earlier generation that is kept until a commit newer than the one it was returned from arrives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pin {
    /// The generation that is kept.
    pub generation: i64,
    /// Its commit, in hex.
    pub commit: String,
    /// The newest proven commit when it was pinned, in hex: it is skipped.
    pub from: String,
    /// Why.
    pub reason: Problem,
    /// Who asked for it; empty: abide itself.
    pub by: String,
    /// Since when, seconds since the epoch.
    pub since: i64,
    /// All of the generation that is kept was applied again.
    #[serde(default)]
    pub whole: bool,
    /// Given up because the remote was out of reach, which may have had another reason.
    #[serde(default)]
    pub lost_remote: Option<LostRemote>,
}

/// A generation was given up because the remote was out of reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRemote {
    /// Since when the earlier one is back in force.
    #[serde(flatten)]
    pub term: Term,
    /// Seconds within which the remote is back if the change was guilty.
    pub within: u64,
    /// How often the same commit was given up for this.
    pub times: u32,
}

impl Term {
    /// The time does not count from now on, in milliseconds since this boot; one of another boot begins anew in any case. Whether that is
    /// new.
    pub fn stop(&mut self, boot: &str, at: i64) -> bool {
        let stops = self.boot == boot && self.stopped.is_none();
        if stops {
            self.stopped = Some(at);
        }
        stops
    }
}

impl State {
    /// Has the time of a trial, and that after a lost remote, not count from now on.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub fn stop_terms(&mut self, boot: &str, at: i64) -> Result<(), StateError> {
        if let Some(mut trial) = self.trial()?
            && trial.term.stop(boot, at)
        {
            self.set_fact("trial", Some(&trial))?;
        }
        if let Some(mut pin) = self.pinned()?
            && pin.lost_remote.as_mut().is_some_and(|lost| lost.term.stop(boot, at))
        {
            self.set_fact("pin", Some(&pin))?;
        }
        Ok(())
    }

    /// Opens the generation of a commit, or goes on with it where it is the newest; one that was given up is tried anew.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn open_generation(
        &mut self,
        revision: &Revision,
        cause: Cause,
        guarded: bool,
        now: i64,
    ) -> Result<i64, StateError> {
        if let Some(known) =
            self.newest_generation()?.filter(|known| known.revision.commit == revision.commit)
        {
            if known.standing == Standing::Good && !guarded {
                return Ok(known.id);
            }
            let standing = if known.standing == Standing::Good { Standing::Good } else { Standing::Applying };
            self.transaction(|transaction| {
                transaction.execute(
                    "UPDATE generations SET standing = ?2, reason = NULL, guarded = guarded OR ?3 WHERE id = ?1",
                    params![known.id, standing.word(), guarded],
                )
            })?;
            return Ok(known.id);
        }
        self.transaction(|transaction| {
            transaction.execute(
                "UPDATE generations SET standing = 'passed' WHERE standing IN ('applying', 'trial')",
                [],
            )?;
            transaction.execute(
                "INSERT INTO generations (commit_id, revision, cause, since, took, changed, failed, standing, guarded, packages)
                 VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 'applying', ?5, '{}')",
                params![revision.commit, to_json(revision)?, to_json(&cause)?, now, guarded],
            )?;
            let id = transaction.last_insert_rowid();
            transaction.execute("DELETE FROM generations WHERE id <= ?1", [id - KEEP])?;
            super::facts::set(transaction, "trial", None::<&Trial>)?;
            Ok(id)
        })
    }

    /// Adds what a run did for a generation.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn count_generation(&mut self, id: i64, counts: Counts, took: u64) -> Result<(), StateError> {
        self.transaction(|transaction| {
            transaction.execute(
                "UPDATE generations SET changed = changed + ?2, failed = ?3, took = took + ?4 WHERE id = ?1",
                params![
                    id,
                    counts.changed,
                    counts.failed + counts.skipped,
                    i64::try_from(took).unwrap_or(i64::MAX)
                ],
            )
        })?;
        Ok(())
    }

    /// Puts a generation on trial.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn try_generation(&mut self, trial: &Trial) -> Result<(), StateError> {
        self.transaction(|transaction| {
            stand(transaction, trial.generation, Standing::Trial)?;
            super::facts::set(transaction, "trial", Some(trial))
        })
    }

    /// The trial under way.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn trial(&self) -> Result<Option<Trial>, StateError> {
        self.fact("trial")
    }

    /// Ends the trial: the generation is good, with these versions of packages.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn approve_generation(
        &mut self,
        id: i64,
        packages: &BTreeMap<String, String>,
    ) -> Result<(), StateError> {
        self.transaction(|transaction| {
            stand(transaction, id, Standing::Good)?;
            transaction.execute(
                "UPDATE generations SET packages = ?2 WHERE id = ?1",
                params![id, to_json(packages)?],
            )?;
            super::facts::set(transaction, "trial", None::<&Trial>)
        })
    }

    /// Gives a generation up, if there is one, and keeps an earlier one from now on.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn pin(&mut self, given_up: Option<i64>, pin: &Pin) -> Result<(), StateError> {
        self.transaction(|transaction| {
            if let Some(id) = given_up {
                transaction.execute(
                    "UPDATE generations SET standing = 'rolled-back', reason = ?2 WHERE id = ?1",
                    params![id, to_json(&pin.reason)?],
                )?;
            }
            super::facts::set(transaction, "trial", None::<&Trial>)?;
            super::facts::set(transaction, "pin", Some(pin))
        })
    }

    /// Gives a generation up where there is none to return to: it stays in force.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn fail_trial(&mut self, id: i64, reason: &Problem) -> Result<(), StateError> {
        self.transaction(|transaction| {
            transaction.execute(
                "UPDATE generations SET standing = 'passed', reason = ?2 WHERE id = ?1",
                params![id, to_json(reason)?],
            )?;
            super::facts::set(transaction, "trial", None::<&Trial>)
        })
    }

    /// What is pinned.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn pinned(&self) -> Result<Option<Pin>, StateError> {
        self.fact("pin")
    }

    /// Changes what is known of the pin, or ends it.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_pin(&mut self, pin: Option<&Pin>) -> Result<(), StateError> {
        self.set_fact("pin", pin)
    }

    /// The version of abide that did not work on this host.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn refused_upgrade(&self) -> Result<Option<Refused>, StateError> {
        self.fact("refused-upgrade")
    }

    /// Notes a version of abide that did not work on this host, or lets it be tried again.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn refuse_upgrade(&mut self, refused: Option<&Refused>) -> Result<(), StateError> {
        self.set_fact("refused-upgrade", refused)
    }

    /// The program that works is not the one of the package that is installed.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn without_package(&self) -> Result<Option<WithoutPackage>, StateError> {
        self.fact("without-package")
    }

    /// Notes that the program that works was put back without its package, or that this is over.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_without_package(&mut self, known: Option<&WithoutPackage>) -> Result<(), StateError> {
        self.set_fact("without-package", known)
    }

    /// How often this commit was tried again after the remote had been out of reach for another reason.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn forgiven(&self, commit: &str) -> Result<u32, StateError> {
        let known: Option<(String, u32)> = self.fact("forgiven")?;
        Ok(known.filter(|(known, _)| known == commit).map_or(0, |(_, times)| times))
    }

    /// Notes that a commit is tried again, and how often it was.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn forgive(&mut self, commit: &str, times: u32) -> Result<(), StateError> {
        self.set_fact("forgiven", Some(&(commit, times)))
    }

    /// Generations, newest first.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn generations(&self, limit: u32) -> Result<Vec<Generation>, StateError> {
        let read = || {
            let mut query =
                self.connection.prepare_cached(&format!("{GENERATION} ORDER BY id DESC LIMIT ?1"))?;
            query.query_map([limit], generation)?.collect()
        };
        self.sql(read())
    }

    /// One generation.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn generation(&self, id: i64) -> Result<Option<Generation>, StateError> {
        let sql = format!("{GENERATION} WHERE id = ?1");
        self.sql(self.connection.query_row(&sql, [id], generation).optional())
    }

    /// The newest generation.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn newest_generation(&self) -> Result<Option<Generation>, StateError> {
        Ok(self.generations(1)?.pop())
    }

    /// The newest generation of a commit.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn generation_of(&self, commit: &str) -> Result<Option<Generation>, StateError> {
        let sql = format!("{GENERATION} WHERE commit_id = ?1 ORDER BY id DESC LIMIT 1");
        self.sql(self.connection.query_row(&sql, [commit], generation).optional())
    }

    /// The newest good generation before this one, of another commit.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn good_before(&self, id: i64) -> Result<Option<Generation>, StateError> {
        let sql = format!(
            "{GENERATION} WHERE standing = 'good' AND id < ?1
             AND commit_id NOT IN (SELECT commit_id FROM generations WHERE id = ?1) ORDER BY id DESC LIMIT 1"
        );
        self.sql(self.connection.query_row(&sql, [id], generation).optional())
    }
}

fn stand(transaction: &rusqlite::Transaction<'_>, id: i64, standing: Standing) -> rusqlite::Result<()> {
    transaction
        .execute("UPDATE generations SET standing = ?2 WHERE id = ?1", params![id, standing.word()])
        .map(drop)
}

const GENERATION: &str = "SELECT id, revision, cause, since, took, changed, failed, standing, reason, guarded, packages FROM generations";

fn generation(row: &Row<'_>) -> rusqlite::Result<Generation> {
    let word: String = row.get(7)?;
    let standing = Standing::from_word(&word).ok_or_else(|| {
        let reason = format!("`{word}` is no standing of a generation");
        rusqlite::Error::FromSqlConversionFailure(7, rusqlite::types::Type::Text, reason.into())
    })?;
    Ok(Generation {
        id: row.get(0)?,
        revision: from_json(row, 1)?,
        cause: from_json(row, 2)?,
        since: row.get(3)?,
        took: row.get::<_, i64>(4)?.unsigned_abs(),
        counts: Counts { changed: row.get(5)?, failed: row.get(6)?, ..Counts::default() },
        standing,
        reason: from_json_or_null(row, 8)?,
        guarded: row.get(9)?,
        packages: from_json(row, 10)?,
    })
}
