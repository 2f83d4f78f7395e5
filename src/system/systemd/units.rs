//! The state of many units in one pipelined conversation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use zbus::{Message, Variant};

use super::bus::{Bus, PROPERTIES, UNIT, call, is_unit_name, manager_call, property_call, unit_path};
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
    doubted(bus, &mut states, &linked()).await?;
    Ok(states)
}

/// systemd keeps what it found out about a unit's enablement until it reloads, whatever is done to the links by hand. Where they say
/// otherwise it is asked to look again; to have it look at all of them takes a millisecond each.
async fn doubted(
    bus: &Bus,
    states: &mut BTreeMap<String, UnitState>,
    linked: &BTreeSet<String>,
) -> zbus::Result<()> {
    // A unit that only an alias enables is one of them each time.
    let doubted: Vec<String> = states
        .iter()
        .filter(|(name, state)| match state.file_state.as_str() {
            "enabled" | "enabled-runtime" => !linked.contains(*name),
            "disabled" => linked.contains(*name),
            _ => false,
        })
        .map(|(name, _)| name.clone())
        .collect();
    let calls: Vec<Message> =
        doubted.iter().map(|name| manager_call("GetUnitFileState", name)).collect::<zbus::Result<_>>()?;
    for (name, answer) in doubted.iter().zip(bus.all(&calls).await?) {
        let found = answer.and_then(|message| message.body().deserialize::<String>());
        if let (Ok(found), Some(state)) = (found, states.get_mut(name)) {
            state.file_state = found;
        }
    }
    Ok(())
}

/// The units that a link of an administrator's `.wants` or `.requires` folder enables.
fn linked() -> BTreeSet<String> {
    let names = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = super::watch::enabling_folders();
    folders.into_iter().flat_map(names).filter_map(|entry| entry.file_name().into_string().ok()).collect()
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

pub(super) fn string(value: Option<Variant<'_>>) -> String {
    value.and_then(|value| String::try_from(value).ok()).unwrap_or_default()
}

fn boolean(value: Option<Variant<'_>>) -> bool {
    value.and_then(|value| bool::try_from(value).ok()).unwrap_or_default()
}
