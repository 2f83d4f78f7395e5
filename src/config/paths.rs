//! Where everything lies on a host.

use std::path::{Path, PathBuf};

/// The folders of an installation. The defaults are fixed by the packages; tests give others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Settings and root of trust, `/etc/abide`.
    pub config: PathBuf,
    /// The converger's memory, root only, `/var/lib/abide`.
    pub state: PathBuf,
    /// The fetcher's spool, `/var/lib/abide-fetch`.
    pub spool: PathBuf,
    /// What is forgotten at boot, `/run/abide`.
    pub run: PathBuf,
}

impl Default for Paths {
    fn default() -> Paths {
        Paths {
            config: "/etc/abide".into(),
            state: "/var/lib/abide".into(),
            spool: "/var/lib/abide-fetch".into(),
            run: "/run/abide".into(),
        }
    }
}

impl Paths {
    /// The settings file.
    pub fn settings(&self) -> PathBuf {
        self.config.join("abide.toml")
    }

    /// The root of trust; it exists once the host is enrolled.
    pub fn trust(&self) -> PathBuf {
        self.config.join("trust.toml")
    }

    /// Facts that the operator adds.
    pub fn facts(&self) -> PathBuf {
        self.config.join("facts.d")
    }

    /// The object store.
    pub fn store(&self) -> PathBuf {
        self.state.join("store")
    }

    /// The compiled desired state.
    pub fn desired(&self) -> PathBuf {
        self.state.join("desired")
    }

    /// The options that have another abide work on the same folders.
    pub fn options(&self) -> Vec<String> {
        let folders = [
            ("--config-dir", &self.config),
            ("--state-dir", &self.state),
            ("--spool-dir", &self.spool),
            ("--run-dir", &self.run),
        ];
        let each = folders.into_iter();
        each.flat_map(|(option, folder)| [option.to_owned(), folder.to_string_lossy().into_owned()]).collect()
    }

    /// The desired states of earlier generations, by number.
    pub fn generations(&self) -> PathBuf {
        self.state.join("generations")
    }

    /// The settings as they were when they could be read last.
    pub fn last_settings(&self) -> PathBuf {
        self.state.join("settings.toml")
    }

    /// The fingerprint cache.
    pub fn fingerprints(&self) -> PathBuf {
        self.state.join("fingerprints")
    }

    /// Former contents of replaced files.
    pub fn backups(&self) -> PathBuf {
        self.state.join("backup")
    }

    /// The lock that a run holds.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The lock under which one run at a time looks at health, while others may change the host.
    pub fn looking(&self) -> PathBuf {
        self.state.join("looking")
    }

    /// The status that everybody may read.
    pub fn status(&self) -> PathBuf {
        self.run.join("status.json")
    }

    /// What the agent is doing.
    pub fn agent_status(&self) -> PathBuf {
        self.run.join("agent.json")
    }

    /// Whether this path belongs to abide itself, so that no branch may declare it.
    pub fn is_own(&self, path: &Path) -> bool {
        [&self.config, &self.state, &self.spool, &self.run].iter().any(|own| path.starts_with(own))
    }
}
