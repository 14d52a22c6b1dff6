//! Flash crowds at size: a table, and the times to complete as a picture.
//!
//! `swarm` runs all; `--only NAME` one of them, `--leechers N` with so many, `--pieces N` with a torrent of so many
//! pieces of 128 KiB, `--seed N` another world of it. `--svg FILE` draws what ran.
#![allow(clippy::print_stderr)]

use quelea_sim::{Crowd, Role, Scenario, Summary, World};
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

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

fn run(wishes: &Wishes) -> Result<(), Box<dyn Error>> {
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
    for (name, bandwidths, crowd) in crowds(wishes) {
        if wishes.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let summary = World::new(Scenario::crowd(&crowd, wishes.seed), None).run()?;
        let times = times(&summary);
        let (Some(&last), Some(&median)) = (times.last(), times.get(times.len() / 2)) else { continue };
        let fluid = summary.fluid_limit.as_secs_f64();
        let riders = if crowd.riders == 0 { "-".to_owned() } else { percent(summary.riders_share()) };
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
        curves.push((name, times.iter().map(|time| time / fluid).collect::<Vec<f64>>()));
    }
    if let Some(path) = &wishes.svg {
        std::fs::write(path, drawing(&curves))?;
    }
    Ok(())
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

/// Which part of each crowd has everything by a time, which is told in parts of the fluid limit.
fn drawing(curves: &[(&str, Vec<f64>)]) -> String {
    const COLOURS: [&str; 6] = ["#0b6", "#06c", "#c60", "#a0a", "#888", "#d33"];
    let x = |ratio: f64| 60.0 + (ratio.clamp(0.8, 1.4) - 0.8) / 0.6 * 560.0;
    let y = |share: f64| 330.0 - share * 290.0;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 390\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"390\" fill=\"#fff\"/>\n\
         <text x=\"60\" y=\"24\" font-size=\"15\">Part of the crowd that has everything, by time</text>\n\
         <text x=\"340\" y=\"376\" text-anchor=\"middle\">time, in parts of the fluid limit</text>\n",
    );
    for step in 0..=6 {
        let ratio = 0.8 + f64::from(step) / 10.0;
        let at = x(ratio);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"40\" y2=\"330\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"350\" text-anchor=\"middle\">{ratio:.1}</text>"
        );
    }
    for (ratio, what) in [(1.0, "limit"), (1.15, "1.15")] {
        let at = x(ratio);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"40\" y2=\"330\" stroke=\"#000\" stroke-dasharray=\"4 3\"/>\
             <text x=\"{at:.1}\" y=\"36\" text-anchor=\"middle\">{what}</text>"
        );
    }
    for ((number, (name, ratios)), colour) in curves.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let many = ratios.len().max(1) as f64;
        let points: Vec<String> = (1u32..)
            .zip(ratios)
            .map(|(done, &ratio)| format!("{:.1},{:.1}", x(ratio), y(f64::from(done) / many)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"640\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            points.join(" "),
            60 + 20 * number
        );
    }
    svg.push_str("</svg>\n");
    svg
}
