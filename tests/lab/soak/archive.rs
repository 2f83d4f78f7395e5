//! What the hosts install from: two versions of abide itself, and some small packages in two versions each.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::command::run;
use crate::support::lab_script;

/// The versions of abide. The second is the same program with a byte more.
pub const ABIDE: [&str; 2] = ["1.0.0", "2.0.0"];

/// Small packages, and their versions.
pub const SMALL: &[(&str, &[&str])] =
    &[("abide-one", &["1.0", "2.0"]), ("abide-conf", &["1.0", "2.0"]), ("abide-two", &["1.0"])];

/// Where hosts see it.
pub const SEEN: &str = "/srv/archive";

/// A repository for apt.
#[derive(Debug)]
pub struct Archive(TempDir);

impl Archive {
    /// Packs the program.
    pub fn new(program: &Path) -> Archive {
        let archive = Archive(tempfile::tempdir().expect("a temporary folder"));
        let [folder, program] = [archive.folder().as_path(), program]
            .map(|path| path.to_str().expect("paths of tests are UTF-8").to_owned());
        run(lab_script("package-repositories"), &[&folder, "deb"], b"").success();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/build");
        let [first, second] = ABIDE;
        // The same program is not packed again.
        let built = concat!(env!("CARGO_TARGET_TMPDIR"), "/soak");
        let options = ["--deb", "--quick", "--binary", &program, "--version", first, "--output", built];
        let deb = run(script, &options, b"").success();
        let again = format!(
            "cd '{folder}/deb' && cp {deb} . && dpkg-deb -R abide_{first}-1_*.deb again && echo >>again/usr/bin/abide &&
             sed -i 's/^Version: .*/Version: {second}-1/' again/DEBIAN/control && sed -i '/usr.bin.abide$/d' again/DEBIAN/md5sums &&
             dpkg-deb -Znone --root-owner-group -b again abide_{second}-1_all.deb && rm -r again &&
             dpkg-scanpackages --multiversion . >Packages",
            deb = deb.trim()
        );
        run("sh", &["-c", &again], b"").success();
        archive
    }

    fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// What a host has to see at [`SEEN`].
    pub fn bind(&self) -> (PathBuf, PathBuf) {
        (self.folder().join("deb"), SEEN.into())
    }
}

/// What has a host know this archive and no other, and installs the first version of abide.
pub fn install() -> String {
    format!(
        "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
         echo 'deb [trusted=yes] file:{SEEN} ./' >/etc/apt/sources.list.d/test.list
         apt-get -q update; dpkg -i --force-unsafe-io {SEEN}/abide_{}-1_*.deb",
        ABIDE[0]
    )
}
