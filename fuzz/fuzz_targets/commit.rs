#![no_main]
//! A commit that is accepted has exactly one written form.

use abide::trust::commit::{Commit, parents_of_any, summary_of_any, tree_of_any};
use gix::hash::Kind;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Sha1, Kind::Sha256] {
        if let Ok(commit) = Commit::parse(bytes, kind) {
            assert_eq!(commit.to_bytes(kind), bytes);
            assert_eq!(tree_of_any(bytes, kind), Some(commit.tree));
            assert_eq!(parents_of_any(bytes, kind).collect::<Vec<_>>(), commit.parents);
        }
        let _ = (tree_of_any(bytes, kind), parents_of_any(bytes, kind).count());
    }
    let _ = summary_of_any(bytes);
});
