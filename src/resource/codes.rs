//! Every code that planning a kind can answer with, in one place. E303 and E304 belong to ordering and pruning.
//!
//! **Invariant:** a code, once released, never changes its meaning.

use crate::error::Code;

/// A component of the path is not a directory, or a symlink that is not trusted.
pub const PATH_BLOCKED: Code = Code("E301");
/// The path could not be looked at.
pub const PATH_UNREADABLE: Code = Code("E302");
/// The path is a mount point, which cannot be replaced or removed.
pub const MOUNT_POINT: Code = Code("E305");
/// Only attributes are declared, and there is nothing to set them on.
pub const NOTHING_THERE: Code = Code("E306");
/// The owner or user is not known on the host, and nothing in the plan makes it.
pub const USER_UNKNOWN: Code = Code("E307");
/// The group is not known on the host, and nothing in the plan makes it.
pub const GROUP_UNKNOWN: Code = Code("E308");
/// Something of another type is at the path.
pub const IN_THE_WAY: Code = Code("E310");
/// What is at the path is of another type, so it is not removed.
pub const OTHER_TYPE: Code = Code("E311");
/// A directory to remove has entries.
pub const NOT_EMPTY: Code = Code("E312");
/// A purge would remove more than its limit.
pub const PURGE_LIMIT: Code = Code("E313");
/// No archive offers a package of this name.
pub const PACKAGE_UNKNOWN: Code = Code("E320");
/// No version on offer fits.
pub const VERSION_UNAVAILABLE: Code = Code("E321");
/// The package is held, and the declaration would change it.
pub const PACKAGE_HELD: Code = Code("E322");
/// The wanted version is lower than the installed one.
pub const DOWNGRADE: Code = Code("E323");
/// systemd knows no such unit, and nothing in the plan brings it.
pub const UNIT_UNKNOWN: Code = Code("E330");
/// The unit is masked, and the declaration does not say that it may be unmasked.
pub const UNIT_MASKED: Code = Code("E331");
/// The unit's own file is where the mask would have to be.
pub const UNIT_UNMASKABLE: Code = Code("E332");
/// systemd cannot read the unit's file.
pub const UNIT_BROKEN: Code = Code("E333");
/// The account has another number than declared.
pub const ACCOUNT_NUMBER: Code = Code("E340");
/// The account comes from a directory service, and cannot be changed on the host.
pub const ACCOUNT_NOT_LOCAL: Code = Code("E341");
/// The number belongs to another account.
pub const NUMBER_TAKEN: Code = Code("E342");
/// A guard program could not be run.
pub const GUARD_FAILED: Code = Code("E350");
