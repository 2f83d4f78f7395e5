//! Facts out of the texts of the kernel and the distribution: small, pure readers.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Mount, Os};

pub(super) fn os(release: &str) -> Os {
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

pub(super) fn fqdn(hostname: &str, hosts: &str) -> String {
    if hostname.contains('.') || hostname.is_empty() {
        return hostname.to_owned();
    }
    let prefix = format!("{hostname}.");
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut names = lines.flat_map(|line| line.split_whitespace().skip(1));
    names.find(|name| name.starts_with(&prefix)).unwrap_or(hostname).to_owned()
}

/// Counts a list like `0-3,8`.
pub(super) fn cpus(online: &str) -> u32 {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some(last.checked_sub(first)?.saturating_add(1))
    };
    online.trim().split(',').filter_map(count).fold(0u32, u32::saturating_add).max(1)
}

pub(super) fn memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

pub(super) fn virtualization(root: &Path, cpuinfo: &str) -> String {
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
pub(super) fn ipv4(trie: &str) -> Vec<String> {
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
pub(super) fn ipv6(table: &str) -> Vec<String> {
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

pub(super) fn mounted(mountinfo: &str) -> BTreeMap<String, Mount> {
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
}
