//! Extended attributes, access control lists, labels and inode flags: read only when asked for.

use rustix::fs::{IFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::FsError;
use super::acl::{List, Lists, Names};
use crate::system::accounts::Owners;
use crate::system::observe::{Extended, FileType, Present};

pub(crate) const ACL_ACCESS: &str = "system.posix_acl_access";
pub(crate) const ACL_DEFAULT: &str = "system.posix_acl_default";
pub(crate) const SELINUX: &str = "security.selinux";
const CAPABILITY: &str = "security.capability";

/// The kernel's own limits (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` in `include/uapi/linux/limits.h`).
const LARGEST: usize = 64 << 10;

/// The path by which the inode behind a descriptor is reached, whatever happens to its name.
pub(crate) fn by_descriptor(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Adds what was asked for beyond `stat`. The mode becomes the declared one: its group bits are the group's, not the mask.
pub(crate) fn complete(present: &mut Present, directory: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let file = rustix::fs::openat(
        directory,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let (extended, mode) = read(&file, present.file_type, present.mode)?;
    present.extended = Some(extended);
    present.mode = mode;
    Ok(())
}

/// Everything beyond `stat` of an open file (`O_PATH` is enough), and the declared mode.
pub(crate) fn read(file: &OwnedFd, file_type: FileType, mode: u32) -> Result<(Extended, u32), Errno> {
    let mut extended = Extended::default();
    let mut lists = Lists::default();
    for (name, value) in attributes(file)? {
        match name.as_str() {
            ACL_ACCESS => lists.access = List::from_attribute(&value).unwrap_or_default(),
            ACL_DEFAULT => lists.default = List::from_attribute(&value).unwrap_or_default(),
            SELINUX => extended.selinux = Some(label(&value)),
            CAPABILITY => drop(extended.xattrs.insert(name, value_text(&value))),
            _ if name.starts_with("user.") || name.starts_with("trusted.") => {
                extended.xattrs.insert(name, value_text(&value));
            }
            _ => {}
        }
    }
    let mode = lists.access.declared_mode(mode);
    if !lists.access.is_empty() || !lists.default.is_empty() {
        extended.acl = lists.text(mode, &Owners::load());
    }
    extended.immutable = flags(file, file_type)?.is_some_and(|flags| flags.contains(IFlags::IMMUTABLE));
    Ok((extended, mode))
}

/// All extended attributes; none where the file system has none.
pub(crate) fn attributes(file: &OwnedFd) -> Result<BTreeMap<String, Vec<u8>>, Errno> {
    let path = by_descriptor(file);
    let mut list = vec![0; 1024];
    let length = loop {
        match rustix::fs::listxattr(&path, &mut *list) {
            Err(Errno::RANGE) if list.len() < LARGEST => list.resize(LARGEST, 0),
            Err(Errno::NOTSUP | Errno::PERM) => return Ok(BTreeMap::new()),
            other => break other?,
        }
    };
    let mut found = BTreeMap::new();
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if let Some(value) = attribute(&path, name)? {
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

/// The value of one attribute; `None` when it is not there.
pub(crate) fn attribute(path: &Path, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::getxattr(path, name, &mut *value) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < LARGEST => value.resize(LARGEST, 0),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// Sets an attribute, or removes it with `None`.
pub(crate) fn set(file: impl AsFd, path: &Path, name: &str, value: Option<&[u8]>) -> Result<(), FsError> {
    let target = by_descriptor(file);
    let done = match value {
        Some(value) => rustix::fs::setxattr(&target, name, value, XattrFlags::empty()),
        None => match rustix::fs::removexattr(&target, name) {
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
            other => other,
        },
    };
    done.map_err(|errno| match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::ROFS => FsError::from_errno("set attributes of", path, errno),
        _ => FsError::Attribute {
            path: path.to_owned(),
            attribute: name.to_owned(),
            reason: std::io::Error::from(errno).to_string(),
        },
    })
}

/// The inode flags; `None` where the file system or the type has none.
pub(crate) fn flags(file: &OwnedFd, file_type: FileType) -> Result<Option<IFlags>, Errno> {
    let Some(file) = readable(file, file_type)? else { return Ok(None) };
    match rustix::fs::ioctl_getflags(&file) {
        Ok(flags) => Ok(Some(flags)),
        Err(Errno::NOTTY | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets or clears the immutable flag; clearing also takes the append-only flag, which hinders as much.
pub(crate) fn set_immutable(
    file: &OwnedFd,
    file_type: FileType,
    path: &Path,
    immutable: bool,
) -> Result<(), FsError> {
    let refused = |errno: Errno| FsError::Attribute {
        path: path.to_owned(),
        attribute: "immutable".into(),
        reason: std::io::Error::from(errno).to_string(),
    };
    let Some(now) = flags(file, file_type).map_err(refused)? else {
        return if immutable { Err(refused(Errno::NOTSUP)) } else { Ok(()) };
    };
    let mut wanted = now;
    if immutable {
        wanted.insert(IFlags::IMMUTABLE);
    } else {
        wanted.remove(IFlags::IMMUTABLE | IFlags::APPEND);
    }
    if wanted == now {
        return Ok(());
    }
    match readable(file, file_type).map_err(refused)? {
        Some(file) => rustix::fs::ioctl_setflags(&file, wanted).map_err(refused),
        None => Err(refused(Errno::NOTSUP)),
    }
}

/// A second descriptor of the same inode that ioctls work on; `None` for what must not be opened, such as devices.
fn readable(file: &OwnedFd, file_type: FileType) -> Result<Option<OwnedFd>, Errno> {
    if !matches!(file_type, FileType::File | FileType::Directory) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(by_descriptor(file), flags, Mode::empty()).map(Some)
}

fn label(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned()
}

/// The text form of a value: itself when it is plain text, else `0x…` in hex, as `getfattr` prints it.
pub fn value_text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text)
            if !text.chars().any(char::is_control) && !text.starts_with("0x") && !text.starts_with("0s") =>
        {
            text.to_owned()
        }
        _ => value.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// The bytes of a text form: `0x…` is hex, `0s…` base64, everything else itself.
///
/// # Errors
/// A sentence about the malformed part.
pub fn value_bytes(text: &str) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    if let Some(hex) = text.strip_prefix("0x") {
        let digit = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        return bytes.filter(|_| rest.is_empty()).ok_or_else(|| format!("`{text}` is not hexadecimal"));
    }
    match text.strip_prefix("0s") {
        Some(encoded) => base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|error| format!("`{text}` is not base64: {error}")),
        None => Ok(text.as_bytes().to_owned()),
    }
}

/// The form of a list in which it is observed, for comparison: sorted, long words, without a mask that is what it would be anyway.
///
/// # Errors
/// A sentence about the entry that is not understood or names nobody.
pub fn canonical_acl(entries: &[String], mode: u32, owners: &Owners) -> Result<Vec<String>, String> {
    Ok(Lists::parse(entries, owners)?.text(mode, owners))
}

/// Sets access and default list, completed from the mode.
pub(crate) fn set_acl(
    file: &OwnedFd,
    path: &Path,
    entries: &[String],
    mode: u32,
    directory: bool,
    names: &dyn Names,
) -> Result<(), FsError> {
    let malformed =
        |reason: String| FsError::Attribute { path: path.to_owned(), attribute: "acl".into(), reason };
    let lists = Lists::parse(entries, names).map_err(malformed)?;
    if !directory && !lists.default.is_empty() {
        return Err(malformed("only a directory has `default:` entries".into()));
    }
    for (name, list) in [(ACL_ACCESS, &lists.access), (ACL_DEFAULT, &lists.default)] {
        if directory || name == ACL_ACCESS {
            let bytes = (!list.is_empty()).then(|| list.to_attribute(mode));
            set(file, path, name, bytes.as_deref())?;
        }
    }
    Ok(())
}
