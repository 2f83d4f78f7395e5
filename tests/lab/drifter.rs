//! Runs inside a host of the lab: edits what abide manages there at random moments, and waits for each edit to be healed.
//!
//! `drifter SEED EDITS` prints a line for each edit, `LOST` for one that is not healed, and figures at the end.
//! Groups of edits hit within a few hundredths of a second, so that some hit while a run is under way; between groups nothing
//! happens, so that an edit that went unnoticed is not healed because of the next one. What it edits is declared by
//! `drift.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on shall end with its reason"
)]

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FOLDERS: u64 = 30;
const FILES: u64 = 10;
const LINKS: u64 = 12;
const UNITS: u64 = 12;
const USERS: u64 = 12;
/// An edit that is not healed after this is lost.
const PATIENCE: Duration = Duration::from_secs(12);
/// So often a resource may be corrected within a minute before abide takes it for a fight.
const PEACE: usize = 4;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|word| word.parse().unwrap()).collect();
    let [seed, edits] = numbers[..] else { panic!("drifter SEED EDITS") };
    fs::create_dir_all("/srv/away").unwrap();
    let mut drifter = Drifter { dice: Dice(seed | 1), times: HashMap::new(), away: 0 };
    let mut took: Vec<Duration> = Vec::new();
    let mut lost = 0;
    while (took.len() as u64) + lost < edits {
        let mut group: Vec<(Thing, Instant)> = Vec::new();
        for _ in 0..[1, 1, 2, 4, 6, 8][drifter.dice.below(6) as usize] {
            let Some(thing) = drifter.edit(&group) else { continue };
            group.push((thing, Instant::now()));
            // A run takes some hundredths of a second, so that some of these hit in the middle of one.
            std::thread::sleep(Duration::from_micros(drifter.dice.below(60_000)));
        }
        while !group.is_empty() {
            group.retain(|(thing, since)| {
                let over = since.elapsed() > PATIENCE;
                if thing.healed() {
                    took.push(since.elapsed());
                } else if over {
                    println!("LOST {thing:?}");
                    lost += 1;
                }
                !over && !thing.healed()
            });
            std::thread::sleep(Duration::from_micros(500));
        }
        std::thread::sleep(Duration::from_micros(drifter.dice.below(30_000)));
    }
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_millis();
    println!("healed {} lost {lost} median {} p99 {} longest {}", took.len(), at(50), at(99), at(100));
}

/// A small generator (xorshift64), so that a seed gives the same edits again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Something that is declared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Thing {
    File(u64, u64),
    Folder(u64),
    /// Everything.
    Top,
    Tree,
    Link(u64),
    Unit(u64),
    User(u64),
    Package,
}

impl Thing {
    /// Itself, and what is healed with it.
    fn parts(&self) -> Vec<Thing> {
        let files = |folder| (0..FILES).map(move |file| Thing::File(folder, file));
        match self {
            Thing::Folder(folder) => files(*folder).chain([self.clone()]).collect(),
            Thing::Top => (0..FOLDERS).flat_map(|folder| Thing::Folder(folder).parts()).collect(),
            other => vec![other.clone()],
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Thing::File(folder, file) => format!("/srv/drift/d{folder}/f{file}"),
            Thing::Folder(folder) => format!("/srv/drift/d{folder}"),
            Thing::Top => "/srv/drift".into(),
            Thing::Tree => "/srv/tree".into(),
            Thing::Link(number) => format!("/srv/links/l{number}"),
            Thing::Unit(number) => format!("/etc/systemd/system/app{number}.service"),
            Thing::User(_) => "/etc/passwd".into(),
            Thing::Package => "/var/lib/dpkg/status".into(),
        }
        .into()
    }

    fn healed(&self) -> bool {
        let path = self.path();
        let found = |mode: u32, folder: bool| {
            fs::symlink_metadata(&path).is_ok_and(|found| {
                found.is_dir() == folder
                    && !found.is_symlink()
                    && found.mode() & 0o7777 == mode
                    && found.uid() == 0
            })
        };
        match self {
            Thing::File(folder, file) => {
                found(0o640, false)
                    && fs::read(&path).is_ok_and(|text| text == content(*folder, *file).as_bytes())
            }
            Thing::Folder(folder) => {
                found(0o755, true) && (0..FILES).all(|file| Thing::File(*folder, file).healed())
            }
            Thing::Top => (0..FOLDERS).all(|folder| Thing::Folder(folder).healed()),
            Thing::Tree => tree_is_clean(),
            Thing::Link(number) => fs::read_link(&path).is_ok_and(|target| target == target_of(*number)),
            Thing::Unit(number) => unit_is_well(*number),
            Thing::User(number) => fs::read_to_string(&path).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.starts_with(&format!("drift{number}:")) && line.ends_with(":/bin/sh"))
            }),
            Thing::Package => fs::read_to_string(&path)
                .is_ok_and(|text| text.contains("Package: abide-base\nStatus: install ok installed")),
        }
    }
}

