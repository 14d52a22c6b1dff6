//! Flash crowds at size: a table, and the times to complete as a picture.
//!
//! `swarm` runs all; `--only NAME` one of them, `--leechers N` with so many, `--pieces N` with a torrent of so many
//! pieces of 128 KiB, `--seed N` another world of it. `--svg FILE` draws what ran.
#![allow(clippy::print_stderr)]

use quelea_sim::{Crowd, Role, Scenario, Summary, Violation, World};
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

const USAGE: &str = "usage: swarm [--only NAME] [--leechers N] [--pieces N] [--seed N] [--svg FILE]";
/// Bytes of a piece.
const PIECE: u32 = 128 << 10;
/// Bytes a second that a usual member sends.
const UPLINK: u64 = 250_000;

struct Wishes {
    only: Option<String>,
    leechers: Option<usize>,
    pieces: u32,
    seed: u64,
    svg: Option<String>,
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
    let mut wishes = Wishes { only: None, leechers: None, pieces: 512, seed: 1, svg: None };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match argument.as_str() {
            "--only" => wishes.only = Some(value),
            "--leechers" => wishes.leechers = Some(value.parse()?),
            "--pieces" => wishes.pieces = value.parse()?,
            "--seed" => wishes.seed = value.parse()?,
            "--svg" => wishes.svg = Some(value),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(wishes)
}

/// The crowds: a name, what is told of the bandwidths, and what they are made of.
fn crowds(wishes: &Wishes) -> Vec<(&'static str, &'static str, Crowd)> {
    let crowd = |usual: usize| Crowd {
        seed_uplink: UPLINK,
        uplinks: vec![UPLINK],
        ..Crowd::even(wishes.leechers.unwrap_or(usual), wishes.pieces, PIECE)
    };
    let mixed = vec![UPLINK / 2, UPLINK, 2 * UPLINK, 4 * UPLINK];
    let even = crowd(1_000);
    let riders = wishes.leechers.unwrap_or(225) / 3;
    vec![
        ("even", "250 KB/s up, 8 x down", even.clone()),
        ("mixed", "125, 250, 500, 1000 up", Crowd { uplinks: mixed, seed_uplink: 2 * UPLINK, ..even }),
        ("rough", "even, 40% NAT, 1% loss", Crowd { natted: 400, loss: 10, ..crowd(200) }),
        ("riders", "even, 1 of 4 gives nothing", Crowd { riders, seed_uplink: 4 * UPLINK, ..crowd(225) }),
        ("orphans", "even, the seed leaves", Crowd { seed_leaves: true, ..crowd(100) }),
        ("super", "the same, super-seeding", Crowd { seed_leaves: true, super_seed: true, ..crowd(100) }),
    ]
}

/// A crowd that has run.
struct Ran {
    name: &'static str,
    bandwidths: &'static str,
    summary: Summary,
}

fn run(wishes: &Wishes) -> Result<(), Box<dyn Error>> {
    let mut todo = crowds(wishes);
    todo.retain(|(name, ..)| wishes.only.as_ref().is_none_or(|only| only == name));
    let ran = run_side_by_side(&todo, wishes.seed)?;
    let mut out = io::stdout();
    writeln!(
        out,
        "{:<8} {:<27} {:>6} {:>7} {:>8} {:>8} {:>6} {:>6} {:>7} {:>7} {:>7}",
        "crowd",
        "bandwidths",
        "peers",
        "MiB",
        "fluid s",
        "last s",
        "ratio",
        "median",
        "useless",
        "riders",
        "copies"
    )?;
    let mut curves = Vec::new();
    for Ran { name, bandwidths, summary } in &ran {
        let times = times(summary);
        let (Some(&last), Some(&median)) = (times.last(), times.get(times.len() / 2)) else { continue };
        let fluid = summary.fluid_limit.as_secs_f64();
        let has_riders = summary.nodes.iter().any(|node| node.role == Role::Rider);
        let riders = if has_riders { percent(summary.riders_share()) } else { "-".to_owned() };
        writeln!(
            out,
            "{name:<8} {bandwidths:<27} {:>6} {:>7} {fluid:>8.1} {last:>8.1} {:>6.3} {:>6.3} {:>7} {riders:>7} {:>7.2}",
            summary.nodes.len(),
            summary.total_length >> 20,
            last / fluid,
            median / fluid,
            percent(summary.wasted_per_mille() as f64 / 1_000.0),
            summary.copies_from_seed(),
        )?;
        let ratios = times.iter().map(|time| time / fluid).collect();
        curves.push(Curve { name, bandwidths, members: times.len(), ratios });
    }
    if let Some(path) = &wishes.svg {
        std::fs::write(path, drawing(&curves))?;
    }
    Ok(())
}

/// Runs each crowd, as many at a time as there are processors. A world knows nothing of the others.
fn run_side_by_side(
    todo: &[(&'static str, &'static str, Crowd)],
    seed: u64,
) -> Result<Vec<Ran>, Box<dyn Error>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((name, bandwidths, crowd)) = todo.get(number) else { return Ok(done) };
            let summary = World::new(Scenario::crowd(crowd, seed), None).run()?;
            done.push((number, Ran { name, bandwidths, summary }));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ran = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut ran = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(done) => ran.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, Violation>(ran)
    })?;
    ran.sort_by_key(|(number, _)| *number);
    Ok(ran.into_iter().map(|(_, ran)| ran).collect())
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Seconds until each of those that give had everything, in order.
fn times(summary: &Summary) -> Vec<f64> {
    let leechers = summary.nodes.iter().filter(|node| node.role == Role::Leecher);
    let mut times: Vec<f64> =
        leechers.filter_map(|node| node.completed).map(quelea_time::Time::as_secs_f64).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// What is drawn of a crowd.
struct Curve<'a> {
    name: &'a str,
    bandwidths: &'a str,
    members: usize,
    /// When each of those that give had everything, in parts of the fluid limit, in order.
    ratios: Vec<f64>,
}

