//! Compare a desired state with the observed host, and make the plan.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::limits::{Prune, Removals};
use super::order::{CycleError, order};
use super::{Blocked, Plan, PlanError, Step};
use crate::manifest::Watched;
use crate::resource::{Context, Declared, Enforce, Provision, Relations, ResourceId};
use crate::system::accounts;
use crate::system::observe::{Needs, Observed};

/// What is known of a resource that abide applied before.
#[derive(Debug, Clone, PartialEq)]
pub struct Managed {
    /// Its last applied declaration.
    pub declared: Declared,
    /// Whether abide created it, as opposed to found it as declared.
    pub created: bool,
}

/// What a plan is to cover.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only these resources; empty: all.
    pub only: BTreeSet<ResourceId>,
    /// What to do about things that left the branch.
    pub prune: Prune,
    /// What the branch confirms to be removed, however much goes with it.
    pub confirmed: BTreeSet<ResourceId>,
    /// Who is still owed word of whose change, from a run that failed or died: for them that resource changes now.
    pub owed: BTreeSet<(ResourceId, ResourceId)>,
    /// What the host's [`Law`](super::Law) forbids; it is not planned, and what depends on it is not either.
    pub forbidden: BTreeMap<ResourceId, PlanError>,
    /// The same desired state was applied whole before, so that it is known to have an order.
    pub settled: bool,
    /// What is left as it is this time, and only reported: somebody keeps changing it back.
    pub left: BTreeSet<ResourceId>,
}

/// What has to be observed to plan these resources. What is forbidden is not even looked at: its guards are programs.
pub fn needs(
    desired: &[Declared],
    inventory: &[Managed],
    forbidden: &BTreeMap<ResourceId, PlanError>,
) -> Needs {
    let mut needs = Needs::default();
    let enforced = desired.iter().filter(|declared| declared.common.enforce != Enforce::No);
    for declared in enforced.filter(|declared| forbidden.is_empty() || !forbidden.contains_key(&declared.id))
    {
        declared.resource.needs(&mut needs);
    }
    for managed in departed(desired, inventory) {
        managed.declared.resource.prune_needs(&mut needs);
    }
    needs
}

/// Where drift of these resources can show.
pub fn watched(desired: &[Declared]) -> Watched {
    let needs = needs(desired, &[], &BTreeMap::new());
    let accounts = !needs.users.is_empty() || !needs.groups.is_empty();
    let databases = accounts.then(accounts::databases).into_iter().flatten();
    Watched {
        paths: needs.paths.into_keys().chain(databases).collect(),
        folders: needs.listings.into_keys().collect(),
        units: needs.units,
        packages: !needs.packages.is_empty(),
    }
}

/// Makes the plan.
///
/// # Errors
/// The resources cannot be ordered. A resource that cannot be planned is not an error but one of the plan's problems.
pub fn make(
    desired: &[Declared],
    inventory: &[Managed],
    host: &Observed,
    scope: &Scope,
) -> Result<Plan, CycleError> {
    let provisions = OnceCell::new();
    if scope.settled && inventory.is_empty() && scope.forbidden.is_empty() {
        let plan = unchanged(desired, host, &provisions, scope);
        if let Some(plan) = plan {
            return Ok(plan);
        }
    }
    let order = order(desired)?;
    let mut draft = Draft::default();
    for &position in &order.sequence {
        draft.inherit(position, &order.predecessors[position]);
        let Some(declared) = desired.get(position) else { continue };
        if let Some(error) = scope.forbidden.get(&declared.id) {
            // Also where the run is limited to others: a revision is refused whole.
            draft.broken.insert(position, declared.id.clone());
            draft.plan.problems.push(PlanError { origin: Some(declared.origin.clone()), ..error.clone() });
            continue;
        }
        if declared.common.enforce == Enforce::No || !scope.covers(&declared.id) {
            continue;
        }
        if let Some(because) = draft.broken.get(&position).cloned() {
            draft.plan.blocked.push(Blocked { resource: declared.id.clone(), because });
            continue;
        }
        draft.resource(
            position,
            declared,
            host,
            &|provision| provides(&provisions, desired, provision),
            scope,
        );
    }
    draft.prune(desired, inventory, host, scope, &provisions);
    Ok(draft.plan)
}

