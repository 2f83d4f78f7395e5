//! All generated files, by their path from the root of the project.
#![expect(clippy::expect_used, reason = "what cannot be generated shall end the program with its reason")]

pub mod attacks;
mod codes;
mod commands;
mod events;
mod roff;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;

/// First line of every generated page.
const NOTE: &str = "<!-- Made from the program by `cargo run --example generate`. Do not edit. -->";

/// Pages of the manual that are manual pages of the system too: file, page and section, title line.
const WRITTEN: &[(&str, &str, &str)] = &[
    ("docs/manual/abide.8.md", "abide", "8"),
    ("docs/manual/abide-trust.toml.5.md", "abide-trust.toml", "5"),
];

/// Path and text of every generated file.
pub fn all() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    files.insert("docs/reference/settings.md".into(), settings::reference());
    files.insert("packaging/abide.toml".into(), settings::default_file());
    files
        .insert("packaging/man/abide.toml.5".into(), roff::page("abide.toml", "5", &settings::manual_page()));
    files.insert("docs/reference/commands.md".into(), commands::reference());
    files.extend(commands::manual_pages());
    files.extend(commands::completions());
    files.insert("docs/reference/codes.md".into(), codes::reference(&root().join("src")));
    files.insert("docs/reference/events.md".into(), events::reference());
    files.insert("tests/ATTACKS.md".into(), attacks::page(root()));
    files.insert("systemd/abide.catalog".into(), abide::report::event::catalog());
    for (path, name, section) in WRITTEN {
        let text = read(path).replace("{commands}", &commands::list());
        files.insert(format!("packaging/man/{name}.{section}"), roff::page(name, section, &text));
    }
    files
}

/// The root of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
