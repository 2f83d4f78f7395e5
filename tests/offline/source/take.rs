//! What the root process takes from a spool that a hostile fetcher may have written.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use abide::config::Limits;
use abide::error::{Explain, Problem};
use abide::source::store::{Repository, Store};
use abide::source::{EntryKind, Note, ObjectError, Objects};
use gix::ObjectId;

use super::git::World;

const NAME: &str = "pack-0123456789012345678901234567890123456789.pack";

fn store(world: &World) -> Store {
    Store::open(&world.store(), &Limits::default()).unwrap()
}

fn mailbox(world: &World, name: &str) -> PathBuf {
    world.spool().join("packs").join(name)
}

fn the_pack(world: &World) -> PathBuf {
    let entry = std::fs::read_dir(world.spool().join("packs")).unwrap().next().unwrap();
    entry.unwrap().path()
}

fn kept(world: &World) -> usize {
    std::fs::read_dir(world.store().join("sha1/pack")).map_or(0, Iterator::count)
}

/// Removes the indexes that `git pack-objects` wrote beside its packs.
fn only_packs(world: &World) {
    for entry in std::fs::read_dir(world.spool().join("packs")).unwrap().flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "pack") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn offer(world: &World, tip: &str) {
    let note = Note { tip: tip.to_owned(), ..Note::default() };
    std::fs::write(world.spool().join("note.json"), serde_json::to_vec(&note).unwrap()).unwrap();
}

/// The codes of everything that was refused by a take that succeeded.
fn refused(world: &World) -> Vec<&'static str> {
    let mut store = store(world);
    let candidate = store.take(&world.spool()).unwrap().unwrap();
    assert_eq!(candidate.tip.to_string(), world.tip());
    store.refused().iter().map(|error| error.code().0).collect()
}

#[test]
fn nothing_is_offered_before_the_first_poll() {
    let world = World::new();
    assert_eq!(store(&world).take(&world.spool()).unwrap_err().code().0, "E121");
    std::fs::create_dir(world.spool()).unwrap();
    assert!(store(&world).take(&world.spool()).unwrap().is_none());
    std::fs::write(world.spool().join("note.json"), serde_json::to_vec(&Note::default()).unwrap()).unwrap();
    assert!(store(&world).take(&world.spool()).unwrap().is_none());
}

#[test]
fn objects_are_read_strictly() {
    let world = World::new();
    world.fetched();
    let mut store = store(&world);
    let tip = store.take(&world.spool()).unwrap().unwrap().tip;
    let tree = ObjectId::from_hex(world.git(&["rev-parse", "HEAD^{tree}"]).as_bytes()).unwrap();
    let repository = Repository::open(&world.repository()).unwrap();
    for objects in [&store as &dyn Objects, &repository] {
        assert!(objects.commit(tip).unwrap().starts_with(b"tree "));
        let entries = objects.tree(tree).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["files", "roles"]);
        let role = &objects.tree(entries[1].id).unwrap()[0];
        assert_eq!((role.name.as_str(), role.kind), ("web.toml", EntryKind::File));
        assert_eq!(objects.blob(role.id).unwrap(), b"first");
        assert!(matches!(objects.blob(tree), Err(ObjectError::Malformed { .. })));
        assert!(matches!(
            objects.commit(ObjectId::null(gix::hash::Kind::Sha1)),
            Err(ObjectError::Missing { .. })
        ));
        assert!(matches!(
            objects.commit(ObjectId::null(gix::hash::Kind::Sha256)),
            Err(ObjectError::Missing { .. })
        ));
    }
    let limits = Limits { object_bytes: 4, ..Limits::default() };
    let small = Store::open(&world.store(), &limits).unwrap();
    assert!(matches!(small.commit(tip), Err(ObjectError::TooLarge { .. })));
}

