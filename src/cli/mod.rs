//! One file per command: parse arguments, call the library, render the answer.
//!
//! **Invariant:** data goes to standard output, talk to standard error, and the exit code is non-zero whenever a ✗ was printed.

pub mod agent;
pub mod approve;
pub mod build;
pub mod check;
pub mod diff;
pub mod enroll;
pub mod events;
pub mod facts;
pub mod fetch;
pub mod guard;
pub mod heartbeat;
pub mod history;
pub mod init;
pub mod probe;
pub mod rollback;
pub mod status;
pub mod suspend;
pub mod sync;
pub mod terminal;
pub mod trace;
pub mod tree;
pub mod trust;
pub mod verify;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Paths;
use crate::error::{Code, Explain, Problem, escaped_json};
use crate::report::{Event, EventKind, journal};
use crate::state::State;
use crate::system::lock::Lock;

/// Exit code of a command that did what was asked.
pub const OK: u8 = 0;
/// Exit code of `diff` when something would change, and of `check` and `verify` when the answer is no.
pub const DIFFERS: u8 = 1;
/// Exit code of a failure.
pub const FAILED: u8 = 2;
/// Exit code of a run in which nothing failed and something waits: applying is suspended, or a window is not open.
pub const WAITS: u8 = 3;

/// Keeps a Linux host as a signed Git branch declares.
#[derive(Parser)]
#[command(name = "abide", version, about, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Start a fleet:   abide init fleet\nEnrol a host:    abide enroll <url> --introduction <commit> --key <key>\n\
    What is going on: abide status"
)]
pub struct Program {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone)]
pub struct Global {
    /// How to print the answer.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Settings folder.
    #[arg(long, global = true, hide = true, default_value = "/etc/abide")]
    config_dir: PathBuf,
    /// State folder.
    #[arg(long, global = true, hide = true, default_value = "/var/lib/abide")]
    state_dir: PathBuf,
    /// Spool folder.
    #[arg(long, global = true, hide = true, default_value = "/var/lib/abide-fetch")]
    spool_dir: PathBuf,
    /// Runtime folder.
    #[arg(long, global = true, hide = true, default_value = "/run/abide")]
    run_dir: PathBuf,
}

impl Default for Global {
    fn default() -> Global {
        let Paths { config, state, spool, run } = Paths::default();
        Global { output: Output::Text, config_dir: config, state_dir: state, spool_dir: spool, run_dir: run }
    }
}

impl Global {
    /// The folders to work on.
    pub fn paths(&self) -> Paths {
        Paths {
            config: self.config_dir.clone(),
            state: self.state_dir.clone(),
            spool: self.spool_dir.clone(),
            run: self.run_dir.clone(),
        }
    }

    /// Prints data: the value as JSON, or the text.
    pub fn print<T: serde::Serialize>(&self, value: &T, text: impl FnOnce() -> String) {
        match self.output {
            Output::Text => terminal::data(&text()),
            Output::Json => match serde_json::to_string_pretty(value) {
                Ok(json) => terminal::data(&format!("{}\n", escaped_json(&json))),
                Err(error) => terminal::complain(&format!("cannot be shown as JSON: {error}")),
            },
        }
    }
}

/// Forms of an answer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum Command {
    Status(status::Arguments),
    Diff(diff::Arguments),
    Sync(sync::Arguments),
    History(history::Arguments),
    Events(events::Arguments),
    Trace(trace::Arguments),
    Tree(tree::Arguments),
    Verify(verify::Arguments),
    Approve(approve::Arguments),
    Heartbeat(heartbeat::Arguments),
    Trust(trust::Arguments),
    Rollback(rollback::Arguments),
    Suspend(suspend::SuspendArguments),
    Resume(suspend::ResumeArguments),
    Check(check::Arguments),
    Build(build::Arguments),
    Facts(facts::Arguments),
    Init(init::Arguments),
    Enroll(enroll::Arguments),
    Agent(agent::Arguments),
    Fetch(fetch::Arguments),
    #[command(hide = true)]
    Guard(guard::Arguments),
    #[command(hide = true)]
    Probe(probe::Arguments),
}

