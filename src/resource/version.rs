//! Which versions of a package a declaration accepts. Their order is that of the host's package manager.

use serde::{Deserialize, Serialize};

use crate::system::packages::VersionOrder;

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
    pub(super) fn accepts(&self, version: &str, versions: VersionOrder) -> bool {
        self.bounds.iter().all(|(relation, bound)| {
            if *relation == Relation::Like {
                let version = without(bound, version);
                return super::fields::matches_pattern(bound, version);
            }
            let order = versions.compare(without(bound, version), bound);
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let accepted = Accepted::parse(accepted).unwrap();
            for versions in [VersionOrder::Dpkg, VersionOrder::Rpm] {
                assert_eq!(
                    accepted.accepts(version, versions),
                    expected,
                    "{accepted:?} {version} {versions:?}"
                );
            }
        }
        for wrong in ["", ">=", ">= 1, ", "-1", "1 2", ">= 1.*"] {
            assert!(Accepted::parse(wrong).is_err(), "{wrong}");
        }
    }
}
