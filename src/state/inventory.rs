//! What was applied for each declared resource, and which of them abide created.
//!
//! **Invariant:** no content and no password hash is in here, only what is needed to find and remove a resource again. Whether
//! abide created a resource is written before the resource is made, so that a crash cannot forget it.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};

use super::{State, StateError, from_json, resource, to_json, undertaken};
use crate::resource::{Declared, Origin, ResourceId};
use crate::trust::Revision;

/// One resource that the branch declares or declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which.
    pub resource: ResourceId,
    /// Its declaration when it was applied last, without content; `None` when another version of abide wrote it in a form that
    /// this one does not know.
    pub declared: Option<Declared>,
    /// Where it was declared.
    pub origin: Origin,
    /// The commit that brought its present declaration, and who signed it.
    pub revision: Revision,
    /// It did not exist before abide made it, so it is removed when it leaves the branch.
    pub created: bool,
    /// It was already as declared when it was declared first.
    pub adopted: bool,
    /// When it was applied or found right first, seconds since the epoch.
    pub first: i64,
    /// When abide changed it last, or took its present declaration.
    pub last: i64,
}

impl State {
    /// Notes what is applied now: every declared resource that did not fail. Takes the whole desired state: commands that are not in
    /// it are not owed a run any more. `changed` are those that this run changed; what it has undertaken is noted in any case. Rows of
    /// resources whose declaration did not change keep the revision that brought it.
    ///
    /// # Errors
    /// The state cannot be read or written.
    pub fn record(
        &mut self,
        declared: &[Declared],
        revision: &Revision,
        changed: &BTreeSet<ResourceId>,
        failed: &BTreeSet<ResourceId>,
        now: i64,
    ) -> Result<(), StateError> {
        let known = self.known()?;
        let begun = self.begun()?;
        let work: Vec<Update> = declared
            .iter()
            .filter(|declared| !failed.contains(&declared.id) && !begun.contains(&declared.id))
            .map(|declared| {
                Update::new(declared, known.get(&declared.id.to_string()), changed.contains(&declared.id))
            })
            .filter(|row| row.needed)
            .collect();
        let gone = self.refreshes_of_others(declared)?;
        if work.is_empty() && gone.is_empty() && begun.is_empty() {
            return Ok(());
        }
        self.transaction(|transaction| {
            gone.iter().try_for_each(|notification| super::journal::pay(transaction, notification))?;
            undertaken::promote(transaction)?;
            let revision = revision_row(transaction, revision)?;
            for row in &work {
                row.write(transaction, revision, now)?;
            }
            drop_unused_revisions(transaction)
        })
    }

    /// Runs that are owed to commands which are not declared any more.
    fn refreshes_of_others(&self, declared: &[Declared]) -> Result<Vec<super::Notification>, StateError> {
        let owed = self.owed()?.into_iter().map(|owed| owed.notification);
        Ok(owed
            .filter(|notification| match notification {
                super::Notification::Refresh(id) => !declared.iter().any(|declared| declared.id == *id),
                _ => false,
            })
            .collect())
    }

    /// Everything in the inventory that is not declared any more, sorted by name: what prune looks at.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn leaving(&self, declared: &BTreeSet<ResourceId>) -> Result<Vec<Entry>, StateError> {
        let names = || -> rusqlite::Result<Vec<ResourceId>> {
            let mut query =
                self.connection.prepare_cached("SELECT resource FROM inventory ORDER BY resource")?;
            query.query_map([], |row| resource(row, 0))?.collect()
        };
        let names = self.sql(names())?;
        let leaving = names.into_iter().filter(|name| !declared.contains(name));
        leaving.filter_map(|name| self.entry(&name).transpose()).collect()
    }

    /// One resource of the inventory.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn entry(&self, resource: &ResourceId) -> Result<Option<Entry>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(&format!("{ENTRY} WHERE i.resource = ?1"))?;
            query.query_row([resource.to_string()], entry).optional()
        };
        self.sql(read())
    }

    /// The whole inventory, sorted by name.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn inventory(&self) -> Result<Vec<Entry>, StateError> {
        let read = || {
            let mut query = self.connection.prepare_cached(&format!("{ENTRY} ORDER BY i.resource"))?;
            query.query_map([], entry)?.collect()
        };
        self.sql(read())
    }

    /// How many resources the inventory holds, for the guard of prune.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn inventory_size(&self) -> Result<u64, StateError> {
        let count: i64 =
            self.sql(self.connection.query_row("SELECT count(*) FROM inventory", [], |row| row.get(0)))?;
        Ok(count.unsigned_abs())
    }

    /// Forgets resources that left the branch and stay on the host: adopted ones, and those with `prune = false`.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn release(&mut self, resources: &[ResourceId]) -> Result<(), StateError> {
        if resources.is_empty() {
            return Ok(());
        }
        self.transaction(|transaction| {
            for resource in resources {
                forget(transaction, resource)?;
            }
            drop_unused_revisions(transaction)
        })
    }

    /// The digests of the rows there are.
    fn known(&self) -> Result<HashMap<String, Known>, StateError> {
        let read = || {
            let mut query =
                self.connection.prepare_cached("SELECT resource, digest, origin FROM inventory")?;
            let rows = query
                .query_map([], |row| Ok((row.get(0)?, Known { digest: row.get(1)?, origin: row.get(2)? })))?;
            rows.collect()
        };
        self.sql(read())
    }
}

