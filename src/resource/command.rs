//! `command`: a program that is run when a guard says that it has to be, or when something else changed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::fields::{self, Seconds, is_account_name};
use super::service::watched;
use super::{Context, Declaration, DeclareError, Field, Provision, Relations, Resource, ResourceId, codes};
use crate::plan::{Change, Diff, Effect, PlanError, Principal, Reach, Run};
use crate::system::observe::{Guard, Needs, PathNeed};

/// A program to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    name: String,
    run: Run,
    creates: Option<PathBuf>,
    unless: Option<Guard>,
    only_if: Option<Guard>,
    refresh_on: Vec<ResourceId>,
    refresh_only: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Fields {
    argv: Vec<String>,
    creates: Option<PathBuf>,
    unless: Option<Vec<String>>,
    only_if: Option<Vec<String>>,
    #[serde(default)]
    refresh_on: Vec<String>,
    #[serde(default)]
    refresh_only: bool,
    cwd: Option<PathBuf>,
    user: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    timeout: Option<Seconds>,
    #[serde(default)]
    sandbox: Vec<Sandbox>,
    success: Option<Vec<u8>>,
}

/// How a program is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sandbox {
    ReadOnly,
    NoNetwork,
}

impl Sandbox {
    fn word(self) -> &'static str {
        match self {
            Sandbox::ReadOnly => "read-only",
            Sandbox::NoNetwork => "no-network",
        }
    }
}

/// Seconds that a program may take unless it says otherwise.
const TIMEOUT: u32 = 300;

