//! Observe and plan; ask the package manager what is possible before anything is touched.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::before::Originals;
use super::{Run, Target};
use crate::error::{Code, Explain as _, Problem};
use crate::plan::law::{Breach, Law};
use crate::plan::{
    self, Effect, Managed, PackageAction, PackageOperation, Plan, PlanError, Prune, Reach, Scope,
};
use crate::progress::Tell;
use crate::report::EventKind;
use crate::resource::ResourceId;
use crate::resource::codes::VERSION_UNAVAILABLE;
use crate::state::Cause;
use crate::system::fs::Rehash;
use crate::system::observe::Observed;
use crate::system::packages::Simulation;
use crate::system::probe::Probe;
use crate::system::{clock, packages};

/// An index younger than this is not fetched again for a version that it does not have.
const FRESH_INDEX: Duration = Duration::from_secs(600);

impl Run<'_> {
    /// Plans the target. A new revision that cannot be planned whole is refused whole, and what was enforced last is planned instead.
    pub(super) fn plan(
        &mut self,
        target: Target,
        progress: &mut Tell<'_>,
    ) -> Result<(Target, Plan), Problem> {
        let plan = self.make(&target, progress)?;
        // A generation that is returned to was whole once; what is not possible any more is reported, and the rest comes back.
        if target.known || target.pinned || plan.problems.is_empty() {
            if !target.known {
                self.news("plan", "")?;
            }
            return Ok((target, plan));
        }
        let problems: Vec<Problem> = plan.problems.iter().cloned().map(Problem::from).collect();
        let commit = target.desired.revision().commit.clone();
        match self.refuse(EventKind::PlanRefused, "plan", problems, &commit)? {
            Some(last) => {
                self.recorder.status.verified = Some(target.desired.revision().clone());
                let plan = self.make(&last, progress)?;
                Ok((last, plan))
            }
            // Nothing was enforced before: the plan stays as an explanation, without steps.
            None => Ok((Target { known: true, ..target }, Plan { steps: Vec::new(), ..plan })),
        }
    }

    pub(super) fn make(&mut self, target: &Target, progress: &mut Tell<'_>) -> Result<Plan, Problem> {
        let resources = &target.desired.rendered().resources;
        let settled = self.state.settled()?.is_some_and(|settled| settled == target.key.digest());
        let inventory = if settled { Vec::new() } else { self.inventory()? };
        let site = self.site;
        let law = LazyCell::new(|| Law::of_host(&site.paths, &site.settings.law));
        // What is in force was judged when it was new. The host's own law may be newer.
        let forbidden = match target.known && self.site.settings.law.is_empty() {
            true => BTreeMap::new(),
            false => law.declared(resources),
        };
        let needs = plan::needs(resources, &inventory, &forbidden);
        let rehash = if self.request.rehash { Rehash::Always } else { Rehash::Never };
        let mut observed = self.host.observe(&needs, &mut self.fingerprints, rehash)?;
        let rules = &target.desired.rendered().rules;
        let confirmed = inventory.iter().map(|managed| &managed.declared.id);
        let confirmed = confirmed.filter(|id| rules.may_remove(id, clock::now())).cloned().collect();
        let scope = Scope { forbidden, settled, confirmed, ..self.scope(target)? };
        let mut plan = plan::make(resources, &inventory, &observed, &scope)?;
        match self.consult(&plan, &needs.offers, &mut observed, progress) {
            Ok(true) => {
                plan = plan::make(resources, &inventory, &observed, &scope)?;
                if self.pass_over(target, &plan, &mut observed)? {
                    plan = plan::make(resources, &inventory, &observed, &scope)?;
                }
            }
            Ok(false) => {}
            // Without the archives there is no installing; everything else is kept as declared.
            Err(problem) => withdraw_packages(&mut plan, &in_words(problem.clone()), &problem.remedy),
        }
        if !plan.steps.is_empty() {
            let forbidden = law.planned(&plan, &observed);
            if !forbidden.is_empty() {
                plan.withdraw(forbidden);
            }
            self.simulate(&mut plan, &law);
            self.spare_what_is_used(&mut plan, resources, &observed);
        }
        if !target.known || !site.settings.law.is_empty() {
            plan.problems.extend(forbidden_checks(target, &law));
        }
        if !target.known && !target.pinned && !self.request.dry_run {
            let known = self.changed_before()?;
            let bytes = self.site.settings.apply.backup_bytes;
            self.originals = Originals::of(&plan, resources, &known, &observed, bytes);
        }
        // As with the target: the end of the process gives it back at once.
        std::mem::forget(observed);
        Ok(plan)
    }

    fn inventory(&self) -> Result<Vec<Managed>, Problem> {
        let entries = self.state.inventory()?.into_iter();
        Ok(entries
            .filter_map(|entry| {
                let created = entry.created;
                entry.declared.map(|declared| Managed { declared, created })
            })
            .collect())
    }

    /// What abide has made or changed before: what there was then is kept, or was never there.
    fn changed_before(&self) -> Result<HashSet<ResourceId>, Problem> {
        let entries = self.state.inventory()?.into_iter();
        Ok(entries.filter(|entry| !entry.adopted || entry.created).map(|entry| entry.resource).collect())
    }

    fn scope(&self, target: &Target) -> Result<Scope, Problem> {
        let apply = &self.site.settings.apply;
        let prune = match (self.request.prune, apply.prune) {
            (true, _) => Prune::Confirmed,
            // What the generation that was given up had brought.
            (false, true) if target.pinned => Prune::Confirmed,
            (false, true) => Prune::Within(apply.prune_limit),
            (false, false) => Prune::Never,
        };
        let owed = self.state.owed()?.into_iter().map(|owed| (owed.resource, owed.reason)).collect();
        Ok(Scope {
            only: self.request.only.clone(),
            left: self.request.left.clone(),
            prune,
            owed,
            ..Scope::default()
        })
    }

    /// Looks up in the archives' index what the plan wants installed or cannot find a version for, what shall be the latest, and what
    /// shall return to another version than it has. Whether something was looked up.
    fn consult(
        &mut self,
        plan: &Plan,
        offers: &BTreeMap<String, Option<String>>,
        observed: &mut Observed,
        progress: &mut Tell<'_>,
    ) -> Result<bool, Problem> {
        let installs = actions(plan).filter(|(_, action)| {
            action.operation == PackageOperation::Install && action.options.file.is_none()
        });
        let mut wanted: BTreeMap<String, Option<String>> =
            installs.map(|(_, action)| (action.name.clone(), action.version.clone())).collect();
        let unavailable = plan.problems.iter().filter(|problem| problem.code == VERSION_UNAVAILABLE);
        let unavailable: Vec<String> = unavailable.map(|problem| problem.resource.name.clone()).collect();
        // What an event woke us for is drift; a newer version is none, and the next check finds it.
        let open = offers.iter().filter(|(name, settles)| {
            let installed = observed.packages.get(*name).and_then(|state| state.installed.as_ref());
            self.request.cause != Cause::Drift && (settles.is_none() || installed != settles.as_ref())
        });
        let open = open.map(|(name, _)| name);
        wanted.extend(unavailable.iter().chain(open).map(|name| (name.clone(), None)));
        if wanted.is_empty() {
            return Ok(false);
        }
        let Ok(manager) = self.host.packages() else { return Ok(false) };
        let states = &mut observed.packages;
        if self.request.dry_run {
            if manager.index_age(clock::system_time()).is_none() {
                // A host that never fetched an index knows nothing of archives; the run itself fetches one.
                return Ok(false);
            }
            // Fetching the index anew would change the host, if only its caches.
            manager.candidates(states)?;
            return Ok(true);
        }
        let mut oldest = self.site.settings.apply.package_index_age.duration();
        if !unavailable.is_empty() {
            oldest = oldest.min(FRESH_INDEX);
        }
        packages::resolve(manager, states, &wanted, oldest, clock::system_time(), progress)?;
        Ok(true)
    }

    /// Refuses package actions that would remove something nobody asked to remove, that would change something forbidden, or that
    /// do not fit together.
    fn simulate(&mut self, plan: &mut Plan, law: &Law) {
        let all: Vec<PackageAction> = actions(plan).map(|(_, action)| action.clone()).collect();
        if all.is_empty() {
            return;
        }
        let complaint = match self.consequences(&all) {
            Ok(simulation) => {
                if let Some(breach) = breach(law, &simulation) {
                    return withdraw(plan, breach.code(), &breach.to_string(), &breach.remedy());
                }
                let unasked = unasked_removals(simulation, &all);
                if unasked.is_empty() {
                    return;
                }
                format!("this would remove {}, which nobody asked for", unasked.join(", "))
            }
            Err(problem) => in_words(problem),
        };
        withdraw_packages(
            plan,
            &complaint,
            "declare the packages that shall go as `ensure = \"absent\"`, or choose versions that fit together",
        );
    }
}

