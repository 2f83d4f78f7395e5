//! Small desired states for the unit tests of the plan.

use super::{Change, Step};
use crate::resource::testing::declare;
use crate::resource::{AnyResource, Common, Declared, Origin, ResourceId};

/// A symlink to `target`.
pub(crate) fn link(path: &str) -> Declared {
    Declared {
        id: named(path),
        common: Common::default(),
        resource: AnyResource::Symlink(declare(path, "target = \"target\"").unwrap()),
        origin: Origin { role: "test".into(), file: "roles/test/role.toml".into(), line: 1 },
    }
}

/// The id of a symlink.
pub(crate) fn named(path: &str) -> ResourceId {
    ResourceId::new("symlink", path)
}

/// A step that does nothing to a symlink.
pub(crate) fn step() -> Step {
    let declared = link("/step");
    Step {
        resource: declared.id,
        origin: declared.origin,
        change: Change { summary: String::new(), creates: false, effects: Vec::new(), diffs: Vec::new() },
        needs: Vec::new(),
        prune: false,
        sensitive: false,
        report_only: false,
        window: None,
        waits: None,
    }
}
