//! `unit`: a unit file in `/etc/systemd/system`.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

use super::attributes;
use super::{
    Before, Content, Context, Declaration, DeclareError, Ensure, Field, Provision, Relations, Resource, ResourceId, codes,
    fields, sections,
};
use crate::manifest::node::{Node, Value};
use crate::plan::{Attributes, Change, Diff, Effect, PlanError, Reach, UnitAction, WriteFile};
use crate::system::observe::{FileType, Needs, PathNeed, Present};

/// Where the host's own units are.
pub(super) const UNITS: &str = "/etc/systemd/system";

/// Seconds for stopping a unit whose file goes away.
const STOP_TIMEOUT: u32 = 90;

/// A unit file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    name: String,
    file: UnitFile,
}

/// A file below `/etc/systemd/system`, root's, mode 0644: what `unit` and `drop-in` have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UnitFile {
    pub(super) path: PathBuf,
    /// `None`: it shall be absent.
    content: Option<Content>,
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    ensure: Ensure,
    content: Option<String>,
    source: Option<String>,
    template: Option<String>,
    #[serde(default)]
    force: bool,
}

/// The fields that `unit` and `drop-in` share.
pub(super) const FIELDS: &[Field] = &[
    Field {
        name: "ensure",
        kind: "\"present\" or \"absent\"",
        default: "\"present\"",
        doc: "Whether the file shall be there.",
    },
    Field { name: "Unit", kind: "table", default: "none", doc: "The section [Unit]. Keys and values of every section are written as systemd has them: text, numbers and booleans; a list gives a \
          repeated key, and an empty text in it clears what came before." },
    Field { name: "Install", kind: "table", default: "none", doc: "The section [Install]." },
    Field { name: "Service", kind: "table", default: "none", doc: "The section [Service], of a service only." },
    Field { name: "Socket", kind: "table", default: "none", doc: "The section [Socket], of a socket only." },
    Field { name: "Timer", kind: "table", default: "none", doc: "The section [Timer], of a timer only." },
    Field { name: "Path", kind: "table", default: "none", doc: "The section [Path], of a path only." },
    Field { name: "Mount", kind: "table", default: "none", doc: "The section [Mount], of a mount only." },
    Field { name: "Automount", kind: "table", default: "none", doc: "The section [Automount], of a automount only." },
    Field { name: "Swap", kind: "table", default: "none", doc: "The section [Swap], of a swap only." },
    Field { name: "Slice", kind: "table", default: "none", doc: "The section [Slice], of a slice only." },
    Field { name: "content", kind: "string", default: "none", doc: "The file, verbatim, instead of sections." },
    Field { name: "source", kind: "path", default: "none", doc: "A file beside the role, instead of sections." },
    Field { name: "template", kind: "path", default: "none", doc: "A template beside the role, instead of sections." },
    Field {
        name: "force",
        kind: "boolean",
        default: "false",
        doc: "Replace a symlink, such as a mask or an alias, or anything else that is no file and in the way.",
    },
];

impl Resource for Unit {
    const KIND: &'static str = "unit";
    const SUMMARY: &'static str =
        "A unit of systemd (service, socket, timer, path, mount, swap, slice, target) in /etc/systemd/system. A change of it \
         makes systemd read its units again; to restart it, say `restart-on = [\"unit:NAME\"]` in its `service`.";
    const EXAMPLE: &'static str = r#"
[unit."app.service".Unit]
Description = "The application"
After = ["network-online.target"]

[unit."app.service".Service]
ExecStart = "/usr/bin/app --port 8080"
DynamicUser = true
Restart = "on-failure"

[unit."app.service".Install]
WantedBy = "multi-user.target"

[unit."backup.timer".Timer]
OnCalendar = "daily"
Persistent = true

[unit."backup.timer".Install]
WantedBy = "timers.target"

[service.app]
enabled = true
running = true
restart-on = ["unit:app.service"]

[service."backup.timer"]
enabled = true
running = true
"#;
    const FIELDS: &'static [Field] = FIELDS;

    fn declare(mut declaration: Declaration<'_>) -> Result<Unit, DeclareError> {
        let name = declaration.name.to_owned();
        let Some(suffix) = sections::suffix(&name).filter(|suffix| !matches!(*suffix, "scope" | "device")) else {
            return Err(declaration.name_error(
                format!("`{}` is not the name of a unit that has a file", crate::error::escaped(&name)),
                "write it with its type, such as `app.service` or `backup.timer`",
            ));
        };
        check_place(&declaration, &name, suffix)?;
        let file = UnitFile::declare(&mut declaration, Path::new(UNITS).join(&name), suffix)?;
        Ok(Unit { name, file })
    }

