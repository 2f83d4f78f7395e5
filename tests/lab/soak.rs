//! A day of compressed time: random pushes, reverts, faults, drift, lost networks, full disks, clock jumps and upgrades on several hosts,
//! which all converge to the branch in the end, with nothing left over and nothing grown. A seed repeats the operations;
//! tests/README.md says how to lengthen it.

mod archive;
mod checks;
mod disk;
mod fleet;
mod growth;
mod operations;
mod rows;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::packages::build;
use crate::support::fleet::{Fleet, Signer};
use crate::support::git_server::{GitServer, Place};
use crate::support::host::{Host, HostOptions, Network};
use crate::support::lab_is_enabled;
use crate::support::site::{FLEET, ROLE, trust};

use archive::Archive;
use disk::StateDisk;
use fleet::Model;
use operations::Planned;

/// Simulated seconds that pass in one.
const USUAL_RATE: u64 = 150;

const SETTINGS: &str = "[source]\npoll = \"8m\"\njitter = \"1m\"\nbackoff = \"20m\"\ntimeout = \"10s\"\ndeadline = \"20s\"\n\
    [agent]\ncheck = \"30m\"\n[apply]\nprune-limit = 100\nbackup-bytes = 1048576\n[rollback]\nremote-within = \"1h\"\n";

/// A small generator (xorshift64), so that a seed gives the same operations again.
pub struct Dice(u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// One of these.
    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A host under soak.
pub struct Member {
    /// The host.
    pub host: Host,
    /// Where it keeps its state; gone after the host.
    pub state: StateDisk,
    clock: PathBuf,
    offset: i64,
    /// Its veth is down.
    pub cut: bool,
    /// A small file system lies over its managed folder.
    pub full: bool,
    /// Units that had failed before anything began.
    pub failed: String,
}

/// Everything that takes part.
pub struct Soak {
    /// What happens next.
    pub dice: Dice,
    /// The hosts.
    pub members: Vec<Member>,
    /// The repository.
    pub fleet: Fleet,
    /// Its signer.
    pub signer: Signer,
    /// Somebody whom the policy does not know.
    pub stranger: Signer,
    /// Its server.
    pub server: GitServer,
    /// The server does not answer.
    pub down: bool,
    /// What is declared.
    pub model: Model,
    /// What was declared before.
    pub earlier: Vec<Model>,
    /// The clone is ahead of what may count: the next push takes that back.
    pub spoilt: bool,
    log: Log,
    rate: u64,
    began: Instant,
    wall: u128,
    /// Milliseconds since the machine's boot, which is that of all hosts, when the clocks began to run faster.
    boot: u64,
    clocks: TempDir,
    archive: Archive,
}

/// What was done; shown when something is not as it should be.
struct Log {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the operations of ABIDE_SOAK_SEED={}:\n{}", self.seed, self.lines.join("\n"));
        }
    }
}

fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("the uptime");
    let seconds: Option<f64> = text.split(' ').next().and_then(|word| word.parse().ok());
    (seconds.expect("seconds") * 1000.0) as u64
}