/// The plan, when nothing at all is to be done: whoever changes does so by itself or because something else changes, so that where
/// nobody does by itself, nobody does, in whatever order.
fn unchanged(
    desired: &[Declared],
    host: &Observed,
    provisions: &OnceCell<HashSet<Provision>>,
    scope: &Scope,
) -> Option<Plan> {
    let mut plan = Plan::default();
    for declared in desired {
        if declared.common.enforce == Enforce::No || !scope.covers(&declared.id) {
            continue;
        }
        let context = Context {
            host,
            changes: &|id| scope.owes(declared, id),
            provided: &|provision| provides(provisions, desired, provision),
            ignore: &declared.common.ignore,
        };
        match declared.resource.plan(&context) {
            Ok(None) => plan.unchanged.push(declared.id.clone()),
            _ => return None,
        }
    }
    Some(plan)
}

/// Whether the desired state provides this. What it provides is gathered when it is asked for first, which most plans never do.
fn provides(provisions: &OnceCell<HashSet<Provision>>, desired: &[Declared], provision: &Provision) -> bool {
    provisions.get_or_init(|| provided(desired)).contains(provision)
}

impl Scope {
    /// Whether somebody is still owed word of a resource's change.
    fn owes(&self, to: &Declared, of: &ResourceId) -> bool {
        !self.owed.is_empty() && self.owed.contains(&(to.id.clone(), of.clone()))
    }

    fn covers(&self, id: &ResourceId) -> bool {
        self.only.is_empty() || self.only.contains(id)
    }
}

#[derive(Default)]
struct Draft {
    plan: Plan,
    /// Position among the resources → position among the steps.
    steps: HashMap<usize, usize>,
    /// Position among the resources → steps that it waits for, directly or through something that does not change.
    waits: HashMap<usize, BTreeSet<usize>>,
    /// Resources with a step.
    changed: HashSet<ResourceId>,
    /// Position among the resources → the resource that could not be planned and that it depends on (or is).
    broken: HashMap<usize, ResourceId>,
}

impl Draft {
    fn inherit(&mut self, position: usize, predecessors: &[usize]) {
        let mut waits = BTreeSet::new();
        for predecessor in predecessors {
            match self.steps.get(predecessor) {
                Some(step) => {
                    waits.insert(*step);
                }
                None => waits.extend(self.waits.get(predecessor).into_iter().flatten()),
            }
            if let Some(because) = self.broken.get(predecessor).cloned() {
                self.broken.entry(position).or_insert(because);
            }
        }
        self.waits.insert(position, waits);
    }

    fn resource(
        &mut self,
        position: usize,
        declared: &Declared,
        host: &Observed,
        provided: &dyn Fn(&Provision) -> bool,
        scope: &Scope,
    ) {
        let context = Context {
            host,
            changes: &|id| self.changed.contains(id) || scope.owes(declared, id),
            provided,
            ignore: &declared.common.ignore,
        };
        match declared.resource.plan(&context) {
            Ok(None) => self.plan.unchanged.push(declared.id.clone()),
            Ok(Some(change)) => {
                self.steps.insert(position, self.plan.steps.len());
                let report_only =
                    declared.common.enforce == Enforce::Warn || scope.left.contains(&declared.id);
                // What is only reported does not change, so that nobody has to be restarted for it.
                if !report_only {
                    self.changed.insert(declared.id.clone());
                }
                self.plan.steps.push(Step {
                    resource: declared.id.clone(),
                    origin: declared.origin.clone(),
                    change,
                    needs: self.waits.get(&position).into_iter().flatten().copied().collect(),
                    prune: false,
                    sensitive: declared.common.sensitive || declared.resource.sensitive(),
                    report_only,
                    window: declared.common.only_in_window.clone(),
                    waits: None,
                });
            }
            Err(error) => {
                self.broken.insert(position, declared.id.clone());
                self.plan.problems.push(PlanError { origin: Some(declared.origin.clone()), ..error });
            }
        }
    }

