//! The hashes that a signature may be made over; SHA-1 is none of them.

use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::trust::sshsig::SignatureError;

/// What the signed message was hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Its number (RFC 4880, section 9.4).
    pub(super) fn number(self) -> u8 {
        match self {
            Hash::Sha256 => 8,
            Hash::Sha384 => 9,
            Hash::Sha512 => 10,
        }
    }

    pub(super) fn of(number: u8) -> Result<Hash, SignatureError> {
        let name = match number {
            8 => return Ok(Hash::Sha256),
            9 => return Ok(Hash::Sha384),
            10 => return Ok(Hash::Sha512),
            1 => "MD5".into(),
            2 => "SHA-1".into(),
            3 => "RIPEMD-160".into(),
            11 => "SHA-224".into(),
            other => format!("{other}"),
        };
        Err(SignatureError::Algorithm(format!("its hash is {name}, not SHA-256, SHA-384 or SHA-512")))
    }

    pub(super) fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha384 => Sha384::digest(message).to_vec(),
            Hash::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}
