//! The two services: the resident agent, which waits for a poll, a drift event or the check period, and the fetcher it starts.
//!
//! **Invariant:** the agent itself decides nothing and changes nothing: each run is a process of its own (`abide sync`), so
//! that its memory goes when it ends and a run that crashes leaves the agent watching.

pub mod agent;
mod attention;
mod drift;
pub mod poll;
pub mod program;
mod route;
mod runs;
pub mod schedule;
mod supervisor;
pub mod watch;

use crate::error::{Code, Explain};
use crate::system::systemd::SystemdError;

/// What is known of the other side of a fight, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OtherSide(String);

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
    /// E830: somebody keeps changing something back.
    #[error("{resource} was corrected {times} times within a minute, and somebody keeps changing it back")]
    Fight {
        /// What the fight is over.
        resource: String,
        /// How often it was corrected before it was put off.
        times: usize,
        /// Who may be the other side.
        #[source]
        other: Option<OtherSide>,
    },
    /// E831: units cannot be listened to.
    #[error("systemd does not tell when units change")]
    Units(#[source] SystemdError),
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
            DaemonError::Fight { .. } => "E830",
            DaemonError::Units(_) => "E831",
        })
    }

    fn remedy(&self) -> String {
        match self {
            DaemonError::Runtime(_) => "look at the limits of the unit: systemctl show abide.service".into(),
            DaemonError::Watch(_) => {
                "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances; until then the whole host is checked every minute".into()
            }
            DaemonError::Fight { .. } => {
                "stop whoever else manages it, or take it off the branch (`enforce = \"warn\"` only reports it); until then abide \
                 corrects it less and less often, at most every five minutes"
                    .into()
            }
            DaemonError::Units(_) => {
                "see whether D-Bus works: systemctl status dbus; until then the whole host is checked every minute".into()
            }
            DaemonError::Run { .. } | DaemonError::Task(_) => {
                "nothing is lost: the next run finishes what this one began; please report it with `journalctl -u abide`".into()
            }
        }
    }
}