    fn prune(
        &mut self,
        desired: &[Declared],
        inventory: &[Managed],
        host: &Observed,
        scope: &Scope,
        provisions: &OnceCell<HashSet<Provision>>,
    ) {
        let mut departed: Vec<&Managed> = departed(desired, inventory)
            .into_iter()
            .filter(|managed| scope.covers(&managed.declared.id))
            .collect();
        if departed.is_empty() {
            return;
        }
        let still_wanted = provisions.get_or_init(|| provided(desired));
        departed.sort_by(|a, b| removal_order(&b.declared).cmp(&removal_order(&a.declared)));
        let (removable, released): (Vec<_>, Vec<_>) = departed.into_iter().partition(|managed| {
            managed.created && managed.declared.common.prune && !provides_any(&managed.declared, still_wanted)
        });
        self.plan.released = released.iter().map(|managed| managed.declared.id.clone()).collect();
        let removed: Vec<&ResourceId> = removable.iter().map(|managed| &managed.declared.id).collect();
        let confirmed = removed.iter().filter(|id| scope.confirmed.contains(id)).count();
        let removals = Removals { removed, confirmed, desired: desired.len(), inventory: inventory.len() };
        if let Some(reason) = removals.refuse(scope.prune) {
            self.plan.prune_refused = (!removable.is_empty()).then_some(reason);
            return;
        }
        // Where several things leave together, each may ask whether another one does.
        let leaving: HashSet<&ResourceId> = removable.iter().map(|managed| &managed.declared.id).collect();
        let context =
            Context { host, changes: &|id| leaving.contains(id), provided: &|_| false, ignore: &[] };
        let needs = needed_first(&removable);
        let mut steps: Vec<Option<usize>> = vec![None; removable.len()];
        for (position, managed) in removable.iter().enumerate() {
            let declared = &managed.declared;
            match declared.resource.prune(&context) {
                Ok(None) => self.plan.released.push(declared.id.clone()),
                Ok(Some(change)) => {
                    steps[position] = Some(self.plan.steps.len());
                    self.plan.steps.push(Step {
                        resource: declared.id.clone(),
                        origin: declared.origin.clone(),
                        change,
                        needs: needs[position].iter().filter_map(|other| steps[*other]).collect(),
                        prune: true,
                        sensitive: declared.common.sensitive || declared.resource.sensitive(),
                        report_only: false,
                        window: declared.common.only_in_window.clone(),
                        waits: None,
                    });
                }
                Err(error) => {
                    self.plan.problems.push(PlanError { origin: Some(declared.origin.clone()), ..error });
                }
            }
        }
    }
}

/// For each thing that leaves, those before it in the list that have to be gone before it is: a folder is not empty before what lies in
/// it has left.
fn needed_first(leaving: &[&Managed]) -> Vec<BTreeSet<usize>> {
    let relations: Vec<Relations> = leaving.iter().map(|managed| relations(&managed.declared)).collect();
    let mut providers: HashMap<&Provision, Vec<usize>> = HashMap::new();
    for (position, relation) in relations.iter().enumerate() {
        for provision in &relation.provides {
            providers.entry(provision).or_default().push(position);
        }
    }
    let mut needs = vec![BTreeSet::new(); leaving.len()];
    for (position, relation) in relations.iter().enumerate() {
        for provider in relation.requires.iter().filter_map(|provision| providers.get(provision)).flatten() {
            if *provider > position {
                needs[*provider].insert(position);
            }
        }
    }
    needs
}

/// What was managed and is no longer declared.
fn departed<'a>(desired: &[Declared], inventory: &'a [Managed]) -> Vec<&'a Managed> {
    if inventory.is_empty() {
        return Vec::new();
    }
    let declared: HashSet<&ResourceId> = desired.iter().map(|declared| &declared.id).collect();
    inventory.iter().filter(|managed| !declared.contains(&managed.declared.id)).collect()
}

/// Removal goes backwards: services before files before packages before users, and what is deeper in a tree first.
fn removal_order(declared: &Declared) -> (i32, usize, &ResourceId) {
    (declared.common.wave, declared.resource.rank(), &declared.id)
}

fn relations(declared: &Declared) -> Relations {
    let mut relations = Relations::default();
    declared.resource.relations(&mut relations);
    relations
}

