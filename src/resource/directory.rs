//! `directory`: a directory, or a whole tree of one as a single resource.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::attributes::{self, Written};
use super::fields::{Mode, PrincipalField};
use super::tree::{Purge, Tree, Work};
use super::{
    Before, Context, Declaration, DeclareError, Ensure, Field, Provision, Relations, Resource, ResourceId, codes, path_name,
};
use crate::plan::{Attributes, Change, Diff, Effect, PlanError, Reach};
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
            default: "none",
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

    fn reach(&self, reach: &mut Vec<Reach>) {
        reach.push(match (self.ensure, self.recursive) {
            (Ensure::Present, _) => Reach::folder(self.path.clone(), &self.attributes),
            (Ensure::Absent, true) => Reach::Tree(self.path.clone()),
            (Ensure::Absent, false) => Reach::Entry(self.path.clone()),
        });
        // What a purge would remove shows in its effects.
        reach.extend(self.tree.iter().flat_map(Tree::paths).map(|path| Reach::Entry(path.to_owned())));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let present = context.path(&self.id(), &self.path)?;
        match (self.ensure, present) {
            (Ensure::Absent, None) => Ok(None),
            (Ensure::Absent, Some(present)) => self.absent(present, context).map(Some),
            (Ensure::Present, present) => self.present(present, context),
        }
    }

    fn found(&self, before: &Before<'_>) -> Option<Directory> {
        let present = before.path(&self.path).filter(|present| present.file_type == FileType::Directory)?;
        let attributes = attributes::found(present);
        let (path, ensure, tree, purge) = (self.path.clone(), Ensure::Present, None, None);
        Some(Directory { path, ensure, attributes, tree, purge, force: false, recursive: false })
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
            work.effects.iter().any(removed) || changes(context, &path)
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

/// Whether a resource for this path changes in the same run.
fn changes(context: &Context<'_>, path: &Path) -> bool {
    let name = path.to_string_lossy();
    ["file", "directory", "symlink"].into_iter().any(|kind| (context.changes)(&ResourceId::new(kind, &name)))
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
        let listing = context.host.listings.get(&self.path).map(Vec::as_slice).unwrap_or_default();
        // What another resource removes before is not counted; where that one does not remove it, removing this will fail.
        let entries = listing.iter().filter(|entry| !changes(context, &self.path.join(entry))).count();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{
        MemoryFiles, context, declare, declare_with, effects, file, outcome, path, present, refuses, relations, short,
    };
    use crate::system::observe::{Observed, PathState};

    fn directory() -> PathState {
        present(FileType::Directory).with(|directory| directory.mode = 0o755)
    }

    fn listed(mut host: Observed, entries: &[&str]) -> Observed {
        host.listings.insert("/srv/app".into(), entries.iter().map(Into::into).collect());
        host
    }

    fn tree(more: &str) -> Directory {
        let files = MemoryFiles([("app/a.conf", "a\n"), ("app/bin/run", "#!/bin/sh\n")].into());
        declare_with("/srv/app", &format!("source = \"app\"\n{more}"), &files).unwrap()
    }

    fn tree_host() -> Observed {
        path("/srv/app", directory())
            .with_path("/srv/app/bin", directory())
            .with_path("/srv/app/a.conf", file("a\n"))
            .with_path("/srv/app/bin/run", file("#!/bin/sh\n").with(|file| file.mode = 0o755))
    }

    #[test]
    fn plans_only_what_differs() {
        for (table, state, expected) in [
            ("", PathState::Absent, "created"),
            ("", directory(), "unchanged"),
            ("mode = \"0750\"", directory(), "mode 0755 -> 0750"),
            ("", file("x"), "E310"),
            ("", present(FileType::Symlink), "E310"),
            ("force = true", file("x"), "a file replaced by a directory"),
            ("force = true", file("x").with(|file| file.mount_point = true), "E310"),
            ("ensure = \"absent\"", PathState::Absent, "unchanged"),
            ("ensure = \"absent\"", directory(), "removed"),
            ("ensure = \"absent\"", file("x"), "E311"),
            ("ensure = \"absent\"", directory().with(|directory| directory.mount_point = true), "E305"),
        ] {
            let host = path("/srv/app", state);
            assert_eq!(outcome(&declare::<Directory>("/srv/app", table).unwrap(), &context(&host)), expected, "{table}");
        }
    }

    #[test]
    fn what_has_entries_is_removed_only_when_said() {
        let host = listed(path("/srv/app", directory()), &["a"]);
        let plain: Directory = declare("/srv/app", "ensure = \"absent\"").unwrap();
        assert_eq!(outcome(&plain, &context(&host)), "E312");
        let leaving = |id: &ResourceId| *id == ResourceId::new("file", "/srv/app/a");
        assert_eq!(outcome(&plain, &Context { changes: &leaving, ..context(&host) }), "removed");
        let recursive: Directory = declare("/srv/app", "ensure = \"absent\"\nrecursive = true").unwrap();
        assert_eq!(effects(&recursive, &context(&host)), ["remove-tree /srv/app"]);
    }

    #[test]
    fn a_tree_is_written_where_it_differs() {
        let all = ["mkdir /srv/app", "mkdir /srv/app/bin", "write /srv/app/a.conf", "write /srv/app/bin/run"];
        assert_eq!(effects(&tree(""), &context(&Observed::default())), all);
        assert_eq!(outcome(&tree(""), &context(&tree_host())), "unchanged");
        let changed = tree_host().with_path("/srv/app/a.conf", file("b\n"));
        assert_eq!(effects(&tree(""), &context(&changed)), ["write /srv/app/a.conf"]);
        assert_eq!(outcome(&tree(""), &context(&changed)), "1 written");
        let closed = tree_host().with_path("/srv/app/bin/run", file("#!/bin/sh\n"));
        assert_eq!(effects(&tree(""), &context(&closed)), ["set /srv/app/bin/run"]);
        let blocked = tree_host().with_path("/srv/app/bin", file("x"));
        assert_eq!(outcome(&tree(""), &context(&blocked)), "E310");
        let replaced = ["remove /srv/app/bin", "mkdir /srv/app/bin"];
        assert_eq!(effects(&tree("force = true"), &context(&blocked)), replaced);
    }

    #[test]
    fn executables_get_their_bit_where_there_is_reading() {
        let change = tree("file-mode = \"0640\"").plan(&context(&Observed::default())).unwrap().unwrap();
        let modes = change.effects.iter().filter_map(|effect| match effect {
            Effect::WriteFile(write) => write.attributes.mode,
            _ => None,
        });
        assert_eq!(modes.collect::<Vec<_>>(), [0o640, 0o750]);
    }

    #[test]
    fn a_purge_leaves_what_is_declared_or_ignored() {
        let host = listed(
            tree_host(),
            &["a.conf", "bin", "bin/run", "bin/old", "cache", "cache/x", "gone", "gone/y", "kept", "kept/mine"],
        );
        let provided = |provision: &Provision| *provision == Provision::Path("/srv/app/kept/mine".into());
        let context = Context { provided: &provided, ..context(&host) };
        let purged = tree("purge = true\npurge-ignore = [\"cache\"]");
        assert_eq!(
            effects(&purged, &context),
            ["remove /srv/app/gone/y", "remove /srv/app/gone", "remove /srv/app/bin/old"]
        );
        assert_eq!(outcome(&purged, &context), "3 purged");
        let limited = tree("purge = true\npurge-ignore = [\"cache/*\"]\npurge-limit = 2");
        assert_eq!(outcome(&limited, &context), "E313");
        assert_eq!(outcome(&tree(""), &context), "unchanged");
    }

    #[test]
    fn pruning_removes_own_files_and_empty_directories() {
        let pruned = |host: &Observed| tree("").prune(&context(host)).unwrap().map(|change| short(&change));
        let own = ["remove /srv/app/a.conf", "remove /srv/app/bin/run"];
        let host = listed(tree_host(), &["a.conf", "bin", "bin/run"]);
        let all = [own[0], own[1], "remove /srv/app/bin", "remove /srv/app"].map(str::to_owned);
        assert_eq!(pruned(&host), Some(all.into()));
        let host = listed(tree_host(), &["a.conf", "bin", "bin/mine", "bin/run"]);
        assert_eq!(pruned(&host), Some(own.map(str::to_owned).into()));
        assert_eq!(pruned(&tree_host()), Some(own.map(str::to_owned).into()));
    }

    #[test]
    fn a_plain_directory_goes_when_what_is_in_it_goes() {
        let declared: Directory = declare("/srv/app", "").unwrap();
        let host = listed(path("/srv/app", directory()), &["a"]);
        assert!(declared.prune(&context(&host)).unwrap().is_none());
        let leaving = |id: &ResourceId| *id == ResourceId::new("file", "/srv/app/a");
        let change = declared.prune(&Context { changes: &leaving, ..context(&host) }).unwrap().unwrap();
        assert_eq!(short(&change), ["remove /srv/app"]);
    }

    #[test]
    fn everything_of_a_tree_is_provided() {
        let (provides, requires, _) = relations(&tree(""));
        let paths = ["/srv/app", "/srv/app/bin", "/srv/app/a.conf", "/srv/app/bin/run"];
        assert_eq!(provides, paths.map(|path| Provision::Path(path.into())));
        assert_eq!(requires, [Provision::Path("/srv".into())]);
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        for (name, table, message, pointed) in [
            ("/etc", "purge = true", "too near to the root", "true"),
            ("/usr", "ensure = \"absent\"\nrecursive = true", "too near to the root", "true"),
            ("/srv/app", "recursive = true", "for removing", "true"),
            ("/srv/app", "ensure = \"absent\"\npurge = true", "not purged", "true"),
            ("/srv/app", "purge-limit = 3", "nothing is purged", "3"),
            ("/srv/app", "file-mode = \"0600\"", "no `source`", "\"0600\""),
            ("/srv/app", "source = \"missing\"", "no folder", "\"missing\""),
            ("srv", "", "plain absolute path", ""),
        ] {
            refuses::<Directory>(name, table, message, pointed);
        }
    }
}
