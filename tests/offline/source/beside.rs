//! What lies beside the branch: approvals and heartbeats, from real servers through the spool into the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abide::config::{Limits, Source};
use abide::error::Explain;
use abide::source::store::Store;
use abide::source::{Candidate, Note};

use super::git::{World, codes, good, source};
use super::https::{Authority, tls, with_authority};
use super::servers::{self, Web};
use super::ssh::Sshd;

/// Takes the offer into the store of this world, which must have nothing to complain about.
fn take(world: &World) -> Candidate {
    let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
    let candidate = store.take(&world.spool()).unwrap().unwrap();
    assert!(store.refused().is_empty(), "{:?}", store.refused());
    assert!(store.is_whole(candidate.tip));
    candidate
}

/// What a candidate has beside its tip, in hex.
fn beside(candidate: &Candidate) -> (Vec<String>, String) {
    let approvals = candidate.approvals.iter().map(ToString::to_string).collect();
    (approvals, candidate.heartbeat.map_or_else(String::new, |commit| commit.to_string()))
}

fn sorted(tags: &[&String]) -> Vec<String> {
    let mut tags: Vec<String> = tags.iter().map(|tag| (*tag).clone()).collect();
    tags.sort();
    tags
}

/// Moves branch, approvals and heartbeat in every order, and follows them through these settings.
fn check(world: &World, source: &Source) {
    let expect = |tags: &[&String], heartbeat: &str, changed: bool| {
        let note = good(world.poll(source));
        let mut approvals = note.approvals.clone();
        approvals.sort();
        assert_eq!((approvals, note.heartbeat.as_str()), (sorted(tags), heartbeat), "{note:#?}");
        assert_eq!((note.changed, note.received > 0), (changed, changed), "{note:#?}");
        let candidate = take(world);
        assert_eq!(candidate.tip.to_string(), world.tip());
        assert_eq!(beside(&candidate), (sorted(tags), heartbeat.to_owned()));
    };
    expect(&[], "", true);
    let one = world.approve("one", "HEAD");
    expect(&[&one], "", true);
    expect(&[&one], "", false);
    let first = world.beat("1");
    expect(&[&one], &first, true);
    // All at once.
    world.commit("second");
    let (two, second) = (world.approve("two", "HEAD"), world.beat("2"));
    expect(&[&one, &two], &second, true);
    expect(&[&one, &two], &second, false);
    // One is replaced, one is taken back.
    let other = world.approve("one", "HEAD");
    world.git(&["tag", "-d", "abide/approve/two"]);
    expect(&[&other], &second, true);
    expect(&[&other], &second, false);
    world.git(&["update-ref", "-d", "refs/heads/abide/heartbeat/main"]);
    world.git(&["tag", "-d", "abide/approve/one"]);
    let note = good(world.poll(source));
    assert!(note.changed && note.received == 0 && note.approvals.is_empty() && note.heartbeat.is_empty());
    assert_eq!(take(world), Candidate::at(take(world).tip));
}

#[test]
fn approvals_and_heartbeats_arrive_over_git() {
    for format in ["sha1", "sha256"] {
        let world = World::with_format(format);
        let (_daemon, port) = servers::git_daemon(world.root());
        check(&world, &source(&[&format!("git://127.0.0.1:{port}/fleet/.git")]));
    }
}

#[test]
fn approvals_and_heartbeats_arrive_from_a_folder() {
    for format in ["sha1", "sha256"] {
        let world = World::with_format(format);
        check(&world, &source(&[&world.repository().display().to_string()]));
    }
}

#[test]
fn approvals_and_heartbeats_arrive_over_https() {
    for format in ["sha1", "sha256"] {
        let world = World::with_format(format);
        let authority = Authority::new();
        let web = Arc::new(Web::new(world.root()));
        let source = with_authority(tls(&web, &authority, false), &authority, &world);
        check(&world, &source);
    }
}

#[test]
fn approvals_and_heartbeats_arrive_over_ssh() {
    let world = World::new();
    let sshd = Sshd::start(&world);
    check(&world, &sshd.source(&world));
}

