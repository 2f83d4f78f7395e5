//! What a branch may not do on this host: touch what is abide's own, and what the host's `[law]` forbids.
//!
//! A declaration is judged by what it is about, before anything of it is run or looked at; a plan by what its effects reach on
//! the host as it is, which covers purges, pruning and whatever else is found only there; and each path once more right before it
//! is touched, since steps before may have changed what it leads to.
//!
//! **Invariant:** what is forbidden is a place, a unit, a package or a program, by whatever name, symlink or mount it is reached.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Plan, PlanError, Reach, reach};
use crate::config::{self, Paths};
use crate::error::{Code, Explain, escaped};
use crate::resource::fields::matches_pattern;
use crate::resource::{Declared, Enforce, ResourceId};
use crate::system::observe::Observed;
use crate::system::places::{HostPlaces, Places};
use crate::trust::glob::Pattern;

/// abide's own units, and the transient ones in which it runs what must not be in its sandbox.
const OWN_UNITS: &[&str] = &[
    "abide.service",
    "abide-fetch.service",
    "abide-command.service",
    "abide-validate.service",
    "abide-packages.service",
    "abide-guard.service",
    "abide-probe.service",
    "abide-check-0.service",
    "abide-check-1.service",
    "abide-check-2.service",
    "abide-check-3.service",
];

/// The account, and the group, of the fetcher.
const OWN_ACCOUNT: &str = "abide-fetch";

/// The package that abide comes in.
const OWN_PACKAGE: &str = "abide";

/// Files of abide's package that decide what runs as root, and with which rights.
const OWN_FILES: &[&str] = &[
    "/usr/bin/abide",
    "/usr/lib/sysusers.d/abide.conf",
    "/etc/sysusers.d/abide.conf",
    "/usr/lib/tmpfiles.d/abide.conf",
    "/etc/tmpfiles.d/abide.conf",
    "/usr/lib/systemd/system/abide.service",
    "/usr/lib/systemd/system/abide-fetch.service",
    "/etc/systemd/system/multi-user.target.wants/abide.service",
    "/etc/systemd/system/abide-guard.service",
    "/etc/systemd/system/multi-user.target.wants/abide-guard.service",
];

/// Something that is forbidden, with what forbids it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// E360: the law of this host forbids the kind.
    #[error("the law of this host forbids the kind `{kind}`")]
    Kind {
        /// The kind.
        kind: String,
    },
    /// E361: the law of this host forbids the path.
    #[error("the law of this host forbids `{pattern}`, and this reaches {}", escaped(&path.to_string_lossy()))]
    Path {
        /// The pattern that matches.
        pattern: String,
        /// What is reached.
        path: PathBuf,
    },
    /// E362: the law of this host forbids the unit.
    #[error("the law of this host forbids the unit `{pattern}`, and this reaches {}", escaped(unit))]
    Unit {
        /// The pattern that matches.
        pattern: String,
        /// What is reached.
        unit: String,
    },
    /// E363: the law of this host forbids the package.
    #[error("the law of this host forbids the package `{pattern}`, and this changes {}", escaped(package))]
    Package {
        /// The pattern that matches.
        pattern: String,
        /// What would be changed.
        package: String,
    },
    /// E364: the law of this host forbids the program.
    #[error("the law of this host forbids the program `{pattern}`, and this runs `{}`", escaped(program))]
    Program {
        /// The pattern that matches.
        pattern: String,
        /// The command line.
        program: String,
    },
    /// E365: it is abide's own, and no branch may touch that.
    #[error("{} is abide's own, which no branch may touch", escaped(what))]
    Own {
        /// What is reached.
        what: String,
    },
}

impl Explain for Breach {
    fn code(&self) -> Code {
        Code(match self {
            Breach::Kind { .. } => "E360",
            Breach::Path { .. } => "E361",
            Breach::Unit { .. } => "E362",
            Breach::Package { .. } => "E363",
            Breach::Program { .. } => "E364",
            Breach::Own { .. } => "E365",
        })
    }

