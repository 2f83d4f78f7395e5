//! Every way in that must be closed, and every way on that must stay open.

mod attacks;
mod author;
mod freshness;
mod good;
mod histories;
pub mod lab;
mod model;
mod seals;
mod twins;
