//! Whether the host has to reboot, and whether it may now. The reboot itself is the last thing that a run does.
//!
//! **Invariant:** why a host reboots is on disk before it does, and it does not do so again for the same need before its pause is over.

use std::path::Path;

use super::guards::own_windows;
use super::{Run, Target};
use crate::apply::Outcome;
use crate::error::{Code, Explain, Problem};
use crate::plan::Plan;
use crate::report::EventKind;
use crate::report::status::{Health, RebootStatus};
use crate::schedule::{Activity, Gate, Verdict, reboot};
use crate::state::{Cause, Reboot};
use crate::system::{clock, packages, process, reboot as system, usage, zone};

/// While only sessions or packages are in the way, the next look is after this, seconds.
const SOON: i64 = 60;
/// A reboot that was begun is over within this, seconds.
const PATIENCE: i64 = 15 * 60;
/// So many windows and slots in turn are looked at to find the next moment at which both are open.
const TURNS: usize = 1_000;

/// What is wrong with a reboot.
#[derive(Debug, thiserror::Error)]
pub enum RebootError {
    /// E820: systemd did not begin the reboot.
    #[error("systemd does not begin the reboot")]
    Refused {
        /// Its reason.
        #[source]
        source: crate::system::systemd::SystemdError,
    },
    /// E821: a reboot was begun, and the host still runs.
    #[error("the host was to reboot {minutes} minutes ago, and still runs")]
    NotDone {
        /// How long ago.
        minutes: i64,
    },
    /// E822: a reboot did not take the need for one away.
    #[error("the host has rebooted, and needs it still: {why}")]
    InVain {
        /// What needs it.
        why: String,
    },
}

impl Explain for RebootError {
    fn code(&self) -> Code {
        Code(match self {
            RebootError::Refused { .. } => "E820",
            RebootError::NotDone { .. } => "E821",
            RebootError::InVain { .. } => "E822",
        })
    }

    fn remedy(&self) -> String {
        match self {
            RebootError::Refused { .. } => "reboot it by hand: systemctl reboot".into(),
            RebootError::NotDone { .. } => "look at what keeps it from stopping: systemctl list-jobs".into(),
            RebootError::InVain { .. } => {
                "look at which kernel the boot loader takes, and at the packages; it is tried again after the `pause` of [reboot]".into()
            }
        }
    }
}

/// When a reboot may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Turn {
    /// Now.
    Now,
    /// At this moment, seconds since the epoch; until then this is in the way.
    Later(Option<i64>, String),
}

