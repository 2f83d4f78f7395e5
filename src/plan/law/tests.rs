use super::*;
use crate::plan::{Scope, make};
use crate::resource::testing::{MemoryFiles, present};
use crate::resource::{Common, Declaration, KINDS, Origin};
use crate::system::observe::{FileType, UnitState, UserState};
use crate::system::places::testing::MemoryPlaces;

const MOUNTS: &str = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
    2 1 8:1 /etc /srv/etc rw - ext4 /dev/sda1 rw\n\
    3 1 8:1 /var/lib/abide/store /srv/store rw - ext4 /dev/sda1 rw\n\
    4 1 8:1 /etc/ssh /srv/ssh rw - ext4 /dev/sda1 rw\n";
const LINKS: &[(&str, &str)] =
    &[("/srv/conf", "/etc/abide"), ("/srv/here", "../etc"), ("/var/run", "/run"), ("/lib", "usr/lib")];

fn declared(kind: &str, name: &str, table: &str) -> Declared {
    let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
    let files = MemoryFiles([("files/abide/x", "1"), ("files/ssh/x", "1")].into());
    let declaration =
        Declaration { name, table: crate::manifest::node::Node::parse(table).unwrap(), files: &files };
    Declared {
        id: ResourceId::new(kind.name, name),
        common: Common::default(),
        resource: (kind.declare)(declaration).unwrap_or_else(|error| panic!("{name} {table}: {error:?}")),
        origin: Origin { role: "r".into(), file: "roles/r/role.toml".into(), line: 1 },
    }
}

fn law(text: &str) -> Law {
    let settings = crate::config::parse(text, "abide.toml".as_ref()).unwrap();
    Law::new(&Paths::default(), &settings.law, Box::new(MemoryPlaces::new(LINKS, MOUNTS)))
}

/// The code with which a desired state of these is refused as it is declared, or with which its plan is.
fn verdict(law: &Law, resources: &[(&str, &str, &str)], host: &Observed) -> String {
    let resources: Vec<Declared> =
        resources.iter().map(|(kind, name, table)| declared(kind, name, table)).collect();
    if let Some(error) = law.declared(&resources).into_values().next() {
        return error.code.to_string();
    }
    let plan = make(&resources, &[], host, &Scope::default()).unwrap();
    assert_eq!(plan.problems, []);
    law.planned(&plan, host)
        .into_values()
        .next()
        .map_or("fine".into(), |error| format!("planned {}", error.code))
}

/// Attack 38: a branch reaches for the root of trust, the state, the fetcher or the sandbox of abide itself, by every kind.
#[test]
fn nothing_of_abide_is_declared() {
    let law = law("");
    for (kind, name, table) in [
        ("file", "/etc/abide/trust.toml", "content = \"x\""),
        ("file", "/etc/abide", "ensure = \"absent\""),
        ("file", "/etc/abide/facts.d/a.toml", "mode = \"0600\""),
        ("file", "/var/lib/abide/state.sqlite", "ensure = \"absent\""),
        ("file", "/var/lib/abide-fetch/note.json", "content = \"{}\""),
        ("file", "/run/abide/status.json", "content = \"{}\""),
        ("file", "/var/run/abide/status.json", "content = \"{}\""),
        ("file", "/usr/bin/abide", "source = \"files/abide/x\""),
        ("file", "/lib/systemd/system/abide.service", "content = \"\""),
        ("file", "/etc/systemd/system/abide.service.d/x.conf", "content = \"\""),
        ("file", "/etc/systemd/system/service.d/x.conf", "content = \"\""),
        ("file", "/run/systemd/system/abide-fetch.service", "content = \"\""),
        ("file", "/run/systemd/generator.early/abide.service", "content = \"\""),
        ("file", "/etc/systemd/system.control/abide.service.d/x.conf", "content = \"\""),
        ("file", "/srv/conf/trust.toml", "content = \"x\""),
        ("file", "/srv/here/abide/trust.toml", "content = \"x\""),
        ("file", "/srv/etc/abide/trust.toml", "content = \"x\""),
        ("file", "/srv/store/x", "content = \"x\""),
        ("directory", "/etc/abide", "mode = \"0777\""),
        ("directory", "/etc", "mode = \"0777\""),
        ("directory", "/etc", "owner = \"mallory\""),
        ("directory", "/var/lib", "acl = [\"user:mallory:rwx\"]"),
        ("directory", "/etc", "source = \"files\""),
        ("directory", "/var/lib", "ensure = \"absent\"\nrecursive = true"),
        ("directory", "/var/lib", "ensure = \"absent\""),
        ("directory", "/srv/store", "ensure = \"absent\"\nrecursive = true"),
        ("symlink", "/etc/abide", "target = \"/srv/mine\"\nforce = true"),
        ("symlink", "/etc/abide/trust.toml", "target = \"/srv/mine\""),
        ("symlink", "/var/lib", "target = \"/srv/lib\"\nforce = true"),
        ("symlink", "/etc/systemd/system/abide.service", "target = \"/dev/null\""),
        ("symlink", "/etc/systemd/system/multi-user.target.wants/abide.service", "ensure = \"absent\""),
        ("unit", "abide.service", "content = \"[Service]\\n\""),
        ("unit", "abide-fetch.service", "ensure = \"absent\""),
        ("drop-in", "abide.service/x", "[Service]\nProtectClock = false"),
        ("drop-in", "abide-fetch.service/x", "[Service]\nUser = \"root\""),
        ("drop-in", "abide-.service/x", "[Service]\nUser = \"root\""),
        ("drop-in", "service/x", "[Service]\nExecStartPre = \"/bin/true\""),
        ("service", "abide", "running = true"),
        ("service", "abide.service", "timeout = \"1s\"\nenabled = true"),
        ("service", "abide-packages", "running = false"),
        ("service", "abide-fetch", "enabled = false"),
        ("package", "abide:amd64", "ensure = \"purged\""),
        ("user", "abide-fetch", "shell = \"/bin/sh\""),
        ("user", "mallory", "groups = [\"abide-fetch\"]"),
        ("user", "mallory", "home = \"/var/lib/abide\""),
        ("user", "mallory", "home = \"/var\"\nensure = \"absent\"\nremove-home = true"),
        ("group", "abide-fetch", "ensure = \"absent\""),
    ] {
        assert_eq!(
            verdict(&law, &[(kind, name, table)], &Observed::default()),
            "E365",
            "{kind} {name} {table}"
        );
    }
}

