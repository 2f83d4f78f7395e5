//! Hostile remotes and hostile spools: what they say, and what nobody believes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use abide::config::{Limits, Span};
use abide::error::{Explain, Problem};
use abide::source::store::{Repository, Store};
use abide::source::{ObjectError, Objects};
use abide::trust::judge;
use gix::ObjectId;
use gix::hash::Kind;

use super::git::{World, codes, good, source};
use super::https::{Authority, tls};
use super::servers::{self, Hostile, Web};
use crate::trust::lab::{Lab, NOW};

fn store(world: &World) -> Store {
    Store::open(&world.store(), &Limits::default()).unwrap()
}

/// The code of a take that fails.
fn refusal(world: &World) -> String {
    Problem::from(store(world).take(&world.spool()).unwrap_err()).code
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).unwrap()
}

/// Attack 16: two messages with one SHA-1 (shambles/README.md).
#[test]
fn a_sha1_collision_is_detected() {
    let (one, other) = (include_bytes!("shambles/1.bin"), include_bytes!("shambles/2.bin"));
    assert_ne!(one, other);
    let world = World::new();
    for (name, bytes) in [("files/one", one), ("files/other", other)] {
        world.write(name, bytes);
        let sum = Command::new("sha1sum").arg(world.repository().join(name)).output().unwrap();
        assert!(sum.stdout.starts_with(b"8ac60ba76f1999a1ab70223f225aefdc78d4ddc0"), "they do collide");
        // Every name of an object and every checksum of a pack is computed with this.
        let mut hasher = gix::hash::hasher(Kind::Sha1);
        hasher.update(bytes);
        let error = hasher.try_finalize().unwrap_err();
        assert!(error.to_string().contains("collision"), "{error}");
    }
    // Inside of Git's framing these two differ: both arrive, each under its own name.
    world.commit("both");
    world.fetched();
    let mut store = store(&world);
    store.take(&world.spool()).unwrap();
    let blob =
        |name: &str| store.blob(id(&world.git(&["rev-parse", &format!("HEAD:files/{name}")]))).unwrap();
    assert_eq!((blob("one"), blob("other")), (one.to_vec(), other.to_vec()));
}

/// Attack 16: SHA-256 all the way, from a server over TLS to a verdict.
#[test]
fn a_sha256_fleet_is_fetched_over_https_taken_and_proven() {
    let lab = Lab::with("sha256", "5a1c");
    let world = World::new();
    let authority = Authority::new();
    let web = Arc::new(Web::new(lab.path().parent().unwrap()));
    let name = lab.path().file_name().unwrap().to_str().unwrap().to_owned();
    let port = tls(&web, &authority, false);
    let mut source = source(&[&format!("https://localhost:{port}/{name}/.git")]);
    source.ca_file = Some(authority.file(world.root()));
    let mut store = store(&world);
    for bad in [false, true] {
        if bad {
            lab.unsigned("Nobody signed this");
        }
        good(world.poll(&source));
        let candidate = store.take(&world.spool()).unwrap().unwrap();
        assert_eq!(candidate.tip, lab.head());
        assert_eq!(candidate.tip.kind(), Kind::Sha256);
        let judgement = judge(&store, &lab.root, None, &candidate, NOW).unwrap();
        assert_eq!(judgement.rejection.map(|rejection| rejection.code().0), bad.then_some("E010"));
        assert_eq!(judgement.high_water.commit, lab.mark.commit);
    }
}

