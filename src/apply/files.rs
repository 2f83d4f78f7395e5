//! One batch of effects that touch only paths.
//!
//! **Invariant:** nothing is replaced before every file of the batch is staged, judged by its validator and on disk.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::schedule::{Place, path};
use super::{Contents, Effector};
use crate::error::Problem;
use crate::failpoint::reach;
use crate::plan::{Effect, Step, WriteFile};

/// What became of each effect of a batch: `None` for one that was not tried because something before it failed.
pub(super) type Results = Vec<Option<Result<(), Problem>>>;

/// A batch while it is executed.
struct Batch<'a, E: Effector> {
    effector: &'a mut E,
    steps: &'a [Step],
    places: &'a [Place],
    results: Results,
    staged: Vec<Option<E::Staged>>,
    /// Steps with an effect that failed.
    failed: HashSet<usize>,
}

/// Executes a batch of file effects.
pub(super) fn execute<E: Effector>(
    effector: &mut E,
    steps: &[Step],
    places: &[Place],
    contents: &dyn Contents,
) -> Results {
    let staged = places.iter().map(|_| None).collect();
    let results = places.iter().map(|_| None).collect();
    let mut batch = Batch { effector, steps, places, results, staged, failed: HashSet::new() };
    batch.prepare(contents);
    batch.validate();
    batch.sync();
    reach("everything staged");
    batch.put_in_place();
    batch.sync_directories();
    reach("directories synced");
    batch.results
}

impl<'a, E: Effector> Batch<'a, E> {
    fn effect(&self, index: usize) -> &'a Effect {
        let (step, effect) = self.places[index];
        &self.steps[step].change.effects[effect]
    }

    /// Whether the step of an effect, or one that it needs, failed in this batch.
    fn is_blocked(&self, index: usize) -> bool {
        let (step, _) = self.places[index];
        !self.failed.is_empty()
            && (self.failed.contains(&step)
                || self.steps[step].needs.iter().any(|need| self.failed.contains(need)))
    }

    fn set(&mut self, index: usize, result: Result<(), Problem>) {
        if result.is_err() {
            self.failed.insert(self.places[index].0);
        }
        self.results[index] = Some(result);
    }

    /// Makes directories and stages files.
    fn prepare(&mut self, contents: &dyn Contents) {
        for index in 0..self.places.len() {
            if self.is_blocked(index) {
                // Whoever needs this step is blocked too.
                self.failed.insert(self.places[index].0);
                continue;
            }
            match self.effect(index) {
                Effect::MakeDirectory { path, attributes } => {
                    let result = self.effector.make_directory(path, attributes);
                    self.set(index, result);
                    reach("directory made");
                }
                Effect::WriteFile(file) => {
                    let staged =
                        contents.bytes(&file.content).and_then(|bytes| self.effector.stage(file, &bytes));
                    match staged {
                        Ok(staged) => self.staged[index] = Some(staged),
                        Err(problem) => self.set(index, Err(problem)),
                    }
                    reach("file staged");
                }
                _ => {}
            }
        }
    }

    fn validate(&mut self) {
        for index in 0..self.places.len() {
            if let (Effect::WriteFile(WriteFile { validate: Some(command), .. }), Some(staged)) =
                (self.effect(index), &self.staged[index])
                && let Err(problem) = self.effector.validate(command, staged)
            {
                self.staged[index] = None;
                self.set(index, Err(problem));
            }
        }
    }

    fn sync(&mut self) {
        let indexes: Vec<usize> =
            (0..self.places.len()).filter(|index| self.staged[*index].is_some()).collect();
        let staged: Vec<E::Staged> = self.staged.iter_mut().filter_map(Option::take).collect();
        if staged.is_empty() {
            return;
        }
        match self.effector.sync(&staged) {
            Ok(()) => {
                for (index, staged) in indexes.into_iter().zip(staged) {
                    self.staged[index] = Some(staged);
                }
            }
            Err(problem) => indexes.into_iter().for_each(|index| self.set(index, Err(problem.clone()))),
        }
    }

    fn put_in_place(&mut self) {
        for index in 0..self.places.len() {
            if self.results[index].is_some() {
                continue;
            }
            if self.is_blocked(index) {
                self.failed.insert(self.places[index].0);
                self.staged[index] = None;
                continue;
            }
            let result = self.put(index);
            self.set(index, result);
            reach("put in place");
        }
    }

    fn put(&mut self, index: usize) -> Result<(), Problem> {
        match (self.effect(index), self.staged[index].take()) {
            (Effect::WriteFile(file), Some(staged)) => {
                // A secret stays in its file.
                if file.backup && !self.steps[self.places[index].0].sensitive {
                    self.effector.backup(&file.path)?;
                }
                self.effector.commit(staged)
            }
            (Effect::MakeSymlink { path, target, attributes, force }, _) => {
                self.effector.make_symlink(path, target, attributes, *force)
            }
            (Effect::SetAttributes { path, attributes }, _) => self.effector.set_attributes(path, attributes),
            (Effect::Remove { path, recursive }, _) => self.effector.remove(path, *recursive),
            _ => Ok(()),
        }
    }

    /// A name that is not on disk is not done.
    fn sync_directories(&mut self) {
        let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
        for index in 0..self.places.len() {
            if matches!(self.results[index], Some(Ok(()))) {
                directories.extend(path(self.effect(index)).and_then(Path::parent).map(Path::to_owned));
            }
        }
        if let Err(problem) = self.effector.sync_directories(&directories) {
            for index in 0..self.places.len() {
                if matches!(self.results[index], Some(Ok(()))) {
                    self.set(index, Err(problem.clone()));
                }
            }
        }
    }
}
