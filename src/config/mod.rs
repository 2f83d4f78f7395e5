//! The host's own settings: file, then validated settings. No branch can change them.
//!
//! **Invariant:** a setting that is unknown or of the wrong type is an error with file, line and remedy; nothing is guessed.

pub mod duration;
mod paths;
mod settings;

pub use duration::Span;
pub use paths::Paths;
pub use settings::{Agent, Apply, Guarding, HostSettings, Law, Limits, Reboot, Rollback, Settings, Source};

use std::path::{Path, PathBuf};

use crate::error::{Code, Explain};
use crate::manifest::node::{self, Node, Value};
use crate::resource::DeclareError;
use crate::schedule::reboot;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// E601: the file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E602: the file does not say what it should.
    #[error("{}: {}", path.display(), error.message)]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        error: DeclareError,
        /// The piece of the file with a pointer.
        excerpt: String,
    },
    /// E603: the host is not enrolled.
    #[error("this host is not enrolled: {} does not exist", path.display())]
    NotEnrolled {
        /// The file that enrolment writes.
        path: PathBuf,
    },
}

impl Explain for ConfigError {
    fn code(&self) -> Code {
        Code(match self {
            ConfigError::Unreadable { .. } => "E601",
            ConfigError::Invalid { .. } => "E602",
            ConfigError::NotEnrolled { .. } => "E603",
        })
    }

    fn remedy(&self) -> String {
        match self {
            ConfigError::Unreadable { path, .. } => {
                format!("check that {} exists and who may read it", path.display())
            }
            ConfigError::Invalid { error, .. } if !error.help.is_empty() => error.help.clone(),
            ConfigError::Invalid { .. } => "correct the file; `man abide.toml` lists every setting".into(),
            ConfigError::NotEnrolled { .. } => {
                "run the `abide enroll …` line that `abide init` printed for your fleet".into()
            }
        }
    }

    fn excerpt(&self) -> Option<String> {
        match self {
            ConfigError::Invalid { excerpt, .. } => Some(excerpt.clone()),
            _ => None,
        }
    }
}

impl ConfigError {
    fn invalid(error: DeclareError, text: &str, path: &Path) -> ConfigError {
        let excerpt = node::excerpt(&path.display().to_string(), text, &error);
        ConfigError::Invalid { path: path.to_owned(), error, excerpt }
    }
}

/// Reads and validates the settings; a missing file means defaults.
///
/// # Errors
/// The file cannot be read or says something unknown.
pub fn load(paths: &Paths) -> Result<Settings, ConfigError> {
    let path = paths.settings();
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

/// Parses a TOML file that an operator wrote.
///
/// # Errors
/// It is not TOML; with a pointer.
pub fn parse_toml(text: &str, path: &Path) -> Result<Node, ConfigError> {
    Node::parse(text).map_err(|error| ConfigError::invalid(error, text, path))
}

/// Reads the settings as [`load`] does, and those that could be read last where the file is wrong now, together with what is wrong:
/// `last` is the caller's own copy of them. A slip of an editor must not keep a host from being what its branch declares.
///
/// # Errors
/// The file is wrong, and there is nothing to go back to.
pub fn load_or_last(paths: &Paths, last: &Path) -> Result<(Settings, Option<ConfigError>), ConfigError> {
    match load(paths) {
        Ok(settings) => {
            remember(paths, last);
            Ok((settings, None))
        }
        Err(error) => {
            let text = std::fs::read_to_string(last).ok();
            match text.and_then(|text| parse(&text, last).ok()) {
                Some(settings) => Ok((settings, Some(error))),
                None => Err(error),
            }
        }
    }
}

/// Keeps settings that can be read. A copy that cannot be written is missed only where the file is wrong later.
fn remember(paths: &Paths, last: &Path) {
    let text = std::fs::read(paths.settings()).unwrap_or_default();
    if std::fs::read(last).ok().is_none_or(|known| known != text) {
        let _ = crate::system::replace::replace(last, &text, 0o600);
    }
}

/// Validates the text of a settings file.
///
/// # Errors
/// The first thing that is wrong, with a pointer.
pub fn parse(text: &str, path: &Path) -> Result<Settings, ConfigError> {
    let invalid = |error: DeclareError| ConfigError::invalid(error, text, path);
    let root = parse_toml(text, path)?;
    let settings: Settings = root.read().map_err(invalid)?;
    check(&settings, &root).map_err(invalid)?;
    Ok(settings)
}

fn check(settings: &Settings, root: &Node) -> Result<(), DeclareError> {
    let at =
        |table: &str, key: &str| root.get(table).and_then(|table| table.get(key)).unwrap_or(root).clone();
    let source = &settings.source;
    for (key, span, least) in
        [("poll", source.poll, 1), ("timeout", source.timeout, 1), ("deadline", source.deadline, 1)]
    {
        if span.seconds < least {
            return Err(at("source", key).error(format!("`{key}` is too short"), "give at least one second"));
        }
    }
    for url in &source.urls {
        let known = ["https://", "http://", "ssh://", "git://", "file://", "/"];
        if !known.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(at("source", "urls").error(
                format!("`{}` is not a URL that abide can poll", crate::error::escaped(url)),
                "use https://, ssh://, git://, or the absolute path of a repository",
            ));
        }
    }
    if settings.agent.check.seconds < 1 {
        return Err(at("agent", "check").error("`check` is too short", "give at least one second"));
    }
    if settings.apply.prune_limit > 100 {
        return Err(at("apply", "prune-limit").error("`prune-limit` is a percentage", "give 0 to 100"));
    }
    if settings.apply.change_limit > 100 {
        return Err(at("apply", "change-limit").error("`change-limit` is a percentage", "give 0 to 100"));
    }
    check_windows(settings, root)?;
    reboot::Rules::check(&settings.reboot)
        .map_err(|(key, message, help)| at("reboot", key).error(message, help))?;
    if settings.rollback.remote_within.seconds < 10 {
        return Err(at("rollback", "remote-within")
            .error("`remote-within` is too short", "give at least `10s`: one poll takes its time"));
    }
    check_law(&settings.law).map_err(|(key, message, help)| at("law", key).error(message, help))
}

