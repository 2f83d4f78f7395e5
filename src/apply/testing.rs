//! A host in memory that records what it is asked for and fails where it is told to.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::{Contents, Effector, UnitChange};
use crate::error::Problem;
use crate::failpoint;
use crate::plan::{
    Attributes, Change, Effect, GroupAction, PackageAction, PackageOperation, PackageOptions, Plan, Run,
    Step, UnitAction, UserAction, WriteFile,
};
use crate::progress::Tell;
use crate::resource::{AnyResource, Common, Content, ContentOrigin, Declared, Origin, ResourceId};
use crate::state::{Cause, RunStart};
use crate::trust::Revision;

/// The host.
#[derive(Default)]
pub(super) struct Memory {
    /// What is at each path.
    pub(super) paths: BTreeMap<PathBuf, String>,
    /// Files that lie staged.
    pub(super) temporaries: Rc<RefCell<BTreeSet<PathBuf>>>,
    /// What was asked for, in order.
    pub(super) log: Vec<String>,
    /// Words of the log that fail.
    pub(super) failing: BTreeSet<String>,
    /// Packages and accounts that are there, such as `package a`.
    pub(super) there: BTreeSet<String>,
    /// How the last command ended, by its ticket.
    pub(super) ended: Option<(String, i32)>,
    time: Cell<i64>,
}

/// A file in the memory of this host.
pub(super) struct Staged {
    path: PathBuf,
    content: String,
    temporaries: Rc<RefCell<BTreeSet<PathBuf>>>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !failpoint::is_dead() {
            self.temporaries.borrow_mut().remove(&self.path);
        }
    }
}

impl Memory {
    fn does(&mut self, what: String) -> Result<(), Problem> {
        let fails = self.failing.contains(&what);
        self.log.push(what.clone());
        if fails { Err(problem(&what)) } else { Ok(()) }
    }

    fn put(&mut self, what: &str, path: &Path, content: String) -> Result<(), Problem> {
        self.does(format!("{what} {}", path.display()))?;
        self.paths.insert(path.to_owned(), content);
        Ok(())
    }

    /// How often something was asked for.
    pub(super) fn times(&self, what: &str) -> usize {
        self.log.iter().filter(|entry| *entry == what).count()
    }
}

pub(super) fn problem(what: &str) -> Problem {
    Problem {
        code: "E400".into(),
        what: format!("{what} failed"),
        place: None,
        why: vec!["the secret word".into()],
        remedy: "try again".into(),
        excerpt: None,
    }
}

impl Effector for Memory {
    type Staged = Staged;

    fn now(&self) -> i64 {
        self.time.set(self.time.get() + 1);
        self.time.get()
    }
    fn clock(&self) -> Duration {
        Duration::ZERO
    }
    fn fingerprint(&mut self, path: &Path, content: bool) -> String {
        match self.paths.get(path) {
            None => "absent".into(),
            Some(text) if content => format!("file sha256:{text}"),
            Some(_) => "file".into(),
        }
    }
    fn stage(&mut self, file: &WriteFile, bytes: &[u8]) -> Result<Staged, Problem> {
        self.does(format!("stage {}", file.path.display()))?;
        self.temporaries.borrow_mut().insert(file.path.clone());
        let content = String::from_utf8_lossy(bytes).into_owned();
        Ok(Staged { path: file.path.clone(), content, temporaries: Rc::clone(&self.temporaries) })
    }
    fn validate(&mut self, _command: &[String], staged: &Staged) -> Result<(), Problem> {
        self.does(format!("validate {}", staged.path.display()))
    }
    fn sync(&mut self, staged: &[Staged]) -> Result<(), Problem> {
        self.does(format!("sync {}", staged.len()))
    }
    fn backup(&mut self, path: &Path) -> Result<(), Problem> {
        self.does(format!("backup {}", path.display()))
    }
    fn commit(&mut self, staged: Staged) -> Result<(), Problem> {
        let (path, content) = (staged.path.clone(), staged.content.clone());
        self.put("commit", &path, content)
    }
    fn make_directory(&mut self, path: &Path, _attributes: &Attributes) -> Result<(), Problem> {
        self.put("mkdir", path, "directory".into())
    }
    fn make_symlink(
        &mut self,
        path: &Path,
        target: &Path,
        _attributes: &Attributes,
        _force: bool,
    ) -> Result<(), Problem> {
        self.put("link", path, target.display().to_string())
    }
    fn set_attributes(&mut self, path: &Path, _attributes: &Attributes) -> Result<(), Problem> {
        self.does(format!("attributes {}", path.display()))
    }
    fn remove(&mut self, path: &Path, _recursive: bool) -> Result<(), Problem> {
        self.does(format!("remove {}", path.display()))?;
        self.paths.remove(path);
        Ok(())
    }
    fn sync_directories(&mut self, directories: &BTreeSet<PathBuf>) -> Result<(), Problem> {
        self.does(format!("sync {} directories", directories.len()))
    }
    fn look(&mut self, verb: &str, names: &BTreeSet<String>) -> BTreeMap<String, String> {
        let words = |name: &String| match self.there.contains(&format!("{verb} {name}")) {
            true => "present".to_owned(),
            false => "absent".to_owned(),
        };
        names.iter().map(|name| (name.clone(), words(name))).collect()
    }
    fn packages(&mut self, actions: &[PackageAction], _say: &mut Tell<'_>) -> Vec<Result<(), Problem>> {
        let names: Vec<&str> = actions.iter().map(|action| action.name.as_str()).collect();
        self.log.push(format!("transaction {}", names.join(" ")));
        actions
            .iter()
            .map(|action| {
                let what = format!("package {}", action.name);
                let fails = self.failing.contains(&what);
                if !fails || self.failing.contains(&format!("{what} once it is unpacked")) {
                    self.there.insert(what.clone());
                }
                if fails { Err(problem(&what)) } else { Ok(()) }
            })
            .collect()
    }
    fn units(&mut self, changes: &[UnitChange]) -> Vec<Result<(), Problem>> {
        changes
            .iter()
            .map(|change| self.does(format!("{:?} {}", change.action, change.unit).to_lowercase()))
            .collect()
    }
    fn daemon_reload(&mut self) -> Result<(), Problem> {
        self.does("daemon-reload".into())
    }
    fn user(&mut self, action: &UserAction) -> Result<(), Problem> {
        self.does(format!("user {}", action.name))?;
        self.there.insert(format!("user {}", action.name));
        Ok(())
    }
    fn group(&mut self, action: &GroupAction) -> Result<(), Problem> {
        self.does(format!("group {}", action.name))?;
        self.there.insert(format!("group {}", action.name));
        Ok(())
    }
    fn run(&mut self, run: &Run, ticket: &str) -> Result<(), Problem> {
        let result = self.does(format!("run {}", run.argv.join(" ")));
        self.ended = Some((ticket.to_owned(), i32::from(result.is_err())));
        failpoint::reach("command ran");
        result
    }
    fn forget_command(&mut self) -> Result<(), Problem> {
        self.ended = None;
        Ok(())
    }
    fn clean_temporaries(&mut self, paths: &[PathBuf]) -> Result<(), Problem> {
        for path in paths {
            self.temporaries.borrow_mut().remove(path);
        }
        Ok(())
    }
    fn settle_packages(&mut self) -> Result<(), Problem> {
        self.does("settle packages".into())
    }
    fn settle_commands(&mut self, ticket: &str) -> Result<Option<i32>, Problem> {
        Ok(self.ended.take().filter(|(of, _)| of == ticket).map(|(_, code)| code))
    }
}

