//! What is wrong with a `trust.toml`, with its place.

use crate::error::escaped;
use crate::manifest::node;
use crate::resource::DeclareError;

/// A trust file that does not say what it should. Everything in it is safe to print, whoever wrote the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct FileError {
    /// The file, as its reader knows it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The piece of the file with a pointer under the word.
    pub excerpt: String,
}

impl FileError {
    pub(super) fn new(file: &str, text: &str, error: &DeclareError) -> FileError {
        let start = error.span.clone().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
        let help = if error.help.is_empty() { "correct the file" } else { &error.help };
        let excerpt = node::excerpt(file, text, error);
        FileError {
            file: file.to_owned(),
            line,
            message: escaped(&error.message),
            help: escaped(help),
            excerpt: excerpt.lines().map(escaped).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// The text of a trust file, when it has a sensible size and is UTF-8.
pub(super) fn text<'a>(bytes: &'a [u8], file: &str, largest: usize) -> Result<&'a str, FileError> {
    let refuse = |message: String, help: &str| {
        let help = help.to_owned();
        FileError { file: file.to_owned(), line: 1, message, help, excerpt: String::new() }
    };
    if bytes.len() > largest {
        let message = format!("the file has {} bytes, more than {largest}", bytes.len());
        return Err(refuse(message, "keep the policy small enough for people to review"));
    }
    std::str::from_utf8(bytes)
        .map_err(|_| refuse("the file is not UTF-8".into(), "write the file as UTF-8 text"))
}

/// Whether a name for a principal, scope or fleet can be printed, compared and typed without surprises.
pub(super) fn plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte))
}

/// Whether this is a full name of a branch, by the rules of `git check-ref-format`.
pub(super) fn plain_branch(reference: &str) -> bool {
    let forbidden = |character: char| character.is_control() || " ~^:?*[\\".contains(character);
    reference.strip_prefix("refs/heads/").is_some_and(|branch| {
        branch.len() <= 200
            && !branch.contains("..")
            && !branch.contains("@{")
            && !branch.contains(forbidden)
            && !branch.ends_with('.')
            && branch
                .split('/')
                .all(|part| !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_full_names() {
        for (reference, expected) in [
            ("refs/heads/main", true),
            ("refs/heads/teams/web", true),
            ("main", false),
            ("refs/tags/v1", false),
            ("refs/heads/", false),
            ("refs/heads/a..b", false),
            ("refs/heads/a b", false),
            ("refs/heads/-x", false),
            ("refs/heads/a.lock", false),
            ("refs/heads/a//b", false),
        ] {
            assert_eq!(plain_branch(reference), expected, "{reference}");
        }
    }
}
