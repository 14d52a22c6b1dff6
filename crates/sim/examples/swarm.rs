//! Swarms at size.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::print_stdout)]

use quelea_sim::{Crowd, Role, Scenario, World};

fn main() {
    let mut crowd = Crowd::even(1000, 256, 1 << 20);
    let mut seed = 1;
    let mut args = std::env::args().skip(1);
    let mut hist = false;
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap();
        match arg.as_str() {
            "-n" => crowd.leechers = value().parse().unwrap(),
            "-p" => crowd.pieces = value().parse().unwrap(),
            "-k" => crowd.piece_length = value().parse::<u32>().unwrap() * 1024,
            "-f" => crowd.downlink_factor = value().parse().unwrap(),
            "-r" => crowd.riders = value().parse().unwrap(),
            "-s" => seed = value().parse().unwrap(),
            "-u" => crowd.seed_uplink = value().parse::<u64>().unwrap() * 1000,
            "-up" => crowd.uplinks = value().split(',').map(|v| v.parse::<u64>().unwrap() * 1000).collect(),
            "-leave" => crowd.seed_leaves = true,
            "-super" => crowd.super_seed = true,
            "-hist" => hist = true,
            _ => panic!("{arg}"),
        }
    }
    let started = std::time::Instant::now();
    let scenario = Scenario::crowd(&crowd, seed);
    let s = match World::new(scenario, None).run() {
        Ok(s) => s,
        Err(e) => {
            println!("{e}");
            return;
        }
    };
    let mut done: Vec<f64> = s.nodes.iter().filter(|n| n.role == Role::Leecher).map(|n| n.completed.unwrap().as_secs_f64()).collect();
    done.sort_by(f64::total_cmp);
    let fluid = s.fluid_limit.as_secs_f64();
    println!("fluid {:.1} last {:.1} ratio {:.3} median {:.3} first {:.3} wasted {:.2}% msgs/block {:.2} wall {:?}", fluid, done[done.len()-1], done[done.len()-1] / fluid, done[done.len()/2]/fluid, done[0]/fluid, s.nodes.iter().map(|n| n.figures.wasted).sum::<u64>() as f64 * 100.0/ s.downloaded() as f64, s.messages.total() as f64 / s.messages.blocks as f64, started.elapsed());
    println!("{:?}", s.messages);
    let l: Vec<_> = s.nodes.iter().filter(|n| n.role == Role::Leecher).collect();
    println!("seed busy {} peers {}; copies {:.2}; leechers busy min {} mean {} max {}; peers min {} max {}", s.nodes[0].busy, s.nodes[0].peers, s.nodes[0].figures.uploaded as f64 / s.total_length as f64,
        l.iter().map(|n| n.busy).min().unwrap(), l.iter().map(|n| n.busy).sum::<u64>() / l.len() as u64, l.iter().map(|n| n.busy).max().unwrap(), l.iter().map(|n| n.peers).min().unwrap(), l.iter().map(|n| n.peers).max().unwrap());
    if hist {
        for up in crowd.uplinks.iter() {
            let v: Vec<_> = l.iter().filter(|n| n.uplink == *up).map(|n| n.completed.unwrap().as_secs_f64()).collect();
            println!("up {} mean {:.1} max {:.1} n {}", up, v.iter().sum::<f64>() / v.len() as f64, v.iter().copied().fold(0.0, f64::max), v.len());
        }
        for c in done.chunks((done.len() / 20).max(1)) { print!("{:.2} ", c[c.len()-1] / fluid); }
        println!();
    }
}
