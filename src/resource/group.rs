//! `group`: a group of the host's own database.

use serde::{Deserialize, Serialize};

use super::account::{Account, Found, ensure_field, removal};
use super::{Before, Context, Declaration, DeclareError, Ensure, Field, Provision, Relations, Resource};
use crate::plan::{Change, Diff, Effect, GroupAction, PlanError, Reach};
use crate::system::observe::{GroupState, Needs};

const ACCOUNT: Account = Account { kind: "group", noun: "group", number: "gid", part: "group" };

/// A group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    name: String,
    ensure: Ensure,
    gid: Option<u32>,
    system: bool,
    change_gid: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    ensure: Ensure,
    gid: Option<u32>,
    #[serde(default)]
    system: bool,
    #[serde(default)]
    change_gid: bool,
}

impl Resource for Group {
    const KIND: &'static str = "group";
    const SUMMARY: &'static str = "A group of the host's own database. Who is in it is said by `user`.";
    const EXAMPLE: &'static str = r#"
[group.deploy]
gid = 2000

[group.games]
ensure = "absent"
"#;
    const FIELDS: &'static [Field] = &[
        ensure_field("Whether the group shall exist."),
        Field {
            name: "gid",
            kind: "integer",
            default: "the next free one",
            doc: "Numeric id.",
        },
        Field {
            name: "system",
            kind: "boolean",
            default: "false",
            doc: "Take the number from the range of system groups. Only looked at when the group is made.",
        },
        Field {
            name: "change-gid",
            kind: "boolean",
            default: "false",
            doc: "Allow that an existing group gets another number. Files that belong to the old number are not changed.",
        },
    ];

    fn declare(declaration: Declaration<'_>) -> Result<Group, DeclareError> {
        let name = ACCOUNT.name(&declaration)?;
        let fields: Fields = declaration.table.read()?;
        ACCOUNT.keep_root(&declaration, fields.ensure)?;
        let Fields { ensure, gid, system, change_gid } = fields;
        Ok(Group { name, ensure, gid, system, change_gid })
    }

    fn needs(&self, needs: &mut Needs) {
        needs.groups.insert(self.name.clone());
    }

    fn relations(&self, relations: &mut Relations) {
        if self.ensure == Ensure::Present {
            relations.provides.push(Provision::Group(self.name.clone()));
        }
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        reach.push(Reach::Group(self.name.clone()));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        match Found::of(self.ensure, context.host.groups.get(&self.name)) {
            Found::Gone => Ok(None),
            Found::Unwanted(state) => ACCOUNT.local(&self.name, state.local).map(|()| Some(self.removal())),
            Found::Missing => Ok(Some(self.change("created", true, String::new(), self.gid))),
            Found::Kept(state) => match self.gid.filter(|gid| *gid != state.gid && !context.ignores("gid")) {
                None => Ok(None),
                Some(gid) => self.renumbered(state, gid).map(Some),
            },
        }
    }

    fn found(&self, before: &Before<'_>) -> Option<Group> {
        let state = before.host.groups.get(&self.name).filter(|state| state.local)?;
        let (name, ensure, gid) = (self.name.clone(), Ensure::Present, Some(state.gid));
        Some(Group { name, ensure, gid, system: false, change_gid: true })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let state = context.host.groups.get(&self.name).filter(|state| state.local);
        Ok(state.filter(|_| self.ensure == Ensure::Present).map(|_| self.removal()))
    }
}

impl Group {
    fn renumbered(&self, state: &GroupState, gid: u32) -> Result<Change, PlanError> {
        ACCOUNT.local(&self.name, state.local)?;
        ACCOUNT.renumber(&self.name, state.gid, gid, self.change_gid)?;
        Ok(self.change(&format!("gid {} -> {gid}", state.gid), false, state.gid.to_string(), Some(gid)))
    }

    fn change(&self, summary: &str, creates: bool, before: String, gid: Option<u32>) -> Change {
        let after = gid.map_or_else(|| "next free".to_owned(), |gid| gid.to_string());
        Change {
            summary: summary.to_owned(),
            creates,
            effects: vec![Effect::Group(GroupAction {
                name: self.name.clone(),
                absent: false,
                system: self.system,
                gid,
            })],
            diffs: vec![Diff::Property { name: "gid".into(), before, after }],
        }
    }

    fn removal(&self) -> Change {
        let action = GroupAction { name: self.name.clone(), absent: true, system: self.system, gid: None };
        removal(Effect::Group(action), "removed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, declare, effects, outcome, refuses, relations};
    use crate::system::observe::Observed;

    fn host(gid: u32, local: bool) -> Observed {
        let state = GroupState { gid, members: vec![], local };
        Observed { groups: [("deploy".to_owned(), state)].into(), ..Observed::default() }
    }

    #[test]
    fn plans_only_what_differs() {
        let nothing = Observed::default();
        for (table, host, expected) in [
            ("", &nothing, "created"),
            ("", &host(7, true), "unchanged"),
            ("gid = 7", &host(7, false), "unchanged"),
            ("gid = 8", &host(7, true), "E340"),
            ("gid = 8\nchange-gid = true", &host(7, true), "gid 7 -> 8"),
            ("gid = 8\nchange-gid = true", &host(7, false), "E341"),
            ("gid = 8\nchange-gid = true", &host(0, true), "E340"),
            ("ensure = \"absent\"", &host(7, true), "removed"),
            ("ensure = \"absent\"", &host(7, false), "E341"),
            ("ensure = \"absent\"", &nothing, "unchanged"),
        ] {
            let group: Group = declare("deploy", table).unwrap();
            assert_eq!(outcome(&group, &context(host)), expected, "{table}");
        }
    }

    #[test]
    fn drift_of_an_ignored_number_is_left() {
        let group: Group = declare("deploy", "gid = 8").unwrap();
        let host = host(7, true);
        let ignore = ["gid".to_owned()];
        assert_eq!(outcome(&group, &Context { ignore: &ignore, ..context(&host) }), "unchanged");
    }

    #[test]
    fn pruning_removes_only_a_local_group() {
        let group: Group = declare("deploy", "").unwrap();
        assert!(group.prune(&context(&host(7, true))).unwrap().is_some());
        assert!(group.prune(&context(&host(7, false))).unwrap().is_none());
        assert!(group.prune(&context(&Observed::default())).unwrap().is_none());
        assert_eq!(effects(&group, &context(&Observed::default())), ["group deploy"]);
    }

    #[test]
    fn what_is_no_group_is_refused() {
        refuses::<Group>("-x", "", "not the name of a group", "");
        refuses::<Group>("root", "ensure = \"absent\"", "never removed", "\"absent\"");
        refuses::<Group>("deploy", "gid = -1", "invalid value", "-1");
        refuses::<Group>("deploy", "gdi = 1", "unknown key `gdi`", "gdi");
    }

    #[test]
    fn only_a_present_group_is_provided() {
        let present: Group = declare("deploy", "").unwrap();
        assert_eq!(relations(&present).0, [Provision::Group("deploy".into())]);
        let absent: Group = declare("deploy", "ensure = \"absent\"").unwrap();
        assert!(relations(&absent).0.is_empty());
    }
}
