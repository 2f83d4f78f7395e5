//! A change that cuts the host from its remote is taken back, whatever it is, and whoever dies meanwhile.

use std::time::Duration;

use super::{codes, generations};
use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, ROLE, Served, Site, SiteOptions};

const BASE: &str = "[file.\"/srv/app.conf\"]\ncontent = \"former\\n\"\n";

/// Polls often, and gives a change ten seconds to show that the remote is still there.
const SETTINGS: &str = "\n[rollback]\nremote-within = \"10s\"\n\n[apply]\nprune-limit = 100\n";

/// A unit of the network's kind that makes the remote unreachable while it is active.
fn cutting(how: &str, back: &str) -> String {
    format!(
        "{BASE}
[file.\"/srv/new\"]
content = \"new\\n\"

[unit.\"network-cut.service\".Service]
Type = \"oneshot\"
RemainAfterExit = true
ExecStart = \"{how}\"
ExecStop = \"{back}\"

[service.network-cut]
running = true
"
    )
}

fn site(name: &'static str) -> Site {
    let files = [("fleet.toml", FLEET), (ROLE, BASE)];
    Site::enrolled(&SiteOptions {
        name,
        pace: crate::support::site::Pace::Hasty,
        served: Served::Bridge,
        settings: SETTINGS,
        files: &files,
        ..Default::default()
    })
}

/// Waits until the change was given up and everything is back.
fn wait_back(site: &Site, bad: &str) {
    let status = site.wait_status("the change to be given up", |run| {
        run["pinned"]["from"] == bad
            && run["pinned"]["whole"] == true
            && run["pinned"]["lost_remote"].is_null()
    });
    assert_eq!(codes(&status), ["E393"], "{status:#}");
    assert_eq!(status["run"]["pinned"]["reason"]["code"], "E390", "{status:#}");
    site.holds("grep -qx former /srv/app.conf; not test -e /srv/new; not systemctl is-active network-cut");
}

/// The remote is reached again: a newer commit arrives.
fn goes_on(site: &Site) {
    site.declare(&BASE.replace("former", "newer"));
    site.host.wait_for("grep -qx newer /srv/app.conf", Duration::from_secs(30));
    site.wait_synced();
}

#[test]
fn a_route_that_leads_nowhere_is_taken_back() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("route");
    let (how, back) =
        ("/usr/sbin/ip route add blackhole 10.213.0.1/32", "/usr/sbin/ip route del blackhole 10.213.0.1/32");
    let bad = site.declare(&cutting(how, back));
    site.host.wait_for("test -e /srv/new", Duration::from_secs(30));
    wait_back(&site, &bad);
    goes_on(&site);
}

#[test]
fn a_link_that_is_down_comes_back_though_agent_and_host_die() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("link");
    let (how, back) = ("/usr/sbin/ip link set host0 down", "/usr/sbin/ip link set host0 up");
    // It comes again with each boot.
    let role = cutting(how, back).replace("running = true", "running = true\nenabled = true");
    let bad = site.declare(&format!(
        "{role}\n[unit.\"network-cut.service\".Install]\nWantedBy = \"multi-user.target\"\n"
    ));
    site.host.wait_for("systemctl is-active network-cut", Duration::from_secs(30));
    site.wait_status("the trial", |run| run["trial"]["poll"] == true);
    site.holds("systemctl kill -s KILL abide");
    site.host.power_cut();
    site.host.restart();
    site.host.wait_for("systemctl is-active network-cut || test ! -e /srv/new", Duration::from_secs(30));
    wait_back(&site, &bad);
    goes_on(&site);
}

/// Declares something that works, and then something in its place that cuts the host off.
fn cut_and_back(site: &Site, good: &str, bad: &str) {
    site.declare(&format!("{BASE}\n{good}"));
    site.wait_synced();
    let new = "\n[file.\"/srv/new\"]\ncontent = \"new\\n\"\n";
    let bad = site.declare(&format!("{BASE}\n{bad}{new}"));
    site.host.wait_for("test -e /srv/new", Duration::from_secs(30));
    wait_back(site, &bad);
    goes_on(site);
}

