use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::error::{Explain, Problem};
use crate::report::Event;
use crate::resource::{AnyResource, Common, Declared, Origin, ResourceId, symlink::Symlink};
use crate::trust::Revision;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn revision(commit: &str) -> Revision {
    Revision {
        reference: "refs/heads/main".into(),
        commit: commit.into(),
        tree: String::new(),
        payload: String::new(),
        signer: "alice".into(),
        key: "SHA256:x".into(),
        time: 0,
        summary: "say\nit".into(),
    }
}

fn link(name: &str, target: &str, line: u32) -> Declared {
    let symlink: Symlink =
        crate::resource::testing::declare(name, &format!("target = \"{target}\"")).unwrap();
    Declared {
        id: ResourceId::new("symlink", name),
        common: Common::default(),
        resource: AnyResource::Symlink(symlink),
        origin: Origin { role: "web".into(), file: "roles/web/role.toml".into(), line },
    }
}

fn start() -> RunStart {
    RunStart { cause: Cause::Poll, revision: Some(revision("c1")), started: 5 }
}

fn intent(step: u32, name: &str) -> Intent {
    Intent {
        step,
        effect: 0,
        resource: ResourceId::new("file", name),
        verb: "write-file".into(),
        target: name.into(),
        before: "absent".into(),
        creates: true,
    }
}

fn owed(notification: Notification, reason: &str) -> Owed {
    Owed {
        notification,
        resource: ResourceId::new("service", "s.service"),
        reason: ResourceId::new("file", reason),
        since: 7,
    }
}

fn code(result: Result<State, StateError>) -> &'static str {
    result.err().map_or("open", |error| error.code().0)
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let mark = Mark { commit: "c1".into(), payload: "p1".into(), time: 3, introduction: String::new() };
    state.raise(&mark, &Told::default()).unwrap();
    state.raise(&Mark { time: 4, ..mark.clone() }, &Told::default()).unwrap();
    state.set_applied(&revision("c1")).unwrap();
    drop(state);
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.high_water().unwrap(), Some(mark));
    assert_eq!(state.applied().unwrap(), Some(revision("c1")));
}

#[test]
fn a_folder_that_others_can_change_is_refused() {
    let folder = folder();
    drop(State::open(folder.path()).unwrap());
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(code(State::open(folder.path())), "E501");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let database = folder.path().join("state.sqlite");
    std::fs::rename(&database, folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &database).unwrap();
    assert_eq!(code(State::open(folder.path())), "E501");
}

#[test]
fn what_cannot_be_read_is_never_an_empty_start() {
    type Damage = fn(&Path);
    let cases: &[(&str, Damage)] = &[
        ("E506", |path| std::fs::remove_file(path).unwrap()),
        ("E506", |path| std::fs::write(path, "").unwrap()),
        ("E503", |path| {
            std::fs::write(path, "not a database, and longer than a hundred bytes ".repeat(9)).unwrap()
        }),
        ("E503", |path| {
            std::fs::remove_file(path).unwrap();
            rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
        }),
        ("E507", |path| {
            rusqlite::Connection::open(path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        }),
    ];
    for (expected, damage) in cases {
        let folder = folder();
        drop(State::open(folder.path()).unwrap());
        damage(&folder.path().join("state.sqlite"));
        assert_eq!(code(State::open(folder.path())), *expected);
        assert_eq!(State::inspect(folder.path()).err().map(|error| error.code().0), Some(*expected));
    }
}

#[test]
fn rot_is_noticed() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    state
        .raise(
            &Mark { commit: "c1".into(), payload: "p1".into(), time: 3, introduction: String::new() },
            &Told::default(),
        )
        .unwrap();
    let change = "UPDATE facts SET value = replace(value, 'c1', 'c0')";
    state.connection.execute(change, []).unwrap();
    assert_eq!(state.high_water().unwrap_err().code().0, "E503");

    for number in 0..200 {
        let conditions = [(format!("subject {number}"), ("state ".repeat(40), 1))].into();
        state.tell(&Told { conditions, ..Told::default() }).unwrap();
    }
    drop(state);
    let path = folder.path().join("state.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    for page in 2..pages {
        bytes[page * 4096..page * 4096 + 64].fill(0xa5);
    }
    std::fs::write(&path, bytes).unwrap();
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.check().unwrap_err().code().0, "E503");
}

