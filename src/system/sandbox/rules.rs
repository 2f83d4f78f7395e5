//! Which process may do what: plain data, so that it can be read and tested without a kernel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Paths, Source};

/// What a process may still do under Landlock. What is not here is denied as far as the kernel can: other files, device ioctls, making
/// device nodes, binding TCP ports, abstract sockets and signals that leave the process and its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Files and folders that are read, and whose programs are run.
    pub run: Vec<PathBuf>,
    /// Files and folders that are read.
    pub read: Vec<PathBuf>,
    /// Files that are written where they are, never made or removed.
    pub write: Vec<PathBuf>,
    /// Folders in which plain files and folders come and go.
    pub keep: Vec<PathBuf>,
    /// Folders in which everything but device nodes comes and goes.
    pub manage: Vec<PathBuf>,
    /// Whether TCP connections may be made.
    pub connect: bool,
}

/// Programs and libraries: `ssh`, and what the resolver loads.
const PROGRAMS: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];

/// What a program reads to find a host, its own user, the time, and whom to trust in TLS. The last ones are services that answer for the
/// resolver, in this memory or behind these sockets.
const NETWORK: [&str; 36] = [
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/krb5.conf",
    "/etc/krb5.conf.d",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssh",
    "/etc/ssl",
    "/etc/userdb",
    "/run/NetworkManager",
    "/run/connman",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/run/userdb",
    "/var/cache/nscd",
    "/var/lib/ca-certificates",
    "/var/lib/sss",
    "/dev/random",
    "/dev/urandom",
    "/proc",
    "/dev/null",
];

impl Rules {
    /// For the fetcher: writes its spool, reads what names, TLS and ssh need, and the files that the settings name; connects, and lets nobody
    /// connect. `variable` reads the environment.
    pub fn fetcher(paths: &Paths, source: &Source, variable: impl Fn(&str) -> Option<OsString>) -> Rules {
        let mut read: Vec<PathBuf> = NETWORK.iter().map(PathBuf::from).collect();
        read.push(paths.config.clone());
        let files = [&source.ca_file, &source.client_certificate, &source.known_hosts];
        read.extend(files.into_iter().flatten().cloned());
        read.extend(
            source.ssh_key.as_deref().filter(|key| !key.starts_with("credential:")).map(PathBuf::from),
        );
        // Local media, and where libraries look for certificates when they are told to.
        read.extend(source.urls.iter().filter_map(|url| local(url)));
        for name in ["CREDENTIALS_DIRECTORY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            read.extend(variable(name).map(PathBuf::from));
        }
        read.retain(|path| path.is_absolute());
        Rules {
            run: PROGRAMS.iter().map(PathBuf::from).collect(),
            read,
            write: vec!["/dev/null".into()],
            keep: vec![paths.spool.clone()],
            manage: Vec::new(),
            connect: true,
        }
    }

    /// For whoever looks at services of the network: reads what names and TLS need, connects, and writes nowhere.
    pub fn prober() -> Rules {
        Rules {
            run: PROGRAMS.iter().map(PathBuf::from).collect(),
            read: NETWORK.iter().map(PathBuf::from).collect(),
            write: vec!["/dev/null".into()],
            connect: true,
            ..Rules::default()
        }
    }

    /// For the agent and its runs: any file of the host, since any may be declared; no network.
    pub fn converger() -> Rules {
        Rules { manage: vec!["/".into()], ..Rules::default() }
    }
}

/// The path of a repository on a local medium.
fn local(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    path.starts_with('/').then(|| Path::new(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fetcher_reads_what_its_settings_name_and_writes_its_spool() {
        let source = Source {
            urls: vec!["/media/a.git".into(), "file:///srv/b.git".into(), "https://example.org/c".into()],
            ca_file: Some("/opt/ca.pem".into()),
            known_hosts: Some("/opt/known".into()),
            ssh_key: Some("/opt/key".into()),
            client_certificate: Some("relative".into()),
            ..Source::default()
        };
        let variable = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| "/run/credentials/x".into());
        let rules = Rules::fetcher(&Paths::default(), &source, variable);
        let more: Vec<&Path> = rules.read[NETWORK.len()..].iter().map(PathBuf::as_path).collect();
        let expected = [
            "/etc/abide",
            "/opt/ca.pem",
            "/opt/known",
            "/opt/key",
            "/media/a.git",
            "/srv/b.git",
            "/run/credentials/x",
        ];
        assert_eq!(more, expected.map(Path::new));
        assert_eq!(rules.keep, [Path::new("/var/lib/abide-fetch")]);
        assert!(rules.manage.is_empty() && rules.connect);
        let by_credential = Source { ssh_key: Some("credential:deploy".into()), ..Source::default() };
        let rules = Rules::fetcher(&Paths::default(), &by_credential, |_| None);
        assert_eq!(rules.read.len(), NETWORK.len() + 1, "{:?}", rules.read);
    }

    #[test]
    fn nothing_secret_is_among_what_every_fetcher_reads() {
        for secret in ["/etc/shadow", "/var/lib/abide", "/root", "/home", "/run/abide", "/etc/sudoers"] {
            let covered = NETWORK.iter().find(|path| Path::new(secret).starts_with(path));
            assert_eq!(covered, None, "{secret}");
        }
    }
}
