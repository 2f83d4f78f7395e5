//! Tests of files on real file systems, in temporary directories. What needs root says so and is skipped without it.

mod changing;
mod observing;

use std::path::{Path, PathBuf};

use crate::plan::{Attributes, WriteFile};
use crate::resource::{Content, ContentOrigin};
use crate::system::observe::{ByPath, FileType, PathNeed, PathState, Present};

/// Whether we are root; says that the test is skipped if not.
fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A directory that only we write, below one that anybody writes.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A directory on a way that only root can write, so that symlinks in it are trusted.
fn trusted_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("abide-test-").tempdir_in("/var/lib").unwrap()
}

fn write_file(path: &Path, attributes: Attributes) -> WriteFile {
    WriteFile {
        path: path.to_owned(),
        content: Content { sha256: [0; 32], size: 0, origin: ContentOrigin::Inline(Vec::new()) },
        attributes,
        validate: None,
        backup: false,
        force: false,
        in_place: false,
    }
}

fn mode(mode: u32) -> Attributes {
    Attributes { mode: Some(mode), ..Attributes::default() }
}

fn content() -> PathNeed {
    PathNeed { content: true, extended: false }
}

fn extended() -> PathNeed {
    PathNeed { content: false, extended: true }
}

fn present(path: &Path, need: PathNeed) -> Present {
    match super::look(path, need) {
        PathState::Present(present) => *present,
        other => panic!("{}: {other:?}", path.display()),
    }
}

/// Whether a directory holds exactly these names.
fn names(folder: &Path) -> Vec<String> {
    let ignore: [String; 0] = [];
    super::list(folder, &ignore).unwrap().iter().map(|path| path.display().to_string()).collect()
}

fn fifo(path: PathBuf) -> PathBuf {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    path
}

/// Runs a script with a mount namespace of its own and a small tmpfs at a directory; `None` where that is not possible.
fn with_small_disk(at: &Path, script: &str) -> Option<crate::system::exec::Output> {
    let script = format!("mount -t tmpfs -o size=64k none {0} && cd {0} && {script}", at.display());
    let program = crate::system::exec::Program::new(["unshare", "--mount", "sh", "-c", &script]);
    let output = crate::system::exec::run(&program).ok()?;
    if !output.success() && output.complaint().contains("unshare") {
        eprintln!("skipped: {}", output.complaint());
        return None;
    }
    Some(output)
}

#[test]
fn a_file_type_is_told_for_everything() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
    fifo(path("fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for (path, expected) in [
        (path("file"), FileType::File),
        (path("link"), FileType::Symlink),
        (path("fifo"), FileType::Fifo),
        (path("socket"), FileType::Socket),
        (folder.path().to_owned(), FileType::Directory),
        ("/".into(), FileType::Directory),
        ("/dev/null".into(), FileType::CharacterDevice),
    ] {
        assert_eq!(present(&path, content()).file_type, expected, "{}", path.display());
    }
    assert_eq!(present(&path("link"), content()).target, Some("nowhere".into()));
}
