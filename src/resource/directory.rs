//! `directory`: a directory, or a whole tree of one as a single resource.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::attributes::{self, Written};
use super::fields::{Mode, PrincipalField};
use super::tree::{Purge, Tree, Work};
use super::{
    Context, Declaration, DeclareError, Ensure, Field, Provision, Relations, Resource, ResourceId, codes, path_name,
};
use crate::plan::{Attributes, Change, Diff, Effect, PlanError};
use crate::system::observe::{FileType, Needs, PathNeed, Present};

/// A directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    path: PathBuf,
    ensure: Ensure,
    attributes: Attributes,
    tree: Option<Tree>,
    purge: Option<Purge>,
    force: bool,
    recursive: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    ensure: Ensure,
    source: Option<String>,
    owner: Option<PrincipalField>,
    group: Option<PrincipalField>,
    mode: Option<Mode>,
    file_mode: Option<Mode>,
    selinux: Option<String>,
    acl: Option<Vec<String>>,
    #[serde(default)]
    xattrs: BTreeMap<String, String>,
    #[serde(default)]
    purge: bool,
    #[serde(default)]
    purge_ignore: Vec<String>,
    purge_limit: Option<usize>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    recursive: bool,
}

/// How many entries a purge removes without being asked twice.
const PURGE_LIMIT: usize = 100;

