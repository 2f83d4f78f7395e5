//! A state that is damaged or gone is put together again, and the run begins anew.

use super::{Report, Request, Run, Site, converge_with};
use crate::error::{Explain as _, Problem};
use crate::progress::Tell;
use crate::report::EventKind;
use crate::state::{Rebuilt, State, rebuild};
use crate::system::clock;

/// Codes of a state that is damaged, gone, or cannot be used for another reason.
const UNUSABLE: &[&str] = &["E503", "E506", "E508"];

/// Begins anew over a state that was put together again, where that was what failed.
pub(super) fn mend(
    site: &Site,
    request: &Request,
    problem: Problem,
    progress: &mut Tell<'_>,
) -> Result<Report, Problem> {
    if request.dry_run || !UNUSABLE.contains(&problem.code.as_str()) {
        return Err(problem);
    }
    let rebuilt = {
        let _lock = site.lock(progress)?;
        // Somebody else may have mended it meanwhile; and what a disk refuses to read is not damaged.
        match State::open(&site.paths.state).and_then(|state| state.verify()) {
            Ok(()) => None,
            Err(error) if ["E503", "E506"].contains(&error.code().0) => {
                Some(rebuild(&site.paths.state, &in_words(&problem), clock::now())?)
            }
            Err(_) => return Err(problem),
        }
    };
    converge_with(site, request, rebuilt.as_ref(), progress)
}

fn in_words(problem: &Problem) -> String {
    std::iter::once(&problem.what).chain(&problem.why).map(String::as_str).collect::<Vec<_>>().join(": ")
}

impl Run<'_> {
    /// Says loudly that the state is not what it was.
    pub(super) fn report_rebuilt(&mut self, rebuilt: &Rebuilt) {
        let problem = Problem::from(rebuilt.clone());
        self.recorder.tell_problem(EventKind::StateRebuilt, &problem, clock::now());
        self.recorder.keep(problem);
    }
}
