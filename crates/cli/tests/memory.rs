//! `--max-memory` bounds the whole program, measured as the most that was resident.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![cfg(target_os = "linux")]

mod support;

use support::{Bed, Leech, Seed};

/// The code of a program without optimisation is longer, and counts.
const LONGER_CODE: u64 = if cfg!(debug_assertions) { 20 << 20 } else { 0 };

/// The most that was ever resident of a process, in bytes.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Downloads 512 MiB in pieces of 16 MiB. The peak, and the bytes that came.
fn download(limit: u64) -> (u64, u64) {
    let bed = Bed::of_zeros("zeros", 16 << 20, 32);
    let seed = Seed::start(&bed);
    let mut command = bed.leech(&bed.path("out"), &seed);
    // It goes on to seed, so that it is there to be measured when everything has come.
    command.args(["--seed", "--max-memory", &format!("{}M", limit >> 20)]);
    let mut leech = Leech::start(command);
    let completed = leech.event("completed");
    (peak(leech.id()), completed["downloaded"].as_u64().unwrap())
}

#[test]
fn pieces_of_16_mib_arrive_within_64_mib() {
    let limit = 64 << 20;
    let (peak, came) = download(limit);
    assert_eq!(came, 512 << 20);
    // Less than two pieces in memory would mean that something else was measured.
    assert!(peak > 32 << 20, "{} KiB", peak >> 10);
    assert!(peak <= limit + LONGER_CODE, "{} KiB of {} KiB", peak >> 10, limit >> 10);
}

#[test]
fn more_memory_is_used_where_it_is_allowed() {
    let (peak, _) = download(256 << 20);
    assert!(peak > 64 << 20, "the limit has no effect: {} KiB", peak >> 10);
    assert!(peak <= (256 << 20) + LONGER_CODE, "{} KiB", peak >> 10);
}
