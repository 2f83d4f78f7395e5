//! All windows of a host together: what may be done now, and when that changes.

use jiff::tz::TimeZone;

use super::window::{Activity, Timed, Window};

/// Whether something may be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Open,
    /// It may not.
    Closed {
        /// When it may, seconds since the epoch; `None`: not within a year.
        opens: Option<i64>,
        /// Which window says so, in words.
        because: String,
    },
}

impl Verdict {
    /// Whether it may be done.
    pub fn is_open(&self) -> bool {
        *self == Verdict::Open
    }
}

/// The windows of a host: its own and those of the branch. Both have to allow what is done.
#[derive(Debug, Clone)]
pub struct Gate<'a> {
    /// Those of one source have the same position.
    sides: [Vec<Timed<'a>>; 2],
    unknown: Vec<String>,
}

/// A search for the next opening looks so far ahead, seconds.
const HORIZON: i64 = 366 * 86_400;
/// It looks at so many turns at most: windows that turn every minute for a year are no windows.
const TURNS: usize = 5_000;

impl<'a> Gate<'a> {
    /// Makes the gate. `zone` knows time zones by name, and the host's own under `None`.
    pub fn new(
        host: &'a [Window],
        branch: &'a [Window],
        mut zone: impl FnMut(Option<&str>) -> Option<TimeZone>,
    ) -> Gate<'a> {
        let mut unknown = Vec::new();
        let sides = [host, branch].map(|windows| {
            let timed = windows.iter().map(|window| {
                let zones = window.begins.iter().map(|calendar| {
                    let name = calendar.zone().or(window.timezone.as_deref());
                    let found = zone(name);
                    if let (None, Some(name)) = (&found, name) {
                        unknown.push(name.to_owned());
                    }
                    found
                });
                Timed { zones: zones.collect(), window }
            });
            timed.collect()
        });
        Gate { sides, unknown }
    }

    /// Time zones that the host does not know.
    pub fn unknown_zones(&self) -> &[String] {
        &self.unknown
    }

    /// Whether any window is about this.
    pub fn limits(&self, activity: Activity) -> bool {
        self.sides.iter().flatten().any(|timed| concerns(timed.window, activity))
    }

    /// Whether this may be done now.
    pub fn judge(&self, activity: Activity, now: i64) -> Verdict {
        self.verdict(&|window| concerns(window, activity), now)
    }

    /// Whether a resource may be changed now that names this window.
    pub fn judge_named(&self, name: &str, now: i64) -> Verdict {
        self.verdict(&|window| window.name.as_deref() == Some(name), now)
    }

    /// When that changes next, seconds since the epoch.
    pub fn turns(&self, activity: Activity, now: i64) -> Option<i64> {
        let wanted = |window: &Window| concerns(window, activity);
        let open = self.obstacle(&wanted, now).is_none();
        self.turn(&wanted, now, !open)
    }

    fn verdict(&self, wanted: &dyn Fn(&Window) -> bool, now: i64) -> Verdict {
        match self.obstacle(wanted, now) {
            None => Verdict::Open,
            Some(because) => Verdict::Closed { opens: self.turn(wanted, now, true), because },
        }
    }

    /// What keeps it from being done now: a window that denies, or a side none of whose windows is open.
    fn obstacle(&self, wanted: &dyn Fn(&Window) -> bool, now: i64) -> Option<String> {
        for side in &self.sides {
            let mut of_side = side.iter().filter(|timed| wanted(timed.window));
            if let Some(denying) = of_side.clone().find(|timed| timed.window.deny && timed.is_open(now)) {
                return Some(format!(
                    "the window of {} denies it{}",
                    denying.window.place,
                    reason(denying.window)
                ));
            }
            let allowing = of_side.clone().filter(|timed| !timed.window.deny);
            if allowing.clone().any(|timed| timed.is_open(now)) {
                continue;
            }
            if let Some(first) = of_side.find(|timed| !timed.window.deny) {
                let others = allowing.count() - 1;
                let more = if others > 0 { format!(" and {others} more") } else { String::new() };
                return Some(format!(
                    "the window of {}{more} is not open{}",
                    first.window.place,
                    reason(first.window)
                ));
            }
        }
        None
    }

    /// The next moment at which it is as asked for.
    fn turn(&self, wanted: &dyn Fn(&Window) -> bool, now: i64, open: bool) -> Option<i64> {
        let mut moment = now;
        for _ in 0..TURNS {
            let windows = self.sides.iter().flatten().filter(|timed| wanted(timed.window));
            moment = windows.filter_map(|timed| timed.next_turn(moment)).min()?;
            if moment - now > HORIZON {
                return None;
            }
            if self.obstacle(wanted, moment).is_none() == open {
                return Some(moment);
            }
        }
        None
    }
}

/// Whether a window without a name is about this.
fn concerns(window: &Window, activity: Activity) -> bool {
    window.name.is_none() && window.activities.contains(&activity)
}

fn reason(window: &Window) -> String {
    window.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"))
}
