//! Programs in units of their own: outside of our sandbox and control group, and living on when we are killed.
//!
//! Their output goes to files, see [`capture`](super::capture).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zbus::{MatchRule, MessageStream, Variant};

use super::bus::{self, PROPERTIES, SERVICE, UNIT, call, manager_call, property_call, unit_path};
use super::capture::{Captures, output_path};
use super::change::error_name;
use super::units::text;
use super::{Systemd, SystemdError, call_error};
use crate::failpoint::reach;
use crate::progress::Tell;

/// How often new output is looked for while a program runs.
const LOOK: Duration = Duration::from_millis(200);

/// How long a program may take to end once it is told to.
const STOP: Duration = Duration::from_secs(30);

/// How long a unit may take to go away after its program ended.
const CLEAN_UP: Duration = Duration::from_secs(60);

/// systemd's own exit codes for what failed before the program ran start here (systemd.exec(5), "Process exit codes").
const SETUP_CODES: std::ops::RangeInclusive<i32> = 200..=245;

/// A program to run in a unit of its own.
#[derive(Debug, Clone, Default)]
pub struct Transient {
    /// Name of the unit without its suffix, such as `abide-packages`. A program that still runs under this name is waited for first.
    pub name: String,
    /// One line about it, for `systemctl status`.
    pub description: String,
    /// Program and arguments. A program without `/` is looked for in the usual folders.
    pub argv: Vec<String>,
    /// Variables added to those that systemd gives to every service.
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    pub directory: Option<PathBuf>,
    /// User to run as; root when absent.
    pub user: Option<String>,
    /// After this time it is ended. Zero: never.
    pub timeout: Duration,
    /// How long it may take to end when its time is over before it is killed; zero: half a minute.
    pub kill_after: Duration,
    /// What confines it: `read-only`, `no-network`, `no-new-privileges`, `private-tmp`; for abide's own use also `only-network`, which leaves it
    /// nothing else, and `quiet`, with which systemd's words about it stay out of the journal.
    pub sandbox: Vec<String>,
    /// What it reads from standard input.
    pub stdin: Vec<u8>,
    /// Files bound read-only over others, for this program only: source, destination.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// The unit stays when the program ended, until [`Systemd::forget`] or the next program of this name, so that an adopter can still
    /// tell how it ended.
    pub stays: bool,
    /// Programs that systemd runs when the unit ends in whatever way, with full privileges and outside of the binds.
    pub cleanup: Vec<Vec<String>>,
}

/// How a program in a unit of its own ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransientOutput {
    /// The line about it.
    pub description: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was ended because its time was over.
    pub timed_out: bool,
    /// Standard output, at most the last mebibyte.
    pub stdout: Vec<u8>,
    /// Standard error, at most the last mebibyte.
    pub stderr: Vec<u8>,
}

impl TransientOutput {
    /// Whether it ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0) && !self.timed_out
    }
}

