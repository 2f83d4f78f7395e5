//! Values that several kinds read from their tables: content, durations, principals, modes, argument lists.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

use super::{Content, Declaration, DeclareError};
use crate::plan::Principal;

/// Reads the one of `content`, `source` and `template` that is given.
///
/// # Errors
/// More than one is given, or the file cannot be had.
pub(super) fn content(
    declaration: &Declaration<'_>,
    content: Option<String>,
    source: Option<&str>,
    template: Option<&str>,
) -> Result<Option<Content>, DeclareError> {
    let help = "keep one of `content`, `source` and `template`";
    match (content, source, template) {
        (None, None, None) => Ok(None),
        (Some(text), None, None) => Ok(Some(Content::inline(text.into_bytes()))),
        (None, Some(path), None) => {
            declaration.files.source(path).map(Some).map_err(|error| {
                declaration.error("source", error, "paths are relative to the role's folder")
            })
        }
        (None, None, Some(path)) => {
            declaration.files.template(path).map(Some).map_err(|error| {
                declaration.error("template", error, "paths are relative to the role's folder")
            })
        }
        (_, _, Some(_)) => Err(declaration.error("template", "the content is given twice", help)),
        (_, Some(_), None) => Err(declaration.error("source", "the content is given twice", help)),
    }
}

/// Checks a program with its arguments: there is a program, and nothing in it that a process cannot be given.
///
/// # Errors
/// The key's list is no such thing.
pub(super) fn argv(declaration: &Declaration<'_>, key: &str, argv: &[String]) -> Result<(), DeclareError> {
    let help = "give the program and its arguments as a list, such as [\"nginx\", \"-t\"]";
    match argv.first() {
        None => Err(declaration.error(key, format!("`{key}` is empty"), help)),
        Some(program) if program.is_empty() => {
            Err(declaration.error(key, format!("`{key}` names no program"), help))
        }
        Some(program) if argv.len() == 1 && program.contains(char::is_whitespace) => {
            Err(declaration.error(key, format!("`{key}` is one word with spaces: no shell splits it"), help))
        }
        Some(_) if argv.iter().any(|argument| argument.contains('\0')) => {
            Err(declaration.error(key, format!("`{key}` contains a NUL byte"), "remove it"))
        }
        Some(_) => Ok(()),
    }
}

/// A span of time, written with its unit: `"90s"`, `"5min"`, `"1h"`. In seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Seconds(pub(super) u32);

