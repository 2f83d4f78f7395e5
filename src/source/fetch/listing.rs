//! The question where the branch is and what lies beside it, as one request.
//!
//! Version 2 of Git's protocol has no state over HTTP: a listing may be asked for without the round trip that asks what the server can do. A
//! server that does not like the question is asked in the long way.

use std::io::Read;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::hash::Kind as HashKind;
use gix::url::Scheme;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use sha2::{Digest, Sha256};

use super::Task;
use super::http::{Login, Setup};
use crate::source::beside::{APPROVALS, heartbeat_ref};
use crate::source::error::FetchError;

/// Some ten thousand refs. A listing that is longer is used as far as it was read, if the branch was among it.
pub(super) const ANSWER_BYTES: u64 = 1 << 20;

/// What a remote has.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Listing {
    /// Where the branch is.
    pub tip: ObjectId,
    /// Where the heartbeat is.
    pub heartbeat: Option<ObjectId>,
    /// Tags that look like approvals, in the order of their names.
    pub approvals: Vec<Approval>,
    /// Whether there are more refs than were looked at.
    pub cut: bool,
}

/// A tag as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Approval {
    /// The ref.
    pub name: String,
    /// The tag object.
    pub tag: ObjectId,
    /// The object that it names in the end.
    pub commit: ObjectId,
}

impl Listing {
    /// Chooses among refs: name, target, and what an annotated tag names in the end. Nothing without the branch.
    pub(super) fn choose<'a>(
        refs: impl Iterator<Item = (&'a str, ObjectId, Option<ObjectId>)>,
        reference: &str,
    ) -> Option<Listing> {
        let (mut tip, mut heartbeat, mut approvals) = (None, None, Vec::new());
        let heartbeat_name = heartbeat_ref(reference);
        for (name, target, peeled) in refs {
            if name == reference {
                tip = Some(peeled.unwrap_or(target));
            } else if name == heartbeat_name {
                heartbeat = Some(target);
            } else if let Some(commit) = peeled
                && name.starts_with(APPROVALS)
                && gix::refs::FullName::try_from(name).is_ok()
            {
                approvals.push(Approval { name: name.to_owned(), tag: target, commit });
            }
        }
        approvals.sort_by(|one, other| one.name.cmp(&other.name));
        approvals.dedup_by(|one, other| one.name == other.name);
        Some(Listing { tip: tip?, heartbeat, approvals, cut: false })
    }

    /// The same for the same listing.
    pub(super) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(format!("{} {:?} {}\n", self.tip, self.heartbeat, self.cut));
        for approval in &self.approvals {
            hasher.update(format!("{} {} {}\n", approval.tag, approval.commit, approval.name));
        }
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the remote has, or nothing when the long way must be gone, be it for a better explanation.
///
/// # Errors
/// `E115` when the remote sends us away from TLS.
pub(super) fn ask(
    task: &Task,
    url: &gix::Url,
    login: &Login,
    setup: &Setup,
    format: HashKind,
) -> Result<Option<Listing>, FetchError> {
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
    for prefix in [reference, &heartbeat_ref(reference), APPROVALS] {
        body.push_str(&line(format!("ref-prefix {prefix}")));
    }
    body.push_str("0000");
    body
}

/// Reads a listing, which is whole, or as long as was read.
fn answer(mut bytes: &[u8], reference: &str) -> Option<Listing> {
    let cut = bytes.len() as u64 >= ANSWER_BYTES;
    let mut refs = Vec::new();
    loop {
        let line = match one(bytes)? {
            Line::End => break,
            Line::Half if cut => break,
            Line::Half => return None,
            Line::Whole(line, rest) => {
                bytes = rest;
                line
            }
        };
        let mut words = line.split(' ');
        let (target, name) = (words.next()?, words.next()?);
        let target = ObjectId::from_hex(target.as_bytes()).ok();
        let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
        let peeled = match peeled {
            Some(peeled) => Some(ObjectId::from_hex(peeled.as_bytes()).ok()?),
            None => None,
        };
        // What is no object, a branch that was not born for one, is no ref of ours.
        refs.extend(target.map(|target| (name, target, peeled)));
    }
    let listing = Listing::choose(refs.into_iter(), reference)?;
    Some(Listing { cut, ..listing })
}

enum Line<'a> {
    Whole(&'a str, &'a [u8]),
    Half,
    End,
}

