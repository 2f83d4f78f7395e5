//! What an author does in his own repository: sign approvals and heartbeats, and edit the policy.
//!
//! Hosts use none of this. Here Git itself signs, with its user's configuration, agent and security keys; what was made is then
//! judged by the same [`trust`](crate::trust) that hosts have.
//!
//! **Invariant:** a reference of the repository moves only to an object that hosts would count, from the place where it was when
//! the author looked.

mod approve;
mod changes;
mod edit;
mod git;
mod heartbeat;
mod repository;

pub use approve::{Approval, ApproveError, Claim, Form, Review, approve, missing, push, remote, review};
pub use changes::{ChangedFile, changes};
pub use edit::{AddPrincipal, Edit, EditError, Edited, NewKey, Rotate, edit};
pub use git::{Git, GitError, SigningKey, read_key};
pub use heartbeat::{Beat, BeatError, Key as BeatKey, Order, beat};
pub use repository::{RepositoryError, Start, policy_of, remember};
