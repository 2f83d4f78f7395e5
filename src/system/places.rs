//! Under which names the host knows a place: through symlinks on the way, and through mounts that show one folder twice.
//!
//! Whoever forbids a path has to forbid the place, whatever it is called: see [`plan::law`](crate::plan::law).

use std::path::{Component, Path, PathBuf};

/// As the kernel's own limit (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// What has to be known of a host to tell names apart from places.
pub trait Places {
    /// The target of the symlink at a path; `None` when there is none.
    fn link(&self, path: &Path) -> Option<PathBuf>;

    /// What is mounted, in the order in which it was.
    fn mounts(&self) -> &[Mount];

    /// The path without symlinks on the way; its last component is not followed. `planned` are symlinks that are yet to be made.
    fn resolved(&self, path: &Path, planned: &dyn Fn(&Path) -> Option<PathBuf>) -> PathBuf {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
        let mut resolved = PathBuf::from("/");
        let mut pending: Vec<PathBuf> = parts(parent);
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part.as_os_str() == ".." {
                resolved.pop();
                continue;
            }
            let next = resolved.join(part);
            match planned(&next).or_else(|| self.link(&next)).filter(|_| links < MOST_LINKS) {
                Some(target) => {
                    links += 1;
                    if target.is_absolute() {
                        resolved = PathBuf::from("/");
                    }
                    pending.extend(parts(&target));
                }
                None => resolved = next,
            }
        }
        resolved.join(name)
    }

    /// Every other path that leads to the same place because a mount shows it there; with `inside` also those that lead to
    /// something in it.
    fn shown(&self, path: &Path, inside: bool) -> Vec<PathBuf> {
        let around = self.mounts().iter().filter(|mount| path.starts_with(&mount.point));
        // Of those at one point the last one covers the others, and it is the last of the longest.
        let Some(own) = around.max_by_key(|mount| mount.point.as_os_str().len()) else { return Vec::new() };
        let Ok(rest) = path.strip_prefix(&own.point) else { return Vec::new() };
        let place = joined(&own.root, rest);
        let others = self.mounts().iter().filter(|mount| mount.device == own.device && *mount != own);
        let seen = others.filter_map(|mount| match place.strip_prefix(&mount.root) {
            Ok(rest) => Some(joined(&mount.point, rest)),
            Err(_) => (inside && mount.root.starts_with(&place)).then(|| mount.point.clone()),
        });
        seen.filter(|other| other != path).collect()
    }
}

/// Joins, and adds no slash where there is nothing to join.
fn joined(path: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { path.to_owned() } else { path.join(rest) }
}

/// The components that are to be walked, the first one last.
fn parts(path: &Path) -> Vec<PathBuf> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// One mount, as `/proc/self/mountinfo` has it (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the file system.
    pub device: String,
    /// Which folder of the file system is shown.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
}

/// This host.
#[derive(Debug)]
pub struct HostPlaces {
    mounts: Vec<Mount>,
}

impl HostPlaces {
    /// Looks at what is mounted now.
    pub fn load() -> HostPlaces {
        // Without /proc there is no host; a path is then what it is called.
        let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        HostPlaces { mounts: parse(&text) }
    }
}

impl Places for HostPlaces {
    fn link(&self, path: &Path) -> Option<PathBuf> {
        std::fs::read_link(path).ok()
    }

    fn mounts(&self) -> &[Mount] {
        &self.mounts
    }
}

fn parse(text: &[u8]) -> Vec<Mount> {
    let mount = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let device = String::from_utf8_lossy(fields.next()?).into_owned();
        Some(Mount { device, root: unescaped(fields.next()?), point: unescaped(fields.next()?) })
    };
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

/// Undoes the kernel's `\040` for blanks and the like.
fn unescaped(field: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        match octal {
            Some(digits) => {
                bytes.push(
                    digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::collections::BTreeMap;

    /// A host of a few symlinks and mounts.
    #[derive(Debug, Default)]
    pub(crate) struct MemoryPlaces {
        pub(crate) links: BTreeMap<PathBuf, PathBuf>,
        pub(crate) mounts: Vec<Mount>,
    }

    impl MemoryPlaces {
        pub(crate) fn new(links: &[(&str, &str)], mountinfo: &str) -> MemoryPlaces {
            let links = links.iter().map(|(path, target)| ((*path).into(), (*target).into())).collect();
            MemoryPlaces { links, mounts: parse(mountinfo.as_bytes()) }
        }
    }

    impl Places for MemoryPlaces {
        fn link(&self, path: &Path) -> Option<PathBuf> {
            self.links.get(path).cloned()
        }

        fn mounts(&self) -> &[Mount] {
            &self.mounts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::MemoryPlaces;
    use super::*;

    const MOUNTS: &str = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
        2 1 8:2 / /var rw - ext4 /dev/sda2 rw\n\
        3 1 8:2 /lib/abide /srv/bound\\040here rw - ext4 /dev/sda2 rw\n\
        4 1 8:1 /etc /srv/etc rw - ext4 /dev/sda1 rw\n\
        5 1 8:1 /etc/abide/facts.d /srv/facts rw - ext4 /dev/sda1 rw\n";

    #[test]
    fn symlinks_on_the_way_are_followed_and_the_last_one_is_not() {
        let links =
            [("/srv/a", "/etc"), ("/srv/b", "../etc/./abide"), ("/srv/loop", "loop"), ("/etc/x", "/tmp")];
        let places = MemoryPlaces::new(&links, "");
        for (path, planned, expected) in [
            ("/srv/a/abide/x", "", "/etc/abide/x"),
            ("/srv/b/trust.toml", "", "/etc/abide/trust.toml"),
            ("/srv/a", "", "/srv/a"),
            ("/srv/a/x", "", "/etc/x"),
            ("/srv/loop/x", "", "/srv/loop/x"),
            ("/srv/new/x", "", "/srv/new/x"),
            ("/srv/new/x", "/etc/abide", "/etc/abide/x"),
        ] {
            let make =
                |path: &Path| (!planned.is_empty() && path == Path::new("/srv/new")).then(|| planned.into());
            assert_eq!(places.resolved(path.as_ref(), &make), Path::new(expected), "{path} {planned}");
        }
    }

    #[test]
    fn a_mount_shows_a_place_again() {
        let places = MemoryPlaces::new(&[], MOUNTS);
        for (path, expected) in [
            ("/var/lib/abide", vec!["/srv/bound here"]),
            ("/var/lib/abide/store", vec!["/srv/bound here/store"]),
            ("/srv/bound here/store", vec!["/var/lib/abide/store"]),
            ("/etc/abide", vec!["/srv/etc/abide", "/srv/facts"]),
            ("/srv/etc/abide", vec!["/etc/abide", "/srv/facts"]),
            ("/srv/facts/x", vec!["/etc/abide/facts.d/x", "/srv/etc/abide/facts.d/x"]),
            ("/run/abide", vec![]),
            ("/var/lib", vec!["/srv/bound here"]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(places.shown(path.as_ref(), true), expected, "{path}");
        }
        assert!(places.shown("/var/lib".as_ref(), false).is_empty());
    }
}
