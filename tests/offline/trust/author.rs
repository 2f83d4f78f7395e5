//! The author's side: a fleet is founded, and every revision is explained.

use std::path::PathBuf;
use std::process::Command;

use abide::cli::{init, verify};
use abide::error::Problem;

struct Desk(tempfile::TempDir);

impl Desk {
    /// A folder with a repository whose Git knows its author.
    fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        std::fs::create_dir(desk.fleet()).unwrap();
        desk.git(&["init", "-q", "-b", "trunk"]);
        for (key, value) in
            [("user.name", "Alice"), ("user.email", "alice@example.org"), ("gpg.format", "openpgp")]
        {
            desk.git(&["config", key, value]);
        }
        desk
    }

    fn fleet(&self) -> PathBuf {
        self.0.path().join("fleet")
    }

    fn key(&self, kind: &str) -> PathBuf {
        let path = self.0.path().join(kind);
        let status =
            Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git").args(arguments).current_dir(self.fleet()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn found(&self, new_key: Option<PathBuf>) -> Result<init::Founded, Problem> {
        init::found(&init::Arguments { directory: self.fleet(), new_key, principal: None, name: None })
    }

    fn verify(&self, founded: &init::Founded) -> verify::Explanation {
        let arguments = verify::Arguments {
            revision: None,
            repo: Some(self.fleet()),
            root: None,
            explain: false,
            introduction: Some(founded.introduction.clone()),
            key: Some(founded.key.clone()),
        };
        verify::in_repository(&arguments, &self.fleet()).unwrap()
    }
}

#[test]
fn a_fleet_is_founded_and_verified() {
    let desk = Desk::new();
    let key = desk.0.path().join("fleet_key");
    let founded = desk.found(Some(key.clone())).unwrap();
    assert_eq!(
        founded.enroll,
        format!("abide enroll <url> --introduction {} --key {}", founded.introduction, founded.key)
    );
    assert!(key.exists() && desk.fleet().join("roles/base/role.toml").exists());
    assert_eq!(founded.reference, "refs/heads/trunk");
    assert!(desk.verify(&founded).accepted);
    // The next commit is signed without being told so, and explained.
    std::fs::write(desk.fleet().join("roles/base/role.toml"), "# changed\n").unwrap();
    desk.git(&["commit", "-q", "-a", "-m", "Change the role"]);
    let explanation = desk.verify(&founded);
    assert!(explanation.accepted);
    let text = verify::render(&explanation, false);
    for part in
        ["Change the role", "signed by alice", "scope everything: roles/base/role.toml", "is accepted"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    desk.git(&["commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", "Unsigned"]);
    let explanation = desk.verify(&founded);
    assert!(!explanation.accepted);
    let text = verify::render(&explanation, false);
    assert!(text.contains("[E010]") && text.contains("is not accepted"), "{text}");
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["rejection"]["code"], "E010");
}

#[test]
fn the_key_that_git_signs_with_is_taken() {
    let desk = Desk::new();
    let key = desk.key("ed25519");
    desk.git(&["config", "gpg.format", "ssh"]);
    desk.git(&["config", "user.signingkey", key.to_str().unwrap()]);
    let founded = desk.found(None).unwrap();
    assert!(desk.verify(&founded).accepted);
    // Nothing is overwritten.
    assert_eq!(desk.found(None).unwrap_err().code, "E745");
}

#[test]
fn what_stands_in_the_way_is_named_and_nothing_stays() {
    let desk = Desk::new();
    assert_eq!(desk.found(None).unwrap_err().code, "E742");
    desk.git(&["config", "gpg.format", "ssh"]);
    let rsa = desk.key("rsa").with_extension("pub");
    desk.git(&["config", "user.signingkey", rsa.to_str().unwrap()]);
    assert_eq!(desk.found(None).unwrap_err().code, "E744");
    desk.git(&["config", "user.signingkey", "/nonexistent/key.pub"]);
    assert_eq!(desk.found(None).unwrap_err().code, "E743");
    // A public key whose private half is gone: the commit fails, and its files go away again.
    let gone = desk.key("ed25519");
    std::fs::remove_file(&gone).unwrap();
    desk.git(&["config", "user.signingkey", gone.with_extension("pub").to_str().unwrap()]);
    assert_eq!(desk.found(None).unwrap_err().code, "E740");
    assert!(!desk.fleet().join("trust.toml").exists());
    desk.git(&["commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", "x"]);
    desk.git(&["checkout", "-q", "--detach"]);
    assert_eq!(desk.found(None).unwrap_err().code, "E747");
    let other = desk.0.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("file"), "x").unwrap();
    let arguments = init::Arguments { directory: other, new_key: None, principal: None, name: None };
    assert_eq!(init::found(&arguments).unwrap_err().code, "E746");
}
