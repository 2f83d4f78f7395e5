//! The package of an installed version: kept before another one comes, and installed again.

use std::path::{Path, PathBuf};

use super::lock::await_lock;
use super::{LOCK_PATIENCE, PackageError, reason, run_in_unit};
use crate::progress::Tell;
use crate::system::clock;
use crate::system::systemd::{Transient, TransientOutput};

/// How long a package may be downloaded.
const DOWNLOAD: std::time::Duration = std::time::Duration::from_secs(120);

/// Puts the package of an installed version into a folder, from the package manager's own cache or its archives. The file's name; `None`
/// where neither has it any more, or the version came from elsewhere.
pub fn keep(
    manager: &str,
    name: &str,
    version: &str,
    folder: &Path,
    progress: &mut Tell<'_>,
) -> Option<String> {
    if version.is_empty() {
        return None;
    }
    let argv: Vec<String> = match manager {
        "apt" => {
            if let Some(kept) = keep_cached(manager, name, version, folder) {
                return Some(kept);
            }
            let words = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "--"];
            words.into_iter().map(String::from).chain([format!("{name}={version}")]).collect()
        }
        _ => {
            let folder = format!("--downloaddir={}", folder.display());
            let words = ["dnf", "-y", "-q", "--downloadonly", &folder, "reinstall", "--"];
            words.into_iter().map(String::from).chain([format!("{name}-{version}")]).collect()
        }
    };
    let transient = Transient {
        description: format!("Download of the package of {name} that is installed"),
        argv,
        directory: Some(folder.to_owned()),
        timeout: DOWNLOAD,
        environment: [("LC_ALL".to_owned(), "C.UTF-8".to_owned())].into(),
        ..Transient::default()
    };
    // Whatever went wrong: there is no package, or a whole one.
    let _ = run_in_unit(transient, progress);
    let suffix = if manager == "apt" { "deb" } else { "rpm" };
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let found =
        files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == suffix))?;
    Some(found.file_name()?.to_str()?.to_owned())
}

/// The same without starting a package manager: from apt's cache alone.
pub fn keep_cached(manager: &str, name: &str, version: &str, folder: &Path) -> Option<String> {
    let cached = cached(name, version).filter(|_| manager == "apt" && !version.is_empty())?;
    let kept = cached.file_name()?.to_str()?.to_owned();
    crate::system::replace::copy(&cached, &folder.join(&kept), 0o600).ok()?;
    Some(kept)
}

/// A package in apt's cache, which writes the colon of an epoch as `%3a`.
fn cached(name: &str, version: &str) -> Option<PathBuf> {
    let begin = format!("{name}_{}_", version.replace(':', "%3a"));
    let files = std::fs::read_dir("/var/cache/apt/archives").ok()?.flatten();
    files.map(|entry| entry.path()).find(|path| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.starts_with(&begin) && file.ends_with(".deb")
    })
}

/// Installs a version again in place of a newer or broken one: from a file, or else from the archives.
///
/// # Errors
/// Neither does.
pub fn reinstate(
    manager: &str,
    name: &str,
    version: &str,
    file: Option<&Path>,
    progress: &mut Tell<'_>,
) -> Result<(), PackageError> {
    let lock = if manager == "apt" { "/var/lib/dpkg/lock-frontend" } else { "/var/lib/rpm/.rpm.lock" };
    await_lock(lock, clock::instant() + LOCK_PATIENCE, progress)?;
    let from_file = file.map(|file| file.display().to_string()).map(|file| match manager {
        "apt" => vec![
            "dpkg".to_owned(),
            "--force-confdef".into(),
            "--force-confold".into(),
            "--force-downgrade".into(),
            "--install".into(),
            file,
        ],
        _ => vec!["rpm".to_owned(), "--upgrade".into(), "--oldpackage".into(), "--replacepkgs".into(), file],
    });
    let mut last = Err(PackageError::Failed {
        manager: if manager == "apt" { "apt" } else { "dnf" },
        exit: None,
        reason: "neither a file nor a version of the former package is known".into(),
    });
    if let Some(argv) = from_file {
        last = run(manager, argv, progress);
        if last.is_ok() {
            return last;
        }
    }
    if !version.is_empty() {
        let words: &[&str] = match manager {
            "apt" => &[
                "apt-get",
                "-y",
                "-q",
                "-o",
                "DPkg::Options::=--force-confdef",
                "-o",
                "DPkg::Options::=--force-confold",
                "--allow-downgrades",
                "--allow-change-held-packages",
                "--no-remove",
                "--reinstall",
                "install",
                "--",
            ],
            _ => &["dnf", "-y", "--color=never", "downgrade", "--"],
        };
        let package =
            if manager == "apt" { format!("{name}={version}") } else { format!("{name}-{version}") };
        last = run(manager, words.iter().map(|word| (*word).to_owned()).chain([package]).collect(), progress);
    }
    last
}

fn run(manager: &str, argv: Vec<String>, progress: &mut Tell<'_>) -> Result<(), PackageError> {
    let environment =
        [("DEBIAN_FRONTEND", "noninteractive"), ("LC_ALL", "C.UTF-8"), ("NEEDRESTART_SUSPEND", "1")];
    let output: TransientOutput = run_in_unit(
        Transient {
            description: "Return of the former abide".into(),
            argv,
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Transient::default()
        },
        progress,
    )?;
    if output.success() {
        return Ok(());
    }
    let reason = reason(&output.stdout, &output.stderr);
    let manager = if manager == "apt" { "apt" } else { "dnf" };
    Err(PackageError::Failed { manager, exit: output.code, reason })
}
