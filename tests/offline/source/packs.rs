//! Packs that no Git would write, against the store and, from a server that serves nothing else, against the fetcher.

use std::io::Write;
use std::time::{Duration, Instant};

use abide::config::Limits;
use abide::error::Explain;
use abide::source::store::Store;
use gix::hash::Kind;

use super::git::{World, source};
use super::servers::Hostile;

/// Limits that a small pack can pass.
fn limits() -> Limits {
    Limits { object_bytes: 1 << 20, spool_bytes: 4 << 20, delta_depth: 50, objects: 1000, commits: 1000 }
}

/// A pack in the making.
pub struct Pack {
    bytes: Vec<u8>,
    count: u32,
}

impl Pack {
    pub fn new() -> Pack {
        Pack { bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), count: 0 }
    }

    /// The first byte has the type and four bits of the size, the others seven bits each.
    fn header(&mut self, kind: u8, mut size: u64) -> usize {
        let offset = self.bytes.len();
        self.count += 1;
        let mut byte = kind << 4 | (size & 15) as u8;
        size >>= 4;
        while size > 0 {
            self.bytes.push(byte | 0x80);
            byte = (size & 0x7f) as u8;
            size >>= 7;
        }
        self.bytes.push(byte);
        offset
    }

    fn deflated(&mut self, content: &[u8]) {
        let mut out = gix::zlib::stream::deflate::Write::new(&mut self.bytes, gix::zlib::Compression::BEST);
        out.write_all(content).unwrap();
        out.flush().unwrap();
    }

    /// An object of this type that claims this size. Returns where it lies.
    pub fn claim(&mut self, kind: u8, size: u64, content: &[u8]) -> usize {
        let offset = self.header(kind, size);
        self.deflated(content);
        offset
    }

    pub fn blob(&mut self, content: &[u8]) -> usize {
        self.claim(3, content.len() as u64, content)
    }

    /// A delta against what lies `distance` bytes before it.
    pub fn delta(&mut self, distance: usize, delta: &[u8]) -> usize {
        let offset = self.header(6, delta.len() as u64);
        let mut digits = vec![(distance & 0x7f) as u8];
        let mut rest = distance >> 7;
        while rest > 0 {
            rest -= 1;
            digits.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        digits.reverse();
        self.bytes.extend(digits);
        self.deflated(delta);
        offset
    }

    pub fn delta_by_name(&mut self, base: &[u8], delta: &[u8]) {
        self.header(7, delta.len() as u64);
        self.bytes.extend(base);
        self.deflated(delta);
    }

    pub fn finish(self) -> Vec<u8> {
        let count = self.count;
        self.finish_with(2, count, Kind::Sha1)
    }

    pub fn finish_with(mut self, version: u32, count: u32, hash: Kind) -> Vec<u8> {
        self.bytes[4..8].copy_from_slice(&version.to_be_bytes());
        self.bytes[8..12].copy_from_slice(&count.to_be_bytes());
        let mut hasher = gix::hash::hasher(hash);
        hasher.update(&self.bytes);
        self.bytes.extend(hasher.try_finalize().unwrap().as_slice());
        self.bytes
    }
}

