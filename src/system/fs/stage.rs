//! Whole files: staged beside their place with everything right, made durable in a batch, then renamed.
//!
//! Nothing is kept open between the steps, so that thousands of files can be staged at once. Each step finds its directory
//! anew by the same safe way and checks that the staged file is still the one that was written.

use rustix::fs::{AtFlags, Mode, OFlags, Statx};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::look::{file_type, mount_point, stat};
use super::parent::{LOOKUP, open_parent};
use super::{FsError, attributes, extended};
use crate::failpoint::{is_dead, reach};
use crate::plan::{Attributes, Principal, WriteFile};
use crate::system::accounts::Owners;
use crate::system::observe::FileType;

/// Mode of a new file for which none is declared; a new file belongs to root.
const NEW_FILE_MODE: u32 = 0o644;

/// What names of temporary files start with; the tag of the run follows.
pub(crate) const TEMPORARY: &str = ".abide-";

/// A file that is written but not in its place. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    target: PathBuf,
    temporary: PathBuf,
    /// Device (major, minor) and inode of what was written.
    written: (u32, u32, u64),
    force: bool,
    in_place: bool,
    attributes: Attributes,
    settled: bool,
}

/// Writes a file beside its place: owner, group, mode, lists, label and other attributes are right before it gets its name.
/// What is not declared is taken from the file that it will replace. `tag` tells whose temporary file it is, to
/// [`clean_temporaries`](super::clean_temporaries).
///
/// # Errors
/// See [`FsError`]; nothing is left behind.
pub fn stage(write: &WriteFile, bytes: &[u8], owners: &Owners, tag: &str) -> Result<Staged, FsError> {
    let path = write.path.as_path();
    let (directory, name) = open_parent(path, LOOKUP)?;
    let former = inspect(&directory, name, path)?;
    if let Some(former) = &former {
        check(former, &directory, path, write.force, write.in_place)?;
    }
    reach("file: before");
    let (file, temporary) = create(&directory, path, tag)?;
    reach("file: made");
    let status = stat(&directory, &temporary).map_err(io("look at", path))?;
    let staged = Staged {
        target: path.to_owned(),
        temporary: path.with_file_name(&temporary),
        written: inode(&status),
        force: write.force,
        in_place: write.in_place,
        attributes: write.attributes.clone(),
        settled: false,
    };
    // From here on, dropping `staged` removes the file.
    write_all(&file, bytes).map_err(io("write", path))?;
    reach("file: written");
    let former = former.filter(|former| file_type(former) == FileType::File);
    let mut wanted = write.attributes.clone();
    inherit(&mut wanted, former.as_ref());
    if former.is_some() {
        keep_extended(&directory, name, &file, path, &mut wanted)?;
    }
    attributes::write(&file, path, FileType::File, &wanted, owners)?;
    reach("file: attributes set");
    Ok(staged)
}

impl Staged {
    /// Where the staged file is, for a validating program.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Where it shall go.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Puts the file in its place. Durable once the directory is synced ([`super::sync_directories`]).
    ///
    /// # Errors
    /// Something is in the way that only `force` or `in_place` may overcome, or the system refused. The target is as it was.
    pub fn commit(mut self) -> Result<(), FsError> {
        let (directory, name) = open_parent(&self.target, LOOKUP)?;
        let temporary = self.temporary_name();
        let staged = stat(&directory, &temporary).map_err(io("find what was staged for", &self.target))?;
        if inode(&staged) != self.written {
            return Err(FsError::Changed { path: self.target.clone() });
        }
        let former = inspect(&directory, name, &self.target)?;
        if let Some(former) = &former {
            check(former, &directory, &self.target, self.force, self.in_place)?;
            self.clear_the_way(&directory, name, former)?;
        }
        reach("file: before it is put in place");
        match &former {
            Some(former) if self.in_place && file_type(former) == FileType::File => {
                self.overwrite(&directory, name, &temporary)?;
            }
            _ => rustix::fs::renameat(&directory, &temporary, &directory, name).map_err(
                |errno| match errno {
                    Errno::XDEV => FsError::MountPoint { path: self.target.clone() },
                    Errno::PERM => FsError::Immutable { path: self.target.clone() },
                    errno => FsError::from_errno("put in place", &self.target, errno),
                },
            )?,
        }
        self.settled = true;
        reach("file: put in place");
        if self.attributes.immutable == Some(true) {
            let file = open_entry(&directory, name).map_err(io("open", &self.target))?;
            extended::set_immutable(&file, FileType::File, &self.target, true)?;
        }
        Ok(())
    }

