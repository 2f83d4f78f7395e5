//! Twins: other commits that carry the signature of a signed one. None is taken for a new commit, none freezes or forks the host.

use gix::ObjectId;

use super::lab::Lab;

/// Every second form of a signed commit that somebody without the key can make.
fn twins(lab: &Lab, signed: ObjectId) -> Vec<(&'static str, ObjectId, &'static str)> {
    let raw = String::from_utf8(lab.raw(signed)).unwrap();
    let end = "\n -----END SSH SIGNATURE-----\n";
    let begin = "gpgsig -----BEGIN SSH SIGNATURE-----\n ";
    let body_at = raw.find(begin).unwrap() + begin.len();
    let body = &raw[body_at..raw.find(end).unwrap()];
    let joined = body.replace("\n ", "");
    let rewrapped = format!("{}\n {}", &joined[..40], &joined[40..]);
    let reserved = with_reserved(&joined);
    let forms = [
        ("re-wrapped base64", raw.replace(body, &rewrapped), "E012"),
        ("one long line", raw.replace(body, &joined), "E012"),
        ("reserved field", raw.replace(body, &reserved), "E012"),
        ("gpgsig-sha256 after it", raw.replacen(end, &format!("{end}gpgsig-sha256 junk\n"), 1), "E011"),
        ("gpgsig-sha256 before it", raw.replacen("\ngpgsig ", "\ngpgsig-sha256 junk\ngpgsig ", 1), "E011"),
        ("gpgsigZZZ", raw.replacen("\ngpgsig ", "\ngpgsigZZZ junk\ngpgsig ", 1), "E011"),
        ("second gpgsig", raw.replacen(end, &format!("{end}gpgsig junk\n"), 1), "E011"),
        ("text after END", raw.replacen(end, &format!("{end} more\n"), 1), "E012"),
        ("blank line after END", raw.replacen(end, &format!("{end} \n"), 1), "E012"),
        ("blank line after BEGIN", raw.replacen(begin, &begin.replace("\n ", "\n \n "), 1), "E012"),
        ("carriage returns", raw.replace(body, &body.replace('\n', "\r\n")), "E012"),
        ("garbage for a signature", raw.replace(body, &flipped(body)), "E017"),
    ];
    forms
        .into_iter()
        .map(|(name, form, code)| {
            assert_ne!(form, raw, "{name}");
            (name, lab.object("commit", form.as_bytes()), code)
        })
        .collect()
}

/// The envelope with something in its reserved field, wrapped as ssh-keygen would.
fn with_reserved(base64: &str) -> String {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let blob = engine.decode(base64).unwrap();
    let namespace = [0, 0, 0, 3, b'g', b'i', b't'];
    let at = blob.windows(7).position(|window| window == namespace).unwrap() + 7;
    let blob = [&blob[..at], &[0, 0, 0, 1, b'x'], &blob[at + 4..]].concat();
    let text = engine.encode(blob);
    text.as_bytes()
        .chunks(70)
        .map(|chunk| std::str::from_utf8(chunk).unwrap())
        .collect::<Vec<_>>()
        .join("\n ")
}

/// Canonical form, wrong signature: a character of the signature itself is another one.
fn flipped(body: &str) -> String {
    let at = body.len() - 20;
    let other = if &body[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &body[..at], &body[at + 1..])
}

/// Attack 13: a second id for a signed commit, made without its key.
#[test]
fn twins_of_a_new_commit_are_refused_and_the_commit_itself_is_not() {
    let lab = Lab::new();
    lab.write("roles/web/role.toml", "good");
    let good = lab.commit("bob", "Good");
    for (name, twin, code) in twins(&lab, good) {
        println!("{name}");
        assert_ne!(twin, good);
        lab.stopped_at(twin, &lab.mark, code);
        // Git itself takes most of them for good. What matters: the honest commit and what follows it are still accepted.
        lab.accepted(good);
    }
}

/// Attack 13: a second id for the commit that the host has accepted.
#[test]
fn twins_of_the_mark_neither_freeze_nor_fork() {
    let mut lab = Lab::new();
    lab.write("roles/web/role.toml", "good");
    let good = lab.commit("bob", "Good");
    lab.mark = lab.mark_of(good);
    for (name, twin, _) in twins(&lab, good) {
        println!("{name}");
        let judgement = lab.judge(Some(&lab.mark), twin).unwrap();
        assert_eq!(judgement.high_water, lab.mark);
        assert_eq!(judgement.verified.unwrap().revision().commit, lab.mark.commit);
        assert!(judgement.rejection.is_some(), "{name} is not what the author signed");
    }
    lab.write("roles/web/role.toml", "next");
    lab.accepted(lab.commit("bob", "Next"));
}

#[test]
fn a_commit_that_was_signed_twice_is_one_commit() {
    let mut lab = Lab::new();
    lab.write("roles/web/role.toml", "good");
    let first = lab.commit("bob", "Good");
    let payload = lab.payload(first);
    let second = lab.assemble(&payload, &lab.sign("alice", "git", &payload));
    let stranger = lab.assemble(&payload, &lab.sign("mallory", "git", &payload));
    assert!(first != second && second != stranger);
    // The host has seen the one, the branch goes on from the other.
    lab.mark = lab.mark_of(first);
    let judgement = lab.judge(Some(&lab.mark), second).unwrap();
    assert!(judgement.rejection.is_none(), "{:?}", judgement.rejection);
    assert_eq!(judgement.high_water, lab.mark);
    lab.reset(&second.to_string());
    lab.write("roles/web/role.toml", "next");
    lab.accepted(lab.commit("bob", "Next"));
    // A stranger's signature does not make a twin, whoever builds on it.
    lab.reset(&stranger.to_string());
    lab.write("roles/web/role.toml", "next");
    let tip = lab.commit("bob", "Next");
    lab.stopped_at(tip, &lab.mark, "E015");
}

#[test]
fn a_twin_by_a_principal_without_authority_is_none() {
    let mut lab = Lab::new();
    lab.write("fleet.toml", "alice's");
    let first = lab.commit("alice", "Good");
    lab.mark = lab.mark_of(first);
    let payload = lab.payload(first);
    let twin = lab.assemble(&payload, &lab.sign("bob", "git", &payload));
    lab.reset(&twin.to_string());
    lab.write("roles/web/role.toml", "next");
    lab.stopped_at(lab.commit("bob", "Next"), &lab.mark, "E020");
}