/// A delta with these sizes and instructions.
fn delta(base: u64, result: u64, instructions: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut number in [base, result] {
        while number > 0x7f {
            bytes.push(0x80 | (number & 0x7f) as u8);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes.extend(instructions);
    bytes
}

/// The instruction to copy so many bytes of the base from its start; 0 stands for 64 KiB.
fn copy(size: u16) -> Vec<u8> {
    let [low, high] = size.to_le_bytes();
    vec![0x80 | 0x10 | 0x20, low, high]
}

/// Each with the code of the root process. `E123`: more than a limit; `E125`: not sound.
fn bombs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let zeros = |bytes: usize| vec![0_u8; bytes];
    let pack = |make: &dyn Fn(&mut Pack)| {
        let mut pack = Pack::new();
        make(&mut pack);
        pack.finish()
    };
    let one = |make: &dyn Fn(&mut Pack) -> usize| {
        let mut pack = Pack::new();
        make(&mut pack);
        pack.finish()
    };
    let counted = |count: u32| {
        let mut pack = Pack::new();
        pack.blob(b"x");
        pack.finish_with(2, count, Kind::Sha1)
    };
    let other = |version: u32, hash: Kind| {
        let mut pack = Pack::new();
        pack.blob(b"x");
        pack.finish_with(version, 1, hash)
    };
    let whole = 1 << 20;
    let sixteen: Vec<u8> = (0..16).flat_map(|_| copy(0)).collect();
    vec![
        ("an object that inflates to more than it claims", one(&|p| p.claim(3, 1, &zeros(16 << 20))), "E125"),
        ("an object that claims a terabyte", one(&|p| p.claim(3, 1 << 40, b"x")), "E125"),
        ("an object that claims all there is", one(&|p| p.claim(3, u64::MAX >> 1, b"x")), "E125"),
        ("an object that is larger than its limit", one(&|p| p.blob(&zeros(2 << 20))), "E123"),
        (
            "objects that inflate to more than all may",
            pack(&|p| {
                (0..70).for_each(|_| {
                    p.blob(&zeros(whole));
                })
            }),
            "E123",
        ),
        (
            "deltas of a few bytes that each are a whole object",
            pack(&|p| {
                let base = p.blob(&zeros(whole));
                for _ in 0..70 {
                    let distance = p.bytes.len() - base;
                    p.delta(distance, &delta(1 << 20, 1 << 20, &sixteen));
                }
            }),
            "E123",
        ),
        (
            "deltas that double what they stand on",
            pack(&|p| {
                let mut base = p.blob(&zeros(1 << 10));
                for step in 10..30 {
                    let twice = [copy(1 << 10), copy(1 << 10)].concat();
                    let distance = p.bytes.len() - base;
                    base = p.delta(distance, &delta(1 << step, 2 << step, &twice));
                }
            }),
            "E123",
        ),
        (
            "a chain of deltas that is too deep",
            pack(&|p| {
                let mut base = p.blob(b"0123456789");
                for number in 0..60_u8 {
                    let distance = p.bytes.len() - base;
                    base = p.delta(distance, &delta(10, 11, &[copy(10), vec![1, number]].concat()[..]));
                }
            }),
            "E123",
        ),
        (
            "a delta that makes more than it says",
            pack(&|p| {
                let base = p.blob(&zeros(1 << 16));
                let distance = p.bytes.len() - base;
                p.delta(distance, &delta(1 << 16, 10, &sixteen));
            }),
            "E125",
        ),
        (
            "a delta that makes less than it says",
            pack(&|p| {
                let base = p.blob(b"0123456789");
                let distance = p.bytes.len() - base;
                p.delta(distance, &delta(10, 1000, &copy(10)));
            }),
            "E125",
        ),
        (
            "a delta that copies from beyond its base",
            pack(&|p| {
                let base = p.blob(b"0123456789");
                let distance = p.bytes.len() - base;
                p.delta(distance, &delta(10, 0xffff, &copy(0xffff)));
            }),
            "E125",
        ),
        (
            "a delta with an instruction that is none",
            pack(&|p| {
                let base = p.blob(b"0123456789");
                let distance = p.bytes.len() - base;
                p.delta(distance, &delta(10, 10, &[0]));
            }),
            "E125",
        ),
        (
            "a delta without sizes",
            pack(&|p| {
                let base = p.blob(b"0123456789");
                let distance = p.bytes.len() - base;
                p.delta(distance, &[0xff; 30]);
            }),
            "E125",
        ),
        ("a delta on itself", one(&|p| p.delta(0, &delta(10, 10, &copy(10)))), "E125"),
        (
            "a delta on what lies before the pack",
            one(&|p| p.delta(1 << 40, &delta(10, 10, &copy(10)))),
            "E125",
        ),
        (
            "a delta on an object that is nowhere",
            pack(&|p| p.delta_by_name(&[7; 20], &delta(10, 10, &copy(10)))),
            "E125",
        ),
        ("an object of no type", one(&|p| p.claim(0, 1, b"x")), "E125"),
        ("an object of the reserved type", one(&|p| p.claim(5, 1, b"x")), "E125"),
        ("more objects than it says", counted(0), "E125"),
        ("fewer objects than it says", counted(2), "E125"),
        ("more objects than there are numbers", counted(u32::MAX), "E123"),
        ("a version from the future", other(9, Kind::Sha1), "E125"),
        ("the other object format", other(2, Kind::Sha256), "E125"),
        ("something after its end", [counted(1), vec![0; 1000]].concat(), "E125"),
        (
            "an end that is wrong",
            {
                let mut pack = counted(1);
                *pack.last_mut().unwrap() ^= 1;
                pack
            },
            "E125",
        ),
    ]
}

fn put(world: &World, name: char, bytes: &[u8]) {
    let name: String = std::iter::repeat_n(name, 40).collect();
    let path = world.spool().join(format!("packs/pack-{name}.pack"));
    std::fs::write(&path, bytes).unwrap();
    // Newest first.
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(60)).unwrap();
}