fn setting(name: &str, usual: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn hosts_converge_after_a_day_of_everything() {
    if !lab_is_enabled() {
        return;
    }
    let seed = setting("ABIDE_SOAK_SEED", 0x5eed);
    let hosts = setting("ABIDE_SOAK_HOSTS", 3);
    let hours = setting("ABIDE_SOAK_HOURS", 2);
    let rate = setting("ABIDE_SOAK_RATE", USUAL_RATE);
    println!(
        "ABIDE_SOAK_SEED={seed} ABIDE_SOAK_HOSTS={hosts} ABIDE_SOAK_HOURS={hours} ABIDE_SOAK_RATE={rate}"
    );
    let mut soak = Soak::new(seed, hosts, rate);
    soak.converged("at the beginning");
    // Agents may be ended in the first half only, so that what grows in them shows in the second, once they have seen something of
    // everything.
    let half = hours * 3600 / 2;
    soak.operate(half, true, Soak::planned(true));
    soak.calm();
    soak.converged("after the first half");
    soak.age();
    soak.operate(half / 4, false, &[]);
    soak.calm();
    soak.converged("once warm");
    let warm = soak.measured();
    soak.operate(half * 3 / 4, false, Soak::planned(false));
    soak.calm();
    soak.converged("at the end");
    let end = soak.measured();
    growth::print(&warm, &end);
    growth::nothing_grew(&warm, &end);
    growth::was_upgraded(&end);
    soak.nothing_is_left_over();
}

impl Soak {
    fn new(seed: u64, hosts: u64, rate: u64) -> Soak {
        let program = build(&["--features", "simulated-clock", "--example", "hasty"]).join("hasty");
        let clocks = tempfile::tempdir().expect("a temporary folder");
        let archive = Archive::new(&program);
        let fleet = Fleet::new();
        let (signer, stranger) = (fleet.signer("alice"), fleet.signer("mallory"));
        let model = Model::default();
        fleet.write(&[("fleet.toml", FLEET), ("trust.toml", &trust(&signer)), (ROLE, &model.role())]);
        let introduction = fleet.publish("Begin", &signer, &[("roles/base/tree/leaf", "leaf\n")]);
        let server = GitServer::git(&fleet.repositories(), Place::Bridge);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
        let mut soak = Soak {
            dice: Dice(seed | 1),
            members: Vec::new(),
            fleet,
            signer,
            stranger,
            server,
            down: false,
            model,
            earlier: Vec::new(),
            spoilt: false,
            log: Log { seed, lines: Vec::new() },
            rate,
            began: Instant::now(),
            wall,
            boot: uptime(),
            clocks,
            archive,
        };
        soak.members = std::thread::scope(|scope| {
            let (soak, introduction) = (&soak, &introduction);
            let booting: Vec<_> =
                (0..hosts).map(|number| scope.spawn(move || soak.boot(number, introduction))).collect();
            booting.into_iter().map(|member| member.join().expect("a host is ready")).collect()
        });
        soak.began = Instant::now();
        soak
    }

    fn boot(&self, number: u64, introduction: &str) -> Member {
        let clock = self.clocks.path().join(number.to_string());
        std::fs::write(&clock, self.clock(0)).expect("a clock");
        let state = StateDisk::new();
        let host = Host::boot(HostOptions {
            name: "soak",
            network: Network::Bridge,
            binds: vec![(clock.clone(), "/abide-clock".into()), self.archive.bind()],
            writable: vec![state.bind()],
            ..HostOptions::default()
        });
        host.sh(&archive::install()).success();
        host.write("/etc/abide/abide.toml", SETTINGS);
        let (url, key) = (self.server.url("fleet"), self.signer.public_key());
        let failed = checks::failed_units(&host);
        host.exec(&["abide", "enroll", &url, "--introduction", introduction, "--key", &key, "--yes"])
            .success();
        Member { host, state, clock, offset: 0, cut: false, full: false, failed }
    }

    /// What a host's clock file says.
    fn clock(&self, offset: i64) -> String {
        // Room for any number, so that a shorter one leaves no digits of the one before.
        format!("{} {} {} {offset:<12}\n", self.rate, self.wall, self.boot)
    }

    /// Makes a host's clock jump.
    pub fn jump(&mut self, number: usize, seconds: i64) {
        self.members[number].offset += seconds;
        let text = self.clock(self.members[number].offset);
        let file =
            std::fs::OpenOptions::new().write(true).open(&self.members[number].clock).expect("a clock");
        std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).expect("a clock is written");
    }

    /// Simulated seconds since the beginning.
    pub fn passed(&self) -> u64 {
        self.began.elapsed().as_secs() * self.rate
    }

    /// Notes what is done.
    pub fn note(&mut self, text: &str) {
        let passed = self.passed();
        self.log.lines.push(format!("{:02}:{:02} {text}", passed / 3600, passed / 60 % 60));
    }

    /// Operations at random moments, and those that are planned, for so many simulated seconds.
    fn operate(&mut self, share: u64, deadly: bool, planned: Planned) {
        let from = self.passed();
        let until = from + share;
        let mut planned = planned.iter().peekable();
        while self.passed() < until {
            let passed = self.passed();
            match planned.next_if(|(percent, _)| passed >= from + share * percent / 100) {
                Some((_, operation)) => operation(self),
                None => self.operation(deadly),
            }
            // About every ten minutes of a host's day, whatever the number of hosts.
            let share = 1200 * 1000 / self.rate / (self.members.len() as u64);
            std::thread::sleep(Duration::from_millis(self.dice.below(share.max(1))));
        }
    }
}
