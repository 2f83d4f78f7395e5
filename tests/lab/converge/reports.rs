//! What is only reported, and who listens.

use crate::support::lab_is_enabled;
use crate::support::site::{PATIENCE, ROLE, Site, SiteOptions, changed};

const WARN: &str = r#"
[file."/etc/ours"]
content = "ours\n"

[file."/etc/theirs"]
content = "as declared\n"
enforce = "warn"

[file."/etc/nobodys"]
content = "never written\n"
enforce = false
"#;

#[test]
fn what_is_only_to_be_reported_is_told_once_and_left() {
    if !lab_is_enabled() {
        return;
    }
    let options =
        SiteOptions { name: "warn", prepare: "echo edited > /etc/theirs", ..SiteOptions::default() };
    let site = Site::enrolled(&options);
    site.declare(WARN);
    let told = || {
        let events = site.abide(&["events", "-o", "json"]).success();
        events.lines().filter(|line| line.contains("resource-drifted")).count()
    };
    for _ in 0..2 {
        let output = site.sync();
        let status = site.status();
        assert_eq!(status["run"]["sync"], "OutOfSync", "{output:#?}\n{status:#}");
        assert_eq!(status["run"]["health"], "Healthy", "a report is no failure: {status:#}");
        assert_eq!(status["run"]["counts"]["left"], 1, "{status:#}");
        assert!(status["run"]["differing"]["file:/etc/theirs"].is_string(), "{status:#}");
        assert_eq!(told(), 1, "it is told when it begins, not with each run");
    }
    site.holds("grep -qx ours /etc/ours; grep -qx edited /etc/theirs; test ! -e /etc/nobodys");
    let diff = site.abide(&["diff"]);
    assert!(diff.code == 1 && diff.stdout.contains("+as declared"), "{diff:#?}");

    // Whoever brings it back by hand ends the report.
    site.holds("echo as declared > /etc/theirs");
    let status = site.synced();
    assert_eq!((&status["run"]["sync"], changed(&status)), (&"Synced".into(), 0), "{status:#}");
    // What it left is not its own: it goes away without being removed.
    site.converged("[file.\"/etc/other\"]\ncontent = \"\"\n");
    site.holds("test ! -e /etc/ours; grep -qx 'as declared' /etc/theirs");
}

#[test]
fn events_are_followed_as_they_happen() {
    if !lab_is_enabled() {
        return;
    }
    let files = [(ROLE, "[file.\"/etc/one\"]\ncontent = \"one\\n\"\n")];
    let site = Site::enrolled(&SiteOptions { name: "follow", files: &files, ..Default::default() });
    site.holds("nohup abide events -n 0 --follow > /root/text 2>&1 & echo $! > /root/pid");
    site.holds("nohup abide events -n 1 --follow -o json > /root/json 2>&1 & echo $! >> /root/pid");
    site.host.wait_for("grep -q . /root/json", PATIENCE);
    site.holds("echo spoilt > /etc/one");
    site.synced();
    site.host.wait_for("grep -q 'file:/etc/one' /root/text && grep -q resource-changed /root/json", PATIENCE);
    // A line is whole as soon as it is there, and none comes twice.
    let lines = site.host.sh("cat /root/json").success();
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is one event");
    }
    assert_eq!(lines.lines().filter(|line| line.contains("resource-changed")).count(), 1, "{lines}");
    site.holds("kill $(cat /root/pid)");
}

/// A canary that must not be seen anywhere but where it belongs.
const CANARY: &str = "canary-7b21e4";

