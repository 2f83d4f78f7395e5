//! Proves a repository for every host it knows, without any of them: what `abide check` does.
//!
//! Each `hosts/NAME.toml` is rendered with the facts recorded beside it (`hosts/NAME.facts.json`, as `abide facts` prints them),
//! or else with the facts of an example host of each family. An assignment that no known host matches is rendered for an example
//! host with the labels that its condition compares with.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Place, Severity, Source};
use super::document::{Fleet, role_names};
use super::tree::{Recorder, Tree};
use super::{Forced, HostIdentity, evaluate};
use crate::source::EntryKind;
use crate::system::facts::{Addresses, Facts, Mount, Os};

/// A family of distributions with an example host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Debian 12.
    Debian,
    /// Rocky Linux 9.
    Rhel,
}

impl Family {
    /// Every family.
    pub const ALL: &'static [Family] = &[Family::Debian, Family::Rhel];

    /// The facts of the example host.
    pub fn facts(self) -> Facts {
        let (os, kernel) = match self {
            Family::Debian => (("debian", "debian", "12", "bookworm", "Debian GNU/Linux"), "6.1.0-18-amd64"),
            Family::Rhel => (("rocky", "rhel", "9.4", "", "Rocky Linux"), "5.14.0-427.el9.x86_64"),
        };
        let (id, family, version, codename, name) = os;
        let root = Mount { file_system: "ext4".into(), device: "/dev/vda1".into() };
        Facts {
            os: Os {
                id: id.into(),
                family: family.into(),
                version: version.into(),
                codename: codename.into(),
                name: name.into(),
            },
            hostname: "example".into(),
            fqdn: "example.invalid".into(),
            machine_id: "00000000000000000000000000000001".into(),
            arch: "x86_64".into(),
            kernel: kernel.into(),
            cpus: 2,
            memory: 4096,
            virtualization: "vm".into(),
            addresses: Addresses { ipv4: vec!["192.0.2.1".into()], ipv6: vec!["2001:db8::1".into()] },
            mounts: BTreeMap::from([("/".to_owned(), root)]),
            custom: BTreeMap::new(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Family::Debian => "example debian host",
            Family::Rhel => "example rhel host",
        }
    }
}

/// One host for which the repository was rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// Its name; for an example host, what it stands for.
    pub host: String,
    /// Where its facts are from.
    pub facts: String,
    /// Roles it has.
    pub roles: Vec<String>,
    /// How many resources it has.
    pub resources: usize,
}

/// What the proof found.
#[derive(Debug, Default)]
pub struct Proof {
    /// Every host that was rendered.
    pub hosts: Vec<Proven>,
    /// Errors and warnings, each once.
    pub problems: Diagnostics,
}

/// Renders a tree for every host it knows and looks for what nobody uses.
///
/// `given` are facts to use for every host instead of recorded and example ones.
pub fn prove(tree: &dyn Tree, families: &[Family], given: Option<&Facts>) -> Proof {
    let recorder = Recorder::new(tree);
    let mut prover = Prover { tree: &recorder, proof: Proof::default(), matched: BTreeSet::new() };
    let mut ignored = Diagnostics::default();
    let assignments = Fleet::read(&recorder, &mut ignored).map(|fleet| fleet.assignments).unwrap_or_default();
    let names = prover.host_names();
    for name in &names {
        for (label, facts) in prover.facts_for(name, families, given) {
            let host = HostIdentity { name: name.clone(), labels: BTreeMap::new() };
            prover.render(&host, name, &label, &facts, Forced::Nothing);
        }
    }
    if names.is_empty() && assignments.iter().all(|assignment| assignment.when.is_some()) {
        // Nothing below renders a host without labels, and fleet.toml itself must be looked at.
        let host = HostIdentity { name: "example".into(), labels: BTreeMap::new() };
        for (label, facts) in prover.facts_for("example", families, given) {
            prover.render(&host, "any other host", &label, &facts, Forced::Nothing);
        }
    }
    for (number, assignment) in assignments.iter().enumerate() {
        if !prover.matched.contains(&number) {
            let when = assignment.when.as_ref().map_or("", |when| when.text.as_str());
            prover.example(number, when, families, given);
        }
    }
    if !prover.proof.problems.has_errors() {
        prover.unused(&recorder);
    }
    if matches!(tree.entry("trust.toml"), Ok(None)) {
        let message = "there is no `trust.toml`: no host accepts a branch without a policy";
        let warning =
            Diagnostic::new("W223", message, file_place("trust.toml"), "make one with `abide init`");
        prover.proof.problems.push(warning.as_warning());
    }
    prover.proof
}

