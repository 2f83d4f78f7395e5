//! The lab itself keeps what the suites build on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::command::{Output, complete, run};
use crate::support::fleet::{Fleet, git};
use crate::support::git_server::{GitServer, HttpsOptions, Place};
use crate::support::host::{Host, HostOptions, Network, Root};
use crate::support::lab_is_enabled;

/// Lists the refs as a client at `place` would: inside that host's network, with git from the machine.
fn list_from(
    host: Option<&Host>,
    settings: &[(&str, String)],
    environment: &[(&str, String)],
    url: &str,
) -> Output {
    let mut arguments: Vec<String> = Vec::new();
    for (key, value) in settings {
        arguments.extend(["-c".to_owned(), format!("{key}={value}")]);
    }
    arguments.extend(["ls-remote", url, "refs/heads/main"].map(String::from));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut client = git("/".as_ref(), &arguments);
    if let Some(host) = host {
        client = host.beside(&client);
    }
    for (name, value) in environment {
        client.env(name, value);
    }
    complete(&mut client, b"")
}

fn certificate(server: &GitServer) -> Vec<(&'static str, String)> {
    vec![("http.sslCAInfo", server.authority().display().to_string())]
}

fn ssh_command(server: &GitServer) -> Vec<(&'static str, String)> {
    let (key, hosts) = (server.ssh_key(), server.known_hosts());
    let command = format!(
        "ssh -F none -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={}",
        key.display(),
        hosts.display()
    );
    vec![("GIT_SSH_COMMAND", command)]
}

fn published() -> (Fleet, String) {
    let fleet = Fleet::new();
    let alice = fleet.signer("alice");
    let commit = fleet.publish("Say hello", &alice, &[("roles/web/motd", "hello\n")]);
    (fleet, commit)
}

#[test]
fn a_host_boots_and_passes_input_output_and_exit_codes_through() {
    if !lab_is_enabled() {
        return;
    }
    let host = Host::boot(HostOptions { name: "exec", ..Default::default() });
    assert_eq!(host.exec(&["systemctl", "is-system-running"]).success(), "running\n");
    assert_eq!(host.exec(&["hostname"]).success().trim(), host.name());
    let output = host.exec_with_input(&["sh", "-c", "cat; echo oops >&2; exit 7"], b"in\n");
    assert_eq!(output, Output { code: 7, stdout: "in\n".into(), stderr: "oops\n".into() });
    assert_eq!(host.sh("kill -KILL $$").code, 137);
    assert_eq!(host.sh("false; true").code, 1);
    assert_eq!(host.exec(&["no-such-command"]).code, 127);
    // Alone in its process namespace, its file system and its network.
    assert_eq!(host.exec(&["cat", "/proc/1/comm"]).success(), "systemd\n");
    assert_eq!(host.sh("ls /sys/class/net").success(), "lo\n");
}

#[test]
fn files_are_pushed_with_their_modes_and_bound_folders_are_seen() {
    if !lab_is_enabled() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("sub")).expect("a folder");
    std::fs::write(folder.path().join("sub/file"), "content").expect("a file");
    let host = Host::boot(HostOptions {
        name: "files",
        binds: vec![(folder.path().to_owned(), PathBuf::from("/mnt/bound"))],
        ..Default::default()
    });
    assert_eq!(host.read("/mnt/bound/sub/file"), "content");
    assert_ne!(host.sh("touch /mnt/bound/new").code, 0, "bound folders are read-only");
    host.push(folder.path(), "/opt/tree");
    assert_eq!(host.read("/opt/tree/sub/file"), "content");
    let program = folder.path().join("program");
    std::fs::write(&program, "#!/bin/sh\necho ran\n").expect("a file");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    // Through an absolute link of the host, which must not lead into the machine.
    host.sh("mkdir /srv/real && ln -s /srv/real /srv/link").success();
    host.push(&program, "/srv/link/program");
    assert_eq!(host.exec(&["/srv/real/program"]).success(), "ran\n");
    host.write("/etc/deep/er/file", "written");
    assert_eq!(host.read("/etc/deep/er/file"), "written");
}

