use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::failpoint::lives;
use crate::report::Event;
use crate::resource::{AnyResource, Common, Declared, Origin, symlink::Symlink};
use crate::state::{Cause, Intent, Mark, News, Owed, RunStart, Suspension, TimeSeen, Told};
use crate::trust::Revision;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn mark(commit: &str, time: i64) -> Mark {
    Mark { commit: commit.into(), payload: "p".into(), time, introduction: "i".into() }
}

fn revision() -> Revision {
    Revision {
        reference: "refs/heads/main".into(),
        commit: "c".into(),
        tree: String::new(),
        payload: String::new(),
        signer: "alice".into(),
        key: "SHA256:x".into(),
        time: 0,
        summary: "s".into(),
    }
}

fn declared(number: usize) -> Declared {
    let name = format!("/etc/link/{number}");
    let symlink: Symlink = crate::resource::testing::declare(&name, "target = \"x\"").unwrap();
    Declared {
        id: ResourceId::new("symlink", &name),
        origin: Origin { role: "r".into(), file: "roles/r/role.toml".into(), line: 1 },
        common: Common::default(),
        resource: AnyResource::Symlink(symlink),
    }
}

/// A state with something in every table that matters; a run is open.
fn lived_in(folder: &Path) -> State {
    let mut state = State::open(folder).unwrap();
    let event = Event { message: "x".repeat(300), ..Event::default() };
    let told = Told { events: vec![event; 40], ..Told::default() };
    state.raise(&mark("c", 7), &told).unwrap();
    state.set_time_seen(&TimeSeen { floor: 77, ahead: None }).unwrap();
    let suspension = Suspension { reason: "r".into(), by: "b".into(), since: 1, until: None };
    state.set_suspension(Some(&suspension)).unwrap();
    let resources: Vec<Declared> = (0..60).map(declared).collect();
    let changed: BTreeSet<ResourceId> = resources.iter().map(|declared| declared.id.clone()).collect();
    let run = state.begin(&RunStart { cause: Cause::Poll, revision: Some(revision()), started: 1 }).unwrap();
    let intents: Vec<Intent> = (0..60)
        .map(|step| Intent {
            step,
            effect: 0,
            resource: resources[step as usize].id.clone(),
            verb: "make-symlink".into(),
            target: "/etc/link".into(),
            before: "absent".into(),
            creates: true,
        })
        .collect();
    let owed = Owed {
        notification: Notification::Restart("a.service".into()),
        resource: ResourceId::new("service", "a"),
        reason: resources[0].id.clone(),
        since: 1,
    };
    state.intend(run, &intents, &[], &[owed], 1).unwrap();
    state.record(&resources, &revision(), &changed, &BTreeSet::new(), 1).unwrap();
    state.keep_copy().unwrap();
    state
}

/// Closes a state, so that all of it is in one file.
fn close(state: State) {
    state.connection.close().unwrap();
}

fn unusable(folder: &Path) -> bool {
    State::open(folder).and_then(|state| state.verify()).is_err()
}

/// What is believed survives whatever is done to the database, and what can be read of the rest.
#[test]
fn a_damaged_database_is_put_together_again() {
    let good = folder();
    close(lived_in(good.path()));
    let bytes = std::fs::read(good.path().join("state.sqlite")).unwrap();
    let copied = std::fs::read(copy::path(good.path())).unwrap();
    let page = 4096;
    let mut salvaged = 0;
    let mut damages: Vec<Vec<u8>> = (0..bytes.len() / page)
        .map(|number| {
            let mut bad = bytes.clone();
            bad[number * page..(number + 1) * page].iter_mut().enumerate().for_each(|(at, byte)| {
                *byte = (at * 167 + number * 31) as u8;
            });
            bad
        })
        .collect();
    damages.push(Vec::new());
    damages.extend([1, 100, page, bytes.len() / 2, bytes.len() - 1].map(|length| bytes[..length].to_vec()));
    let mut noticed = 0;
    for (number, bad) in damages.iter().enumerate() {
        let folder = folder();
        std::fs::write(folder.path().join("state.created"), "").unwrap();
        std::fs::write(folder.path().join("state.sqlite"), bad).unwrap();
        std::fs::write(copy::path(folder.path()), &copied).unwrap();
        if !unusable(folder.path()) {
            continue;
        }
        noticed += 1;
        let rebuilt = rebuild(folder.path(), "damaged", 100).unwrap();
        let state = State::open(folder.path()).unwrap();
        state.verify().unwrap();
        assert_eq!(state.high_water().unwrap(), Some(mark("c", 7)), "damage {number}");
        assert_eq!(state.time_seen().unwrap().map(|seen| seen.floor), Some(77), "damage {number}");
        assert!(state.suspension().unwrap().is_some(), "damage {number} of {}: {rebuilt:?}", damages.len());
        assert!(rebuilt.marked, "damage {number}: {rebuilt:?}");
        let created = state.inventory().unwrap().iter().filter(|entry| entry.created).count();
        salvaged += usize::from(created > 0);
        let owed = state.owed().unwrap();
        assert!(!owed.is_empty(), "damage {number}: what may be owed is paid");
        assert_eq!(std::fs::read(rebuilt.aside.unwrap()).unwrap(), *bad, "damage {number}");
    }
    assert!(noticed * 3 > damages.len() * 2, "{noticed} of {}", damages.len());
    assert!(salvaged * 2 > noticed, "{salvaged} of {noticed}");
}

