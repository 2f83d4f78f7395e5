//! `abide build`: render what a host would get.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Answer, FAILED, Global, OK, Output, check, need_folder, terminal};
use crate::error::{Code, Explain, escaped};
use crate::manifest::node::{Node, key_text, nearest};
use crate::manifest::prove::Family;
use crate::manifest::{Explanation, FolderTree, HostIdentity, Rendered, Shown, Tree, explain};
use crate::resource::{Content, ContentOrigin, ResourceId};
use crate::system::facts::{Facts, FactsError, json as to_json};

/// Render what a host would get, without root and without the host.
///
/// The answer is TOML that is itself a role: every template is rendered, every item of a `for-each` is a resource. Facts come from
/// `--facts`, else from `hosts/NAME.facts.json`, else from an example host.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  abide build --host web-01                                      what the host would get\n  abide build --host web-01 --explain                            and why\n  abide build --host web-01 --show file:/etc/nginx/nginx.conf    one file's content"
)]
pub struct Arguments {
    /// Folder of the fleet.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Name of the host.
    #[arg(long, value_name = "NAME")]
    host: String,
    /// Labels from the host's own settings.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Facts as `abide facts` printed them on the host.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// Family of the example host when there are no recorded facts.
    #[arg(long, value_enum, default_value = "debian")]
    family: Family,
    /// Tell which assignments match, where roles come from, and where each variable was set.
    #[arg(long, conflicts_with = "show")]
    explain: bool,
    /// Print the content of one resource's files.
    #[arg(long, value_name = "KIND:NAME")]
    show: Option<String>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A resource that is not there to be shown.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    /// E219: nothing of this name is declared.
    #[error("{wanted} is not declared on this host")]
    Unknown { wanted: String, near: Option<String> },
    /// E220: it has no content.
    #[error("{wanted} has no content of its own")]
    Empty { wanted: String },
}

impl Explain for ShowError {
    fn code(&self) -> Code {
        Code(match self {
            ShowError::Unknown { .. } => "E219",
            ShowError::Empty { .. } => "E220",
        })
    }

    fn remedy(&self) -> String {
        match self {
            ShowError::Unknown { near: Some(near), .. } => format!("did you mean `{near}`?"),
            ShowError::Unknown { .. } => "run `abide build` without `--show` to see what is".into(),
            ShowError::Empty { .. } => "run `abide build` without `--show` to see its fields".into(),
        }
    }
}

/// Runs the command.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    need_folder(&arguments.folder)?;
    let tree = FolderTree::new(&arguments.folder);
    let facts = facts(&tree, arguments)?;
    let labels: BTreeMap<String, String> = arguments.label.iter().cloned().collect();
    let host = HostIdentity { name: arguments.host.clone(), labels };
    let (rendered, explanation, problems) = explain(&tree, &host, &facts);
    if global.output == Output::Json && problems.has_errors() {
        // Data is data even when it is bad news.
        terminal::data(&format!("{}\n", json!({"problems": problems.problems()})));
        return Ok(FAILED);
    }
    if !problems.is_empty() {
        terminal::talk(&problems.render(terminal::colours_errors()));
    }
    if problems.has_errors() && !arguments.explain {
        return Ok(FAILED);
    }
    match &arguments.show {
        Some(wanted) => terminal::data(&show(&explanation, wanted)?),
        None if arguments.explain => global.print(&explained_json(&explanation), || explained(&explanation)),
        None => global.print(&data(&rendered, &explanation), || toml(&rendered, &explanation)),
    }
    Ok(if problems.has_errors() { FAILED } else { OK })
}

fn facts(tree: &dyn Tree, arguments: &Arguments) -> Result<Facts, FactsError> {
    let recorded = format!("hosts/{}.facts.json", arguments.host);
    match (&arguments.facts, tree.read(&recorded)) {
        (Some(path), _) => check::read_facts(path),
        (None, Ok(text)) => Facts::recorded(&text, &recorded),
        (None, Err(_)) => {
            let facts = arguments.family.facts();
            terminal::talk(&format!("no recorded facts: using those of an example host ({})", facts.os.name));
            Ok(facts)
        }
    }
}

