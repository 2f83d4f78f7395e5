//! Looks at what health checks are about: services that answer, units, programs, files.
//!
//! **Invariant:** nothing that answers over the network is read by a privileged process; [`remote`] does that in a unit of its own.

pub mod remote;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::systemd::{Liveness, Systemd, SystemdError, Transient, TransientOutput};
use super::{Host, clock};
use crate::error::escaped;
use remote::Question;

/// What a health check looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Probe {
    /// A URL answers.
    Http {
        /// The URL.
        url: String,
        /// Answers that are good, as ranges with both ends.
        status: Vec<(u16, u16)>,
        /// Text that the answer must contain.
        body: Option<String>,
        /// Whether the certificate of the server is judged.
        verify: bool,
    },
    /// A TCP connection is accepted.
    Tcp {
        /// `host:port`.
        address: String,
    },
    /// A unit is active.
    Unit {
        /// Its full name.
        unit: String,
    },
    /// A program exits with 0.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// Who runs it; root when absent.
        user: Option<String>,
    },
    /// A file is younger than so many seconds.
    Fresh {
        /// Absolute path.
        path: PathBuf,
        /// Seconds since its last change.
        seconds: u64,
    },
}

impl Probe {
    /// Whether a look may have to wait for somebody.
    pub fn waits(&self) -> bool {
        matches!(self, Probe::Http { .. } | Probe::Tcp { .. } | Probe::Command { .. })
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Probe::Http { url, .. } => write!(f, "GET {}", escaped(url)),
            Probe::Tcp { address } => write!(f, "connect to {}", escaped(address)),
            Probe::Unit { unit } => write!(f, "{} is active", escaped(unit)),
            Probe::Command { argv, .. } => write!(f, "run {}", escaped(&argv.join(" "))),
            Probe::Fresh { path, .. } => write!(f, "{} is young", escaped(&path.to_string_lossy())),
        }
    }
}

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Good or not.
    pub finding: Finding,
    /// Why it is not good, safe to print.
    pub reason: String,
    /// Of a unit: which of its runs this is.
    pub run: Option<UnitRun>,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// There is nothing to be looked at: no such unit or file.
    Missing,
    /// The look itself was not possible.
    #[default]
    Blind,
}

/// One run of a unit: another one means that it was not up without interruption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitRun {
    /// systemd's name for it.
    pub invocation: String,
    /// How often systemd has started it again by itself.
    pub restarts: u32,
}

impl Look {
    /// A good one.
    pub fn good() -> Look {
        Look { finding: Finding::Good, ..Look::default() }
    }

    /// One that is not.
    pub fn not(finding: Finding, reason: impl Into<String>) -> Look {
        Look { finding, reason: reason.into(), run: None }
    }
}

/// The unit in which answers of the network are read, without its suffix.
const REMOTE_UNIT: &str = "abide-probe";

/// The units in which commands run, without number and suffix.
const COMMAND_UNIT: &str = "abide-check-";

/// Commands that run at once. The units are among those that no branch may declare.
const COMMANDS: usize = 4;

/// What starting a process costs on a slow host, beside the time that the look itself may take.
const START: Duration = Duration::from_secs(5);

/// How long a program that is to end is waited for before it is killed.
const KILL: Duration = Duration::from_secs(2);

