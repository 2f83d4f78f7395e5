//! The real host behind apply: a thin layer over [`system`](crate::system).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::transaction::transaction;
use super::{Effector, UnitChange};
use crate::config::{self, Paths};
use crate::error::{Code, Explain, Problem, escaped};
use crate::plan::{Attributes, GroupAction, Law, PackageAction, Reach, Run, UserAction, WriteFile};
use crate::progress::Tell;
use crate::system::accounts::{self, Owners};
use crate::system::fs::{self, Backups, Fingerprints, FsError, Rehash};
use crate::system::observe::{Needs, PackageState, PathNeed, PathState};
use crate::system::packages;
use crate::system::systemd::{self, SystemdError, Transient, TransientOutput};
use crate::system::{Host, clock, fs::Staged};
use crate::upgrade::{self, Upgrade};

/// Unit in which commands run, without its suffix.
const COMMAND_UNIT: &str = "abide-command";

/// Unit in which programs judge staged files, without its suffix.
const VALIDATE_UNIT: &str = "abide-validate";

/// How long a program may judge a staged file.
const VALIDATE_TIMEOUT: Duration = Duration::from_secs(60);

/// Lines of a program's output that are kept to explain its failure.
const KEPT_LINES: usize = 10;

/// This host, with the connections that were made to observe it.
pub struct LocalHost<'a> {
    host: &'a mut Host,
    /// Read when they are needed first, and anew after accounts may have changed.
    owners: OnceCell<Owners>,
    backups: PathBuf,
    backup_limit: u64,
    store: Option<Backups>,
    start: Instant,
    guard: Option<Guard>,
    upgrade: Option<(Upgrade, Paths)>,
}

/// Judges each path right before it is touched.
struct Guard {
    paths: Paths,
    law: config::Law,
    /// Over what is mounted now; looked at again after everything that can mount.
    judge: Option<Law>,
}

/// What went wrong here and not below.
#[derive(Debug, thiserror::Error)]
enum HostError {
    /// A command failed (E402).
    #[error("{program} {end}")]
    Command { program: String, end: String },
    /// A validator refused a file (E403).
    #[error("{program} refuses the new content of {path}: it {end}")]
    Refused { program: String, path: PathBuf, end: String },
    /// The backup store cannot be made (E405).
    #[error("the backup store {path} cannot be made")]
    Backup { path: PathBuf, source: std::io::Error },
}

impl Explain for HostError {
    fn code(&self) -> Code {
        Code(match self {
            HostError::Command { .. } => "E402",
            HostError::Refused { .. } => "E403",
            HostError::Backup { .. } => "E405",
        })
    }

    fn remedy(&self) -> String {
        match self {
            HostError::Command { .. } => {
                "correct the command or what it complains about; the next run tries again"
            }
            HostError::Refused { .. } => "correct the content; the file on the host is unchanged",
            HostError::Backup { .. } => "check the state folder and the free space of its file system",
        }
        .into()
    }
}

impl<'a> LocalHost<'a> {
    /// The host, with the folder for former contents of files and how many bytes it may hold.
    pub fn new(host: &'a mut Host, backups: &Path, backup_limit: u64) -> LocalHost<'a> {
        LocalHost {
            host,
            owners: OnceCell::new(),
            backups: backups.to_owned(),
            backup_limit,
            store: None,
            start: clock::instant(),
            guard: None,
            upgrade: None,
        }
    }

    /// The same, guarding a change of abide's own package for a commit.
    pub fn upgrading(self, upgrade: Upgrade, paths: &Paths) -> LocalHost<'a> {
        LocalHost { upgrade: Some((upgrade, paths.clone())), ..self }
    }

    /// Before packages are changed: if abide is among them, what works is kept.
    fn arm(&mut self, actions: &[PackageAction], say: &mut Tell<'_>) -> Result<(), Problem> {
        let Some((upgrade, paths)) = &self.upgrade else { return Ok(()) };
        upgrade::arm(upgrade, paths, self.host, actions, say)
    }

