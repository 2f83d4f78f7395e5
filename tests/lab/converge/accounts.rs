//! Users and groups.

use crate::support::lab_is_enabled;
use crate::support::site::{Site, SiteOptions, changed};

const HASH: &str = "$6$canary5f3a9c$abcdefghijklmnopqrstuv";

fn role() -> String {
    format!(
        r#"
[group.team]
gid = 4000

[group.oldgroup]
ensure = "absent"

[user.ada]
uid = 4001
group = "team"
groups = ["adm", "audio"]
exact-groups = true
home = "/srv/ada"
shell = "/bin/bash"
comment = "Ada Lovelace"
password = "{HASH}"
expires = "2099-12-31"

[file."/srv/ada/note"]
content = "hers\n"
owner = "ada"
group = "team"

[user.robot]
system = true
shell = "/usr/sbin/nologin"
locked = true

[user.olduser]
ensure = "absent"
remove-home = true
"#
    )
}

const PREPARE: &str = "groupadd oldgroup; useradd -m olduser";

#[test]
fn accounts_become_as_declared_and_stay() {
    if !lab_is_enabled() {
        return;
    }
    let site = Site::enrolled(&SiteOptions { name: "accounts", prepare: PREPARE, ..Default::default() });
    site.converged(&role());
    site.holds(&format!(
        "test \"$(getent passwd ada)\" = 'ada:x:4001:4000:Ada Lovelace:/srv/ada:/bin/bash'
             test \"$(id -nG ada | tr ' ' '\\n' | sort | xargs)\" = 'adm audio team'
             test \"$(getent shadow ada | cut -d: -f2)\" = '{HASH}'
             test \"$(getent shadow ada | cut -d: -f8)\" = $(( $(date -ud 2099-12-31 +%s) / 86400 ))
             test $(stat -c %U:%G /srv/ada) = ada:team; test $(stat -c %U:%G /srv/ada/note) = ada:team
             test $(id -u robot) -lt 1000; passwd -S robot | grep -q ' L '
             not getent passwd olduser; test ! -e /home/olduser; not getent group oldgroup"
    ));

    for (drift, healed) in [
        ("usermod -s /bin/sh -c Other ada", "getent passwd ada | grep -q 'Ada Lovelace:/srv/ada:/bin/bash'"),
        (
            "gpasswd -d ada adm; gpasswd -a ada video",
            "test \"$(id -nG ada | tr ' ' '\\n' | sort | xargs)\" = 'adm audio team'",
        ),
        ("usermod -p other ada", "getent shadow ada | grep -q canary5f3a9c"),
        ("usermod -e '' ada", "getent shadow ada | grep -q ':47481:'"),
        ("usermod -p x robot", "passwd -S robot | grep -q ' L '"),
        ("useradd olduser", "not getent passwd olduser"),
        ("groupadd oldgroup", "not getent group oldgroup"),
        ("userdel robot", "passwd -S robot | grep -q ' L '"),
        ("groupmod -n lost team", "getent group team"),
    ] {
        site.holds(drift);
        let output = site.sync();
        let status = site.status();
        if drift.contains("groupmod") {
            // The number is taken by a stranger now: that has to be said, not overruled.
            assert_eq!(output.code, 2, "{output:#?}");
            site.holds("groupmod -n team lost");
            site.synced();
        } else {
            assert!(output.code == 0 && changed(&status) > 0, "{drift}: {output:#?}");
        }
        site.holds(healed);
    }
    site.settled();

    // Another shell, unlocked, another group; a number that may not change.
    let role = role().replace("/bin/bash", "/bin/sh").replace("locked = true", "locked = true\nshell-x = 1");
    site.declare(&role);
    let output = site.sync();
    assert!(output.code == 2 && output.stdout.contains("shell-x"), "{output:#?}");
    site.holds("getent passwd ada | grep -q bash");
    site.converged(&role.replace("\nshell-x = 1", ""));
    site.holds("getent passwd ada | grep -q /bin/sh");
    site.declare(&role.replace("\nshell-x = 1", "").replace("uid = 4001", "uid = 4005"));
    let output = site.sync();
    assert!(output.code == 2 && output.stdout.contains("change-uid"), "{output:#?}");
    assert_eq!(site.host.sh("id -u ada").success().trim(), "4001");

    site.holds(
        "journalctl >/run/journal; not grep canary5f3a9c /run/journal; not grep -r canary5f3a9c /run/abide /var/lib/abide/state.sqlite*",
    );
}