fn content(folder: u64, file: u64) -> String {
    format!("declared {folder} {file}\n")
}

fn target_of(number: u64) -> PathBuf {
    format!("../somewhere/{number}").into()
}

/// What is declared of the tree is there and nothing else; its part that is ignored is left alone.
fn tree_is_clean() -> bool {
    fs::read("/srv/tree/deep/leaf").is_ok_and(|text| text == b"leaf\n")
        && fs::read_dir("/srv/tree").is_ok_and(|entries| entries.count() == 1)
        && fs::read_dir("/srv/tree/deep").is_ok_and(|entries| entries.count() == 1)
}

fn unit_is_well(number: u64) -> bool {
    let unit = format!("app{number}");
    let text = fs::read_to_string(format!("/etc/systemd/system/{unit}.service")).unwrap_or_default();
    let wanted = Path::new("/etc/systemd/system/multi-user.target.wants").join(format!("{unit}.service"));
    text.contains("ExecStart")
        && !text.contains("junk")
        && wanted.is_symlink()
        && ran(&["systemctl", "-q", "is-active", &unit])
}

fn ran(command: &[&str]) -> bool {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    process.status().unwrap().success()
}

struct Drifter {
    dice: Dice,
    /// When each thing was edited.
    times: HashMap<Thing, Vec<Instant>>,
    away: u64,
}

impl Drifter {
    /// Edits something that is as declared, that was not edited too often, and that no edit of the group is about.
    fn edit(&mut self, group: &[(Thing, Instant)]) -> Option<Thing> {
        let busy: Vec<Thing> = group.iter().flat_map(|(thing, _)| thing.parts()).collect();
        let now = Instant::now();
        for _ in 0..50 {
            let thing = self.thing();
            let parts = thing.parts();
            let rested = |part: &Thing| {
                let times = self.times.get(part).into_iter().flatten();
                let recent =
                    times.filter(|time| now.duration_since(**time) < Duration::from_secs(61)).count();
                // The service of a unit is corrected with the unit's file, and again when it is looked at after that.
                recent < if matches!(part, Thing::Unit(_)) { PEACE / 2 } else { PEACE }
            };
            if parts.iter().all(|part| rested(part) && !busy.contains(part)) && thing.healed() {
                for part in parts {
                    self.times.entry(part).or_default().push(now);
                }
                self.change(&thing);
                return Some(thing);
            }
        }
        None
    }

    fn thing(&mut self) -> Thing {
        match self.dice.below(1000) {
            0..=3 => Thing::Package,
            4..=5 => Thing::Top,
            6..=60 => Thing::Folder(self.dice.below(FOLDERS)),
            61..=100 => Thing::Tree,
            101..=170 => Thing::Link(self.dice.below(LINKS)),
            171..=260 => Thing::Unit(self.dice.below(UNITS)),
            261..=320 => Thing::User(self.dice.below(USERS)),
            _ => Thing::File(self.dice.below(FOLDERS), self.dice.below(FILES)),
        }
    }

    fn change(&mut self, thing: &Thing) {
        let path = thing.path();
        let how = match thing {
            Thing::File(..) => self.file(&path),
            Thing::Folder(_) => self.folder(&path),
            Thing::Top => self.rename_away(&path),
            Thing::Tree => self.tree(),
            Thing::Link(_) => self.link(&path),
            Thing::Unit(number) => self.unit(*number, &path),
            Thing::User(number) => self.user(*number),
            Thing::Package => {
                assert!(ran(&["dpkg", "-r", "abide-base"]));
                "removed"
            }
        };
        println!("{thing:?} {how}");
    }

