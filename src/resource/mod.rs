//! The kinds of resource: what an author can declare, one file per kind.
//!
//! A kind is data: its fields, what it needs to know of the host, and the [`Change`] that would bring the host
//! to the declared state. It never acts. The host's verbs are the closed set of [`Effect`](crate::plan::Effect)s, which
//! [`crate::apply`] journals and executes, so that a new kind is one new file and one line in the table below, and crash
//! recovery, batching and redaction come for free.
//!
//! **Invariant:** [`Resource::plan`] is a pure function of the declaration and the [`Observed`] host.

#![allow(clippy::result_large_err, reason = "a plan error carries its place, and is not on a hot path")]

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::plan::{Change, PlanError, Reach};
use crate::system::observe::{FileType, Needs, Observed, PathState, Present};

/// Lists every kind once: the enum, its dispatch and the registry come from this table. The order is the default
/// order of application between resources that nothing else orders.
macro_rules! kinds {
    ($($variant:ident = $module:ident,)*) => {
        $(pub mod $module;)*

        /// A declared resource of any kind.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each variant is documented by its module")]
        pub enum AnyResource { $($variant($module::$variant),)* }

        /// Every kind, in default order.
        pub const KINDS: &[Kind] = &[$(Kind {
            name: <$module::$variant as Resource>::KIND,
            summary: <$module::$variant as Resource>::SUMMARY,
            example: <$module::$variant as Resource>::EXAMPLE,
            fields: <$module::$variant as Resource>::FIELDS,
            declare: |declaration| Ok(AnyResource::$variant(<$module::$variant as Resource>::declare(declaration)?)),
        },)*];

        impl AnyResource {
            /// Position of the kind in [`KINDS`].
            pub fn rank(&self) -> usize {
                let name = match self { $(AnyResource::$variant(_) => <$module::$variant as Resource>::KIND,)* };
                KINDS.iter().position(|kind| kind.name == name).unwrap_or(KINDS.len())
            }
            /// What must be observed before this resource can be planned.
            pub fn needs(&self, needs: &mut Needs) {
                match self { $(AnyResource::$variant(resource) => resource.needs(needs),)* }
            }
            /// What this resource provides and requires beside what the author wrote.
            pub fn relations(&self, relations: &mut Relations) {
                match self { $(AnyResource::$variant(resource) => resource.relations(relations),)* }
            }
            /// What is declared but for the version, which is the one of these.
            pub fn keep_version(&mut self, versions: &BTreeMap<String, String>) {
                if let AnyResource::Package(package) = self {
                    package.keep_version(versions);
                }
            }
            /// Whether it leaves to the archives which version of a package it is: the newest, or the newest within bounds.
            pub fn lets_archives_choose(&self, name: &str) -> bool {
                matches!(self, AnyResource::Package(package) if package.lets_archives_choose(name))
            }
            /// What must be observed before this resource can be pruned.
            pub fn prune_needs(&self, needs: &mut Needs) {
                match self { $(AnyResource::$variant(resource) => resource.prune_needs(needs),)* }
            }
            /// The declaration that would bring back what the host has in its place now; `None` where there is nothing, or nothing that
            /// can be brought back.
            pub fn found(&self, before: &Before<'_>) -> Option<AnyResource> {
                match self { $(AnyResource::$variant(resource) => resource.found(before).map(AnyResource::$variant),)* }
            }
            /// Whether it holds a secret, so that it is never shown even when the author did not say so.
            pub fn sensitive(&self) -> bool {
                match self { $(AnyResource::$variant(resource) => resource.sensitive(),)* }
            }
            /// What of the host it is about, for whoever may forbid that.
            pub fn reach(&self, reach: &mut Vec<Reach>) {
                match self { $(AnyResource::$variant(resource) => resource.reach(reach),)* }
            }
            /// What has to change on the host.
            ///
            /// # Errors
            /// The resource cannot be planned on this host.
            pub fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
                match self { $(AnyResource::$variant(resource) => resource.plan(context),)* }
            }
            /// What removes this resource from the host, when it left the branch and abide had created it.
            ///
            /// # Errors
            /// The removal is not safe on this host.
            pub fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
                match self { $(AnyResource::$variant(resource) => resource.prune(context),)* }
            }
        }
    };
}

kinds! {
    Group = group,
    User = user,
    Package = package,
    Directory = directory,
    File = file,
    Symlink = symlink,
    Unit = unit,
    DropIn = drop_in,
    Service = service,
    Command = command,
}

mod account;
mod attributes;
mod bytes;
pub mod codes;
mod declaration;
pub(crate) mod fields;
mod sections;
mod tree;
mod version;

