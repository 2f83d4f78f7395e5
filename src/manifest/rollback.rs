//! `[rollback]` of `fleet.toml`: when hosts give a new commit up and return to the generation before it.

use serde::{Deserialize, Serialize};

use super::node::Node;
use crate::config::{self, Guarding, Span};
use crate::resource::{DeclareError, Field};

/// What the branch says about it; `None`: the host's own settings say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rollback {
    /// When a health check fails for good.
    #[serde(default)]
    pub health: Option<bool>,
    /// When a resource cannot be brought to its declared state.
    #[serde(default)]
    pub apply: Option<bool>,
    /// When the remote is out of reach afterwards.
    #[serde(default)]
    pub remote: Option<Guarding>,
    /// Time in which the remote must be reached again.
    #[serde(default)]
    pub remote_within: Option<Span>,
}

/// Fields with their types and meaning, for the reference and the schema.
pub const FIELDS: &[Field] = &[
    Field::new("health", "boolean", "", "When a health check fails for good."),
    Field::new("apply", "boolean", "", "When a resource cannot be brought to its declared state."),
    Field::new(
        "remote",
        "string",
        "",
        "When the remote is out of reach afterwards: `\"network\"`, after changes that the way to it may depend on; `\"always\"`; `\"never\"`.",
    ),
    Field::new("remote-within", "duration", "", "Time in which the remote must be reached again."),
];

impl Rollback {
    /// Reads the table.
    ///
    /// # Errors
    /// A field is unknown or has the wrong type.
    pub fn read(table: &Node) -> Result<Rollback, DeclareError> {
        let rollback: Rollback = table.read()?;
        match rollback.remote_within {
            Some(within) if within.seconds < 10 => {
                let node = table.get("remote-within").unwrap_or(table);
                Err(node
                    .error("`remote-within` is too short", "give at least `10s`: one poll takes its time"))
            }
            _ => Ok(rollback),
        }
    }

    /// What counts on a host with these settings.
    pub fn over(&self, settings: &config::Rollback) -> config::Rollback {
        config::Rollback {
            health: self.health.unwrap_or(settings.health),
            apply: self.apply.unwrap_or(settings.apply),
            remote: self.remote.unwrap_or(settings.remote),
            remote_within: self.remote_within.unwrap_or(settings.remote_within),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branch_comes_first_and_the_host_says_the_rest() {
        let read = |text: &str| Rollback::read(&Node::parse(text).unwrap());
        let branch = read("apply = true\nremote = \"always\"").unwrap();
        let host = config::Rollback { health: false, remote_within: Span::seconds(30), ..Default::default() };
        let both = branch.over(&host);
        assert_eq!((both.health, both.apply, both.remote), (false, true, Guarding::Always));
        assert_eq!(both.remote_within, Span::seconds(30));
        assert!(read("remote-within = \"3s\"").unwrap_err().message.contains("too short"));
        assert!(read("helth = true").unwrap_err().message.contains("unknown"));
        assert!(read("remote = \"sometimes\"").is_err());
    }
}
