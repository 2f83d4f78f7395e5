//! A run dies at every place that it passes; the next one finishes what it began, as a model says.
//!
//! For each kind a host is brought from one commit to another again and again: from a copy of the same beginning, with a death at
//! the next place each time, a run that lives, and a last commit that takes everything away. At some places that last commit is what
//! the run after the death has already, and at some the whole host dies. The model is what a run leaves that never died: on the host,
//! in the inventory, and of what is told.

mod kinds;
mod mixed;
mod packages;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{everything, program};
use crate::support::host::Root;
use crate::support::site::{PATIENCE, Site, SiteOptions};

/// A transition, and what has to be true at both ends of it.
#[derive(Default)]
struct Case {
    name: &'static str,
    root: Root,
    /// What to run in the host before it is enrolled.
    prepare: &'static str,
    /// The role before, after which the host is remembered.
    before: String,
    /// The role whose application dies.
    after: String,
    /// Runs each time when the host is as `before` declares, right before the run that dies.
    reset: &'static str,
    /// What holds when the host is as `after` declares.
    holds: &'static str,
    /// What holds when nothing is declared any more.
    gone: &'static str,
    /// At least so many places are passed.
    places: usize,
    /// Every how-manieth place is tried where not everything is.
    every: usize,
    /// Every how-manieth place the whole host dies at, where everything is tried and where not; 0: never.
    cut: (usize, usize),
    /// Folders or files of the machine that the host sees.
    binds: Vec<(std::path::PathBuf, std::path::PathBuf)>,
}

/// What the host is made of in these cases: copied once, copied back before each death.
const KEPT: &str = "/srv /etc/systemd/system /etc/passwd /etc/shadow /etc/group /etc/gshadow /var/lib/abide";

/// Functions of the host's side. `run` is the run after the one that dies, `remembers` compares the state with the model.
const DRIVER: &str = r#"
not() { ! "$@"; }
keep() {
    rm -rf /keep; mkdir -p /keep; for path in $KEPT; do mkdir -p "/keep$(dirname $path)"; cp -a $path "/keep$path"; done
    abide told last >/model.last
}
back() {
    for path in $KEPT; do
        if [ -d "$path" ]; then find "$path" -mindepth 1 -delete; cp -a "/keep$path/." "$path/"; else cp -a "/keep$path" "$path"; fi
    done
}
spool() { find /var/lib/abide-fetch -mindepth 1 -delete; cp -a "/spool.$1/." /var/lib/abide-fetch/; }
check() { bash -eu "/$1" >/dev/null 2>&1 || { bash -eux "/$1"; echo "$1 does not hold"; return 1; }; }
run() { abide sync --no-fetch >/tmp/run 2>&1 || { echo "the run after it failed"; cat /tmp/run; return 1; }; }
idle() {
    cp /tmp/run /tmp/first; run
    if ! grep -q ' 0 changed' /tmp/run; then echo 'not settled'; cat /tmp/first /tmp/run; return 1; fi
}
whole() {
    local left
    left=$(find /srv /etc /run/abide /var/lib/abide \( -name '.abide-*' -o -name '.*.[0-9]*' -o -name 'incoming-*' -o -name '.tmp*' \) -print)
    if [ -n "$left" ]; then echo "left behind: $left"; return 1; fi
    abide diff >/tmp/diff 2>&1 || { echo "a difference is left"; cat /tmp/diff; return 1; }
    not grep -q '"running"' <<<"$(abide history -o json)" || { echo "a run is open"; return 1; }
}
model() { abide memory >/model.$1; abide told "$(cat /model.last)" | sort -u >/model.told.$1; }
remembers() {
    abide memory >/tmp/memory
    diff /model.$1 /tmp/memory || { echo "the state is not that of a run that lived"; return 1; }
}
told() {
    local missing
    missing=$(abide told "$(cat /model.last)" | sort -u | comm -23 /model.told.after -)
    if [ -n "$missing" ]; then echo "nobody told of $missing"; abide events; return 1; fi
}
dies() {
    local code=0
    ABIDE_DIE_AT=$1 abide sync --no-fetch >/tmp/died 2>&1 || code=$?
    if [ $code != 134 ]; then echo "it did not die: $code"; cat /tmp/died; return 1; fi
}
"#;

/// The place to begin with: where an earlier run was ended.
fn first() -> usize {
    std::env::var("ABIDE_DURABILITY_FROM").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What comes after a death.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The next run has the same commit.
    Again,
    /// The next run has a commit that takes everything away.
    Gone,
    /// The host is cut from its power, and boots again.
    Cut,
}