/// Attack 33: secrets of `sensitive` resources are looked for in every place where somebody could find them.
#[test]
fn a_secret_is_nowhere_but_in_its_file() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions { name: "secret", ..Default::default() });
    let role = |secret: &str, validate: &str| {
        format!(
            "[file.\"/srv/secret\"]\ncontent = \"{secret}\\n\"\nsensitive = true\nmode = \"0600\"\nvalidate = {validate}\n\
             [file.\"/srv/rendered\"]\ntemplate = \"t.j2\"\nsensitive = true\nmode = \"0600\"\n\
             [user.keeper]\npassword = \"$6${secret}$abcdefghijklmnopqrstuv\"\n"
        )
    };
    site.fleet.write(&[("roles/base/t.j2", "password={{ host.name }}-canary-7b21e4\n")]);
    site.converged(&role(CANARY, "[\"test\", \"-s\", \"{file}\"]"));
    let mut told = String::new();
    let mut tell = |output: crate::support::command::Output| told.push_str(&format!("{output:?}\n"));
    // It drifts, and somebody looks at the difference; it changes; and a program that is to judge it repeats it.
    site.holds(&format!("echo old-{CANARY} >/srv/secret; echo old-{CANARY} >/srv/rendered"));
    tell(site.abide(&["diff"]));
    tell(site.abide(&["sync", "--dry-run"]));
    tell(site.sync());
    let chatty = "[\"sh\", \"-c\", \"cat $1; cat $1 >&2; exit 1\", \"sh\", \"{file}\"]";
    site.declare(&role(&format!("{CANARY}-new"), chatty));
    let failed = site.sync();
    assert_eq!(failed.code, 2, "{failed:#?}");
    tell(failed);
    for command in [
        &["status"][..],
        &["history", "--runs"],
        &["history", "--run", "1"],
        &["events"],
        &["tree"],
        &["trace", "/srv/secret"],
        &["trace", "/srv/rendered"],
        &["trace", "user:keeper"],
        &["verify"],
        &["facts"],
    ] {
        for form in ["text", "json"] {
            tell(site.abide(&[command, &["-o", form]].concat()));
        }
    }
    assert!(!told.contains(CANARY), "{told}");
    // The manifest itself lies in the object store and the compiled desired state, for root only; all else must not have it.
    site.holds(&format!(
        "journalctl -o export >/root/journal; not grep -a {CANARY} /root/journal; rm /root/journal
         not grep -rlas {CANARY} /run/abide /run/systemd /var/lib/abide/state.sqlite /var/lib/abide/state.sqlite-wal /var/lib/abide/backup /var/lib/abide/fingerprints /tmp /var/tmp /var/log
         test -z \"$(find / -xdev -name '.*abide-*' -not -path '/proc/*' 2>/dev/null)\"
         test $(stat -c %a /var/lib/abide) = 700
         test \"$(find /srv -type f -perm /077 -exec grep -l {CANARY} {{}} +)\" = ''"
    ));
}

/// Attack 44: escapes, newlines and reversed text in what others write: commit messages, names, output of programs.
#[test]
fn nobody_drives_a_terminal_or_forges_a_line() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions { name: "escapes", ..Default::default() });
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\rforged: all is well";
    let printing = "printf '\\\\033[31mred\\\\nforged: all is well\\\\r\\\\007' >&2; exit 3";
    let role = format!(
        "[file.\"/srv/\\u001b[31mred\\u202e\"]\ncontent = \"x\"\n\
         [command.evil]\nargv = [\"sh\", \"-c\", \"{printing}\"]\n"
    );
    site.push(&format!("{evil}\n\nforged: second line\n{evil}"), &[(ROLE, &role)]);
    let mut told = String::new();
    let mut tell = |output: crate::support::command::Output| told.push_str(&(output.stdout + &output.stderr));
    tell(site.sync());
    tell(site.abide(&["sync", "--wait"]));
    // An unsigned one with the same words is refused, with a message about it.
    site.fleet.commit(evil, None);
    site.fleet.push();
    tell(site.sync());
    for command in [
        &["status"][..],
        &["history", "--runs"],
        &["history", "--run", "2"],
        &["events"],
        &["tree"],
        &["verify"],
        &["diff"],
    ] {
        tell(site.abide(command));
        tell(site.abide(&[command, &["-o", "json"]].concat()));
    }
    tell(site.abide(&["trace", "command:evil"]));
    assert!(told.contains("owned"), "the words were shown: {told}");
    let forged: Vec<&str> = told.lines().filter(|line| line.starts_with("forged")).collect();
    assert!(forged.is_empty(), "{forged:?} in {told}");
    let bad = |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
    let lines: Vec<&str> = told.lines().filter(|line| line.contains(bad)).collect();
    assert!(lines.is_empty(), "{lines:#?}");
    // The journal's own words, field by field.
    let journal = site.host.sh("journalctl --sync; journalctl -q -o json SYSLOG_IDENTIFIER=abide").success();
    assert!(journal.contains("owned"), "{journal}");
    for entry in journal.lines() {
        let entry: serde_json::Value = serde_json::from_str(entry).expect("an entry is JSON");
        for (name, value) in entry.as_object().expect("an entry has fields") {
            let text = value.as_str().unwrap_or_else(|| panic!("{name} is no text: {value}"));
            assert!(
                !text.contains(bad) && !text.lines().any(|line| line.starts_with("forged")),
                "{name}: {text:?}"
            );
        }
    }
}
