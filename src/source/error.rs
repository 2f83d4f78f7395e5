//! What can go wrong between a remote and the store, each with its code and its remedy.

use std::io;
use std::path::PathBuf;

use gix::ObjectId;

use crate::error::{Code, Explain};

/// A poll of one remote that failed. Ends as a [`RemoteProblem`](super::RemoteProblem) in the note.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No remote is configured.
    #[error("no remote is configured")]
    NoRemote,
    /// The URL is none that can be polled.
    #[error("the URL is not usable: {reason}")]
    Url {
        /// Why not.
        reason: String,
    },
    /// Nobody answers there.
    #[error("the remote cannot be reached: {reason}")]
    Unreachable {
        /// What the network said.
        reason: String,
    },
    /// TLS did not come about.
    #[error("no trusted TLS connection: {reason}")]
    Tls {
        /// What the TLS library said.
        reason: String,
    },
    /// The remote does not let us in.
    #[error("the remote refuses access: {reason}")]
    Refused {
        /// What the remote said.
        reason: String,
    },
    /// The ssh host key is not the pinned one.
    #[error("the ssh host key is not the pinned one: {reason}")]
    HostKey {
        /// What ssh said.
        reason: String,
    },
    /// There is no such repository.
    #[error("the remote has no such repository: {reason}")]
    NoRepository {
        /// What the remote said.
        reason: String,
    },
    /// The branch does not exist there.
    #[error("the remote has no `{reference}`")]
    NoBranch {
        /// The ref that was asked for.
        reference: String,
    },
    /// It took too long.
    #[error("no complete answer within {seconds} s")]
    Deadline {
        /// Seconds that this remote was given.
        seconds: u64,
    },
    /// It sends more than it may.
    #[error("the remote sends more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// It does not speak Git, or wrongly.
    #[error("the answer is not proper Git: {reason}")]
    Protocol {
        /// What is wrong with it.
        reason: String,
    },
    /// The spool does not work.
    #[error("the spool {} does not work: {reason}", path.display())]
    Spool {
        /// Which part of it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another poll is running.
    #[error("another poll is using the spool {}", path.display())]
    Busy {
        /// The spool.
        path: PathBuf,
    },
    /// A certificate, key or token cannot be read.
    #[error("{what} cannot be used: {reason}")]
    Credential {
        /// Which one, with its path or name; never its content.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A secret would travel in the clear.
    #[error("a password or token would travel unencrypted")]
    Unencrypted,
    /// There are more approvals than are taken.
    #[error("the remote has {count} approvals of commits on the branch, of which {limit} are taken")]
    Approvals {
        /// How many there are.
        count: usize,
        /// How many are taken.
        limit: usize,
    },
    /// An approval cannot be had.
    #[error("the approval `{name}` is not taken: {reason}")]
    Approval {
        /// Its ref, or how many there are of its kind.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The heartbeat cannot be had.
    #[error("the heartbeat `{name}` is not taken: {reason}")]
    Heartbeat {
        /// Its ref.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The remote has more refs beside the branch than are looked at.
    #[error("the remote lists more than {limit} bytes of refs beside the branch")]
    Listing {
        /// Bytes that are looked at.
        limit: u64,
    },
    /// A redirect that is not followed.
    #[error("the remote redirects to where abide does not follow: {reason}")]
    Redirect {
        /// What was refused.
        reason: String,
    },
}

impl Explain for FetchError {
    fn code(&self) -> Code {
        Code(match self {
            FetchError::NoRemote => "E100",
            FetchError::Url { .. } => "E101",
            FetchError::Unreachable { .. } => "E102",
            FetchError::Tls { .. } => "E103",
            FetchError::Refused { .. } => "E104",
            FetchError::HostKey { .. } => "E105",
            FetchError::NoRepository { .. } => "E106",
            FetchError::NoBranch { .. } => "E107",
            FetchError::Deadline { .. } => "E108",
            FetchError::TooMuch { .. } => "E109",
            FetchError::Protocol { .. } => "E110",
            FetchError::Spool { .. } => "E111",
            FetchError::Busy { .. } => "E112",
            FetchError::Credential { .. } => "E113",
            FetchError::Unencrypted => "E114",
            FetchError::Redirect { .. } => "E115",
            FetchError::Approvals { .. } => "E116",
            FetchError::Approval { .. } => "E117",
            FetchError::Heartbeat { .. } => "E118",
            FetchError::Listing { .. } => "E119",
        })
    }

    fn remedy(&self) -> String {
        match self {
            FetchError::NoRemote => "set `urls` in the `[source]` table of abide.toml, or enrol this host",
            FetchError::Url { .. } => "use https://, ssh://, git:// or the absolute path of a repository",
            FetchError::Unreachable { .. } => {
                "check name, port, firewall and proxy; abide keeps the last good state and tries again"
            }
            FetchError::Tls { .. } => {
                "check the clock and the server's certificate; name a private authority with `ca-file`"
            }
            FetchError::Refused { .. } => {
                "check that the token, client certificate or deploy key may read this repository"
            }
            FetchError::HostKey { .. } => {
                "compare the server's key with its operator, then put it into the `known-hosts` file"
            }
            FetchError::NoRepository { .. } => "check the path in the URL, and whether the repository was moved",
            FetchError::NoBranch { .. } => {
                "push the branch again, or check `ref` in trust.toml; abide keeps the last good state"
            }
            FetchError::Deadline { .. } => "check the network, or raise `deadline` in the `[source]` table",
            FetchError::TooMuch { .. } => {
                "find out what made the repository so large, or raise the limit in the `[limits]` table"
            }
            FetchError::Protocol { .. } => "check that the URL is a Git repository and what stands between",
            FetchError::Spool { .. } => {
                "check the disk and who owns the directory; it may be emptied at any time: the next poll fills it again"
            }
            FetchError::Busy { .. } => "wait for the other poll to end",
            FetchError::Credential { .. } => {
                "check that the file or the systemd credential exists, is readable by the fetcher and well-formed"
            }
            FetchError::Unencrypted => "use https://, or remove the password and the token",
            FetchError::Approvals { .. } => {
                "delete the tags `abide/approve/…` of commits that are in effect everywhere; the newest commits come first"
            }
            FetchError::Approval { .. } => "look at the tag; delete it, or approve once more with `abide approve`",
            FetchError::Heartbeat { .. } => {
                "look who pushes the heartbeat's branch, and write it anew with `abide heartbeat`"
            }
            FetchError::Listing { .. } => "delete the tags `abide/approve/…` of commits that are in effect everywhere",
            FetchError::Redirect { .. } => "put the address where the repository really is into `urls`",
        }
        .to_owned()
    }
}

/// Something that the root process could not take from the spool, or not do with its store.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store does not work.
    #[error("the object store {} does not work: {reason}", path.display())]
    Store {
        /// Which part of it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The spool cannot be read.
    #[error("the spool {} cannot be read", path.display())]
    Spool {
        /// Which part of it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry of the spool is not what belongs there.
    #[error("`{name}` in the spool is not taken: it is {found}")]
    NotAPack {
        /// The entry.
        name: String,
        /// What it is instead.
        found: &'static str,
    },
    /// The spool holds more than it may.
    #[error("`{name}` in the spool is not taken: more than {limit} {what}")]
    TooMuch {
        /// The entry.
        name: String,
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// A file changed while it was copied.
    #[error("`{name}` in the spool changed while it was read")]
    Changing {
        /// The entry.
        name: String,
    },
    /// A pack is damaged or forged.
    #[error("`{name}` in the spool is not a sound pack: {reason}")]
    Damaged {
        /// The entry.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The note is not a note.
    #[error("the fetcher's note cannot be understood: {reason}")]
    Note {
        /// What is wrong.
        reason: String,
    },
    /// What the branch is at is not there as a whole.
    #[error("the commit {tip} is offered, but {missing} that belongs to it is missing")]
    Incomplete {
        /// The offered commit.
        tip: ObjectId,
        /// The object that is missing.
        missing: ObjectId,
        /// The pack that was refused, which may be why.
        #[source]
        refused: Option<Box<SourceError>>,
    },
    /// The history is too long or leads to what is no commit.
    #[error("the history of {tip} cannot be followed: {reason}")]
    History {
        /// The offered commit.
        tip: ObjectId,
        /// What is wrong.
        reason: String,
    },
    /// Approvals that the note offers are not taken. The branch is whole without them.
    #[error("{count} of the offered approvals are not taken, the first of them `{name}`: {reason}")]
    Approvals {
        /// How many.
        count: usize,
        /// The first, as the note has it.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The heartbeat that the note offers is not taken. The branch is whole without it.
    #[error("the offered heartbeat `{name}` is not taken: {reason}")]
    Heartbeat {
        /// The commit, as the note has it.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The note offers more approvals than are looked at.
    #[error("{count} approvals are offered, of which {limit} are looked at")]
    TooManyApprovals {
        /// How many are offered.
        count: usize,
        /// How many are looked at.
        limit: usize,
    },
    /// The repository of an author cannot be opened.
    #[error("{} cannot be opened as a Git repository: {reason}", path.display())]
    Repository {
        /// Its path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is no such revision.
    #[error("there is no commit `{revision}` in {}", path.display())]
    Revision {
        /// What was asked for.
        revision: String,
        /// The repository.
        path: PathBuf,
    },
}

impl Explain for SourceError {
    fn code(&self) -> Code {
        Code(match self {
            SourceError::Store { .. } => "E120",
            SourceError::Spool { .. } => "E121",
            SourceError::NotAPack { .. } => "E122",
            SourceError::TooMuch { .. } => "E123",
            SourceError::Changing { .. } => "E124",
            SourceError::Damaged { .. } => "E125",
            SourceError::Note { .. } => "E126",
            SourceError::Incomplete { .. } => "E127",
            SourceError::History { .. } => "E128",
            SourceError::Repository { .. } => "E129",
            SourceError::Revision { .. } => "E130",
            SourceError::Approvals { .. } => "E131",
            SourceError::Heartbeat { .. } => "E132",
            SourceError::TooManyApprovals { .. } => "E133",
        })
    }

    fn remedy(&self) -> String {
        match self {
            SourceError::Store { .. } => {
                "check the disk; if the store is damaged remove its directory: the next run takes everything from the spool again"
            }
            SourceError::Spool { .. } => "check that abide-fetch.service has run and that the directory exists",
            SourceError::NotAPack { .. } | SourceError::Note { .. } => {
                "nothing but the fetcher should write there: look who did, empty the spool, and let it poll again"
            }
            SourceError::TooMuch { .. } => {
                "find out what made the repository so large, or raise the limit in the `[limits]` table"
            }
            SourceError::Changing { .. } => "the next run tries again; if it stays, look who writes into the spool",
            SourceError::Damaged { .. } | SourceError::Incomplete { .. } => {
                "empty the spool and let abide-fetch.service poll again; if it stays, the remote is damaged or hostile"
            }
            SourceError::History { .. } => {
                "check what was pushed to the branch, or raise `commits` in the `[limits]` table"
            }
            SourceError::Approvals { .. } | SourceError::Heartbeat { .. } => {
                "the next poll should bring what is missing; if it stays, empty the spool, and look at the remote's refs"
            }
            SourceError::TooManyApprovals { .. } => {
                "the fetcher leaves no such note: look who else writes into the spool"
            }
            SourceError::Repository { .. } => "name the folder of a Git repository",
            SourceError::Revision { .. } => "give a branch, a tag or a commit that `git log` shows",
        }
        .to_owned()
    }
}
