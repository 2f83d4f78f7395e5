//! `file`: a regular file, its content and its attributes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::attributes::{self, Written};
use super::fields::{self, Mode, PrincipalField};
use super::{
    Before, Content, Context, Declaration, DeclareError, Ensure, Field, Provision, Relations, Resource, ResourceId, codes, path_name,
};
use crate::error::Code;
use crate::plan::{Attributes, Change, Diff, Effect, PlanError, Reach, WriteFile};
use crate::system::observe::{FileType, Needs, PathNeed, Present};

/// A regular file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct File {
    path: PathBuf,
    ensure: Ensure,
    /// `None`: only the attributes are managed.
    content: Option<Content>,
    attributes: Attributes,
    validate: Option<Vec<String>>,
    create_only: bool,
    backup: bool,
    force: bool,
    in_place: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    ensure: Ensure,
    content: Option<String>,
    source: Option<String>,
    template: Option<String>,
    owner: Option<PrincipalField>,
    group: Option<PrincipalField>,
    mode: Option<Mode>,
    selinux: Option<String>,
    acl: Option<Vec<String>>,
    #[serde(default)]
    xattrs: BTreeMap<String, String>,
    immutable: Option<bool>,
    validate: Option<Vec<String>>,
    #[serde(default)]
    create_only: bool,
    #[serde(default = "yes")]
    backup: bool,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    in_place: bool,
}

fn yes() -> bool {
    true
}

