//! The stage as a whole: what is rendered, and how mistakes read.

use super::tree::testing::MemoryTree;
use super::*;
use crate::resource::{Enforce, ResourceId};
use crate::system::facts::Os;

const FLEET: &str = "[fleet]\nname = \"acme\"\nschema = 1\n\n[[assign]]\nroles = [\"base\"]\n";

fn facts() -> Facts {
    let os = Os { id: "debian".into(), family: "debian".into(), version: "12".into(), ..Os::default() };
    Facts { os, hostname: "web-01".into(), ..Facts::default() }
}

fn host() -> HostIdentity {
    HostIdentity { name: "web-01".into(), labels: [("tier".to_owned(), "web".to_owned())].into() }
}

fn rendered(files: &[(&str, &str)]) -> Result<Rendered, Diagnostics> {
    render(&MemoryTree::of(files), &host(), &facts())
}

fn role(text: &str) -> Result<Rendered, Diagnostics> {
    rendered(&[("fleet.toml", FLEET), ("roles/base/role.toml", text)])
}

fn ids(rendered: &Rendered) -> Vec<String> {
    rendered.resources.iter().map(|resource| resource.id.to_string()).collect()
}

fn targets(rendered: &Rendered) -> Vec<String> {
    let json = serde_json::to_value(&rendered.resources).unwrap();
    let items = json.as_array().unwrap().iter();
    items.map(|item| item["resource"]["Symlink"]["target"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn roles_are_selected_by_labels_facts_and_host_files() {
    let fleet = "[fleet]\nname = \"acme\"\nschema = 1\n
[[assign]]
roles = [\"base\"]
[[assign]]
when = \"host.labels.tier == 'web' and host.os.family == 'debian'\"
roles = [\"web\"]
[[assign]]
when = \"host.labels.absent == 'x' or host.os.family == 'rhel'\"
roles = [\"never\"]
";
    let files = [
        ("fleet.toml", fleet),
        ("roles/base/role.toml", ""),
        ("roles/web/role.toml", "include = [\"tls\"]"),
        ("roles/tls/role.toml", ""),
        ("roles/special/role.toml", ""),
        ("roles/never/role.toml", ""),
        ("hosts/web-01.toml", "roles = [\"special\"]\n"),
    ];
    assert_eq!(rendered(&files).unwrap().roles, ["base", "tls", "web", "special"]);
    let other = HostIdentity { name: "db-01".into(), ..HostIdentity::default() };
    assert_eq!(render(&MemoryTree::of(&files), &other, &facts()).unwrap().roles, ["base"]);
}

#[test]
fn layers_are_defaults_fleet_assignment_host() {
    let fleet = "[fleet]\nname = \"a\"\nschema = 1\n[vars]\nb = \"fleet\"\nc = \"fleet\"\nd = \"fleet\"\n
[[assign]]\nroles = [\"base\"]\nvars = { c = \"assign\", d = \"assign\" }\n";
    let role = "[vars]\na = \"role\"\nb = \"role\"\n[symlink.\"/l\"]\ntarget = \"{{ vars.a }}-{{ vars.b }}-{{ vars.c }}-{{ vars.d }}\"\n";
    let files = [
        ("fleet.toml", fleet),
        ("roles/base/role.toml", role),
        ("hosts/web-01.toml", "[vars]\nd = \"host\"\n"),
    ];
    assert_eq!(targets(&rendered(&files).unwrap()), ["role-fleet-assign-host"]);
    let (_, explanation, _) = explain(&MemoryTree::of(&files), &host(), &facts());
    let lines: Vec<String> = explanation.roles[0].variables.iter().map(|line| format!("{line:?}")).collect();
    insta::assert_snapshot!("explained_variables", lines.join("\n"));
}

#[test]
fn labels_of_the_branch_win_over_those_of_the_settings() {
    let files = [
        ("fleet.toml", FLEET),
        ("roles/base/role.toml", "[symlink.\"/l\"]\ntarget = \"{{ host.labels.tier }}-{{ host.name }}\"\n"),
        ("hosts/web-01.toml", "[labels]\ntier = \"edge\"\n"),
    ];
    assert_eq!(targets(&rendered(&files).unwrap()), ["edge-web-01"]);
}

#[test]
fn for_each_makes_one_resource_per_item() {
    for (each, name, expected) in [
        ("[\"a\", \"b\"]", "/l/{{ item }}", &["symlink:/l/a", "symlink:/l/b"][..]),
        ("{ x = 1, y = 2 }", "/l/{{ item.key }}-{{ item.value }}", &["symlink:/l/x-1", "symlink:/l/y-2"]),
        ("\"vars.users\"", "/l/{{ item.name }}", &["symlink:/l/ann"]),
        ("\"{{ vars.users }}\"", "/l/{{ item.name }}", &["symlink:/l/ann"]),
        ("\"vars.users | map(attribute='name')\"", "/l/{{ item }}", &["symlink:/l/ann"]),
        ("[]", "/l/{{ item }}", &[]),
        ("[\"{{ vars.one }}\"]", "/l/{{ item }}", &["symlink:/l/1"]),
    ] {
        let text = format!(
            "[vars]\none = 1\nusers = [{{ name = \"ann\" }}]\n[symlink.\"{name}\"]\nfor-each = {each}\ntarget = \"t\"\n"
        );
        assert_eq!(ids(&role(&text).unwrap()), expected, "{each}");
    }
}

#[test]
fn conditions_can_look_at_the_item() {
    let text = "[symlink.\"/l/{{ item }}\"]\nfor-each = [1, 2, 3]\nwhen = \"item > 1\"\ntarget = \"t\"\n";
    assert_eq!(ids(&role(text).unwrap()), ["symlink:/l/2", "symlink:/l/3"]);
}

#[test]
fn common_fields_are_read() {
    let text = "[symlink.\"/a\"]\ntarget = \"t\"\nafter = [\"symlink:/b\"]\nenforce = \"warn\"\nprune = false\nwave = -1\nignore = [\"target\"]\nsensitive = true\n[symlink.\"/b\"]\ntarget = \"t\"\nbefore = [\"symlink:/c\"]\n[symlink.\"/c\"]\ntarget = \"t\"\nwhen = \"false\"\n";
    let rendered = role(text).unwrap();
    let common = &rendered.resources[0].common;
    assert_eq!(common.after, [ResourceId::new("symlink", "/b")]);
    assert_eq!(
        (common.enforce, common.prune, common.wave, common.sensitive),
        (Enforce::Warn, false, -1, true)
    );
    assert_eq!(common.ignore, ["target"]);
    // What is not declared on this host leaves no reference behind.
    assert!(rendered.resources[1].common.before.is_empty());
}

#[test]
fn the_same_declaration_twice_is_one() {
    let fleet = "[fleet]\nname = \"a\"\nschema = 1\n[[assign]]\nroles = [\"one\", \"two\"]\n";
    let text = "[symlink.\"/a\"]\ntarget = \"t\"\n";
    let files = [("fleet.toml", fleet), ("roles/one/role.toml", text), ("roles/two/role.toml", text)];
    let rendered = rendered(&files).unwrap();
    assert_eq!(ids(&rendered), ["symlink:/a"]);
    assert_eq!(rendered.resources[0].origin.to_string(), "roles/one/role.toml:1");
}

#[test]
fn health_checks_are_kept() {
    let text =
        "[vars]\nport = 80\n[health.web]\nhttp = \"http://127.0.0.1:{{ vars.port }}/\"\nwithin = \"1m\"\n";
    let health = role(text).unwrap().health;
    assert!(matches!(&health[0].probe, Probe::Http { url, .. } if url == "http://127.0.0.1:80/"));
    assert_eq!(health[0].within, 60);
}

#[test]
fn a_health_check_is_about_what_the_host_has() {
    let links = "[symlink.\"/a\"]\ntarget = \"t\"\n[symlink.\"/b\"]\ntarget = \"t\"\nwhen = \"false\"\n";
    let check = |names: &str| format!("{links}[health.x]\nunit = \"a\"\nfor = [{names}]\n");
    let both = role(&check("\"symlink:/a\", \"symlink:/b\"")).unwrap().health;
    assert_eq!(both[0].resources, [crate::resource::ResourceId::new("symlink", "/a")]);
    assert_eq!(role(&check("\"symlink:/b\"")).unwrap().health, []);
    assert_eq!(role(&check("")).unwrap().health.len(), 1);
}

#[test]
fn the_same_health_check_of_two_roles_is_one() {
    let fleet = "[fleet]\nname = \"a\"\nschema = 1\n[[assign]]\nroles = [\"one\", \"two\"]\n";
    let text = "[health.web]\ntcp = \"a:80\"\n";
    let of = |other: &str| {
        rendered(&[("fleet.toml", fleet), ("roles/one/role.toml", text), ("roles/two/role.toml", other)])
    };
    assert_eq!(of(text).unwrap().health.len(), 1);
    let problems = of("[health.web]\ntcp = \"a:81\"\n").unwrap_err();
    assert_eq!(problems.problems()[0].code, "E225");
}

/// What people read when they made a mistake; each case is one snapshot.
#[test]
fn mistakes_read_well() {
    let two = "[fleet]\nname = \"a\"\nschema = 1\n[[assign]]\nroles = [\"one\", \"two\"]\n";
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("no_fleet", &[("roles/base/role.toml", "")]),
        (
            "syntax",
            &[("fleet.toml", FLEET), ("roles/base/role.toml", "[symlink.\"/a\"]\ntarget = \nforce = yes\n")],
        ),
        (
            "fleet_keys",
            &[("fleet.toml", "[fleet]\nnmae = \"a\"\nschema = 2\n[[assign]]\nrole = [\"base\"]\nwhen = 5\n")],
        ),
        (
            "unknown_role",
            &[("fleet.toml", &FLEET.replace("\"base\"", "\"bsae\", \"zzz\"")), ("roles/base/role.toml", "")],
        ),
        (
            "include_cycle",
            &[
                ("fleet.toml", FLEET),
                ("roles/base/role.toml", "include = [\"two\"]"),
                ("roles/two/role.toml", "include = [\"three\"]"),
                ("roles/three/role.toml", "include = [\"base\"]"),
            ],
        ),
        (
            "many_at_once",
            &[
                ("fleet.toml", FLEET),
                (
                    "roles/base/role.toml",
                    "[symlnk.\"/a\"]\ntarget = \"t\"\n\n[symlink.\"/b\"]\ntarget = \"t\"\nfroce = true\n\n[symlink.\"/c\"]\ntarget = \"{{ vars.nowhere }}\"\n\n[symlink.\"/d\"]\ntarget = 5\n\n[symlink.\"relative\"]\ntarget = \"t\"\n\n[symlink.\"/e\"]\ntarget = \"t\"\nwave = \"first\"\nafter = [\"sylink:/b\"]\n",
                ),
            ],
        ),
        (
            "conflict",
            &[
                ("fleet.toml", two),
                ("roles/one/role.toml", "[symlink.\"/a\"]\ntarget = \"x\"\n"),
                ("roles/two/role.toml", "# second\n[symlink.\"/a\"]\ntarget = \"y\"\n"),
            ],
        ),
        (
            "references",
            &[
                ("fleet.toml", FLEET),
                (
                    "roles/base/role.toml",
                    "[symlink.\"/etc/one\"]\ntarget = \"t\"\nafter = [\"symlink:/etc/oen\", \"symlink:/elsewhere/entirely\"]\n[symlink.\"/etc/oe\"]\ntarget = \"t\"\n",
                ),
                ("roles/other/role.toml", "[symlink.\"/elsewhere/entirely\"]\ntarget = \"t\"\n"),
            ],
        ),
        (
            "condition",
            &[
                ("fleet.toml", &FLEET.replace("roles", "when = \"host.os.famly == 'debian'\"\nroles")),
                ("roles/base/role.toml", ""),
            ],
        ),
        (
            "template_in_name",
            &[
                ("fleet.toml", FLEET),
                ("roles/base/role.toml", "[symlink.\"/a/{{ host.name }}\"]\ntarget = \"t\"\n"),
            ],
        ),
        (
            "for_each",
            &[
                ("fleet.toml", FLEET),
                (
                    "roles/base/role.toml",
                    "[symlink.\"/a/{{ item.x }}\"]\nfor-each = \"vars.usres\"\ntarget = \"t\"\n[vars]\nusers = []\n[symlink.\"/b\"]\nfor-each = 5\ntarget = \"t\"\n",
                ),
            ],
        ),
        (
            "multi_line_string",
            &[
                ("fleet.toml", FLEET),
                (
                    "roles/base/role.toml",
                    "[symlink.\"/a\"]\ntarget = \"\"\"\nfirst\n{{ 1 + vars }}\n\"\"\"\n",
                ),
            ],
        ),
        (
            "health",
            &[
                ("fleet.toml", FLEET),
                (
                    "roles/base/role.toml",
                    "[health.a]\nhttp = \"x\"\n[health.b]\nwithn = \"5s\"\n[health.c]\nunit = \"x\"\nfor = [\"servce:x\"]\n",
                ),
            ],
        ),
        (
            "host_file",
            &[
                ("fleet.toml", FLEET),
                ("roles/base/role.toml", ""),
                ("hosts/web-01.toml", "lables = {}\n[labels]\ntier = 5\n"),
            ],
        ),
    ];
    for (name, files) in cases {
        let problems = rendered(files).expect_err(name);
        insta::assert_snapshot!(format!("mistake_{name}"), problems.render(false));
    }
}

/// Attack 30: a template or a path in a role reaches for files of the host, for the environment, or for other roles.
#[test]
fn nothing_in_a_role_reaches_out_of_it() {
    let file = |fields: &str| format!("[file.\"/etc/x\"]\n{fields}\n");
    for (text, code) in [
        (file("template = \"../../../etc/shadow\""), "E209"),
        (file("template = \"/etc/shadow\""), "E209"),
        (file("source = \"../secret/key\""), "E209"),
        (file("source = \"a/../../secret/key\""), "E209"),
        ("[directory.\"/etc/y\"]\nsource = \"..\"\n".into(), "E209"),
        (file("content = \"{% include '/etc/shadow' %}\""), "E210"),
        (file("content = \"{% import '../x' as x %}\""), "E210"),
        (file("content = \"{{ env.HOME }}\""), "E210"),
        (file("content = \"{{ getenv('HOME') }}\""), "E210"),
        (file("content = \"{{ read('/etc/shadow') }}\""), "E210"),
        (file("content = \"{{ vars.__class__ }}\""), "E210"),
        ("include = [\"../../etc\"]\n".into(), "E206"),
        // The name of a resource is what a reviewer reads: no template makes it a path with a way back.
        ("[file.\"/etc/{{ '../root/x' }}\"]\ncontent = \"\"\n".into(), "E2"),
    ] {
        let files = [
            ("fleet.toml", FLEET),
            ("roles/base/role.toml", &text),
            ("roles/secret/key", "key"),
            ("roles/secret/role.toml", ""),
        ];
        let Err(diagnostics) = rendered(&files) else { panic!("accepted: {text}") };
        let codes: Vec<String> = diagnostics.problems().into_iter().map(|problem| problem.code).collect();
        assert!(codes.iter().any(|found| found.starts_with(code)), "{text}: {codes:?}");
    }
}

#[test]
fn a_diagnostic_is_a_problem_with_its_place() {
    let problems = role("[symlink.\"/a\"]\ntarget = \"t\"\nfroce = true\n").unwrap_err();
    let problem = &problems.problems()[0];
    assert_eq!((problem.code.as_str(), problem.place.as_deref()), ("E204", Some("roles/base/role.toml:3:1")));
    assert_eq!(problem.remedy, "did you mean `force`?");
    insta::assert_snapshot!("problem", problem.to_string());
    let json = serde_json::to_value(problem).unwrap();
    assert_eq!(json["code"], "E204");
}

#[test]
fn git_and_folder_give_the_same() {
    let files = [("fleet.toml", FLEET), ("roles/base/role.toml", "[symlink.\"/a\"]\ntarget = \"t\"\n")];
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let from_folder = render(&FolderTree::new(folder.path()), &host(), &facts()).unwrap();
    assert_eq!(from_folder, rendered(&files).unwrap());
    let objects = testing::Memory::of(&files);
    let from_git = render(&GitTree::new(&objects, objects.root), &host(), &facts()).unwrap();
    assert_eq!(from_git, from_folder);
}

#[test]
fn the_fleet_to_copy_holds() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet");
    let proof = prove::prove(&FolderTree::new(&root), prove::Family::ALL, None);
    let codes: Vec<&str> = proof.problems.iter().map(|problem| problem.code.0).collect();
    // `abide init` adds the policy.
    assert_eq!(codes, ["W223"], "{}", proof.problems.render(false));
    let (rendered, _, problems) = explain(
        &FolderTree::new(&root),
        &HostIdentity { name: "web-01".into(), ..HostIdentity::default() },
        &prove::Family::Rhel.facts(),
    );
    assert!(!problems.has_errors());
    assert!(ids(&rendered).contains(&"service:chronyd".to_owned()), "{:?}", ids(&rendered));
}

/// Prints how long rendering and loading take:
/// `cargo test --lib --config profile.dev.opt-level=3 figures -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn figures() {
    for count in [1_000, 5_000] {
        let files: String = (0..count)
            .map(|number| {
                format!("[file.\"/etc/many/{number}.conf\"]\ncontent = \"value = {{{{ vars.x }}}} {number}\\n\"\nmode = \"0644\"\n")
            })
            .collect();
        let role = format!("[vars]\nx = 5\n{files}");
        let tree = MemoryTree::of(&[("fleet.toml", FLEET), ("roles/base/role.toml", &role)]);
        let time = std::time::Instant::now();
        let rendered = render(&tree, &host(), &facts()).unwrap();
        let rendering = time.elapsed();
        let revision = Revision {
            reference: "refs/heads/main".into(),
            commit: "c".into(),
            tree: "t".into(),
            payload: "p".into(),
            signer: "s".into(),
            key: "k".into(),
            time: 0,
            summary: "m".into(),
        };
        let desired = Desired { revision, rendered };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("desired");
        let key =
            CacheKey { commit: "c".into(), facts: "f".into(), settings: "s".into(), version: "1".into() };
        desired.save(&path, &key, &Default::default()).unwrap();
        let best = (0..20).map(|_| {
            let time = std::time::Instant::now();
            assert!(Desired::load(&path).is_some());
            time.elapsed()
        });
        let size = std::fs::metadata(&path).unwrap().len();
        println!(
            "{count} templated files: render {rendering:?}, load {:?}, {size} bytes",
            best.min().unwrap()
        );
    }
}

/// Git objects in memory.
mod testing {
    use crate::source::{Entry, EntryKind, ObjectError, Objects};
    use gix::ObjectId;
    use std::collections::{BTreeMap, HashMap};

    pub(super) struct Memory {
        trees: HashMap<ObjectId, Vec<Entry>>,
        blobs: HashMap<ObjectId, Vec<u8>>,
        pub(super) root: ObjectId,
    }

    impl Memory {
        pub(super) fn of(files: &[(&str, &str)]) -> Memory {
            let root = ObjectId::null(gix::hash::Kind::Sha1);
            let mut memory = Memory { trees: HashMap::new(), blobs: HashMap::new(), root };
            memory.root = memory.folder(files);
            memory
        }

        /// Ids only have to differ.
        fn next(&self) -> ObjectId {
            let mut id = [0u8; 20];
            id[..8].copy_from_slice(&((self.trees.len() + self.blobs.len() + 1) as u64).to_be_bytes());
            ObjectId::from(id)
        }

        fn folder(&mut self, files: &[(&str, &str)]) -> ObjectId {
            let mut below: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
            let mut entries = Vec::new();
            for (path, text) in files {
                match path.split_once('/') {
                    Some((folder, rest)) => below.entry(folder).or_default().push((rest, text)),
                    None => {
                        let id = self.next();
                        self.blobs.insert(id, text.as_bytes().to_vec());
                        entries.push(Entry { name: (*path).to_owned(), kind: EntryKind::File, id });
                    }
                }
            }
            for (name, files) in below {
                let id = self.folder(&files);
                entries.push(Entry { name: name.to_owned(), kind: EntryKind::Tree, id });
            }
            let id = self.next();
            self.trees.insert(id, entries);
            id
        }
    }

    impl Objects for Memory {
        fn commit(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
            Err(ObjectError::Missing { id })
        }
        fn tag(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
            Err(ObjectError::Missing { id })
        }
        fn tree(&self, id: ObjectId) -> Result<Vec<Entry>, ObjectError> {
            self.trees.get(&id).cloned().ok_or(ObjectError::Missing { id })
        }
        fn blob(&self, id: ObjectId) -> Result<Vec<u8>, ObjectError> {
            self.blobs.get(&id).cloned().ok_or(ObjectError::Missing { id })
        }
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Text that is often close to a role: pieces of the language in any order.
    fn document() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("[symlink.\"/a\"]\n".to_owned()),
            Just("[symlink.\"/b/{{ item }}\"]\nfor-each = [1, 2]\n".to_owned()),
            Just("target = \"{{ vars.x }}\"\n".to_owned()),
            Just("when = \"host.name == 'x'\"\n".to_owned()),
            Just("after = [\"symlink:/a\"]\n".to_owned()),
            Just("[vars]\nx = 1\n".to_owned()),
            Just("include = [\"base\"]\n".to_owned()),
            Just("[health.h]\n".to_owned()),
            "[a-z]{1,5} = \"[{}%#a-z| .]{0,12}\"\n",
            "\\PC{0,20}\n",
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn rendering_never_panics_and_is_deterministic(fleet in document(), role_text in document(), host_text in document()) {
            let fleet = format!("{FLEET}{fleet}");
            let files = [("fleet.toml", fleet.as_str()), ("roles/base/role.toml", &role_text), ("hosts/web-01.toml", &host_text)];
            for files in [&files[..], &[("fleet.toml", FLEET), ("roles/base/role.toml", &role_text)]] {
                let first = rendered(files);
                if let Err(problems) = &first {
                    prop_assert!(!problems.render(false).is_empty());
                }
                prop_assert_eq!(first, rendered(files));
            }
        }
    }
}
