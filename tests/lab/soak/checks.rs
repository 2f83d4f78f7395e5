//! What must be true of every host once the faults are over.

use std::time::{Duration, Instant};

use crate::support::host::Host;

use super::Soak;

/// Real time in which all hosts converge, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// What an agent and its folders take.
#[derive(Debug, Clone)]
pub struct Measure {
    pid: u64,
    /// Proportional set size of the agent, KiB.
    memory: u64,
    descriptors: u64,
    /// `/var/lib/abide` and `/var/lib/abide-fetch`, KiB.
    state: u64,
    spool: u64,
}

/// The units that have failed, one a line.
pub fn failed_units(host: &Host) -> String {
    host.sh("systemctl list-units --failed --plain --no-legend | cut -d' ' -f1").success()
}

impl Soak {
    /// Waits until every host is as the tip of the branch declares, and nothing would change.
    pub(super) fn converged(&mut self, when: &str) {
        let tip = self.fleet.git(&["rev-parse", "HEAD"]).success().trim().to_owned();
        let start = Instant::now();
        for member in &self.members {
            loop {
                let status = member.host.exec(&["abide", "status", "-o", "json"]).stdout;
                let value: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
                let run = &value["run"];
                let good = run["revision"]["commit"] == tip
                    && value["sync"] == "Synced"
                    && value["health"] == "Healthy";
                if good && member.host.exec(&["abide", "diff"]).code == 0 {
                    break;
                }
                assert!(
                    start.elapsed() < PATIENCE,
                    "{} did not converge to {tip} {when}\n{status}\n{}\n{}",
                    member.host.name(),
                    member.host.exec(&["abide", "diff"]).stdout,
                    member.host.exec(&["journalctl", "--no-pager", "-n", "60", "-u", "abide"]).stdout
                );
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        println!("all converged {when} after {:.1} s", start.elapsed().as_secs_f64());
    }

    /// What the agents take now.
    pub(super) fn measured(&self) -> Vec<Measure> {
        self.members.iter().map(|member| measure(&member.host)).collect()
    }

    /// Neither temporary files nor dead processes nor failed units nor open debts.
    pub(super) fn nothing_is_left_over(&self) {
        for member in &self.members {
            let name = member.host.name();
            let left = member.host.sh(
                "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o -name '.abide-*' -print
                 find /var/lib/abide -name '*.tmp*' -o -name 'tmp_*'
                 grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | while read -r f; do grep -H '^Name' $f || true; done",
            );
            assert_eq!(left.stdout.trim(), "", "left over on {name}");
            let failed = failed_units(&member.host);
            let new: Vec<&str> = failed.lines().filter(|unit| !member.failed.contains(unit)).collect();
            assert!(new.is_empty(), "{new:?} failed on {name}");
            let runs = member.host.exec(&["abide", "history", "--runs", "-o", "json"]).stdout;
            let runs: serde_json::Value = serde_json::from_str(&runs).unwrap_or_default();
            let open = |run: &&serde_json::Value| run["result"] == "running";
            let open: Vec<_> = runs.as_array().into_iter().flatten().filter(open).collect();
            assert!(open.is_empty(), "runs that never ended on {name}: {open:#?}");
        }
    }

    /// Neither agents nor their folders take more at the end than in the middle.
    pub(super) fn nothing_grew(&self, warm: &[Measure], end: &[Measure]) {
        for (member, (warm, end)) in self.members.iter().zip(warm.iter().zip(end)) {
            let name = member.host.name();
            println!("{name}: in the middle {warm:?}, at the end {end:?}");
            // An agent that was started again says nothing about growth.
            if warm.pid == end.pid {
                assert!(end.memory <= warm.memory + warm.memory / 4 + 1024, "{name} grew: {warm:?} {end:?}");
                assert!(end.descriptors <= warm.descriptors + 2, "{name} leaks: {warm:?} {end:?}");
            }
            // Twice is for packs that are due to be put together; the rest is bounded by itself.
            assert!(end.state <= (warm.state * 2).max(24 << 10), "{name}: the state grew: {warm:?} {end:?}");
            assert!(end.spool <= (warm.spool * 2).max(8 << 10), "{name}: the spool grew: {warm:?} {end:?}");
        }
        let restarted = warm.iter().zip(end).filter(|(warm, end)| warm.pid != end.pid).count();
        assert_eq!(restarted, 0, "agents died in the half in which nobody ended one");
    }
}

fn measure(host: &Host) -> Measure {
    let said = host
        .sh("pid=$(systemctl show -P MainPID abide)
             echo $pid; awk '/^Pss:/ { print $2 }' /proc/$pid/smaps_rollup
             # A poll or a run that is under way has some of its own; the fewest of several looks are those that stay.
             for n in $(seq 30); do ls /proc/$pid/fd | wc -l; sleep 0.1; done | sort -n | head -n 1
             du -sk /var/lib/abide | cut -f1; du -sk /var/lib/abide-fetch | cut -f1")
        .success();
    let numbers: Vec<u64> = said.lines().map(|line| line.trim().parse().expect("a number")).collect();
    let [pid, memory, descriptors, state, spool] = numbers[..] else { panic!("{said}") };
    Measure { pid, memory, descriptors, state, spool }
}
