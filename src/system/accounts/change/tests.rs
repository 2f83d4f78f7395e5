//! Tests of changes, on account files of their own.

use super::*;
use crate::error::Explain;

fn user(name: &str) -> UserAction {
    UserAction { name: name.into(), ..UserAction::default() }
}

fn group(name: &str, gid: Option<u32>) -> GroupAction {
    GroupAction { name: name.into(), absent: false, system: false, gid }
}

/// The account files of a small system; `None` without root or the tools.
fn system() -> Option<(tempfile::TempDir, Accounts)> {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/sbin/useradd").exists() {
        eprintln!("skipped: needs root and useradd");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    for (name, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\nalice:x:1500:\nweb:x:1600:\n"),
        ("shadow", "root:*:19000:0:99999:7:::\n"),
        ("gshadow", "root:*::\nalice:!::\nweb:!::\n"),
    ] {
        std::fs::write(etc.join(name), text).unwrap();
    }
    std::fs::copy("/etc/login.defs", etc.join("login.defs")).unwrap();
    let accounts = Accounts::below(folder.path());
    Some((folder, accounts))
}

#[test]
fn a_user_is_made_changed_and_removed_each_as_often_as_asked() {
    let Some((_folder, accounts)) = system() else { return };
    let mut action = UserAction {
        uid: Some(2222),
        groups: Some(vec!["web".into()]),
        shell: Some("/bin/sh".into()),
        comment: Some("Alice".into()),
        expires: Some("2030-01-02".into()),
        ..user("alice")
    };
    for shell in ["/bin/sh", "/bin/false"] {
        action.shell = Some(shell.into());
        for _ in 0..2 {
            accounts.change_user(&action).unwrap();
            let database = accounts.database().unwrap();
            let alice = &database.users["alice"];
            let numbers = (alice.uid, alice.gid, alice.groups.as_slice());
            assert_eq!(numbers, (2222, 1500, ["web".to_owned()].as_slice()));
            let texts = (alice.shell.to_str().unwrap(), alice.comment.as_str(), alice.expires.as_str());
            assert_eq!(texts, (shell, "Alice", "2030-01-02"));
            assert!(alice.locked, "a new user has no password");
        }
    }
    for _ in 0..2 {
        accounts.change_user(&UserAction { absent: true, ..user("alice") }).unwrap();
        assert!(!accounts.database().unwrap().users.contains_key("alice"));
    }
}

#[test]
fn passwords_and_locks_are_set_apart() {
    let Some((_folder, accounts)) = system() else { return };
    let hash = "$6$salt$0123456789abcdef";
    let unlocked = UserAction { locked: Some(false), ..user("alice") };
    assert_eq!(accounts.change_user(&unlocked).unwrap_err().code().0, "E441", "no password to unlock");
    for (password, locked, expected) in [
        // The first hash opens the account; a later one does not lift a lock.
        (Some(hash), None, (hash, false)),
        (None, Some(true), (hash, true)),
        (Some("$6$other$0123"), None, ("$6$other$0123", true)),
        (None, Some(false), ("$6$other$0123", false)),
        (Some(hash), Some(true), (hash, true)),
        (Some("$6$other$0123"), Some(false), ("$6$other$0123", false)),
    ] {
        let action = UserAction { password: password.map(str::to_owned), locked, ..user("alice") };
        for _ in 0..2 {
            accounts.change_user(&action).unwrap();
            let database = accounts.database().unwrap();
            let alice = &database.users["alice"];
            assert_eq!((alice.password.as_str(), alice.locked), expected);
        }
    }
}

#[test]
fn a_group_is_made_changed_and_removed_each_as_often_as_asked() {
    let Some((_folder, accounts)) = system() else { return };
    for gid in [1700, 1700, 1701, 1701] {
        accounts.change_group(&group("new", Some(gid))).unwrap();
        assert_eq!(accounts.database().unwrap().groups["new"].gid, gid);
    }
    for _ in 0..2 {
        accounts.change_group(&GroupAction { absent: true, ..group("new", None) }).unwrap();
        assert!(!accounts.database().unwrap().groups.contains_key("new"));
    }
    let error = accounts.change_group(&group("other", Some(1600))).unwrap_err();
    assert_eq!(error.code().0, "E442", "{error}");
    assert!(error.to_string().contains("1600"), "the tool's own words are shown: {error}");
}

#[test]
fn values_that_would_break_the_files_or_look_like_options_are_refused() {
    let accounts = Accounts::below(Path::new("/nonexistent"));
    for action in [
        user("-rf"),
        user(""),
        user("a:b"),
        user("a\nb"),
        user(&"x".repeat(33)),
        UserAction { group: Some("--system".into()), ..user("alice") },
        UserAction { groups: Some(vec!["a,b".into()]), ..user("alice") },
        UserAction { comment: Some("a:0:0".into()), ..user("alice") },
        UserAction { shell: Some("bin/sh".into()), ..user("alice") },
        UserAction { home: Some("/home/\nx".into()), ..user("alice") },
        UserAction { password: Some("x:y".into()), ..user("alice") },
        UserAction { password: Some(String::new()), ..user("alice") },
        UserAction { password: Some("!hash".into()), ..user("alice") },
    ] {
        let error = accounts.change_user(&action).unwrap_err();
        assert_eq!(error.code().0, "E441", "{action:?}");
        assert!(!error.to_string().contains("hash`"), "a secret is not shown: {error}");
    }
}

#[test]
fn a_held_lock_is_told_from_other_failures() {
    for (stderr, expected) in [
        ("useradd: cannot lock /etc/passwd; try again later.\n", true),
        (
            "groupadd: existing lock file /etc/group.lock without a PID\ngroupadd: cannot lock /etc/group; try again later.",
            true,
        ),
        ("useradd: UID 5 is not unique\n", false),
    ] {
        let output = Output {
            code: Some(1),
            signal: None,
            stdout: Vec::new(),
            stderr: stderr.into(),
            truncated: false,
        };
        assert_eq!(lock_failure(&output), expected, "{stderr}");
    }
}
