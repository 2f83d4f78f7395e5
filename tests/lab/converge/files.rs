//! Files, directories and links.

use crate::support::lab_is_enabled;
use crate::support::site::{Site, SiteOptions, changed};

const CANARY: &str = "canary-5f3a9c";

const FILES: &str = r#"
[file."/srv/text"]
content = "one\ntwo\n"
owner = "daemon"
group = "adm"
mode = "0640"

[file."/srv/binary"]
source = "binary"
mode = "u=rwx,g=rx,o="

[file."/srv/rendered"]
template = "rendered.j2"

[file."/srv/create-only"]
content = "default\n"
create-only = true

[file."/srv/seeded"]
content = "default\n"
create-only = true
mode = "0600"

[file."/srv/attributes"]
mode = "0600"
owner = "daemon"

[file."/srv/immutable"]
content = "first\n"
immutable = true

[file."/srv/gone"]
ensure = "absent"

[file."/srv/was-empty-directory"]
content = "now a file\n"
force = true

[file."/srv/was-link"]
content = "now a file\n"
force = true

[file."/srv/secret"]
content = "password=canary-5f3a9c\n"
sensitive = true
mode = "0600"

[file."/srv/linked"]
content = "own\n"
force = true

[file."/srv/bound"]
content = "inside\n"
in-place = true

[file."/srv/extended"]
content = "x\n"
xattrs = { "user.origin" = "git" }
acl = ["user:daemon:r--"]

[file."/srv/validated"]
content = "good\n"
validate = ["grep", "-q", "good", "{file}"]

[file."/srv/deep/er/file"]
content = "deep\n"

[directory."/srv/deep"]
mode = "0750"

[directory."/srv/deep/er"]
"#;

/// What chattr, getfattr and setfattr would do; the hosts do not have them.
const ATTRIBUTES: &str = r#"#!/usr/bin/perl
use Config;
my ($verb, $path, $name, $value) = @ARGV;
my ($set, $get, $remove) = $Config{archname} =~ /^x86_64/ ? (188, 191, 197) : (5, 8, 14);
if ($verb eq "get") { my $buffer = "\0" x 256; my $length = syscall($get, $path, $name, $buffer, 256); exit 1 if $length < 0; print substr($buffer, 0, $length); }
if ($verb eq "set") { exit 1 if syscall($set, $path, $name, $value, length $value, 0) < 0; }
if ($verb eq "remove") { exit 1 if syscall($remove, $path, $name) < 0; }
if ($verb =~ /immutable|mutable|is-immutable/) {
    open my $file, "<", $path or die $!;
    my $flags = pack "L!", 0;
    ioctl $file, 0x80086601, $flags or die $!;
    my $bits = unpack "L!", $flags;
    exit($bits & 16 ? 0 : 1) if $verb eq "is-immutable";
    $flags = pack "L!", $verb eq "immutable" ? $bits | 16 : $bits & ~16;
    ioctl $file, 0x40086602, $flags or die $!;
}
"#;

const PREPARE: &str = "
    chmod 755 /usr/local/bin/attributes
    cd /srv
    echo mine >seeded; echo there >attributes; echo gone >gone
    mkdir was-empty-directory; echo target >target; ln -s target was-link
    echo shared >linked; ln linked other-name
    echo outside >/var/tmp/bound; touch bound; mount --bind /var/tmp/bound bound
";

fn stat(site: &Site, path: &str) -> String {
    site.host.exec(&["stat", "-c", "%F %U:%G %a", path]).success().trim().to_owned()
}

#[test]
fn files_become_as_declared_in_everything_and_stay() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions {
        name: "files",
        prepare: &format!("cat >/usr/local/bin/attributes <<'END'\n{ATTRIBUTES}END\n{PREPARE}"),
        ..Default::default()
    });
    site.fleet.write(&[
        ("roles/base/binary", "\u{0}\u{1}\u{2}"),
        ("roles/base/rendered.j2", "name={{ host.name }} family={{ host.os.family }}\n"),
    ]);
    site.declare(FILES);
    let diff = site.abide(&["diff"]);
    assert_eq!(diff.code, 0, "nothing was polled yet: {diff:#?}");
    site.converged(FILES);

    for (path, expected) in [
        ("/srv/text", "regular file daemon:adm 640"),
        ("/srv/binary", "regular file root:root 750"),
        ("/srv/rendered", "regular file root:root 644"),
        ("/srv/create-only", "regular file root:root 644"),
        ("/srv/seeded", "regular file root:root 600"),
        ("/srv/attributes", "regular file daemon:root 600"),
        ("/srv/was-empty-directory", "regular file root:root 644"),
        ("/srv/was-link", "regular file root:root 644"),
        ("/srv/secret", "regular file root:root 600"),
        ("/srv/bound", "regular file root:root 644"),
        ("/srv/deep", "directory root:root 750"),
        ("/srv/deep/er", "directory root:root 755"),
    ] {
        assert_eq!(stat(&site, path), expected, "{path}");
    }
    let name = site.host.name();
    for (path, expected) in [
        ("/srv/text", "one\ntwo\n"),
        ("/srv/binary", "\u{0}\u{1}\u{2}"),
        ("/srv/rendered", &format!("name={name} family=debian\n")),
        ("/srv/create-only", "default\n"),
        ("/srv/seeded", "mine\n"),
        ("/srv/attributes", "there\n"),
        ("/srv/target", "target\n"),
        ("/srv/linked", "own\n"),
        ("/srv/other-name", "shared\n"),
        ("/var/tmp/bound", "inside\n"),
        ("/srv/validated", "good\n"),
        ("/srv/deep/er/file", "deep\n"),
    ] {
        assert_eq!(site.host.read(path), expected, "{path}");
    }
    site.holds(
        "test ! -e /srv/gone; mountpoint -q /srv/bound; attributes is-immutable /srv/immutable
         test $(attributes get /srv/extended user.origin) = git; attributes get /srv/extended system.posix_acl_access",
    );

    drift_of_files_is_healed(&site);
    a_content_that_does_not_validate_is_not_put_in_place(&site);
    a_secret_is_nowhere_but_in_its_file(&site);
}