fn provided(desired: &[Declared]) -> HashSet<Provision> {
    desired.iter().flat_map(|declared| relations(declared).provides).collect()
}

fn provides_any(declared: &Declared, wanted: &HashSet<Provision>) -> bool {
    relations(declared).provides.iter().any(|provision| wanted.contains(provision))
}

/// The number of changes per kind, for a one-line summary.
pub fn counts(plan: &Plan) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for step in &plan.steps {
        *counts.entry(step.resource.kind.clone()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::plan::testing::{link, named};
    use crate::resource::testing::present;
    use crate::system::observe::{FileType, PathState};

    fn host(paths: &[(&str, PathState)]) -> Observed {
        Observed {
            paths: paths.iter().map(|(path, state)| ((*path).into(), state.clone())).collect(),
            ..Observed::default()
        }
    }

    fn managed(path: &str, created: bool) -> Managed {
        Managed { declared: link(path), created }
    }

    fn within(percent: u8) -> Scope {
        Scope { prune: Prune::Within(percent), ..Scope::default() }
    }

    fn there() -> PathState {
        present(FileType::Symlink).with_target("target")
    }

    #[test]
    fn a_converged_host_gives_an_empty_plan() {
        let plan = make(&[link("/a")], &[], &host(&[("/a", there())]), &Scope::default()).unwrap();
        assert!(plan.is_empty());
        assert_eq!(plan.unchanged, [named("/a")]);
    }

    #[test]
    fn what_was_applied_before_and_is_as_declared_is_not_ordered_again() {
        let settled = Scope { settled: true, ..Scope::default() };
        let (mut a, mut b) = (link("/a"), link("/b"));
        // Nobody would get these past the first plan: they show that there is no order to be found here.
        (a.common.after, b.common.after) = (vec![named("/b")], vec![named("/a")]);
        let all = [a, b];
        let plan = make(&all, &[], &host(&[("/a", there()), ("/b", there())]), &settled).unwrap();
        assert!(plan.is_empty());
        assert_eq!(plan.unchanged, [named("/a"), named("/b")]);
        assert!(make(&all, &[], &host(&[("/a", there())]), &settled).is_err(), "something is to be done");
        let left = [managed("/c", true)];
        let all = [link("/a")];
        let plan = make(
            &all,
            &left,
            &host(&[("/a", there()), ("/c", there())]),
            &Scope { prune: Prune::Confirmed, ..settled },
        );
        assert_eq!(plan.unwrap().steps.len(), 1);
    }

    #[test]
    fn a_step_needs_what_it_was_ordered_after_even_through_something_unchanged() {
        let (mut b, mut c) = (link("/b"), link("/c"));
        b.common.after = vec![named("/a")];
        c.common.after = vec![named("/b")];
        let plan = make(&[link("/a"), b, c], &[], &host(&[("/b", there())]), &Scope::default()).unwrap();
        let steps: Vec<_> =
            plan.steps.iter().map(|step| (step.resource.name.as_str(), step.needs.clone())).collect();
        assert_eq!(steps, [("/a", vec![]), ("/c", vec![0])]);
    }

    #[test]
    fn what_cannot_be_planned_blocks_its_dependants_only() {
        let mut b = link("/b");
        b.common.after = vec![named("/a")];
        let host = host(&[("/a", present(FileType::File))]);
        let plan = make(&[link("/a"), b, link("/c")], &[], &host, &Scope::default()).unwrap();
        assert_eq!(plan.problems[0].code, Code("E310"));
        assert_eq!(plan.blocked, [Blocked { resource: named("/b"), because: named("/a") }]);
        assert_eq!(plan.steps.len(), 1);
    }

    #[test]
    fn only_what_was_created_is_removed() {
        let inventory = [managed("/a", true), managed("/b", false), managed("/c", true)];
        let host = host(&[("/a", there()), ("/b", there()), ("/c", there())]);
        let plan = make(&[link("/c")], &inventory, &host, &within(50)).unwrap();
        assert_eq!(
            plan.steps.iter().map(|step| (&step.resource, step.prune)).collect::<Vec<_>>(),
            [(&named("/a"), true)]
        );
        assert_eq!(plan.released, [named("/b")]);
    }

    #[test]
    fn what_leaves_needs_what_leaves_before_it_and_keeps_its_window() {
        let mut inner = managed("/a/b/c", true);
        inner.declared.common.only_in_window = Some("quiet".into());
        let inventory = [managed("/a", true), managed("/x", true), inner, managed("/a/b", true)];
        let host = host(&["/a", "/a/b", "/a/b/c", "/x"].map(|path| (path, there())));
        let plan =
            make(&[], &inventory, &host, &Scope { prune: Prune::Confirmed, ..Scope::default() }).unwrap();
        let steps: Vec<_> = plan
            .steps
            .iter()
            .map(|step| (step.resource.name.as_str(), step.needs.clone(), step.window.as_deref()))
            .collect();
        let quiet = Some("quiet");
        assert_eq!(
            steps,
            [("/x", vec![], None), ("/a/b/c", vec![], quiet), ("/a/b", vec![1], None), ("/a", vec![2], None)]
        );
    }

    #[test]
    fn removing_much_or_everything_needs_a_word() {
        let names = ["/a", "/b", "/c", "/d", "/e"];
        let inventory: Vec<Managed> = names.map(|path| managed(path, true)).into();
        let host = host(&names.map(|path| (path, there())));
        let confirmed = |scope: Scope| Scope { confirmed: [named("/a")].into(), ..scope };
        for (desired, scope, removed, refused) in [
            (vec![link("/c")], within(50), 0, true),
            (vec![link("/c")], within(80), 4, false),
            (vec![link("/c")], confirmed(within(50)), 4, false),
            (vec![link("/c"), link("/d")], within(50), 3, false),
            (vec![], within(100), 0, true),
            (vec![], confirmed(within(100)), 0, true),
            (vec![], Scope { prune: Prune::Confirmed, ..Scope::default() }, 5, false),
            (vec![link("/c")], Scope::default(), 0, true),
        ] {
            let plan = make(&desired, &inventory, &host, &scope).unwrap();
            assert_eq!((plan.steps.len(), plan.prune_refused.is_some()), (removed, refused), "{scope:?}");
        }
    }

    #[test]
    fn what_turns_out_impossible_goes_with_what_needs_it() {
        let (mut b, mut c) = (link("/b"), link("/c"));
        b.common.after = vec![named("/a")];
        c.common.after = vec![named("/b")];
        let mut d = link("/d");
        d.common.after = vec![named("/0")];
        let all = [link("/0"), link("/a"), b, c, d];
        let mut plan = make(&all, &[], &host(&[]), &Scope::default()).unwrap();
        let position = plan.steps.iter().position(|step| step.resource == named("/a")).unwrap();
        let error = PlanError::new(named("/x"), Code("E305"), "impossible", "do something else");
        plan.withdraw([(position, error)].into());
        let left: Vec<_> =
            plan.steps.iter().map(|step| (step.resource.name.as_str(), step.needs.clone())).collect();
        assert_eq!(left, [("/0", vec![]), ("/d", vec![0])]);
        assert_eq!((&plan.problems[0].resource, plan.problems[0].origin.is_some()), (&named("/a"), true));
        let blocked: Vec<_> =
            plan.blocked.iter().map(|blocked| (&blocked.resource, &blocked.because)).collect();
        assert_eq!(blocked, [(&named("/b"), &named("/a")), (&named("/c"), &named("/a"))]);
    }

    #[test]
    fn a_scope_leaves_the_rest_alone() {
        let scope = Scope { only: [named("/b")].into(), ..Scope::default() };
        let plan = make(&[link("/a"), link("/b")], &[], &host(&[]), &scope).unwrap();
        assert_eq!(plan.steps.iter().map(|step| &step.resource).collect::<Vec<_>>(), [&named("/b")]);
    }

    #[test]
    fn what_is_left_is_only_reported_and_changes_nothing_else() {
        let scope = Scope { left: [named("/a")].into(), ..Scope::default() };
        let plan = make(&[link("/a"), link("/b")], &[], &host(&[]), &scope).unwrap();
        let steps: Vec<_> = plan.steps.iter().map(|step| (&step.resource, step.report_only)).collect();
        assert_eq!(steps, [(&named("/a"), true), (&named("/b"), false)]);
    }
}
