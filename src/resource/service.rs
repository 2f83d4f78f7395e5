//! `service`: the state of a unit: running, enabled, masked; and when it is reloaded or restarted.

use serde::{Deserialize, Serialize};
use std::path::Path;

use super::fields::Seconds;
use super::unit::UNITS;
use super::{Before, Context, Declaration, DeclareError, Field, Provision, Relations, Resource, ResourceId, codes, sections};
use crate::error::Code;
use crate::plan::{Change, Diff, Effect, PlanError, Reach, UnitAction};
use crate::system::observe::{Needs, UnitState};

/// The state of a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    name: String,
    /// Full name with its suffix.
    unit: String,
    running: Option<bool>,
    enabled: Option<bool>,
    masked: Option<bool>,
    reload_on: Vec<ResourceId>,
    restart_on: Vec<ResourceId>,
    reset_failed: bool,
    package: Option<String>,
    /// Seconds.
    timeout: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    running: Option<bool>,
    enabled: Option<bool>,
    masked: Option<bool>,
    #[serde(default)]
    reload_on: Vec<String>,
    #[serde(default)]
    restart_on: Vec<String>,
    reset_failed: Option<bool>,
    package: Option<String>,
    timeout: Option<Seconds>,
}

/// Seconds for a job of systemd, as systemd's own default.
const TIMEOUT: u32 = 90;