/// Attack 38: the way to abide's own files is laid by a symlink of the same revision.
#[test]
fn a_declared_symlink_is_followed() {
    let law = law("");
    let file = ("file", "/srv/new/trust.toml", "content = \"x\"");
    for target in ["/etc/abide", "../etc/abide", "/srv/conf", "/srv/step/../conf"] {
        let link = format!("target = \"{target}\"");
        assert_eq!(
            verdict(&law, &[("symlink", "/srv/new", &link), file], &Observed::default()),
            "E365",
            "{target}"
        );
    }
    assert_eq!(verdict(&law, &[file], &Observed::default()), "fine");
}

#[test]
fn what_is_beside_abide_is_free() {
    let law = law("");
    for (kind, name, table) in [
        ("file", "/etc/abide.conf", "content = \"x\""),
        ("file", "/etc/abidex/trust.toml", "content = \"x\""),
        ("file", "/srv/abide/trust.toml", "content = \"x\""),
        ("file", "/etc/systemd/system/nginx.service.d/x.conf", "content = \"\""),
        ("directory", "/etc", "mode = \"0755\""),
        ("directory", "/var/lib", "mode = \"0711\""),
        ("symlink", "/srv/link", "target = \"/etc/abide\""),
        ("unit", "abide-backup.service", "content = \"[Service]\\nExecStart=/bin/true\\n\""),
        ("drop-in", "nginx.service/x", "[Service]\nUser = \"www\""),
        ("drop-in", "timer/x", "[Timer]\nAccuracySec = 1"),
        ("package", "abide", "ensure = \"latest\""),
        ("user", "mallory", "home = \"/var/lib/mallory\""),
    ] {
        let verdict = verdict(&law, &[(kind, name, table)], &Observed::default());
        assert!(!verdict.contains("E36"), "{kind} {name} {table}: {verdict}");
    }
}

/// Attack 38: what is found only on the host: the entries of a purge, the home of an account, the file behind an alias.
#[test]
fn what_a_plan_reaches_on_the_host_is_judged_too() {
    let law = law("[law]\nunits = [\"sshd.service\"]\npaths = [\"/srv/data/keep/**\"]\n");
    let listed = |folder: &str, entries: &[&str]| {
        let mut host = crate::resource::testing::path(folder, present(FileType::Directory));
        host.listings.insert(folder.into(), entries.iter().map(Into::into).collect());
        host
    };
    let var = listed("/var/lib", &["abide", "abide/store", "app"]);
    let data = listed("/srv/data", &["keep", "keep/x", "old"]);
    let purge = "purge = true";
    assert_eq!(verdict(&law, &[("directory", "/var/lib", purge)], &var), "planned E365");
    assert_eq!(verdict(&law, &[("directory", "/srv/data", purge)], &data), "planned E361");
    let spared = "purge = true\npurge-ignore = [\"abide\"]";
    assert_eq!(verdict(&law, &[("directory", "/var/lib", spared)], &var), "fine");

    let mut host = Observed::default().with_user("mallory", 1000);
    host.users.insert(
        "mallory".into(),
        UserState { home: "/var/lib".into(), local: true, uid: 1000, ..UserState::default() },
    );
    let gone = [("user", "mallory", "ensure = \"absent\"\nremove-home = true")];
    assert_eq!(verdict(&law, &gone, &host), "planned E365");

    let state = UnitState {
        load: "loaded".into(),
        active: "active".into(),
        fragment: "/usr/lib/systemd/system/sshd.service".into(),
        ..UnitState::default()
    };
    let host = Observed { units: [("ssh-alias.service".into(), state)].into(), ..Observed::default() };
    assert_eq!(verdict(&law, &[("service", "ssh-alias", "running = false")], &host), "planned E362");
}