impl Resource for File {
    const KIND: &'static str = "file";
    const SUMMARY: &'static str = "A regular file: its content, and its owner, group, mode and extended attributes.";
    const EXAMPLE: &'static str = r#"
[file."/etc/motd"]
content = "This host abides by Git.\n"
mode = "0644"

[file."/etc/sudoers.d/deploy"]
content = "deploy ALL=(ALL) NOPASSWD: /usr/bin/systemctl restart app\n"
mode = "u=r,g=r,o="
validate = ["visudo", "-c", "-f", "{file}"]

[file."/etc/nologin"]
ensure = "absent"
"#;
    const FIELDS: &'static [Field] = &[
        Field {
            name: "ensure",
            kind: "\"present\" or \"absent\"",
            default: "\"present\"",
            doc: "Whether the file shall be there.",
        },
        Field {
            name: "content",
            kind: "string",
            default: "none",
            doc: "The content, verbatim. At most one of `content`, `source` and `template`; without any, only the attributes of a file that \
                  is there are managed.",
        },
        Field {
            name: "source",
            kind: "path",
            default: "none",
            doc: "A file beside the role whose bytes are the content.",
        },
        Field {
            name: "template",
            kind: "path",
            default: "none",
            doc: "A template beside the role whose rendering is the content.",
        },
        attributes::OWNER,
        attributes::GROUP,
        Field {
            name: "mode",
            kind: "string",
            default: "as it is; \"0644\" for something new",
            doc: "Permissions, quoted: octal (`\"0640\"`) or symbolic for all three classes (`\"u=rw,g=r,o=\"`).",
        },
        Field {
            name: "validate",
            kind: "list of strings",
            default: "none",
            doc: "A program that judges the new content before it is put in place; `{file}` stands for the path of the staged file. \
                  When it exits with another code than 0, nothing is replaced.",
        },
        Field {
            name: "create-only",
            kind: "boolean",
            default: "false",
            doc: "Write the content only when there is no file; what is there keeps its content. Attributes are still corrected.",
        },
        Field {
            name: "backup",
            kind: "boolean",
            default: "true",
            doc: "Keep the former content in the backup store, from where a rollback takes it.",
        },
        Field {
            name: "force",
            kind: "boolean",
            default: "false",
            doc: "Replace a symlink, an empty directory or anything else of another type that is in the way.",
        },
        Field {
            name: "in-place",
            kind: "boolean",
            default: "false",
            doc: "Write into the existing file instead of replacing it. Needed for a bind-mounted file; a crash may leave it half written.",
        },
        attributes::SELINUX,
        attributes::ACL,
        attributes::XATTRS,
        attributes::IMMUTABLE,
    ];

    fn declare(declaration: Declaration<'_>) -> Result<File, DeclareError> {
        let path = path_name(&declaration)?;
        let fields: Fields = declaration.table.read()?;
        let content = fields::content(
            &declaration,
            fields.content,
            fields.source.as_deref(),
            fields.template.as_deref(),
        )?;
        if fields.ensure == Ensure::Absent && content.is_some() {
            let help = "remove the content, or `ensure = \"absent\"`";
            return Err(declaration.error("ensure", "a file that shall be absent has no content", help));
        }
        check_validate(&declaration, fields.validate.as_deref(), content.is_some())?;
        if fields.create_only && content.is_none() {
            let help = "add `content`, `source` or `template`";
            return Err(declaration.error("create-only", "there is no content to create the file with", help));
        }
        let written = Written {
            owner: fields.owner,
            group: fields.group,
            mode: fields.mode,
            selinux: fields.selinux,
            acl: fields.acl,
            xattrs: fields.xattrs,
            immutable: fields.immutable,
        };
        Ok(File {
            path,
            ensure: fields.ensure,
            content,
            attributes: written.check(&declaration)?,
            validate: fields.validate,
            create_only: fields.create_only,
            backup: fields.backup,
            force: fields.force,
            in_place: fields.in_place,
        })
    }

    fn needs(&self, needs: &mut Needs) {
        let content = self.content.is_some() && !self.create_only;
        needs.path(&self.path, PathNeed { content, extended: attributes::extended(&self.attributes) });
        attributes::needs(&self.attributes, needs);
    }

    fn prune_needs(&self, needs: &mut Needs) {
        needs.path(&self.path, PathNeed { content: self.create_only, extended: self.attributes.immutable.is_some() });
    }

    fn relations(&self, relations: &mut Relations) {
        relations.requires.extend(self.path.parent().map(|parent| Provision::Path(parent.to_owned())));
        if self.ensure == Ensure::Present {
            relations.provides.push(Provision::Path(self.path.clone()));
            attributes::relations(&self.attributes, relations);
        }
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        reach.push(Reach::Entry(self.path.clone()));
        reach.extend(self.validate.clone().map(Reach::Program));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let present = context.path(&self.id(), &self.path)?;
        match (self.ensure, present) {
            (Ensure::Absent, None) => Ok(None),
            (Ensure::Absent, Some(present)) => self.absent(present).map(Some),
            (Ensure::Present, None) => self.created(context).map(Some),
            (Ensure::Present, Some(present)) if present.file_type != FileType::File => {
                self.replaced(present, context).map(Some)
            }
            (Ensure::Present, Some(present)) => self.corrected(present, context),
        }
    }

    fn found(&self, before: &Before<'_>) -> Option<File> {
        let present = before.path(&self.path).filter(|present| present.file_type == FileType::File)?;
        let content = match self.backup {
            true => Some(before.content(&self.path)?),
            false => None,
        };
        let attributes = attributes::found(present);
        let (path, ensure, in_place) = (self.path.clone(), Ensure::Present, self.in_place);
        let (validate, create_only, backup, force) = (None, false, true, true);
        Some(File { path, ensure, content, attributes, validate, create_only, backup, force, in_place })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let Some(content) = self.content.as_ref().filter(|_| self.ensure == Ensure::Present) else { return Ok(None) };
        let present = context.path(&self.id(), &self.path)?;
        let present = present.filter(|present| present.file_type == FileType::File && !present.mount_point);
        // What was written once belongs to the host since, unless nobody has touched it.
        let own = |present: &&Present| !self.create_only || present.sha256 == Some(content.sha256);
        Ok(present.filter(own).map(|present| self.removal(present)))
    }
}

