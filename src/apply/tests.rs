use proptest::prelude::*;
use std::collections::BTreeSet;

use super::host::LocalHost;
use super::testing::{
    Inline, Memory, command, declared, directory, package, plan, remove, start, step, unit, validated, write,
};
use super::{ApplyError, Outcome, StepOutcome, recover, run};
use crate::failpoint::{lives, lives_until};
use crate::plan::{Effect, Plan, Step, UnitAction};
use crate::resource::{Declared, ResourceId};
use crate::state::{Notification, RunResult, State, Told};
use crate::system::Host;

struct Bench {
    folder: tempfile::TempDir,
    state: State,
    host: Memory,
}

impl Bench {
    fn new() -> Bench {
        // Memory, where there is some: these tests write much and need no disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let state = State::open(folder.path()).unwrap();
        Bench { folder, state, host: Memory::default() }
    }

    fn run(&mut self, steps: Vec<Step>) -> Outcome {
        self.apply(&plan(steps)).unwrap()
    }

    fn apply(&mut self, plan: &Plan) -> Result<Outcome, ApplyError> {
        let desired: Vec<Declared> = plan.steps.iter().filter(|step| !step.prune).map(declared).collect();
        run(plan, &desired, &start(), &mut self.host, &mut self.state, &Inline, &mut |_| {})
    }

    /// What a new process finds.
    fn reopen(&mut self) {
        self.state = State::open(self.folder.path()).unwrap();
    }
}

fn words(outcome: &Outcome) -> Vec<String> {
    outcome
        .steps
        .iter()
        .map(|step| match &step.outcome {
            StepOutcome::Skipped { because } => format!("skipped {}", because.name),
            other => format!("{other:?}").to_lowercase(),
        })
        .collect()
}

#[test]
fn what_can_go_together_goes_together() {
    let mut bench = Bench::new();
    let outcome = bench.run(vec![
        step("package:a", &[], vec![package("a", false)]),
        step("file:/etc/a.conf", &[0], vec![validated("/etc/a.conf")]),
        step("unit:a.service", &[], vec![write("/etc/systemd/system/a.service", "x"), Effect::DaemonReload]),
        step(
            "service:a.service",
            &[0, 1, 2],
            vec![unit("a.service", UnitAction::Enable), unit("a.service", UnitAction::Start)],
        ),
        step("package:b", &[], vec![package("b", false)]),
        step("package:c", &[], vec![package("c", true)]),
        step("directory:/srv/d", &[], vec![directory("/srv/d")]),
        step("file:/srv/d/f", &[6], vec![write("/srv/d/f", "x")]),
        step("service:b.service", &[4], vec![unit("b.service", UnitAction::Restart)]),
    ]);
    assert_eq!(words(&outcome), vec!["done"; 9]);
    let expected = [
        "transaction a b",
        "transaction c",
        "stage /etc/a.conf",
        "stage /etc/systemd/system/a.service",
        "mkdir /srv/d",
        "stage /srv/d/f",
        "validate /etc/a.conf",
        "sync 3",
        "backup /etc/a.conf",
        "commit /etc/a.conf",
        "commit /etc/systemd/system/a.service",
        "commit /srv/d/f",
        "sync 4 directories",
        "daemon-reload",
        "enable a.service",
        "start a.service",
        "restart b.service",
    ];
    assert_eq!(bench.host.log, expected);
    assert!(bench.state.owed().unwrap().is_empty());
    assert!(bench.state.unfinished().unwrap().is_none());
    let history = &bench.state.runs(1).unwrap()[0];
    assert_eq!((history.result, history.counts.changed), (RunResult::Succeeded, 9));
}

#[test]
fn what_is_replaced_later_is_not_built_upon_earlier() {
    let mut bench = Bench::new();
    bench.run(vec![
        step("file:/a", &[], vec![remove("/a"), directory("/a"), write("/a/f", "x")]),
        step("file:/b", &[], vec![write("/b", "y")]),
    ]);
    let position = |what: &str| bench.host.log.iter().position(|entry| entry == what).unwrap();
    assert!(position("remove /a") < position("mkdir /a"));
    assert!(position("mkdir /a") < position("stage /a/f"));
}

