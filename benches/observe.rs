//! What observation and durable writes cost, as ratios to the least possible work, from one run in a fresh directory.
//!
//! `cargo bench --bench observe -- [files [files per directory]]`. Each figure is the least of several rounds. Run as root on a quiet machine.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench makes its own files, reads the clock and may fail"
)]

use abide::plan::{Attributes, WriteFile};
use abide::resource::{Content, ContentOrigin};
use abide::system::accounts::Owners;
use abide::system::fs::{self, Fingerprints, Rehash, Staged};
use abide::system::observe::{Needs, PathNeed};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROUNDS: usize = 31;
const WRITE_ROUNDS: usize = 5;
/// Longer than the margin of the fingerprint cache, so that the files count as settled.
const SETTLE: Duration = Duration::from_millis(2600);

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let files = numbers.first().copied().unwrap_or(1000);
    let in_each = numbers.get(1).copied().unwrap_or(50).max(1);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let paths = generate(folder.path(), files, in_each);
    println!("{files} files, {in_each} in each directory");
    std::thread::sleep(SETTLE);
    observation(folder.path(), &paths);
    durability(folder.path(), &paths);
}

/// Files of 200 to 4,000 bytes, as configuration files are, three directories down.
fn generate(folder: &Path, files: usize, in_each: usize) -> Vec<PathBuf> {
    let mut paths = Vec::with_capacity(files);
    for number in 0..files {
        let directory = folder.join("etc/service").join(format!("part-{}", number / in_each));
        if number % in_each == 0 {
            std::fs::create_dir_all(&directory).expect("a directory");
        }
        let path = directory.join(format!("file-{number}.conf"));
        std::fs::write(&path, content(number)).expect("a file");
        paths.push(path);
    }
    paths
}

fn content(number: usize) -> Vec<u8> {
    format!("setting {number} = value\n")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(200 + number * 37 % 3800)
        .collect()
}

fn observation(folder: &Path, paths: &[PathBuf]) {
    let mut needs = Needs::default();
    for path in paths {
        needs.path(path, PathNeed { content: true, extended: false });
    }
    let cache = folder.join("fingerprints");
    let lstat = least(ROUNDS, || {
        for path in paths {
            black_box(std::fs::symlink_metadata(path).expect("a file"));
        }
    });
    let hash = least(ROUNDS, || {
        for path in paths {
            black_box(Sha256::digest(std::fs::read(path).expect("a file")));
        }
    });
    let whole = least(ROUNDS, || {
        let mut fingerprints = Fingerprints::default();
        black_box(fs::observe(&needs.paths, &mut fingerprints, Rehash::Always));
    });
    let mut fingerprints = Fingerprints::default();
    fs::observe(&needs.paths, &mut fingerprints, Rehash::Never);
    assert_eq!(fingerprints.len(), paths.len(), "every file is settled and known");
    fingerprints.save(&cache).expect("the cache is written");
    let load = least(ROUNDS, || {
        black_box(Fingerprints::load(&cache));
    });
    let cached = least(ROUNDS, || {
        black_box(fs::observe(&needs.paths, &mut fingerprints, Rehash::Never));
    });
    row("lstat each path", lstat, None);
    row("open, read, SHA-256 each", hash, None);
    row("observe, hashing all", whole, Some(("of open+read+SHA-256", hash)));
    row("observe, all in the cache", cached, Some(("of lstat", lstat)));
    row("load the cache", load, Some(("of lstat", lstat)));
}

fn durability(folder: &Path, paths: &[PathBuf]) {
    let owners = Owners::load();
    let directories: BTreeSet<PathBuf> =
        paths.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
    let writes: Vec<(WriteFile, Vec<u8>)> =
        paths.iter().enumerate().map(|(number, path)| write(path, number)).collect();
    let plain = least(WRITE_ROUNDS, || {
        for (write, bytes) in &writes {
            let temporary = folder.join("etc/temporary");
            std::fs::write(&temporary, bytes).expect("a file");
            std::fs::rename(&temporary, &write.path).expect("a rename");
        }
    });
    row("write and rename each, not synced", plain, None);
    for (name, threads) in [("fsync of each staged file", 1), ("the same by two threads", 2)] {
        let took = (0..WRITE_ROUNDS).map(|_| sync_each(&writes, &owners, threads)).min().unwrap_or_default();
        row(name, took, Some(("of write+rename", plain)));
    }
    let mut best: Option<[Duration; 4]> = None;
    for _ in 0..WRITE_ROUNDS {
        let mut marks = [Duration::ZERO; 4];
        let mut begun = Instant::now();
        let mut mark = |index: usize| {
            marks[index] = begun.elapsed();
            begun = Instant::now();
        };
        let staged: Vec<Staged> = writes
            .iter()
            .map(|(write, bytes)| fs::stage(write, bytes, &owners, "bench").expect("staged"))
            .collect();
        mark(0);
        fs::sync_all(&staged).expect("synced");
        mark(1);
        for staged in staged {
            staged.commit().expect("committed");
        }
        mark(2);
        fs::sync_directories(&directories).expect("synced");
        mark(3);
        if best.is_none_or(|best| marks.iter().sum::<Duration>() < best.iter().sum()) {
            best = Some(marks);
        }
    }
    let best = best.expect("a round");
    let names = ["stage", "sync_all", "commit", "sync_directories"];
    for (name, took) in names.into_iter().zip(best) {
        row(name, took, Some(("of write+rename", plain)));
    }
    row("written, durable", best.iter().sum(), Some(("of write+rename", plain)));
}

/// What `sync_all` would cost without its shortcut for many files.
fn sync_each(writes: &[(WriteFile, Vec<u8>)], owners: &Owners, threads: usize) -> Duration {
    let stage =
        |(write, bytes): &(WriteFile, Vec<u8>)| fs::stage(write, bytes, owners, "bench").expect("staged");
    let staged: Vec<Staged> = writes.iter().map(stage).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in staged.chunks(staged.len().div_ceil(threads)) {
            scope.spawn(|| part.chunks(1).for_each(|one| fs::sync_all(one).expect("synced")));
        }
    });
    begun.elapsed()
}

fn write(path: &Path, number: usize) -> (WriteFile, Vec<u8>) {
    let bytes = content(number);
    let content = Content {
        sha256: Sha256::digest(&bytes).into(),
        size: bytes.len() as u64,
        origin: ContentOrigin::Inline(Vec::new()),
    };
    let write = WriteFile {
        path: path.to_owned(),
        content,
        attributes: Attributes { mode: Some(0o644), ..Attributes::default() },
        validate: None,
        backup: false,
        force: false,
        in_place: false,
    };
    (write, bytes)
}

fn least(rounds: usize, mut work: impl FnMut()) -> Duration {
    (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn row(what: &str, took: Duration, of: Option<(&str, Duration)>) {
    let ratio = of.map(|(name, whole)| format!("{:7.2} {name}", took.as_secs_f64() / whole.as_secs_f64()));
    println!("{what:36} {:9.3} ms {}", took.as_secs_f64() * 1000.0, ratio.unwrap_or_default());
}
