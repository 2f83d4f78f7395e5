//! The state of many units in one pipelined conversation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use zbus::{Message, Variant};

use super::bus::{
    Bus, PROPERTIES, SERVICE, UNIT, call, is_unit_name, manager_call, property_call, unit_path,
};
use crate::system::observe::UnitState;

/// Asks for all properties of every unit at once; asking a unit's object loads the unit. Then, in a second round, for
/// the state of those triggers that were not asked for themselves.
pub(super) async fn observe(
    bus: &Bus,
    names: &BTreeSet<String>,
) -> zbus::Result<BTreeMap<String, UnitState>> {
    let mut states: BTreeMap<String, UnitState> = BTreeMap::new();
    let (templates, rest): (Vec<&String>, Vec<&String>) =
        names.iter().filter(|name| is_unit_name(name)).partition(|name| is_template(name));
    for name in names.iter().filter(|name| !is_unit_name(name)) {
        states.insert(name.clone(), UnitState { load: "error".into(), ..UnitState::default() });
    }
    let mut calls = Vec::with_capacity(rest.len() + templates.len());
    for name in &rest {
        calls.push(call(&unit_path(name), PROPERTIES, "GetAll", &UNIT)?);
    }
    for name in &templates {
        calls.push(manager_call("GetUnitFileState", name)?);
    }
    let mut answers = bus.all(&calls).await?.into_iter();
    for name in rest {
        states.insert(name.clone(), answers.next().map_or_else(unreadable, unit));
    }
    for name in templates {
        states.insert(name.clone(), answers.next().map_or_else(unreadable, template));
    }
    triggers(bus, &mut states).await?;
    Ok(states)
}

/// How a unit lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Liveness {
    /// `loaded`, `not-found`, ….
    pub load: String,
    /// `active`, `failed`, ….
    pub active: String,
    /// The finer state of its type.
    pub sub: String,
    /// systemd's name for the run of the unit, in hex; another run has another.
    pub invocation: String,
    /// Of a service: how often systemd started it again by itself.
    pub restarts: u32,
    /// Of a service: how its last run ended.
    pub result: String,
}

/// How units live. What only services have is read where it is there.
pub(super) async fn liveness(
    bus: &Bus,
    names: &BTreeSet<String>,
) -> zbus::Result<BTreeMap<String, Liveness>> {
    let mut calls = Vec::with_capacity(names.len() * 3);
    for name in names {
        let path = unit_path(name);
        calls.push(call(&path, PROPERTIES, "GetAll", &UNIT)?);
        calls.push(property_call(&path, SERVICE, "NRestarts")?);
        calls.push(property_call(&path, SERVICE, "Result")?);
    }
    let mut answers = bus.all(&calls).await?.into_iter();
    let mut next = || answers.next().unwrap_or(Err(zbus::Error::InvalidReply));
    let mut found = BTreeMap::new();
    for name in names {
        let (unit, restarts, result) = (next()?, next(), next());
        let body = unit.body();
        let mut properties: HashMap<&str, Variant<'_>> = body.deserialize()?;
        let mut take = |name: &str| properties.remove(name);
        let id = take("InvocationID").and_then(|value| Vec::<u8>::try_from(value).ok()).unwrap_or_default();
        let liveness = Liveness {
            load: string(take("LoadState")),
            active: string(take("ActiveState")),
            sub: string(take("SubState")),
            invocation: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            restarts: restarts.and_then(|answer| number(&answer)).unwrap_or_default(),
            result: result.and_then(|answer| text(&answer)).unwrap_or_default(),
        };
        found.insert(name.clone(), liveness);
    }
    Ok(found)
}

/// A property answer that is a number.
fn number(message: &Message) -> zbus::Result<u32> {
    let body = message.body();
    let value: Variant<'_> = body.deserialize()?;
    u32::try_from(value)
}

/// Fills in which triggers are active.
async fn triggers(bus: &Bus, states: &mut BTreeMap<String, UnitState>) -> zbus::Result<()> {
    let mut active: HashMap<String, bool> =
        states.iter().map(|(name, state)| (name.clone(), is_active(&state.active))).collect();
    let unknown: BTreeSet<String> = states
        .values()
        .flat_map(|state| &state.triggered_by)
        .filter(|name| !active.contains_key(*name))
        .cloned()
        .collect();
    let calls: Vec<Message> = unknown
        .iter()
        .map(|name| property_call(&unit_path(name), UNIT, "ActiveState"))
        .collect::<zbus::Result<_>>()?;
    for (name, answer) in unknown.into_iter().zip(bus.all(&calls).await?) {
        let state = answer.and_then(|message| text(&message)).unwrap_or_default();
        active.insert(name, is_active(&state));
    }
    for state in states.values_mut() {
        state.active_triggers = state
            .triggered_by
            .iter()
            .filter(|name| active.get(*name).copied().unwrap_or(false))
            .cloned()
            .collect();
    }
    Ok(())
}

fn unit(answer: zbus::Result<Message>) -> UnitState {
    let Ok(message) = answer else { return unreadable() };
    let body = message.body();
    let Ok(mut properties) = body.deserialize::<HashMap<&str, Variant<'_>>>() else { return unreadable() };
    let mut take = |name: &str| properties.remove(name);
    let mut triggered_by =
        take("TriggeredBy").and_then(|value| Vec::<String>::try_from(value).ok()).unwrap_or_default();
    triggered_by.sort();
    UnitState {
        load: string(take("LoadState")),
        active: string(take("ActiveState")),
        sub: string(take("SubState")),
        file_state: string(take("UnitFileState")),
        fragment: string(take("FragmentPath")).into(),
        needs_reload: boolean(take("NeedDaemonReload")),
        can_reload: boolean(take("CanReload")),
        triggered_by,
        active_triggers: Vec::new(),
    }
}

/// A template is never loaded; only whether its file exists and is enabled can be known.
fn template(answer: zbus::Result<Message>) -> UnitState {
    let file_state = answer.and_then(|message| message.body().deserialize::<String>()).ok();
    let load = if file_state.is_some() { "loaded" } else { "not-found" };
    UnitState {
        load: load.into(),
        active: "inactive".into(),
        sub: "dead".into(),
        file_state: file_state.unwrap_or_default(),
        ..UnitState::default()
    }
}

fn unreadable() -> UnitState {
    UnitState { load: "error".into(), active: "inactive".into(), ..UnitState::default() }
}

/// A template: `name@.suffix`, without an instance.
pub(super) fn is_template(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with('@'))
}

fn is_active(state: &str) -> bool {
    matches!(state, "active" | "activating" | "reloading")
}

/// A property answer that is a string.
pub(super) fn text(message: &Message) -> zbus::Result<String> {
    let body = message.body();
    let value: Variant<'_> = body.deserialize()?;
    String::try_from(value)
}

fn string(value: Option<Variant<'_>>) -> String {
    value.and_then(|value| String::try_from(value).ok()).unwrap_or_default()
}

fn boolean(value: Option<Variant<'_>>) -> bool {
    value.and_then(|value| bool::try_from(value).ok()).unwrap_or_default()
}
