//! A folder for everything that one test makes, gone when the test is over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::programs;

/// How much of each log a failed test shows, in bytes.
const TAIL: usize = 6_000;

/// Names a folder to which the logs of failed tests are copied whole.
const KEEP: &str = "QUELEA_INTEROP_LOGS";

/// The folder.
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// An empty folder among the temporary files.
    ///
    /// Others may look into it: opentracker gives up its rights before it reads its list.
    pub fn new() -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("quelea-interop-").tempdir().context("no scratch folder")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(dir.path().join("logs"))?;
        Ok(Self { dir })
    }

    /// The path of a file that is to be written.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A folder in it, made when it is not there.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// A folder in it with nothing inside; what lay there is removed.
    pub fn empty_folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder(name)?;
        fs::remove_dir_all(&path).with_context(|| format!("cannot empty {}", path.display()))?;
        self.folder(name)
    }

    /// Where the process called `name` writes what it says.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join("logs").join(format!("{name}.log"))
    }

    /// The ends of all logs, for the report of a failure. Who wants all of them finds them where `QUELEA_INTEROP_LOGS`
    /// says.
    pub fn log_tails(&self) -> String {
        if let Some(keep) = std::env::var_os(KEEP)
            && let Err(error) = self.keep_logs(Path::new(&keep))
        {
            programs::notice(&format!("the logs are not kept: {error:#}"));
        }
        let mut logs: Vec<PathBuf> = fs::read_dir(self.dir.path().join("logs"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        logs.sort();
        logs.iter().map(|log| tail(log)).collect()
    }

    fn keep_logs(&self, keep: &Path) -> Result<()> {
        let name = self.dir.path().file_name().context("a scratch folder without a name")?;
        let to = keep.join(name);
        fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        for log in fs::read_dir(self.dir.path().join("logs"))? {
            let log = log?;
            fs::copy(log.path(), to.join(log.file_name()))?;
        }
        programs::notice(&format!("the logs are kept in {}", to.display()));
        Ok(())
    }
}

fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = bytes.len().saturating_sub(TAIL);
    let end = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned();
    let cut = if from > 0 { "[…]" } else { "" };
    format!("\n--- {} ---\n{cut}{end}\n", log.file_name().unwrap_or_default().to_string_lossy())
}
