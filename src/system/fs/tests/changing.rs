//! Effects on files: staged writes, directories, symlinks, attributes, removal, backups.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::super::*;
use super::{
    content, extended, fifo, folder, mode, names, present, root, trusted_folder, with_small_disk, write_file,
};
use crate::error::Explain;
use crate::plan::{Attributes, Principal, WriteFile};
use crate::system::accounts::Owners;
use crate::system::observe::FileType;

fn put(write: &WriteFile, bytes: &[u8]) -> Result<(), FsError> {
    stage(write, bytes, &Owners::load(), "test")?.commit()
}

/// The code of the error that is expected.
fn code<T: std::fmt::Debug>(result: Result<T, FsError>) -> &'static str {
    result.unwrap_err().code().0
}

fn owned(uid: u32, gid: u32, mode: u32) -> Attributes {
    Attributes {
        owner: Some(Principal::Id(uid)),
        group: Some(Principal::Id(gid)),
        mode: Some(mode),
        ..Attributes::default()
    }
}

#[test]
fn everything_is_right_before_the_file_has_its_name() {
    if !root() {
        return;
    }
    let folder = folder();
    let path = folder.path().join("file");
    let staged =
        stage(&write_file(&path, owned(1234, 4321, 0o4750)), b"content", &Owners::load(), "test").unwrap();
    assert!(!path.exists());
    let status = std::fs::symlink_metadata(staged.path()).unwrap();
    assert_eq!((status.uid(), status.gid(), status.mode() & 0o7777), (1234, 4321, 0o4750));
    assert_eq!(std::fs::read(staged.path()).unwrap(), b"content");
    sync_all(std::slice::from_ref(&staged)).unwrap();
    staged.commit().unwrap();
    sync_directories(&crate::system::parents([path.as_path()])).unwrap();
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn the_mode_does_not_depend_on_the_umask() {
    // The umask belongs to the whole process: another process has it.
    let folder = folder();
    let program = std::env::current_exe().unwrap();
    let inner = "system::fs::tests::changing::inner_write_with_umask";
    let script = format!("umask 0777; exec {} --exact {inner} --ignored", program.display());
    let mut run = crate::system::exec::Program::new(["sh", "-c", &script]);
    run.environment.insert("ABIDE_TEST_FOLDER".into(), folder.path().display().to_string());
    let output = crate::system::exec::run(&run).unwrap();
    assert!(output.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for (name, expected) in [("file", 0o666), ("directory", 0o777)] {
        let status = std::fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(status.permissions().mode() & 0o7777, expected, "{name}");
    }
}

#[test]
#[ignore = "run by the_mode_does_not_depend_on_the_umask"]
fn inner_write_with_umask() {
    let folder = std::env::var("ABIDE_TEST_FOLDER").unwrap();
    put(&write_file(&Path::new(&folder).join("file"), mode(0o666)), b"").unwrap();
    make_directory(&Path::new(&folder).join("directory"), &mode(0o777), &Owners::load()).unwrap();
}

#[test]
fn what_is_not_declared_stays() {
    if !root() {
        return;
    }
    let folder = folder();
    let path = folder.path().join("file");
    put(&write_file(&path, Attributes::default()), b"one").unwrap();
    let status = present(&path, content());
    assert_eq!((status.uid, status.gid, status.mode), (0, 0, 0o644));
    let mut attributes = owned(1234, 4321, 0o640);
    attributes.xattrs.insert("user.note".into(), "kept".into());
    attributes.acl = Some(vec!["user:7:rw-".into()]);
    put(&write_file(&path, attributes), b"two").unwrap();
    let before = present(&path, extended());
    put(&write_file(&path, Attributes::default()), b"three").unwrap();
    let after = present(&path, extended());
    assert_eq!((after.uid, after.gid, after.mode), (1234, 4321, 0o640));
    assert_eq!(after.extended, before.extended);
    assert_eq!(std::fs::read(&path).unwrap(), b"three");
}

#[test]
fn lists_and_attributes_come_back_as_declared() {
    if !root() {
        return;
    }
    let folder = folder();
    let (file, directory) = (folder.path().join("file"), folder.path().join("directory"));
    let entries =
        |entries: &[&str]| Some(entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>());
    let mut attributes = mode(0o640);
    attributes.acl = entries(&["u:root:rw", "group:55555:r-x", "mask::r"]);
    attributes.xattrs = [("user.a".into(), "text".into()), ("user.b".into(), "0x00ff".into())].into();
    put(&write_file(&file, attributes.clone()), b"").unwrap();
    let state = present(&file, extended());
    let observed = state.extended.unwrap();
    assert_eq!(state.mode, 0o640, "the group's bits, not the mask's");
    assert_eq!(observed.acl, ["group:55555:r-x", "mask::r--", "user:root:rw-"]);
    assert_eq!(observed.xattrs, attributes.xattrs);
    let canonical = canonical_acl(attributes.acl.as_deref().unwrap(), 0o640, &Owners::load()).unwrap();
    assert_eq!(canonical, observed.acl);

    // The mask is not listed when it is what it is by itself; the kernel shows it as the group's bits.
    attributes.acl = entries(&["user:0:rw-"]);
    set_attributes(&file, &attributes, &Owners::load()).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o660);
    let state = present(&file, extended());
    assert_eq!((state.mode, state.extended.unwrap().acl), (0o640, vec!["user:root:rw-".to_owned()]));

    attributes.acl = entries(&[]);
    set_attributes(&file, &attributes, &Owners::load()).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    assert!(present(&file, extended()).extended.unwrap().acl.is_empty());

    let mut attributes = mode(0o750);
    attributes.acl = entries(&["default:user:0:rwx", "d:other::r-x"]);
    make_directory(&directory, &attributes, &Owners::load()).unwrap();
    let state = present(&directory, extended());
    assert_eq!(
        (state.mode, state.extended.unwrap().acl),
        (0o750, vec!["default:other::r-x".to_owned(), "default:user:root:rwx".to_owned()],)
    );
}

#[test]
fn malformed_lists_are_refused() {
    let folder = folder();
    let path = folder.path().join("file");
    for (entry, reason) in [
        ("user:root", "is not"),
        ("user::rw-", "`mode` says"),
        ("user:root:rwz", "permissions other"),
        ("user:root:", "needs permissions"),
        ("somebody:root:r", "starts with none"),
        ("user:nobody-of-this-name:r", "names no user"),
        ("default:user:0:r", "only a directory"),
    ] {
        let attributes = Attributes { acl: Some(vec![entry.into()]), ..Attributes::default() };
        let error = put(&write_file(&path, attributes), b"").unwrap_err();
        assert_eq!(error.code().0, "E464", "{entry}");
        assert!(error.to_string().contains(reason), "{entry}: {error}");
    }
    assert!(names(folder.path()).is_empty(), "a failed stage leaves nothing");
}

/// Attack 32: what is in the place of a file, a FIFO or a second name of another file, is not written to.
#[test]
fn what_is_in_the_way_is_said() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("full")).unwrap();
    std::fs::write(at("full/file"), "").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::write(at("victim"), "victim").unwrap();
    symlink("victim", at("link")).unwrap();
    fifo(at("fifo"));
    std::fs::hard_link(at("victim"), at("second")).unwrap();
    for (name, plain, forced) in [
        ("full", "E452", Some("E456")),
        ("empty", "E452", None),
        ("link", "E452", None),
        ("fifo", "E452", None),
        ("second", "E455", None),
        ("victim/below", "E450", Some("E450")),
        ("missing/below", "E451", Some("E451")),
    ] {
        let mut write = write_file(&at(name), Attributes::default());
        assert_eq!(code(put(&write, b"new")), plain, "{name}");
        write.force = true;
        match forced {
            Some(expected) => assert_eq!(code(put(&write, b"new")), expected, "{name}"),
            None => {
                put(&write, b"new").unwrap();
                assert_eq!(present(&at(name), content()).file_type, FileType::File, "{name}");
            }
        }
    }
    assert_eq!(std::fs::read(at("victim")).unwrap(), b"victim", "nothing was written through a link");
    assert!(!names(folder.path()).iter().any(|name| name.contains(".abide")), "nothing is left behind");
}

