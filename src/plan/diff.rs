//! Show a plan as a unified diff.
//!
//! **Invariant:** of a sensitive step nothing is shown but that it changes.

use std::fmt::Write as _;
use std::path::Path;

use super::{Diff, Step};
use crate::error::escaped;
use crate::resource::Content;

/// Where both sides of a diff come from.
pub trait Sides {
    /// The present content of a path; `None` when there is no regular file.
    fn before(&self, path: &Path) -> Option<Vec<u8>>;
    /// The bytes of a content; `None` when they cannot be had.
    fn after(&self, content: &Content) -> Option<Vec<u8>>;
}

/// Shows one step: a head line, then properties, then content.
pub fn render(step: &Step, sides: &dyn Sides) -> String {
    let mark = if step.prune {
        '-'
    } else if step.change.creates {
        '+'
    } else {
        '~'
    };
    let note = match (step.report_only, &step.waits) {
        (true, _) => " (only reported)".to_owned(),
        (_, Some(wait)) => format!(" ({})", escaped(&wait.what)),
        (false, None) => String::new(),
    };
    let mut text = format!("{mark} {}  {}{note}\n", escaped(&step.resource.to_string()), step.change.summary);
    if step.sensitive {
        if !step.change.diffs.is_empty() {
            text.push_str("    (sensitive: not shown)\n");
        }
        return text;
    }
    for diff in &step.change.diffs {
        match diff {
            Diff::Property { name, before, after } => {
                let _ = writeln!(text, "    {name}: {} → {}", shown(before), shown(after));
            }
            Diff::Content { path, after } => text.push_str(&content(path, after.as_ref(), sides)),
        }
    }
    text
}

fn shown(value: &str) -> String {
    if value.is_empty() { "(none)".into() } else { escaped(value) }
}

fn content(path: &Path, after: Option<&Content>, sides: &dyn Sides) -> String {
    let before = sides.before(path);
    let (left, right) = (before.clone().unwrap_or_default(), after.map(|content| sides.after(content)));
    let right = match right {
        Some(None) => return "    (new content not available)\n".into(),
        Some(Some(bytes)) => bytes,
        None => Vec::new(),
    };
    let name = path.display().to_string();
    let (Some(old), Some(new)) = (text(&left), text(&right)) else {
        return format!("    binary content: {} → {}\n", weight(&left), weight(&right));
    };
    let old_name = if before.is_some() { name.as_str() } else { "/dev/null" };
    let new_name = if after.is_some() { name.as_str() } else { "/dev/null" };
    let difference = similar::TextDiff::from_lines(old, new);
    let unified = difference.unified_diff().context_radius(3).header(old_name, new_name).to_string();
    unified.lines().fold(String::new(), |mut shown, line| {
        let _ = writeln!(shown, "    {}", printable(line));
        shown
    })
}

/// Text that can be shown: UTF-8 without NUL.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Like [`escaped`], but tabs stay, because they are common in configuration files.
fn printable(line: &str) -> String {
    line.split('\t').map(escaped).collect::<Vec<_>>().join("\t")
}

fn weight(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(bytes);
    let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes (sha256:{short}…)", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Change;
    use crate::resource::{ContentOrigin, Origin, ResourceId};

    struct Fixed(Option<&'static [u8]>);

    impl Sides for Fixed {
        fn before(&self, _: &Path) -> Option<Vec<u8>> {
            self.0.map(<[u8]>::to_vec)
        }
        fn after(&self, content: &Content) -> Option<Vec<u8>> {
            match &content.origin {
                ContentOrigin::Inline(bytes) => Some(bytes.clone()),
                ContentOrigin::Blob(_) => None,
            }
        }
    }

    fn step(after: &[u8], sensitive: bool) -> Step {
        let content = Content { sha256: [0; 32], size: 0, origin: ContentOrigin::Inline(after.to_vec()) };
        Step {
            resource: ResourceId::new("file", "/etc/motd"),
            origin: Origin { role: "base".into(), file: "roles/base/role.toml".into(), line: 1 },
            change: Change {
                summary: "content changed".into(),
                creates: false,
                effects: vec![],
                diffs: vec![
                    Diff::Property { name: "mode".into(), before: "0600".into(), after: "0644".into() },
                    Diff::Content { path: "/etc/motd".into(), after: Some(content) },
                ],
            },
            needs: vec![],
            prune: false,
            sensitive,
            report_only: false,
            window: None,
            waits: None,
        }
    }

    #[test]
    fn text_is_shown_as_a_unified_diff() {
        insta::assert_snapshot!(render(&step(b"hello\nnew\x1b[31m\n", false), &Fixed(Some(b"hello\nold\n"))));
    }

    #[test]
    fn a_new_file_comes_from_nowhere() {
        insta::assert_snapshot!(render(&step(b"hello\n", false), &Fixed(None)));
    }

    #[test]
    fn binary_content_is_weighed() {
        insta::assert_snapshot!(render(&step(b"\x00\x01", false), &Fixed(Some(b"old"))));
    }

    #[test]
    fn of_a_sensitive_step_nothing_is_shown() {
        let text = render(&step(b"hunter2\n", true), &Fixed(Some(b"secret\n")));
        assert!(!text.contains("hunter2") && !text.contains("secret\n") && !text.contains("0600"), "{text}");
    }
}
