//! Names of users and groups as numbers, and back.

use nix::unistd::{Gid, Group, Uid, User};
use std::path::Path;

use super::database::Database;
use crate::plan::Principal;
use crate::system::fs::Names;

/// A snapshot of the host's users and groups; take a new one after accounts were changed. The name service is asked for what the
/// files do not have.
#[derive(Debug, Default)]
pub struct Owners {
    database: Database,
}

impl Owners {
    /// Reads the account files. When they cannot be read, everything is left to the name service.
    pub fn load() -> Owners {
        Owners { database: Database::read(Path::new("/etc")).unwrap_or_default() }
    }

    /// The number of a user; `None` for a name that the host does not have.
    pub fn uid(&self, user: &Principal) -> Option<u32> {
        match user {
            Principal::Id(id) => Some(*id),
            Principal::Name(name) => match self.database.users.get(name) {
                Some(user) => Some(user.uid),
                None => User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()),
            },
        }
    }

    /// The numbers of a user and its primary group; `None` for a user that the host does not have.
    pub fn login(&self, user: &Principal) -> Option<(u32, u32)> {
        let by_number = |id: u32| self.database.users.values().find(|user| user.uid == id);
        let local = match user {
            Principal::Name(name) => self.database.users.get(name),
            Principal::Id(id) => by_number(*id),
        };
        if let Some(user) = local {
            return Some((user.uid, user.gid));
        }
        let elsewhere = match user {
            Principal::Name(name) => User::from_name(name),
            Principal::Id(id) => User::from_uid(Uid::from_raw(*id)),
        };
        elsewhere.ok().flatten().map(|user| (user.uid.as_raw(), user.gid.as_raw()))
    }

    /// The number of a group; `None` for a name that the host does not have.
    pub fn gid(&self, group: &Principal) -> Option<u32> {
        match group {
            Principal::Id(id) => Some(*id),
            Principal::Name(name) => match self.database.groups.get(name) {
                Some(group) => Some(group.gid),
                None => Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
            },
        }
    }
}

impl Names for Owners {
    fn user_id(&self, name: &str) -> Option<u32> {
        self.uid(&Principal::Name(name.to_owned()))
    }

    fn group_id(&self, name: &str) -> Option<u32> {
        self.gid(&Principal::Name(name.to_owned()))
    }

    fn user_name(&self, id: u32) -> Option<String> {
        let local = self.database.users.iter().find(|(_, user)| user.uid == id).map(|(name, _)| name.clone());
        local.or_else(|| User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name))
    }

    fn group_name(&self, id: u32) -> Option<String> {
        let local =
            self.database.groups.iter().find(|(_, group)| group.gid == id).map(|(name, _)| name.clone());
        local.or_else(|| Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name))
    }
}
