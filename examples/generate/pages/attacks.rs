//! The attacks that abide withstands, each with the tests that prove it. The tests say it themselves, in a doc line
//! `Attack 29: …` above them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// An attack, and what is done about it. Its number is its place, from 1.
struct Attack {
    attack: &'static str,
    defence: &'static str,
}

const fn attack(attack: &'static str, defence: &'static str) -> Attack {
    Attack { attack, defence }
}

const ATTACKS: &[Attack] = &[
    attack("A tip that nobody signed", "every new commit is signed, or under a seal: `E010`"),
    attack(
        "A bad commit hidden under a good tip",
        "every new commit is judged by itself; nothing above a bad one counts",
    ),
    attack(
        "A commit by a key that the policy does not know",
        "only keys of the policy in force count: `E015`",
    ),
    attack(
        "An expired key that backdates its commits",
        "expiry is judged by the host's trusted time, never by the commit's: `E016`",
    ),
    attack(
        "A key before its time, or a date from the future",
        "dates in commits and signatures decide nothing; a key counts from the policy that brings it",
    ),
    attack(
        "A revoked key, or a list of revoked keys that is gone",
        "revoking is taking the key out of the policy, which cannot be deleted: `E015`, `E025`",
    ),
    attack(
        "A revoked key that forks a host which slept",
        "with `max-age`, only tips that a fresh heartbeat names are applied; a fork of the mark is refused: `E031`",
    ),
    attack(
        "Commits of another repository with the same signers",
        "the fleet's name is in the signed policy: `E028`, `E032`, `E033`",
    ),
    attack(
        "Another branch served as this one",
        "the branch's name is in the signed policy and in the heartbeat: `E028`",
    ),
    attack(
        "A tag that is moved, renamed or copied to other content",
        "a tag's name means nothing; the object that it signs is all it approves",
    ),
    attack("A rewind to an older commit", "the high-water mark never falls: `E030`"),
    attack(
        "A fork or a force-push",
        "the line continues the mark and the introduction along first parents: `E031`",
    ),
    attack(
        "A second form of a signed commit, made without its key",
        "one canonical form of commits and signatures, and a mark that remembers the payload: `E011`, `E012`",
    ),
    attack("A branch that is frozen", "heartbeats expire; the host says so and keeps enforcing what it has"),
    attack(
        "Different hosts shown different branches",
        "the heartbeat names the tip, and each host reports its revision",
    ),
    attack(
        "Two objects with one SHA-1",
        "collisions are detected while hashing; SHA-256 repositories are accepted",
    ),
    attack(
        "Content smuggled in by a merge",
        "a merge is judged by what differs from its first parent, its side branches by themselves: `E020`, `E035`",
    ),
    attack(
        "Headers twice, with NUL, or of no known kind",
        "the bytes that are verified are those that are read, in one form: `E011`",
    ),
    attack("A signature that is altered and still valid", "strict Ed25519, one encoding: `E012`, `E017`"),
    attack(
        "A signature made for something else",
        "each kind of statement has a namespace of its own: `E013`",
    ),
    attack("A security key that signs by itself", "the flag of a touch is required: `E018`"),
    attack(
        "A commit that lets its own signer in",
        "the policy in force is that of the last commit in effect: `E015`, `E020`",
    ),
    attack(
        "A threshold that one signer lowers",
        "a policy comes into effect under its own threshold and the old one: pending, `E040`",
    ),
    attack(
        "A forge's own key among the principals",
        "the lint of a policy knows the keys that forges sign with",
    ),
    attack(
        "Names such as `..` and `.git`, in any spelling",
        "an entry's name is one plain component of a path: `E024`",
    ),
    attack("Symlinks in the tree that leave it", "refused where they are added: `E023`"),
    attack("Submodules", "refused where they are added: `E022`"),
    attack(
        "Replace refs, grafts, shallow histories, alternates",
        "a store of objects without any of them; what is not there is not believed",
    ),
    attack(
        "Packs that inflate to fill memory or disk",
        "limits on bytes, objects, sizes, depth and all that is inflated, before anything is indexed",
    ),
    attack(
        "Templates that reach for files or out of their destination",
        "templates have no files and no environment; destinations are literal paths",
    ),
    attack(
        "A folder swapped for a symlink while it is written to",
        "paths are opened component by component and never through links",
    ),
    attack(
        "Hard links and FIFOs where a file is to be",
        "files are replaced whole and never written in place",
    ),
    attack(
        "Secrets in diffs, journals and temporary files",
        "sensitive content has a type that cannot be shown, and files are private until they are in place",
    ),
    attack(
        "Options and commands in the names of packages and units",
        "a strict grammar of names, argument vectors and no shell",
    ),
    attack(
        "A man in the middle, with DNS or a rogue authority",
        "TLS and host keys are checked; whoever gets through still cannot sign",
    ),
    attack(
        "A clock that is set back or forward",
        "trusted time is the latest of clock, last time seen and heartbeat; jumps are reported",
    ),
    attack(
        "A fetcher that was taken over",
        "nothing that it says is believed: every object is hashed again, within limits",
    ),
    attack(
        "A state folder that is damaged, lost or readable",
        "private to root, checked, and never silently forgotten: `E003`",
    ),
    attack("An older abide on a newer branch", "the policy names the oldest abide that may apply it: `E029`"),
    attack(
        "A package source or package scripts that turn hostile",
        "sources have a scope and a quorum of their own; a change of them is a change like any other",
    ),
    attack("Polls that amplify", "jitter, backoff and a listing of refs before anything else"),
    attack(
        "A crash in the middle of a change",
        "what is verified is remembered at once, what is applied only when it is; the journal tells what may have happened",
    ),
    attack(
        "Transports, configuration and hooks of Git",
        "no configuration of Git is read, few transports are allowed, no hook can run",
    ),
    attack("Control characters in text of others", "text of others is escaped wherever it is shown"),
];

