//! Commands: manual pages, completions and the reference, from the definition of the command line.

use clap::Command;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::roff;

/// The whole command line, with what clap adds to it.
fn definition() -> Command {
    let mut command = abide::cli::definition().disable_help_subcommand(true);
    command.build();
    command
}

/// Each command with what is typed for it; a command of commands comes before its own.
fn commands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    for command in definition().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name().to_owned();
        let own = command.get_subcommands().map(|own| (format!("{name} {}", own.get_name()), own.clone()));
        found.push((name.clone(), command.clone()));
        found.extend(own);
    }
    found
}

/// One line for each command, for abide(8).
pub fn list() -> String {
    let mut text = String::new();
    for (name, command) in commands() {
        let _ = writeln!(text, "| `abide-{}(1)` | {} |", name.replace(' ', "-"), about(&command));
    }
    text
}

/// A manual page for each command.
pub fn manual_pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for (name, command) in commands() {
        let name = format!("abide-{}", name.replace(' ', "-"));
        pages.insert(format!("packaging/man/{name}.1"), manual_page(&name, &command));
    }
    pages
}

fn manual_page(name: &str, command: &Command) -> String {
    let manual = clap_mangen::Man::new(command.clone().version(None));
    let mut page = roff::heading(name, "1");
    let _ = writeln!(page, ".SH NAME\n{} \\- {}", roff::escaped(name), roff::escaped(&about(command)));
    let mut rendered = Vec::new();
    let mut render = |section: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        section(&mut rendered).expect("writing to memory does not fail");
    };
    render(&|out| manual.render_synopsis_section(out));
    render(&|out| manual.render_description_section(out));
    render(&|out| manual.render_options_section(out));
    let rendered = String::from_utf8(rendered).expect("the definition is UTF-8");
    // Each piece defines the apostrophe again; the heading has done that.
    for line in rendered.lines().filter(|line| !line.starts_with(".ie \\n") && !line.starts_with(".el .ds")) {
        page.push_str(&line.replace('…', "..."));
        page.push('\n');
    }
    page.push_str(&extra(command));
    page.push_str(".SH \"SEE ALSO\"\n\\fBabide\\fR(8), \\fBabide.toml\\fR(5)\n");
    page
}

/// What the help says below the options: paragraphs, and examples that are indented.
fn extra(command: &Command) -> String {
    let Some(text) = command.get_after_help().map(ToString::to_string) else { return String::new() };
    let mut out = String::new();
    let mut verbatim = false;
    for line in text.lines() {
        let example = line.starts_with("  ");
        if example != verbatim {
            out.push_str(if example { ".PP\n.RS 4\n.nf\n" } else { ".fi\n.RE\n" });
            verbatim = example;
        }
        match line.trim() {
            "" => {}
            heading if heading.starts_with("Example") && heading.ends_with(':') => {
                out.push_str(".SH EXAMPLES\n")
            }
            line => match line.strip_prefix("Exit code: ") {
                Some(codes) => {
                    let _ = writeln!(out, ".SH \"EXIT STATUS\"\n{}", roff::escaped(codes));
                }
                None => {
                    let pause = if example { "" } else { ".PP\n" };
                    let _ = writeln!(out, "{pause}{}", roff::escaped(line));
                }
            },
        }
    }
    if verbatim {
        out.push_str(".fi\n.RE\n");
    }
    out
}

/// Completions of the shells that distributions have.
pub fn completions() -> BTreeMap<String, String> {
    use clap_complete::Shell;
    let shells = [(Shell::Bash, "abide.bash"), (Shell::Zsh, "_abide"), (Shell::Fish, "abide.fish")];
    let mut files = BTreeMap::new();
    for (shell, file) in shells {
        let mut bytes = Vec::new();
        clap_complete::generate(shell, &mut abide::cli::definition(), "abide", &mut bytes);
        let text = String::from_utf8(bytes).expect("the definition is UTF-8");
        files.insert(format!("packaging/completions/{file}"), text);
    }
    files
}

/// The reference of commands: what `--help` says.
pub fn reference() -> String {
    let mut text = format!(
        "# Commands\n\n{}\n\nData goes to standard output, talk to standard error; `-o json` makes every answer data for programs. The exit code is\n\
         0 when what was asked is so, 2 after a failure; where 1 has a meaning the command says so. Errors have a\n\
         [code](codes.md), what happened, where, why, and what to do.\n",
        super::NOTE
    );
    for (name, command) in commands() {
        let help = command.term_width(100).render_long_help().to_string();
        let _ = write!(text, "\n## abide {name}\n\n```\n{}\n```\n", help.trim_end());
    }
    text
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}
