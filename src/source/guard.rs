//! The root process's eye on the spool: how much a fetcher may leave there, and how it is emptied.
//!
//! A sound fetcher keeps its limits by itself. One that was replaced does not, and systemd has no quota for a folder: so whoever starts it
//! measures what it wrote while it runs, and what cannot be a spool is thrown away. Nothing is followed and nothing is trusted: not names,
//! not depth, not numbers.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::SourceError;
use crate::config::Limits;

/// Folders within folders. The deepest in a spool of ours are those of references.
const DEPTH: usize = 16;

/// Files and folders. A spool of ours has fewer than a hundred.
const ENTRIES: usize = 10_000;

/// What lies beside the packs: notes, references, the log of ssh.
const BESIDE: u64 = 16 << 20;

/// Bytes of an index for each object of its pack: a name of 32 bytes, a checksum, a place.
const INDEX: u64 = 40;

/// What a spool may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes on disk.
    pub bytes: u64,
}

impl Bounds {
    /// Twice the packs and their indexes, since packs are rewritten beside themselves, and something beside them.
    pub fn of(limits: &Limits) -> Bounds {
        let packs = limits.spool_bytes.saturating_add(INDEX * u64::from(limits.objects));
        Bounds { bytes: packs.saturating_mul(2).saturating_add(BESIDE) }
    }
}

/// What is too much in a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excess {
    /// Bytes on disk.
    Bytes(u64),
    /// Files and folders.
    Entries(usize),
    /// Folders within folders.
    Depth(usize),
    /// What it wrote, seen or unseen, left less than an eighth of the disk.
    Disk,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Bytes(most) => write!(f, "more than {} MiB in its spool", most >> 20),
            Excess::Entries(most) => write!(f, "more than {most} files in its spool"),
            Excess::Depth(most) => write!(f, "more than {most} folders within each other in its spool"),
            Excess::Disk => write!(f, "the disk of its spool filled up while it ran"),
        }
    }
}

/// Whether the spool is within its bounds. What cannot be read is left out: it is gone, or the run says so.
pub fn weigh(spool: &Path, bounds: Bounds) -> Result<(), Excess> {
    let Ok(folder) = open(spool) else { return Ok(()) };
    Scale { bounds, bytes: 0, entries: 0, linked: HashSet::new() }.folder(&folder, 0)
}

/// A measurement under way.
struct Scale {
    bounds: Bounds,
    bytes: u64,
    entries: usize,
    /// Files with several names, which take their place once.
    linked: HashSet<(u64, u64)>,
}