impl Systemd {
    /// Runs a program in a unit of its own to its end, and removes the unit unless it stays. `progress` gets each line of standard output.
    ///
    /// # Errors
    /// The program cannot be started or systemd does not answer. A program that fails is no error here.
    pub fn run_transient(
        &self,
        transient: &Transient,
        progress: &mut Tell<'_>,
    ) -> Result<TransientOutput, SystemdError> {
        let unit = format!("{}.service", transient.name);
        if !bus::is_unit_name(&unit) {
            return Err(SystemdError::BadName { name: unit });
        }
        self.adopt(&transient.name, progress)?;
        let program = find(&transient.argv, &unit)?;
        let mut captures = Captures::create(&unit)?;
        self.runtime
            .block_on(async {
                self.subscribe().await?;
                let mut signals = self.signals(&unit).await?;
                let body = (
                    unit.as_str(),
                    "fail",
                    properties(transient, &program, &unit),
                    Vec::<(&str, Vec<(&str, Variant<'_>)>)>::new(),
                );
                reach("transient: before it starts");
                self.bus.manager("StartTransientUnit", &body).await.map_err(|source| {
                    SystemdError::NotStarted {
                        unit: unit.clone(),
                        program: program.clone(),
                        reason: source.to_string(),
                    }
                })?;
                reach("transient: started");
                self.await_end(&unit, &mut signals, &mut captures, progress).await?;
                reach("transient: ended");
                let end = self.end(&unit, &program).await;
                if !transient.stays {
                    self.remove(&unit, &mut signals).await?;
                }
                reach("transient: over");
                end
            })
            .map(|end| end.with(captures))
    }

    /// Waits for a program that an earlier, killed abide started under this name, and removes its unit. `None`: there is none.
    ///
    /// # Errors
    /// As [`Systemd::run_transient`].
    pub fn adopt(
        &self,
        name: &str,
        progress: &mut Tell<'_>,
    ) -> Result<Option<TransientOutput>, SystemdError> {
        let unit = format!("{name}.service");
        self.runtime.block_on(async {
            let known = self.bus.manager("GetUnit", &unit).await;
            match known {
                Ok(_) => {}
                Err(error) if error_name(&error).ends_with(".NoSuchUnit") => return Ok(None),
                Err(source) => return Err(call_error(format!("tell about {unit}"), source)),
            }
            if self.status(&unit).await?.load == "not-found" {
                return Ok(None);
            }
            self.subscribe().await?;
            let mut signals = self.signals(&unit).await?;
            let mut captures = Captures::open(&unit)?;
            self.await_end(&unit, &mut signals, &mut captures, progress).await?;
            let end = self.end(&unit, name).await;
            self.remove(&unit, &mut signals).await?;
            end.map(|end| Some(end.with(captures)))
        })
    }

    /// Removes what is left of a unit whose program ended and that stayed.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn forget(&self, name: &str) -> Result<(), SystemdError> {
        let unit = format!("{name}.service");
        self.runtime.block_on(async {
            self.subscribe().await?;
            let mut signals = self.signals(&unit).await?;
            self.remove(&unit, &mut signals).await
        })
    }

    async fn signals(&self, unit: &str) -> Result<MessageStream, SystemdError> {
        let build =
            || MatchRule::builder().msg_type(zbus::message::Type::Signal).path(unit_path(unit)).build();
        let rule = build().map_err(|source| call_error("send signals", source))?;
        MessageStream::for_match_rule(rule, &self.bus.connection, None)
            .await
            .map_err(|source| call_error("send signals", source))
    }

    /// Waits until the program ended, passing on its output meanwhile.
    async fn await_end(
        &self,
        unit: &str,
        signals: &mut MessageStream,
        captures: &mut Captures,
        progress: &mut Tell<'_>,
    ) -> Result<(), SystemdError> {
        loop {
            let status = self.status(unit).await?;
            captures.drain(progress);
            if status.ended() {
                return Ok(());
            }
            // A signal tells of the end at once; the clock is for the output.
            if let Ok(signal) = tokio::time::timeout(LOOK, bus::next(signals)).await {
                signal.map_err(|source| call_error(format!("tell about {unit}"), source))?;
            }
        }
    }

    async fn status(&self, unit: &str) -> Result<Status, SystemdError> {
        let path = unit_path(unit);
        let read = async {
            let calls = [
                property_call(&path, UNIT, "LoadState")?,
                property_call(&path, UNIT, "SubState")?,
                property_call(&path, UNIT, "Job")?,
            ];
            let mut answers = self.bus.all(&calls).await?.into_iter();
            let mut next = || answers.next().unwrap_or(Err(zbus::Error::InvalidReply));
            let (load, sub) = (text(&next()?)?, text(&next()?)?);
            let job = next()?;
            let body = job.body();
            let value: Variant<'_> = body.deserialize()?;
            let (job, _): (u32, zbus::OwnedObjectPath) = value.downcast()?;
            Ok(Status { load, sub, job })
        };
        read.await.map_err(|source| call_error(format!("tell about {unit}"), source))
    }

    /// How the main process ended.
    async fn end(&self, unit: &str, program: &str) -> Result<End, SystemdError> {
        let path = unit_path(unit);
        let read = async {
            let calls = [
                call(&path, PROPERTIES, "GetAll", &SERVICE)?,
                property_call(&path, UNIT, "ActiveEnterTimestampMonotonic")?,
                property_call(&path, UNIT, "Description")?,
            ];
            let mut answers = self.bus.all(&calls).await?.into_iter();
            let mut next = || answers.next().unwrap_or(Err(zbus::Error::InvalidReply));
            let (service, active, description) = (next()?, next()?, text(&next()?)?);
            let (service, active) = (service.body(), active.body());
            let mut service: std::collections::HashMap<&str, Variant<'_>> = service.deserialize()?;
            let active: Variant<'_> = active.deserialize()?;
            let mut number =
                |name: &str| service.remove(name).and_then(|value| i32::try_from(value).ok()).unwrap_or(0);
            let (kind, status) = (number("ExecMainCode"), number("ExecMainStatus"));
            let result =
                service.remove("Result").and_then(|value| String::try_from(value).ok()).unwrap_or_default();
            Ok(End { kind, status, result, description, ran: u64::try_from(active).unwrap_or(0) > 0 })
        };
        let end: End = read.await.map_err(|source| call_error(format!("tell how {unit} ended"), source))?;
        if !end.ran && (SETUP_CODES.contains(&end.status) || end.kind == 0) {
            let reason = setup_failure(end.status, &end.result);
            return Err(SystemdError::NotStarted {
                unit: unit.to_owned(),
                program: program.to_owned(),
                reason,
            });
        }
        Ok(end)
    }

    /// Stops what is left of the unit, so that systemd forgets it.
    async fn remove(&self, unit: &str, signals: &mut MessageStream) -> Result<(), SystemdError> {
        let gone = async {
            let calls = [manager_call("StopUnit", &(unit, "replace"))?];
            // What failed is not active any more, and need not be stopped.
            let _ = self.bus.all(&calls).await?;
            while !self.status(unit).await.map_or(true, |status| status.job == 0 && status.gone()) {
                let _ = tokio::time::timeout(LOOK, bus::next(signals)).await;
            }
            let _ = self.bus.all(&[manager_call("ResetFailedUnit", &unit)?]).await?;
            zbus::Result::Ok(())
        };
        match tokio::time::timeout(CLEAN_UP, gone).await {
            Ok(result) => result.map_err(|source| call_error(format!("remove {unit}"), source)),
            Err(_) => Err(SystemdError::NoAnswer { what: format!("remove {unit}"), after: CLEAN_UP }),
        }
    }
}

struct Status {
    load: String,
    sub: String,
    job: u32,
}

impl Status {
    fn ended(&self) -> bool {
        self.job == 0 && (self.sub == "exited" || self.gone())
    }

