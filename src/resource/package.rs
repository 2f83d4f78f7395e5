//! `package`: a package of the distribution's package manager.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::version::Accepted;
use super::{Before, Context, Declaration, DeclareError, Field, Provision, Relations, Resource, ResourceId, codes};
use crate::error::Code;
use crate::manifest::node::nearest;
use crate::plan::{
    Change, Conffiles, Diff, Effect, PackageAction, PackageOperation, PackageOptions, PlanError, Reach,
};
use crate::system::observe::{Needs, PackageState};

/// A package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    name: String,
    ensure: PackageEnsure,
    version: Option<Accepted>,
    /// `None`: holds are left as they are.
    hold: Option<bool>,
    options: PackageOptions,
    /// The version to return to, where the archives still have it: not declared, but remembered of a generation.
    #[serde(skip)]
    kept: Option<String>,
}

/// What shall be of the package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PackageEnsure {
    #[default]
    Present,
    Latest,
    Held,
    Absent,
    Purged,
}

impl PackageEnsure {
    fn installed(self) -> bool {
        !matches!(self, PackageEnsure::Absent | PackageEnsure::Purged)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    ensure: PackageEnsure,
    version: Option<String>,
    hold: Option<bool>,
    recommends: Option<bool>,
    #[serde(default)]
    allow_downgrade: bool,
    #[serde(default)]
    change_held: bool,
    release: Option<String>,
    #[serde(default)]
    conffiles: Conffiles,
    #[serde(default)]
    debconf: Vec<String>,
    #[serde(default)]
    start_services: bool,
    file: Option<PathBuf>,
}

impl Resource for Package {
    const KIND: &'static str = "package";
    const SUMMARY: &'static str = "A package of the distribution's package manager; all of one run are one transaction.";
    const EXAMPLE: &'static str = r#"
[package.nginx]
version = ">= 1.18, < 2"

[package.postfix]
debconf = ["postfix postfix/main_mailer_type select Local only"]

[package.telnet]
ensure = "purged"
"#;
    const FIELDS: &'static [Field] = &[
        Field {
            name: "ensure",
            kind: "\"present\", \"latest\", \"held\", \"absent\" or \"purged\"",
            default: "\"present\"",
            doc: "Installed in any version that `version` accepts; in the newest on offer; installed and held back; removed, keeping \
                  its configuration; removed with it. A package that provides the name counts as present.",
        },
        Field {
            name: "version",
            kind: "string",
            default: "any",
            doc: "One version (`\"1.24.0\"`, `\"1.24.0-2\"`), a pattern (`\"1.24.*\"`) or bounds (`\">= 1.2, < 2\"`). Without an epoch or a \
                  release it accepts any. Of those on offer the newest that is accepted is installed.",
        },
        Field {
            name: "hold",
            kind: "boolean",
            default: "as it is",
            doc: "Whether the package is held back at its version. `ensure = \"held\"` says the same as true.",
        },
        Field {
            name: "recommends",
            kind: "boolean",
            default: "as the host is configured",
            doc: "Install recommended packages (apt) or weak dependencies (dnf), too.",
        },
        Field {
            name: "allow-downgrade",
            kind: "boolean",
            default: "false",
            doc: "Allow that a lower version than the installed one is installed.",
        },
        Field {
            name: "change-held",
            kind: "boolean",
            default: "false",
            doc: "Allow that a held package is changed or removed.",
        },
        Field {
            name: "release",
            kind: "string",
            default: "none",
            doc: "Release (apt, such as `\"bookworm-backports\"`) or repository (dnf) to take the package from.",
        },
        Field {
            name: "conffiles",
            kind: "\"keep\" or \"replace\"",
            default: "\"keep\"",
            doc: "Whether a configuration file that was changed on the host stays, or becomes the package's, in an upgrade.",
        },
        Field {
            name: "debconf",
            kind: "list of strings",
            default: "[]",
            doc: "Answers to the package's questions, set before it is installed: lines as `debconf-set-selections` reads them.",
        },
        Field {
            name: "start-services",
            kind: "boolean",
            default: "false",
            doc: "Let the package's scripts start and restart services, instead of leaving that to `service`.",
        },
        Field {
            name: "file",
            kind: "path",
            default: "none",
            doc: "A package file on the host to install from, instead of an archive.",
        },
    ];

