//! SHA-1 streams whose bytes come piecemeal, advanced side by side.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has wide kernels"))]

use crate::kernel::{Kernel, Runs, Which, Words};
use crate::sha1_stream::Sha1State;

/// Lets each stream consume its input, several side by side where that is faster; inputs may differ in length,
/// and may be empty. Streams without an input stay as they are.
///
/// Unlike [`crate::sha1_batch`] it needs no more of each stream than one input at a time in memory.
pub fn sha1_advance(streams: &mut [Sha1State], inputs: &[&[[u8; 64]]]) {
    let kernel = Kernel::best();
    sha1_advance_with(kernel, kernel.break_even(), streams, inputs);
}

/// As [`sha1_advance`], with this kernel while at least `least` streams have input left, and one by one from
/// then on: for benches, and for tests of what this machine would not choose.
pub fn sha1_advance_with(kernel: Kernel, least: usize, streams: &mut [Sha1State], inputs: &[&[[u8; 64]]]) {
    for (streams, inputs) in streams.chunks_mut(kernel.lanes()).zip(inputs.chunks(kernel.lanes())) {
        match kernel.which() {
            Which::Single => alone(streams, inputs),
            #[cfg(target_arch = "x86_64")]
            Which::Avx2 => side_by_side(crate::kernel::avx2::compress, least, streams, inputs),
            #[cfg(target_arch = "x86_64")]
            Which::Avx512 => side_by_side(crate::kernel::avx512::compress, least, streams, inputs),
        }
    }
}

fn alone(streams: &mut [Sha1State], inputs: &[&[[u8; 64]]]) {
    for (stream, input) in streams.iter_mut().zip(inputs) {
        stream.update_blocks(input);
    }
}

/// At most `LANES` streams and inputs.
fn side_by_side<const LANES: usize>(
    compress: fn(&mut Words<LANES>, &Runs<'_, LANES>),
    least: usize,
    streams: &mut [Sha1State],
    inputs: &[&[[u8; 64]]],
) {
    let mut left: Runs<'_, LANES> = [&[]; LANES];
    for ((left, input), _) in left.iter_mut().zip(inputs).zip(&*streams) {
        *left = input;
    }
    loop {
        let live = left.iter().filter(|run| !run.is_empty());
        if live.clone().count() < least.max(1) {
            break;
        }
        let Some(shortest) = live.min_by_key(|run| run.len()) else { break };
        let shortest: &[[u8; 64]] = shortest;
        let blocks = shortest.len();

        let mut words: Words<LANES> = [[0; LANES]; 5];
        for (lane, stream) in streams.iter().enumerate() {
            for (row, word) in words.iter_mut().zip(stream.words()) {
                row[lane] = word;
            }
        }
        // An idle lane repeats a live one, and its result is thrown away.
        compress(&mut words, &left.map(|run| if run.is_empty() { shortest } else { &run[..blocks] }));
        for ((lane, stream), run) in streams.iter_mut().enumerate().zip(&mut left) {
            if !run.is_empty() {
                stream.jump(words.each_ref().map(|row| row[lane]), blocks);
                *run = &run[blocks..];
            }
        }
    }
    alone(streams, &left);
}
