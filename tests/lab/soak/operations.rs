//! What may happen to a fleet in a day.

use crate::support::site::ROLE;

use super::Soak;
use super::fleet::Model;

/// What happens in any case, since a short soak might go without: after how many hundredths of a half, and what.
pub(super) type Planned = &'static [(u64, fn(&mut Soak))];

/// In the half in which agents are ended.
const DEADLY: Planned = &[
    (10, Soak::fill_state),
    (25, Soak::change_packages),
    (35, Soak::upgrade_for_sure),
    (70, Soak::upgrade_for_sure),
    (85, Soak::free_states),
];

/// In the other one.
const QUIET: Planned = &[(15, Soak::change_packages), (30, Soak::fill_state), (60, Soak::free_states)];

impl Soak {
    /// What is planned for a half.
    pub(super) fn planned(deadly: bool) -> Planned {
        if deadly { DEADLY } else { QUIET }
    }

    /// One thing, at random. `deadly`: also what ends an agent.
    pub(super) fn operation(&mut self, deadly: bool) {
        let number = self.dice.below(self.members.len() as u64) as usize;
        match self.dice.below(if deadly { 100 } else { 86 }) {
            0..=16 => self.push(),
            17..=20 => self.revert(),
            21..=28 => self.spoil(),
            29..=58 => self.drift(number),
            59..=63 => self.network(number),
            64..=68 => self.fill(number),
            69..=73 => self.jump_somewhere(number),
            74..=77 => self.suspend(number),
            78..=79 => self.by_hand(number, "abide rollback --reason soak"),
            80..=82 => self.by_hand(number, "systemctl reload abide"),
            83..=84 => self.fill_state(),
            85 => self.free_states(),
            86..=92 => self.kill(number),
            93..=95 => self.by_hand(number, "systemctl restart abide"),
            96 => self.upgrade(),
            _ => self.cut_power(number),
        }
    }

    fn push(&mut self) {
        self.earlier.push(self.model.clone());
        self.model.change(&mut self.dice);
        self.publish("change");
    }

    fn revert(&mut self) {
        if let Some(earlier) = self.earlier.pop() {
            // Another abide is another agent, and has operations of its own.
            self.model = Model { abide: self.model.abide, ..earlier };
            self.publish("revert");
        }
    }

    fn change_packages(&mut self) {
        self.earlier.push(self.model.clone());
        self.model.change_package(&mut self.dice);
        self.publish("packages");
    }

    fn upgrade(&mut self) {
        self.earlier.push(self.model.clone());
        self.model.upgrade();
        self.publish(&format!("abide {}", self.model.abide.unwrap_or_default()));
    }

    /// The same; and the first host gets it, whatever was wrong there.
    fn upgrade_for_sure(&mut self) {
        self.bring_server_back();
        self.mend(0);
        self.upgrade();
        let wanted = format!("{}-1 installed", self.model.abide.unwrap_or_default());
        let version = "dpkg-query -W -f '${Version} ${db:Status-Status}' abide";
        self.members[0]
            .host
            .wait_for(&format!("test \"$({version})\" = '{wanted}'"), super::checks::PATIENCE);
    }

    /// Pushes what the model says, in the place of a commit that does not count.
    pub(super) fn publish(&mut self, what: &str) {
        if std::mem::take(&mut self.spoilt) {
            self.fleet.git(&["reset", "-q", "--hard", "HEAD~1"]).success();
        }
        let commit = self.fleet.publish(what, &self.signer, &[(ROLE, &self.model.role())]);
        self.note(&format!("push {what} {commit:.8}"));
    }

    /// A commit that cannot or does not come into force.
    fn spoil(&mut self) {
        if self.spoilt {
            return self.publish("repair");
        }
        let good = self.model.role();
        let (what, role, signer) = match self.dice.below(4) {
            0 => ("nobody signed", format!("{good}\n# unsigned\n"), None),
            1 => ("a stranger signed", format!("{good}\n# strange\n"), Some(&self.stranger)),
            2 => (
                "a broken manifest",
                format!("{good}\n[file.\"/srv/soak/broken\"]\nmod = 1\n"),
                Some(&self.signer),
            ),
            _ => (
                "a resource that fails",
                format!(
                    "{good}\n[unit.\"failing.service\".Service]\nType = \"oneshot\"\nExecStart = \"/bin/false\"\n\
                     RemainAfterExit = true\n[service.failing]\nrunning = true\n"
                ),
                Some(&self.signer),
            ),
        };
        self.fleet.write(&[(ROLE, &role)]);
        let counts = signer.is_some_and(|signer| signer.name() == "alice");
        let commit = self.fleet.commit(what, signer);
        self.fleet.push();
        // A commit that is proven stays in the history; the others have to be taken off the branch.
        self.spoilt = !counts;
        self.note(&format!("push {what} {commit:.8}"));
        if counts {
            self.earlier.push(self.model.clone());
        }
    }