    fn file(&mut self, path: &Path) -> &'static str {
        match self.dice.below(10) {
            0 => {
                fs::write(path, "something else\n").unwrap();
                "written"
            }
            1 | 2 => {
                // The size stays, and the time of the last modification, too.
                let before = fs::metadata(path).unwrap();
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"D", 0).unwrap();
                file.set_modified(before.modified().unwrap()).unwrap();
                "overwritten in place"
            }
            3 => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
                "chmod"
            }
            4 => {
                lchown(path, Some(12345), None).unwrap();
                "chown"
            }
            5 => {
                fs::remove_file(path).unwrap();
                "unlinked"
            }
            6 => self.rename_away(path),
            7 => {
                insist(|| fs::remove_file(path).and_then(|()| fs::create_dir(path)));
                "replaced by a directory"
            }
            8 => {
                insist(|| fs::remove_file(path).and_then(|()| symlink("/etc/passwd", path)));
                "replaced by a symlink"
            }
            _ => {
                let other = self.aside();
                fs::write(&other, "another file\n").unwrap();
                fs::rename(other, path).unwrap();
                "replaced by rename"
            }
        }
    }

    fn folder(&mut self, path: &Path) -> &'static str {
        match self.dice.below(5) {
            0 => {
                insist(|| fs::remove_dir_all(path));
                "removed"
            }
            1 => {
                insist(|| fs::remove_dir_all(path).and_then(|()| fs::create_dir(path)));
                "removed and made again, empty"
            }
            2 => {
                insist(|| {
                    let target = self.aside();
                    fs::rename(path, &target)?;
                    symlink(target, path)
                });
                "replaced by a symlink to itself"
            }
            3 => {
                fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
                "chmod"
            }
            _ => self.rename_away(path),
        }
    }

    fn tree(&mut self) -> &'static str {
        match self.dice.below(4) {
            0 => {
                fs::write("/srv/tree/deep/stranger", "x").unwrap();
                "a stranger"
            }
            1 => {
                // Each is made before anybody can watch the one above it.
                fs::create_dir_all("/srv/tree/new/newer/newest").unwrap();
                fs::write("/srv/tree/new/newer/newest/stranger", "x").unwrap();
                "a stranger deep in new folders"
            }
            2 => {
                fs::write("/srv/tree/deep/leaf", "lief\n").unwrap();
                "written"
            }
            _ => self.rename_away(Path::new("/srv/tree/deep")),
        }
    }

    fn link(&mut self, path: &Path) -> &'static str {
        fs::remove_file(path).unwrap();
        match self.dice.below(3) {
            0 => "unlinked",
            1 => {
                symlink("elsewhere", path).unwrap();
                "leads elsewhere"
            }
            _ => {
                fs::write(path, "a file").unwrap();
                "replaced by a file"
            }
        }
    }

    fn unit(&mut self, number: u64, path: &Path) -> &'static str {
        let unit = format!("app{number}");
        match self.dice.below(7) {
            0 => {
                ran(&["systemctl", "stop", &unit]);
                "stopped"
            }
            1 => {
                ran(&["systemctl", "kill", "-s", "KILL", &unit]);
                "killed"
            }
            2 => {
                ran(&["systemctl", "disable", &unit]);
                "disabled"
            }
            3 => {
                fs::remove_file(format!("/etc/systemd/system/multi-user.target.wants/{unit}.service"))
                    .unwrap();
                "disabled by hand"
            }
            4 => {
                fs::remove_file(path).unwrap();
                "its file removed"
            }
            5 => {
                fs::remove_file(path).unwrap();
                symlink("/dev/null", path).unwrap();
                ran(&["systemctl", "daemon-reload"]);
                ran(&["systemctl", "stop", &unit]);
                "masked and stopped"
            }
            _ => {
                let text = fs::read_to_string(path).unwrap();
                fs::write(path, text + "# junk\n").unwrap();
                "its file written"
            }
        }
    }

    fn user(&mut self, number: u64) -> &'static str {
        let user = format!("drift{number}");
        match self.dice.below(3) {
            0 => {
                ran(&["userdel", &user]);
                "deleted"
            }
            1 => {
                ran(&["usermod", "-s", "/bin/false", &user]);
                "another shell"
            }
            _ => {
                let text = fs::read_to_string("/etc/passwd").unwrap();
                let edited: String = text
                    .lines()
                    .map(|line| match line.starts_with(&format!("{user}:")) {
                        true => line.replace(":/bin/sh", ":/bin/bash") + "\n",
                        false => format!("{line}\n"),
                    })
                    .collect();
                fs::write("/etc/passwd", edited).unwrap();
                "another shell, by hand"
            }
        }
    }

    fn rename_away(&mut self, path: &Path) -> &'static str {
        fs::rename(path, self.aside()).unwrap();
        "renamed away"
    }

    /// A path that nobody manages.
    fn aside(&mut self) -> PathBuf {
        self.away += 1;
        format!("/srv/away/{}", self.away).into()
    }
}

/// Changes something that may be healed in the middle of it.
fn insist(mut change: impl FnMut() -> std::io::Result<()>) {
    for _ in 0..1000 {
        match change() {
            Ok(()) => return,
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::AlreadyExists | ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
                ),
                "{error}"
            ),
        }
    }
    panic!("somebody is always faster");
}