#[test]
fn an_unchanged_poll_with_approvals_and_a_heartbeat_is_one_small_request() {
    let world = World::new();
    let web = Arc::new(Web::new(world.root()));
    let source = source(&[&format!("http://127.0.0.1:{}/fleet/.git", servers::http(&web))]);
    world.approve("one", "HEAD");
    world.beat("1");
    good(world.poll(&source));
    web.forget();
    let note = good(world.poll(&source));
    let (up, down) = (web.up.load(Ordering::Relaxed), web.down.load(Ordering::Relaxed));
    println!("unchanged poll with approvals: {up} bytes up, {down} bytes down, {} ms", note.took);
    assert_eq!(web.seen().len(), 1, "{:?}", web.seen());
    assert!(up + down < 2048, "{up} + {down}");
}

#[test]
fn approvals_of_unmerged_work_cost_nothing() {
    let world = World::new();
    let (_daemon, port) = servers::git_daemon(world.root());
    for url in [format!("git://127.0.0.1:{port}/fleet/.git"), world.repository().display().to_string()] {
        let merged = world.approve("merged", "HEAD");
        world.git(&["checkout", "-q", "-b", "work"]);
        world.write("files/large", &vec![b'x'; 1 << 20]);
        world.commit(&format!("work for {}", url.len()));
        let work = world.approve("work", "HEAD");
        world.git(&["checkout", "-q", "main"]);
        let first = good(world.poll(&source(&[&url])));
        assert_eq!(first.approvals.as_slice(), std::slice::from_ref(&merged));
        let again = good(world.poll(&source(&[&url])));
        assert!(!again.changed && again.received == 0, "{again:?}");
        // Once it is merged, its approval counts.
        world.git(&["merge", "-q", "--ff-only", "work"]);
        world.git(&["branch", "-D", "work"]);
        let mut approvals = good(world.poll(&source(&[&url]))).approvals;
        approvals.sort();
        assert_eq!(approvals, sorted(&[&merged, &work]));
        world.git(&["tag", "-d", "abide/approve/work"]);
    }
}

#[test]
fn of_too_many_approvals_those_nearest_to_the_tip_are_taken() {
    let world = World::new();
    let tagged = |commit: &str, count: usize| {
        // `git tag` three hundred times would take its time.
        let mut script = String::new();
        for number in 0..count {
            let name = format!("abide/approve/{}-{number}", &commit[..8]);
            script.push_str(&format!("tag {name}\nfrom {commit}\ntagger a <a@b> 1 +0000\ndata 1\nx\n"));
        }
        let file = world.root().join("script");
        std::fs::write(&file, script).unwrap();
        let input = std::fs::File::open(file).unwrap();
        let mut git = std::process::Command::new("git");
        assert!(
            git.args(["fast-import", "--quiet"])
                .current_dir(world.repository())
                .stdin(input)
                .status()
                .unwrap()
                .success()
        );
    };
    let old = world.tip();
    tagged(&old, 250);
    world.commit("second");
    let new = world.tip();
    tagged(&new, 50);
    let (_daemon, port) = servers::git_daemon(world.root());
    let source = source(&[&format!("git://127.0.0.1:{port}/fleet/.git")]);
    let note = world.poll(&source);
    assert_eq!((note.failures, codes(&note), note.approvals.len()), (0, vec!["E116"], 256), "{note:#?}");
    assert!(note.problems[0].what.contains("300"), "{note:#?}");
    let kept: Vec<String> = world
        .git(&["for-each-ref", "--format=%(objectname) %(*objectname)", "refs/tags"])
        .lines()
        .map(str::to_owned)
        .collect();
    let on_new = kept.iter().filter(|line| line.ends_with(&new)).map(|line| line.split(' ').next().unwrap());
    assert!(on_new.clone().count() == 50);
    for tag in on_new {
        assert!(note.approvals.iter().any(|taken| taken == tag), "{tag} is on the tip and was left out");
    }
    let again = world.poll(&source);
    assert_eq!((again.changed, again.received, codes(&again)), (false, 0, vec!["E116"]), "{again:#?}");
    assert_eq!(take(&world).approvals.len(), 256);
}