fn toml(rendered: &Rendered, explanation: &Explanation) -> String {
    let mut text = format!("# {}: {}\n", rendered.fleet, rendered.roles.join(", "));
    for shown in &explanation.resources {
        text.push_str(&format!("\n# {}\n[{}.{}]\n", shown.origin, shown.id.kind, key_text(&shown.id.name)));
        for (key, value) in shown.table.entries() {
            text.push_str(&format!("{} = {}\n", key_text(&key.name), value.to_toml()));
        }
    }
    text
}

fn data(rendered: &Rendered, explanation: &Explanation) -> Value {
    let resources = explanation.resources.iter().map(|shown| {
        let contents =
            shown.contents.iter().map(|(name, content)| (name.clone(), hex(&content.sha256).into()));
        let contents: Map<String, Value> = contents.collect();
        let fields = to_json(&shown.table);
        (shown.id.to_string(), json!({"from": shown.origin, "fields": fields, "sha256": contents}))
    });
    let resources: Map<String, Value> = resources.collect();
    json!({"fleet": rendered.fleet, "roles": rendered.roles, "resources": resources, "health": rendered.health, "rules": rendered.rules})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn explained(explanation: &Explanation) -> String {
    let mut text = String::from("Labels\n");
    for (key, value) in &explanation.labels {
        text.push_str(&format!("  {} = \"{}\"\n", escaped(key), escaped(value)));
    }
    text.push_str("\nAssignments\n");
    for assignment in &explanation.assignments {
        let mark = match assignment.matches {
            Some(true) => "✓",
            Some(false) => "·",
            None => "✗",
        };
        let when = if assignment.when.is_empty() { "all hosts" } else { &assignment.when };
        text.push_str(&format!("  {mark} {}  {when}\n", assignment.from));
    }
    for role in &explanation.roles {
        text.push_str(&format!("\nRole {}  ({})\n", role.name, role.because));
        for variable in &role.variables {
            text.push_str(&format!("  {} = {}  # {}", variable.name, variable.value, variable.from));
            if !variable.instead_of.is_empty() {
                text.push_str(&format!(", instead of {}", variable.instead_of.join(", ")));
            }
            text.push('\n');
        }
    }
    text.push_str("\nResources\n");
    for shown in &explanation.resources {
        text.push_str(&format!("  {}  # {} (role {})\n", shown.id, shown.origin, shown.origin.role));
    }
    text
}

fn explained_json(explanation: &Explanation) -> Value {
    let resources =
        explanation.resources.iter().map(|shown| json!({"id": shown.id.to_string(), "from": shown.origin}));
    json!({
        "labels": explanation.labels,
        "assignments": explanation.assignments,
        "roles": explanation.roles,
        "resources": resources.collect::<Vec<_>>(),
    })
}

fn show(explanation: &Explanation, wanted: &str) -> Result<String, ShowError> {
    let id = ResourceId::parse(wanted);
    let found = explanation.resources.iter().find(|shown| Some(&shown.id) == id.as_ref());
    let Some(shown) = found else {
        let names: Vec<String> = explanation.resources.iter().map(|shown| shown.id.to_string()).collect();
        let near = nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned);
        return Err(ShowError::Unknown { wanted: wanted.to_owned(), near });
    };
    match (&shown.contents[..], shown.table.get("content").and_then(Node::as_str)) {
        ([], Some(text)) => Ok(text.to_owned()),
        ([], None) => Err(ShowError::Empty { wanted: wanted.to_owned() }),
        ([(_, content)], _) => Ok(bytes(content)),
        (several, _) => Ok(listing(several, shown)),
    }
}

/// Several files, each with its name above.
fn listing(contents: &[(String, Content)], shown: &Shown) -> String {
    let piece = |(name, content): &(String, Content)| format!("# {}: {name}\n{}\n", shown.id, bytes(content));
    contents.iter().map(piece).collect()
}

fn bytes(content: &Content) -> String {
    match &content.origin {
        ContentOrigin::Inline(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("({} bytes, sha256 {})\n", content.size, hex(&content.sha256)),
        },
        ContentOrigin::Blob(_) => format!("({} bytes, sha256 {})\n", content.size, hex(&content.sha256)),
    }
}
