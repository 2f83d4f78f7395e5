//! Running commands on the machine that holds the lab.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

/// What a finished command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 plus the signal's number when one ended it.
    pub code: i32,
    /// Standard output, with invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, with invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Panics with everything the command said unless it ended with 0; returns its standard output.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "command failed\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs `program` to its end with `input` on its standard input.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    complete(&mut command, input)
}

/// Runs a prepared command to its end with `input` on its standard input.
#[track_caller]
pub fn complete(command: &mut Command, input: &[u8]) -> Output {
    use std::os::unix::process::ExitStatusExt;

    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin was asked for");
    let output = std::thread::scope(|scope| {
        // Beside the reading of its output, or a command that echoes its input would block both sides. One that
        // ends without reading it is no error of ours.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap_or_else(|error| panic!("lost {command:?}: {error}"))
    });
    Output {
        code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