    fn drift(&mut self, number: usize) {
        let edit = self.dice.one(&[
            "rm -f /srv/soak/f*",
            "for f in /srv/soak/f[0-5]; do echo edited >$f; done",
            "chmod -R 700 /srv/soak",
            "chown -R 12345 /srv/soak",
            "mv /srv/soak /srv/soak.$RANDOM",
            "rm -rf /srv/soak; ln -s /tmp /srv/soak",
            "mkdir -p /srv/tree/a/b/c; touch /srv/tree/a/b/c/stranger",
            "rm -rf /srv/tree",
            "systemctl stop 'soak*'",
            "systemctl kill -s KILL 'soak*'",
            "systemctl disable soak0 soak1",
            "systemctl mask --now soak2; systemctl daemon-reload",
            "rm -f /etc/systemd/system/soak*.service; systemctl daemon-reload",
            "rm -f /etc/systemd/system/multi-user.target.wants/soak*",
            "userdel soak0; usermod -s /bin/false soak1",
            "rm -rf /var/lib/abide/fingerprints /var/lib/abide/desired",
            "for n in $(seq 50); do touch /srv/tree/noise; rm -f /srv/tree/noise; done",
        ]);
        self.by_hand(number, edit);
    }

    fn by_hand(&mut self, number: usize, script: &str) {
        let name = self.members[number].host.name().to_owned();
        self.note(&format!("{name}: {script}"));
        // What is not there cannot be edited.
        self.members[number].host.exec(&["bash", "-c", script]);
    }

    fn network(&mut self, number: usize) {
        match self.dice.below(3) {
            _ if self.down => self.bring_server_back(),
            0 => {
                self.server.stop();
                self.down = true;
                self.note("the server is gone");
            }
            1 => {
                self.server.freeze();
                self.down = true;
                self.note("the server is frozen");
            }
            _ => {
                let cut = !self.members[number].cut;
                self.members[number].cut = cut;
                self.by_hand(number, if cut { "ip link set host0 down" } else { "ip link set host0 up" });
            }
        }
    }

    fn bring_server_back(&mut self) {
        if std::mem::take(&mut self.down) {
            self.server.thaw();
            self.server.start();
            self.note("the server is back");
        }
    }

    /// A file system that is too small lies over the managed folder for a while.
    fn fill(&mut self, number: usize) {
        let full = !self.members[number].full;
        self.members[number].full = full;
        self.by_hand(
            number,
            if full {
                "mkdir -p /srv/soak; mount -t tmpfs -o size=12k none /srv/soak"
            } else {
                "umount /srv/soak"
            },
        );
    }

    /// The file system of a host's state has no room left, or next to none.
    fn fill_state(&mut self) {
        let number = self.dice.below(self.members.len() as u64) as usize;
        let free = 4 * self.dice.below(32);
        self.members[number].state.leave(Some(free));
        let name = self.members[number].host.name().to_owned();
        self.note(&format!("{name}: {free} KiB are left for the state"));
    }

    fn free_states(&mut self) {
        self.members.iter().for_each(|member| member.state.leave(None));
        self.note("there is room for every state");
    }

    fn jump_somewhere(&mut self, number: usize) {
        let seconds = match self.dice.below(3) {
            0 => -200,
            1 => 3600,
            _ => 6 * 3600,
        };
        self.jump(number, seconds);
        let name = self.members[number].host.name().to_owned();
        self.note(&format!("{name}: the clock jumps by {seconds} s"));
    }

    fn suspend(&mut self, number: usize) {
        match self.dice.below(3) {
            0 => self.by_hand(number, "abide resume"),
            _ => self.by_hand(number, "abide suspend --reason soak --for 40m"),
        }
    }

    fn kill(&mut self, number: usize) {
        let whom = self.dice.one(&[
            "systemctl kill -s KILL --kill-who=main abide",
            "systemctl kill -s KILL abide",
            "systemctl kill -s KILL abide-fetch",
            "abide sync --no-fetch & sleep 0.03; kill -9 $!",
            "rm -f /srv/soak/f1; sleep 0.03; systemctl kill -s KILL abide",
        ]);
        self.by_hand(number, whom);
    }

    fn cut_power(&mut self, number: usize) {
        let name = self.members[number].host.name().to_owned();
        self.note(&format!("{name}: a power cut"));
        self.members[number].host.power_cut();
        self.members[number].host.restart();
        // A mount does not outlive it; the link is of the lab, and stays as it is.
        self.members[number].full = false;
        self.members[number].failed = super::checks::failed_units(&self.members[number].host);
    }

    /// Ends every fault, and pushes something that all hosts can follow.
    pub(super) fn calm(&mut self) {
        self.note("all faults end");
        self.bring_server_back();
        for number in 0..self.members.len() {
            self.mend(number);
            // Whoever killed a service and took its file away leaves a failed unit that nothing is declared about.
            self.by_hand(number, "systemctl reset-failed 'soak*'");
        }
        self.model.change(&mut self.dice);
        self.publish("the end");
    }

    /// Ends every fault of a host.
    fn mend(&mut self, number: usize) {
        self.members[number].state.leave(None);
        if std::mem::take(&mut self.members[number].full) {
            self.by_hand(number, "umount /srv/soak");
        }
        if std::mem::take(&mut self.members[number].cut) {
            self.by_hand(number, "ip link set host0 up");
        }
        self.by_hand(number, "abide resume");
    }
}
