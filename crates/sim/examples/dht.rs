//! Networks of the distributed hash table at size: a table, a picture, and sieges.
//!
//! `dht` runs all; `--nodes N` with so many hosts, `--lookups N` with so many look-ups of each kind, `--liars N` with so
//! many per cent of liars alone, `--seed N` another network, `--sieges N` so many attacks of each kind (0: none).
//! Each network lives in one thread; `--threads N` runs so many networks at a time, one for each core if nothing is said.
//! `--svg FILE` draws success against the share of liars, `--docs FILE` puts the tables into a page.
#![allow(clippy::print_stderr)]

use quelea_sim::dht::{Aim, Losses, Outcome, Plan, Siege};
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;

const USAGE: &str = "usage: dht [--nodes N] [--lookups N] [--liars PERCENT] [--sieges N] [--seed N] [--threads N] [--svg FILE] [--docs FILE]";
/// Shares of liars, per cent.
const SHARES: [u32; 5] = [0, 10, 20, 30, 40];
/// What a curve shows of a run: how many look-ups succeeded, and of how many.
type Successes = fn(&Outcome) -> (usize, usize);

struct Wishes {
    nodes: usize,
    lookups: usize,
    liars: Option<u32>,
    sieges: usize,
    seed: u64,
    svg: Option<String>,
    docs: Option<String>,
    threads: usize,
}

