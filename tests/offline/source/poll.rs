//! Polls over git:// and from a local medium: what moves, what fails, what stays bounded.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use abide::config::{Limits, Span};
use abide::source::Objects;
use abide::source::store::Store;
use gix::ObjectId;

use super::git::{World, codes, good, source};
use super::servers;

/// Noise that does not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Polls through `url` in every situation of a branch, and takes every offer into a store.
fn check(world: &World, url: &str) {
    let source = source(&[url]);
    let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
    let mut takes = |tip: &str| {
        let candidate = store.take(&world.spool()).unwrap().unwrap();
        assert_eq!(candidate.tip.to_string(), tip);
        assert!(store.refused().is_empty(), "{:?}", store.refused());
        assert!(!store.commit(candidate.tip).unwrap().is_empty());
        assert!(store.is_whole(candidate.tip));
    };

    let first = good(world.poll(&source));
    assert!(first.changed && first.received > 0, "{first:?}");
    takes(&world.tip());

    let unchanged = good(world.poll(&source));
    assert!(!unchanged.changed && unchanged.received == 0 && unchanged.tip == first.tip, "{unchanged:?}");
    takes(&world.tip());

    let second = world.commit("second");
    assert_eq!(good(world.poll(&source)).tip, second);
    takes(&second);

    world.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let rewound = good(world.poll(&source));
    assert!(rewound.changed && rewound.tip == first.tip, "{rewound:?}");
    takes(&first.tip);

    world.git(&["checkout", "-q", "--orphan", "new"]);
    world.commit("unrelated");
    world.git(&["branch", "-q", "-M", "new", "main"]);
    assert_eq!(good(world.poll(&source)).tip, world.tip());
    takes(&world.tip());

    world.git(&["branch", "-q", "-m", "main", "gone"]);
    let gone = world.poll(&source);
    assert_eq!(codes(&gone), ["E107"], "{gone:#?}");
    assert_eq!((gone.failures, gone.tip.as_str()), (1, world.tip().as_str()), "the last tip is kept");
    takes(&world.tip());
    world.git(&["branch", "-q", "-m", "gone", "main"]);
    assert_eq!(good(world.poll(&source)).failures, 0);
}

#[test]
fn every_move_of_a_branch_arrives_over_git() {
    let world = World::new();
    let (_daemon, port) = servers::git_daemon(world.root());
    check(&world, &format!("git://127.0.0.1:{port}/fleet/.git"));
}

#[test]
fn every_move_of_a_branch_arrives_from_a_folder() {
    let world = World::new();
    check(&world, &world.repository().display().to_string());
    let bare = World::new();
    check(&bare, &format!("file://{}/.git", bare.repository().display()));
}

/// Attack 16: repositories without SHA-1.
#[test]
fn sha256_repositories_work() {
    let world = World::with_format("sha256");
    assert_eq!(world.tip().len(), 64);
    let (_daemon, port) = servers::git_daemon(world.root());
    check(&world, &format!("git://127.0.0.1:{port}/fleet/.git"));
    let other = World::with_format("sha256");
    check(&other, &other.repository().display().to_string());
}

#[test]
fn the_next_remote_is_tried() {
    let world = World::new();
    let dead = format!("git://127.0.0.1:{}/x", servers::free_port());
    let note = world.poll(&source(&[&dead, &world.repository().display().to_string()]));
    assert_eq!((note.failures, codes(&note)), (0, vec!["E102"]), "{note:#?}");
    assert_eq!(note.tip, world.tip());
    assert_eq!(note.url, world.repository().display().to_string());

    let note = world.poll(&source(&[&dead, "/nowhere", world.root().to_str().unwrap()]));
    assert_eq!(codes(&note), ["E102", "E102", "E106"], "{note:#?}");
    assert_eq!(codes(&world.poll(&source(&[]))), ["E100"]);
}

#[test]
fn a_daemon_without_the_repository_says_so() {
    let world = World::new();
    let (_daemon, port) = servers::git_daemon(world.root());
    let note = world.poll(&source(&[&format!("git://127.0.0.1:{port}/nothing")]));
    assert_eq!(codes(&note), ["E106"], "{note:#?}");
}

