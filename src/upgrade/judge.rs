//! Whether the other version works: pure, from what can be seen of it from outside.

/// What is seen at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The run that brings the other version is still under way.
    pub(super) running: bool,
    /// Somebody works with packages.
    pub(super) busy: bool,
    /// The host was booted since.
    pub(super) rebooted: bool,
    /// Milliseconds for which that run has been over.
    pub(super) elapsed: i64,
    /// A run holds the lock.
    pub(super) locked: bool,
    /// The installed program.
    pub(super) program: Program,
    /// The package is the former version.
    pub(super) former: bool,
    /// The package manager says that the package is not whole.
    pub(super) broken: bool,
    /// What can be said of the new one.
    pub(super) proof: Proof,
}

/// The installed program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Program {
    /// There is none.
    #[default]
    Missing,
    /// It is, byte by byte, the one that the guard keeps.
    Former,
    /// Another one.
    Other,
}

/// What the new version has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// Its agent runs and has ended a run; or it could tell what it would do, where no agent is wanted.
    Given,
    /// Not so far, and what is seen instead.
    Wanting(String),
}

impl Default for Proof {
    fn default() -> Proof {
        Proof::Wanting(String::new())
    }
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again.
    Wait,
    /// Nothing was changed.
    Unchanged,
    /// The new version works.
    Works,
    /// It does not, and why.
    Fails(String),
}

/// A run of the new version may take long where there is much to do; longer than this it hangs.
const LONGEST_RUN: i64 = 60 * 60 * 1000;

/// Judges; `within` is the time that the new version has, in milliseconds.
pub(super) fn judge(seen: &Seen, within: i64) -> Verdict {
    if seen.running || seen.busy {
        return Verdict::Wait;
    }
    let over = seen.elapsed >= within && (!seen.locked || seen.elapsed >= LONGEST_RUN);
    match (seen.program, seen.broken) {
        (Program::Former, false) if seen.former => Verdict::Unchanged,
        // After a reboot the agent finishes what was interrupted; without one, nothing was, and it failed.
        (_, true) if over || !seen.rebooted => {
            Verdict::Fails("its package was not installed whole: a script of it fails".into())
        }
        (Program::Missing, _) if over || !seen.rebooted => Verdict::Fails("there is no program".into()),
        (_, false) if seen.proof == Proof::Given => Verdict::Works,
        _ if !over => Verdict::Wait,
        _ => match &seen.proof {
            Proof::Given => Verdict::Wait,
            Proof::Wanting(what) => Verdict::Fails(what.clone()),
        },
    }
}

/// What a status file says of the run that wrote it: whether it could judge the host at all, and if not, why.
pub(super) fn tells(status: &serde_json::Value) -> Result<(), String> {
    match status["sync"].as_str() {
        Some("Synced" | "OutOfSync") => Ok(()),
        _ => {
            let problem = &status["problems"][0];
            let (code, what) = (problem["code"].as_str(), problem["what"].as_str());
            Err(match (code, what) {
                (Some(code), Some(what)) => format!("its run ends with [{code}] {what}"),
                _ => "its run does not end with a status".into(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen { program: Program::Other, proof: Proof::Wanting("it hangs".into()), ..Seen::default() }
    }

    #[test]
    fn the_new_version_has_its_time_and_no_more() {
        let works = || Seen { proof: Proof::Given, ..seen() };
        let broken = || Seen { broken: true, ..seen() };
        let late = |seen: Seen| Seen { elapsed: 1000, ..seen };
        for (what, seen, expected) in [
            ("its run is under way", Seen { running: true, ..late(broken()) }, "wait"),
            ("packages are being changed", Seen { busy: true, ..late(broken()) }, "wait"),
            ("it has time", seen(), "wait"),
            ("it works", works(), "works"),
            ("it works late, but before anybody looked", late(works()), "works"),
            ("its time is over", late(seen()), "it hangs"),
            ("a run takes its time", Seen { locked: true, ..late(seen()) }, "wait"),
            ("a run hangs", Seen { locked: true, elapsed: LONGEST_RUN, ..seen() }, "it hangs"),
            ("a script of the package fails", broken(), "its package"),
            ("power was cut between unpacking and configuring", Seen { rebooted: true, ..broken() }, "wait"),
            ("and nobody finished it", Seen { rebooted: true, ..late(broken()) }, "its package"),
            ("whatever the agent says", Seen { proof: Proof::Given, ..broken() }, "its package"),
            ("the program vanished", Seen { program: Program::Missing, ..seen() }, "there is no"),
            ("nothing was changed", Seen { program: Program::Former, former: true, ..seen() }, "unchanged"),
            // The package says otherwise, which the new version's own run will mend or not.
            ("the program alone is the former one", Seen { program: Program::Former, ..seen() }, "wait"),
            ("the same program in another package", Seen { program: Program::Former, ..works() }, "works"),
        ] {
            let verdict = match judge(&seen, 1000) {
                Verdict::Wait => "wait".into(),
                Verdict::Unchanged => "unchanged".into(),
                Verdict::Works => "works".into(),
                Verdict::Fails(why) => why,
            };
            assert!(verdict.starts_with(expected), "{what}: {verdict}");
        }
    }

    #[test]
    fn a_run_that_could_not_begin_proves_nothing() {
        for (status, expected) in [
            (r#"{"sync": "Synced"}"#, Ok(())),
            (r#"{"sync": "OutOfSync", "problems": [{"code": "E401", "what": "x"}]}"#, Ok(())),
            (
                r#"{"sync": "Unknown", "problems": [{"code": "E508", "what": "the state cannot be used"}]}"#,
                Err("its run ends with [E508] the state cannot be used"),
            ),
            (r#"{"sync": 7}"#, Err("its run does not end with a status")),
            ("null", Err("its run does not end with a status")),
        ] {
            let status = serde_json::from_str(status).unwrap();
            assert_eq!(tells(&status), expected.map_err(str::to_owned), "{status}");
        }
    }
}
