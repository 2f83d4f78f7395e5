//! What `benches/run` puts into a host: the least possible work, and a stop-watch for programs and for healing.
//!
//! - `probe work hashed|known LIST`: what every answer to "is the host as declared?" has to do at least, and nothing else: read the
//!   files of the list and hash them (or only ask for their attributes), read dpkg's status, ask systemd for the units.
//! - `probe work durable LIST`: what writing the files of the list that are missing costs when each, its name and a note before and
//!   after have to be on disk: as few and as small waits as will do.
//! - `probe time ROUNDS PREPARE PROGRAM…`: runs the program so often, each time after the shell command `PREPARE`; prints
//!   median and least wall time and the CPU time in milliseconds, and the largest memory in MiB.
//! - `probe heal FILE…`: spoils one file after the other and prints how long each stayed so, in milliseconds.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench makes its own files, starts programs and may fail"
)]

use nix::sys::resource::{UsageWho, getrusage};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use zbus::Message;

/// How long a spoilt file may stay spoilt.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["work", "durable", list] => write_durably(list),
        ["work", how, list] => work(*how == "hashed", list),
        ["time", rounds, prepare, program @ ..] => {
            time(rounds.parse().expect("a number of rounds"), prepare, program);
        }
        ["heal", files @ ..] => files.iter().for_each(|file| heal(file)),
        _ => println!("probe work|time|heal: see benches/run"),
    }
}

fn work(hashed: bool, list: &str) {
    let list = std::fs::read_to_string(list).expect("the list");
    let of = |kind: &'static str| list.lines().filter_map(move |line| line.strip_prefix(kind));
    for path in of("file ") {
        if hashed {
            black_box(Sha256::digest(std::fs::read(path).expect("a file")));
        } else {
            black_box(std::fs::symlink_metadata(path).expect("a file"));
        }
    }
    if hashed {
        let status = std::fs::read_to_string("/var/lib/dpkg/status").expect("dpkg's status");
        let names = status.lines().filter_map(|line| line.strip_prefix("Package: "));
        black_box(names.collect::<std::collections::HashSet<_>>());
    }
    let units: Vec<&str> = of("unit ").collect();
    if !units.is_empty() {
        ask_systemd(&units);
    }
}

fn write_durably(list: &str) {
    let list = std::fs::read_to_string(list).expect("the list");
    let paths = list.lines().filter_map(|line| line.strip_prefix("file ")).map(Path::new);
    let missing: Vec<&Path> = paths.filter(|path| !path.exists()).collect();
    let mut note = std::fs::File::create("/var/lib/probe-note").expect("a note");
    let mut tell =
        |text: &str| note.write_all(text.as_bytes()).and_then(|()| note.sync_data()).expect("a note");
    tell("about to write");
    let staged = |path: &Path| path.with_extension("staged");
    let files: Vec<std::fs::File> = missing
        .iter()
        .map(|path| {
            let mut file = std::fs::File::create(staged(path)).expect("a file");
            file.write_all(&[b'x'; 1015]).expect("written");
            // Has it written already, so that one commit of the file system's journal does for all.
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
            file
        })
        .collect();
    files.iter().for_each(|file| file.sync_all().expect("synced"));
    missing.iter().for_each(|path| std::fs::rename(staged(path), path).expect("renamed"));
    let folders: BTreeSet<&Path> = missing.iter().filter_map(|path| path.parent()).collect();
    for folder in folders {
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).expect("synced");
    }
    tell("written");
}

/// One conversation over systemd's own socket: log in, `ListUnitsByNames`, and all properties of every unit.
fn ask_systemd(units: &[&str]) {
    let call = |path: &str, interface: &'static str, method: &'static str| {
        Message::method_call(path.to_owned(), method)
            .destination("org.freedesktop.systemd1")
            .interface(interface)
    };
    let manager = call("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "ListUnitsByNames");
    let mut calls = vec![manager.build(&(units,)).expect("a call")];
    for unit in units {
        let label = unit.replace('-', "_2d").replace('.', "_2e");
        let path = format!("/org/freedesktop/systemd1/unit/{label}");
        let get = call(&path, "org.freedesktop.DBus.Properties", "GetAll");
        calls.push(get.build(&"org.freedesktop.systemd1.Unit").expect("a call"));
    }
    let mut stream = UnixStream::connect("/run/systemd/private").expect("systemd's socket");
    let mut request = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n".to_vec();
    for call in &calls {
        request.extend_from_slice(call.data().bytes());
    }
    stream.write_all(&request).expect("a request");
    let mut answer = Vec::new();
    let mut at = None;
    let mut missing = calls.len();
    let mut chunk = vec![0; 64 << 10];
    while missing > 0 {
        let length = stream.read(&mut chunk).expect("an answer");
        assert!(length > 0, "systemd hung up");
        answer.extend_from_slice(&chunk[..length]);
        let mut from = match at {
            Some(from) => from,
            None => match answer.iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None => continue,
            },
        };
        while let Some(header) = answer.get(from..from + 16) {
            let number =
                |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four")) as usize;
            let end = from + 16 + number(12).next_multiple_of(8) + number(4);
            if answer.len() < end {
                break;
            }
            // 2 and 3: an answer or an error. Signals are passed over.
            missing -= usize::from(matches!(header[1], 2 | 3));
            from = end;
        }
        at = Some(from);
    }
    black_box(answer);
}

fn time(rounds: usize, prepare: &str, program: &[&str]) {
    let (name, arguments) = program.split_first().expect("a program");
    let mut walls = Vec::new();
    let mut cpus = Vec::new();
    for _ in 0..rounds {
        if !prepare.is_empty() {
            let status = Command::new("sh").args(["-c", prepare]).status().expect("sh");
            assert!(status.success(), "`{prepare}` failed");
        }
        let before = cpu();
        let begun = Instant::now();
        let status = Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .expect("the program starts");
        walls.push(begun.elapsed());
        cpus.push(cpu() - before);
        if !status.success() {
            eprintln!("probe: {name} ended with {status}");
        }
    }
    walls.sort();
    cpus.sort();
    let memory = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage").max_rss();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{:.2} {:.2} {:.2} {:.1}",
        milliseconds(walls[walls.len() / 2]),
        milliseconds(walls[0]),
        milliseconds(cpus[cpus.len() / 2]),
        memory as f64 / 1024.0
    );
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    let of = |time: nix::sys::time::TimeVal| {
        Duration::new(
            u64::try_from(time.tv_sec()).expect("positive"),
            u32::try_from(time.tv_usec()).expect("positive") * 1000,
        )
    };
    of(usage.user_time()) + of(usage.system_time())
}

fn heal(file: &str) {
    let good = std::fs::read(file).expect("the file");
    std::fs::write(file, b"spoilt\n").expect("written");
    let begun = Instant::now();
    while std::fs::read(file).is_ok_and(|now| now != good) {
        assert!(begun.elapsed() < PATIENCE, "{file} was not healed");
        std::thread::sleep(Duration::from_micros(500));
    }
    println!("{:.1}", begun.elapsed().as_secs_f64() * 1000.0);
}
