//! Observation: the way to a path, hashes, the cache, listings, extended attributes.

use sha2::{Digest, Sha256};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::fingerprint::MARGIN;
use super::super::{Fingerprints, Rehash, list, look, observe};
use super::*;

#[test]
fn a_way_is_followed_only_where_root_alone_can_redirect_it() {
    if !root() {
        return;
    }
    let trusted = trusted_folder();
    let open = folder();
    std::fs::create_dir(trusted.path().join("real")).unwrap();
    std::fs::write(trusted.path().join("real/file"), "x").unwrap();
    std::fs::write(trusted.path().join("plain"), "x").unwrap();
    let at = |path: &str| trusted.path().join(path);
    symlink(at("real"), at("absolute")).unwrap();
    symlink("./real/../real", at("relative")).unwrap();
    symlink("absolute", at("chain")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("turn", at("turn")).unwrap();
    symlink(at("real"), at("foreign")).unwrap();
    std::os::unix::fs::lchown(at("foreign"), Some(65534), None).unwrap();
    symlink(at("real"), open.path().join("link")).unwrap();
    std::fs::create_dir(at("shared")).unwrap();
    symlink(at("real"), at("shared/link")).unwrap();
    std::fs::set_permissions(at("shared"), PermissionsExt::from_mode(0o1777)).unwrap();
    let blocked = |at: PathBuf, reason: &str| PathState::Blocked { at, reason: reason.into() };
    let untrusted = "is a symlink that others than root can change";
    for (path, expected) in [
        (at("absolute/file"), None),
        (at("relative/file"), None),
        (at("chain/file"), None),
        (at("absolute/missing"), Some(PathState::Absent)),
        (at("missing/deep/down"), Some(PathState::Absent)),
        (at("plain/below"), Some(blocked(at("plain"), "is not a directory"))),
        (at("dangling/file"), Some(blocked(at("dangling"), "is a symlink to something that does not exist"))),
        (at("turn/file"), Some(blocked(at("turn"), "is a symlink that leads through too many others"))),
        (at("foreign/file"), Some(blocked(at("foreign"), untrusted))),
        (at("shared/link/file"), Some(blocked(at("shared/link"), untrusted))),
        (open.path().join("link/file"), Some(blocked(open.path().join("link"), untrusted))),
        ("relative".into(), Some(PathState::Unreadable("it is not a plain absolute path".into()))),
    ] {
        let alone = look(&path, content());
        let needs = ByPath::from_iter([(path.clone(), content()), (at("real/file"), content())]);
        let together = observe(&needs, &mut Fingerprints::default(), Rehash::Never).remove(&path).unwrap();
        assert_eq!(alone, together, "{}", path.display());
        match expected {
            Some(expected) => assert_eq!(alone, expected, "{}", path.display()),
            None => assert!(matches!(alone, PathState::Present(_)), "{}: {alone:?}", path.display()),
        }
    }
}

#[test]
fn usr_merged_ways_work() {
    // On every supported distribution one of these goes through a symlink of root's.
    for path in ["/bin/sh", "/var/run", "/lib/systemd"] {
        assert!(!matches!(look(Path::new(path), PathNeed::default()), PathState::Blocked { .. }), "{path}");
    }
}

#[test]
fn hashes_are_those_of_the_bytes() {
    let folder = folder();
    let mut needs = ByPath::default();
    // Around the buffer's size, and enough files for two threads.
    let sizes = [0, 1, 65535, 65536, 65537, 200_000].into_iter().chain(100..400);
    for (number, size) in sizes.enumerate() {
        let path = folder.path().join(format!("d{}", number % 7)).join(format!("f{number}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![number as u8; size]).unwrap();
        needs.insert(path, content());
    }
    let states = observe(&needs, &mut Fingerprints::default(), Rehash::Never);
    assert_eq!(states.len(), needs.len());
    for path in needs.keys() {
        let PathState::Present(state) = &states[path] else { panic!("{}", path.display()) };
        assert_eq!(
            state.sha256,
            Some(Sha256::digest(std::fs::read(path).unwrap()).into()),
            "{}",
            path.display()
        );
    }
}

/// Attack 32: a FIFO in the place of a file holds nobody up.
#[test]
fn a_fifo_blocks_nobody() {
    let folder = folder();
    let path = fifo(folder.path().join("fifo"));
    assert_eq!(present(&path, content()).sha256, None);
    assert!(super::super::read(&path).is_err());
}

/// Sets the modification time into the past. The change time cannot be set, so the margin is tested through the clock's side too.
fn age(path: &Path, age: Duration) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn a_fresh_file_is_not_trusted_to_the_cache() {
    let folder = folder();
    let path = folder.path().join("file");
    std::fs::write(&path, "one").unwrap();
    // Old by its modification time, fresh by its change time.
    age(&path, Duration::from_nanos(2 * MARGIN as u64));
    let needs = ByPath::from_iter([(path.clone(), content())]);
    let mut fingerprints = Fingerprints::default();
    observe(&needs, &mut fingerprints, Rehash::Never);
    assert!(fingerprints.is_empty(), "another write within the clock's tick would go unseen");
}

#[test]
fn a_settled_file_is_hashed_once_and_again_when_anything_changes() {
    // `/etc/passwd`-like: something on this host that has not changed for seconds.
    let path = std::env::current_exe().unwrap();
    let needs = ByPath::from_iter([(path.clone(), content())]);
    let mut fingerprints = Fingerprints::default();
    let first = observe(&needs, &mut fingerprints, Rehash::Never);
    if fingerprints.is_empty() {
        eprintln!("skipped: the test program was built within the last seconds");
        return;
    }
    let folder = folder();
    let cache = folder.path().join("fingerprints");
    fingerprints.save(&cache).unwrap();
    // The cache is what answers: with a forged hash in it, the forgery comes back.
    let mut bytes = std::fs::read(&cache).unwrap();
    let end = bytes.len() - 16;
    bytes[end - 32..end].fill(7);
    let sum = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum[..16]);
    std::fs::write(&cache, bytes).unwrap();
    let mut forged = Fingerprints::load(&cache);
    let hash = |states: &ByPath<PathState>| match &states[&path] {
        PathState::Present(present) => present.sha256,
        _ => None,
    };
    assert_eq!(hash(&observe(&needs, &mut forged, Rehash::Never)), Some([7; 32]));
    assert_eq!(hash(&observe(&needs, &mut forged, Rehash::Always)), hash(&first));
    assert_eq!(
        hash(&observe(&needs, &mut forged, Rehash::Never)),
        hash(&first),
        "rehashing corrected the cache"
    );
}

#[test]
fn listings_are_sorted_bounded_and_follow_nothing() {
    let folder = folder();
    let at = |path: &str| folder.path().join(path);
    for directory in ["b/inner", "keep/inner", "a"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    for file in ["b/inner/file", "b/z", "keep/file", "c"] {
        std::fs::write(at(file), "").unwrap();
    }
    symlink("/etc", at("a/link")).unwrap();
    let found: Vec<String> = list(folder.path(), &["keep".to_owned()])
        .unwrap()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(found, ["a", "a/link", "b", "b/inner", "b/inner/file", "b/z", "c"]);
    assert!(list(&at("missing"), &[]).unwrap().is_empty());
    assert!(list(&at("c"), &[]).is_err());
    if root() {
        // A mount point is neither listed nor entered.
        assert!(!list(Path::new("/"), &listing_ignore()).unwrap().contains(&"proc".into()));
    }
}

/// Everything at the root except `proc`, so that the test does not walk the host.
fn listing_ignore() -> Vec<String> {
    let names =
        std::fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "proc").collect()
}

#[test]
fn mount_points_are_told() {
    for (path, expected) in [("/proc", true), ("/", true), ("/etc", false), ("/etc/passwd", false)] {
        assert_eq!(present(Path::new(path), PathNeed::default()).mount_point, expected, "{path}");
    }
}
