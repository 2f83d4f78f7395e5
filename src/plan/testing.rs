//! Small desired states for the unit tests of the plan.

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
