//! Replace a small file of abide's own, whole or not at all.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
