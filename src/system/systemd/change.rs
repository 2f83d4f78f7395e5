//! Changing units: files of many units in one call, jobs of many units at once.

use futures_core::Stream as _;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath};

use super::bus::{self, Bus, MANAGER, UNIT, manager_call, property_call, unit_path};
use super::units::text;
use super::{Systemd, SystemdError, call_error};
use crate::failpoint::reach;
use crate::plan::UnitAction;

/// Signals of finished jobs that may wait to be read; only jobs of others can be among them.
const QUEUED_SIGNALS: usize = 4096;

/// One change of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitChange {
    /// Full name with suffix.
    pub unit: String,
    /// What to do.
    pub action: UnitAction,
    /// Seconds after which a job counts as failed.
    pub timeout: u32,
}

/// How a job ended.
enum End {
    /// With this result of systemd's (`done`, `failed`, `timeout`, `dependency`, …).
    Result(String),
    /// Not within its time; the unit is in this state.
    TimedOut(String),
    /// It was done, but a condition of the unit kept it from starting.
    ConditionUnmet,
    /// There never was a job.
    Refused(zbus::Error),
}

impl Systemd {
    /// Changes units, in this order whatever the order of the list: unmask, mask, disable, enable, each in one call for all units, then one
    /// daemon-reload if any of those did something, reset-failed, and then all jobs at once, awaited together.
    ///
    /// Each change has its own result, in the order of the list. A `Reload` of a unit that cannot reload restarts it; `Reload` and
    /// `Restart` leave a unit alone that does not run.
    pub fn change(&self, changes: &[UnitChange]) -> Vec<Result<(), SystemdError>> {
        let mut results: Vec<Option<Result<(), SystemdError>>> =
            changes.iter().map(|change| refusal(change).map(Err)).collect();
        self.files(changes, &mut results);
        self.reset_failed(changes, &mut results);
        let jobs: Vec<usize> = (0..changes.len()).filter(|place| results[*place].is_none()).collect();
        let wanted: Vec<&UnitChange> = jobs.iter().map(|place| &changes[*place]).collect();
        for (place, result) in jobs.into_iter().zip(self.jobs(&wanted)) {
            results[place] = Some(result);
        }
        // Every place was filled above: what was neither refused nor done with files became a job.
        results.into_iter().map(|result| result.unwrap_or(Ok(()))).collect()
    }

    /// Starts a unit and waits until its start job ended; for a one-shot service, until it ran.
    ///
    /// # Errors
    /// As a `Start` in [`Systemd::change`].
    pub fn start_and_wait(&self, unit: &str, timeout: Duration) -> Result<(), SystemdError> {
        let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        let change = UnitChange { unit: unit.to_owned(), action: UnitAction::Start, timeout: seconds };
        self.change(&[change]).pop().unwrap_or(Ok(()))
    }

    /// Ends every process of a unit at once, whatever it says to that.
    ///
    /// # Errors
    /// systemd refuses or does not answer. A unit that does not run is no error.
    pub fn kill(&self, unit: &str) -> Result<(), SystemdError> {
        /// `SIGKILL`.
        const KILL: i32 = 9;
        match self.runtime.block_on(self.bus.manager("KillUnit", &(unit, "all", KILL))) {
            Ok(_) => Ok(()),
            Err(error)
                if ["NoSuchUnit", "NoSuchProcess"].iter().any(|end| error_name(&error).ends_with(end)) =>
            {
                Ok(())
            }
            Err(error) => Err(call_error(format!("end {unit}"), error)),
        }
    }

    /// Changes of unit files.
    fn files(&self, changes: &[UnitChange], results: &mut [Option<Result<(), SystemdError>>]) {
        let mut changed = false;
        for action in [UnitAction::Unmask, UnitAction::Mask, UnitAction::Disable, UnitAction::Enable] {
            let places: Vec<usize> = (0..changes.len())
                .filter(|place| changes[*place].action == action && results[*place].is_none())
                .collect();
            let units: Vec<&str> = places.iter().map(|place| changes[*place].unit.as_str()).collect();
            if units.is_empty() {
                continue;
            }
            changed = true;
            reach("units: before their files change");
            let together = self.runtime.block_on(change_files(&self.bus, action, &units));
            reach("units: files changed");
            for (place, unit) in places.iter().zip(&units) {
                // One bad unit fails the whole call: ask again one by one, so that each has its own answer.
                let result = match &together {
                    Ok(()) => Ok(()),
                    Err(_) if units.len() > 1 => {
                        self.runtime.block_on(change_files(&self.bus, action, &[unit]))
                    }
                    Err(error) => Err(error.clone()),
                };
                results[*place] = Some(result.map_err(|error| explain(unit, action, error)));
            }
        }
        if changed {
            self.reread(changes, results);
        }
    }