/// Looks at everything at once, each within its time.
pub fn look(host: &mut Host, program: &Path, asked: &[(&Probe, Duration)]) -> Vec<Look> {
    let mut remotes = Vec::new();
    let mut commands: [Vec<usize>; COMMANDS] = Default::default();
    let mut units = BTreeSet::new();
    for (place, (probe, timeout)) in asked.iter().enumerate() {
        match probe {
            Probe::Http { .. } | Probe::Tcp { .. } => {
                let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                remotes.push((place, Question { probe: (*probe).clone(), milliseconds }));
            }
            Probe::Command { .. } => commands[place % COMMANDS].push(place),
            Probe::Unit { unit } => drop(units.insert(unit.clone())),
            Probe::Fresh { .. } => {}
        }
    }
    let mut looks: Vec<Look> = vec![Look::default(); asked.len()];
    std::thread::scope(|scope| {
        let mut pending = Vec::new();
        if !remotes.is_empty() {
            pending.push(scope.spawn(move || ask_remotes(program, remotes)));
        }
        for (slot, places) in commands.into_iter().enumerate().filter(|(_, places)| !places.is_empty()) {
            pending.push(scope.spawn(move || run_commands(slot, &places, asked)));
        }
        let states = (!units.is_empty()).then(|| liveness(host, &units));
        for (look, (probe, _)) in looks.iter_mut().zip(asked) {
            match (probe, &states) {
                (Probe::Unit { unit }, Some(states)) => *look = judge_unit(unit, states),
                (Probe::Fresh { path, seconds }, _) => *look = judge_file(path, *seconds),
                _ => {}
            }
        }
        for thread in pending {
            match thread.join() {
                Ok(answers) => answers.into_iter().for_each(|(place, look)| looks[place] = look),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    looks
}

/// Has everything that is elsewhere looked at in one unit: without privileges, with the network, which neither the agent nor its runs have.
fn ask_remotes(program: &Path, asked: Vec<(usize, Question)>) -> Vec<(usize, Look)> {
    let (places, questions): (Vec<usize>, Vec<Question>) = asked.into_iter().unzip();
    let longest = questions.iter().map(|question| question.milliseconds).max().unwrap_or_default();
    let answers = ask(program, &questions, Duration::from_millis(longest) + START);
    let looks: Vec<Look> = match answers {
        Ok(answers) if answers.len() == questions.len() => answers.into_iter().map(remote_look).collect(),
        Ok(_) => vec![Look::not(Finding::Blind, "what looks has not answered everything"); questions.len()],
        Err(reason) => vec![Look::not(Finding::Blind, reason); questions.len()],
    };
    places.into_iter().zip(looks).collect()
}

fn remote_look(answer: Result<(), String>) -> Look {
    answer.map_or_else(|reason| Look::not(Finding::Bad, shortened(&reason)), |()| Look::good())
}

fn ask(program: &Path, questions: &[Question], limit: Duration) -> Result<Vec<remote::Answer>, String> {
    let transient = Transient {
        name: REMOTE_UNIT.into(),
        description: "abide looks at what health checks are about".into(),
        argv: vec![program.to_string_lossy().into_owned(), "probe".into()],
        timeout: limit,
        kill_after: KILL,
        sandbox: vec!["quiet".into(), "only-network".into()],
        stdin: serde_json::to_vec(questions).map_err(|error| error.to_string())?,
        ..Transient::default()
    };
    let output = run(&transient)?;
    if !output.success() {
        return Err(format!("what looks {}", ending(&output, limit)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("what looks gives no answer: {error}"))
}

fn run_commands(slot: usize, places: &[usize], asked: &[(&Probe, Duration)]) -> Vec<(usize, Look)> {
    let look = |place: &usize| {
        let Some((Probe::Command { argv, user }, timeout)) = asked.get(*place) else {
            return (*place, Look::default());
        };
        (*place, run_command(slot, argv, user.as_deref(), *timeout))
    };
    places.iter().map(look).collect()
}

fn run_command(slot: usize, argv: &[String], user: Option<&str>, timeout: Duration) -> Look {
    let program = argv.first().map(|program| escaped(program)).unwrap_or_default();
    let transient = Transient {
        name: format!("{COMMAND_UNIT}{slot}"),
        description: format!("Health check of abide: {program}"),
        argv: argv.to_vec(),
        user: user.map(str::to_owned),
        timeout,
        kill_after: KILL,
        sandbox: vec!["quiet".into()],
        ..Transient::default()
    };
    match run(&transient) {
        Ok(output) if output.success() => Look::good(),
        Ok(output) => Look::not(Finding::Bad, format!("{program} {}", ending(&output, timeout))),
        Err(reason) => Look::not(Finding::Blind, reason),
    }
}

fn run(transient: &Transient) -> Result<TransientOutput, String> {
    let run = || Systemd::connect()?.run_transient(transient, &mut |_| {});
    run().map_err(|error: SystemdError| escaped(&error.to_string()))
}

/// How a program ended, with the last thing it said.
fn ending(output: &TransientOutput, limit: Duration) -> String {
    let end = match (output.timed_out, output.code, output.signal) {
        (true, _, _) => format!("did not end within {} s", limit.as_secs()),
        (false, Some(code), _) => format!("ended with code {code}"),
        (false, None, Some(signal)) => format!("was ended by signal {signal}"),
        (false, None, None) => "ended in an unknown way".into(),
    };
    let said = [&output.stderr, &output.stdout].into_iter().find_map(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(shortened)
    });
    said.map_or(end.clone(), |said| format!("{end}: {said}"))
}

/// The beginning of what others say, safe to print.
fn shortened(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    escaped(&short)
}

fn liveness(host: &mut Host, units: &BTreeSet<String>) -> Result<BTreeMap<String, Liveness>, String> {
    let states = host.systemd().and_then(|systemd| systemd.liveness(units));
    states.map_err(|error| escaped(&error.to_string()))
}

fn judge_unit(unit: &str, states: &Result<BTreeMap<String, Liveness>, String>) -> Look {
    let state = match states {
        Ok(states) => states.get(unit),
        Err(reason) => return Look::not(Finding::Blind, reason),
    };
    let Some(state) = state else { return Look::not(Finding::Blind, "systemd says nothing of it") };
    if state.load == "not-found" {
        return Look::not(Finding::Missing, format!("there is no unit {unit}"));
    }
    let run = Some(UnitRun { invocation: state.invocation.clone(), restarts: state.restarts });
    // One that reloads goes on with its work.
    if matches!(state.active.as_str(), "active" | "reloading") {
        return Look { run, ..Look::good() };
    }
    let why = match state.result.as_str() {
        "" | "success" => String::new(),
        result => format!(", because of {}", escaped(result)),
    };
    let reason = format!("{unit} is {} ({}){why}", escaped(&state.active), escaped(&state.sub));
    Look { run, ..Look::not(Finding::Bad, reason) }
}

fn judge_file(path: &Path, seconds: u64) -> Look {
    let shown = escaped(&path.to_string_lossy());
    let changed = match std::fs::metadata(path).and_then(|data| data.modified()) {
        Ok(changed) => changed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Look::not(Finding::Missing, format!("{shown} does not exist"));
        }
        Err(error) => return Look::not(Finding::Blind, format!("{shown}: {error}")),
    };
    match is_older(clock::system_time(), changed, seconds) {
        Some(age) => {
            Look::not(Finding::Bad, format!("{shown} was changed {age} s ago, {seconds} s are allowed"))
        }
        None => Look::good(),
    }
}

/// The age, where it is more than allowed. What was changed in the future, by a clock that was wrong, is young.
fn is_older(now: SystemTime, changed: SystemTime, seconds: u64) -> Option<u64> {
    let age = now.duration_since(changed).unwrap_or_default().as_secs();
    (age > seconds).then_some(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_judged_by_what_it_does() {
        let state = |active: &str, load: &str, result: &str| Liveness {
            load: load.into(),
            active: active.into(),
            sub: "x".into(),
            result: result.into(),
            invocation: "i".into(),
            restarts: 2,
        };
        for (state, finding, reason) in [
            (state("active", "loaded", "success"), Finding::Good, ""),
            (state("reloading", "loaded", "success"), Finding::Good, ""),
            (state("activating", "loaded", "success"), Finding::Bad, "a.service is activating (x)"),
            (
                state("failed", "loaded", "exit-code"),
                Finding::Bad,
                "a.service is failed (x), because of exit-code",
            ),
            (state("inactive", "not-found", ""), Finding::Missing, "there is no unit a.service"),
        ] {
            let look = judge_unit("a.service", &Ok([("a.service".to_owned(), state)].into()));
            assert_eq!((look.finding, look.reason.as_str()), (finding, reason));
            let run = UnitRun { invocation: "i".into(), restarts: 2 };
            assert_eq!(look.run, (finding != Finding::Missing).then_some(run));
        }
        assert_eq!(judge_unit("a.service", &Err("no bus".into())).finding, Finding::Blind);
    }

    #[test]
    fn a_file_is_judged_by_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(judge_file(&path, 10).finding, Finding::Missing);
        std::fs::write(&path, "").unwrap();
        assert_eq!(judge_file(&path, 3600), Look::good());
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (now, expected) in [(1010, None), (1011, Some(11)), (900, None)] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            assert_eq!(is_older(now, changed, 10), expected);
        }
    }

    #[test]
    fn the_last_words_of_a_program_are_kept_short_and_safe() {
        let output = TransientOutput {
            code: Some(3),
            stderr: b"first\n\x1b[31mlast\n\n".to_vec(),
            ..TransientOutput::default()
        };
        assert_eq!(ending(&output, START), "ended with code 3: \\u{1b}[31mlast");
        let output = TransientOutput { timed_out: true, ..TransientOutput::default() };
        assert_eq!(ending(&output, START), "did not end within 5 s");
    }
}
