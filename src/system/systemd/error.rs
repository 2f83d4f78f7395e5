//! What can go wrong in talking to systemd.

use crate::error::{Code, Explain, escaped};
use crate::plan::UnitAction;
use std::path::PathBuf;
use std::time::Duration;

/// Why systemd did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "fields are named by the messages")]
pub enum SystemdError {
    /// E470: the host was not booted with systemd.
    #[error("this host was not booted with systemd: /run/systemd/system does not exist")]
    NotBooted,
    /// E471: neither the system bus nor systemd's own socket answers.
    #[error("systemd cannot be reached, neither over the system bus nor over /run/systemd/private")]
    Unreachable {
        bus: String,
        #[source]
        source: zbus::Error,
    },
    /// E472: a call failed or the connection broke.
    #[error("systemd refused to {what}")]
    Call {
        what: String,
        #[source]
        source: zbus::Error,
    },
    /// E473: there is no such unit.
    #[error("there is no unit {unit}")]
    NoSuchUnit { unit: String },
    /// E474: the unit is masked.
    #[error("{unit} is masked, so it cannot be {}", past(*.action))]
    Masked { unit: String, action: UnitAction },
    /// E475: the unit's own file is where the mask would be.
    #[error("{unit} cannot be masked: its unit file is {}, where the mask would have to be", .path.display())]
    CannotMask { unit: String, path: PathBuf },
    /// E476: the unit has no install section.
    #[error("{unit} cannot be enabled: it is {state}")]
    NotEnableable { unit: String, state: String },
    /// E477: a job ended badly.
    #[error("{unit} could not be {}: {result}{}", past(*.action), tail(.journal))]
    JobFailed { unit: String, action: UnitAction, result: String, journal: Vec<String> },
    /// E478: a job did not end in time.
    #[error("{unit} was not {} within {seconds} s; it is {state}{}", past(*.action), tail(.journal))]
    TimedOut { unit: String, action: UnitAction, seconds: u64, state: String, journal: Vec<String> },
    /// E479: the unit's own conditions keep it from starting.
    #[error("{unit} did not start, because one of its own conditions is not met")]
    ConditionUnmet { unit: String },
    /// E480: it must not be done in the middle of a run.
    #[error("{unit} is not {} by abide: {reason}", past(*.action))]
    Protected { unit: String, action: UnitAction, reason: &'static str },
    /// E481: a program could not be started in a unit of its own.
    #[error("{program} could not be started in {unit}: {reason}")]
    NotStarted { unit: String, program: String, reason: String },
    /// E482: the output of a program in a unit of its own could not be kept or read.
    #[error("the output of {unit} cannot be kept in {}: {reason}", .path.display())]
    Output { unit: String, path: PathBuf, reason: String },
    /// E483: systemd did not answer in time.
    #[error("systemd did not answer within {} s when asked to {what}", .after.as_secs())]
    NoAnswer { what: String, after: Duration },
    /// E484: a name that cannot be a unit's.
    #[error("`{}` is not the full name of a unit", escaped(.name))]
    BadName { name: String },
}

impl Explain for SystemdError {
    fn code(&self) -> Code {
        Code(match self {
            SystemdError::NotBooted => "E470",
            SystemdError::Unreachable { .. } => "E471",
            SystemdError::Call { .. } => "E472",
            SystemdError::NoSuchUnit { .. } => "E473",
            SystemdError::Masked { .. } => "E474",
            SystemdError::CannotMask { .. } => "E475",
            SystemdError::NotEnableable { .. } => "E476",
            SystemdError::JobFailed { .. } => "E477",
            SystemdError::TimedOut { .. } => "E478",
            SystemdError::ConditionUnmet { .. } => "E479",
            SystemdError::Protected { .. } => "E480",
            SystemdError::NotStarted { .. } => "E481",
            SystemdError::Output { .. } => "E482",
            SystemdError::NoAnswer { .. } => "E483",
            SystemdError::BadName { .. } => "E484",
        })
    }

    fn remedy(&self) -> String {
        match self {
            SystemdError::NotBooted => "abide manages hosts that run systemd as process 1; run it on such a host".into(),
            SystemdError::Unreachable { bus, .. } => {
                format!("run as root, and see `systemctl status dbus.socket`; the system bus said: {bus}")
            }
            SystemdError::Call { .. } | SystemdError::NoAnswer { .. } => {
                "see `journalctl -b _PID=1 -n 50`; the next run tries again".into()
            }
            SystemdError::NoSuchUnit { unit } => {
                format!("check the name with `systemctl list-unit-files '{unit}'`, or declare the package or unit that brings it")
            }
            SystemdError::Masked { .. } => "set `masked = false` in the service to have the mask removed".into(),
            SystemdError::CannotMask { path, .. } => {
                format!("remove or move {} first, or stop and disable the unit instead", path.display())
            }
            SystemdError::NotEnableable { state, .. } => match state.as_str() {
                "static" => "it has no [Install] section, something else starts it: leave `enabled` out, or add an [Install] section in a drop-in".into(),
                "generated" => "it is made by a generator at boot: change what it is generated from, or leave `enabled` out".into(),
                _ => "leave `enabled` out, or enable the unit that starts it".into(),
            },
            SystemdError::JobFailed { unit, .. } | SystemdError::TimedOut { unit, .. } => {
                format!("see `systemctl status {unit}` and `journalctl -u {unit}`")
            }
            SystemdError::ConditionUnmet { unit } => {
                format!("`systemctl status {unit}` names the condition; meet it, or do not declare the unit as running")
            }
            SystemdError::Protected { unit, .. } => format!("do it by hand at a quiet moment: `systemctl restart {unit}`"),
            SystemdError::NotStarted { unit, .. } => {
                format!("check that the program exists and may be run by that user; `journalctl -u {unit}` has systemd's own words")
            }
            SystemdError::Output { .. } => "check that /run has room and may be written".into(),
            SystemdError::BadName { .. } => "write it with its suffix, such as `nginx.service`".into(),
        }
    }
}

/// An action as it reads after "could not be".
pub(super) fn past(action: UnitAction) -> &'static str {
    match action {
        UnitAction::Unmask => "unmasked",
        UnitAction::Mask => "masked",
        UnitAction::Enable => "enabled",
        UnitAction::Disable => "disabled",
        UnitAction::ResetFailed => "reset",
        UnitAction::Start => "started",
        UnitAction::Stop => "stopped",
        UnitAction::Reload => "reloaded",
        UnitAction::Restart => "restarted",
    }
}

fn tail(journal: &[String]) -> String {
    journal.iter().map(|line| format!("\n    {}", escaped(line))).collect()
}