#[test]
fn a_failure_takes_its_dependants_along_and_nothing_else() {
    for (failing, expected) in [
        ("stage /a", ["failed", "skipped /a", "done", "skipped /a"]),
        ("commit /a", ["failed", "skipped /a", "done", "skipped /a"]),
        ("commit /b", ["done", "failed", "done", "skipped /b"]),
        ("sync 3", ["failed", "failed", "failed", "skipped /a"]),
        ("sync 1 directories", ["failed", "failed", "failed", "skipped /a"]),
        ("run reboot", ["done", "done", "done", "failed"]),
    ] {
        let mut bench = Bench::new();
        bench.host.failing.insert(failing.into());
        let outcome = bench.run(vec![
            step("file:/a", &[], vec![write("/a", "x")]),
            step("file:/b", &[0], vec![write("/b", "x")]),
            step("file:/c", &[], vec![write("/c", "x")]),
            step("command:reboot", &[0, 1], vec![command("reboot")]),
        ]);
        assert_eq!(words(&outcome), expected, "{failing}");
        assert_eq!(bench.state.runs(1).unwrap()[0].result, RunResult::Failed);
        assert!(bench.host.temporaries.borrow().is_empty(), "{failing}");
    }
}

#[test]
fn nothing_of_a_file_that_its_validator_refuses_is_put_in_place() {
    let mut bench = Bench::new();
    bench.host.failing.insert("validate /a".into());
    let outcome = bench.run(vec![
        step("file:/a", &[], vec![write("/a.d", "x"), validated("/a")]),
        step("file:/b", &[], vec![validated("/b")]),
    ]);
    assert_eq!(words(&outcome), ["failed", "done"]);
    assert_eq!(bench.host.paths.keys().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(), ["/b"]);
    assert!(bench.host.temporaries.borrow().is_empty());
}

#[test]
fn what_left_the_branch_goes_last_and_is_forgotten() {
    let mut bench = Bench::new();
    let prune = |id, effect| Step { prune: true, ..step(id, &[], vec![effect]) };
    let outcome = bench.run(vec![
        step("file:/new", &[], vec![write("/new", "x")]),
        step("service:a", &[], vec![unit("a", UnitAction::Start)]),
        prune("service:old", unit("old", UnitAction::Stop)),
        prune("file:/old/f", remove("/old/f")),
        prune("directory:/old", remove("/old")),
    ]);
    assert_eq!(words(&outcome), vec!["done"; 5]);
    let order = ["start a", "stop old", "remove /old/f", "remove /old"];
    let log: Vec<&String> = bench.host.log.iter().filter(|entry| order.contains(&entry.as_str())).collect();
    assert_eq!(log, order);
}

#[test]
fn a_restart_is_owed_until_it_is_done() {
    let mut bench = Bench::new();
    bench.host.failing.insert("commit /b".into());
    let steps = || {
        vec![
            step("file:/a", &[], vec![write("/a", "x")]),
            step("file:/b", &[], vec![write("/b", "x")]),
            step("service:s", &[0, 1], vec![unit("s", UnitAction::Restart)]),
        ]
    };
    // Half of its configuration changed: it must not be restarted with that half, and not forgotten.
    assert_eq!(bench.run(steps()).owed, ["restart s"]);
    assert_eq!(bench.host.times("restart s"), 0);
    // The next run finds /a right, and finishes /b.
    bench.host.failing.clear();
    bench.reopen();
    let outcome = bench.run(vec![
        step("file:/b", &[], vec![write("/b", "x")]),
        step("service:s", &[0], vec![unit("s", UnitAction::Restart)]),
    ]);
    assert_eq!((outcome.owed.len(), bench.host.times("restart s")), (0, 1));
    assert_eq!(bench.run(Vec::new()).run, None);
}

#[test]
fn what_a_dead_run_owes_is_paid_though_its_files_are_right() {
    let mut bench = Bench::new();
    let steps = plan(vec![
        step("file:/etc/systemd/system/s.service", &[], vec![write("/etc/systemd/system/s.service", "x")]),
        step("service:s", &[0], vec![unit("s", UnitAction::Restart)]),
    ]);
    assert!(lives_until("put in place", || bench.apply(&steps)).is_none());
    bench.reopen();
    let recovered = recover(&mut bench.state, &mut bench.host).unwrap().unwrap();
    assert_eq!(recovered.owed, ["daemon-reload", "restart s"]);
    let outcome = bench.run(Vec::new());
    assert!(outcome.owed.is_empty() && outcome.problems.is_empty());
    assert_eq!(bench.host.log[bench.host.log.len() - 2..], ["daemon-reload", "restart s"]);
}

