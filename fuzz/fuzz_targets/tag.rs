#![no_main]
//! A tag that is accepted is what was signed and its signature, byte for byte.

use abide::trust::tag::Tag;
use gix::hash::Kind;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Sha1, Kind::Sha256] {
        let Ok(tag) = Tag::parse(bytes, kind) else { continue };
        let armoured = tag.signature.map(|signature| signature.armoured).unwrap_or_default();
        assert_eq!([tag.payload.as_slice(), &armoured].concat(), bytes);
        assert_eq!(tag.target.kind(), kind);
        assert!(tag.payload.starts_with(format!("object {}\ntype commit\ntag {}\n", tag.target, tag.name).as_bytes()));
    }
});