/// Health checks whose programs the host forbids.
fn forbidden_checks(target: &Target, law: &Law) -> Vec<PlanError> {
    let checks = target.desired.rendered().health.iter();
    let forbidden = checks.filter_map(|check| match &check.probe {
        Probe::Command { argv, .. } => law.allows_check(&check.name, argv).err(),
        _ => None,
    });
    forbidden.collect()
}

/// What a simulated transaction would change although the host forbids it, if only as a dependency.
fn breach(law: &Law, simulation: &Simulation) -> Option<Breach> {
    let Simulation { installs, upgrades, downgrades, removes } = simulation;
    let mut planned = [installs, upgrades, downgrades, removes].into_iter().flatten();
    planned.find_map(|planned| law.allows(&Reach::Package { name: planned.name.clone(), gone: false }).err())
}

/// Takes every package action out of the plan, for one reason.
fn withdraw_packages(plan: &mut Plan, complaint: &str, help: &str) {
    withdraw(plan, Code("E305"), complaint, help);
}

fn withdraw(plan: &mut Plan, code: Code, complaint: &str, help: &str) {
    let error = |position: usize| {
        let resource = plan.steps[position].resource.clone();
        (position, PlanError::new(resource, code, complaint, help))
    };
    let impossible = actions(plan).map(|(position, _)| error(position)).collect();
    plan.withdraw(impossible);
}