#[test]
fn a_run_that_died_before_it_changed_anything_owes_nothing() {
    let mut bench = Bench::new();
    let steps = plan(vec![
        step("file:/a", &[], vec![write("/a", "x")]),
        step("service:s", &[0], vec![unit("s", UnitAction::Restart)]),
    ]);
    assert!(lives_until("everything staged", || bench.apply(&steps)).is_none());
    assert_eq!(bench.host.temporaries.borrow().len(), 1);
    let recovered = recover(&mut bench.state, &mut bench.host).unwrap().unwrap();
    assert_eq!((recovered.owed.len(), recovered.pending.len()), (0, 1));
    assert!(bench.host.temporaries.borrow().is_empty());
    assert_eq!(bench.run(Vec::new()).run, None);
}

#[test]
fn a_dead_package_transaction_is_settled_first() {
    let mut bench = Bench::new();
    let steps = plan(vec![step("package:a", &[], vec![package("a", false)])]);
    assert!(lives_until("effects took place", || bench.apply(&steps)).is_none());
    recover(&mut bench.state, &mut bench.host).unwrap();
    assert_eq!(bench.host.times("settle packages"), 1);
}

/// The inventory: name, created, adopted.
fn inventory(state: &State) -> Vec<(String, bool, bool)> {
    let entries = state.inventory().unwrap().into_iter();
    entries.map(|entry| (entry.resource.to_string(), entry.created, entry.adopted)).collect()
}

/// Wherever a run dies, what it made is in the inventory as made by abide, and nothing else is.
#[test]
fn a_dead_run_is_known_to_have_made_what_it_made() {
    for place in 0.. {
        let mut bench = Bench::new();
        let steps = plan(vec![
            step("file:/a", &[], vec![write("/a", "x")]),
            step("package:p", &[], vec![package("p", false)]),
            step("directory:/d", &[], vec![directory("/d")]),
            step("file:/d/b", &[2], vec![write("/d/b", "x")]),
        ]);
        let died = lives(place, || bench.apply(&steps).unwrap()).is_none();
        bench.reopen();
        recover(&mut bench.state, &mut bench.host).unwrap();
        bench.state.settle().unwrap();
        let mut made: Vec<_> = bench
            .host
            .paths
            .iter()
            .map(|(path, what)| {
                let kind = if what == "directory" { "directory" } else { "file" };
                (format!("{kind}:{}", path.display()), true, false)
            })
            .chain(bench.host.there.iter().map(|there| (there.replace(' ', ":"), true, false)))
            .collect();
        made.sort();
        let mut known = inventory(&bench.state);
        known.sort();
        assert_eq!(known, made, "died at {place}: {:?}", bench.host.log);
        if !died {
            assert!(place > 10, "only {place} places");
            return;
        }
    }
}

/// Wherever a run dies, the next start tells each change that it is known to have made, once.
#[test]
fn what_a_dead_run_did_is_told_by_the_next_one() {
    for place in 0.. {
        let mut bench = Bench::new();
        let steps = plan(vec![
            step("file:/a", &[], vec![write("/a", "x")]),
            step("command:c", &[0], vec![command("c")]),
            step("package:p", &[], vec![package("p", false)]),
            step("file:/b", &[2], vec![write("/b", "x"), remove("/old")]),
        ]);
        bench.host.paths.insert("/old".into(), "old".into());
        let died = lives(place, || bench.apply(&steps).unwrap()).is_none();
        bench.reopen();
        recover(&mut bench.state, &mut bench.host).unwrap();
        let untold = bench.state.settle().unwrap().unwrap_or_default();
        let told: BTreeSet<String> = untold.iter().map(|change| change.resource.to_string()).collect();
        let at = |path: &str| bench.host.paths.contains_key(std::path::Path::new(path));
        let made = [
            ("file:/a", at("/a")),
            ("command:c", bench.host.times("run c") == 1),
            ("package:p", bench.host.there.contains("package p")),
            ("file:/b", at("/b") && !at("/old")),
        ];
        let made: BTreeSet<String> =
            made.iter().filter(|(_, made)| *made).map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(told, made, "died at {place}: {:?}", bench.host.log);
        if let Some(run) = bench.state.runs(1).unwrap().first() {
            let done = bench.state.steps(run.id).unwrap().into_iter();
            let done: BTreeSet<String> = done.map(|step| step.resource.to_string()).collect();
            assert_eq!((done, run.counts.changed as usize), (made.clone(), made.len()), "died at {place}");
        }
        assert!(untold.iter().all(|change| change.revision.is_some() && change.summary == "changed"));
        bench.state.tell(&Told { concluded: true, ..Told::default() }).unwrap();
        assert_eq!(bench.state.settle().unwrap(), None);
        if !died {
            assert!(place > 10, "only {place} places");
            return;
        }
    }
}

