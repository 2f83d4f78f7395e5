//! Rules become a Landlock domain of this process.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use super::{Confinement, Enforced, Landlock, Rules};

/// What abide asks for: files, moves between folders (2), truncation (3), TCP (4), device ioctls (5), scopes (6). With a later one nothing is
/// denied that was not tested.
const WANTED: ABI = ABI::V6;

/// What each version of Landlock brought, from landlock(7).
const BROUGHT: [(i32, &str); 4] =
    [(3, "truncation"), (4, "TCP"), (5, "device ioctls"), (6, "the scope of signals and abstract sockets")];

/// Confines this thread, and every thread and process that it starts from now on, to these rules, for ever. Call it before there are others.
///
/// What the kernel cannot enforce is left out and named; nothing here fails.
pub fn enter(rules: &Rules) -> Confinement {
    Confinement::observe(match restrict(rules) {
        Ok((status, ruleset)) => judge(status, ruleset),
        Err(error) => unavailable(&crate::error::escaped(&error.to_string())),
    })
}

fn restrict(rules: &Rules) -> Result<(LandlockStatus, RulesetStatus), RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write = make_bitflags!(AccessFs::{WriteFile | Truncate});
    let status = Ruleset::default()
        // The first version denies every move and link between folders, which the spool and managed files live on.
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(if rules.connect { AccessNet::BindTcp.into() } else { AccessNet::from_all(WANTED) })?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .add_rules(path_beneath_rules(&rules.run, read | AccessFs::Execute))?
        .add_rules(path_beneath_rules(&rules.read, read))?
        .add_rules(path_beneath_rules(&rules.write, write))?
        .add_rules(path_beneath_rules(&rules.keep, read | write | keeping()))?
        .add_rules(path_beneath_rules(&rules.manage, managing()))?
        .restrict_self()?;
    Ok((status.landlock, status.ruleset))
}

fn keeping() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{MakeReg | MakeDir | RemoveFile | RemoveDir | Refer})
}

fn managing() -> BitFlags<AccessFs> {
    AccessFs::from_all(WANTED) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock | IoctlDev})
}

fn judge(status: LandlockStatus, ruleset: RulesetStatus) -> Landlock {
    let abi = match status {
        LandlockStatus::NotEnabled => return unavailable("it is switched off in this kernel"),
        LandlockStatus::NotImplemented => return unavailable("the kernel has none, or a filter hides it"),
        LandlockStatus::Available { effective_abi, kernel_abi } => kernel_abi.unwrap_or(effective_abi as i32),
    };
    match ruleset {
        RulesetStatus::FullyEnforced => Landlock { enforced: Enforced::Fully, abi, reason: String::new() },
        RulesetStatus::PartiallyEnforced => {
            Landlock { enforced: Enforced::Partly, abi, reason: lacking(abi) }
        }
        RulesetStatus::NotEnforced => {
            Landlock { abi, ..unavailable("this version denies every move between folders") }
        }
    }
}

/// What a kernel with this version cannot do for us.
fn lacking(abi: i32) -> String {
    let lacking: Vec<&str> =
        BROUGHT.iter().filter(|(since, _)| abi < *since).map(|(_, what)| *what).collect();
    match lacking.is_empty() {
        true => "the kernel left out a part".into(),
        false => format!("the kernel cannot limit {}", lacking.join(", ")),
    }
}

