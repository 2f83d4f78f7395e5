//! What is noted before a batch takes place: which effects, what was there before, and whose they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Effector;
use super::run::{Work, number};
use super::schedule::{Place, name, path};
use crate::plan::{Effect, Step};
use crate::resource::{Declared, ResourceId};
use crate::state::{Intent, Undertaken};

/// Kinds of effects whose things [`Effector::look`] knows.
const LOOKED_AT: &[&str] = &["package", "user", "group"];

/// What there is of packages and accounts, by kind of effect and name.
pub(super) type Looks = BTreeMap<(String, String), String>;

/// Looks at what these effects are about, as far as that can be seen.
pub(super) fn look<'a, E: Effector>(
    effector: &mut E,
    effects: impl Iterator<Item = (&'a str, String)> + Clone,
) -> Looks {
    let mut looks = Looks::new();
    for verb in LOOKED_AT {
        let names: BTreeSet<String> =
            effects.clone().filter(|(of, _)| of == verb).map(|(_, name)| name).collect();
        if !names.is_empty() {
            let seen = effector.look(verb, &names).into_iter();
            looks.extend(seen.map(|(name, words)| (((*verb).to_owned(), name), words)));
        }
    }
    looks
}

impl<E: Effector> Work<'_, E> {
    /// The effects of a batch.
    pub(super) fn intents(&mut self, batch: &[Place]) -> Vec<Intent> {
        let names: Vec<(&str, String)> = batch.iter().map(|place| name(self.effect(*place))).collect();
        let looks = look(self.effector, names.iter().cloned());
        batch
            .iter()
            .zip(names)
            .map(|(place, (verb, target))| self.intent(*place, verb, target, &looks))
            .collect()
    }

    fn intent(&mut self, place: Place, verb: &str, target: String, looks: &Looks) -> Intent {
        let step = &self.steps[place.0];
        let effect = &step.change.effects[place.1];
        let before = match (effect, path(effect)) {
            (Effect::Run(run), _) => serde_json::to_string(&run.success).unwrap_or_default(),
            (_, Some(path)) => self.effector.fingerprint(path, !step.sensitive),
            (_, None) => looks.get(&(verb.to_owned(), target.clone())).cloned().unwrap_or_default(),
        };
        if place.1 == 0 && path(effect).is_some() {
            self.fingerprints[place.0].0.clone_from(&before);
        }
        Intent {
            step: number(place.0),
            effect: number(place.1),
            resource: step.resource.clone(),
            verb: verb.to_owned(),
            target,
            before,
            creates: step.change.creates,
        }
    }
}

/// The resources whose first effect is in a batch.
pub(super) fn undertaken<'a>(
    steps: &'a [Step],
    declared: &HashMap<&ResourceId, &'a Declared>,
    batch: &[Place],
) -> Vec<Undertaken<'a>> {
    let first = batch.iter().filter(|(_, effect)| *effect == 0);
    first
        .map(|(position, _)| {
            let step = &steps[*position];
            Undertaken {
                position: number(*position),
                resource: &step.resource,
                summary: &step.change.summary,
                effects: number(step.change.effects.len()),
                origin: &step.origin,
                declared: declared.get(&step.resource).copied().filter(|_| !step.prune),
            }
        })
        .collect()
}

/// Whether words about a path, a package or an account say that it is not there.
pub(super) fn is_absent(words: &str) -> bool {
    words.starts_with("absent")
}