    fn declare(declaration: Declaration<'_>) -> Result<Package, DeclareError> {
        let name = package_name(&declaration)?;
        let fields: Fields = declaration.table.read()?;
        check(&declaration, &fields)?;
        let version = fields.version.as_deref().map(Accepted::parse).transpose().map_err(|message| {
            declaration.error("version", message, "write \"1.24.0\", \"1.24.*\" or \">= 1.2, < 2\"")
        })?;
        let options = PackageOptions {
            recommends: fields.recommends,
            allow_downgrade: fields.allow_downgrade,
            change_held: fields.change_held,
            release: fields.release,
            conffiles: fields.conffiles,
            debconf: fields.debconf,
            start_services: fields.start_services,
            file: fields.file,
        };
        let hold = if fields.ensure == PackageEnsure::Held { Some(true) } else { fields.hold };
        Ok(Package { name, ensure: fields.ensure, version, hold, options, kept: None })
    }

    fn needs(&self, needs: &mut Needs) {
        needs.packages.insert(self.name.clone());
        if self.options.file.is_none() && (self.ensure == PackageEnsure::Latest || self.kept.is_some()) {
            needs.offers.insert(self.name.clone(), self.kept.clone());
        }
    }

    fn prune_needs(&self, needs: &mut Needs) {
        needs.packages.insert(self.name.clone());
    }

    fn relations(&self, relations: &mut Relations) {
        if self.ensure.installed() {
            relations.provides.push(Provision::Package(self.name.clone()));
            relations.requires.extend(self.options.file.clone().map(Provision::Path));
        }
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        reach.push(Reach::Package { name: self.name.clone(), gone: !self.ensure.installed() });
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let unknown = PackageState::default();
        let state = context.host.packages.get(&self.name).unwrap_or(&unknown);
        let mut change = Change { summary: String::new(), creates: false, effects: vec![], diffs: vec![] };
        if self.ensure.installed() {
            self.install(state, context, &mut change)?;
            self.hold(state, context, &mut change);
        } else {
            self.remove(state, &mut change)?;
        }
        Ok(Some(change).filter(|change| !change.effects.is_empty()))
    }

    fn found(&self, before: &Before<'_>) -> Option<Package> {
        let state = before.host.packages.get(&self.name)?;
        let kept = Some(state.installed.clone()?);
        let options = PackageOptions { change_held: true, ..PackageOptions::default() };
        let (name, ensure) = (self.name.clone(), PackageEnsure::Present);
        Some(Package { name, ensure, version: None, hold: Some(state.held), options, kept })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let state = context.host.packages.get(&self.name).filter(|state| state.installed.is_some());
        let Some(state) = state.filter(|_| self.ensure.installed()) else { return Ok(None) };
        let mut change = Change { summary: String::new(), creates: false, effects: vec![], diffs: vec![] };
        if state.held {
            if self.hold != Some(true) {
                return Err(self.held("removed"));
            }
            change.effects.push(self.effect(PackageOperation::Unhold, None));
        }
        self.removal(state, PackageOperation::Remove, &mut change);
        Ok(Some(change))
    }
}

/// The name of a package by the grammars of dpkg and rpm, with an optional `:arch`.
fn package_name(declaration: &Declaration<'_>) -> Result<String, DeclareError> {
    let name = declaration.name;
    let (stem, arch) = name.split_once(':').unwrap_or((name, "any"));
    let plain = |character: char| character.is_ascii_alphanumeric() || "+-._".contains(character);
    let word = |text: &str| text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(plain);
    if word(stem) && word(arch) {
        return Ok(name.to_owned());
    }
    Err(declaration.name_error(
        format!("`{}` is not the name of a package", crate::error::escaped(name)),
        "a letter or digit, then letters, digits, `+`, `-`, `.` and `_`; the version is a field",
    ))
}

