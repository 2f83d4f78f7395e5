//! `symlink`: a symbolic link with a given target.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

use super::{Before, Context, Declaration, DeclareError, Field, Provision, Relations, Resource, ResourceId, codes, path_name};
use crate::error::Code;
use crate::plan::{Attributes, Change, Diff, Effect, PlanError, Reach};
use crate::system::observe::{FileType, Needs, PathNeed, PathState};

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Symlink {
    path: PathBuf,
    /// `None`: the link shall be absent.
    target: Option<PathBuf>,
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    target: Option<PathBuf>,
    #[serde(default)]
    ensure: super::Ensure,
    #[serde(default)]
    force: bool,
}

impl Resource for Symlink {
    const KIND: &'static str = "symlink";
    const SUMMARY: &'static str = "A symbolic link with a given target.";
    const EXAMPLE: &'static str = r#"
[symlink."/etc/nginx/sites-enabled/app.conf"]
target = "../sites-available/app.conf"
"#;
    const FIELDS: &'static [Field] = &[
        Field {
            name: "target",
            kind: "path",
            default: "",
            doc: "What the link points to, verbatim; relative targets are relative to the link's directory. It need not exist.",
        },
        Field {
            name: "ensure",
            kind: "\"present\" or \"absent\"",
            default: "\"present\"",
            doc: "Whether the link shall be there.",
        },
        Field {
            name: "force",
            kind: "boolean",
            default: "false",
            doc: "Replace a file or an empty directory that is in the way.",
        },
    ];

    fn declare(declaration: Declaration<'_>) -> Result<Symlink, DeclareError> {
        let path = path_name(&declaration)?;
        let fields: Fields = declaration.table.read()?;
        let target = match fields.ensure {
            super::Ensure::Absent => None,
            super::Ensure::Present => Some(fields.target.filter(|target| !target.as_os_str().is_empty()).ok_or_else(
                || declaration.table.error("a symlink needs a `target`", "add `target = \"…\"`, or `ensure = \"absent\"`"),
            )?),
        };
        Ok(Symlink { path, target, force: fields.force })
    }

    fn needs(&self, needs: &mut Needs) {
        needs.path(&self.path, PathNeed::default());
    }

    fn relations(&self, relations: &mut Relations) {
        if self.target.is_some() {
            relations.provides.push(Provision::Path(self.path.clone()));
        }
        relations.requires.extend(self.path.parent().map(|parent| Provision::Path(parent.to_owned())));
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        reach.push(Reach::Entry(self.path.clone()));
        let target = self.target.clone();
        reach.extend(target.map(|target| Reach::Link { path: self.path.clone(), target }));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        match (&self.target, context.path(&self.id(), &self.path)?) {
            (None, None) => Ok(None),
            (None, Some(present)) if present.file_type == FileType::Symlink => Ok(Some(self.removal())),
            (None, Some(_)) => Err(self.in_the_way(codes::OTHER_TYPE, "is not a symlink, so it is not removed as one")),
            (Some(target), None) => Ok(Some(self.link(target, "created", String::new(), true))),
            (Some(target), Some(present)) => match &present.target {
                Some(old) if old == target || context.ignores("target") => Ok(None),
                Some(old) => Ok(Some(self.link(target, "target changed", old.display().to_string(), false))),
                None if self.force => Ok(Some(self.link(target, "replaced by a symlink", String::new(), false))),
                None => Err(self.in_the_way(codes::IN_THE_WAY, "exists and is not a symlink")),
            },
        }
    }

    fn found(&self, before: &Before<'_>) -> Option<Symlink> {
        let target = before.path(&self.path)?.target.clone()?;
        Some(Symlink { path: self.path.clone(), target: Some(target), force: true })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        match context.host.paths.get(&self.path) {
            Some(PathState::Present(present)) if present.target.is_some() && present.target == self.target => {
                Ok(Some(self.removal()))
            }
            _ => Ok(None),
        }
    }
}

impl Symlink {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.path.to_string_lossy())
    }

    fn link(&self, target: &Path, summary: &str, before: String, creates: bool) -> Change {
        Change {
            summary: summary.to_owned(),
            creates,
            effects: vec![Effect::MakeSymlink {
                path: self.path.clone(),
                target: target.to_owned(),
                attributes: Attributes::default(),
                force: self.force,
            }],
            diffs: vec![Diff::Property { name: "target".into(), before, after: target.display().to_string() }],
        }
    }

    fn removal(&self) -> Change {
        Change {
            summary: "removed".into(),
            creates: false,
            effects: vec![Effect::Remove { path: self.path.clone(), recursive: false }],
            diffs: vec![Diff::Content { path: self.path.clone(), after: None }],
        }
    }

    fn in_the_way(&self, code: Code, what: &str) -> PlanError {
        PlanError::new(
            self.id(),
            code,
            format!("{} {what}", self.path.display()),
            "move it away, or set `force = true`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, declare, present};

    #[test]
    fn plans_only_what_differs() {
        let link: Symlink = declare("/etc/a", "target = \"b\"").unwrap();
        for (state, expected) in [
            (PathState::Absent, Some("created")),
            (present(FileType::Symlink).with_target("b"), None),
            (present(FileType::Symlink).with_target("c"), Some("target changed")),
        ] {
            let observed = crate::resource::testing::path("/etc/a", state);
            let change = link.plan(&context(&observed)).unwrap();
            assert_eq!(change.map(|change| change.summary).as_deref(), expected);
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error_unless_forced() {
        let observed = crate::resource::testing::path("/etc/a", present(FileType::File));
        let link: Symlink = declare("/etc/a", "target = \"b\"").unwrap();
        assert_eq!(link.plan(&context(&observed)).unwrap_err().code, Code("E310"));
        let forced: Symlink = declare("/etc/a", "target = \"b\"\nforce = true").unwrap();
        assert!(forced.plan(&context(&observed)).unwrap().is_some());
    }

    #[test]
    fn an_ignored_target_is_left() {
        let observed = crate::resource::testing::path("/etc/a", present(FileType::Symlink).with_target("c"));
        let link: Symlink = declare("/etc/a", "target = \"b\"").unwrap();
        let ignore = ["target".to_owned()];
        assert!(link.plan(&Context { ignore: &ignore, ..context(&observed) }).unwrap().is_none());
    }

    #[test]
    fn only_a_present_link_is_provided() {
        let provides = |table| crate::resource::testing::relations(&declare::<Symlink>("/etc/a", table).unwrap()).0;
        assert_eq!(provides("target = \"b\""), [Provision::Path("/etc/a".into())]);
        assert!(provides("ensure = \"absent\"").is_empty());
    }

    #[test]
    fn a_target_is_needed() {
        assert!(declare::<Symlink>("/etc/a", "").unwrap_err().message.contains("target"));
    }
}
