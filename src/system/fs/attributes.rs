//! Owner, group, mode and what hangs on them, set on an inode that is already open.

use rustix::fs::{AtFlags, Gid, Mode, Stat, Uid};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::FsError;
use super::acl::List;
use super::extended;
use crate::plan::{Attributes, Principal};
use crate::system::accounts::Owners;
use crate::system::observe::FileType;

/// Sets what is `Some`, in the order in which nothing undoes anything: owner (clears set-id bits and capabilities), mode, list,
/// other attributes, label. The immutable flag is the caller's, since it must be last.
pub(crate) fn write(
    file: &OwnedFd,
    path: &Path,
    file_type: FileType,
    attributes: &Attributes,
    owners: &Owners,
) -> Result<(), FsError> {
    let refused = |errno| refused(file, file_type, path, errno);
    let now = rustix::fs::fstat(file).map_err(refused)?;
    let (uid, gid) = ids(path, attributes, owners)?;
    let uid = uid.filter(|uid| uid.as_raw() != now.st_uid);
    let gid = gid.filter(|gid| gid.as_raw() != now.st_gid);
    let owned_anew = uid.is_some() || gid.is_some();
    if owned_anew {
        rustix::fs::chownat(file, "", uid, gid, AtFlags::EMPTY_PATH).map_err(refused)?;
    }
    if file_type != FileType::Symlink {
        write_mode(file, path, file_type, attributes, owners, &now, owned_anew)?;
    }
    for (name, value) in &attributes.xattrs {
        let value = extended::value_bytes(value).map_err(|reason| FsError::Attribute {
            path: path.to_owned(),
            attribute: name.clone(),
            reason,
        })?;
        extended::set(file, path, name, Some(&value))?;
    }
    if let Some(label) = &attributes.selinux {
        extended::set(file, path, extended::SELINUX, Some(format!("{label}\0").as_bytes()))?;
    }
    Ok(())
}

fn write_mode(
    file: &OwnedFd,
    path: &Path,
    file_type: FileType,
    attributes: &Attributes,
    owners: &Owners,
    now: &Stat,
    owned_anew: bool,
) -> Result<(), FsError> {
    let shown = now.st_mode & 0o7777;
    let Some(entries) = &attributes.acl else {
        return match attributes.mode {
            Some(mode) if mode != shown || owned_anew => chmod(file, path, file_type, mode),
            // A change of owner drops set-id bits that nobody asked to drop.
            None if owned_anew && shown & 0o6000 != 0 => chmod(file, path, file_type, shown),
            _ => Ok(()),
        };
    };
    let present = extended::attribute(&extended::by_descriptor(file), extended::ACL_ACCESS)
        .map_err(|errno| refused(file, file_type, path, errno))?;
    let present = present.as_deref().and_then(List::from_attribute).unwrap_or_default();
    let mode = attributes.mode.unwrap_or_else(|| present.declared_mode(shown));
    // Without a list first: then the mode's group bits are the group's.
    extended::set(file, path, extended::ACL_ACCESS, None)?;
    chmod(file, path, file_type, mode)?;
    extended::set_acl(file, path, entries, mode, file_type == FileType::Directory, owners)
}

fn chmod(file: &OwnedFd, path: &Path, file_type: FileType, mode: u32) -> Result<(), FsError> {
    let bits = Mode::from_raw_mode(mode);
    match rustix::fs::fchmod(file, bits) {
        // An `O_PATH` descriptor; its link under /proc leads to the inode and nowhere else.
        Err(Errno::BADF) => rustix::fs::chmod(extended::by_descriptor(file), bits),
        other => other,
    }
    .map_err(|errno| refused(file, file_type, path, errno))
}

/// The numbers of owner and group, as the host knows them now.
pub(crate) fn ids(
    path: &Path,
    attributes: &Attributes,
    owners: &Owners,
) -> Result<(Option<Uid>, Option<Gid>), FsError> {
    let unknown = |what: &'static str, principal: &Principal| FsError::UnknownPrincipal {
        path: path.to_owned(),
        what,
        name: match principal {
            Principal::Name(name) => name.clone(),
            Principal::Id(id) => id.to_string(),
        },
    };
    let owner = attributes.owner.as_ref();
    let group = attributes.group.as_ref();
    Ok((
        owner
            .map(|user| owners.uid(user).ok_or_else(|| unknown("user", user)))
            .transpose()?
            .map(Uid::from_raw),
        group
            .map(|group| owners.gid(group).ok_or_else(|| unknown("group", group)))
            .transpose()?
            .map(Gid::from_raw),
    ))
}

/// Says of a refusal by an immutable or append-only inode what it is.
pub(crate) fn refused(file: &OwnedFd, file_type: FileType, path: &Path, errno: Errno) -> FsError {
    use rustix::fs::IFlags;
    let flags = || extended::flags(file, file_type).ok().flatten().unwrap_or(IFlags::empty());
    if errno == Errno::PERM && flags().intersects(IFlags::IMMUTABLE | IFlags::APPEND) {
        return FsError::Immutable { path: path.to_owned() };
    }
    FsError::from_errno("set attributes of", path, errno)
}