fn check(declaration: &Declaration<'_>, fields: &Fields) -> Result<(), DeclareError> {
    let gone = !fields.ensure.installed();
    let stay = "remove one of them";
    for (wrong, key, message, help) in [
        (gone && declaration.name == "abide", "ensure", "abide does not remove itself", "use the package manager"),
        (gone && fields.version.is_some(), "version", "a package that shall be absent has no version", stay),
        (gone && fields.hold == Some(true), "hold", "a package that shall be absent is not held", stay),
        (gone && fields.file.is_some(), "file", "a package that shall be absent has no file", stay),
        (
            fields.ensure == PackageEnsure::Latest && fields.version.is_some(),
            "version",
            "`latest` and `version` exclude each other",
            "for the newest below a bound, keep `version` and write `ensure = \"present\"`",
        ),
        (
            fields.ensure == PackageEnsure::Held && fields.hold == Some(false),
            "hold",
            "`ensure = \"held\"` says the opposite",
            stay,
        ),
        (
            fields.file.as_ref().is_some_and(|file| !file.is_absolute()),
            "file",
            "a package file is named by an absolute path",
            "write it from `/` on",
        ),
        (
            fields.file.is_some() && fields.release.is_some(),
            "release",
            "a package from a file comes from no release",
            stay,
        ),
        (
            fields.release.as_ref().is_some_and(|text| {
                text.starts_with('-') || text.is_empty() || text.contains(char::is_whitespace)
            }),
            "release",
            "this is not the name of a release or repository",
            "write for example \"bookworm-backports\"",
        ),
        (
            fields.debconf.iter().any(|line| line.contains('\n') || line.split_whitespace().count() < 3),
            "debconf",
            "a debconf answer is one line of owner, question, type and value",
            "write for example \"postfix postfix/main_mailer_type select Local only\"",
        ),
    ] {
        if wrong {
            return Err(declaration.error(key, message, help));
        }
    }
    Ok(())
}

impl Package {
    /// Has the package return to the version that it had, and stay there: `latest` does not go on from it.
    pub(super) fn keep_version(&mut self, versions: &BTreeMap<String, String>) {
        let Some(version) = versions.get(&self.name).filter(|_| self.ensure.installed()) else { return };
        self.kept = Some(version.clone());
        if self.ensure == PackageEnsure::Latest {
            self.ensure = PackageEnsure::Present;
        }
    }

    /// Whether it is about the package of this name, and leaves its version to the archives: the newest, or the newest within bounds.
    pub(super) fn lets_archives_choose(&self, name: &str) -> bool {
        let within = self.version.as_ref().is_some_and(|version| version.exact().is_none());
        (within || self.ensure == PackageEnsure::Latest) && self.name.split(':').next() == Some(name)
    }

