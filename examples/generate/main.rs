//! Writes everything that is made from the program itself: manual pages, completions, the journal catalog, the default settings file
//! and the reference. `cargo run --example generate` writes it where it is kept; `-- DIR` elsewhere. A test compares.
#![expect(clippy::disallowed_methods, reason = "it writes into a checkout, not on a managed host")]

mod pages;

use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let root =
        std::env::args_os().nth(1).map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    for (path, text) in pages::all() {
        write(&root.join(path), &text)?;
    }
    let (without, unknown) = pages::attacks::gaps(pages::root());
    for gap in without.iter().chain(&unknown) {
        eprintln!("attacks and tests do not match: {gap}");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)?;
    println!("{}", path.display());
    Ok(())
}
