//! Objects of packs that were inflated a moment ago: the trees of successive commits are deltas of each other.

use std::collections::HashMap;

use gix::objs::Kind;
use gix::odb::pack::cache::DecodeEntry;

/// Bytes that are kept; more than that, and all of it is forgotten.
const MOST_BYTES: usize = 4 << 20;
/// Larger objects are not kept.
const LARGEST: usize = 256 << 10;

/// What was inflated, by pack and offset.
#[derive(Default)]
pub(super) struct Recent {
    objects: HashMap<(u32, u64), Inflated>,
    bytes: usize,
}

struct Inflated {
    kind: Kind,
    /// Bytes that it takes in the pack.
    compressed: usize,
    data: Box<[u8]>,
}

impl DecodeEntry for Recent {
    fn put(&mut self, pack: u32, offset: u64, data: &[u8], kind: Kind, compressed_size: usize) {
        if kind != Kind::Tree || data.len() > LARGEST {
            return;
        }
        if self.bytes + data.len() > MOST_BYTES {
            self.objects.clear();
            self.bytes = 0;
        }
        let inflated = Inflated { kind, compressed: compressed_size, data: data.into() };
        if self.objects.insert((pack, offset), inflated).is_none() {
            self.bytes += data.len();
        }
    }

    fn get(&mut self, pack: u32, offset: u64, out: &mut Vec<u8>) -> Option<(Kind, usize)> {
        let inflated = self.objects.get(&(pack, offset))?;
        out.clear();
        out.extend_from_slice(&inflated.data);
        Some((inflated.kind, inflated.compressed))
    }
}