impl Scale {
    fn folder(&mut self, folder: &OwnedFd, depth: usize) -> Result<(), Excess> {
        if depth > DEPTH {
            return Err(Excess::Depth(DEPTH));
        }
        let Ok(entries) = Dir::read_from(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.add(&stat)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Ok(below) = rustix::fs::openat(folder, name, FOLDER, Mode::empty())
            {
                self.folder(&below, depth + 1)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, stat: &Stat) -> Result<(), Excess> {
        self.entries += 1;
        if self.entries > ENTRIES {
            return Err(Excess::Entries(ENTRIES));
        }
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_folder || stat.st_nlink < 2 || self.linked.insert((stat.st_dev, stat.st_ino)) {
            // What it takes, not how long it says that it is: a file may have holes.
            let taken = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
            self.bytes = self.bytes.saturating_add(taken);
        }
        match self.bytes > self.bounds.bytes {
            true => Err(Excess::Bytes(self.bounds.bytes)),
            false => Ok(()),
        }
    }
}

/// Empties the spool, whatever is in it. Nobody may be writing there any more.
///
/// Folders within folders are moved to the top before they are emptied, so that no depth needs memory, descriptors or stack.
///
/// # Errors
/// `E121`: something cannot be removed.
pub fn clear(spool: &Path) -> Result<(), SourceError> {
    let failed = |error: Errno| SourceError::Spool { path: spool.to_owned(), source: error.into() };
    let top = open(spool).map_err(failed)?;
    let mut moved = 0_u64;
    while remove_all(&top, &mut |name| empty(&top, name, &mut moved)).map_err(failed)? {}
    Ok(())
}

/// Empties and removes a folder of the top.
fn empty(top: &OwnedFd, name: &std::ffi::CStr, moved: &mut u64) -> Result<(), Errno> {
    let folder = rustix::fs::openat(top, name, FOLDER, Mode::empty())?;
    while remove_all(&folder, &mut |below| move_up(&folder, below, top, moved))? {}
    rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)
}

/// Removes the files that a folder has now, and does with its folders as told. Whether there was anything.
fn remove_all(
    folder: &OwnedFd,
    with_folder: &mut dyn FnMut(&std::ffi::CStr) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    let mut any = false;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        any = true;
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => with_folder(name)?,
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}

/// Moves a folder to the top, under a name that nothing has there.
fn move_up(from: &OwnedFd, name: &std::ffi::CStr, top: &OwnedFd, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        let free = format!(".thrown-away-{moved}");
        match rustix::fs::renameat_with(from, name, top, free.as_str(), rustix::fs::RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            result => return result,
        }
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open(spool: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, spool, FOLDER, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    const SMALL: Bounds = Bounds { bytes: 1 << 20 };

    #[test]
    fn a_spool_may_have_what_it_needs_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path();
        assert_eq!(weigh(&spool.join("nowhere"), SMALL), Ok(()));
        fs::create_dir(spool.join("packs")).unwrap();
        fs::write(spool.join("pack"), vec![1; 600 << 10]).unwrap();
        // The same pack in the mailbox, and a file that is nothing but a hole.
        fs::hard_link(spool.join("pack"), spool.join("packs/pack")).unwrap();
        File::create(spool.join("hole")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(weigh(spool, SMALL), Ok(()));
        fs::write(spool.join("more"), vec![1; 600 << 10]).unwrap();
        assert_eq!(weigh(spool, SMALL), Err(Excess::Bytes(SMALL.bytes)));
        fs::remove_file(spool.join("more")).unwrap();
        // Not followed, or it would be far too much.
        std::os::unix::fs::symlink("/usr", spool.join("link")).unwrap();
        assert_eq!(weigh(spool, SMALL), Ok(()));
        fs::create_dir_all(spool.join("d/".repeat(DEPTH + 2))).unwrap();
        assert_eq!(weigh(spool, SMALL), Err(Excess::Depth(DEPTH)));
        fs::remove_dir_all(spool.join("d")).unwrap();
        for number in 0..=ENTRIES {
            File::create(spool.join(number.to_string())).unwrap();
        }
        assert_eq!(weigh(spool, SMALL), Err(Excess::Entries(ENTRIES)));
    }

    #[test]
    fn the_bounds_leave_room_for_a_rewritten_pack() {
        let limits = Limits::default();
        assert!(Bounds::of(&limits).bytes > 2 * limits.spool_bytes);
        assert_eq!(Bounds::of(&Limits { spool_bytes: u64::MAX, ..limits }).bytes, u64::MAX);
    }

    #[test]
    fn whatever_is_in_a_spool_is_removed_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, beside) = (folder.path().join("spool"), folder.path().join("beside"));
        fs::create_dir(&spool).unwrap();
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&beside, spool.join("link")).unwrap();
        fs::create_dir(spool.join(".thrown-away-1")).unwrap();
        fs::write(spool.join(".thrown-away-2"), "in the way").unwrap();
        for kind in [FileType::Fifo, FileType::Socket] {
            let name = format!("{kind:?}");
            rustix::fs::mknodat(CWD, spool.join(name), kind, Mode::RUSR, 0).unwrap();
        }
        // Deeper than a path can be long, and than a stack would hold.
        let mut deepest = open(&spool).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deepest, "deep", Mode::RWXU).unwrap();
            deepest = rustix::fs::openat(&deepest, "deep", FOLDER, Mode::empty()).unwrap();
            rustix::fs::openat(&deepest, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        }
        drop(deepest);
        clear(&spool).unwrap();
        assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
        assert_eq!(fs::read(beside.join("file")).unwrap(), b"x");
    }
}
