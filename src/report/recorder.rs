//! Collects what a run has to tell, and tells it: each event at once to the journal, all of them to the state at the end, the
//! result to the status file.

use std::time::Duration;

use super::status::RunStatus;
use super::{Event, EventKind, journal};
use crate::error::Problem;
use crate::resource::ResourceId;
use crate::state::{Told, Untold};
use crate::trust::Revision;

/// What a run told so far.
#[derive(Debug, Default)]
pub struct Recorder {
    told: Told,
    revision: Option<Revision>,
    run: Option<i64>,
    /// The status that the run will leave.
    pub status: RunStatus,
}

impl Recorder {
    /// What is told from now on is about this revision.
    pub fn about(&mut self, revision: &Revision) {
        self.revision = Some(revision.clone());
    }

    /// What is told from now on belongs to this run of the history.
    pub fn within(&mut self, run: i64) {
        self.run = Some(run);
    }

    /// Tells an event.
    pub fn tell(&mut self, kind: EventKind, message: String, now: i64) {
        let event = self.event(kind, message, now);
        self.push(event);
    }

    /// Tells what happened to a resource.
    pub fn tell_resource(
        &mut self,
        kind: EventKind,
        resource: &ResourceId,
        change: &str,
        message: String,
        now: i64,
    ) {
        let mut event = self.event(kind, message, now);
        event.resource = Some(resource.to_string());
        event.change = Some(change.to_owned());
        self.push(event);
    }

    /// Tells what an earlier run, which died, did to a resource.
    pub fn tell_earlier(&mut self, change: &Untold, now: i64) {
        let Untold { run, revision, resource, summary } = change;
        let ours = (self.run.replace(*run), std::mem::replace(&mut self.revision, revision.clone()));
        let message = format!("{resource}: {summary} (by a run that was interrupted)");
        self.tell_resource(EventKind::ResourceChanged, resource, summary, message, now);
        (self.run, self.revision) = ours;
    }

    /// Everything that was undertaken so far is among what is told.
    pub fn conclude(&mut self) {
        self.told.concluded = true;
    }

    /// Tells a problem.
    pub fn tell_problem(&mut self, kind: EventKind, problem: &Problem, now: i64) {
        let mut event = self.event(kind, problem.to_string(), now);
        event.code = Some(problem.code.clone());
        self.push(event);
    }

    /// Keeps a problem for the status.
    pub fn keep(&mut self, problem: Problem) {
        if !self.status.problems.contains(&problem) {
            self.status.problems.push(problem);
        }
    }

    /// Takes what is to be stored.
    pub fn take(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    /// The state of a subject, as far as it is not stored yet.
    pub fn noted(&self, subject: &str) -> Option<&str> {
        self.told.conditions.get(subject).map(|(state, _)| state.as_str())
    }

    /// Notes the state of a subject, to be stored with the events about it.
    pub fn note(&mut self, subject: &str, state: &str, now: i64) {
        self.told.conditions.insert(subject.to_owned(), (state.to_owned(), now));
    }

    /// Closes the status.
    pub fn finish(&mut self, now: i64, took: Duration) -> &RunStatus {
        self.status.time = now;
        self.status.took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        &self.status
    }

    fn event(&self, kind: EventKind, message: String, now: i64) -> Event {
        let revision = self.revision.as_ref();
        Event {
            time: now,
            kind: Some(kind),
            message,
            run: self.run,
            revision: revision.map(ToString::to_string),
            commit: revision.map(|revision| revision.commit.clone()),
            signer: revision.map(|revision| revision.signer.clone()),
            ..Event::default()
        }
    }

    fn push(&mut self, event: Event) {
        journal::write(&event);
        self.told.events.push(event);
    }
}