    /// systemd caches what it knows of unit files, so it has to read them again; then what was enabled must be.
    fn reread(&self, changes: &[UnitChange], results: &mut [Option<Result<(), SystemdError>>]) {
        let reloaded = self.daemon_reload();
        for (change, result) in changes.iter().zip(results) {
            if !matches!(result, Some(Ok(()))) {
                continue;
            }
            if let Err(error) = &reloaded {
                *result = Some(Err(error.clone()));
            } else if change.action == UnitAction::Enable {
                *result = Some(self.enabled(&change.unit));
            }
        }
    }

    fn enabled(&self, unit: &str) -> Result<(), SystemdError> {
        let state = self.runtime.block_on(async {
            self.bus.manager("GetUnitFileState", &unit).await?.body().deserialize::<String>()
        });
        match state.as_deref() {
            Ok("static" | "generated" | "transient" | "bad") => {
                Err(SystemdError::NotEnableable { unit: unit.to_owned(), state: state.unwrap_or_default() })
            }
            _ => Ok(()),
        }
    }

    fn reset_failed(&self, changes: &[UnitChange], results: &mut [Option<Result<(), SystemdError>>]) {
        for (change, result) in changes.iter().zip(results) {
            if change.action == UnitAction::ResetFailed && result.is_none() {
                let answer = self.runtime.block_on(self.bus.manager("ResetFailedUnit", &change.unit));
                *result = Some(match answer {
                    Ok(_) => Ok(()),
                    // A unit that is not loaded has not failed.
                    Err(error) if error_name(&error).ends_with(".NoSuchUnit") => Ok(()),
                    Err(error) => Err(explain(&change.unit, change.action, error)),
                });
            }
        }
    }