/// Of a sensitive file no hash is kept, so that it cannot be seen whether it was written: what may be owed is owed.
#[test]
fn what_cannot_be_seen_may_have_happened() {
    let mut bench = Bench::new();
    bench.host.paths.insert("/key".into(), "former".into());
    let key = Step { sensitive: true, ..step("file:/key", &[], vec![write("/key", "new")]) };
    let steps = plan(vec![key, step("service:s", &[0], vec![unit("s", UnitAction::Restart)])]);
    assert!(lives_until("put in place", || bench.apply(&steps)).is_none());
    bench.reopen();
    assert_eq!(recover(&mut bench.state, &mut bench.host).unwrap().unwrap().owed, ["restart s"]);
}

/// A package that failed when it was unpacked already is there because of abide.
#[test]
fn a_package_that_fails_half_way_is_known() {
    for (leaves, known) in [(false, vec![]), (true, vec![("package:p".to_owned(), true, false)])] {
        let mut bench = Bench::new();
        bench.host.failing.insert("package p".into());
        if leaves {
            bench.host.failing.insert("package p once it is unpacked".into());
        }
        bench.run(vec![step("package:p", &[], vec![package("p", false)])]);
        bench.state.settle().unwrap();
        assert_eq!(inventory(&bench.state), known);
    }
}

#[test]
fn nothing_of_a_sensitive_resource_is_kept() {
    let mut bench = Bench::new();
    bench.host.failing.insert("stage /secret".into());
    let secret = Step { sensitive: true, ..step("file:/secret", &[], vec![write("/secret", "hunter2")]) };
    let other = Step { sensitive: true, ..step("file:/other", &[], vec![write("/other", "hunter2")]) };
    bench.host.paths.insert("/other".into(), "hunter1".into());
    let outcome = bench.run(vec![secret, other]);
    assert_eq!(words(&outcome), ["failed", "done"]);
    drop(bench.state);
    for file in std::fs::read_dir(bench.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hunter") && !text.contains("secret word"));
    }
}

#[test]
fn a_run_without_work_writes_nothing() {
    let mut bench = Bench::new();
    bench.run(vec![step("file:/a", &[], vec![write("/a", "x")])]);
    bench.reopen();
    let seen = |bench: &Bench| -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(bench.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| !entry.file_name().to_str().unwrap().ends_with("-shm"))
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = seen(&bench);
    let reported = Step { report_only: true, ..step("file:/b", &[], vec![write("/b", "x")]) };
    assert!(recover(&mut bench.state, &mut bench.host).unwrap().is_none());
    let outcome = bench.run(vec![reported]);
    assert_eq!((outcome.run, words(&outcome)), (None, vec!["reported".to_owned()]));
    assert_eq!(before, seen(&bench));
}

/// What the branch says in the tests of death: two files of a service in a directory, one of another.
const DESIRED: &[(&str, &str)] = &[("/d/a", "1"), ("/d/b", "2"), ("/etc/systemd/system/s.service", "3")];

/// What a plan would find to do.
fn missing(host: &Memory) -> Vec<Step> {
    let mut steps = Vec::new();
    if !host.paths.contains_key(std::path::Path::new("/d")) {
        steps.push(step("directory:/d", &[], vec![directory("/d")]));
    }
    let parent: Vec<usize> = (0..steps.len()).collect();
    for (path, content) in DESIRED {
        if host.paths.get(std::path::Path::new(path)).map(String::as_str) != Some(content) {
            let needs = if path.starts_with("/d/") { parent.as_slice() } else { &[] };
            steps.push(step(&format!("file:{path}"), needs, vec![write(path, content)]));
        }
    }
    if !steps.is_empty() {
        let all: Vec<usize> = (0..steps.len()).collect();
        steps.push(step("service:s", &all, vec![unit("s", UnitAction::Restart)]));
    }
    steps
}