/// Where the picture's time axis begins and ends, in parts of the fluid limit.
const SPAN: [f64; 2] = [0.6, 1.3];
const LEFT: f64 = 70.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 390.0;

/// Which part of each crowd has everything by a time, which is told in parts of the fluid limit.
fn drawing(curves: &[Curve<'_>]) -> String {
    const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777", "#e69f00"];
    let x =
        |ratio: f64| LEFT + (ratio.clamp(SPAN[0], SPAN[1]) - SPAN[0]) / (SPAN[1] - SPAN[0]) * (RIGHT - LEFT);
    let y = |share: f64| BOTTOM - share * (BOTTOM - TOP);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"940\" height=\"450\" viewBox=\"0 0 940 450\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"940\" height=\"450\" fill=\"#fff\"/>\n\
         <text x=\"70\" y=\"28\" font-size=\"16\">Flash crowds in virtual time: who has everything by when</text>\n\
         <text x=\"335\" y=\"432\" text-anchor=\"middle\">time, as a multiple of the fluid limit</text>\n\
         <text x=\"20\" y=\"230\" text-anchor=\"middle\" transform=\"rotate(-90 20 230)\">members that have everything</text>\n",
    );
    for step in 0..=7 {
        let ratio = SPAN[0] + f64::from(step) / 10.0;
        let at = x(ratio);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{ratio:.1}</text>",
            BOTTOM + 18.0
        );
    }
    for quarter in 0..=4 {
        let at = y(f64::from(quarter) / 4.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} %</text>",
            LEFT - 8.0,
            at + 4.0,
            25 * quarter
        );
    }
    for (ratio, what, anchor) in [(1.0, "fluid limit", "end"), (1.15, "goal: 1.15", "start")] {
        let at = x(ratio);
        let beside = if anchor == "end" { at - 4.0 } else { at + 4.0 };
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{BOTTOM}\" stroke=\"#222\" \
             stroke-dasharray=\"5 4\"/>\
             <text x=\"{beside:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{what}</text>",
            TOP - 16.0,
            TOP - 8.0
        );
    }
    for ((number, curve), colour) in curves.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let many = curve.ratios.len().max(1) as f64;
        // A staircase: the share rises when a member completes.
        let mut points = String::new();
        for (before, &ratio) in curve.ratios.iter().enumerate() {
            let _ = write!(points, "{:.1},{:.1} ", x(ratio), y(before as f64 / many));
            let _ = write!(points, "{:.1},{:.1} ", x(ratio), y((before + 1) as f64 / many));
        }
        let line = 90 + 48 * number;
        let last = curve.ratios.last().copied().unwrap_or(0.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <rect x=\"622\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"644\" y=\"{line}\" font-weight=\"bold\">{}: last at {last:.2}</text>\
             <text x=\"644\" y=\"{}\">{} members, {}</text>",
            points.trim_end(),
            line - 6,
            curve.name,
            line + 16,
            curve.members,
            curve.bandwidths
        );
    }
    svg.push_str("</svg>\n");
    svg
}
