//! The guard: a copy of the program that works looks at the new one until that has proven itself, or does not.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::judge::{Program, Proof, Seen, Verdict, judge, tells};
use super::{PACKAGE, PROGRAM, Record, disarm, restore, sha256};
use crate::daemon::program::UNIT as AGENT;
use crate::error::Problem;
use crate::report::journal;
use crate::system::exec;
use crate::system::lock::Lock;
use crate::system::packages::{self, PackageManager};
use crate::system::systemd::Systemd;
use crate::system::{clock, process};

/// How often the guard looks.
const LOOK: Duration = Duration::from_millis(250);

/// How often, where no agent runs, the new program is asked what it would do.
const ASK: i64 = 5_000;

/// How long it may take to answer that.
const ANSWER: Duration = Duration::from_secs(120);

/// Guards until it is over; `folder` is the guard's.
///
/// # Errors
/// The record cannot be read, or the former version cannot be put back.
pub fn watch(folder: &Path) -> Result<(), Problem> {
    if let Some(record) = Record::load(folder)?.filter(|record| record.reason.is_none()) {
        journal::note(&record.to_string());
    }
    let mut guard = Guard { folder, late: None, file: None, over: None, asked: None, given: None };
    loop {
        let Some(record) = Record::load(folder)? else { return Ok(()) };
        if let Some(reason) = record.reason.clone() {
            return restore::restore(folder, &record, &reason);
        }
        let seen = guard.look(&record);
        let within = i64::try_from(record.within).unwrap_or(i64::MAX).saturating_mul(1000);
        match judge(&seen, within) {
            Verdict::Wait => clock::wait(LOOK),
            Verdict::Unchanged => return guard.end("abide was not changed"),
            Verdict::Works => return guard.end("the new version of abide works"),
            Verdict::Fails(reason) => return restore::restore(folder, &record, &reason),
        }
    }
}

/// What is remembered between two looks.
struct Guard<'a> {
    folder: &'a Path,
    /// The run that brings the new version was over when this process looked first: the host died in between.
    late: Option<bool>,
    /// The installed program as it was looked at last, and what it is.
    file: Option<((u64, u64, i64, i64), Program)>,
    /// When the run that brings the new version was found to be over, milliseconds since the boot, and which run that was.
    over: Option<(u32, i64)>,
    /// When the new program was asked last.
    asked: Option<i64>,
    /// What it has shown, for the program file that it was.
    given: Option<Proof>,
}

