//! The two services: the resident agent, which waits for a poll, a drift event or the check period, and the fetcher it starts.
//!
//! **Invariant:** the agent itself decides nothing and changes nothing: each run is a process of its own (`abide sync`), so
//! that its memory goes when it ends and a run that crashes leaves the agent watching.

pub mod agent;
pub mod poll;
pub mod program;
mod runs;
pub mod schedule;
mod supervisor;
pub mod watch;

use crate::error::{Code, Explain};

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// E710: the event loop cannot be set up.
    #[error("the agent's event loop cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// E711: nothing can be watched.
    #[error("changes of files cannot be watched")]
    Watch(#[source] std::io::Error),
    /// E712: a run ended in a way that a run does not end.
    #[error("a run crashed: {complaint}")]
    Run {
        /// How it ended, and its last words.
        complaint: String,
    },
    /// E713: a task of the agent ended in a way that it should not.
    #[error("a task of the agent crashed: {0}")]
    Task(String),
}

impl Explain for DaemonError {
    fn code(&self) -> Code {
        Code(match self {
            DaemonError::Runtime(_) => "E710",
            DaemonError::Watch(_) => "E711",
            DaemonError::Run { .. } => "E712",
            DaemonError::Task(_) => "E713",
        })
    }

    fn remedy(&self) -> String {
        match self {
            DaemonError::Runtime(_) => "look at the limits of the unit: systemctl show abide.service".into(),
            DaemonError::Watch(_) => {
                "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances; until then drift is healed by the periodic check".into()
            }
            DaemonError::Run { .. } | DaemonError::Task(_) => {
                "nothing is lost: the next run finishes what this one began; please report it with `journalctl -u abide`".into()
            }
        }
    }
}
