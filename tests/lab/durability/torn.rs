//! A power cut that takes every write which was not synced.
//!
//! Files and journal lie on a file system in a file. When the run has died at a place, the file is copied as it is: what the kernel
//! holds back of the file system is missing in the copy, as after a cut. The copy is what the next start finds.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{everything, program};
use crate::support::command::{Output, complete, run};
use crate::support::lab_is_enabled;

/// A file system that is mounted; unmounted when dropped.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    #[track_caller]
    fn new(image: &Path, at: &Path) -> Mounted {
        std::fs::create_dir_all(at).expect("a folder to mount at");
        run("mount", &["-o", "loop", text(image), text(at)], b"").success();
        Mounted { at: at.to_owned() }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily only after a failure: what is left of it must not show through the next one.
        if run("umount", &[text(&self.at)], b"").code != 0 {
            run("umount", &["--lazy", text(&self.at)], b"");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

fn apply(folder: &Path, content: &str, die_at: Option<usize>) -> Output {
    let mut command = Command::new(program());
    command.args(["apply", text(folder), content]);
    match die_at {
        Some(place) => command.env("ABIDE_DIE_AT", place.to_string()),
        None => command.env("ABIDE_FAILPOINTS", "list"),
    };
    complete(&mut command, b"")
}

/// Every file is as it was before or as it shall be: never empty, never in part.
#[track_caller]
fn whole(folder: &Path, context: &str) {
    for (name, former) in [("a", true), ("b", false), ("new/c", false), ("new/d", false)] {
        let found = std::fs::read_to_string(folder.join(name)).ok();
        let expected: [Option<String>; 2] = [former.then(|| "1".repeat(5_000)), Some("2".repeat(5_000))];
        let length = found.as_ref().map(String::len);
        assert!(expected.contains(&found), "{context}: {name} is torn: {length:?} bytes");
    }
}

#[test]
fn a_power_cut_that_loses_what_is_not_synced() {
    if !lab_is_enabled() {
        return;
    }
    let work =
        tempfile::Builder::new().prefix("abide-torn-").tempdir_in("/var/tmp").expect("a folder on a disk");
    let at = |name: &str| work.path().join(name);
    let (live, after) = (at("live"), at("after"));
    let begin = at("begin");
    run("truncate", &["-s", "24M", text(&begin)], b"").success();
    run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", text(&begin)], b"").success();
    {
        let mounted = Mounted::new(&begin, &live);
        std::fs::create_dir(mounted.at.join("state")).expect("a folder for the state");
        run("chmod", &["0700", text(&mounted.at.join("state"))], b"").success();
        std::fs::write(mounted.at.join("a"), "1".repeat(5_000)).expect("a file");
        std::fs::write(mounted.at.join("gone"), "x").expect("a file");
        run("sync", &["--file-system", text(&mounted.at)], b"").success();
    }
    let image = at("listed");
    run("cp", &["--sparse=always", text(&begin), text(&image)], b"").success();
    let places = {
        let mounted = Mounted::new(&image, &live);
        let output = apply(&mounted.at, "2", None);
        assert_eq!(output.code, 0, "{output:#?}");
        output.stderr.lines().filter(|line| line.starts_with("place ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(places.len() > 50, "{places:#?}");
    let step = if everything() { 1 } else { 2 };
    let mut lost = 0;
    for (number, place) in places.iter().enumerate().step_by(step) {
        let (image, copy) = (at(&format!("image-{number}")), at(&format!("copy-{number}")));
        run("cp", &["--sparse=always", text(&begin), text(&image)], b"").success();
        let output;
        {
            let mounted = Mounted::new(&image, &live);
            output = apply(&mounted.at, "2", Some(number));
            assert_eq!(output.code, 134, "{place}: {output:#?}");
            // The cut: what is in the image now is all that there is.
            run("cp", &["--sparse=always", text(&image), text(&copy)], b"").success();
            lost += usize::from(differs(&mounted.at, &copy, &after));
        }
        // Where it was before: the journal has paths.
        let mounted = Mounted::new(&copy, &live);
        whole(&mounted.at, place);
        let said_so = output.stdout.contains("raised");
        let again = apply(&mounted.at, "2", None);
        assert_eq!(again.code, 0, "{place}: {again:#?}");
        whole(&mounted.at, place);
        assert!(!mounted.at.join("gone").exists(), "{place}");
        let temporary = run("find", &[text(&mounted.at), "-name", ".abide-*"], b"").success();
        assert_eq!(temporary, "", "{place}");
        assert!(!said_so || again.stdout.contains("ended"), "{place}");
        drop(mounted);
        for file in [image, copy] {
            std::fs::remove_file(file).expect("a file system can be removed");
        }
    }
    println!("torn writes: {} places, {} with unsynced writes lost", places.len(), lost);
    assert!(lost > 5, "the copies miss nothing: this proves no fsync");
}

/// Whether the copy of the image shows something else than the live file system: writes were lost.
fn differs(live: &Path, copy: &Path, at: &Path) -> bool {
    let looked = copy.with_extension("looked");
    run("cp", &["--sparse=always", text(copy), text(&looked)], b"").success();
    let mounted = Mounted::new(&looked, at);
    let differs = run("diff", &["-r", "-q", text(live), text(&mounted.at)], b"").code != 0;
    drop(mounted);
    std::fs::remove_file(looked).expect("a file system can be removed");
    differs
}