fn drift_of_files_is_healed(site: &Site) {
    let drifts = [
        ("echo more >>/srv/text", "grep -qx two /srv/text; not grep -q more /srv/text"),
        ("chmod 0666 /srv/text", "test $(stat -c %a /srv/text) = 640"),
        ("chown root:root /srv/text", "test $(stat -c %U:%G /srv/text) = daemon:adm"),
        ("rm /srv/text", "test $(stat -c %U:%G:%a /srv/text) = daemon:adm:640"),
        // Same size and same times: what only a change time gives away.
        (
            "touch -r /srv/rendered /tmp/r; sed -i s/name/nome/ /srv/rendered; touch -r /tmp/r /srv/rendered",
            "grep -q ^name= /srv/rendered",
        ),
        ("echo y >/srv/bound", "grep -q inside /var/tmp/bound; mountpoint -q /srv/bound"),
        (
            "attributes mutable /srv/immutable; echo z >/srv/immutable",
            "grep -q first /srv/immutable; attributes is-immutable /srv/immutable",
        ),
        ("echo back >/srv/gone", "test ! -e /srv/gone"),
        ("rm -r /srv/deep", "test $(stat -c %a /srv/deep) = 750; grep -q deep /srv/deep/er/file"),
        (
            "attributes set /srv/extended user.origin else; attributes remove /srv/extended system.posix_acl_access",
            "test $(attributes get /srv/extended user.origin) = git; attributes get /srv/extended system.posix_acl_access",
        ),
        (
            "rm /srv/was-link; ln -s /etc/passwd /srv/was-link",
            "test -f /srv/was-link; test ! -L /srv/was-link",
        ),
    ];
    for (drift, healed) in drifts {
        site.holds(drift);
        let diff = site.abide(&["diff"]);
        assert_eq!(diff.code, 1, "`abide diff` after `{drift}`: {diff:#?}");
        let status = site.synced();
        assert!(changed(&status) > 0, "{drift}: {status:#}");
        site.holds(healed);
    }
    site.settled();
}

fn a_content_that_does_not_validate_is_not_put_in_place(site: &Site) {
    site.declare(&FILES.replace("content = \"good\\n\"", "content = \"bad\\n\""));
    let output = site.sync();
    assert_eq!(output.code, 2, "{output:#?}");
    assert!(output.stdout.contains("E403"), "{output:#?}");
    assert_eq!(site.host.read("/srv/validated"), "good\n");
    let status = site.status();
    assert_eq!(status["run"]["health"], "Degraded");
    assert!(status["run"]["differing"]["file:/srv/validated"].is_string(), "{status:#}");
    assert_eq!(
        site.host.sh("ls -A /srv | grep -v -e '^[a-z-]*$' || true").success(),
        "",
        "a staged file is left"
    );
    site.converged(FILES);

    // Other names of a file are not cut off without a word; what is in the way of another type is not removed.
    site.holds(
        "rm -f /srv/other-name; ln /srv/text /srv/other-name; echo x >>/srv/text; mkdir -p /srv/rendered.d/x",
    );
    let output = site.sync();
    assert!(output.code == 2 && output.stdout.contains("E455"), "{output:#?}");
    site.holds("grep -q x /srv/other-name; rm /srv/other-name");
    site.synced();
    let before = site.status()["run"]["revision"]["commit"].clone();
    site.declare(&format!(
        "{FILES}\n[file.\"/srv/rendered.d\"]\ncontent = \"x\"\n[file.\"/srv/new\"]\ncontent = \"x\"\n"
    ));
    let output = site.sync();
    assert!(
        output.code == 2 && output.stdout.contains("[E3") && output.stdout.contains("/srv/rendered.d"),
        "{output:#?}"
    );
    site.holds("test -d /srv/rendered.d/x; test ! -e /srv/new");
    assert_eq!(
        site.status()["run"]["revision"]["commit"],
        before,
        "a revision that cannot be planned is refused whole"
    );
    site.converged(FILES);
}

fn a_secret_is_nowhere_but_in_its_file(site: &Site) {
    site.holds("echo other >/srv/secret");
    let diff = site.abide(&["diff"]);
    assert!(!diff.stdout.contains(CANARY) && diff.stdout.contains("/srv/secret"), "{diff:#?}");
    let output = site.sync();
    assert!(!format!("{output:?}").contains(CANARY), "{output:#?}");
    assert!(site.host.read("/srv/secret").contains(CANARY));
    for command in
        [&["status"][..], &["history", "--run", "1"], &["events"], &["tree"], &["trace", "/srv/secret"]]
    {
        for form in ["text", "json"] {
            let output = site.abide(&[command, &["-o", form]].concat());
            assert!(!format!("{output:?}").contains(CANARY), "abide {command:?} tells a secret: {output:#?}");
        }
    }
    // The object store and the compiled desired state hold the manifest itself; all else must not.
    site.holds(&format!("journalctl >/run/journal; not grep {CANARY} /run/journal; not grep -rl {CANARY} /run/abide /var/lib/abide/state.sqlite* /var/lib/abide/backup /tmp /var/tmp"));
    site.holds("test $(stat -c %a /var/lib/abide) = 700");
}
