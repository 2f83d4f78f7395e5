//! Windows as people write them, and whether one is open.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize};

use super::Calendar;
use crate::config::Span;
use crate::resource::Field;

/// What a window allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// Taking a new revision.
    Revisions,
    /// Correcting drift from the revision in force.
    Healing,
    /// Changing packages, for whatever reason.
    Packages,
    /// Restarting and reloading services, for whatever reason.
    Restarts,
    /// Rebooting the host.
    Reboot,
}

impl Activity {
    /// Every activity.
    pub const ALL: [Activity; 5] =
        [Activity::Revisions, Activity::Healing, Activity::Packages, Activity::Restarts, Activity::Reboot];

    /// Its word in `for`.
    pub fn word(self) -> &'static str {
        match self {
            Activity::Revisions => "revisions",
            Activity::Healing => "healing",
            Activity::Packages => "packages",
            Activity::Restarts => "restarts",
            Activity::Reboot => "reboot",
        }
    }
}

/// One `[[windows]]`, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct WindowFields {
    /// A name: the window then counts only for resources that name it by `only-in-window`.
    pub name: Option<String>,
    /// When something may be done: one or several calendar expressions.
    #[serde(deserialize_with = "one_or_more")]
    pub allow: Vec<Calendar>,
    /// When it may not.
    #[serde(deserialize_with = "one_or_more")]
    pub deny: Vec<Calendar>,
    /// How long the window is, from each of these moments on.
    pub length: Option<Span>,
    /// Name of the time zone.
    pub timezone: Option<String>,
    /// What it is about.
    #[serde(rename = "for")]
    pub activities: Option<BTreeSet<Activity>>,
    /// Why, for people.
    pub reason: Option<String>,
}

/// Fields of a window, for the reference and the schema.
pub const FIELDS: &[Field] = &[
    Field::new(
        "allow",
        "string or list of strings",
        "",
        "Calendar expressions as systemd writes them, such as `\"Mon..Fri 22:00\"`: the window opens at each of these moments. As soon as one \
         window allows something, it is denied whenever none is open.",
    ),
    Field::new(
        "deny",
        "string or list of strings",
        "",
        "The same for a window in which something is denied, whatever others allow. Each table has either `allow` or `deny`.",
    ),
    Field::new(
        "length",
        "duration",
        "",
        "How long the window is open from each of these moments on; required, from `\"1m\"` to `\"31d\"`.",
    ),
    Field::new(
        "timezone",
        "string",
        "the host's own zone",
        "Name of a time zone, such as `\"Europe/Berlin\"` or `\"UTC\"`. An expression that ends with a zone has that one.",
    ),
    Field::new(
        "for",
        "list of strings",
        "`[\"revisions\", \"reboot\"]`",
        "What the window is about: `revisions` (taking a new revision), `healing` (correcting drift from the one in force), `packages` and \
         `restarts` (those changes, for whatever reason), `reboot`.",
    ),
    Field::new(
        "name",
        "string",
        "",
        "A window with a name counts only for resources that name it by `only-in-window`.",
    ),
    Field::new("reason", "string", "", "Why; shown where something waits."),
];

/// A string, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Calendar>, D::Error> {
    struct Reader;
    impl<'de> serde::de::Visitor<'de> for Reader {
        type Value = Vec<Calendar>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a calendar expression such as \"Mon..Fri 22:00\", or a list of them")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Calendar>, E> {
            Ok(vec![Calendar::parse(text).map_err(E::custom)?])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Calendar>, A::Error> {
            let mut calendars = Vec::new();
            while let Some(calendar) = items.next_element()? {
                calendars.push(calendar);
            }
            Ok(calendars)
        }
    }
    deserializer.deserialize_any(Reader)
}

/// What is wrong with a window: the key, what, and what to do.
pub type Wrong = (&'static str, String, &'static str);

/// A window that makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The name that resources use for it.
    pub name: Option<String>,
    /// It denies instead of allowing.
    pub deny: bool,
    /// When it begins.
    pub begins: Vec<Calendar>,
    /// Seconds from each of these moments on.
    pub length: i64,
    /// Name of the time zone; `None`: the host's own.
    pub timezone: Option<String>,
    /// What it is about.
    pub activities: BTreeSet<Activity>,
    /// Why.
    pub reason: Option<String>,
    /// Where it stands: file and line.
    pub place: String,
}

const SHORTEST: u64 = 60;
const LONGEST: u64 = 31 * 86_400;

impl WindowFields {
    /// The window, if it makes sense.
    ///
    /// # Errors
    /// It does not.
    pub fn check(self, place: String) -> Result<Window, Wrong> {
        let (deny, begins) = match (self.allow.is_empty(), self.deny.is_empty()) {
            (false, true) => (false, self.allow),
            (true, false) => (true, self.deny),
            (true, true) => {
                return Err((
                    "length",
                    "this window has neither `allow` nor `deny`".into(),
                    "add one of them",
                ));
            }
            (false, false) => {
                return Err((
                    "deny",
                    "this window has both `allow` and `deny`".into(),
                    "make two windows of it",
                ));
            }
        };
        let length = self.length.map_or(0, |length| length.seconds);
        if !(SHORTEST..=LONGEST).contains(&length) {
            let message = "a window has a `length` from `1m` to `31d`".into();
            return Err(("length", message, "add `length = \"4h\"`"));
        }
        let activities = self.activities.unwrap_or_else(|| [Activity::Revisions, Activity::Reboot].into());
        if activities.is_empty() {
            return Err(("for", "this window is about nothing".into(), "remove `for`, or name something"));
        }
        if self.name.as_ref().is_some_and(String::is_empty) {
            return Err(("name", "the name is empty".into(), "remove it, or give one"));
        }
        Ok(Window {
            name: self.name,
            deny,
            begins,
            length: i64::try_from(length).unwrap_or(i64::MAX),
            timezone: self.timezone,
            activities,
            reason: self.reason,
            place,
        })
    }
}

/// A window with the time zones of its expressions.
#[derive(Debug, Clone)]
pub(super) struct Timed<'a> {
    pub(super) window: &'a Window,
    /// One for each expression; `None`: the host does not know this zone.
    pub(super) zones: Vec<Option<TimeZone>>,
}

impl Timed<'_> {
    /// Whether it is open. Where a time zone is unknown nobody can say; then nothing is allowed.
    pub(super) fn is_open(&self, now: i64) -> bool {
        let mut begins = self.begins();
        begins.any(|(calendar, zone)| {
            let begun = |zone: &TimeZone| calendar.next(now.saturating_sub(self.window.length), zone);
            zone.map_or(self.window.deny, |zone| begun(zone).is_some_and(|begun| begun <= now))
        })
    }

    /// The next moment after this one at which it may open or close.
    pub(super) fn next_turn(&self, now: i64) -> Option<i64> {
        let turns = self.begins().filter_map(|(calendar, zone)| {
            let zone = zone?;
            let ends = calendar.next(now.saturating_sub(self.window.length), zone);
            let ends = ends.map(|begun| begun.saturating_add(self.window.length)).filter(|end| *end > now);
            calendar.next(now, zone).into_iter().chain(ends).min()
        });
        turns.min()
    }

    fn begins(&self) -> impl Iterator<Item = (&Calendar, Option<&TimeZone>)> {
        self.window.begins.iter().zip(self.zones.iter().map(Option::as_ref))
    }
}
