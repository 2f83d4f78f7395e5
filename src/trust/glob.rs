//! The patterns of a scope: `*` and `?` within one component of a path, `**` for any number of components.
//!
//! **Invariant:** matching takes time proportional to pattern times path, whatever they are.

/// A pattern over paths in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    components: Vec<String>,
}

impl Pattern {
    /// Reads a pattern such as `roles/web/**`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        if text.is_empty() || text.len() > 1024 {
            return Err("a pattern has between 1 and 1024 bytes".into());
        }
        if let Some(character) =
            text.chars().find(|character| "[]{}!\\".contains(*character) || character.is_control())
        {
            return Err(format!(
                "a pattern knows `*`, `?` and `**`, but not `{}`",
                character.escape_default()
            ));
        }
        let components: Vec<String> = text.split('/').map(str::to_owned).collect();
        for component in &components {
            match component.as_str() {
                "" => return Err("a pattern has no leading, doubled or trailing `/`".into()),
                "." | ".." => return Err("a pattern has no `.` or `..`".into()),
                "**" => {}
                other if other.contains("**") => return Err("`**` stands alone between slashes".into()),
                _ => {}
            }
        }
        Ok(Pattern { text: text.to_owned(), components })
    }

    /// Whether the path, from the root of the tree and without a leading slash, matches. A `**` at the end stands for at least
    /// one component: `a/**` is everything in `a`, not a file called `a`.
    pub fn matches(&self, path: &str) -> bool {
        // reachable[n]: the components seen so far of the pattern match the first n of the path.
        let path: Vec<&str> = path.split('/').collect();
        let mut reachable = vec![false; path.len() + 1];
        reachable[0] = true;
        for (position, component) in self.components.iter().enumerate() {
            let mut next = vec![false; path.len() + 1];
            if component == "**" {
                let least = usize::from(position + 1 == self.components.len());
                let mut open = false;
                for end in 0..=path.len() {
                    open |= end >= least && reachable[end - least];
                    next[end] = open;
                }
            } else {
                for end in 1..=path.len() {
                    next[end] = reachable[end - 1] && component_matches(component, path[end - 1]);
                }
            }
            reachable = next;
        }
        reachable[path.len()]
    }

    /// Whether everything that the other pattern matches is matched by this one, as far as that can be seen from one pattern at a
    /// time: a yes is certain, a no is not.
    pub fn covers(&self, other: &Pattern) -> bool {
        let (own, other) = (&self.components, &other.components);
        let last = own.len().saturating_sub(1);
        // covered[i][j]: what follows from component i of this pattern covers what follows from component j of the other.
        let mut covered = vec![vec![false; other.len() + 1]; own.len() + 1];
        covered[own.len()][other.len()] = true;
        for at in (0..own.len()).rev() {
            for seen in (0..=other.len()).rev() {
                let next = other.get(seen);
                covered[at][seen] = match (own[at].as_str(), next) {
                    // At the end it stands for one component or more, and so does every rest of the other that is not empty:
                    // a `**` at its end stands for one or more as well.
                    ("**", next) if at == last => next.is_some(),
                    ("**", next) => covered[at + 1][seen] || (next.is_some() && covered[at][seen + 1]),
                    (_, None) => false,
                    (_, Some(next)) if next == "**" => false,
                    (component, Some(next)) => component_covers(component, next) && covered[at + 1][seen + 1],
                };
            }
        }
        covered[0][0]
    }
}

