//! Owner, group, mode and extended attributes of a path: how they are declared, and where the host differs.

use std::collections::BTreeMap;

use super::fields::{Mode, PrincipalField};
use super::{Context, Declaration, DeclareError, Field, Provision, Relations, ResourceId, codes};
use crate::manifest::node::nearest;
use crate::plan::{Attributes, Diff, PlanError, Principal};
use crate::system::observe::{Extended, Needs, Present};

/// The attribute fields of a table, as they are written.
pub(super) struct Written {
    pub(super) owner: Option<PrincipalField>,
    pub(super) group: Option<PrincipalField>,
    pub(super) mode: Option<Mode>,
    pub(super) selinux: Option<String>,
    pub(super) acl: Option<Vec<String>>,
    pub(super) xattrs: BTreeMap<String, String>,
    pub(super) immutable: Option<bool>,
}

impl Written {
    /// Checks what the types do not, and brings ACL entries to one form.
    ///
    /// # Errors
    /// An ACL entry, an attribute's name or a label is malformed.
    pub(super) fn check(self, declaration: &Declaration<'_>) -> Result<Attributes, DeclareError> {
        let acl = self
            .acl
            .map(|entries| entries.iter().map(|entry| acl_entry(entry)).collect::<Result<Vec<_>, _>>());
        let acl = acl.transpose().map_err(|entry| {
            declaration.error(
                "acl",
                format!("`{entry}` is not an ACL entry"),
                "write entries as setfacl does: \"user:alice:rw\", \"group:web:r\", \"default:user:alice:rwx\"",
            )
        })?;
        for name in self.xattrs.keys() {
            if !["user.", "trusted.", "security."].iter().any(|space| name.starts_with(space)) {
                let help = "names begin with user., trusted. or security.";
                return Err(declaration.error(
                    "xattrs",
                    format!("`{name}` is not an extended attribute"),
                    help,
                ));
            }
        }
        if let Some(label) = self.selinux.as_ref().filter(|label| label.split(':').count() < 3) {
            let help = "write the whole label, such as \"system_u:object_r:etc_t:s0\"";
            return Err(declaration.error("selinux", format!("`{label}` is not an SELinux label"), help));
        }
        let mut acl = acl;
        if let Some(entries) = &mut acl {
            entries.sort();
            entries.dedup();
        }
        Ok(Attributes {
            owner: self.owner.map(|field| field.0),
            group: self.group.map(|field| field.0),
            mode: self.mode.map(|mode| mode.0),
            selinux: self.selinux,
            acl,
            xattrs: self.xattrs,
            immutable: self.immutable,
        })
    }
}

/// The reference of the attribute fields, in the order in which each kind lists them.
pub(super) const OWNER: Field = Field {
    name: "owner",
    kind: "string or integer",
    default: "as it is; root for something new",
    doc: "Owner, by name or number. A user that the same plan makes, or that a package of the same plan brings, may be named.",
};
pub(super) const GROUP: Field = Field {
    name: "group",
    kind: "string or integer",
    default: "as it is; root for something new",
    doc: "Group, by name or number.",
};
pub(super) const SELINUX: Field = Field {
    name: "selinux",
    kind: "string",
    default: "as it is; the policy's default for something new",
    doc: "The whole SELinux label, such as `\"system_u:object_r:httpd_config_t:s0\"`.",
};
pub(super) const ACL: Field = Field {
    name: "acl",
    kind: "list of strings",
    default: "as it is",
    doc: "POSIX ACL entries as `setfacl` writes them, such as `\"user:alice:rw\"`; the list is exhaustive, and an empty one removes \
          the ACL. With an ACL the group bits of `mode` are its mask, and are not compared.",
};
pub(super) const XATTRS: Field = Field {
    name: "xattrs",
    kind: "table of strings",
    default: "as they are",
    doc: "Extended attributes by full name, such as `{ \"user.origin\" = \"git\" }`. Others are left alone.",
};
pub(super) const IMMUTABLE: Field = Field {
    name: "immutable",
    kind: "boolean",
    default: "as it is",
    doc: "The immutable flag (`chattr +i`). It is lifted for the moment of a change.",
};

/// Asks for what comparing needs: the accounts that are named.
pub(super) fn needs(attributes: &Attributes, needs: &mut Needs) {
    if let Some(Principal::Name(name)) = &attributes.owner {
        needs.users.insert(name.clone());
    }
    if let Some(Principal::Name(name)) = &attributes.group {
        needs.groups.insert(name.clone());
    }
    for entry in attributes.acl.iter().flatten() {
        let parts: Vec<&str> = entry.trim_start_matches("default:").split(':').collect();
        match parts.as_slice() {
            ["user", name, _] if !name.is_empty() => _ = needs.users.insert((*name).to_owned()),
            ["group", name, _] if !name.is_empty() => _ = needs.groups.insert((*name).to_owned()),
            _ => {}
        }
    }
}

