//! Every way in that must be closed, and every way on that must stay open.

mod attacks;
mod author;
pub(crate) mod gnupg;
mod good;
pub(crate) mod lab;
mod openpgp;
mod twins;
