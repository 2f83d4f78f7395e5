//! One pass over all paths that a plan needs to know.

use rustix::fs::{AtFlags, CWD, FileType as RawType, Mode, OFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::extended;
use super::fingerprint::{Findings, Fingerprints, Identity};
use super::parent::{Parents, WayError, split};
use crate::system::clock;
use crate::system::observe::{ByPath, FileType, PathNeed, PathState, Present};

/// Whether content is hashed although the cache knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rehash {
    /// Believe the cache.
    Never,
    /// Hash every file: what a memory-mapped write or a forged clock hid from the stamps is found.
    Always,
}

/// Content above this many bytes is not hashed; it cannot be what a branch declares, whose files are smaller.
const LARGEST: u64 = 1 << 30;

/// Below this many paths a second thread costs more than it saves (see `benches/observe.rs`).
const WORTH_A_THREAD: usize = 192;

/// How many paths a thread takes at once: neighbours share a directory, and the last share ends soon.
const SHARE: usize = 32;

/// Large enough that most configuration files are one read.
const BUFFER: usize = 64 << 10;

/// A file that changes while it is hashed is read again this often.
const TRIES: u32 = 3;

/// Looks at every path once. Parents are opened once each; content is hashed unless the cache knows it.
pub fn observe(
    needs: &ByPath<PathNeed>,
    fingerprints: &mut Fingerprints,
    rehash: Rehash,
) -> ByPath<PathState> {
    let mut asked: Vec<(&PathBuf, PathNeed)> = needs.iter().map(|(path, need)| (path, *need)).collect();
    // By bytes: what is in one directory is together, and that is all that is needed.
    asked.sort_unstable_by(|(left, _), (right, _)| left.as_os_str().cmp(right.as_os_str()));
    let taken = clock::nanoseconds();
    let known = &*fingerprints;
    let next = AtomicUsize::new(0);
    let pass = || Pass::new(known, rehash, taken).run(&asked, &next);
    let parts = if asked.len() < WORTH_A_THREAD {
        vec![pass()]
    } else {
        std::thread::scope(|scope| {
            let other = scope.spawn(pass);
            let own = pass();
            // The thread has nothing that panics; if it does, this thread shall too.
            vec![own, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
        })
    };
    let mut states = ByPath::with_capacity_and_hasher(asked.len(), Default::default());
    let mut learnt = Vec::with_capacity(parts.len());
    for (answers, findings) in parts {
        states.extend(answers.into_iter().map(|(path, state)| (path.clone(), state)));
        learnt.push(findings);
    }
    fingerprints.learn(learnt);
    states
}

/// Looks at one path without a cache.
pub fn look(path: &Path, need: PathNeed) -> PathState {
    let none = Fingerprints::default();
    let mut pass = Pass::new(&none, Rehash::Always, 0);
    match pass.path(path, need, &mut Parents::default()) {
        Ok(state) => state,
        Err(errno) => unreadable(errno),
    }
}

struct Pass<'a> {
    known: &'a Fingerprints,
    rehash: Rehash,
    taken: i64,
    findings: Findings,
    buffer: Vec<u8>,
    /// Cleared once the kernel refused it (not root).
    without_access_time: OFlags,
    /// The device that was asked last, and whether its time stamps are of this host's clock.
    stamped_here: Option<(u64, bool)>,
}

