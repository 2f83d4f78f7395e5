//! `abide approve`: vouch for what waits on the branch.

use clap::Args;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use super::terminal::{self, Style, paint, talk};
use super::{Answer, Global, OK, Output};
use crate::author::{self, Approval, ApproveError, Claim, Form, Git, Review, Start};
use crate::error::{Problem, escaped};
use crate::source::store::Repository;
use crate::system::clock;
use crate::trust::{Need, short};

/// Shows what waits for approvals on the branch, and signs an approval with the key that Git signs with.
///
/// The difference to what is in effect is shown whole, with the commits that it brings and who is still missing. Nothing in the
/// repository (attributes, hooks, configuration of the tree) can change what is shown or signed.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 approved, or with --dry-run something waits; 2 there is nothing to approve, or it failed.\n\n\
    Examples:\n  abide approve                  an approval commit on the branch\n  abide approve --tag --push     a signed tag, where only the forge may push to the branch\n  \
    abide approve --dry-run --stat origin/main"
)]
pub struct Arguments {
    /// What is to come into effect: any revision.
    #[arg(default_value = "HEAD")]
    revision: String,
    /// The repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// Show how many lines change in which file instead of the lines.
    #[arg(long)]
    stat: bool,
    /// Show, and sign nothing.
    #[arg(short = 'n', long, conflicts_with_all = ["yes", "push", "tag"])]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Sign a tag instead of a commit; without a name it is called after commit and signer.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    tag: Option<String>,
    /// Push it.
    #[arg(long)]
    push: bool,
    /// The root of trust, as in /etc/abide/trust.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "introduction")]
    root: Option<PathBuf>,
    /// The commit that trust starts from; without it, `git config abide.introduction`.
    #[arg(long, value_name = "COMMIT")]
    introduction: Option<String>,
    /// The key that signed the introduction, or its fingerprint; without it, `git config abide.key`.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// The answer.
#[derive(serde::Serialize)]
struct Answered<'a> {
    #[serde(flatten)]
    review: &'a Review,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a Approval>,
    /// The line that pushes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<String>,
    pushed: bool,
}

/// Runs the command.
///
/// # Errors
/// See [`ApproveError`].
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let repository = Repository::open(&arguments.repo)?;
    let (root, introduction, key) =
        (arguments.root.clone(), arguments.introduction.clone(), arguments.key.clone());
    let root = Start { root, introduction, key }.root_of_trust(&repository)?;
    let tip = repository.resolve(&arguments.revision)?;
    let review = author::review(&repository, &root, tip, clock::now())?;
    let shown = show(&review, arguments.stat);
    if arguments.dry_run {
        let answer = Answered { review: &review, approval: None, push: None, pushed: false };
        global.print(&answer, || shown);
        return Ok(OK);
    }
    let git = Git::at(&arguments.repo, std::io::stdin().is_terminal());
    let claim = review.claim(&git.signer(review.policy())?, clock::now())?;
    match global.output {
        Output::Text => terminal::data(&shown),
        Output::Json => talk(&shown),
    }
    talk(&vouches(&review, &claim));
    confirm(arguments.yes)?;
    let form = match &arguments.tag {
        None => Form::Commit,
        Some(name) => Form::Tag(Some(name.clone()).filter(|name| !name.is_empty())),
    };
    let approval = author::approve(&git, &root, &review, &claim, &form, clock::now())?;
    let remote = author::remote(&git, &root.reference);
    if arguments.push {
        author::push(&git, &remote, &approval.reference, false)?;
    }
    let line = format!("git push {} {}", escaped(&remote), approval.reference);
    let answer = Answered {
        review: &review,
        approval: Some(&approval),
        push: Some(line.clone()),
        pushed: arguments.push,
    };
    global.print(&answer, || done(&approval, &line, arguments.push));
    Ok(OK)
}

fn confirm(yes: bool) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(ApproveError::Declined.into());
    }
    talk("Sign this? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(ApproveError::Declined.into()),
    }
}