/// Attack 25: names that lead elsewhere, and modes that Git does not have.
#[test]
fn hostile_names_and_modes_are_not_readable() {
    let world = World::new();
    let blob = id(&world.git(&["rev-parse", "HEAD:roles/web.toml"]));
    let long = "x".repeat(5000);
    let odd: [(&str, &[u8]); 13] = [
        ("100644", b".."),
        ("100644", b"."),
        ("40000", b".git"),
        ("40000", b".GIT"),
        ("40000", b"git~1"),
        ("40000", "\u{200c}.git".as_bytes()),
        ("100644", b"a/../../etc/passwd"),
        ("100644", b"/etc/passwd"),
        ("100644", b"a\nb"),
        ("100644", b"\xff\xfe"),
        ("100644", long.as_bytes()),
        ("104755", b"setuid"),
        ("60000", b"device"),
    ];
    for (mode, name) in odd {
        let tree = [mode.as_bytes(), b" ", name, b"\0", blob.as_slice()].concat();
        let file = world.root().join("tree");
        std::fs::write(&file, tree).unwrap();
        let tree = world.git(&["hash-object", "-w", "-t", "tree", "--literally", file.to_str().unwrap()]);
        let commit = world.git(&["commit-tree", "-p", "HEAD", "-m", "x", &tree]);
        world.git(&["update-ref", "refs/heads/main", &commit]);
        let shown = String::from_utf8_lossy(name).into_owned();
        good(world.poll(&source(&[&world.repository().display().to_string()])));
        let mut store = store(&world);
        let candidate = store.take(&world.spool()).unwrap().unwrap();
        assert_eq!(candidate.tip.to_string(), commit);
        let error = store.tree(id(&tree)).unwrap_err();
        assert!(matches!(error, ObjectError::Malformed { .. }), "{mode} {shown}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
}

/// Fetches a branch with this entry by somebody who may write there, and returns why it is refused.
fn verdict(mode: &str, content: &str) -> &'static str {
    let lab = Lab::new();
    let object = if mode == "160000" {
        lab.mark.commit.clone()
    } else {
        lab.object("blob", content.as_bytes()).to_string()
    };
    lab.git(&["update-index", "--add", "--cacheinfo", &format!("{mode},{object},roles/base/entry")]);
    lab.commit_index(&[], "alice", "Add an entry");
    let world = World::new();
    good(world.poll(&source(&[&lab.path().display().to_string()])));
    let mut store = store(&world);
    let candidate = store.take(&world.spool()).unwrap().unwrap();
    assert_eq!(candidate.tip, lab.head());
    let judgement = judge(&store, &lab.root, None, &candidate, NOW).unwrap();
    assert_eq!(judgement.high_water, lab.mark, "the mark stays");
    judgement.rejection.unwrap().code().0
}

/// Attack 26: symlinks that lead out of the tree.
#[test]
fn symlinks_that_leave_the_tree_are_refused() {
    for target in ["/etc/shadow", "../../../etc/shadow", "../../../../x", ""] {
        assert_eq!(verdict("120000", target), "E023", "{target}");
    }
}

/// Attack 27: a submodule, which would bring what nobody signed.
#[test]
fn submodules_are_refused() {
    assert_eq!(verdict("160000", ""), "E022");
}

/// Attack 28: somebody would rather have other objects in the place of the signed ones.
#[test]
fn replace_refs_and_grafts_change_nothing() {
    let world = World::new();
    let first = world.tip();
    let tip = world.commit("second");
    let honest = world.git(&["--no-replace-objects", "cat-file", "commit", &tip]);
    // Another tree in the place of the tip's, another file in the place of a file.
    std::fs::write(world.root().join("tree"), "").unwrap();
    let empty = world.mktree(&world.root().join("tree"));
    let evil = world.git(&["commit-tree", "-m", "evil", &empty]);
    world.git(&["replace", &tip, &evil]);
    std::fs::write(world.root().join("blob"), "evil").unwrap();
    let evil_blob = world.git(&["hash-object", "-w", world.root().join("blob").to_str().unwrap()]);
    let blob = world.git(&["--no-replace-objects", "rev-parse", &format!("{tip}:roles/web.toml")]);
    world.git(&["replace", &blob, &evil_blob]);
    assert!(world.git(&["cat-file", "commit", &tip]).contains("evil"), "Git itself falls for it");
    let (_daemon, port) = servers::git_daemon(world.root());
    for url in [world.repository().display().to_string(), format!("git://127.0.0.1:{port}/fleet/.git")] {
        let _ = std::fs::remove_dir_all(world.spool());
        let _ = std::fs::remove_dir_all(world.store());
        good(world.poll(&source(&[&url])));
        let mut store = store(&world);
        let candidate = store.take(&world.spool()).unwrap().unwrap();
        assert!(store.is_whole(id(&first)));
        let repository = Repository::open(&world.repository()).unwrap();
        for objects in [&store as &dyn Objects, &repository] {
            let commit = objects.commit(candidate.tip).unwrap();
            assert_eq!(String::from_utf8(commit).unwrap().trim_end(), honest);
            assert_eq!(objects.blob(id(&blob)).unwrap(), b"second");
        }
    }
    // A graft makes a server leave out the history; from a folder it is not even read.
    std::fs::create_dir_all(world.repository().join(".git/info")).unwrap();
    std::fs::write(world.repository().join(".git/info/grafts"), format!("{tip}\n")).unwrap();
    for (url, whole) in [
        (world.repository().display().to_string(), true),
        (format!("git://127.0.0.1:{port}/fleet/.git"), false),
    ] {
        let _ = std::fs::remove_dir_all(world.spool());
        let _ = std::fs::remove_dir_all(world.store());
        let note = world.poll(&source(&[&url]));
        match store(&world).take(&world.spool()) {
            Ok(Some(candidate)) => assert!(whole && store(&world).is_whole(candidate.tip), "{note:#?}"),
            Ok(None) => assert!(!whole && note.failures == 1, "{note:#?}"),
            Err(error) => assert!(!whole && error.code().0 == "E127", "{error}"),
        }
    }
}

/// Attack 28: a remote that knows only a part of its history.
#[test]
fn a_shallow_remote_is_refused() {
    let world = World::new();
    world.commit("second");
    let shallow = world.root().join("shallow");
    let url = format!("file://{}", world.repository().display());
    world.git(&["clone", "-q", "--bare", "--depth=1", &url, shallow.to_str().unwrap()]);
    assert!(shallow.join("shallow").exists());
    let (_daemon, port) = servers::git_daemon(world.root());
    for url in [shallow.display().to_string(), format!("git://127.0.0.1:{port}/shallow")] {
        let note = world.poll(&source(&[&url]));
        assert_eq!((codes(&note), note.tip.as_str()), (vec!["E110"], ""), "{note:#?}");
        assert!(!world.spool().join("repository/shallow").exists());
    }
    assert!(store(&world).take(&world.spool()).unwrap().is_none());
}

/// Attack 28: alternates, in the remote and in the spool, lead to objects elsewhere.
#[test]
fn alternates_lead_nowhere() {
    let world = World::new();
    let elsewhere = World::new();
    let secret = elsewhere.commit("secret");
    let alternates = elsewhere.repository().join(".git/objects").display().to_string() + "\n";
    world.fetched();
    for folder in ["spool/repository/objects/info", "fleet/.git/objects/info"] {
        std::fs::create_dir_all(world.root().join(folder)).unwrap();
        std::fs::write(world.root().join(folder).join("alternates"), &alternates).unwrap();
    }
    // Where the kernel confines the fetcher, it cannot even look there.
    let note = world.poll(&source(&[&world.repository().display().to_string()]));
    assert!(note.failures == 0 || codes(&note) == ["E106"], "{note:#?}");
    assert_eq!(note.tip, world.tip());
    assert!(!world.spool().join("repository/objects/info").exists(), "those of the spool are removed");
    // The fetcher offers what its alternates have: the root process does not find it.
    let note = abide::source::Note { tip: secret.clone(), ..Default::default() };
    std::fs::write(world.spool().join("note.json"), serde_json::to_vec(&note).unwrap()).unwrap();
    assert_eq!(refusal(&world), "E127");
    assert!(matches!(store(&world).commit(id(&secret)), Err(ObjectError::Missing { .. })));
}

/// Attack 43: configuration and hooks, in the remote and in the spool, would have programs run.
#[test]
fn no_configuration_and_no_hook_runs_a_program() {
    let world = World::new();
    let canary = world.root().join("canary");
    let evil = world.root().join("evil");
    std::fs::write(&evil, format!("#!/bin/sh\ntouch {}\n", canary.display())).unwrap();
    std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let configuration = format!(
        "[core]\n fsmonitor = {0}\n sshCommand = {0}\n hooksPath = {1}\n gitProxy = {0}\n pager = {0}\n\
         [uploadpack]\n packObjectsHook = {0}\n[credential]\n helper = !{0}\n[include]\n path = {1}/more\n\
         [url \"ext::{0} \"]\n insteadOf = git://\n[protocol \"ext\"]\n allow = always\n\
         [remote \"origin\"]\n uploadpack = {0}\n[filter \"x\"]\n smudge = {0}\n process = {0}\n",
        evil.display(),
        world.root().display()
    );
    world.fetched();
    let folders = [world.repository().join(".git"), world.spool().join("repository")];
    for folder in &folders {
        let mut config = std::fs::read_to_string(folder.join("config")).unwrap();
        config.push_str(&configuration);
        std::fs::write(folder.join("config"), config).unwrap();
        std::fs::create_dir_all(folder.join("hooks")).unwrap();
        for hook in [
            "reference-transaction",
            "post-checkout",
            "update",
            "post-update",
            "pre-auto-gc",
            "fsmonitor-watchman",
        ] {
            std::fs::copy(&evil, folder.join("hooks").join(hook)).unwrap();
        }
    }
    // A server runs its own hooks; this one has none.
    let served = world.root().join("served");
    let clean = ["-c", "core.fsmonitor=", "-c", "core.hooksPath=/nowhere"];
    Command::new("cp").arg("-r").args([world.repository().join(".git"), served.clone()]).status().unwrap();
    std::fs::remove_dir_all(served.join("hooks")).unwrap();
    std::fs::write(served.join("config"), "[core]\n bare = true\n repositoryformatversion = 0\n").unwrap();
    let (_daemon, port) = servers::git_daemon(world.root());
    for url in [world.repository().display().to_string(), format!("git://127.0.0.1:{port}/served")] {
        std::fs::write(world.root().join("tree"), "").unwrap();
        let made: Vec<&str> = clean
            .iter()
            .copied()
            .chain([
                "--git-dir",
                served.to_str().unwrap(),
                "commit-tree",
                "-p",
                "HEAD",
                "-m",
                &url,
                "HEAD^{tree}",
            ])
            .collect();
        let commit = world.git(&made);
        world.git(
            &[&clean[..], &["--git-dir", served.to_str().unwrap(), "update-ref", "HEAD", &commit]].concat(),
        );
        let _ = std::fs::remove_file(&canary);
        let note = world.poll(&source(&[&url]));
        assert_eq!(note.failures, 0, "{note:#?}");
        store(&world).take(&world.spool()).unwrap();
        assert!(!canary.exists(), "{url}: a program ran");
    }
}

/// Attack 43: addresses that would have programs run.
#[test]
fn addresses_that_run_programs_are_refused() {
    let world = World::new();
    let canary = world.root().join("canary");
    let touch = format!("touch {}", canary.display());
    let spaced = touch.replace(' ', "${IFS}");
    for url in [
        format!("ext::sh -c \"{touch}\""),
        format!("ext::{touch}"),
        format!("fd::17/{touch}"),
        format!("ssh://-oProxyCommand={spaced}/x"),
        format!("ssh://-oProxyCommand={spaced}@localhost/x"),
        format!("ssh://x@-oProxyCommand={spaced}/x"),
        format!("-oProxyCommand={spaced}:x"),
        format!("x@-oProxyCommand={spaced}:x"),
        format!("--upload-pack={touch}"),
        format!("file://--upload-pack={touch}"),
        format!("ssh://localhost:1/$({touch})"),
        format!("ssh://localhost:1/x;{touch}"),
        format!("git://localhost:1/x\n{touch}"),
        format!("http::{touch}"),
        format!("javascript:{touch}"),
    ] {
        let mut source = source(&[&url]);
        source.timeout = Span::seconds(2);
        let note = world.poll(&source);
        assert_eq!(note.failures, 1, "{url}: {note:#?}");
        assert!(!canary.exists(), "{url}");
        let code = note.problems[0].code.as_str();
        assert!(["E101", "E102", "E105", "E110"].contains(&code), "{url}: {note:#?}");
        std::fs::remove_dir_all(world.spool()).unwrap();
    }
}

/// Attack 43: a listing that is endless, odd, or about something else.
#[test]
fn hostile_listings_are_bounded() {
    let world = World::new();
    let hex = "7".repeat(40);
    let many: String =
        (0..50_000).map(|n| format!("{hex} refs/tags/abide/approve/{n} peeled:{hex}\n")).collect();
    let far: String = (0..400_000).map(|n| format!("{hex} refs/heads/main-{n}\n")).collect();
    let long = format!("{hex} refs/heads/{}\n", "x".repeat(60_000));
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("nothing", vec![], &["E107"]),
        ("other branches", format!("{hex} refs/heads/main2\n{hex} refs/heads/mai\n").into(), &["E107"]),
        (
            "an unborn branch",
            b"unborn refs/heads/main symref-target:refs/heads/other\n".to_vec(),
            &["E107", "E110"],
        ),
        (
            "a name in another alphabet",
            [b"7".repeat(40).as_slice(), b" refs/heads/\xff\xfe\n"].concat(),
            &["E107"],
        ),
        ("a long name", long.into(), &["E107"]),
        ("no object", b"main refs/heads/main\n".to_vec(), &["E110"]),
        ("a line without a name", format!("{hex}\n").into(), &["E110"]),
        (
            "more refs than are read, the branch last",
            format!("{far}{hex} refs/heads/main\n").into(),
            &["E109", "E110"],
        ),
        ("a branch that is never sent", format!("{hex} refs/heads/main\n").into(), &["E110"]),
        (
            "a branch that is another's name",
            format!("{hex} refs/heads/main symref-target:refs/heads/x\n").into(),
            &["E110"],
        ),
        ("thousands of approvals of nothing", format!("{hex} refs/heads/main\n{many}").into(), &["E110"]),
    ];
    for (what, listing, expected) in cases {
        let server = Hostile::saying(&listing, Vec::new());
        let url = server.start();
        let started = Instant::now();
        let note = world.poll(&source(&[&url]));
        assert_eq!((note.failures, note.tip.as_str()), (1, ""), "{what}: {note:#?}");
        assert!(expected.contains(&note.problems[0].code.as_str()), "{what}: {note:#?}");
        assert!(started.elapsed() < Duration::from_secs(9), "{what}: {:?}", started.elapsed());
        let down = server.down.load(Ordering::Relaxed);
        assert!(down < 40 << 20, "{what}: {down} bytes");
        std::fs::remove_dir_all(world.spool()).unwrap();
    }
    // Without an end, over the protocol without HTTP.
    let port = servers::accept(|mut stream| {
        use std::io::{Read, Write};
        let _ = stream.read(&mut [0; 1024]);
        let capabilities = "000eversion 2\n000cls-refs\n0012fetch=shallow\n0000";
        let _ = stream.write_all(capabilities.as_bytes());
        let _ = stream.read(&mut [0; 1024]);
        let line = format!("003f{} refs/heads/main-x\n", "7".repeat(40));
        let lines = line.repeat(1000);
        while stream.write_all(lines.as_bytes()).is_ok() {}
    });
    let started = Instant::now();
    let note = world.poll(&source(&[&format!("git://127.0.0.1:{port}/fleet")]));
    assert!(note.failures == 1 && ["E109", "E110"].contains(&codes(&note)[0]), "{note:#?}");
    assert!(note.problems[0].what.contains("says more than"), "{note:#?}");
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

/// Attack 41: a remote whose branch never arrives is asked a few questions a poll, and ever less often.
#[test]
fn a_poll_that_fails_asks_little() {
    let world = World::new();
    let server = Hostile::new(&"7".repeat(40));
    let source = source(&[&server.start()]);
    for failures in 1..4 {
        server.requests.lock().unwrap().clear();
        let note = world.poll(&source);
        assert_eq!((note.failures, codes(&note)), (failures, vec!["E110"]), "{note:#?}");
        let asked = server.requests.lock().unwrap().len();
        assert!(asked <= 4, "{asked} requests");
        let minute = Duration::from_secs(60);
        let wait = |count| abide::source::backoff::delay(minute, minute / 6, 30 * minute, b"x", count);
        assert!(wait(note.failures) > wait(note.failures - 1) + minute / 2);
    }
}

/// Attack 14: what hangs beside the branch does not keep the branch from arriving.
#[test]
fn a_heartbeat_that_hangs_does_not_hold_the_branch_back() {
    let world = World::new();
    let beat = world.beat("1");
    let web = Arc::new(Web { hangs_on: Some(beat), ..Web::new(world.root()) });
    let mut source = source(&[&format!("http://127.0.0.1:{}/fleet/.git", servers::http(&web))]);
    source.deadline = Span::seconds(4);
    let started = Instant::now();
    let note = world.poll(&source);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!((note.failures, note.tip.as_str()), (0, world.tip().as_str()), "{note:#?}");
    assert_eq!((codes(&note), note.heartbeat.as_str()), (vec!["E108"], ""), "{note:#?}");
    assert_eq!(store(&world).take(&world.spool()).unwrap().unwrap().tip.to_string(), world.tip());
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Attack 37: a fetcher that was taken over leaves links, FIFOs, sockets, folders and files without end.
#[test]
fn a_spool_full_of_traps_is_refused_in_no_time() {
    let world = World::new();
    world.fetched();
    let packs = world.spool().join("packs");
    let name = |digit: char| packs.join(format!("pack-{}.pack", digit.to_string().repeat(40)));
    // Sparse: a terabyte that takes no room.
    std::fs::File::create(name('a')).unwrap().set_len(1 << 40).unwrap();
    fifo(&name('b'));
    std::os::unix::fs::symlink("/dev/zero", name('c')).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(name('d')).unwrap();
    std::fs::create_dir(name('e')).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", packs.join("note")).unwrap();
    let started = Instant::now();
    let mut first = store(&world);
    let candidate = first.take(&world.spool()).unwrap().unwrap();
    assert_eq!(candidate.tip.to_string(), world.tip());
    let mut refused: Vec<_> = first.refused().iter().map(|error| error.code().0).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["E122", "E122", "E122", "E122", "E122", "E123"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // More entries than anybody reads.
    for number in 0..2000 {
        std::fs::write(packs.join(format!("pack-{number:040x}.pack")), b"PACK").unwrap();
    }
    let mut again = Store::open(&world.root().join("other"), &Limits::default()).unwrap();
    let outcome = again.take(&world.spool());
    assert!(again.refused().len() <= 260, "{}", again.refused().len());
    assert!(outcome.is_err_and(|error| error.code().0 == "E127") || again.is_whole(candidate.tip));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // The mailbox itself is a way out.
    std::fs::remove_dir_all(&packs).unwrap();
    std::os::unix::fs::symlink("/etc", &packs).unwrap();
    std::fs::remove_dir_all(world.store()).unwrap();
    assert_eq!(refusal(&world), "E121");
    std::fs::remove_file(&packs).unwrap();
    fifo(&packs);
    assert_eq!(refusal(&world), "E121");
    std::fs::remove_dir_all(world.spool()).unwrap();
    fifo(&world.spool());
    assert_eq!(refusal(&world), "E121");
}

/// Attack 37: a fetcher that was taken over names another tip than the branch has.
#[test]
fn a_note_that_lies_about_the_tip_offers_what_is_there_and_nothing_else() {
    let world = World::new();
    let first = world.tip();
    world.commit("second");
    world.fetched();
    let offer = |tip: &str| {
        let note = abide::source::Note { tip: tip.to_owned(), ..Default::default() };
        std::fs::write(world.spool().join("note.json"), serde_json::to_vec(&note).unwrap()).unwrap();
        let _ = std::fs::remove_dir_all(world.store());
    };
    let tree = world.git(&["rev-parse", "HEAD^{tree}"]);
    let blob = world.git(&["rev-parse", "HEAD:roles/web.toml"]);
    for (tip, code) in [
        ("7".repeat(40).as_str(), "E127"),
        ("7".repeat(64).as_str(), "E127"),
        (&tree, "E128"),
        (&blob, "E128"),
        (&first[..39], "E126"),
        ("../../../etc/passwd", "E126"),
        ("\u{1b}]0;x\u{7}", "E126"),
        (&"7".repeat(5000), "E126"),
    ] {
        offer(tip);
        assert_eq!(refusal(&world), code, "{tip:.80}");
    }
    // An older commit is offered as what it is; that it is a step back is for the trust stage to say.
    offer(&first);
    assert_eq!(store(&world).take(&world.spool()).unwrap().unwrap().tip.to_string(), first);
}
