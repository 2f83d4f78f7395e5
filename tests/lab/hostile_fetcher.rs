//! A program in the place of the fetcher: runs inside a host of the lab, as `abide-fetch.service`, and does all the harm that it can.
//!
//! `hostile-fetcher ATTACK`. It prints a line for each thing that it tried and must not have got: `denied NAME`, or `REACHED NAME`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it is a test's program, and what fails in it has failed to do harm"
)]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat};

const SPOOL: &str = "/var/lib/abide-fetch";
const PACK: &str = "packs/pack-0123456789012345678901234567890123456789.pack";

fn main() {
    let attack = std::env::args().nth(1).unwrap_or_default();
    std::env::set_current_dir(SPOOL).unwrap();
    let _ = fs::create_dir("packs");
    match attack.as_str() {
        "reach" => reach(),
        "lie" => lie(),
        "litter" => litter(),
        "note" => File::create("note.json").unwrap().set_len(1 << 30).unwrap(),
        "sparse" => File::create(PACK).unwrap().set_len(1 << 40).unwrap(),
        "fill" => fill(true),
        "fill-unseen" => fill(false),
        "many" => (0..100_000).for_each(|number| drop(File::create(format!("packs/{number}")))),
        "deep" => deep(),
        "fork" => fork(),
        "memory" => memory(),
        "forever" => forever(),
        "swap" => swap(),
        other => panic!("no attack `{other}`"),
    }
}

fn tried<T, E>(name: &str, result: Result<T, E>) {
    println!("{} {name}", if result.is_ok() { "REACHED" } else { "denied" });
}

/// Everything outside of the spool: files, processes, the system's services, privileges.
fn reach() {
    for path in [
        "/etc/hostile",
        "/etc/abide/hostile",
        "/etc/cron.d/hostile",
        "/etc/systemd/system/hostile.service",
        "/usr/bin/hostile",
        "/var/lib/abide/hostile",
        "/var/lib/hostile",
        "/var/log/hostile",
        "/run/abide/hostile",
        "/run/hostile",
        "/run/lock/hostile",
        "/tmp/hostile",
        "/var/tmp/hostile",
        "/dev/shm/hostile",
        "/home/hostile",
        "/proc/sys/kernel/hostname",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/cgroup.procs",
    ] {
        let opened =
            OpenOptions::new().write(true).create(!path.starts_with("/proc")).truncate(false).open(path);
        tried(&format!("write {path}"), opened);
    }
    for path in [
        "/var/lib/abide/state.sqlite",
        "/etc/shadow",
        "/etc/ssh/ssh_host_ed25519_key",
        "/root/secret",
        "/proc/1/environ",
        "/proc/kmsg",
        "/dev/mem",
        "/dev/kmsg",
    ] {
        tried(&format!("read {path}"), File::open(path));
    }
    processes();
    for socket in ["/run/dbus/system_bus_socket", "/run/systemd/private"] {
        tried(&format!("talk to {socket}"), UnixStream::connect(socket));
    }
    privileges();
}

fn processes() {
    let status = fs::read_to_string("/run/abide/agent.json").unwrap();
    let pid = status.split("\"pid\":").nth(1).unwrap().split(',').next().unwrap().trim().to_owned();
    println!("the agent is {pid}");
    let number = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    tried("signal the agent", rustix::process::test_kill_process(number));
    tried("kill the agent", rustix::process::kill_process(number, rustix::process::Signal::KILL));
    tried("see the agent", fs::metadata(format!("/proc/{pid}")));
    tried("write the agent's memory", OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")));
    tried("signal the first process", rustix::process::test_kill_process(rustix::process::Pid::INIT));
}

fn privileges() {
    let runs = |command: &mut Command| {
        let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.ok().filter(|status| status.success()).ok_or(())
    };
    tried("become root", runs(Command::new("true").uid(0).gid(0)));
    tried("start a unit", runs(Command::new("systemctl").args(["start", "hostile-made.service"])));
    tried("run a unit", runs(Command::new("systemd-run").args(["touch", "/etc/hostile-ran"])));
    tried("a user namespace", runs(Command::new("unshare").args(["--user", "true"])));
    tried("a mount namespace", runs(Command::new("unshare").args(["--mount", "true"])));
    tried("a mount", runs(Command::new("mount").args(["-t", "tmpfs", "tmpfs", SPOOL])));
    tried("the owner of root's files", runs(Command::new("chown").args(["root", SPOOL])));
    tried("a set-user-id file", {
        File::create("set-user-id").unwrap();
        let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o4755);
        fs::set_permissions("set-user-id", mode)
    });
    tried("a device", mknodat(CWD, "device", FileType::CharacterDevice, Mode::RWXU, makedev(1, 3)));
    tried("a disk", mknodat(CWD, "disk", FileType::BlockDevice, Mode::RWXU, makedev(8, 0)));
    tried("a link to a file of root's", fs::hard_link("/etc/shadow", "shadow"));
}

/// A note that says that all is well, with a commit that nobody has, and words that drive a terminal.
fn lie() {
    let escape = "\\u001b[2J\\nforged: all is well \\u202e";
    fs::write("note.json", format!(
        "{{\"time\":1,\"url\":\"{escape}\",\"tip\":\"{}\",\"changed\":true,\"received\":0,\"took\":0,\"failures\":0,\
         \"problems\":[],\"sandbox\":{{\"landlock\":{{\"enforced\":\"fully\",\"abi\":99,\"reason\":\"{escape}\"}}}}}}",
        "6".repeat(40),
    )).unwrap();
    println!("\x1b[31mred\x1b[0m");
}