/// Attack 41: a remote that never ends holds up nobody but itself.
#[test]
fn a_remote_that_trickles_meets_the_deadline() {
    let world = World::new();
    let port = servers::accept(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        // A progress message without end.
        while stream.write_all(b"0006\x02.").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let silent = servers::accept(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut source = source(&[
        &format!("git://127.0.0.1:{port}/fleet"),
        &format!("http://127.0.0.1:{silent}/fleet"),
        &world.repository().display().to_string(),
    ]);
    source.deadline = Span::seconds(3);
    let started = Instant::now();
    let note = world.poll(&source);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(codes(&note)[1..], ["E108"], "{note:#?}");
    assert!(["E108", "E110"].contains(&codes(&note)[0]), "{note:#?}");
    assert_eq!(
        (note.failures, note.tip),
        (0, world.tip()),
        "one that hangs does not cost the others their turn"
    );
}

/// Attack 29: more bytes and objects than may come.
#[test]
fn a_pack_over_the_limit_is_stopped() {
    let world = World::new();
    world.write("files/noise", &noise(3 << 20));
    world.commit("large");
    let (_daemon, port) = servers::git_daemon(world.root());
    let limits = Limits { spool_bytes: 1 << 20, ..Limits::default() };
    for url in [format!("git://127.0.0.1:{port}/fleet/.git"), world.repository().display().to_string()] {
        let note = world.poll_within(&source(&[&url]), &limits);
        assert_eq!(codes(&note), ["E109"], "{note:#?}");
        let bytes: u64 = walk(&world.spool());
        assert!(bytes < 2 << 20, "{bytes} bytes stay in the spool");
        let objects = Limits { objects: 3, ..Limits::default() };
        assert_eq!(codes(&world.poll_within(&source(&[&url]), &objects)), ["E109"]);
        let small = Limits { object_bytes: 1 << 20, ..Limits::default() };
        assert_ne!(world.poll_within(&source(&[&url]), &small).failures, 0);
    }
    assert_eq!(good(world.fetched()).tip, world.tip());
}

fn walk(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(
            |entry| if entry.path().is_dir() { walk(&entry.path()) } else { entry.metadata().unwrap().len() },
        )
        .sum()
}

#[test]
fn spool_and_store_stay_small() {
    let world = World::new();
    let (_daemon, port) = servers::git_daemon(world.root());
    let source = source(&[&format!("git://127.0.0.1:{port}/fleet/.git")]);
    let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
    let mut tips = Vec::new();
    for number in 0..30 {
        tips.push(ObjectId::from_hex(world.commit(&format!("commit {number}")).as_bytes()).unwrap());
        good(world.poll(&source));
        store.take(&world.spool()).unwrap();
        assert!(store.refused().is_empty(), "{:?}", store.refused());
    }
    let packs = |folder: &str| std::fs::read_dir(world.root().join(folder)).unwrap().count();
    assert_eq!(packs("spool/packs"), 30);
    good(world.poll(&source));
    assert_eq!(packs("spool/packs"), 1, "a poll without news makes one pack of many");
    assert_eq!(packs("spool/repository/objects/pack"), 2);
    assert_eq!(packs("store/sha1/pack"), 60);
    let tip = *tips.last().unwrap();
    assert!(store.compact(&[tip]).unwrap());
    assert_eq!(packs("store/sha1/pack"), 2);
    for tip in &tips {
        assert!(store.is_whole(*tip) && store.commit(*tip).is_ok());
    }
    assert!(!store.compact(&[tip]).unwrap(), "nothing to do");

    // Both go on as before, and a lost store comes back from the compacted spool.
    let next = world.commit("after");
    assert_eq!(good(world.poll(&source)).tip, next);
    assert_eq!(store.take(&world.spool()).unwrap().unwrap().tip.to_string(), next);
    std::fs::remove_dir_all(world.store()).unwrap();
    let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
    assert_eq!(store.take(&world.spool()).unwrap().unwrap().tip.to_string(), next);
    assert!(store.is_whole(tips[0]));
}

#[test]
fn a_damaged_spool_heals() {
    let world = World::new();
    world.fetched();
    for path in ["repository/HEAD", "repository/objects/pack", "packs", "note.json"] {
        let path = world.spool().join(path);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::write(&path, "garbage").unwrap();
        }
        assert_eq!(world.fetched().tip, world.tip(), "{}", path.display());
        let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
        assert!(store.take(&world.spool()).unwrap().is_some());
    }
}

#[test]
fn two_fetchers_do_not_share_a_spool() {
    let world = World::new();
    world.fetched();
    let lock = std::fs::File::open(world.spool().join("lock")).unwrap();
    lock.lock().unwrap();
    let note = world.poll(&source(&[&world.repository().display().to_string()]));
    assert_eq!(codes(&note), ["E112"], "{note:#?}");
}