#[test]
fn what_is_too_large_beside_the_branch_is_told_and_not_asked_for_again() {
    let world = World::new();
    let noise: String =
        (0..300_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let web = Arc::new(Web::new(world.root()));
    let source = source(&[&format!("http://127.0.0.1:{}/fleet/.git", servers::http(&web))]);
    let good_beat = world.beat("1");
    good(world.poll(&source));
    world.commit("second");
    world.beat(&noise);
    let tag = format!("object {}\ntype commit\ntag x\ntagger a <a@b> 1 +0000\n\n{noise}\n", world.tip());
    let file = world.root().join("tag");
    std::fs::write(&file, tag).unwrap();
    let id = world.git(&["hash-object", "-w", "-t", "tag", file.to_str().unwrap()]);
    world.git(&["update-ref", "refs/tags/abide/approve/huge", &id]);
    let note = world.poll(&source);
    assert_eq!((note.failures, codes(&note)), (0, vec!["E117", "E118"]), "{note:#?}");
    assert_eq!((note.tip.as_str(), note.changed), (world.tip().as_str(), true));
    assert_eq!(
        (note.heartbeat.as_str(), note.approvals.len()),
        (good_beat.as_str(), 0),
        "the one before stays"
    );
    web.forget();
    let note = world.poll(&source);
    assert_eq!((codes(&note), note.received), (vec!["E117", "E118"], 0));
    assert_eq!(web.seen().len(), 1, "{:?}", web.seen());
    // The store has no complaint: the fetcher does not offer what it did not get.
    assert_eq!(beside(&take(&world)), (vec![], good_beat));
    let next = world.beat("2");
    assert_eq!(world.poll(&source).heartbeat, next);
}

#[test]
fn a_heartbeat_that_is_none_is_told() {
    let world = World::new();
    let (_daemon, port) = servers::git_daemon(world.root());
    for url in [format!("git://127.0.0.1:{port}/fleet/.git"), world.repository().display().to_string()] {
        let parent = world.git(&["commit-tree", "-p", "HEAD", "-m", "x", "HEAD^{tree}"]);
        let tree = world.git(&["rev-parse", "HEAD^{tree}"]);
        let bad: [&dyn Fn(); 3] = [
            &|| drop(world.git(&["update-ref", "refs/heads/abide/heartbeat/main", &parent])),
            &|| drop(world.beat_with(&tree)),
            &|| drop(world.git(&["update-ref", "refs/heads/abide/heartbeat/main", "HEAD"])),
        ];
        for (number, make) in bad.iter().enumerate() {
            make();
            let note = world.poll(&source(&[&url]));
            assert_eq!((note.failures, codes(&note)), (0, vec!["E118"]), "{number} {note:#?}");
            assert_eq!((note.heartbeat.as_str(), note.tip), ("", world.tip()));
        }
    }
}

#[test]
fn heartbeats_do_not_make_the_spool_or_the_store_grow() {
    let world = World::new();
    let source = source(&[&world.repository().display().to_string()]);
    let approval = world.approve("one", "HEAD");
    let packs = |folder: &str| std::fs::read_dir(world.root().join(folder)).unwrap().count();
    let mut last = String::new();
    let (mut most, mut compactions) = (0, 0);
    for number in 0..80 {
        last = world.beat(&number.to_string());
        let note = good(world.poll(&source));
        assert_eq!(note.heartbeat, last);
        most = most.max(packs("spool/packs"));
        let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
        let candidate = store.take(&world.spool()).unwrap().unwrap();
        assert_eq!(candidate.heartbeat.unwrap().to_string(), last);
        assert_eq!(candidate.approvals.len(), 1);
        if store.compact(&[candidate.tip]).unwrap() {
            assert_eq!(
                store.candidate(candidate.tip, &note),
                candidate,
                "a compaction keeps what is current"
            );
            compactions += 1;
        }
    }
    assert!(compactions > 1);
    assert!((40..=66).contains(&most), "{most} packs at most, although no poll was idle");
    good(world.poll(&source));
    assert_eq!(packs("spool/packs"), 1);
    let objects = |folder: &str| {
        let index = std::fs::read_dir(world.root().join(folder)).unwrap().flatten();
        let index =
            index.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|ext| ext == "idx"));
        std::process::Command::new("git")
            .args(["show-index"])
            .stdin(std::fs::File::open(index.unwrap()).unwrap())
            .output()
            .unwrap()
            .stdout
    };
    let kept = String::from_utf8(objects("spool/repository/objects/pack")).unwrap();
    // The first commit with its two folders and two equal files, the approval, and one heartbeat of three objects.
    assert_eq!(kept.lines().count(), 9, "{kept}");
    assert!(kept.contains(&last) && kept.contains(&approval), "{kept}");
    assert!(packs("store/sha1/pack") <= 50, "{}", packs("store/sha1/pack"));
    // Both still know what lies beside the branch, and a lost store comes back.
    assert_eq!(good(world.poll(&source)).heartbeat, last);
    assert_eq!(beside(&take(&world)), (vec![approval.clone()], last.clone()));
    std::fs::remove_dir_all(world.store()).unwrap();
    assert_eq!(beside(&take(&world)), (vec![approval], last));
}