impl Run<'_> {
    /// Notes that the host has come back from a reboot of abide's.
    pub(super) fn note_return(&mut self) -> Result<(), Problem> {
        let Some(last) = self.state.reboot()?.filter(|last| !last.over) else { return Ok(()) };
        let now = clock::now();
        if last.boot == clock::boot() {
            if now.saturating_sub(last.at) > PATIENCE {
                let minutes = now.saturating_sub(last.at) / 60;
                self.recorder.keep(RebootError::NotDone { minutes }.into());
            }
        } else if !self.request.dry_run {
            let took = now.saturating_sub(last.at);
            let message =
                format!("the host is back {took} s after a reboot that it needed: {}", last.because);
            self.recorder.tell(EventKind::Rebooted, message, now);
            self.state.set_reboot(&Reboot { over: true, ..last })?;
        }
        Ok(())
    }

    /// Whether this run ends in a reboot; what is needed and waited for goes into the status.
    pub(super) fn consider_reboot(
        &mut self,
        target: &Target,
        plan: &Plan,
        outcome: &Outcome,
    ) -> Result<bool, Problem> {
        let reasons = system::needed(Path::new("/"), &self.facts, booted());
        let because = reasons.join("; ");
        let now = clock::now();
        if self.news("reboot", &because)? && !because.is_empty() {
            self.recorder.tell(EventKind::RebootNeeded, format!("a reboot is needed: {because}"), now);
        }
        if reasons.is_empty() {
            return Ok(false);
        }
        let turn = match self.reboot_turn(target, &because, now)? {
            Turn::Now => match self.reboot_obstacle(target, plan, outcome) {
                Some(obstacle) => Turn::Later(Some(now.saturating_add(SOON)), obstacle),
                None => Turn::Now,
            },
            later => later,
        };
        let (next, waits) = match &turn {
            Turn::Now => (None, None),
            Turn::Later(next, waits) => (*next, Some(waits.clone())),
        };
        self.recorder.status.reboot = Some(RebootStatus { needed: reasons, waits, next });
        let mine =
            self.request.cause != Cause::Operator && !self.request.dry_run && self.request.only.is_empty();
        if turn != Turn::Now || !mine {
            return Ok(false);
        }
        self.state.set_reboot(&Reboot {
            at: now,
            because: because.clone(),
            boot: clock::boot(),
            over: false,
        })?;
        self.recorder.tell(EventKind::Rebooting, format!("the host reboots now: {because}"), now);
        Ok(true)
    }

    /// When rules, windows, slots and the pause allow it.
    fn reboot_turn(&mut self, target: &Target, because: &str, now: i64) -> Result<Turn, Problem> {
        let rules = &target.desired.rendered().rules;
        let settings = &self.site.settings;
        // Settings were checked when they were read.
        let own = reboot::Rules::check(&settings.reboot).unwrap_or_default();
        let policy = reboot::Rules::policy(&own, &rules.reboot, self.facts.machine_id.as_bytes());
        if !policy.allowed {
            return Ok(Turn::Later(None, "`[reboot]` does not say `when = \"needed\"`".into()));
        }
        let last = self.state.reboot()?;
        let end = |last: &Reboot| last.at.saturating_add(policy.pause);
        let earliest = last.as_ref().map_or(now, end).max(now);
        if last.is_some_and(|last| last.over && now < end(&last) && last.because == because) {
            self.complain(RebootError::InVain { why: because.to_owned() }.into());
        }
        let own = own_windows(settings);
        let gate = Gate::new(&own, &rules.windows, zone::find);
        Ok(next_turn(&gate, policy, earliest, now))
    }

    /// What keeps the host from rebooting at this moment.
    fn reboot_obstacle(&mut self, target: &Target, plan: &Plan, outcome: &Outcome) -> Option<String> {
        let status = &self.recorder.status;
        let policy = reboot::Rules::check(&self.site.settings.reboot).unwrap_or_default();
        let rules = &target.desired.rendered().rules.reboot;
        let wait_for_sessions =
            reboot::Rules::policy(&policy, rules, self.facts.machine_id.as_bytes()).wait_for_sessions;
        let failed = status.counts.failed + status.counts.skipped > 0 || !plan.problems.is_empty();
        let obstacle = match () {
            () if status.suspended.is_some() => "applying is suspended",
            () if status.trial.is_some() => "a new revision is on trial",
            () if failed || !status.problems.is_empty() => "the host is not well",
            () if !outcome.owed.is_empty() => "something is owed to a service",
            () if packages::under_way() => "somebody works with packages",
            () if wait_for_sessions && usage::anybody_logged_in() => "somebody is logged in",
            () => return None,
        };
        Some(obstacle.into())
    }

    /// Begins the reboot: systemd stops the services, this run's among them, once it has ended.
    pub(super) fn reboot(&mut self) -> Result<(), Problem> {
        // What led here is kept even if the host is quick.
        self.state.tell(&self.recorder.take())?;
        let begun = self.host.systemd().and_then(|systemd| systemd.reboot());
        if let Err(source) = begun {
            if let Some(last) = self.state.reboot()? {
                self.state.set_reboot(&Reboot { over: true, ..last })?;
            }
            let problem = Problem::from(RebootError::Refused { source });
            self.recorder.tell_problem(EventKind::RunFailed, &problem, clock::now());
            self.complain(problem);
        }
        Ok(())
    }

    /// Keeps a problem that came up after the status was judged.
    fn complain(&mut self, problem: Problem) {
        self.recorder.keep(problem);
        self.recorder.status.health = Health::Degraded;
    }
}

