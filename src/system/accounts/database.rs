//! The host's own account files, parsed: passwd(5), group(5), shadow(5).

use std::collections::BTreeMap;
use std::path::Path;

use crate::system::observe::{GroupState, UserState};

/// The parsed files. Lines that are malformed (or NIS `+` entries) are skipped, as the C library skips them.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) users: BTreeMap<String, UserState>,
    pub(crate) groups: BTreeMap<String, GroupState>,
}

impl Database {
    /// Reads `passwd`, `group` and `shadow` of a folder, usually `/etc`.
    ///
    /// # Errors
    /// `passwd` or `group` cannot be read. `shadow` may be missing or closed to us: then passwords are empty.
    pub(crate) fn read(folder: &Path) -> Result<Database, (std::path::PathBuf, std::io::Error)> {
        let text = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|error| (path, error))
        };
        Ok(Database::parse(&text("passwd")?, &text("group")?, &text("shadow").unwrap_or_default()))
    }

    pub(crate) fn parse(passwd: &str, group: &str, shadow: &str) -> Database {
        let mut database = Database::default();
        for line in group.lines() {
            if let Some((name, state)) = parse_group(line) {
                database.groups.entry(name).or_insert(state);
            }
        }
        for line in passwd.lines() {
            if let Some((name, state)) = parse_user(line) {
                database.users.entry(name).or_insert(state);
            }
        }
        for line in shadow.lines() {
            let mut fields = line.split(':');
            let user = fields.next().and_then(|name| database.users.get_mut(name));
            if let (Some(user), Some(password)) = (user, fields.next()) {
                user.locked = password.starts_with('!');
                user.password = password.trim_start_matches('!').to_owned();
                user.expires = fields.nth(5).and_then(date).unwrap_or_default();
            }
        }
        database.link();
        database
    }

    /// Fills in what users have in the group file.
    fn link(&mut self) {
        let names: BTreeMap<u32, &String> =
            self.groups.iter().map(|(name, group)| (group.gid, name)).collect();
        for user in self.users.values_mut() {
            user.group = names.get(&user.gid).map(|name| (*name).clone()).unwrap_or_default();
        }
        for (name, group) in &self.groups {
            for member in &group.members {
                if let Some(user) = self.users.get_mut(member) {
                    user.groups.push(name.clone());
                }
            }
        }
    }
}

fn parse_user(line: &str) -> Option<(String, UserState)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, comment, home, shell] = fields.as_slice() else { return None };
    if !plain(name) {
        return None;
    }
    let state = UserState {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        comment: (*comment).to_owned(),
        home: home.into(),
        shell: shell.into(),
        local: true,
        ..UserState::default()
    };
    Some(((*name).to_owned(), state))
}

fn parse_group(line: &str) -> Option<(String, GroupState)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields.as_slice() else { return None };
    if !plain(name) {
        return None;
    }
    let mut members: Vec<String> =
        members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
    members.sort();
    members.dedup();
    Some(((*name).to_owned(), GroupState { gid: gid.parse().ok()?, members, local: true }))
}

fn plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['+', '-', '#'])
}

/// Days since the epoch as `YYYY-MM-DD`; `None` for no or a negative number, which both mean: never.
fn date(days: &str) -> Option<String> {
    let days: i32 = days.parse().ok().filter(|days| *days >= 0)?;
    let epoch = jiff::civil::date(1970, 1, 1);
    Some(epoch.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_files_become_one_picture() {
        let database = Database::parse(
            "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:Alice,,,:/home/alice:/bin/zsh\n+::::::\nbroken:x:y\nbob:x:1001:55::/:/bin/false\n",
            "root:x:0:\nalice:x:1000:\nsudo:x:27:bob,alice,alice\nadm:x:4:alice\nbad:x:q:\n",
            "root:*:19000:0:99999:7:::\nalice:!$6$salt$hash:19000:0:99999:7::20000:\nbob:!!:19000::::::\n",
        );
        let alice = UserState {
            uid: 1000,
            gid: 1000,
            group: "alice".into(),
            groups: vec!["adm".into(), "sudo".into()],
            comment: "Alice,,,".into(),
            home: "/home/alice".into(),
            shell: "/bin/zsh".into(),
            password: "$6$salt$hash".into(),
            locked: true,
            expires: "2024-10-04".into(),
            local: true,
        };
        assert_eq!(database.users.get("alice"), Some(&alice));
        let bob = &database.users["bob"];
        assert_eq!(
            (bob.group.as_str(), bob.password.as_str(), bob.locked, bob.expires.as_str()),
            ("", "", true, "")
        );
        let root = &database.users["root"];
        assert_eq!((root.password.as_str(), root.locked), ("*", false));
        assert_eq!(database.users.len(), 3);
        assert_eq!(database.groups["sudo"].members, ["alice", "bob"]);
        assert_eq!(database.groups.len(), 4);
    }
}
