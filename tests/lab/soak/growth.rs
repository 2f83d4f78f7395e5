//! What an agent and its folders take, and that it does not grow.

use std::path::Path;

use super::rows;
use crate::support::host::Host;

/// More packs than this are put together by the run that finds them; one more may have come with it.
const MOST_PACKS: u64 = 25;

/// What a host takes at one moment.
#[derive(Debug, Clone)]
pub struct Measure {
    name: String,
    pid: u64,
    /// How often abide was brought to its second version, and back.
    upgrades: (u64, u64),
    figures: Vec<(String, u64)>,
}

impl Measure {
    fn figure(&self, name: &str) -> u64 {
        self.figures.iter().find(|(known, _)| known == name).map_or(0, |(_, figure)| *figure)
    }
}

/// What the script of [`measure`] prints, line by line, after the process and the upgrades.
const FIGURES: &[&str] = &[
    "agent's own memory, KiB",
    "agent with its program (Pss), KiB",
    "descriptors of the agent",
    "/var/lib/abide, KiB",
    "/var/lib/abide-fetch, KiB",
    "/run/abide, KiB",
    "former contents of files, KiB",
    "packs of the store",
    "commits of the branch",
];

const MEMORY: &str = FIGURES[0];
const DESCRIPTORS: &str = FIGURES[2];

/// Measures a host with this folder of state.
pub fn measure(host: &Host, state: &Path) -> Measure {
    let said = host
        .sh("pid=$(systemctl show -P MainPID abide)
             echo $pid
             for change in '1.0.0-1 2.0.0-1' '2.0.0-1 1.0.0-1'; do grep -c \" upgrade abide:[a-z0-9]* $change\" /var/log/dpkg.log || true; done
             # A poll or a run that is under way has descriptors and memory of its own, and shares the program: what stays is the
             # least of several looks, and the most of what is shared.
             for n in $(seq 20); do
                 echo $(awk '/^Pss_Anon:/ { own = $2 } /^Pss:/ { all = $2 } END { print own, all }' /proc/$pid/smaps_rollup) $(ls /proc/$pid/fd | wc -l)
                 sleep 0.1
             done >/run/looks
             cut -d' ' -f1 /run/looks | sort -n | head -n 1
             cut -d' ' -f2 /run/looks | sort -n | tail -n 1
             cut -d' ' -f3 /run/looks | sort -n | head -n 1
             for folder in /var/lib/abide /var/lib/abide-fetch /run/abide; do du -sk $folder | cut -f1; done
             { du -sk /var/lib/abide/backup 2>/dev/null || echo 0; } | cut -f1
             find /var/lib/abide/store -name '*.pack' | wc -l
             echo $(( $(cat /var/lib/abide/store/sha1/whole | wc -c) / 20 ))")
        .success();
    let mut numbers = said.lines().map(|line| line.trim().parse::<u64>().expect("a number"));
    let mut next = || numbers.next().unwrap_or_else(|| panic!("a number is missing: {said}"));
    let (pid, upgrades) = (next(), (next(), next()));
    let mut figures: Vec<(String, u64)> = FIGURES.iter().map(|name| ((*name).to_owned(), next())).collect();
    figures.extend(rows::count(state).into_iter().map(|(table, rows)| (format!("rows of {table}"), rows)));
    Measure { name: host.name().to_owned(), pid, upgrades, figures }
}

/// Prints for each figure the least and the most that a host had.
pub fn print(warm: &[Measure], end: &[Measure]) {
    let range = |measures: &[Measure], name: &str| {
        let figures = || measures.iter().map(|measure| measure.figure(name));
        match (figures().min().unwrap_or(0), figures().max().unwrap_or(0)) {
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        }
    };
    println!("{:<34} {:>18} {:>18}", "on each host", "when warm", "at the end");
    for (name, _) in end.first().into_iter().flat_map(|measure| &measure.figures) {
        println!("{name:<34} {:>18} {:>18}", range(warm, name), range(end, name));
    }
    let upgrades: Vec<String> =
        end.iter().map(|measure| format!("{}+{}", measure.upgrades.0, measure.upgrades.1)).collect();
    println!("upgrades of abide, and ways back: {}", upgrades.join(" "));
}

/// Neither agents nor their folders take more at the end than when they were warm.
pub fn nothing_grew(warm: &[Measure], end: &[Measure]) {
    let mut judged = 0;
    for (warm, end) in warm.iter().zip(end) {
        let grew = |figure: &str, share: u64, more: u64| {
            let (before, after) = (warm.figure(figure), end.figure(figure));
            assert!(
                after <= before + before / share + more,
                "{}: {figure} grew from {before} to {after}\n{warm:#?}\n{end:#?}",
                end.name
            );
        };
        grew("/var/lib/abide, KiB", 4, 6 << 10);
        grew("/var/lib/abide-fetch, KiB", 1, 4 << 10);
        grew("/run/abide, KiB", 4, 64);
        // The setting allows 1 MiB; small files take whole blocks.
        assert!(end.figure("former contents of files, KiB") <= 4 << 10, "backups pile up: {end:#?}");
        assert!(end.figure("packs of the store") <= MOST_PACKS, "packs pile up: {end:#?}");
        if warm.pid == end.pid {
            grew(MEMORY, 16, 128);
            grew(DESCRIPTORS, u64::MAX, 2);
            judged += 1;
        } else {
            // A rollback by hand may lead to a generation with another abide, which is another agent.
            assert_ne!(warm.upgrades, end.upgrades, "an agent died and nobody ended it: {warm:#?} {end:#?}");
        }
    }
    assert!(judged > 0, "no agent lived through the second half");
}

/// Abide was changed forward and back.
pub fn was_upgraded(end: &[Measure]) {
    let sum = |of: fn(&Measure) -> u64| end.iter().map(of).sum::<u64>();
    let (forward, back) = (sum(|measure| measure.upgrades.0), sum(|measure| measure.upgrades.1));
    assert!(forward > 0 && back > 0, "{forward} upgrades and {back} ways back");
}