    fn remedy(&self) -> String {
        let key = match self {
            Breach::Kind { .. } => "kinds",
            Breach::Path { .. } => "paths",
            Breach::Unit { .. } => "units",
            Breach::Package { .. } => "packages",
            Breach::Program { .. } => "commands",
            Breach::Own { .. } => {
                return "take it out of the roles of this host; a purge needs it in `purge-ignore`; what is abide's own is changed on \
                        the host, by hand or by its package"
                    .into();
            }
        };
        format!(
            "take it out of the roles of this host, or let its owner change `{key}` under [law] in abide.toml"
        )
    }
}

impl Breach {
    fn about(self, resource: &ResourceId) -> PlanError {
        PlanError::new(resource.clone(), self.code(), self.to_string(), self.remedy())
    }
}

/// What a branch may not do on this host.
pub struct Law {
    places: Box<dyn Places>,
    /// abide's own places, by every name.
    own: Vec<PathBuf>,
    kinds: Vec<String>,
    paths: Vec<Pattern>,
    units: Vec<String>,
    packages: Vec<String>,
    programs: Vec<String>,
}

impl Law {
    /// The law of this host.
    pub fn of_host(paths: &Paths, law: &config::Law) -> Law {
        Law::new(paths, law, Box::new(HostPlaces::load()))
    }

    /// The law over places that are known.
    pub fn new(paths: &Paths, law: &config::Law, places: Box<dyn Places>) -> Law {
        let folders = [&paths.config, &paths.state, &paths.spool, &paths.run];
        let mut own: Vec<PathBuf> = Vec::new();
        for path in folders.into_iter().cloned().chain(OWN_FILES.iter().map(PathBuf::from)) {
            let resolved = places.resolved(&path, &|_| None);
            own.extend(places.shown(&resolved, true));
            own.extend([path, resolved]);
        }
        own.sort();
        own.dedup();
        Law {
            places,
            own,
            kinds: law.kinds.clone(),
            paths: law.paths.iter().filter_map(|pattern| path_pattern(pattern).ok()).collect(),
            units: law.units.clone(),
            packages: law.packages.clone(),
            programs: law.commands.clone(),
        }
    }

    /// What of a desired state is forbidden, by resource.
    pub fn declared(&self, desired: &[Declared]) -> BTreeMap<ResourceId, PlanError> {
        let enforced = || desired.iter().filter(|declared| declared.common.enforce != Enforce::No);
        let mut links: HashMap<PathBuf, PathBuf> = HashMap::new();
        let mut reached = Vec::new();
        for declared in enforced() {
            let mut reach = Vec::new();
            declared.resource.reach(&mut reach);
            links.extend(reach.iter().filter_map(|reach| match reach {
                Reach::Link { path, target } => Some((path.clone(), target.clone())),
                _ => None,
            }));
            reached.push((declared, reach));
        }
        let names = Names { law: self, links: &links, folders: HashMap::new() };
        reached
            .iter()
            .scan(names, |names, (declared, reach)| {
                let breach = self
                    .kind(&declared.id.kind)
                    .or_else(|| reach.iter().find_map(|reach| names.breach(reach)));
                Some(breach.map(|breach| (declared.id.clone(), breach.about(&declared.id))))
            })
            .flatten()
            .collect()
    }

    /// Which steps of a plan reach something forbidden on the host as it was observed.
    pub fn planned(&self, plan: &Plan, host: &Observed) -> BTreeMap<usize, PlanError> {
        let links = HashMap::new();
        let mut names = Names { law: self, links: &links, folders: HashMap::new() };
        let mut forbidden = BTreeMap::new();
        for (position, step) in plan.steps.iter().enumerate().filter(|(_, step)| !step.report_only) {
            let mut reach = step.change.effects.iter().flat_map(|effect| reach::of(effect, host));
            if let Some(breach) = reach.find_map(|reach| names.breach(&reach)) {
                forbidden.insert(position, breach.about(&step.resource));
            }
        }
        forbidden
    }

    /// Whether something may be reached now.
    ///
    /// # Errors
    /// It is forbidden.
    pub fn allows(&self, reach: &Reach) -> Result<(), Breach> {
        let links = HashMap::new();
        let mut names = Names { law: self, links: &links, folders: HashMap::new() };
        names.breach(reach).map_or(Ok(()), Err)
    }

