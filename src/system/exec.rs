//! The only place that starts processes: argument lists, a clean environment, a time limit, bounded output.
//!
//! **Invariant:** when [`run`] returns, everything in the program's process group was killed.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::clock;
use crate::error::{Code, Explain};

/// What a program finds in its environment, and nothing else.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C.UTF-8")];

/// How long output may still come after the program's process group is gone (somebody else inherited the pipe).
const GRACE: Duration = Duration::from_secs(2);

/// A program to run to its end.
#[derive(Debug, Clone)]
pub struct Program {
    /// Program and arguments. A name without a slash is looked up in a fixed path.
    pub argv: Vec<String>,
    /// Variables added to the clean environment.
    pub environment: BTreeMap<String, String>,
    /// Working directory; `/` when absent.
    pub directory: Option<PathBuf>,
    /// User and group to run as; as ourselves when absent.
    pub user: Option<(u32, u32)>,
    /// What it reads; nothing when empty. Never shown.
    pub stdin: Vec<u8>,
    /// After this it is killed with its process group.
    pub timeout: Duration,
    /// Bytes kept of each output; the rest is read and dropped.
    pub limit: usize,
}

impl Program {
    /// A program with a minute of time and 64 KiB of each output.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(argv: I) -> Program {
        Program {
            argv: argv.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
            directory: None,
            user: None,
            stdin: Vec::new(),
            timeout: Duration::from_secs(60),
            limit: 64 << 10,
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The first bytes of its standard output.
    pub stdout: Vec<u8>,
    /// The first bytes of its standard error.
    pub stderr: Vec<u8>,
    /// Whether some output was dropped.
    pub truncated: bool,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// What it said on standard error, or else how it ended; safe to print.
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<String> = text
            .lines()
            .map(|line| crate::error::escaped(line.trim()))
            .filter(|line| !line.is_empty())
            .collect();
        match (lines.is_empty(), self.code, self.signal) {
            (false, _, _) => lines.join("; "),
            (true, Some(code), _) => format!("exit code {code}"),
            (true, None, Some(signal)) => format!("ended by signal {signal}"),
            (true, None, None) => "ended in an unknown way".into(),
        }
    }
}

