//! OpenPGP's text form (RFC 4880, section 6), as GnuPG writes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a signature is called in its armour.
pub(super) const SIGNATURE: &str = "PGP SIGNATURE";
/// What an exported key is called in its armour.
pub(super) const PUBLIC_KEY: &str = "PGP PUBLIC KEY BLOCK";

/// GnuPG breaks its base64 after so many characters.
const COLUMNS: usize = 64;

/// Writes bytes in their armour, without any header.
pub(super) fn armour(label: &str, bytes: &[u8]) -> String {
    let base64 = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n\n");
    for (position, character) in base64.chars().enumerate() {
        if position > 0 && position % COLUMNS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str(&format!("\n={}\n-----END {label}-----\n", STANDARD.encode(checksum(bytes))));
    text
}

/// Reads armour. Its headers (comments, versions) are left aside and its checksum is checked where there is one; whether the text
/// is the one that [`armour`] makes is for the caller to ask.
pub(super) fn dearmour(label: &str, text: &str) -> Result<Vec<u8>, &'static str> {
    let mut lines = text.lines();
    if lines.next() != Some(format!("-----BEGIN {label}-----").as_str()) {
        return Err("it does not start with its BEGIN line");
    }
    let mut lines = lines.skip_while(|line| !line.trim().is_empty()).skip(1);
    let (mut base64, mut sum) = (String::new(), None);
    let end = loop {
        match lines.next().map(str::trim_end) {
            Some(line) if line.starts_with('-') => break line,
            Some(line) if line.starts_with('=') => sum = Some(line[1..].to_owned()),
            Some(line) => base64.push_str(line),
            None => return Err("it does not end with its END line"),
        }
    };
    if end != format!("-----END {label}-----") || lines.any(|line| !line.trim().is_empty()) {
        return Err("it does not end with its END line");
    }
    let bytes = STANDARD.decode(base64).map_err(|_| "its base64 is damaged")?;
    match sum {
        Some(sum) if sum != STANDARD.encode(checksum(&bytes)) => Err("its checksum is wrong"),
        _ => Ok(bytes),
    }
}

/// The CRC-24 of RFC 4880, section 6.1.
fn checksum(bytes: &[u8]) -> [u8; 3] {
    const START: u32 = 0x00b7_04ce;
    const POLYNOMIAL: u32 = 0x0186_4cfb;
    let mut crc = START;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    let [_, high, middle, low] = crc.to_be_bytes();
    [high, middle, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        // The check value that catalogues of checksums give for CRC-24/OPENPGP.
        assert_eq!(checksum(b"123456789"), [0x21, 0xcf, 0x02]);
        assert_eq!(checksum(b""), [0xb7, 0x04, 0xce]);
    }

    #[test]
    fn armour_is_read_leniently_and_written_in_one_way() {
        let bytes: Vec<u8> = (0..100).collect();
        let text = armour(SIGNATURE, &bytes);
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        assert_eq!(dearmour(SIGNATURE, &text), Ok(bytes.clone()));
        let commented = text.replacen("\n\n", "\nComment: x\n\n", 1);
        assert_eq!(dearmour(SIGNATURE, &commented), Ok(bytes));
        for (form, expected) in [
            (text.replace("SIGNATURE", "MESSAGE"), "it does not start with its BEGIN line"),
            (text.replace("END", "ENDE"), "it does not end with its END line"),
            (format!("{text}more\n"), "it does not end with its END line"),
            (text.replacen("AAEC", "AAED", 1), "its checksum is wrong"),
            (text.replacen("AAEC", "AA=C", 1), "its base64 is damaged"),
            (text.lines().next().unwrap().to_owned(), "it does not end with its END line"),
        ] {
            assert_eq!(dearmour(SIGNATURE, &form), Err(expected), "{form}");
        }
    }
}