#[cfg(test)]
pub(crate) mod testing;

pub use declaration::{
    Common, Content, ContentOrigin, Declaration, DeclareError, Declared, Enforce, FolderEntry, Origin,
    RoleFiles,
};

/// Whether a thing shall be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ensure {
    /// It shall be there.
    #[default]
    Present,
    /// It shall not be there.
    Absent,
}

/// The name of a resource that is a path: absolute, normal, not the root.
///
/// # Errors
/// The name is not such a path.
pub fn path_name(declaration: &Declaration<'_>) -> Result<PathBuf, DeclareError> {
    let path = Path::new(declaration.name);
    let normal = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
    let plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if path.is_absolute() && normal && plain && path.parent().is_some() && !declaration.name.contains('\0') {
        return Ok(path.to_owned());
    }
    Err(DeclareError {
        span: None,
        message: format!("`{}` is not a plain absolute path", crate::error::escaped(declaration.name)),
        help: "write it from `/` on, without `.`, `..`, doubled or trailing slashes".into(),
    })
}

/// One entry of the table of kinds.
pub struct Kind {
    /// The word in `[kind.name]`.
    pub name: &'static str,
    /// One sentence for the reference.
    pub summary: &'static str,
    /// A complete role that uses the kind; parsed by a test, printed in the reference.
    pub example: &'static str,
    /// The fields, in the order of the reference.
    pub fields: &'static [Field],
    /// Builds the resource from its table.
    pub declare: fn(Declaration<'_>) -> Result<AnyResource, DeclareError>,
}

/// A field of a kind, for the reference, the JSON Schema and suggestions.
pub struct Field {
    /// The key in the table.
    pub name: &'static str,
    /// Its type as an author would say it: `string`, `boolean`, `list of strings`, `"present" or "absent"`, ….
    pub kind: &'static str,
    /// Its default in words; empty when the field is required.
    pub default: &'static str,
    /// One or two sentences.
    pub doc: &'static str,
}

impl Field {
    /// A row of a table of fields.
    pub const fn new(
        name: &'static str,
        kind: &'static str,
        default: &'static str,
        doc: &'static str,
    ) -> Field {
        Field { name, kind, default, doc }
    }
}

/// What a kind has to do.
pub trait Resource: Sized {
    /// The word in `[kind.name]`.
    const KIND: &'static str;
    /// One sentence for the reference.
    const SUMMARY: &'static str;
    /// A complete role that uses the kind.
    const EXAMPLE: &'static str;
    /// The fields.
    const FIELDS: &'static [Field];

    /// Validates a table. Errors name the key they are about, so that the reader gets a pointer under it.
    ///
    /// # Errors
    /// The table does not describe a resource of this kind.
    fn declare(declaration: Declaration<'_>) -> Result<Self, DeclareError>;

    /// Adds what must be observed.
    fn needs(&self, needs: &mut Needs);

    /// Adds what this resource provides and requires, for automatic order.
    fn relations(&self, relations: &mut Relations);

    /// Adds what must be observed before it can be pruned.
    fn prune_needs(&self, needs: &mut Needs) {
        self.needs(needs);
    }

    /// Whether it holds a secret, such as a password hash.
    fn sensitive(&self) -> bool {
        false
    }

    /// Adds everything of the host that it is about, whether or not it differs now: a host may forbid it.
    fn reach(&self, reach: &mut Vec<Reach>);

    /// What has to change; `None` when the host is as declared.
    ///
    /// # Errors
    /// See [`PlanError`].
    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError>;

    /// The declaration that would bring back what the host has in the resource's place now.
    fn found(&self, _before: &Before<'_>) -> Option<Self> {
        None
    }

    /// What takes the resource away again. `None`: nothing to do.
    ///
    /// # Errors
    /// See [`PlanError`].
    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError>;
}

/// What the host has before abide changes it.
pub struct Before<'a> {
    /// The host as it was observed.
    pub host: &'a Observed,
    /// Reads a file's content; `None` where it cannot be kept.
    pub read: &'a dyn Fn(&Path) -> Option<Vec<u8>>,
}

impl Before<'_> {
    /// What is at a path.
    pub fn path(&self, path: &Path) -> Option<&Present> {
        match self.host.paths.get(path) {
            Some(PathState::Present(present)) => Some(present),
            _ => None,
        }
    }

    /// The content of the regular file at a path.
    pub fn content(&self, path: &Path) -> Option<Content> {
        self.path(path).filter(|present| present.file_type == FileType::File)?;
        (self.read)(path).map(Content::inline)
    }
}

