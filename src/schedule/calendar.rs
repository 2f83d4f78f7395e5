//! Calendar expressions as systemd.time(7) writes them: `Mon..Fri 22:00`, `*-*-01`, `Sat *-*~07/1 03:00 Europe/Berlin`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The last year that an expression can name, as in systemd.
pub(super) const LAST_YEAR: u16 = 2199;
/// The first one.
const FIRST_YEAR: u16 = 1970;

/// Words that stand for a whole expression.
const SHORTHANDS: &[(&str, &str)] = &[
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
];

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A calendar expression: the moments that it names, to the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    text: String,
    /// One bit for each weekday, Monday first.
    pub(super) weekdays: u8,
    pub(super) years: Values,
    pub(super) months: Values,
    pub(super) days: Values,
    /// Days are counted from the end of the month, the last being 1.
    pub(super) from_end: bool,
    /// One bit for each hour, minute, second.
    pub(super) times: [u64; 3],
    /// The zone that the expression itself names.
    pub(super) zone: Option<String>,
}

/// The values of one part; empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values(Vec<Steps>);

/// `start`, `start..stop`, `start/repeat` or `start..stop/repeat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Steps {
    start: u16,
    stop: Option<u16>,
    repeat: u16,
}

impl Values {
    pub(super) fn has(&self, value: u16) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|steps| match (steps.repeat, steps.stop) {
                (0, None) => value == steps.start,
                (repeat, stop) => {
                    value >= steps.start
                        && stop.is_none_or(|stop| value <= stop)
                        && (value - steps.start).is_multiple_of(repeat.max(1))
                }
            })
    }

    /// Whether a day has its turn, counted from the end of a month that has so many.
    pub(super) fn has_from_end(&self, day: u16, length: u16) -> bool {
        self.0.iter().any(|steps| {
            let from_start = |last: u16| (length + 1).checked_sub(last);
            match (steps.repeat, steps.stop) {
                (0, None) => from_start(steps.start) == Some(day),
                (repeat, stop) => {
                    // `~03..01` would read backwards: a range names its later day first.
                    let first = from_start(stop.unwrap_or(steps.start));
                    let last = stop.map_or(Some(length), |_| from_start(steps.start));
                    first.zip(last).is_some_and(|(first, last)| {
                        (first..=last).contains(&day) && (day - first).is_multiple_of(repeat.max(1))
                    })
                }
            }
        })
    }

    fn bits(&self, count: u16) -> u64 {
        (0..count).filter(|value| self.has(*value)).fold(0, |bits, value| bits | 1 << value)
    }
}

impl Calendar {
    /// Reads an expression.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Calendar, String> {
        let wrong =
            |reason: String| format!("`{}` is no calendar expression: {reason}", crate::error::escaped(text));
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let Some(first) = words.first() else { return Err(wrong("it is empty".into())) };
        let shorthand = SHORTHANDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(first));
        let calendar = match shorthand {
            Some((_, meaning)) => {
                Calendar::words(meaning.split_ascii_whitespace().chain(words[1..].iter().copied()).collect())
            }
            None => Calendar::words(words.clone()),
        };
        let calendar = Calendar { text: words.join(" "), ..calendar.map_err(wrong)? };
        if calendar.names_a_day() { Ok(calendar) } else { Err(wrong("no day is ever so".into())) }
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone that the expression itself names.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    fn words(words: Vec<&str>) -> Result<Calendar, String> {
        let mut words = words.into_iter().peekable();
        let starts_with_letter = |word: &&str| word.starts_with(|first: char| first.is_ascii_alphabetic());
        let mut calendar = Calendar {
            text: String::new(),
            weekdays: 0x7f,
            years: Values::default(),
            months: Values::default(),
            days: Values::default(),
            from_end: false,
            times: [1, 1, 1],
            zone: None,
        };
        if let Some(word) = words.next_if(starts_with_letter) {
            calendar.weekdays = weekdays(word)?;
        }
        if let Some(word) = words.next_if(|word| !word.contains(':') && !starts_with_letter(word)) {
            calendar.date(word)?;
        }
        if let Some(word) = words.next_if(|word| word.contains(':') && !starts_with_letter(word)) {
            calendar.times = times(word)?;
        }
        if let Some(word) = words.next_if(starts_with_letter) {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "/_+-".contains(letter);
            if !word.chars().all(plain) {
                return Err(format!("`{word}` is no time zone"));
            }
            calendar.zone = Some(word.to_owned());
        }
        match words.next() {
            None => Ok(calendar),
            Some(word) => Err(format!("`{word}` is not expected; write weekdays, date, time, zone")),
        }
    }

    fn date(&mut self, word: &str) -> Result<(), String> {
        let (head, day) = match word.rsplit_once(['-', '~']) {
            Some((head, day)) => (head, day),
            None => return Err(format!("`{word}` is neither a date nor a time")),
        };
        self.from_end = word.contains('~');
        if head.contains('~') {
            return Err(format!("`{word}` counts more than days from the end"));
        }
        let (year, month) = head.split_once('-').unwrap_or(("*", head));
        self.years = values(year, "year", FIRST_YEAR, LAST_YEAR, false)?;
        self.months = values(month, "month", 1, 12, false)?;
        self.days = values(day, "day", 1, 31, self.from_end)?;
        if self.from_end && self.days.0.is_empty() {
            return Err("`~` needs a day, such as `~01` for the last one".into());
        }
        Ok(())
    }

    /// Whether there is any day that it names.
    fn names_a_day(&self) -> bool {
        let Ok(first) = jiff::civil::Date::new(1970, 1, 1) else { return true };
        self.next_date(first).is_some()
    }
}

