//! Users and groups: one read of the account files for all that were asked for, changes by the system's own tools.
//!
//! **Invariant:** no password hash is ever in an argument list, and no name that the tools could read as an option.

mod change;
mod database;
mod error;
mod owners;

pub use change::Accounts;
pub use error::AccountError;
pub use owners::Owners;

use nix::unistd::{Group, User};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::plan::{GroupAction, UserAction};
use crate::system::observe::{GroupState, UserState};
use database::Database;

/// Users and groups that exist of those asked for.
pub type Found = (BTreeMap<String, UserState>, BTreeMap<String, GroupState>);

/// Looks up users and groups: in the host's files, and by the name service for those that are not there.
///
/// # Errors
/// The files cannot be read (E440).
pub fn observe(users: &BTreeSet<String>, groups: &BTreeSet<String>) -> Result<Found, AccountError> {
    if users.is_empty() && groups.is_empty() {
        return Ok(Found::default());
    }
    let mut database = read(Path::new("/etc"))?;
    let mut user = |name: &String| database.users.remove(name).or_else(|| user_elsewhere(name));
    let found_users = users.iter().filter_map(|name| Some((name.clone(), user(name)?))).collect();
    let mut group = |name: &String| database.groups.remove(name).or_else(|| group_elsewhere(name));
    let found_groups = groups.iter().filter_map(|name| Some((name.clone(), group(name)?))).collect();
    Ok((found_users, found_groups))
}

/// Brings a user to what the action says; nothing happens where it is so already. Waits for the lock of the account files.
///
/// # Errors
/// See [`AccountError`].
pub fn change_user(action: &UserAction) -> Result<(), AccountError> {
    Accounts::of_host().change_user(action)
}

/// Brings a group to what the action says; nothing happens where it is so already. Waits for the lock of the account files.
///
/// # Errors
/// See [`AccountError`].
pub fn change_group(action: &GroupAction) -> Result<(), AccountError> {
    Accounts::of_host().change_group(action)
}

/// Name, number and number of the primary group of each user.
pub type Members = Vec<(String, u32, u32)>;

/// Everybody in the host's own files, and the numbers of its groups by name.
pub fn everybody() -> (Members, BTreeMap<String, u32>) {
    let database = read(Path::new("/etc")).unwrap_or_default();
    let users = database.users.into_iter().map(|(name, user)| (name, user.uid, user.gid)).collect();
    (users, database.groups.into_iter().map(|(name, group)| (name, group.gid)).collect())
}

/// The files that say who there is on this host.
pub fn databases() -> [PathBuf; 4] {
    ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"].map(PathBuf::from)
}

/// The name that a number has in the host's own files.
pub fn user_name(id: u32) -> Option<String> {
    let database = read(Path::new("/etc")).ok()?;
    database.users.into_iter().find(|(_, user)| user.uid == id).map(|(name, _)| name)
}

fn read(folder: &Path) -> Result<Database, AccountError> {
    Database::read(folder).map_err(|(path, source)| AccountError::Unreadable { path, source })
}

fn user_elsewhere(name: &str) -> Option<UserState> {
    let user = User::from_name(name).ok().flatten()?;
    let group = Group::from_gid(user.gid).ok().flatten().map(|group| group.name).unwrap_or_default();
    Some(UserState {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        group,
        comment: user.gecos.to_string_lossy().into_owned(),
        home: user.dir,
        shell: user.shell,
        ..UserState::default()
    })
}

fn group_elsewhere(name: &str) -> Option<GroupState> {
    let group = Group::from_name(name).ok().flatten()?;
    let mut members = group.mem;
    members.sort();
    Some(GroupState { gid: group.gid.as_raw(), members, local: false })
}
