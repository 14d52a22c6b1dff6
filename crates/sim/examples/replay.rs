//! Replays worlds of the simulator.
//!
//! `replay SEED` tells the story of one world and its figures; `--quiet` leaves out the story, `--node NAME`
//! keeps one node's part of it. `--seeds N` runs N worlds from SEED on, a line each (with `--quiet`
//! now and then a line), and ends at the first that fails. `--kind KIND` makes worlds
//! of one kind whatever the seed. `--pieces N` runs an even world with a torrent of N pieces, to measure with.
//! `--check-every N` checks machines at every Nth step only, which is faster.
#![allow(clippy::print_stderr)]

use quelea_sim::{Kind, Scenario, World};
use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// A long run tells how far it is once in so many worlds.
const PROGRESS: u64 = 200;

const USAGE: &str = "usage: replay SEED [--seeds N] [--kind KIND] [--pieces N] [--check-every N]
              [--quiet] [--node NAME]";

#[derive(Default)]
struct Wishes {
    seed: u64,
    seeds: Option<u64>,
    kind: Option<Kind>,
    pieces: Option<u32>,
    check_every: Option<u64>,
    quiet: bool,
    node: Option<String>,
}

fn main() -> ExitCode {
    match wishes(std::env::args().skip(1)).and_then(|wishes| replay(&wishes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn wishes(mut arguments: impl Iterator<Item = String>) -> Result<Wishes, Box<dyn Error>> {
    let mut wishes = Wishes::default();
    let mut seed = None;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--seeds" => wishes.seeds = Some(value()?.parse()?),
            "--kind" => wishes.kind = Some(value()?.parse()?),
            "--pieces" => wishes.pieces = Some(value()?.parse()?),
            "--check-every" => wishes.check_every = Some(value()?.parse()?),
            "--node" => wishes.node = Some(value()?),
            "--quiet" => wishes.quiet = true,
            number => seed = Some(number.parse().map_err(|_| USAGE)?),
        }
    }
    wishes.seed = seed.ok_or(USAGE)?;
    Ok(wishes)
}

fn replay(wishes: &Wishes) -> Result<(), Box<dyn Error>> {
    if let Some(count) = wishes.seeds {
        for seed in wishes.seed..wishes.seed.saturating_add(count) {
            match World::new(scenario(wishes, seed), None).run() {
                Ok(_) if wishes.quiet => {
                    let done = seed - wishes.seed + 1;
                    if done.is_multiple_of(PROGRESS) || done == count {
                        writeln!(io::stdout(), "{done} of {count} worlds are good")?;
                    }
                }
                Ok(summary) => writeln!(io::stdout(), "{}", summary.line())?,
                Err(violation) => {
                    return Err(format!("after {} good worlds: {violation}", seed - wishes.seed).into());
                }
            }
        }
        return Ok(());
    }
    let story = Story { out: BufWriter::new(io::stdout()), node: wishes.node.clone() };
    let story: Option<Box<dyn Write>> = if wishes.quiet { None } else { Some(Box::new(story)) };
    let summary = World::new(scenario(wishes, wishes.seed), story).run()?;
    writeln!(io::stdout(), "{summary}")?;
    Ok(())
}

fn scenario(wishes: &Wishes, seed: u64) -> Scenario {
    let mut scenario = match (wishes.pieces, wishes.kind) {
        (Some(pieces), _) => Scenario::even(pieces, seed),
        (None, Some(kind)) => Scenario::of_kind(kind, seed),
        (None, None) => Scenario::of_seed(seed),
    };
    scenario.checks_every = wishes.check_every.unwrap_or(scenario.checks_every).max(1);
    scenario
}

/// Passes on the lines that concern one node, or all.
struct Story<W> {
    out: W,
    node: Option<String>,
}

impl<W: Write> Write for Story<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let concerns = |name: &String| text.split([' ', ':', '\n']).any(|word| word == name);
        if self.node.as_ref().is_none_or(concerns) {
            self.out.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