/// What waits, for people: the difference first, so that the few lines that matter most stand last.
fn show(review: &Review, stat: bool) -> String {
    let mut text = String::new();
    for file in &review.files {
        if stat {
            let mark = match (file.before, file.after) {
                (None, _) => "new",
                (_, None) => "gone",
                _ => "",
            };
            let _ =
                writeln!(text, "  {:>5} {:>5}  {} {mark}", plus(file.added), minus(file.removed), file.path);
        } else {
            text.push_str(&file.patch.lines().map(coloured).collect::<String>());
        }
    }
    let (added, removed) = review
        .files
        .iter()
        .fold((0, 0), |(added, removed), file| (added + file.added, removed + file.removed));
    let _ = writeln!(
        text,
        "\n{} is in effect. {} above it, {} changed (+{added} −{removed}):",
        paint(&review.effective.to_string(), Style::Bold),
        counted(review.commits.len(), "commit"),
        counted(review.files.len(), "file"),
    );
    for commit in &review.commits {
        let signer = match (&commit.under_seal, &commit.signer, &commit.key) {
            (Some(seal), _, _) => paint(&format!("does not stand for itself: {}", seal.reason), Style::Odd),
            (None, Some(signer), Some(key)) => format!("signed by {signer} ({key})"),
            _ => paint("signed by nobody known", Style::Odd),
        };
        let _ = writeln!(text, "  {} {}\n      {signer}", short(&commit.commit), commit.summary);
    }
    text.push_str("What is missing:\n");
    text.push_str(&needs(&review.needs));
    text
}

fn needs(needs: &[Need]) -> String {
    let mut text = String::new();
    for need in needs {
        let policy = if need.new_policy { " (of the new policy)" } else { "" };
        let seal = if need.seal { ", by approval" } else { "" };
        let have = if need.have.is_empty() { "nobody".into() } else { need.have.join(", ") };
        let could: Vec<&str> =
            need.signers.iter().filter(|signer| !need.have.contains(signer)).map(String::as_str).collect();
        let _ = writeln!(
            text,
            "  scope {}{policy}: has {have}; {} more of {}{seal}",
            need.scope,
            need.threshold.saturating_sub(need.have.len()),
            could.join(", ")
        );
    }
    text
}

/// What the signer says with his signature.
fn vouches(review: &Review, claim: &Claim) -> String {
    let unsigned = review.commits.iter().filter(|commit| commit.under_seal.is_some()).count();
    let mut text = format!(
        "You sign as {} with {}, for {}.\nYou vouch that every host of fleet {} may go from {} to exactly the tree {}: each change above, \
         applied as root, whoever wrote it.",
        claim.signer,
        claim.key,
        counted_list("the scope", &claim.scopes),
        review.fleet,
        review.effective,
        short(&review.tree),
    );
    if unsigned > 0 {
        let _ = write!(
            text,
            "\nFor {unsigned} of the commits nobody stands but those who approve: what they change is there on your word.",
        );
    }
    text
}

fn done(approval: &Approval, line: &str, pushed: bool) -> String {
    let mark = paint("✓", Style::Good);
    let mut text = format!("{mark} {} {} approves it\n", approval.form, short(&approval.object));
    match approval.in_effect {
        true => text.push_str("Nothing is missing any more: hosts apply it once it is pushed.\n"),
        false => {
            text.push_str("Still missing:\n");
            text.push_str(&needs(&approval.needs));
        }
    }
    match pushed {
        true => text.push_str("It is pushed.\n"),
        false => {
            let _ = writeln!(text, "Push it:\n  {line}");
        }
    }
    text
}

fn coloured(line: &str) -> String {
    let style = match line.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => Style::Bold,
        [b'+', ..] => Style::Good,
        [b'-', ..] => Style::Bad,
        [b'@', b'@', ..] => Style::Dim,
        _ => return format!("{line}\n"),
    };
    format!("{}\n", paint(line, style))
}

fn plus(count: usize) -> String {
    format!("+{count}")
}

fn minus(count: usize) -> String {
    format!("−{count}")
}

fn counted(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn counted_list(word: &str, names: &[String]) -> String {
    format!("{word}{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}
