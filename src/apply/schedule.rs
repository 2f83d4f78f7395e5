//! Which effects come next, and which of them together.
//!
//! **Invariant:** an effect comes after the earlier effects of its step and after everything that its step needs; what left the
//! branch is removed last, in the plan's order.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::plan::{Effect, Step};

/// What can be done together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Touches only paths: one batch.
    Files,
    /// One transaction for each set of options.
    Packages,
    /// One conversation with systemd; last, so that a unit is told once of everything that changed.
    Units,
    /// One at a time.
    Single,
}

impl Class {
    pub(super) fn of(effect: &Effect) -> Class {
        match effect {
            Effect::WriteFile(_)
            | Effect::MakeDirectory { .. }
            | Effect::MakeSymlink { .. }
            | Effect::SetAttributes { .. }
            | Effect::Remove { .. }
            // Only noted: systemd is told before the next unit is, or at the end.
            | Effect::DaemonReload => Class::Files,
            Effect::Package(_) => Class::Packages,
            Effect::Unit { .. } => Class::Units,
            Effect::User(_) | Effect::Group(_) | Effect::Run(_) => Class::Single,
        }
    }

    /// Whether a step may be in one batch with a step that it needs.
    fn keeps_order(self) -> bool {
        matches!(self, Class::Files | Class::Packages)
    }
}

/// An effect: position of the step, position in the step.
pub(super) type Place = (usize, usize);

/// How far each step is.
pub(super) struct Schedule<'a> {
    steps: &'a [Step],
    /// Next effect of each step.
    next: Vec<usize>,
    /// Steps that are over, well or not.
    over: Vec<bool>,
    /// How many of the steps that are not prunes are not over.
    left: usize,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(steps: &'a [Step]) -> Schedule<'a> {
        let left = steps.iter().filter(|step| !step.prune).count();
        Schedule { steps, next: vec![0; steps.len()], over: vec![false; steps.len()], left }
    }

    pub(super) fn is_over(&self, step: usize) -> bool {
        self.over.get(step).copied().unwrap_or(true)
    }

    /// Whether an effect took place.
    pub(super) fn is_past(&self, (step, effect): Place) -> bool {
        self.next[step] > effect
    }

    /// Ends a step.
    pub(super) fn end(&mut self, step: usize) {
        if let Some(over) = self.over.get_mut(step).filter(|over| !**over) {
            *over = true;
            self.left -= usize::from(!self.steps[step].prune);
        }
    }

    /// Notes that an effect took place; ends its step after the last one.
    pub(super) fn advance(&mut self, (step, effect): Place) {
        self.next[step] = effect + 1;
        if self.next[step] == self.steps[step].change.effects.len() {
            self.end(step);
        }
    }

    /// The next batch; `None` when every step is over.
    pub(super) fn batch(&self) -> Option<(Class, Vec<Place>)> {
        let class = self.class()?;
        let mut batch = Vec::new();
        let mut whole = HashSet::new();
        // Of these, the ones that can still fail when directories have been made already.
        let mut replacing = HashSet::new();
        let mut paths = Paths::default();
        for position in 0..self.steps.len() {
            let may = self.may_join(position, |earlier| class.keeps_order() && whole.contains(&earlier));
            if self.is_over(position) || !may {
                continue;
            }
            let effects = &self.steps[position].change.effects;
            let mut taken = self.next[position];
            for effect in &effects[taken..] {
                if Class::of(effect) != class {
                    break;
                }
                let early = matches!(effect, Effect::MakeDirectory { .. });
                let waits = early && self.steps[position].needs.iter().any(|need| replacing.contains(need));
                if class == Class::Files && (waits || !paths.admit(effect)) {
                    // What follows in the list may build on this one: it waits for the next batch too.
                    return Some((class, batch));
                }
                batch.push((position, taken));
                taken += 1;
                if class == Class::Single {
                    return Some((class, batch));
                }
            }
            // A step without effects has no place in the batch that could carry a failure on.
            if taken == effects.len() && !effects.is_empty() {
                whole.insert(position);
                if effects.iter().any(|effect| !matches!(effect, Effect::MakeDirectory { .. })) {
                    replacing.insert(position);
                }
            }
        }
        Some((class, batch))
    }

    /// The class of the first effect that could run now; units wait until there is nothing else.
    fn class(&self) -> Option<Class> {
        let mut ready = (0..self.steps.len())
            .filter(|position| !self.is_over(*position) && self.may_join(*position, |_| false))
            .filter_map(|position| self.steps[position].change.effects.get(self.next[position]))
            .map(Class::of)
            .peekable();
        let first = *ready.peek()?;
        Some(ready.find(|class| *class != Class::Units).unwrap_or(first))
    }

    /// Whether everything before a step is over or, by `joined`, in the batch before it.
    fn may_join(&self, position: usize, joined: impl Fn(usize) -> bool) -> bool {
        let passed = |earlier: usize| self.is_over(earlier) || joined(earlier);
        let step = &self.steps[position];
        let in_turn = !step.prune || (self.left == 0 && (0..position).all(passed));
        in_turn && step.needs.iter().copied().all(passed)
    }
}

/// Paths that a batch changes while it is put in place. Directories are made, and files staged, before that.
#[derive(Default)]
struct Paths<'a> {
    replaced: HashSet<&'a Path>,
}

impl<'a> Paths<'a> {
    /// Takes an effect into the batch, unless it has to be prepared on top of something that the batch only replaces later.
    fn admit(&mut self, effect: &'a Effect) -> bool {
        let covered = |path: Option<&Path>| {
            path.is_some_and(|path| path.ancestors().any(|ancestor| self.replaced.contains(ancestor)))
        };
        let path = path(effect);
        let free = match effect {
            Effect::MakeDirectory { .. } => !covered(path),
            Effect::WriteFile(_) => !covered(path.and_then(Path::parent)),
            _ => true,
        };
        let replaces = !matches!(effect, Effect::MakeDirectory { .. } | Effect::SetAttributes { .. });
        self.replaced.extend(path.filter(|_| replaces));
        free
    }
}

/// The path that an effect is about.
pub(super) fn path(effect: &Effect) -> Option<&Path> {
    match effect {
        Effect::WriteFile(file) => Some(&file.path),
        Effect::MakeDirectory { path, .. }
        | Effect::MakeSymlink { path, .. }
        | Effect::SetAttributes { path, .. }
        | Effect::Remove { path, .. } => Some(path),
        _ => None,
    }
}

/// The kind of effect and what it is about, for the journal; never its content.
pub(super) fn name(effect: &Effect) -> (&'static str, String) {
    let of_path = |path: &PathBuf| path.to_string_lossy().into_owned();
    match effect {
        Effect::WriteFile(file) => ("write-file", of_path(&file.path)),
        Effect::MakeDirectory { path, .. } => ("make-directory", of_path(path)),
        Effect::MakeSymlink { path, .. } => ("make-symlink", of_path(path)),
        Effect::SetAttributes { path, .. } => ("set-attributes", of_path(path)),
        Effect::Remove { path, .. } => ("remove", of_path(path)),
        Effect::Package(action) => ("package", action.name.clone()),
        Effect::Unit { unit, .. } => ("unit", unit.clone()),
        Effect::DaemonReload => ("daemon-reload", String::new()),
        Effect::User(action) => ("user", action.name.clone()),
        Effect::Group(action) => ("group", action.name.clone()),
        Effect::Run(run) => ("run", run.argv.first().cloned().unwrap_or_default()),
    }
}
