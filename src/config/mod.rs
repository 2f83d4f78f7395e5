//! The host's own settings: file, then validated settings. No branch can change them.
//!
//! **Invariant:** a setting that is unknown or of the wrong type is an error with file, line and remedy; nothing is guessed.
