//! Errors of a manifest, with the text they are about and a pointer under the word.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::limits;
use crate::error::{Code, Explain, Problem, escaped};
use crate::resource::{DeclareError, Origin};

/// A file of the fleet with its text.
#[derive(Debug)]
pub struct Source {
    /// Path in the tree.
    pub file: String,
    /// Its text; empty when there is none to show.
    pub text: String,
    /// Offsets of the newlines, counted once: every resource asks for its line.
    newlines: std::sync::OnceLock<Vec<usize>>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.file == other.file && self.text == other.text
    }
}

impl Eq for Source {}

impl Source {
    /// A file with its text.
    pub fn new(file: impl Into<String>, text: impl Into<String>) -> Source {
        Source { file: file.into(), text: text.into(), newlines: std::sync::OnceLock::new() }
    }

    /// The line of a position, from 1.
    pub fn line(&self, offset: usize) -> u32 {
        let find =
            || self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        let before = self.newlines.get_or_init(find).partition_point(|newline| *newline < offset);
        u32::try_from(before).unwrap_or(u32::MAX - 1) + 1
    }

    /// The column of a position, from 1, in characters.
    pub fn column(&self, offset: usize) -> usize {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    }
}

/// A range of a file, with what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// Byte range.
    pub span: Range<usize>,
    /// A few words under the pointer; may be empty.
    pub label: String,
}

impl Place {
    /// A place with a label.
    pub fn new(source: &Arc<Source>, span: &Range<usize>, label: impl Into<String>) -> Place {
        Place { source: source.clone(), span: span.clone(), label: label.into() }
    }

    /// The place as `file:line:column`; the file alone when it has no text.
    fn words(&self) -> String {
        if self.source.text.is_empty() {
            return self.source.file.clone();
        }
        let (line, column) = (self.source.line(self.span.start), self.source.column(self.span.start));
        format!("{}:{line}:{column}", self.source.file)
    }

    /// The span on character boundaries inside of the text.
    fn safe_span(&self) -> Range<usize> {
        let text = &self.source.text;
        let mut start = self.span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = self.span.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        // A whole table would fill the screen: its head says enough.
        let length = text[start..end].find('\n').unwrap_or(end - start);
        start..start + length
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The manifest cannot be used.
    Error,
    /// It can, but something is probably not meant so.
    Warning,
}

/// One thing that is wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The stable code, `E2xx`.
    pub code: Code,
    /// What is wrong, one line.
    pub message: String,
    /// Where; the first is the one to look at.
    pub places: Vec<Place>,
    /// What to do.
    pub help: String,
}

impl Diagnostic {
    /// An error at one place.
    pub fn new(
        code: &'static str,
        message: impl Into<String>,
        place: Place,
        help: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: Code(code),
            message: escaped(&message.into()),
            places: vec![place],
            help: help.into(),
        }
    }

    /// The same as a warning.
    pub fn as_warning(mut self) -> Diagnostic {
        self.severity = Severity::Warning;
        self
    }

    /// Adds another place that belongs to it.
    pub fn and(mut self, place: Place) -> Diagnostic {
        self.places.push(place);
        self
    }

    /// An error that a reader of nodes or a kind found; `head` is where it points when the error has no place.
    pub fn declared(
        code: &'static str,
        error: DeclareError,
        source: &Arc<Source>,
        head: &Range<usize>,
    ) -> Diagnostic {
        let span = error.span.unwrap_or_else(|| head.clone());
        let help = if error.help.is_empty() { "correct it".to_owned() } else { error.help };
        Diagnostic::new(code, error.message, Place::new(source, &span, ""), help)
    }

    /// In rustc's form.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()).id(self.code.0));
        for snippet in self.snippets() {
            group = group.element(snippet);
        }
        for place in self.places.iter().filter(|place| place.source.text.is_empty()) {
            group = group.element(annotate_snippets::Origin::path(place.source.file.as_str()));
        }
        if !self.help.is_empty() {
            group = group.element(Level::HELP.message(self.help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }

    fn snippets(&self) -> Vec<Snippet<'_, annotate_snippets::Annotation<'_>>> {
        let mut files: Vec<(&Arc<Source>, Vec<&Place>)> = Vec::new();
        for place in self.places.iter().filter(|place| !place.source.text.is_empty()) {
            match files.iter_mut().find(|(source, _)| Arc::ptr_eq(source, &place.source)) {
                Some((_, places)) => places.push(place),
                None => files.push((&place.source, vec![place])),
            }
        }
        let mut primary = true;
        let mut snippets = Vec::new();
        for (source, places) in files {
            let mut snippet = Snippet::source(source.text.as_str()).path(source.file.as_str());
            for place in places {
                let kind = if primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                primary = false;
                let label = (!place.label.is_empty()).then_some(place.label.as_str());
                snippet = snippet.annotation(kind.span(place.safe_span()).label(label));
            }
            snippets.push(snippet);
        }
        snippets
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl Explain for Diagnostic {
    fn code(&self) -> Code {
        self.code
    }

    fn remedy(&self) -> String {
        self.help.clone()
    }

    fn place(&self) -> Option<String> {
        self.places.first().map(Place::words)
    }

    fn excerpt(&self) -> Option<String> {
        let mut bare = self.clone();
        bare.help.clear();
        // The title stands in the problem already: keep the places and the text.
        bare.render(false).split_once('\n').map(|(_, rest)| rest.to_owned())
    }
}

/// Everything that is wrong in a manifest, each thing once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
    dropped: usize,
}

impl Diagnostics {
    /// Adds one, unless it is there already.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.items.contains(&diagnostic) {
            return;
        }
        if self.items.len() >= limits::DIAGNOSTICS {
            self.dropped += 1;
        } else {
            self.items.push(diagnostic);
        }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Diagnostics) {
        self.dropped += other.dropped;
        for item in other.items {
            self.push(item);
        }
    }

    /// In the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether there is more than warnings.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// How many of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.items.iter().filter(|item| item.severity == severity).count()
    }

    /// Each as an explained problem.
    pub fn problems(&self) -> Vec<Problem> {
        self.items.iter().cloned().map(Problem::from).collect()
    }

    /// All of them in rustc's form.
    pub fn render(&self, colour: bool) -> String {
        let mut text: Vec<String> = self.items.iter().map(|item| item.render(colour)).collect();
        if self.dropped > 0 {
            text.push(format!("… and {} more", self.dropped));
        }
        text.join("\n\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count(Severity::Error), self.items.first()) {
            (_, None) => f.write_str("no errors in the manifest"),
            (0 | 1, Some(first)) => f.write_str(&first.message),
            (count, Some(first)) => write!(f, "{} (first of {count} errors in the manifest)", first.message),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl Explain for Diagnostics {
    fn code(&self) -> Code {
        self.items.first().map_or(Code("E200"), |first| first.code)
    }

    fn remedy(&self) -> String {
        self.items.first().map_or_else(String::new, |first| first.help.clone())
    }

    fn place(&self) -> Option<String> {
        self.items.first().and_then(Explain::place)
    }

    fn excerpt(&self) -> Option<String> {
        self.items.first().and_then(Explain::excerpt)
    }
}

/// The place of a declaration in the form that travels with it.
pub(crate) fn origin(role: &str, source: &Source, offset: usize) -> Origin {
    Origin { role: role.to_owned(), file: source.file.clone(), line: source.line(offset) }
}