    fn needs(&self, needs: &mut Needs) {
        self.file.needs(needs);
        if self.file.content.is_none() {
            needs.units.insert(self.name.clone());
        }
    }

    fn prune_needs(&self, needs: &mut Needs) {
        self.file.needs(needs);
        needs.units.insert(self.name.clone());
    }

    fn relations(&self, relations: &mut Relations) {
        self.file.relations(relations);
        if self.file.content.is_some() {
            relations.provides.push(Provision::Unit(self.name.clone()));
        }
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        reach.extend([Reach::Entry(self.file.path.clone()), Reach::Unit(self.name.clone())]);
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let change = self.file.plan(&self.id(), context)?;
        Ok(change.map(|change| if self.file.content.is_none() { self.ended(change, context) } else { change }))
    }

    fn found(&self, before: &Before<'_>) -> Option<Unit> {
        Some(Unit { name: self.name.clone(), file: self.file.found(before)? })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let change = self.file.prune(&self.id(), context)?;
        Ok(change.map(|change| self.ended(change, context)))
    }
}

impl Unit {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.name)
    }

    /// A unit without a file can be neither stopped by its own commands nor disabled: do that first.
    fn ended(&self, mut change: Change, context: &Context<'_>) -> Change {
        let Some(state) = context.host.units.get(&self.name) else { return change };
        let mut act = |action, word: &str| {
            let effect = Effect::Unit { unit: self.name.clone(), action, timeout: STOP_TIMEOUT };
            change.effects.insert(0, effect);
            change.summary = format!("{word}, {}", change.summary);
        };
        // A template cannot run or be enabled itself.
        if self.name.contains("@.") {
            return change;
        }
        if matches!(state.file_state.as_str(), "enabled" | "enabled-runtime") {
            act(UnitAction::Disable, "disabled");
        }
        if matches!(state.active.as_str(), "active" | "activating" | "reloading" | "refreshing") {
            act(UnitAction::Stop, "stopped");
        }
        // Without its file it would be listed among the failed units until the next boot.
        if state.active == "failed" {
            act(UnitAction::ResetFailed, "its failure forgotten");
        }
        change
    }
}

/// systemd refuses a mount whose name is not made from its path: say so before it is written.
fn check_place(declaration: &Declaration<'_>, name: &str, suffix: &str) -> Result<(), DeclareError> {
    let (section, key) = match suffix {
        "mount" => ("Mount", "Where"),
        "automount" => ("Automount", "Where"),
        "swap" => ("Swap", "What"),
        _ => return Ok(()),
    };
    let Some(node) = declaration.table.get(section).and_then(|section| section.get(key)) else { return Ok(()) };
    let Node { value: Value::String(path), .. } = node else { return Ok(()) };
    let expected = format!("{}.{suffix}", sections::escape_path(path));
    if !path.starts_with('/') || expected == name {
        return Ok(());
    }
    Err(node.error(
        format!("a {suffix} unit for `{path}` has to be named `{expected}`"),
        "rename the unit, or correct the path",
    ))
}

impl UnitFile {
    pub(super) fn declare(
        declaration: &mut Declaration<'_>,
        path: PathBuf,
        suffix: &str,
    ) -> Result<UnitFile, DeclareError> {
        let sections = sections::take(declaration, suffix)?;
        let fields: Fields = declaration.table.read()?;
        let given =
            fields::content(declaration, fields.content, fields.source.as_deref(), fields.template.as_deref())?;
        let content = match (fields.ensure, sections, given) {
            (Ensure::Absent, None, None) => None,
            (Ensure::Absent, _, _) => {
                let help = "remove the content, or `ensure = \"absent\"`";
                return Err(declaration.error("ensure", "a file that shall be absent has no content", help));
            }
            (Ensure::Present, Some(_), Some(_)) => {
                return Err(declaration.table.error("the content is given twice", "keep the sections or the file"));
            }
            (Ensure::Present, None, None) => {
                let help = "add sections such as `[Service]`, or `source`, `template` or `content`";
                return Err(declaration.table.error("the file has no content", help));
            }
            (Ensure::Present, sections, given) => sections.or(given),
        };
        Ok(UnitFile { path, content, force: fields.force })
    }

    pub(super) fn is_present(&self) -> bool {
        self.content.is_some()
    }

    pub(super) fn needs(&self, needs: &mut Needs) {
        needs.path(&self.path, PathNeed { content: self.content.is_some(), extended: false });
    }