/// What a command returns: its exit code, or the problem that ended it.
pub type Answer = Result<u8, Problem>;

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// E701: only root may do this.
    #[error("{what} needs root")]
    NeedsRoot {
        /// What was asked.
        what: &'static str,
    },
    /// E702: no run has this number.
    #[error("there is no run {id} in the history")]
    NoSuchRun {
        /// The number.
        id: i64,
    },
    /// E703: nothing was ever applied here.
    #[error("abide has not applied anything on this host yet")]
    NothingManaged,
    /// E707: nobody said yes.
    #[error("the host was not enrolled, because nobody said yes")]
    NotConfirmed,
    /// E708: there is little space left.
    #[error("only {mebibytes} MiB are free in {}", path.display())]
    LittleSpace {
        /// The folder.
        path: PathBuf,
        /// What is left.
        mebibytes: u64,
    },
    /// E709: the clock is wrong.
    #[error("the clock shows a time before this program was built")]
    Clock,
    /// E705: the agent does not run.
    #[error("the agent is not running")]
    NoAgent,
    /// E706: the agent cannot be woken.
    #[error("the agent cannot be told to poll")]
    Signal {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E714: there is no such folder.
    #[error("there is no folder {}", path.display())]
    NoFolder {
        /// What was given.
        path: PathBuf,
    },
    /// E704: the lock cannot be had.
    #[error("the lock {} cannot be taken", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for CommandError {
    fn code(&self) -> Code {
        Code(match self {
            CommandError::NeedsRoot { .. } => "E701",
            CommandError::NoSuchRun { .. } => "E702",
            CommandError::NothingManaged => "E703",
            CommandError::Lock { .. } => "E704",
            CommandError::NoFolder { .. } => "E714",
            CommandError::NotConfirmed => "E707",
            CommandError::LittleSpace { .. } => "E708",
            CommandError::Clock => "E709",
            CommandError::NoAgent => "E705",
            CommandError::Signal { .. } => "E706",
        })
    }

    fn remedy(&self) -> String {
        match self {
            CommandError::NeedsRoot { .. } => "run it with sudo".into(),
            CommandError::NoSuchRun { .. } => "`abide history --runs` lists the runs".into(),
            CommandError::NothingManaged => {
                "enrol the host and let it converge: `abide status` shows how far it is".into()
            }
            CommandError::NotConfirmed => "answer y, or give --yes".into(),
            CommandError::LittleSpace { .. } => {
                "make room: state, store and backups need a few hundred megabytes at most".into()
            }
            CommandError::Clock => "set the clock: timedatectl; expiry of keys is judged by it".into(),
            CommandError::NoAgent => {
                "start it: systemctl enable --now abide.service; or run `abide sync` without --wait".into()
            }
            CommandError::Signal { .. } => "systemctl reload abide.service".into(),
            CommandError::NoFolder { .. } => "give the folder of the fleet, the one with fleet.toml".into(),
            CommandError::Lock { .. } => "check who may write the folder".into(),
        }
    }
}

/// Fails unless root runs the program.
fn need_root(what: &'static str) -> Result<(), CommandError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(CommandError::NeedsRoot { what }) }
}

/// Fails unless this is a folder.
fn need_folder(path: &std::path::Path) -> Result<(), CommandError> {
    if path.is_dir() { Ok(()) } else { Err(CommandError::NoFolder { path: path.to_owned() }) }
}

/// The state, to be changed while no run is under way.
struct HeldState {
    state: State,
    _lock: Lock,
}