fn in_words(problem: Problem) -> String {
    [&[problem.what], problem.why.as_slice()].concat().join(": ")
}

impl Run<'_> {
    /// What the package manager would do.
    fn consequences(&mut self, actions: &[PackageAction]) -> Result<Simulation, Problem> {
        let dry_run = self.request.dry_run;
        let Ok(manager) = self.host.packages() else { return Ok(Simulation::default()) };
        if dry_run && manager.index_age(clock::system_time()).is_none() {
            return Ok(Simulation::default());
        }
        Ok(manager.simulate(actions)?)
    }
}

fn unasked_removals(simulation: Simulation, actions: &[PackageAction]) -> Vec<String> {
    let asked = |name: &str| {
        let goes = |action: &PackageAction| {
            matches!(action.operation, PackageOperation::Remove | PackageOperation::Purge)
                && action.name.split(':').next() == Some(name)
        };
        actions.iter().any(goes)
    };
    simulation.removes.into_iter().map(|planned| planned.name).filter(|name| !asked(name)).collect()
}

/// Every package action of a plan, with the position of its step.
pub(super) fn actions(plan: &Plan) -> impl Iterator<Item = (usize, &PackageAction)> {
    plan.steps.iter().enumerate().flat_map(|(position, step)| {
        step.change.effects.iter().filter_map(move |effect| match effect {
            Effect::Package(action) => Some((position, action)),
            _ => None,
        })
    })
}
