//! Every task that a person runs twice. `cargo xtask help` lists them.
//!
//! Each task is a list of steps; a step passes, fails or is skipped with its reason, and the list ends with
//! one line a step and the counts. With `CI=true` nothing may be skipped: what is missing is a failure.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what these tasks are for")]
#![allow(clippy::disallowed_methods, reason = "steps are timed for a reader; nothing here is replayed")]

mod arrows;
mod cargo_tools;
mod fuzz;
mod interop;
mod lint;
mod machine;
mod metadata;
mod purity;
mod report;
mod side_by_side;
mod sources;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Usage: cargo xtask TASK

  test               all that a change must pass: lint, tests, docs, release build, corpus, interop, fuzz
  lint               format, clippy, the arrows between crates, purity, where unsafe stands, cargo-deny
  interop [FILTER]   real clients against the release build; FILTER is a part of a test's name
  sim SEED           replay one world of the simulator with its trace
  sim --seeds N      run the first N worlds until one fails
  sim swarm [ARGS]   flash crowds of a thousand: a table, and docs/swarm.svg (ARGS: --only, --leechers, --pieces)
  sim dht [ARGS]     10,000 nodes of the DHT, some of which lie: tables and a picture in docs/dht.md (ARGS: --nodes,
                     --lookups, --liars, --sieges, --seed, --threads)
  bench NAME [ARGS]  run one benchmark (bench/README.md lists them)
  fuzz TARGET [--seconds N]
                     fuzz one target until it finds something, is stopped, or N seconds are over
  fuzz --smoke [--seconds N]
                     fuzz every target for a minute, or N seconds
  help               this text

With CI=true in the environment a missing part is a failure instead of a skipped step.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let (task, rest) =
        arguments.split_first().map_or(("help", arguments), |(task, rest)| (task.as_str(), rest));
    match (task, rest) {
        ("test", []) => test::run(),
        ("lint", []) => lint::run(),
        ("interop", []) => interop::run(None),
        ("interop", [filter]) => interop::run(Some(filter)),
        ("sim", [seed]) if seed != "swarm" && seed != "dht" => tools::sim(seed),
        ("sim", rest) => tools::sim_at_length(rest),
        ("bench", [name, rest @ ..]) => tools::bench(name, rest),
        ("fuzz", rest) => fuzz::run_task(rest),
        ("help" | "--help" | "-h", _) => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("`{}` is not a task: see `cargo xtask help`", arguments.join(" ")),
    }
}