/// Whether the unit was restarted after the last change of its files, with what is on disk read before.
fn told(host: &Memory) -> bool {
    let last = |found: &dyn Fn(&str) -> bool| host.log.iter().rposition(|entry| found(entry));
    let restart = last(&|entry| entry == "restart s");
    let reload = last(&|entry| entry == "daemon-reload");
    let unit_file = last(&|entry| entry == "commit /etc/systemd/system/s.service");
    restart > last(&|entry| entry.starts_with("commit")) && reload > unit_file && restart > reload
}

/// Attack 42: a run dies at every place where it can.
#[test]
fn the_host_is_consistent_after_a_death_anywhere() {
    // Dies at place `first` of the first run, and at place `second` of the recovery and the run after it.
    for first in 0.. {
        let mut deaths = 0;
        for second in 0.. {
            let mut bench = Bench::new();
            let died = lives(first, || bench.apply(&plan(missing(&Memory::default()))).unwrap()).is_none();
            if !died {
                assert!(first > 10, "only {first} places");
                return;
            }
            bench.reopen();
            let closed = bench.state.unfinished().unwrap().is_none();
            let again = lives(second, || {
                recover(&mut bench.state, &mut bench.host).unwrap();
                bench.apply(&plan(missing(&bench.host))).unwrap()
            })
            .is_none();
            deaths += u32::from(again);
            bench.reopen();
            recover(&mut bench.state, &mut bench.host).unwrap();
            bench.apply(&plan(missing(&bench.host))).unwrap();

            let context = format!("died at {first} and {second}: {:?}", bench.host.log);
            assert!(missing(&bench.host).is_empty(), "{context}");
            assert!(bench.host.temporaries.borrow().is_empty(), "{context}");
            assert!(told(&bench.host), "{context}");
            assert!(bench.state.owed().unwrap().is_empty(), "{context}");
            assert!(bench.state.unfinished().unwrap().is_none(), "{context}");
            assert_eq!(bench.apply(&Plan::default()).unwrap().run, None, "{context}");
            if !again {
                assert!(deaths > 0 || closed, "only {deaths} places after {first}");
                break;
            }
        }
    }
}

/// Attack 42: a command that ended is not run again, wherever its run died; one that never began is.
#[test]
fn a_command_is_run_once_though_its_run_dies_anywhere() {
    for place in 0.. {
        let mut bench = Bench::new();
        let steps = plan(vec![
            step("file:/a", &[], vec![write("/a", "x")]),
            step("command:first", &[0], vec![command("first")]),
            step("command:second", &[0, 1], vec![command("second")]),
        ]);
        let died = lives(place, || bench.apply(&steps).unwrap()).is_none();
        bench.reopen();
        recover(&mut bench.state, &mut bench.host).unwrap();
        // The plan of the next run: what is missing, and the commands that are owed a run.
        let owed = bench.state.owed().unwrap();
        let mut rest = Vec::new();
        if !bench.host.paths.contains_key(std::path::Path::new("/a")) {
            rest = steps.steps.clone();
        } else {
            for name in ["first", "second"] {
                let refresh = Notification::Refresh(ResourceId::new("command", name));
                if owed.iter().any(|owed| owed.notification == refresh) {
                    rest.push(step(&format!("command:{name}"), &[], vec![command(name)]));
                }
            }
        }
        bench.apply(&plan(rest)).unwrap();
        let times = ["run first", "run second"].map(|run| bench.host.times(run));
        assert_eq!(times, [1, 1], "died at {place}: {:?}", bench.host.log);
        assert!(bench.state.owed().unwrap().is_empty(), "died at {place}");
        if !died {
            assert!(place > 15, "only {place} places");
            return;
        }
    }
}