impl HeldState {
    /// Waits for a run under way, and opens the state after that: opening may migrate it.
    fn open(global: &Global) -> Result<HeldState, Problem> {
        let paths = global.paths();
        let path = paths.lock();
        let lock = Lock::take(&path).map_err(|source| CommandError::Lock { path, source })?;
        Ok(HeldState { state: State::open(&paths.state)?, _lock: lock })
    }

    /// Tells an event, and keeps it.
    fn tell(&mut self, kind: EventKind, message: String, now: i64) -> Result<(), Problem> {
        let event = Event { time: now, kind: Some(kind), message, ..Event::default() };
        journal::write(&event);
        Ok(self.state.add_events(&[event])?)
    }
}

/// The state, for reading; `None` when there is none yet.
fn open_state(global: &Global) -> Result<Option<State>, Problem> {
    need_root("reading the state")?;
    Ok(State::inspect(&global.paths().state)?)
}

/// Runs the program with these arguments.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1..) == Some(&[OsString::from("agent")]) {
        // Making the definitions of all commands would stay with the service for as long as it lives.
        let global = Global::default();
        return exit(&global, agent::run(&global, &agent::Arguments {}));
    }
    let program = match Program::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => {
            // clap prints help and version to standard output, mistakes to standard error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { OK });
        }
    };
    let global = program.global;
    let answer = match program.command {
        Command::Status(arguments) => status::run(&global, &arguments),
        Command::Diff(arguments) => diff::run(&global, &arguments),
        Command::Sync(arguments) => sync::run(&global, &arguments),
        Command::Tree(arguments) => tree::run(&global, &arguments),
        Command::Enroll(arguments) => enroll::run(&global, &arguments),
        Command::Fetch(arguments) => fetch::run(&global, &arguments),
        Command::Guard(arguments) => guard::run(&global, &arguments),
        Command::Probe(arguments) => probe::run(&global, &arguments),
        Command::Agent(arguments) => agent::run(&global, &arguments),
        Command::History(arguments) => history::run(&global, &arguments),
        Command::Events(arguments) => events::run(&global, &arguments),
        Command::Trace(arguments) => trace::run(&global, &arguments),
        Command::Rollback(arguments) => rollback::run(&global, &arguments),
        Command::Suspend(arguments) => suspend::suspend(&global, &arguments),
        Command::Resume(arguments) => suspend::resume(&global, &arguments),
        Command::Verify(arguments) => verify::run(&global, &arguments),
        Command::Approve(arguments) => approve::run(&global, &arguments),
        Command::Heartbeat(arguments) => heartbeat::run(&global, &arguments),
        Command::Trust(arguments) => trust::run(&global, &arguments),
        Command::Init(arguments) => init::run(&global, &arguments),
        Command::Check(arguments) => check::run(&global, &arguments),
        Command::Build(arguments) => build::run(&global, &arguments),
        Command::Facts(arguments) => facts::run(&global, &arguments),
    };
    exit(&global, answer)
}

fn exit(global: &Global, answer: Answer) -> ExitCode {
    ExitCode::from(answer.unwrap_or_else(|problem| {
        terminal::problem(global, &problem);
        FAILED
    }))
}

/// The command line as clap sees it, for man pages and completions.
pub fn definition() -> clap::Command {
    <Program as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_consistent() {
        super::definition().debug_assert();
    }

    #[test]
    fn the_agent_alone_is_what_its_definition_says() {
        use clap::Parser as _;
        let program = super::Program::try_parse_from(["abide", "agent"]).unwrap();
        assert!(matches!(program.command, super::Command::Agent(_)));
        assert_eq!(program.global.paths(), super::Global::default().paths());
        assert!(program.global.output == super::Global::default().output);
    }

    #[test]
    fn every_command_has_an_example() {
        let definition = super::definition();
        let commands =
            definition.get_subcommands().flat_map(|own| std::iter::once(own).chain(own.get_subcommands()));
        for command in commands {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "`abide {}` has no example in its help", command.get_name());
        }
    }
}
