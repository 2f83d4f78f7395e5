//! The state as this version reads it, kept while another version of abide has to prove itself; put back where that one has changed the
//! tables so that this one could not go on, and then did not work.
//!
//! **Invariant:** what is believed does not go back with the tables, as far as this version can read what the other one believed.

use std::path::Path;

use super::{State, StateError, copy, open, rebuild};
use crate::failpoint::reach;
use crate::system::replace;

/// The name of what is kept.
const KEPT: &str = "state.sqlite";

impl State {
    /// Keeps the whole state in a folder as well, in place of what was kept there.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn keep_whole(&self, folder: &Path) -> Result<(), StateError> {
        let half = folder.join(".state.sqlite.new");
        let _ = replace::remove(&half);
        open::create(&half)?;
        let name = half.to_string_lossy();
        self.sql(self.connection.execute("VACUUM INTO ?1", [name.as_ref()]))?;
        let kept = open::connect(&half, true)?;
        let failed = |source| open::explain(&half, source);
        // It is written as a plain file; as the state it has a log.
        kept.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        kept.close().map_err(|(_, source)| failed(source))?;
        let place = || {
            std::fs::File::open(&half)?.sync_all()?;
            reach("kept state: made");
            replace::rename(&half, &folder.join(KEPT))?;
            std::fs::File::open(folder)?.sync_all()
        };
        place().map_err(|source| open::io(&half, source))
    }
}

/// Puts what was kept in the place of a state that a newer version of abide has changed so that this one cannot read it; does nothing to
/// one that it can read. Whether that was done. For whoever holds the lock. Whoever dies in the middle does it once more.
///
/// # Errors
/// The state cannot be used, and nothing was kept; or there is no room.
pub fn return_to_kept(folder: &Path, kept: &Path, now: i64) -> Result<bool, StateError> {
    let begun = open::look(&folder.join(rebuild::READY))?.is_some();
    let returns = match State::open(folder) {
        Err(StateError::Newer { .. }) => true,
        Err(StateError::Damaged { .. }) if begun => true,
        other => other.map(|_| false)?,
    };
    if returns {
        put_in_place(folder, kept, begun, now)?;
    }
    let mut state = State::open(folder)?;
    if returns || state.check_copy().is_err() {
        believe_as_before(&mut state, folder)?;
    }
    state.leave()?;
    Ok(returns)
}

fn put_in_place(folder: &Path, kept: &Path, begun: bool, now: i64) -> Result<(), StateError> {
    if !begun {
        let (source, ready) = (kept.join(KEPT), folder.join(rebuild::READY));
        let bytes = std::fs::read(&source).map_err(|error| open::io(&source, error))?;
        replace::replace(&ready, &bytes, 0o600).map_err(|error| open::io(&ready, error))?;
        reach("kept state: ready");
    }
    rebuild::rebuild(folder, "a version of abide that did not work had changed its tables", now)?;
    reach("kept state: in place");
    Ok(())
}

/// What the other version believed is beside its tables, and stays.
fn believe_as_before(state: &mut State, folder: &Path) -> Result<(), StateError> {
    if let Some(copied) = copy::read(folder) {
        let facts = copy::merge(state.all_facts()?, &copied, true);
        rebuild::write_facts(state, &facts, &[])?;
        reach("kept state: believed");
    }
    state.keep_copy()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain as _;
    use crate::failpoint::lives;
    use crate::state::schema::{MIGRATIONS, Step};
    use crate::state::{Cause, Mark, RunStart, Told};
    use std::os::unix::fs::PermissionsExt as _;

    fn folder() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    fn mark(commit: &str, time: i64) -> Mark {
        Mark { commit: commit.into(), payload: "p".into(), time, introduction: "i".into() }
    }

    /// A state in the middle of a run, kept; then a version with other tables worked with it, and believed more.
    fn changed(kept: &Path) -> tempfile::TempDir {
        let folder = folder();
        let mut state = State::open(folder.path()).unwrap();
        state.raise(&mark("old", 3), &Told::default()).unwrap();
        state.begin(&RunStart { cause: Cause::Poll, revision: None, started: 1 }).unwrap();
        // What is in the log alone counts, too.
        state.keep_whole(kept).unwrap();
        state.leave().unwrap();
        let newest = u32::try_from(MIGRATIONS.len()).unwrap() + 1;
        let sql = "DROP TABLE generations; CREATE TABLE generations (other TEXT)";
        let steps: Vec<Step> =
            MIGRATIONS.iter().copied().chain([Step { sql, readable_from: newest }]).collect();
        let path = open::prepare(folder.path()).unwrap();
        let mut newer = State { connection: open::connect(&path, true).unwrap(), path };
        open::migrate_by(&mut newer, folder.path(), &steps).unwrap();
        newer.raise(&mark("new", 5), &Told::default()).unwrap();
        newer.leave().unwrap();
        assert_eq!(State::open(folder.path()).unwrap_err().code().0, "E507");
        folder
    }

    #[track_caller]
    fn is_back(folder: &Path) {
        let state = State::open(folder).unwrap();
        state.verify().unwrap();
        assert_eq!(state.high_water().unwrap(), Some(mark("new", 5)), "what is believed did not go back");
        assert!(state.unfinished().unwrap().is_some() && state.generations(9).unwrap().is_empty());
        let mode: String =
            state.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }

    #[test]
    fn tables_go_back_and_belief_does_not_wherever_the_power_is_cut() {
        for place in 0.. {
            let (kept, died) = (folder(), std::cell::Cell::new(false));
            let folder = changed(kept.path());
            let again = || return_to_kept(folder.path(), kept.path(), 100);
            died.set(lives(place, || again().unwrap()).is_none());
            if died.get() {
                again().unwrap();
            }
            is_back(folder.path());
            if !died.get() {
                assert!(place > 5, "there are places to die at");
                break;
            }
        }
    }

    #[test]
    fn a_state_that_can_be_read_stays() {
        let (folder, kept) = (folder(), folder());
        let mut state = State::open(folder.path()).unwrap();
        state.keep_whole(kept.path()).unwrap();
        state.raise(&mark("new", 5), &Told::default()).unwrap();
        state.leave().unwrap();
        assert!(!return_to_kept(folder.path(), kept.path(), 100).unwrap());
        assert_eq!(State::open(folder.path()).unwrap().high_water().unwrap(), Some(mark("new", 5)));
    }

    #[test]
    fn without_what_was_kept_the_other_state_stays_as_it_is() {
        let (kept, nothing) = (folder(), folder());
        let folder = changed(kept.path());
        assert_eq!(return_to_kept(folder.path(), nothing.path(), 100).unwrap_err().code().0, "E502");
        assert_eq!(State::open(folder.path()).unwrap_err().code().0, "E507");
        assert!(return_to_kept(folder.path(), kept.path(), 101).unwrap());
        is_back(folder.path());
    }
}