    fn jobs(&self, changes: &[&UnitChange]) -> Vec<Result<(), SystemdError>> {
        if changes.is_empty() {
            return Vec::new();
        }
        let ends = self.runtime.block_on(async {
            self.subscribe().await?;
            run_jobs(&self.bus, changes).await.map_err(|source| call_error("run jobs", source))
        });
        match ends {
            Ok(ends) => changes.iter().zip(ends).map(|(change, end)| judge(change, end)).collect(),
            Err(error) => changes.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

/// What may not be done to a unit in the middle of a run, and why.
fn refusal(change: &UnitChange) -> Option<SystemdError> {
    let ends = matches!(change.action, UnitAction::Stop | UnitAction::Restart | UnitAction::Mask);
    let reason = match change.unit.as_str() {
        unit if !bus::is_unit_name(unit) => return Some(SystemdError::BadName { name: unit.to_owned() }),
        "abide.service" if ends => "that would end this very run; its package restarts it when a run is over",
        "dbus.service" | "dbus-broker.service" | "dbus.socket" if ends => {
            "every service that is connected to the system bus would be cut off; a reboot does it safely"
        }
        _ => return None,
    };
    Some(SystemdError::Protected { unit: change.unit.clone(), action: change.action, reason })
}

/// What to be careful about when this unit is restarted or stopped; shown with the plan.
pub fn caution(unit: &str, action: UnitAction) -> Option<&'static str> {
    if !matches!(action, UnitAction::Stop | UnitAction::Restart | UnitAction::Reload) {
        return None;
    }
    Some(match unit {
        "systemd-networkd.service"
        | "NetworkManager.service"
        | "networking.service"
        | "wpa_supplicant.service" => "the host may lose its network while this unit restarts",
        "ssh.service" | "sshd.service" | "ssh.socket" | "sshd.socket" => {
            "open sessions stay, but nobody can log in if it does not come up again"
        }
        "systemd-resolved.service" => "names cannot be resolved while this unit restarts",
        "systemd-logind.service" => "graphical sessions may end when this unit restarts",
        _ => return None,
    })
}

async fn change_files(bus: &Bus, action: UnitAction, units: &[&str]) -> zbus::Result<()> {
    let calls = match action {
        UnitAction::Enable => vec![manager_call("EnableUnitFiles", &(units, false, false))?],
        UnitAction::Mask => vec![manager_call("MaskUnitFiles", &(units, false, false))?],
        // Links may be in /run as well.
        UnitAction::Disable => vec![
            manager_call("DisableUnitFiles", &(units, false))?,
            manager_call("DisableUnitFiles", &(units, true))?,
        ],
        _ => vec![
            manager_call("UnmaskUnitFiles", &(units, false))?,
            manager_call("UnmaskUnitFiles", &(units, true))?,
        ],
    };
    bus.all(&calls).await?.into_iter().next().unwrap_or(Err(zbus::Error::InvalidReply)).map(drop)
}

/// Subscribes, issues all jobs, and waits for the end of each.
async fn run_jobs(bus: &Bus, changes: &[&UnitChange]) -> zbus::Result<Vec<End>> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    let capacity = std::num::NonZeroUsize::new(QUEUED_SIGNALS);
    let mut signals = MessageStream::for_match_rule(rule, &bus.connection, capacity).await?;
    let calls: Vec<Message> = changes
        .iter()
        .map(|change| manager_call(method(change.action), &(change.unit.as_str(), "replace")))
        .collect::<zbus::Result<_>>()?;
    reach("units: before jobs");
    let started = Instant::now();
    let mut ends: BTreeMap<usize, End> = BTreeMap::new();
    let mut pending: HashMap<OwnedObjectPath, Vec<usize>> = HashMap::new();
    for (place, answer) in bus.all(&calls).await?.into_iter().enumerate() {
        match answer.and_then(|message| message.body().deserialize::<OwnedObjectPath>()) {
            Ok(job) => pending.entry(job).or_default().push(place),
            Err(error) => {
                ends.insert(place, End::Refused(error));
            }
        }
    }
    reach("units: jobs begun");
    let deadline = |place: usize| started + Duration::from_secs(changes[place].timeout.into());
    while let Some(soonest) = pending.values().flatten().map(|place| deadline(*place)).min() {
        match tokio::time::timeout_at(soonest, bus::next(&mut signals)).await {
            Ok(message) => {
                let (_, job, _, result): (u32, OwnedObjectPath, String, String) =
                    message?.body().deserialize()?;
                for place in pending.remove(&job).unwrap_or_default() {
                    ends.insert(place, End::Result(result.clone()));
                }
            }
            Err(_) => {
                let late: Vec<usize> =
                    pending.values().flatten().copied().filter(|place| deadline(*place) <= soonest).collect();
                pending.values_mut().for_each(|places| places.retain(|place| !late.contains(place)));
                pending.retain(|_, places| !places.is_empty());
                for place in late {
                    ends.insert(place, End::TimedOut(state(bus, &changes[place].unit).await));
                }
            }
        }
    }
    reach("units: jobs ended");
    debug_assert!(
        signals.size_hint().1.is_none_or(|most| most > 0),
        "the stream of signals must still be open"
    );
    conditions(bus, changes, &mut ends).await?;
    Ok(ends.into_values().collect())
}

/// Which of the units that were started did not, because of a condition: their job is `done` all the same.
async fn conditions(bus: &Bus, changes: &[&UnitChange], ends: &mut BTreeMap<usize, End>) -> zbus::Result<()> {
    let places: Vec<usize> = ends
        .iter()
        .filter(|(place, end)| {
            changes[**place].action == UnitAction::Start
                && matches!(end, End::Result(result) if result == "done")
        })
        .map(|(place, _)| *place)
        .collect();
    for place in places {
        let unit = &changes[place].unit;
        let path = unit_path(unit);
        let calls = [
            property_call(&path, UNIT, "ConditionResult"),
            property_call(&path, UNIT, "ConditionTimestampMonotonic"),
            property_call(&path, SERVICE, "Type"),
        ]
        .into_iter()
        .collect::<zbus::Result<Vec<Message>>>()?;
        let answers = bus.all(&calls).await?;
        let met = answers.first().and_then(variant::<bool>);
        // A unit that is unloaded in the meantime is loaded anew by this very question, and then nothing is known of its start. For a
        // oneshot that is its normal end; anything else would still be there, had it started.
        let unloaded = answers.get(1).and_then(variant::<u64>).is_none_or(|time| time == 0);
        let oneshot = answers.get(2).and_then(variant::<String>).is_some_and(|kind| kind == "oneshot");
        let over = unloaded && oneshot;
        if met == Some(false) && !over && state(bus, unit).await.starts_with("inactive") {
            ends.insert(place, End::ConditionUnmet);
        }
    }
    Ok(())
}

/// The value in the answer to a property call.
fn variant<T>(answer: &zbus::Result<Message>) -> Option<T>
where
    T: for<'a> TryFrom<zbus::Variant<'a>>,
{
    let body = answer.as_ref().ok()?.body();
    let value: zbus::Variant<'_> = body.deserialize().ok()?;
    T::try_from(value).ok()
}

async fn state(bus: &Bus, unit: &str) -> String {
    let path = unit_path(unit);
    let calls = ["ActiveState", "SubState"].map(|property| property_call(&path, UNIT, property));
    let Ok(calls) = calls.into_iter().collect::<zbus::Result<Vec<_>>>() else { return String::new() };
    let answers = bus.all(&calls).await.unwrap_or_default();
    let words: Vec<String> = answers.into_iter().filter_map(|answer| text(&answer.ok()?).ok()).collect();
    words.join(" ")
}

fn method(action: UnitAction) -> &'static str {
    match action {
        UnitAction::Stop => "StopUnit",
        UnitAction::Reload => "ReloadOrTryRestartUnit",
        UnitAction::Restart => "TryRestartUnit",
        _ => "StartUnit",
    }
}

