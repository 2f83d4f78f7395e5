//! What of the host a declaration or an effect reaches, as data that can be forbidden.
//!
//! **Invariant:** whatever an effect changes is among what it reaches; a new effect does not compile before it says so.

use std::path::PathBuf;

use super::{Attributes, Effect, PackageOperation, Principal, UserAction};
use crate::system::observe::Observed;

/// Something of the host that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The thing at a path: made, replaced, changed or removed.
    Entry(PathBuf),
    /// A directory that is there afterwards: made, or its attributes changed.
    Folder {
        /// Its path.
        path: PathBuf,
        /// Whether others than root could change its entries then.
        loose: bool,
    },
    /// A path with everything below it.
    Tree(PathBuf),
    /// A symlink that will be at a path.
    Link {
        /// The link.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// A unit's state.
    Unit(String),
    /// A package.
    Package {
        /// Its name.
        name: String,
        /// Whether it goes.
        gone: bool,
    },
    /// An account.
    User(String),
    /// A group, or membership in it.
    Group(String),
    /// A program that is run.
    Program(Vec<String>),
}

impl Reach {
    /// A directory with these attributes.
    pub fn folder(path: PathBuf, attributes: &Attributes) -> Reach {
        let root = |owner: &Principal| match owner {
            Principal::Id(id) => *id == 0,
            Principal::Name(name) => name == "root",
        };
        let owned = attributes.owner.as_ref().is_none_or(root);
        let closed = attributes.mode.is_none_or(|mode| mode & 0o022 == 0);
        let plain = attributes.acl.as_ref().is_none_or(Vec::is_empty);
        Reach::Folder { path, loose: !(owned && closed && plain) }
    }
}

/// What an effect reaches on a host that was observed.
pub fn of(effect: &Effect, host: &Observed) -> Vec<Reach> {
    match effect {
        Effect::WriteFile(write) => {
            let program = write.validate.clone().map(Reach::Program);
            [Reach::Entry(write.path.clone())].into_iter().chain(program).collect()
        }
        Effect::MakeDirectory { path, attributes } => vec![Reach::folder(path.clone(), attributes)],
        Effect::MakeSymlink { path, target, .. } => {
            vec![Reach::Entry(path.clone()), Reach::Link { path: path.clone(), target: target.clone() }]
        }
        Effect::SetAttributes { path, attributes } => vec![Reach::folder(path.clone(), attributes)],
        Effect::Remove { path, recursive: true } => vec![Reach::Tree(path.clone())],
        Effect::Remove { path, recursive: false } => vec![Reach::Entry(path.clone())],
        Effect::Package(action) => {
            let gone = matches!(action.operation, PackageOperation::Remove | PackageOperation::Purge);
            vec![Reach::Package { name: action.name.clone(), gone }]
        }
        Effect::Unit { unit, .. } => {
            // An alias is another name of the unit whose file it has.
            let state = host.units.get(unit);
            let file = state.and_then(|state| state.fragment.file_name()).map(|name| name.to_string_lossy());
            let alias = file.filter(|name| **name != **unit).map(|name| Reach::Unit(name.into_owned()));
            [Reach::Unit(unit.clone())].into_iter().chain(alias).collect()
        }
        Effect::DaemonReload => Vec::new(),
        Effect::User(action) => user(action, host),
        Effect::Group(action) => vec![Reach::Group(action.name.clone())],
        Effect::Run(run) => vec![Reach::Program(run.argv.clone())],
    }
}

fn user(action: &UserAction, host: &Observed) -> Vec<Reach> {
    let mut reach = vec![Reach::User(action.name.clone())];
    reach.extend(action.group.iter().chain(action.groups.iter().flatten()).cloned().map(Reach::Group));
    reach.extend(action.home.clone().map(|path| Reach::Folder { path, loose: false }));
    if action.absent && action.remove_home {
        // What goes is the home that the account has, whatever is declared.
        reach.extend(host.users.get(&action.name).map(|state| Reach::Tree(state.home.clone())));
    }
    reach
}