    /// The version to return to, when it is there already or the archives have it.
    fn returned<'a>(&'a self, state: &PackageState) -> Option<&'a String> {
        let mut there = state.available.iter().chain(&state.candidate).chain(&state.installed);
        self.kept.as_ref().filter(|kept| there.any(|version| version == *kept))
    }

    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.name)
    }

    fn error(&self, code: Code, message: String, help: impl Into<String>) -> PlanError {
        PlanError::new(self.id(), code, message, help)
    }

    fn held(&self, what: &str) -> PlanError {
        self.error(
            codes::PACKAGE_HELD,
            format!("the package is held on this host, and would be {what}"),
            format!("set `change-held = true`, or release it with the package manager (apt-mark unhold {})", self.name),
        )
    }

    fn install(
        &self,
        state: &PackageState,
        context: &Context<'_>,
        change: &mut Change,
    ) -> Result<(), PlanError> {
        let Some(installed) = &state.installed else {
            let provided = !state.provided_by.is_empty() && self.version.is_none() && self.options.file.is_none();
            if !provided {
                let version = self.offered(state, context)?;
                let after = version.as_ref().or(state.candidate.as_ref()).cloned().unwrap_or_else(|| "newest".into());
                change.summary = format!("installed {after}");
                change.creates = true;
                change.effects.push(self.effect(PackageOperation::Install, version));
                change.diffs.push(version_diff("", &after));
            }
            return Ok(());
        };
        let other = self.other_version(installed, state, context);
        if state.broken && !matches!(other, Ok(Some(_))) {
            // The transaction finishes what was interrupted. Where another version is wanted, that takes its place.
            change.summary = "repaired".into();
            change.effects.push(self.effect(PackageOperation::Install, Some(installed.clone())));
            return Ok(());
        }
        let Some(version) = other? else { return Ok(()) };
        if state.held && !self.options.change_held {
            return Err(self.held(&format!("changed from {installed} to {version}")));
        }
        let returns = self.returned(state) == Some(&version);
        let downgrade = context.host.versions.compare(&version, installed).is_lt();
        if downgrade && !self.options.allow_downgrade && !returns {
            return Err(self.error(
                codes::DOWNGRADE,
                format!("{installed} is installed, and {version} would be a downgrade"),
                "set `allow-downgrade = true`, or accept the installed version",
            ));
        }
        change.summary = format!("version {installed} -> {version}");
        change.diffs.push(version_diff(installed, &version));
        let mut effect = self.effect(PackageOperation::Install, Some(version));
        if let Effect::Package(action) = &mut effect {
            action.options.allow_downgrade |= returns && downgrade;
        }
        change.effects.push(effect);
        Ok(())
    }

    /// The version to go to from the installed one, when that does not do.
    fn other_version(
        &self,
        installed: &str,
        state: &PackageState,
        context: &Context<'_>,
    ) -> Result<Option<String>, PlanError> {
        if context.ignores("version") {
            return Ok(None);
        }
        let versions = context.host.versions;
        if let Some(kept) = self.returned(state) {
            return Ok(Some(kept.clone()).filter(|kept| kept != installed));
        }
        match &self.version {
            Some(accepted) if accepted.accepts(installed, versions) => Ok(None),
            Some(_) => self.offered(state, context),
            None if self.ensure != PackageEnsure::Latest => Ok(None),
            // An installed version that is newer than any on offer is nobody's drift.
            None => {
                Ok(state.candidate.clone().filter(|candidate| versions.compare(candidate, installed).is_gt()))
            }
        }
    }

    /// The version to install; `None`: the package manager's own choice.
    fn offered(&self, state: &PackageState, context: &Context<'_>) -> Result<Option<String>, PlanError> {
        if self.options.file.is_some() {
            return Ok(self.version.as_ref().and_then(Accepted::exact).map(str::to_owned));
        }
        if state.index_consulted && state.candidate.is_none() && state.available.is_empty() {
            let known = context.host.packages.iter().filter(|(_, state)| state.candidate.is_some());
            let near = nearest(&self.name, known.map(|(name, _)| name.as_str()));
            let meant = near.map(|near| format!("did you mean `{near}`? Otherwise ")).unwrap_or_default();
            return Err(self.error(
                codes::PACKAGE_UNKNOWN,
                "no archive of this host offers the package".to_owned(),
                format!("{meant}correct the name, or add the repository that has it"),
            ));
        }
        if let Some(kept) = self.returned(state) {
            return Ok(Some(kept.clone()));
        }
        let Some(accepted) = &self.version else { return Ok(None) };
        let on_offer = state.available.iter().chain(&state.candidate);
        let versions = context.host.versions;
        let accepted_ones = on_offer.filter(|version| accepted.accepts(version, versions));
        let newest = accepted_ones.max_by(|left, right| versions.compare(left, right));
        match newest {
            Some(version) => Ok(Some(version.clone())),
            None if accepted.complete() && state.available.is_empty() => Ok(accepted.exact().map(str::to_owned)),
            None => Err(self.error(
                codes::VERSION_UNAVAILABLE,
                format!("no version on offer is accepted by `{}`; there are: {}", accepted.text(), offers(state)),
                "accept one of those, or add the repository that has the version",
            )),
        }
    }

    fn hold(&self, state: &PackageState, context: &Context<'_>, change: &mut Change) {
        let Some(hold) = self.hold.filter(|hold| *hold != state.held && !context.ignores("hold")) else { return };
        let (word, operation) =
            if hold { ("held", PackageOperation::Hold) } else { ("released", PackageOperation::Unhold) };
        let separator = if change.summary.is_empty() { "" } else { ", " };
        change.summary.push_str(&format!("{separator}{word}"));
        change.effects.push(self.effect(operation, None));
        let (before, after) = (state.held.to_string(), hold.to_string());
        change.diffs.push(Diff::Property { name: "hold".into(), before, after });
    }

    fn remove(&self, state: &PackageState, change: &mut Change) -> Result<(), PlanError> {
        let purge = self.ensure == PackageEnsure::Purged;
        if state.installed.is_none() && !(purge && state.config_files) {
            return Ok(());
        }
        if state.held && state.installed.is_some() {
            if !self.options.change_held {
                return Err(self.held("removed"));
            }
            change.effects.push(self.effect(PackageOperation::Unhold, None));
        }
        let operation = if purge { PackageOperation::Purge } else { PackageOperation::Remove };
        self.removal(state, operation, change);
        Ok(())
    }

    fn removal(&self, state: &PackageState, operation: PackageOperation, change: &mut Change) {
        change.summary = if operation == PackageOperation::Purge { "purged" } else { "removed" }.into();
        change.effects.push(self.effect(operation, None));
        let before = state.installed.as_deref().unwrap_or("configuration files");
        change.diffs.push(version_diff(before, ""));
    }

    fn effect(&self, operation: PackageOperation, version: Option<String>) -> Effect {
        let options = match operation {
            PackageOperation::Install => self.options.clone(),
            // What is only for installing would split the transaction.
            _ => PackageOptions {
                change_held: self.options.change_held,
                start_services: self.options.start_services,
                ..PackageOptions::default()
            },
        };
        Effect::Package(PackageAction { name: self.name.clone(), operation, version, options })
    }
}

