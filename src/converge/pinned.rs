//! An earlier generation is kept: after a trial that failed, or because an operator wants it.
//!
//! **Invariant:** only a generation that was good on this host is kept, the high-water mark stays where it is, and a commit newer than
//! the one that was given up ends it.

use super::before::Originals;
use super::term::wait_until;
use super::trial::SECOND_CHANCES;
use super::undone::Undone;
use super::{Run, Target, before};
use crate::error::{Code, Explain, Problem};
use crate::manifest::{self, CacheKey, Desired};
use crate::report::EventKind;
use crate::report::status::TrialStatus;
use crate::source::Candidate;
use crate::state::{LostRemote, Pin};
use crate::system::clock;
use crate::trust::{self, short};

/// What is said while an earlier generation is kept.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// E393: a commit was given up.
    #[error("{from} was given up, and generation {generation} is kept: {reason}")]
    GivenUp {
        /// The commit that was given up.
        from: String,
        /// What is kept.
        generation: i64,
        /// Why.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// E394: what is to be kept cannot be read.
    #[error("generation {generation} cannot be read any more")]
    Unreadable {
        /// Its number.
        generation: i64,
    },
}

impl Explain for PinError {
    fn code(&self) -> Code {
        Code(match self {
            PinError::GivenUp { .. } => "E393",
            PinError::Unreadable { .. } => "E394",
        })
    }

    fn remedy(&self) -> String {
        match self {
            PinError::GivenUp { remedy, .. } => remedy.clone(),
            PinError::Unreadable { .. } => {
                "choose another one with `abide rollback`, or `abide resume` to follow the branch again"
                    .into()
            }
        }
    }
}

