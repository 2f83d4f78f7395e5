//! What the caller of something that takes its time is told meanwhile.
//!
//! **Invariant:** a message is for people; nothing depends on its words.

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// This is under way now, such as `changing packages: nginx`.
    Doing(&'a str),
    /// Nothing goes on until somebody else is done. Worth telling also where nobody watches.
    Waiting(&'a str),
}

impl<'a> Progress<'a> {
    /// The words.
    pub fn text(self) -> &'a str {
        match self {
            Progress::Doing(text) | Progress::Waiting(text) => text,
        }
    }
}

/// Who wants to be told.
pub type Tell<'a> = dyn FnMut(Progress<'_>) + 'a;
