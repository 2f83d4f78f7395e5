//! Generations: what is returned to, by whom, why, and for how long; and that no change cuts a host off for good.

mod by_hand;
mod by_itself;
mod remote;

use serde_json::Value;

use crate::support::site::Site;

/// A third of what is managed leaves the branch at once here.
const SETTINGS: &str = "\n[apply]\nprune-limit = 100\n";

/// The first generation of these suites.
const FORMER: &str = r#"
[file."/srv/app.conf"]
content = "former\n"
mode = "0640"

[file."/srv/only-former"]
content = "only former\n"

[symlink."/srv/link"]
target = "former"

[user.keeper]
shell = "/bin/sh"

[unit."app.service".Service]
ExecStart = "/bin/sleep infinity"

[unit."app.service".Install]
WantedBy = "multi-user.target"

[service.app]
running = true
enabled = true
"#;

/// The one after it: everything is otherwise.
const LATTER: &str = r#"
[file."/srv/app.conf"]
content = "latter\n"
mode = "0600"

[file."/srv/only-latter"]
content = "only latter\n"

[directory."/srv/folder"]

[symlink."/srv/link"]
target = "latter"

[user.newcomer]
shell = "/bin/sh"

[unit."app.service".Service]
ExecStart = "/bin/sleep 100000"

[unit."app.service".Install]
WantedBy = "multi-user.target"

[service.app]
running = false
enabled = false
"#;

/// The host is as [`FORMER`] says, and nothing of [`LATTER`] is left.
fn is_former(site: &Site) {
    site.holds(
        "grep -qx former /srv/app.conf; test $(stat -c %a /srv/app.conf) = 640
         grep -q only /srv/only-former; test $(readlink /srv/link) = former; id keeper
         grep -q 'sleep infinity' /etc/systemd/system/app.service
         systemctl is-active app; systemctl is-enabled app
         not test -e /srv/only-latter; not test -e /srv/folder; not id newcomer",
    );
}

/// The host is as [`LATTER`] says, and what left the branch is gone.
fn is_latter(site: &Site) {
    site.holds(
        "grep -qx latter /srv/app.conf; test $(stat -c %a /srv/app.conf) = 600
         grep -q only /srv/only-latter; test -d /srv/folder; test $(readlink /srv/link) = latter; id newcomer
         not systemctl is-active app; not systemctl is-enabled app
         not test -e /srv/only-former; not id keeper",
    );
}

/// The codes of everything that is wrong.
fn codes(status: &Value) -> Vec<&str> {
    let problems = status["run"]["problems"].as_array().expect("a status has problems");
    problems.iter().filter_map(|problem| problem["code"].as_str()).collect()
}

/// Number and standing of each generation, newest first.
fn generations(site: &Site) -> Vec<(i64, String)> {
    let history = site.ask(&["history"]);
    let each = history.as_array().expect("a list").iter();
    each.map(|generation| {
        let id = generation["id"].as_i64().expect("a number");
        (id, generation["standing"].as_str().expect("a word").to_owned())
    })
    .collect()
}
