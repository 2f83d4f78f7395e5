//! Enrolment: write the root of trust, and prove it against the remote before anything is started.
//!
//! **Invariant:** when enrolment fails, both files are as they were before.

use gix::ObjectId;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::{self, Paths, Settings, Span};
use crate::daemon::poll;
use crate::error::{Code, Explain, Problem};
use crate::manifest::{GitTree, Tree};
use crate::source::{Candidate, Objects, store::Store};
use crate::state::{Beginning, State};
use crate::system::clock;
use crate::system::replace::{remove, replace};
use crate::trust::commit::Commit;
use crate::trust::key::PublicKey;
use crate::trust::policy::Policy;
use crate::trust::{
    self, FreshnessMode, FreshnessRule, Introduction, IntroductionKey, Judgement, RootOfTrust, TrustError,
};

/// What the line that `abide init` prints says.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The repository.
    pub url: String,
    /// The commit that trust starts from, in hex.
    pub introduction: String,
    /// Its signer's key or fingerprint.
    pub key: IntroductionKey,
    /// The ref to follow.
    pub reference: String,
    /// How old the news of the branch may be; then freshness is required.
    pub max_age: Option<Span>,
    /// Keys for exceptions on this host.
    pub break_glass: Vec<PublicKey>,
}

impl Invitation {
    /// The root of trust that it makes, in this fleet.
    pub fn root(&self, fleet: &str) -> RootOfTrust {
        let mode = if self.max_age.is_some() { FreshnessMode::Require } else { FreshnessMode::Warn };
        RootOfTrust {
            fleet: fleet.to_owned(),
            reference: self.reference.clone(),
            introduction: Introduction { commit: self.introduction.clone(), key: self.key.clone() },
            freshness: FreshnessRule { mode, max_age: self.max_age },
            break_glass: self.break_glass.clone(),
        }
    }
}

/// Why a host cannot be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// E730: there is a root of trust already.
    #[error("this host is enrolled already: {} exists", path.display())]
    Already {
        /// The root of trust.
        path: PathBuf,
    },
    /// E731: the settings name other remotes.
    #[error("{} already names other remotes", path.display())]
    OtherRemotes {
        /// The settings.
        path: PathBuf,
    },
    /// E732: a file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E733: the remote did not give the branch.
    #[error("the branch could not be fetched from {url}: {reason}")]
    Fetch {
        /// The remote.
        url: String,
        /// What the fetcher says.
        reason: String,
        /// What it says to do.
        remedy: String,
    },
    /// E734: the introduction is not there.
    #[error("the introduction {commit} is not on the branch: {reason}")]
    Introduction {
        /// The commit.
        commit: String,
        /// Why not.
        reason: String,
    },
}

impl Explain for EnrollError {
    fn code(&self) -> Code {
        Code(match self {
            EnrollError::Already { .. } => "E730",
            EnrollError::OtherRemotes { .. } => "E731",
            EnrollError::Write { .. } => "E732",
            EnrollError::Fetch { .. } => "E733",
            EnrollError::Introduction { .. } => "E734",
        })
    }

    fn remedy(&self) -> String {
        match self {
            EnrollError::Already { path } => {
                format!("`abide status` shows how it is; to enrol it anew, remove {} first", path.display())
            }
            EnrollError::OtherRemotes { path } => {
                format!("take `urls` under [source] out of {}, or put the URL there yourself", path.display())
            }
            EnrollError::Write { .. } => "check the space and the rights of the folder".into(),
            EnrollError::Fetch { remedy, .. } => remedy.clone(),
            EnrollError::Introduction { .. } => {
                "compare the line with what `abide init` printed, and the URL with the author's".into()
            }
        }
    }
}

/// A host that is enrolled, with what was proven.
#[derive(Debug)]
pub struct Enrolled {
    /// The root of trust as it was written.
    pub root: RootOfTrust,
    /// What the remote's branch is worth.
    pub judgement: Judgement,
}

/// Writes both files and proves the invitation against the remote.
///
/// # Errors
/// See [`EnrollError`]; or the introduction is refused. Then nothing is left behind.
pub fn enroll(paths: &Paths, invitation: &Invitation) -> Result<Enrolled, Problem> {
    if paths.trust().exists() {
        return Err(EnrollError::Already { path: paths.trust() }.into());
    }
    let before = read(&paths.settings())?;
    let result = write_settings(paths, before.as_deref(), &invitation.url)
        .and_then(|settings| prove(paths, settings, invitation));
    if result.is_err() {
        // What cannot be put back is in the way of the next attempt, which will say so.
        let _ = remove(&paths.trust());
        let _ = match before {
            Some(text) => replace(&paths.settings(), text.as_bytes(), 0o644),
            None => remove(&paths.settings()),
        };
    }
    result
}

fn prove(paths: &Paths, mut settings: Settings, invitation: &Invitation) -> Result<Enrolled, Problem> {
    // The fleet's identity stands in the introduction's tree; until that is here, a name that no fleet has holds its place, so
    // that nothing can be applied in between.
    let mut root = invitation.root("00000000000000000000000000000000");
    write(&paths.trust(), &root.to_toml())?;
    settings.source.reference.clone_from(&root.reference);
    let candidate = fetch(paths, &settings, &invitation.url)?;
    let mut store = Store::open(&paths.store(), &settings.limits)?;
    let candidate = match candidate {
        Some(_) => store.take(&paths.spool)?,
        None => None,
    };
    let candidate = candidate.ok_or_else(|| wrong(invitation, "the branch is empty"))?;
    root.fleet = fleet(&store, invitation)?;
    let judgement = trust::judge(&store, &root, None, &candidate, clock::now())?;
    begin(paths, &store, &root, &candidate)?;
    write(&paths.trust(), &root.to_toml())?;
    Ok(Enrolled { root, judgement })
}