#[test]
fn firewall_and_resolver_are_taken_back() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("cuts");
    let rules = |policy: &str| {
        format!(
            "[file.\"/etc/nftables.conf\"]
content = \"flush ruleset\\ntable inet t {{\\nchain output {{\\ntype filter hook output priority 0; policy {policy};\\noif lo accept\\n}}\\n}}\\n\"
[unit.\"nftables.service\".Service]
Type = \"oneshot\"
RemainAfterExit = true
ExecStart = \"/usr/sbin/nft -f /etc/nftables.conf\"
ExecReload = \"/usr/sbin/nft -f /etc/nftables.conf\"
[service.nftables]
running = true
reload-on = [\"file:/etc/nftables.conf\"]
"
        )
    };
    cut_and_back(&site, &rules("accept"), &rules("drop"));
    site.holds("nft list ruleset | grep 'policy accept'");
    // Before abide it was the distribution's.
    cut_and_back(
        &site,
        "",
        "[file.\"/etc/nsswitch.conf\"]\ncontent = \"passwd: files\\ngroup: files\\nhosts: dns\\n\"\n",
    );
    site.holds("getent hosts bridge");
}

/// The link as systemd-networkd is to set it up.
fn networkd(address: &str) -> String {
    format!(
        "[file.\"/etc/systemd/network/10-host0.network\"]
content = \"[Match]\\nName=host0\\n[Network]\\nAddress={address}/16\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\n\"
[service.systemd-networkd]
running = true
enabled = true
reload-on = [\"file:/etc/systemd/network/10-host0.network\"]
"
    )
}

#[test]
fn an_address_that_networkd_takes_away_comes_back_though_agent_and_host_die() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("networkd");
    let (own, other) = (site.host.address(), "10.214.9.9");
    let has = |address: &str| format!("grep -q 'inet {address}/16' <(ip -4 address show dev host0)");
    let declare = |text: &str, address: &str, more: &str| {
        site.declare(&format!("{}\n{}{more}", BASE.replace("former", text), networkd(address)))
    };
    let new = "\n[file.\"/srv/new\"]\ncontent = \"new\\n\"\n";
    declare("former", &own, "");
    site.wait_synced();
    let bad = declare("former", other, new);
    site.host.wait_for(&format!("test -e /srv/new; {}", has(other)), Duration::from_secs(30));
    site.holds(&format!("not {}", has(&own)));
    wait_back(&site, &bad);
    site.holds(&has(&own));

    // The remote is reached again. Once more, and everybody dies meanwhile.
    declare("former", &own, "# newer\n");
    site.wait_synced();
    let bad = declare("former", other, &format!("# newer\n{new}"));
    site.host.wait_for(&format!("test -e /srv/new; {}", has(other)), Duration::from_secs(30));
    site.wait_status("the trial", |run| run["trial"]["poll"] == true);
    site.holds("systemctl kill -s KILL abide");
    site.host.power_cut();
    site.host.restart();
    // What cuts it off comes with the boot, too.
    wait_back(&site, &bad);
    site.holds(&has(&own));
    declare("newer", &own, "");
    site.host.wait_for("grep -qx newer /srv/app.conf", Duration::from_secs(30));
    site.wait_synced();
}

#[test]
fn a_wrong_host_key_is_taken_back() {
    if !lab_is_enabled() {
        return;
    }
    let files = [("fleet.toml", FLEET), (ROLE, BASE)];
    let site = Site::enrolled(&SiteOptions {
        name: "hostkey",
        pace: crate::support::site::Pace::Hasty,
        served: Served::Ssh,
        settings: SETTINGS,
        files: &files,
        ..Default::default()
    });
    let wrong = "[file.\"/etc/ssh/ssh_known_hosts\"]\ncontent = \"bridge ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1vQ2YkqB0G4x1zqU0b7lEw2cN7nXo1mG7mZcYk0m5d\\n\"\n";
    cut_and_back(&site, "", wrong);
}

#[test]
fn a_harmless_change_of_the_network_passes() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("harmless");
    site.declare(&cutting("/bin/true", "/bin/true"));
    site.host.wait_for("test -e /srv/new", Duration::from_secs(30));
    site.wait_synced();
    assert_eq!(generations(&site), [(2, "good".into()), (1, "good".into())]);
    let events = site.host.sh("abide events -o json").success();
    assert!(events.contains("generation-tried") && events.contains("generation-good"), "{events}");
}

#[test]
fn a_change_is_innocent_of_a_server_that_goes_away() {
    if !lab_is_enabled() {
        return;
    }
    let site = site("innocent");
    // The server goes away in the middle of the run.
    let wait = "touch /srv/begun; until test -e /srv/go; do sleep 0.1; done; touch /srv/done";
    let role = cutting("/bin/true", "/bin/true");
    let good = site.declare(&format!(
        "{role}\n[command.wait]\nargv = [\"/bin/sh\", \"-c\", \"{wait}\"]\ncreates = \"/srv/done\"\n"
    ));
    site.host.wait_for("test -e /srv/begun", Duration::from_secs(30));
    site.server.freeze();
    site.holds("touch /srv/go");
    site.wait_status("the change to be given up", |run| run["pinned"]["from"] == good.as_str());
    site.host.wait_for("test ! -e /srv/new", Duration::from_secs(30));
    site.wait_status("more time than a guilty change needs to show itself", |run| {
        run["trial"]["poll"] == false
    });
    site.server.thaw();
    site.host.wait_for("test -e /srv/new", Duration::from_secs(90));
    site.wait_synced();
}
