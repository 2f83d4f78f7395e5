//! Markdown, as far as the manual uses it, as a manual page.

use std::fmt::Write as _;

/// One manual page. The text's first line is `# name - what it is`.
pub fn page(name: &str, section: &str, markdown: &str) -> String {
    let body = markdown.trim_start();
    let (title, rest) = body.split_once('\n').unwrap_or((body, ""));
    let title = title.trim_start_matches("# ");
    let mut roff = heading(name, section);
    let _ = writeln!(roff, ".SH NAME\n{}", inline(title));
    roff.push_str(&body_of(rest));
    roff
}

/// The title line of a page.
pub fn heading(name: &str, section: &str) -> String {
    format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH \"{name}\" \"{section}\" \"\" \"abide {}\" \"abide\"\n.nh\n.ad l\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Everything below the title.
pub fn body_of(markdown: &str) -> String {
    let mut roff = String::new();
    let mut lines = markdown.lines().peekable();
    let mut paragraph = String::new();
    while let Some(line) = lines.next() {
        let kind = Line::of(line);
        if !matches!(kind, Line::Text) {
            flush(&mut paragraph, &mut roff);
        }
        match kind {
            Line::Heading(level, text) => {
                let text = inline(text);
                let _ = match level {
                    2 => writeln!(roff, ".SH {}", text.to_uppercase().replace("\\F", "\\f")),
                    _ => writeln!(roff, ".SS {text}"),
                };
            }
            Line::Fence => {
                roff.push_str(".PP\n.RS 4\n.nf\n");
                for code in lines.by_ref().take_while(|line| !line.starts_with("```")) {
                    let _ = writeln!(roff, "{}", guarded(&escaped(code)));
                }
                roff.push_str(".fi\n.RE\n");
            }
            Line::Item(text) => {
                let mut item = text.to_owned();
                while let Some(more) = lines.next_if(|line| line.starts_with("  ")) {
                    item.push(' ');
                    item.push_str(more.trim());
                }
                let _ = writeln!(roff, ".IP \\(bu 2\n{}", guarded(&inline(&item)));
            }
            Line::Row(cells) => {
                // The head of a table says nothing that its rows do not, and the rule below it even less.
                if !cells[0].starts_with("--") && lines.peek().is_none_or(|next| !next.starts_with("|--")) {
                    let rest: Vec<String> =
                        cells[1..].iter().filter(|cell| !cell.is_empty()).map(|cell| inline(cell)).collect();
                    let _ =
                        writeln!(roff, ".TP\n{}\n{}", guarded(&inline(&cells[0])), guarded(&rest.join(". ")));
                }
            }
            Line::Comment | Line::Blank => {}
            Line::Text => {
                if !paragraph.is_empty() {
                    paragraph.push(' ');
                }
                paragraph.push_str(line.trim());
            }
        }
    }
    flush(&mut paragraph, &mut roff);
    roff
}

enum Line<'a> {
    Heading(usize, &'a str),
    Fence,
    Item(&'a str),
    Row(Vec<String>),
    Comment,
    Blank,
    Text,
}

impl Line<'_> {
    fn of(line: &str) -> Line<'_> {
        if let Some(text) = line.strip_prefix("### ") {
            Line::Heading(3, text)
        } else if let Some(text) = line.strip_prefix("## ") {
            Line::Heading(2, text)
        } else if line.starts_with("```") {
            Line::Fence
        } else if let Some(text) = line.strip_prefix("- ") {
            Line::Item(text)
        } else if line.starts_with('|') {
            let inner = line.trim().trim_matches('|').replace("\\|", "\u{1}");
            Line::Row(inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect())
        } else if line.starts_with("<!--") {
            Line::Comment
        } else if line.trim().is_empty() {
            Line::Blank
        } else {
            Line::Text
        }
    }
}

fn flush(paragraph: &mut String, roff: &mut String) {
    if !paragraph.is_empty() {
        let _ = writeln!(roff, ".PP\n{}", guarded(&inline(paragraph)));
        paragraph.clear();
    }
}

/// Code and bold become bold, links become their text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(out, "\\fB{}\\fR", escaped(part));
            continue;
        }
        for (index, part) in links(part).split("**").enumerate() {
            let _ = match index % 2 {
                1 => write!(out, "\\fB{}\\fR", escaped(part)),
                _ => write!(out, "{}", escaped(part)),
            };
        }
    }
    out
}

fn links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let Some((label, after)) = rest[open + 1..].split_once("](") else { break };
        let Some((_, after)) = after.split_once(')') else { break };
        out.push_str(&rest[..open]);
        out.push_str(label);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Text that means itself. Every `-` may be one that somebody copies.
pub fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('…', "...")
        .replace('–', "\\(en")
}

/// A line that starts like a request of roff is kept from being one.
fn guarded(line: &str) -> String {
    if line.starts_with('.') || line.starts_with('\'') { format!("\\&{line}") } else { line.to_owned() }
}