/// Where what is no proof of any attack is put.
const NO_ATTACK: usize = 0;

/// Attacks without a test, and doc lines with a number that no attack has. Both should be empty.
pub fn gaps(root: &Path) -> (Vec<String>, Vec<String>) {
    let tests = tests(root);
    let without = (1..=ATTACKS.len()).filter(|number| !tests.contains_key(number));
    let unknown = tests.iter().filter(|(number, _)| !(1..=ATTACKS.len()).contains(*number));
    (
        without.map(|number| format!("{number}: {}", ATTACKS[number - 1].attack)).collect(),
        unknown.map(|(number, tests)| format!("{number}: {}", tests.join(", "))).collect(),
    )
}

/// The page of attacks.
pub fn page(root: &Path) -> String {
    let tests = tests(root);
    let mut text = format!(
        "# Attacks\n\n{}\n\nWhat somebody might do to a branch, its server, the network, a host's folders or its operator, what abide does about it,\n\
         and the tests that prove it: nothing new is applied, what was proven stays, and the code is the right one.\n\
         A test joins by a doc line of the form `Attack 29: …`.\n\n| | attack | defence | tests |\n|---|---|---|---|\n",
        super::NOTE
    );
    for (number, Attack { attack, defence }) in (1..).zip(ATTACKS) {
        let proof = tests.get(&number).map(|names| names.join("<br>")).unwrap_or_default();
        let _ = writeln!(text, "| {number} | {attack} | {defence} | {proof} |");
    }
    text
}

/// The tests of each number: the file, and the function's name.
fn tests(root: &Path) -> BTreeMap<usize, Vec<String>> {
    let mut found = BTreeMap::new();
    for folder in ["src", "tests"] {
        read_folder(root, folder, &mut found);
    }
    found
}

fn read_folder(root: &Path, folder: &str, found: &mut BTreeMap<usize, Vec<String>>) {
    let entries = std::fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names {
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() {
            read_folder(root, &path, found);
        } else if name.ends_with(".rs") {
            read_file(&path, &super::read(&path), found);
        }
    }
}

fn read_file(path: &str, text: &str, found: &mut BTreeMap<usize, Vec<String>>) {
    let mut numbers: Vec<usize> = Vec::new();
    let mut is_test = false;
    let mut add = |number, test: String| found.entry(number).or_default().push(test);
    for line in text.lines().map(str::trim) {
        if let Some((number, _)) = line.strip_prefix("/// Attack ").and_then(|rest| rest.split_once(": ")) {
            numbers.push(number.parse().unwrap_or(NO_ATTACK));
        } else if let Some(function) = line.strip_prefix("fn ").filter(|_| is_test) {
            let name = function.split(['(', '<']).next().unwrap_or_default();
            for number in numbers.drain(..) {
                add(number, format!("`{path}` {name}"));
            }
        }
        // Docs and attributes stand above the function that they are about.
        is_test = line == "#[test]" || is_test && line.starts_with(['#', '/']);
        if !line.starts_with(['#', '/']) {
            numbers.drain(..).for_each(|number| {
                add(NO_ATTACK, format!("`{path}` {number}, above `{line}`, which is no test"))
            });
        }
    }
}