    /// The same, keeping the host's law over its own and abide's things, whatever steps of the run made of the way to them.
    pub fn under(self, paths: &Paths, law: &config::Law) -> LocalHost<'a> {
        LocalHost { guard: Some(Guard { paths: paths.clone(), law: law.clone(), judge: None }), ..self }
    }

    fn check(&mut self, reach: &Reach) -> Result<(), Problem> {
        let Some(Guard { paths, law, judge }) = &mut self.guard else { return Ok(()) };
        let judge = judge.get_or_insert_with(|| Law::of_host(paths, law));
        Ok(judge.allows(reach)?)
    }

    /// Programs and units may have mounted something.
    fn remount(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.judge = None;
        }
    }

    /// The other packages are changed all the same.
    fn without_own(
        &mut self,
        actions: &[PackageAction],
        problem: &Problem,
        say: &mut Tell<'_>,
    ) -> Vec<Result<(), Problem>> {
        let (own, others): (Vec<_>, Vec<_>) = actions.iter().cloned().partition(upgrade::is_own);
        let mut answers =
            if others.is_empty() { Vec::new() } else { self.packages(&others, say) }.into_iter();
        debug_assert!(!own.is_empty(), "only abide's own package is guarded");
        actions
            .iter()
            .map(|action| match upgrade::is_own(action) {
                true => Err(problem.clone()),
                false => answers.next().unwrap_or_else(|| Err(problem.clone())),
            })
            .collect()
    }

    fn owners(&self) -> &Owners {
        self.owners.get_or_init(Owners::load)
    }

    fn transient(&mut self, transient: &Transient) -> Result<TransientOutput, Problem> {
        Ok(self.host.systemd()?.run_transient(transient, &mut |_| {})?)
    }
}