    /// Whether a health check may run this program.
    ///
    /// # Errors
    /// It is forbidden.
    pub fn allows_check(&self, name: &str, argv: &[String]) -> Result<(), PlanError> {
        let breach = self.kind("command").or_else(|| self.program(argv));
        breach.map_or(Ok(()), |breach| Err(breach.about(&ResourceId::new("health", name))))
    }

    fn kind(&self, kind: &str) -> Option<Breach> {
        self.kinds.iter().any(|forbidden| forbidden == kind).then(|| Breach::Kind { kind: kind.to_owned() })
    }

    fn unit(&self, name: &str) -> Option<Breach> {
        if OWN_UNITS.iter().any(|own| configures(name, own)) {
            return Some(Breach::Own { what: name.to_owned() });
        }
        let pattern =
            self.units.iter().find(|pattern| matches_pattern(pattern, name) || configures(name, pattern))?;
        Some(Breach::Unit { pattern: pattern.clone(), unit: name.to_owned() })
    }

    fn package(&self, name: &str, gone: bool) -> Option<Breach> {
        let plain = name.split(':').next().unwrap_or(name);
        if gone && plain == OWN_PACKAGE {
            return Some(Breach::Own { what: format!("the package {name}") });
        }
        let pattern = self.packages.iter().find(|pattern| matches_pattern(pattern, plain))?;
        Some(Breach::Package { pattern: pattern.clone(), package: name.to_owned() })
    }

    fn program(&self, argv: &[String]) -> Option<Breach> {
        let program = argv.first()?;
        let (name, line) = (program.rsplit('/').next().unwrap_or(program), argv.join(" "));
        let pattern = self.programs.iter().find(|pattern| {
            [program.as_str(), name, &line].iter().any(|text| matches_pattern(pattern, text))
        })?;
        Some(Breach::Program { pattern: pattern.clone(), program: line.clone() })
    }

    /// Judges one name of a place.
    fn place(&self, path: &Path, reach: &Reach) -> Option<Breach> {
        let own = self.own.iter().find(|own| {
            let above = || is_within(own, path);
            is_within(path, own)
                || match reach {
                    Reach::Folder { loose, .. } => *loose && above(),
                    _ => above(),
                }
        });
        if let Some(own) = own {
            let what = if is_within(path, own) { path } else { own };
            return Some(Breach::Own { what: what.to_string_lossy().into_owned() });
        }
        if let Some(breach) = unit_of(path).and_then(|unit| self.unit(&unit)) {
            return Some(breach);
        }
        let breach =
            |pattern: &Pattern| Breach::Path { pattern: format!("/{pattern}"), path: path.to_owned() };
        self.paths
            .iter()
            .find(|pattern| {
                let matches = |part: &Path| pattern.matches(part.to_string_lossy().trim_start_matches('/'));
                path.ancestors().any(matches)
                    || (matches!(reach, Reach::Tree(_)) && may_match_below(pattern, path))
            })
            .map(breach)
    }
}

/// The names of places, each folder looked up once.
struct Names<'a> {
    law: &'a Law,
    /// Symlinks that are yet to be made.
    links: &'a HashMap<PathBuf, PathBuf>,
    folders: HashMap<PathBuf, Vec<PathBuf>>,
}

