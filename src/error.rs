//! What went wrong, in the form that a person needs: what, where, why, and what to do.
//!
//! Every module has an error enum of its own and implements [`Explain`] for it; the command line, the journal
//! and the status show the [`Problem`] made of it.
//!
//! **Invariant:** a code, once released, never changes its meaning.

use std::fmt;

/// A stable error code, such as `E012`. The hundreds tell the stage: 0 trust, 1 source, 2 manifest, 3 plan,
/// 4 apply, 5 state, 6 settings, 7 commands and services.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Code(pub &'static str);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error that can explain itself to a person.
pub trait Explain: std::error::Error {
    /// The stable code.
    fn code(&self) -> Code;

    /// What the reader can do about it; a sentence.
    fn remedy(&self) -> String;

    /// Where: a file with line and column, a URL, a resource. Empty when the message already says it.
    fn place(&self) -> Option<String> {
        None
    }

    /// The piece of source text with a pointer under the word, ready to print.
    fn excerpt(&self) -> Option<String> {
        None
    }
}

impl<E: Explain> Explain for &E {
    fn code(&self) -> Code {
        (**self).code()
    }
    fn remedy(&self) -> String {
        (**self).remedy()
    }
    fn place(&self) -> Option<String> {
        (**self).place()
    }
    fn excerpt(&self) -> Option<String> {
        (**self).excerpt()
    }
}

/// One explained failure, as every output shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: String,
    /// What happened, one line.
    pub what: String,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The chain of causes, outermost first; each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What to do.
    pub remedy: String,
    /// Source text with a pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
}

impl<E: Explain> From<E> for Problem {
    fn from(error: E) -> Problem {
        let what = error.to_string();
        let mut why: Vec<String> = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many libraries repeat their source in their own message: say each thing once.
            if !what.contains(&text) && !why.iter().any(|earlier| earlier.contains(&text)) {
                why.push(text);
            }
            cause = error.source();
        }
        Problem {
            code: error.code().0.to_owned(),
            what,
            place: error.place(),
            why,
            remedy: error.remedy(),
            excerpt: error.excerpt(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.what)?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{}", excerpt.trim_end())?;
        } else if let Some(place) = &self.place {
            write!(f, "\n  where: {place}")?;
        }
        for cause in &self.why {
            write!(f, "\n    why: {cause}")?;
        }
        write!(f, "\n     do: {}", self.remedy)
    }
}

/// Makes text that others wrote safe to print: control characters, terminal escapes and bidirectional overrides
/// become visible escapes, so that a commit message cannot forge a line of the journal or drive a terminal.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_bidirectional(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Makes a JSON text safe to print as [`escaped`] does, by JSON's own escapes: programs read the same, and people who look at it are not fooled.
pub fn escaped_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        // Line ends are between the values; within them they are escaped already.
        if character != '\n' && character.is_control() || is_bidirectional(character) {
            // All of these have four digits.
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    safe
}

fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer failed")]
    struct Outer(#[source] std::io::Error);

    impl Explain for Outer {
        fn code(&self) -> Code {
            Code("E999")
        }
        fn remedy(&self) -> String {
            "try again".into()
        }
    }

    #[test]
    fn a_problem_names_the_whole_chain_once() {
        let problem = Problem::from(Outer(std::io::Error::other("disk on fire")));
        assert_eq!(problem.to_string(), "[E999] outer failed\n    why: disk on fire\n     do: try again");
    }

    /// Attack 44: JSON is printed on terminals, too.
    #[test]
    fn json_of_others_texts_cannot_drive_a_terminal_and_says_the_same() {
        let words = "a\u{202e}b\u{9b}31m\u{1b}[2J\nü\u{7f}";
        let json = serde_json::to_string_pretty(&[words]).unwrap();
        let safe = escaped_json(&json);
        assert!(
            !safe.chars().any(|each| each != '\n' && each.is_control() || each == '\u{202e}'),
            "{safe:?}"
        );
        assert_eq!(serde_json::from_str::<Vec<String>>(&safe).unwrap(), [words]);
        assert_eq!(escaped_json("{\n  \"a\": \"ü\"\n}"), "{\n  \"a\": \"ü\"\n}");
    }

    /// Attack 44: escapes, newlines and reversed text.
    #[test]
    fn text_of_others_cannot_drive_a_terminal() {
        for (input, expected) in [
            ("plain ünïcode", "plain ünïcode"),
            ("a\nb", "a\\nb"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{202e}txt", "\\u{202e}txt"),
        ] {
            assert_eq!(escaped(input), expected);
        }
    }
}
