//! Test programs beside each other, a few at a time: most of their time they wait.
//!
//! What a program says goes to a file, so that it can be read meanwhile, and is printed whole when the program has ended.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::machine::cargo_with;

/// The tests of one file.
pub(crate) struct Program {
    /// The file's name.
    pub(crate) name: String,
    path: PathBuf,
    /// Its package's folder, where cargo would run it.
    home: PathBuf,
}

/// Who may run beside whom.
pub(crate) struct Plan<'a> {
    /// How many run at once.
    pub(crate) at_once: usize,
    /// Those that take longest, which begin first.
    pub(crate) long: &'a [&'a str],
    /// Those that keep the machine busy, of which one runs at a time.
    pub(crate) busy: &'a [&'a str],
}

/// One of cargo's messages; others than those about a built test lack what is asked for.
#[derive(Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the tests of a package.
pub(crate) fn build(package: &str) -> Result<Vec<Program>> {
    let mut command = cargo_with(&["test", "--no-run", "--message-format=json-render-diagnostics"]);
    command.args(["-p", package]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().context("cargo did not start")?;
    if !output.status.success() {
        bail!("the tests of {package} were not built ({})", output.status);
    }
    programs(&output.stdout)
}

fn programs(messages: &[u8]) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for message in serde_json::Deserializer::from_slice(messages).into_iter() {
        let message: Message = message.context("cargo gave no JSON that is understood")?;
        if let Message {
            manifest_path: Some(manifest),
            target: Some(target),
            profile: Some(Profile { test: true }),
            executable: Some(path),
        } = message
        {
            let home = manifest.parent().unwrap_or(Path::new(".")).to_path_buf();
            programs.push(Program { name: target.name, path, home });
        }
    }
    Ok(programs)
}

/// Those that have not begun, and whether a busy one is at work.
struct Queue {
    waiting: Vec<Program>,
    busy: bool,
}

/// How one ended.
struct Ending {
    name: String,
    status: ExitStatus,
    took: Duration,
    /// The number of tests that passed or failed.
    tests: usize,
}

