//! Watches the places that a desired state is about, and says when something happened there.
//!
//! **Invariant:** a watch only says "look": what is wrong, if anything, is found by the run that follows. An event that is lost
//! (overflow) or about a watch itself counts as one that happened, and [`Watches::set`] says whether it began to watch something: what
//! happened there before nobody heard, so that whoever watches looks once more.

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use tokio::io::unix::AsyncFd;

use super::route::{self, Members};

/// Where something happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// At a path, or somewhere in a directory of which everything matters.
    Path(PathBuf),
    /// To a unit.
    Unit(String),
    /// Nobody knows: more happened at once than could be told, or the telling broke off.
    Anywhere,
}

/// Files, directories and databases under watch.
pub struct Watches {
    inotify: AsyncFd<Inotify>,
    watched: HashMap<WatchDescriptor, Watched>,
}

/// A watched directory.
struct Watched {
    folder: PathBuf,
    members: Members,
}

/// What came of setting watches.
#[derive(Debug, Default)]
pub struct Armed {
    /// Something is watched that was not before.
    pub fresh: bool,
    /// Why not all of it is: the system's limit of watches is reached.
    pub missing: Option<std::io::Error>,
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
        Ok(Watches { inotify, watched: HashMap::new() })
    }

    /// Number of watched directories.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// Watches exactly these paths from now on, through all directories on the way to them, and everything in and below `folders`.
    pub fn set(&mut self, paths: &BTreeSet<PathBuf>, folders: &BTreeSet<PathBuf>) -> Armed {
        let mut armed = Armed::default();
        let mut watched: HashMap<WatchDescriptor, Watched> = HashMap::new();
        for (folder, members) in route::directories(paths, folders) {
            let added = match self.add(&folder, mask(&members)) {
                Ok(added) => added,
                // It went away in between, which its parent tells.
                Err(error) if is_gone(&error) => {
                    armed.fresh = true;
                    continue;
                }
                Err(error) => {
                    armed.missing = Some(error);
                    continue;
                }
            };
            match watched.entry(added) {
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(Watched { folder, members });
                }
                // One directory under two names, as bind mounts make them: the last mask has replaced the one before.
                std::collections::hash_map::Entry::Occupied(mut occupied) => {
                    occupied.get_mut().members.join(members);
                    let mask = mask(&occupied.get().members);
                    armed.missing = self.add(&folder, mask).err().or(armed.missing);
                }
            }
        }
        let new = |(descriptor, now): (&WatchDescriptor, &Watched)| {
            self.watched.get(descriptor).is_none_or(|before| !before.members.cover(&now.members))
        };
        armed.fresh |= watched.iter().any(new);
        for descriptor in self.watched.keys().filter(|descriptor| !watched.contains_key(descriptor)) {
            // A directory that is gone took its watch with it.
            let _ = self.inotify.get_ref().watches().remove(descriptor.clone());
        }
        self.watched = watched;
        armed
    }

    /// Adding a directory that is watched already gives its descriptor again.
    fn add(&self, folder: &std::path::Path, mask: WatchMask) -> std::io::Result<WatchDescriptor> {
        self.inotify.get_ref().watches().add(folder, mask)
    }

    /// Waits until something happened to a watched path, and says where.
    ///
    /// # Errors
    /// The inotify instance fails.
    pub async fn changed(&mut self) -> std::io::Result<BTreeSet<Source>> {
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let mut buffer = [0; 16 << 10];
            match ready.get_inner_mut().read_events(&mut buffer) {
                Ok(events) => {
                    let sources: BTreeSet<Source> =
                        events.filter_map(|event| source(&self.watched, &event)).collect();
                    if !sources.is_empty() {
                        return Ok(sources);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn mask(members: &Members) -> WatchMask {
    let way = WatchMask::MOVE
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    match members.only_way() {
        true => way,
        false => way | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB,
    }
}

/// Where an event happened; `None` when it does not matter.
fn source(
    watched: &HashMap<WatchDescriptor, Watched>,
    event: &inotify::Event<&std::ffi::OsStr>,
) -> Option<Source> {
    if event.mask.contains(EventMask::Q_OVERFLOW) {
        return Some(Source::Anywhere);
    }
    // One that is not known is of a watch that was removed since.
    let Watched { folder, members } = watched.get(&event.wd)?;
    match event.name {
        // About the directory itself, or the end of its watch.
        None => Some(Source::Path(folder.clone())),
        Some(_) if members.all => Some(Source::Path(folder.clone())),
        Some(name) => members.have(name).then(|| Source::Path(folder.join(name))),
    }
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
        assert!(watches.set(&[watched.clone(), deep.clone()].into(), &BTreeSet::new()).fresh);

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
        watches.set(&[one.clone()].into(), &BTreeSet::new());
        let before = watches.len();
        watches.set(&[two.clone()].into(), &BTreeSet::new());
        assert_eq!(watches.len(), before);
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
        watches.set(&[deep.join("declared")].into(), &[folder.path().join("tree")].into());
        std::fs::write(deep.join("stranger"), "x").unwrap();
        tokio::time::timeout(Duration::from_secs(5), watches.changed()).await.unwrap().unwrap();
    }

    async fn heard(watches: &mut Watches) -> BTreeSet<Source> {
        tokio::time::timeout(Duration::from_secs(5), watches.changed()).await.unwrap().unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_armed_anew_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().join("a/b/file")].into();
        let none = BTreeSet::new();
        let mut watches = Watches::new().unwrap();
        assert!(watches.set(&paths, &none).fresh);
        assert!(!watches.set(&paths, &none).fresh);
        // Created later: its parent tells, and then it is watched itself.
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        assert_eq!(heard(&mut watches).await, [Source::Path(folder.path().join("a"))].into());
        assert!(watches.set(&paths, &none).fresh);
        assert!(!watches.set(&paths, &none).fresh);
        // Another name in a directory that is watched already.
        assert!(watches.set(&[folder.path().join("a/b/other")].into(), &none).fresh);
        assert!(watches.set(&none, &[folder.path().join("a")].into()).fresh);
        assert!(!watches.set(&none, &[folder.path().join("a")].into()).fresh);
        // Another directory in the place of one that was watched.
        std::fs::rename(folder.path().join("a/b"), folder.path().join("a/c")).unwrap();
        std::fs::create_dir(folder.path().join("a/b")).unwrap();
        assert!(watches.set(&none, &[folder.path().join("a")].into()).fresh);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_directory_on_the_way_that_is_moved_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (top, link) = (folder.path().join("top"), folder.path().join("link"));
        std::fs::create_dir_all(top.join("deep/er")).unwrap();
        std::os::unix::fs::symlink("top", &link).unwrap();
        let paths = [link.join("deep/er/file")].into();
        let mut watches = Watches::new().unwrap();
        watches.set(&paths, &BTreeSet::new());
        std::fs::rename(&top, folder.path().join("gone")).unwrap();
        assert_eq!(heard(&mut watches).await, [Source::Path(top.clone())].into());
        std::fs::rename(folder.path().join("gone"), &top).unwrap();
        heard(&mut watches).await;
        std::fs::remove_file(&link).unwrap();
        assert_eq!(heard(&mut watches).await, [Source::Path(link)].into());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn events_that_were_lost_are_heard_as_such() {
        let limit: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            .map_or(16384, |text| text.trim().parse().unwrap());
        if limit > 100_000 {
            eprintln!("skipped: the queue has room for {limit} events");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut watches = Watches::new().unwrap();
        watches.set(&[folder.path().join("watched")].into(), &BTreeSet::new());
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        for _ in 0..=limit / 2 {
            // Two names in turn, or equal events would become one.
            std::fs::write(&one, "").unwrap();
            std::fs::write(&two, "").unwrap();
        }
        assert_eq!(heard(&mut watches).await, [Source::Anywhere].into());
    }
}
