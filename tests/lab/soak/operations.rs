//! What may happen to a fleet in a day.

use crate::support::site::ROLE;

use super::Soak;

impl Soak {
    /// One thing, at random. `deadly`: also what ends an agent.
    pub(super) fn operation(&mut self, deadly: bool) {
        let number = self.dice.below(self.members.len() as u64) as usize;
        match self.dice.below(if deadly { 100 } else { 84 }) {
            0..=17 => self.push(),
            18..=21 => self.revert(),
            22..=29 => self.spoil(),
            30..=59 => self.drift(number),
            60..=64 => self.network(number),
            65..=69 => self.fill(number),
            70..=74 => self.jump_somewhere(number),
            75..=78 => self.suspend(number),
            79..=80 => self.by_hand(number, "abide rollback --reason soak"),
            81..=83 => self.by_hand(number, "systemctl reload abide"),
            84..=92 => self.kill(number),
            93..=95 => self.by_hand(number, "systemctl restart abide"),
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
            self.model = earlier;
            self.publish("revert");
        }
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
            _ if self.down => {
                self.server.thaw();
                self.server.start();
                self.down = false;
                self.note("the server is back");
            }
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
        // A mount does not outlive it, and the link is made anew.
        (self.members[number].full, self.members[number].cut) = (false, false);
        self.members[number].failed = super::checks::failed_units(&self.members[number].host);
    }

    /// Ends every fault, and pushes something that all hosts can follow.
    pub(super) fn calm(&mut self) {
        self.note("all faults end");
        if std::mem::take(&mut self.down) {
            self.server.thaw();
            self.server.start();
        }
        for number in 0..self.members.len() {
            if std::mem::take(&mut self.members[number].full) {
                self.by_hand(number, "umount /srv/soak");
            }
            if std::mem::take(&mut self.members[number].cut) {
                self.by_hand(number, "ip link set host0 up");
            }
            self.by_hand(number, "abide resume");
            // Whoever killed a service and took its file away leaves a failed unit that nothing is declared about.
            self.by_hand(number, "systemctl reset-failed 'soak*'");
        }
        self.model.change(&mut self.dice);
        self.publish("the end");
    }
}