    fn gone(&self) -> bool {
        matches!(self.sub.as_str(), "dead" | "failed")
    }
}

struct End {
    /// `CLD_EXITED` (1), `CLD_KILLED` (2) or `CLD_DUMPED` (3), from waitid(2).
    kind: i32,
    status: i32,
    result: String,
    description: String,
    ran: bool,
}

impl End {
    fn with(self, captures: Captures) -> TransientOutput {
        let exited = self.kind == 1;
        let (stdout, stderr) = captures.close();
        TransientOutput {
            description: self.description,
            code: exited.then_some(self.status),
            signal: (!exited).then_some(self.status),
            timed_out: self.result == "timeout",
            stdout,
            stderr,
        }
    }
}

fn setup_failure(status: i32, result: &str) -> String {
    // systemd.exec(5), "Process exit codes".
    match status {
        200 => "its working directory does not exist or may not be entered".into(),
        203 => "it is missing or may not be executed".into(),
        209 => "its standard output cannot be opened".into(),
        216 => "its group does not exist".into(),
        217 => "its user does not exist".into(),
        226 => "its mount namespace cannot be set up".into(),
        _ => format!("systemd says `{result}` with status {status}"),
    }
}

fn properties<'a>(
    transient: &'a Transient,
    program: &'a str,
    unit: &str,
) -> Vec<(&'static str, Variant<'a>)> {
    let start =
        vec![(program, transient.argv.iter().map(String::as_str).collect::<Vec<_>>(), vec!["no-env-expand"])];
    let stop: Vec<(&str, Vec<&str>, Vec<&str>)> = transient
        .cleanup
        .iter()
        .filter_map(|argv| {
            let program = argv.first()?;
            Some((
                program.as_str(),
                argv.iter().map(String::as_str).collect(),
                vec!["privileged", "ignore-failure", "no-env-expand"],
            ))
        })
        .collect();
    let environment: Vec<String> =
        transient.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (stdout, stderr) = (path_text(&output_path(unit, "out")), path_text(&output_path(unit, "err")));
    let mut list = vec![
        ("Description", Variant::from(transient.description.as_str())),
        ("Type", Variant::from("exec")),
        // Keeps the unit after its program ended well, so that its status can be read, now or by an adopter.
        ("RemainAfterExit", Variant::from(true)),
        ("ExecStartEx", Variant::from(start)),
        ("ExecStopPostEx", Variant::from(stop)),
        ("Environment", Variant::from(environment)),
        ("StandardOutputFileToAppend", Variant::from(stdout)),
        ("StandardErrorFileToAppend", Variant::from(stderr)),
        ("IgnoreSIGPIPE", Variant::from(false)),
        ("UMask", Variant::from(0o022_u32)),
        (
            "TimeoutStopUSec",
            Variant::from(micros(if transient.kill_after.is_zero() { STOP } else { transient.kill_after })),
        ),
    ];
    if !transient.timeout.is_zero() {
        list.push(("RuntimeMaxUSec", Variant::from(micros(transient.timeout))));
    }
    if transient.stdin.is_empty() {
        list.push(("StandardInput", Variant::from("null")));
    } else {
        list.push(("StandardInputData", Variant::from(transient.stdin.as_slice())));
    }
    if let Some(directory) = &transient.directory {
        list.push(("WorkingDirectory", Variant::from(path_text(directory))));
    }
    if let Some(user) = &transient.user {
        list.push(("User", Variant::from(user.as_str())));
    }
    let binds: Vec<(String, String, bool, u64)> = transient
        .binds
        .iter()
        .map(|(source, destination)| (path_text(source), path_text(destination), false, 0))
        .collect();
    if !binds.is_empty() {
        list.push(("BindReadOnlyPaths", Variant::from(binds)));
    }
    for word in &transient.sandbox {
        list.extend(confinement(word));
    }
    list
}

