//! Which changes can cut a host off from its remote.
//!
//! Better one too many: what is said to touch the network only has to prove that the remote can still be reached.

use super::{Effect, Plan, UnitAction};

/// Files and folders by which a host finds and reaches others, or by which abide itself does.
const PATHS: &[&str] = &[
    "/etc/NetworkManager",
    "/etc/apparmor.d",
    "/etc/apt/apt.conf.d",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/conntrackd",
    "/etc/dhcp",
    "/etc/dhcpcd.conf",
    "/etc/dnsmasq.conf",
    "/etc/dnsmasq.d",
    "/etc/environment",
    "/etc/ethers",
    "/etc/firewalld",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/ipsec.conf",
    "/etc/ipsec.d",
    "/etc/iproute2",
    "/etc/iptables",
    "/etc/iptables.rules",
    "/etc/modprobe.d",
    "/etc/modules-load.d",
    "/etc/netplan",
    "/etc/network",
    "/etc/networks",
    "/etc/nftables",
    "/etc/nftables.conf",
    "/etc/nsswitch.conf",
    "/etc/openvpn",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/resolvconf",
    "/etc/resolvconf.conf",
    "/etc/rt_tables",
    "/etc/selinux",
    "/etc/shorewall",
    "/etc/ssh",
    "/etc/ssl",
    "/etc/strongswan",
    "/etc/swanctl",
    "/etc/sysconfig/iptables",
    "/etc/sysconfig/ip6tables",
    "/etc/sysconfig/network",
    "/etc/sysconfig/network-scripts",
    "/etc/sysconfig/nftables.conf",
    "/etc/sysctl.conf",
    "/etc/sysctl.d",
    "/etc/systemd/network",
    "/etc/systemd/networkd.conf",
    "/etc/systemd/networkd.conf.d",
    "/etc/systemd/resolved.conf",
    "/etc/systemd/resolved.conf.d",
    "/etc/systemd/system/abide-fetch.service.d",
    "/etc/udev/rules.d",
    "/etc/ufw",
    "/etc/unbound",
    "/etc/wireguard",
    "/etc/wpa_supplicant",
    "/root/.ssh",
    "/run/systemd/network",
    "/run/systemd/resolve",
    "/usr/lib/firewalld",
    "/usr/lib/systemd/network",
    "/usr/lib/sysctl.d",
    "/usr/local/share/ca-certificates",
];

/// Words in the names of units and packages of the kind.
const WORDS: &[&str] = &[
    "NetworkManager",
    "bind9",
    "ca-certificates",
    "connman",
    "dhc",
    "dnsmasq",
    "fail2ban",
    "fetch",
    "firewall",
    "frr",
    "ifup",
    "ifupdown",
    "iptables",
    "iproute",
    "ipsec",
    "iwd",
    "keepalived",
    "netfilter",
    "netplan",
    "network",
    "nft",
    "openvpn",
    "proxy",
    "resolv",
    "shorewall",
    "ssh",
    "strongswan",
    "sysctl",
    "systemd",
    "tailscale",
    "ufw",
    "unbound",
    "vpn",
    "wg-quick",
    "wireguard",
    "wpa_supplicant",
    "wpasupplicant",
];

/// Whether what the plan changes can cut the host off. Programs that are run can do everything.
pub fn touched_by(plan: &Plan) -> bool {
    let steps = plan.steps.iter().filter(|step| !step.report_only);
    steps.flat_map(|step| &step.change.effects).any(touches)
}

fn touches(effect: &Effect) -> bool {
    match effect {
        Effect::WriteFile(file) => is_path(&file.path),
        Effect::MakeDirectory { path, .. }
        | Effect::MakeSymlink { path, .. }
        | Effect::SetAttributes { path, .. }
        | Effect::Remove { path, .. } => is_path(path),
        Effect::Package(action) => has_word(&action.name),
        Effect::Unit { unit, action, .. } => {
            has_word(unit) && !matches!(action, UnitAction::ResetFailed | UnitAction::Unmask)
        }
        Effect::Run(_) => true,
        Effect::DaemonReload | Effect::User(_) | Effect::Group(_) => false,
    }
}

/// A path of the kind, one below it, or one above it, whose removal or whose owner takes it along.
fn is_path(path: &std::path::Path) -> bool {
    let unit_file = path
        .strip_prefix("/etc/systemd/system")
        .is_ok_and(|below| below.iter().any(|name| has_word(&name.to_string_lossy())));
    unit_file
        || PATHS.iter().any(|known| path.starts_with(known) || std::path::Path::new(known).starts_with(path))
}

fn has_word(name: &str) -> bool {
    WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Attributes;
    use crate::plan::PackageAction;
    use crate::plan::PackageOperation;

    #[test]
    fn what_the_way_to_the_remote_depends_on_is_known() {
        let attributes = Attributes::default;
        let path = |path: &str| Effect::SetAttributes { path: path.into(), attributes: attributes() };
        let unit = |unit: &str, action| Effect::Unit { unit: unit.into(), action, timeout: 1 };
        let package = |name: &str| {
            Effect::Package(PackageAction {
                name: name.into(),
                operation: PackageOperation::Remove,
                version: None,
                options: Default::default(),
            })
        };
        for effect in [
            path("/etc/resolv.conf"),
            path("/etc/network/interfaces.d/eth0"),
            path("/etc"),
            path("/etc/systemd/system/sshd.service.d/limits.conf"),
            unit("nftables.service", UnitAction::Start),
            unit("systemd-networkd.service", UnitAction::Restart),
            package("openssh-server"),
        ] {
            assert!(touches(&effect), "{effect:?}");
        }
        for effect in [
            path("/etc/motd"),
            path("/etc/nginx/nginx.conf"),
            path("/etc/hostsfile"),
            path("/etc/systemd/system/app.service"),
            unit("nginx.service", UnitAction::Restart),
            unit("nftables.service", UnitAction::ResetFailed),
            package("nginx"),
        ] {
            assert!(!touches(&effect), "{effect:?}");
        }
    }
}
