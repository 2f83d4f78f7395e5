//! `user`: an account of the host's own database.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::account::{Account, Found, ensure_field, removal};
use super::fields::is_account_name;
use super::{
    Before, Context, Declaration, DeclareError, Ensure, Field, Provision, Relations, Resource, ResourceId, attributes, codes,
};
use crate::manifest::node::nearest;
use crate::plan::{Change, Diff, Effect, PlanError, Reach, UserAction};
use crate::system::observe::{Needs, UserState};

const ACCOUNT: Account = Account { kind: "user", noun: "account", number: "uid", part: "owner" };

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    name: String,
    fields: Fields,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    ensure: Ensure,
    uid: Option<u32>,
    group: Option<String>,
    groups: Option<Vec<String>>,
    #[serde(default)]
    exact_groups: bool,
    home: Option<PathBuf>,
    create_home: Option<bool>,
    shell: Option<PathBuf>,
    comment: Option<String>,
    password: Option<String>,
    locked: Option<bool>,
    expires: Option<String>,
    #[serde(default)]
    system: bool,
    #[serde(default)]
    change_uid: bool,
    #[serde(default)]
    remove_home: bool,
}

impl Resource for User {
    const KIND: &'static str = "user";
    const SUMMARY: &'static str = "An account of the host's own database. What is not declared of it is left as it is.";
    const EXAMPLE: &'static str = r#"
[user.deploy]
uid = 2000
groups = ["adm", "systemd-journal"]
home = "/srv/deploy"
shell = "/bin/bash"
comment = "Deployment"
locked = true

[user.metrics]
system = true
home = "/var/lib/metrics"
shell = "/usr/sbin/nologin"

[user.intern]
ensure = "absent"
"#;
    const FIELDS: &'static [Field] = &[
        ensure_field("Whether the account shall exist."),
        Field { name: "uid", kind: "integer", default: "the next free one", doc: "Numeric id." },
        Field {
            name: "group",
            kind: "string",
            default: "a group named like the user",
            doc: "Primary group. It has to exist, or to be declared.",
        },
        Field {
            name: "groups",
            kind: "list of strings",
            default: "as they are",
            doc: "Supplementary groups that the account shall be in; others that it is in are left, see `exact-groups`.",
        },
        Field {
            name: "exact-groups",
            kind: "boolean",
            default: "false",
            doc: "Take the account out of every supplementary group that `groups` does not name.",
        },
        Field {
            name: "home",
            kind: "path",
            default: "the host's default",
            doc: "Home directory. A change does not move what is in the old one.",
        },
        Field {
            name: "create-home",
            kind: "boolean",
            default: "true, for a system user false",
            doc: "Make the home directory when the account is made.",
        },
        Field {
            name: "shell",
            kind: "path",
            default: "the host's default",
            doc: "Login shell.",
        },
        Field { name: "comment", kind: "string", default: "as it is", doc: "The comment (GECOS) field." },
        Field {
            name: "password",
            kind: "string",
            default: "as it is; none for a new account",
            doc: "The password's hash as in `/etc/shadow`, from `openssl passwd -6` or `mkpasswd`; never the password itself. It is never shown.",
        },
        Field {
            name: "locked",
            kind: "boolean",
            default: "as it is",
            doc: "Whether the password is locked. SSH keys still work then; `expires` closes the account for those, too.",
        },
        Field {
            name: "expires",
            kind: "date or \"never\"",
            default: "as it is",
            doc: "Day after which the account is closed, as `\"2030-12-31\"`.",
        },
        Field {
            name: "system",
            kind: "boolean",
            default: "false",
            doc: "Take the number from the range of system accounts. Only looked at when the account is made.",
        },
        Field {
            name: "change-uid",
            kind: "boolean",
            default: "false",
            doc: "Allow that an existing account gets another number. Files outside of its home keep the old one.",
        },
        Field {
            name: "remove-home",
            kind: "boolean",
            default: "false",
            doc: "With `ensure = \"absent\"`: remove the home directory and the mail spool, too.",
        },
    ];

    fn declare(declaration: Declaration<'_>) -> Result<User, DeclareError> {
        let name = ACCOUNT.name(&declaration)?;
        let mut fields: Fields = declaration.table.read()?;
        check(&declaration, &fields)?;
        if let Some(groups) = &mut fields.groups {
            groups.sort();
            groups.dedup();
        }
        Ok(User { name, fields })
    }

    fn needs(&self, needs: &mut Needs) {
        needs.users.insert(self.name.clone());
        needs.groups.insert(self.name.clone());
        needs.groups.extend(self.fields.group.clone());
        needs.groups.extend(self.fields.groups.iter().flatten().cloned());
    }

    fn relations(&self, relations: &mut Relations) {
        if self.fields.ensure == Ensure::Absent {
            return;
        }
        relations.provides.push(Provision::User(self.name.clone()));
        let named = self.fields.group.iter().chain(self.fields.groups.iter().flatten());
        relations.requires.extend(named.map(|group| Provision::Group(group.clone())));
        if self.fields.group.is_none() {
            // The account is made with a group of its own, unless a resource makes that first.
            relations.provides.push(Provision::Group(self.name.clone()));
            relations.requires.push(Provision::Group(self.name.clone()));
        }
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        let fields = &self.fields;
        reach.push(Reach::User(self.name.clone()));
        reach.extend(fields.group.iter().chain(fields.groups.iter().flatten()).cloned().map(Reach::Group));
        reach.extend(fields.home.clone().map(|path| match fields.remove_home {
            true => Reach::Tree(path),
            false => Reach::Folder { path, loose: false },
        }));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        match Found::of(self.fields.ensure, context.host.users.get(&self.name)) {
            Found::Gone => Ok(None),
            Found::Unwanted(state) => {
                ACCOUNT.local(&self.name, state.local)?;
                Ok(Some(self.removal(self.fields.remove_home)))
            }
            Found::Missing => self.created(context).map(Some),
            Found::Kept(state) => self.corrected(state, context),
        }
    }

    fn found(&self, before: &Before<'_>) -> Option<User> {
        let state = before.host.users.get(&self.name).filter(|state| state.local)?;
        let fields = Fields {
            ensure: Ensure::Present,
            uid: Some(state.uid),
            group: Some(state.group.clone()).filter(|group| !group.is_empty()),
            groups: Some(state.groups.clone()),
            exact_groups: true,
            home: Some(state.home.clone()),
            create_home: Some(false),
            shell: Some(state.shell.clone()),
            comment: Some(state.comment.clone()),
            // What was secret is not kept.
            password: None,
            locked: Some(state.locked),
            expires: Some(state.expires.clone()),
            system: false,
            change_uid: true,
            remove_home: false,
        };
        Some(User { name: self.name.clone(), fields })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let state = context.host.users.get(&self.name).filter(|state| state.local && state.uid != 0);
        Ok(state.filter(|_| self.fields.ensure == Ensure::Present).map(|_| self.removal(false)))
    }

    fn sensitive(&self) -> bool {
        self.fields.password.is_some()
    }
}