/// Each window has to make sense by itself.
fn check_windows(settings: &Settings, root: &Node) -> Result<(), DeclareError> {
    let tables = match root.get("windows").map(|node| &node.value) {
        Some(Value::Array(tables)) => tables.as_slice(),
        _ => &[],
    };
    for (window, table) in settings.windows.iter().zip(tables) {
        window
            .clone()
            .check(String::new())
            .map_err(|(key, message, help)| table.get(key).unwrap_or(table).error(message, help))?;
    }
    Ok(())
}

/// What forbids nothing because of a slip is worse than no law.
fn check_law(law: &Law) -> Result<(), (&'static str, String, &'static str)> {
    let known = |word: &String| crate::resource::KINDS.iter().any(|kind| kind.name == word);
    if let Some(word) = law.kinds.iter().find(|word| !known(word)) {
        let message = format!("there is no kind `{}`", crate::error::escaped(word));
        return Err(("kinds", message, "`file`, `command` and the other kinds of docs/manual/kinds.md"));
    }
    for path in &law.paths {
        if let Err(reason) = crate::plan::law::path_pattern(path) {
            let message = format!("`{}` cannot be a pattern of paths: {reason}", crate::error::escaped(path));
            return Err((
                "paths",
                message,
                "write an absolute path, such as \"/etc/ssh\" or \"/srv/**/secret\"",
            ));
        }
    }
    let plain = |unit: &String| crate::plan::law::is_unit_pattern(unit);
    if let Some(unit) = law.units.iter().find(|unit| !plain(unit)) {
        let message = format!("`{}` is not the full name of a unit", crate::error::escaped(unit));
        return Err(("units", message, "write it with its type, such as \"sshd.service\" or \"backup-*\""));
    }
    for (key, words) in [("packages", &law.packages), ("commands", &law.commands)] {
        if words.iter().any(String::is_empty) {
            return Err((key, "an empty name forbids nothing".into(), "remove it, or write `*` for all"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;

    fn problem(text: &str) -> String {
        Problem::from(parse(text, "abide.toml".as_ref()).unwrap_err()).to_string()
    }

    #[test]
    fn an_empty_file_means_defaults() {
        assert_eq!(parse("", "abide.toml".as_ref()).unwrap(), Settings::default());
    }

    #[test]
    fn settings_that_became_wrong_are_those_before() {
        let folder = tempfile::tempdir().unwrap();
        let (config, state) = (folder.path().to_owned(), folder.path().join("state"));
        let paths = Paths { config, state, ..Paths::default() };
        std::fs::create_dir(&paths.state).unwrap();
        std::fs::write(paths.settings(), "[sourc]").unwrap();
        assert!(load_or_last(&paths, &paths.last_settings()).is_err(), "there are none before");
        std::fs::write(paths.settings(), "[source]\npoll = \"5m\"\n").unwrap();
        let (good, none) = load_or_last(&paths, &paths.last_settings()).unwrap();
        assert!(none.is_none());
        std::fs::write(paths.settings(), "[sourc]").unwrap();
        let (kept, error) = load_or_last(&paths, &paths.last_settings()).unwrap();
        assert_eq!(kept, good);
        assert_eq!(error.unwrap().code().0, "E602");
    }

    #[test]
    fn settings_are_read() {
        let settings =
            parse("[source]\nurls = [\"https://a/b.git\"]\npoll = \"5m\"\n", "a".as_ref()).unwrap();
        assert_eq!(settings.source.poll, Span::minutes(5));
    }

    #[test]
    fn mistakes_are_pointed_at() {
        for (text, expected) in [
            ("[source]\npol = \"5m\"\n", "did you mean `poll`?"),
            ("[source]\npoll = \"5 minutes\"\n", "`30s`, `5m`"),
            ("[source]\npoll = \"0s\"\n", "at least one second"),
            ("[source]\nurls = [\"ftp://x\"]\n", "use https://"),
            ("[agent]\nevents = \"yes\"\n", "abide.toml:2:10"),
            ("[source\n", "abide.toml:1"),
            ("[law]\nkinds = [\"comand\"]\n", "no kind `comand`"),
            ("[law]\npaths = [\"etc/ssh\"]\n", "absolute"),
            ("[law]\npaths = [\"/etc/../x\"]\n", "`..`"),
            ("[law]\nunits = [\"sshd\"]\n", "with its type"),
            ("[law]\npackages = [\"\"]\n", "forbids nothing"),
            ("[law]\nunit = []\n", "did you mean `units`?"),
            ("[apply]\nchange-limit = 101\n", "percentage"),
            ("[[windows]]\nallow = \"22:00\"\n", "a `length` from"),
            ("[[windows]]\nallow = \"25:00\"\nlength = \"1h\"\n", "no hour from 0 to 23"),
            ("[[windows]]\nallowed = \"22:00\"\n", "did you mean `allow`?"),
            ("[reboot]\nslot = 8\n", "slot 8 is not one of 8 slots"),
        ] {
            assert!(problem(text).contains(expected), "{}", problem(text));
        }
    }
}
