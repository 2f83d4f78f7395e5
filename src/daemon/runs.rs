//! Start a run: `abide sync` as a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use super::DaemonError;
use crate::config::Paths;
use crate::error::Problem;
use crate::resource::ResourceId;
use crate::state::Cause;
use crate::system::exec::{self, Program};

/// A run that takes longer than this hangs. Package transactions on slow hosts take their time.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// The work of one run, to be done on a thread of its own.
pub fn start(
    paths: &Paths,
    cause: Cause,
    rehash: bool,
    leave: &[ResourceId],
) -> impl FnOnce() -> Result<(), Problem> + Send + 'static {
    let mut argv: Vec<String> =
        vec![program().to_string_lossy().into_owned(), "sync".into(), "--cause".into()];
    argv.push(cause.word().into());
    if rehash {
        argv.push("--rehash".into());
    }
    argv.extend(leave.iter().flat_map(|resource| ["--leave".to_owned(), resource.to_string()]));
    argv.extend(paths.options());
    move || {
        let output = exec::run(&Program { timeout: LONGEST, ..Program::new(argv) })?;
        match output.code {
            // 2 is a run that could do only a part, or nothing, 3 one that waits; it said why in journal and status.
            Some(0..=3) => Ok(()),
            _ => Err(DaemonError::Run { complaint: output.complaint() }.into()),
        }
    }
}

/// The program to run: the installed one, so that after an upgrade the next run is the new version's.
fn program() -> PathBuf {
    let own =
        std::env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute() && path.exists());
    own.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}