/// Everything that is not a file in the place of files, for the root process to stumble over.
fn litter() {
    let name = |number: usize| format!("packs/pack-{number:040}.pack");
    let _ = fs::remove_file("note.json");
    mknodat(CWD, "note.json", FileType::Fifo, Mode::RWXU, 0).unwrap();
    mknodat(CWD, name(1), FileType::Fifo, Mode::RWXU, 0).unwrap();
    mknodat(CWD, name(2), FileType::Socket, Mode::RWXU, 0).unwrap();
    symlink("/etc/shadow", name(3)).unwrap();
    symlink("/dev/zero", name(4)).unwrap();
    symlink(name(5), name(5)).unwrap();
    fs::create_dir(name(6)).unwrap();
    let _ = fs::hard_link("/etc/passwd", name(7));
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o000).open(name(8)).unwrap();
    fs::write(name(9), b"PACK\0\0\0\x02\xff\xff\xff\xff").unwrap();
    fs::write("packs/\x1b[2J\nforged", "").unwrap();
    // What would outlive it in a repository that the next fetcher uses.
    let _ = fs::remove_dir_all("repository");
    fs::create_dir_all("repository/objects/info").unwrap();
    fs::write("repository/HEAD", "ref: refs/heads/main\n").unwrap();
    fs::create_dir_all("repository/refs").unwrap();
    fs::write(
        "repository/config",
        "[core]\nsshCommand=touch /var/lib/abide-fetch/ran\n[url \"git://127.0.0.1:1/\"]\ninsteadOf=git://\n",
    )
    .unwrap();
    fs::write("repository/objects/info/alternates", "/var/lib/abide/store\n").unwrap();
    // And what would stand in its way.
    let _ = fs::remove_file("lock");
    mknodat(CWD, "lock", FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::create_dir_all("shut/in").unwrap();
    fs::write("shut/in/file", "").unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o000);
    fs::set_permissions("shut/in", mode.clone()).unwrap();
    fs::set_permissions("shut", mode).unwrap();
}

/// Writes until somebody ends it.
fn fill(seen: bool) -> ! {
    let block = vec![0xa5; 1 << 20];
    let mut kept = Vec::new();
    for number in 0.. {
        let path = format!("packs/{number}");
        let mut file = File::create(&path).unwrap();
        if !seen {
            fs::remove_file(&path).unwrap();
        }
        for _ in 0..64 {
            // A full disk is no reason to go.
            let _ = file.write_all(&block);
        }
        kept.push(file);
    }
    unreachable!()
}

/// Folders within folders, deeper than a path can say.
fn deep() {
    let mut deepest = openat(CWD, "packs", OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..9000 {
        mkdirat(&deepest, "d", Mode::RWXU).unwrap();
        deepest = openat(&deepest, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
}

fn fork() {
    let mut children = Vec::new();
    while let Ok(child) = Command::new("sleep").arg("600").spawn() {
        children.push(child);
        if children.len() == 1000 {
            break;
        }
    }
    println!("{} processes", children.len());
}

fn memory() {
    let mut taken = Vec::new();
    for _ in 0..64 {
        taken.push(vec![1_u8; 64 << 20]);
    }
    println!("{} MiB of memory", taken.len() * 64);
}

fn forever() -> ! {
    // The shell leaves two behind that do not listen either.
    let deaf = "trap '' TERM INT HUP; while :; do sleep 1; done";
    let _ = Command::new("setsid").args(["bash", "-c", deaf]).spawn();
    let error = Command::new("bash").args(["-c", deaf]).exec();
    panic!("{error}")
}

/// Exchanges what is in the spool as fast as it can, under the eyes of the one who reads it.
fn swap() {
    let note = |tip: &str| {
        format!(
            "{{\"time\":1,\"url\":\"x\",\"tip\":\"{tip}\",\"changed\":true,\"received\":0,\"took\":0,\"failures\":0,\"problems\":[]}}"
        )
    };
    for left in ["link", "fifo", "folder-link", "next"] {
        let _ = fs::remove_file(left);
    }
    let secret = CString::new("/etc/shadow").unwrap();
    fs::write("good-note", note(&"7".repeat(40))).unwrap();
    fs::write("garbage", vec![0x41; 1 << 20]).unwrap();
    symlink("/etc/shadow", "link").unwrap();
    mknodat(CWD, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::create_dir_all("folder").unwrap();
    symlink("/etc", "folder-link").unwrap();
    let put = |what: &str, place: &str| {
        let _ = fs::remove_file("next");
        let _ = fs::hard_link(what, "next");
        let _ = fs::rename("next", place);
    };
    let end = Instant::now() + Duration::from_secs(20);
    let mut rounds = 0_u64;
    while Instant::now() < end {
        for what in ["garbage", "link", "fifo"] {
            put(what, PACK);
            put("good-note", "note.json");
            put(what, "note.json");
        }
        put("good-note", "note.json");
        // The mailbox itself becomes a link to a folder of root's.
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        let _ = rustix::fs::renameat_with(CWD, "packs", CWD, "folder-link", exchange);
        let _ = rustix::fs::renameat_with(CWD, "packs", CWD, "folder-link", exchange);
        rounds += 1;
    }
    let mut text = String::new();
    let read =
        File::open(Path::new(secret.to_str().unwrap())).and_then(|mut file| file.read_to_string(&mut text));
    tried("read /etc/shadow", read);
    println!("{rounds} rounds");
}