/// Notes in the state that this host starts at the introduction, so that a lost state can be told from a new one. A mark from an
/// earlier enrolment stays, unless it belongs to another history: enrolling anew is no way back.
fn begin(paths: &Paths, store: &Store, root: &RootOfTrust, candidate: &Candidate) -> Result<(), Problem> {
    let mut state = State::open(&paths.state)?;
    if let Some(mark) = state.high_water()? {
        let known = mark.high_water();
        let judged = trust::judge(store, root, Some(&known), candidate, clock::now());
        if let Err(TrustError::MarkUnrelated { .. } | TrustError::MarkLost { .. }) = judged {
            state.forget_mark()?;
        }
    }
    let introduction = root.introduction.commit.clone();
    Ok(state.set_beginning(Some(&Beginning { introduction, since: clock::now() }))?)
}

/// Takes the note back, when nobody wanted the enrolment after all.
///
/// # Errors
/// The state cannot be written.
pub fn forget(paths: &Paths) -> Result<(), Problem> {
    Ok(State::open(&paths.state)?.set_beginning(None)?)
}

/// Has the fetcher's service poll, with the host's own settings and credentials.
fn fetch(paths: &Paths, settings: &Settings, url: &str) -> Result<Option<Candidate>, Problem> {
    let poll = poll::start(paths, settings)();
    if let Some(problem) = poll.problem {
        return Err(problem);
    }
    let note = poll.note.unwrap_or_default();
    if note.failures > 0 {
        let first = note.problems.first();
        return Err(EnrollError::Fetch {
            url: url.to_owned(),
            reason: first
                .map_or("no reason given".into(), |problem| format!("[{}] {}", problem.code, problem.what)),
            remedy: first.map_or("journalctl -u abide-fetch".into(), |problem| problem.remedy.clone()),
        }
        .into());
    }
    Ok(ObjectId::from_hex(note.tip.as_bytes()).ok().map(Candidate::at))
}

/// The fleet's identity, from the tree of the introduction. The commit's id is given, so its tree cannot be another one.
fn fleet(store: &Store, invitation: &Invitation) -> Result<String, Problem> {
    let id = ObjectId::from_hex(invitation.introduction.as_bytes())
        .map_err(|_| wrong(invitation, "that is not a whole commit id"))?;
    let raw = store.commit(id).map_err(|error| wrong(invitation, &error.to_string()))?;
    let commit = Commit::parse(&raw, id.kind()).map_err(|error| wrong(invitation, &error.to_string()))?;
    let tree = GitTree::new(store, commit.tree);
    let policy = tree.read("trust.toml").map_err(|error| wrong(invitation, &error.to_string()))?;
    let policy =
        Policy::parse(&policy, "trust.toml").map_err(|error| wrong(invitation, &error.to_string()))?;
    Ok(policy.fleet)
}

fn wrong(invitation: &Invitation, reason: &str) -> Problem {
    EnrollError::Introduction { commit: invitation.introduction.clone(), reason: reason.to_owned() }.into()
}

fn read(path: &Path) -> Result<Option<String>, Problem> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(config::ConfigError::Unreadable { path: path.to_owned(), source }.into()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    replace(path, text.as_bytes(), 0o644)
        .map_err(|source| EnrollError::Write { path: path.to_owned(), source }.into())
}

/// Puts the URL into the settings, and leaves the rest of the file as it is.
fn write_settings(paths: &Paths, before: Option<&str>, url: &str) -> Result<Settings, Problem> {
    let text = before.unwrap_or_default();
    let path = paths.settings();
    let known = config::parse(text, &path)?;
    if known.source.urls.iter().any(|known| known == url) {
        return Ok(known);
    }
    if !known.source.urls.is_empty() {
        return Err(EnrollError::OtherRemotes { path }.into());
    }
    let text = with_url(text, url);
    let settings = config::parse(&text, &path)?;
    write(&path, &text)?;
    Ok(settings)
}

/// The settings with the URL in their `[source]` table, which is added where there is none.
pub fn with_url(text: &str, url: &str) -> String {
    let line = format!("urls = [{}]\n", crate::manifest::node::quoted(url));
    let mut result = String::with_capacity(text.len() + line.len() + 16);
    let mut placed = false;
    for existing in text.split_inclusive('\n') {
        result.push_str(existing);
        if !placed && existing.trim() == "[source]" {
            if !existing.ends_with('\n') {
                result.push('\n');
            }
            result.push_str(&line);
            placed = true;
        }
    }
    if !placed {
        if !result.is_empty() && !result.ends_with('\n') {
            result.push('\n');
        }
        result.push_str("[source]\n");
        result.push_str(&line);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_finds_its_place() {
        for (before, after) in [
            ("", "[source]\nurls = [\"https://a/b\"]\n"),
            ("# c", "# c\n[source]\nurls = [\"https://a/b\"]\n"),
            ("[source]\n# poll\n[agent]\n", "[source]\nurls = [\"https://a/b\"]\n# poll\n[agent]\n"),
            ("[agent]\n[source]", "[agent]\n[source]\nurls = [\"https://a/b\"]\n"),
        ] {
            let text = with_url(before, "https://a/b");
            assert_eq!(text, after);
            assert_eq!(config::parse(&text, "abide.toml".as_ref()).unwrap().source.urls, ["https://a/b"]);
        }
    }
}
