//! Facts: what a manifest may ask about a host. Small, typed, cheap (a few small files), and stable: nothing that
//! changes from minute to minute is a fact, since a changed fact means that the manifest is rendered anew.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

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
            virtualization: virtualization(root, &read("proc/cpuinfo")),
            addresses: Addresses {
                ipv4: ipv4(&read("proc/net/fib_trie")),
                ipv6: ipv6(&read("proc/net/if_inet6")),
            },
            mounts: mounted(&mounts),
            ..Facts::default()
        }
    }
}

fn os(release: &str) -> Os {
    let value = |wanted: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix('='));
        line.map(|text| text.trim().trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    let id = value("ID");
    let like = format!(" {} {id} ", value("ID_LIKE"));
    let families = [
        ("debian", &["debian", "ubuntu"][..]),
        ("rhel", &["rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn"]),
        ("suse", &["suse", "opensuse", "sles"]),
        ("arch", &["arch"]),
    ];
    let belongs = |words: &&[&str]| words.iter().any(|word| like.contains(&format!(" {word} ")));
    let family =
        families.iter().find(|(_, words)| belongs(words)).map_or(id.clone(), |(name, _)| (*name).to_owned());
    Os { family, version: value("VERSION_ID"), codename: value("VERSION_CODENAME"), name: value("NAME"), id }
}

fn fqdn(hostname: &str, hosts: &str) -> String {
    if hostname.contains('.') || hostname.is_empty() {
        return hostname.to_owned();
    }
    let prefix = format!("{hostname}.");
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut names = lines.flat_map(|line| line.split_whitespace().skip(1));
    names.find(|name| name.starts_with(&prefix)).unwrap_or(hostname).to_owned()
}

/// Counts a list like `0-3,8`.
fn cpus(online: &str) -> u32 {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(last.checked_sub(first)?.saturating_add(1))
    };
    online.trim().split(',').filter_map(count).fold(0u32, u32::saturating_add).max(1)
}

fn memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

fn virtualization(root: &Path, cpuinfo: &str) -> String {
    let marks = ["run/systemd/container", "run/host/container-manager", ".dockerenv", "run/.containerenv"];
    let hypervisor =
        |line: &str| line.starts_with("flags") && line.split_whitespace().any(|flag| flag == "hypervisor");
    let vendor = std::fs::read_to_string(root.join("sys/class/dmi/id/sys_vendor")).unwrap_or_default();
    let vendors =
        ["QEMU", "VMware", "Microsoft Corporation", "Xen", "innotek", "Amazon EC2", "Google", "Parallels"];
    if marks.iter().any(|mark| root.join(mark).exists()) {
        "container".into()
    } else if cpuinfo.lines().any(hypervisor) || vendors.iter().any(|name| vendor.trim() == *name) {
        "vm".into()
    } else {
        "none".into()
    }
}

/// Local addresses from the kernel's routing trie: the line before `/32 host LOCAL` names one.
fn ipv4(trie: &str) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    let mut last: Option<std::net::Ipv4Addr> = None;
    for line in trie.lines() {
        if let Some(address) = line.trim_start().strip_prefix("|-- ") {
            last = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last.filter(|address| !address.is_loopback() && !address.is_link_local()));
        }
    }
    found.iter().map(ToString::to_string).collect()
}

/// Addresses of `/proc/net/if_inet6`: address, index, prefix, scope, flags, device. Scope 0 is global; flag 0x01 is temporary,
/// 0x08 failed duplicate detection, 0x20 deprecated, 0x40 tentative.
fn ipv6(table: &str) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _, _, scope, flags, _] = fields[..] else { continue };
        let (Ok(address), Ok(flags)) = (u128::from_str_radix(address, 16), u32::from_str_radix(flags, 16))
        else {
            continue;
        };
        if scope == "00" && flags & 0x69 == 0 {
            found.insert(std::net::Ipv6Addr::from(address));
        }
    }
    found.iter().map(ToString::to_string).collect()
}

fn mounted(mountinfo: &str) -> BTreeMap<String, Mount> {
    const HOLD_DATA: &[&str] = &[
        "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "vfat", "exfat", "nfs", "nfs4", "cifs",
        "ceph", "9p", "virtiofs",
    ];
    const COME_AND_GO: &[&str] =
        &["/run/", "/media/", "/snap/", "/var/lib/docker/", "/var/lib/containers/", "/proc/", "/sys/"];
    let mut mounts = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4).map(unescape) else { continue };
        let mut right = right.split(' ');
        let (Some(file_system), Some(device)) = (right.next(), right.next()) else { continue };
        // The root counts whatever it is: in a container it is an overlay.
        let holds_data = HOLD_DATA.contains(&file_system) || point == "/";
        if holds_data && !COME_AND_GO.iter().any(|prefix| point.starts_with(prefix)) {
            mounts.insert(point, Mount { file_system: file_system.to_owned(), device: unescape(device) });
        }
    }
    mounts
}

/// The kernel writes space, tab, newline and backslash as octal escapes.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
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
    fn families_are_known_by_id_and_likeness() {
        for (release, id, family) in [
            ("ID=debian\nVERSION_ID=\"12\"", "debian", "debian"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"", "linuxmint", "debian"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"", "rocky", "rhel"),
            ("ID=fedora", "fedora", "rhel"),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"", "opensuse-leap", "suse"),
            ("ID=void", "void", "void"),
        ] {
            let os = os(release);
            assert_eq!((os.id.as_str(), os.family.as_str()), (id, family));
        }
    }

    #[test]
    fn small_files_are_read() {
        assert_eq!(cpus("0-3,8\n"), 5);
        assert_eq!(cpus(""), 1);
        assert_eq!(memory("MemTotal:       24655180 kB\n"), 24077);
        assert_eq!(
            fqdn("web", "127.0.0.1 localhost\n192.0.2.1 web.acme.example web # x\n"),
            "web.acme.example"
        );
        assert_eq!(fqdn("web", ""), "web");
    }

    #[test]
    fn addresses_are_the_lasting_ones() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n        |-- 192.0.2.10\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n        |-- 127.0.0.1\n           /32 host LOCAL\n";
        assert_eq!(ipv4(trie), ["192.0.2.10"]);
        let table = "20010db8000000000000000000000010 02 40 00 80 eth0\n20010db8000000000000000000000011 02 40 00 01 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n";
        assert_eq!(ipv6(table), ["2001:db8::10"]);
    }

    #[test]
    fn mounts_are_those_that_hold_data() {
        let text = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n23 22 0:5 / /proc rw - proc proc rw\n24 22 8:2 / /my\\040data rw - xfs /dev/sdb1 rw\n25 22 8:3 / /run/x rw - ext4 /dev/sdc1 rw\n";
        let mounts = mounted(text);
        assert_eq!(mounts.keys().collect::<Vec<_>>(), ["/", "/my data"]);
        assert_eq!(mounts["/my data"].file_system, "xfs");
    }

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
