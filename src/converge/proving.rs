//! From the spool to a desired state: take, prove, render. Each with the last good state to fall back on.

use super::{ConvergeError, Run, Target};
use crate::error::{Explain as _, Problem};
use crate::manifest::{self, CacheKey, Desired};
use crate::report::EventKind;
use crate::source::Candidate;
use crate::state::Mark;
use crate::system::clock;
use crate::trust::{self, Assessment, Judgement, Memory, Verified};

/// The commit that is to be enforced.
pub(super) struct Proof {
    commit: String,
    /// The proof itself; absent when the commit was proven by an earlier run, until it is needed.
    verified: Option<Verified>,
}

impl Proof {
    /// The commit, in hex.
    pub(super) fn commit(&self) -> &str {
        &self.commit
    }
}

impl Run<'_> {
    /// Takes what the fetcher left. What is wrong with it is kept for the report.
    pub(super) fn take(&mut self) -> Option<Candidate> {
        match self.try_take() {
            Ok(candidate) => candidate,
            Err(problem) => {
                self.recorder.keep(problem);
                None
            }
        }
    }

    fn try_take(&mut self) -> Result<Option<Candidate>, Problem> {
        // The note costs one small file; only a tip that is not the high-water mark, or a heartbeat that did not count yet, is worth
        // opening the store for.
        let note = crate::source::read_note(&self.site.paths.spool)?;
        let Some(note) = note.filter(|note| !note.tip.is_empty()) else { return Ok(None) };
        self.recorder.status.seen = Some(note.tip.clone());
        let heard = note.heartbeat.is_empty()
            || self.state.news()?.heartbeat.is_some_and(|heartbeat| heartbeat.commit == note.heartbeat);
        if heard && self.state.high_water()?.is_some_and(|mark| mark.commit == note.tip) {
            return Ok(None);
        }
        let spool = self.site.paths.spool.clone();
        let store = self.store()?;
        let taken = store.take(&spool);
        let refused: Vec<Problem> = store.refused().iter().map(Problem::from).collect();
        for problem in refused {
            self.recorder.keep(problem);
        }
        Ok(taken?)
    }

    /// Proves what was taken, and raises the high-water mark. `None`: nothing was ever proven here.
    pub(super) fn prove(&mut self, candidate: Option<Candidate>) -> Result<Option<Proof>, Problem> {
        let mark = self.state.high_water()?;
        let verified = match &candidate {
            Some(candidate) => self.judge(candidate, mark.as_ref()),
            None => None,
        };
        self.weigh_news()?;
        match (verified, mark) {
            (Some(verified), _) => {
                Ok(Some(Proof { commit: verified.revision().commit.clone(), verified: Some(verified) }))
            }
            (None, Some(mark)) => Ok(Some(Proof { commit: mark.commit, verified: None })),
            (None, None) => {
                if self.recorder.status.problems.is_empty() {
                    self.recorder.keep(ConvergeError::NothingProven.into());
                }
                Ok(None)
            }
        }
    }

    fn judge(&mut self, candidate: &Candidate, mark: Option<&Mark>) -> Option<Verified> {
        match self.try_judge(candidate, mark) {
            Ok(verified) => verified,
            Err(problem) => {
                self.recorder.keep(problem);
                None
            }
        }
    }

    fn try_judge(&mut self, candidate: &Candidate, mark: Option<&Mark>) -> Result<Option<Verified>, Problem> {
        let known = mark.map(Mark::high_water);
        let Some(root) = self.site.root.clone() else { return Ok(None) };
        let memory = Memory { high_water: known.clone(), heartbeat: self.state.news()?.heartbeat };
        let now = self.time.trusted;
        let Assessment { judgement, freshness } =
            trust::assess(self.store()?, &root, &memory, candidate, now)?;
        self.hear(freshness)?;
        self.report_verdict(&judgement, candidate)?;
        let Some(verified) = judgement.verified else { return Ok(None) };
        let raised = known.as_ref().is_none_or(|known| known.commit != judgement.high_water.commit);
        let high_water = &judgement.high_water;
        let mut mark = None;
        if known.as_ref() != Some(high_water) && !self.request.dry_run {
            mark = Some(Mark {
                commit: high_water.commit.clone(),
                payload: high_water.payload.clone(),
                time: clock::now(),
                introduction: high_water.introduction.clone(),
            });
        }
        if raised && !self.request.dry_run {
            let (revision, now) = (verified.revision(), clock::now());
            self.recorder.about(revision);
            let message = format!("{revision} by {} is proven: {}", revision.signer, revision.summary);
            self.recorder.tell(EventKind::RevisionAccepted, message, now);
            // From here on there is something to remember again.
            self.news("memory", "")?;
        }
        if let Some(mark) = mark {
            // Who proved it, and that somebody did, outlives a death together.
            self.state.raise(&mark, &self.recorder.take())?;
        }
        Ok(Some(verified))
    }

    /// Reports what is refused and what waits, each once.
    fn report_verdict(&mut self, judgement: &Judgement, candidate: &Candidate) -> Result<(), Problem> {
        let refused = judgement.rejection.as_ref().map(Problem::from);
        let subject = refused.as_ref().map(|problem| format!("{} {}", problem.code, candidate.tip));
        if self.news("trust", subject.as_deref().unwrap_or_default())?
            && let Some(problem) = &refused
        {
            self.recorder.tell_problem(EventKind::RevisionRefused, problem, clock::now());
        }
        refused.into_iter().for_each(|problem| self.recorder.keep(problem));
        let pending = judgement.pending.as_ref();
        let subject = pending.map(|pending| format!("{} {pending}", pending.code()));
        let pending = pending.map(Problem::from);
        if self.news("pending", subject.as_deref().unwrap_or_default())?
            && let Some(problem) = &pending
        {
            self.recorder.tell_problem(EventKind::RevisionPending, problem, clock::now());
        }
        if pending.is_some() {
            self.recorder.status.pending = pending;
        }
        Ok(())
    }

    /// What the proven commit says for this host; what was enforced last, when it says nothing that can be read.
    pub(super) fn desire(&mut self, proof: Proof) -> Result<Option<Target>, Problem> {
        let key = CacheKey::new(&proof.commit, &self.facts, &self.site.identity);
        if let Some((made_of, desired)) = self.in_force()
            && made_of == key
        {
            self.recorder.about(desired.revision());
            return Ok(Some(Target { desired, key, known: true, pinned: false }));
        }
        // What keeps a commit from being rendered at all, a damaged store for one, keeps nothing else from being enforced.
        let rendered = self.render(proof).unwrap_or_else(|problem| Err(vec![problem]));
        match rendered {
            Ok(desired) => {
                self.news("manifest", "")?;
                self.recorder.about(desired.revision());
                Ok(Some(Target { desired, key, known: false, pinned: false }))
            }
            Err(problems) => self.refuse(EventKind::ManifestRefused, "manifest", problems, &key.commit),
        }
    }

    /// Renders the commit. The inner error: the commit is proven, and its manifest is wrong.
    fn render(&mut self, proof: Proof) -> Result<Result<Desired, Vec<Problem>>, Problem> {
        let verified = match proof.verified {
            Some(verified) => verified,
            None => {
                let mark = self.state.high_water()?;
                self.refill(&proof.commit)?;
                let tip = gix::ObjectId::from_hex(proof.commit.as_bytes());
                let tip = tip.map_err(|_| Problem::from(ConvergeError::NothingProven))?;
                let proven = self.try_judge(&Candidate::at(tip), mark.as_ref())?;
                proven.ok_or(ConvergeError::NothingProven)?
            }
        };
        let (identity, facts) = (self.site.identity.clone(), self.facts.clone());
        let revision = verified.revision().clone();
        let store = self.store()?;
        let desired = manifest::desire(verified, store, &identity, &facts);
        if desired.is_err() {
            self.recorder.status.verified = Some(revision);
        }
        Ok(desired.map_err(|diagnostics| diagnostics.problems()))
    }

    /// Reports what is wrong with a new revision, once, and goes back to what was enforced last.
    pub(super) fn refuse(
        &mut self,
        kind: EventKind,
        subject: &str,
        problems: Vec<Problem>,
        commit: &str,
    ) -> Result<Option<Target>, Problem> {
        if self.news(subject, commit)? {
            for problem in &problems {
                self.recorder.tell_problem(kind, problem, clock::now());
            }
        }
        for problem in problems {
            self.recorder.keep(problem);
        }
        Ok(self.last())
    }

    /// The desired state that was enforced last, with what it was made of: as it was read while the run began, or, once that is taken,
    /// read again.
    pub(super) fn in_force(&mut self) -> Option<(CacheKey, Desired)> {
        match self.reading.take() {
            Some(reading) => reading.finish(),
            None => Desired::load(&self.site.paths.desired()),
        }
    }

    /// What was enforced last, which may be the same commit as it was rendered for other facts.
    pub(super) fn last(&mut self) -> Option<Target> {
        let Some((_, desired)) = self.in_force() else {
            // A lost state says itself what is to be done.
            if !self.lost {
                self.recorder.keep(ConvergeError::NothingToEnforce.into());
            }
            return None;
        };
        self.recorder.about(desired.revision());
        let key = CacheKey::new(&desired.revision().commit, &self.facts, &self.site.identity);
        Some(Target { desired, key, known: true, pinned: false })
    }

    /// Whether this is another state of the subject than the one told last; an empty state is the one that needs no telling at first. A
    /// dry run tells nothing and remembers nothing.
    pub(super) fn news(&mut self, subject: &str, state: &str) -> Result<bool, Problem> {
        if self.request.dry_run {
            return Ok(false);
        }
        let known = match self.recorder.noted(subject) {
            Some(noted) => noted.to_owned(),
            None => self.state.condition(subject)?.map(|(state, _)| state).unwrap_or_default(),
        };
        if known == state {
            return Ok(false);
        }
        self.recorder.note(subject, state, clock::now());
        Ok(true)
    }
}
