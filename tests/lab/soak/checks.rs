//! What must be true of every host once the faults are over.

use std::time::{Duration, Instant};

use crate::support::host::Host;

use super::growth::{Measure, measure};
use super::{Soak, rows};

/// Real time in which all hosts converge, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

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
                    && value["health"] == "Healthy"
                    // The guard of an upgrade needs a moment to see that it is over.
                    && !member.state.path().join("guard").exists();
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
        std::thread::scope(|scope| {
            let members = self.members.iter();
            let measures: Vec<_> =
                members.map(|member| scope.spawn(|| measure(&member.host, member.state.path()))).collect();
            measures.into_iter().map(|measure| measure.join().expect("a measure")).collect()
        })
    }

    /// Gives every host a long history.
    pub(super) fn age(&self) {
        self.members.iter().for_each(|member| rows::age(member.state.path()));
    }

    /// Neither temporary files nor dead processes nor failed units nor open debts.
    pub(super) fn nothing_is_left_over(&self) {
        for member in &self.members {
            let name = member.host.name();
            let left = member.host.sh(
                "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o -name '.abide-*' -print
                 find /var/lib/abide -name '*.tmp*' -o -name 'tmp_*' -o -name 'incoming-*' -o -name '.abide-*'
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
            assert_eq!(rows::too_many(&rows::count(member.state.path())), Vec::<String>::new(), "{name}");
        }
    }
}
