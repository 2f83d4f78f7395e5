//! What is asked over the network, by `abide probe`: a process without privileges that reads questions and writes answers.
//!
//! **Invariant:** whatever a server sends, however slowly, each question is answered within its time.

use serde::{Deserialize, Serialize};
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::Probe;
use crate::system::clock;

/// So much of an answer is read.
const BODY: u64 = 1 << 20;

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What is looked at.
    pub probe: Probe,
    /// The time for it.
    pub milliseconds: u64,
}

/// Good, or why not.
pub type Answer = Result<(), String>;

/// Answers all questions at once.
pub fn answer(questions: &[Question]) -> Vec<Answer> {
    // Fails when a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let begun = clock::instant();
    let asked: Vec<_> = questions
        .iter()
        .map(|question| {
            let (sender, receiver) = channel();
            let question = question.clone();
            let limit = Duration::from_millis(question.milliseconds);
            // Resolving a name knows no time limit: a thread that hangs in it ends with the process.
            std::thread::spawn(move || sender.send(look(&question.probe, limit)));
            (receiver, limit)
        })
        .collect();
    asked
        .into_iter()
        .map(|(receiver, limit)| match receiver.recv_timeout(clock::left(begun + limit)) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(late(limit)),
            Err(RecvTimeoutError::Disconnected) => Err("the look ended without an answer".into()),
        })
        .collect()
}

fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f32())
}

fn look(probe: &Probe, limit: Duration) -> Answer {
    match probe {
        Probe::Http { url, status, body, verify } => http(url, status, body.as_deref(), *verify, limit),
        Probe::Tcp { address } => tcp(address, limit),
        _ => Err("that is not asked over the network".into()),
    }
}

/// Tries each address of the name, as a client would.
fn tcp(address: &str, limit: Duration) -> Answer {
    let begun = clock::instant();
    let addresses =
        address.to_socket_addrs().map_err(|error| format!("{address} has no address: {error}"))?;
    let mut last = format!("{address} has no address");
    for address in addresses {
        let left = clock::left(begun + limit);
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(()),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

fn http(url: &str, status: &[(u16, u16)], wanted: Option<&str>, verify: bool, limit: Duration) -> Answer {
    let client = reqwest::blocking::Client::builder()
        .timeout(limit)
        .connect_timeout(limit)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("abide/", env!("CARGO_PKG_VERSION")))
        .tls_danger_accept_invalid_certs(!verify)
        .build()
        .map_err(|error| in_words(&error, limit))?;
    let response = client.get(url).send().map_err(|error| in_words(&error, limit))?;
    let code = response.status().as_u16();
    if !status.iter().any(|(first, last)| (*first..=*last).contains(&code)) {
        return Err(format!("it answers {}", response.status()));
    }
    let Some(wanted) = wanted else { return Ok(()) };
    let mut body = Vec::new();
    response.take(BODY).read_to_end(&mut body).map_err(|error| format!("the answer breaks off: {error}"))?;
    let found = wanted.is_empty() || body.windows(wanted.len()).any(|part| part == wanted.as_bytes());
    found.then_some(()).ok_or_else(|| format!("the answer does not contain `{wanted}`"))
}

/// The causes, without the URL, which everybody knows.
fn in_words(error: &reqwest::Error, limit: Duration) -> String {
    if error.is_timeout() {
        return late(limit);
    }
    let mut words: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = encryption(error) {
            return untrusted(error);
        }
        words.push(error.to_string());
        cause = error.source();
    }
    words.dedup();
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

/// The error of TLS, where that is what it is. `source()` of an error of the system skips what it wraps.
fn encryption<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let inside = || error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.downcast_ref().or_else(|| inside().and_then(|inside| encryption(inside)))
}

/// What is wrong with a server's certificate.
fn untrusted(error: &rustls::Error) -> String {
    use rustls::CertificateError as Wrong;
    let rustls::Error::InvalidCertificate(wrong) = error else { return error.to_string() };
    match wrong {
        Wrong::Expired => "its certificate has expired".into(),
        Wrong::ExpiredContext { not_after, .. } => {
            format!("its certificate has expired: it was valid until {}", day(not_after.as_secs()))
        }
        Wrong::NotValidYet => "its certificate is not valid yet".into(),
        Wrong::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid yet: it will be from {} on", day(not_before.as_secs()))
        }
        Wrong::NotValidForName => "its certificate is for another name".into(),
        Wrong::NotValidForNameContext { presented, .. } => {
            // They come as `DnsName("example.org")`.
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let names: Vec<String> = presented.iter().map(bare).collect();
            format!("its certificate is for other names: {}", names.join(", "))
        }
        Wrong::UnknownIssuer => "its certificate is signed by no authority that this host trusts".into(),
        other => format!("its certificate is refused: {other}"),
    }
}

fn day(second: u64) -> String {
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(second);
    time.map_or_else(|_| second.to_string(), |time| time.strftime("%F %T UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// Serves one answer to each connection, or none where it is empty; gives the address.
    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                if answer.is_empty() {
                    silent.push(connection);
                    continue;
                }
                let mut buffer = [0; 4096];
                let _ = connection.read(&mut buffer);
                let _ = connection.write_all(answer.as_bytes());
            }
        });
        address
    }

    fn ask(probe: Probe, milliseconds: u64) -> Answer {
        answer(&[Question { probe, milliseconds }]).remove(0)
    }

    fn get(address: &str, status: (u16, u16), body: Option<&str>) -> Answer {
        let (url, status, body) = (format!("http://{address}/"), vec![status], body.map(str::to_owned));
        ask(Probe::Http { url, status, body, verify: true }, 60_000)
    }

    #[test]
    fn answers_of_servers_are_judged() {
        let good = server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(get(&good, (200, 299), None), Ok(()));
        assert_eq!(get(&good, (200, 299), Some("ell")), Ok(()));
        assert_eq!(get(&good, (200, 299), Some("elf")).unwrap_err(), "the answer does not contain `elf`");
        assert_eq!(get(&good, (300, 399), None).unwrap_err(), "it answers 200 OK");
        let moved =
            server("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(get(&moved, (302, 302), None), Ok(()), "a redirect is not followed");
        let broken = server("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
        assert!(get(&broken, (200, 299), Some("x")).unwrap_err().starts_with("the answer breaks off"));
        let nonsense = server("\0\u{1b}[31m\r\n\r\n");
        assert!(get(&nonsense, (200, 299), None).is_err());
        assert_eq!(ask(Probe::Tcp { address: good }, 60_000), Ok(()));
    }

    #[test]
    fn silence_and_refusal_are_told_apart() {
        let silent = server("");
        let url = format!("http://{silent}/");
        let probe = Probe::Http { url, status: vec![(200, 299)], body: None, verify: true };
        assert_eq!(ask(probe, 300).unwrap_err(), "no answer within 0.3 s");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = ask(Probe::Tcp { address: closed.to_string() }, 60_000).unwrap_err();
        assert!(error.contains("refused"), "{error}");
        let error = get(&closed.to_string(), (200, 299), None).unwrap_err();
        assert!(error.contains("refused"), "{error}");
        assert!(ask(Probe::Tcp { address: "no-such-host.invalid:80".into() }, 60_000).is_err());
    }
}
