//! Calendar expressions before abide and before systemd, which wrote their grammar: the same moments, also where clocks change.

use std::process::Command;

use abide::schedule::Calendar;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const EXPRESSIONS: &[&str] = &[
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "semiannually",
    "yearly",
    "02:30",
    "3:00",
    "*:0/30",
    "*:15,45",
    "Mon..Fri 22:00",
    "Sat,Sun 6:30:15",
    "*-*-1/2 2:15",
    "*-*~1",
    "*-*~03 23:59:59",
    "Mon *-05~07/1",
    "*-*~01..03 1:00",
    "*-02-29",
    "2026..2028-10-25 2:0/20",
    "03,10-25..31 2..3:30",
    "Sun *-3~7/1 4:00",
    "*-1/3-01..07 0/6:00",
    "fri 0..4/2:10",
    "*-*-* 1:59:58..59",
    "26-11-30",
    "daily UTC",
    "Wed 4:00 America/New_York",
    "*-*-31",
    "*-4..6-31 12:00",
    "Tuesday,thursday *-*-* *:05:30",
];

const MISTAKES: &[&str] = &[
    "",
    "25:00",
    "*/2:00",
    "*-13-01",
    "*-*~29",
    "*:0/60",
    "22:00 22:00",
    "Mom",
    "-1:00",
    "*-2..1-01",
    "*:0/0",
    "1:2:3:4",
    "*-*-0",
    "*:60",
    "1..2..3:00",
    "*,1:00",
];

const ZONES: &[&str] = &["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"];

const BASES: &[&str] =
    &["2026-03-07 11:00:00", "2026-03-28 23:15:00", "2026-10-24 23:59:59", "2027-02-27 00:00:00"];

const ITERATIONS: usize = 6;

/// What systemd says, as seconds since the epoch; `None` when it takes no such expression.
fn systemd(expression: &str, zone: &str, base: &str) -> Option<Vec<i64>> {
    let output = Command::new("systemd-analyze")
        .args([
            "calendar",
            "--base-time",
            &format!("{base} UTC"),
            "--iterations",
            &ITERATIONS.to_string(),
            expression,
        ])
        .env("TZ", zone)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("systemd-analyze is there");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    output.status.success().then(|| {
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let wanted =
                words.first() == Some(&"(in") || line.contains("Next elapse") || line.contains("Iter.");
            let [.., date, time, "UTC"] = words[..] else { return None };
            let moment = format!("{date}T{time}Z").parse::<Timestamp>().ok()?;
            wanted.then(|| moment.as_second())
        };
        text.lines().filter_map(line).collect()
    })
}

fn ours(calendar: &Calendar, zone: &str, base: &str) -> Vec<i64> {
    let zone = TimeZone::get(calendar.zone().unwrap_or(zone)).expect("a zone");
    let mut moment = format!("{}Z", base.replace(' ', "T")).parse::<Timestamp>().expect("a time").as_second();
    let next = std::iter::from_fn(|| {
        moment = calendar.next(moment, &zone)?;
        Some(moment)
    });
    next.take(ITERATIONS).collect()
}

#[test]
fn moments_are_those_of_systemd() {
    let mut compared = 0;
    for expression in EXPRESSIONS {
        let calendar = Calendar::parse(expression).unwrap_or_else(|error| panic!("{error}"));
        for zone in ZONES {
            for base in BASES {
                let wanted = systemd(expression, zone, base)
                    .unwrap_or_else(|| panic!("systemd does not take `{expression}`"));
                assert_eq!(ours(&calendar, zone, base), wanted, "`{expression}` in {zone} from {base}");
                compared += wanted.len();
            }
        }
    }
    println!("{compared} moments are the same");
    assert!(compared > EXPRESSIONS.len() * ZONES.len() * BASES.len() * 3, "{compared}");
}

#[test]
fn mistakes_are_those_of_systemd() {
    for expression in MISTAKES {
        assert!(systemd(expression, "UTC", BASES[0]).is_none(), "systemd takes `{expression}`");
        assert!(Calendar::parse(expression).is_err(), "`{expression}`");
    }
}