#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    state.set_applied(&revision("c1")).unwrap();
    let pages: u32 = state.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    state.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let long = Revision { summary: "x".repeat(100_000), ..revision("c2") };
    assert_eq!(state.set_applied(&long).unwrap_err().code().0, "E504");
    assert_eq!(state.applied().unwrap(), Some(revision("c1")));
}

#[test]
fn the_start_of_an_older_version_is_finished() {
    let folder = folder();
    // Died between making the file and filling it.
    std::fs::write(folder.path().join("state.sqlite"), "").unwrap();
    assert!(State::open(folder.path()).unwrap().runs(1).unwrap().is_empty());
    assert!(State::inspect(self::folder().path()).unwrap().is_none());
}

/// What is told and what it is about are both known, or neither, wherever the process dies.
#[test]
fn a_death_cannot_take_an_event_and_leave_its_condition() {
    for place in 0.. {
        let folder = folder();
        let mut state = State::open(folder.path()).unwrap();
        let event = Event { message: "the poll fails".into(), ..Event::default() };
        let told = Told {
            events: vec![event],
            conditions: [("poll".into(), ("down".into(), 1))].into(),
            ..Told::default()
        };
        let mark = Mark { commit: "c1".into(), payload: "p1".into(), time: 3, introduction: String::new() };
        let lived = crate::failpoint::lives(place, || state.raise(&mark, &told).unwrap()).is_some();
        let state = State::open(folder.path()).unwrap();
        let (known, events) = (state.condition("poll").unwrap(), state.events(0, 9).unwrap());
        let all = known.is_some();
        assert_eq!((events.len(), state.high_water().unwrap().is_some()), (usize::from(all), all), "{place}");
        if lived {
            assert!(place > 1 && all);
            return;
        }
    }
}

#[test]
fn the_journal_tells_what_may_have_happened() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let run = state.begin(&start()).unwrap();
    let restart = Notification::Restart("s.service".into());
    let debts = [owed(restart.clone(), "/a"), owed(Notification::Reload("s.service".into()), "/b")];
    state.intend(run, &[intent(0, "/a"), intent(1, "/b")], &[], &debts, 7).unwrap();
    drop(state);

    let mut state = State::open(folder.path()).unwrap();
    let unfinished = state.unfinished().unwrap().unwrap();
    assert_eq!(unfinished.run, run);
    assert_eq!(
        unfinished.pending.iter().map(|intent| intent.target.as_str()).collect::<Vec<_>>(),
        ["/a", "/b"]
    );
    assert_eq!(state.owed().unwrap().len(), 2);

    let done = Finished { effects: vec![(0, 0, true), (1, 0, false)], ..Finished::default() };
    state.complete(run, &done).unwrap();
    let unfinished = state.unfinished().unwrap().unwrap();
    assert_eq!((unfinished.pending.len(), unfinished.touched), (0, vec![ResourceId::new("file", "/a")]));
    // A restart is worth a reload.
    state.complete(run, &Finished { paid: vec![restart], ..Finished::default() }).unwrap();
    assert!(state.owed().unwrap().is_empty());

    state.finish(run, 9, RunResult::Succeeded, Counts { changed: 1, ..Counts::default() }, None).unwrap();
    assert!(state.unfinished().unwrap().is_none());
    assert_eq!(state.run(run).unwrap().unwrap().ended, Some(9));
}

#[test]
fn a_command_that_left_the_branch_is_not_owed_a_run() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let run = state.begin(&start()).unwrap();
    let refresh = |name| Notification::Refresh(ResourceId::new("symlink", name));
    state.intend(run, &[], &[], &[owed(refresh("/a"), "/x"), owed(refresh("/gone"), "/x")], 7).unwrap();
    let none = BTreeSet::new();
    state.record(&[link("/a", "x", 1)], &revision("c1"), &none, &none, 1).unwrap();
    let left: Vec<_> = state.owed().unwrap().into_iter().map(|owed| owed.notification).collect();
    assert_eq!(left, [refresh("/a")]);
}

#[test]
fn what_did_not_change_owes_nothing() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let run = state.begin(&start()).unwrap();
    let restart = Notification::Restart("s.service".into());
    state.intend(run, &[], &[], &[owed(restart.clone(), "/a"), owed(restart, "/b")], 7).unwrap();
    let later = state.begin(&start()).unwrap();
    state.intend(later, &[], &[], &[owed(Notification::Restart("s.service".into()), "/b")], 8).unwrap();
    let unchanged = |name| Finished { unchanged: vec![ResourceId::new("file", name)], ..Finished::default() };
    state.complete(run, &unchanged("/a")).unwrap();
    state.complete(later, &unchanged("/b")).unwrap();
    assert_eq!(
        state.owed().unwrap().iter().map(|owed| owed.reason.name.as_str()).collect::<Vec<_>>(),
        ["/b"]
    );
}