/// Owner, group and mode of what is there; what else was looked at of it.
pub(super) fn found(present: &Present) -> Attributes {
    let extended = present.extended.as_ref();
    Attributes {
        owner: Some(Principal::Id(present.uid)),
        group: Some(Principal::Id(present.gid)),
        mode: Some(present.mode),
        selinux: extended.and_then(|extended| extended.selinux.clone()),
        acl: extended.map(|extended| extended.acl.clone()),
        xattrs: extended.map(|extended| extended.xattrs.clone()).unwrap_or_default(),
        immutable: extended.map(|extended| extended.immutable),
    }
}

/// Whether the extended attributes of the path have to be looked at.
pub(super) fn extended(attributes: &Attributes) -> bool {
    attributes.selinux.is_some()
        || attributes.acl.is_some()
        || !attributes.xattrs.is_empty()
        || attributes.immutable.is_some()
}

/// Requires the accounts.
pub(super) fn relations(attributes: &Attributes, relations: &mut Relations) {
    if let Some(Principal::Name(name)) = &attributes.owner {
        relations.requires.push(Provision::User(name.clone()));
    }
    if let Some(Principal::Name(name)) = &attributes.group {
        relations.requires.push(Provision::Group(name.clone()));
    }
}

/// What is declared, without what the author ignores: for a rewrite, which leaves those as they are.
pub(super) fn without_ignored(attributes: &Attributes, context: &Context<'_>) -> Attributes {
    let mut kept = attributes.clone();
    for (name, clear) in [
        ("owner", (|kept| kept.owner = None) as fn(&mut Attributes)),
        ("group", |kept| kept.group = None),
        ("mode", |kept| kept.mode = None),
        ("selinux", |kept| kept.selinux = None),
        ("acl", |kept| kept.acl = None),
        ("xattrs", |kept| kept.xattrs.clear()),
        ("immutable", |kept| kept.immutable = None),
    ] {
        if context.ignores(name) {
            clear(&mut kept);
        }
    }
    kept
}

/// The attributes that differ from the host, and how to show them.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Only what has to be set.
    pub(super) attributes: Attributes,
    /// One per attribute.
    pub(super) diffs: Vec<Diff>,
}

impl Drift {
    /// Whether there is any.
    pub(super) fn is_none(&self) -> bool {
        self.diffs.is_empty()
    }

    /// `mode 0644 -> 0600`, one per attribute.
    pub(super) fn summaries(&self) -> impl Iterator<Item = String> {
        self.diffs.iter().filter_map(|diff| match diff {
            Diff::Property { name, before, after } => Some(format!("{name} {before} -> {after}")),
            Diff::Content { .. } => None,
        })
    }

    fn note(&mut self, name: &str, before: impl Into<String>, after: impl Into<String>) {
        let (before, after) = (before.into(), after.into());
        self.diffs.push(Diff::Property { name: name.to_owned(), before, after });
    }
}

/// Checks that the accounts are there or will be.
///
/// # Errors
/// E307 or E308: an account is not known.
pub(super) fn check(
    attributes: &Attributes,
    id: &ResourceId,
    context: &Context<'_>,
) -> Result<(), PlanError> {
    if let Some(owner) = &attributes.owner {
        user_number(owner, id, context)?;
    }
    if let Some(group) = &attributes.group {
        group_number(group, id, context)?;
    }
    Ok(())
}

/// Compares the declared attributes with what is there.
///
/// # Errors
/// E307 or E308: an account is not known.
pub(super) fn drift(
    declared: &Attributes,
    present: &Present,
    id: &ResourceId,
    context: &Context<'_>,
) -> Result<Drift, PlanError> {
    let declared = without_ignored(declared, context);
    let mut drift = Drift::default();
    if let Some(owner) = &declared.owner
        && user_number(owner, id, context)? != Some(present.uid)
    {
        let known = context.host.users.iter().find(|(_, state)| state.uid == present.uid);
        let before = known.map_or_else(|| present.uid.to_string(), |(name, _)| name.clone());
        drift.note("owner", before, text(owner));
        drift.attributes.owner = Some(owner.clone());
    }
    if let Some(group) = &declared.group
        && group_number(group, id, context)? != Some(present.gid)
    {
        let known = context.host.groups.iter().find(|(_, state)| state.gid == present.gid);
        let before = known.map_or_else(|| present.gid.to_string(), |(name, _)| name.clone());
        drift.note("group", before, text(group));
        drift.attributes.group = Some(group.clone());
    }
    if let Some(mode) = declared.mode {
        // With an ACL the group bits are its mask.
        let looked = if declared.acl.as_ref().is_some_and(|acl| !acl.is_empty()) { 0o7707 } else { 0o7777 };
        if mode & looked != present.mode & looked {
            drift.note("mode", octal(present.mode), octal(mode));
            drift.attributes.mode = Some(mode);
        } else if drift.attributes.owner.is_some() || drift.attributes.group.is_some() {
            // chown clears the set-id bits.
            drift.attributes.mode = Some(mode);
        }
    }
    let nothing = Extended::default();
    compare_extended(
        &declared,
        present.extended.as_ref().unwrap_or(&nothing),
        present.mode,
        context,
        &mut drift,
    );
    Ok(drift)
}

