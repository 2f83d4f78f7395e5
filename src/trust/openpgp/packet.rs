//! OpenPGP's packets and numbers (RFC 4880, sections 3.2 and 4.2).

use crate::trust::wire::Wire;

/// A public key.
pub(super) const PUBLIC_KEY: u8 = 6;
/// A public subkey.
pub(super) const PUBLIC_SUBKEY: u8 = 14;
/// A signature.
pub(super) const SIGNATURE: u8 = 2;

/// A bit that every packet starts with.
const ALWAYS: u8 = 0x80;
/// The bit of the newer form of headers, which GnuPG does not use for keys and signatures.
const NEWER: u8 = 0x40;

/// A packet, cut out and not understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub tag: u8,
    pub newer: bool,
    pub body: &'a [u8],
}

/// Takes the next packet; those of unknown or partial length, which hold streams of data, are not read.
pub(super) fn take<'a>(wire: &mut Wire<'a>) -> Option<Packet<'a>> {
    let first = wire.byte().filter(|first| first & ALWAYS != 0)?;
    let newer = first & NEWER != 0;
    let (tag, length) = match newer {
        true => (first & 0x3f, take_length(wire)?),
        false => ((first >> 2) & 0x0f, old_length(wire, first & 3)?),
    };
    Some(Packet { tag, newer, body: wire.bytes(length)? })
}

/// A length of the newer headers, which subpackets have, too.
pub(super) fn take_length(wire: &mut Wire<'_>) -> Option<usize> {
    match wire.byte()? {
        short @ 0..192 => Some(usize::from(short)),
        first @ 192..224 => Some((usize::from(first) - 192) * 256 + usize::from(wire.byte()?) + 192),
        0xff => usize::try_from(wire.number()?).ok(),
        _ => None,
    }
}

fn old_length(wire: &mut Wire<'_>, kind: u8) -> Option<usize> {
    match kind {
        0 => wire.byte().map(usize::from),
        1 => take_short(wire).map(usize::from),
        2 => usize::try_from(wire.number()?).ok(),
        _ => None,
    }
}

/// Writes a packet as GnuPG does: with the older header and the shortest length.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    let first = ALWAYS | tag << 2;
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(length), _) => out.extend_from_slice(&[first, length]),
        (_, Ok(length)) => {
            out.push(first | 1);
            out.extend_from_slice(&length.to_be_bytes());
        }
        // Nothing that is written here comes near four gigabytes.
        _ => {
            out.push(first | 2);
            out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
}

/// A number of two bytes.
pub(super) fn take_short(wire: &mut Wire<'_>) -> Option<u16> {
    wire.bytes(2)?.try_into().ok().map(u16::from_be_bytes)
}

/// A number of any size without leading zeros, whose length in bits must be exact.
pub(super) fn take_number<'a>(wire: &mut Wire<'a>) -> Option<&'a [u8]> {
    let bits = usize::from(take_short(wire)?);
    let number = wire.bytes(bits.div_ceil(8))?;
    (bit_length(number) == bits).then_some(number)
}

/// Writes such a number.
pub(super) fn put_number(out: &mut Vec<u8>, number: &[u8]) {
    // Numbers are read with a length of 16 bits, or have 32 bytes.
    out.extend_from_slice(&u16::try_from(bit_length(number)).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(number);
}

/// The number of bits; 0 where the number begins with a zero byte, so that it is never the length of one.
pub(super) fn bit_length(number: &[u8]) -> usize {
    match number.first() {
        None | Some(0) => 0,
        Some(first) => number.len() * 8 - first.leading_zeros() as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_written_as_they_were_read() {
        for length in [0, 1, 191, 255, 256, 65_535, 65_536] {
            let mut bytes = Vec::new();
            put(&mut bytes, SIGNATURE, &vec![7; length]);
            let mut wire = Wire::new(&bytes);
            let packet = take(&mut wire).unwrap();
            assert_eq!((packet.tag, packet.newer, packet.body.len()), (SIGNATURE, false, length));
            assert!(wire.is_empty());
        }
        for (bytes, expected) in [
            (&[0xc2, 1, 9][..], Some(&[9][..])),
            (&[0xc2, 0xff, 0, 0, 0, 1, 9], Some(&[9])),
            (&[0xc2, 0xe0, 9], None),
            (&[0x8b, 9], None),
            (&[0x08, 1, 9], None),
            (&[0x88, 2, 9], None),
        ] {
            assert_eq!(take(&mut Wire::new(bytes)).map(|packet| packet.body), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_number_has_one_form() {
        for (bytes, expected) in [
            (&[0, 9, 1, 0xff][..], Some(&[1, 0xff][..])),
            (&[0, 10, 1, 0xff], None),
            (&[0, 16, 0, 0xff], None),
            (&[0, 0], Some(&[])),
            (&[0, 8], None),
        ] {
            assert_eq!(take_number(&mut Wire::new(bytes)), expected, "{bytes:?}");
        }
        let mut out = Vec::new();
        put_number(&mut out, &[1, 0xff]);
        assert_eq!(out, [0, 9, 1, 0xff]);
    }
}
