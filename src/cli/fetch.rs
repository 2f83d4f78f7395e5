//! `abide fetch`: one poll of the remotes, as the fetcher's service does it.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Limits, Source};
use crate::error::escaped;
use crate::source::{self, Note};

/// Polls once, and writes the note to `out`, as JSON if asked. The exit code is 0 when a remote answered as it should, whether or not the branch moved, and 1 otherwise.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(
    settings: &Source,
    limits: &Limits,
    spool: &Path,
    now: i64,
    json: bool,
    out: &mut dyn Write,
) -> std::io::Result<ExitCode> {
    let note = source::fetch::poll(settings, limits, spool, now);
    if json {
        serde_json::to_writer(&mut *out, &note)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", describe(&note))?;
    }
    Ok(ExitCode::from(u8::from(note.failures > 0)))
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
        assert_eq!(
            describe(&bad),
            "✗ [E102] git://a: silence\n     do: wait\n✗ the branch was not polled, 2 time(s) in a row\n"
        );
    }
}
