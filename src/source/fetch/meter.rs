//! Counts the bytes of a pack while it comes in, and stops it at the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use gix::progress::{Id, MessageLevel, Step, StepShared, Unit};
use gix::{Count, NestedProgress, Progress};

/// What was received so far. The Git library reports it as progress, which is the one place where it can be stopped without another
/// copy of the stream.
#[derive(Clone)]
pub(super) struct Meter {
    received: Arc<AtomicU64>,
    limit: u64,
    stop: Arc<AtomicBool>,
    /// Whether this part of the progress is the reading of the pack.
    reads: bool,
}

impl Meter {
    /// A meter that sets `stop` when more than `limit` bytes came.
    pub(super) fn new(limit: u64, stop: &Arc<AtomicBool>) -> Meter {
        Meter { received: Arc::default(), limit, stop: Arc::clone(stop), reads: false }
    }

    /// Bytes of pack so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the limit was passed.
    pub(super) fn is_over(&self) -> bool {
        self.received() > self.limit
    }
}

impl Count for Meter {
    fn set(&self, _step: Step) {}

    fn step(&self) -> Step {
        usize::try_from(self.received()).unwrap_or(usize::MAX)
    }

    fn inc_by(&self, step: Step) {
        if self.reads {
            self.received.fetch_add(step as u64, Ordering::Relaxed);
            if self.is_over() {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }

    fn counter(&self) -> StepShared {
        Arc::new(AtomicUsize::default())
    }
}

impl Progress for Meter {
    fn init(&mut self, _max: Option<Step>, _unit: Option<Unit>) {}

    fn set_name(&mut self, _name: String) {}

    fn name(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Id {
        gix::progress::UNKNOWN
    }

    fn message(&self, _level: MessageLevel, _message: String) {}
}

impl NestedProgress for Meter {
    type SubProgress = Meter;

    fn add_child(&mut self, _name: impl Into<String>) -> Meter {
        Meter { reads: false, ..self.clone() }
    }

    fn add_child_with_id(&mut self, _name: impl Into<String>, id: Id) -> Meter {
        let reading: Id = gix::odb::pack::bundle::write::ProgressId::ReadPackBytes.into();
        Meter { reads: id == reading, ..self.clone() }
    }
}
