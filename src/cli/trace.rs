//! `abide trace`: who says that this thing is as it is.

use clap::Args;
use std::fmt::Write as _;

use super::history::render_steps;
use super::terminal::{Style, paint, when};
use super::{Answer, CommandError, DIFFERS, Global, OK, open_state};
use crate::error::escaped;
use crate::resource::ResourceId;
use crate::state::{Entry, StepRecord};
use crate::system::clock;

/// Names the commit, the signer, the file and line that declared a thing, when it was applied, and what it replaced.
#[derive(Args)]
#[command(
    after_help = "Exit code: 1 when abide does not manage the thing.\n\nExample:\n  abide trace /etc/nginx/nginx.conf\n  abide trace nginx\n  abide trace service:nginx"
)]
pub struct Arguments {
    /// A path, package or unit, or `kind:name`.
    thing: String,
}

/// One answer.
#[derive(serde::Serialize)]
struct Trace {
    entry: EntryView,
    steps: Vec<Deed>,
}

/// What a run did to it, and which run that was.
#[derive(serde::Serialize)]
struct Deed {
    #[serde(flatten)]
    step: StepRecord,
    started: i64,
    revision: Option<crate::trust::Revision>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct EntryView {
    resource: ResourceId,
    declared_in: String,
    revision: crate::trust::Revision,
    created: bool,
    adopted: bool,
    first: i64,
    last: i64,
}

/// Runs the command.
///
/// # Errors
/// The state cannot be read.
pub fn run(global: &Global, arguments: &Arguments) -> Answer {
    let state = open_state(global)?.ok_or(CommandError::NothingManaged)?;
    let mut traces = Vec::new();
    for entry in state.inventory()?.into_iter().filter(|entry| is_meant(&entry.resource, &arguments.thing)) {
        let mut steps = Vec::new();
        for step in state.steps_of(&entry.resource, 20)? {
            let run = state.run(step.run)?;
            let started = run.as_ref().map_or(entry.first, |run| run.started);
            steps.push(Deed { step, started, revision: run.and_then(|run| run.revision) });
        }
        traces.push(Trace { entry: view(entry), steps });
    }
    let now = clock::now();
    global.print(&traces, || match traces.is_empty() {
        true => format!("abide does not manage {}\n", escaped(&arguments.thing)),
        false => traces.iter().map(|trace| render(trace, now)).collect::<Vec<_>>().join("\n"),
    });
    Ok(if traces.is_empty() { DIFFERS } else { OK })
}

/// `nginx` means the package and the service, `nginx.service` the service; a path means everything at it or, for a folder
/// with a source, the folder above it.
fn is_meant(resource: &ResourceId, thing: &str) -> bool {
    if ResourceId::parse(thing).is_some_and(|id| id == *resource) || resource.name == thing {
        return true;
    }
    let unit = |name: &str| name.strip_suffix(".service").unwrap_or(name).to_owned();
    if resource.kind == "service" && unit(&resource.name) == unit(thing) {
        return true;
    }
    resource.kind == "directory"
        && thing.strip_prefix(&resource.name).is_some_and(|rest| rest.starts_with('/'))
}

fn view(entry: Entry) -> EntryView {
    EntryView {
        declared_in: entry.origin.to_string(),
        resource: entry.resource,
        revision: entry.revision,
        created: entry.created,
        adopted: entry.adopted,
        first: entry.first,
        last: entry.last,
    }
}

fn render(trace: &Trace, now: i64) -> String {
    let entry = &trace.entry;
    let mut text = format!("{}\n", paint(&escaped(&entry.resource.to_string()), Style::Bold));
    let revision = &entry.revision;
    let _ = writeln!(text, "  declared in  {}", escaped(&entry.declared_in));
    let _ = writeln!(text, "  by commit    {} ({revision})", revision.commit);
    let _ = writeln!(text, "               {}", escaped(&revision.summary));
    let _ = writeln!(text, "  signed by    {} ({})", escaped(&revision.signer), revision.key);
    let origin = match (entry.created, entry.adopted) {
        (true, _) => "created by abide; removed when it leaves the branch",
        (false, true) => "was as declared when it was declared first; stays when it leaves the branch",
        (false, false) => "existed before and was changed; stays when it leaves the branch",
    };
    let _ = writeln!(text, "  origin       {origin}");
    let _ = writeln!(text, "  applied      {}, last {}", when(entry.first, now), when(entry.last, now));
    if !trace.steps.is_empty() {
        text.push_str("  history\n");
    }
    for Deed { step, started, revision } in &trace.steps {
        let revision = revision.as_ref().map(|revision| format!(" to {revision}")).unwrap_or_default();
        let _ = writeln!(text, "    {} in run {}{revision}", when(*started, now), step.run);
        text.push_str(&render_steps(std::slice::from_ref(step)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_what_people_mean() {
        for (resource, thing, meant) in [
            ("file:/etc/motd", "/etc/motd", true),
            ("file:/etc/motd", "file:/etc/motd", true),
            ("file:/etc/motd", "/etc", false),
            ("directory:/srv/www", "/srv/www/index.html", true),
            ("directory:/srv/www", "/srv/wwwroot", false),
            ("service:nginx", "nginx.service", true),
            ("service:nginx.service", "nginx", true),
            ("package:nginx", "nginx", true),
            ("package:nginx", "nginx.service", false),
        ] {
            assert_eq!(is_meant(&ResourceId::parse(resource).unwrap(), thing), meant, "{resource} {thing}");
        }
    }
}
