//! `abide.toml`: every setting, its meaning and its default. The reference page is generated from the comments here.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::duration::Span;
use crate::schedule::WindowFields;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Where the branch comes from.
    pub source: Source,
    /// What may at most be taken from there.
    pub limits: Limits,
    /// Who this host is.
    pub host: HostSettings,
    /// When the agent does what.
    pub agent: Agent,
    /// What a run may do.
    pub apply: Apply,
    /// Windows of this host: when it may be changed. Those of the branch count beside them, and both have to allow what is done.
    pub windows: Vec<WindowFields>,
    /// Whether and when the host reboots by itself. What is not set here is for the branch to say.
    pub reboot: Reboot,
    /// When a new commit is given up, and the generation before it returned to. What the branch says in `[rollback]` of `fleet.toml` comes first.
    pub rollback: Rollback,
    /// What no branch may declare for this host: a revision that does is refused whole. `enforce = false` declares nothing.
    pub law: Law,
}

/// `[source]`: the remotes and how to reach them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Source {
    /// URLs of the repository, tried in this order: `https://`, `ssh://`, `git://`, or an absolute path to a repository on a
    /// local medium. Written by `abide enroll`.
    pub urls: Vec<String>,
    /// The ref to follow; filled in from the root of trust, which decides it.
    #[serde(skip)]
    pub reference: String,
    /// Time between two polls.
    pub poll: Span,
    /// Up to so much is added to each interval, by the host's identity, so that a fleet does not poll in step.
    pub jitter: Span,
    /// Time to connect to one remote, and the longest silence on a connection.
    pub timeout: Span,
    /// Time for one whole poll over all remotes.
    pub deadline: Span,
    /// After failures the interval doubles up to this.
    pub backoff: Span,
    /// PEM file with the certificate authorities to trust instead of the system's, for https.
    pub ca_file: Option<PathBuf>,
    /// PEM file with a client certificate and its key, for https.
    pub client_certificate: Option<PathBuf>,
    /// Name of the systemd credential of `abide-fetch.service` that holds a token, for https. Sent as the password of `user`.
    pub token_credential: Option<String>,
    /// User name that goes with the token, or the ssh user when the URL names none.
    pub user: Option<String>,
    /// Proxy for https, such as `http://proxy.example:3128`. Without it the environment of the unit counts.
    pub proxy: Option<String>,
    /// Private key file for ssh, readable by the fetcher; or `credential:NAME` for a systemd credential.
    pub ssh_key: Option<String>,
    /// Known-hosts file for ssh; the host key must be in it.
    pub known_hosts: Option<PathBuf>,
}

impl Default for Source {
    fn default() -> Source {
        Source {
            urls: Vec::new(),
            reference: String::new(),
            poll: Span::minutes(1),
            jitter: Span::seconds(10),
            timeout: Span::seconds(30),
            deadline: Span::minutes(5),
            backoff: Span::minutes(30),
            ca_file: None,
            client_certificate: None,
            token_credential: None,
            user: None,
            proxy: None,
            ssh_key: None,
            known_hosts: None,
        }
    }
}

/// `[limits]`: what may at most be taken from a remote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of packs in the spool.
    pub spool_bytes: u64,
    /// Bytes of one object, inflated.
    pub object_bytes: u64,
    /// Objects in one pack.
    pub objects: u32,
    /// Commits from the last known one to a new tip.
    pub commits: u32,
    /// Links in a chain of deltas.
    pub delta_depth: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            spool_bytes: 512 << 20,
            object_bytes: 32 << 20,
            objects: 2_000_000,
            commits: 1_000_000,
            delta_depth: 4096,
        }
    }
}

/// `[host]`: who this host is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HostSettings {
    /// Name in `hosts/NAME.toml`; without it the host name.
    pub name: Option<String>,
    /// Labels for `when` expressions, such as `tier = "web"`.
    pub labels: BTreeMap<String, String>,
}

/// `[agent]`: when the agent does what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Agent {
    /// Time between two full checks for drift.
    pub check: Span,
    /// Every so many checks, each file's content is read again instead of trusting its fingerprint.
    pub rehash_every: u32,
    /// Heal drift at once, by watching files, units and the package database.
    pub events: bool,
    /// Neither fetch nor converge where the kernel or the units leave out a part of the sandbox that abide asks for; `abide status`
    /// shows what there is. Landlock is whole from Linux 6.12 on.
    pub require_sandbox: bool,
}