#[test]
fn an_approval_of_a_commit_that_was_taken_back_goes_with_it() {
    let world = World::new();
    let source = source(&[&world.repository().display().to_string()]);
    world.commit("second");
    let tag = world.approve("second", "HEAD");
    assert_eq!(good(world.poll(&source)).approvals, [tag]);
    world.git(&["reset", "-q", "--hard", "HEAD~1"]);
    for number in 0..20 {
        world.beat(&number.to_string());
        good(world.poll(&source));
    }
    good(world.poll(&source));
    let note = good(world.poll(&source));
    assert_eq!(note.approvals, Vec::<String>::new(), "compacted away with its commit");
    take(&world);
}

/// What the store makes of a note that offers this beside the tip: what it takes, and the codes of what it tells.
fn offered(world: &World, approvals: Vec<String>, heartbeat: &str) -> (usize, bool, Vec<&'static str>) {
    let note = Note { tip: world.tip(), approvals, heartbeat: heartbeat.to_owned(), ..Note::default() };
    std::fs::write(world.spool().join("note.json"), serde_json::to_vec(&note).unwrap()).unwrap();
    let mut store = Store::open(&world.store(), &Limits::default()).unwrap();
    let candidate = store.take(&world.spool()).unwrap().unwrap();
    assert_eq!(candidate.tip.to_string(), world.tip(), "the branch never depends on what lies beside it");
    let told = store.refused().iter().map(|error| error.code().0).collect();
    (candidate.approvals.len(), candidate.heartbeat.is_some(), told)
}

/// Attack 37: a fetcher that was taken over lies about approvals and heartbeat.
#[test]
fn a_note_that_lies_about_approvals_and_heartbeat_is_told_and_harms_nothing() {
    let world = World::new();
    let tag = world.approve("one", "HEAD");
    let beat = world.beat("1");
    world.fetched();
    let commit = world.tip();
    let tree = world.git(&["rev-parse", "HEAD^{tree}"]);
    let nowhere = "7".repeat(40);
    let (two, many) = (vec![tag.clone(), tag.clone()], vec![tag.clone(); 100_000 / 8]);
    type Case<'a> = (Vec<String>, &'a str, usize, bool, &'a [&'a str]);
    let cases: [Case; 13] = [
        (vec![tag.clone()], &beat, 1, true, &[]),
        (two, &beat, 1, true, &[]),
        (many, "", 1, false, &["E133"]),
        (vec![commit.clone(), tree.clone(), beat.clone(), tag.clone()], "", 1, false, &["E131"]),
        (vec![nowhere.clone(), tag.clone()], &nowhere, 1, false, &["E131", "E132"]),
        (vec!["\u{1b}[2J".repeat(1000), String::new()], "x", 0, false, &["E131", "E132"]),
        (vec!["a".repeat(64)], &"a".repeat(64), 0, false, &["E131", "E132"]),
        (vec![], &commit, 0, false, &["E132"]),
        (vec![], &tree, 0, false, &["E132"]),
        (vec![], &tag, 0, false, &["E132"]),
        (vec![beat.clone()], &tag, 0, false, &["E131", "E132"]),
        (vec!["../../etc/passwd".into()], "..", 0, false, &["E131", "E132"]),
        (vec![tag.clone()], &beat, 1, true, &[]),
    ];
    for (approvals, heartbeat, taken, beats, told) in cases {
        let shown = format!("{:.200?} {heartbeat:.100}", approvals);
        assert_eq!(offered(&world, approvals, heartbeat), (taken, beats, told.to_vec()), "{shown}");
    }
}