#[test]
fn a_power_cut_and_a_reboot_keep_the_disk_and_lose_the_rest() {
    if !lab_is_enabled() {
        return;
    }
    let host = Host::boot(HostOptions { name: "power", ..Default::default() });
    host.write("/etc/kept", "kept");
    host.write("/run/lost", "lost");
    host.sh("systemd-run -q --unit=stays sleep infinity").success();
    let machine = host.read("/etc/machine-id");
    host.power_cut();
    assert_ne!(host.exec(&["true"]).code, 0, "the host is off");
    host.restart();
    assert_eq!(host.read("/etc/kept"), "kept");
    assert_eq!(host.exec(&["test", "-e", "/run/lost"]).code, 1);
    assert_eq!(host.read("/etc/machine-id"), machine);
    host.write("/run/lost", "lost");
    host.reboot();
    assert_eq!(host.read("/etc/kept"), "kept");
    assert_eq!(host.exec(&["test", "-e", "/run/lost"]).code, 1);
}

#[test]
fn a_reboot_does_not_hang_commands_that_still_run() {
    if !lab_is_enabled() {
        return;
    }
    let host = Host::boot(HostOptions { name: "hang", ..Default::default() });
    let start = Instant::now();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| host.sh("touch /run/sleeping; exec sleep 600").code);
        host.wait_for("test -e /run/sleeping", Duration::from_secs(20));
        host.reboot();
        assert_ne!(sleeper.join().expect("the thread ends"), 0);
    });
    assert!(start.elapsed() < Duration::from_secs(120));
}

#[test]
fn hardened_units_are_confined_inside_a_host() {
    if !lab_is_enabled() {
        return;
    }
    let host = Host::boot(HostOptions { name: "hard", ..Default::default() });
    host.write("/etc/token", "secret");
    host.write(
        "/etc/systemd/system/hard.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nDynamicUser=yes\nStateDirectory=hard\nProtectSystem=strict\n\
         ProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes\nPrivateNetwork=yes\nProtectKernelTunables=yes\n\
         ProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\nProtectClock=yes\n\
         ProtectHostname=yes\nProtectProc=invisible\nProcSubset=pid\nRestrictNamespaces=yes\nRestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\nRestrictAddressFamilies=AF_UNIX\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\n\
         SystemCallArchitectures=native\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n\
         NoNewPrivileges=yes\nCapabilityBoundingSet=\nUMask=0077\nLoadCredential=token:/etc/token\nExecStart=/opt/probe\n",
    );
    host.sh("cat >/opt/probe <<'END'\n#!/bin/sh\n\
         echo uid-is-root=$([ \"$(id -u)\" = 0 ] && echo yes || echo no)\n\
         touch /etc/x 2>/dev/null && echo etc=open || echo etc=closed\n\
         touch /var/lib/hard/x && echo state=open || echo state=closed\n\
         echo token=$(cat $CREDENTIALS_DIRECTORY/token)\n\
         unshare --user true 2>/dev/null && echo namespaces=open || echo namespaces=closed\n\
         mount -t tmpfs tmpfs /tmp 2>/dev/null && echo mounts=open || echo mounts=closed\n\
         ls /root 2>/dev/null && echo home=open || echo home=closed\nEND\nchmod 755 /opt/probe")
        .success();
    host.exec(&["systemctl", "start", "hard"]).success();
    let journal = host.journal("hard");
    for line in [
        "uid-is-root=no",
        "etc=closed",
        "state=open",
        "token=secret",
        "namespaces=closed",
        "mounts=closed",
        "home=closed",
    ] {
        assert!(journal.lines().any(|found| found == line), "no '{line}' in:\n{journal}");
    }
    // Two hosts must not share cgroups, or stopping a unit in one would end the other's.
    assert_eq!(host.exec(&["stat", "-f", "-c", "%T", "/sys/fs/cgroup"]).success(), "cgroup2fs\n");
    host.sh("systemd-run --scope -q true").success();
}

#[test]
fn a_unit_stopped_on_one_host_runs_on_in_its_twin() {
    if !lab_is_enabled() {
        return;
    }
    let twins = ["one", "two"].map(|name| Host::boot(HostOptions { name, ..Default::default() }));
    for host in &twins {
        host.sh("systemd-run -q --unit=stays sleep infinity").success();
    }
    twins[0].exec(&["systemctl", "stop", "stays"]).success();
    assert_eq!(twins[0].exec(&["systemctl", "is-active", "stays"]).stdout, "inactive\n");
    assert_eq!(twins[1].exec(&["systemctl", "is-active", "stays"]).stdout, "active\n");
    assert_ne!(twins[0].read("/etc/machine-id"), twins[1].read("/etc/machine-id"));
}

