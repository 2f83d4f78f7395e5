//! What `packaging/build` promises about the program, without packing it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn build(arguments: &[&str], path: &str) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build");
    Command::new(script).args(arguments).env("PATH", path).output().unwrap()
}

fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// Debian 12 has glibc 2.36, Ubuntu 22.04 has 2.35, RHEL 9 has 2.34.
#[test]
fn the_program_needs_no_newer_c_library_than_the_oldest_distribution_has() {
    let checked = build(&["--check", "--binary", env!("CARGO_BIN_EXE_abide")], &path());
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    let needed = said.split_once("needs glibc ").expect("it says what it needs").1;
    let (needed, promised) = needed.split_once(" (promised: ").expect("and what is promised");
    assert_eq!(promised.trim_end(), "2.34)");
    let minor: u32 = needed.strip_prefix("2.").and_then(|minor| minor.parse().ok()).expect("a version");
    assert!(minor <= 34, "{needed}");
}

#[test]
fn a_static_build_that_cannot_be_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let rustc = folder.path().join("rustc");
    std::fs::write(&rustc, format!("#!/bin/sh\necho {}\n", folder.path().display())).unwrap();
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let built = build(&["--static", "--check"], &format!("{}:{}", folder.path().display(), path()));
    assert!(!built.status.success());
    let said = String::from_utf8_lossy(&built.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("-unknown-linux-musl") && said.contains("rustup target add"), "{said}");
    let dynamic = build(&["--static", "--check", "--binary", env!("CARGO_BIN_EXE_abide")], &path());
    assert!(!dynamic.status.success(), "this one needs a C library");
}