/// Attack 32: a hard link made to have a foreign file overwritten.
#[test]
fn in_place_keeps_the_inode_and_never_writes_through_a_second_name() {
    let folder = folder();
    let path = folder.path().join("file");
    std::fs::write(&path, "a longer former content").unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let write = WriteFile { in_place: true, force: true, ..write_file(&path, mode(0o600)) };
    put(&write, b"short").unwrap();
    let status = std::fs::metadata(&path).unwrap();
    assert_eq!((status.ino(), status.mode() & 0o777), (inode, 0o600));
    assert_eq!(std::fs::read(&path).unwrap(), b"short");
    std::fs::hard_link(&path, folder.path().join("second")).unwrap();
    assert_eq!(code(put(&write, b"other")), "E455");
    assert_eq!(names(folder.path()), ["file", "second"]);
}

/// Attack 31: a folder exchanged for a link between staging and commit.
#[test]
fn a_directory_exchanged_for_a_link_gets_nothing() {
    let folder = folder();
    let (inside, elsewhere) = (folder.path().join("inside"), folder.path().join("elsewhere"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    let staged =
        stage(&write_file(&inside.join("file"), Attributes::default()), b"x", &Owners::load(), "test")
            .unwrap();
    std::fs::rename(&inside, folder.path().join("moved")).unwrap();
    symlink(&elsewhere, &inside).unwrap();
    assert_eq!(code(staged.commit()), "E450");
    assert!(names(&elsewhere).is_empty());
}

/// Attack 31: somebody who owns the folder exchanges it for a link to root's folder, 100,000 times, under the applying side's hands.
#[test]
fn a_folder_that_is_swapped_all_the_time_leads_nowhere_else() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (inside, elsewhere, link) = (at("inside"), at("elsewhere"), at("link"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    for name in ["file", "kept"] {
        std::fs::write(elsewhere.join(name), "victim").unwrap();
        std::fs::set_permissions(elsewhere.join(name), std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    symlink(&elsewhere, &link).unwrap();
    let done = AtomicBool::new(false);
    let (mut applied, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100_000 {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &inside, rustix::fs::CWD, &link, exchange)
                    .unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let path = inside.join("file");
        while !done.load(Ordering::Relaxed) {
            let write = WriteFile { force: true, ..write_file(&path, mode(0o600)) };
            let in_place = WriteFile { in_place: true, force: true, ..write_file(&path, mode(0o600)) };
            let owners = Owners::load();
            for result in [
                put(&write, b"new"),
                put(&in_place, b"newer"),
                set_attributes(&path, &mode(0o604), &owners),
                make_symlink(
                    &inside.join("made"),
                    Path::new("x"),
                    &Attributes::default(),
                    true,
                    &owners,
                    "test",
                ),
                remove(&path, false),
            ] {
                *(if result.is_ok() { &mut applied } else { &mut refused }) += 1;
            }
        }
    });
    assert!(applied > 0 && refused > 0, "{applied} applied, {refused} refused");
    assert_eq!(names(&elsewhere), ["file", "kept"], "nothing came and nothing went");
    for name in ["file", "kept"] {
        assert_eq!(std::fs::read(elsewhere.join(name)).unwrap(), b"victim");
        assert_eq!(std::fs::metadata(elsewhere.join(name)).unwrap().mode() & 0o777, 0o640);
    }
}

#[test]
fn a_staged_file_exchanged_by_somebody_is_not_committed() {
    let folder = folder();
    let path = folder.path().join("file");
    let staged = stage(&write_file(&path, Attributes::default()), b"x", &Owners::load(), "test").unwrap();
    let temporary = staged.path().to_owned();
    std::fs::rename(&temporary, folder.path().join("moved")).unwrap();
    std::fs::write(&temporary, "forged").unwrap();
    assert_eq!(code(staged.commit()), "E465");
    assert!(!path.exists());
}

#[test]
fn leftovers_go_by_their_tag() {
    let folder = folder();
    for name in [".abide-run1-0", ".abide-run1-7", ".abide-run2-0", ".abide", "file"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    std::fs::create_dir(folder.path().join(".abide-run1-8")).unwrap();
    let directories = BTreeSet::from([folder.path().to_owned(), folder.path().join("missing")]);
    assert_eq!(clean_temporaries(&directories, "run1").unwrap(), 2);
    assert_eq!(names(folder.path()), [".abide", ".abide-run1-8", ".abide-run2-0", "file"]);
    let staged =
        stage(&write_file(&folder.path().join("new"), Attributes::default()), b"", &Owners::load(), "run3")
            .unwrap();
    staged.abandon();
    assert_eq!(clean_temporaries(&directories, "").unwrap(), 1);
}

#[test]
fn immutable_files_are_changed_only_by_who_declares_it() {
    if !root() {
        return;
    }
    let folder = trusted_folder();
    let path = folder.path().join("file");
    let immutable = |flag| Attributes { immutable: flag, ..Attributes::default() };
    match put(&write_file(&path, immutable(Some(true))), b"one") {
        Err(FsError::Attribute { .. }) => return eprintln!("skipped: the file system has no immutable flag"),
        other => other.unwrap(),
    }
    assert!(present(&path, extended()).extended.unwrap().immutable);
    assert_eq!(code(put(&write_file(&path, immutable(None)), b"two")), "E454");
    assert_eq!(code(set_attributes(&path, &mode(0o600), &Owners::load())), "E454");
    assert_eq!(code(remove(&path, false)), "E454");
    assert_eq!(code(remove(folder.path(), true)), "E454");
    put(&write_file(&path, immutable(Some(true))), b"two").unwrap();
    assert!(present(&path, extended()).extended.unwrap().immutable);
    put(&write_file(&path, immutable(Some(false))), b"three").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"three");
    remove(&path, false).unwrap();
}

#[test]
fn attributes_are_not_set_through_links() {
    if !root() {
        return;
    }
    let folder = folder();
    let (victim, link, second) =
        (folder.path().join("victim"), folder.path().join("link"), folder.path().join("shared/second"));
    std::fs::write(&victim, "").unwrap();
    symlink("victim", &link).unwrap();
    set_attributes(&link, &owned(1234, 1234, 0o777), &Owners::load()).unwrap();
    assert_eq!(std::fs::symlink_metadata(&link).unwrap().uid(), 1234);
    assert_eq!(std::fs::metadata(&victim).unwrap().uid(), 0);
    std::fs::create_dir(folder.path().join("shared")).unwrap();
    std::fs::hard_link(&victim, &second).unwrap();
    std::fs::set_permissions(folder.path().join("shared"), PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(code(set_attributes(&second, &owned(1234, 1234, 0o777), &Owners::load())), "E455");
    let fifo = fifo(folder.path().join("fifo"));
    set_attributes(&fifo, &owned(5, 6, 0o604), &Owners::load()).unwrap();
    let status = present(&fifo, content());
    assert_eq!((status.uid, status.gid, status.mode), (5, 6, 0o604));
}

#[test]
fn unknown_owners_are_named() {
    let folder = folder();
    let attributes =
        Attributes { owner: Some(Principal::Name("nobody-of-this-name".into())), ..Attributes::default() };
    let error = put(&write_file(&folder.path().join("file"), attributes), b"").unwrap_err();
    assert_eq!(error.code().0, "E460");
    assert!(error.to_string().contains("the user `nobody-of-this-name`"));
}

#[test]
fn symlinks_are_made_and_replaced() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let make = |name: &str, target: &str, force: bool| {
        make_symlink(&at(name), Path::new(target), &Attributes::default(), force, &Owners::load(), "test")
    };
    make("link", "one", false).unwrap();
    make("link", "one", false).unwrap();
    make("link", "two", false).unwrap();
    assert_eq!(std::fs::read_link(at("link")).unwrap(), Path::new("two"));
    std::fs::write(at("file"), "").unwrap();
    std::fs::create_dir_all(at("full/inner")).unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    for (name, plain, forced) in
        [("file", "E452", None), ("empty", "E452", None), ("full", "E452", Some("E456"))]
    {
        assert_eq!(code(make(name, "x", false)), plain, "{name}");
        assert_eq!(make(name, "x", true).err().map(|error| error.code().0), forced, "{name}");
    }
    assert_eq!(names(folder.path()), ["empty", "file", "full", "full/inner", "link"]);
}

#[test]
fn directories_are_made_once() {
    let folder = folder();
    let path = folder.path().join("directory");
    for wanted in [0o2750, 0o700] {
        make_directory(&path, &mode(wanted), &Owners::load()).unwrap();
        assert_eq!(present(&path, content()).mode, wanted);
    }
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(code(make_directory(&folder.path().join("file"), &mode(0o755), &Owners::load())), "E452");
    assert_eq!(code(make_directory(&folder.path().join("a/b"), &mode(0o755), &Owners::load())), "E451");
}

#[test]
fn removal_has_its_guards() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("tree/a/b")).unwrap();
    std::fs::write(at("tree/a/file"), "").unwrap();
    std::fs::write(at("outside"), "").unwrap();
    symlink(at("outside"), at("tree/a/link")).unwrap();
    symlink(folder.path(), at("tree/up")).unwrap();
    for (path, recursive, expected) in [
        (Path::new("/"), true, Some("E457")),
        (Path::new("/etc"), true, Some("E457")),
        (Path::new("/usr/lib"), true, Some("E457")),
        (Path::new("/proc/sys"), true, Some("E453")),
        (&at("tree"), false, Some("E456")),
        (&at("tree"), true, None),
        (&at("tree"), true, None),
        (&at("missing/deep"), false, None),
    ] {
        // /proc/sys is no mount point everywhere, and then cannot be removed either.
        if path.starts_with("/proc") && !present(path, content()).mount_point {
            continue;
        }
        assert_eq!(remove(path, recursive).err().map(|error| error.code().0), expected, "{}", path.display());
    }
    assert_eq!(names(folder.path()), ["outside"]);
}

#[test]
fn former_contents_are_kept_within_a_limit() {
    let (folder, store) = (folder(), folder());
    let keep = |backups: &mut Backups, name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        backups.keep(&path).unwrap()
    };
    let mut backups = Backups::open(store.path(), 100).unwrap();
    let first = keep(&mut backups, "a", &[1; 40]).unwrap();
    let second = keep(&mut backups, "b", &[2; 40]).unwrap();
    assert_eq!(backups.read(&first).unwrap().unwrap(), [1; 40]);
    // Both as old as each other; the first is used again, so that the other one is the oldest.
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for name in names(store.path()) {
        let file = std::fs::File::options().write(true).open(store.path().join(name)).unwrap();
        file.set_modified(hour_ago).unwrap();
    }
    assert_eq!(keep(&mut backups, "a", &[1; 40]), Some(first));
    let third = keep(&mut backups, "c", &[3; 40]).unwrap();
    assert_eq!(backups.read(&second).unwrap(), None);
    assert!(backups.read(&first).unwrap().is_some() && backups.read(&third).unwrap().is_some());
    assert_eq!(keep(&mut backups, "large", &[4; 101]), None);
    assert_eq!(backups.keep(&folder.path().join("missing")).unwrap(), None);
    let kept = names(store.path());
    assert_eq!(std::fs::metadata(store.path().join(&kept[0])).unwrap().mode() & 0o777, 0o600);
    std::fs::write(store.path().join(&kept[0]), "damaged").unwrap();
    let results = [backups.read(&first), backups.read(&third)];
    assert_eq!(
        results.into_iter().filter_map(Result::err).map(|error| error.code().0).collect::<Vec<_>>(),
        ["E466"]
    );
}

#[test]
fn a_batch_is_durable_whatever_its_size() {
    let folder = folder();
    for count in [1, 40] {
        let staged: Vec<Staged> = (0..count)
            .map(|number| {
                let path = folder.path().join(format!("file-{number}"));
                stage(&write_file(&path, mode(0o644)), b"x", &Owners::load(), "test").unwrap()
            })
            .collect();
        sync_all(&staged).unwrap();
        staged.into_iter().for_each(|staged| staged.commit().unwrap());
    }
    sync_directories(&BTreeSet::from([folder.path().to_owned(), folder.path().join("gone")])).unwrap();
    assert_eq!(names(folder.path()).len(), 40);
    let vanished =
        stage(&write_file(&folder.path().join("v"), mode(0o644)), b"", &Owners::load(), "test").unwrap();
    std::fs::remove_file(vanished.path()).unwrap();
    assert!(sync_all(&[vanished]).is_err(), "what cannot be synced is not durable");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    if !root() {
        return;
    }
    let folder = folder();
    let program = std::env::current_exe().unwrap();
    let inner = "system::fs::tests::changing::inner_full_disk";
    let script = format!(
        "ABIDE_TEST_FOLDER={} {} --exact {inner} --ignored",
        folder.path().display(),
        program.display()
    );
    if let Some(output) = with_small_disk(folder.path(), &script) {
        assert!(output.success(), "{} {}", String::from_utf8_lossy(&output.stdout), output.complaint());
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}

#[test]
#[ignore = "run by a_full_disk_leaves_the_old_file on a disk of 64 KiB"]
fn inner_full_disk() {
    let folder = std::env::var("ABIDE_TEST_FOLDER").unwrap();
    let path = Path::new(&folder).join("file");
    put(&write_file(&path, mode(0o644)), b"old").unwrap();
    assert_eq!(code(put(&write_file(&path, mode(0o644)), &vec![1; 200 << 10])), "E458");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(names(Path::new(&folder)), ["file"]);
    // The disk itself is a mount point.
    assert_eq!(code(remove(Path::new(&folder), true)), "E453");
}
