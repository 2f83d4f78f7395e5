//! abide as one of the packages that it manages: what has to be known of a commit that may bring another version of it, and what is said
//! of a version that did not work here.

use super::{Run, Target};
use crate::error::Problem;
use crate::report::EventKind;
use crate::resource::ResourceId;
use crate::state::{Cause, Standing};
use crate::system::clock;
use crate::system::observe::Observed;
use crate::upgrade::{self, PACKAGE, Upgrade, UpgradeError};

/// What was told of the newest version that is not taken.
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

    /// A version that did not work here is not what "latest" means, whichever commit says so: it would be taken and given back with every
    /// commit, and each of them be given up with it. A still newer one is.
    pub(super) fn pass_over(&mut self, target: &Target, observed: &mut Observed) -> Result<(), Problem> {
        let follows = |declared: &crate::resource::Declared| declared.resource.follows_latest(PACKAGE);
        if !target.desired.rendered().resources.iter().any(follows) {
            return Ok(());
        }
        let refused = self.state.refused_upgrade()?.filter(|refused| refused.version.is_some());
        let passed = observed.packages.get_mut(PACKAGE).zip(refused).filter(|(state, refused)| {
            state.candidate == refused.version && state.installed != refused.version
        });
        let Some((state, refused)) = passed else {
            self.news(SUBJECT, "")?;
            return Ok(());
        };
        let version = state.candidate.take().unwrap_or_default();
        let problem = Problem::from(UpgradeError::Refused { reason: refused.reason.what });
        if self.news(SUBJECT, &version)? {
            let (id, what) = (ResourceId::new("package", PACKAGE), format!("{version} is passed over"));
            let message = problem.to_string();
            self.recorder.tell_resource(EventKind::ResourceFailed, &id, &what, message, clock::now());
        }
        self.recorder.keep(problem);
        Ok(())
    }

    /// What this run has learned outlives a version that it has brought and that does not work.
    pub(super) fn keep_for_guard(&self) {
        if let Err(error) = upgrade::keep_state(&self.site.paths, &self.state) {
            // Nothing is lost with it unless that version does not work either.
            crate::report::journal::note(&error.to_string());
        }
    }
}
