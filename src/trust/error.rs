//! What keeps this host from judging at all.

use std::path::PathBuf;

use super::file::FileError;
use super::rejection::Rejection;
use crate::error::{Code, Explain};
use crate::source::ObjectError;

/// Why nothing can be judged. What is wrong with a commit is a [`Rejection`] instead.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// E001: the root of trust cannot be read.
    #[error("the root of trust {} cannot be read", path.display())]
    RootUnreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E002: the root of trust does not say what it should.
    #[error("{0}")]
    RootInvalid(FileError),
    /// E003: what this host has accepted before is not in the store as it was.
    #[error("the high-water mark {commit} is damaged or lost: {reason}")]
    MarkLost {
        /// The mark.
        commit: String,
        /// What is wrong with it.
        reason: String,
    },
    /// E004: the object store cannot be read.
    #[error("the object store cannot be read")]
    Store(#[source] ObjectError),
    /// E005: what this host has accepted before is not of the fleet that it is enrolled in now.
    #[error("the high-water mark {commit} does not descend from the introduction {introduction}")]
    MarkUnrelated {
        /// The mark.
        commit: String,
        /// The introduction in the root of trust.
        introduction: String,
    },
    /// The introduction is refused: there is nothing to fall back to. Carries the rejection's code.
    #[error("{0}")]
    Introduction(Box<Rejection>),
}

impl Explain for TrustError {
    fn code(&self) -> Code {
        match self {
            TrustError::RootUnreadable { .. } => Code("E001"),
            TrustError::RootInvalid(_) => Code("E002"),
            TrustError::MarkLost { .. } => Code("E003"),
            TrustError::Store(_) => Code("E004"),
            TrustError::MarkUnrelated { .. } => Code("E005"),
            TrustError::Introduction(rejection) => rejection.code(),
        }
    }

    fn remedy(&self) -> String {
        match self {
            TrustError::RootUnreadable { .. } => {
                "enrol the host with the `abide enroll …` line that `abide init` printed".into()
            }
            TrustError::RootInvalid(error) => error.help.clone(),
            TrustError::MarkLost { .. } => {
                "restore /var/lib/abide from a backup; if its loss is explained, enrol the host again".into()
            }
            TrustError::Store(_) => "check the disk and the permissions of /var/lib/abide/store".into(),
            TrustError::MarkUnrelated { .. } => {
                "if the host was moved to another fleet or its branch was founded anew on purpose, enrol it again so that the old mark is forgotten".into()
            }
            TrustError::Introduction(rejection) => rejection.remedy(),
        }
    }

    fn place(&self) -> Option<String> {
        match self {
            TrustError::RootInvalid(error) => Some(format!("{}:{}", error.file, error.line)),
            TrustError::Introduction(rejection) => rejection.place(),
            _ => None,
        }
    }

    fn excerpt(&self) -> Option<String> {
        match self {
            TrustError::RootInvalid(error) if !error.excerpt.is_empty() => Some(error.excerpt.clone()),
            TrustError::Introduction(rejection) => rejection.excerpt(),
            _ => None,
        }
    }
}