#[test]
fn hosts_on_the_bridge_reach_each_other_by_name_and_nobody_else() {
    if !lab_is_enabled() {
        return;
    }
    let one = Host::boot(HostOptions { name: "one", network: Network::Bridge, ..Default::default() });
    let two = Host::boot(HostOptions { name: "two", network: Network::Bridge, ..Default::default() });
    assert!(one.address().starts_with("10.213."), "{}", one.address());
    assert_ne!(one.address(), two.address());
    two.write("/etc/systemd/system/greet.socket", "[Socket]\nListenStream=7000\nAccept=yes\n");
    two.write(
        "/etc/systemd/system/greet@.service",
        "[Service]\nExecStart=-/bin/echo hello\nStandardInput=socket\n",
    );
    two.exec(&["systemctl", "start", "greet.socket"]).success();
    let ask = format!("cat </dev/tcp/{}/7000", two.name());
    assert_eq!(one.sh(&ask).success(), "hello\n");
    // The names and addresses come back with the host.
    one.power_cut();
    one.restart();
    assert_eq!(one.sh(&ask).success(), "hello\n");
    assert_ne!(
        one.sh("timeout 5 bash -c 'exec 3<>/dev/tcp/192.0.2.1/80'").code,
        0,
        "there is nothing beyond the bridge"
    );
}

#[test]
fn dnf_and_rpm_agree_in_the_rpm_root() {
    if !lab_is_enabled() {
        return;
    }
    let host = Host::boot(HostOptions { name: "rpm", root: Root::Rpm, ..Default::default() });
    let build = tempfile::tempdir().expect("a temporary folder");
    let spec = build.path().join("hello.spec");
    std::fs::write(
        &spec,
        "Name: hello\nVersion: 1\nRelease: 1\nSummary: Greets\nLicense: CC0-1.0\nBuildArch: noarch\n\
         Requires: /bin/sh, libc.so.6(GLIBC_2.34)(64bit), systemd\n\
         %description\nGreets.\n%install\nmkdir -p %{buildroot}/etc\necho hi >%{buildroot}/etc/hello\n\
         %post\necho post >/var/lib/hello-post\n%files\n/etc/hello\n",
    )
    .expect("a file");
    let top = format!("_topdir {}", build.path().display());
    let spec = spec.to_str().expect("UTF-8");
    run("rpmbuild", &["--quiet", "-bb", "--define", &top, spec], b"").success();
    host.push(&build.path().join("RPMS"), "/srv/repository");
    host.sh("createrepo_c -q /srv/repository").success();
    host.write(
        "/etc/yum.repos.d/local.repo",
        "[local]\nname=local\nbaseurl=file:///srv/repository\nenabled=1\ngpgcheck=0\n",
    );
    host.exec(&["dnf", "-q", "-y", "install", "hello"]).success();
    assert_eq!(host.exec(&["rpm", "-q", "hello"]).success(), "hello-1-1.noarch\n");
    assert_eq!(host.read("/etc/hello"), "hi\n");
    assert_eq!(host.read("/var/lib/hello-post"), "post\n");
    // Whatever the caller's environment is: units have no HOME.
    assert!(host.sh("env -i /usr/bin/rpm -qa").success().contains("hello-1-1"));
    host.exec(&["dnf", "-q", "-y", "remove", "hello"]).success();
    assert_eq!(host.exec(&["rpm", "-q", "hello"]).code, 1);
}

#[test]
fn a_host_on_the_machines_network_installs_from_the_distributions_archive() {
    if !lab_is_enabled() {
        return;
    }
    let host = Host::boot(HostOptions { name: "archive", network: Network::Machine, ..Default::default() });
    host.sh("apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install hello").success();
    assert_eq!(host.exec(&["hello"]).success(), "Hello, world!\n");
}

#[test]
fn every_git_server_serves_the_machine_a_private_host_and_the_bridge() {
    if !lab_is_enabled() {
        return;
    }
    let (fleet, commit) = published();
    let private = Host::boot(HostOptions { name: "private", ..Default::default() });
    let bridged = Host::boot(HostOptions { name: "bridged", network: Network::Bridge, ..Default::default() });
    let repositories = fleet.repositories();
    let places =
        [(Place::Machine, None), (Place::In(&private), Some(&private)), (Place::Bridge, Some(&bridged))];
    let expected = format!("{commit}\trefs/heads/main\n");
    for (place, client) in places {
        let https = GitServer::https(&repositories, place, &HttpsOptions::default());
        let found = list_from(client, &certificate(&https), &[], &https.url("fleet")).success();
        assert_eq!(found, expected, "https at {place:?}");
        let ssh = GitServer::ssh(&repositories, place);
        let found = list_from(client, &[], &ssh_command(&ssh), &ssh.url("fleet")).success();
        assert_eq!(found, expected, "ssh at {place:?}");
        let daemon = GitServer::git(&repositories, place);
        let found = list_from(client, &[], &[], &daemon.url("fleet")).success();
        assert_eq!(found, expected, "git at {place:?}");
        if let Some(host) = client {
            // From the host's own point of view too, not only from its network namespace.
            let port = daemon.port();
            let address = if matches!(place, Place::Bridge) { "bridge" } else { "localhost" };
            host.sh(&format!("exec 3<>/dev/tcp/{address}/{port}")).success();
        }
    }
    let path = GitServer::path(&repositories);
    assert_eq!(list_from(None, &[], &[], &path.url("fleet")).success(), expected);
    // A server inside a private host is not to be had from outside.
    let inside = GitServer::git(&repositories, Place::In(&private));
    assert_ne!(list_from(None, &[], &[], &inside.url("fleet")).code, 0);
}

