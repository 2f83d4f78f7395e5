//! What is known of health checks: how each stands and since when.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{State, StateError};
use crate::report::status::Health;
use crate::system::probe::UnitRun;

/// What is known of one health check. Times without a date are milliseconds since the boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// How it stands.
    pub state: Health,
    /// Since when, seconds since the epoch.
    pub since: i64,
    /// Since when it is good without interruption, while that has yet to prove itself.
    #[serde(default)]
    pub good: Option<i64>,
    /// Since when it is bad.
    #[serde(default)]
    pub bad: Option<i64>,
    /// How often in a row it was found bad.
    #[serde(default)]
    pub failures: u32,
    /// When it was looked at last, while it is not good.
    #[serde(default)]
    pub looked: Option<i64>,
    /// What was wrong last.
    #[serde(default)]
    pub error: String,
    /// Of a unit: the run of it that was seen last.
    #[serde(default)]
    pub run: Option<UnitRun>,
}

/// What is known of all health checks of the state in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watches {
    /// The boot in which times count.
    pub boot: String,
    /// When abide last changed something, in milliseconds since that boot: what it changed may take its time to start again.
    pub changed: i64,
    /// By the names of the checks.
    pub checks: BTreeMap<String, Watch>,
}

impl State {
    /// What is known of the health checks.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn watches(&self) -> Result<Option<Watches>, StateError> {
        self.fact("health")
    }

    /// Remembers what is known of the health checks.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn set_watches(&mut self, watches: Option<&Watches>) -> Result<(), StateError> {
        self.set_fact("health", watches)
    }
}
