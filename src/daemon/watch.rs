//! Watches the places that a desired state is about, and says when something happened there.
//!
//! **Invariant:** a watch only says "look": what is wrong, if anything, is found by the run that follows. An event that is lost
//! (overflow) or about a watch itself counts as one that happened.

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// Files, directories and databases under watch.
pub struct Watches {
    inotify: AsyncFd<Inotify>,
    /// For each watched directory the names in it that matter; `None`: all.
    names: HashMap<WatchDescriptor, Option<HashSet<OsString>>>,
}

impl Watches {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The system has no inotify instance left.
    pub fn new() -> std::io::Result<Watches> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; `Inotify` keeps one descriptor for its whole life"
        )]
        let inotify = AsyncFd::new(Inotify::init()?)?;
        Ok(Watches { inotify, names: HashMap::new() })
    }

    /// Number of watched directories.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Watches exactly these paths from now on, through the directories they are in, and everything in and below `folders`.
    ///
    /// # Errors
    /// The system's limit of watches is reached; what was added until then is watched.
    pub fn set(&mut self, paths: &BTreeSet<PathBuf>, folders: &BTreeSet<PathBuf>) -> std::io::Result<()> {
        let mut wanted: HashMap<PathBuf, Option<HashSet<OsString>>> = HashMap::new();
        for path in paths {
            let (folder, name) = anchor(path);
            wanted
                .entry(folder)
                .or_insert_with(|| Some(HashSet::new()))
                .iter_mut()
                .for_each(|names| names.extend(name.clone()));
        }
        wanted.extend(folders.iter().flat_map(|folder| below(folder)).map(|folder| (folder, None)));
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        let mut names = HashMap::new();
        let mut result = Ok(());
        for (folder, members) in wanted {
            // Adding a directory that is watched already gives its descriptor again.
            match self.inotify.get_ref().watches().add(&folder, mask) {
                Ok(descriptor) => {
                    names.insert(descriptor, members);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => result = Err(error),
            }
        }
        for descriptor in self.names.keys().filter(|descriptor| !names.contains_key(descriptor)) {
            // A directory that is gone took its watch with it.
            let _ = self.inotify.get_ref().watches().remove(descriptor.clone());
        }
        self.names = names;
        result
    }

    /// Waits until something happened to a watched path.
    ///
    /// # Errors
    /// The inotify instance fails.
    pub async fn changed(&mut self) -> std::io::Result<()> {
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let mut buffer = [0; 16 << 10];
            match ready.get_inner_mut().read_events(&mut buffer) {
                Ok(events) => {
                    let mut relevant = false;
                    for event in events {
                        relevant |= matters(&self.names, &event);
                    }
                    if relevant {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }
}

fn matters(
    names: &HashMap<WatchDescriptor, Option<HashSet<OsString>>>,
    event: &inotify::Event<&std::ffi::OsStr>,
) -> bool {
    if event.mask.contains(EventMask::Q_OVERFLOW) {
        return true;
    }
    if event.mask.contains(EventMask::IGNORED) {
        return names.contains_key(&event.wd);
    }
    match (names.get(&event.wd), event.name) {
        (None, _) => false,
        (Some(None), _) | (Some(_), None) => true,
        (Some(Some(members)), Some(name)) => members.contains(name),
    }
}

/// The nearest existing directory above a path, and the name below it that leads there.
fn anchor(path: &Path) -> (PathBuf, Option<OsString>) {
    let mut name = path.file_name();
    let mut folder = path.parent();
    while let Some(candidate) = folder {
        if candidate.is_dir() {
            return (candidate.to_owned(), name.map(OsString::from));
        }
        name = candidate.file_name();
        folder = candidate.parent();
    }
    (PathBuf::from("/"), name.map(OsString::from))
}

/// A directory and all below it; a link is not followed.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        // One that cannot be read is gone, or the run says so.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        left.extend(entries.flatten().filter(is_folder).map(|entry| entry.path()));
        found.push(folder);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(flavor = "current_thread")]
    async fn says_when_a_watched_path_changes_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let watched = folder.path().join("watched");
        let deep = folder.path().join("not/yet/there");
        std::fs::write(&watched, "a").unwrap();
        let mut watches = Watches::new().unwrap();
        watches.set(&[watched.clone(), deep.clone()].into(), &BTreeSet::new()).unwrap();

        std::fs::write(folder.path().join("other"), "x").unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), watches.changed()).await;
        assert!(quiet.is_err(), "a path that is not watched woke us");

        for change in [
            &(|| std::fs::write(&watched, "b")) as &dyn Fn() -> std::io::Result<()>,
            &|| std::fs::set_permissions(&watched, std::os::unix::fs::PermissionsExt::from_mode(0o600)),
            &|| std::fs::remove_file(&watched),
            &|| std::fs::create_dir(folder.path().join("not")),
        ] {
            change().unwrap();
            tokio::time::timeout(Duration::from_secs(5), watches.changed()).await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_new_set_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1/a"), folder.path().join("2/b"));
        for path in [&one, &two] {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
        }
        let mut watches = Watches::new().unwrap();
        watches.set(&[one.clone()].into(), &BTreeSet::new()).unwrap();
        watches.set(&[two.clone()].into(), &BTreeSet::new()).unwrap();
        assert_eq!(watches.len(), 1);
        std::fs::write(&one, "x").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), watches.changed()).await.is_err());
        std::fs::write(&two, "x").unwrap();
        tokio::time::timeout(Duration::from_secs(5), watches.changed()).await.unwrap().unwrap();
    }
    #[tokio::test(flavor = "current_thread")]
    async fn a_stranger_anywhere_below_a_folder_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("tree/deep");
        std::fs::create_dir_all(&deep).unwrap();
        let mut watches = Watches::new().unwrap();
        // The one file that is declared there must not hide the others.
        watches.set(&[deep.join("declared")].into(), &[folder.path().join("tree")].into()).unwrap();
        std::fs::write(deep.join("stranger"), "x").unwrap();
        tokio::time::timeout(Duration::from_secs(5), watches.changed()).await.unwrap().unwrap();
    }
}
