#![no_main]
//! A pack from the spool is inspected within its limits, whatever it says of itself.

use std::io::BufReader;

use abide::config::Limits;
use abide::source::inspect_pack;
use gix::hash::Kind;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        objects: 64,
        object_bytes: 4096,
        spool_bytes: 4096,
        delta_depth: 4,
        ..Limits::default()
    };
    for kind in [Kind::Sha1, Kind::Sha256] {
        // A small buffer, so that every refill is met.
        if let Ok(count) = inspect_pack(&mut BufReader::with_capacity(64, bytes), kind, &limits) {
            assert!(count <= limits.objects);
            // Its checksum is proven, so that nothing may follow or be missing.
            assert!(inspect_pack(&mut &bytes[..bytes.len() - 1], kind, &limits).is_err());
        }
    }
});