fn compare_extended(
    declared: &Attributes,
    present: &Extended,
    mode: u32,
    context: &Context<'_>,
    drift: &mut Drift,
) {
    if let Some(label) = declared.selinux.as_ref().filter(|label| Some(*label) != present.selinux.as_ref()) {
        drift.note("selinux", present.selinux.clone().unwrap_or_default(), label);
        drift.attributes.selinux = Some(label.clone());
    }
    if let Some(acl) = &declared.acl {
        let (wanted, there) = (wanted_acl(acl, context), present_acl(present, mode, acl, context));
        if wanted != there {
            drift.note("acl", there.join(","), acl.join(","));
            drift.attributes.acl = Some(acl.clone());
        }
    }
    for (name, value) in &declared.xattrs {
        if present.xattrs.get(name) != Some(value) {
            drift.note(name, present.xattrs.get(name).cloned().unwrap_or_default(), value);
            drift.attributes.xattrs.insert(name.clone(), value.clone());
        }
    }
    if let Some(immutable) = declared.immutable.filter(|immutable| *immutable != present.immutable) {
        drift.note("immutable", present.immutable.to_string(), immutable.to_string());
        drift.attributes.immutable = Some(immutable);
    }
}

/// Four octal digits.
pub(super) fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

fn text(principal: &Principal) -> String {
    match principal {
        Principal::Name(name) => name.clone(),
        Principal::Id(id) => id.to_string(),
    }
}

/// The user's number; `None`: it will exist later in this run.
fn user_number(owner: &Principal, id: &ResourceId, context: &Context<'_>) -> Result<Option<u32>, PlanError> {
    let name = match owner {
        Principal::Id(number) => return Ok(Some(*number)),
        Principal::Name(name) => name,
    };
    if let Some(state) = context.host.users.get(name) {
        return Ok(Some(state.uid));
    }
    if (context.provided)(&Provision::User(name.clone())) || context.packages_arrive() {
        return Ok(None);
    }
    let near = nearest(name, context.host.users.keys().map(String::as_str));
    Err(unknown_account(id, codes::USER_UNKNOWN, "user", name, near))
}

/// The group's number; `None`: it will exist later in this run.
fn group_number(group: &Principal, id: &ResourceId, context: &Context<'_>) -> Result<Option<u32>, PlanError> {
    let name = match group {
        Principal::Id(number) => return Ok(Some(*number)),
        Principal::Name(name) => name,
    };
    if let Some(state) = context.host.groups.get(name) {
        return Ok(Some(state.gid));
    }
    if (context.provided)(&Provision::Group(name.clone())) || context.packages_arrive() {
        return Ok(None);
    }
    let near = nearest(name, context.host.groups.keys().map(String::as_str));
    Err(unknown_account(id, codes::GROUP_UNKNOWN, "group", name, near))
}

/// E307 or E308 with the nearest known name.
pub(super) fn unknown_account(
    id: &ResourceId,
    code: crate::error::Code,
    kind: &str,
    name: &str,
    near: Option<&str>,
) -> PlanError {
    let meant = near.map(|near| format!("did you mean `{near}`? Otherwise ")).unwrap_or_default();
    let help = format!("{meant}declare [{kind}.{name}], or the package that brings it");
    PlanError::new(id.clone(), code, format!("there is no {kind} `{name}` on this host"), help)
}