/// As systemd counts.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn confinement(word: &str) -> Vec<(&'static str, Variant<'static>)> {
    match word {
        "read-only" => {
            vec![("ProtectSystem", Variant::from("strict")), ("ProtectHome", Variant::from("read-only"))]
        }
        "no-network" => vec![("PrivateNetwork", Variant::from(true))],
        "no-new-privileges" => vec![("NoNewPrivileges", Variant::from(true))],
        "private-tmp" => vec![("PrivateTmp", Variant::from(true))],
        // syslog's critical: above what systemd says of each start and end, good or bad.
        "quiet" => vec![("LogLevelMax", Variant::from(2_i32))],
        "only-network" => only_network(),
        _ => Vec::new(),
    }
}

/// For a program that talks to anybody: it has an account of its own for as long as it runs, writes nowhere, and can do nothing else.
fn only_network() -> Vec<(&'static str, Variant<'static>)> {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let mut properties: Vec<(&str, Variant<'static>)> = [
        "DynamicUser",
        "NoNewPrivileges",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectClock",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectControlGroups",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
        "MemoryDenyWriteExecute",
    ]
    .into_iter()
    .map(|name| (name, Variant::from(true)))
    .collect();
    properties.extend([
        ("ProtectSystem", Variant::from("strict")),
        ("ProtectHome", Variant::from("yes")),
        ("ProtectProc", Variant::from("invisible")),
        ("CapabilityBoundingSet", Variant::from(0_u64)),
        ("AmbientCapabilities", Variant::from(0_u64)),
        ("MemoryMax", Variant::from(256_u64 << 20)),
        ("TasksMax", Variant::from(512_u64)),
        ("SystemCallArchitectures", Variant::from(list(&["native"]))),
        (
            "SystemCallFilter",
            Variant::from((
                true,
                list(&[
                    "@system-service",
                    "landlock_create_ruleset",
                    "landlock_add_rule",
                    "landlock_restrict_self",
                ]),
            )),
        ),
        (
            "RestrictAddressFamilies",
            Variant::from((true, list(&["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"]))),
        ),
        (
            "InaccessiblePaths",
            Variant::from(list(&[
                "-/run/dbus",
                "-/run/systemd/private",
                "-/var/lib/abide",
                "-/var/lib/abide-fetch",
            ])),
        ),
    ]);
    properties
}

/// The absolute path of a program.
fn find(argv: &[String], unit: &str) -> Result<String, SystemdError> {
    const FOLDERS: [&str; 6] =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let program = argv.first().cloned().unwrap_or_default();
    if program.starts_with('/') {
        return Ok(program);
    }
    let found =
        FOLDERS.iter().map(|folder| format!("{folder}/{program}")).find(|path| Path::new(path).is_file());
    found.filter(|_| !program.is_empty() && !program.contains('/')).ok_or_else(|| SystemdError::NotStarted {
        unit: unit.to_owned(),
        reason: format!("there is no such program in {}", FOLDERS.join(", ")),
        program,
    })
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
