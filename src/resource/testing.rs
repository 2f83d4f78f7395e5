//! What the unit tests of kinds share: a table from text, a host from a few states, a role with files.

use std::collections::BTreeMap;

use super::{
    Content, ContentOrigin, Context, Declaration, DeclareError, FolderEntry, Provision, Resource, ResourceId,
    RoleFiles,
};
use crate::manifest::node::Node;
use crate::plan::{Change, Effect};
use crate::system::observe::{FileType, GroupState, Observed, PathState, Present, UserState};

/// Declares a resource from the text of its table.
pub(crate) fn declare<R: Resource>(name: &str, table: &str) -> Result<R, DeclareError> {
    declare_with(name, table, &NoFiles)
}

/// Declares a resource of a role that has files.
pub(crate) fn declare_with<R: Resource>(
    name: &str,
    table: &str,
    files: &dyn RoleFiles,
) -> Result<R, DeclareError> {
    R::declare(Declaration { name, table: Node::parse(table).unwrap(), files })
}

/// Checks that declaring fails with a message that contains this, and points at this text of the table.
pub(crate) fn refuses<R: Resource>(name: &str, table: &str, message: &str, pointed: &str) {
    let Err(error) = declare::<R>(name, table) else { panic!("accepted: {name} {table}") };
    assert!(error.message.contains(message), "{table}: {}", error.message);
    let under = error.span.map_or("", |span| &table[span]);
    assert_eq!(under, pointed, "{table}: {}", error.message);
}

/// A host on which nothing but this path is known.
pub(crate) fn path(path: &str, state: PathState) -> Observed {
    Observed { paths: [(path.into(), state)].into_iter().collect(), ..Observed::default() }
}

/// Something plain of this type, root's, mode 0644.
pub(crate) fn present(file_type: FileType) -> PathState {
    PathState::Present(Box::new(Present {
        file_type,
        uid: 0,
        gid: 0,
        mode: 0o644,
        size: 0,
        links: 1,
        sha256: None,
        target: None,
        extended: None,
        mount_point: false,
    }))
}

/// A regular file with this content, root's, mode 0644.
pub(crate) fn file(content: &str) -> PathState {
    present(FileType::File).with(|present| {
        present.sha256 = Some(Content::inline(content.into()).sha256);
        present.size = content.len() as u64;
    })
}

impl PathState {
    pub(crate) fn with_target(self, target: &str) -> PathState {
        self.with(|present| present.target = Some(target.into()))
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Present)) -> PathState {
        if let PathState::Present(present) = &mut self {
            change(present);
        }
        self
    }
}

impl Observed {
    /// Knows this user, too, with a group of the same name and number.
    pub(crate) fn with_user(mut self, name: &str, uid: u32) -> Observed {
        let group = GroupState { gid: uid, members: vec![], local: true };
        self.groups.insert(name.to_owned(), group);
        let user = UserState { uid, gid: uid, group: name.to_owned(), local: true, ..UserState::default() };
        self.users.insert(name.to_owned(), user);
        self
    }

    /// Knows this path, too.
    pub(crate) fn with_path(mut self, path: &str, state: PathState) -> Observed {
        self.paths.insert(path.into(), state);
        self
    }
}

/// A context in which nothing else changes.
pub(crate) fn context(host: &Observed) -> Context<'_> {
    Context { host, changes: &|_| false, provided: &|_| false, ignore: &[] }
}

/// Plans, and gives the summary of the change, or the code of the error.
pub(crate) fn outcome<R: Resource>(resource: &R, context: &Context<'_>) -> String {
    match resource.plan(context) {
        Ok(None) => "unchanged".into(),
        Ok(Some(change)) => change.summary,
        Err(error) => error.code.to_string(),
    }
}

/// Plans, and gives the effects in a short form.
pub(crate) fn effects<R: Resource>(resource: &R, context: &Context<'_>) -> Vec<String> {
    resource.plan(context).unwrap().map(|change| short(&change)).unwrap_or_default()
}

/// The effects of a change in a short form.
pub(crate) fn short(change: &Change) -> Vec<String> {
    let effect = |effect: &Effect| match effect {
        Effect::WriteFile(write) => format!("write {}", write.path.display()),
        Effect::MakeDirectory { path, .. } => format!("mkdir {}", path.display()),
        Effect::MakeSymlink { path, .. } => format!("link {}", path.display()),
        Effect::SetAttributes { path, .. } => format!("set {}", path.display()),
        Effect::Remove { path, recursive: true } => format!("remove-tree {}", path.display()),
        Effect::Remove { path, .. } => format!("remove {}", path.display()),
        Effect::Package(action) => {
            format!("{:?} {} {}", action.operation, action.name, action.version.as_deref().unwrap_or("-"))
        }
        Effect::Unit { unit, action, .. } => format!("{action:?} {unit}"),
        Effect::DaemonReload => "daemon-reload".into(),
        Effect::User(action) => format!("user {}", action.name),
        Effect::Group(action) => format!("group {}", action.name),
        Effect::Run(run) => format!("run {}", run.argv.join(" ")),
    };
    change.effects.iter().map(effect).collect()
}

/// What a resource provides and requires.
pub(crate) fn relations<R: Resource>(resource: &R) -> (Vec<Provision>, Vec<Provision>, Vec<ResourceId>) {
    let mut relations = super::Relations::default();
    resource.relations(&mut relations);
    (relations.provides, relations.requires, relations.watches)
}

/// The text of content that is in the manifest.
pub(crate) fn text(content: &Content) -> String {
    match &content.origin {
        ContentOrigin::Inline(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        ContentOrigin::Blob(id) => panic!("not inline: {id}"),
    }
}

/// A role without files.
pub(crate) struct NoFiles;

impl RoleFiles for NoFiles {
    fn source(&self, path: &str) -> Result<Content, String> {
        Err(format!("no file {path}"))
    }
    fn template(&self, path: &str) -> Result<Content, String> {
        Err(format!("no template {path}"))
    }
    fn folder(&self, path: &str) -> Result<Vec<FolderEntry>, String> {
        Err(format!("no folder {path}"))
    }
}

/// A role with files by their path; those that begin with `#!` are executable, and templates are given as they are.
pub(crate) struct MemoryFiles(pub(crate) BTreeMap<&'static str, &'static str>);

impl RoleFiles for MemoryFiles {
    fn source(&self, path: &str) -> Result<Content, String> {
        let text = self.0.get(path).ok_or_else(|| format!("no file {path}"))?;
        Ok(Content::inline((*text).into()))
    }
    fn template(&self, path: &str) -> Result<Content, String> {
        self.source(path)
    }
    fn folder(&self, path: &str) -> Result<Vec<FolderEntry>, String> {
        let below = self.0.iter().filter_map(|(name, text)| {
            let relative = name.strip_prefix(path)?.strip_prefix('/')?;
            Some(FolderEntry {
                path: relative.to_owned(),
                executable: text.starts_with("#!"),
                content: Content::inline((*text).into()),
            })
        });
        let entries: Vec<FolderEntry> = below.collect();
        if entries.is_empty() { Err(format!("no folder {path}")) } else { Ok(entries) }
    }
}
