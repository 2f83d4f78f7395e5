//! A fetcher that was replaced by a hostile program: it wastes bounded disk and time, and nothing else.
//!
//! After each attack the host is still enforced, the status says what is wrong, and the next sound fetcher recovers by itself.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::bad_input::Sturdy;
use crate::support::lab_is_enabled;

/// Longer than anything takes here on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// No fetcher runs; while a unit of type `oneshot` runs, it is not active, but activating.
const NO_POLL: &str = "systemctl show -P ActiveState abide-fetch | grep -x -e inactive -e failed";

const DROP_IN: &str = "/etc/systemd/system/abide-fetch.service.d/hostile.conf";

/// The program of `hostile_fetcher.rs`.
fn program() -> PathBuf {
    crate::packages::example("hostile-fetcher")
}

/// An enrolled host whose fetcher can be replaced.
struct Victim {
    site: Sturdy,
    version: u32,
}

impl Victim {
    #[track_caller]
    fn new(name: &'static str) -> Victim {
        let site = Sturdy::enrolled(name);
        site.host.push(&program(), "/usr/bin/abide-hostile");
        // What a test must not be in want of.
        site.host.sh("mkdir -p /etc/ssh /etc/cron.d; install -m 600 /dev/null /etc/ssh/ssh_host_ed25519_key; install -m 600 /dev/null /root/secret").success();
        let limits =
            "printf '\\n[limits]\\nspool-bytes = 8388608\\nobjects = 1000\\n' >>/etc/abide/abide.toml";
        site.host.sh(limits).success();
        site.host.write(
            "/etc/systemd/system/hostile-made.service",
            "[Service]\nExecStart=/bin/touch /etc/hostile-started\n",
        );
        site.host.sh("systemctl daemon-reload; systemctl reload abide").success();
        Victim { site, version: 1 }
    }

    /// Puts the hostile program into the place of the fetcher.
    fn replaced(&self, attack: &str) {
        let unit = format!("[Service]\nExecStart=\nExecStart=/usr/bin/abide-hostile {attack}\n");
        self.site.host.write(DROP_IN, unit);
        self.site.host.sh("systemctl daemon-reload").success();
    }

    /// Waits until the status is bad with one of these codes, and proves that the host is enforced nevertheless.
    #[track_caller]
    fn suffers(&self, code: &str) -> Value {
        self.site.degraded(code, &self.version.to_string())
    }

    /// Gives the fetcher back, and proves that a new commit arrives without anybody's help.
    #[track_caller]
    fn recovers(&mut self) {
        self.site.host.sh(&format!("rm {DROP_IN}; systemctl daemon-reload")).success();
        self.version += 1;
        self.site.publish(&self.version.to_string(), "");
        // One that was begun just before is deaf, too, and ended by the agent half a minute after its deadline.
        let arrived = format!("grep -qx 'version {}' /etc/managed.conf", self.version);
        self.site.host.wait_for(&arrived, 2 * SOON);
        self.site.well_at(&self.version.to_string());
        let left = "cd /var/lib/abide-fetch; ls -A | grep -vxE 'lock|note.json|packs|repository|settings.toml|ssh.log'";
        let left = self.site.host.sh(&format!("{left} || true")).success();
        assert_eq!(left, "", "the spool is a spool again");
        self.site.host.sh("test ! -e /etc/hostile-started; test ! -e /etc/hostile-ran").success();
    }

    /// What the hostile program says of what it got.
    #[track_caller]
    fn said(&self, wanted: &str) -> String {
        let script = format!("journalctl --sync; journalctl -q -o cat -u abide-fetch | grep -a '{wanted}'");
        self.site.host.wait_for(&script, SOON)
    }

    /// KiB that the spool takes on disk.
    fn spool(&self) -> u64 {
        let said = self.site.host.sh("du -sk /var/lib/abide-fetch | cut -f1").success();
        said.trim().parse().expect("du prints a number")
    }
}

/// Attack 37: a compromised fetcher reaches for everything outside of its spool.
#[test]
fn a_hostile_fetcher_reaches_nothing() {
    if !lab_is_enabled() {
        return;
    }
    let mut victim = Victim::new("reach");
    let agent = victim.site.host.sh("systemctl show -P MainPID abide").success();
    victim.replaced("reach");
    victim.said("a link to a file of root");
    let journal = victim.site.host.journal("abide-fetch");
    let reached: Vec<&str> = journal.lines().filter(|line| line.starts_with("REACHED")).collect();
    assert!(reached.is_empty(), "{reached:#?}");
    let denied: std::collections::BTreeSet<&str> =
        journal.lines().filter(|line| line.starts_with("denied")).collect();
    assert_eq!(denied.len(), 44, "every attempt was made: {denied:#?}");
    let after = victim.site.host.sh("systemctl show -P MainPID abide").success();
    assert_eq!(agent, after, "the agent lives");
    victim.recovers();
}

/// Attack 37: a compromised fetcher lies about the branch and about itself.
#[test]
fn a_hostile_fetcher_is_not_believed() {
    if !lab_is_enabled() {
        return;
    }
    let mut victim = Victim::new("lie");
    victim.replaced("lie");
    let status = victim.suffers("E127");
    assert_eq!(status["run"]["revision"]["commit"], victim.site.introduction, "{status:#}");
    // Whoever was just started has heard no fetcher yet.
    let heard = "test -n \"$(abide status | grep 'by its own words')\"";
    victim.site.host.wait_for(heard, Duration::from_secs(30));
    let shown = victim.site.abide(&["status"]).stdout;
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("forged")), "{shown}");
    assert!(shown.contains("by its own words"), "{shown}");
    victim.recovers();
}