fn check(declaration: &Declaration<'_>, fields: &Fields) -> Result<(), DeclareError> {
    ACCOUNT.keep_root(declaration, fields.ensure)?;
    if fields.remove_home && fields.ensure != Ensure::Absent {
        let help = "add `ensure = \"absent\"`, or remove it";
        return Err(declaration.error("remove-home", "`remove-home` is for removing an account", help));
    }
    if fields.exact_groups && fields.groups.is_none() {
        return Err(declaration.error("exact-groups", "there are no `groups`", "add `groups`, may be empty"));
    }
    let named = [("group", fields.group.as_slice()), ("groups", fields.groups.as_deref().unwrap_or_default())];
    for (key, names) in named {
        if let Some(name) = names.iter().find(|name| !is_account_name(name)) {
            return Err(declaration.error(key, format!("`{name}` is not the name of a group"), "write its name"));
        }
    }
    for (key, path) in [("home", &fields.home), ("shell", &fields.shell)] {
        let fits = |path: &PathBuf| path.is_absolute() && !path.to_string_lossy().contains([':', '\n', '\0']);
        if path.as_ref().is_some_and(|path| !fits(path)) {
            return Err(declaration.error(key, format!("`{key}` is not an absolute path"), "write it from `/` on"));
        }
    }
    if fields.comment.as_ref().is_some_and(|comment| comment.contains([':', '\n', '\0'])) {
        return Err(declaration.error("comment", "a comment has no colon and no line break", "remove it"));
    }
    if fields.password.as_ref().is_some_and(|hash| !is_password_hash(hash)) {
        let help = "write the hash from `openssl passwd -6`; to have no password, `\"*\"`";
        return Err(declaration.error("password", "this is not the hash of a password", help));
    }
    if fields.expires.as_ref().is_some_and(|date| date != "never" && !is_date(date)) {
        return Err(declaration.error("expires", "this is not a day", "write \"2030-12-31\" or \"never\""));
    }
    Ok(())
}