#[test]
fn repositories_resolve_what_authors_write() {
    let world = World::new();
    let first = world.tip();
    world.git(&["tag", "-a", "-m", "x", "v1"]);
    let second = world.commit("second");
    let repository = Repository::open(&world.repository().join("roles")).unwrap();
    for (revision, expected) in [
        ("HEAD", &second),
        ("main", &second),
        ("refs/heads/main", &second),
        (second.as_str(), &second),
        (&second[..8], &second),
        ("v1", &first),
        ("HEAD~1", &first),
        ("main^", &first),
    ] {
        assert_eq!(&repository.resolve(revision).unwrap().to_string(), expected, "{revision}");
    }
    for revision in ["nothing", "HEAD~2", "", "HEAD:roles", "0000000000000000000000000000000000000000"] {
        assert_eq!(repository.resolve(revision).unwrap_err().code().0, "E130", "{revision}");
    }
    assert_eq!(Repository::open(world.root()).err().unwrap().code().0, "E129");
}

/// Attack 37: links, folders and FIFOs lie among the packs.
#[test]
fn litter_beside_a_good_pack_is_refused_and_named() {
    let world = World::new();
    world.fetched();
    let good = the_pack(&world);
    symlink(&good, mailbox(&world, NAME)).unwrap();
    std::fs::create_dir(mailbox(&world, "pack-1111111111111111111111111111111111111111.pack")).unwrap();
    let fifo = mailbox(&world, "pack-2222222222222222222222222222222222222222.pack");
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    std::fs::write(mailbox(&world, "alternates"), "/etc").unwrap();
    std::fs::create_dir_all(world.spool().join("repository/objects/info")).unwrap();
    std::fs::write(world.spool().join("repository/objects/info/alternates"), "/nowhere\n").unwrap();
    assert_eq!(refused(&world), ["E122"; 4]);
    assert_eq!(kept(&world), 2);
}

/// Attack 29: packs that are cut, flipped or empty.
#[test]
fn damaged_packs_are_refused_and_good_ones_still_taken() {
    let world = World::new();
    world.fetched();
    let good = std::fs::read(the_pack(&world)).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut many = good.clone();
    many[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    let garbage: [(&[u8], &str); 6] = [
        (&good[..good.len() / 2], "E125"),
        (b"", "E125"),
        (b"PACK", "E125"),
        (b"#!/bin/sh\necho hello world\n", "E125"),
        (&flipped, "E125"),
        (&many, "E123"),
    ];
    for (bytes, code) in garbage {
        let _ = std::fs::remove_dir_all(world.store());
        std::fs::write(mailbox(&world, NAME), bytes).unwrap();
        let future = std::fs::File::open(mailbox(&world, NAME)).unwrap();
        future.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(refused(&world), [code], "{} bytes", bytes.len());
        assert_eq!(kept(&world), 2);
    }
}

#[test]
fn a_half_pack_alone_keeps_nothing_and_says_why() {
    let world = World::new();
    world.fetched();
    let pack = the_pack(&world);
    let good = std::fs::read(&pack).unwrap();
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, &good[..good.len() - 30]).unwrap();
    let error = store(&world).take(&world.spool()).unwrap_err();
    let problem = Problem::from(error);
    assert_eq!(problem.code, "E127");
    assert!(problem.why[0].contains("not a sound pack"), "{problem}");
    assert_eq!(kept(&world), 0);
    let left = std::fs::read_dir(world.store().join("sha1")).unwrap().count();
    assert_eq!(left, 1, "only the folder for packs");
    std::fs::write(&pack, &good).unwrap();
    assert_eq!(refused(&world), Vec::<&str>::new());
}