#[test]
fn a_database_that_is_gone_leaves_what_is_believed() {
    let folder = folder();
    close(lived_in(folder.path()));
    std::fs::remove_file(folder.path().join("state.sqlite")).unwrap();
    assert!(unusable(folder.path()));
    let rebuilt = rebuild(folder.path(), "gone", 100).unwrap();
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.high_water().unwrap(), Some(mark("c", 7)));
    assert!(state.inventory().unwrap().is_empty() && rebuilt.aside.is_none());
    assert!(rebuilt.lost.iter().any(|lost| lost.contains("created")));
}

/// Nothing is made up: without the copy, and with one that somebody wrote into, a host has lost its memory.
#[test]
fn without_a_copy_nothing_is_believed() {
    for copied in [None, Some("{\"sum\":\"00\",\"facts\":{\"high-water\":\"{}\"}}")] {
        let folder = folder();
        close(lived_in(folder.path()));
        std::fs::write(folder.path().join("state.sqlite"), "no database at all").unwrap();
        match copied {
            None => std::fs::remove_file(copy::path(folder.path())).unwrap(),
            Some(text) => std::fs::write(copy::path(folder.path()), text).unwrap(),
        }
        let rebuilt = rebuild(folder.path(), "damaged", 100).unwrap();
        assert!(!rebuilt.marked && rebuilt.lost[0] == "what this host believed", "{rebuilt:?}");
        let state = State::open(folder.path()).unwrap();
        assert_eq!((state.high_water().unwrap(), state.beginning().unwrap()), (None, None));
    }
}

/// A log that is gone, or a database from before, would be a way back for the branch.
#[test]
fn a_database_older_than_its_copy_is_noticed() {
    let folder = folder();
    close(lived_in(folder.path()));
    let before = std::fs::read(folder.path().join("state.sqlite")).unwrap();
    let mut state = State::open(folder.path()).unwrap();
    state.raise(&mark("d", 8), &Told::default()).unwrap();
    close(state);
    std::fs::write(folder.path().join("state.sqlite"), before).unwrap();
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.check_copy().unwrap_err().code().0, "E503");
    close(state);
    rebuild(folder.path(), "older", 100).unwrap();
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.high_water().unwrap(), Some(mark("d", 8)));
    assert_eq!(state.inventory().unwrap().len(), 60);
}

#[test]
fn what_was_used_once_stays_used() {
    let fact = |name: &str, text: &str| -> Facts { [(name.to_owned(), text.to_owned())].into() };
    let merged = copy::merge(fact("nonces", "{\"a\":1}"), &fact("nonces", "{\"b\":2}"), true);
    assert_eq!(merged["nonces"], "{\"a\":1,\"b\":2}");
    let older = serde_json::to_string(&News::default()).unwrap();
    assert_eq!(copy::merge(Facts::new(), &fact("suspension", "{}"), true).len(), 0, "resumed since");
    assert_eq!(copy::merge(Facts::new(), &fact("suspension", "{}"), false).len(), 1);
    assert_eq!(copy::merge(fact("news", "x"), &fact("news", &older), true)["news"], "x");
}

/// Attack 42, for the rebuilding itself.
#[test]
fn rebuilding_can_die_anywhere() {
    for place in 0.. {
        let folder = folder();
        let state = lived_in(folder.path());
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'conditions'";
        let root: u32 = state.connection.query_row(root, [], |row| row.get(0)).unwrap();
        let root = root as usize;
        close(state);
        let path = folder.path().join("state.sqlite");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(root - 1) * 4096..root * 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        std::fs::remove_file(copy::path(folder.path())).unwrap();
        let lived = lives(place, || rebuild(folder.path(), "damaged", 100).unwrap()).is_some();
        if unusable(folder.path()) {
            rebuild(folder.path(), "damaged", 101).unwrap();
        }
        let state = State::open(folder.path()).unwrap();
        state.verify().unwrap();
        assert_eq!(state.high_water().unwrap(), Some(mark("c", 7)), "died at {place}");
        assert_eq!(state.inventory().unwrap().len(), 60, "died at {place}");
        assert!(state.unfinished().unwrap().is_some(), "died at {place}");
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.retain(|name| name.to_str().unwrap().starts_with('.'));
        assert!(left.is_empty() || !lived, "died at {place}: {left:?}");
        if lived {
            assert!(place > 5, "only {place} places");
            return;
        }
    }
}

#[test]
fn a_bounded_number_is_kept() {
    let folder = folder();
    for time in 100..108 {
        close(lived_in(folder.path()));
        std::fs::write(folder.path().join("state.sqlite"), "broken").unwrap();
        rebuild(folder.path(), "damaged", time).unwrap();
    }
    let aside = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with(ASIDE))
        .count();
    assert_eq!(aside, KEPT);
}
