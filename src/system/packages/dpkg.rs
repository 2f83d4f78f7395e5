//! dpkg's database: one read, one pass, only what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::{PackageError, bare};
use crate::system::observe::PackageState;

/// One paragraph of the status file, as far as we look at it.
#[derive(Debug, Default, Clone, Copy)]
struct Paragraph<'a> {
    name: &'a str,
    architecture: &'a str,
    /// `want flag status`, such as `install ok installed`.
    status: &'a str,
    version: &'a str,
    provides: &'a str,
}

impl Paragraph<'_> {
    fn want(&self) -> &str {
        self.status.split(' ').next().unwrap_or_default()
    }

    fn flag(&self) -> &str {
        self.status.split(' ').nth(1).unwrap_or_default()
    }

    fn state(&self) -> &str {
        self.status.rsplit(' ').next().unwrap_or_default()
    }

    /// dpkg stopped in the middle of it.
    fn broken(&self) -> bool {
        self.flag() == "reinstreq"
            || matches!(
                self.state(),
                "half-installed" | "unpacked" | "half-configured" | "triggers-awaited" | "triggers-pending"
            )
    }

    /// Its files are there, whether or not configured.
    fn there(&self) -> bool {
        !matches!(self.state(), "not-installed" | "config-files" | "half-installed")
    }
}

/// The states of the asked names, from the text of `/var/lib/dpkg/status`. Every name gets an answer.
pub(super) fn observe(
    status: &[u8],
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, PackageState>, PackageError> {
    let status = text(status)?;
    let mut states: BTreeMap<String, PackageState> =
        names.iter().map(|name| (name.clone(), PackageState::default())).collect();
    let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        wanted.entry(bare(name)).or_default().push(name);
    }
    let native =
        paragraphs(status).find(|paragraph| paragraph.name == "dpkg").map_or("", |dpkg| dpkg.architecture);
    for paragraph in paragraphs(status) {
        for asked in wanted.get(paragraph.name).into_iter().flatten() {
            let architecture = asked.split_once(':').map_or("", |(_, architecture)| architecture);
            let native = paragraph.architecture == native || paragraph.architecture == "all";
            let meant = match architecture {
                "" => true,
                "native" => native,
                "any" => true,
                architecture => architecture == paragraph.architecture,
            };
            // A name alone means the native one, where several architectures are installed.
            if let Some(state) =
                states.get_mut(*asked).filter(|state| meant && (state.installed.is_none() || native))
            {
                fill(state, &paragraph);
            }
        }
        if !paragraph.provides.is_empty() && paragraph.there() {
            for provided in provided(paragraph.provides) {
                for asked in wanted.get(provided).into_iter().flatten() {
                    if let Some(state) = states.get_mut(*asked) {
                        state.provided_by.push(paragraph.name.to_owned());
                    }
                }
            }
        }
    }
    Ok(states)
}

fn fill(state: &mut PackageState, paragraph: &Paragraph<'_>) {
    state.held = paragraph.want() == "hold";
    state.broken = paragraph.broken();
    state.config_files = paragraph.state() == "config-files";
    state.installed = paragraph.there().then(|| paragraph.version.to_owned());
}

/// The names of every package that is held.
pub(super) fn held(status: &[u8]) -> Result<BTreeSet<String>, PackageError> {
    let held = paragraphs(text(status)?).filter(|paragraph| paragraph.want() == "hold");
    Ok(held.map(|paragraph| paragraph.name.to_owned()).collect())
}

/// The packages in which dpkg was interrupted, and whether each has to be installed again.
pub(super) fn broken(status: &[u8]) -> Result<Vec<(String, bool)>, PackageError> {
    let broken = paragraphs(text(status)?).filter(Paragraph::broken);
    Ok(broken
        .map(|paragraph| {
            let again = paragraph.flag() == "reinstreq" || paragraph.state() == "half-installed";
            (format!("{}:{}", paragraph.name, paragraph.architecture), again)
        })
        .collect())
}