#[test]
fn the_inventory_keeps_the_commit_that_brought_each_declaration() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let (a, b) = (ResourceId::new("symlink", "/a"), ResourceId::new("symlink", "/b"));
    let changed = BTreeSet::from([a.clone()]);
    state
        .record(&[link("/a", "x", 1), link("/b", "x", 2)], &revision("c1"), &changed, &BTreeSet::new(), 1)
        .unwrap();
    // c2 changes b's target, and moves a to another line.
    let none = BTreeSet::new();
    state.record(&[link("/a", "x", 9), link("/b", "y", 2)], &revision("c2"), &none, &none, 2).unwrap();
    // c3 changes b once more, but that fails.
    state
        .record(
            &[link("/a", "x", 9), link("/b", "z", 2)],
            &revision("c3"),
            &none,
            &BTreeSet::from([b.clone()]),
            3,
        )
        .unwrap();
    let entries = state.inventory().unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (entry.revision.commit.as_str(), entry.origin.line, entry.adopted, entry.first, entry.last)
        })
        .collect();
    assert_eq!(told, [("c1", 9, false, 1, 1), ("c2", 2, true, 1, 2)]);
    assert_eq!(entries[1].declared, Some(link("/b", "y", 2)));
    assert_eq!(state.leaving(&BTreeSet::from([a])).unwrap(), [entries[1].clone()]);
    state.release(std::slice::from_ref(&b)).unwrap();
    assert_eq!((state.entry(&b).unwrap(), state.inventory_size().unwrap()), (None, 1));
}

#[test]
fn who_created_a_thing_survives_a_crash_before_it_is_recorded() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let run = state.begin(&start()).unwrap();
    let mut making = intent(0, "/a");
    making.resource = ResourceId::new("symlink", "/a");
    state.intend(run, &[making], &[], &[], 1).unwrap();
    drop(state);
    let mut state = State::open(folder.path()).unwrap();
    let none = BTreeSet::new();
    state.record(&[link("/a", "x", 1), link("/b", "x", 1)], &revision("c1"), &none, &none, 2).unwrap();
    let created: Vec<bool> = state.inventory().unwrap().iter().map(|entry| entry.created).collect();
    assert_eq!(created, [true, false]);
}

#[test]
fn what_was_undertaken_is_recorded_until_it_is_told() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let run = state.begin(&start()).unwrap();
    let resources = [link("/a", "x", 1), link("/b", "x", 2), link("/c", "x", 3)];
    let undertaken: Vec<Undertaken<'_>> = resources[..2]
        .iter()
        .zip(0..)
        .map(|(declared, position)| Undertaken {
            position,
            resource: &declared.id,
            summary: "created",
            effects: 1,
            origin: &declared.origin,
            declared: Some(declared),
        })
        .collect();
    state.intend(run, &[], &undertaken, &[], 7).unwrap();
    let failed = resources[1].id.clone();
    state.complete(run, &Finished { unchanged: vec![failed.clone()], ..Finished::default() }).unwrap();
    state.finish(run, 8, RunResult::Failed, Counts::default(), None).unwrap();
    state.record(&resources, &revision("c1"), &BTreeSet::new(), &[failed].into(), 9).unwrap();
    let known = |state: &State| -> Vec<(String, bool, i64)> {
        let entries = state.inventory().unwrap().into_iter();
        entries.map(|entry| (entry.resource.name, entry.adopted, entry.first)).collect()
    };
    let expected = [("/a".to_owned(), false, 7), ("/c".to_owned(), true, 9)];
    assert_eq!(known(&state), expected);
    // Whoever finds it again changes nothing.
    assert_eq!(state.settle().unwrap(), Some(Vec::new()));
    assert_eq!(known(&state), expected);
    state.tell(&Told { concluded: true, ..Told::default() }).unwrap();
    assert_eq!(state.settle().unwrap(), None);
}

