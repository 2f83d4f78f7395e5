//! Whether the running system is older than the installed one, so that only a reboot brings what is installed into effect.
//!
//! Read from files alone, as `needs-restarting` and update-notifier do: what packages ask for themselves, a kernel that is newer than the running
//! one, and on the RHEL family those packages of which nobody can restart all users.

use std::cmp::Ordering;
use std::path::Path;

use super::facts::Facts;
use super::packages::VersionOrder;

/// Where Debian's packages ask for a reboot, and those of SUSE.
const REQUIRED: [&str; 2] = ["run/reboot-required", "run/reboot-needed"];

/// Of these every process has a part in memory, or nobody can restart them: glibc, systemd, the message bus.
const CORE: &[(&str, &str)] = &[
    ("usr/lib64/libc.so.6", "glibc"),
    ("usr/lib/systemd/systemd", "systemd"),
    ("usr/bin/dbus-broker", "dbus-broker"),
    ("usr/bin/dbus-daemon", "dbus-daemon"),
];

/// Why a reboot is needed, in words; empty: it is not. `booted`: when the system was, seconds since the epoch.
pub fn needed(root: &Path, facts: &Facts, booted: i64) -> Vec<String> {
    let mut reasons = asked_for(root);
    // The kernel of a container is not its own.
    if facts.virtualization != "container" {
        reasons.extend(newer_kernel(root, &facts.kernel));
    }
    if matches!(facts.os.family.as_str(), "rhel" | "suse") {
        let replaced = CORE.iter().filter(|(path, _)| came_after(&root.join(path), booted));
        let names: Vec<&str> = replaced.map(|(_, name)| *name).collect();
        if !names.is_empty() {
            reasons.push(format!("updated since the boot: {}", names.join(", ")));
        }
    }
    reasons
}

fn asked_for(root: &Path) -> Vec<String> {
    let Some(required) = REQUIRED.into_iter().find(|path| root.join(path).exists()) else {
        return Vec::new();
    };
    let packages = std::fs::read_to_string(root.join(format!("{required}.pkgs"))).unwrap_or_default();
    let mut names: Vec<&str> = packages.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    vec![match names.is_empty() {
        true => format!("/{required} is there"),
        false => format!("packages ask for it: {}", names.join(", ")),
    }]
}

/// The newest installed kernel of the running one's flavour, if it is newer.
fn newer_kernel(root: &Path, running: &str) -> Option<String> {
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let boot = names("boot").into_iter().filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned));
    let bootable = |release: &String| root.join("usr/lib/modules").join(release).join("vmlinuz").exists();
    let modules = names("usr/lib/modules").into_iter().filter(bootable);
    let installed = boot.chain(modules).filter(|release| !release.contains("rescue"));
    let newest = installed
        .filter(|release| flavour(release) == flavour(running))
        .max_by(|a, b| VersionOrder::Rpm.compare(a, b))?;
    let newer = VersionOrder::Rpm.compare(&newest, running) == Ordering::Greater;
    newer.then(|| format!("the kernel {newest} is installed and {running} is running"))
}

/// `amd64` of `6.1.0-25-amd64`, `debug` of `5.14.0-427.el9.x86_64+debug`: kernels of other flavours are not the running one's successors.
fn flavour(release: &str) -> &str {
    if let Some((_, flavour)) = release.split_once('+') {
        return flavour;
    }
    let letter =
        |(at, _): &(usize, &str)| release[at + 1..].starts_with(|first: char| first.is_ascii_alphabetic());
    release.match_indices('-').find(letter).map_or("", |(at, _)| &release[at + 1..])
}

/// Whether a file was made after this moment. Its time of change would not do: labels and links change that, too.
fn came_after(path: &Path, moment: i64) -> bool {
    let born = std::fs::metadata(path).and_then(|data| data.created()).ok();
    let born = born.and_then(|born| born.duration_since(std::time::UNIX_EPOCH).ok());
    born.is_some_and(|born| i64::try_from(born.as_secs()).unwrap_or(0) > moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(family: &str, kernel: &str, virtualization: &str) -> Facts {
        let mut facts =
            Facts { kernel: kernel.into(), virtualization: virtualization.into(), ..Facts::default() };
        facts.os.family = family.into();
        facts
    }

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn reasons_are_read_from_files() {
        const NOW: i64 = 4_000_000_000;
        let debian = facts("debian", "6.1.0-25-amd64", "none");
        let rhel = facts("rhel", "5.14.0-427.13.1.el9_4.x86_64", "vm");
        let core = [("usr/lib64/libc.so.6", ""), ("usr/lib/systemd/systemd", "")];
        for (files, facts, booted, expected) in [
            (&[][..], &debian, NOW, &[][..]),
            (
                &[("run/reboot-required", "*** System restart required ***\n")],
                &debian,
                NOW,
                &["/run/reboot-required is there"],
            ),
            (
                &[("run/reboot-needed", "reboot")],
                &facts("suse", "6.4.0", "vm"),
                NOW,
                &["/run/reboot-needed is there"],
            ),
            (
                &[("run/reboot-required", ""), ("run/reboot-required.pkgs", "libc6\nlinux-base\nlibc6\n")],
                &debian,
                NOW,
                &["packages ask for it: libc6, linux-base"],
            ),
            (
                &[
                    ("boot/vmlinuz-6.1.0-25-amd64", ""),
                    ("boot/vmlinuz-6.1.0-9-amd64", ""),
                    ("boot/vmlinuz-6.1.0-30-rt-amd64", ""),
                ],
                &debian,
                NOW,
                &[],
            ),
            (
                &[("boot/vmlinuz-6.1.0-25-amd64", ""), ("boot/vmlinuz-6.1.0-26-amd64", "")],
                &debian,
                NOW,
                &["the kernel 6.1.0-26-amd64 is installed and 6.1.0-25-amd64 is running"],
            ),
            (
                &[
                    ("usr/lib/modules/5.14.0-427.20.1.el9_4.x86_64/vmlinuz", ""),
                    ("boot/vmlinuz-0-rescue-abc", ""),
                ],
                &rhel,
                NOW,
                &[
                    "the kernel 5.14.0-427.20.1.el9_4.x86_64 is installed and 5.14.0-427.13.1.el9_4.x86_64 is running",
                ],
            ),
            (&[("usr/lib/modules/5.14.0-500.el9_4.x86_64/modules.dep", "")], &rhel, NOW, &[]),
            (&core, &rhel, NOW, &[]),
            (&core, &rhel, 1_000_000_000, &["updated since the boot: glibc, systemd"]),
            (&core, &debian, 1_000_000_000, &[]),
            // A container has processes of its own, and no kernel.
            (
                &[("boot/vmlinuz-6.2.0", ""), ("usr/bin/dbus-broker", "")],
                &facts("rhel", "6.1.0", "container"),
                1_000_000_000,
                &["updated since the boot: dbus-broker"],
            ),
        ] {
            assert_eq!(needed(root(files).path(), facts, booted), expected, "{files:?}");
        }
    }

    #[test]
    fn flavours_are_told_apart() {
        for (release, expected) in [
            ("6.1.0-25-amd64", "amd64"),
            ("6.1.0-25-cloud-amd64", "cloud-amd64"),
            ("6.8.0-45-generic", "generic"),
            ("5.14.0-427.el9.x86_64", ""),
            ("5.14.0-427.el9.x86_64+debug", "debug"),
            ("6.10.3-arch1-1", "arch1-1"),
        ] {
            assert_eq!(flavour(release), expected);
        }
    }
}
