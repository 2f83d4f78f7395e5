#![no_main]
//! A tree that is accepted is, byte for byte, what Git would write, and its names are plain.

use abide::source::{EntryKind, tree_entries};
use gix::ObjectId;
use gix::hash::Kind;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Sha1, Kind::Sha256] {
        let Ok(entries) = tree_entries(ObjectId::null(kind), bytes) else { continue };
        let mut written = Vec::new();
        for entry in &entries {
            let mode = match entry.kind {
                EntryKind::Tree => "40000",
                EntryKind::File => "100644",
                EntryKind::Executable => "100755",
                EntryKind::Symlink => "120000",
                EntryKind::Submodule => "160000",
            };
            written.extend_from_slice(format!("{mode} {}\0", entry.name).as_bytes());
            written.extend_from_slice(entry.id.as_slice());
            let name = entry.name.as_str();
            assert!(!["", ".", ".."].contains(&name) && !name.eq_ignore_ascii_case(".git"));
            assert!(!name.chars().any(|character| character == '/' || character.is_control()));
        }
        assert_eq!(written, bytes);
    }
});