fn judge(change: &UnitChange, end: End) -> Result<(), SystemdError> {
    let UnitChange { unit, action, timeout } = change;
    match end {
        End::Result(result) if result == "done" || result == "skipped" => Ok(()),
        End::Result(result) => Err(SystemdError::JobFailed {
            unit: unit.clone(),
            action: *action,
            result: words(&result),
            journal: journal(unit),
        }),
        End::TimedOut(state) => Err(SystemdError::TimedOut {
            unit: unit.clone(),
            action: *action,
            seconds: u64::from(*timeout),
            state,
            journal: journal(unit),
        }),
        End::ConditionUnmet => Err(SystemdError::ConditionUnmet { unit: unit.clone() }),
        End::Refused(error) => Err(explain(unit, *action, error)),
    }
}

/// systemd's results of jobs, in words.
fn words(result: &str) -> String {
    match result {
        "failed" => "its process failed".into(),
        "timeout" => "its own time limit passed".into(),
        "dependency" => "a unit that it requires failed".into(),
        "canceled" => "another job replaced this one".into(),
        "assert" => "one of its assertions is not met".into(),
        "invalid" => "it cannot do that".into(),
        "unsupported" => "this kind of unit is not supported on this host".into(),
        "collected" => "it was unloaded meanwhile".into(),
        "once" => "it was already started once since boot".into(),
        other => format!("the job ended as `{other}`"),
    }
}

fn explain(unit: &str, action: UnitAction, error: zbus::Error) -> SystemdError {
    let name = error_name(&error);
    let said = error.to_string();
    let unit = unit.to_owned();
    if action == UnitAction::Mask && (name.ends_with(".FileExists") || said.contains("already exists")) {
        let path = std::path::Path::new("/etc/systemd/system").join(&unit);
        SystemdError::CannotMask { unit, path }
    } else if name.ends_with(".UnitMasked") || said.contains("is masked") {
        SystemdError::Masked { unit, action }
    } else if name.ends_with(".NoSuchUnit") || name.ends_with(".FileNotFound") {
        SystemdError::NoSuchUnit { unit }
    } else {
        call_error(format!("have {unit} {}", super::error::past(action)), error)
    }
}

/// The D-Bus name of an error; empty for one that did not come from the other side.
pub(super) fn error_name(error: &zbus::Error) -> String {
    use zbus::DBusError;
    match error {
        zbus::Error::MethodError(name, _, _) => name.to_string(),
        zbus::Error::FDO(error) => error.name().to_string(),
        _ => String::new(),
    }
}

/// The interface of service units.
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// The last lines that a unit's own processes left in the journal; none when it cannot be read, for this only adds to an error.
fn journal(unit: &str) -> Vec<String> {
    // Not `--unit`: that adds what systemd says of each start and end, and leaves no room for the reason.
    let own = format!("_SYSTEMD_UNIT={unit}");
    let argv = ["journalctl", "--quiet", "--no-pager", "--lines=10", "--output=cat", &own].map(String::from);
    let program = crate::system::exec::Program {
        timeout: Duration::from_secs(10),
        ..crate::system::exec::Program::new(argv)
    };
    match crate::system::exec::run(&program) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_cut_the_branch_is_refused() {
        for (unit, action, refused) in [
            ("abide.service", UnitAction::Restart, true),
            ("abide.service", UnitAction::Stop, true),
            ("abide.service", UnitAction::Enable, false),
            ("abide.service", UnitAction::Start, false),
            ("dbus.service", UnitAction::Restart, true),
            ("dbus.service", UnitAction::Reload, false),
            ("nginx.service", UnitAction::Restart, false),
            ("nginx", UnitAction::Start, true),
        ] {
            let change = UnitChange { unit: unit.into(), action, timeout: 1 };
            assert_eq!(refusal(&change).is_some(), refused, "{change:?}");
        }
    }
}
