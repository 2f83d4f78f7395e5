//! Signatures made with GnuPG, for principals whose policy lists an OpenPGP key; without one nothing in this folder ever runs.
//!
//! Of OpenPGP (RFC 4880) abide knows a raw public key and a signature over a file, and no more: no certificates, user ids,
//! self-signatures, revocations, key servers or web of trust. Whose a key is, until when it counts and when it no longer does is the
//! policy's to say, so there is nothing about a certificate that could be understood wrongly.
//!
//! **Invariant:** a [`Signature`] has exactly one written form, the one that GnuPG writes. What parses is, byte for byte, what
//! [`Signature::armoured`] makes of it again.

mod armour;
mod export;
mod hash;
mod key;
mod packet;
mod signature;

pub use export::{ExportError, exported};
pub use hash::Hash;
pub use key::{Fingerprint, KeyError, OpenPgpKey, SMALLEST_RSA, ed25519_packet};
pub use signature::Signature;