/// `Mon..Fri,Sun`: a bit for each day.
fn weekdays(word: &str) -> Result<u8, String> {
    let day = |name: &str| {
        let lower = name.to_ascii_lowercase();
        WEEKDAYS
            .iter()
            .position(|day| *day == lower || day[..3] == *lower)
            .ok_or_else(|| format!("`{name}` is neither a weekday nor a word such as `daily`"))
    };
    let mut bits = 0;
    for item in word.split(',') {
        let (first, last) = match item.split_once("..") {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(item)?, day(item)?),
        };
        if first > last {
            return Err(format!("the week begins with Monday; write `{item}` as two parts with a comma"));
        }
        bits |= (first..=last).fold(0, |bits, day| bits | 1 << day);
    }
    Ok(bits)
}

/// `22:00` or `22:00:00`, each part with lists, ranges and steps.
fn times(word: &str) -> Result<[u64; 3], String> {
    let parts: Vec<&str> = word.split(':').collect();
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, "0"),
        [hour, minute, second] => (hour, minute, second),
        _ => return Err(format!("`{word}` is no time; write it like `22:00`")),
    };
    Ok([
        values(hour, "hour", 0, 23, false)?.bits(24),
        values(minute, "minute", 0, 59, false)?.bits(60),
        values(second, "second", 0, 59, false)?.bits(60),
    ])
}

/// The list of one part.
fn values(text: &str, what: &str, least: u16, most: u16, from_end: bool) -> Result<Values, String> {
    if text == "*" {
        return Ok(Values::default());
    }
    let steps = text.split(',').map(|item| steps(item, what, least, most, from_end));
    Ok(Values(steps.collect::<Result<_, _>>()?))
}

fn steps(item: &str, what: &str, least: u16, most: u16, from_end: bool) -> Result<Steps, String> {
    // As in systemd: no date is more than 28 days from the end of its month.
    let most = if from_end { most - 3 } else { most };
    let number = |text: &str| -> Result<u16, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.then(|| text.parse::<u16>().ok()).flatten();
        let value = value.map(|value| match (what, value) {
            ("year", 0..=69) => value + 2000,
            ("year", 70..=99) => value + 1900,
            _ => value,
        });
        value
            .filter(|value| (least..=most).contains(value))
            .ok_or_else(|| format!("`{text}` is no {what} from {least} to {most}"))
    };
    let (range, repeat) = match item.split_once('/') {
        Some((range, repeat)) => {
            let digits = repeat.bytes().all(|byte| byte.is_ascii_digit());
            let repeat = repeat.parse::<u16>().ok().filter(|repeat| digits && *repeat > 0);
            (range, repeat.ok_or_else(|| format!("`{item}` has no step after `/`"))?)
        }
        None => (item, 0),
    };
    if range == "*" {
        return Err(format!("`{item}`: a step needs a first {what}, such as `{least}/{repeat}`"));
    }
    let (start, stop) = match range.split_once("..") {
        Some((start, stop)) => (number(start)?, Some(number(stop)?)),
        None => (number(range)?, None),
    };
    let fits = repeat <= most - least
        && match stop {
            Some(stop) => start + repeat <= stop,
            None if from_end => start >= least + repeat,
            None => start + repeat <= most,
        };
    if fits { Ok(Steps { start, stop, repeat }) } else { Err(format!("`{item}` ends before it begins")) }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Calendar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Calendar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Calendar, D::Error> {
        Calendar::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