impl Names<'_> {
    fn breach(&mut self, reach: &Reach) -> Option<Breach> {
        match reach {
            Reach::Entry(path) | Reach::Folder { path, .. } | Reach::Tree(path) => self.path(path, reach),
            Reach::Link { .. } => None,
            Reach::Unit(unit) => self.law.unit(unit),
            Reach::Package { name, gone } => self.law.package(name, *gone),
            Reach::User(name) => {
                (name == OWN_ACCOUNT).then(|| Breach::Own { what: format!("the account {name}") })
            }
            Reach::Group(name) => {
                (name == OWN_ACCOUNT).then(|| Breach::Own { what: format!("the group {name}") })
            }
            Reach::Program(argv) => self.law.program(argv),
        }
    }

    fn path(&mut self, path: &Path, reach: &Reach) -> Option<Breach> {
        let law = self.law;
        if let Some(breach) = law.place(path, reach) {
            return Some(breach);
        }
        let (parent, name) = (path.parent()?, path.file_name()?);
        if !self.folders.contains_key(parent) {
            let folders = self.names_of(parent);
            self.folders.insert(parent.to_owned(), folders);
        }
        for folder in self.folders.get(parent).into_iter().flatten() {
            let known_as = folder.join(name);
            if let Some(breach) = law.place(&known_as, reach) {
                return Some(breach);
            }
        }
        if law.paths.is_empty() {
            return None;
        }
        // abide's own places are known by every name; those of patterns have to be looked up.
        let resolved = law.places.resolved(path, &|_| None);
        law.places
            .shown(&resolved, matches!(reach, Reach::Tree(_)))
            .iter()
            .find_map(|known_as| law.place(known_as, reach))
    }

    /// Where a folder really is, now and when the planned symlinks are made.
    fn names_of(&self, folder: &Path) -> Vec<PathBuf> {
        // The last component of a path is not followed, and the folder is to be.
        let inside = folder.join("x");
        let places = &self.law.places;
        let now = places.resolved(&inside, &|_| None);
        let then = places.resolved(&inside, &|path| self.links.get(path).cloned());
        let mut names: Vec<PathBuf> =
            [now, then].iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        names.dedup();
        names.retain(|name| name != folder);
        names
    }
}

/// Whether `inner` is `outer` or something in it, by bytes: both are normal absolute paths.
fn is_within(inner: &Path, outer: &Path) -> bool {
    let (inner, outer) = (inner.as_os_str().as_bytes(), outer.as_os_str().as_bytes());
    inner.starts_with(outer) && (outer == b"/" || matches!(inner.get(outer.len()), None | Some(b'/')))
}

/// A pattern of absolute paths.
///
/// # Errors
/// What is wrong with it, in words.
pub fn path_pattern(text: &str) -> Result<Pattern, String> {
    let rest = text.strip_prefix('/').ok_or("it is not absolute")?;
    Pattern::parse(rest)
}

/// Whether a text can stand for full names of units.
pub fn is_unit_pattern(text: &str) -> bool {
    !text.is_empty() && (text.contains('.') || text.ends_with('*'))
}

/// Whether a pattern could match something below a path.
fn may_match_below(pattern: &Pattern, path: &Path) -> bool {
    let text = pattern.to_string();
    let path = path.to_string_lossy();
    let mut path = path.trim_start_matches('/').split('/');
    for component in text.split('/') {
        match path.next() {
            // The path is at an end, and the pattern goes on.
            None => return true,
            Some(_) if component == "**" => return true,
            Some(part) if !matches_pattern(component, part) => return false,
            Some(_) => {}
        }
    }
    false
}

/// Whether configuration under this name is read for a unit: its own, that of its template, of units that begin with the same words
/// (`a-.service`), or of every unit of the type (systemd.unit(5)). The unit may be a pattern.
fn configures(name: &str, unit: &str) -> bool {
    if name == unit {
        return true;
    }
    let Some((stem, suffix)) = unit.rsplit_once('.') else {
        // A pattern without a type is for units of all types.
        return !name.contains('.');
    };
    let begins = |part: &str| (part.ends_with('-') || part.ends_with('@')) && stem.starts_with(part);
    name == suffix || name.rsplit_once('.').is_some_and(|(part, type_)| type_ == suffix && begins(part))
}

/// The unit that a path configures: a unit file, something in a folder of drop-ins, or a link that has it started.
fn unit_of(path: &Path) -> Option<String> {
    let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    parts.by_ref().find(|part| part == "systemd")?;
    let read =
        |part: &str| ["system", "transient", "generator"].contains(&part.split('.').next().unwrap_or(part));
    parts.next().filter(|part| read(part))?;
    let first = parts.next()?;
    if let Some(unit) = first.strip_suffix(".d") {
        return Some(unit.to_owned());
    }
    if [".wants", ".requires", ".upholds"].iter().any(|folder| first.ends_with(folder)) {
        return parts.next().map(|link| link.into_owned());
    }
    Some(first.into_owned())
}

#[cfg(test)]
mod tests;