impl Guard<'_> {
    fn end(&self, words: &str) -> Result<(), Problem> {
        journal::note(&format!("{words}: its guard goes"));
        let failed = |source| super::UpgradeError::Record { path: self.folder.to_owned(), source };
        disarm(self.folder).map_err(failed)?;
        // What cannot be told systemd now it finds out by itself.
        let _ = Systemd::connect().and_then(|systemd| systemd.daemon_reload());
        Ok(())
    }

    fn look(&mut self, record: &Record) -> Seen {
        let (pid, began) = record.run;
        // A boot has no name that the agent in its sandbox and a service outside of it agree about in every container.
        let running = process::began(pid) == Some(began);
        let rebooted = *self.late.get_or_insert(!running);
        let now = clock::since_machine_boot();
        if running || self.over.is_some_and(|(known, _)| known != pid) {
            (self.over, self.given) = (None, None);
        }
        if running {
            return Seen { running, ..Seen::default() };
        }
        let busy = packages::under_way();
        if busy {
            // The agent waits for the end of it as well.
            self.over = None;
        }
        let (_, over) = *self.over.get_or_insert((pid, now));
        let program = self.program(record);
        let (former, broken) = package(record);
        let locked = matches!(Lock::try_take(&record.paths().lock()), Ok(None));
        let proof =
            if program == Program::Missing { Proof::default() } else { self.proof(record, over, now) };
        Seen { running, rebooted, busy, elapsed: now - over, locked, program, former, broken, proof }
    }

    /// What the installed program is; read again only when it is another file.
    fn program(&mut self, record: &Record) -> Program {
        let Ok(metadata) = std::fs::metadata(PROGRAM) else { return Program::Missing };
        let file = (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        if let Some((known, program)) = self.file
            && known == file
        {
            return program;
        }
        self.given = None;
        let program = match sha256(Path::new(PROGRAM)) {
            Ok(sum) if sum == record.program => Program::Former,
            Ok(_) => Program::Other,
            Err(_) => Program::Missing,
        };
        self.file = Some((file, program));
        program
    }

    fn proof(&mut self, record: &Record, over: i64, now: i64) -> Proof {
        if let Some(given) = &self.given {
            return given.clone();
        }
        let service = match Systemd::connect().and_then(|systemd| systemd.service(AGENT)) {
            Ok(service) => service,
            Err(error) => return Proof::Wanting(format!("systemd does not tell of its agent: {error}")),
        };
        let proof = match record.agent && service.active != "inactive" {
            true => self.agent(record, &service, over),
            false => self.answer(record, now),
        };
        if proof == Proof::Given {
            self.given = Some(Proof::Given);
        }
        proof
    }

    /// The agent runs as the installed program, and a run has ended since it began. A run by hand that brought the new version may end
    /// after the agent began, and is none of the new one's.
    fn agent(&self, record: &Record, service: &crate::system::systemd::Service, over: i64) -> Proof {
        if service.active != "active" || !process::runs(service.main, Path::new(PROGRAM)) {
            return Proof::Wanting(format!("its agent does not start: abide.service is {}", service.active));
        }
        let Some(began) = process::began_at(service.main) else { return Proof::default() };
        let path = record.paths().status();
        let Some((written, status)) = written(&path) else {
            return Proof::Wanting("its agent has not ended a run".into());
        };
        let by_hand = status["cause"].as_str() == Some("operator");
        if written < began || (by_hand && written < over) {
            return Proof::Wanting("its agent has not ended a run".into());
        }
        tells(&status).map_or_else(Proof::Wanting, |()| Proof::Given)
    }

    /// Without an agent: whether the program can tell what it would do.
    fn answer(&mut self, record: &Record, now: i64) -> Proof {
        if self.asked.is_some_and(|asked| now - asked < ASK) {
            return Proof::Wanting("it cannot say what it would do".into());
        }
        self.asked = Some(now);
        let mut argv: Vec<String> =
            [PROGRAM, "sync", "--dry-run", "--no-fetch", "-o", "json"].map(String::from).into();
        argv.extend(record.paths().options());
        let program = exec::Program { timeout: ANSWER, limit: 16 << 20, ..exec::Program::new(argv) };
        let output = match exec::run(&program) {
            Ok(output) => output,
            Err(error) => return Proof::Wanting(error.to_string()),
        };
        match serde_json::from_slice(&output.stdout) {
            Ok(status) => tells(&status).map_or_else(Proof::Wanting, |()| Proof::Given),
            Err(_) => Proof::Wanting(format!("it cannot say what it would do: {}", output.complaint())),
        }
    }
}

/// When a status was written, in milliseconds since the boot, and what it says.
fn written(path: &Path) -> Option<(i64, serde_json::Value)> {
    let metadata = std::fs::metadata(path).ok()?;
    let age = clock::nanoseconds() - (metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec());
    let status = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some((clock::since_machine_boot() - age / 1_000_000, status))
}

/// Whether the package is the former version, and whether it is not whole.
fn package(record: &Record) -> (bool, bool) {
    let manager: Option<Box<dyn PackageManager>> = packages::detect();
    let states = manager.and_then(|manager| manager.observe(&[PACKAGE.to_owned()].into()).ok());
    let state = states.and_then(|mut states| states.remove(PACKAGE)).unwrap_or_default();
    (state.installed.clone().unwrap_or_default() == record.former, state.broken)
}