#[test]
fn https_demands_what_it_was_told_to_demand() {
    if !lab_is_enabled() {
        return;
    }
    let (fleet, commit) = published();
    let options =
        HttpsOptions { token: Some("s3cret".into()), client_certificate: true, rate: Some(1_000_000) };
    let server = GitServer::https(&fleet.repositories(), Place::Machine, &options);
    let url = server.url("fleet");
    let (client, key) = server.client_certificate();
    let mut settings = certificate(&server);
    assert_ne!(list_from(None, &settings, &[], &url).code, 0, "no certificate");
    settings.push(("http.sslCert", client.display().to_string()));
    settings.push(("http.sslKey", key.display().to_string()));
    assert_ne!(list_from(None, &settings, &[], &url).code, 0, "no token");
    let with_password = url.replace("https://", "https://git:s3cret@");
    assert!(list_from(None, &settings, &[], &with_password).success().starts_with(&commit));
    let wrong = url.replace("https://", "https://git:wrong@");
    assert_ne!(list_from(None, &settings, &[], &wrong).code, 0, "wrong token");
    settings.push(("http.extraHeader", "Authorization: Bearer s3cret".into()));
    assert!(list_from(None, &settings, &[], &url).success().starts_with(&commit));
    assert_ne!(list_from(None, &settings[1..], &[], &url).code, 0, "an authority that nobody trusts");
}

#[test]
fn a_server_goes_away_freezes_and_comes_back() {
    if !lab_is_enabled() {
        return;
    }
    let (fleet, commit) = published();
    let server = GitServer::https(&fleet.repositories(), Place::Machine, &HttpsOptions::default());
    let url = server.url("fleet");
    let settings = certificate(&server);
    let reach = || list_from(None, &settings, &[], &url);
    assert!(reach().success().starts_with(&commit));
    let authority = server.authority().display().to_string();
    let ask = format!("{url}/info/refs?service=git-upload-pack");
    let arguments = ["--silent", "--noproxy", "*", "--max-time", "1", "--cacert", &authority, &ask];
    server.freeze();
    assert_eq!(run("curl", &arguments, b"").code, 28, "no answer in time");
    server.thaw();
    assert!(reach().success().starts_with(&commit));
    server.stop();
    assert_eq!(run("curl", &arguments, b"").code, 7, "refused");
    server.start();
    assert_eq!(server.url("fleet"), url);
    assert!(reach().success().starts_with(&commit));
}

#[test]
fn commits_of_a_fleet_are_signed_by_whom_they_say() {
    if !lab_is_enabled() {
        return;
    }
    let fleet = Fleet::new();
    let (alice, mallory) = (fleet.signer("alice"), fleet.signer("mallory"));
    let allowed = fleet.repositories().join("allowed");
    std::fs::write(&allowed, format!("alice@example.org {}\n", alice.public_key())).expect("a file");
    let setting = format!("gpg.ssh.allowedSignersFile={}", allowed.display());
    let verifies = |commit: &str| fleet.git(&["-c", &setting, "verify-commit", commit]).code == 0;
    assert!(verifies(&fleet.publish("By alice", &alice, &[("a", "1")])));
    assert!(!verifies(&fleet.publish("By mallory", &mallory, &[("a", "2")])));
    assert!(!verifies(&fleet.commit("By nobody", None)));
    fleet.git(&["reset", "-q", "--hard", "HEAD~2"]).success();
    fleet.push();
    let served = fleet.git(&["ls-remote", "origin", "refs/heads/main"]).success();
    assert!(served.starts_with(fleet.git(&["rev-parse", "HEAD"]).success().trim()));
}
