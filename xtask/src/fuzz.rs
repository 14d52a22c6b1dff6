//! `cargo xtask fuzz`: the targets of `fuzz/`, one until it is stopped or all of them for a while.
//!
//! Fuzzing needs instrumentation that rustc does not promise to keep, so the stable compiler is told to allow it
//! (`RUSTC_BOOTSTRAP`): what is fuzzed is then built by the compiler that everything else is built by. No sanitizer
//! is used: what is fuzzed has no unsafe code, and without one it runs several times as fast.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::cargo_tools::{CargoTool, cargo_with_tools};
use crate::machine::{Part, find_program, provide, root, run};
use crate::report::{Outcome, Report};

const CARGO_FUZZ: CargoTool = CargoTool { package: "cargo-fuzz", version: "0.13.2", build: &[] };
/// How long each target is fuzzed, where nothing else is said and among all tests.
const SMOKE_SECONDS: u64 = 60;
/// The longest input. What strangers send is longer, but short inputs reach the same code sooner.
const LONGEST: &str = "-max_len=4096";
/// An input that takes longer than this many seconds is a find.
const SLOWEST: &str = "-timeout=10";
/// An input that takes more than this many mebibytes is a find.
const LARGEST: &str = "-rss_limit_mb=1024";

const USAGE: &str =
    "usage: cargo xtask fuzz TARGET [--seconds N] [LIBFUZZER OPTIONS] [INPUTS] or fuzz --smoke [--seconds N]";

/// The task.
pub(crate) fn run_task(arguments: &[String]) -> Result<()> {
    match arguments {
        [smoke] if smoke == "--smoke" => smoke_task(SMOKE_SECONDS),
        [smoke, option, seconds] if smoke == "--smoke" && option == "--seconds" => {
            smoke_task(number(seconds)?)
        }
        [target, option, seconds, rest @ ..] if option == "--seconds" => {
            one(target, Some(number(seconds)?), rest)
        }
        [target, rest @ ..] if !target.starts_with('-') => one(target, None, rest),
        _ => bail!(USAGE),
    }
}

/// All targets as a step among others.
pub(crate) fn add_step(report: &mut Report) {
    report.step("fuzz", || all(SMOKE_SECONDS));
}

fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("`{text}` is no number of seconds"))
}

fn smoke_task(seconds: u64) -> Result<()> {
    let mut report = Report::start();
    report.step("fuzz", || all(seconds));
    report.finish()
}

/// Fuzzes one target for some seconds, or until it is stopped or finds something.
fn one(target: &str, seconds: Option<u64>, arguments: &[String]) -> Result<()> {
    let targets = targets()?;
    if !targets.iter().any(|known| known == target) {
        bail!("there is no fuzz target `{target}`; there are {}", targets.join(", "));
    }
    if let Some(missing) = missing()? {
        bail!(missing);
    }
    let (options, inputs): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| argument.starts_with('-'));
    let mut command = cargo_fuzz(&["run", "--sanitizer", "none", target]);
    command.args(inputs).args(["--", LONGEST, SLOWEST, LARGEST]).args(options);
    run(command.args(seconds.map(|seconds| format!("-max_total_time={seconds}"))))
}

/// Fuzzes every target for some seconds, as many at a time as there are processors.
fn all(seconds: u64) -> Result<Outcome> {
    if let Some(missing) = missing()? {
        return Ok(Outcome::Skipped(missing));
    }
    run(&mut cargo_fuzz(&["build", "--sanitizer", "none"]))?;
    let waiting = Mutex::new(targets()?);
    let finds = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = take(&waiting) {
                    match smoke(&target, seconds) {
                        Ok(line) => println!("    {target}: {line}"),
                        Err(find) => finds.lock().unwrap_or_else(PoisonError::into_inner).push(find),
                    }
                }
            });
        }
    });
    let finds = finds.into_inner().unwrap_or_else(PoisonError::into_inner);
    match finds.first() {
        None => Ok(Outcome::Pass),
        Some(first) => bail!("{} targets failed; the first: {first:#}", finds.len()),
    }
}

fn take(waiting: &Mutex<Vec<String>>) -> Option<String> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Fuzzes a target that is built; its last words when nothing was found.
fn smoke(target: &str, seconds: u64) -> Result<String> {
    let mut command = cargo_fuzz(&["run", "--sanitizer", "none", target, "--"]);
    command.args([LONGEST, SLOWEST, LARGEST]).arg(format!("-max_total_time={seconds}"));
    let output = command.stdin(Stdio::null()).output().context("cargo-fuzz did not start")?;
    let words = String::from_utf8_lossy(&output.stderr);
    let Some(told) = Told::read(&words).filter(|_| output.status.success()) else {
        let lines: Vec<&str> = words.lines().collect();
        let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
        bail!("target {target} ({}):\n{last}", output.status);
    };
    if told.runs == 0 {
        bail!("target {target} ran nothing");
    }
    Ok(format!("{} runs in {} s, {} edges covered", told.runs, told.seconds, told.edges))
}

/// What libFuzzer says at its end.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    runs: u64,
    seconds: u64,
    /// Edges of the control flow that some input went over.
    edges: u64,
}

impl Told {
    fn read(words: &str) -> Option<Self> {
        let done = words.lines().rev().find(|line| line.starts_with("Done "))?;
        let mut numbers = done.split(' ').filter_map(|word| word.parse().ok());
        let (runs, seconds) = (numbers.next()?, numbers.next()?);
        let covered = words.lines().rev().find(|line| line.contains("DONE "))?;
        let edges = covered.split_once("cov: ")?.1.split(' ').next()?.parse().ok()?;
        Some(Self { runs, seconds, edges })
    }
}

/// The targets, by their files' names.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    targets.sort();
    Ok(targets)
}

/// cargo-fuzz with the stable compiler.
fn cargo_fuzz(arguments: &[&str]) -> Command {
    let mut command = cargo_with_tools();
    command.arg("fuzz").args(arguments).env("RUSTC_BOOTSTRAP", "1");
    command
}

/// What fuzzing needs and cannot be had; `None` when all is there.
fn missing() -> Result<Option<String>> {
    let compiler = Part { package: "g++", is_there: || find_program("c++").is_some() };
    if let Some(package) = provide(&[compiler])?.first() {
        return Ok(Some(format!("{package} is not installed")));
    }
    CARGO_FUZZ.missing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_run_are_understood() {
        let words = "#2\tINITED cov: 15 ft: 16 corp: 1/1b exec/s: 0 rss: 40Mb\n\
            #4194304\tDONE   cov: 345 ft: 900 corp: 120/4096b lim: 4096 exec/s: 99864 rss: 45Mb\n\
            Done 4194304 runs in 42 second(s)\n";
        assert_eq!(Told::read(words), Some(Told { runs: 4_194_304, seconds: 42, edges: 345 }));
        assert_eq!(Told::read("==1== ERROR: libFuzzer: deadly signal"), None);
    }

    #[test]
    fn every_target_has_its_binary() {
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(manifest.contains(&format!("fuzz_targets/{target}.rs")), "{target}");
        }
    }
}