/// Attack 37: a tip is offered without all that belongs to it.
#[test]
fn a_tip_with_a_hole_keeps_nothing() {
    let world = World::new();
    world.fetched();
    let mut store = store(&world);
    let first = store.take(&world.spool()).unwrap().unwrap().tip;
    let before = kept(&world);
    // A pack with the commit and its tree, but not its files.
    world.commit("second");
    let names = format!("{}\n{}\n", world.tip(), world.git(&["rev-parse", "HEAD^{tree}"]));
    std::fs::write(world.root().join("names"), names).unwrap();
    let folder = world.spool().join("packs/pack");
    let script = format!("git pack-objects -q {} < {}/names", folder.display(), world.root().display());
    let made = Command::new("sh").args(["-c", &script]).current_dir(world.repository()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    only_packs(&world);
    offer(&world, &world.tip());
    assert_eq!(store.take(&world.spool()).unwrap_err().code().0, "E127");
    assert_eq!(kept(&world), before);
    assert!(store.is_whole(first) && store.commit(first).is_ok(), "the last good state stays");
    world.fetched();
    assert_eq!(store.take(&world.spool()).unwrap().unwrap().tip.to_string(), world.tip());
}

#[test]
fn a_tip_that_is_no_commit_is_refused() {
    let world = World::new();
    world.fetched();
    offer(&world, &world.git(&["rev-parse", "HEAD^{tree}"]));
    assert_eq!(store(&world).take(&world.spool()).unwrap_err().code().0, "E128");
    assert_eq!(kept(&world), 0);
}

/// Attack 29: more bytes, objects and commits than may be.
#[test]
fn limits_hold() {
    for limits in [
        Limits { spool_bytes: 64, ..Limits::default() },
        Limits { object_bytes: 16, ..Limits::default() },
        Limits { objects: 2, ..Limits::default() },
    ] {
        let world = World::new();
        world.fetched();
        let mut store = Store::open(&world.store(), &limits).unwrap();
        store.take(&world.spool()).unwrap_err();
        let problem = Problem::from(store.take(&world.spool()).unwrap_err());
        assert!(problem.code == "E127" && problem.why[0].contains("more than"), "{problem}");
        assert_eq!(kept(&world), 0);
    }
    let world = World::new();
    world.commit("second");
    world.fetched();
    let mut store = Store::open(&world.store(), &Limits { commits: 1, ..Limits::default() }).unwrap();
    assert_eq!(store.take(&world.spool()).unwrap_err().code().0, "E128");
}

/// Attack 29: deltas on deltas on deltas.
#[test]
fn deltas_are_taken_within_their_depth() {
    let world = World::new();
    let mut text = String::new();
    for line in 0..200 {
        text.push_str(&format!("line {line} of a file that changes a little with every commit\n"));
        if line % 10 == 0 {
            world.write("files/grows", text.as_bytes());
            world.commit(&format!("line {line}"));
        }
    }
    world.fetched();
    std::fs::remove_file(the_pack(&world)).unwrap();
    let script = format!(
        "git rev-list --objects HEAD | git pack-objects -q --depth=50 {}/packs/pack",
        world.spool().display()
    );
    let made = Command::new("sh").args(["-c", &script]).current_dir(world.repository()).output().unwrap();
    assert!(made.status.success());
    only_packs(&world);
    let deep = Limits { delta_depth: 3, ..Limits::default() };
    let problem =
        Problem::from(Store::open(&world.store(), &deep).unwrap().take(&world.spool()).unwrap_err());
    assert!(problem.why[0].contains("chain of deltas"), "{problem}");
    let mut store = store(&world);
    let tip = store.take(&world.spool()).unwrap().unwrap().tip;
    assert!(store.is_whole(tip));
}

/// Attack 37: the note is a link, a FIFO, garbage, or without end.
#[test]
fn a_note_is_read_with_care() {
    let world = World::new();
    world.fetched();
    let note = world.spool().join("note.json");
    for bytes in
        [b"{".to_vec(), b"[]".to_vec(), br#"{"tip":"x"}"#.to_vec(), vec![b' '; 2 << 20], vec![0xff; 9]]
    {
        std::fs::write(&note, bytes).unwrap();
        assert_eq!(store(&world).take(&world.spool()).unwrap_err().code().0, "E126");
    }
    offer(&world, "not hex");
    assert_eq!(store(&world).take(&world.spool()).unwrap_err().code().0, "E126");
    std::fs::remove_file(&note).unwrap();
    symlink("/etc/passwd", &note).unwrap();
    assert_eq!(store(&world).take(&world.spool()).unwrap_err().code().0, "E126");
    std::fs::remove_file(&note).unwrap();
    assert!(Command::new("mkfifo").arg(&note).status().unwrap().success());
    assert_eq!(store(&world).take(&world.spool()).unwrap_err().code().0, "E126");
    // The spool itself may not be a link either.
    symlink(world.spool(), world.root().join("link")).unwrap();
    assert_eq!(store(&world).take(&world.root().join("link")).unwrap_err().code().0, "E121");
}