/// Landlock that is not in force, and why.
pub(super) fn unavailable(reason: &str) -> Landlock {
    Landlock { enforced: Enforced::Not, abi: 0, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::path::PathBuf;

    /// Runs `test` on a thread of its own under these rules, if the kernel enforces all of them.
    fn confined(rules: &Rules, test: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let found = enter(rules);
                match found.landlock.enforced {
                    Enforced::Fully => test(),
                    _ => eprintln!("skipped: {found}"),
                }
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn is_denied<T>(result: std::io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    }

    /// Makes a device node, which only root can.
    fn makes_a_device(path: &std::path::Path) -> bool {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::CharacterDevice, mode, device)
            .is_ok()
    }

    #[test]
    fn a_fetcher_keeps_to_its_spool() {
        let folder = tempfile::tempdir().unwrap();
        let [spool, secret, medium] = ["spool", "secret", "medium"].map(|name| folder.path().join(name));
        for path in [&spool, &secret, &medium] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "x").unwrap();
        }
        let paths = crate::config::Paths { spool: spool.clone(), ..Default::default() };
        let urls = vec![medium.display().to_string()];
        let source = crate::config::Source { urls, ..Default::default() };
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        confined(&Rules::fetcher(&paths, &source, |_| None), || {
            fs::create_dir_all(spool.join("a/b")).unwrap();
            fs::write(spool.join("a/b/c"), "x").unwrap();
            fs::rename(spool.join("a/b/c"), spool.join("a/d")).unwrap();
            fs::hard_link(spool.join("a/d"), spool.join("e")).unwrap();
            fs::remove_dir_all(spool.join("a")).unwrap();
            assert_eq!(fs::read(medium.join("file")).unwrap(), b"x");
            assert!(fs::read("/etc/passwd").is_ok() && fs::write("/dev/null", "x").is_ok());
            TcpStream::connect(address).unwrap();

            assert!(is_denied(fs::read(secret.join("file"))));
            assert!(is_denied(fs::read_dir(&secret)));
            assert!(is_denied(fs::write(secret.join("file"), "y")));
            assert!(is_denied(fs::write(secret.join("new"), "y")));
            assert!(is_denied(fs::write(medium.join("file"), "y")));
            assert!(is_denied(fs::write("/etc/passwd.new", "y")));
            assert!(is_denied(fs::read("/etc/shadow")));
            assert!(is_denied(std::os::unix::fs::symlink("/etc/passwd", spool.join("link"))));
            assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
            assert!(!makes_a_device(&spool.join("device")));
        });
    }

    #[test]
    fn a_converger_manages_every_path_and_has_no_network() {
        let folder = tempfile::tempdir().unwrap();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        let abstract_socket = {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("abide-test-{}", std::process::id());
            std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
        };
        let _outside = std::os::unix::net::UnixListener::bind_addr(&abstract_socket).unwrap();
        confined(&Rules::converger(), || {
            fs::create_dir_all(path("a/b")).unwrap();
            fs::write(path("a/b/c"), "x").unwrap();
            fs::rename(path("a/b/c"), path("d")).unwrap();
            std::os::unix::fs::symlink("d", path("link")).unwrap();
            assert_eq!(fs::read(path("link")).unwrap(), b"x");
            fs::remove_dir_all(path("a")).unwrap();
            let program = crate::system::exec::Program::new(["sleep", "0"]);
            assert!(crate::system::exec::run(&program).unwrap().success());

            assert!(!makes_a_device(&path("device")));
            assert!(is_denied(TcpStream::connect(address)));
            assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
            assert!(is_denied(std::os::unix::net::UnixStream::connect_addr(&abstract_socket)));
            let init = rustix::process::Pid::INIT;
            assert!(rustix::process::test_kill_process(init).is_err());
        });
    }

    #[test]
    fn what_an_older_kernel_cannot_do_is_named() {
        let available = |abi| LandlockStatus::Available { effective_abi: ABI::from(abi), kernel_abi: None };
        for (status, ruleset, enforced, abi, words) in [
            (available(7), RulesetStatus::FullyEnforced, Enforced::Fully, 7, ""),
            (available(4), RulesetStatus::PartiallyEnforced, Enforced::Partly, 4, "device ioctls, the scope"),
            (available(2), RulesetStatus::PartiallyEnforced, Enforced::Partly, 2, "truncation, TCP, device"),
            (available(1), RulesetStatus::NotEnforced, Enforced::Not, 1, "every move"),
            (LandlockStatus::NotEnabled, RulesetStatus::NotEnforced, Enforced::Not, 0, "switched off"),
            (
                LandlockStatus::NotImplemented,
                RulesetStatus::NotEnforced,
                Enforced::Not,
                0,
                "the kernel has none",
            ),
        ] {
            let found = judge(status, ruleset);
            assert_eq!((found.enforced, found.abi), (enforced, abi), "{found:?}");
            assert!(found.reason.contains(words) && found.reason.is_empty() == words.is_empty(), "{found:?}");
        }
        let newer = LandlockStatus::Available { effective_abi: ABI::V10, kernel_abi: Some(11) };
        assert_eq!(judge(newer, RulesetStatus::FullyEnforced).abi, 11);
    }
}