fn kept(world: &World) -> usize {
    std::fs::read_dir(world.store().join("sha1/pack")).map_or(0, Iterator::count)
}

/// Attack 29: packs, deltas and streams that are small to send and large to read.
#[test]
fn no_bomb_goes_off_in_the_store() {
    let world = World::new();
    world.fetched();
    for (what, bytes, code) in bombs() {
        let _ = std::fs::remove_dir_all(world.store());
        put(&world, 'a', &bytes);
        let started = Instant::now();
        let mut store = Store::open(&world.store(), &limits()).unwrap();
        let candidate = store.take(&world.spool()).unwrap().unwrap();
        assert_eq!(candidate.tip.to_string(), world.tip(), "{what}");
        let refused: Vec<_> = store.refused().iter().map(|error| error.code().0).collect();
        assert_eq!(refused, [code], "{what}: {:?}", store.refused());
        assert_eq!(kept(&world), 2, "{what}");
        assert!(started.elapsed() < Duration::from_secs(10), "{what}: {:?}", started.elapsed());
    }
}

/// Attack 29: a server that answers every fetch with a bomb.
#[test]
fn no_bomb_goes_off_in_the_fetcher() {
    for (what, bytes, _) in bombs() {
        let world = World::new();
        let server = Hostile::saying(format!("{} refs/heads/main\n", "7".repeat(40)).as_bytes(), bytes);
        let started = Instant::now();
        let note = world.poll_within(&source(&[&server.start()]), &limits());
        assert_eq!(note.failures, 1, "{what}: {note:#?}");
        assert!(["E109", "E110"].contains(&note.problems[0].code.as_str()), "{what}: {note:#?}");
        assert_eq!(note.tip, "", "{what}");
        assert!(started.elapsed() < Duration::from_secs(10), "{what}: {:?}", started.elapsed());
        let left = std::fs::read_dir(world.spool().join("repository/objects/pack")).unwrap().count();
        assert!(left <= 2, "{what}: {left} files stay");
        assert_eq!(std::fs::read_dir(world.spool().join("packs")).map_or(0, Iterator::count), 0, "{what}");
    }
}

/// Attack 29: a pack that is sound, says everything twice, or lacks what it stands on.
#[test]
fn packs_with_duplicates_or_holes_are_no_way_around_the_branch() {
    let world = World::new();
    world.fetched();
    let mut twice = Pack::new();
    for _ in 0..2 {
        twice.blob(b"the same");
    }
    put(&world, 'a', &twice.finish());
    let mut store = Store::open(&world.store(), &limits()).unwrap();
    // Whether such a pack is taken decides nothing: the branch is whole, and names are what contents hash to.
    assert_eq!(store.take(&world.spool()).unwrap().unwrap().tip.to_string(), world.tip());
    let tip = store.take(&world.spool()).unwrap().unwrap().tip;
    assert!(store.is_whole(tip));
}

/// A thin pack is completed from what the store has, and from nothing else.
#[test]
fn thin_packs_stand_on_the_store_alone() {
    let world = World::new();
    let text: String = (0..500).map(|line| format!("line {line}\n")).collect();
    world.write("files/grows", text.as_bytes());
    world.commit("second");
    world.fetched();
    let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
    store.take(&world.spool()).unwrap();
    let before = world.tip();
    world.write("files/grows", (text + "one more\n").as_bytes());
    let tip = world.commit("third");
    let thin = |world: &World| {
        for entry in std::fs::read_dir(world.spool().join("packs")).unwrap().flatten() {
            std::fs::remove_file(entry.path()).unwrap();
        }
        let script = format!(
            "printf '%s\\n^%s\\n' {tip} {before} | git pack-objects -q --revs --thin --stdout > {}/thin",
            world.root().display()
        );
        let made = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(world.repository())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        put(world, 'b', &std::fs::read(world.root().join("thin")).unwrap());
        let note = abide::source::Note { tip: tip.clone(), ..Default::default() };
        std::fs::write(world.spool().join("note.json"), serde_json::to_vec(&note).unwrap()).unwrap();
    };
    thin(&world);
    let candidate = store.take(&world.spool()).unwrap().unwrap();
    assert_eq!(candidate.tip.to_string(), tip);
    assert!(store.refused().is_empty(), "{:?}", store.refused());
    // A store that lacks the bases takes nothing.
    std::fs::remove_dir_all(world.store()).unwrap();
    let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
    assert_eq!(store.take(&world.spool()).unwrap_err().code().0, "E127");
    assert_eq!(kept(&world), 0);
}