impl Plan<'_> {
    /// Runs them all, as `prepare` sets them up; what they say stands in `folder` while they run. The number of tests that
    /// ran; an error when one does not end well.
    pub(crate) fn run(
        &self,
        mut programs: Vec<Program>,
        folder: &Path,
        prepare: impl Fn(&Program, &mut Command) + Sync,
    ) -> Result<usize> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        println!(
            "    {} test programs, {} at once; what they say: {}",
            programs.len(),
            self.at_once,
            folder.display()
        );
        programs.sort_by_key(|program| {
            let rank = self.long.iter().position(|name| *name == program.name);
            (rank.unwrap_or(self.long.len()), program.name.clone())
        });
        let queue = Mutex::new(Queue { waiting: programs, busy: false });
        let freed = Condvar::new();
        let endings = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.at_once)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        while let Some(program) = self.next(&queue, &freed) {
                            let ending = program.run(folder, &prepare, &endings);
                            if self.is_busy(&program) {
                                queue.lock().unwrap_or_else(PoisonError::into_inner).busy = false;
                                freed.notify_all();
                            }
                            ending?;
                        }
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(outcome) => outcome,
                Err(_) => bail!("a thread that runs tests panicked"),
            })
        })?;
        conclude(&endings.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first that may begin; none when all have.
    fn next(&self, queue: &Mutex<Queue>, freed: &Condvar) -> Option<Program> {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.waiting.is_empty() {
                return None;
            }
            let busy = queue.busy;
            if let Some(at) = queue.waiting.iter().position(|program| !(busy && self.is_busy(program))) {
                let program = queue.waiting.remove(at);
                queue.busy |= self.is_busy(&program);
                return Some(program);
            }
            queue = freed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_busy(&self, program: &Program) -> bool {
        self.busy.contains(&program.name.as_str())
    }
}

impl Program {
    /// Runs it, and prints what it said.
    fn run(
        &self,
        folder: &Path,
        prepare: &impl Fn(&Self, &mut Command),
        endings: &Mutex<Vec<Ending>>,
    ) -> Result<()> {
        let said = folder.join(format!("{}.log", self.name));
        let file = File::create(&said).with_context(|| format!("cannot write {}", said.display()))?;
        let mut command = Command::new(&self.path);
        command.current_dir(&self.home).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        prepare(self, &mut command);
        let began = Instant::now();
        let status = command.status().with_context(|| format!("{} did not start", self.path.display()))?;
        let said = fs::read(&said).with_context(|| format!("cannot read {}", said.display()))?;
        let tests = tests_run(&String::from_utf8_lossy(&said));
        let ending = Ending { name: self.name.clone(), status, took: began.elapsed(), tests };
        let mut endings = endings.lock().unwrap_or_else(PoisonError::into_inner);
        // A filter leaves most programs without a test.
        if tests > 0 || !status.success() {
            let mut out = std::io::stdout().lock();
            writeln!(out, "    {ending}")?;
            out.write_all(&said)?;
            out.flush()?;
        }
        endings.push(ending);
        Ok(())
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.status.success() { "ok" } else { "FAILED" };
        let tests = self.tests;
        write!(to, "{:<14} {:>7.1} s  {tests:>2} tests  {verdict}", self.name, self.took.as_secs_f64())
    }
}

/// The number of tests that passed or failed by the words of a test program, which ends with
/// `test result: ok. 3 passed; 0 failed; …`.
fn tests_run(said: &str) -> usize {
    let count = |line: &str, word: &str| -> usize {
        let before = line.split_once(word).and_then(|(before, _)| before.split_whitespace().last());
        before.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let results = said.lines().filter(|line| line.starts_with("test result: "));
    results.map(|line| count(line, " passed") + count(line, " failed")).sum()
}

/// One line for each that ran a test, in the order in which they ended, and the number of tests; an error that names those
/// that failed.
fn conclude(endings: &[Ending]) -> Result<usize> {
    println!();
    for ending in endings.iter().filter(|ending| ending.tests > 0 || !ending.status.success()) {
        println!("    {ending}");
    }
    let tests = endings.iter().map(|ending| ending.tests).sum();
    let failed: Vec<_> = endings.iter().filter(|ending| !ending.status.success()).collect();
    if failed.is_empty() {
        return Ok(tests);
    }
    let names: Vec<_> = failed.iter().map(|ending| format!("{} ({})", ending.name, ending.status)).collect();
    bail!("failed: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that runs this script.
    fn program(name: &str, script: &str, folder: &Path) -> Program {
        let home = folder.join(name);
        fs::create_dir(&home).unwrap();
        fs::write(home.join("script"), script).unwrap();
        Program { name: name.to_owned(), path: "/bin/sh".into(), home }
    }

    fn run_script(_: &Program, command: &mut Command) {
        command.arg("script");
    }

    #[test]
    fn tests_are_found_among_the_messages_of_cargo() {
        let said = br#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"a"},
            "profile":{"test":false},"executable":"/t/a"}
            {"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"b"},
            "profile":{"test":true},"executable":"/t/b"}
            {"reason":"build-finished","success":true}"#;
        let found = programs(said).unwrap();
        let [only] = found.as_slice() else { panic!("{}", found.len()) };
        assert_eq!((only.name.as_str(), only.home.as_path()), ("b", Path::new("/w/a")));
    }

    #[test]
    fn tests_are_counted_by_what_a_program_says() {
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 3 filtered out\n";
        let some = "test a ... ok\ntest result: FAILED. 2 passed; 1 failed; 4 ignored; 0 filtered out\n";
        assert_eq!((tests_run(none), tests_run(some), tests_run("")), (0, 3, 0));
    }

    #[test]
    fn all_run_and_those_that_fail_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let names = ["a", "b", "c", "d"];
        let scripts = ["echo said", "exit 3", "touch ran", "kill -9 $$"];
        let programs =
            names.iter().zip(scripts).map(|(name, script)| program(name, script, folder)).collect();
        let plan = Plan { at_once: 2, long: &["d"], busy: &["a", "b"] };
        let error = plan.run(programs, &folder.join("logs"), run_script).unwrap_err().to_string();
        assert!(error.contains("b (") && error.contains("d (") && !error.contains("a ("), "{error}");
        assert!(folder.join("c/ran").exists());
        assert_eq!(fs::read_to_string(folder.join("logs/a.log")).unwrap(), "said\n");
    }

    #[test]
    fn of_the_busy_ones_one_runs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // Fails where another holds the folder.
        let script = "mkdir ../held && sleep 0.1 && rmdir ../held";
        let programs = ["a", "b", "c"].iter().map(|name| program(name, script, folder)).collect();
        let plan = Plan { at_once: 3, long: &[], busy: &["a", "b", "c"] };
        plan.run(programs, &folder.join("logs"), run_script).unwrap();
    }
}