#[test]
fn the_law_of_a_host_forbids_what_it_says() {
    for (text, kind, name, table, code) in [
        ("kinds = [\"command\"]", "command", "x", "argv = [\"true\"]\ncreates = \"/x\"", "E360"),
        ("paths = [\"/etc/ssh\"]", "file", "/etc/ssh", "ensure = \"absent\"", "E361"),
        ("paths = [\"/etc/ssh\"]", "file", "/etc/ssh/a/b", "content = \"\"", "E361"),
        ("paths = [\"/etc/ssh\"]", "file", "/srv/here/ssh/x", "content = \"\"", "E361"),
        ("paths = [\"/etc/ssh\"]", "file", "/srv/etc/ssh/x", "content = \"\"", "E361"),
        ("paths = [\"/etc/ssh\"]", "file", "/srv/ssh/x", "content = \"\"", "E361"),
        (
            "paths = [\"/etc/ssh/*.conf\"]",
            "directory",
            "/etc/ssh",
            "ensure = \"absent\"\nrecursive = true",
            "E361",
        ),
        ("paths = [\"/srv/ssh/**\"]", "directory", "/srv", "source = \"files\"", "E361"),
        ("paths = [\"/etc/ssh\"]", "file", "/etc/sshd", "content = \"\"", "fine"),
        ("units = [\"sshd.service\"]", "service", "sshd", "running = false", "E362"),
        ("units = [\"sshd.service\"]", "unit", "sshd.service", "content = \"[Service]\\n\"", "E362"),
        ("units = [\"sshd.service\"]", "drop-in", "sshd.service/x", "[Service]\nUser = \"x\"", "E362"),
        ("units = [\"sshd@*.service\"]", "drop-in", "sshd@.service/x", "[Service]\nUser = \"x\"", "E362"),
        ("units = [\"ssh-agent.service\"]", "drop-in", "ssh-.service/x", "[Service]\nUser = \"x\"", "E362"),
        ("units = [\"ssh*\"]", "drop-in", "timer/x", "[Timer]\nAccuracySec = 1", "E362"),
        (
            "units = [\"sshd.service\"]",
            "symlink",
            "/etc/systemd/system/sshd.service",
            "target = \"/dev/null\"",
            "E362",
        ),
        (
            "units = [\"sshd.service\"]",
            "file",
            "/etc/systemd/system/a.target.wants/sshd.service",
            "ensure = \"absent\"",
            "E362",
        ),
        ("units = [\"sshd.service\"]", "drop-in", "nginx.service/x", "[Service]\nUser = \"x\"", "fine"),
        ("packages = [\"telnet*\"]", "package", "telnetd:amd64", "", "E363"),
        ("packages = [\"telnet*\"]", "package", "telnetd", "ensure = \"absent\"", "E363"),
        (
            "commands = [\"sh\"]",
            "command",
            "x",
            "argv = [\"/bin/sh\", \"-c\", \"x\"]\ncreates = \"/x\"",
            "E364",
        ),
        (
            "commands = [\"*curl *\"]",
            "command",
            "x",
            "argv = [\"sh\", \"-c\", \"curl x\"]\ncreates = \"/x\"",
            "E364",
        ),
        ("commands = [\"sh\"]", "command", "x", "argv = [\"true\"]\nunless = [\"sh\", \"-c\", \"\"]", "E364"),
        ("commands = [\"sh\"]", "file", "/x", "content = \"\"\nvalidate = [\"sh\", \"{file}\"]", "E364"),
        ("commands = [\"sh\"]", "command", "x", "argv = [\"bash\"]\ncreates = \"/x\"", "fine"),
    ] {
        let law = law(&format!("[law]\n{text}\n"));
        assert_eq!(
            verdict(&law, &[(kind, name, table)], &Observed::default()),
            code,
            "{text} {kind} {name} {table}"
        );
    }
}

#[test]
fn what_is_not_enforced_is_not_declared() {
    let mut resource = declared("file", "/etc/ssh/x", "content = \"\"");
    let law = law("[law]\npaths = [\"/etc/ssh\"]\n");
    assert_eq!(law.declared(std::slice::from_ref(&resource)).len(), 1);
    resource.common.enforce = Enforce::No;
    assert!(law.declared(&[resource]).is_empty());
}

/// Attack 38: right before a path is touched, it is judged by where it leads then.
#[test]
fn a_path_is_judged_once_more_when_it_is_touched() {
    let law = law("");
    let entry = |path: &str| Reach::Entry(path.into());
    assert_eq!(law.allows(&entry("/srv/conf/trust.toml")).unwrap_err().code().0, "E365");
    assert_eq!(law.allows(&Reach::Tree("/var".into())).unwrap_err().code().0, "E365");
    law.allows(&Reach::Folder { path: "/etc".into(), loose: false }).unwrap();
    law.allows(&entry("/srv/new/x")).unwrap();
}