impl Seconds {
    fn parse(text: &str) -> Option<Seconds> {
        let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_start() {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        let seconds = number.parse::<u32>().ok()?.checked_mul(factor)?;
        (seconds > 0).then_some(Seconds(seconds))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit in quotes, such as \"90s\", \"5min\" or \"1h\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                Seconds::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// The name of an account: a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 32 bytes; the last may be `$`.
pub(super) fn is_account_name(name: &str) -> bool {
    let body = name.strip_suffix('$').unwrap_or(name);
    let starts = body.starts_with(|character: char| character.is_ascii_alphabetic() || character == '_');
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    starts && name.len() <= 32 && body.chars().all(plain)
}

/// A user or group as an author writes it: a name, or a number with or without quotes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PrincipalField(pub(super) Principal);

impl<'de> Deserialize<'de> for PrincipalField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PrincipalField, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = PrincipalField;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name or number of an account")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PrincipalField, E> {
                // The highest number means "leave it" to chown.
                match u32::try_from(number) {
                    Ok(id) if id != u32::MAX => Ok(PrincipalField(Principal::Id(id))),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PrincipalField, E> {
                if let Ok(number) = text.parse::<i64>() {
                    return self.visit_i64(number);
                }
                if !is_account_name(text) {
                    return Err(E::invalid_value(de::Unexpected::Str(text), &self));
                }
                Ok(PrincipalField(Principal::Name(text.to_owned())))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Permission bits, quoted: octal (`"0644"`) or symbolic (`"u=rw,g=r,o="`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

impl Mode {
    /// Reads either form. A symbolic mode must say `u`, `g` and `o` (or `a`) with `=`, so that it does not
    /// depend on what the host has.
    pub(super) fn parse(text: &str) -> Result<Mode, String> {
        if text.starts_with(|character: char| character.is_ascii_digit()) {
            let fits = (3..=5).contains(&text.len());
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if fits && mode <= 0o7777 => Ok(Mode(mode)),
                _ => Err(format!("`{text}` is not an octal mode such as \"0644\"")),
            };
        }
        let (mut mode, mut said) = (0, 0);
        for clause in text.split(',') {
            let Some((who, permissions)) = clause.split_once('=') else {
                return Err(format!("`{clause}` does not set permissions: write \"u=rw,g=r,o=\""));
            };
            for class in who.chars() {
                let shifts: &[u32] = match class {
                    'u' => &[6],
                    'g' => &[3],
                    'o' => &[0],
                    'a' => &[6, 3, 0],
                    _ => return Err(format!("`{class}` is none of u, g, o and a")),
                };
                for shift in shifts {
                    if said & (1 << shift) != 0 {
                        return Err(format!("`{text}` sets the same permissions twice"));
                    }
                    said |= 1 << shift;
                    mode |= class_bits(*shift, permissions)?;
                }
            }
        }
        if said != (1 << 6 | 1 << 3 | 1) {
            return Err(format!("`{text}` does not set all of u, g and o"));
        }
        Ok(Mode(mode))
    }
}

fn class_bits(shift: u32, permissions: &str) -> Result<u32, String> {
    let mut bits = 0;
    for permission in permissions.chars() {
        bits |= match (permission, shift) {
            ('r', _) => 4 << shift,
            ('w', _) => 2 << shift,
            ('x', _) => 1 << shift,
            ('s', 6) => 0o4000,
            ('s', 3) => 0o2000,
            ('t', 0) => 0o1000,
            _ => {
                return Err(format!(
                    "`{permission}` is not a permission here: r, w, x; s for u and g; t for o"
                ));
            }
        };
    }
    Ok(bits)
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Mode;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mode in quotes, such as \"0644\" or \"u=rw,g=r,o=\"")
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Mode, E> {
                Err(E::custom(
                    "a mode needs quotes, such as \"0644\": as a number it would be read as decimal",
                ))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
                Mode::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Whether a text matches a pattern of `*` (any characters, also none) and `?` (one character).
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, position));
            at += 1;
        } else if pattern.get(at).is_some_and(|wanted| *wanted == '?' || *wanted == text[position]) {
            (at, position) = (at + 1, position + 1);
        } else if let Some((back, from)) = star {
            // Let the last star take one character more.
            star = Some((back, from + 1));
            (at, position) = (back + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_whole_and_quoted() {
        for (text, expected) in [
            ("0644", Some(0o644)),
            ("644", Some(0o644)),
            ("4755", Some(0o4755)),
            ("1777", Some(0o1777)),
            ("00644", Some(0o644)),
            ("u=rw,g=r,o=", Some(0o640)),
            ("a=rx", Some(0o555)),
            ("ug=rwxs,o=rxt", Some(0o7775)),
            ("44", None),
            ("0888", None),
            ("77777", None),
            ("u=rw", None),
            ("u=rw,g=r,o=,u=r", None),
            ("u+rw,g=r,o=", None),
            ("u=rwz,g=r,o=", None),
            ("u=rw,g=r,o=s", None),
            ("", None),
        ] {
            assert_eq!(Mode::parse(text).ok().map(|mode| mode.0), expected, "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("5min", Some(300)),
            ("5 m", Some(300)),
            ("1h", Some(3600)),
            ("90", None),
            ("0s", None),
            ("-1s", None),
            ("1d", None),
            ("99999999h", None),
        ] {
            assert_eq!(Seconds::parse(text).map(|seconds| seconds.0), expected, "{text}");
        }
    }

    #[test]
    fn account_names_follow_the_grammar() {
        for (name, expected) in [
            ("www-data", true),
            ("_apt", true),
            ("first.last", true),
            ("host$", true),
            ("", false),
            ("-x", false),
            ("a b", false),
            ("a:b", false),
            ("1a", false),
            ("a234567890123456789012345678901234", false),
        ] {
            assert_eq!(is_account_name(name), expected, "{name}");
        }
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.d", false),
            ("a?c", "abc", true),
            ("a*b*c", "a1b2b3c", true),
            ("*", "", true),
            ("", "a", false),
            ("cache/*", "cache/x/y", true),
        ] {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        }
    }
}
