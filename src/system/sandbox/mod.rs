//! What confines abide's own processes: Landlock, which they put on themselves, within what systemd put around them.
//!
//! **Invariant:** nothing is claimed that was not observed. A layer that the kernel or the unit does not give is named with its
//! reason, and keeps nobody from working unless `require-sandbox` says so.

mod kernel;
mod rules;

pub use kernel::enter;
pub use rules::Rules;

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

use crate::error::{Code, Explain};

/// What confines one process, as that process found it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Confinement {
    /// What the process put on itself.
    pub landlock: Landlock,
    /// The filter of system calls, which the unit brings.
    pub seccomp: Seccomp,
    /// Whether no program that it starts can gain privileges.
    pub no_new_privileges: bool,
    /// The capabilities that it and its children can have at most, without `CAP_`, small.
    pub capabilities: Vec<String>,
}

/// How far Landlock is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Landlock {
    /// Whether all of the rules, some or none are in force.
    pub enforced: Enforced,
    /// The version of Landlock that the kernel has; 0 for none.
    pub abi: i32,
    /// Why it is not fully in force; empty when it is.
    pub reason: String,
}

/// How much of the rules the kernel enforces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Enforced {
    Fully,
    Partly,
    #[default]
    Not,
}

/// The mode of seccomp, as `/proc` shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the kernel's words")]
pub enum Seccomp {
    #[default]
    None,
    Strict,
    Filter,
}

/// Who surrounds a process: a unit must bring its own layers, a shell cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    /// One of abide's units.
    Unit,
    /// An operator's shell.
    Shell,
}

impl Confinement {
    /// What this process has around it, beside Landlock, which no process can see.
    pub fn observe(landlock: Landlock) -> Confinement {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Confinement { landlock, ..Confinement::from_status(&status) }
    }

    /// Reads the text of a `/proc/PID/status`; what is not there counts as absent.
    fn from_status(status: &str) -> Confinement {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).unwrap_or_default()
        };
        // Without the line nothing is known to bound them.
        let bounding = u64::from_str_radix(field("CapBnd"), 16).unwrap_or(u64::MAX);
        Confinement {
            landlock: Landlock::default(),
            seccomp: match field("Seccomp") {
                "1" => Seccomp::Strict,
                "2" => Seccomp::Filter,
                _ => Seccomp::None,
            },
            no_new_privileges: field("NoNewPrivs") == "1",
            capabilities: (0..64)
                .filter(|bit| bounding & (1 << bit) != 0)
                .filter_map(|bit: usize| CAPABILITIES.get(bit))
                .map(|name| (*name).to_owned())
                .collect(),
        }
    }

    /// What is missing to what abide asks for, in words.
    pub fn lacks(&self, surroundings: Surroundings) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.landlock.enforced != Enforced::Fully {
            lacks.push(format!("Landlock ({})", self.landlock.reason));
        }
        if surroundings == Surroundings::Unit && self.seccomp != Seccomp::Filter {
            lacks.push("a filter of system calls".into());
        }
        if !self.no_new_privileges {
            lacks.push("no-new-privileges".into());
        }
        lacks
    }

    /// Fails closed where the settings ask for it.
    ///
    /// # Errors
    /// `E810`: the sandbox is required, and a part of it is missing.
    pub fn demand(
        &self,
        required: bool,
        process: &'static str,
        surroundings: Surroundings,
    ) -> Result<(), SandboxError> {
        let lacks = self.lacks(surroundings);
        match required && !lacks.is_empty() {
            true => Err(SandboxError::Incomplete { process, lacks: lacks.join("; ") }),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let landlock = &self.landlock;
        let mut text = match landlock.enforced {
            Enforced::Fully => format!("Landlock in force (ABI {})", landlock.abi),
            Enforced::Partly => {
                format!("Landlock partly in force (ABI {}: {})", landlock.abi, landlock.reason)
            }
            Enforced::Not => format!("no Landlock ({})", landlock.reason),
        };
        text.push_str(match self.seccomp {
            Seccomp::Filter => ", system calls filtered",
            Seccomp::Strict => ", seccomp strict",
            Seccomp::None => ", system calls not filtered",
        });
        text.push_str(if self.no_new_privileges { ", no new privileges" } else { ", may gain privileges" });
        // Writing to a string cannot fail.
        let _ = match self.capabilities.len() {
            0 => write!(text, ", no capabilities"),
            1 => write!(text, ", 1 capability"),
            count => write!(text, ", {count} capabilities"),
        };
        f.write_str(&text)
    }
}

