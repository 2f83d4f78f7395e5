//! systemd over D-Bus, with a synchronous face: the state of units, jobs, and programs in units of their own.
//!
//! **Invariant:** every job is awaited by its own signal, subscribed to before the call; nothing here polls a job or
//! starts `systemctl`.

#![allow(clippy::disallowed_methods, reason = "the output files of a transient unit are abide's own")]

mod bus;
mod capture;
mod change;
mod direct;
mod error;
mod liveness;
mod power;
mod transient;
mod units;
mod watch;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use self::bus::Bus;
use crate::failpoint::reach;
use crate::system::observe::UnitState;

pub use self::bus::is_unit_name;
pub use self::change::{UnitChange, caution};
pub use self::error::SystemdError;
pub use self::liveness::Liveness;
pub use self::transient::{Transient, TransientOutput};
pub use self::watch::{UnitEvent, UnitWatch, enablement, watch};

/// How a service is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// systemd's word: `active`, `activating`, `failed`, …
    pub active: String,
    /// Its main process; 0: none.
    pub main: u32,
}

impl Service {
    /// Whether it is meant to run: a service that starts again and again counts, one that somebody stopped does not.
    pub fn runs(&self) -> bool {
        !matches!(self.active.as_str(), "inactive" | "deactivating" | "failed" | "")
    }
}

/// A connection to systemd.
pub struct Systemd {
    runtime: tokio::runtime::Runtime,
    bus: Bus,
    subscribed: Cell<bool>,
}

impl Systemd {
    /// Connects: over systemd's own socket where we may (root), else over the system bus.
    ///
    /// # Errors
    /// [`SystemdError::NotBooted`] or [`SystemdError::Unreachable`].
    pub fn connect() -> Result<Systemd, SystemdError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(
                |error| SystemdError::Unreachable { bus: error.to_string(), source: error.into() },
            )?;
        let bus = runtime.block_on(Bus::connect())?;
        Ok(Systemd { runtime, bus, subscribed: Cell::new(false) })
    }

    /// The state of units, in one conversation. A unit that does not exist has the load state `not-found`; a name that
    /// cannot be a unit's, `error`.
    ///
    /// # Errors
    /// The connection broke or systemd does not answer.
    pub fn units(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, UnitState>, SystemdError> {
        self.runtime
            .block_on(units::observe(&self.bus, names))
            .map_err(|source| call_error("tell the state of units", source))
    }

    /// How units live, in one conversation, for whoever judges their health.
    ///
    /// # Errors
    /// As [`Systemd::units`].
    pub fn liveness(&self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Liveness>, SystemdError> {
        self.runtime
            .block_on(liveness::observe(&self.bus, names))
            .map_err(|source| call_error("tell how units live", source))
    }

    /// Makes systemd read its unit files again.
    ///
    /// # Errors
    /// systemd refuses or does not answer.
    pub fn daemon_reload(&self) -> Result<(), SystemdError> {
        self.runtime.block_on(self.reload())
    }

    /// How a service is at this moment.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn service(&self, unit: &str) -> Result<Service, SystemdError> {
        let path = bus::unit_path(unit);
        let read = async {
            let calls = [
                bus::property_call(&path, bus::UNIT, "ActiveState")?,
                bus::property_call(&path, bus::SERVICE, "MainPID")?,
            ];
            let mut answers = self.bus.all(&calls).await?.into_iter();
            let mut next = || answers.next().unwrap_or(Err(zbus::Error::InvalidReply));
            let active = units::text(&next()?)?;
            let main = next()?;
            let body = main.body();
            let value: zbus::Variant<'_> = body.deserialize()?;
            Ok(Service { active, main: value.downcast()? })
        };
        self.runtime.block_on(read).map_err(|source| call_error(format!("tell about {unit}"), source))
    }

    /// Has a service stopped, and does not wait for that.
    ///
    /// # Errors
    /// systemd refuses or does not answer.
    pub fn stop_later(&self, unit: &str) -> Result<(), SystemdError> {
        let reply = self.runtime.block_on(self.bus.manager("StopUnit", &(unit, "replace")));
        reply.map(drop).map_err(|source| call_error(format!("stop {unit}"), source))
    }

    /// Has a unit restarted, and does not wait for that: it may be the one that asks.
    ///
    /// # Errors
    /// systemd refuses or does not answer.
    pub fn restart_later(&self, unit: &str) -> Result<(), SystemdError> {
        let reply = self.runtime.block_on(self.bus.manager("RestartUnit", &(unit, "replace")));
        reply.map(drop).map_err(|source| call_error(format!("restart {unit}"), source))
    }

    /// Has a unit told to look at its settings again, and does not wait for that.
    ///
    /// # Errors
    /// systemd refuses, as it does where the unit is not active, or does not answer.
    pub fn reload_later(&self, unit: &str) -> Result<(), SystemdError> {
        let reply = self.runtime.block_on(self.bus.manager("ReloadUnit", &(unit, "replace")));
        reply.map(drop).map_err(|source| call_error(format!("reload {unit}"), source))
    }

    async fn reload(&self) -> Result<(), SystemdError> {
        reach("systemd: before it reads its files");
        let reply = self.bus.manager("Reload", &()).await;
        reach("systemd: files read");
        reply.map(drop).map_err(|source| call_error("read its unit files again", source))
    }

    /// Asks for signals, once for a connection.
    async fn subscribe(&self) -> Result<(), SystemdError> {
        if !self.subscribed.replace(true) {
            self.bus.manager("Subscribe", &()).await.map_err(|source| call_error("send signals", source))?;
        }
        Ok(())
    }
}

/// The connection, to be used on, and the state of the units that were asked for.
type Answer = Result<(Systemd, BTreeMap<String, UnitState>), SystemdError>;

/// A thread that connects to systemd and then observes units, while the desired state is read, and files and packages are looked at.
pub struct Background {
    names: mpsc::SyncSender<BTreeSet<String>>,
    thread: std::thread::JoinHandle<Answer>,
}

impl Background {
    /// Begins; with the connection that there is, or by making one.
    pub fn begin(systemd: Option<Systemd>) -> Background {
        let (names, asked) = mpsc::sync_channel(0);
        let thread = std::thread::spawn(move || {
            let systemd = match systemd {
                Some(systemd) => systemd,
                None => Systemd::connect()?,
            };
            let states = match asked.recv() {
                Ok(names) => systemd.units(&names)?,
                // Nobody asks.
                Err(_) => BTreeMap::new(),
            };
            Ok((systemd, states))
        });
        Background { names, thread }
    }

    /// Asks for the state of these units, once. Returns when the thread has taken the question, so that it gets the processor before the
    /// caller goes on: systemd shall answer while files are looked at, not after.
    pub fn ask(&self, names: BTreeSet<String>) {
        // A thread that ended has a reason, which `finish` tells.
        let _ = self.names.send(names);
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Systemd::connect`] and [`Systemd::units`].
    pub fn finish(self) -> Answer {
        drop(self.names);
        match self.thread.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn call_error(what: impl Into<String>, source: zbus::Error) -> SystemdError {
    let what = what.into();
    match &source {
        zbus::Error::InputOutput(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            SystemdError::NoAnswer { what, after: bus::PATIENCE }
        }
        _ => SystemdError::Call { what, source },
    }
}
