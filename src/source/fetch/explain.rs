//! Makes one of our errors of what the Git, HTTP and TLS libraries and ssh say.
//!
//! They report a failure as a chain of errors of many types. Types are asked where they are public, text where not; the tests run against
//! real servers, so that a change of a library's words is noticed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Span;
use crate::source::error::FetchError;

/// What else is known about an attempt.
pub(super) struct Witness<'a> {
    /// What ssh wrote, for ssh.
    pub ssh_log: Option<&'a PathBuf>,
    /// The longest silence that was allowed.
    pub timeout: Span,
    /// Where what is received goes.
    pub repository: &'a Path,
}

/// What was found in the chain of causes.
#[derive(Default)]
struct Evidence {
    texts: Vec<String>,
    tls: bool,
    connect: bool,
    timeout: bool,
    status: Option<u16>,
    redirect: bool,
    cut_off: bool,
    full: bool,
}

pub(super) fn explain(error: &gix::Error, witness: &Witness) -> FetchError {
    let mut evidence = Evidence::default();
    for part in error.iter_errors() {
        evidence.gather(part);
    }
    if let Some(said) = witness.ssh_log.and_then(|log| std::fs::read_to_string(log).ok())
        && let Some(error) = ssh(&said)
    {
        return error;
    }
    evidence.judge(witness)
}

impl Evidence {
    fn gather(&mut self, error: &(dyn Error + 'static)) {
        let text = error.to_string();
        if !text.is_empty() && !self.texts.iter().any(|known| known.contains(&text)) {
            self.texts.push(text);
        }
        if error.is::<rustls::Error>() {
            self.tls = true;
        }
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            self.connect |= error.is_connect();
            self.timeout |= error.is_timeout();
            self.redirect |= error.is_redirect();
            self.status = self.status.or(error.status().map(|status| status.as_u16()));
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            self.timeout |= matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
            self.connect |= matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::ConnectionReset
            );
            self.full |= matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            self.cut_off |= error.kind() == io::ErrorKind::UnexpectedEof;
            // `source()` of such an error skips what it wraps.
            if let Some(inner) = error.get_ref() {
                self.gather(inner);
            }
        }
        if let Some(cause) = error.source() {
            self.gather(cause);
        }
    }

    fn judge(self, witness: &Witness) -> FetchError {
        let said = |part: &str| self.texts.iter().any(|text| text.contains(part));
        let reason = crate::error::escaped(self.texts.last().map_or("no reason given", String::as_str));
        let whole = crate::error::escaped(&self.texts.join(": "));
        // Our own fault, whatever the library makes of it.
        if self.full || said("No space left on device") {
            return FetchError::Spool { path: witness.repository.to_owned(), reason: whole };
        }
        if self.tls {
            return FetchError::Tls { reason };
        }
        if self.redirect
            || said("refusing to follow redirect")
            || said("does not end with expected request suffix")
        {
            return FetchError::Redirect { reason: whole };
        }
        match self.status {
            Some(401 | 403 | 407) => return FetchError::Refused { reason: status(self.status) },
            Some(404 | 410) => return FetchError::NoRepository { reason: status(self.status) },
            Some(300..=399) => return FetchError::Redirect { reason: status(self.status) },
            Some(500..=599) => return FetchError::Unreachable { reason: status(self.status) },
            _ => {}
        }
        if said("HTTP status 401") || said("No credentials were returned") || said("Permission denied") {
            return FetchError::Refused { reason: "it wants other credentials".into() };
        }
        if said("repository not exported")
            || said("no such repository")
            || said("not appear to be a git repository")
        {
            return FetchError::NoRepository { reason: whole };
        }
        if self.timeout && !self.connect {
            return FetchError::Deadline { seconds: witness.timeout.seconds };
        }
        if self.connect || self.timeout || said("failed to lookup address") || said("connection failed") {
            return FetchError::Unreachable { reason: whole };
        }
        if self.cut_off && witness.ssh_log.is_some() {
            // ssh has no complaint of its own: it got in, and the program there ended without an answer.
            return FetchError::NoRepository {
                reason: "it let us in, but has nothing there that answers".into(),
            };
        }
        FetchError::Protocol { reason: whole }
    }
}

fn status(code: Option<u16>) -> String {
    code.map_or_else(String::new, |code| format!("HTTP status {code}"))
}

/// Reads ssh's own words. It runs with the C locale.
fn ssh(log: &str) -> Option<FetchError> {
    let line = |part: &str| log.lines().find(|line| line.contains(part));
    let reason = |line: &str| crate::error::escaped(line.trim());
    if let Some(found) = line("Host key verification failed").or_else(|| line("IDENTIFICATION HAS CHANGED")) {
        let detail = line("host key is known").or_else(|| line("Offending")).unwrap_or(found);
        return Some(FetchError::HostKey { reason: reason(detail) });
    }
    if let Some(found) = line("Permission denied").or_else(|| line("Too many authentication failures")) {
        return Some(FetchError::Refused { reason: reason(found) });
    }
    for part in ["resolve hostname", "connect to host", "timed out", "Connection refused", "No route to host"]
    {
        if let Some(found) = line(part) {
            return Some(FetchError::Unreachable { reason: reason(found) });
        }
    }
    line("invalid format")
        .map(|found| FetchError::Credential { what: "`ssh-key`".into(), reason: reason(found) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;

    #[test]
    fn the_words_of_ssh_are_understood() {
        for (log, code) in [
            (
                "No ED25519 host key is known for h and you have requested strict checking.\r\nHost key verification failed.\r\n",
                "E105",
            ),
            (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key verification failed.",
                "E105",
            ),
            ("git@h: Permission denied (publickey).\r\n", "E104"),
            ("ssh: connect to host h port 22: Connection refused\r\n", "E102"),
            ("ssh: Could not resolve hostname nowhere: Name or service not known\r\n", "E102"),
            ("Load key \"/k\": invalid format\r\n", "E113"),
        ] {
            assert_eq!(ssh(log).map(|error| error.code().0), Some(code), "{log}");
        }
        assert!(ssh("").is_none());
    }
}
