//! What can be proven without root and without a host.

mod trust;