/// Whether one component covers another: a `*` of the other is covered by a `*` only.
fn component_covers(own: &str, other: &str) -> bool {
    let (own, other): (Vec<char>, Vec<char>) = (own.chars().collect(), other.chars().collect());
    let mut covered = vec![vec![false; other.len() + 1]; own.len() + 1];
    covered[own.len()][other.len()] = true;
    for at in (0..own.len()).rev() {
        for seen in (0..=other.len()).rev() {
            let next = other.get(seen).copied();
            covered[at][seen] = match own[at] {
                '*' => covered[at + 1][seen] || (next.is_some() && covered[at][seen + 1]),
                '?' => next.is_some_and(|next| next != '*') && covered[at + 1][seen + 1],
                character => next == Some(character) && covered[at + 1][seen + 1],
            };
        }
    }
    covered[0][0]
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Matches within one component: on a mismatch only the latest `*` has to be tried again.
fn component_matches(pattern: &str, name: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == name;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, seen));
                at += 1;
            }
            Some(character) if *character == '?' || *character == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((after, begun)) => {
                    star = Some((after, begun + 1));
                    at = after;
                    seen = begun + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("trust.toml", "trust.toml", true),
            ("trust.toml", "roles/trust.toml", false),
            ("trust.toml", "trust_toml", false),
            ("roles/web/**", "roles/web/role.toml", true),
            ("roles/web/**", "roles/web/a/b/c", true),
            ("roles/web/**", "roles/web", false),
            ("roles/web/**", "roles/web2/x", false),
            ("**", "anything/at/all", true),
            ("**", "x", true),
            ("**/role.toml", "role.toml", true),
            ("**/role.toml", "a/b/role.toml", true),
            ("**/role.toml", "a/b/role.tomlx", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "ab", false),
            ("hosts/web-*.toml", "hosts/web-01.toml", true),
            ("hosts/web-*.toml", "hosts/web-/01.toml", false),
            ("hosts/web-??.toml", "hosts/web-01.toml", true),
            ("hosts/web-??.toml", "hosts/web-001.toml", false),
            ("*", ".hidden", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("hosts/ü?.toml", "hosts/üé.toml", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_covers_another_one() {
        for (own, other, expected) in [
            ("**", "roles/web/**", true),
            ("**", "trust.toml", true),
            ("roles/**", "roles/web/**", true),
            ("roles/**", "roles/**", true),
            ("roles/**", "**", false),
            ("roles/**", "roles", false),
            ("roles/*", "roles/**", false),
            ("roles/*/x", "roles/web/x", true),
            ("roles/**/x", "roles/x", true),
            ("**/x", "**/x", true),
            ("**/x", "a/**/x", true),
            ("a/**/x", "**/x", false),
            ("hosts/web-*.toml", "hosts/web-0*.toml", true),
            ("hosts/web-??.toml", "hosts/web-*.toml", false),
            ("hosts/web-*.toml", "hosts/web-??.toml", true),
            ("hosts/?", "hosts/*", false),
        ] {
            let [own, other] = [own, other].map(|text| Pattern::parse(text).unwrap());
            assert_eq!(own.covers(&other), expected, "{own} {other}");
        }
    }

    #[test]
    fn patterns_that_could_mislead_are_refused() {
        for pattern in
            ["", "/a", "a/", "a//b", "./a", "../a", "a**", "**a/b", "[ab]", "{a,b}", "!a", "a\\b", "a\nb"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn every_plain_path_matches_itself(path in "[a-z.]{1,5}x(/[a-z-]{1,6}){0,4}") {
            prop_assert!(Pattern::parse(&path).unwrap().matches(&path));
            prop_assert!(Pattern::parse("**").unwrap().matches(&path));
            prop_assert!(!Pattern::parse(&path).unwrap().matches(&format!("{path}/more")), "a prefix matched");
        }

        #[test]
        fn what_covers_matches_too(own in "[ab*?]{1,3}(/[ab*?]{1,3}){0,3}", other in "[ab*?]{1,3}(/[ab*?]{1,3}){0,3}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
            if let (Ok(own), Ok(other)) = (Pattern::parse(&own), Pattern::parse(&other))
                && own.covers(&other)
                && other.matches(&path)
            {
                prop_assert!(own.matches(&path), "{own} {other} {path}");
            }
        }

        #[test]
        fn matching_never_panics(pattern in "[ab*?/]{1,20}", path in "[ab/]{0,20}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                let _ = pattern.matches(&path);
            }
        }
    }
}