/// Contents that are in the manifest.
pub(super) struct Inline;

impl Contents for Inline {
    fn bytes(&self, content: &Content) -> Result<Vec<u8>, Problem> {
        match &content.origin {
            ContentOrigin::Inline(bytes) => Ok(bytes.clone()),
            ContentOrigin::Blob(id) => Err(problem(&format!("read {id}"))),
        }
    }
}

/// The file at a path, with its content.
pub(super) fn write(path: &str, content: &str) -> Effect {
    Effect::WriteFile(WriteFile {
        path: path.into(),
        content: Content {
            sha256: [0; 32],
            size: content.len() as u64,
            origin: ContentOrigin::Inline(content.into()),
        },
        attributes: Attributes::default(),
        validate: None,
        backup: false,
        force: false,
        in_place: false,
    })
}

pub(super) fn validated(path: &str) -> Effect {
    match write(path, "checked") {
        Effect::WriteFile(file) => {
            Effect::WriteFile(WriteFile { validate: Some(vec!["check".into()]), backup: true, ..file })
        }
        other => other,
    }
}

pub(super) fn directory(path: &str) -> Effect {
    Effect::MakeDirectory { path: path.into(), attributes: Attributes::default() }
}

pub(super) fn remove(path: &str) -> Effect {
    Effect::Remove { path: path.into(), recursive: false }
}

pub(super) fn unit(unit: &str, action: UnitAction) -> Effect {
    Effect::Unit { unit: unit.into(), action, timeout: 9 }
}

pub(super) fn package(name: &str, downgrade: bool) -> Effect {
    Effect::Package(PackageAction {
        name: name.into(),
        operation: PackageOperation::Install,
        version: None,
        options: PackageOptions { allow_downgrade: downgrade, ..PackageOptions::default() },
    })
}

pub(super) fn command(program: &str) -> Effect {
    Effect::Run(Run {
        argv: vec![program.into()],
        directory: None,
        user: None,
        environment: BTreeMap::new(),
        timeout: 9,
        sandbox: Vec::new(),
        success: vec![0],
    })
}

/// A step of the resource `kind:name`.
pub(super) fn step(id: &str, needs: &[usize], effects: Vec<Effect>) -> Step {
    Step {
        resource: ResourceId::parse(id).unwrap(),
        origin: Origin { role: "r".into(), file: "roles/r/role.toml".into(), line: 1 },
        change: Change { summary: "changed".into(), creates: true, effects, diffs: Vec::new() },
        needs: needs.to_vec(),
        prune: false,
        sensitive: false,
        report_only: false,
        window: None,
        waits: None,
    }
}

pub(super) fn plan(steps: Vec<Step>) -> Plan {
    Plan { steps, ..Plan::default() }
}

pub(super) fn start() -> RunStart {
    RunStart { cause: Cause::Operator, revision: Some(revision()), started: 1 }
}

pub(super) fn revision() -> Revision {
    Revision {
        reference: "refs/heads/main".into(),
        commit: "c1".into(),
        tree: String::new(),
        payload: String::new(),
        signer: "alice".into(),
        key: "SHA256:x".into(),
        time: 0,
        summary: "change".into(),
    }
}

/// What the branch declares of a resource; its kind does not matter here.
pub(super) fn declared(step: &Step) -> Declared {
    let symlink = crate::resource::testing::declare("/link", "target = \"x\"").unwrap();
    Declared {
        id: step.resource.clone(),
        common: Common::default(),
        resource: AnyResource::Symlink(symlink),
        origin: step.origin.clone(),
    }
}
