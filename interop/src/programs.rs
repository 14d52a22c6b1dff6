//! What is installed on this machine, and what follows when something is not.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// Where a program lies, also in the folders of system programs.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether a test may go on: `missing` names what it needs and does not find.
///
/// When something is missing: an error in CI, else a notice and `false`.
pub fn may_run(missing: &[&str]) -> Result<bool> {
    if missing.is_empty() {
        return Ok(true);
    }
    let missing = missing.join(", ");
    if in_ci() {
        bail!("missing: {missing}; `cargo xtask interop` installs and builds what these tests need");
    }
    notice(&format!("skipped, missing: {missing}; `cargo xtask interop` provides it"));
    Ok(false)
}

/// Whether this is a run that counts, in which nothing may be skipped.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// A line for the person who runs the tests, past the capture of the test harness.
pub fn notice(text: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("interop");
    // Where standard error is closed nobody reads.
    let _ = writeln!(std::io::stderr(), "{test}: {text}");
}
