//! What of the host is in use right now: processes of users, sessions, mounts, swap files, loop devices, files of packages.
//!
//! Only looked at where something is to be removed. Working directories of processes are not: the agent's sandbox may not see them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::accounts;

/// What is in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processes by the number of their user: id and name of each.
    pub processes: BTreeMap<u32, Vec<(u32, String)>>,
    /// Numbers of users who are logged in.
    pub sessions: Vec<u32>,
    /// Paths that are used as a whole, with what uses them.
    pub paths: Vec<(PathBuf, &'static str)>,
    /// Users of the host's own files: name, number, number of the primary group.
    pub users: accounts::Members,
    /// Numbers of groups by name.
    pub groups: BTreeMap<String, u32>,
}

impl Usage {
    /// Looks at the host. What cannot be read counts as not used: the tools that remove things refuse by themselves, too.
    pub fn look() -> Usage {
        let (users, groups) = accounts::everybody();
        Usage {
            processes: processes(),
            sessions: sessions(Path::new(SESSIONS)),
            paths: paths(),
            users,
            groups,
        }
    }
}

/// Where logind keeps sessions, a file for each (sd-login(3) reads them, too).
const SESSIONS: &str = "/run/systemd/sessions";

fn processes() -> BTreeMap<u32, Vec<(u32, String)>> {
    let mut processes: BTreeMap<u32, Vec<(u32, String)>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        if let Some((uid, name)) = process(&status) {
            processes.entry(uid).or_default().push((pid, name));
        }
    }
    processes.values_mut().for_each(|of_user| of_user.sort());
    processes
}

/// User and name of a process, from its `status` (proc_pid_status(5)).
fn process(status: &str) -> Option<(u32, String)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let uid = field("Uid:")?.split_whitespace().next()?.parse().ok()?;
    // What has ended and is not waited for yet is no process any more.
    let ended = field("State:").is_some_and(|state| state.starts_with('Z'));
    (!ended).then(|| (uid, field("Name:").unwrap_or_default().to_owned()))
}

/// Numbers of users with a session: those of logind itself and of its helpers are none.
pub fn sessions(folder: &Path) -> Vec<u32> {
    let mut users = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        users.extend(session(&text));
    }
    users.sort_unstable();
    users.dedup();
    users
}

/// Whether somebody is logged in.
pub fn anybody_logged_in() -> bool {
    !sessions(Path::new(SESSIONS)).is_empty()
}

fn session(text: &str) -> Option<u32> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let of_a_person = field("CLASS").is_none_or(|class| class.starts_with("user"));
    let open = field("STATE").is_none_or(|state| state != "closing");
    field("UID").filter(|_| of_a_person && open)?.parse().ok()
}

/// Mount points, swap files, files behind loop devices.
fn paths() -> Vec<(PathBuf, &'static str)> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    // The host's own mounts, not those that a sandbox has around this process.
    let mounts = read("/proc/1/mountinfo").or_else(|| read("/proc/self/mountinfo")).unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    let mut used: Vec<(PathBuf, &'static str)> =
        mounts.map(|path| (path, "something is mounted there")).collect();
    let swaps = read("/proc/swaps").unwrap_or_default();
    let swaps = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescaped);
    used.extend(swaps.map(|path| (path, "it is swapped to")));
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        if let Ok(file) = std::fs::read_to_string(entry.path().join("loop/backing_file")) {
            used.push((file.trim_end_matches('\n').into(), "a loop device is made of it"));
        }
    }
    used
}

/// A path of /proc, where blanks and backslashes are octal numbers.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(code, character);
    }
    plain.into()
}

/// Files of an installed package, as its package manager lists them; none where that is not known.
pub fn package_files(name: &str) -> Vec<PathBuf> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "+-._:".contains(letter);
    if !name.chars().all(plain) {
        return Vec::new();
    }
    let own = Path::new("/var/lib/dpkg/info");
    let architecture = |entry: &std::fs::DirEntry| {
        let file = entry.file_name();
        file.to_str().is_some_and(|file| {
            file.strip_suffix(".list").is_some_and(|package| package.split(':').next() == Some(name))
        })
    };
    let direct = own.join(format!("{name}.list"));
    let list = match direct.exists() {
        true => Some(direct),
        false => std::fs::read_dir(own)
            .into_iter()
            .flatten()
            .flatten()
            .find(architecture)
            .map(|entry| entry.path()),
    };
    if let Some(text) = list.and_then(|list| std::fs::read_to_string(list).ok()) {
        return text.lines().map(PathBuf::from).collect();
    }
    let command = ["rpm", "--query", "--list", "--", name].map(str::to_owned).to_vec();
    let answer =
        super::exec::run(&super::exec::Program::new(command)).ok().filter(|answer| answer.code == Some(0));
    answer.map_or_else(Vec::new, |answer| {
        String::from_utf8_lossy(&answer.stdout).lines().map(PathBuf::from).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_user_until_it_ended() {
        let status = "Name:\tsleep\nState:\tS (sleeping)\nUid:\t1000\t1000\t1000\t1000\n";
        assert_eq!(process(status), Some((1000, "sleep".into())));
        assert_eq!(process(&status.replace("S (sleeping)", "Z (zombie)")), None);
        assert_eq!(process(""), None);
        let own = rustix::process::geteuid().as_raw();
        assert!(processes()[&own].iter().any(|(pid, _)| *pid == std::process::id()));
    }

    #[test]
    fn sessions_are_those_of_people() {
        for (text, expected) in [
            ("UID=1000\nUSER=ada\nACTIVE=1\nSTATE=active\nCLASS=user\n", Some(1000)),
            ("UID=1000\nSTATE=closing\nCLASS=user\n", None),
            ("UID=0\nSTATE=active\nCLASS=background\n", None),
            ("UID=112\nSTATE=active\nCLASS=greeter\n", None),
            ("", None),
        ] {
            assert_eq!(session(text), expected, "{text}");
        }
    }

    #[test]
    fn mounts_are_seen_and_names_with_blanks_read() {
        let used = paths();
        assert!(used.iter().any(|(path, _)| path == Path::new("/proc")), "{used:?}");
        assert_eq!(unescaped("/a\\040b\\134"), PathBuf::from("/a b\\"));
    }
}
