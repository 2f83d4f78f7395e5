//! A folder of a role as a tree of the host, and the purge of what is not in it: the parts of `directory` that walk.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fields::matches_pattern;
use super::{Content, Context, FolderEntry, Provision, ResourceId, attributes, codes};
use crate::plan::{Attributes, Diff, Effect, PlanError, WriteFile};
use crate::system::observe::{FileType, Needs, PathNeed, Present};

/// The files and directories below a path that come from a folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tree {
    /// Absolute paths, parents first.
    directories: Vec<PathBuf>,
    files: Vec<TreeFile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct TreeFile {
    path: PathBuf,
    content: Content,
    attributes: Attributes,
}

/// What a walk found to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) effects: Vec<Effect>,
    pub(super) diffs: Vec<Diff>,
    pub(super) written: usize,
    pub(super) corrected: usize,
    pub(super) purged: usize,
}

impl Tree {
    /// Lays the entries of a folder below a root. Files get `mode`, executables the same with the right to execute
    /// wherever there is the right to read.
    pub(super) fn new(root: &Path, entries: Vec<FolderEntry>, attributes: &Attributes, mode: u32) -> Tree {
        let mut directories = BTreeSet::new();
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = root.join(&entry.path);
            let parents = path.ancestors().skip(1).take_while(|parent| *parent != root);
            directories.extend(parents.map(Path::to_owned));
            let mode = if entry.executable { mode | (mode & 0o444) >> 2 } else { mode };
            let attributes = Attributes { mode: Some(mode), ..attributes.clone() };
            files.push(TreeFile { path, content: entry.content, attributes });
        }
        Tree { directories: directories.into_iter().collect(), files }
    }

    /// Every path of the tree.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().chain(self.files.iter().map(|file| &file.path)).map(PathBuf::as_path)
    }

    pub(super) fn needs(&self, needs: &mut Needs, extended: bool) {
        for path in &self.directories {
            needs.path(path, PathNeed { content: false, extended });
        }
        for file in &self.files {
            needs.path(&file.path, PathNeed { content: true, extended });
        }
    }

    /// Compares the tree with the host.
    ///
    /// # Errors
    /// Something of another type is in the way and `force` does not allow to replace it (E310), or see [`Context::path`].
    pub(super) fn plan(
        &self,
        id: &ResourceId,
        directory: &Attributes,
        force: bool,
        context: &Context<'_>,
    ) -> Result<Work, PlanError> {
        let mut work = Work::default();
        for path in &self.directories {
            match context.path(id, path)? {
                Some(present) if present.file_type == FileType::Directory => {
                    correct(&mut work, id, path, directory, present, context)?;
                }
                found => {
                    if let Some(present) = found {
                        let replaceable = force && present.file_type != FileType::Directory;
                        in_the_way(id, path, present, "a directory", replaceable)?;
                        work.effects.push(Effect::Remove { path: path.clone(), recursive: false });
                    }
                    work.effects
                        .push(Effect::MakeDirectory { path: path.clone(), attributes: directory.clone() });
                    work.written += 1;
                }
            }
        }
        for file in &self.files {
            let present = context.path(id, &file.path)?;
            if let Some(present) = present.filter(|present| present.file_type != FileType::File) {
                in_the_way(id, &file.path, present, "a file", force)?;
            }
            let same = present.is_some_and(|present| {
                present.file_type == FileType::File
                    && (present.sha256 == Some(file.content.sha256) || context.ignores("content"))
            });
            match present {
                Some(present) if same => {
                    correct(&mut work, id, &file.path, &file.attributes, present, context)?;
                }
                _ => file.write(&mut work, present.is_some(), force, context),
            }
        }
        Ok(work)
    }

    /// Removes the files that are still there, and those directories that are empty then. A directory whose entries are not
    /// known stays.
    pub(super) fn prune(&self, root: &Path, context: &Context<'_>) -> Work {
        let mut work = Work::default();
        let mut gone: BTreeSet<&Path> = BTreeSet::new();
        let is = |path: &Path, file_type: FileType| {
            matches!(context.host.paths.get(path), Some(crate::system::observe::PathState::Present(present))
                if present.file_type == file_type && !present.mount_point)
        };
        for file in self.files.iter().filter(|file| is(&file.path, FileType::File)) {
            work.effects.push(Effect::Remove { path: file.path.clone(), recursive: false });
            work.diffs.push(Diff::Content { path: file.path.clone(), after: None });
            gone.insert(&file.path);
        }
        let Some(listing) = context.host.listings.get(root) else { return work };
        for directory in self.directories.iter().rev().filter(|path| is(path, FileType::Directory)) {
            let mut entries = listing.iter().map(|entry| root.join(entry));
            if entries.all(|entry| entry.parent() != Some(directory) || gone.contains(entry.as_path())) {
                work.effects.push(Effect::Remove { path: directory.clone(), recursive: false });
                gone.insert(directory);
            }
        }
        work
    }
}

