//! What `gpg --export` prints, on the author's machine: which raw keys are in it. A host never reads it.

use super::armour::{self, dearmour};
use super::key::{Fingerprint, OpenPgpKey};
use super::packet::{self, Packet};
use crate::trust::wire::Wire;

/// Certificates with pictures in them are smaller.
const LARGEST: usize = 4 << 20;

/// Why no key is taken from an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// It is no export.
    #[error("this is not what `gpg --export` prints: {0}")]
    Malformed(&'static str),
    /// It holds no key that may sign for abide.
    #[error("there is no Ed25519 key and no RSA key from 3072 bits in it{0}")]
    NoKey(String),
    /// The one that was asked for is not in it.
    #[error("the key {wanted} is not in it; there are {found}")]
    OtherKeys {
        /// The fingerprint that was asked for.
        wanted: Fingerprint,
        /// The keys that are there.
        found: String,
    },
    /// It holds several, and nothing says which one signs.
    #[error("several keys in it could sign: {0}")]
    Several(String),
}

/// Takes one key out of what `gpg --export`, with or without `--armor`, prints: the primary key or a subkey with this fingerprint,
/// or the only one that could sign. Nothing else of the certificate is looked at, neither its expiry nor a revocation.
///
/// # Errors
/// See [`ExportError`].
pub fn exported(export: &[u8], wanted: Option<Fingerprint>) -> Result<OpenPgpKey, ExportError> {
    use ExportError::{Malformed, NoKey, OtherKeys, Several};
    if export.len() > LARGEST {
        return Err(Malformed("it is too long"));
    }
    let bytes = match std::str::from_utf8(export) {
        Ok(text) => dearmour(armour::PUBLIC_KEY, text.trim_start()).map_err(Malformed)?,
        Err(_) => export.to_owned(),
    };
    let (mut keys, mut others) = (Vec::new(), String::new());
    let mut wire = Wire::new(&bytes);
    while !wire.is_empty() {
        let packet = packet::take(&mut wire).ok_or(Malformed("its packets are damaged"))?;
        let Packet { tag: packet::PUBLIC_KEY | packet::PUBLIC_SUBKEY, body, .. } = packet else { continue };
        match OpenPgpKey::from_packet(body) {
            Ok(key) => keys.push(key),
            Err(error) => others = format!(": {error}"),
        }
    }
    let listed = |keys: &[OpenPgpKey]| {
        let names = keys.iter().map(|key| format!("{} ({})", key.fingerprint(), key.kind()));
        names.collect::<Vec<_>>().join(", ")
    };
    match (wanted, keys.as_slice()) {
        (_, []) => Err(NoKey(others)),
        (Some(wanted), keys) => {
            let found = keys.iter().find(|key| key.fingerprint() == wanted).cloned();
            found.ok_or_else(|| OtherKeys { wanted, found: listed(keys) })
        }
        (None, [key]) => Ok(key.clone()),
        (None, keys) => Err(Several(listed(keys))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::armour::armour;
    use super::super::key::ed25519_packet;
    use super::super::key::tests::{ed25519, rsa_packet};
    use super::*;
    use proptest::prelude::*;

    fn point(seed: u8) -> [u8; 32] {
        ed25519(seed).0.verifying_key().to_bytes()
    }

    /// An export with these keys, and user ids and signatures in between.
    fn export(keys: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            let tag = if position == 0 { packet::PUBLIC_KEY } else { packet::PUBLIC_SUBKEY };
            packet::put(&mut bytes, tag, key);
            packet::put(&mut bytes, 13, b"Alice <alice@example.org>");
            packet::put(&mut bytes, packet::SIGNATURE, &[0xff; 300]);
        }
        bytes
    }

    #[test]
    fn one_key_is_taken() {
        let (first, second) = (ed25519_packet(9, &point(1)), ed25519_packet(9, &point(2)));
        let names = [1, 2].map(|seed| ed25519(seed).1.fingerprint());
        let small = rsa_packet(&[0xff; 256], &[1, 0, 1]);
        let only = export(&[first.clone(), small.clone()]);
        assert_eq!(exported(&only, None), Ok(ed25519(1).1));
        assert_eq!(exported(armour(armour::PUBLIC_KEY, &only).as_bytes(), None), Ok(ed25519(1).1));
        let both = export(&[first, second]);
        assert_eq!(exported(&both, Some(names[1])), Ok(ed25519(2).1));
        let several = exported(&both, None).unwrap_err().to_string();
        assert!(names.iter().all(|name| several.contains(&name.to_string())), "{several}");
        let other = Fingerprint([7; 20]);
        assert!(matches!(exported(&only, Some(other)), Err(ExportError::OtherKeys { .. })));
        let error = exported(&export(&[small]), None).unwrap_err().to_string();
        assert!(error.contains("an RSA key of 2048 bits"), "{error}");
        assert_eq!(exported(b"", None), Err(ExportError::Malformed("it does not start with its BEGIN line")));
        assert_eq!(exported(&both[..100], None), Err(ExportError::Malformed("its packets are damaged")));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = exported(&bytes, None);
            let _ = exported(armour(armour::PUBLIC_KEY, &bytes).as_bytes(), None);
        }
    }
}
