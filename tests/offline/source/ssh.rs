//! ssh: deploy key and pinned host key, against an sshd of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use abide::config::Source;

use super::git::{World, codes, good, source};
use super::servers::{self, Running};

pub struct Sshd {
    _running: Running,
    port: u16,
    folder: PathBuf,
}

fn key(path: &Path) -> String {
    let status =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(status.success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap()
}

impl Sshd {
    pub fn start(world: &World) -> Sshd {
        let folder = world.root().join("ssh");
        std::fs::create_dir(&folder).unwrap();
        key(&folder.join("host"));
        std::fs::write(folder.join("authorized"), key(&folder.join("deploy"))).unwrap();
        let port = servers::free_port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\n",
            folder.display()
        );
        std::fs::write(folder.join("config"), config).unwrap();
        // sshd wants its privilege separation folder, and its absolute path.
        std::fs::create_dir_all("/run/sshd").unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(folder.join("config"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running(child);
        servers::wait_for(port);
        Sshd { _running: running, port, folder }
    }

    pub fn source(&self, world: &World) -> Source {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        let path = world.repository().join(".git");
        let mut source = source(&[&format!("ssh://127.0.0.1:{}{}", self.port, path.display())]);
        source.user = Some(user.trim().to_owned());
        source.ssh_key = Some(self.folder.join("deploy").display().to_string());
        source.known_hosts = Some(self.pin("host.pub"));
        source
    }

    /// A known-hosts file, in a folder with a space, that pins this key.
    fn pin(&self, key: &str) -> PathBuf {
        let folder = self.folder.join("known hosts");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(key);
        let public = std::fs::read_to_string(self.folder.join(key)).unwrap();
        std::fs::write(&file, format!("[127.0.0.1]:{} {public}", self.port)).unwrap();
        file
    }
}

#[test]
fn ssh_works_with_deploy_key_and_pinned_host_key() {
    let world = World::new();
    let sshd = Sshd::start(&world);
    let source = sshd.source(&world);
    let first = good(world.poll(&source));
    assert!(first.changed && first.tip == world.tip());
    let second = good(world.poll(&source));
    assert!(!second.changed && second.received == 0);
    println!("unchanged poll over ssh: {} ms", second.took);
    let tip = world.commit("second");
    assert_eq!(good(world.poll(&source)).tip, tip);

    let mut by_credential = source.clone();
    world.credential("deploy", &std::fs::read_to_string(sshd.folder.join("deploy")).unwrap());
    let path = world.root().join("credentials/deploy");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    by_credential.ssh_key = Some("credential:deploy".into());
    good(world.poll(&by_credential));
}

/// Attack 35: somebody in the middle has another host key than the pinned one.
#[test]
fn ssh_problems_have_their_own_codes() {
    let world = World::new();
    let sshd = Sshd::start(&world);
    let right = sshd.source(&world);
    key(&sshd.folder.join("other"));
    let empty = sshd.folder.join("nobody");
    std::fs::write(&empty, "").unwrap();
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Source));
    let edits: [Edit; 6] = [
        ("E105", &|source| source.known_hosts = Some(sshd.pin("other.pub"))),
        ("E105", &|source| source.known_hosts = Some(empty.clone())),
        ("E104", &|source| source.ssh_key = Some(sshd.folder.join("other").display().to_string())),
        ("E113", &|source| source.ssh_key = Some("/nowhere".into())),
        ("E106", &|source| source.urls = vec![format!("ssh://127.0.0.1:{}/nowhere", sshd.port)]),
        ("E102", &|source| source.urls = vec![format!("ssh://127.0.0.1:{}/x", servers::free_port())]),
    ];
    for (code, edit) in edits {
        let mut source = right.clone();
        edit(&mut source);
        let note = world.poll(&source);
        assert_eq!(codes(&note), [code], "{note:#?}");
    }
}
