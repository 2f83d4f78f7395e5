//! Packages and units on real hosts: one contract (`package_contract.rs`), run inside a host with apt and one with dnf.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::command::{complete, run};
use crate::support::host::{Host, HostOptions, Root};
use crate::support::{lab_is_enabled, lab_script};

/// A program that runs inside hosts, built once.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        build(&["--example", "package-contract", "--example", "hostile-fetcher", "--example", "drifter"])
    });
    folder.join(name)
}

/// Builds examples; gives the folder that they are in then.
pub(crate) fn build(arguments: &[&str]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo says to a test would make it build some crates again.
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
        if own.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            cargo.env_remove(name);
        }
    }
    complete(&mut cargo, b"").success();
    // The test itself runs from target/<profile>/deps.
    let test = std::env::current_exe().expect("a running test has a path");
    test.ancestors().nth(2).expect("it lies two folders deep").join("examples")
}

/// A host with the contract's program and repositories, and with no other repository.
fn host(root: Root, repositories: &Path) -> Host {
    let host = Host::boot(HostOptions {
        name: "packages",
        root,
        binds: vec![
            (example("package-contract"), "/contract/package-contract".into()),
            (repositories.to_owned(), "/repositories".into()),
        ],
        ..HostOptions::default()
    });
    match root {
        Root::Debian => {
            host.sh("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*").success();
            host.write("/etc/apt/sources.list.d/test.list", "deb [trusted=yes] file:/repositories/deb ./\n");
        }
        Root::Rpm => {
            let repository = "[test]\nname=test\nbaseurl=file:///repositories/rpm\ngpgcheck=0\n";
            host.write("/etc/yum.repos.d/test.repo", repository);
        }
    }
    host
}

#[track_caller]
fn keeps(root: Root, part: &str) {
    if !lab_is_enabled() {
        return;
    }
    let repositories = tempfile::tempdir().expect("a temporary folder");
    run(lab_script("package-repositories"), &[repositories.path()], b"").success();
    let said = host(root, repositories.path()).exec(&["/contract/package-contract", part]);
    assert_eq!(said.code, 0, "--- stdout\n{}\n--- stderr\n{}", said.stdout, said.stderr);
}

#[test]
fn apt_keeps_the_contract_of_package_managers() {
    keeps(Root::Debian, "packages");
}

#[test]
fn dnf_keeps_the_contract_of_package_managers() {
    keeps(Root::Rpm, "packages");
}

#[test]
fn systemd_keeps_its_contract() {
    keeps(Root::Debian, "systemd");
}
