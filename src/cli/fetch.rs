//! `abide fetch`: one poll of the remotes, as the fetcher's service does it.

use clap::Args;

use super::{Answer, DIFFERS, FAILED, Global, OK};
use crate::config::{self, ConfigError};
use crate::error::escaped;
use crate::source::{self, Note};
use crate::system::clock;
use crate::system::sandbox::{self, Rules, Surroundings};
use crate::trust::RootOfTrust;

/// Polls the remotes once; run by abide-fetch.service, as its user.
#[derive(Args)]
#[command(
    after_help = "Exit code: 0 a remote answered as it should, 1 none did, 2 the spool does not work.\n\nExample:\n  systemctl start abide-fetch.service\n  journalctl -u abide-fetch"
)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// The host is not enrolled, or the settings are wrong.
pub fn run(global: &Global, _arguments: &Arguments) -> Answer {
    let paths = global.paths();
    if !paths.trust().exists() {
        return Err(ConfigError::NotEnrolled { path: paths.trust() }.into());
    }
    // Settings that became wrong are told by the run that follows; the fetcher cannot read what root keeps.
    let (mut settings, _) = config::load_or_last(&paths, &paths.spool.join("settings.toml"))?;
    settings.source.reference = RootOfTrust::load(&paths.trust())?.reference;
    let before = source::read_note(&paths.spool).ok().flatten().unwrap_or_default();
    let rules = Rules::fetcher(&paths, &settings.source, |name| std::env::var_os(name));
    let sandbox = sandbox::enter(&rules);
    let required = sandbox.demand(settings.agent.require_sandbox, "fetcher", Surroundings::Unit);
    let (spool, now) = (&paths.spool, clock::now());
    let note = match required {
        Ok(()) => source::fetch::poll(&settings.source, &settings.limits, spool, now, sandbox),
        Err(error) => source::fetch::refuse(spool, now, error, sandbox),
    };
    // A service's journal needs no line for each poll that is like the one before.
    if is_news(&before, &note) || std::env::var_os("JOURNAL_STREAM").is_none() {
        global.print(&note, || describe(&note));
    }
    // A note that could not be left behind leaves the one before, which would be taken for this poll's.
    let left = source::read_note(&paths.spool).ok().flatten();
    Ok(match (left.as_ref() == Some(&note), note.failures) {
        (false, _) => FAILED,
        (true, 0) => OK,
        (true, _) => DIFFERS,
    })
}

/// Whether a poll went otherwise than the one before.
fn is_news(before: &Note, note: &Note) -> bool {
    let failed = |note: &Note| note.failures > 0;
    note.changed || failed(before) != failed(note) || before.problems != note.problems
}

/// The note for people.
fn describe(note: &Note) -> String {
    let mut text = String::new();
    for problem in &note.problems {
        let place =
            if problem.url.is_empty() { String::new() } else { format!("{}: ", escaped(&problem.url)) };
        text.push_str(&format!(
            "✗ [{}] {place}{}\n     do: {}\n",
            problem.code, problem.what, problem.remedy
        ));
    }
    if note.failures > 0 {
        text.push_str(&format!("✗ the branch was not polled, {} time(s) in a row\n", note.failures));
    } else if note.changed {
        text.push_str(&format!(
            "✓ {} from {}, {} bytes in {} ms\n",
            note.tip, note.url, note.received, note.took
        ));
    } else {
        text.push_str(&format!("✓ unchanged at {} on {}, in {} ms\n", note.tip, note.url, note.took));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::RemoteProblem;

    #[test]
    fn a_note_reads_well() {
        let good = Note {
            url: "https://a/b".into(),
            tip: "12ab".into(),
            changed: true,
            received: 7,
            took: 3,
            ..Note::default()
        };
        assert_eq!(describe(&good), "✓ 12ab from https://a/b, 7 bytes in 3 ms\n");
        assert_eq!(
            describe(&Note { changed: false, ..good }),
            "✓ unchanged at 12ab on https://a/b, in 3 ms\n"
        );
        let problem = RemoteProblem {
            url: "git://a".into(),
            code: "E102".into(),
            what: "silence".into(),
            remedy: "wait".into(),
        };
        let bad = Note { failures: 2, problems: vec![problem], ..Note::default() };
        let again = Note { failures: 3, time: 9, ..bad.clone() };
        assert!(
            is_news(&Note::default(), &bad) && !is_news(&bad, &again) && is_news(&again, &Note::default())
        );
        assert_eq!(
            describe(&bad),
            "✗ [E102] git://a: silence\n     do: wait\n✗ the branch was not polled, 2 time(s) in a row\n"
        );
    }
}