#[test]
fn no_content_is_kept() {
    let mut value = serde_json::json!({
        "content": {"sha256": [1, 2], "size": 6, "origin": {"Inline": [115, 101, 99]}},
        "User": {"password": "$6$hash", "name": "web"}
    });
    inventory::redact(&mut value);
    assert_eq!(
        value,
        serde_json::json!({
            "content": {"sha256": [1, 2], "size": 6, "origin": {"Inline": []}},
            "User": {"password": null, "name": "web"}
        })
    );
}

#[test]
fn history_is_bounded_and_tells_of_one_resource() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let run = state.begin(&start()).unwrap();
    let problem = crate::error::Problem::from(StateError::Full { path: "/x".into() });
    let step = StepRecord {
        run,
        position: 0,
        resource: ResourceId::new("file", "/a"),
        origin: "roles/web/role.toml:3".into(),
        summary: "created".into(),
        outcome: crate::apply::StepOutcome::Skipped { because: ResourceId::new("user", "web") },
        problem: Some(problem.clone()),
        before: "absent".into(),
        after: String::new(),
        took: 4,
    };
    state.complete(run, &Finished { steps: vec![step.clone()], ..Finished::default() }).unwrap();
    state
        .finish(run, 9, RunResult::Failed, Counts { skipped: 1, ..Counts::default() }, Some(&problem))
        .unwrap();
    assert_eq!(state.steps_of(&step.resource, 10).unwrap(), std::slice::from_ref(&step));
    assert_eq!(state.steps(run).unwrap(), std::slice::from_ref(&step));
    assert_eq!(state.runs(5).unwrap()[0].problem, step.problem);
    state.connection.execute("UPDATE sqlite_sequence SET seq = 5000 WHERE name = 'runs'", []).unwrap();
    let later = state.add_run(&start(), 10, Counts::default(), None).unwrap();
    assert_eq!((later, state.runs(5).unwrap().len(), state.steps(run).unwrap().len()), (5001, 1, 0));
}

#[test]
fn runs_that_did_much_are_kept_for_a_shorter_time() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let end = |state: &mut State, number: u32| {
        let run = state.begin(&start()).unwrap();
        let step = |position| StepRecord {
            run,
            position,
            resource: ResourceId::new("file", "/a"),
            origin: String::new(),
            summary: "changed".into(),
            outcome: crate::apply::StepOutcome::Done,
            problem: None,
            before: String::new(),
            after: String::new(),
            took: 1,
        };
        state
            .complete(run, &Finished { steps: (0..number).map(step).collect(), ..Finished::default() })
            .unwrap();
        state.finish(run, 9, RunResult::Succeeded, Counts::default(), None).unwrap();
        state.transaction(|transaction| history::drop_large(transaction, run, 10)).unwrap();
        let kept: Vec<i64> = state.runs(10).unwrap().iter().map(|run| run.id).collect();
        kept
    };
    assert_eq!(end(&mut state, 4), [1]);
    assert_eq!(end(&mut state, 6), [2, 1]);
    // Eleven steps are one too many.
    assert_eq!(end(&mut state, 1), [3, 2]);
    assert!(state.steps(1).unwrap().is_empty());
    // The last run is kept whole, and nothing else beside it.
    assert_eq!(end(&mut state, 12), [4]);
    assert_eq!(state.steps(4).unwrap().len(), 12);
}

#[test]
fn conditions_are_kept_only_of_what_is_managed_and_not_well() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let tell = |state: &mut State, subject: &str, what: &str| {
        let conditions = [(subject.to_owned(), (what.to_owned(), 1))].into();
        state.tell(&Told { conditions, ..Told::default() }).unwrap();
    };
    for subject in ["trust", "resource symlink:/a", "resource symlink:/gone", "resource symlink:/leaving"] {
        tell(&mut state, subject, "bad");
    }
    let none = BTreeSet::new();
    state.record(&[link("/leaving", "x", 1)], &revision("c1"), &none, &none, 1).unwrap();
    state.forget_conditions(&[link("/a", "x", 1)]).unwrap();
    let known = |state: &State| {
        let mut query = state.connection.prepare("SELECT subject FROM conditions ORDER BY subject").unwrap();
        let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(known(&state), ["resource symlink:/a", "resource symlink:/leaving", "trust"]);
    tell(&mut state, "resource symlink:/a", "");
    assert_eq!(known(&state), ["resource symlink:/leaving", "trust"]);
}