/// What crypt(5) makes, or what can match no password.
fn is_password_hash(hash: &str) -> bool {
    let plain = !hash.contains([':', '\n', '\0']) && hash.is_ascii();
    let crypted = hash.starts_with('$') && hash.len() >= 20 && hash.matches('$').count() >= 3;
    plain && (crypted || matches!(hash, "*" | "!" | "!!" | "!*"))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

impl User {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.name)
    }

    fn created(&self, context: &Context<'_>) -> Result<Change, PlanError> {
        self.check_groups(context)?;
        let fields = &self.fields;
        let own = Provision::Group(self.name.clone());
        // A group of that name that is there, or is made first, would make adding the user fail.
        let made_first = (context.changes)(&ResourceId::new("group", &self.name)) && (context.provided)(&own);
        let own_group = context.host.groups.contains_key(&self.name) || made_first;
        let action = UserAction {
            system: fields.system,
            uid: fields.uid,
            group: fields.group.clone().or_else(|| own_group.then(|| self.name.clone())),
            groups: fields.groups.clone(),
            home: fields.home.clone(),
            create_home: fields.create_home.unwrap_or(!fields.system),
            shell: fields.shell.clone(),
            comment: fields.comment.clone(),
            password: fields.password.clone(),
            locked: fields.locked,
            expires: fields.expires.as_deref().map(stored_date),
            ..self.action()
        };
        let mut diffs = vec![property("ensure", "absent", "present")];
        let paths = [("home", &fields.home), ("shell", &fields.shell)];
        diffs.extend(fields.uid.map(|uid| property("uid", "", &uid.to_string())));
        diffs.extend(action.group.as_ref().map(|group| property("group", "", group)));
        diffs.extend(fields.groups.as_ref().map(|groups| property("groups", "", &groups.join(","))));
        diffs.extend(paths.iter().filter_map(|(name, path)| {
            Some(property(name, "", &path.as_ref()?.display().to_string()))
        }));
        Ok(Change { summary: "created".into(), creates: true, effects: vec![Effect::User(action)], diffs })
    }

    fn corrected(&self, state: &UserState, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        self.check_groups(context)?;
        let mut action = self.action();
        let mut diffs = Vec::new();
        self.identity(state, context, &mut action, &mut diffs)?;
        self.password(state, context, &mut action, &mut diffs);
        if diffs.is_empty() {
            return Ok(None);
        }
        ACCOUNT.local(&self.name, state.local)?;
        let summary: Vec<String> = diffs.iter().filter_map(summary).collect();
        let effects = vec![Effect::User(action)];
        Ok(Some(Change { summary: summary.join(", "), creates: false, effects, diffs }))
    }

    /// Everything of the password database.
    fn identity(
        &self,
        state: &UserState,
        context: &Context<'_>,
        action: &mut UserAction,
        diffs: &mut Vec<Diff>,
    ) -> Result<(), PlanError> {
        let fields = &self.fields;
        let wanted = |name: &str| !context.ignores(name);
        if let Some(uid) = fields.uid.filter(|uid| *uid != state.uid && wanted("uid")) {
            ACCOUNT.renumber(&self.name, state.uid, uid, fields.change_uid)?;
            diffs.push(property("uid", &state.uid.to_string(), &uid.to_string()));
            action.uid = Some(uid);
        }
        if let Some(group) = fields.group.as_ref().filter(|group| **group != state.group && wanted("group")) {
            diffs.push(property("group", &state.group, group));
            action.group = Some(group.clone());
        }
        if let Some(groups) = self.groups(state).filter(|_| wanted("groups")) {
            diffs.push(property("groups", &state.groups.join(","), &groups.join(",")));
            action.groups = Some(groups);
        }
        if let Some(home) = fields.home.as_ref().filter(|home| **home != state.home && wanted("home")) {
            diffs.push(property("home", &state.home.to_string_lossy(), &home.to_string_lossy()));
            action.home = Some(home.clone());
        }
        if let Some(shell) = fields.shell.as_ref().filter(|shell| **shell != state.shell && wanted("shell")) {
            diffs.push(property("shell", &state.shell.to_string_lossy(), &shell.to_string_lossy()));
            action.shell = Some(shell.clone());
        }
        if let Some(comment) = fields.comment.as_ref().filter(|text| **text != state.comment && wanted("comment")) {
            diffs.push(property("comment", &state.comment, comment));
            action.comment = Some(comment.clone());
        }
        Ok(())
    }

    /// Everything of the shadow file. The hash itself is in no diff.
    fn password(&self, state: &UserState, context: &Context<'_>, action: &mut UserAction, diffs: &mut Vec<Diff>) {
        let fields = &self.fields;
        let bare = |hash: &str| hash.trim_start_matches('!').to_owned();
        if let Some(hash) = fields.password.as_ref().filter(|_| !context.ignores("password"))
            && bare(hash) != bare(&state.password)
        {
            diffs.push(property("password", "(hidden)", "(hidden)"));
            action.password = Some(hash.clone());
            // Setting a hash unlocks: say what shall be. Without a hash so far there was nothing to lock.
            action.locked = fields.locked.or(Some(state.locked && !state.password.is_empty()));
        }
        if let Some(locked) = fields.locked.filter(|locked| *locked != state.locked && !context.ignores("locked")) {
            diffs.push(property("locked", &state.locked.to_string(), &locked.to_string()));
            action.locked = Some(locked);
        }
        if let Some(expires) = fields.expires.as_deref().filter(|_| !context.ignores("expires")) {
            let date = stored_date(expires);
            if date != state.expires {
                let before = if state.expires.is_empty() { "never" } else { &state.expires };
                diffs.push(property("expires", before, expires));
                action.expires = Some(date);
            }
        }
    }

    /// The supplementary groups to set, when they have to be.
    fn groups(&self, state: &UserState) -> Option<Vec<String>> {
        let mut wanted = self.fields.groups.clone()?;
        // The primary group is not listed among the supplementary ones.
        let primary = self.fields.group.as_ref().unwrap_or(&state.group);
        let without_primary = |groups: &[String]| -> Vec<String> {
            groups.iter().filter(|group| *group != primary).cloned().collect()
        };
        if !self.fields.exact_groups {
            wanted.extend(state.groups.iter().cloned());
        }
        wanted.sort();
        wanted.dedup();
        (without_primary(&wanted) != without_primary(&state.groups)).then_some(wanted)
    }

    fn check_groups(&self, context: &Context<'_>) -> Result<(), PlanError> {
        let known = &context.host.groups;
        let named = self.fields.group.iter().chain(self.fields.groups.iter().flatten());
        for group in named {
            let provided = (context.provided)(&Provision::Group(group.clone())) || context.packages_arrive();
            if !known.contains_key(group) && !provided {
                let near = nearest(group, known.keys().map(String::as_str));
                return Err(attributes::unknown_account(&self.id(), codes::GROUP_UNKNOWN, "group", group, near));
            }
        }
        Ok(())
    }

    /// An action that leaves everything as it is.
    fn action(&self) -> UserAction {
        UserAction { name: self.name.clone(), system: self.fields.system, ..UserAction::default() }
    }

    fn removal(&self, remove_home: bool) -> Change {
        let action = UserAction { absent: true, remove_home, ..self.action() };
        let summary = if remove_home { "removed with its home directory" } else { "removed" };
        removal(Effect::User(action), summary)
    }
}

