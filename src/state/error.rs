//! Why the state cannot be used, each with its way out.

use std::path::PathBuf;

use crate::error::{Code, Explain};

/// A problem with the state; the operation had no effect.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder could be changed by others (E501).
    #[error("the state {path} is not safe: {reason}")]
    Unsafe {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder or the database cannot be opened (E502).
    #[error("the state in {path} cannot be opened")]
    Open {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database holds something that abide did not write (E503).
    #[error("the state database {path} is damaged: {reason}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// There is no room left for the database (E504).
    #[error("no space is left for the state database {path}")]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Another process holds the database (E505).
    #[error("the state database {path} is held by another process")]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// The database was there once and is gone (E506).
    #[error("the state database {path} is gone")]
    Gone {
        /// The database.
        path: PathBuf,
    },
    /// A newer abide wrote the database (E507).
    #[error("the state database {path} has version {found}, this program knows versions up to {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Newest version known here.
        known: u32,
    },
    /// The operation failed for another reason (E508).
    #[error("the state database {path} cannot be used")]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl Explain for StateError {
    fn code(&self) -> Code {
        Code(match self {
            StateError::Unsafe { .. } => "E501",
            StateError::Open { .. } => "E502",
            StateError::Damaged { .. } => "E503",
            StateError::Full { .. } => "E504",
            StateError::Busy { .. } => "E505",
            StateError::Gone { .. } => "E506",
            StateError::Newer { .. } => "E507",
            StateError::Database { .. } => "E508",
        })
    }

    fn remedy(&self) -> String {
        match self {
            StateError::Unsafe { path, .. } => format!(
                "find out who could have changed it; then `chown root:root {0}` and `chmod go-w {0}`",
                path.display()
            ),
            StateError::Open { .. } => "run as root, and check the file system".into(),
            StateError::Damaged { .. } | StateError::Gone { .. } => {
                "the next run puts it together again: `abide sync`".into()
            }
            StateError::Full { .. } => "free some space; abide goes on by itself at the next run".into(),
            StateError::Busy { .. } => "wait for the other abide process to end, then try again".into(),
            StateError::Newer { .. } => {
                "install the newer abide that wrote it again, or a later one, with the package manager; the host goes on where it was".into()
            }
            StateError::Database { .. } => {
                "check the file system and its free space; report this if it stays".into()
            }
        }
    }
}