/// The next line and what follows it; nothing when it is malformed.
fn one(bytes: &[u8]) -> Option<Line<'_>> {
    let Some((length, _)) = bytes.split_at_checked(4) else { return Some(Line::Half) };
    let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()?;
    if length == 0 {
        return Some(Line::End);
    }
    if length < 4 {
        return None;
    }
    let Some((line, rest)) = bytes.split_at_checked(length) else { return Some(Line::Half) };
    Some(Line::Whole(std::str::from_utf8(&line[4..]).ok()?.trim_end_matches('\n'), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        format!("{:04x}{text}\n", text.len() + 5)
    }

    fn id(digit: &str) -> ObjectId {
        ObjectId::from_hex(digit.repeat(40).as_bytes()).unwrap()
    }

    #[test]
    fn listings_are_read_whole_or_not_at_all() {
        let hex = "1234567890123456789012345678901234567890";
        let main = line(&format!("{hex} refs/heads/main"));
        let other = line(&format!("{} refs/heads/main2", "0".repeat(40)));
        let expected = ObjectId::from_hex(hex.as_bytes()).ok();
        for (text, expected) in [
            (format!("{main}0000"), expected),
            (format!("{other}{main}{other}0000"), expected),
            (line(&format!("{} refs/heads/main peeled:{hex}", "0".repeat(40))) + "0000", expected),
            ("0000".into(), None),
            (format!("{other}0000"), None),
            (format!("{}0000", line("unborn refs/heads/main symref-target:refs/heads/x")), None),
            (main.clone(), None),
            (format!("{}0000", line("ERR no")), None),
            ("zzzz".into(), None),
            ("0003".into(), None),
            ("ffff".into(), None),
            (String::new(), None),
        ] {
            let found = answer(text.as_bytes(), "refs/heads/main");
            assert_eq!(found.as_ref().map(|listing| listing.tip), expected, "{text}");
            assert!(found.is_none_or(|listing| listing.approvals.is_empty() && !listing.cut));
        }
    }

    #[test]
    fn what_lies_beside_the_branch_is_found() {
        let (one, two, three) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
        let text = [
            line(&format!("{two} refs/heads/abide/heartbeat/main")),
            line(&format!("{two} refs/heads/abide/heartbeat/main2")),
            line(&format!("{one} refs/heads/main")),
            line(&format!("{three} refs/tags/abide/approve/b peeled:{one}")),
            line(&format!("{two} refs/tags/abide/approve/a peeled:{one}")),
            // A lightweight tag says nothing; a name that is none of Git's is none of ours.
            line(&format!("{one} refs/tags/abide/approve/light")),
            line(&format!("{two} refs/tags/abide/approve/../x peeled:{one}")),
            "0000".into(),
        ]
        .concat();
        let listing = answer(text.as_bytes(), "refs/heads/main").unwrap();
        assert_eq!((listing.tip, listing.heartbeat), (id("1"), Some(id("2"))));
        let approvals: Vec<_> =
            listing.approvals.iter().map(|approval| (approval.name.as_str(), approval.tag)).collect();
        assert_eq!(
            approvals,
            [("refs/tags/abide/approve/a", id("2")), ("refs/tags/abide/approve/b", id("3"))]
        );
        assert!(listing.approvals.iter().all(|approval| approval.commit == id("1")));
        let less = Listing { heartbeat: None, ..listing.clone() };
        assert_ne!(listing.digest(), less.digest());
    }

    #[test]
    fn a_listing_without_end_is_used_as_far_as_it_was_read() {
        let one = "1".repeat(40);
        let mut text = line(&format!("{one} refs/heads/main"));
        while (text.len() as u64) < ANSWER_BYTES {
            text.push_str(&line(&format!("{one} refs/tags/abide/approve/{} peeled:{one}", text.len())));
        }
        text.truncate(usize::try_from(ANSWER_BYTES).unwrap());
        let listing = answer(text.as_bytes(), "refs/heads/main").unwrap();
        assert!(listing.cut && listing.tip == id("1") && listing.approvals.len() > 5000);
        assert_eq!(answer(text.as_bytes(), "refs/heads/other"), None);
    }
}
