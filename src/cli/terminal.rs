//! What reaches the reader: data on standard output, talk on standard error, colours only on a terminal.

use std::io::{IsTerminal as _, Write as _};

use super::{Global, Output};
use crate::error::Problem;
use crate::progress::Progress;

/// Prints data. A reader that went away (`| head`) is no failure.
pub fn data(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints talk.
pub fn talk(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints what went wrong, without a code: for things that the caller explains.
pub fn complain(text: &str) {
    talk(&format!("{} {text}", paint_error("✗", Style::Bad)));
}

/// Prints a problem; as JSON on standard error when JSON was asked for.
pub fn problem(global: &Global, problem: &Problem) {
    match (global.output, serde_json::to_string(problem)) {
        (Output::Json, Ok(json)) => talk(&crate::error::escaped_json(&json)),
        _ => complain(&problem.to_string()),
    }
}

/// How a word is painted.
#[derive(Clone, Copy)]
pub enum Style {
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Something to look at.
    Odd,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
}

/// Paints a word for standard output.
pub fn paint(text: &str, style: Style) -> String {
    painted(text, style, colourful(std::io::stdout().is_terminal()))
}

/// Paints a word for standard error.
pub fn paint_error(text: &str, style: Style) -> String {
    painted(text, style, colourful(std::io::stderr().is_terminal()))
}

/// Whether text on standard error may have colours.
pub fn colours_errors() -> bool {
    colourful(std::io::stderr().is_terminal())
}

/// Whether somebody watches standard error, so that progress is worth showing.
pub fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Shows progress in place, on a terminal. Elsewhere only what is waited for is told.
pub fn progress(progress: Progress<'_>) {
    match progress {
        _ if watched() => show(progress.text()),
        Progress::Waiting(text) => talk(text),
        Progress::Doing(_) => {}
    }
}

/// Clears the progress line.
pub fn progress_done() {
    if watched() {
        show("");
    }
}

fn show(text: &str) {
    let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
}

fn colourful(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn painted(text: &str, style: Style, colourful: bool) -> String {
    let code = match style {
        Style::Good => "32",
        Style::Bad => "31",
        Style::Odd => "33",
        Style::Dim => "2",
        Style::Bold => "1",
    };
    if colourful { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A time of day that people can place: `2026-01-31 14:05:09 UTC`, and how long ago.
pub fn when(time: i64, now: i64) -> String {
    let Ok(timestamp) = jiff::Timestamp::from_second(time) else { return "never".into() };
    format!("{} ({})", timestamp.strftime("%Y-%m-%d %H:%M:%S UTC"), ago(time, now))
}

/// How long ago, or in how long.
pub fn ago(time: i64, now: i64) -> String {
    let span = |seconds: i64| {
        let (count, unit) = match seconds {
            0..120 => (seconds, "s"),
            120..7200 => (seconds / 60, "m"),
            7200..172_800 => (seconds / 3600, "h"),
            _ => (seconds / 86400, "d"),
        };
        format!("{count}{unit}")
    };
    if time > now { format!("in {}", span(time - now)) } else { format!("{} ago", span(now - time)) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_told_as_people_do() {
        for (time, expected) in
            [(100, "0s ago"), (40, "60s ago"), (-900, "16m ago"), (130, "in 30s"), (-400_000, "4d ago")]
        {
            assert_eq!(super::ago(time, 100), expected);
        }
        assert_eq!(super::when(0, 60), "1970-01-01 00:00:00 UTC (60s ago)");
    }
}
