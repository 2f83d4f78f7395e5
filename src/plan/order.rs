//! Puts resources in order: edges that everybody expects, edges that the author wrote, and a fixed order where there are none.
//!
//! **Invariant:** the same resources give the same order, and a cycle is an error that shows the cycle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use crate::error::{Code, Explain};
use crate::resource::{Declared, Provision, Relations, ResourceId};

/// The order of a desired state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// Positions in the list of resources, in order of application. Positions past its end are barriers between waves.
    pub sequence: Vec<usize>,
    /// For each position, what it comes directly after, sorted.
    pub predecessors: Vec<Vec<usize>>,
}

/// Resources that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these resources wait for each other: {}", cycle.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(" → "))]
pub struct CycleError {
    /// The cycle, with the place of each declaration; the first stands again at the end.
    pub cycle: Vec<(ResourceId, String)>,
}

impl Explain for CycleError {
    fn code(&self) -> Code {
        Code("E303")
    }

    fn remedy(&self) -> String {
        "remove one of the `after`, `before`, `reload-on` or `restart-on` lines that close the cycle".into()
    }

    fn place(&self) -> Option<String> {
        Some(self.cycle.iter().map(|(id, place)| format!("{id} in {place}")).collect::<Vec<_>>().join(", "))
    }
}

/// Orders resources.
///
/// # Errors
/// There is a cycle.
pub fn order(resources: &[Declared]) -> Result<Order, CycleError> {
    let predecessors = predecessors(resources);
    let count = predecessors.len();
    let mut successors = vec![Vec::new(); count];
    let mut waiting = vec![0_usize; count];
    for (position, before) in predecessors.iter().enumerate() {
        waiting[position] = before.len();
        for &predecessor in before {
            successors[predecessor].push(position);
        }
    }
    let rank = |position: usize| {
        let declared = resources.get(position);
        Reverse((
            declared.map(|declared| (declared.common.wave, declared.resource.rank(), &declared.id)),
            position,
        ))
    };
    let mut ready: BinaryHeap<_> = (0..count).filter(|&position| waiting[position] == 0).map(rank).collect();
    let mut sequence = Vec::with_capacity(count);
    while let Some(Reverse((_, position))) = ready.pop() {
        sequence.push(position);
        for &successor in &successors[position] {
            waiting[successor] -= 1;
            if waiting[successor] == 0 {
                ready.push(rank(successor));
            }
        }
    }
    if sequence.len() < count {
        return Err(cycle(resources, &predecessors, &waiting));
    }
    Ok(Order { sequence, predecessors })
}

fn predecessors(resources: &[Declared]) -> Vec<Vec<usize>> {
    let by_id: HashMap<&ResourceId, usize> =
        resources.iter().enumerate().map(|(position, declared)| (&declared.id, position)).collect();
    let relations: Vec<Relations> = resources
        .iter()
        .map(|declared| {
            let mut relations = Relations::default();
            declared.resource.relations(&mut relations);
            relations
        })
        .collect();
    let mut providers: HashMap<&Provision, Vec<usize>> = HashMap::new();
    for (position, relation) in relations.iter().enumerate() {
        for provision in &relation.provides {
            providers.entry(provision).or_default().push(position);
        }
    }
    let mut predecessors = vec![Vec::new(); resources.len()];
    for (position, (declared, relation)) in resources.iter().zip(&relations).enumerate() {
        let required = relation.requires.iter().filter_map(|provision| providers.get(provision)).flatten();
        let named = declared.common.after.iter().chain(&relation.watches).filter_map(|id| by_id.get(id));
        predecessors[position].extend(required.chain(named).filter(|&&other| other != position));
        for id in &declared.common.before {
            if let Some(&later) = by_id.get(id) {
                predecessors[later].push(position);
            }
        }
    }
    add_waves(resources, &mut predecessors);
    for list in &mut predecessors {
        list.sort_unstable();
        list.dedup();
    }
    predecessors
}

/// Everything of a wave comes after everything of the wave before: drawn through one barrier between two waves, because the complete
/// set of edges would be quadratic.
fn add_waves(resources: &[Declared], predecessors: &mut Vec<Vec<usize>>) {
    let mut waves: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (position, declared) in resources.iter().enumerate() {
        waves.entry(declared.common.wave).or_default().push(position);
    }
    let waves: Vec<Vec<usize>> = waves.into_values().collect();
    for pair in waves.windows(2) {
        let barrier = predecessors.len();
        predecessors.push(pair[0].clone());
        for &later in &pair[1] {
            predecessors[later].push(barrier);
        }
    }
}

/// Follows predecessors that never became ready until one comes up again.
fn cycle(resources: &[Declared], predecessors: &[Vec<usize>], waiting: &[usize]) -> CycleError {
    let stuck = |position: &usize| waiting[*position] > 0;
    let mut path: Vec<usize> = (0..predecessors.len()).filter(stuck).take(1).collect();
    while let Some(&last) = path.last() {
        let Some(&next) = predecessors[last].iter().find(|position| stuck(position)) else { break };
        if let Some(start) = path.iter().position(|&seen| seen == next) {
            path.drain(..start);
            path.push(next);
            break;
        }
        path.push(next);
    }
    path.reverse();
    let named = |&position: &usize| {
        resources.get(position).map(|declared| (declared.id.clone(), declared.origin.to_string()))
    };
    CycleError { cycle: path.iter().filter_map(named).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{link, named};

    fn ids(resources: &[Declared]) -> Vec<String> {
        let order = order(resources).unwrap();
        order
            .sequence
            .iter()
            .filter_map(|&position| resources.get(position))
            .map(|one| one.id.name.clone())
            .collect()
    }

    #[test]
    fn without_edges_the_order_is_by_name() {
        assert_eq!(ids(&[link("/c"), link("/a"), link("/b")]), ["/a", "/b", "/c"]);
    }

    #[test]
    fn edges_and_waves_come_before_names() {
        let mut first = link("/z");
        first.common.before = vec![named("/a")];
        let mut last = link("/b");
        last.common.wave = 1;
        let mut after = link("/c");
        after.common.after = vec![named("/d")];
        assert_eq!(ids(&[last, link("/a"), after, first, link("/d")]), ["/d", "/c", "/z", "/a", "/b"]);
    }

    #[test]
    fn a_parent_comes_before_what_is_in_it() {
        assert_eq!(ids(&[link("/z/a"), link("/z")]), ["/z", "/z/a"]);
    }

    #[test]
    fn an_edge_to_something_undeclared_is_no_edge() {
        let mut one = link("/a");
        one.common.after = vec![named("/nowhere")];
        assert_eq!(ids(&[one]), ["/a"]);
    }

    #[test]
    fn a_cycle_is_shown() {
        let (mut a, mut b, mut c) = (link("/a"), link("/b"), link("/c"));
        a.common.after = vec![named("/b")];
        b.common.after = vec![named("/c")];
        c.common.after = vec![named("/b")];
        let error = order(&[a, b, c]).unwrap_err();
        let names: Vec<_> = error.cycle.iter().map(|(id, _)| id.name.as_str()).collect();
        assert_eq!(names, ["/b", "/c", "/b"]);
        assert!(error.place().unwrap().contains("roles/test/role.toml:1"));
    }
}