fn main() -> ExitCode {
    match wishes(std::env::args().skip(1)).and_then(|wishes| run(&wishes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn wishes(mut arguments: impl Iterator<Item = String>) -> Result<Wishes, Box<dyn Error>> {
    let mut wishes = Wishes {
        nodes: 10_000,
        lookups: 2_000,
        liars: None,
        sieges: 50,
        seed: 1,
        svg: None,
        docs: None,
        threads: std::thread::available_parallelism().map_or(1, Into::into),
    };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match argument.as_str() {
            "--nodes" => wishes.nodes = value.parse()?,
            "--lookups" => wishes.lookups = value.parse()?,
            "--liars" => wishes.liars = Some(value.parse()?),
            "--sieges" => wishes.sieges = value.parse()?,
            "--seed" => wishes.seed = value.parse()?,
            "--threads" => wishes.threads = value.parse::<usize>()?.max(1),
            "--svg" => wishes.svg = Some(value),
            "--docs" => wishes.docs = Some(value),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(wishes)
}

/// What is run, each in a thread of its own, and what came of it.
enum Job {
    Trial(u32, Plan),
    Siege(Siege),
}

enum Came {
    Trial(u32, Outcome),
    Siege(Siege, Losses),
}

fn jobs(wishes: &Wishes) -> Vec<Job> {
    let shares = SHARES.into_iter().filter(|share| wishes.liars.is_none_or(|only| only == *share));
    let trial = |share: u32| {
        let plan = Plan { lookups: wishes.lookups, seed: wishes.seed, ..Plan::new(wishes.nodes, share * 10) };
        Job::Trial(share, plan)
    };
    let siege = |(aim, enforce_ids, fitting)| {
        let usual = Siege::new(wishes.nodes.min(1_000), aim, enforce_ids);
        Job::Siege(Siege { targets: wishes.sieges, seed: wishes.seed, fitting, ..usual })
    };
    let wanted = if wishes.sieges > 0 { usize::MAX } else { 0 };
    shares.map(trial).chain(sieges().take(wanted).map(siege)).collect()
}

/// Runs all jobs, so many at a time; the results in the order of the jobs.
fn results(jobs: Vec<Job>, threads: usize) -> Vec<Came> {
    let count = jobs.len();
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let results = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.next());
                    let Some((number, job)) = next else { return };
                    let result = match job {
                        Job::Trial(share, plan) => Came::Trial(share, plan.run()),
                        Job::Siege(siege) => {
                            let losses = siege.run();
                            Came::Siege(siege, losses)
                        }
                    };
                    if let Ok(mut results) = results.lock() {
                        results.push((number, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

fn run(wishes: &Wishes) -> Result<(), Box<dyn Error>> {
    let (mut rows, mut trials, mut sieges) = (Vec::new(), String::new(), String::new());
    for result in results(jobs(wishes), wishes.threads) {
        match result {
            Came::Trial(share, outcome) => {
                trials.push_str(&row(share, &outcome));
                rows.push((share, outcome));
            }
            Came::Siege(siege, losses) => sieges.push_str(&siege_row(&siege, losses)),
        }
    }
    let mut page = format!(
        "{} nodes, seed {}, `cargo xtask sim dht`:\n\n\
         | liars | peers found | of | nearest node found | of | steps (bound {}) | queries (bound {}) | seconds | over | lies | datagrams |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n{trials}",
        wishes.nodes,
        wishes.seed,
        Outcome::step_bound(wishes.nodes),
        Outcome::bound(wishes.nodes),
    );
    if !sieges.is_empty() {
        let _ = write!(
            page,
            "\n{} nodes, attackers with 32 addresses each:\n\n\
             | attack | ids | enforced | attacks | failed | attackers among the nodes known or written to |\n\
             |---|---|---|---|---|---|\n{sieges}",
            wishes.nodes.min(1_000),
        );
    }
    io::stdout().write_all(page.as_bytes())?;
    if let Some(path) = &wishes.svg {
        std::fs::write(path, drawing(wishes.nodes, &rows))?;
    }
    if let Some(path) = &wishes.docs {
        const MARKS: [&str; 2] = ["<!-- sim: begin -->\n", "<!-- sim: end -->"];
        let text = std::fs::read_to_string(path)?;
        let (before, rest) = text.split_once(MARKS[0]).ok_or("the page has no place for the tables")?;
        let (_, after) = rest.split_once(MARKS[1]).ok_or("the page has no end of the tables")?;
        std::fs::write(path, format!("{before}{}{page}{}{after}", MARKS[0], MARKS[1]))?;
    }
    Ok(())
}

/// Each aim with any ids and with fitting ones, without and with enforcement.
fn sieges() -> impl Iterator<Item = (Aim, bool, bool)> {
    [Aim::Torrent, Aim::Node]
        .into_iter()
        .flat_map(|aim| [(aim, false, false), (aim, true, false), (aim, false, true), (aim, true, true)])
}

fn percent((part, all): (usize, usize)) -> String {
    format!("{:.2}%", part as f64 * 100.0 / all.max(1) as f64)
}

fn row(share: u32, outcome: &Outcome) -> String {
    format!(
        "| {share}% | {} | {} | {} | {} | {} (most {}) | {} | {:.1} | {:.0} (most {:.0}) | {} | {} |\n",
        percent(outcome.peers),
        outcome.peers.1,
        percent(outcome.nodes),
        outcome.nodes.1,
        outcome.median_steps(),
        outcome.most_steps(),
        outcome.median_queries(),
        outcome.median_seconds(),
        outcome.median_over(),
        outcome.longest(),
        outcome.lies,
        outcome.datagrams,
    )
}

fn siege_row(siege: &Siege, losses: Losses) -> String {
    let aim = match siege.aim {
        Aim::Torrent => "Sybil, on a torrent",
        Aim::Node => "eclipse, of a node",
    };
    let ids = if siege.fitting { "that fit" } else { "that suit" };
    let enforced = if siege.enforce_ids { "yes" } else { "no" };
    format!(
        "| {aim} | {ids} | {enforced} | {} | {} | {} |\n",
        losses.tried,
        percent((losses.tried - losses.lost, losses.tried)),
        percent(losses.held),
    )
}

/// Success against the share of liars.
fn drawing(nodes: usize, rows: &[(u32, Outcome)]) -> String {
    const LOWEST: f64 = 95.0;
    let x = |share: f64| 70.0 + share / 40.0 * 560.0;
    let y = |success: f64| 330.0 - (success.clamp(LOWEST, 100.0) - LOWEST) / (100.0 - LOWEST) * 270.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 390\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"390\" fill=\"#fff\"/>\n\
         <text x=\"70\" y=\"24\" font-size=\"15\">Look-ups that succeed among {nodes} nodes, by the share of liars</text>\n\
         <text x=\"350\" y=\"376\" text-anchor=\"middle\">liars, per cent of the nodes</text>\n\
         <text x=\"70\" y=\"48\" fill=\"#555\">per cent</text>\n"
    );
    for step in 0..=5 {
        let success = LOWEST + f64::from(step);
        let at = y(success);
        let _ = writeln!(
            svg,
            "<line x1=\"70\" x2=\"630\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"62\" y=\"{:.1}\" text-anchor=\"end\">{success:.0}</text>",
            at + 4.0
        );
    }
    let bar = y(99.9);
    let _ = writeln!(
        svg,
        "<line x1=\"70\" x2=\"630\" y1=\"{bar:.1}\" y2=\"{bar:.1}\" stroke=\"#000\" stroke-dasharray=\"4 3\"/>\
         <text x=\"636\" y=\"{:.1}\">99.9</text>",
        bar + 4.0
    );
    for share in SHARES {
        let at = x(f64::from(share));
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"350\" text-anchor=\"middle\">{share}</text>");
    }
    let of = |pair: (usize, usize)| pair.0 as f64 * 100.0 / pair.1.max(1) as f64;
    let curves: [(&str, &str, Successes); 2] = [
        ("peers found", "#06c", |outcome| outcome.peers),
        ("nearest node found", "#0b6", |outcome| outcome.nodes),
    ];
    for (number, (name, colour, value)) in curves.into_iter().enumerate() {
        let points: Vec<(f64, f64)> =
            rows.iter().map(|(share, outcome)| (x(f64::from(*share)), y(of(value(outcome))))).collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
        let _ = writeln!(svg, "<text x=\"90\" y=\"{}\" fill=\"{colour}\">{name}</text>", 270 + 20 * number);
    }
    svg.push_str("</svg>\n");
    svg
}