/// What planning may look at.
pub struct Context<'a> {
    /// The host as it is, observed in one batch.
    pub host: &'a Observed,
    /// Whether a resource that this one is ordered after will change in this run (for reload, restart, refresh).
    pub changes: &'a dyn Fn(&ResourceId) -> bool,
    /// Whether something in this plan provides what the host does not have yet.
    pub provided: &'a dyn Fn(&Provision) -> bool,
    /// Fields whose drift is left alone: [`Common::ignore`] of this resource.
    pub ignore: &'a [String],
}

impl<'a> Context<'a> {
    /// Whether drift of this field is left alone. What does not exist yet is made as declared all the same.
    pub fn ignores(&self, field: &str) -> bool {
        self.ignore.iter().any(|ignored| ignored == field)
    }

    /// Whether this plan installs a package that the host does not have. Nobody can know before which files, users and units
    /// it brings, so that what is missing now is given the benefit of the doubt.
    pub fn packages_arrive(&self) -> bool {
        self.host.packages.iter().any(|(name, state)| {
            state.installed.is_none()
                && state.provided_by.is_empty()
                && (self.provided)(&Provision::Package(name.clone()))
        })
    }

    /// What is at a path; `None` when nothing is.
    ///
    /// # Errors
    /// The path cannot be reached (E301) or read (E302). A parent that this plan makes is no obstacle.
    pub fn path(&self, resource: &ResourceId, path: &Path) -> Result<Option<&'a Present>, PlanError> {
        match self.host.paths.get(path) {
            Some(PathState::Present(present)) => Ok(Some(present)),
            Some(PathState::Absent) | None => Ok(None),
            Some(PathState::Blocked { at, .. }) if (self.provided)(&Provision::Path(at.clone())) => Ok(None),
            Some(PathState::Blocked { at, reason }) => Err(PlanError::new(
                resource.clone(),
                codes::PATH_BLOCKED,
                format!("{} cannot be reached: {} {reason}", path.display(), at.display()),
                format!("move {} away, or declare it as a directory with `force = true`", at.display()),
            )),
            Some(PathState::Unreadable(reason)) => Err(PlanError::new(
                resource.clone(),
                codes::PATH_UNREADABLE,
                format!("{} cannot be read: {reason}", path.display()),
                "run as root, and check the file system for errors",
            )),
        }
    }
}

/// The name of a resource: `kind:name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId {
    /// The kind's word.
    pub kind: String,
    /// The name inside the kind: a path, a package, a unit.
    pub name: String,
}

impl ResourceId {
    /// Makes an id of its two parts.
    pub fn new(kind: &str, name: &str) -> ResourceId {
        ResourceId { kind: kind.to_owned(), name: name.to_owned() }
    }

