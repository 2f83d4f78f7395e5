//! What can go wrong with accounts.

use std::path::PathBuf;

use crate::error::{Code, Explain};
use crate::system::exec::ExecError;

/// A failure to look up or change users and groups.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The account files cannot be read (E440).
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A name or value that the account files cannot hold (E441).
    #[error("{field} `{}` is not allowed: {reason}", crate::error::escaped(value))]
    Malformed {
        /// What it is: `user name`, `comment`, ….
        field: &'static str,
        /// The value; `…` in place of a secret.
        value: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The tool refused (E442).
    #[error("`{program}` failed for {account}: {message}")]
    Tool {
        /// Which tool.
        program: String,
        /// `user alice`, ….
        account: String,
        /// What it printed, or its exit status.
        message: String,
    },
    /// The tool could not be run (E443).
    #[error("{account} cannot be changed")]
    NoTool {
        /// `user alice`, ….
        account: String,
        /// Why.
        #[source]
        source: ExecError,
    },
    /// Somebody else kept the account files locked (E444).
    #[error("the account files stayed locked for {seconds} s while changing {account}")]
    Locked {
        /// `user alice`, ….
        account: String,
        /// How long it was tried.
        seconds: u64,
    },
    /// The account lives in a directory service (E445).
    #[error("{account} is not in the host's own files")]
    Elsewhere {
        /// `user alice`, ….
        account: String,
    },
}

impl Explain for AccountError {
    fn code(&self) -> Code {
        Code(match self {
            AccountError::Unreadable { .. } => "E440",
            AccountError::Malformed { .. } => "E441",
            AccountError::Tool { .. } => "E442",
            AccountError::NoTool { .. } => "E443",
            AccountError::Locked { .. } => "E444",
            AccountError::Elsewhere { .. } => "E445",
        })
    }

    fn remedy(&self) -> String {
        match self {
            AccountError::Unreadable { .. } => "run as root, and check the file system for errors".into(),
            AccountError::Malformed { .. } => "correct the declaration".into(),
            AccountError::Tool { .. } => {
                "correct what the tool complains about; the next run tries again".into()
            }
            AccountError::NoTool { .. } => {
                "install the `passwd` (Debian) or `shadow-utils` (RHEL) package".into()
            }
            AccountError::Locked { .. } => {
                "find who holds /etc/.pwd.lock or left /etc/passwd.lock; the next run tries again".into()
            }
            AccountError::Elsewhere { .. } => {
                "change it in the directory service, or choose another name".into()
            }
        }
    }
}