impl Resource for Command {
    const KIND: &'static str = "command";
    const SUMMARY: &'static str = "A program that is run when a guard says that it has to be, or when something else changed. No shell is involved.";
    const EXAMPLE: &'static str = r#"
[command.dhparam]
argv = ["openssl", "dhparam", "-out", "/etc/ssl/dhparam.pem", "2048"]
creates = "/etc/ssl/dhparam.pem"
timeout = "10min"

[command.newaliases]
argv = ["newaliases"]
refresh-only = true
refresh-on = ["file:/etc/aliases"]

[command.database]
argv = ["createdb", "app"]
unless = ["psql", "-d", "app", "-c", ""]
user = "postgres"

[file."/etc/aliases"]
content = "root: admin@example.com\n"
"#;
    const FIELDS: &'static [Field] = &[
        Field {
            name: "argv",
            kind: "list of strings",
            default: "",
            doc: "The program and its arguments. For a shell, write one: `[\"sh\", \"-c\", \"…\"]`.",
        },
        Field {
            name: "creates",
            kind: "path",
            default: "none",
            doc: "Run only when nothing is at this path. A change of what `refresh-on` names runs it all the same.",
        },
        Field {
            name: "unless",
            kind: "list of strings",
            default: "none",
            doc: "A program that exits with 0 when there is nothing to do. Guards are run at every check, as `user` and in `cwd`: they must be \
                  quick and change nothing.",
        },
        Field {
            name: "only-if",
            kind: "list of strings",
            default: "none",
            doc: "A program that exits with 0 when there is something to do. With other guards: all have to agree.",
        },
        Field {
            name: "refresh-on",
            kind: "list of resources",
            default: "[]",
            doc: "Run when one of these changed in the same run.",
        },
        Field {
            name: "refresh-only",
            kind: "boolean",
            default: "false",
            doc: "Never run for another reason than `refresh-on`.",
        },
        Field { name: "cwd", kind: "path", default: "`/`", doc: "Working directory." },
        Field { name: "user", kind: "string", default: "\"root\"", doc: "User to run as." },
        Field {
            name: "environment",
            kind: "table of strings",
            default: "{}",
            doc: "Variables, added to a clean environment.",
        },
        Field {
            name: "timeout",
            kind: "time",
            default: "\"5min\"",
            doc: "How long it may take, such as `\"1h\"`. It is ended then, and counts as failed.",
        },
        Field {
            name: "sandbox",
            kind: "list of \"read-only\" and \"no-network\"",
            default: "[]",
            doc: "Confine it: the file system cannot be written (but `/tmp` of its own), the network cannot be reached.",
        },
        Field {
            name: "success",
            kind: "list of integers",
            default: "[0]",
            doc: "Exit codes that count as success.",
        },
    ];

    fn declare(declaration: Declaration<'_>) -> Result<Command, DeclareError> {
        let fields: Fields = declaration.table.read()?;
        let name = declaration.name.to_owned();
        if name.is_empty() || name.chars().any(|character| character.is_control() || character == ':') {
            let help = "give it a plain name, such as `newaliases`";
            return Err(declaration.name_error("this is not the name of a command", help));
        }
        fields::argv(&declaration, "argv", &fields.argv)?;
        check(&declaration, &fields)?;
        let guard = |argv: Option<Vec<String>>| {
            argv.map(|argv| Guard { argv, user: fields.user.clone(), directory: fields.cwd.clone() })
        };
        let refresh_on = watched(&declaration, "refresh-on", &fields.refresh_on)?;
        let (unless, only_if) = (guard(fields.unless.clone()), guard(fields.only_if.clone()));
        let run = Run {
            argv: fields.argv,
            directory: fields.cwd,
            user: fields.user,
            environment: fields.environment,
            timeout: fields.timeout.map_or(TIMEOUT, |seconds| seconds.0),
            sandbox: fields.sandbox.iter().map(|sandbox| sandbox.word().to_owned()).collect(),
            success: fields.success.unwrap_or_else(|| vec![0]).into_iter().map(i32::from).collect(),
        };
        let (creates, refresh_only) = (fields.creates, fields.refresh_only);
        Ok(Command { name, run, creates, unless, only_if, refresh_on, refresh_only })
    }

    fn needs(&self, needs: &mut Needs) {
        needs.guards.extend(self.unless.iter().chain(&self.only_if).cloned());
        needs.users.extend(self.run.user.clone());
        if let Some(path) = &self.creates {
            needs.path(path, PathNeed::default());
        }
    }

    fn prune_needs(&self, _: &mut Needs) {}

    fn relations(&self, relations: &mut Relations) {
        relations.watches.extend(self.refresh_on.iter().cloned());
        relations.requires.extend(self.run.user.clone().map(Provision::User));
        relations.requires.extend(self.run.directory.clone().map(Provision::Path));
        relations.requires.extend(self.creates.iter().filter_map(|path| path.parent()).map(|path| Provision::Path(path.to_owned())));
        // A program or an argument may be a file of the same plan.
        let guards = self.unless.iter().chain(&self.only_if).flat_map(|guard| &guard.argv);
        let paths = self.run.argv.iter().chain(guards).filter(|argument| argument.starts_with('/'));
        relations.requires.extend(paths.map(|path| Provision::Path(path.into())));
    }

    fn reach(&self, reach: &mut Vec<Reach>) {
        let guards = self.unless.iter().chain(&self.only_if).map(|guard| guard.argv.clone());
        reach.extend([self.run.argv.clone()].into_iter().chain(guards).map(Reach::Program));
    }

    fn plan(&self, context: &Context<'_>) -> Result<Option<Change>, PlanError> {
        let cause = self.refresh_on.iter().find(|id| (context.changes)(id));
        if cause.is_none() && self.refresh_only {
            return Ok(None);
        }
        if let (Some(path), None) = (&self.creates, cause)
            && context.path(&self.id(), path)?.is_some()
        {
            return Ok(None);
        }
        if self.guard(&self.unless, context)? == Some(true) || self.guard(&self.only_if, context)? == Some(false) {
            return Ok(None);
        }
        if let Some(user) = &self.run.user {
            let owner = Some(Principal::Name(user.clone()));
            let attributes = crate::plan::Attributes { owner, ..Default::default() };
            super::attributes::check(&attributes, &self.id(), context)?;
        }
        let summary = cause.map_or_else(|| "run".to_owned(), |cause| format!("run because of {cause}"));
        let after = self.run.argv.join(" ");
        Ok(Some(Change {
            summary,
            creates: false,
            effects: vec![Effect::Run(self.run.clone())],
            diffs: vec![Diff::Property { name: "run".into(), before: String::new(), after }],
        }))
    }

    fn prune(&self, _: &Context<'_>) -> Result<Option<Change>, PlanError> {
        Ok(None)
    }
}