impl Effector for LocalHost<'_> {
    type Staged = Staged;

    fn now(&self) -> i64 {
        clock::now()
    }

    fn clock(&self) -> Duration {
        self.start.elapsed()
    }

    fn fingerprint(&mut self, path: &Path, content: bool) -> String {
        match fs::look(path, PathNeed { content, extended: false }) {
            PathState::Absent => "absent".into(),
            PathState::Blocked { at, reason } => format!("blocked by {} {reason}", at.display()),
            PathState::Unreadable(reason) => format!("unreadable: {reason}"),
            PathState::Present(present) => {
                let kind = format!("{:?}", present.file_type).to_lowercase();
                let mut text = format!("{kind} {:04o} {}:{}", present.mode, present.uid, present.gid);
                if let Some(target) = &present.target {
                    let _ = write!(text, " -> {}", target.display());
                }
                if let Some(sha256) = &present.sha256 {
                    let _ = write!(text, " {} bytes sha256:", present.size);
                    sha256.iter().take(8).for_each(|byte| {
                        let _ = write!(text, "{byte:02x}");
                    });
                }
                text
            }
        }
    }

    fn stage(&mut self, file: &WriteFile, bytes: &[u8]) -> Result<Staged, Problem> {
        self.check(&Reach::Entry(file.path.clone()))?;
        Ok(fs::stage(file, bytes, self.owners(), &tag())?)
    }

    fn validate(&mut self, command: &[String], staged: &Staged) -> Result<(), Problem> {
        let path = staged.path().to_string_lossy();
        let output = self.transient(&Transient {
            name: VALIDATE_UNIT.into(),
            description: format!("abide asks about {}", staged.target().display()),
            argv: command.iter().map(|word| word.replace("{file}", &path)).collect(),
            timeout: VALIDATE_TIMEOUT,
            ..Transient::default()
        })?;
        if output.success() {
            return Ok(());
        }
        let program = command.first().cloned().unwrap_or_default();
        let refused = HostError::Refused {
            program,
            path: staged.target().to_owned(),
            end: end(&output, VALIDATE_TIMEOUT),
        };
        Err(with_output(refused, &output))
    }

    fn sync(&mut self, staged: &[Staged]) -> Result<(), Problem> {
        Ok(fs::sync_all(staged)?)
    }

    fn backup(&mut self, path: &Path) -> Result<(), Problem> {
        let store = match self.store.take() {
            Some(store) => store,
            None => open_backups(&self.backups, self.backup_limit)?,
        };
        self.store.insert(store).keep(path)?;
        Ok(())
    }

    fn commit(&mut self, staged: Staged) -> Result<(), Problem> {
        self.check(&Reach::Entry(staged.target().to_owned()))?;
        Ok(staged.commit()?)
    }

    fn make_directory(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Problem> {
        self.check(&Reach::folder(path.to_owned(), attributes))?;
        Ok(fs::make_directory(path, attributes, self.owners())?)
    }

    fn make_symlink(
        &mut self,
        path: &Path,
        target: &Path,
        attributes: &Attributes,
        force: bool,
    ) -> Result<(), Problem> {
        self.check(&Reach::Entry(path.to_owned()))?;
        Ok(fs::make_symlink(path, target, attributes, force, self.owners(), &tag())?)
    }

    fn set_attributes(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Problem> {
        self.check(&Reach::folder(path.to_owned(), attributes))?;
        Ok(fs::set_attributes(path, attributes, self.owners())?)
    }

    fn remove(&mut self, path: &Path, recursive: bool) -> Result<(), Problem> {
        let reached = path.to_owned();
        self.check(&if recursive { Reach::Tree(reached) } else { Reach::Entry(reached) })?;
        Ok(fs::remove(path, recursive)?)
    }

    fn sync_directories(&mut self, directories: &BTreeSet<PathBuf>) -> Result<(), Problem> {
        Ok(fs::sync_directories(directories)?)
    }

    fn look(&mut self, verb: &str, names: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut needs = Needs::default();
        match verb {
            "package" => needs.packages.clone_from(names),
            "user" => needs.users.clone_from(names),
            _ => needs.groups.clone_from(names),
        }
        // Only a hint for whoever has to find out what a dead run did: without it everything may have happened.
        let Ok(seen) = self.host.observe(&needs, &mut Fingerprints::default(), Rehash::Never) else {
            return BTreeMap::new();
        };
        let there = |name: &String| match verb {
            "package" => seen.packages.get(name).map(package).unwrap_or_else(|| "absent".into()),
            "user" if seen.users.contains_key(name) => "present".into(),
            "group" if seen.groups.contains_key(name) => "present".into(),
            _ => "absent".into(),
        };
        names.iter().map(|name| (name.clone(), there(name))).collect()
    }

    fn packages(&mut self, actions: &[PackageAction], say: &mut Tell<'_>) -> Vec<Result<(), Problem>> {
        if let Err(problem) = self.arm(actions, say) {
            return self.without_own(actions, &problem, say);
        }
        let answers = match self.host.packages() {
            Ok(manager) => transaction(manager, actions, say),
            Err(error) => {
                let problem = Problem::from(error);
                actions.iter().map(|_| Err(problem.clone())).collect()
            }
        };
        // Packages bring users and groups of their own, and perhaps another systemd.
        self.owners.take();
        self.host.forget_systemd();
        answers
    }

    fn units(&mut self, changes: &[UnitChange]) -> Vec<Result<(), Problem>> {
        self.remount();
        let systemd = match self.host.systemd() {
            Ok(systemd) => systemd,
            Err(error) => {
                let problem = Problem::from(error);
                return changes.iter().map(|_| Err(problem.clone())).collect();
            }
        };
        let changes: Vec<systemd::UnitChange> = changes
            .iter()
            .map(|change| systemd::UnitChange {
                unit: change.unit.clone(),
                action: change.action,
                timeout: change.timeout,
            })
            .collect();
        systemd.change(&changes).into_iter().map(|answer| tolerate(answer).map_err(Problem::from)).collect()
    }

    fn daemon_reload(&mut self) -> Result<(), Problem> {
        Ok(self.host.systemd()?.daemon_reload()?)
    }

    fn user(&mut self, action: &UserAction) -> Result<(), Problem> {
        accounts::change_user(action)?;
        self.owners.take();
        Ok(())
    }

    fn group(&mut self, action: &GroupAction) -> Result<(), Problem> {
        accounts::change_group(action)?;
        self.owners.take();
        Ok(())
    }

    fn run(&mut self, run: &Run, ticket: &str) -> Result<(), Problem> {
        self.remount();
        let program = run.argv.first().cloned().unwrap_or_default();
        let output = self.transient(&Transient {
            name: COMMAND_UNIT.into(),
            description: described(ticket, &program),
            stays: true,
            argv: run.argv.clone(),
            environment: run.environment.clone(),
            directory: run.directory.clone(),
            user: run.user.clone(),
            timeout: Duration::from_secs(run.timeout.into()),
            sandbox: run.sandbox.clone(),
            ..Transient::default()
        })?;
        // Whatever it did, it may have made users or groups.
        self.owners.take();
        if !output.timed_out && output.code.is_some_and(|code| run.success.contains(&code)) {
            return Ok(());
        }
        let end = end(&output, Duration::from_secs(run.timeout.into()));
        Err(with_output(HostError::Command { program, end }, &output))
    }

    fn forget_command(&mut self) -> Result<(), Problem> {
        Ok(self.host.systemd()?.forget(COMMAND_UNIT)?)
    }

    fn clean_temporaries(&mut self, paths: &[PathBuf]) -> Result<(), Problem> {
        let mut directories: BTreeSet<PathBuf> =
            paths.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        directories.insert(self.backups.clone());
        // Of every run: there is no other one while this one holds the lock.
        fs::clean_temporaries(&directories, "")?;
        Ok(())
    }

    fn settle_packages(&mut self) -> Result<(), Problem> {
        self.host.systemd()?.adopt(packages::UNIT, &mut |_| {})?;
        Ok(self.host.packages()?.repair(&mut |_| {})?)
    }

    fn settle_commands(&mut self, ticket: &str) -> Result<Option<i32>, Problem> {
        let output = match self.host.systemd()?.adopt(COMMAND_UNIT, &mut |_| {}) {
            // That it could not be started is for the next try to say.
            Err(SystemdError::NotStarted { .. }) => None,
            answer => answer?,
        };
        let of_ticket = described(ticket, "");
        let output = output.filter(|output| !output.timed_out && output.description.starts_with(&of_ticket));
        Ok(output.and_then(|output| output.code))
    }
}

/// What there is of a package.
fn package(state: &PackageState) -> String {
    let mut words = match (&state.installed, state.broken) {
        (Some(version), _) => version.clone(),
        (None, true) => "half there".into(),
        (None, false) => "absent".into(),
    };
    for (holds, word) in [(state.broken, "broken"), (state.held, "held"), (state.config_files, "configured")]
    {
        if holds {
            words.push(' ');
            words.push_str(word);
        }
    }
    words
}

/// What `systemctl status` shows of a command, and what it is known by.
fn described(ticket: &str, program: &str) -> String {
    format!("Command of abide ({ticket}): {}", escaped(program))
}

fn open_backups(path: &Path, limit: u64) -> Result<Backups, Problem> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(HostError::Backup { path: path.to_owned(), source }.into())
        }
        _ => Backups::open(path, limit).map_err(|error: FsError| error.into()),
    }
}