/// A sandbox that must be whole and is not.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// E810: a layer of the sandbox is missing, and the settings require it.
    #[error("the sandbox of the {process} is required and lacks: {lacks}")]
    Incomplete {
        /// Whose.
        process: &'static str,
        /// What is missing.
        lacks: String,
    },
}

impl Explain for SandboxError {
    fn code(&self) -> Code {
        Code("E810")
    }

    fn remedy(&self) -> String {
        "boot a kernel from 6.12 on with `landlock` among its security modules (`lsm=`), start abide by its units, or set \
         `require-sandbox = false` below [agent]"
            .into()
    }
}

/// Names by number, from capabilities(7) and linux/capability.h.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tabide\nCapBnd:\t0000000000000083\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";

    fn whole() -> Confinement {
        let landlock = Landlock { enforced: Enforced::Fully, abi: 7, reason: String::new() };
        Confinement { landlock, ..Confinement::from_status(STATUS) }
    }

    #[test]
    fn the_kernels_words_are_read() {
        let found = whole();
        assert_eq!(found.capabilities, ["chown", "dac_override", "setuid"]);
        assert_eq!((found.seccomp, found.no_new_privileges), (Seccomp::Filter, true));
        let nothing = Confinement::from_status("");
        assert_eq!((nothing.seccomp, nothing.no_new_privileges), (Seccomp::None, false));
        assert_eq!(nothing.capabilities.len(), CAPABILITIES.len(), "what is not known is not claimed");
    }

    #[test]
    fn people_read_which_layers_there_are() {
        let mut found = whole();
        assert_eq!(
            found.to_string(),
            "Landlock in force (ABI 7), system calls filtered, no new privileges, 3 capabilities"
        );
        found.landlock = kernel::unavailable("the kernel has none");
        found.capabilities.clear();
        assert_eq!(
            found.to_string(),
            "no Landlock (the kernel has none), system calls filtered, no new privileges, no capabilities"
        );
        let partly = Landlock { enforced: Enforced::Partly, abi: 4, reason: "it lacks x".into() };
        let bare = Confinement { landlock: partly, ..Confinement::from_status("CapBnd:\t1\n") };
        assert_eq!(
            bare.to_string(),
            "Landlock partly in force (ABI 4: it lacks x), system calls not filtered, may gain privileges, 1 capability"
        );
    }

    #[test]
    fn only_a_setting_makes_a_missing_layer_an_error() {
        use Surroundings::{Shell, Unit};
        let without = |edit: fn(&mut Confinement)| {
            let mut found = whole();
            edit(&mut found);
            found
        };
        let landlock = without(|found| found.landlock.enforced = Enforced::Partly);
        let seccomp = without(|found| found.seccomp = Seccomp::None);
        let privileges = without(|found| found.no_new_privileges = false);
        for (found, surroundings, fails) in [
            (&whole(), Unit, false),
            (&whole(), Shell, false),
            (&landlock, Unit, true),
            (&landlock, Shell, true),
            (&seccomp, Unit, true),
            // No unit is around it that could bring one.
            (&seccomp, Shell, false),
            (&privileges, Shell, true),
        ] {
            assert!(found.demand(false, "agent", surroundings).is_ok());
            let demanded = found.demand(true, "agent", surroundings);
            assert_eq!(demanded.is_err(), fails, "{found:?} {surroundings:?}");
        }
        let error = landlock.demand(true, "fetcher", Unit).unwrap_err();
        assert_eq!((error.code().0, error.to_string().contains("fetcher")), ("E810", true));
    }
}