/// The long form of an ACL entry: `default:user:alice:rw-`.
fn acl_entry(entry: &str) -> Result<String, String> {
    let wrong = || entry.to_owned();
    let (default, rest) = match entry.strip_prefix("default:").or_else(|| entry.strip_prefix("d:")) {
        Some(rest) => ("default:", rest),
        None => ("", entry),
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let (tag, qualifier, permissions) = match parts.as_slice() {
        [tag, qualifier, permissions] => (*tag, *qualifier, *permissions),
        [tag @ ("other" | "o"), permissions] => (*tag, "", *permissions),
        _ => return Err(wrong()),
    };
    let tag = match tag {
        "user" | "u" => "user",
        "group" | "g" => "group",
        "other" | "o" if qualifier.is_empty() => "other",
        // The mask is always derived from the entries.
        _ => return Err(wrong()),
    };
    if default.is_empty() && qualifier.is_empty() {
        // That is what `mode` says.
        return Err(wrong());
    }
    let known = permissions.chars().all(|permission| "rwx-".contains(permission));
    if permissions.is_empty() || !known {
        return Err(wrong());
    }
    let letters = ['r', 'w', 'x'].map(|letter| if permissions.contains(letter) { letter } else { '-' });
    Ok(format!("{default}{tag}:{qualifier}:{}", letters.iter().collect::<String>()))
}

/// The declared entries with account names as numbers, sorted.
fn wanted_acl(declared: &[String], context: &Context<'_>) -> Vec<String> {
    let mut entries: Vec<String> = declared.iter().map(|entry| numbered(entry, context)).collect();
    entries.sort();
    entries
}

/// The entries of the host in the same form. Default entries for owner, group and others are derived from the mode where they
/// are not listed, and count only where they are declared; a mask that is listed is one that somebody set.
fn present_acl(present: &Extended, mode: u32, declared: &[String], context: &Context<'_>) -> Vec<String> {
    let key = |entry: &str| entry.rsplit_once(':').map_or(entry, |(key, _)| key).to_owned();
    let derived = |entry: &str| {
        let shift = match key(entry).as_str() {
            "default:user:" => 6,
            "default:group:" => 3,
            "default:other:" => 0,
            _ => return None,
        };
        let bits = mode >> shift & 7;
        let letters =
            [(4, 'r'), (2, 'w'), (1, 'x')].map(|(bit, letter)| if bits & bit == 0 { '-' } else { letter });
        Some(format!("{}:{}", key(entry), letters.iter().collect::<String>()))
    };
    let is_declared = |entry: &str| declared.iter().any(|wanted| key(wanted) == key(entry));
    let is_listed = |entry: &str| present.acl.iter().any(|listed| key(listed) == key(entry));
    let listed = present.acl.iter().filter(|entry| derived(entry).is_none() || is_declared(entry));
    let mut entries: Vec<String> = listed.map(|entry| numbered(entry, context)).collect();
    entries.extend(declared.iter().filter(|entry| !is_listed(entry)).filter_map(|entry| derived(entry)));
    entries.sort();
    entries
}

fn numbered(entry: &str, context: &Context<'_>) -> String {
    let mut parts: Vec<String> = entry.split(':').map(str::to_owned).collect();
    let place = parts.len().saturating_sub(2);
    let Some((tag, qualifier)) =
        place.checked_sub(1).and_then(|tag| Some((parts.get(tag)?, parts.get(place)?)))
    else {
        return entry.to_owned();
    };
    let number = match tag.as_str() {
        "user" => context.host.users.get(qualifier).map(|state| state.uid),
        "group" => context.host.groups.get(qualifier).map(|state| state.gid),
        _ => None,
    };
    if let Some(number) = number {
        parts[place] = number.to_string();
    }
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, path, present};
    use crate::system::observe::{FileType, PathState};

    #[test]
    fn acl_entries_have_one_form() {
        for (entry, expected) in [
            ("u:alice:rw", Some("user:alice:rw-")),
            ("default:group:web:x", Some("default:group:web:--x")),
            ("d:u::rwx", Some("default:user::rwx")),
            ("d:o:", None),
            ("default:other:r", Some("default:other::r--")),
            ("mask::r-x", None),
            ("user::rw", None),
            ("default:mask::r", None),
            ("alice:rw", None),
            ("user:alice:7", None),
            ("user:alice:", None),
            ("other:x:r", None),
        ] {
            assert_eq!(acl_entry(entry).ok().as_deref(), expected, "{entry}");
        }
    }

    #[test]
    fn derived_acl_entries_are_no_drift() {
        let host = path("/x", PathState::Absent).with_user("alice", 1000);
        let declared = Attributes {
            acl: Some(vec!["user:alice:rw-".into()]),
            mode: Some(0o600),
            ..Attributes::default()
        };
        for (acl, expected) in [
            (vec!["user:alice:rw-"], 0),
            (vec!["user:1000:rw-"], 0),
            (vec!["mask::r--", "user:alice:rw-"], 1),
            (vec!["user:1000:r--"], 1),
            (vec!["user:1000:rw-", "user:1001:r--"], 1),
            (vec![], 1),
        ] {
            let extended =
                Extended { acl: acl.into_iter().map(str::to_owned).collect(), ..Extended::default() };
            let PathState::Present(present) = present(FileType::File).with(|present| {
                present.mode = 0o660;
                present.extended = Some(extended);
            }) else {
                panic!("present");
            };
            let drift = drift(&declared, &present, &ResourceId::new("file", "/x"), &context(&host)).unwrap();
            assert_eq!(drift.diffs.len(), expected, "{:?}", present.extended);
        }
    }
}