impl Resource for Service {
    const KIND: &'static str = "service";
    const SUMMARY: &'static str =
        "The state of a unit: running, enabled at boot, masked; and after which changes it is reloaded or restarted.";
    const EXAMPLE: &'static str = r#"
[service.nginx]
enabled = true
running = true
reload-on = ["file:/etc/nginx/nginx.conf"]
restart-on = ["package:nginx", "drop-in:nginx.service/limits"]

[service."fstrim.timer"]
enabled = true
running = true

[service.ssh]
package = "openssh-server"
running = true

[service."ctrl-alt-del.target"]
masked = true

[package.nginx]

[file."/etc/nginx/nginx.conf"]
content = "events {}\n"

[drop-in."nginx.service/limits".Service]
LimitNOFILE = 65536
"#;
    const FIELDS: &'static [Field] = &[
        Field {
            name: "running",
            kind: "boolean",
            default: "as it is",
            doc: "Whether the unit shall run. A unit that its active socket, path or timer starts on demand is not drift while it is stopped. \
                  Leave it out for a `Type=oneshot` service without `RemainAfterExit`, which is never found running.",
        },
        Field {
            name: "enabled",
            kind: "boolean",
            default: "as it is",
            doc: "Whether the unit is started at boot. What cannot be enabled or disabled by itself (static, indirect, generated, alias, \
                  linked, transient) is left as it is.",
        },
        Field {
            name: "masked",
            kind: "boolean",
            default: "as it is",
            doc: "Whether the unit is masked, so that nothing can start it. A masked unit is unmasked only by `false`. Masking does not stop it.",
        },
        Field {
            name: "reload-on",
            kind: "list of resources",
            default: "[]",
            doc: "Reload the unit, when it runs, after one of these changed. A unit that cannot reload is restarted. Reloads of one run are one.",
        },
        Field {
            name: "restart-on",
            kind: "list of resources",
            default: "[]",
            doc: "Restart the unit, when it runs, after one of these changed; wins over a reload. A unit that does not run is not started by it.",
        },
        Field {
            name: "reset-failed",
            kind: "boolean",
            default: "true",
            doc: "Clear the failed state, and with it the limit of starts, before the unit is started or when it shall not run.",
        },
        Field {
            name: "package",
            kind: "string",
            default: "a package of the same name",
            doc: "The package that brings the unit, where its name differs: it is installed first.",
        },
        Field {
            name: "timeout",
            kind: "time",
            default: "\"90s\"",
            doc: "How long starting, stopping, reloading or restarting may take, such as `\"5min\"`.",
        },
    ];

    fn declare(declaration: Declaration<'_>) -> Result<Service, DeclareError> {
        let name = declaration.name.to_owned();
        let unit = if sections::suffix(&name).is_some() { name.clone() } else { format!("{name}.service") };
        if sections::suffix(&unit).is_none() || unit.contains("@.") {
            return Err(declaration.name_error(
                format!("`{}` is not the name of a unit that can run", crate::error::escaped(&name)),
                "write `nginx`, `backup.timer`, or `getty@tty1` with its instance",
            ));
        }
        let fields: Fields = declaration.table.read()?;
        let service = Service {
            running: fields.running,
            enabled: fields.enabled,
            masked: fields.masked,
            reload_on: watched(&declaration, "reload-on", &fields.reload_on)?,
            restart_on: watched(&declaration, "restart-on", &fields.restart_on)?,
            reset_failed: fields.reset_failed.unwrap_or(true),
            package: fields.package,
            timeout: fields.timeout.map_or(TIMEOUT, |seconds| seconds.0),
            name,
            unit,
        };
        service.check(&declaration)?;
        Ok(service)
    }

    fn needs(&self, needs: &mut Needs) {
        needs.units.insert(self.unit.clone());
    }

    fn relations(&self, relations: &mut Relations) {
        let stem = self.unit.rsplit_once('.').map_or(self.unit.as_str(), |(stem, _)| stem);
        let template = sections::template(&self.unit);
        for unit in template.iter().chain([&self.unit]) {
            relations.requires.push(Provision::Unit(unit.clone()));
            // The directory of its drop-ins, which a drop-in provides.
            relations.requires.push(Provision::Path(Path::new(UNITS).join(format!("{unit}.d"))));
        }
        let package = self.package.as_deref().unwrap_or(stem);
        relations.requires.push(Provision::Package(package.to_owned()));
        relations.watches.extend(self.reload_on.iter().chain(&self.restart_on).cloned());
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        reach.push(Reach::Unit(self.unit.clone()));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let unknown = UnitState { load: "not-found".into(), active: "inactive".into(), ..UnitState::default() };
        let state = context.host.units.get(&self.unit).unwrap_or(&unknown);
        let mut steps = Steps::new(self);
        if state.load == "not-found" && state.file_state.is_empty() {
            self.arriving(context, &mut steps)?;
        } else {
            self.refuse(state)?;
            self.mask(state, context, &mut steps)?;
            self.enable(state, context, &mut steps)?;
            self.run(state, context, &mut steps)?;
        }
        // Only what neither ran nor was enabled before is undone when it leaves the branch.
        let fresh = !is_active(state) && !state.file_state.starts_with("enabled");
        Ok(steps.change(fresh))
    }

    fn found(&self, before: &Before<'_>) -> Option<Service> {
        let state = before.host.units.get(&self.unit).filter(|state| state.load != "not-found")?;
        let enabled = match state.file_state.as_str() {
            "enabled" => Some(true),
            "disabled" => Some(false),
            _ => None,
        };
        Some(Service {
            running: Some(matches!(state.active.as_str(), "active" | "activating" | "reloading")),
            enabled,
            masked: Some(state.load == "masked"),
            reload_on: Vec::new(),
            restart_on: Vec::new(),
            package: None,
            ..self.clone()
        })
    }

    fn prune(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let Some(state) = context.host.units.get(&self.unit) else { return Ok(None) };
        let mut steps = Steps::new(self);
        if self.enabled == Some(true) && state.file_state.starts_with("enabled") {
            steps.take(UnitAction::Disable, "disabled", "enabled", "enabled", "disabled");
        }
        if self.running == Some(true) && is_active(state) {
            steps.take(UnitAction::Stop, "stopped", "active", &state.active, "inactive");
        }
        Ok(steps.change(false))
    }
}

/// Reads a list of `kind:name`.
///
/// # Errors
/// An entry is not one.
pub(super) fn watched(
    declaration: &Declaration<'_>,
    key: &str,
    names: &[String],
) -> Result<Vec<ResourceId>, DeclareError> {
    let read = |name: &String| {
        let id = ResourceId::parse(name).filter(|id| super::KINDS.iter().any(|kind| kind.name == id.kind));
        id.ok_or_else(|| {
            let help = "write kind and name, such as \"file:/etc/nginx/nginx.conf\"";
            declaration.error(key, format!("`{name}` does not name a resource"), help)
        })
    };
    names.iter().map(read).collect()
}