/// A program that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no program to run (E446).
    #[error("an empty argument list names no program")]
    Empty,
    /// It could not be started (E447).
    #[error("`{program}` cannot be started")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long and was killed (E448).
    #[error("`{program}` did not end within {} s", timeout.as_secs_f32())]
    Timeout {
        /// Its name.
        program: String,
        /// The limit.
        timeout: Duration,
    },
    /// Its end could not be awaited (E449).
    #[error("`{program}` was lost")]
    Lost {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for ExecError {
    fn code(&self) -> Code {
        Code(match self {
            ExecError::Empty => "E446",
            ExecError::Start { .. } => "E447",
            ExecError::Timeout { .. } => "E448",
            ExecError::Lost { .. } => "E449",
        })
    }

    fn remedy(&self) -> String {
        match self {
            ExecError::Empty => "give a program and its arguments".into(),
            ExecError::Start { program, .. } => {
                format!("install `{program}`, or correct its path and directory")
            }
            ExecError::Timeout { program, .. } => {
                format!("find out why `{program}` hangs, or raise its timeout")
            }
            ExecError::Lost { .. } => "run it again; look into the kernel's log if it persists".into(),
        }
    }
}

enum Event {
    Ended,
    Closed { error: bool, bytes: Vec<u8>, truncated: bool },
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, or not be ended in its time. A program that fails is an [`Output`], no error.
pub fn run(program: &Program) -> Result<Output, ExecError> {
    let name = program.argv.first().ok_or(ExecError::Empty)?.clone();
    let deadline = clock::instant() + program.timeout;
    let mut child = start(program).map_err(|source| ExecError::Start { program: name.clone(), source })?;
    let group = Pid::from_child(&child);
    let events = attend(&mut child, program);
    let ended = await_end(&events, deadline);
    // The leader is a zombie or alive, not reaped, so that its number cannot be anybody else's group.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let status = child.wait().map_err(|source| ExecError::Lost { program: name.clone(), source })?;
    let Some(mut outputs) = ended else {
        return Err(ExecError::Timeout { program: name, timeout: program.timeout });
    };
    let grace = clock::instant() + GRACE;
    while outputs.len() < 2 {
        match events.recv_timeout(clock::left(grace)) {
            Ok(Event::Ended) => {}
            Ok(closed) => outputs.push(closed),
            Err(_) => break,
        }
    }
    let mut output = Output {
        code: status.code(),
        signal: status.signal(),
        stdout: Vec::new(),
        stderr: Vec::new(),
        truncated: outputs.len() < 2,
    };
    for event in outputs {
        if let Event::Closed { error, bytes, truncated } = event {
            *(if error { &mut output.stderr } else { &mut output.stdout }) = bytes;
            output.truncated |= truncated;
        }
    }
    Ok(output)
}

/// Runs a program for somebody at the terminal: it may ask him and tell him things, in the foreground, and takes as long as he does.
/// Only its standard output is collected; it has no time limit and no group of its own, so that he can interrupt it.
///
/// # Errors
/// It cannot be started. A program that fails is an [`Output`], no error.
#[expect(clippy::disallowed_methods, reason = "this is the place that starts processes")]
pub fn attended(program: &Program) -> Result<Output, ExecError> {
    let name = program.argv.first().ok_or(ExecError::Empty)?.clone();
    let mut command = Command::new(&name);
    command.args(program.argv.iter().skip(1)).env_clear().envs(ENVIRONMENT).envs(&program.environment);
    command.current_dir(program.directory.as_deref().unwrap_or("/".as_ref()));
    command.stdin(if program.stdin.is_empty() { Stdio::inherit() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|source| ExecError::Start { program: name.clone(), source })?;
    if let Some(mut stdin) = child.stdin.take() {
        let bytes = program.stdin.clone();
        std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    }
    let output = child.wait_with_output().map_err(|source| ExecError::Lost { program: name, source })?;
    Ok(Output {
        code: output.status.code(),
        signal: output.status.signal(),
        stdout: output.stdout,
        stderr: Vec::new(),
        truncated: false,
    })
}

/// Waits for the leader's end, collecting outputs that close before; `None` when the time is over.
fn await_end(events: &Receiver<Event>, deadline: Instant) -> Option<Vec<Event>> {
    let mut outputs = Vec::new();
    loop {
        match events.recv_timeout(clock::left(deadline)) {
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return Some(outputs),
            Ok(closed) => outputs.push(closed),
            Err(RecvTimeoutError::Timeout) => return None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place that starts processes")]
fn start(program: &Program) -> std::io::Result<Child> {
    let mut command = Command::new(program.argv.first().map(String::as_str).unwrap_or_default());
    command.args(program.argv.iter().skip(1)).env_clear().envs(ENVIRONMENT).envs(&program.environment);
    command.current_dir(program.directory.as_deref().unwrap_or("/".as_ref())).process_group(0);
    command.stdin(if program.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some((uid, gid)) = program.user {
        // Setting the user as root also drops all supplementary groups.
        command.uid(uid).gid(gid);
    }
    command.spawn()
}

/// Starts a thread for each thing that blocks: both outputs, the input, the end.
fn attend(child: &mut Child, program: &Program) -> Receiver<Event> {
    let (sender, events) = channel();
    if let Some(stdout) = child.stdout.take() {
        collect(stdout, false, program.limit, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        collect(stderr, true, program.limit, sender.clone());
    }
    if let Some(mut stdin) = child.stdin.take() {
        let bytes = program.stdin.clone();
        // A program that does not read its input is no error of ours.
        std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    }
    let pid = Pid::from_child(child);
    std::thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(rustix::process::waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
        let _ = sender.send(Event::Ended);
    });
    events
}

fn collect(mut output: impl Read + Send + 'static, error: bool, limit: usize, sender: Sender<Event>) {
    std::thread::spawn(move || {
        let (mut bytes, mut truncated, mut buffer) = (Vec::new(), false, [0; 8192]);
        loop {
            match output.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let kept = count.min(limit - bytes.len());
                    bytes.extend_from_slice(&buffer[..kept]);
                    truncated |= kept < count;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = sender.send(Event::Closed { error, bytes, truncated });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new(["/bin/sh", "-c", script])
    }

    #[test]
    fn ends_and_outputs_are_told_apart() {
        for (script, code, signal, stdout, stderr, complaint) in [
            ("echo out; echo err >&2", Some(0), None, "out\n", "err\n", "err"),
            ("exit 3", Some(3), None, "", "", "exit code 3"),
            ("kill -9 $$", None, Some(9), "", "", "ended by signal 9"),
            ("printf '\\033[31mred\\n' >&2; exit 1", Some(1), None, "", "\u{1b}[31mred\n", "\\u{1b}[31mred"),
        ] {
            let output = run(&shell(script)).unwrap();
            assert_eq!((output.code, output.signal), (code, signal), "{script}");
            assert_eq!(
                (output.stdout.as_slice(), output.stderr.as_slice()),
                (stdout.as_bytes(), stderr.as_bytes())
            );
            assert_eq!(output.complaint(), complaint);
        }
    }

    #[test]
    fn the_environment_is_clean() {
        let mut program = shell("env | cut -d= -f1 | sort | tr '\\n' ' '; pwd");
        program.environment.insert("EXTRA".into(), "1".into());
        let output = String::from_utf8(run(&program).unwrap().stdout).unwrap();
        assert_eq!(output.replace("_ ", "").replace("OLDPWD ", ""), "EXTRA LC_ALL PATH PWD /\n");
    }

    #[test]
    fn input_is_given_and_output_bounded() {
        let mut program = Program::new(["cat"]);
        program.stdin = vec![b'x'; 300_000];
        program.limit = 1000;
        let output = run(&program).unwrap();
        assert_eq!((output.stdout.len(), output.truncated, output.code), (1000, true, Some(0)));
    }

    #[test]
    fn the_whole_group_is_killed_at_the_limit() {
        let mut program = shell("sleep 1000 & echo $!; wait");
        program.timeout = Duration::from_millis(300);
        let begun = clock::instant();
        assert!(matches!(run(&program), Err(ExecError::Timeout { .. })));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_stays_behind_in_the_group_is_killed() {
        let output = run(&shell("sleep 1000 & echo $!")).unwrap();
        let pid: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        // It was sent the signal, but a loaded machine may deliver it later.
        let deadline = clock::instant() + Duration::from_secs(60);
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
        };
        while alive() {
            assert!(!clock::left(deadline).is_zero(), "the child still lives");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_cannot_start_says_so() {
        let error = run(&Program::new(["/nonexistent/program"])).unwrap_err();
        assert_eq!(error.code(), Code("E447"));
        assert!(matches!(run(&Program::new(Vec::<String>::new())), Err(ExecError::Empty)));
    }

    #[test]
    fn an_attended_program_reads_and_answers() {
        let mut program = shell("read word; echo $word; exit 3");
        program.stdin = b"yes\n".to_vec();
        let output = attended(&program).unwrap();
        assert_eq!((output.code, output.stdout.as_slice()), (Some(3), b"yes\n".as_slice()));
        assert!(matches!(attended(&Program::new(["/nonexistent/program"])), Err(ExecError::Start { .. })));
    }

    #[test]
    fn another_user_has_no_groups_of_ours() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let mut program = Program::new(["id", "-G"]);
        program.user = Some((65534, 65534));
        assert_eq!(run(&program).unwrap().stdout, b"65534\n");
    }
}