    pub(super) fn relations(&self, relations: &mut Relations) {
        relations.requires.extend(self.path.parent().map(|parent| Provision::Path(parent.to_owned())));
        if self.content.is_some() {
            relations.provides.push(Provision::Path(self.path.clone()));
        }
    }

    /// Owner, group and mode are always these: a unit that others could write would be root for all.
    fn attributes() -> Attributes {
        use crate::plan::Principal;
        let root = Some(Principal::Id(0));
        Attributes { owner: root.clone(), group: root, mode: Some(0o644), ..Attributes::default() }
    }

    pub(super) fn plan(&self, id: &ResourceId, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let present = context.path(id, &self.path)?;
        match (&self.content, present) {
            (None, None) => Ok(None),
            (None, Some(present)) => match present.file_type {
                FileType::File => Ok(Some(self.removal())),
                _ if self.force && present.file_type != FileType::Directory => Ok(Some(self.removal())),
                _ => Err(self.in_the_way(id, present, codes::OTHER_TYPE)),
            },
            (Some(content), None) => Ok(Some(self.write(content, "created".into(), true, Vec::new()))),
            (Some(content), Some(present)) if present.file_type != FileType::File => {
                if !self.force || present.mount_point {
                    return Err(self.in_the_way(id, present, codes::IN_THE_WAY));
                }
                let summary = format!("{} replaced by a file", present.file_type.words());
                Ok(Some(self.write(content, summary, false, Vec::new())))
            }
            (Some(content), Some(present)) => {
                let drift = attributes::drift(&Self::attributes(), present, id, context)?;
                let mut summary: Vec<String> = drift.summaries().collect();
                if present.sha256 != Some(content.sha256) && !context.ignores("content") {
                    summary.insert(0, "content changed".into());
                    return Ok(Some(self.write(content, summary.join(", "), false, drift.diffs)));
                }
                let effect = Effect::SetAttributes { path: self.path.clone(), attributes: drift.attributes };
                let (effects, diffs) = (vec![effect], drift.diffs);
                let change = Change { summary: summary.join(", "), creates: false, effects, diffs };
                Ok(Some(change).filter(|change| !change.diffs.is_empty()))
            }
        }
    }

    pub(super) fn found(&self, before: &Before<'_>) -> Option<UnitFile> {
        Some(UnitFile { path: self.path.clone(), content: Some(before.content(&self.path)?), force: true })
    }

    pub(super) fn prune(&self, id: &ResourceId, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let present = context.path(id, &self.path)?.filter(|present| present.file_type == FileType::File);
        Ok(present.filter(|_| self.content.is_some()).map(|_| self.removal()))
    }

    fn write(&self, content: &Content, summary: String, creates: bool, mut diffs: Vec<Diff>) -> Change {
        diffs.insert(0, Diff::Content { path: self.path.clone(), after: Some(content.clone()) });
        let effect = Effect::WriteFile(WriteFile {
            path: self.path.clone(),
            content: content.clone(),
            attributes: Self::attributes(),
            validate: None,
            backup: true,
            force: self.force,
            in_place: false,
        });
        Change { summary, creates, effects: vec![effect], diffs }
    }

    fn removal(&self) -> Change {
        Change {
            summary: "removed".into(),
            creates: false,
            effects: vec![Effect::Remove { path: self.path.clone(), recursive: false }],
            diffs: vec![Diff::Content { path: self.path.clone(), after: None }],
        }
    }

