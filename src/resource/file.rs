//! `file`: a regular file, its content and its attributes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::attributes::{self, Written};
use super::fields::{self, Mode, PrincipalField};
use super::{
    Content, Context, Declaration, DeclareError, Ensure, Field, Provision, Relations, Resource, ResourceId, codes, path_name,
};
use crate::error::Code;
use crate::plan::{Attributes, Change, Diff, Effect, PlanError, WriteFile};
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
            default: "",
            doc: "The content, verbatim. At most one of `content`, `source` and `template`; without any, only the attributes of a file that \
                  is there are managed.",
        },
        Field {
            name: "source",
            kind: "path",
            default: "",
            doc: "A file beside the role whose bytes are the content.",
        },
        Field {
            name: "template",
            kind: "path",
            default: "",
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
            default: "",
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