struct Prover<'a> {
    tree: &'a dyn Tree,
    proof: Proof,
    /// Assignments that some host has matched.
    matched: BTreeSet<usize>,
}

impl Prover<'_> {
    fn host_names(&self) -> Vec<String> {
        let entries = self.tree.list("hosts").unwrap_or_default();
        entries.iter().filter_map(|entry| entry.name.strip_suffix(".toml").map(str::to_owned)).collect()
    }

    fn facts_for(&mut self, host: &str, families: &[Family], given: Option<&Facts>) -> Vec<(String, Facts)> {
        if let Some(facts) = given {
            return vec![("given".to_owned(), facts.clone())];
        }
        let path = format!("hosts/{host}.facts.json");
        if matches!(self.tree.entry(&path), Ok(Some(_))) {
            let text = self.tree.read(&path).map_err(|error| error.in_one_line());
            match text.and_then(|text| Facts::recorded(&text, &path).map_err(|error| error.to_string())) {
                Ok(facts) => return vec![(path, facts)],
                Err(message) => {
                    let help = "record them again with `abide facts` on the host";
                    self.proof.problems.push(Diagnostic::new("E218", message, file_place(&path), help));
                }
            }
        }
        families.iter().map(|family| (family.name().to_owned(), family.facts())).collect()
    }

    /// Renders for one host; returns its problems when they are not to be reported as they are.
    fn render(&mut self, host: &HostIdentity, name: &str, label: &str, facts: &Facts, forced: Forced) {
        let (rendered, explanation, problems) = evaluate(self.tree, host, facts, forced, true);
        for (number, assignment) in explanation.assignments.iter().enumerate() {
            if assignment.matches != Some(false) {
                self.matched.insert(number);
            }
        }
        self.proof.problems.extend(problems);
        self.proof.hosts.push(Proven {
            host: name.to_owned(),
            facts: label.to_owned(),
            roles: rendered.roles,
            resources: rendered.resources.len(),
        });
    }

    /// Proves an assignment that no known host matches.
    fn example(&mut self, number: usize, when: &str, families: &[Family], given: Option<&Facts>) {
        let labels = labels_of(when);
        let host = HostIdentity { name: "example".into(), labels };
        let name = if when.is_empty() { "any other host".to_owned() } else { format!("a host where {when}") };
        let candidates = self.facts_for("example", families, given);
        for (label, facts) in &candidates {
            let (_, explanation, _) = evaluate(self.tree, &host, facts, Forced::Nothing, true);
            if explanation.assignments.get(number).and_then(|assignment| assignment.matches) == Some(true) {
                self.render(&host, &name, label, facts, Forced::Nothing);
            }
        }
        if self.matched.contains(&number) {
            return;
        }
        // No example fits: its roles are rendered all the same, but what is wrong may be due to the example.
        if let Some((label, facts)) = candidates.first() {
            let (rendered, _, problems) = evaluate(self.tree, &host, facts, Forced::Assignment(number), true);
            for problem in problems.iter() {
                self.proof.problems.push(problem.clone().as_warning());
            }
            let (roles, resources) = (rendered.roles, rendered.resources.len());
            self.proof.hosts.push(Proven { host: name, facts: format!("{label}, forced"), roles, resources });
        }
    }

    /// Warns of roles and files that nobody uses.
    fn unused(&mut self, recorder: &Recorder<'_>) {
        let used: BTreeSet<String> = self.proof.hosts.iter().flat_map(|host| host.roles.clone()).collect();
        for role in role_names(self.tree) {
            if !used.contains(&role) {
                let message = format!("no host has the role `{role}`");
                let help = "assign it in fleet.toml, or remove it";
                let place = file_place(&format!("roles/{role}/role.toml"));
                self.proof.problems.push(Diagnostic::new("W221", message, place, help).as_warning());
                continue;
            }
            let mut files = Vec::new();
            self.files(&format!("roles/{role}"), &mut files);
            for file in files.iter().filter(|file| !recorder.was_read(file)) {
                let message = format!("nothing uses `{file}`");
                let help = "use it as `source` or `template`, or remove it";
                self.proof
                    .problems
                    .push(Diagnostic::new("W222", message, file_place(file), help).as_warning());
            }
        }
    }

    fn files(&self, folder: &str, found: &mut Vec<String>) {
        for entry in self.tree.list(folder).unwrap_or_default() {
            let path = format!("{folder}/{}", entry.name);
            // Notes for people are used by people.
            let for_people = entry.name.starts_with("README") || entry.name.starts_with('.');
            match entry.kind {
                EntryKind::Tree => self.files(&path, found),
                _ if for_people => {}
                _ => found.push(path),
            }
        }
    }
}