impl Run<'_> {
    /// The generation that is kept, while nothing newer than what it was returned from is proven.
    pub(super) fn pinned(&mut self, commit: &str) -> Result<Option<Target>, Problem> {
        let pin = self.request.pin.clone();
        let Some(pin) = pin.map_or_else(|| self.state.pinned(), |pin| Ok(Some(pin)))? else {
            return Ok(None);
        };
        if commit != pin.from {
            if !self.request.dry_run {
                self.state.set_pin(None)?;
                let message = format!(
                    "a newer commit than {} is proven: the branch is followed again",
                    short(&pin.from)
                );
                self.recorder.tell(EventKind::RollbackEnded, message, clock::now());
            }
            return Ok(None);
        }
        let target = self.kept(&pin)?;
        if target.is_none() {
            self.recorder.keep(PinError::Unreadable { generation: pin.generation }.into());
        }
        self.recorder.status.pinned = Some(pin);
        match target {
            None => Ok(self.last()),
            some => Ok(some),
        }
    }

    /// What the pin keeps: in force already, or to be applied again.
    fn kept(&mut self, pin: &Pin) -> Result<Option<Target>, Problem> {
        let target = |desired: Desired, run: &Run<'_>, known| {
            let key = CacheKey::new(&desired.revision().commit, &run.facts, &run.site.identity);
            Target { desired, key, known, pinned: true }
        };
        if pin.whole
            && let Some((_, desired)) = self.in_force()
            && desired.revision().commit == pin.commit
        {
            self.recorder.about(desired.revision());
            return Ok(Some(target(desired, self, true)));
        }
        let path = self.site.paths.generations().join(pin.generation.to_string());
        let kept = Desired::load(&path).map(|(_, desired)| desired);
        let kept = kept.filter(|desired| desired.revision().commit == pin.commit);
        let Some(mut desired) = kept.or_else(|| self.render_anew(pin)) else { return Ok(None) };
        let originals = self.originals_since(pin.generation)?;
        desired.bring_back(originals.declared);
        desired.keep_versions(&originals.versions);
        if let Some(generation) = self.state.generation(pin.generation)? {
            desired.keep_versions(&generation.packages);
        }
        self.recorder.about(desired.revision());
        Ok(Some(target(desired, self, false)))
    }

    /// The generation proven and rendered anew, from the introduction on: another version of abide kept it in a form of its own.
    fn render_anew(&mut self, pin: &Pin) -> Option<Desired> {
        let root = self.site.root.clone()?;
        self.refill(&pin.commit).ok()?;
        let tip = gix::ObjectId::from_hex(pin.commit.as_bytes()).ok()?;
        let (now, identity, facts) = (self.time.trusted, self.site.identity.clone(), self.facts.clone());
        let store = self.store().ok()?;
        let judgement = trust::judge(store, &root, None, &Candidate::at(tip), now).ok()?;
        let verified = judgement.verified.filter(|verified| verified.revision().commit == pin.commit)?;
        manifest::desire(verified, store, &identity, &facts).ok()
    }

    /// What later generations changed for the first time, as it was before.
    fn originals_since(&self, generation: i64) -> Result<Originals, Problem> {
        let newest = self.state.newest_generation()?.map_or(generation, |newest| newest.id);
        let mut originals = Originals::default();
        for later in (generation + 1..=newest).rev() {
            let path = before::file(&self.site.paths.generations(), later);
            if let Some(later) = self.state.generation(later)? {
                originals.add(Originals::load(&path, &later.revision.commit));
            }
        }
        Ok(originals)
    }

    /// What follows from a run that kept an earlier generation.
    pub(super) fn weigh_pin(&mut self, undone: &Undone) -> Result<(), Problem> {
        let Some(mut pin) = self.state.pinned()? else { return Ok(()) };
        let before = pin.clone();
        pin.whole |= undone.nothing_declared();
        if pin.whole
            && !before.whole
            && let Some(lost) = &mut pin.lost_remote
        {
            // The time to see the remote again begins when the way to it is as it was.
            lost.term.uptime = clock::since_boot();
        }
        if let Some(lost) = pin.lost_remote.clone()
            && self.acquit(&mut pin, lost)?
        {
            return Ok(());
        }
        if pin != before {
            self.state.set_pin(Some(&pin))?;
        }
        if pin.by.is_empty() {
            let problem = PinError::GivenUp {
                from: short(&pin.from).into(),
                generation: pin.generation,
                reason: format!("[{}] {}", pin.reason.code, pin.reason.what),
                remedy: pin.reason.remedy.clone(),
            };
            self.recorder.keep(problem.into());
        }
        self.recorder.status.pinned = Some(pin);
        Ok(())
    }

    /// Whether a change turns out to be innocent of having cut the host off: without it the remote was out of reach as well, and is
    /// back now. Then it is tried again.
    fn acquit(&mut self, pin: &mut Pin, mut lost: LostRemote) -> Result<bool, Problem> {
        self.renew(&mut lost.term);
        let elapsed = lost.term.elapsed(clock::since_boot()).as_secs();
        let back = lost.term.is_proven_by(self.poll().as_ref());
        match (back, elapsed > lost.within) {
            // It came back with the withdrawal of the change.
            (true, false) => pin.lost_remote = None,
            (true, true) if lost.times >= SECOND_CHANCES => pin.lost_remote = None,
            (true, true) => {
                self.state.forgive(&pin.from, lost.times + 1)?;
                self.state.set_pin(None)?;
                let message = "the remote was out of reach for another reason: the commit is tried again";
                self.recorder.tell(EventKind::RollbackEnded, message.into(), clock::now());
                self.again = true;
                return Ok(true);
            }
            (false, over) => {
                let left = if over { 60 } else { lost.within.saturating_sub(elapsed) + 1 };
                let mut status =
                    TrialStatus { generation: pin.generation, poll: !over, ..TrialStatus::default() };
                status.waiting.push("the remote to be reached again".into());
                wait_until(&mut status, left);
                self.recorder.status.trial = Some(status);
                pin.lost_remote = Some(lost);
            }
        }
        Ok(false)
    }
}
