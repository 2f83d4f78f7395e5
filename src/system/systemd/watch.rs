//! Listening to units: for the agent, which wakes up when a managed unit changes.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use zbus::{MatchRule, Message, MessageStream, Variant};

use super::bus::{self, Bus, MANAGER, PROPERTIES, UNIT, unit_of_path, unit_path};
use super::{SystemdError, call_error};

/// The system bus allows a connection 512 match rules (dbus-daemon's `max_match_rules_per_connection`); with more units
/// than this, one rule for all units is used and the rest is filtered here.
const SEPARATE_RULES: usize = 400;

/// The properties whose change is a change of state.
const STATE: [&str; 5] = ["ActiveState", "SubState", "LoadState", "UnitFileState", "NeedDaemonReload"];

/// Something that happened to units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitEvent {
    /// The state of this managed unit changed.
    Changed(String),
    /// Somebody enabled, disabled, masked or unmasked units, or had systemd read its files again; any unit may be concerned.
    FilesChanged,
}

/// Listens to units until it is dropped.
pub struct UnitWatch {
    stream: MessageStream,
    units: BTreeSet<String>,
}

/// Starts to listen to these units, and to changes of unit files. To be called in a `tokio` runtime, which must keep running.
///
/// # Errors
/// There is no systemd, or it cannot be reached.
pub async fn watch(units: BTreeSet<String>) -> Result<UnitWatch, SystemdError> {
    let (bus, filtered) = Bus::listen().await?;
    let stream = MessageStream::from(&bus.connection);
    if filtered {
        add_rules(&bus, &units).await.map_err(|source| call_error("send signals of units", source))?;
        bus.manager("Subscribe", &()).await.map_err(|source| call_error("send signals", source))?;
    }
    Ok(UnitWatch { stream, units })
}

/// Where somebody without `systemctl` can enable, disable, mask or replace these units: the administrator's folder, and its
/// `.wants` and `.requires` folders as they are now.
pub fn enablement(units: &BTreeSet<String>) -> BTreeSet<PathBuf> {
    if units.is_empty() {
        return BTreeSet::new();
    }
    let mut folders = enabling_folders();
    folders.push(PathBuf::from(ADMINISTRATOR));
    folders.iter().flat_map(|folder| units.iter().map(move |unit| folder.join(unit))).collect()
}

/// Where the administrator's units are, and the links that enable units.
const ADMINISTRATOR: &str = "/etc/systemd/system";

/// The folders whose links enable units, as they are now.
pub(super) fn enabling_folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(ADMINISTRATOR).into_iter().flatten().flatten().map(|entry| entry.path());
    let enables = |path: &PathBuf| path.extension().is_some_and(|end| end == "wants" || end == "requires");
    entries.filter(enables).collect()
}

impl UnitWatch {
    /// The units it listens to.
    pub fn units(&self) -> &BTreeSet<String> {
        &self.units
    }

    /// Waits for the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The connection ended: the bus was restarted, for example. Start a new watch, and look at all units once.
    pub async fn next(&mut self) -> Result<UnitEvent, SystemdError> {
        loop {
            let message = bus::next(&mut self.stream)
                .await
                .map_err(|source| call_error("go on sending signals", source))?;
            if let Some(event) = self.event(&message) {
                return Ok(event);
            }
        }
    }

    fn event(&self, message: &Message) -> Option<UnitEvent> {
        if message.message_type() != zbus::message::Type::Signal {
            return None;
        }
        let header = message.header();
        match (header.interface()?.as_str(), header.member()?.as_str()) {
            (MANAGER, "UnitFilesChanged" | "Reloading") => Some(UnitEvent::FilesChanged),
            (MANAGER, "UnitRemoved") => {
                let (unit, _): (String, zbus::OwnedObjectPath) = message.body().deserialize().ok()?;
                self.units.contains(&unit).then_some(UnitEvent::Changed(unit))
            }
            (PROPERTIES, "PropertiesChanged") => {
                let unit = unit_of_path(header.path()?.as_str())?;
                let body = message.body();
                let (interface, changed, gone): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) =
                    body.deserialize().ok()?;
                let state = STATE.iter().any(|name| changed.contains_key(name) || gone.contains(name));
                (interface == UNIT && state && self.units.contains(&unit)).then_some(UnitEvent::Changed(unit))
            }
            _ => None,
        }
    }
}

async fn add_rules(bus: &Bus, units: &BTreeSet<String>) -> zbus::Result<()> {
    let signal =
        || MatchRule::builder().msg_type(zbus::message::Type::Signal).sender("org.freedesktop.systemd1");
    let mut rules = vec![
        signal().interface(MANAGER).member("UnitFilesChanged").build()?.to_string(),
        signal().interface(MANAGER).member("Reloading").build()?.to_string(),
    ];
    let changed = || signal().interface(PROPERTIES).member("PropertiesChanged");
    if units.len() > SEPARATE_RULES {
        rules.push(changed().path_namespace("/org/freedesktop/systemd1/unit").build()?.to_string());
        rules.push(signal().interface(MANAGER).member("UnitRemoved").build()?.to_string());
    } else {
        for unit in units {
            rules.push(changed().path(unit_path(unit)).build()?.to_string());
        }
    }
    let calls = rules
        .iter()
        .map(|rule| {
            Message::method_call("/org/freedesktop/DBus", "AddMatch")
                .destination("org.freedesktop.DBus")
                .interface("org.freedesktop.DBus")
                .build(&rule.as_str())
        })
        .collect::<zbus::Result<Vec<_>>>()?;
    bus.all(&calls).await?.into_iter().collect::<zbus::Result<Vec<_>>>().map(drop)
}