impl<'a> Pass<'a> {
    fn new(known: &'a Fingerprints, rehash: Rehash, taken: i64) -> Pass<'a> {
        Pass {
            known,
            rehash,
            taken,
            findings: Findings::default(),
            buffer: Vec::new(),
            without_access_time: OFlags::NOATIME,
            stamped_here: None,
        }
    }

    /// Takes one share after the other until none is left, so that a thread that gets little of the processor keeps nobody waiting.
    fn run<'p>(
        mut self,
        asked: &[(&'p PathBuf, PathNeed)],
        next: &AtomicUsize,
    ) -> (Vec<(&'p PathBuf, PathState)>, Findings) {
        let mut parents = Parents::default();
        let mut answers = Vec::with_capacity(asked.len());
        loop {
            let from = next.fetch_add(SHARE, Ordering::Relaxed);
            let Some(rest) = asked.get(from..).filter(|rest| !rest.is_empty()) else { break };
            for (path, need) in rest.iter().take(SHARE) {
                let state = self.path(path, *need, &mut parents).unwrap_or_else(unreadable);
                answers.push((*path, state));
            }
        }
        (answers, self.findings)
    }

    fn path<'p>(
        &mut self,
        path: &'p Path,
        need: PathNeed,
        parents: &mut Parents<'p>,
    ) -> Result<PathState, Errno> {
        let Some((parent, name)) = split(path) else {
            return match path.parent() {
                None if path.is_absolute() => self.entry(CWD, path.as_os_str(), None, need),
                _ => Ok(PathState::Unreadable("it is not a plain absolute path".into())),
            };
        };
        match parents.open(parent) {
            Ok(directory) => self.entry(directory, name, Some(directory), need),
            Err(WayError::Missing) => Ok(PathState::Absent),
            Err(WayError::Blocked { at, reason }) => {
                Ok(PathState::Blocked { at: at.clone(), reason: reason.clone() })
            }
            Err(WayError::Failed(errno)) => Err(*errno),
        }
    }

    fn entry(
        &mut self,
        directory: impl AsFd,
        name: &OsStr,
        parent: Option<&OwnedFd>,
        need: PathNeed,
    ) -> Result<PathState, Errno> {
        let directory = directory.as_fd();
        let mut tries = 0;
        loop {
            let status = match stat(directory, name) {
                Ok(status) => status,
                Err(Errno::NOENT) => return Ok(PathState::Absent),
                Err(errno) => return Err(errno),
            };
            let mut present = Present {
                file_type: file_type(&status),
                uid: status.stx_uid,
                gid: status.stx_gid,
                mode: u32::from(status.stx_mode) & 0o7777,
                size: status.stx_size,
                links: u64::from(status.stx_nlink),
                sha256: None,
                target: None,
                extended: None,
                mount_point: mount_point(&status, parent),
            };
            if present.file_type == FileType::Symlink {
                present.target = Some(read_link(directory, name)?);
            }
            if need.content && present.file_type == FileType::File && present.size <= LARGEST {
                tries += 1;
                present.sha256 = match self.hash(directory, name, &status, tries == TRIES) {
                    Ok(Some(sha256)) => Some(sha256),
                    // It changed under our eyes: look again.
                    Ok(None) | Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) if tries < TRIES => continue,
                    Ok(None) => None,
                    Err(errno) => return Err(errno),
                };
            }
            if need.extended {
                extended::complete(&mut present, directory, name)?;
            }
            return Ok(PathState::Present(Box::new(present)));
        }
    }

    /// The hash of a regular file; `None` if it is not the file of `status`, unless it is the `last` try.
    fn hash(
        &mut self,
        directory: impl AsFd,
        name: &OsStr,
        status: &Statx,
        last: bool,
    ) -> Result<Option<[u8; 32]>, Errno> {
        let expected = identity(status);
        if self.rehash == Rehash::Never
            && let Some(sha256) = self.known.find(&expected, &mut self.findings)
        {
            return Ok(Some(sha256));
        }
        let file = self.open(directory, name)?;
        let (sha256, length) = self.digest(&file)?;
        let after = rustix::fs::fstat(&file)?;
        if RawType::from_raw_mode(after.st_mode) != RawType::RegularFile {
            return Ok(None);
        }
        let same = length == expected.size
            && after.st_ino == expected.inode
            && stamp(after.st_mtime, after.st_mtime_nsec as u32) == expected.modified
            && stamp(after.st_ctime, after.st_ctime_nsec as u32) == expected.changed;
        if same && expected.settled(self.taken) && self.stamped_here(&file, expected.device) {
            self.findings.hashed(expected, sha256);
        }
        Ok((same || last).then_some(sha256))
    }

    fn open(&mut self, directory: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
        // Without NONBLOCK a FIFO that was put there meanwhile would block the open for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&directory, name, flags | self.without_access_time, Mode::empty()) {
            Err(Errno::PERM) if !self.without_access_time.is_empty() => {
                self.without_access_time = OFlags::empty();
                rustix::fs::openat(&directory, name, flags, Mode::empty())
            }
            other => other,
        }
    }