impl Case {
    /// Kills at every place, and says how many there were.
    fn prove(&self) {
        let begun = Instant::now();
        let site = Site::enrolled(&SiteOptions {
            name: self.name,
            root: self.root,
            prepare: self.prepare,
            settings: "\n[apply]\nprune-limit = 100\n\n[rollback]\nremote = \"never\"\n",
            program: Some(program()),
            binds: self.binds.clone(),
            ..Default::default()
        });
        site.converged(&self.before);
        site.holds("systemctl stop abide; abide history >/dev/null");
        let stays = "[file.\"/srv/stays\"]\ncontent = \"x\"\n";
        for (spool, role) in [("after", self.after.as_str()), ("gone", stays)] {
            site.declare(role);
            site.holds(&format!("systemctl start abide-fetch; cp -a /var/lib/abide-fetch /spool.{spool}"));
        }
        site.host.write("/driver", format!("KEPT='{KEPT}'\n{DRIVER}"));
        for (name, script) in [("holds", self.holds), ("gone", self.gone)] {
            site.host.write(&format!("/{name}"), format!("not() {{ ! \"$@\"; }}\n{script}\n"));
        }
        site.holds(". /driver; keep");
        let places = self.list(&site);
        assert!(places.len() >= self.places, "{}: only {} places: {places:#?}", self.name, places.len());
        let mut broken = String::new();
        let mut killed = [0; 3];
        for (number, then) in self.trials(places.len()) {
            let place = &places[number];
            killed[then as usize] += 1;
            if everything() && number % 10 == 0 {
                println!("{}: at {number} of {}", self.name, places.len());
            }
            if let Err(said) = self.dies(&site, number, then) {
                println!("{}: broken after {place}, {then:?}", self.name);
                let _ = writeln!(broken, "--- {number} {place} {then:?}\n{said}");
                if broken.len() > 20_000 {
                    break;
                }
            }
        }
        let [again, gone, cut] = killed;
        println!(
            "{}: {} places, died at {again}, with everything gone at {gone}, host killed at {cut}, in {} s",
            self.name,
            places.len(),
            begun.elapsed().as_secs()
        );
        assert!(broken.is_empty(), "{}\n{broken}", self.name);
    }

    /// Places, and what comes after a death there.
    fn trials(&self, places: usize) -> Vec<(usize, Then)> {
        let (step, cut) = if everything() { (1, self.cut.0) } else { (self.every.max(1), self.cut.1) };
        let mut trials = Vec::new();
        for (turn, number) in (first()..places).step_by(step).enumerate() {
            // Where everything is tried, each place has a run of the same commit after it; else they take turns.
            let gone = if everything() { turn % 4 == 1 } else { turn % 2 == 1 };
            if !gone || everything() {
                trials.push((number, Then::Again));
            }
            if gone {
                trials.push((number, Then::Gone));
            }
        }
        if cut > 0 {
            let cuts = (cut / 2..places).step_by(cut).filter(|number| *number >= first());
            trials.extend(cuts.map(|number| (number, Then::Cut)));
        }
        trials
    }

    /// The places that the run passes, by name. What it leaves, and what the one after it does, is the model.
    fn list(&self, site: &Site) -> Vec<String> {
        let script = format!(
            ". /driver; set -e; back; spool after; {}
             ABIDE_FAILPOINTS=list abide sync --no-fetch 2>&1 >/tmp/run || {{ cat /tmp/run; exit 1; }}
             check holds; model after; spool gone; run; check gone; model gone",
            self.reset
        );
        let output = site.host.sh(&script);
        assert_eq!(output.code, 0, "{}: {output:#?}", self.name);
        output.stdout.lines().filter(|line| line.starts_with("place ")).map(str::to_owned).collect()
    }

    /// Dies at a place; what is not as the model says.
    fn dies(&self, site: &Site, number: usize, then: Then) -> Result<(), String> {
        let reset = self.reset;
        let begin = format!(". /driver; systemctl stop abide abide-fetch; back; spool after\n{reset}\n");
        let script = match then {
            Then::Again => format!(
                "{begin}dies {number}; run; whole; check holds; remembers after; told; idle; check holds; remembers after
                 spool gone; run; whole; check gone; remembers gone"
            ),
            Then::Gone => {
                format!("{begin}dies {number}; spool gone; run; whole; check gone; remembers gone; idle")
            }
            Then::Cut => {
                self.cut(site, number, &begin)?;
                "deadline=$((SECONDS + 60))
                 until (check holds && not grep -q running <<<\"$(abide history -o json)\") >/tmp/said 2>&1; do
                     if [ $SECONDS -gt $deadline ]; then cat /tmp/said; abide status; exit 1; fi
                 done
                 systemctl stop abide abide-fetch; run; whole; check holds; remembers after; told; idle"
                    .replace("until", ". /driver; until")
            }
        };
        let output = site.host.sh(&script);
        if output.code == 0 { Ok(()) } else { Err(format!("{}{}", output.stdout, output.stderr)) }
    }

    /// Cuts the power when a run is at a place, and boots again.
    fn cut(&self, site: &Site, number: usize, begin: &str) -> Result<(), String> {
        // The server outlives the host, and would bring the newest commit when the agent starts.
        let script = format!(
            "{begin}systemctl mask abide-fetch 2>/dev/null
             ABIDE_WAIT_AT={number} abide sync --no-fetch >/run/waiting 2>&1"
        );
        std::thread::scope(|scope| {
            let run = scope.spawn(|| site.host.sh(&script));
            let begun = Instant::now();
            let waits = || site.host.sh("grep -q '^waiting at place' /run/waiting").code == 0;
            while !waits() && !run.is_finished() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            if run.is_finished() || !waits() {
                return Err("the run did not come to this place".to_owned());
            }
            site.host.power_cut();
            drop(run.join());
            site.host.restart();
            Ok(())
        })
    }
}
