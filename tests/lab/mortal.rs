//! The program `abide`, built so that it can be made to die (see `src/failpoint.rs`): what the durability suites put into hosts.
//!
//! `mortal memory` prints what the state knows of its resources and owes, `mortal told NUMBER` which resources events after that number
//! speak of, and `mortal told last` the number of the last one.
//!
//! `mortal apply FOLDER CONTENT` applies a small plan of files to a folder instead, with the journal in it: the torn-writes suite
//! lets that die on file systems whose unsynced writes it throws away.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used, reason = "a part of a test")]

use std::path::Path;

use abide::apply::{self, Contents, StepOutcome, host::LocalHost};
use abide::error::Problem;
use abide::plan::{Attributes, Change, Effect, Plan, Step, WriteFile};
use abide::report::EventKind;
use abide::resource::{Content, ContentOrigin, Origin, ResourceId};
use abide::state::{Cause, Mark, RunStart, State, Told};
use abide::system::Host;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("apply") => {
            apply_files(Path::new(&arguments[2]), &arguments[3]);
            std::process::ExitCode::SUCCESS
        }
        Some("memory") => {
            memory();
            std::process::ExitCode::SUCCESS
        }
        Some("told") => {
            told(&arguments[2]);
            std::process::ExitCode::SUCCESS
        }
        _ => abide::cli::run(std::env::args_os()),
    }
}

fn state() -> State {
    State::inspect(Path::new("/var/lib/abide")).expect("the state can be read").expect("there is a state")
}

/// What must be the same whether or not a run died on the way: the inventory, and nothing owed, open or untold.
fn memory() {
    let state = state();
    for entry in state.inventory().expect("the inventory can be read") {
        let created = if entry.created { "created" } else { "found" };
        let adopted = if entry.adopted { "adopted" } else { "changed" };
        println!("{} {created} {adopted} {}", entry.resource, entry.revision.commit);
    }
    for owed in state.owed().expect("what is owed can be read") {
        println!("owed: {}", owed.notification);
    }
    if let Some(open) = state.unfinished().expect("the journal can be read") {
        println!("open: run {}", open.run);
    }
    for change in state.untold().expect("what is untold can be read") {
        println!("untold: {}", change.resource);
    }
}

/// Resources that were told to be changed, or to be under change when a run died.
fn told(after: &str) {
    let state = state();
    let after = match after {
        "last" => {
            let last = state.events(0, 1).expect("events can be read");
            return println!("{}", last.last().map_or(0, |(number, _)| *number));
        }
        number => number.parse().expect("the number of an event"),
    };
    for (_, event) in state.events(after, u32::MAX).expect("events can be read") {
        match event.kind {
            Some(EventKind::ResourceChanged) => {
                println!("{}", event.resource.expect("it names its resource"))
            }
            Some(EventKind::RunRecovered) => {
                let was = event.message.split("it was changing ").nth(1).unwrap_or_default();
                let was = was.split(';').next().unwrap_or_default();
                was.split(", ").filter(|name| !name.is_empty()).for_each(|name| println!("{name}"));
            }
            _ => {}
        }
    }
}

struct Inline;

impl Contents for Inline {
    fn bytes(&self, content: &Content) -> Result<Vec<u8>, Problem> {
        match &content.origin {
            ContentOrigin::Inline(bytes) => Ok(bytes.clone()),
            ContentOrigin::Blob(_) => panic!("nothing of this test is a blob"),
        }
    }
}

/// Recovers, then writes four files, one of them in a new directory, and removes one; all as converge does it.
fn apply_files(folder: &Path, content: &str) {
    let bytes = content.repeat(5_000);
    let mut system = Host::open();
    let mut host = LocalHost::new(&mut system, &folder.join("backup"), 1 << 20);
    let mut state = State::open(&folder.join("state")).expect("the state opens");
    state.verify().expect("the state is sound");
    apply::recover(&mut state, &mut host).expect("the run before is recovered");
    let mark = Mark { commit: content.into(), payload: "p".into(), time: 1, introduction: String::new() };
    state.raise(&mark, &Told::default()).expect("the mark rises");
    println!("raised");
    let step = |name: &str, needs: Vec<usize>, effect: Effect| Step {
        resource: ResourceId::new("file", name),
        origin: Origin { role: "r".into(), file: "roles/r/role.toml".into(), line: 1 },
        change: Change { summary: "changed".into(), creates: true, effects: vec![effect], diffs: Vec::new() },
        needs,
        prune: false,
        sensitive: false,
        report_only: false,
        waits: None,
        window: None,
    };
    let mut steps = vec![step(
        "new",
        Vec::new(),
        Effect::MakeDirectory { path: folder.join("new"), attributes: Attributes::default() },
    )];
    for (name, needs) in [("a", vec![]), ("b", vec![]), ("new/c", vec![0]), ("new/d", vec![0])] {
        steps.push(step(name, needs, write(&folder.join(name), &bytes)));
    }
    steps.push(step("gone", Vec::new(), Effect::Remove { path: folder.join("gone"), recursive: false }));
    let start = RunStart { cause: Cause::Operator, revision: None, started: 1 };
    let plan = Plan { steps, ..Plan::default() };
    let outcome = apply::run(&plan, &[], &start, &mut host, &mut state, &Inline, &mut |_| {})
        .expect("the journal is kept");
    assert!(outcome.steps.iter().all(|step| step.outcome == StepOutcome::Done), "{outcome:#?}");
    state.leave().expect("the state is left");
    println!("ended");
}

fn write(path: &Path, content: &str) -> Effect {
    Effect::WriteFile(WriteFile {
        path: path.to_owned(),
        content: Content {
            sha256: [0; 32],
            size: content.len() as u64,
            origin: ContentOrigin::Inline(content.into()),
        },
        attributes: Attributes::default(),
        validate: None,
        backup: true,
        force: false,
        in_place: false,
    })
}
