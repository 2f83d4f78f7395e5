//! Who changed a path last, as far as that can be told cheaply.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::accounts::user_name;
use crate::error::escaped;

/// Where auditd writes.
const AUDIT: &str = "/var/log/audit/audit.log";

/// So much of its end is read.
const TAIL: u64 = 256 << 10;

/// Who was at a path last: what the audit system recorded of it, where somebody had it record that; else whose the thing is and when it
/// was written. `None`: nothing is there.
pub fn last_writer(path: &Path) -> Option<String> {
    tail(Path::new(AUDIT)).and_then(|log| audited(&log, path)).or_else(|| owner(path))
}

fn tail(log: &Path) -> Option<String> {
    let mut file = std::fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last record of a path by somebody else than abide, in auditd's format: `type=… msg=audit(TIME:NUMBER): …`, where records of one
/// event share the number, and names are quoted, or in hexadecimal where they have unusual characters.
fn audited(log: &str, path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let hex: String = path.bytes().map(|byte| format!("{byte:02X}")).collect();
    let names = [format!(" name=\"{path}\""), format!(" name={hex}")];
    let of = |line: &str, name: &str| names.iter().any(|text| line.contains(text)) && line.starts_with(name);
    let about = log.lines().rev().filter(|line| of(line, "type=PATH"));
    about.filter_map(|line| event(line)).find_map(|event| {
        let call =
            log.lines().find(|line| line.starts_with("type=SYSCALL") && self::event(line) == Some(event))?;
        let program = field(call, "exe")?;
        if program.ends_with("/abide") {
            return None;
        }
        let user = field(call, "auid").and_then(|id| id.parse().ok()).filter(|id| *id != u32::MAX);
        let user = user.or_else(|| field(call, "uid")?.parse().ok())?;
        Some(format!(
            "by the audit log it was changed last by {} (process {}) of {}",
            escaped(program),
            escaped(field(call, "pid").unwrap_or("unknown")),
            named(user)
        ))
    })
}

fn event(line: &str) -> Option<&str> {
    line.split_once("msg=audit(")?.1.split_once(')').map(|(event, _)| event)
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = line.split(' ').filter_map(|word| word.split_once('='));
    words.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

fn owner(path: &Path) -> Option<String> {
    let found = std::fs::symlink_metadata(path).ok()?;
    let time = jiff::Timestamp::from_second(found.ctime())
        .map_or_else(|_| String::new(), |time| format!(" at {time}"));
    Some(format!("what is there now belongs to {} and was changed last{time}", named(found.uid())))
}

fn named(id: u32) -> String {
    user_name(id).map_or_else(|| format!("user {id}"), |name| format!("user {} ({id})", escaped(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"type=SYSCALL msg=audit(1700000000.001:41): arch=c000003e syscall=257 success=yes ppid=1 pid=77 auid=1000 uid=0 exe="/usr/bin/vim"
type=PATH msg=audit(1700000000.001:41): item=0 name="/etc/motd" inode=1
type=SYSCALL msg=audit(1700000000.002:42): arch=c000003e syscall=82 success=yes ppid=1 pid=78 auid=4294967295 uid=0 exe="/usr/bin/abide"
type=PATH msg=audit(1700000000.002:42): item=0 name="/etc/motd" inode=1
type=SYSCALL msg=audit(1700000000.003:43): syscall=82 pid=79 auid=4294967295 uid=0 exe="/usr/bin/puppet"
type=PATH msg=audit(1700000000.003:43): item=0 name=2F6574632F6120 inode=2
"#;

    #[test]
    fn audit_records_name_the_last_one_who_is_not_abide() {
        let motd = audited(LOG, Path::new("/etc/motd")).unwrap();
        assert!(motd.contains("/usr/bin/vim (process 77)") && motd.contains("1000"), "{motd}");
        let other = audited(LOG, Path::new("/etc/a ")).unwrap();
        assert!(other.contains("/usr/bin/puppet (process 79) of user root (0)"), "{other}");
        assert_eq!(audited(LOG, Path::new("/etc/mot")), None);
    }

    #[test]
    fn without_audit_data_the_owner_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let said = owner(folder.path()).unwrap();
        assert!(said.contains("belongs to user ") && said.contains(" at 20"), "{said}");
        assert_eq!(owner(&folder.path().join("absent")), None);
    }
}