impl Default for Agent {
    fn default() -> Agent {
        Agent { check: Span::minutes(15), rehash_every: 24, events: true, require_sandbox: false }
    }
}

/// `[apply]`: what a run may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Apply {
    /// Remove what left the branch, if abide had created it.
    pub prune: bool,
    /// At most this percentage of the inventory is removed in one run, though always three resources; more needs `abide sync --prune`,
    /// or a `[[confirm]]` of the branch.
    pub prune_limit: u8,
    /// At most this percentage of what is in force is changed by one new revision, though always ten resources; more needs
    /// `abide sync --all-changes`, or a `[[confirm]]` of the branch. With 100 nothing is ever held.
    pub change_limit: u8,
    /// The package index is fetched anew before an installation when it is older than this.
    pub package_index_age: Span,
    /// Bytes of former file contents to keep.
    pub backup_bytes: u64,
    /// Time in which another version of abide, which the branch has brought, must start and end a run; else the former one is put back.
    pub upgrade_within: Span,
}

impl Default for Apply {
    fn default() -> Apply {
        Apply {
            prune: true,
            prune_limit: 30,
            change_limit: 100,
            package_index_age: Span::minutes(24 * 60),
            backup_bytes: 64 << 20,
            upgrade_within: Span::minutes(5),
        }
    }
}

/// `[reboot]`: whether and when the host reboots by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Reboot {
    /// `"needed"` or `"never"`. A `"never"` here or in the branch counts; without any word the host does not reboot by itself.
    pub when: Option<String>,
    /// How many slots the hosts of a cohort share; 8 where nobody says.
    pub slots: Option<u32>,
    /// The number of this host's slot, from 0; without it one is made from the machine id.
    pub slot: Option<u32>,
    /// How long a slot is; 15 minutes where nobody says. A reboot begins in the first half of the host's slot.
    pub slot_length: Option<Span>,
    /// Whether a reboot waits until nobody is logged in; it does where nobody says.
    pub wait_for_sessions: Option<bool>,
    /// The least time between two reboots; a day where nobody says.
    pub pause: Option<Span>,
}

/// `[rollback]`: when a new commit is given up, and the generation before it returned to. What the branch says in `[rollback]` of
/// `fleet.toml` comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Rollback {
    /// When a health check fails for good.
    pub health: bool,
    /// When a resource cannot be brought to its declared state.
    pub apply: bool,
    /// When the remote is out of reach afterwards: `"network"`, after changes that the way to it may depend on; `"always"`; `"never"`.
    pub remote: Guarding,
    /// Time in which the remote must be reached again.
    pub remote_within: Span,
}

impl Default for Rollback {
    fn default() -> Rollback {
        Rollback { health: true, apply: false, remote: Guarding::Network, remote_within: Span::minutes(2) }
    }
}

/// After which changes the way to the remote has to prove itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarding {
    /// After changes that it may depend on.
    #[default]
    Network,
    /// After every new commit.
    Always,
    /// Never.
    Never,
}

/// `[law]`: what no branch may declare for this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Law {
    /// Kinds of resource, such as `"command"`.
    pub kinds: Vec<String>,
    /// Absolute paths with `*` and `?` within one component and `**` for any number of components. What matches is forbidden with
    /// everything below it, by whatever kind, symlink or mount it would be reached.
    pub paths: Vec<String>,
    /// Units by their full name, with `*` and `?`, such as `"sshd.service"`: their state, their files and their drop-ins.
    pub units: Vec<String>,
    /// Packages, with `*` and `?`; also as a dependency of another one, and as one that would be removed.
    pub packages: Vec<String>,
    /// Programs, with `*` and `?`, that no `command`, guard or `validate` may run: compared with the program as it is written, with
    /// the last part of its path, and with the whole command line.
    pub commands: Vec<String>,
}

impl Law {
    /// Whether it forbids nothing.
    pub fn is_empty(&self) -> bool {
        *self == Law::default()
    }
}
