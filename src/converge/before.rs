//! What the host had before a generation changed it, so that a rollback behind that generation can bring it back.
//!
//! Only of what abide did not make and had not changed before: everything else an earlier generation declares, or prune removes.

use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::plan::{Plan, Step};
use crate::resource::{Before, Common, Declared, ResourceId};
use crate::system::fs;
use crate::system::observe::Observed;
use crate::system::replace::replace;

/// Declarations that bring back what there was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Originals {
    /// The generation's commit, in hex: numbers begin anew with a new state.
    commit: String,
    pub declared: Vec<Declared>,
    /// Versions of packages among them.
    pub versions: BTreeMap<String, String>,
}

impl Originals {
    /// What the steps of a plan will change for the first time. Contents of files are kept up to so many bytes together; what is
    /// sensitive is not.
    pub fn of(
        plan: &Plan,
        desired: &[Declared],
        known: &HashSet<ResourceId>,
        observed: &Observed,
        bytes: u64,
    ) -> Originals {
        let first =
            |step: &&Step| !step.prune && !step.report_only && !step.sensitive && !step.change.creates;
        let touched: HashSet<&ResourceId> = plan
            .steps
            .iter()
            .filter(first)
            .map(|step| &step.resource)
            .filter(|id| !known.contains(*id))
            .collect();
        let left = Cell::new(bytes);
        let read = |path: &Path| {
            let size = std::fs::symlink_metadata(path).map_or(u64::MAX, |metadata| metadata.len());
            // Looked at before it is read: it may be larger than the memory.
            left.set(left.get().checked_sub(size)?);
            fs::read(path).ok().flatten()
        };
        let mut originals = Originals::default();
        for declared in desired.iter().filter(|declared| touched.contains(&declared.id)) {
            let Some(resource) = declared.resource.found(&Before { host: observed, read: &read }) else {
                continue;
            };
            let installed =
                observed.packages.get(&declared.id.name).and_then(|state| state.installed.clone());
            if let Some(version) = installed.filter(|_| declared.id.kind == "package") {
                originals.versions.insert(declared.id.name.clone(), version);
            }
            let common = Common { prune: false, ..Common::default() };
            originals.declared.push(Declared { common, resource, ..declared.clone() });
        }
        originals
    }

    /// Keeps them for a generation. What is kept of an earlier attempt at it was there before.
    pub fn save(mut self, path: &Path, commit: &str) -> std::io::Result<()> {
        self.add(Originals::load(path, commit));
        commit.clone_into(&mut self.commit);
        if self.declared.is_empty() {
            return Ok(());
        }
        let bytes = postcard::to_stdvec(&self).map_err(std::io::Error::other)?;
        replace(path, &bytes, 0o600)
    }

    /// Those of a generation; none where there were none.
    pub fn load(path: &Path, commit: &str) -> Originals {
        let bytes = std::fs::read(path).ok();
        let read: Option<Originals> = bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        read.filter(|originals| originals.commit == commit).unwrap_or_default()
    }

    /// Adds those of an earlier moment, which come first.
    pub fn add(&mut self, earlier: Originals) {
        let ids: HashSet<ResourceId> = earlier.declared.iter().map(|declared| declared.id.clone()).collect();
        self.declared.retain(|declared| !ids.contains(&declared.id));
        self.declared.extend(earlier.declared);
        self.versions.extend(earlier.versions);
    }
}

/// The file of a generation.
pub(super) fn file(folder: &Path, generation: i64) -> PathBuf {
    folder.join(name(generation))
}

/// Its name.
pub(super) fn name(generation: i64) -> String {
    format!("before-{generation}")
}
