//! Every way in that must be closed, and every way on that must stay open.

mod attacks;
mod author;
mod freshness;
pub(crate) mod gnupg;
mod good;
mod histories;
pub(crate) mod lab;
mod model;
mod openpgp;
mod seals;
mod twins;
