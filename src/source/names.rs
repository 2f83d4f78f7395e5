//! Which trees are acceptable: names that mean one thing on every machine, in Git's order, with Git's modes.

use gix::ObjectId;
use gix::hash::Kind as HashKind;

use super::objects::{Entry, EntryKind, ObjectError};

/// Entries of one folder. The largest that people keep have some thousand.
const MOST_ENTRIES: usize = 1 << 16;

/// Bytes of a name, as on Linux (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// Reads the raw bytes of a tree strictly; `id` is its name.
///
/// Git itself writes exactly one form; whatever else a tree holds was made by hand, to be seen differently by two readers.
///
/// # Errors
/// [`ObjectError::Malformed`] with what is wrong.
pub fn entries(id: ObjectId, mut bytes: &[u8]) -> Result<Vec<Entry>, ObjectError> {
    let mut entries: Vec<Entry> = Vec::new();
    let malformed = |reason: String| ObjectError::Malformed { id, reason };
    while !bytes.is_empty() {
        let (entry, rest) = one(bytes, id.kind()).map_err(malformed)?;
        if let Some(before) = entries.last()
            && order(before, &entry) != std::cmp::Ordering::Less
        {
            return Err(malformed(format!("`{}` is twice or not in its place", entry.name)));
        }
        if entries.len() >= MOST_ENTRIES {
            return Err(malformed(format!("it has more than {MOST_ENTRIES} entries")));
        }
        entries.push(entry);
        bytes = rest;
    }
    // A file `a` and a folder `a` are not neighbours in Git's order when `a.txt` stands between them.
    let mut names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(malformed(format!("`{}` is there twice", pair[0])));
    }
    Ok(entries)
}

fn one(bytes: &[u8], hash: HashKind) -> Result<(Entry, &[u8]), String> {
    let space = bytes.iter().position(|byte| *byte == b' ').ok_or("it ends in a mode")?;
    let kind = match &bytes[..space] {
        b"40000" => EntryKind::Tree,
        b"100644" => EntryKind::File,
        b"100755" => EntryKind::Executable,
        b"120000" => EntryKind::Symlink,
        b"160000" => EntryKind::Submodule,
        other => {
            return Err(format!("mode `{}` is none of Git's", String::from_utf8_lossy(other).escape_debug()));
        }
    };
    let rest = &bytes[space + 1..];
    let end = rest.iter().position(|byte| *byte == 0).ok_or("it ends in a name")?;
    let name = std::str::from_utf8(&rest[..end]).map_err(|_| "a name is not UTF-8".to_owned())?;
    if let Some(reason) = wrong(name) {
        return Err(format!("the name `{}` {reason}", crate::error::escaped(name)));
    }
    let rest = &rest[end + 1..];
    let length = hash.len_in_bytes();
    let object = rest.get(..length).ok_or("it ends in an object's name")?;
    let object = ObjectId::try_from(object).map_err(|_| "an object's name has a wrong length".to_owned())?;
    Ok((Entry { name: name.to_owned(), kind, id: object }, &rest[length..]))
}

/// What is wrong with a name, if anything.
fn wrong(name: &str) -> Option<&'static str> {
    if name.is_empty() || name == "." || name == ".." {
        return Some("is no name");
    }
    if name.len() > LONGEST_NAME {
        return Some("is longer than a file system takes");
    }
    if name.contains('/') || name.chars().any(char::is_control) {
        return Some("has a slash or a control character");
    }
    if is_dot_git(name) {
        return Some("means `.git` on some file systems");
    }
    None
}

/// Whether a file system takes this name for `.git`: by case, by what HFS+ ignores, by NTFS short names, trailing dots, spaces and streams.
/// A server has none of these file systems, but the desired state is also checked out by its authors.
fn is_dot_git(name: &str) -> bool {
    // Characters that HFS+ ignores when it compares names (git's utf8.c, next_hfs_char).
    let ignored = |character: &char| !matches!(character, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let plain: String = name.chars().filter(ignored).flat_map(char::to_lowercase).collect();
    let first = plain.split([':', '\\']).next().unwrap_or_default().trim_end_matches([' ', '.']);
    first == ".git" || first == "git~1"
}

/// Git sorts a folder as if its name ended with a slash.
fn order(left: &Entry, right: &Entry) -> std::cmp::Ordering {
    let key = |entry: &Entry| {
        let slash = (entry.kind == EntryKind::Tree).then_some(b'/');
        entry.name.bytes().chain(slash).collect::<Vec<u8>>()
    };
    key(left).cmp(&key(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(list: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (mode, name) in list {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend_from_slice(&[7; 20]);
        }
        bytes
    }

    fn check(list: &[(&str, &str)], problem: Option<&str>) {
        let id = ObjectId::null(HashKind::Sha1);
        match (entries(id, &tree(list)), problem) {
            (Ok(entries), None) => assert_eq!(entries.len(), list.len()),
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{list:?}: {error}"),
            (outcome, _) => panic!("{list:?}: {outcome:?}"),
        }
    }

    #[test]
    fn trees_as_git_writes_them_are_read() {
        check(&[], None);
        check(&[("100644", "a"), ("100755", "b"), ("120000", "c"), ("40000", "d"), ("160000", "e")], None);
        check(&[("100644", "a.txt"), ("40000", "a"), ("100644", "a0")], None);
        check(&[("100644", ".gitignore"), ("100644", ".gitmodules"), ("100644", "naïve ⚙")], None);
    }

    #[test]
    fn other_trees_are_refused() {
        check(&[("100644", "a"), ("100644", "a")], Some("twice"));
        check(&[("100644", "a"), ("100644", "a.txt"), ("40000", "a")], Some("twice"));
        check(&[("100644", "b"), ("100644", "a")], Some("place"));
        check(&[("40000", "a"), ("100644", "a.txt")], Some("place"));
        for mode in ["100664", "040000", "0", "", "100600", "100000"] {
            check(&[(mode, "a")], Some("mode"));
        }
        for name in ["", ".", ".."] {
            check(&[("100644", name)], Some("no name"));
        }
        check(&[("100644", &"é".repeat(127))], None);
        check(&[("100644", &"é".repeat(128))], Some("longer"));
        for name in ["a/b", "/", "a\nb", "\u{7f}"] {
            check(&[("100644", name)], Some("slash or a control"));
        }
        for name in [
            ".git",
            ".GIT",
            ".Git ",
            ".git.",
            "git~1",
            "GIT~1",
            ".g\u{200c}it",
            ".git::$INDEX_ALLOCATION",
            ".git\\x",
        ] {
            check(&[("40000", name)], Some("means `.git`"));
        }
    }

    #[test]
    fn a_folder_has_its_bound() {
        let names: Vec<String> = (0..=MOST_ENTRIES).map(|number| format!("{number:06}")).collect();
        let list: Vec<(&str, &str)> = names.iter().map(|name| ("100644", name.as_str())).collect();
        check(&list[1..], None);
        check(&list, Some("more than 65536 entries"));
    }

    #[test]
    fn half_trees_are_refused() {
        let id = ObjectId::null(HashKind::Sha1);
        let whole = tree(&[("100644", "a")]);
        for length in 1..whole.len() {
            assert!(entries(id, &whole[..length]).is_err(), "{length}");
        }
        let mut latin = whole.clone();
        latin[7] = 0xe9;
        assert!(entries(id, &latin).is_err_and(|error| error.to_string().contains("UTF-8")));
    }
}
