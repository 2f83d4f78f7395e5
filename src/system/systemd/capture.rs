//! The output of programs in units of their own: files below `/run/abide/units`, not pipes, so that it can be read by whoever adopts
//! the unit later and a broken pipe cannot kill a package transaction.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::SystemdError;
use crate::progress::{Progress, Tell};

/// Where the output of running units is kept.
const OUTPUT: &str = "/run/abide/units";

/// How much of each output stream is kept: the end of it.
const KEPT: usize = 1 << 20;

/// The file of one output stream of a unit.
pub(super) fn output_path(unit: &str, stream: &str) -> PathBuf {
    Path::new(OUTPUT).join(format!("{unit}.{stream}"))
}

/// The two output files of a unit.
pub(super) struct Captures {
    stdout: Capture,
    stderr: Capture,
}

impl Captures {
    pub(super) fn create(unit: &str) -> Result<Captures, SystemdError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| SystemdError::Output {
                unit: unit.to_owned(),
                path,
                reason: error.to_string(),
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(OUTPUT)
            .map_err(failed(Path::new(OUTPUT)))?;
        for stream in ["out", "err"] {
            let path = output_path(unit, stream);
            let _ = fs::remove_file(&path);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed(&path))?;
        }
        Captures::open(unit)
    }

    pub(super) fn open(unit: &str) -> Result<Captures, SystemdError> {
        Ok(Captures { stdout: Capture::open(unit, "out"), stderr: Capture::open(unit, "err") })
    }

    pub(super) fn drain(&mut self, progress: &mut Tell<'_>) {
        self.stdout.drain(progress);
        self.stderr.drain(&mut |_| {});
    }

    /// The end of both, with the files gone.
    pub(super) fn close(mut self) -> (Vec<u8>, Vec<u8>) {
        self.drain(&mut |_| {});
        (self.stdout.close(), self.stderr.close())
    }
}

/// One output file, read while it is written.
struct Capture {
    path: PathBuf,
    /// `None`: an adopted unit's file is gone, which only loses its output.
    file: Option<File>,
    kept: Vec<u8>,
    /// Where the line that is not complete yet starts in `kept`.
    line: usize,
}

impl Capture {
    fn open(unit: &str, stream: &str) -> Capture {
        let path = output_path(unit, stream);
        let file = OpenOptions::new().read(true).write(true).open(&path).ok();
        Capture { path, file, kept: Vec::new(), line: 0 }
    }

    fn drain(&mut self, progress: &mut Tell<'_>) {
        let Some(file) = &mut self.file else { return };
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = file.read(&mut chunk) {
            self.kept.extend_from_slice(&chunk[..length]);
            while let Some(end) =
                self.kept[self.line..].iter().position(|byte| *byte == b'\n' || *byte == b'\r')
            {
                let line = String::from_utf8_lossy(&self.kept[self.line..self.line + end]);
                if !line.trim().is_empty() {
                    progress(Progress::Doing(&line));
                }
                self.line += end + 1;
            }
            if self.kept.len() > 2 * KEPT {
                let cut = self.kept.len() - KEPT;
                self.kept.drain(..cut);
                self.line = self.line.saturating_sub(cut);
            }
        }
        // What was read need not stay in memory: the writer appends, so it goes on at the new end.
        if file.stream_position().is_ok_and(|position| position > 16 * KEPT as u64) && file.set_len(0).is_ok()
        {
            let _ = file.seek(SeekFrom::Start(0));
        }
    }

    fn close(self) -> Vec<u8> {
        let _ = fs::remove_file(&self.path);
        let cut = self.kept.len().saturating_sub(KEPT);
        self.kept[cut..].to_vec()
    }
}
