//! Replace a small file of abide's own, whole or not at all.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::failpoint::reach;

/// Writes `bytes` beside `path`, makes them durable and renames them into place.
///
/// # Errors
/// The system's; the old file is then as it was.
#[expect(clippy::disallowed_methods, reason = "a file of abide's own, in a directory of its own")]
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let folder = path.parent().ok_or_else(|| std::io::Error::other("a path without a folder"))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let temporary = folder.join(name);
    let written = (|| {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        reach("own file: before");
        let mut file = options.open(&temporary)?;
        reach("own file: made");
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        reach("own file: synced");
        std::fs::rename(&temporary, path)?;
        reach("own file: renamed");
        std::fs::File::open(folder)?.sync_all()?;
        reach("own file: on disk");
        Ok(())
    })();
    if written.is_err() {
        // Nothing more can be done about a temporary file that cannot be removed.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Removes what dead processes left of [`replace`] in a folder. Those that live have theirs still to rename.
pub fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let of =
            name.to_str().and_then(|name| name.strip_prefix('.')?.rsplit_once('.')?.1.parse::<u32>().ok());
        if of.is_some_and(|process| !crate::system::process_exists(process)) {
            // Whoever removed it first did the same.
            let _ = remove(&entry.path());
        }
    }
}

/// Keeps a file of abide's own under `name` in `folder`, too, as it is now; makes the folder, and removes what has none of the names in
/// `kept`. Both are on one file system.
///
/// # Errors
/// The system's.
#[expect(clippy::disallowed_methods, reason = "files of abide's own, in a folder that only root can change")]
pub fn keep_link(file: &Path, folder: &Path, name: &str, kept: &[String]) -> std::io::Result<()> {
    if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(folder)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let temporary = folder.join(format!(".{name}"));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::hard_link(file, &temporary)?,
    }
    reach("own file: link made");
    // Where both are the same file already, rename does nothing and leaves the temporary name.
    std::fs::rename(&temporary, folder.join(name))?;
    reach("own file: link renamed");
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !kept.iter().any(|kept| entry.file_name() == kept.as_str()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    std::fs::File::open(folder)?.sync_all()
}

/// Gives a file of abide's own another name.
///
/// # Errors
/// The system's.
#[expect(clippy::disallowed_methods, reason = "a file of abide's own, in a folder that only root can change")]
pub fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(from, to)
}

/// Copies a file as one of abide's own, whole or not at all, with the label that says what a program of this kind may do.
///
/// # Errors
/// The system's; what was there before is then as it was.
#[expect(
    clippy::disallowed_methods,
    reason = "a file of abide's own, in a directory that only root can change"
)]
pub fn copy(source: &Path, path: &Path, mode: u32) -> std::io::Result<()> {
    const LABEL: &str = "security.selinux";
    let folder = path.parent().ok_or_else(|| std::io::Error::other("a path without a folder"))?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let temporary = folder.join(name);
    let written = (|| {
        let mut from = std::fs::File::open(source)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        std::io::copy(&mut from, &mut file)?;
        let mut label = [0; 256];
        // Most hosts have none, and a file system that takes none has no policy that asks for one.
        if let Ok(length) = rustix::fs::fgetxattr(&from, LABEL, &mut label[..]) {
            let _ = rustix::fs::fsetxattr(&file, LABEL, &label[..length], rustix::fs::XattrFlags::empty());
        }
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // Nothing more can be done about a temporary file that cannot be removed.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Makes a symlink of abide's own, with the folder that it lies in; one that is there already stays.
///
/// # Errors
/// The system's.
#[expect(clippy::disallowed_methods, reason = "a link of abide's own, in a folder that only root can change")]
pub fn link(target: &Path, path: &Path) -> std::io::Result<()> {
    let folder = path.parent().ok_or_else(|| std::io::Error::other("a path without a folder"))?;
    std::fs::create_dir_all(folder)?;
    match std::os::unix::fs::symlink(target, path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::File::open(folder)?.sync_all(),
    }
}

/// Removes a file of abide's own.
///
/// # Errors
/// The system's.
#[expect(clippy::disallowed_methods, reason = "a file of abide's own, in a folder that only root can change")]
pub fn remove(path: &Path) -> std::io::Result<()> {
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_copied_whole_and_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let (source, path) = (folder.path().join("source"), folder.path().join("copy"));
        std::fs::write(&source, vec![7; 3 << 20]).unwrap();
        copy(&source, &path, 0o700).unwrap();
        copy(&source, &path, 0o700).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&source).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(copy(&folder.path().join("none"), &path, 0o700).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let wants = folder.path().join("wants/unit");
        link(&path, &wants).unwrap();
        link(&path, &wants).unwrap();
        assert_eq!(std::fs::read_link(&wants).unwrap(), path);
    }

    #[test]
    fn what_a_dead_process_left_is_swept_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desired");
        let living = format!(".desired.{}", std::process::id());
        for place in 0.. {
            let lived = crate::failpoint::lives(place, || replace(&path, b"one", 0o600).unwrap());
            // Numbers of processes end far below this one.
            let _ = std::fs::rename(folder.path().join(&living), folder.path().join(".desired.4294967290"));
            std::fs::write(folder.path().join(&living), b"").unwrap();
            sweep(folder.path());
            let mut names: Vec<_> =
                std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert!(names.iter().all(|name| *name == *living || name == "desired"), "{place}: {names:?}");
            assert!(names.iter().any(|name| *name == *living), "{place}: it may be about to rename it");
            if lived.is_some() {
                return;
            }
        }
    }

    #[test]
    fn a_file_is_replaced_whole_or_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        replace(&path, b"one", 0o644).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"three", 0o600).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
