//! What others test their own work with, judged by abide: their vectors as they publish them, their scenarios rebuilt on our
//! machinery, and their programs asked about the same signatures.

mod calendar;
mod differences;
mod gittuf;
mod gnupg;

mod guix;
mod openssh;
mod speccheck;
mod wycheproof;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The bytes of an SSH signature.
fn opened(armoured: &str) -> Vec<u8> {
    let base64: String = armoured.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).unwrap()
}

/// Bytes in the armour that ssh-keygen would put around them.
fn closed(blob: &[u8]) -> String {
    wrapped(blob, 70)
}

/// The same with lines of another length.
fn wrapped(blob: &[u8], columns: usize) -> String {
    let base64 = STANDARD.encode(blob);
    let lines = base64.as_bytes().chunks(columns).map(|line| std::str::from_utf8(line).unwrap());
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n")
}