fn check(declaration: &Declaration<'_>, fields: &Fields) -> Result<(), DeclareError> {
    for (key, argv) in [("unless", &fields.unless), ("only-if", &fields.only_if)] {
        if let Some(argv) = argv {
            fields::argv(declaration, key, argv)?;
        }
    }
    for (key, path) in [("creates", &fields.creates), ("cwd", &fields.cwd)] {
        if path.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(declaration.error(key, format!("`{key}` is not an absolute path"), "write it from `/` on"));
        }
    }
    let guarded = fields.creates.is_some() || fields.unless.is_some() || fields.only_if.is_some();
    if !guarded && !fields.refresh_only {
        return Err(declaration.error(
            "argv",
            "the command would be run at every check",
            "it needs `creates`, `unless`, `only-if` or `refresh-only` with `refresh-on`",
        ));
    }
    if fields.refresh_only && fields.refresh_on.is_empty() {
        let help = "add `refresh-on = [\"file:/…\"]`";
        return Err(declaration.error("refresh-only", "nothing would ever run the command", help));
    }
    if fields.user.as_ref().is_some_and(|user| !is_account_name(user)) {
        return Err(declaration.error("user", "this is not the name of a user", "write its name, not its number"));
    }
    let plain = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    if fields.environment.iter().any(|(name, value)| !plain(name) || value.contains('\0')) {
        let help = "names are letters, digits and `_`";
        return Err(declaration.error("environment", "this is not a variable of the environment", help));
    }
    if fields.success.as_ref().is_some_and(Vec::is_empty) {
        return Err(declaration.error("success", "no exit code would be a success", "name one, such as 0"));
    }
    Ok(())
}

impl Command {
    fn id(&self) -> ResourceId {
        ResourceId::new(Self::KIND, &self.name)
    }

    /// What a guard says; `None` when there is no guard, or when it cannot say yet.
    fn guard(&self, guard: &Option<Guard>, context: &Context<'_>) -> Result<Option<bool>, PlanError> {
        let Some(guard) = guard else { return Ok(None) };
        let reason = match context.host.guards.get(guard) {
            Some(Ok(answer)) => return Ok(Some(*answer)),
            // Its program, its user or its directory may come with this plan.
            _ if self.brought(guard, context) => return Ok(None),
            Some(Err(reason)) => reason.clone(),
            None => "it was not run".to_owned(),
        };
        Err(PlanError::new(
            self.id(),
            codes::GUARD_FAILED,
            format!("the guard `{}` cannot be run: {reason}", guard.argv.join(" ")),
            "correct the guard, or declare the package that brings its program",
        ))
    }

