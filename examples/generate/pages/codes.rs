//! Error codes: the reference of all of them, from the comments where they are defined.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What the hundreds stand for.
const STAGES: &[(char, &str)] = &[
    ('0', "Trust: is the branch what it should be"),
    ('1', "Source: fetching, spool and store"),
    ('2', "Manifest: what the branch declares"),
    ('3', "Plan: whether this host can be brought there"),
    ('4', "Apply: changing the host"),
    ('5', "State: abide's own memory"),
    ('6', "Settings of the host"),
    ('7', "Commands and services"),
    ('8', "What confines abide's own processes"),
];

/// Codes that are given where something is noticed, not by a type of their own.
const ELSEWHERE: &[(&str, &str)] = &[
    ("E200", "The manifest has errors, each with a code of its own"),
    ("E201", "A file of the repository cannot be read"),
    ("E202", "A file that must be there is missing"),
    ("E203", "A file is not valid TOML, or not UTF-8"),
    ("E204", "An unknown key"),
    ("E205", "A value is missing, of the wrong type, or not one of those allowed"),
    ("E206", "There is no role of this name"),
    ("E207", "Roles include each other in a circle"),
    ("E208", "There is no kind of this name"),
    ("E209", "A resource is declared in a way that its kind does not take"),
    ("E210", "A template or an expression fails"),
    ("E211", "A resource is declared twice, differently"),
    ("E212", "Two resources claim the same thing on the host"),
    ("E213", "A resource that is referred to is not declared"),
    ("E214", "Something is larger or more than the limits allow"),
    ("E216", "The name of a resource cannot be one"),
    ("E217", "The manifest has a form that this version does not know"),
    ("E218", "A file with recorded facts cannot be used"),
    ("E219", "The policy `trust.toml` is not valid, so that no host accepts the tree"),
    ("E221", "A window does not make sense"),
    ("E222", "A confirmation does not make sense"),
    ("E223", "A `[reboot]` does not make sense"),
    ("E224", "A resource waits for a window that nobody declares"),
    ("E225", "A health check is declared twice, differently"),
    ("E303", "Resources wait for each other in a circle"),
    ("E304", "More would be removed than the host's settings allow in one run"),
    ("E370", "A new revision would change more of what is in force than the host's settings allow"),
    ("E375", "A resource waits for a window"),
];

/// Warnings of `abide check`: what is allowed and probably not meant.
const WARNINGS: &[(&str, &str)] = &[
    ("W221", "No host has a role"),
    ("W222", "Nothing uses a file of a role"),
    ("W223", "There is no policy"),
    ("W230", "One principal alone can change the policy"),
    ("W231", "Each of several principals can change the policy alone"),
    ("W232", "A principal is a forge or a robot, by its name or its key"),
    ("W233", "A scope never decides, since scopes before it cover all of it"),
    ("W234", "A threshold cannot be met, now or soon, because keys expire"),
    ("W235", "A key expires within 30 days"),
    ("W236", "A key has expired"),
    ("W237", "A principal may sign nothing"),
    ("W238", "No scope covers a path, so that nobody may change it"),
    ("W239", "No key may sign heartbeats"),
    ("W240", "A heartbeat key has expired or does so within 30 days"),
    ("W241", "A confirmation has ended"),
    ("W242", "A confirmation lasts for more than 90 days"),
    ("W243", "A window is never open"),
];

/// The reference of codes.
pub fn reference(sources: &Path) -> String {
    let mut found = Found::default();
    found.folder(sources);
    for (code, meaning) in ELSEWHERE {
        found.meanings.entry((*code).to_owned()).or_insert_with(|| (*meaning).to_owned());
    }
    let mut text = format!(
        "# Error codes\n\n{}\n\nA code never changes its meaning. The message beside it says what exactly happened, where, why, and what to do.\n",
        super::NOTE
    );
    for (digit, stage) in STAGES {
        let _ = write!(text, "\n## {stage}\n\n| code | meaning |\n|---|---|\n");
        for (code, meaning) in found.meanings.iter().filter(|(code, _)| code[1..].starts_with(*digit)) {
            let _ = writeln!(text, "| `{code}` | {} |", sentence(meaning));
        }
    }
    text.push_str("\n## Warnings of `abide check`\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in WARNINGS {
        let _ = writeln!(text, "| `{code}` | {meaning} |");
    }
    let unknown: Vec<&String> =
        found.used.iter().filter(|code| !found.meanings.contains_key(*code)).collect();
    assert!(unknown.is_empty(), "codes without a comment that says what they mean: {unknown:?}");
    text
}

fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.').replace('|', "\\|");
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}

#[derive(Default)]
struct Found {
    meanings: BTreeMap<String, String>,
    used: Vec<String>,
}

impl Found {
    fn folder(&mut self, folder: &Path) {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.folder(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("testing.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                // What tests say is no definition.
                self.file(text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default());
            }
        }
    }

    fn file(&mut self, text: &str) {
        let mut variants: BTreeMap<&str, String> = BTreeMap::new();
        let mut doc: Vec<&str> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                doc.push(comment.trim());
                continue;
            }
            let meaning = first_sentence(&doc);
            self.documented(&doc);
            if let Some((left, right)) = line.split_once("=>") {
                self.arm(left, right, &variants);
            } else if let Some(code) = line.split_once("Code = Code(").and_then(|(_, code)| quoted(code)) {
                self.meanings.entry(code.to_owned()).or_insert_with(|| meaning.clone());
            }
            self.used.extend(literals(line).map(str::to_owned));
            let name = line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            if !meaning.is_empty() && name.starts_with(|c: char| c.is_uppercase()) {
                variants.insert(name, meaning);
            }
            // Attributes stand between a comment and what it is about.
            if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }

    /// `/// E123: meaning` and `/// Meaning (E123).`
    fn documented(&mut self, doc: &[&str]) {
        let text = doc.join(" ");
        let (code, meaning) = match (text.split_once(": "), text.split_once(" (E")) {
            (Some((code, meaning)), _) if is_code(code) => (code.to_owned(), meaning.to_owned()),
            (_, Some((meaning, rest)))
                if rest.len() > 3 && is_code(&format!("E{}", &rest[..3])) && rest[3..].starts_with(')') =>
            {
                (format!("E{}", &rest[..3]), meaning.to_owned())
            }
            _ => return,
        };
        self.meanings.entry(code).or_insert_with(|| first_sentence(&[&meaning]));
    }

    /// `Enum::Variant { .. } => "E123"`, with the variant's comment.
    fn arm(&mut self, left: &str, right: &str, variants: &BTreeMap<&str, String>) {
        let Some(code) = quoted(right).filter(|code| is_code(code)) else { return };
        let variant = left.split("::").last().unwrap_or_default();
        let name = variant.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if let Some(meaning) = variants.get(name) {
            self.meanings.entry(code.to_owned()).or_insert_with(|| meaning.clone());
        }
    }
}

fn first_sentence(doc: &[&str]) -> String {
    let text = doc.join(" ");
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    text[..end].to_owned()
}

fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2).filter(|text| is_code(text))
}

fn is_code(text: &str) -> bool {
    text.len() == 4 && text.starts_with('E') && text[1..].bytes().all(|byte| byte.is_ascii_digit())
}
