//! The question where the branch is, as one request.
//!
//! Version 2 of Git's protocol has no state over HTTP: a listing may be asked for without the round trip that asks what the server can do. A
//! server that does not like the question is asked in the long way.

use std::io::Read;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::hash::Kind as HashKind;
use gix::url::Scheme;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};

use super::Task;
use super::http::{Login, Setup};
use crate::source::error::FetchError;

/// One ref with its name fits many times.
const ANSWER_BYTES: u64 = 64 << 10;

/// Where the branch is, or nothing when the long way must be gone, be it for a better explanation.
///
/// # Errors
/// `E115` when the remote sends us away from TLS.
pub(super) fn ask(
    task: &Task,
    url: &gix::Url,
    login: &Login,
    setup: &Setup,
    format: HashKind,
) -> Result<Option<ObjectId>, FetchError> {
    if !matches!(url.scheme, Scheme::Http | Scheme::Https) {
        return Ok(None);
    }
    let client =
        setup.apply(reqwest::blocking::Client::builder()).redirect(reqwest::redirect::Policy::none());
    let Ok(client) = client.build() else { return Ok(None) };
    let mut bare = url.clone();
    let (user, password) = (bare.set_user(None), bare.set_password(None));
    let address = format!("{}/git-upload-pack", bare.to_bstring().to_str_lossy().trim_end_matches('/'));
    let mut request = client
        .post(address)
        .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
        .header(ACCEPT, "application/x-git-upload-pack-result")
        .header("Git-Protocol", "version=2")
        .body(question(&task.source.reference, format));
    request = match (login, setup.bearer(), user) {
        (Login::Basic(user, password), ..) => request.basic_auth(user, Some(password)),
        (_, Some(bearer), _) => request.header(AUTHORIZATION, bearer),
        (_, _, Some(user)) => request.basic_auth(user, password),
        _ => request,
    };
    let Ok(response) = request.send() else { return Ok(None) };
    if let Some(place) = response.headers().get(LOCATION)
        && url.scheme == Scheme::Https
        && place.as_bytes().to_ascii_lowercase().starts_with(b"http:")
    {
        return Err(FetchError::Redirect { reason: "from https to http".into() });
    }
    if response.status() != reqwest::StatusCode::OK {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    if response.take(ANSWER_BYTES).read_to_end(&mut bytes).is_err() {
        return Ok(None);
    }
    Ok(answer(&bytes, &task.source.reference))
}

/// The body of the request (`gitprotocol-v2`, `ls-refs`).
fn question(reference: &str, format: HashKind) -> String {
    let line = |text: String| format!("{:04x}{text}\n", text.len() + 5);
    let mut body = line("command=ls-refs".into());
    body.push_str(&line(format!("object-format={format}")));
    body.push_str("0001");
    body.push_str(&line("peel".into()));
    body.push_str(&line(format!("ref-prefix {reference}")));
    body.push_str("0000");
    body
}

/// Finds the ref in a whole listing.
fn answer(mut bytes: &[u8], reference: &str) -> Option<ObjectId> {
    let mut found = None;
    loop {
        let (length, _) = bytes.split_at_checked(4)?;
        let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()?;
        if length == 0 {
            return found;
        }
        let line = std::str::from_utf8(bytes.get(4..length)?).ok()?.trim_end_matches('\n');
        let mut words = line.split(' ');
        let (target, name) = (words.next()?, words.next()?);
        if name == reference {
            let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
            found = Some(ObjectId::from_hex(peeled.unwrap_or(target).as_bytes()).ok()?);
        }
        bytes = &bytes[length..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read_whole_or_not_at_all() {
        let hex = "1234567890123456789012345678901234567890";
        let line = |text: &str| format!("{:04x}{text}\n", text.len() + 5);
        let main = line(&format!("{hex} refs/heads/main"));
        let other = line(&format!("{} refs/heads/main2", "0".repeat(40)));
        let expected = ObjectId::from_hex(hex.as_bytes()).ok();
        for (text, expected) in [
            (format!("{main}0000"), expected),
            (format!("{other}{main}{other}0000"), expected),
            (line(&format!("{} refs/heads/main peeled:{hex}", "0".repeat(40))) + "0000", expected),
            ("0000".into(), None),
            (format!("{other}0000"), None),
            (main.clone(), None),
            (format!("{}0000", line("ERR no")), None),
            ("zzzz".into(), None),
            ("0003".into(), None),
            ("ffff".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(answer(text.as_bytes(), "refs/heads/main"), expected, "{text}");
        }
    }
}