/// Empty for never, as the shadow file has it.
fn stored_date(expires: &str) -> String {
    if expires == "never" { String::new() } else { expires.to_owned() }
}

fn property(name: &str, before: &str, after: &str) -> Diff {
    Diff::Property { name: name.into(), before: before.into(), after: after.into() }
}

fn summary(diff: &Diff) -> Option<String> {
    match diff {
        Diff::Property { name, .. } if name == "password" => Some("password changed".into()),
        Diff::Property { name, before, after } if before.is_empty() => Some(format!("{name} set to {after}")),
        Diff::Property { name, before, after } if after.is_empty() => Some(format!("{name} {before} -> none")),
        Diff::Property { name, before, after } => Some(format!("{name} {before} -> {after}")),
        Diff::Content { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, declare, outcome, refuses, relations};
    use crate::system::observe::{GroupState, Observed};

    const HASH: &str = "$6$salt$0123456789abcdef";

    fn host(change: impl FnOnce(&mut UserState)) -> Observed {
        let mut user = UserState {
            uid: 1000,
            gid: 1000,
            group: "deploy".into(),
            groups: vec!["adm".into()],
            home: "/home/deploy".into(),
            shell: "/bin/sh".into(),
            password: HASH.into(),
            local: true,
            ..UserState::default()
        };
        change(&mut user);
        let group = |gid| GroupState { gid, members: vec![], local: true };
        Observed {
            users: [("deploy".to_owned(), user)].into(),
            groups: ["adm", "web", "deploy"].map(|name| (name.to_owned(), group(1))).into(),
            ..Observed::default()
        }
    }

    #[test]
    fn plans_only_what_differs() {
        let hash = format!("password = \"{HASH}\"");
        for (table, expected) in [
            ("", "unchanged"),
            ("uid = 1000\ngroup = \"deploy\"\nhome = \"/home/deploy\"\nshell = \"/bin/sh\"", "unchanged"),
            ("shell = \"/bin/bash\"", "shell /bin/sh -> /bin/bash"),
            ("comment = \"D\"\nhome = \"/srv/d\"", "home /home/deploy -> /srv/d, comment set to D"),
            ("groups = [\"adm\", \"deploy\"]", "unchanged"),
            ("groups = [\"web\"]", "groups adm -> adm,web"),
            ("groups = [\"web\"]\nexact-groups = true", "groups adm -> web"),
            ("groups = []", "unchanged"),
            ("groups = []\nexact-groups = true", "groups adm -> none"),
            ("groups = [\"weeb\"]", "E308"),
            ("group = \"nobody\"", "E308"),
            ("uid = 1001", "E340"),
            ("uid = 1001\nchange-uid = true", "uid 1000 -> 1001"),
            ("locked = true", "locked false -> true"),
            ("locked = false", "unchanged"),
            (hash.as_str(), "unchanged"),
            ("password = \"*\"", "password changed"),
            ("expires = \"never\"", "unchanged"),
            ("expires = \"2030-12-31\"", "expires never -> 2030-12-31"),
            ("ensure = \"absent\"", "removed"),
            ("ensure = \"absent\"\nremove-home = true", "removed with its home directory"),
        ] {
            let user: User = declare("deploy", table).unwrap();
            assert_eq!(outcome(&user, &context(&host(|_| {}))), expected, "{table}");
        }
    }

    #[test]
    fn an_account_of_a_directory_service_is_left() {
        let remote = host(|user| user.local = false);
        for (table, expected) in
            [("", "unchanged"), ("shell = \"/bin/bash\"", "E341"), ("ensure = \"absent\"", "E341")]
        {
            assert_eq!(outcome(&declare::<User>("deploy", table).unwrap(), &context(&remote)), expected);
        }
    }

    #[test]
    fn root_keeps_its_number() {
        let host = Observed { users: [("root".to_owned(), UserState { local: true, ..UserState::default() })].into(), ..Observed::default() };
        let user: User = declare("root", "uid = 5\nchange-uid = true").unwrap();
        assert_eq!(outcome(&user, &context(&host)), "E340");
    }

    fn created(table: &str, host: &Observed, changes: &dyn Fn(&ResourceId) -> bool) -> UserAction {
        let user: User = declare("deploy", table).unwrap();
        let change = user.plan(&Context { changes, provided: &|_| true, ..context(host) }).unwrap().unwrap();
        assert_eq!((change.summary.as_str(), change.creates), ("created", true));
        match change.effects.as_slice() {
            [Effect::User(action)] => action.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_group_of_the_same_name_becomes_the_primary_one() {
        let nothing = Observed::default();
        let group = |id: &ResourceId| id.kind == "group";
        assert_eq!(created("", &nothing, &|_| false).group, None);
        assert_eq!(created("", &nothing, &group).group.as_deref(), Some("deploy"));
        assert_eq!(created("group = \"web\"", &nothing, &group).group.as_deref(), Some("web"));
        let mut known = host(|_| {});
        known.users.clear();
        assert_eq!(created("", &known, &|_| false).group.as_deref(), Some("deploy"));
    }

    #[test]
    fn a_home_is_made_unless_it_is_a_system_account() {
        let nothing = Observed::default();
        for (table, expected) in [("", true), ("system = true", false), ("system = true\ncreate-home = true", true)] {
            assert_eq!(created(table, &nothing, &|_| false).create_home, expected, "{table}");
        }
        assert_eq!(created("expires = \"never\"", &nothing, &|_| false).expires.as_deref(), Some(""));
    }

    #[test]
    fn a_new_hash_keeps_the_lock_and_is_never_shown() {
        let user: User = declare("deploy", "password = \"$6$other$0123456789abcdef\"").unwrap();
        assert!(user.sensitive());
        for (before, stays_locked) in [("$6$first$0123456789abcdef", true), ("", false)] {
            let locked = host(|user| {
                user.locked = true;
                user.password = before.into();
            });
            let change = user.plan(&context(&locked)).unwrap().unwrap();
            assert!(!format!("{:?}{}", change.diffs, change.summary).contains("$6$"));
            match change.effects.as_slice() {
                [Effect::User(action)] => assert_eq!(action.locked, Some(stays_locked), "{before}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn pruning_keeps_the_home_and_root() {
        let user: User = declare("deploy", "").unwrap();
        let change = user.prune(&context(&host(|_| {}))).unwrap().unwrap();
        match change.effects.as_slice() {
            [Effect::User(action)] => assert!(action.absent && !action.remove_home),
            other => panic!("{other:?}"),
        }
        assert!(user.prune(&context(&host(|user| user.uid = 0))).unwrap().is_none());
        assert!(user.prune(&context(&host(|user| user.local = false))).unwrap().is_none());
    }

    #[test]
    fn groups_come_first() {
        let user: User = declare("deploy", "group = \"web\"\ngroups = [\"adm\"]").unwrap();
        let (provides, requires, _) = relations(&user);
        assert_eq!(provides, [Provision::User("deploy".into())]);
        assert_eq!(requires, ["web", "adm"].map(|name| Provision::Group(name.into())));
        let own: User = declare("deploy", "").unwrap();
        assert!(relations(&own).0.contains(&Provision::Group("deploy".into())));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        for (name, table, message, pointed) in [
            ("root", "ensure = \"absent\"", "never removed", "\"absent\""),
            ("a b", "", "not the name of a user", ""),
            ("deploy", "password = \"secret\"", "not the hash", "\"secret\""),
            ("deploy", "home = \"relative\"", "absolute", "\"relative\""),
            ("deploy", "shell = \"/bin/a:b\"", "absolute", "\"/bin/a:b\""),
            ("deploy", "comment = \"a:b\"", "no colon", "\"a:b\""),
            ("deploy", "expires = \"2030-02-30\"", "not a day", "\"2030-02-30\""),
            ("deploy", "groups = [\"a b\"]", "not the name of a group", "[\"a b\"]"),
            ("deploy", "exact-groups = true", "no `groups`", "true"),
            ("deploy", "remove-home = true", "for removing", "true"),
        ] {
            refuses::<User>(name, table, message, pointed);
        }
    }
}
