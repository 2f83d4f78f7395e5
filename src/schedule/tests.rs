//! Expressions by example, and by properties against a slow model.

use super::*;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn second(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

/// The next moments, in UTC.
fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let (calendar, zone) = (Calendar::parse(expression).unwrap(), TimeZone::get(zone).unwrap());
    let mut moment = second(after);
    std::iter::from_fn(|| {
        moment = calendar.next(moment, &zone)?;
        Some(Timestamp::from_second(moment).unwrap().to_string())
    })
    .take(count)
    .collect()
}

#[test]
fn expressions_name_moments() {
    for (expression, expected) in [
        ("daily", ["2026-03-14T00:00:00Z", "2026-03-15T00:00:00Z"]),
        ("weekly", ["2026-03-16T00:00:00Z", "2026-03-23T00:00:00Z"]),
        ("MON..fri 22:00", ["2026-03-13T22:00:00Z", "2026-03-16T22:00:00Z"]),
        ("Sat,Sunday 6:30", ["2026-03-14T06:30:00Z", "2026-03-15T06:30:00Z"]),
        ("*:0/15", ["2026-03-13T12:45:00Z", "2026-03-13T13:00:00Z"]),
        ("*-*-* 12..13:50:10", ["2026-03-13T12:50:10Z", "2026-03-13T13:50:10Z"]),
        ("*-*~01", ["2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z"]),
        ("Mon *-05~07/1", ["2026-05-25T00:00:00Z", "2027-05-31T00:00:00Z"]),
        ("*-*~01..02 1:00", ["2026-03-30T01:00:00Z", "2026-03-31T01:00:00Z"]),
        ("02-29", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("26..27-1-1", ["2027-01-01T00:00:00Z", ""]),
    ] {
        let mut found = next(expression, "UTC", "2026-03-13T12:34:56Z", 2);
        found.resize(2, String::new());
        assert_eq!(found, expected, "{expression}");
    }
}

#[test]
fn daylight_saving_skips_and_repeats() {
    let berlin = |expression, after| next(expression, "Europe/Berlin", after, 3);
    // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
    let skipped = berlin("02:30", "2026-03-27T12:00:00Z");
    assert_eq!(skipped, ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]);
    let twice = berlin("02:30", "2026-10-24T12:00:00Z");
    assert_eq!(twice, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z", "2026-10-27T01:30:00Z"]);
    // From inside the second of the two hours.
    assert_eq!(berlin("*:00", "2026-10-25T01:10:00Z")[0], "2026-10-25T02:00:00Z");
    assert_eq!(berlin("03:00", "2026-03-29T00:30:00Z")[0], "2026-03-29T01:00:00Z");
}

#[test]
fn mistakes_are_named() {
    for (text, expected) in [
        ("", "empty"),
        ("Fri..Mon", "the week begins with Monday"),
        ("Mom 22:00", "`Mom` is neither"),
        ("25:00", "no hour from 0 to 23"),
        ("*/2:00", "a step needs a first hour, such as `0/2`"),
        ("*-13-01", "no month"),
        ("*-02-30", "no day is ever so"),
        ("*-*~29", "no day from 1 to 28"),
        ("2020..2019-*-*", "ends before it begins"),
        ("22:00 22:00", "not expected"),
        ("2026", "neither a date nor a time"),
        ("22:00 Europe/Ber$lin", "no time zone"),
        ("0:0:0.5", "no second"),
        ("-1:00", "no hour"),
        ("*:0/0", "has no step"),
    ] {
        let error = Calendar::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert_eq!(Calendar::parse("daily  Europe/Berlin").unwrap().zone(), Some("Europe/Berlin"));
    assert_eq!(Calendar::parse("  Mon   22:00 ").unwrap().to_string(), "Mon 22:00");
}

/// A part: a number, a list, a range or steps.
fn part(least: u16, most: u16) -> impl Strategy<Value = String> {
    let number = least..=most;
    prop_oneof![
        3 => Just("*".to_owned()),
        2 => number.clone().prop_map(|value| value.to_string()),
        1 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{a},{b}")),
        1 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}..{}", a.min(b), a.max(b))),
        1 => (least..most, 1_u16..4).prop_map(move |(a, step)| format!("{a}/{}", step.min(most - a))),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let weekday =
        prop_oneof![3 => Just(""), 1 => Just("Mon..Fri "), 1 => Just("Sat,Sun "), 1 => Just("Wed ")];
    let date = (part(1, 12), part(1, 28), any::<bool>()).prop_map(|(month, day, end)| {
        format!("*-{month}{}{day}", if end && day != "*" && !day.contains('/') { '~' } else { '-' })
    });
    (weekday, date, part(0, 23), part(0, 59))
        .prop_map(|(weekday, date, hour, minute)| format!("{weekday}{date} {hour}:{minute}"))
}

/// Whether an expression names a minute, by reading its parts anew for this one local time.
fn names(expression: &str, local: jiff::civil::DateTime) -> bool {
    let has = |text: &str, value: i64| {
        text.split(',').any(|item| {
            let (range, step) =
                item.split_once('/').map_or((item, None), |(range, step)| (range, step.parse().ok()));
            let (first, last) = match range.split_once("..") {
                Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
                None if range == "*" => return true,
                None => {
                    (range.parse().unwrap(), if step.is_some() { 99 } else { range.parse::<i64>().unwrap() })
                }
            };
            (first..=last).contains(&value) && (value - first) % step.unwrap_or(1) == 0
        })
    };
    let (rest, time) = expression.rsplit_once(' ').unwrap();
    let (weekday, date) = rest.split_once(' ').unwrap_or(("", rest));
    let (hour, minute) = time.split_once(':').unwrap();
    let (month, day) = date[2..].split_once(['-', '~']).unwrap();
    let number = i64::from(local.date().weekday().to_monday_one_offset());
    let weekday = match weekday {
        "" => true,
        "Wed" => number == 3,
        "Sat,Sun" => number > 5,
        _ => number <= 5,
    };
    let of_month = i64::from(local.day());
    let of_month =
        if date.contains('~') { i64::from(local.days_in_month()) + 1 - of_month } else { of_month };
    weekday
        && has(month, local.month().into())
        && has(day, of_month)
        && has(hour, local.hour().into())
        && has(minute, local.minute().into())
}

proptest! {
    #[test]
    fn the_next_moment_is_the_first_that_is_named(
        expression in expression(), start in 1_700_000_000_i64..1_900_000_000,
        name in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/St_Johns"), Just("Australia/Lord_Howe")],
    ) {
        let (calendar, zone) = (Calendar::parse(&expression).unwrap(), zone(name));
        let next = calendar.next(start, &zone);
        // Four days, minute by minute; the second pass through a repeated hour names nothing.
        let mut minute = start - start.rem_euclid(60) + 60;
        let named = std::iter::from_fn(|| { let now = minute; minute += 60; Some(now) }).take(4 * 1440).find(|minute| {
            let local = zone.to_datetime(Timestamp::from_second(*minute).unwrap());
            let first = zone.to_ambiguous_timestamp(local).earlier().unwrap().as_second() == *minute;
            names(&expression, local) && first
        });
        match named {
            Some(named) => prop_assert_eq!(next, Some(named)),
            None => prop_assert!(next.is_none_or(|next| next > start + 4 * 86_400 - 60)),
        }
    }

    #[test]
    fn parsing_never_panics_and_shows_what_it_read(text in "[A-Za-z0-9*~:,./ -]{0,24}") {
        if let Ok(calendar) = Calendar::parse(&text) {
            let again = Calendar::parse(calendar.text()).unwrap();
            prop_assert_eq!(&again, &calendar);
            let _ = calendar.next(1_800_000_000, &zone("Europe/Berlin"));
        }
    }
}

fn window(text: &str) -> Window {
    let fields: WindowFields = crate::manifest::node::Node::parse(text).unwrap().read().unwrap();
    fields.check("f:1".into()).unwrap()
}

fn gate<'a>(host: &'a [Window], branch: &'a [Window]) -> Gate<'a> {
    Gate::new(host, branch, |name| TimeZone::get(name.unwrap_or("UTC")).ok())
}

/// `open`, or when it opens.
fn judged(gate: &Gate<'_>, now: &str) -> String {
    match gate.judge(Activity::Revisions, second(now)) {
        Verdict::Open => "open".into(),
        Verdict::Closed { opens, .. } => {
            opens.map_or("never".into(), |opens| Timestamp::from_second(opens).unwrap().to_string())
        }
    }
}

#[test]
fn both_sides_have_to_allow_and_a_denial_wins() {
    let nights = [window("allow = \"22:00\"\nlength = \"8h\"")];
    let weekends = [window("allow = [\"Sat\", \"Sun\"]\nlength = \"1d\"")];
    let freeze = [window("deny = \"2026-03-14\"\nlength = \"1d\"\nreason = \"sale\""), nights[0].clone()];
    for (host, branch, now, expected) in [
        (&[][..], &[][..], "2026-03-13T12:00:00Z", "open"),
        (&nights, &[], "2026-03-13T12:00:00Z", "2026-03-13T22:00:00Z"),
        (&nights, &[], "2026-03-13T22:00:00Z", "open"),
        (&nights, &[], "2026-03-14T05:59:59Z", "open"),
        (&nights, &[], "2026-03-14T06:00:00Z", "2026-03-14T22:00:00Z"),
        (&nights, &weekends, "2026-03-13T22:30:00Z", "2026-03-14T00:00:00Z"),
        (&nights, &weekends, "2026-03-14T12:30:00Z", "2026-03-14T22:00:00Z"),
        (&freeze, &[], "2026-03-14T01:00:00Z", "2026-03-15T00:00:00Z"),
        (&[], &freeze, "2026-03-13T23:00:00Z", "open"),
    ] {
        assert_eq!(judged(&gate(host, branch), now), expected, "{now}");
    }
    let Verdict::Closed { because, .. } =
        gate(&freeze, &[]).judge(Activity::Revisions, second("2026-03-14T01:00:00Z"))
    else {
        panic!("open")
    };
    assert_eq!(because, "the window of f:1 denies it (sale)");
}

#[test]
fn windows_are_about_something() {
    let windows = [
        window("allow = \"03:00\"\nlength = \"1h\"\nfor = [\"packages\"]"),
        window("name = \"db\"\nallow = \"04:00\"\nlength = \"1h\""),
        window("allow = \"05:00\"\nlength = \"1h\"\ntimezone = \"Not/There\"\nfor = [\"restarts\"]"),
        window("deny = \"05:00\"\nlength = \"1h\"\ntimezone = \"Not/There\"\nfor = [\"reboot\"]"),
    ];
    let gate = gate(&windows, &[]);
    let now = second("2026-03-13T12:00:00Z");
    let open = |activity| gate.judge(activity, now).is_open();
    assert_eq!(Activity::ALL.map(open), [true, true, false, false, false]);
    assert!(!gate.judge_named("db", now).is_open());
    assert!(gate.judge_named("db", second("2026-03-13T04:59:59Z")).is_open());
    assert!(gate.judge_named("other", now).is_open());
    assert_eq!(gate.unknown_zones(), ["Not/There", "Not/There"]);
    assert_eq!(gate.turns(Activity::Packages, now), Some(second("2026-03-14T03:00:00Z")));
    assert_eq!(
        gate.turns(Activity::Packages, second("2026-03-14T03:10:00Z")),
        Some(second("2026-03-14T04:00:00Z"))
    );
    assert_eq!(gate.turns(Activity::Healing, now), None);
}

#[test]
fn a_window_follows_daylight_saving() {
    let windows = [window("allow = \"02:00\"\nlength = \"1h\"\ntimezone = \"Europe/Berlin\"")];
    let gate = gate(&windows, &[]);
    assert_eq!(judged(&gate, "2026-07-01T00:30:00Z"), "open");
    assert_eq!(judged(&gate, "2026-12-01T00:30:00Z"), "2026-12-01T01:00:00Z");
    // 02:00 of that day does not exist.
    assert_eq!(judged(&gate, "2026-03-29T00:30:00Z"), "2026-03-30T00:00:00Z");
}

#[test]
fn mistakes_of_windows_are_named() {
    for (text, expected) in [
        ("length = \"1h\"", "neither `allow` nor `deny`"),
        ("allow = \"22:00\"", "a `length` from"),
        ("allow = \"22:00\"\ndeny = \"23:00\"\nlength = \"1h\"", "both"),
        ("allow = \"22:00\"\nlength = \"32d\"", "a `length` from"),
        ("allow = \"22:00\"\nlength = \"1h\"\nfor = []", "about nothing"),
    ] {
        let fields: WindowFields = crate::manifest::node::Node::parse(text).unwrap().read().unwrap();
        let (_, message, _) = fields.check(String::new()).unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
    }
    for (text, expected) in [
        ("allow = 5", "calendar expression"),
        ("allow = \"25:00\"", "no hour"),
        ("allow = [\"22:00\", \"x\"]", "neither a weekday"),
        ("for = [\"revision\"]", "revision"),
    ] {
        let node = crate::manifest::node::Node::parse(text).unwrap();
        let error = node.read::<WindowFields>().unwrap_err();
        assert!(error.message.contains(expected), "{text}: {}", error.message);
    }
}

proptest! {
    // Each looks through a year of windows.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What the gate says of the next opening is what it says then, and not a second before.
    #[test]
    fn the_next_opening_is_one(
        allow in expression(), deny in expression(), hours in 1_u64..30, now in 1_700_000_000_i64..1_900_000_000,
    ) {
        let windows = [
            window(&format!("allow = \"{allow}\"\nlength = \"{hours}h\"")),
            window(&format!("deny = \"{deny}\"\nlength = \"3h\"\ntimezone = \"Europe/Berlin\"")),
        ];
        let gate = gate(&windows[..1], &windows[1..]);
        if let Verdict::Closed { opens: Some(opens), .. } = gate.judge(Activity::Revisions, now) {
            prop_assert!(opens > now);
            prop_assert!(gate.judge(Activity::Revisions, opens).is_open());
            prop_assert!(!gate.judge(Activity::Revisions, opens - 1).is_open());
        }
    }

    /// No two hosts with different numbers may begin within half a slot of each other, and each has a turn in every two rounds.
    #[test]
    fn slots_are_apart_and_everybody_has_a_turn(
        count in 2_u32..50, length in 60_i64..7200, now in 1_700_000_000_i64..1_900_000_000, a in 0_u32..50, b in 0_u32..50,
    ) {
        let slots = |own: u32| Slots { count, length, own: own % count };
        let turn = slots(a).next(now);
        prop_assert!(turn >= now && turn <= now + 2 * length * i64::from(count) + length);
        prop_assert!(slots(a).is_open(turn));
        if a % count != b % count {
            for moment in [turn - length / 2 + 1, turn - 1, turn, turn + length / 2] {
                prop_assert!(!slots(b).is_open(moment), "{moment}");
            }
        }
    }

    /// A host's turn comes at every hour of the day, sooner or later, so that no window misses it for ever.
    #[test]
    fn a_slot_does_not_stay_outside_of_a_window(own in 0_u32..8, now in 1_700_000_000_i64..1_900_000_000) {
        let slots = Slots { count: 8, length: 900, own };
        let night = (0..10 * 86_400 / 900).map(|step| now + step * 900)
            .any(|moment| moment.rem_euclid(86_400) < 3600 && slots.is_open(moment - moment.rem_euclid(900)));
        prop_assert!(night);
    }
}

#[test]
fn a_number_comes_from_the_identity() {
    let numbers: std::collections::BTreeSet<u32> =
        (0..200_u32).map(|host| Slots::number(&host.to_be_bytes(), 8)).collect();
    assert_eq!(numbers, (0..8).collect());
    assert_eq!(Slots::number(b"same", 8), Slots::number(b"same", 8));
}