/// Marks the temporary files of this run.
fn tag() -> String {
    std::process::id().to_string()
}

/// How a program ended, in words.
fn end(output: &TransientOutput, timeout: Duration) -> String {
    match (output.timed_out, output.code, output.signal) {
        (true, _, _) => format!("did not end within {} s and was killed", timeout.as_secs()),
        (false, Some(code), _) => format!("ended with code {code}"),
        (false, None, Some(signal)) => format!("was ended by signal {signal}"),
        (false, None, None) => "ended in an unknown way".into(),
    }
}

/// The last lines of a program's output as the reasons. Only there, so that they can be left out where they are secret.
fn with_output(error: HostError, output: &TransientOutput) -> Problem {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stderr, stdout) = (text(&output.stderr), text(&output.stdout));
    let shown = if stderr.trim().is_empty() { &stdout } else { &stderr };
    let lines: Vec<String> =
        shown.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(escaped).collect();
    let mut problem = Problem::from(error);
    problem.why.extend_from_slice(&lines[lines.len().saturating_sub(KEPT_LINES)..]);
    problem
}

/// A unit that came with this very run may turn out to be one that something else starts. The next plan would leave it as it is,
/// so that this one must not fail over it.
fn tolerate(answer: Result<(), SystemdError>) -> Result<(), SystemdError> {
    match answer {
        Err(SystemdError::NotEnableable { state, .. }) if state != "bad" => Ok(()),
        answer => answer,
    }
}