impl Resource for Directory {
    const KIND: &'static str = "directory";
    const SUMMARY: &'static str =
        "A directory; with `source` the whole tree of a folder, and with `purge` nothing but what is declared.";
    const EXAMPLE: &'static str = r#"
[directory."/srv/app"]
owner = "root"
mode = "0750"

[directory."/etc/app/conf.d"]
purge = true
purge-ignore = ["*.local", "cache/*"]

[directory."/var/tmp/old-app"]
ensure = "absent"
recursive = true
"#;
    const FIELDS: &'static [Field] = &[
        Field {
            name: "ensure",
            kind: "\"present\" or \"absent\"",
            default: "\"present\"",
            doc: "Whether the directory shall be there.",
        },
        Field {
            name: "source",
            kind: "path",
            default: "",
            doc: "A folder beside the role: every file below it is put below the directory, as one resource. Files that Git has as executable \
                  become executable.",
        },
        attributes::OWNER,
        attributes::GROUP,
        Field {
            name: "mode",
            kind: "string",
            default: "as it is; \"0755\" for something new",
            doc: "Permissions of the directory and, with `source`, of those below it: quoted octal or symbolic.",
        },
        Field {
            name: "file-mode",
            kind: "string",
            default: "\"0644\"",
            doc: "Permissions of the files from `source`; executables get `x` wherever this has `r`.",
        },
        Field {
            name: "purge",
            kind: "boolean",
            default: "false",
            doc: "Remove whatever is below the directory and neither from `source` nor declared as a resource of its own.",
        },
        Field {
            name: "purge-ignore",
            kind: "list of strings",
            default: "[]",
            doc: "What a purge leaves: patterns with `*` and `?` of names, or of paths relative to the directory.",
        },
        Field {
            name: "purge-limit",
            kind: "integer",
            default: "100",
            doc: "When a purge would remove more entries than this, it is an error and nothing is removed.",
        },
        Field {
            name: "force",
            kind: "boolean",
            default: "false",
            doc: "Replace a file, a symlink or anything else that is no directory and in the way.",
        },
        Field {
            name: "recursive",
            kind: "boolean",
            default: "false",
            doc: "With `ensure = \"absent\"`: remove the directory with everything in it.",
        },
        attributes::SELINUX,
        attributes::ACL,
        attributes::XATTRS,
    ];

    fn declare(declaration: Declaration<'_>) -> Result<Directory, DeclareError> {
        let path = path_name(&declaration)?;
        let fields: Fields = declaration.table.read()?;
        check(&declaration, &fields)?;
        let written = Written {
            owner: fields.owner,
            group: fields.group,
            mode: fields.mode,
            selinux: fields.selinux,
            acl: fields.acl,
            xattrs: fields.xattrs,
            immutable: None,
        };
        let attributes = written.check(&declaration)?;
        let folder = fields.source.as_deref().map(|source| {
            let help = "paths are relative to the role's folder";
            declaration.files.folder(source).map_err(|error| declaration.error("source", error, help))
        });
        let tree = folder.transpose()?.map(|entries| {
            // Default ACL entries are for directories only.
            let acl = attributes.acl.as_ref();
            let acl = acl.map(|acl| acl.iter().filter(|entry| !entry.starts_with("default:")).cloned().collect());
            let mode = fields.file_mode.map_or(0o644, |mode| mode.0);
            Tree::new(&path, entries, &Attributes { acl, ..attributes.clone() }, mode)
        });
        let limit = fields.purge_limit.unwrap_or(PURGE_LIMIT);
        let purge = fields.purge.then_some(Purge { ignore: fields.purge_ignore, limit });
        let (ensure, force, recursive) = (fields.ensure, fields.force, fields.recursive);
        Ok(Directory { path, ensure, attributes, tree, purge, force, recursive })
    }

    fn needs(&self, needs: &mut Needs) {
        let extended = attributes::extended(&self.attributes);
        needs.path(&self.path, PathNeed { content: false, extended });
        attributes::needs(&self.attributes, needs);
        if let Some(tree) = &self.tree {
            tree.needs(needs, extended);
        }
        if self.purge.is_some() || (self.ensure == Ensure::Absent && !self.recursive) {
            needs.listings.insert(self.path.clone(), Vec::new());
        }
    }

    fn prune_needs(&self, needs: &mut Needs) {
        self.needs(needs);
        needs.listings.insert(self.path.clone(), Vec::new());
    }

    fn relations(&self, relations: &mut Relations) {
        relations.requires.extend(self.path.parent().map(|parent| Provision::Path(parent.to_owned())));
        if self.ensure == Ensure::Present {
            relations.provides.push(Provision::Path(self.path.clone()));
            let below = self.tree.iter().flat_map(Tree::paths);
            relations.provides.extend(below.map(|path| Provision::Path(path.to_owned())));
            attributes::relations(&self.attributes, relations);
        }
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let present = context.path(&self.id(), &self.path)?;
        match (self.ensure, present) {
            (Ensure::Absent, None) => Ok(None),
            (Ensure::Absent, Some(present)) => self.absent(present, context).map(Some),
            (Ensure::Present, present) => self.present(present, context),
        }
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let present = context.path(&self.id(), &self.path)?;
        let own = |present: &&Present| present.file_type == FileType::Directory && !present.mount_point;
        if self.ensure == Ensure::Absent || !present.as_ref().is_some_and(own) {
            return Ok(None);
        }
        let mut work = self.tree.as_ref().map(|tree| tree.prune(&self.path, context)).unwrap_or_default();
        let going = |path: PathBuf| {
            let removed = |effect: &Effect| matches!(effect, Effect::Remove { path: gone, .. } if *gone == path);
            // Another resource that leaves in the same run goes before its directory.
            let name = path.to_string_lossy();
            let leaves = |kind| (context.changes)(&ResourceId::new(kind, &name));
            work.effects.iter().any(removed) || ["file", "directory", "symlink"].into_iter().any(leaves)
        };
        let listing = context.host.listings.get(&self.path);
        if listing.is_some_and(|entries| entries.iter().all(|entry| going(self.path.join(entry)))) {
            work.effects.push(Effect::Remove { path: self.path.clone(), recursive: false });
        }
        let files = work.diffs.len();
        let summary = if files == 0 { "removed".into() } else { format!("removed with {files} of its files") };
        let change = Change { summary, creates: false, effects: work.effects, diffs: work.diffs };
        Ok(Some(change).filter(|change| !change.effects.is_empty()))
    }
}

fn check(declaration: &Declaration<'_>, fields: &Fields) -> Result<(), DeclareError> {
    let needs_purge = "add `purge = true`";
    let absent = fields.ensure == Ensure::Absent;
    for (wrong, key, message, help) in [
        (absent && fields.source.is_some(), "source", "a directory that shall be absent has no source", "remove it"),
        (absent && fields.purge, "purge", "a directory that shall be absent is not purged", "use `recursive = true`"),
        (fields.recursive && !absent, "recursive", "`recursive` is for removing", "add `ensure = \"absent\"`"),
        (fields.file_mode.is_some() && fields.source.is_none(), "file-mode", "there is no `source`", "remove it"),
        (!fields.purge && !fields.purge_ignore.is_empty(), "purge-ignore", "nothing is purged", needs_purge),
        (!fields.purge && fields.purge_limit.is_some(), "purge-limit", "nothing is purged", needs_purge),
    ] {
        if wrong {
            return Err(declaration.error(key, message, help));
        }
    }
    // A purge of the system's own directories is never meant.
    if (fields.purge || fields.recursive) && declaration.name.matches('/').count() == 1 {
        let key = if fields.purge { "purge" } else { "recursive" };
        let message = format!("{} is too near to the root for this", declaration.name);
        return Err(declaration.error(key, message, "name a directory further down"));
    }
    Ok(())
}

