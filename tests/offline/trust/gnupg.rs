//! Real GnuPG with a home of its own: keys, signatures, and commits that Git has it sign.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use abide::trust::openpgp::{Fingerprint, OpenPgpKey, exported};
use gix::ObjectId;

use super::lab::Lab;

/// A home with keys. Its agent ends with it.
pub struct GnuPg {
    home: tempfile::TempDir,
}

impl GnuPg {
    pub fn new() -> GnuPg {
        let home = tempfile::Builder::new()
            .prefix("gnupg")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .unwrap();
        let gnupg = GnuPg { home };
        // What Git calls in place of `gpg`: the same with this home, and its clock where `clock` says so.
        let script = format!(
            "#!/bin/sh\nexec gpg --homedir {0} --batch --no-tty --quiet --pinentry-mode loopback --passphrase '' $(cat {0}/options) \"$@\"\n",
            gnupg.path().display()
        );
        fs::write(gnupg.path().join("options"), "").unwrap();
        fs::write(gnupg.program(), script).unwrap();
        fs::set_permissions(gnupg.program(), fs::Permissions::from_mode(0o755)).unwrap();
        gnupg
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    pub fn program(&self) -> PathBuf {
        self.path().join("gpg")
    }

    /// Options for everything that comes; words without spaces.
    pub fn options(&self, options: &str) {
        fs::write(self.path().join("options"), options).unwrap();
    }

    /// Runs it, whatever comes of it.
    pub fn try_run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(self.program())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.try_run(arguments, input);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {arguments:?}: {complaint}");
        output.stdout
    }

    /// Makes a key with this address; its fingerprint.
    pub fn key(&self, address: &str, algorithm: &str, usage: &str, expires: &str) -> Fingerprint {
        self.run(&["--quick-gen-key", &format!("Somebody <{address}>"), algorithm, usage, expires], b"");
        self.fingerprints(address)[0]
    }

    /// The fingerprints of the primary key and its subkeys, in that order.
    pub fn fingerprints(&self, address: &str) -> Vec<Fingerprint> {
        let listing = String::from_utf8(self.run(&["--list-keys", "--with-colons", address], b"")).unwrap();
        let names = listing.lines().filter_map(|line| line.strip_prefix("fpr:"));
        names.map(|line| Fingerprint::parse(line.trim_matches(':')).unwrap()).collect()
    }

    pub fn export(&self, key: Fingerprint) -> Vec<u8> {
        self.run(&["--armor", "--export", &key.to_string()], b"")
    }

    /// The key as an author takes it out of an export.
    pub fn public(&self, key: Fingerprint) -> OpenPgpKey {
        exported(&self.export(key), Some(key)).unwrap()
    }

    /// Signs bytes as Git has them signed.
    pub fn sign(&self, key: Fingerprint, options: &[&str], payload: &[u8]) -> String {
        let user = format!("{key}!");
        let arguments = [options, &["-bsau", &user]].concat();
        String::from_utf8(self.run(&arguments, payload)).unwrap()
    }

    /// Whether GnuPG itself takes a signature for good.
    pub fn verifies(&self, armoured: &str, payload: &[u8]) -> bool {
        let (signature, message) = (self.path().join("signature"), self.path().join("message"));
        fs::write(&signature, armoured).unwrap();
        fs::write(&message, payload).unwrap();
        let paths = [&signature, &message].map(|path| path.to_str().unwrap().to_owned());
        self.try_run(&["--verify", &paths[0], &paths[1]], b"").status.success()
    }

    /// Commits everything in the work tree, signed by GnuPG with the key that this word names.
    pub fn commit(&self, lab: &Lab, key: &str, message: &str) -> ObjectId {
        lab.git(&["add", "-A"]);
        let (program, key) =
            (format!("gpg.program={}", self.program().display()), format!("user.signingkey={key}"));
        lab.git(&[
            "-c",
            "gpg.format=openpgp",
            "-c",
            &program,
            "-c",
            &key,
            "commit",
            "-q",
            "-S",
            "--allow-empty",
            "-m",
            message,
        ]);
        lab.head()
    }

    /// Whether Git, with this GnuPG, takes a commit for good.
    pub fn git_verifies(&self, lab: &Lab, commit: ObjectId) -> bool {
        let program = format!("gpg.program={}", self.program().display());
        lab.succeeds(&["-c", "gpg.format=openpgp", "-c", &program, "verify-commit", &commit.to_string()])
    }
}

impl Drop for GnuPg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.path()).args(["--kill", "all"]).output();
    }
}
