//! `abide probe`: looks at services of the network for health checks, without any privilege.

use clap::Args;
use std::io::{Read, Write};

use super::{Answer, Global, OK};
use crate::error::{Code, Explain};
use crate::system::probe::remote::{self, Question};
use crate::system::sandbox::{self, Rules};

/// Answers questions from standard input on standard output; run by abide in a unit of its own.
#[derive(Args)]
#[command(after_help = "Example:\n  echo '[]' | abide probe")]
pub struct Arguments {}

/// More than any host has health checks.
const LONGEST: u64 = 4 << 20;

/// Runs the command.
///
/// # Errors
/// The questions cannot be read, or nobody takes the answers.
pub fn run(_global: &Global, _arguments: &Arguments) -> Answer {
    sandbox::enter(&Rules::prober());
    let mut text = Vec::new();
    std::io::stdin().take(LONGEST).read_to_end(&mut text).map_err(ProbeError::Pipe)?;
    let questions: Vec<Question> = serde_json::from_slice(&text).map_err(ProbeError::Questions)?;
    let answers = serde_json::to_vec(&remote::answer(&questions)).map_err(ProbeError::Questions)?;
    std::io::stdout().write_all(&answers).map_err(ProbeError::Pipe)?;
    Ok(OK)
}

/// Why nothing was looked at.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    /// E858: what is asked for cannot be understood.
    #[error("the questions are none")]
    Questions(#[source] serde_json::Error),
    /// E859: questions cannot be read, or answers not be written.
    #[error("questions and answers cannot be passed on")]
    Pipe(#[source] std::io::Error),
}

impl Explain for ProbeError {
    fn code(&self) -> Code {
        Code(match self {
            ProbeError::Questions(_) => "E858",
            ProbeError::Pipe(_) => "E859",
        })
    }

    fn remedy(&self) -> String {
        "this command is for abide itself; a health check is looked at by `abide sync`".into()
    }
}
