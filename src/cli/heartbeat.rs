//! `abide heartbeat`: say where the branch is, on a schedule.

use clap::Args;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::terminal::{Style, paint};
use super::{Answer, Global, OK};
use crate::author::{self, Beat, BeatKey, Git, Order, Start};
use crate::config::Span;
use crate::error::escaped;
use crate::source::store::Repository;
use crate::system::clock;
use crate::trust::short;

/// Makes a heartbeat: a signed statement of where the branch is, for hosts that want to know whether they see its newest state.
///
/// Run it from a schedule that sees the real repository, with a key that the policy names under `[heartbeat]` and that may sign
/// nothing else. The commit is judged first, as a host would: a branch that hosts refuse gets no heartbeat. While the newest commit
/// waits for approvals, the heartbeat names the newest one in effect.
#[derive(Args)]
#[command(after_help = "Exit code: 0 made, and pushed where that was asked; 2 not.\n\n\
    Examples:\n  abide heartbeat --key ~/.ssh/heartbeat_ed25519 --push origin\n  \
    abide heartbeat --key agent --valid 2h --introduction 696f056d… --introduction-key SHA256:… --push origin")]
pub struct Arguments {
    /// The commit that the branch is at: any revision.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// The repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// The key that signs: a file, or `agent` for the heartbeat key that ssh-agent holds.
    #[arg(long, value_name = "FILE|agent")]
    key: String,
    /// How long it counts; hosts may have a shorter `max-age`.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = Span::parse)]
    valid: Span,
    /// Push it to this remote, over the heartbeat that is there.
    #[arg(long, value_name = "REMOTE")]
    push: Option<String>,
    /// The root of trust, as in /etc/abide/trust.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "introduction")]
    root: Option<PathBuf>,
    /// The commit that trust starts from; without it, `git config abide.introduction`.
    #[arg(long, value_name = "COMMIT")]
    introduction: Option<String>,
    /// The key that signed the introduction, or its fingerprint; without it, `git config abide.key`.
    #[arg(long, value_name = "KEY")]
    introduction_key: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// See [`author::BeatError`]; or the commit is refused.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let repository = Repository::open(&arguments.repo)?;
    let (root, introduction, key) =
        (arguments.root.clone(), arguments.introduction.clone(), arguments.introduction_key.clone());
    let root = Start { root, introduction, key }.root_of_trust(&repository)?;
    let git = Git::at(&arguments.repo, std::io::stdin().is_terminal());
    let key = match arguments.key.as_str() {
        "agent" => BeatKey::Agent,
        file => BeatKey::File(file.into()),
    };
    let order = Order { tip: repository.resolve(&arguments.revision)?, key, valid: arguments.valid.seconds };
    let beat = author::beat(&git, &repository, &root, &order, clock::now())?;
    if let Some(remote) = &arguments.push {
        author::push(&git, remote, &beat.branch, true)?;
    }
    global.print(&beat, || describe(&beat, arguments.push.as_deref()));
    Ok(OK)
}

fn describe(beat: &Beat, pushed: Option<&str>) -> String {
    let mark = paint("✓", Style::Good);
    let said = &beat.heartbeat;
    let tip = short(&said.tip);
    let until =
        jiff::Timestamp::from_second(said.expires).map_or_else(|_| String::new(), |time| time.to_string());
    let mut text = format!("{mark} heartbeat {} for {tip}, until {until}, by {}\n", said.sequence, beat.key);
    if let Some(pending) = &beat.pending {
        let name = short(pending);
        text.push_str(&format!("  {name} above it waits for approvals\n"));
    }
    match pushed {
        Some(remote) => text.push_str(&format!("  pushed to {} as {}\n", escaped(remote), beat.branch)),
        None => text.push_str(&format!("Push it:\n  git push --force origin {}\n", beat.branch)),
    }
    text
}