fn offers(state: &PackageState) -> String {
    let mut on_offer: Vec<&str> = state.available.iter().chain(&state.candidate).map(String::as_str).collect();
    on_offer.dedup();
    if on_offer.is_empty() { "none".to_owned() } else { on_offer.join(", ") }
}

fn version_diff(before: &str, after: &str) -> Diff {
    Diff::Property { name: "version".into(), before: before.into(), after: after.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, declare, effects, outcome, refuses, relations, short};
    use crate::system::observe::Observed;

    fn state(installed: Option<&str>, available: &[&str]) -> PackageState {
        PackageState {
            installed: installed.map(str::to_owned),
            candidate: available.first().map(|version| (*version).to_owned()),
            available: available.iter().map(|version| (*version).to_owned()).collect(),
            index_consulted: true,
            ..PackageState::default()
        }
    }

    fn host(state: PackageState) -> Observed {
        Observed { packages: [("nginx".to_owned(), state)].into(), ..Observed::default() }
    }

    fn planned(table: &str, state: PackageState) -> String {
        outcome(&declare::<Package>("nginx", table).unwrap(), &context(&host(state)))
    }

    #[test]
    fn plans_only_what_differs() {
        let offers: &[&str] = &["1.26-1", "1.24-2", "1.22-1"];
        let none = || state(None, offers);
        let installed = || state(Some("1.24-2"), offers);
        let held = || PackageState { held: true, ..installed() };
        for (table, state, expected) in [
            ("", none(), "installed 1.26-1"),
            ("", installed(), "unchanged"),
            ("", PackageState { provided_by: vec!["nginx-light".into()], ..none() }, "unchanged"),
            ("version = \"1\"", PackageState { provided_by: vec!["x".into()], ..none() }, "E321"),
            ("", state(None, &[]), "E320"),
            ("", PackageState::default(), "installed newest"),
            ("version = \"1.24\"", none(), "installed 1.24-2"),
            ("version = \"1.24\"", installed(), "unchanged"),
            ("version = \"< 1.26\"", none(), "installed 1.24-2"),
            ("version = \"1.9-1\"", none(), "E321"),
            ("version = \"1.26-1\"", installed(), "version 1.24-2 -> 1.26-1"),
            ("version = \"1.22.*\"", installed(), "E321"),
            ("version = \"1.22\"", installed(), "E323"),
            ("version = \"1.22\"\nallow-downgrade = true", installed(), "version 1.24-2 -> 1.22-1"),
            ("ensure = \"latest\"", installed(), "version 1.24-2 -> 1.26-1"),
            ("ensure = \"latest\"", state(Some("2-1"), offers), "unchanged"),
            ("ensure = \"latest\"", state(Some("1.24-2"), &[]), "unchanged"),
            ("ensure = \"held\"", installed(), "held"),
            ("ensure = \"held\"", none(), "installed 1.26-1, held"),
            ("ensure = \"held\"", held(), "unchanged"),
            ("", held(), "unchanged"),
            ("hold = false", held(), "released"),
            ("ensure = \"latest\"", held(), "E322"),
            ("ensure = \"latest\"\nchange-held = true", held(), "version 1.24-2 -> 1.26-1"),
            ("ensure = \"absent\"", none(), "unchanged"),
            ("ensure = \"absent\"", installed(), "removed"),
            ("ensure = \"absent\"", held(), "E322"),
            ("ensure = \"absent\"\nchange-held = true", held(), "removed"),
            ("ensure = \"absent\"", PackageState { config_files: true, ..none() }, "unchanged"),
            ("ensure = \"purged\"", PackageState { config_files: true, ..none() }, "purged"),
            ("ensure = \"purged\"", installed(), "purged"),
            ("file = \"/srv/nginx.deb\"", state(None, &[]), "installed newest"),
            ("", PackageState { broken: true, ..installed() }, "repaired"),
            ("version = \"1.26-1\"", PackageState { broken: true, ..installed() }, "version 1.24-2 -> 1.26-1"),
            ("version = \"1.22.*\"", PackageState { broken: true, ..installed() }, "repaired"),
        ] {
            assert_eq!(planned(table, state.clone()), expected, "{table} {state:?}");
        }
    }

    #[test]
    fn a_complete_version_needs_no_index() {
        let table = "version = \"1.24-2\"";
        assert_eq!(planned(table, PackageState::default()), "installed 1.24-2");
        for (table, expected) in
            [(table, false), ("", false), ("version = \"1.24\"", false), ("ensure = \"latest\"", true)]
        {
            let mut needs = Needs::default();
            declare::<Package>("nginx", table).unwrap().needs(&mut needs);
            assert_eq!(needs.offers.contains_key("nginx"), expected, "{table}");
            assert!(needs.packages.contains("nginx"));
        }
    }

    #[test]
    fn a_version_to_return_to_settles_what_archives_are_asked_for() {
        let mut package: Package = declare("nginx", "version = \"1.26-1\"").unwrap();
        package.keep_version(&BTreeMap::from([("nginx".into(), "1.24-2".into())]));
        let mut needs = Needs::default();
        package.needs(&mut needs);
        assert_eq!(needs.offers, BTreeMap::from([("nginx".into(), Some("1.24-2".into()))]));
        for (installed, offers, expected) in [
            ("1.24-2", &[][..], "unchanged"),
            ("1.24-2", &["1.26-1"], "unchanged"),
            ("1.26-1", &["1.26-1"], "unchanged"),
            ("1.26-1", &["1.26-1", "1.24-2"], "version 1.26-1 -> 1.24-2"),
        ] {
            let host = host(state(Some(installed), offers));
            assert_eq!(outcome(&package, &context(&host)), expected, "{installed} {offers:?}");
        }
    }

    #[test]
    fn drift_of_an_ignored_version_is_left() {
        let package: Package = declare("nginx", "version = \"1.26-1\"").unwrap();
        let host = host(state(Some("1.24-2"), &["1.26-1"]));
        let ignore = ["version".to_owned()];
        assert_eq!(outcome(&package, &Context { ignore: &ignore, ..context(&host) }), "unchanged");
    }

    #[test]
    fn a_held_package_is_released_before_it_goes() {
        let host = host(PackageState { held: true, ..state(Some("1"), &[]) });
        let package: Package = declare("nginx", "ensure = \"purged\"\nchange-held = true").unwrap();
        assert_eq!(effects(&package, &context(&host)), ["Unhold nginx -", "Purge nginx -"]);
        let own: Package = declare("nginx", "ensure = \"held\"").unwrap();
        let change = own.prune(&context(&host)).unwrap().unwrap();
        assert_eq!(short(&change), ["Unhold nginx -", "Remove nginx -"]);
        let others: Package = declare("nginx", "").unwrap();
        assert_eq!(others.prune(&context(&host)).unwrap_err().code, codes::PACKAGE_HELD);
    }

    #[test]
    fn only_an_installed_package_is_provided() {
        let provides = |table: &str| relations(&declare::<Package>("nginx", table).unwrap()).0;
        assert_eq!(provides(""), [Provision::Package("nginx".into())]);
        assert!(provides("ensure = \"absent\"").is_empty());
        let file: Package = declare("nginx", "file = \"/srv/a.deb\"").unwrap();
        assert_eq!(relations(&file).1, [Provision::Path("/srv/a.deb".into())]);
    }

    /// Attack 34: names of packages that are options or several words.
    #[test]
    fn what_is_no_package_is_refused() {
        for (name, table, message, pointed) in [
            ("-y", "", "not the name of a package", ""),
            ("a b", "", "not the name of a package", ""),
            ("-oDpkg::Pre-Invoke::=touch /owned", "", "not the name of a package", ""),
            ("nginx;reboot", "", "not the name of a package", ""),
            ("$(reboot)", "", "not the name of a package", ""),
            ("../../srv/a.deb", "", "not the name of a package", ""),
            ("nginx\nabide-", "", "not the name of a package", ""),
            ("nginx", "version = \"1 -oDpkg::Options::=--force-all\"", "not a version", "\"1 -oDpkg::Options::=--force-all\""),
            ("nginx=1.2", "", "not the name of a package", ""),
            ("a:b:c", "", "not the name of a package", ""),
            ("abide", "ensure = \"absent\"", "does not remove itself", "\"absent\""),
            ("nginx", "ensure = \"latest\"\nversion = \"1\"", "exclude", "\"1\""),
            ("nginx", "ensure = \"held\"\nhold = false", "opposite", "false"),
            ("nginx", "version = \">= \"", "not a version", "\">= \""),
            ("nginx", "file = \"a.deb\"", "absolute", "\"a.deb\""),
            ("nginx", "release = \"-o\"", "release", "\"-o\""),
            ("nginx", "debconf = [\"a b\"]", "debconf", "[\"a b\"]"),
            ("nginx", "ensure = \"installed\"", "unknown value", "\"installed\""),
        ] {
            refuses::<Package>(name, table, message, pointed);
        }
        for name in ["libc6:i386", "g++", "python3.11", "NetworkManager", "kernel-core_x"] {
            assert!(declare::<Package>(name, "").is_ok(), "{name}");
        }
    }
}
