#![no_main]
//! A pattern and a path, with a line break between them: what the matcher says is what the definition says.

use abide::trust::glob::Pattern;

/// The definition, tried out in every way there is.
fn by_definition(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([], _) => false,
        (["**"], path) => !path.is_empty(),
        (["**", rest @ ..], path) => (0..=path.len()).any(|taken| by_definition(rest, &path[taken..])),
        ([first, rest @ ..], [name, below @ ..]) => {
            let (first, name): (Vec<char>, Vec<char>) = (first.chars().collect(), name.chars().collect());
            component(&first, &name) && by_definition(rest, below)
        }
        (_, []) => false,
    }
}

fn component(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], name) => (0..=name.len()).any(|taken| component(rest, &name[taken..])),
        (['?', rest @ ..], [_, below @ ..]) => component(rest, below),
        ([one, rest @ ..], [other, below @ ..]) => one == other && component(rest, below),
        _ => false,
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Some((pattern, path)) = text.split_once('\n') else { return };
    let Ok(parsed) = Pattern::parse(pattern) else { return };
    assert_eq!(parsed.to_string(), pattern);
    let matches = parsed.matches(path);
    // Trying everything takes too long for long ones.
    if pattern.len() + path.len() <= 40 && pattern.matches('*').count() <= 6 {
        let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
        assert_eq!(matches, by_definition(&pattern, &path));
    }
});
