//! abide as one of the packages that it manages: what has to be known of a commit that may bring another version of it, and what is said
//! of a version that did not work here.

use super::planning::actions;
use super::{Run, Target};
use crate::error::Problem;
use crate::plan::{PackageAction, Plan};
use crate::report::EventKind;
use crate::resource::{Declared, ResourceId};
use crate::state::{Cause, Standing};
use crate::system::clock;
use crate::system::observe::Observed;
use crate::upgrade::{self, PACKAGE, Upgrade, UpgradeError};

/// What was told of the version that is not taken.
const SUBJECT: &str = "refused upgrade";

impl Run<'_> {
    /// What has to be known should this run change abide itself.
    pub(super) fn upgrade(&self, target: &Target) -> Result<Upgrade, Problem> {
        let revision = target.desired.revision();
        let generation = self.state.generation_of(&revision.commit)?;
        let good = generation.is_some_and(|known| known.standing == Standing::Good);
        Ok(Upgrade {
            commit: revision.commit.clone(),
            revision: revision.to_string(),
            brought: !good && !target.pinned,
            refused: self.state.refused_upgrade()?,
            within: self.site.settings.apply.upgrade_within.seconds,
        })
    }

    /// Says as long as it is so that the program which works is not the one of the package.
    pub(super) fn judge_own_package(&mut self) -> Result<(), Problem> {
        match self.state.without_package()? {
            Some(known) if known.holds() => self.recorder.keep(known.problem),
            Some(_) if !self.request.dry_run => self.state.set_without_package(None)?,
            _ => {}
        }
        // A run for drift asks no archive, and changes nothing about what the last one that did was told.
        if self.request.cause == Cause::Drift
            && self.state.condition(SUBJECT)?.is_some_and(|(version, _)| !version.is_empty())
            && let Some(refused) = self.state.refused_upgrade()?
        {
            self.recorder.keep(UpgradeError::Refused { reason: refused.reason.what }.into());
        }
        Ok(())
    }

    /// Where the archives choose the version, one that did not work here is not chosen, whichever commit says so: it would be taken and
    /// given back with every commit, and each of them be given up with it. Another one is. Whether it was this plan's choice, so that
    /// there has to be another plan.
    pub(super) fn pass_over(
        &mut self,
        target: &Target,
        plan: &Plan,
        observed: &mut Observed,
    ) -> Result<bool, Problem> {
        let chosen = |declared: &Declared| declared.resource.lets_archives_choose(PACKAGE);
        if !target.desired.rendered().resources.iter().any(chosen) {
            return Ok(false);
        }
        let refused = self.state.refused_upgrade()?.filter(|refused| refused.version.is_some());
        let own = actions(plan).map(|(_, action)| action).find(|action| upgrade::is_own(action));
        let passed = own.zip(refused).filter(|(action, refused)| action.version == refused.version);
        let Some((PackageAction { name, .. }, refused)) = passed else {
            self.news(SUBJECT, "")?;
            return Ok(false);
        };
        if let Some(state) = observed.packages.get_mut(name) {
            state.candidate.take_if(|version| Some(&*version) == refused.version.as_ref());
            state.available.retain(|version| Some(version) != refused.version.as_ref());
        }
        let version = refused.version.unwrap_or_default();
        let problem = Problem::from(UpgradeError::Refused { reason: refused.reason.what });
        if self.news(SUBJECT, &version)? {
            let (id, what) = (ResourceId::new("package", name), format!("{version} is passed over"));
            let message = problem.to_string();
            self.recorder.tell_resource(EventKind::ResourceFailed, &id, &what, message, clock::now());
        }
        self.recorder.keep(problem);
        Ok(true)
    }

    /// What this run has learned outlives a version that it has brought and that does not work.
    pub(super) fn keep_for_guard(&self) {
        if let Err(error) = upgrade::keep_state(&self.site.paths, &self.state) {
            // Nothing is lost with it unless that version does not work either.
            crate::report::journal::note(&error.to_string());
        }
    }
}
