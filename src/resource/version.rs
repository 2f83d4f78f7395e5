//! Versions of packages: their order, and what a declaration accepts.
//!
//! The order is the one of Debian Policy §5.6.12, with the caret of rpm (`1.0 < 1.0^git1 < 1.0.1`); for versions as they are in
//! archives it agrees with rpm's.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The versions that a declaration accepts: every bound, or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accepted {
    text: String,
    bounds: Vec<(Relation, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Relation {
    Below,
    AtMost,
    Exactly,
    Like,
    AtLeast,
    Above,
}

impl Accepted {
    /// Reads `1.24.0-1`, `1.24.*`, or bounds such as `>= 1.2, < 2`.
    ///
    /// # Errors
    /// A message about the first bound that is not one.
    pub(super) fn parse(text: &str) -> Result<Accepted, String> {
        let mut bounds = Vec::new();
        for bound in text.split(',').map(str::trim) {
            let operators = [
                (">=", Relation::AtLeast),
                ("<=", Relation::AtMost),
                ("=", Relation::Exactly),
                (">", Relation::Above),
                ("<", Relation::Below),
            ];
            let found =
                operators.iter().find_map(|(word, relation)| Some((bound.strip_prefix(word)?, *relation)));
            let (version, relation) = match found {
                Some((version, relation)) => (version.trim(), relation),
                None if bound.contains('*') => (bound, Relation::Like),
                None => (bound, Relation::Exactly),
            };
            let star = if relation == Relation::Like { "*" } else { "" };
            let plain = |character: char| {
                character.is_ascii_alphanumeric() || ".+-~:^_".contains(character) || star.contains(character)
            };
            if version.is_empty() || version.starts_with('-') || !version.chars().all(plain) {
                return Err(format!("`{bound}` is not a version or a bound such as `>= 1.2`"));
            }
            bounds.push((relation, version.to_owned()));
        }
        Ok(Accepted { text: text.to_owned(), bounds })
    }

    /// As the author wrote it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The one version that is accepted, when there is only one.
    pub(super) fn exact(&self) -> Option<&str> {
        match self.bounds.as_slice() {
            [(Relation::Exactly, version)] => Some(version),
            _ => None,
        }
    }

    /// Whether the version is named with its release, so that nothing has to be looked up to install it.
    pub(super) fn complete(&self) -> bool {
        self.exact().is_some_and(|version| version.contains('-'))
    }

    /// Whether a version is accepted. A bound without epoch or release says nothing about them: `1.24` accepts `1:1.24-3`.
    pub(super) fn accepts(&self, version: &str) -> bool {
        self.bounds.iter().all(|(relation, bound)| {
            if *relation == Relation::Like {
                let version = without(bound, version);
                return super::fields::matches_pattern(bound, version);
            }
            let order = compare(without(bound, version), bound);
            match relation {
                Relation::Below => order.is_lt(),
                Relation::AtMost => order.is_le(),
                Relation::Exactly => order.is_eq(),
                Relation::AtLeast => order.is_ge(),
                Relation::Above => order.is_gt(),
                Relation::Like => false,
            }
        })
    }
}

/// The version without the parts that the bound does not have.
fn without<'a>(bound: &str, version: &'a str) -> &'a str {
    let version = match version.split_once(':') {
        Some((_, rest)) if !bound.contains(':') => rest,
        _ => version,
    };
    match version.rsplit_once('-') {
        // A pattern's star may stand for the release.
        Some((rest, _)) if !bound.contains('-') && !bound.ends_with('*') => rest,
        _ => version,
    }
}

/// Which of two versions is newer.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let ((left_epoch, left), (right_epoch, right)) = (epoch(left), epoch(right));
    let ((left, left_release), (right, right_release)) = (release(left), release(right));
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| compare_part(left.as_bytes(), right.as_bytes()))
        .then_with(|| compare_part(left_release.as_bytes(), right_release.as_bytes()))
}

fn epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

fn release(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Alternates between runs of other characters, by weight, and runs of digits, by number.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        loop {
            let (first, second) = (weight(left.first()), weight(right.first()));
            match first.cmp(&second) {
                Ordering::Equal if first == 0 => break,
                Ordering::Equal => (left, right) = (&left[1..], &right[1..]),
                different => return different,
            }
        }
        let (left_number, right_number);
        (left_number, left) = number(left);
        (right_number, right) = number(right);
        let order = left_number.len().cmp(&right_number.len()).then_with(|| left_number.cmp(right_number));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Zero for a digit and for the end: there a run of other characters is over.
fn weight(character: Option<&u8>) -> i32 {
    match character {
        None => 0,
        Some(character) if character.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(b'^') => 1,
        Some(character) if character.is_ascii_alphabetic() => i32::from(*character),
        Some(character) => i32::from(*character) + 256,
    }
}

/// The leading digits without leading zeros, and the rest.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let digits = text.iter().take_while(|character| character.is_ascii_digit()).count();
    let zeros = text[..digits].iter().take_while(|digit| **digit == b'0').count();
    (&text[zeros..digits], &text[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_archives_order_them() {
        for (older, newer) in [
            ("1.2", "1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("9.9", "1:0.1"),
            ("1.0-1", "1.0-2"),
            ("1.0", "1.0-1"),
            ("1.0a", "1.0.1"),
            ("1.0", "1.0a"),
            ("2.4.57-2", "2.4.57-2+deb12u1"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} < {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{newer} > {older}");
        }
        assert_eq!(compare("1.001", "1.1"), Ordering::Equal);
        assert_eq!(compare("0:1.1", "1.1"), Ordering::Equal);
    }

    #[test]
    fn bounds_accept_what_they_say() {
        for (accepted, version, expected) in [
            ("1.24.0", "1.24.0", true),
            ("1.24.0", "1:1.24.0-3", true),
            ("1.24.0-2", "1.24.0-3", false),
            (">= 1.2, < 2", "1.10-1", true),
            (">= 1.2, < 2", "2.0-1", false),
            (">= 1.2, < 2", "1.1", false),
            ("<= 1.2", "1.2-7", true),
            ("> 1.2", "1.2-7", false),
            ("1.24.*", "1.24.3-1", true),
            ("1.24.*", "1.25.0-1", false),
        ] {
            assert_eq!(Accepted::parse(accepted).unwrap().accepts(version), expected, "{accepted} {version}");
        }
        for wrong in ["", ">=", ">= 1, ", "-1", "1 2", ">= 1.*"] {
            assert!(Accepted::parse(wrong).is_err(), "{wrong}");
        }
    }
}