fn text(status: &[u8]) -> Result<&str, PackageError> {
    std::str::from_utf8(status).map_err(|error| PackageError::Database {
        path: "/var/lib/dpkg/status".into(),
        reason: format!("it is not UTF-8 at byte {}", error.valid_up_to()),
    })
}

fn paragraphs(status: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = status;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('\n');
        if rest.is_empty() {
            return None;
        }
        let mut paragraph = Paragraph::default();
        while let Some(line) = next_line(&mut rest) {
            if line.is_empty() {
                break;
            }
            read_field(&mut paragraph, line);
        }
        Some(paragraph)
    })
}

fn next_line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    if rest.is_empty() {
        return None;
    }
    let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
    *rest = behind;
    Some(line)
}

fn read_field<'a>(paragraph: &mut Paragraph<'a>, line: &'a str) {
    // Most lines are of no interest; the first letter tells most of them.
    let place = match line.as_bytes().first() {
        Some(b'P') if line.starts_with("Package: ") => (&mut paragraph.name, 9),
        Some(b'P') if line.starts_with("Provides: ") => (&mut paragraph.provides, 10),
        Some(b'S') if line.starts_with("Status: ") => (&mut paragraph.status, 8),
        Some(b'V') if line.starts_with("Version: ") => (&mut paragraph.version, 9),
        Some(b'A') if line.starts_with("Architecture: ") => (&mut paragraph.architecture, 14),
        _ => return,
    };
    *place.0 = line[place.1..].trim();
}

/// The names in a `Provides` field: `a, b (= 1.0), c:any`.
fn provided(field: &str) -> impl Iterator<Item = &str> {
    field.split(',').map(|entry| bare(entry.trim().split([' ', '(']).next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21.22\n\n\
        Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.35-1\n\n\
        Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\nDescription: a\n Package: no\n .\n more\n\n\
        Package: exim4\nStatus: hold ok installed\nArchitecture: all\nVersion: 1:4.96-15\nProvides: default-mta, mail-transport-agent (= 1)\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 3\nProvides: ghost\n\n\
        Package: half\nStatus: install reinstreq half-installed\nArchitecture: amd64\nVersion: 4\n\n\
        Package: unpacked\nStatus: install ok unpacked\nArchitecture: amd64\nVersion: 5\n";

    fn state(name: &str) -> PackageState {
        observe(STATUS.as_bytes(), &BTreeSet::from([name.to_owned()])).unwrap().remove(name).unwrap()
    }

    #[test]
    fn every_asked_name_gets_its_state() {
        let installed =
            |version: &str| PackageState { installed: Some(version.into()), ..PackageState::default() };
        for (name, expected) in [
            ("dpkg", installed("1.21.22")),
            ("libc6", installed("2.36-9")),
            ("libc6:i386", installed("2.35-1")),
            ("libc6:arm64", PackageState::default()),
            ("exim4", PackageState { held: true, ..installed("1:4.96-15") }),
            (
                "mail-transport-agent",
                PackageState { provided_by: vec!["exim4".into()], ..PackageState::default() },
            ),
            ("gone", PackageState { config_files: true, ..PackageState::default() }),
            ("ghost", PackageState::default()),
            ("half", PackageState { broken: true, ..PackageState::default() }),
            ("unpacked", PackageState { broken: true, ..installed("5") }),
            ("no", PackageState::default()),
            ("unknown", PackageState::default()),
        ] {
            assert_eq!(state(name), expected, "{name}");
        }
    }

    #[test]
    fn holds_and_broken_ones_are_found() {
        assert_eq!(held(STATUS.as_bytes()).unwrap(), BTreeSet::from(["exim4".to_owned()]));
        assert_eq!(
            broken(STATUS.as_bytes()).unwrap(),
            [("half:amd64".to_owned(), true), ("unpacked:amd64".to_owned(), false)]
        );
    }

    #[test]
    fn a_database_that_is_no_text_is_an_error() {
        assert!(matches!(observe(b"Package: \xff", &BTreeSet::new()), Err(PackageError::Database { .. })));
    }
}