fn is_active(state: &UnitState) -> bool {
    matches!(state.active.as_str(), "active" | "reloading" | "refreshing" | "activating")
}

/// What is to be done to the unit, collected.
struct Steps<'a> {
    service: &'a Service,
    words: Vec<String>,
    effects: Vec<Effect>,
    diffs: Vec<Diff>,
    begins: bool,
}

impl<'a> Steps<'a> {
    fn new(service: &'a Service) -> Steps<'a> {
        Steps { service, words: Vec::new(), effects: Vec::new(), diffs: Vec::new(), begins: false }
    }

    fn act(&mut self, action: UnitAction) {
        let unit = self.service.unit.clone();
        self.effects.push(Effect::Unit { unit, action, timeout: self.service.timeout });
    }

    fn take(&mut self, action: UnitAction, word: &str, property: &str, before: &str, after: &str) {
        self.begins |= matches!(action, UnitAction::Start | UnitAction::Enable);
        self.words.push(word.to_owned());
        let (name, before, after) = (property.to_owned(), before.to_owned(), after.to_owned());
        self.diffs.push(Diff::Property { name, before, after });
        self.act(action);
    }

    fn change(self, fresh: bool) -> Option<Change> {
        let creates = fresh && self.begins;
        let change = Change { summary: self.words.join(", "), creates, effects: self.effects, diffs: self.diffs };
        Some(change).filter(|change| !change.effects.is_empty())
    }
}

impl Service {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.name)
    }

    fn check(&self, declaration: &Declaration<'_>) -> Result<(), DeclareError> {
        let own = self.unit == "abide.service";
        let bus = matches!(self.unit.as_str(), "dbus.service" | "dbus-broker.service" | "dbus.socket");
        let off = self.running == Some(false) || self.enabled == Some(false) || self.masked == Some(true);
        let key = ["running", "enabled", "masked"].into_iter().find(|key| declaration.table.get(key).is_some());
        if off && own {
            let help = "use `abide suspend`, or remove the package";
            return Err(declaration.error(key.unwrap_or_default(), "abide does not turn itself off", help));
        }
        if off && bus {
            let message = "without the system bus neither abide nor systemd can be talked to";
            return Err(declaration.error(key.unwrap_or_default(), message, "remove this declaration"));
        }
        if own && !(self.reload_on.is_empty() && self.restart_on.is_empty()) {
            let key = if self.restart_on.is_empty() { "reload-on" } else { "restart-on" };
            let message = "abide does not restart itself in the middle of a run";
            return Err(declaration.error(key, message, "leave it to the upgrade of its package"));
        }
        if self.masked == Some(true) && (self.running == Some(true) || self.enabled == Some(true)) {
            let help = "remove `masked`, or `running` and `enabled`";
            return Err(declaration.error("masked", "a masked unit neither runs nor is enabled", help));
        }
        let nothing = self.running.is_none() && self.enabled.is_none() && self.masked.is_none();
        if nothing && self.reload_on.is_empty() && self.restart_on.is_empty() {
            let help = "add `running`, `enabled`, `masked`, `reload-on` or `restart-on`";
            return Err(declaration.table.error("nothing is said about the unit", help));
        }
        Ok(())
    }

    fn error(&self, code: Code, message: String, help: &str) -> PlanError {
        PlanError::new(self.id(), code, message, help)
    }

    /// The unit is not there yet: a unit file or a package of this plan brings it, in a state that nobody knows before.
    fn arriving(&self, context: &Context<'_>, steps: &mut Steps<'_>) -> Result<(), PlanError> {
        if self.masked == Some(true) {
            steps.take(UnitAction::Mask, "masked", "masked", "false", "true");
            return Ok(());
        }
        let template = sections::template(&self.unit);
        let mut units = template.iter().chain([&self.unit]);
        let comes =
            units.any(|unit| (context.provided)(&Provision::Unit(unit.clone()))) || context.packages_arrive();
        let wanted = self.running == Some(true) || self.enabled == Some(true);
        if !comes && wanted {
            return Err(self.error(
                codes::UNIT_UNKNOWN,
                format!("systemd knows no unit {}", self.unit),
                "correct the name, or declare the unit or the package that brings it",
            ));
        }
        if !comes {
            return Ok(());
        }
        if self.masked == Some(false) {
            steps.act(UnitAction::Unmask);
        }
        match self.enabled {
            Some(true) => steps.take(UnitAction::Enable, "enabled", "enabled", "", "enabled"),
            Some(false) => steps.take(UnitAction::Disable, "disabled", "enabled", "", "disabled"),
            None => {}
        }
        match self.running {
            Some(true) => steps.take(UnitAction::Start, "started", "active", "", "active"),
            Some(false) => steps.take(UnitAction::Stop, "stopped", "active", "", "inactive"),
            None => {}
        }
        Ok(())
    }

    /// A unit file that systemd cannot read is nobody's drift.
    fn refuse(&self, state: &UnitState) -> Result<(), PlanError> {
        let broken = matches!(state.load.as_str(), "error" | "bad-setting") || state.file_state == "bad";
        // A file that is about to be replaced may be what is broken.
        if !broken || state.needs_reload {
            return Ok(());
        }
        Err(self.error(
            codes::UNIT_BROKEN,
            format!("systemd cannot load {}: {}", self.unit, state.load),
            "see `systemctl status` of the unit and correct its file",
        ))
    }

    fn mask(&self, state: &UnitState, context: &Context<'_>, steps: &mut Steps<'_>) -> Result<(), PlanError> {
        let masked = is_masked(state);
        match self.masked.filter(|_| !context.ignores("masked")) {
            // A mask that is gone after the next boot is none.
            Some(true) if state.file_state != "masked" && !(masked && state.file_state.is_empty()) => {
                if state.fragment.parent() == Some(Path::new(UNITS)) {
                    return Err(self.error(
                        codes::UNIT_UNMASKABLE,
                        format!("{} is where the mask would have to be", state.fragment.display()),
                        "remove that file, or declare `running = false` and `enabled = false` instead",
                    ));
                }
                steps.take(UnitAction::Mask, "masked", "masked", "false", "true");
            }
            Some(false) if masked => {
                steps.take(UnitAction::Unmask, "unmasked", "masked", "true", "false");
            }
            _ => {}
        }
        let wanted = self.running == Some(true) || self.enabled == Some(true);
        if masked && self.masked.is_none() && wanted {
            return Err(self.error(
                codes::UNIT_MASKED,
                format!("{} is masked on this host", self.unit),
                "set `masked = false` to unmask it, or remove `running` and `enabled`",
            ));
        }
        Ok(())
    }

    fn enable(&self, state: &UnitState, context: &Context<'_>, steps: &mut Steps<'_>) -> Result<(), PlanError> {
        let before = state.file_state.as_str();
        match self.enabled.filter(|_| !context.ignores("enabled")) {
            // Under a mask its state is unknown.
            Some(true) if matches!(before, "disabled" | "enabled-runtime") || is_masked(state) => {
                steps.take(UnitAction::Enable, "enabled", "enabled", before, "enabled");
            }
            Some(false) if matches!(before, "enabled" | "enabled-runtime") => {
                steps.take(UnitAction::Disable, "disabled", "enabled", before, "disabled");
            }
            _ => {}
        }
        Ok(())
    }

    fn run(&self, state: &UnitState, context: &Context<'_>, steps: &mut Steps<'_>) -> Result<(), PlanError> {
        let active = is_active(state);
        match self.running.filter(|_| !context.ignores("running")) {
            Some(true) if !active => {
                if !state.active_triggers.is_empty() && state.active != "failed" {
                    return Ok(());
                }
                self.reset(state, steps);
                steps.take(UnitAction::Start, "started", "active", &state.active, "active");
                return Ok(());
            }
            Some(false) if active => {
                let again = match state.active_triggers.as_slice() {
                    [] => "stopped".to_owned(),
                    triggers => format!("stopped (may be started again by {})", triggers.join(", ")),
                };
                steps.take(UnitAction::Stop, &again, "active", &state.active, "inactive");
                return Ok(());
            }
            Some(false) => {
                if state.active == "failed" && self.reset_failed {
                    steps.take(UnitAction::ResetFailed, "failed state cleared", "active", "failed", "inactive");
                }
                return Ok(());
            }
            _ => {}
        }
        if active && self.masked != Some(true) {
            self.notify(context, steps);
        }
        Ok(())
    }

    fn reset(&self, state: &UnitState, steps: &mut Steps<'_>) {
        if state.active == "failed" && self.reset_failed {
            steps.act(UnitAction::ResetFailed);
        }
    }

    /// Reload or restart, when something that is watched changes in this run.
    fn notify(&self, context: &Context<'_>, steps: &mut Steps<'_>) {
        let changed = |watched: &[ResourceId]| watched.iter().find(|id| (context.changes)(id)).cloned();
        // A restart of the bus ends every connection on the host, a reload does what is wanted of it.
        let bus = matches!(self.unit.as_str(), "dbus.service" | "dbus-broker.service");
        let (action, word, cause) = match (changed(&self.restart_on), changed(&self.reload_on)) {
            (Some(cause), _) if !bus => (UnitAction::Restart, "restarted", cause),
            (Some(cause), _) | (None, Some(cause)) => (UnitAction::Reload, "reloaded", cause),
            (None, None) => return,
        };
        steps.act(action);
        steps.words.push(format!("{word} because of {cause}"));
    }
}

