//! Notifications that changes make necessary: noted before the change, delivered by a later step, or at the end.

use std::collections::BTreeSet;

use super::effector::UnitChange;
use super::run::Work;
use super::schedule::Place;
use super::{ApplyError, Effector, StepOutcome, units};
use crate::failpoint::reach;
use crate::plan::UnitAction;
use crate::progress::Progress;
use crate::resource::ResourceId;
use crate::state::{Finished, Notification, Owed};

/// Seconds that a job which is owed from an earlier run may take: systemd's own default.
const OWED_TIMEOUT: u32 = 90;

impl<E: Effector> Work<'_, E> {
    /// What the effects of a batch make necessary: steps that need them may have to tell a unit or a command, and systemd may have
    /// to read its unit files.
    pub(super) fn owed_because_of(&self, batch: &[Place], since: i64) -> Vec<Owed> {
        let touched: BTreeSet<usize> = batch.iter().map(|(step, _)| *step).collect();
        let mut owed = Vec::new();
        for later in self.steps.iter().filter(|step| !step.report_only) {
            let notifications = units::notifications(later);
            if notifications.is_empty() {
                continue;
            }
            for reason in later.needs.iter().filter(|need| touched.contains(need)) {
                owed.extend(notifications.iter().map(|notification| Owed {
                    notification: notification.clone(),
                    resource: later.resource.clone(),
                    reason: self.steps[*reason].resource.clone(),
                    since,
                }));
            }
        }
        for place in batch.iter().filter(|place| units::needs_reload(self.effect(**place))) {
            let resource = self.steps[place.0].resource.clone();
            owed.push(Owed {
                notification: Notification::DaemonReload,
                resource: resource.clone(),
                reason: resource,
                since,
            });
        }
        owed
    }

    /// Delivers what earlier runs owe and no step of this one did. What a failed step of this run was to do stays owed.
    pub(super) fn pay_owed(&mut self) -> Result<(), ApplyError> {
        let mut finished = Finished::default();
        if self.reload_due
            && let Err(problem) = self.daemon_reload(&mut finished)
        {
            self.problems.push(problem);
        }
        reach("owed reload done");
        let blocked: BTreeSet<&ResourceId> = self
            .results
            .iter()
            .filter(|result| !matches!(result.outcome, StepOutcome::Done))
            .map(|result| &result.resource)
            .collect();
        let owed = self.state.owed()?;
        let change = |owed: &Owed| {
            let (unit, action) = match &owed.notification {
                Notification::Reload(unit) => (unit, UnitAction::Reload),
                Notification::Restart(unit) => (unit, UnitAction::Restart),
                Notification::DaemonReload | Notification::Refresh(_) => return None,
            };
            (!blocked.contains(&owed.resource)).then(|| UnitChange {
                unit: unit.clone(),
                action,
                timeout: OWED_TIMEOUT,
            })
        };
        let (changes, _) = units::coalesce(&owed.iter().filter_map(change).collect::<Vec<_>>());
        if !changes.is_empty() {
            (self.progress)(Progress::Doing("delivering what is owed from an earlier run"));
            for (change, answer) in changes.iter().zip(self.effector.units(&changes)) {
                match answer {
                    Ok(()) => finished.paid.extend(units::pays(change)),
                    Err(problem) => self.problems.push(problem),
                }
            }
        }
        reach("owed units told");
        // The plan was made with what is owed in mind: a command that it found as declared does not want to be run.
        let unwanted = |notification: &Notification| match notification {
            Notification::Refresh(resource) => self.plan.unchanged.contains(resource),
            _ => false,
        };
        finished.paid.extend(owed.into_iter().map(|owed| owed.notification).filter(unwanted));
        if !finished.paid.is_empty() {
            self.state.complete(self.number, &finished)?;
            reach("owed paid");
        }
        Ok(())
    }
}
