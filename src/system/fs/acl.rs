//! POSIX access control lists: between the kernel's extended attribute and the text that `setfacl` reads.
//!
//! The text lists only what the permission bits do not say: named users and groups, a mask that is not the union of what it masks,
//! and `default:` entries. The entries `user::`, `group::` and `other::` come from the mode, so that mode and list never
//! contradict each other. Format of the attribute: the kernel's `include/uapi/linux/posix_acl_xattr.h`.

use std::collections::BTreeMap;

/// Resolves the names in a list.
pub(crate) trait Names {
    fn user_id(&self, name: &str) -> Option<u32>;
    fn group_id(&self, name: &str) -> Option<u32>;
    fn user_name(&self, id: u32) -> Option<String>;
    fn group_name(&self, id: u32) -> Option<String>;
}

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// One list: permissions (0 to 7) by tag and id, in the kernel's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct List(BTreeMap<(u16, u32), u16>);

/// Both lists of an inode, from text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) access: List,
    pub(crate) default: List,
}

impl Lists {
    /// Reads `setfacl` entries: `user:alice:rw-`, `g:web:r`, `mask::r`, `default:user:alice:rwx`. The three entries
    /// that the mode says are refused in the access list, and completed in the default one.
    pub(crate) fn parse(entries: &[String], names: &dyn Names) -> Result<Lists, String> {
        let mut lists = Lists::default();
        for entry in entries {
            let (list, rest) = match entry.strip_prefix("default:").or_else(|| entry.strip_prefix("d:")) {
                Some(rest) => (&mut lists.default, rest),
                None => (&mut lists.access, entry.as_str()),
            };
            let is_access = rest.len() == entry.len();
            let (tag, id, permissions) =
                parse_entry(rest, names).map_err(|reason| format!("`{entry}` {reason}"))?;
            if is_access && matches!(tag, USER_OBJ | GROUP_OBJ | OTHER) {
                return Err(format!("`{entry}` is what `mode` says"));
            }
            if list.0.insert((tag, id), permissions).is_some() {
                return Err(format!("`{entry}` repeats an earlier entry"));
            }
        }
        Ok(lists)
    }

    /// The text form: sorted, with names where the host has them. `mode` is the mode whose bits the lists omit.
    pub(crate) fn text(&self, mode: u32, names: &dyn Names) -> Vec<String> {
        let mut entries = Vec::new();
        self.access.text("", mode, names, &mut entries);
        self.default.text("default:", mode, names, &mut entries);
        entries.sort();
        entries
    }
}

impl List {
    /// Whether there is nothing beyond the mode.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the attribute's bytes.
    pub(crate) fn from_attribute(bytes: &[u8]) -> Option<List> {
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let entry = |&[tag, tag2, perm, perm2, a, b, c, d]: &[u8; 8]| {
            let tag = u16::from_le_bytes([tag, tag2]);
            let id = if tag == USER || tag == GROUP { u32::from_le_bytes([a, b, c, d]) } else { NO_ID };
            ((tag, id), u16::from_le_bytes([perm, perm2]))
        };
        Some(List(entries.iter().map(entry).collect()))
    }

    /// The bytes for the attribute, completed from the mode and with the mask that is due.
    pub(crate) fn to_attribute(&self, mode: u32) -> Vec<u8> {
        let list = self.completed(mode);
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for ((tag, id), permissions) in &list.0 {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&permissions.to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }

    /// The mode that an inode with this list was declared with: its group bits are those of the group, where the
    /// kernel shows the mask.
    pub(crate) fn declared_mode(&self, mode: u32) -> u32 {
        match self.0.get(&(GROUP_OBJ, NO_ID)) {
            Some(group) => mode & !0o070 | u32::from(*group) << 3,
            None => mode,
        }
    }

    fn completed(&self, mode: u32) -> List {
        let mut list = self.clone();
        for (tag, shift) in [(USER_OBJ, 6), (GROUP_OBJ, 3), (OTHER, 0)] {
            list.0.entry((tag, NO_ID)).or_insert((mode >> shift & 7) as u16);
        }
        if let Some(union) = list.union() {
            list.0.entry((MASK, NO_ID)).or_insert(union);
        }
        list
    }

    /// What the mask is when nobody sets it; `None` if the list needs no mask.
    fn union(&self) -> Option<u16> {
        let named = self.0.keys().any(|(tag, _)| matches!(*tag, USER | GROUP | MASK));
        let masked = self.0.iter().filter(|((tag, _), _)| matches!(*tag, USER | GROUP | GROUP_OBJ));
        named.then(|| masked.fold(0, |union, (_, permissions)| union | permissions))
    }

    fn text(&self, prefix: &str, mode: u32, names: &dyn Names, entries: &mut Vec<String>) {
        let union = self.union();
        for ((tag, id), permissions) in &self.0 {
            let bits = |shift: u32| u32::from(*permissions) == mode >> shift & 7;
            let (word, name) = match *tag {
                USER_OBJ if bits(6) || prefix.is_empty() => continue,
                GROUP_OBJ if bits(3) || prefix.is_empty() => continue,
                OTHER if bits(0) || prefix.is_empty() => continue,
                MASK if union == Some(*permissions) => continue,
                USER_OBJ => ("user", String::new()),
                GROUP_OBJ => ("group", String::new()),
                OTHER => ("other", String::new()),
                MASK => ("mask", String::new()),
                USER => ("user", names.user_name(*id).unwrap_or_else(|| id.to_string())),
                _ => ("group", names.group_name(*id).unwrap_or_else(|| id.to_string())),
            };
            let bit = |bit: u16, letter: char| if permissions & bit != 0 { letter } else { '-' };
            entries.push(format!("{prefix}{word}:{name}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x')));
        }
    }
}

fn parse_entry(entry: &str, names: &dyn Names) -> Result<(u16, u32, u16), String> {
    let mut parts = entry.split(':');
    let (Some(word), Some(name), Some(permissions), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("is not `user:NAME:rwx`, `group:NAME:rwx` or `mask::rwx`".into());
    };
    let (tag, id) = match (word, name) {
        ("user" | "u", "") => (USER_OBJ, NO_ID),
        ("group" | "g", "") => (GROUP_OBJ, NO_ID),
        ("mask" | "m", "") => (MASK, NO_ID),
        ("other" | "o", "") => (OTHER, NO_ID),
        ("user" | "u", name) => {
            (USER, name.parse().ok().or_else(|| names.user_id(name)).ok_or("names no user")?)
        }
        ("group" | "g", name) => {
            (GROUP, name.parse().ok().or_else(|| names.group_id(name)).ok_or("names no group")?)
        }
        _ => return Err("starts with none of `user`, `group`, `mask`, `other`".into()),
    };
    let mut bits = 0;
    for letter in permissions.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return Err("has permissions other than `r`, `w`, `x`, `-`".into()),
        };
    }
    if permissions.is_empty() || permissions.len() > 3 {
        return Err("needs permissions such as `r-x`".into());
    }
    Ok((tag, id, bits))
}