    fn in_the_way(&self, id: &ResourceId, present: &Present, code: crate::error::Code) -> PlanError {
        let (path, what) = (self.path.display(), present.file_type.words());
        let help = match &present.target {
            Some(target) if target == Path::new("/dev/null") => "the unit is masked: unmask it, or set `force = true`",
            _ => "move it away, or set `force = true`",
        };
        PlanError::new(id.clone(), code, format!("{path} is {what}, not a file"), help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{
        MemoryFiles, context, declare, declare_with, effects, file, outcome, path, present, refuses, relations, short, text,
    };
    use crate::system::observe::{Observed, PathState, UnitState};

    const TABLE: &str = "[Service]\nExecStart = \"/bin/app\"";
    const TEXT: &str = "# Managed by abide: changes made here are overwritten.\n\n[Service]\nExecStart=/bin/app\n";
    const PATH: &str = "/etc/systemd/system/app.service";

    fn running(mut host: Observed, active: &str, file_state: &str) -> Observed {
        let (active, file_state) = (active.to_owned(), file_state.to_owned());
        host.units.insert("app.service".into(), UnitState { active, file_state, ..UnitState::default() });
        host
    }

    #[test]
    fn plans_only_what_differs() {
        for (table, state, expected) in [
            (TABLE, PathState::Absent, "created"),
            (TABLE, file(TEXT), "unchanged"),
            (TABLE, file("[Service]\n"), "content changed"),
            (TABLE, file(TEXT).with(|file| file.mode = 0o666), "mode 0666 -> 0644"),
            (TABLE, file("x").with(|file| file.uid = 7), "content changed, owner 7 -> 0"),
            (TABLE, present(FileType::Symlink).with_target("/dev/null"), "E310"),
            (TABLE, present(FileType::Directory), "E310"),
            ("ensure = \"absent\"", PathState::Absent, "unchanged"),
            ("ensure = \"absent\"", file(TEXT), "removed"),
            ("ensure = \"absent\"", present(FileType::Symlink), "E311"),
            ("ensure = \"absent\"\nforce = true", present(FileType::Symlink), "removed"),
        ] {
            let unit: Unit = declare("app.service", table).unwrap();
            assert_eq!(outcome(&unit, &context(&path(PATH, state.clone()))), expected, "{table} {state:?}");
        }
        let forced: Unit = declare("app.service", &format!("force = true\n{TABLE}")).unwrap();
        let masked = path(PATH, present(FileType::Symlink).with_target("/dev/null"));
        assert_eq!(outcome(&forced, &context(&masked)), "a symlink replaced by a file");
    }

    #[test]
    fn a_mask_in_the_way_is_named() {
        let unit: Unit = declare("app.service", TABLE).unwrap();
        let masked = path(PATH, present(FileType::Symlink).with_target("/dev/null"));
        assert!(unit.plan(&context(&masked)).unwrap_err().help.contains("masked"));
    }

    #[test]
    fn a_unit_is_stopped_and_disabled_before_its_file_goes() {
        let path = || path(PATH, file(TEXT));
        let (unit, absent): (Unit, Unit) =
            (declare("app.service", TABLE).unwrap(), declare("app.service", "ensure = \"absent\"").unwrap());
        for (active, file_state, expected) in [
            ("active", "enabled", vec!["Stop app.service", "Disable app.service"]),
            ("active", "static", vec!["Stop app.service"]),
            ("failed", "disabled", vec!["ResetFailed app.service"]),
        ] {
            let host = running(path(), active, file_state);
            let expected: Vec<&str> = expected.into_iter().chain(["remove /etc/systemd/system/app.service"]).collect();
            assert_eq!(effects(&absent, &context(&host)), expected);
            assert_eq!(short(&unit.prune(&context(&host)).unwrap().unwrap()), expected);
        }
    }

    #[test]
    fn the_content_may_be_a_file() {
        let files = MemoryFiles([("app.service", "[Service]\n")].into());
        let unit: Unit = declare_with("app.service", "source = \"app.service\"", &files).unwrap();
        assert_eq!(text(&unit.file.content.unwrap()), "[Service]\n");
    }

    #[test]
    fn a_unit_is_provided_with_its_path() {
        let (provides, ..) = relations(&declare::<Unit>("app.service", TABLE).unwrap());
        assert_eq!(provides, [Provision::Path(PATH.into()), Provision::Unit("app.service".into())]);
        assert!(relations(&declare::<Unit>("app.service", "ensure = \"absent\"").unwrap()).0.is_empty());
    }

    /// Attack 34: names of units that are paths, options or several lines.
    #[test]
    fn what_is_no_unit_is_refused() {
        for (name, table, message, pointed) in [
            ("app", TABLE, "not the name of a unit", ""),
            ("a/b.service", TABLE, "not the name of a unit", ""),
            ("..", TABLE, "not the name of a unit", ""),
            ("../../x.service", TABLE, "not the name of a unit", ""),
            ("x.service\n[Service]", TABLE, "not the name of a unit", ""),
            ("-x y.service", TABLE, "not the name of a unit", ""),
            ("x.device", TABLE, "not the name of a unit", ""),
            ("app.service", "ensure = \"present\"", "has no content", ""),
            ("app.service", "[Servce]\nA = 1", "no section `Servce`", "Servce"),
            ("app.service", "mode = \"0644\"", "unknown key `mode`", "mode"),
            ("x.mount", "[Mount]\nWhere = \"/srv/data\"", "named `srv-data.mount`", "\"/srv/data\""),
        ] {
            refuses::<Unit>(name, table, message, pointed);
        }
        assert!(declare::<Unit>("srv-data.mount", "[Mount]\nWhere = \"/srv/data\"").is_ok());
        let twice = format!("content = \"\"\n{TABLE}");
        assert!(declare::<Unit>("app.service", &twice).unwrap_err().message.contains("given twice"));
    }
}