/// Attack 37: links, FIFOs, sockets, folders, holes and garbage in the place of notes and packs, and settings that would outlive the attacker.
#[test]
fn a_hostile_fetcher_leaves_traps_for_nobody() {
    if !lab_is_enabled() {
        return;
    }
    let mut victim = Victim::new("litter");
    for (attack, code) in [("litter", "E126"), ("note", "E126"), ("sparse", "E123")] {
        eprintln!("--- {attack}");
        victim.replaced(attack);
        match attack {
            // Nobody looks at packs for a tip that is there already.
            "sparse" => {
                victim.site.host.wait_for(
                    "test -e /var/lib/abide-fetch/packs/pack-0123456789012345678901234567890123456789.pack",
                    SOON,
                );
                victim.site.enforced(&victim.version.to_string());
            }
            _ => drop(victim.suffers(code)),
        }
        let taken = victim.spool();
        assert!(taken < 64 << 10, "{taken} KiB");
        victim.recovers();
        victim.site.host.sh("test ! -e /var/lib/abide-fetch/ran").success();
    }
}

/// Attack 37: a compromised fetcher fills the disk: with files that can be seen, with files that cannot, with names, with depth.
#[test]
fn a_hostile_fetcher_wastes_bounded_disk() {
    if !lab_is_enabled() {
        return;
    }
    let mut victim = Victim::new("fill");
    // A disk of its own, so that nobody else writes there.
    let disk = "mkdir /root/old; cp -a /var/lib/abide-fetch/. /root/old; mount -t tmpfs -o size=256M,nr_inodes=200k,mode=750,uid=abide-fetch,gid=abide-fetch tmpfs \
                /var/lib/abide-fetch; cp -a /root/old/. /var/lib/abide-fetch";
    victim.site.host.sh("systemctl stop abide").success();
    // The agent has asked for a poll that may still be under way.
    victim.site.host.wait_for(NO_POLL, SOON);
    victim.site.host.sh(&format!("{disk}; systemctl start abide")).success();
    for attack in ["fill", "fill-unseen", "many", "deep"] {
        eprintln!("--- {attack}");
        victim.replaced(attack);
        let status = victim.suffers("E811");
        let problems = status["agent"]["problems"].to_string();
        assert!(problems.contains("its spool"), "{problems}");
        // Started again and ended again: what it takes does not add up.
        victim.site.host.sh("sleep 4").success();
        victim.site.host.sh("systemctl stop abide; systemctl kill -s KILL abide-fetch || true").success();
        victim.site.host.wait_for(NO_POLL, SOON);
        victim.site.host.sh("systemctl start abide").success();
        victim.recovers();
        let taken = victim.spool();
        assert!(taken < 1 << 10, "{taken} KiB are left");
    }
}

/// Attack 37: a compromised fetcher takes processes, memory and time.
#[test]
fn a_hostile_fetcher_wastes_bounded_memory_and_time() {
    if !lab_is_enabled() {
        return;
    }
    let mut victim = Victim::new("waste");
    victim.replaced("fork");
    let said = victim.said("^[0-9]* processes");
    let most = said.lines().filter_map(|line| line.split(' ').next()?.parse::<u32>().ok()).max();
    assert!(most.is_some_and(|most| most < 64), "{said}");
    victim.recovers();
    victim.site.host.sh("! grep -las '[6]00' /proc/[0-9]*/cmdline").success();

    let limited = victim.site.host.sh("grep -qw memory /sys/fs/cgroup/cgroup.controllers").code == 0;
    if limited {
        victim.replaced("memory");
        victim.suffers("E477");
        let journal = victim.site.host.journal("abide-fetch");
        assert!(!journal.contains("MiB of memory"), "{journal}");
        victim.recovers();
    } else {
        eprintln!("skipped: this machine hands no controller of memory down to its hosts");
    }

    // Half a minute after the deadline of a poll the agent has enough of it, deaf as it is.
    victim.replaced("forever");
    victim.site.host.wait_for("grep -las 'IN[T] HUP' /proc/[0-9]*/cmdline", SOON);
    victim.site.enforced(&victim.version.to_string());
    victim.site.host.wait_for("(abide status || true) | grep -F '[E478]'", SOON);
    victim.suffers("E478");
    victim.recovers();
    victim.site.host.sh("! grep -las 'IN[T] HUP' /proc/[0-9]*/cmdline").success();
}

/// Attack 37: a compromised fetcher exchanges files, links, FIFOs and the mailbox itself while the root process reads them.
#[test]
fn a_hostile_fetcher_swaps_things_under_the_readers_hands() {
    if !lab_is_enabled() {
        return;
    }
    let mut victim = Victim::new("swap");
    let shadow = victim.site.host.sh("sha256sum /etc/shadow /etc/passwd").success();
    victim.replaced("swap");
    victim.site.host.wait_for("test -e /var/lib/abide-fetch/garbage", SOON);
    let mut bad = 0;
    let begun = std::time::Instant::now();
    while victim.site.host.sh("journalctl -q -o cat -u abide-fetch | grep -qa rounds").code != 0 {
        assert!(begun.elapsed() < SOON, "{}", victim.site.host.journal("abide-fetch"));
        bad += usize::from(victim.site.abide(&["sync", "--no-fetch"]).code != 0);
        victim.site.enforced(&victim.version.to_string());
    }
    assert!(bad > 0, "some of what was read was bad");
    victim.said("denied read /etc/shadow");
    assert_eq!(victim.site.host.sh("sha256sum /etc/shadow /etc/passwd").success(), shadow);
    let root = "find /var/lib/abide -newer /etc/managed.conf -size +900k -name 'incoming-*'";
    assert_eq!(victim.site.host.sh(root).success(), "", "nothing half taken is left");
    victim.recovers();
}
