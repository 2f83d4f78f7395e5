//! Package actions as one transaction, with what is wrong by itself left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Problem;
use crate::plan::{PackageAction, PackageOperation};
use crate::progress::Tell;
use crate::system::observe::PackageState;
use crate::system::packages::{PackageError, PackageManager};

/// All of it in one transaction. When that fails, what is wrong by itself is left out and the rest tried again, so that one
/// package that nobody offers does not keep the others away.
pub(super) fn transaction(
    manager: &dyn PackageManager,
    actions: &[PackageAction],
    say: &mut Tell<'_>,
) -> Vec<Result<(), Problem>> {
    let Err(error) = manager.execute(actions, say) else {
        return actions.iter().map(|_| Ok(())).collect();
    };
    let mut answers: Vec<Option<PackageError>> = if actions.len() > 1 && is_about_packages(&error) {
        actions.iter().map(|action| manager.simulate(std::slice::from_ref(action)).err()).collect()
    } else {
        actions.iter().map(|_| Some(error.clone())).collect()
    };
    let rest = |answers: &[Option<PackageError>]| -> Vec<usize> {
        (0..actions.len()).filter(|index| answers[*index].is_none()).collect()
    };
    let sound = rest(&answers);
    if !sound.is_empty() {
        let chosen: Vec<PackageAction> = sound.iter().map(|index| actions[*index].clone()).collect();
        let last =
            if sound.len() < actions.len() { manager.execute(&chosen, say).err() } else { Some(error) };
        if let Some(error) = last {
            let names: BTreeSet<String> = chosen.iter().map(|action| action.name.clone()).collect();
            let states = manager.observe(&names).unwrap_or_default();
            for index in sound {
                answers[index] = (!is_satisfied(&actions[index], &states)).then(|| error.clone());
            }
        }
    }
    answers.into_iter().map(|answer| answer.map_or(Ok(()), |error| Err(error.into()))).collect()
}

/// Whether an error may be the fault of some of the packages and not of all.
fn is_about_packages(error: &PackageError) -> bool {
    matches!(
        error,
        PackageError::UnknownPackage { .. }
            | PackageError::UnknownVersion { .. }
            | PackageError::WouldRemove { .. }
            | PackageError::WouldDowngrade { .. }
            | PackageError::Held { .. }
            | PackageError::Unsolvable { .. }
            | PackageError::Failed { .. }
            | PackageError::Grammar { .. }
    )
}

/// Whether a package is as an action wants it, after a transaction that failed in part.
fn is_satisfied(action: &PackageAction, states: &BTreeMap<String, PackageState>) -> bool {
    let absent = PackageState::default();
    let state = states.get(&action.name).unwrap_or(&absent);
    match action.operation {
        PackageOperation::Install => {
            !state.broken
                && state.installed.is_some()
                && (action.version.is_none() || action.version == state.installed)
        }
        PackageOperation::Remove => state.installed.is_none(),
        PackageOperation::Purge => state.installed.is_none() && !state.config_files,
        PackageOperation::Hold => state.held,
        PackageOperation::Unhold => !state.held,
    }
}
