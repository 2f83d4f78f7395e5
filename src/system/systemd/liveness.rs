//! How units live, for whoever judges their health.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use zbus::{Message, Variant};

use super::bus::{Bus, PROPERTIES, SERVICE, UNIT, call, property_call, unit_path};
use super::units::{string, text};

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
pub(super) async fn observe(bus: &Bus, names: &BTreeSet<String>) -> zbus::Result<BTreeMap<String, Liveness>> {
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