#[test]
fn events_come_in_order() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    for time in 1..=4 {
        let event = Event { time, message: "m".into(), run: Some(1), ..Event::default() };
        state.add_events(&[event]).unwrap();
    }
    let times = |after, limit| -> Vec<i64> {
        state.events(after, limit).unwrap().iter().map(|(_, event)| event.time).collect()
    };
    assert_eq!((times(0, 10), times(0, 2), times(3, 10)), (vec![1, 2, 3, 4], vec![3, 4], vec![4]));
}

#[test]
fn readers_see_the_state_while_a_run_writes() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let run = state.begin(&start()).unwrap();
    let reader = State::inspect(folder.path()).unwrap().unwrap();
    assert_eq!(reader.unfinished().unwrap().map(|unfinished| unfinished.run), Some(run));
    state
        .set_suspension(Some(&Suspension { reason: "r".into(), by: "ops".into(), since: 1, until: None }))
        .unwrap();
    assert_eq!(reader.suspension().unwrap().unwrap().by, "ops");
    state.set_suspension(None).unwrap();
    assert_eq!(reader.suspension().unwrap(), None);
}

/// Prints what opening and reading costs; run with `cargo test --release state::tests::cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let declared: Vec<Declared> =
        (0..5_000).map(|number| link(&format!("/etc/link{number}"), "x", 1)).collect();
    state
        .raise(
            &Mark { commit: "c1".into(), payload: "p1".into(), time: 3, introduction: String::new() },
            &Told::default(),
        )
        .unwrap();
    let none = BTreeSet::new();
    let measure = |name: &str, times: u32, work: &mut dyn FnMut()| {
        let begun = std::time::Instant::now();
        (0..times).for_each(|_| work());
        println!("{name:50} {:>10.3} ms", begun.elapsed().as_secs_f64() * 1e3 / f64::from(times));
    };
    measure("record 5,000 new resources", 1, &mut || {
        state.record(&declared, &revision("c1"), &none, &none, 1).unwrap()
    });
    measure("record 5,000 unchanged resources", 3, &mut || {
        state.record(&declared, &revision("c2"), &none, &none, 1).unwrap();
    });
    let ids: BTreeSet<ResourceId> = declared.iter().map(|declared| declared.id.clone()).collect();
    measure("find what leaves among 5,000", 3, &mut || assert!(state.leaving(&ids).unwrap().is_empty()));
    drop(state);
    let mut open = || {
        let state = State::open(folder.path()).unwrap();
        state.high_water().unwrap();
        state.owed().unwrap();
        state.unfinished().unwrap();
        state.suspension().unwrap();
    };
    measure("open, read high-water, owed, journal; close", 200, &mut open);
    let keep = State::open(folder.path()).unwrap();
    measure("the same while another process has it open", 200, &mut open);
    drop(keep);
}

#[test]
fn what_leaves_without_a_change_keeps_the_helper_files_and_what_wrote_does_not() {
    let folder = folder();
    let log = folder.path().join("state.sqlite-wal");
    drop(State::open(folder.path()).unwrap());
    assert!(!log.exists());
    let state = State::open(folder.path()).unwrap();
    assert_eq!(state.applied().unwrap(), None);
    state.leave().unwrap();
    assert!(log.exists());
    let mut state = State::open(folder.path()).unwrap();
    state.set_applied(&revision("c1")).unwrap();
    state.leave().unwrap();
    let state = State::inspect(folder.path()).unwrap().unwrap();
    assert_eq!(state.applied().unwrap().unwrap().commit, "c1");
}

/// Attack 38: what is remembered of trust is kept, checked, and written only when it changes.
#[test]
fn what_is_believed_is_remembered() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    assert_eq!((state.beginning().unwrap(), state.time_seen().unwrap()), (None, None));
    assert_eq!(state.news().unwrap(), News::default());
    let beginning = Beginning { introduction: "1".repeat(40), since: 1 };
    state.set_beginning(Some(&beginning)).unwrap();
    let seen = TimeSeen { floor: 7, ahead: Some(Ahead { clock: 9, uptime: 1 }) };
    state.set_time_seen(&seen).unwrap();
    let mark = |commit: &str, time| Mark {
        commit: commit.repeat(40),
        payload: "0".repeat(64),
        time,
        introduction: String::new(),
    };
    state.raise(&mark("a", 1), &Told::default()).unwrap();
    // An exception may lead back, and is spent for ever.
    state.move_mark(&mark("b", 100), Some(("nonce", 50))).unwrap();
    state.move_mark(&mark("c", 200), None).unwrap();
    drop(state);
    let mut state = State::open(folder.path()).unwrap();
    assert_eq!(state.high_water().unwrap().unwrap().commit, "c".repeat(40));
    assert_eq!(state.spent_nonces().unwrap(), [("nonce".to_owned(), 50)].into());
    assert_eq!((state.beginning().unwrap(), state.time_seen().unwrap()), (Some(beginning), Some(seen)));
    state.set_news(&News::default()).unwrap();
    assert!(!state.was_written(), "the same again is not written");
    state.set_news(&News { expected: true, heartbeat: None }).unwrap();
    assert!(state.was_written() && state.news().unwrap().expected);
    state.forget_mark().unwrap();
    assert_eq!((state.high_water().unwrap(), state.news().unwrap()), (None, News::default()));
    assert!(state.spent_nonces().unwrap().contains_key("nonce"));
}