impl Proof {
    /// Whether no host would be refused.
    pub fn holds(&self) -> bool {
        self.problems.count(Severity::Error) == 0
    }
}

fn file_place(path: &str) -> Place {
    Place::new(&Arc::new(Source::new(path.to_owned(), String::new())), &(0..0), "")
}

/// The labels that a condition compares with: `host.labels.tier == 'web'` gives `tier = "web"`.
fn labels_of(when: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for piece in when.split("host.labels.").skip(1) {
        let end = piece
            .find(|character: char| !character.is_alphanumeric() && character != '_')
            .unwrap_or(piece.len());
        let (name, rest) = piece.split_at(end);
        let Some(rest) = rest.trim_start().strip_prefix("==") else { continue };
        let rest = rest.trim_start();
        let Some(quote) = rest.chars().next().filter(|character| *character == '\'' || *character == '"')
        else {
            continue;
        };
        if let Some(value) = rest[1..].split(quote).next() {
            labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tree::testing::MemoryTree;

    const FLEET: &str = "[fleet]\nname = \"a\"\nschema = 1\n[[assign]]\nroles = [\"base\"]\n";
    const LINK: &str = "[symlink.\"/a\"]\ntarget = \"{{ host.os.family }}\"\n";

    fn shown(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let proof = prove(&MemoryTree::of(files), Family::ALL, None);
        let hosts = proof
            .hosts
            .iter()
            .map(|host| format!("{} ({}): {}", host.host, host.facts, host.roles.join(" ")));
        let problems = proof.problems.iter().map(|problem| format!("{} {}", problem.code, problem.message));
        (hosts.collect(), problems.collect())
    }

    #[test]
    fn known_hosts_and_unmatched_assignments_are_rendered() {
        let fleet = format!(
            "{FLEET}[[assign]]\nwhen = \"host.labels.tier == 'web' and host.os.family == 'rhel'\"\nroles = [\"web\"]\n\
             [[assign]]\nwhen = \"host.memory > 999999\"\nroles = [\"big\"]\n"
        );
        let facts = serde_json::to_string(&Family::Rhel.facts()).unwrap();
        let (hosts, problems) = shown(&[
            ("fleet.toml", &fleet),
            ("trust.toml", ""),
            ("roles/base/role.toml", LINK),
            ("roles/web/role.toml", ""),
            ("roles/big/role.toml", ""),
            ("hosts/db.toml", ""),
            ("hosts/known.toml", ""),
            ("hosts/known.facts.json", &facts),
        ]);
        insta::assert_snapshot!("proven", hosts.join("\n"));
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn what_nobody_uses_is_a_warning() {
        let (_, problems) = shown(&[
            ("fleet.toml", FLEET),
            ("roles/base/role.toml", LINK),
            ("roles/base/README.md", "for people"),
            ("roles/base/old.conf", ""),
            ("roles/lonely/role.toml", ""),
        ]);
        let codes: Vec<&str> = problems.iter().map(|text| &text[..4]).collect();
        assert_eq!(codes, ["W222", "W221", "W223"], "{problems:?}");
    }

    #[test]
    fn an_error_of_one_host_fails_the_proof() {
        let files = [
            ("fleet.toml", FLEET),
            ("roles/base/role.toml", "[symlink.\"/a\"]\ntarget = \"{{ vars.x }}\"\n"),
            ("hosts/good.toml", "[vars]\nx = \"1\"\n"),
        ];
        assert!(prove(&MemoryTree::of(&files), Family::ALL, None).holds());
        let bad: Vec<_> = files.into_iter().chain([("hosts/bad.toml", "")]).collect();
        let proof = prove(&MemoryTree::of(&bad), Family::ALL, None);
        assert!(!proof.holds());
        // The same mistake is told once, not per host.
        assert_eq!(proof.problems.count(Severity::Error), 1);
    }

    #[test]
    fn labels_are_read_from_conditions() {
        for (when, expected) in [
            ("host.labels.tier == 'web' and host.labels.zone==\"a\"", &[("tier", "web"), ("zone", "a")][..]),
            ("host.labels.tier in ['a']", &[]),
            ("host.name == 'x'", &[]),
        ] {
            let labels = labels_of(when);
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(labels, expected);
        }
    }
}