    /// Removes the staged file.
    pub fn abandon(self) {}

    /// The file system it is on, as major and minor number.
    pub(crate) fn device(&self) -> (u32, u32) {
        (self.written.0, self.written.1)
    }

    fn temporary_name(&self) -> OsString {
        self.temporary.file_name().unwrap_or_default().to_owned()
    }

    /// An immutable target is made mutable if the declaration speaks of the flag; an empty directory goes if forced.
    fn clear_the_way(&self, directory: &OwnedFd, name: &OsStr, former: &Statx) -> Result<(), FsError> {
        let path = &self.target;
        let kind = file_type(former);
        if kind == FileType::Directory {
            return rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
                .map_err(|errno| FsError::from_errno("remove the directory", path, errno));
        }
        if locked(former) {
            if self.attributes.immutable.is_none() {
                return Err(FsError::Immutable { path: path.clone() });
            }
            let file = open_entry(directory, name).map_err(io("open", path))?;
            extended::set_immutable(&file, kind, path, false)?;
        }
        Ok(())
    }

    /// Writes over the existing file's content, for a mount that cannot be replaced. Not atomic.
    fn overwrite(&self, directory: &OwnedFd, name: &OsStr, temporary: &OsStr) -> Result<(), FsError> {
        let path = &self.target;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(directory, temporary, flags | OFlags::RDONLY, Mode::empty());
        let source = source.map_err(io("read what was staged for", path))?;
        let target = rustix::fs::openat(directory, name, flags | OFlags::RDWR, Mode::empty());
        let target = target.map_err(io("open", path))?;
        // Checked on what is open: the name may have changed hands since it was looked at.
        let status = rustix::fs::fstat(&target).map_err(io("look at", path))?;
        if rustix::fs::FileType::from_raw_mode(status.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(FsError::Changed { path: path.clone() });
        }
        if status.st_nlink > 1 {
            return Err(FsError::HardLinked { path: path.clone(), links: status.st_nlink });
        }
        let mut length = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count =
                rustix::io::read(&source, &mut *buffer).map_err(io("read what was staged for", path))?;
            if count == 0 {
                break;
            }
            write_all(&target, &buffer[..count]).map_err(io("write", path))?;
            reach("file: written in place");
            length += count as u64;
        }
        rustix::fs::ftruncate(&target, length).map_err(io("shorten", path))?;
        attributes::write(&target, path, FileType::File, &self.attributes, &Owners::load())?;
        rustix::fs::fsync(&target).map_err(io("sync", path))?;
        rustix::fs::unlinkat(directory, temporary, AtFlags::empty())
            .map_err(io("remove what was staged for", path))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.settled || is_dead() {
            return;
        }
        // Best effort: recovery removes what is left by its tag.
        if let Ok((directory, _)) = open_parent(&self.target, LOOKUP) {
            let name = self.temporary_name();
            if stat(&directory, &name).is_ok_and(|status| inode(&status) == self.written) {
                let _ = rustix::fs::unlinkat(&directory, &name, AtFlags::empty());
            }
        }
    }
}

/// Creates a file with a name nobody has, readable by us alone.
pub(crate) fn create(directory: &OwnedFd, path: &Path, tag: &str) -> Result<(OwnedFd, OsString), FsError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let name = temporary_name(tag);
        match rustix::fs::openat(directory, &name, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => return Ok((file, name)),
            Err(Errno::EXIST) => continue,
            Err(errno) => return Err(FsError::from_errno("create a file beside", path, errno)),
        }
    }
}

