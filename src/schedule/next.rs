//! The next moment that a calendar expression names, in a time zone.
//!
//! A time that daylight saving skips is not there on that day; one that comes twice counts the first time.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

use super::calendar::{Calendar, LAST_YEAR};

impl Calendar {
    /// The first moment after this one, in seconds since the epoch; `None` when there is none.
    pub fn next(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let begin = Timestamp::from_second(after.checked_add(1)?).ok()?;
        let local = zone.to_datetime(begin);
        let mut from = local.time();
        let mut date = self.next_date(local.date())?;
        if date != local.date() {
            from = Time::midnight();
        }
        loop {
            while let Some(time) = self.next_time(from) {
                if let Some(moment) = moment(date, time, zone).filter(|moment| *moment > after) {
                    return Some(moment);
                }
                let Ok(later) = time.checked_add(1.second()) else { break };
                from = later;
            }
            from = Time::midnight();
            date = self.next_date(date.tomorrow().ok()?)?;
        }
    }

    /// The first day that it names, from this one on.
    pub(super) fn next_date(&self, from: Date) -> Option<Date> {
        let mut date = from;
        while date.year().unsigned_abs() <= LAST_YEAR {
            let (year, month) = (date.year().unsigned_abs(), u16::from(date.month().unsigned_abs()));
            if !self.years.has(year) {
                date = Date::new(date.year() + 1, 1, 1).ok()?;
            } else if !self.months.has(month) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.has_day(date) {
                return Some(date);
            } else {
                date = date.tomorrow().ok()?;
            }
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let weekday = date.weekday().to_monday_zero_offset();
        let (day, length) =
            (u16::from(date.day().unsigned_abs()), u16::from(date.days_in_month().unsigned_abs()));
        let named = match self.from_end {
            true => self.days.has_from_end(day, length),
            false => self.days.has(day),
        };
        named && self.weekdays & (1 << weekday) != 0
    }

    /// The first time of a day that it names, from this one on.
    fn next_time(&self, from: Time) -> Option<Time> {
        let [hours, minutes, seconds] = self.times;
        let first = |bits: u64, from: i8| {
            let rest = bits.checked_shr(from.unsigned_abs().into()).unwrap_or(0);
            (rest != 0).then(|| from + i8::try_from(rest.trailing_zeros()).unwrap_or(0))
        };
        let (mut hour, mut minute, mut second) = (from.hour(), from.minute(), from.second());
        loop {
            let at = first(hours, hour)?;
            if at != hour {
                (hour, minute, second) = (at, 0, 0);
            }
            match first(minutes, minute) {
                None => (hour, minute, second) = (hour + 1, 0, 0),
                Some(at) => {
                    if at != minute {
                        (minute, second) = (at, 0);
                    }
                    match first(seconds, second) {
                        Some(second) => return Time::new(hour, minute, second, 0).ok(),
                        None => (minute, second) = (minute + 1, 0),
                    }
                }
            }
        }
    }
}

/// The moment of a local time; `None` where the clocks skip it.
fn moment(date: Date, time: Time, zone: &TimeZone) -> Option<i64> {
    let local = date.to_datetime(time);
    let offset = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Fold { before, .. } => before,
        AmbiguousOffset::Gap { .. } => return None,
    };
    offset.to_timestamp(local).ok().map(Timestamp::as_second)
}