impl TreeFile {
    fn write(&self, work: &mut Work, exists: bool, force: bool, context: &Context<'_>) {
        let attributes = match exists {
            true => attributes::without_ignored(&self.attributes, context),
            false => self.attributes.clone(),
        };
        work.effects.push(Effect::WriteFile(WriteFile {
            path: self.path.clone(),
            content: self.content.clone(),
            attributes,
            validate: None,
            backup: true,
            force,
            in_place: false,
        }));
        work.diffs.push(Diff::Content { path: self.path.clone(), after: Some(self.content.clone()) });
        work.written += 1;
    }
}

fn correct(
    work: &mut Work,
    id: &ResourceId,
    path: &Path,
    attributes: &Attributes,
    present: &Present,
    context: &Context<'_>,
) -> Result<(), PlanError> {
    let drift = attributes::drift(attributes, present, id, context)?;
    if !drift.is_none() {
        let named = drift.diffs.into_iter().map(|diff| match diff {
            Diff::Property { name, before, after } => {
                Diff::Property { name: format!("{name} of {}", path.display()), before, after }
            }
            content => content,
        });
        work.diffs.extend(named);
        work.effects.push(Effect::SetAttributes { path: path.to_owned(), attributes: drift.attributes });
        work.corrected += 1;
    }
    Ok(())
}

fn in_the_way(
    id: &ResourceId,
    path: &Path,
    present: &Present,
    wanted: &str,
    force: bool,
) -> Result<(), PlanError> {
    if force && !present.mount_point {
        return Ok(());
    }
    Err(PlanError::new(
        id.clone(),
        codes::IN_THE_WAY,
        format!("{} is {}, not {wanted}", path.display(), present.file_type.words()),
        "move it away, or set `force = true`",
    ))
}

/// How much a purge may remove, and what it leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Purge {
    /// Patterns of names, or of paths relative to the directory.
    pub(super) ignore: Vec<String>,
    /// More entries than this are not removed but an error.
    pub(super) limit: usize,
}

impl Purge {
    /// The entries below `root` that nothing declares and no pattern keeps, deepest last, so that removing them in
    /// reverse empties directories before they go.
    ///
    /// # Errors
    /// E313: there are more than the limit.
    pub(super) fn surplus(
        &self,
        root: &Path,
        tree: &Tree,
        id: &ResourceId,
        context: &Context<'_>,
    ) -> Result<Vec<PathBuf>, PlanError> {
        let Some(listing) = context.host.listings.get(root) else { return Ok(Vec::new()) };
        let own: BTreeSet<&Path> = tree.paths().collect();
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        for entry in listing {
            let path = root.join(entry);
            if own.contains(path.as_path())
                || self.keeps(entry)
                || (context.provided)(&Provision::Path(path.clone()))
            {
                // Whatever is kept keeps its parents.
                kept.extend(path.ancestors().take_while(|parent| *parent != root).map(Path::to_owned));
            }
        }
        let surplus: Vec<PathBuf> =
            listing.iter().map(|entry| root.join(entry)).filter(|path| !kept.contains(path)).collect();
        if surplus.len() <= self.limit {
            return Ok(surplus);
        }
        let some: Vec<String> = surplus.iter().take(3).map(|path| path.display().to_string()).collect();
        Err(PlanError::new(
            id.clone(),
            codes::PURGE_LIMIT,
            format!(
                "the purge would remove {} entries, more than {}: {}, …",
                surplus.len(),
                self.limit,
                some.join(", ")
            ),
            "declare what shall stay, name it in `purge-ignore`, or raise `purge-limit`",
        ))
    }

    /// Whether a pattern keeps the entry or a directory that it is in.
    fn keeps(&self, entry: &Path) -> bool {
        entry.ancestors().filter(|part| !part.as_os_str().is_empty()).any(|part| {
            let whole = part.to_string_lossy();
            let name = part.file_name().unwrap_or_default().to_string_lossy();
            self.ignore
                .iter()
                .any(|pattern| matches_pattern(pattern, &whole) || matches_pattern(pattern, &name))
        })
    }
}
