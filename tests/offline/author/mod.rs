//! What an author does, by the command line, with real Git, OpenSSH and an agent.

mod approve;
mod desk;
mod edit;
mod explain;
mod heartbeat;
mod openpgp;
