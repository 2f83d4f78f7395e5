//! Who this host is, for statements that are made for one host only.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Where systemd keeps the host's own number (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// The host's id: the first 32 hex digits of the SHA-256 of `abide host ` and its machine id, which itself is not to be shown to others.
///
/// # Errors
/// The machine id cannot be read, or is not set yet.
pub fn host_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string(MACHINE_ID)?;
    of(text.trim()).ok_or_else(|| std::io::Error::other(format!("{MACHINE_ID} holds no machine id")))
}

fn of(machine: &str) -> Option<String> {
    if machine.len() != 32 || !machine.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digest = Sha256::digest(format!("abide host {machine}"));
    Some(digest.iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_a_machine_id_only() {
        // printf 'abide host 0123456789abcdef0123456789abcdef' | sha256sum
        let id = of("0123456789abcdef0123456789abcdef");
        assert_eq!(id.as_deref(), Some("e7de8522f60945e454eea0340ede8da4"));
        for wrong in ["", "uninitialized", "0123"] {
            assert_eq!(of(wrong), None);
        }
    }
}