/// When the system was started, seconds since the epoch by the clock that file systems stamp with: its first process, since in a container
/// the kernel's boot is another matter.
fn booted() -> i64 {
    let now = clock::nanoseconds() / 1_000_000_000;
    let began = process::began_at(1).unwrap_or(0) / 1000;
    now.saturating_sub(clock::uptime().saturating_sub(began))
}

/// The first moment from `earliest` on at which window and slot are open.
fn next_turn(gate: &Gate<'_>, policy: reboot::Policy, earliest: i64, now: i64) -> Turn {
    let mut moment = earliest;
    let mut because = (earliest > now).then(|| "the host has rebooted not long ago".to_owned());
    for _ in 0..TURNS {
        match gate.judge(Activity::Reboot, moment) {
            Verdict::Closed { opens, because: window } => {
                because.get_or_insert(window);
                match opens {
                    Some(opens) => moment = opens,
                    None => break,
                }
            }
            Verdict::Open if policy.slots.is_open(moment) => {
                return match because {
                    None => Turn::Now,
                    Some(because) => Turn::Later(Some(moment), because),
                };
            }
            Verdict::Open => {
                let slots = policy.slots;
                because.get_or_insert_with(|| {
                    format!("it is not the turn of slot {} of {}", slots.own, slots.count)
                });
                moment = slots.next(moment);
            }
        }
    }
    Turn::Later(None, because.unwrap_or_else(|| "window and slot are never open together".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Slots, Window, WindowFields};

    fn policy(count: u32, own: u32) -> reboot::Policy {
        let slots = Slots { count, length: 900, own };
        reboot::Policy { allowed: true, slots, wait_for_sessions: true, pause: 86_400 }
    }

    fn windows(text: &str) -> Vec<Window> {
        let fields: WindowFields = crate::manifest::node::Node::parse(text).unwrap().read().unwrap();
        vec![fields.check("f:1".into()).unwrap()]
    }

    /// Midnight, in UTC.
    const DAY: i64 = 1_800_057_600;

    #[test]
    fn window_slot_and_pause_have_to_agree() {
        let gate = |windows| Gate::new(windows, &[], |_| Some(jiff::tz::TimeZone::UTC));
        let nights = windows("allow = \"2:00\"\nlength = \"2h\"");
        assert_eq!(next_turn(&gate(&[]), policy(1, 0), DAY, DAY), Turn::Now);
        let Turn::Later(Some(at), why) = next_turn(&gate(&nights), policy(1, 0), DAY, DAY) else {
            panic!("now")
        };
        assert_eq!((at, why.contains("is not open")), (DAY + 7200, true));
        let paused = next_turn(&gate(&[]), policy(1, 0), DAY + 60, DAY);
        assert_eq!(paused, Turn::Later(Some(DAY + 60), "the host has rebooted not long ago".into()));
        // Every host of the cohort gets a turn within one night of two hours, and no two at the same time.
        let turns: Vec<i64> = (0..8)
            .map(|own| match next_turn(&gate(&nights), policy(8, own), DAY, DAY) {
                Turn::Later(Some(at), _) => at,
                other => panic!("{other:?}"),
            })
            .collect();
        let mut sorted = turns.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 450), "{turns:?}");
        assert!(turns.iter().all(|at| (DAY + 7200..DAY + 14_400).contains(at)), "{turns:?}");
        let never = windows("deny = \"*:*\"\nlength = \"2m\"\nfor = [\"reboot\"]");
        assert!(matches!(next_turn(&gate(&never), policy(1, 0), DAY, DAY), Turn::Later(None, _)));
    }
}