    /// Reads `kind:name`; the name may contain further colons.
    pub fn parse(text: &str) -> Option<ResourceId> {
        let (kind, name) = text.split_once(':')?;
        (!kind.is_empty() && !name.is_empty()).then(|| ResourceId::new(kind, name))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A thing that one resource provides and another may need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Provision {
    /// A path exists.
    Path(PathBuf),
    /// A user exists.
    User(String),
    /// A group exists.
    Group(String),
    /// A package is installed.
    Package(String),
    /// A unit is known to systemd; the full name with its suffix.
    Unit(String),
}

/// What a resource provides and requires. An edge is drawn wherever one resource requires what another in the same plan provides;
/// a requirement nobody in the plan provides draws no edge (the host may have it already).
#[derive(Debug, Default)]
pub struct Relations {
    /// Provided once this resource is applied.
    pub provides: Vec<Provision>,
    /// Needed before this resource is applied.
    pub requires: Vec<Provision>,
    /// Ordered after these, and told when they change (`reload-on`, `restart-on`, `refresh-on`).
    pub watches: Vec<ResourceId>,
}

#[cfg(test)]
mod tests {
    use super::testing::MemoryFiles;
    use super::*;
    use crate::manifest::node::{Node, Value};
    use std::collections::BTreeSet;

    /// Declares every table of a role's text.
    fn role(text: &str, files: &MemoryFiles) -> Vec<(ResourceId, AnyResource)> {
        let Value::Table(kinds) = Node::parse(text).unwrap().value else { panic!("{text}") };
        let mut declared = Vec::new();
        for (word, tables) in kinds {
            let kind = KINDS.iter().find(|kind| kind.name == word.name).unwrap();
            let Value::Table(tables) = tables.value else { panic!("{text}") };
            for (name, table) in tables {
                if let Value::Table(entries) = &table.value {
                    for (key, _) in entries {
                        assert!(kind.fields.iter().any(|field| field.name == key.name), "{}", key.name);
                    }
                }
                let id = ResourceId::new(kind.name, &name.name);
                let resource = (kind.declare)(Declaration { name: &name.name, table, files });
                declared.push((id, resource.unwrap_or_else(|error| panic!("{text}: {error:?}"))));
            }
        }
        declared
    }

    #[test]
    fn every_example_is_a_complete_role() {
        for kind in KINDS {
            let declared = role(kind.example, &MemoryFiles([].into()));
            assert!(declared.iter().any(|(id, _)| id.kind == kind.name), "{}", kind.name);
            for (id, resource) in &declared {
                let mut relations = Relations::default();
                resource.relations(&mut relations);
                let known = |watched: &ResourceId| declared.iter().any(|(other, _)| other == watched);
                assert!(relations.watches.iter().all(known), "{id}: {:?}", relations.watches);
            }
        }
    }

    #[test]
    fn the_reference_names_exactly_the_fields_that_are_read() {
        for kind in KINDS {
            let table = Node::parse("zzzzzzzzzzzzzzzzzzzz = 1").unwrap();
            let name = match kind.name {
                "unit" => "x.service",
                "drop-in" => "x.service/x",
                "file" | "directory" | "symlink" => "/x",
                _ => "x",
            };
            let declaration = Declaration { name, table, files: &testing::NoFiles };
            let help = (kind.declare)(declaration).unwrap_err().help;
            let read: BTreeSet<&str> = help.strip_prefix("known keys: ").unwrap().split(", ").collect();
            let sections = |name: &&str| !name.starts_with(|letter: char| letter.is_ascii_uppercase());
            let documented: BTreeSet<&str> =
                kind.fields.iter().map(|field| field.name).filter(sections).collect();
            assert_eq!(read, documented, "{}", kind.name);
        }
    }

    #[test]
    fn what_is_declared_survives_the_cache() {
        for kind in KINDS {
            for (id, resource) in role(kind.example, &MemoryFiles([].into())) {
                let bytes = postcard::to_stdvec(&resource).unwrap();
                assert_eq!(postcard::from_bytes::<AnyResource>(&bytes).unwrap(), resource, "{id}");
            }
        }
    }

    #[test]
    fn a_fresh_host_is_planned_in_the_order_that_everybody_expects() {
        let text = r#"
            [service.app]
            enabled = true
            running = true
            restart-on = ["file:/etc/app/app.conf"]
            [drop-in."app.service/limits".Service]
            LimitNOFILE = 1024
            [file."/etc/app/app.conf"]
            content = "a = 1"
            owner = "app"
            group = "ops"
            [directory."/etc/app"]
            group = "ops"
            [package.app]
            [user.app]
            groups = ["ops"]
            [group.ops]
            [command.migrate]
            argv = ["app-migrate"]
            creates = "/var/lib/app/migrated"
            user = "app"
        "#;
        let declared = role(text, &MemoryFiles([].into())).into_iter().map(|(id, resource)| {
            let origin = Origin { role: "app".into(), file: "roles/app/role.toml".into(), line: 1 };
            Declared { id, common: Common::default(), resource, origin }
        });
        let mut host = Observed::default();
        host.packages.insert("app".into(), crate::system::observe::PackageState::default());
        let declared: Vec<Declared> = declared.collect();
        let plan = crate::plan::make(&declared, &[], &host, &crate::plan::Scope::default()).unwrap();
        assert_eq!(plan.problems, []);
        let steps: Vec<String> = plan.steps.iter().map(|step| step.resource.to_string()).collect();
        let expected = [
            "group:ops",
            "user:app",
            "package:app",
            "directory:/etc/app",
            "file:/etc/app/app.conf",
            "drop-in:app.service/limits",
            "service:app",
            "command:migrate",
        ];
        assert_eq!(steps, expected);
        assert_eq!(plan.steps[6].change.summary, "enabled, started");
    }

    #[test]
    fn kinds_are_ranked_in_the_order_of_the_table() {
        let declared =
            role("[command.x]\nargv = [\"a\"]\ncreates = \"/a\"\n[group.x]\n", &MemoryFiles([].into()));
        assert_eq!(declared.iter().map(|(_, resource)| resource.rank()).collect::<Vec<_>>(), [9, 0]);
        let words: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(
            words,
            [
                "group",
                "user",
                "package",
                "directory",
                "file",
                "symlink",
                "unit",
                "drop-in",
                "service",
                "command"
            ]
        );
    }
}
