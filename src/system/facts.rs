//! Facts: what a manifest may ask about a host. Small, typed, cheap (a few small files), and stable: nothing that
//! changes from minute to minute is a fact, since a changed fact means that the manifest is rendered anew.

mod kernel;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

use kernel::{cpus, fqdn, ipv4, ipv6, memory, mounted, os, virtualization};

use crate::config::{self, ConfigError};
use crate::error::{Code, Explain};
use crate::manifest::node::{Node, Value};

/// Everything known about a host, as `host.…` in expressions and templates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The operating system.
    pub os: Os,
    /// The kernel's host name.
    pub hostname: String,
    /// The full name from the host name or `/etc/hosts`; the host name when neither has a domain.
    pub fqdn: String,
    /// `/etc/machine-id`; empty when there is none.
    pub machine_id: String,
    /// Machine architecture as `uname -m` says it: `x86_64`, `aarch64`, ….
    pub arch: String,
    /// Kernel release as `uname -r` says it.
    pub kernel: String,
    /// Processors that are online.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u64,
    /// `container`, `vm` or `none`.
    pub virtualization: String,
    /// Addresses that are set up, without loopback, link-local and temporary ones.
    pub addresses: Addresses,
    /// Mounted file systems that hold data, by mount point.
    pub mounts: BTreeMap<String, Mount>,
    /// What the operator added: one table per file of `/etc/abide/facts.d`, named after the file.
    #[serde(default)]
    pub custom: BTreeMap<String, serde_json::Value>,
}

/// The operating system, from os-release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Os {
    /// `debian`, `ubuntu`, `rocky`, ….
    pub id: String,
    /// `debian`, `rhel`, `suse`, `arch`; the id when it is none of these.
    pub family: String,
    /// `12`, `24.04`, `9.4`; empty for rolling distributions.
    pub version: String,
    /// `bookworm`, `noble`; empty where there is none.
    pub codename: String,
    /// `Debian GNU/Linux`.
    pub name: String,
}

/// Addresses of the host, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// IPv4, such as `192.0.2.10`.
    pub ipv4: Vec<String>,
    /// IPv6, such as `2001:db8::10`.
    pub ipv6: Vec<String>,
}

/// One mounted file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Type of the file system: `ext4`, `xfs`, `nfs4`, ….
    #[serde(rename = "type")]
    pub file_system: String,
    /// What is mounted: a device or a remote.
    pub device: String,
}

/// Facts that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file with facts cannot be used.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// E463: recorded facts are not what `abide facts` prints.
    #[error("{place} does not hold facts: {reason}")]
    Recorded {
        /// The file.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

/// A file with facts cannot be read.
const UNREADABLE: Code = Code("E461");
/// A file with facts is not valid TOML.
const INVALID: Code = Code("E462");

impl Explain for FactsError {
    fn code(&self) -> Code {
        match self {
            FactsError::File(ConfigError::Invalid { .. }) => INVALID,
            FactsError::File(_) => UNREADABLE,
            FactsError::Recorded { .. } => Code("E463"),
        }
    }

    fn remedy(&self) -> String {
        match self {
            FactsError::File(ConfigError::Invalid { .. }) => "correct the TOML, or move the file away".into(),
            FactsError::File(error) => error.remedy(),
            FactsError::Recorded { .. } => "record them with `abide facts > FILE` on the host".into(),
        }
    }

    fn excerpt(&self) -> Option<String> {
        match self {
            FactsError::File(error) => error.excerpt(),
            _ => None,
        }
    }
}

/// The host's lasting identity, from `/etc/machine-id`; empty when there is none.
pub fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
}

impl Facts {
    /// Looks at this host; `folder` holds the operator's own facts (`/etc/abide/facts.d`) and may be missing.
    ///
    /// # Errors
    /// A file of the folder cannot be read or is not TOML. What the system itself does not tell is left empty.
    pub fn gather(folder: &Path) -> Result<Facts, FactsError> {
        let mut facts = Facts::of_root(Path::new("/"));
        if let Ok(uname) = nix::sys::utsname::uname() {
            facts.arch = uname.machine().to_string_lossy().into_owned();
            facts.kernel = uname.release().to_string_lossy().into_owned();
        }
        facts.custom = custom(folder)?;
        Ok(facts)
    }