fn check_validate(
    declaration: &Declaration<'_>,
    validate: Option<&[String]>,
    has_content: bool,
) -> Result<(), DeclareError> {
    let Some(argv) = validate else { return Ok(()) };
    fields::argv(declaration, "validate", argv)?;
    if !has_content {
        let help = "add `content`, `source` or `template`";
        return Err(declaration.error("validate", "there is no content to validate", help));
    }
    if !argv.iter().skip(1).any(|argument| argument.contains("{file}")) {
        let help = "add the argument \"{file}\", which stands for the staged file";
        return Err(declaration.error("validate", "`validate` does not look at the new content", help));
    }
    Ok(())
}

impl File {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.path.to_string_lossy())
    }

    fn error(&self, code: Code, message: String, help: &str) -> PlanError {
        PlanError::new(self.id(), code, message, help)
    }

    fn created(&self, context: &Context<'_>) -> Result<Change, PlanError> {
        attributes::check(&self.attributes, &self.id(), context)?;
        match &self.content {
            Some(content) => {
                let effects = vec![self.write(content, self.attributes.clone())];
                Ok(Change { summary: "created".into(), creates: true, effects, diffs: vec![self.content_diff()] })
            }
            // A package of this plan may bring it.
            None if context.packages_arrive() => Ok(Change {
                summary: "attributes set".into(),
                creates: false,
                effects: vec![self.set(self.attributes.clone())],
                diffs: Vec::new(),
            }),
            None => Err(self.error(
                codes::NOTHING_THERE,
                format!("there is no file {}, and no content is declared for it", self.path.display()),
                "add `content`, `source` or `template`, or declare the package that brings the file",
            )),
        }
    }

    fn replaced(&self, present: &Present, context: &Context<'_>) -> Result<Change, PlanError> {
        let what = present.file_type.words();
        self.refuse_mount_point(present)?;
        let Some(content) = self.content.as_ref().filter(|_| self.force) else {
            return Err(self.error(
                codes::IN_THE_WAY,
                format!("{} is {what}, not a file", self.path.display()),
                "move it away, or declare the content and set `force = true`",
            ));
        };
        attributes::check(&self.attributes, &self.id(), context)?;
        Ok(Change {
            summary: format!("{what} replaced by a file"),
            creates: false,
            effects: vec![self.write(content, self.attributes.clone())],
            diffs: vec![
                Diff::Property { name: "type".into(), before: what.into(), after: "a file".into() },
                self.content_diff(),
            ],
        })
    }

    fn corrected(&self, present: &Present, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let drift = attributes::drift(&self.attributes, present, &self.id(), context)?;
        let rewritten = self.content.as_ref().filter(|content| {
            !self.create_only && !context.ignores("content") && present.sha256 != Some(content.sha256)
        });
        if rewritten.is_none() && drift.is_none() {
            return Ok(None);
        }
        let mut summary: Vec<String> = drift.summaries().collect();
        let mut effects = Vec::new();
        let flagged = present.extended.as_ref().is_some_and(|extended| extended.immutable);
        if flagged {
            effects.push(self.set(Attributes { immutable: Some(false), ..Attributes::default() }));
        }
        let mut diffs = Vec::new();
        match rewritten {
            Some(content) => {
                if !self.in_place {
                    self.refuse_mount_point(present)?;
                }
                summary.insert(0, self.content_summary(present));
                effects.push(self.write(content, attributes::without_ignored(&self.attributes, context)));
                diffs.push(self.content_diff());
            }
            None => {
                let mut attributes = drift.attributes;
                // Lifted above for the change, so it has to be set again.
                attributes.immutable = attributes.immutable.or(flagged.then_some(true));
                effects.push(self.set(attributes));
            }
        }
        diffs.extend(drift.diffs);
        Ok(Some(Change { summary: summary.join(", "), creates: false, effects, diffs }))
    }

    fn content_summary(&self, present: &Present) -> String {
        match present.links {
            links if links > 1 && !self.in_place => {
                format!("content changed (leaves {} other hard links with the old content)", links - 1)
            }
            _ => "content changed".into(),
        }
    }

    fn refuse_mount_point(&self, present: &Present) -> Result<(), PlanError> {
        if !present.mount_point {
            return Ok(());
        }
        Err(self.error(
            codes::MOUNT_POINT,
            format!("{} is a mount point, so it cannot be replaced", self.path.display()),
            "set `in-place = true` to write into it, or unmount it",
        ))
    }

    fn absent(&self, present: &Present) -> Result<Change, PlanError> {
        self.refuse_mount_point(present)?;
        match present.file_type {
            FileType::File => Ok(self.removal(present)),
            FileType::Directory => Err(self.error(
                codes::OTHER_TYPE,
                format!("{} is a directory, so it is not removed as a file", self.path.display()),
                "declare it as a directory that shall be absent",
            )),
            _ if self.force => Ok(self.removal(present)),
            other => Err(self.error(
                codes::OTHER_TYPE,
                format!("{} is {}, so it is not removed as a file", self.path.display(), other.words()),
                "remove it yourself, or set `force = true`",
            )),
        }
    }

    fn removal(&self, present: &Present) -> Change {
        let mut effects = Vec::new();
        if present.extended.as_ref().is_some_and(|extended| extended.immutable) {
            effects.push(self.set(Attributes { immutable: Some(false), ..Attributes::default() }));
        }
        effects.push(Effect::Remove { path: self.path.clone(), recursive: false });
        Change {
            summary: "removed".into(),
            creates: false,
            effects,
            diffs: vec![Diff::Content { path: self.path.clone(), after: None }],
        }
    }

    fn write(&self, content: &Content, attributes: Attributes) -> Effect {
        Effect::WriteFile(WriteFile {
            path: self.path.clone(),
            content: content.clone(),
            attributes,
            validate: self.validate.clone(),
            backup: self.backup,
            force: self.force,
            in_place: self.in_place,
        })
    }

    fn set(&self, attributes: Attributes) -> Effect {
        Effect::SetAttributes { path: self.path.clone(), attributes }
    }

    fn content_diff(&self) -> Diff {
        Diff::Content { path: self.path.clone(), after: self.content.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{
        MemoryFiles, context, declare, declare_with, effects, file, outcome, path, present, refuses, relations, text,
    };
    use crate::system::observe::{Extended, Observed, PackageState, PathState};

    const HELLO: &str = "content = \"hello\\n\"\n";

    fn planned(table: &str, state: PathState) -> String {
        let host = path("/etc/motd", state).with_user("alice", 1000);
        outcome(&declare::<File>("/etc/motd", table).unwrap(), &context(&host))
    }

    #[test]
    fn plans_only_what_differs() {
        let hello = || file("hello\n");
        for (more, state, expected) in [
            ("", PathState::Absent, "created"),
            ("", hello(), "unchanged"),
            ("", file("other\n"), "content changed"),
            ("mode = \"0600\"", hello(), "mode 0644 -> 0600"),
            ("mode = \"u=rw,g=r,o=r\"", hello(), "unchanged"),
            ("mode = \"0600\"", file("x"), "content changed, mode 0644 -> 0600"),
            ("owner = \"alice\"", hello(), "owner 0 -> alice"),
            ("owner = 0\ngroup = \"0\"", hello(), "unchanged"),
            ("owner = \"bob\"", hello(), "E307"),
            ("group = \"bob\"", PathState::Absent, "E308"),
            ("create-only = true", file("other\n"), "unchanged"),
            ("create-only = true", PathState::Absent, "created"),
            ("create-only = true\nmode = \"0600\"", file("x"), "mode 0644 -> 0600"),
            ("", hello().with(|file| file.links = 3), "unchanged"),
            (
                "",
                file("x").with(|file| file.links = 3),
                "content changed (leaves 2 other hard links with the old content)",
            ),
            ("in-place = true", file("x").with(|file| file.links = 3), "content changed"),
            ("", file("x").with(|file| file.mount_point = true), "E305"),
            ("in-place = true", file("x").with(|file| file.mount_point = true), "content changed"),
            ("", present(FileType::Symlink), "E310"),
            ("", present(FileType::Directory), "E310"),
            ("force = true", present(FileType::Symlink), "a symlink replaced by a file"),
            ("force = true", present(FileType::Socket), "a socket replaced by a file"),
            ("", PathState::Unreadable("gone".into()), "E302"),
            ("", PathState::Blocked { at: "/etc".into(), reason: "is a file".into() }, "E301"),
        ] {
            assert_eq!(planned(&format!("{HELLO}{more}"), state.clone()), expected, "{more} {state:?}");
        }
    }

    #[test]
    fn removing_takes_only_what_is_a_file() {
        for (more, state, expected) in [
            ("", PathState::Absent, "unchanged"),
            ("", file("x"), "removed"),
            ("", present(FileType::Symlink), "E311"),
            ("force = true", present(FileType::Symlink), "removed"),
            ("force = true", present(FileType::Directory), "E311"),
            ("", file("x").with(|file| file.mount_point = true), "E305"),
        ] {
            assert_eq!(planned(&format!("ensure = \"absent\"\n{more}"), state), expected, "{more}");
        }
    }

    #[test]
    fn attributes_alone_do_not_rewrite() {
        let declared: File = declare("/etc/motd", &format!("{HELLO}mode = \"0600\"")).unwrap();
        assert_eq!(effects(&declared, &context(&path("/etc/motd", file("hello\n")))), ["set /etc/motd"]);
        assert_eq!(effects(&declared, &context(&path("/etc/motd", file("x")))), ["write /etc/motd"]);
    }

    #[test]
    fn without_content_something_has_to_be_there_or_come_with_a_package() {
        assert_eq!(planned("mode = \"0644\"", PathState::Absent), "E306");
        let mut host = path("/etc/motd", PathState::Absent);
        host.packages.insert("base-files".into(), PackageState::default());
        let provided = |provision: &Provision| *provision == Provision::Package("base-files".into());
        let declared: File = declare("/etc/motd", "mode = \"0644\"\nowner = \"motd\"").unwrap();
        assert_eq!(outcome(&declared, &Context { provided: &provided, ..context(&host) }), "attributes set");
    }

    #[test]
    fn accounts_of_the_same_plan_may_own() {
        let host = path("/etc/motd", file("hello\n"));
        let provided = |provision: &Provision| *provision == Provision::User("new".into());
        let declared: File = declare("/etc/motd", &format!("{HELLO}owner = \"new\"")).unwrap();
        assert_eq!(outcome(&declared, &Context { provided: &provided, ..context(&host) }), "owner 0 -> new");
        let (provides, requires, _) = relations(&declared);
        assert_eq!(provides, [Provision::Path("/etc/motd".into())]);
        assert_eq!(requires, [Provision::Path("/etc".into()), Provision::User("new".into())]);
    }

    #[test]
    fn the_nearest_account_is_suggested() {
        let host = path("/etc/motd", PathState::Absent).with_user("alice", 1000);
        let declared: File = declare("/etc/motd", &format!("{HELLO}owner = \"alcie\"")).unwrap();
        let error = declared.plan(&context(&host)).unwrap_err();
        assert!(error.help.starts_with("did you mean `alice`?"), "{}", error.help);
    }

    #[test]
    fn ignored_fields_keep_what_the_host_has() {
        let host = path("/etc/motd", file("x"));
        let declared: File = declare("/etc/motd", &format!("{HELLO}mode = \"0600\"")).unwrap();
        for (ignore, expected) in [
            (vec!["mode"], "content changed"),
            (vec!["content"], "mode 0644 -> 0600"),
            (vec!["content", "mode"], "unchanged"),
        ] {
            let ignore: Vec<String> = ignore.into_iter().map(str::to_owned).collect();
            let change = declared.plan(&Context { ignore: &ignore, ..context(&host) }).unwrap();
            assert_eq!(change.as_ref().map_or("unchanged", |change| change.summary.as_str()), expected);
            let written = change.into_iter().flat_map(|change| change.effects);
            for effect in written {
                if let Effect::WriteFile(write) = effect {
                    assert_eq!(write.attributes.mode, None);
                }
            }
        }
    }

    #[test]
    fn the_immutable_flag_is_lifted_for_a_change_and_set_again() {
        let flagged = |content| {
            let extended = Extended { immutable: true, ..Extended::default() };
            path("/etc/motd", file(content).with(|file| file.extended = Some(extended)))
        };
        let declared: File = declare("/etc/motd", &format!("{HELLO}immutable = true\nmode = \"0600\"")).unwrap();
        assert_eq!(effects(&declared, &context(&flagged("x"))), ["set /etc/motd", "write /etc/motd"]);
        let change = declared.plan(&context(&flagged("hello\n"))).unwrap().unwrap();
        let immutable = change.effects.iter().map(|effect| match effect {
            Effect::SetAttributes { attributes, .. } => attributes.immutable,
            other => panic!("{other:?}"),
        });
        assert_eq!(immutable.collect::<Vec<_>>(), [Some(false), Some(true)]);
    }

    #[test]
    fn only_own_files_are_pruned() {
        let pruned = |table: &str, state: PathState| {
            let host = path("/etc/motd", state);
            declare::<File>("/etc/motd", table).unwrap().prune(&context(&host)).unwrap().is_some()
        };
        assert!(pruned(HELLO, file("x")));
        assert!(!pruned(HELLO, PathState::Absent));
        assert!(!pruned(HELLO, present(FileType::Symlink)));
        assert!(!pruned("mode = \"0600\"", file("x")));
        assert!(!pruned("ensure = \"absent\"", file("x")));
        assert!(!pruned(&format!("{HELLO}create-only = true"), file("x")));
        assert!(pruned(&format!("{HELLO}create-only = true"), file("hello\n")));
    }

    #[test]
    fn content_comes_from_the_role() {
        let files = MemoryFiles([("motd", "from git\n"), ("motd.j2", "rendered\n")].into());
        for (table, expected) in [("source = \"motd\"", "from git\n"), ("template = \"motd.j2\"", "rendered\n")] {
            let declared: File = declare_with("/etc/motd", table, &files).unwrap();
            assert_eq!(text(&declared.content.unwrap()), expected);
        }
        assert!(declare_with::<File>("/etc/motd", "source = \"other\"", &files).is_err());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for (table, message, pointed) in [
            ("mode = 644", "quotes", "644"),
            ("mode = \"8\"", "octal", "\"8\""),
            ("content = \"\"\nsource = \"a\"", "given twice", "\"a\""),
            ("ensure = \"absent\"\ncontent = \"\"", "has no content", "\"absent\""),
            ("content = \"\"\nvalidate = [\"visudo\", \"-c\"]", "does not look", "[\"visudo\", \"-c\"]"),
            ("content = \"\"\nvalidate = []", "empty", "[]"),
            ("create-only = true", "no content", "true"),
            ("owner = \"a:b\"", "invalid value", "\"a:b\""),
            ("acl = [\"user::rw\"]", "not an ACL entry", "[\"user::rw\"]"),
            ("xattrs = { origin = \"x\" }", "extended attribute", "{ origin = \"x\" }"),
            ("selinux = \"etc_t\"", "SELinux", "\"etc_t\""),
            ("source = \"missing\"", "no file missing", "\"missing\""),
            ("ensure = \"abstent\"", "unknown value", "\"abstent\""),
        ] {
            refuses::<File>("/etc/motd", table, message, pointed);
        }
        for name in ["etc/motd", "/etc/../motd", "/etc//motd", "/etc/motd/", "/"] {
            refuses::<File>(name, HELLO, "plain absolute path", "");
        }
        assert_eq!(outcome(&declare::<File>("/a", HELLO).unwrap(), &context(&Observed::default())), "created");
    }
}