impl Directory {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.path.to_string_lossy())
    }

    fn present(&self, present: Option<&Present>, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let (id, mut summary) = (self.id(), Vec::new());
        let (mut effects, mut diffs) = (Vec::new(), Vec::new());
        match present {
            Some(present) if present.file_type == FileType::Directory => {
                let drift = attributes::drift(&self.attributes, present, &id, context)?;
                summary.extend(drift.summaries());
                if !drift.is_none() {
                    effects.push(Effect::SetAttributes { path: self.path.clone(), attributes: drift.attributes });
                    diffs.extend(drift.diffs);
                }
            }
            found => {
                attributes::check(&self.attributes, &id, context)?;
                let before = found.map(|present| self.replaceable(present)).transpose()?;
                if let Some(before) = before {
                    effects.push(Effect::Remove { path: self.path.clone(), recursive: false });
                    summary.push(format!("{before} replaced by a directory"));
                } else {
                    summary.push("created".into());
                }
                effects.push(Effect::MakeDirectory { path: self.path.clone(), attributes: self.attributes.clone() });
                let (before, after) = (before.unwrap_or_default().to_owned(), "a directory".to_owned());
                diffs.push(Diff::Property { name: "type".into(), before, after });
            }
        }
        let creates = present.is_none();
        let work = self.below(context)?;
        for (count, what) in [(work.written, "written"), (work.corrected, "corrected"), (work.purged, "purged")] {
            if count > 0 {
                summary.push(format!("{count} {what}"));
            }
        }
        effects.extend(work.effects);
        diffs.extend(work.diffs);
        let change = Change { summary: summary.join(", "), creates, effects, diffs };
        Ok(Some(change).filter(|change| !change.effects.is_empty()))
    }

    /// What is to do below the directory.
    fn below(&self, context: &Context<'_>) -> Result<Work, PlanError> {
        let nothing = Tree::default();
        let tree = self.tree.as_ref().unwrap_or(&nothing);
        let mut work = tree.plan(&self.id(), &self.attributes, self.force, context)?;
        if let Some(purge) = &self.purge {
            let surplus = purge.surplus(&self.path, tree, &self.id(), context)?;
            work.purged = surplus.len();
            for path in surplus.into_iter().rev() {
                work.diffs.push(Diff::Content { path: path.clone(), after: None });
                work.effects.push(Effect::Remove { path, recursive: false });
            }
        }
        Ok(work)
    }

    /// What is in the way, when it may be replaced.
    fn replaceable(&self, present: &Present) -> Result<&'static str, PlanError> {
        let what = present.file_type.words();
        if self.force && !present.mount_point {
            return Ok(what);
        }
        Err(PlanError::new(
            self.id(),
            codes::IN_THE_WAY,
            format!("{} is {what}, not a directory", self.path.display()),
            "move it away, declare the path that a symlink leads to, or set `force = true`",
        ))
    }

    fn absent(&self, present: &Present, context: &Context<'_>) -> Result<Change, PlanError> {
        let (path, what) = (self.path.display(), present.file_type.words());
        let error = |code, message, help: &str| Err(PlanError::new(self.id(), code, message, help));
        if present.mount_point {
            return error(codes::MOUNT_POINT, format!("{path} is a mount point"), "unmount it first");
        }
        if present.file_type != FileType::Directory {
            let help = "declare it as what it is";
            return error(codes::OTHER_TYPE, format!("{path} is {what}, so it is not removed as a directory"), help);
        }
        let entries = context.host.listings.get(&self.path).map_or(0, Vec::len);
        if entries > 0 && !self.recursive {
            let help = "set `recursive = true` to remove it with what is in it";
            return error(codes::NOT_EMPTY, format!("{path} has {entries} entries"), help);
        }
        Ok(Change {
            summary: "removed".into(),
            creates: false,
            effects: vec![Effect::Remove { path: self.path.clone(), recursive: self.recursive }],
            diffs: vec![Diff::Property { name: "type".into(), before: what.into(), after: String::new() }],
        })
    }
}