    fn digest(&mut self, file: &OwnedFd) -> Result<([u8; 32], u64), Errno> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        let mut hash = Sha256::new();
        let mut length = 0;
        loop {
            let count = match rustix::io::read(file, &mut *self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            hash.update(&self.buffer[..count]);
            length += count as u64;
            // A short read of a regular file is its end; the caller compares the length with the size.
            if count < self.buffer.len() || length > LARGEST {
                break;
            }
        }
        Ok((hash.finalize().into(), length))
    }

    /// Whether a device's files are stamped by this host's clock; a server's clock may lag, which defeats the margin.
    fn stamped_here(&mut self, file: &OwnedFd, device: u64) -> bool {
        match self.stamped_here {
            Some((known, here)) if known == device => here,
            _ => {
                let here = rustix::fs::fstatfs(file).is_ok_and(|status| !remote(status.f_type as u64));
                self.stamped_here = Some((device, here));
                here
            }
        }
    }
}

/// Magic numbers of file systems that others stamp, from the kernel's `include/uapi/linux/magic.h`, `fs/smb/client` and `fs/fuse`.
fn remote(magic: u64) -> bool {
    const NFS: u64 = 0x6969;
    const SMB: u64 = 0x517B;
    const CIFS: u64 = 0xFF53_4D42;
    const SMB2: u64 = 0xFE53_4D42;
    const NINE_P: u64 = 0x0102_1997;
    const CEPH: u64 = 0x00C3_6400;
    const AFS: u64 = 0x5346_414F;
    const FUSE: u64 = 0x6573_5546;
    matches!(magic & 0xFFFF_FFFF, NFS | SMB | CIFS | SMB2 | NINE_P | CEPH | AFS | FUSE)
}

pub(crate) fn stat(directory: impl AsFd, name: &OsStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)
}

pub(crate) fn mount_point(status: &Statx, parent: Option<&OwnedFd>) -> bool {
    if status.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    }
    // A kernel before 5.8: a directory on another device than its parent.
    parent.is_none_or(|parent| {
        rustix::fs::fstat(parent).is_ok_and(|parent| {
            let (major, minor) = (rustix::fs::major(parent.st_dev), rustix::fs::minor(parent.st_dev));
            (major, minor) != (status.stx_dev_major, status.stx_dev_minor)
        })
    })
}

pub(crate) fn file_type(status: &Statx) -> FileType {
    match RawType::from_raw_mode(u32::from(status.stx_mode)) {
        RawType::Directory => FileType::Directory,
        RawType::Symlink => FileType::Symlink,
        RawType::Fifo => FileType::Fifo,
        RawType::Socket => FileType::Socket,
        RawType::BlockDevice => FileType::BlockDevice,
        RawType::CharacterDevice => FileType::CharacterDevice,
        _ => FileType::File,
    }
}

pub(crate) fn read_link(directory: impl AsFd, name: &OsStr) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

fn identity(status: &Statx) -> Identity {
    Identity {
        device: u64::from(status.stx_dev_major) << 32 | u64::from(status.stx_dev_minor),
        inode: status.stx_ino,
        size: status.stx_size,
        modified: stamp(status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec),
        changed: stamp(status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec),
    }
}

fn stamp(seconds: i64, nanoseconds: u32) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanoseconds))
}

fn unreadable(errno: Errno) -> PathState {
    PathState::Unreadable(std::io::Error::from(errno).to_string())
}
