//! How much a manifest may hold. Each bound is far above what a fleet needs and far below what would hurt a host.

/// Bytes of one TOML file or template.
pub const TEXT_BYTES: usize = 4 << 20;
/// Bytes of one source file. The object store has a limit of its own, which may be lower.
pub const SOURCE_BYTES: usize = 64 << 20;
/// Bytes that one template may produce.
pub const OUTPUT_BYTES: usize = 16 << 20;
/// Resources of one host.
pub const RESOURCES: usize = 50_000;
/// Roles of one host, includes among them.
pub const ROLES: usize = 1_000;
/// Roles inside each other by `include`.
pub const INCLUDE_DEPTH: usize = 16;
/// Items of one `for-each`.
pub const ITEMS: usize = 10_000;
/// Files below one source folder.
pub const FOLDER_FILES: usize = 50_000;
/// Folders inside each other below one source folder.
pub const FOLDER_DEPTH: usize = 32;
/// Instructions of one template; a loop over 10,000 items with a few lines each stays below.
pub const FUEL: u64 = 2_000_000;
/// Errors that are reported at once.
pub const DIAGNOSTICS: usize = 100;