    /// Reads facts that `abide facts` printed on another host.
    ///
    /// # Errors
    /// The text is something else; `place` names it.
    pub fn recorded(text: &[u8], place: &str) -> Result<Facts, FactsError> {
        serde_json::from_slice(text)
            .map_err(|error| FactsError::Recorded { place: place.to_owned(), reason: error.to_string() })
    }

    /// Changes whenever a fact does; hex.
    pub fn digest(&self) -> String {
        // Every map is sorted, so equal facts have equal text. Maps with string keys always serialise.
        let text = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What the files below a root say; kernel and architecture are not in files.
    fn of_root(root: &Path) -> Facts {
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let release = read("etc/os-release");
        let release = if release.is_empty() { read("usr/lib/os-release") } else { release };
        let hostname = read("proc/sys/kernel/hostname").trim().to_owned();
        // The first process sees the host's mounts; a sandboxed service sees its own.
        let mounts = read("proc/1/mountinfo");
        let mounts = if mounts.is_empty() { read("proc/self/mountinfo") } else { mounts };
        Facts {
            os: os(&release),
            fqdn: fqdn(&hostname, &read("etc/hosts")),
            hostname,
            machine_id: read("etc/machine-id").trim().to_owned(),
            cpus: cpus(&read("sys/devices/system/cpu/online")),
            memory: memory(&read("proc/meminfo")),
            virtualization: virtualization(root, &beginning(&root.join("proc/cpuinfo"))),
            addresses: Addresses {
                ipv4: ipv4(&read("proc/net/fib_trie")),
                ipv6: ipv6(&read("proc/net/if_inet6")),
            },
            mounts: mounted(&mounts),
            ..Facts::default()
        }
    }
}

/// The first processor of `/proc/cpuinfo`: making the text of hundreds of them takes the kernel milliseconds.
fn beginning(path: &Path) -> String {
    use std::io::Read as _;
    let mut text = vec![0; 4096];
    let length = std::fs::File::open(path).and_then(|mut file| file.read(&mut text)).unwrap_or_default();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

fn custom(folder: &Path) -> Result<BTreeMap<String, serde_json::Value>, FactsError> {
    let mut tables = BTreeMap::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(tables),
        Err(source) => return Err(unreadable(folder)(source)),
    };
    for entry in entries {
        let path = entry.map_err(unreadable(folder))?.path();
        let (Some(stem), Some("toml")) = (
            path.file_stem().and_then(|stem| stem.to_str()),
            path.extension().and_then(|suffix| suffix.to_str()),
        ) else {
            continue;
        };
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        let table = config::parse_toml(&text, &path)?;
        tables.insert(stem.to_owned(), json(&table));
    }
    Ok(tables)
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> FactsError {
    move |source| ConfigError::Unreadable { path: path.to_owned(), source }.into()
}

/// The same data as JSON.
pub fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::String(text) | Value::Datetime(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(entries) => entries
            .iter()
            .map(|(key, value)| (key.name.clone(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_this_machine_survive_being_recorded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("place.toml"), "rack = \"r1\"\nunits = [1, 2]\n").unwrap();
        std::fs::write(folder.path().join("README"), "not facts").unwrap();
        let facts = Facts::gather(folder.path()).unwrap();
        assert!(!facts.kernel.is_empty() && !facts.os.id.is_empty() && facts.memory > 0);
        assert_eq!(facts.custom["place"]["rack"], "r1");
        let text = serde_json::to_vec(&facts).unwrap();
        let again = Facts::recorded(&text, "f.json").unwrap();
        assert_eq!(again, facts);
        assert_eq!(again.digest(), facts.digest());
        let other = Facts { hostname: "other".into(), ..again };
        assert_ne!(other.digest(), facts.digest());
    }

    #[test]
    fn bad_facts_are_pointed_at() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("place.toml"), "rack = \n").unwrap();
        let problem = crate::error::Problem::from(Facts::gather(folder.path()).unwrap_err());
        assert_eq!(problem.code, "E462");
        assert!(problem.to_string().contains("place.toml:1"), "{problem}");
        assert!(Facts::recorded(b"{\"os\": 1}", "f.json").is_err());
    }
}