/// What a row says already.
struct Known {
    digest: Vec<u8>,
    origin: String,
}

/// A row to write.
struct Update {
    resource: String,
    declared: String,
    digest: Vec<u8>,
    origin: String,
    /// The declaration says something else than before, beside its place.
    new: bool,
    /// The run changed the resource.
    changed: bool,
    needed: bool,
}

impl Update {
    fn new(declared: &Declared, known: Option<&Known>, changed: bool) -> Update {
        let digest = digest(declared);
        let origin = serde_json::to_string(&declared.origin).unwrap_or_default();
        let new = known.is_none_or(|known| known.digest != digest);
        let needed = new || changed || known.is_none_or(|known| known.origin != origin);
        let text = if needed { without_content(declared) } else { String::new() };
        Update { resource: declared.id.to_string(), declared: text, digest, origin, new, changed, needed }
    }

    fn write(&self, transaction: &Transaction<'_>, revision: i64, now: i64) -> rusqlite::Result<()> {
        transaction
            .prepare_cached(
                "INSERT INTO inventory VALUES (?1, ?2, ?3, ?4, ?5, NOT ?6, ?7, ?7)
                 ON CONFLICT DO UPDATE SET declared = excluded.declared, digest = excluded.digest,
                 origin = excluded.origin, revision = iif(?8, excluded.revision, revision),
                 last = iif(?8 OR ?6, excluded.last, last)",
            )?
            .execute(params![
                self.resource,
                self.declared,
                self.digest,
                self.origin,
                revision,
                self.changed,
                now,
                self.new
            ])?;
        Ok(())
    }
}

/// Tells one declaration from another, without its place in the file: moving a table changes nothing on the host.
pub(super) fn digest(declared: &Declared) -> Vec<u8> {
    let bytes = postcard::to_stdvec(&(&declared.common, &declared.resource)).unwrap_or_default();
    Sha256::digest(&bytes).to_vec()
}

/// The declaration as JSON, which other versions of abide can read, without the bytes of any content and without password hashes:
/// neither is needed to remove a resource, and neither may lie in the state.
pub(super) fn without_content(declared: &Declared) -> String {
    let mut value = serde_json::to_value(declared).unwrap_or_default();
    redact(&mut value);
    value.to_string()
}

pub(super) fn redact(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(entries) => {
            for (key, value) in entries.iter_mut() {
                match key.as_str() {
                    "Inline" => *value = serde_json::Value::Array(Vec::new()),
                    "password" => *value = serde_json::Value::Null,
                    _ => redact(value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

const ENTRY: &str =
    "SELECT i.resource, i.declared, i.origin, r.value, c.resource IS NOT NULL, i.adopted, i.first, i.last
    FROM inventory i JOIN revisions r ON r.id = i.revision LEFT JOIN created c ON c.resource = i.resource";

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        resource: resource(row, 0)?,
        declared: serde_json::from_str(row.get_ref(1)?.as_str()?).ok(),
        origin: from_json(row, 2)?,
        revision: from_json(row, 3)?,
        created: row.get(4)?,
        adopted: row.get(5)?,
        first: row.get(6)?,
        last: row.get(7)?,
    })
}

pub(super) fn revision_row(transaction: &Transaction<'_>, revision: &Revision) -> rusqlite::Result<i64> {
    transaction.query_row(
        "INSERT INTO revisions (commit_id, value) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET value = excluded.value RETURNING id",
        params![revision.commit, to_json(revision)?],
        |row| row.get(0),
    )
}

pub(super) fn drop_unused_revisions(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM revisions WHERE id NOT IN (SELECT revision FROM inventory)", [])?;
    Ok(())
}

/// Notes, before it is made, that abide makes this resource.
pub(super) fn mark_created(
    transaction: &Transaction<'_>,
    resource: &ResourceId,
    now: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO created VALUES (?1, ?2)")?
        .execute(params![resource.to_string(), now])?;
    Ok(())
}

/// Takes that note back, when the resource was not made.
pub(super) fn unmark_created(transaction: &Transaction<'_>, resource: &ResourceId) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM created WHERE resource = ?1")?.execute([resource.to_string()])?;
    Ok(())
}

/// Forgets a resource.
pub(super) fn forget(transaction: &Transaction<'_>, resource: &ResourceId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM inventory WHERE resource = ?1")?
        .execute([resource.to_string()])?;
    unmark_created(transaction, resource)
}