    fn brought(&self, guard: &Guard, context: &Context<'_>) -> bool {
        let missing_user = guard.user.iter().any(|user| {
            !context.host.users.contains_key(user) && (context.provided)(&Provision::User(user.clone()))
        });
        let program = guard.argv.first().map(PathBuf::from);
        let mut paths = program.iter().chain(&guard.directory);
        missing_user || context.packages_arrive() || paths.any(|path| (context.provided)(&Provision::Path(path.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::{context, declare, file, outcome, path, refuses, relations};
    use crate::system::observe::{Observed, PathState};

    const ARGV: &str = "argv = [\"newaliases\"]\n";

    fn guard(program: &str) -> Guard {
        Guard { argv: vec![program.to_owned()], user: None, directory: None }
    }

    #[test]
    fn guards_decide() {
        let answers = |unless: bool, only_if: bool| Observed {
            guards: [(guard("u"), Ok(unless)), (guard("o"), Ok(only_if))].into(),
            ..Observed::default()
        };
        for (table, unless, only_if, expected) in [
            ("unless = [\"u\"]", true, false, "unchanged"),
            ("unless = [\"u\"]", false, false, "run"),
            ("only-if = [\"o\"]", true, true, "run"),
            ("only-if = [\"o\"]", true, false, "unchanged"),
            ("unless = [\"u\"]\nonly-if = [\"o\"]", false, true, "run"),
            ("unless = [\"u\"]\nonly-if = [\"o\"]", true, true, "unchanged"),
        ] {
            let command: Command = declare("x", &format!("{ARGV}{table}")).unwrap();
            assert_eq!(outcome(&command, &context(&answers(unless, only_if))), expected, "{table}");
        }
    }

    #[test]
    fn what_it_creates_decides_unless_it_is_refreshed() {
        let table = format!("{ARGV}creates = \"/made\"\nrefresh-on = [\"file:/a\"]");
        let command: Command = declare("x", &table).unwrap();
        let (made, missing) = (path("/made", file("")), path("/made", PathState::Absent));
        assert_eq!(outcome(&command, &context(&made)), "unchanged");
        assert_eq!(outcome(&command, &context(&missing)), "run");
        assert_eq!(outcome(&command, &Context { changes: &|_| true, ..context(&made) }), "run because of file:/a");
    }

    #[test]
    fn refresh_only_runs_for_nothing_else() {
        let table = format!("{ARGV}refresh-only = true\nrefresh-on = [\"file:/a\"]\nonly-if = [\"o\"]");
        let command: Command = declare("x", &table).unwrap();
        let host = |answer| Observed { guards: [(guard("o"), Ok(answer))].into(), ..Observed::default() };
        assert_eq!(outcome(&command, &context(&host(true))), "unchanged");
        let (yes, no) = (host(true), host(false));
        assert_eq!(outcome(&command, &Context { changes: &|_| true, ..context(&yes) }), "run because of file:/a");
        assert_eq!(outcome(&command, &Context { changes: &|_| true, ..context(&no) }), "unchanged");
        assert_eq!(relations(&command).2, [ResourceId::new("file", "/a")]);
    }

    #[test]
    fn a_guard_that_cannot_run_is_an_error_unless_the_plan_brings_it() {
        let command: Command = declare("x", &format!("{ARGV}unless = [\"/opt/check\"]")).unwrap();
        let failed = Err("no such file".to_owned());
        let host = Observed { guards: [(guard("/opt/check"), failed)].into(), ..Observed::default() };
        assert_eq!(outcome(&command, &context(&host)), "E350");
        let provided = |provision: &Provision| *provision == Provision::Path("/opt/check".into());
        assert_eq!(outcome(&command, &Context { provided: &provided, ..context(&host) }), "run");
    }

    #[test]
    fn its_user_has_to_be_known() {
        let table = format!("{ARGV}creates = \"/made\"\nuser = \"app\"");
        let command: Command = declare("x", &table).unwrap();
        let host = Observed::default();
        assert_eq!(outcome(&command, &context(&host)), "E307");
        assert_eq!(outcome(&command, &Context { provided: &|_| true, ..context(&host) }), "run");
        assert!(relations(&command).1.contains(&Provision::User("app".into())));
    }

    #[test]
    fn everything_about_the_run_is_carried() {
        let table = "argv = [\"/opt/make\", \"all\"]\ncreates = \"/made\"\ncwd = \"/srv\"\nuser = \"app\"\n\
                     environment = { A = \"1\" }\ntimeout = \"2min\"\nsandbox = [\"read-only\", \"no-network\"]\nsuccess = [0, 3]";
        let command: Command = declare("x", table).unwrap();
        let expected = Run {
            argv: vec!["/opt/make".into(), "all".into()],
            directory: Some("/srv".into()),
            user: Some("app".into()),
            environment: [("A".to_owned(), "1".to_owned())].into(),
            timeout: 120,
            sandbox: vec!["read-only".into(), "no-network".into()],
            success: vec![0, 3],
        };
        assert_eq!(command.run, expected);
        assert!(relations(&command).1.contains(&Provision::Path("/opt/make".into())));
    }

    #[test]
    fn what_would_always_or_never_run_is_refused() {
        for (table, message, pointed) in [
            ("argv = [\"true\"]", "run at every check", "[\"true\"]"),
            ("argv = [\"true\"]\nrefresh-on = [\"file:/a\"]", "run at every check", "[\"true\"]"),
            ("argv = [\"true\"]\nrefresh-only = true", "nothing would ever run", "true"),
            ("argv = []\ncreates = \"/a\"", "empty", "[]"),
            ("argv = [\"rm -rf /tmp/x\"]\ncreates = \"/a\"", "no shell", "[\"rm -rf /tmp/x\"]"),
            ("argv = [\"true\"]\nunless = []", "`unless` is empty", "[]"),
            ("argv = [\"true\"]\ncreates = \"a\"", "absolute", "\"a\""),
            ("argv = [\"true\"]\ncreates = \"/a\"\nuser = \"0\"", "name of a user", "\"0\""),
            ("argv = [\"true\"]\ncreates = \"/a\"\nsuccess = []", "no exit code", "[]"),
            ("argv = [\"true\"]\ncreates = \"/a\"\nsandbox = [\"none\"]", "unknown value", "\"none\""),
            ("argv = [\"true\"]\ncreates = \"/a\"\nenvironment = { \"A-B\" = \"\" }", "variable", "{ \"A-B\" = \"\" }"),
            ("creates = \"/a\"", "`argv` is missing", ""),
        ] {
            refuses::<Command>("x", table, message, pointed);
        }
        refuses::<Command>("a:b", "argv = [\"true\"]\ncreates = \"/a\"", "not the name of a command", "");
    }
}
