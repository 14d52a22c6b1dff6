//! How fast each kernel is on this machine, and from how many streams on it beats single ones.
//!
//! `cargo run --release -p quelea-digest --example throughput`
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::wildcard_enum_match_arm, missing_docs)]

use quelea_digest::{Kernel, sha1_batch_with};
use std::time::Instant;

const BLOCK: usize = 16 * 1024;
/// Enough blocks to stay in the second-level cache with one stream and to leave it with sixteen.
const BLOCKS_A_PIECE: usize = 16;

fn main() {
    let pieces: Vec<Vec<Vec<u8>>> = (0..16u8)
        .map(|piece| (0..BLOCKS_A_PIECE as u8).map(|block| vec![piece ^ block; BLOCK]).collect())
        .collect();
    println!("best here: {} from {} streams on", Kernel::best().name(), Kernel::best().break_even());
    println!("{:>8} {:>14} {:>14}", "streams", "kernel", "GB/s");
    for streams in 1..=16 {
        let messages: Vec<&[Vec<u8>]> = pieces[..streams].iter().map(Vec::as_slice).collect();
        for kernel in Kernel::available() {
            let bytes = streams * BLOCKS_A_PIECE * BLOCK;
            let best = (0..40)
                .map(|_| {
                    let start = Instant::now();
                    std::hint::black_box(sha1_batch_with(kernel, 1, &messages));
                    start.elapsed().as_secs_f64()
                })
                .fold(f64::MAX, f64::min);
            println!("{streams:>8} {:>14} {:>14.2}", kernel.name(), bytes as f64 / best / 1e9);
        }
    }
}
