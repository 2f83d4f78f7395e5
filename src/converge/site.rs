//! A host as its own files describe it, and what can keep a run from beginning.

use crate::config::{self, ConfigError, Paths, Settings};
use crate::error::{Code, Explain, Problem};
use crate::manifest::HostIdentity;
use crate::progress::{Progress, Tell};
use crate::system::lock::Lock;
use crate::trust::RootOfTrust;

/// A host as its own files describe it.
pub struct Site {
    /// Where everything lies.
    pub paths: Paths,
    /// Its settings.
    pub settings: Settings,
    /// Its root of trust; `None` when the file is wrong: then nothing new is believed.
    pub root: Option<RootOfTrust>,
    /// Its name and labels.
    pub identity: HostIdentity,
    /// What is wrong with the files. What they said last, or what was enforced last, counts meanwhile.
    pub problems: Vec<Problem>,
}

impl Site {
    /// Reads settings and root of trust.
    ///
    /// # Errors
    /// The host is not enrolled, or the settings are wrong and there are none from before.
    pub fn load(paths: &Paths) -> Result<Site, Problem> {
        if !paths.trust().exists() {
            return Err(ConfigError::NotEnrolled { path: paths.trust() }.into());
        }
        let (mut settings, wrong) = config::load_or_last(paths, &paths.last_settings())?;
        let mut problems: Vec<Problem> = wrong.into_iter().map(Problem::from).collect();
        let root = RootOfTrust::load(&paths.trust()).map_err(|error| problems.push(error.into())).ok();
        if let Some(root) = &root {
            settings.source.reference.clone_from(&root.reference);
        }
        let identity = HostIdentity {
            name: settings.host.name.clone().unwrap_or_else(crate::system::host_name),
            labels: settings.host.labels.clone(),
        };
        Ok(Site { paths: paths.clone(), settings, root, identity, problems })
    }

    /// The site, for those who can do nothing with one that is not as it should be.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn sound(self) -> Result<Site, Problem> {
        match self.problems.first() {
            Some(problem) => Err(problem.clone()),
            None => Ok(self),
        }
    }

    /// Takes the lock that makes runs one at a time; waits for a run under way.
    pub(super) fn lock(&self, progress: &mut Tell<'_>) -> Result<Lock, ConvergeError> {
        let path = self.paths.lock();
        let failed = |source| ConvergeError::Lock { path: path.clone(), source };
        if let Some(lock) = Lock::try_take(&path).map_err(failed)? {
            return Ok(lock);
        }
        progress(Progress::Waiting("waiting for the run under way …"));
        Lock::take(&path).map_err(failed)
    }

    /// Takes the lock under which a run looks at health. Whoever holds it waits for no other lock.
    pub(super) fn lock_looking(&self) -> Result<Lock, ConvergeError> {
        let path = self.paths.looking();
        Lock::take(&path).map_err(|source| ConvergeError::Lock { path, source })
    }
}

/// What keeps a run from doing anything.
#[derive(Debug, thiserror::Error)]
pub enum ConvergeError {
    /// E720: the lock cannot be had.
    #[error("the lock {} cannot be taken", path.display())]
    Lock {
        /// The lock file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E721: no commit was proven yet.
    #[error("no commit of the branch was proven on this host yet")]
    NothingProven,
    /// E723: a file of abide's own cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// E724: a file's content is not in the store.
    #[error("the content {id} is not in the object store")]
    Content {
        /// The object.
        id: String,
    },
    /// E725: the store cannot be read.
    #[error("the object store cannot give a file's content")]
    Store {
        /// The store's reason.
        #[source]
        source: crate::source::ObjectError,
    },
    /// E726: a resource that a run is limited to is not declared.
    #[error("{resource} is not declared on this host")]
    NotDeclared {
        /// What was asked for.
        resource: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// E050: this host has lost its state, and with it what it believed.
    #[error(
        "this host has lost its state: nothing says what it has accepted since the introduction {introduction}"
    )]
    StateLost {
        /// Where proving would start again, in hex.
        introduction: String,
    },
    /// E722: there is no desired state that could be enforced.
    #[error("there is no earlier state that could be enforced instead")]
    NothingToEnforce,
}

impl Explain for ConvergeError {
    fn code(&self) -> Code {
        Code(match self {
            ConvergeError::Lock { .. } => "E720",
            ConvergeError::NothingProven => "E721",
            ConvergeError::NothingToEnforce => "E722",
            ConvergeError::StateLost { .. } => "E050",
            ConvergeError::Write { .. } => "E723",
            ConvergeError::NotDeclared { .. } => "E726",
            ConvergeError::Content { .. } => "E724",
            ConvergeError::Store { .. } => "E725",
        })
    }

    fn remedy(&self) -> String {
        match self {
            ConvergeError::Lock { .. } => "check who may write the state folder".into(),
            ConvergeError::Content { .. } | ConvergeError::Store { .. } => {
                "remove the folder `store` in the state folder; the next poll fills it again".into()
            }
            ConvergeError::NotDeclared { near: Some(near), .. } => format!("did you mean `{near}`?"),
            ConvergeError::NotDeclared { .. } => "`abide tree` lists what is declared".into(),
            ConvergeError::Write { .. } => "check the space and the rights of the folder".into(),
            ConvergeError::NothingProven => {
                "`abide status` shows the last poll, `abide verify` why a commit is refused".into()
            }
            ConvergeError::StateLost { .. } => {
                "compare the commit that an author sees on the branch with what `abide status` of other hosts shows, and run `abide trust confirm COMMIT` with it; for a new host, with the introduction".into()
            }
            ConvergeError::NothingToEnforce => "repair the branch; the errors above say what is wrong".into(),
        }
    }
}
