//! Tell what happened: the journal, the history, the status.
//!
//! **Invariant:** everything that is decided is one structured entry; nothing that is sensitive is in any of them.

pub mod event;
pub mod journal;
mod recorder;
pub mod status;

pub use event::{Event, EventKind};
pub use recorder::Recorder;
