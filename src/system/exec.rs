//! Starts programs: always from an argument list, with a clean environment and a time limit.
//!
//! **Invariant:** nothing else in this crate starts a process, and no shell ever sees a string.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a program that has not ended is looked at again.
const LOOK: Duration = Duration::from_millis(2);

/// What a program left.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, or it did not end within `timeout`; then it was killed.
pub fn run(
    argv: &[String],
    environment: &BTreeMap<String, String>,
    stdin: &[u8],
    timeout: Duration,
) -> io::Result<Output> {
    let (program, arguments) =
        argv.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program given"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let deadline = Instant::now() + timeout;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not read its input closes the pipe; that is its right.
            if let Some(mut input) = input {
                let _ = input.write_all(stdin);
            }
        });
        let stdout = scope.spawn(|| drain(stdout));
        let stderr = scope.spawn(|| drain(stderr));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Ok(status);
            }
            if Instant::now() >= deadline {
                child.kill()?;
                child.wait()?;
                break Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("not done after {timeout:?}, killed"),
                ));
            }
            std::thread::sleep(LOOK);
        };
        let joined = |reader: std::thread::ScopedJoinHandle<'_, io::Result<Vec<u8>>>| {
            reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader of a program's output failed")))
        };
        let (stdout, stderr) = (joined(stdout), joined(stderr));
        Ok(Output { status: status?, stdout: stdout?, stderr: stderr? })
    })
}

fn drain(source: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        source.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