fn is_masked(state: &UnitState) -> bool {
    state.load == "masked" || state.file_state.starts_with("masked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, declare, effects, outcome, refuses, relations, short};
    use crate::system::observe::{Observed, PackageState};

    fn state(active: &str, file_state: &str) -> UnitState {
        UnitState {
            load: if file_state.starts_with("masked") { "masked" } else { "loaded" }.into(),
            active: active.into(),
            file_state: file_state.into(),
            fragment: "/usr/lib/systemd/system/nginx.service".into(),
            ..UnitState::default()
        }
    }

    fn host(state: UnitState) -> Observed {
        Observed { units: [("nginx.service".to_owned(), state)].into(), ..Observed::default() }
    }

    fn planned(table: &str, state: UnitState) -> String {
        outcome(&declare::<Service>("nginx", table).unwrap(), &context(&host(state)))
    }

    const UP: &str = "running = true\nenabled = true";
    const DOWN: &str = "running = false\nenabled = false";

    #[test]
    fn plans_only_what_differs() {
        for (table, active, file_state, expected) in [
            (UP, "active", "enabled", "unchanged"),
            (UP, "reloading", "enabled", "unchanged"),
            (UP, "activating", "enabled", "unchanged"),
            (UP, "inactive", "enabled", "started"),
            (UP, "failed", "enabled", "started"),
            (UP, "deactivating", "enabled", "started"),
            (UP, "inactive", "disabled", "enabled, started"),
            (UP, "active", "enabled-runtime", "enabled"),
            (UP, "active", "static", "unchanged"),
            (UP, "active", "indirect", "unchanged"),
            (UP, "active", "generated", "unchanged"),
            (UP, "active", "alias", "unchanged"),
            (UP, "active", "linked", "unchanged"),
            (UP, "active", "transient", "unchanged"),
            (UP, "active", "", "unchanged"),
            (UP, "inactive", "masked", "E331"),
            (UP, "inactive", "masked-runtime", "E331"),
            (UP, "inactive", "bad", "E333"),
            (DOWN, "inactive", "disabled", "unchanged"),
            (DOWN, "active", "enabled", "disabled, stopped"),
            (DOWN, "inactive", "masked", "unchanged"),
            (DOWN, "inactive", "static", "unchanged"),
            (DOWN, "failed", "disabled", "failed state cleared"),
            ("running = false\nreset-failed = false", "failed", "disabled", "unchanged"),
            ("masked = true", "inactive", "masked", "unchanged"),
            ("masked = true", "inactive", "masked-runtime", "masked"),
            ("masked = true\nrunning = false", "active", "enabled", "masked, stopped"),
            ("masked = false", "active", "enabled", "unchanged"),
            ("masked = false\nenabled = true\nrunning = true", "inactive", "masked", "unmasked, enabled, started"),
        ] {
            assert_eq!(planned(table, state(active, file_state)), expected, "{table} {active} {file_state}");
        }
    }

    #[test]
    fn a_failed_state_is_cleared_before_the_start() {
        let up: Service = declare("nginx", UP).unwrap();
        let failed = host(state("failed", "enabled"));
        assert_eq!(effects(&up, &context(&failed)), ["ResetFailed nginx.service", "Start nginx.service"]);
        let plain: Service = declare("nginx", "running = true\nreset-failed = false").unwrap();
        assert_eq!(effects(&plain, &context(&failed)), ["Start nginx.service"]);
    }

    #[test]
    fn what_its_socket_starts_is_no_drift() {
        let triggered = |active: &str| UnitState {
            triggered_by: vec!["nginx.socket".into()],
            active_triggers: vec!["nginx.socket".into()],
            ..state(active, "enabled")
        };
        assert_eq!(planned(UP, triggered("inactive")), "unchanged");
        assert_eq!(planned(UP, triggered("failed")), "started");
        assert_eq!(planned("running = false", triggered("active")), "stopped (may be started again by nginx.socket)");
    }

    #[test]
    fn a_unit_in_etc_cannot_be_masked() {
        let own = UnitState { fragment: "/etc/systemd/system/nginx.service".into(), ..state("active", "enabled") };
        assert_eq!(planned("masked = true", own), "E332");
    }

    #[test]
    fn a_unit_that_is_not_there_has_to_come_from_somewhere() {
        let missing = || UnitState { load: "not-found".into(), active: "inactive".into(), ..UnitState::default() };
        for (table, expected) in
            [(UP, "E330"), (DOWN, "unchanged"), ("masked = true", "masked"), ("masked = false", "unchanged")]
        {
            assert_eq!(planned(table, missing()), expected, "{table}");
        }
        let with_unit = |provision: &Provision| *provision == Provision::Unit("nginx.service".into());
        let with_package = |provision: &Provision| *provision == Provision::Package("nginx-core".into());
        let mut fresh = host(missing());
        fresh.packages.insert("nginx-core".into(), PackageState::default());
        let all = format!("masked = false\n{UP}");
        let service: Service = declare("nginx", &all).unwrap();
        let begun = ["Unmask nginx.service", "Enable nginx.service", "Start nginx.service"];
        for provided in [&with_unit as &dyn Fn(&Provision) -> bool, &with_package] {
            assert_eq!(effects(&service, &Context { provided, ..context(&fresh) }), begun);
        }
        // An installed package brings nothing more.
        let installed = PackageState { installed: Some("1".into()), ..PackageState::default() };
        fresh.packages.insert("nginx-core".into(), installed);
        assert_eq!(outcome(&service, &Context { provided: &with_package, ..context(&fresh) }), "E330");
        let down: Service = declare("nginx", DOWN).unwrap();
        let stopped = ["Disable nginx.service", "Stop nginx.service"];
        assert_eq!(effects(&down, &Context { provided: &with_unit, ..context(&fresh) }), stopped);
    }

    #[test]
    fn an_instance_comes_from_its_template() {
        let provided = |provision: &Provision| *provision == Provision::Unit("app@.service".into());
        let service: Service = declare("app@one", "running = true").unwrap();
        let host = Observed::default();
        assert_eq!(effects(&service, &Context { provided: &provided, ..context(&host) }), ["Start app@one.service"]);
        assert!(relations(&service).1.contains(&Provision::Unit("app@.service".into())));
    }

    #[test]
    fn changes_of_what_is_watched_reload_or_restart_what_runs() {
        let watching = "reload-on = [\"file:/a\"]\nrestart-on = [\"file:/b\"]";
        let (a, b) = (ResourceId::new("file", "/a"), ResourceId::new("file", "/b"));
        for (table, active, changed, expected) in [
            ("", "active", vec![&a], vec!["Reload nginx.service"]),
            ("", "active", vec![&b], vec!["Restart nginx.service"]),
            ("", "active", vec![&a, &b], vec!["Restart nginx.service"]),
            ("", "active", vec![], vec![]),
            ("", "inactive", vec![&b], vec![]),
            ("", "failed", vec![&b], vec![]),
            ("running = true\n", "active", vec![&a], vec!["Reload nginx.service"]),
            ("running = true\n", "inactive", vec![&a, &b], vec!["Start nginx.service"]),
            ("running = false\n", "active", vec![&a], vec!["Stop nginx.service"]),
        ] {
            let service: Service = declare("nginx", &format!("{table}{watching}")).unwrap();
            let changes = |id: &ResourceId| changed.contains(&id);
            let host = host(state(active, "enabled"));
            let context = Context { changes: &changes, ..context(&host) };
            assert_eq!(effects(&service, &context), expected, "{table} {active} {changed:?}");
        }
    }

    #[test]
    fn the_bus_is_reloaded_instead_of_restarted() {
        let service: Service = declare("dbus", "restart-on = [\"package:dbus\"]").unwrap();
        let host = Observed {
            units: [("dbus.service".to_owned(), state("active", "static"))].into(),
            ..Observed::default()
        };
        assert_eq!(effects(&service, &Context { changes: &|_| true, ..context(&host) }), ["Reload dbus.service"]);
    }

    #[test]
    fn only_what_abide_began_is_undone() {
        let creates = |active: &str, file_state: &str| {
            let service: Service = declare("nginx", UP).unwrap();
            service.plan(&context(&host(state(active, file_state)))).unwrap().is_some_and(|change| change.creates)
        };
        assert!(creates("inactive", "disabled"));
        assert!(!creates("inactive", "enabled"));
        assert!(!creates("active", "disabled"));
        let pruned = |table: &str, active: &str, file_state: &str| {
            let service: Service = declare("nginx", table).unwrap();
            let change = service.prune(&context(&host(state(active, file_state)))).unwrap();
            change.map(|change| short(&change)).unwrap_or_default()
        };
        assert_eq!(pruned(UP, "active", "enabled"), ["Disable nginx.service", "Stop nginx.service"]);
        assert_eq!(pruned("running = true", "active", "enabled"), ["Stop nginx.service"]);
        assert!(pruned(UP, "inactive", "disabled").is_empty());
        assert!(pruned(DOWN, "active", "enabled").is_empty());
    }

    #[test]
    fn its_package_and_unit_come_first() {
        let requires = |table: &str| relations(&declare::<Service>("nginx", table).unwrap()).1;
        assert!(requires(UP).contains(&Provision::Package("nginx".into())));
        assert!(requires(UP).contains(&Provision::Unit("nginx.service".into())));
        assert!(requires("running = true\npackage = \"nginx-core\"").contains(&Provision::Package("nginx-core".into())));
    }

    #[test]
    fn ignored_state_is_left() {
        let service: Service = declare("nginx", UP).unwrap();
        let (host, ignore) = (host(state("inactive", "disabled")), ["running".to_owned()]);
        assert_eq!(outcome(&service, &Context { ignore: &ignore, ..context(&host) }), "enabled");
    }

    /// Attack 34: names of units that are options, paths or several words.
    #[test]
    fn what_is_no_service_is_refused() {
        for (name, table, message, pointed) in [
            ("a b", UP, "not the name of a unit", ""),
            ("getty@.service", UP, "not the name of a unit", ""),
            ("--root=/srv", UP, "not the name of a unit", ""),
            ("../x.service", UP, "not the name of a unit", ""),
            ("a.service\n", UP, "not the name of a unit", ""),
            ("nginx", "reload-on = [\"/etc/a\"]", "does not name a resource", "[\"/etc/a\"]"),
            ("nginx", "reload-on = [\"fiel:/etc/a\"]", "does not name a resource", "[\"fiel:/etc/a\"]"),
            ("nginx", "masked = true\nrunning = true", "neither runs nor", "true"),
            ("nginx", "running = true\ntimeout = \"soon\"", "invalid value", "\"soon\""),
            ("nginx", "timeout = \"5min\"", "nothing is said", ""),
            ("abide", "running = false", "does not turn itself off", "false"),
            ("abide", "restart-on = [\"package:abide\"]", "does not restart itself", "[\"package:abide\"]"),
            ("dbus", "masked = true", "system bus", "true"),
            ("nginx", "state = \"running\"", "unknown key `state`", "state"),
        ] {
            refuses::<Service>(name, table, message, pointed);
        }
    }
}