fn pin(generation: i64, from: &str) -> Pin {
    let reason = Problem {
        code: "E390".into(),
        what: "lost".into(),
        place: None,
        why: Vec::new(),
        remedy: "correct it".into(),
        excerpt: None,
    };
    let (commit, by) = ("c1".to_owned(), String::new());
    Pin { generation, commit, from: from.into(), reason, by, since: 9, whole: false, lost_remote: None }
}

fn trial(generation: i64) -> Trial {
    Trial {
        generation,
        begun: 7,
        term: Term { boot: "b".into(), uptime: 70, note: (1, 2), stopped: None },
        reach: Some(120),
        health: Default::default(),
    }
}

#[test]
fn a_generation_is_good_only_after_its_trial() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let standing = |state: &State, id| state.generation(id).unwrap().unwrap().standing;

    let first = state.open_generation(&revision("c1"), Cause::Poll, false, 1).unwrap();
    assert_eq!(standing(&state, first), Standing::Applying);
    assert_eq!(state.good_before(first + 1).unwrap(), None, "what is not good is not returned to");
    state.approve_generation(first, &[("nginx".to_owned(), "1.22".to_owned())].into()).unwrap();
    assert_eq!(state.open_generation(&revision("c1"), Cause::Drift, false, 2).unwrap(), first);
    assert_eq!(standing(&state, first), Standing::Good, "the same commit once more is no other generation");

    let second = state.open_generation(&revision("c2"), Cause::Poll, true, 3).unwrap();
    state.try_generation(&trial(second)).unwrap();
    assert_eq!((standing(&state, second), state.trial().unwrap()), (Standing::Trial, Some(trial(second))));
    assert_eq!(state.good_before(second).unwrap().map(|good| good.id), Some(first));
    state.pin(Some(second), &pin(first, "c2")).unwrap();
    assert_eq!((standing(&state, second), state.trial().unwrap()), (Standing::RolledBack, None));
    let given_up = state.generation(second).unwrap().unwrap();
    assert_eq!(given_up.reason, Some(pin(first, "c2").reason));
    assert_eq!(state.pinned().unwrap(), Some(pin(first, "c2")));
    assert_eq!(state.generation(first).unwrap().unwrap().packages["nginx"], "1.22");

    // Tried anew, and overtaken by a newer one: it was never found good.
    state.set_pin(None).unwrap();
    assert_eq!(state.open_generation(&revision("c2"), Cause::Operator, false, 4).unwrap(), second);
    let third = state.open_generation(&revision("c3"), Cause::Poll, false, 5).unwrap();
    assert_eq!(standing(&state, second), Standing::Passed);
    assert_eq!(state.good_before(third).unwrap().map(|good| good.id), Some(first));
    let ids: Vec<i64> = state.generations(9).unwrap().iter().map(|generation| generation.id).collect();
    assert_eq!(ids, [third, second, first]);
}

#[test]
fn a_commit_that_is_declared_again_is_a_generation_of_its_own() {
    let folder = folder();
    let mut state = State::open(folder.path()).unwrap();
    let one = state.open_generation(&revision("c1"), Cause::Poll, false, 1).unwrap();
    state.approve_generation(one, &Default::default()).unwrap();
    let two = state.open_generation(&revision("c2"), Cause::Poll, false, 1).unwrap();
    state.approve_generation(two, &Default::default()).unwrap();
    // As breaking the glass can do it.
    let three = state.open_generation(&revision("c1"), Cause::Poll, false, 1).unwrap();
    assert!(three > two);
    assert_eq!(state.good_before(three).unwrap().map(|good| good.id), Some(two));
    assert_eq!(state.generation_of("c1").unwrap().map(|known| known.id), Some(three));
}
