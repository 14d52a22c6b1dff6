//! `cargo xtask test`: all that a change must pass, from format to real clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine::{cargo_with, root, run as run_command};
use crate::metadata::Workspace;
use crate::report::{Outcome, Report};
use crate::{fuzz, interop, lint};

/// The test files that read the corpus beside the workspace.
const CORPUS_TESTS: [&str; 8] = [
    "crates/bencode/tests/corpus.rs",
    "crates/cli/tests/program.rs",
    "crates/dht/tests/corpus.rs",
    "crates/digest/tests/corpus.rs",
    "crates/discovery/tests/corpus.rs",
    "crates/metainfo/tests/corpus/manifest.rs",
    "crates/tracker/tests/vectors.rs",
    "crates/wire/tests/corpus.rs",
];

/// The whole task.
pub(crate) fn run() -> Result<()> {
    let mut report = Report::start();
    lint::add_steps(&mut report);
    report.step("tests", || {
        // The interop tests stand alone at the end, where they find a release build.
        run_command(&mut cargo_with(&[
            "test",
            "--no-fail-fast",
            "--workspace",
            "--exclude",
            "quelea-interop",
        ]))?;
        Ok(without_corpus().map_or(Outcome::Pass, Outcome::Skipped))
    });
    report.step("docs", || {
        let mut command = cargo_with(&["doc", "--workspace", "--no-deps"]);
        run_command(command.env("RUSTDOCFLAGS", "-D warnings"))?;
        Ok(Outcome::Pass)
    });
    let mut program = None;
    report.step("release build", || {
        program = Some(release_build()?);
        Ok(Outcome::Pass)
    });
    let built = || program.clone().context("there is no release build");
    report.step("corpus", || corpus(&built()?));
    report.step("interop", || interop::check(&built()?, None));
    fuzz::add_step(&mut report);
    report.finish()
}

/// Builds the command-line program as it is shipped; gives its path.
pub(crate) fn release_build() -> Result<PathBuf> {
    run_command(&mut cargo_with(&["build", "--release", "-p", "quelea-cli"]))?;
    let program = Workspace::load()?.target_directory.join("release/quelea");
    if !program.is_file() {
        bail!("cargo built no {}", program.display());
    }
    Ok(program)
}

/// Why the tests that read the corpus tested nothing, if it is not there: each of them only prints that it is absent.
fn without_corpus() -> Option<String> {
    let corpus = root().join("../shared/corpus");
    let files = CORPUS_TESTS.len();
    (!corpus.is_dir())
        .then(|| format!("in part: {} is absent, which {files} test files read", corpus.display()))
}

/// The corpus beside the workspace, shown from outside by its own checker.
fn corpus(program: &Path) -> Result<Outcome> {
    let shared = root().join("../shared");
    let checker = shared.join("tools/check_corpus.py");
    if !checker.is_file() {
        return Ok(Outcome::Skipped(format!("{} is absent", checker.display())));
    }
    let program = program.to_str().context("the target directory's name is not UTF-8")?;
    run_command(
        Command::new("python3")
            .current_dir(root())
            .arg(checker)
            .arg("--manifest")
            .arg(shared.join("corpus/manifest.json"))
            .args(["--magnet", &format!("'{program}' show --json {{uri}}")])
            .args(["--bencode", &format!("'{program}' bencode {{file}}")])
            .arg(format!("'{program}' show --json {{file}}")),
    )?;
    Ok(Outcome::Pass)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_tests_that_read_the_corpus_is_whole() {
        let mut reading = Vec::new();
        let mut folders = vec![root().join("crates")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs")
                    && std::fs::read_to_string(&path).unwrap().contains("/shared/corpus")
                {
                    reading.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        reading.sort();
        assert_eq!(reading, CORPUS_TESTS);
    }
}
