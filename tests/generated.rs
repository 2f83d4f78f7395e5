//! What is generated from the program is committed, and current.

#[path = "../examples/generate/pages/mod.rs"]
mod pages;

use std::path::Path;

#[test]
fn generated_files_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stale: Vec<String> = pages::all()
        .into_iter()
        .filter(|(path, text)| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text))
        .map(|(path, _)| path)
        .collect();
    assert!(stale.is_empty(), "run `cargo run --example generate`; not current: {stale:#?}");
}

#[test]
fn every_attack_is_a_test() {
    let (without, unknown) = pages::attacks::gaps(pages::root());
    assert!(without.is_empty(), "no test says `/// Attack N: …` for {without:#?}");
    assert!(unknown.is_empty(), "there is no attack of this number: {unknown:#?}");
}

#[test]
fn no_generated_manual_page_is_left_from_a_command_that_is_gone() {
    let files = pages::all();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man");
    for entry in std::fs::read_dir(folder).expect("the manual pages are committed").flatten() {
        let path = format!("packaging/man/{}", entry.file_name().to_string_lossy());
        assert!(files.contains_key(&path), "{path} is not generated any more; remove it");
    }
}

#[test]
fn the_default_settings_file_shows_the_defaults() {
    let text = &pages::all()["packaging/abide.toml"];
    let parse =
        |text: &str| abide::config::parse(text, Path::new("abide.toml")).map_err(|error| error.to_string());
    assert_eq!(parse(text).expect("it is valid as it is"), abide::config::Settings::default());
    // With every comment taken off that has a default, it still says the same.
    let said: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.ends_with("\"…\""))
        .map(|line| line.trim_start_matches('#'))
        .collect();
    assert!(said.len() > 20, "{said:#?}");
    assert_eq!(parse(&said.join("\n")).expect("the defaults are valid"), abide::config::Settings::default());
}