/// `.abide-<tag>-<number>`, a new number each time.
pub(crate) fn temporary_name(tag: &str) -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{TEMPORARY}{tag}-{}", NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// What is at a name; `None` when nothing is.
pub(crate) fn inspect(directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<Option<Statx>, FsError> {
    match stat(directory, name) {
        Ok(status) => Ok(Some(status)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(FsError::from_errno("look at", path, errno)),
    }
}

pub(crate) fn open_entry(directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

pub(crate) fn inode(status: &Statx) -> (u32, u32, u64) {
    (status.stx_dev_major, status.stx_dev_minor, status.stx_ino)
}

/// Whether the immutable or append-only flag is set, as `statx` tells it.
pub(crate) fn locked(status: &Statx) -> bool {
    use rustix::fs::StatxAttributes;
    status.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND)
}

pub(crate) fn io(action: &'static str, path: &Path) -> impl Fn(Errno) -> FsError {
    move |errno| FsError::from_errno(action, path, errno)
}

/// Whether what is there may be replaced (or written into) by what was declared.
fn check(
    former: &Statx,
    directory: &OwnedFd,
    path: &Path,
    force: bool,
    in_place: bool,
) -> Result<(), FsError> {
    let path = path.to_owned();
    let kind = file_type(former);
    let what = match kind {
        FileType::File => None,
        FileType::Directory => Some("is a directory"),
        FileType::Symlink => Some("is a symlink"),
        FileType::Fifo => Some("is a FIFO"),
        FileType::Socket => Some("is a socket"),
        FileType::BlockDevice | FileType::CharacterDevice => Some("is a device"),
    };
    match what {
        Some(what) if !force => return Err(FsError::InTheWay { path, what }),
        _ => {}
    }
    if mount_point(former, Some(directory)) && !(in_place && kind == FileType::File) {
        return Err(FsError::MountPoint { path });
    }
    let links = u64::from(former.stx_nlink);
    if kind == FileType::File && links > 1 && (in_place || !force) {
        return Err(FsError::HardLinked { path, links });
    }
    Ok(())
}

/// Takes owner, group and mode from the former file, or the defaults.
fn inherit(wanted: &mut Attributes, former: Option<&Statx>) {
    let (uid, gid, mode) = former.map_or((0, 0, NEW_FILE_MODE), |former| {
        (former.stx_uid, former.stx_gid, u32::from(former.stx_mode) & 0o7777)
    });
    wanted.owner.get_or_insert(Principal::Id(uid));
    wanted.group.get_or_insert(Principal::Id(gid));
    wanted.mode.get_or_insert(mode);
}

/// Copies list, label and `user.`/`trusted.` attributes that are not declared. Capabilities of the former content are not
/// the new content's.
fn keep_extended(
    directory: &OwnedFd,
    name: &OsStr,
    file: &OwnedFd,
    path: &Path,
    wanted: &mut Attributes,
) -> Result<(), FsError> {
    let former = open_entry(directory, name).map_err(io("open", path))?;
    let kept = extended::attributes(&former).map_err(io("read attributes of", path))?;
    if wanted.acl.is_none() {
        let list = kept.get(extended::ACL_ACCESS);
        if let Some(list) = list {
            extended::set(file, path, extended::ACL_ACCESS, Some(list))?;
        } else {
            // A default list of the directory would give the new file what the old one did not have.
            extended::set(file, path, extended::ACL_ACCESS, None)?;
        }
    }
    for (name, value) in &kept {
        let label = name == extended::SELINUX && wanted.selinux.is_none();
        let plain = name.starts_with("user.") || name.starts_with("trusted.");
        if label || plain && !wanted.xattrs.contains_key(name) {
            extended::set(file, path, name, Some(value))?;
        }
    }
    Ok(())
}