/// A random step: which earlier steps it needs, what it does, and what fails.
fn any_step() -> impl Strategy<Value = (Vec<prop::sample::Index>, Vec<(u8, bool)>)> {
    let needs = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    (needs, prop::collection::vec((0..6u8, prop::bool::weighted(0.1)), 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_plan_does_what_the_model_says(drafts in prop::collection::vec(any_step(), 1..20)) {
        let mut bench = Bench::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut fails = Vec::new();
        let mut marks: Vec<Vec<String>> = Vec::new();
        for (position, (needs, effects)) in drafts.iter().enumerate() {
            let needs: BTreeSet<usize> =
                needs.iter().filter(|_| position > 0).map(|index| index.index(position)).collect();
            let mut step_effects = Vec::new();
            let mut step_marks = Vec::new();
            for (number, (kind, failing)) in effects.iter().enumerate() {
                let name = format!("{position}-{number}");
                let (effect, mark) = match kind {
                    0 | 1 => (write(&format!("/{name}"), "x"), format!("commit /{name}")),
                    2 => (directory(&format!("/{name}")), format!("mkdir /{name}")),
                    3 => (command(&name), format!("run {name}")),
                    4 => (unit(&name, UnitAction::Start), format!("start {name}")),
                    _ => (remove(&format!("/{name}")), format!("remove /{name}")),
                };
                if *failing {
                    bench.host.failing.insert(mark.clone());
                }
                step_effects.push(effect);
                step_marks.push(mark);
            }
            fails.push(effects.iter().any(|(_, failing)| *failing));
            marks.push(step_marks);
            let needs: Vec<usize> = needs.into_iter().collect();
            steps.push(step(&format!("test:{position}"), &needs, step_effects));
        }
        let outcome = bench.run(steps.clone());
        let log = &bench.host.log;
        let mut good: Vec<bool> = Vec::new();
        for (position, step) in steps.iter().enumerate() {
            let possible = step.needs.iter().all(|need| good[*need]);
            good.push(possible && !fails[position]);
            let actual = &outcome.steps[position].outcome;
            match (possible, fails[position]) {
                (true, false) => prop_assert_eq!(actual, &StepOutcome::Done),
                (true, true) => prop_assert_eq!(actual, &StepOutcome::Failed),
                (false, false) => prop_assert!(matches!(actual, StepOutcome::Skipped { .. }), "{actual:?}"),
                // It may have failed by itself before what it needs did.
                (false, true) => prop_assert!(!matches!(actual, StepOutcome::Done)),
            }
            let places: Vec<Option<usize>> = marks[position]
                .iter()
                .map(|mark| log.iter().position(|entry| entry == mark))
                .collect();
            for mark in &marks[position] {
                prop_assert!(bench.host.times(mark) <= 1, "{} was done twice", mark);
            }
            if good[position] {
                prop_assert!(places.iter().all(Option::is_some));
                // Directories are made before the files of their batch; everything else keeps its order.
                let others: Vec<usize> = places
                    .iter()
                    .zip(&marks[position])
                    .filter(|(_, mark)| !mark.starts_with("mkdir"))
                    .filter_map(|(place, _)| *place)
                    .collect();
                prop_assert!(others.is_sorted());
                for need in &step.needs {
                    let last = marks[*need].iter().filter_map(|mark| log.iter().position(|entry| entry == mark)).max();
                    prop_assert!(last <= others.first().copied().or(last), "{position} ran before {need}");
                }
            }
        }
        prop_assert!(bench.host.temporaries.borrow().is_empty());
        // A command is owed a run when what it needs changed in part; nothing else is owed by these plans.
        prop_assert!(outcome.owed.iter().all(|owed| owed.starts_with("refresh")));
        prop_assert!(outcome.owed.is_empty() || good.contains(&false));
        prop_assert_eq!(outcome.counts().changed as usize, good.iter().filter(|good| **good).count());
    }
}

#[test]
fn refreshes_are_owed_to_commands() {
    let mut bench = Bench::new();
    bench.host.failing.insert("run rebuild".into());
    let steps = vec![
        step("file:/a", &[], vec![write("/a", "x")]),
        step("command:rebuild", &[0], vec![command("rebuild")]),
    ];
    assert_eq!(bench.run(steps).owed, ["refresh command:rebuild"]);
    bench.host.failing.clear();
    // The plan knows what is owed and plans the command although /a is right; then it is paid.
    let outcome = bench.run(vec![step("command:rebuild", &[], vec![command("rebuild")])]);
    assert!(outcome.owed.is_empty());
    // Or it finds that the command does not want to be run any more.
    bench.host.failing.insert("run rebuild".into());
    bench.run(vec![
        step("file:/a", &[], vec![write("/a", "y")]),
        step("command:rebuild", &[0], vec![command("rebuild")]),
    ]);
    let settled = Plan { unchanged: vec![ResourceId::new("command", "rebuild")], ..Plan::default() };
    assert!(bench.apply(&settled).unwrap().owed.is_empty());
}

/// Where the real host's tests write: on a disk, below a directory that only we can change.
fn disk() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir_in(std::env::var("CARGO_MANIFEST_DIR").unwrap() + "/target").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Attack 42: a run dies at every place where it can.
#[test]
fn files_of_a_real_host_survive_a_death_anywhere() {
    for place in 0.. {
        let folder = disk();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let mut system = Host::open();
        let mut host = LocalHost::new(&mut system, &folder.path().join("backup"), 1 << 20);
        let mut state = State::open(&folder.path().join("state")).unwrap();
        std::fs::write(at("b"), "former").unwrap();
        let file = |path: &str, content: &str| match write(path, content) {
            Effect::WriteFile(file) => Effect::WriteFile(crate::plan::WriteFile { backup: true, ..file }),
            other => other,
        };
        let steps = plan(vec![
            step("directory:d", &[], vec![directory(&at("d"))]),
            step("file:a", &[0], vec![file(&at("d/a"), "one")]),
            step("file:b", &[], vec![file(&at("b"), "two")]),
            step("file:c", &[], vec![remove(&at("c"))]),
        ]);
        let died =
            lives(place, || run(&steps, &[], &start(), &mut host, &mut state, &Inline, &mut |_| {}).unwrap())
                .is_none();
        let mut state = State::open(&folder.path().join("state")).unwrap();
        recover(&mut state, &mut host).unwrap();
        let outcome = run(&steps, &[], &start(), &mut host, &mut state, &Inline, &mut |_| {}).unwrap();
        assert_eq!(words(&outcome), vec!["done"; 4], "{outcome:?}");
        assert_eq!(std::fs::read_to_string(at("d/a")).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(at("b")).unwrap(), "two");
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["b", "backup", "d", "state"], "died at {place}");
        assert_eq!(std::fs::read_dir(at("d")).unwrap().count(), 1, "died at {place}");
        if !died {
            assert!(place > 8);
            return;
        }
    }
}

/// Prints what applying files costs; run with `cargo test --release apply::tests::cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let folder = disk();
    let root = folder.path().to_string_lossy().into_owned();
    let mut system = Host::open();
    let mut host = LocalHost::new(&mut system, &folder.path().join("backup"), 1 << 20);
    let mut state = State::open(&folder.path().join("state")).unwrap();
    let mut apply = |name: &str, steps: Vec<Step>| {
        let begun = std::time::Instant::now();
        let outcome = run(&plan(steps), &[], &start(), &mut host, &mut state, &Inline, &mut |_| {}).unwrap();
        println!("{name:50} {:>10.3} ms", begun.elapsed().as_secs_f64() * 1e3);
        assert_eq!(outcome.counts().failed + outcome.counts().skipped, 0);
    };
    apply("no step, nothing owed", Vec::new());
    let mut steps: Vec<Step> = (0..10)
        .map(|number| step(&format!("directory:{number}"), &[], vec![directory(&format!("{root}/{number}"))]))
        .collect();
    steps.extend((0..1_000).map(|number: usize| {
        let path = format!("{root}/{}/{number}", number % 10);
        step(&format!("file:{number}"), &[number % 10], vec![write(&path, &"x".repeat(1_000))])
    }));
    apply("1,000 new files in 10 new directories", steps.clone());
    apply("the same again over the old files", steps);
    apply("one file", vec![step("file:0", &[], vec![write(&format!("{root}/0/0"), "y")])]);
    apply("one file", vec![step("file:0", &[], vec![write(&format!("{root}/0/0"), "z")])]);
    let mut memory = Memory::default();
    let steps: Vec<Step> = (0..1_000)
        .map(|number| step(&format!("file:{number}"), &[], vec![write(&format!("/{number}"), "x")]))
        .collect();
    let begun = std::time::Instant::now();
    run(&plan(steps), &[], &start(), &mut memory, &mut state, &Inline, &mut |_| {}).unwrap();
    println!("{:50} {:>10.3} ms", "of that the journal", begun.elapsed().as_secs_f64() * 1e3);
}
