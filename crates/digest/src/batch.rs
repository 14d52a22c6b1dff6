//! Many SHA-1 streams at a time: which stream is in which lane, and what it consumes next.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 has wide kernels"))]

use alloc::vec;
use alloc::vec::Vec;

use crate::kernel::{Kernel, Runs, Which, Words};
use crate::sha1_stream::{INITIAL, Padding, digest_of};

/// The SHA-1 of each message, where a message is what its parts are when laid end to end.
///
/// The streams advance side by side through the best kernel of this machine ([`Kernel::best`]); a lane whose
/// message ends takes the next one. Parts may have any length, but lanes run longest without a stop where all
/// parts are equally long and a multiple of 64 bytes, as blocks of pieces are. Time is proportional to the
/// bytes; memory is a few words a message.
///
/// ```
/// let piece: &[&[u8]] = &[b"two ", b"parts"];
/// assert_eq!(quelea_digest::sha1_batch(&[piece]), [quelea_digest::sha1(b"two parts")]);
/// ```
pub fn sha1_batch<B: AsRef<[u8]>>(messages: &[&[B]]) -> Vec<[u8; 20]> {
    let kernel = Kernel::best();
    sha1_batch_with(kernel, kernel.break_even(), messages)
}

/// As [`sha1_batch`], with this kernel while at least `least` streams are live and one by one from then on:
/// for benches, and for tests of what this machine would not choose.
pub fn sha1_batch_with<B: AsRef<[u8]>>(kernel: Kernel, least: usize, messages: &[&[B]]) -> Vec<[u8; 20]> {
    let mut digests = vec![[0; 20]; messages.len()];
    match kernel.which() {
        Which::Single => alone(messages, &mut digests),
        _ if messages.len() < least => alone(messages, &mut digests),
        #[cfg(target_arch = "x86_64")]
        Which::Avx2 => side_by_side(crate::kernel::avx2::compress, least, messages, &mut digests),
        #[cfg(target_arch = "x86_64")]
        Which::Avx512 => side_by_side(crate::kernel::avx512::compress, least, messages, &mut digests),
    }
    digests
}

fn alone<B: AsRef<[u8]>>(messages: &[&[B]], digests: &mut [[u8; 20]]) {
    for (message, digest) in messages.iter().zip(digests) {
        *digest = digest_of(Stream::new(0, message).run_out(INITIAL));
    }
}

/// Runs all messages through the lanes of `compress` until fewer than `least` streams are live, and the rest
/// of those one by one.
fn side_by_side<const LANES: usize, B: AsRef<[u8]>>(
    compress: fn(&mut Words<LANES>, &Runs<'_, LANES>),
    least: usize,
    messages: &[&[B]],
    digests: &mut [[u8; 20]],
) {
    // The longest first, so that lanes end together and few are left idle at the end.
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_by_key(|&message| core::cmp::Reverse(length_of(messages[message])));
    let mut waiting = order.into_iter().map(|message| Stream::new(message, messages[message]));

    let mut words: Words<LANES> = [[0; LANES]; 5];
    let mut streams: [Option<Stream<'_, B>>; LANES] = [const { None }; LANES];
    loop {
        for (lane, stream) in streams.iter_mut().enumerate() {
            if stream.is_none()
                && let Some(next) = waiting.next()
            {
                *stream = Some(next);
                set_lane(&mut words, lane, INITIAL);
            }
        }
        let live = streams.iter().flatten().count();
        if live < least.max(1) {
            break;
        }

        let shortest = streams.iter().flatten().map(Stream::run).min_by_key(|run| run.len());
        let Some(shortest) = shortest else { break };
        let blocks = shortest.len();
        // An idle lane repeats a live one: its result is thrown away, and the bytes are in the cache.
        let runs = streams.each_ref().map(|stream| stream.as_ref().map_or(shortest, |s| &s.run()[..blocks]));
        compress(&mut words, &runs);

        for (lane, slot) in streams.iter_mut().enumerate() {
            let Some(stream) = slot else { continue };
            if !stream.advance(blocks) {
                digests[stream.message] = digest_of(lane_of(&words, lane));
                *slot = None;
            }
        }
    }
    for (lane, stream) in streams.into_iter().enumerate() {
        let Some(stream) = stream else { continue };
        let message = stream.message;
        digests[message] = digest_of(stream.run_out(lane_of(&words, lane)));
    }
}

fn length_of<B: AsRef<[u8]>>(message: &[B]) -> u64 {
    message.iter().map(|part| part.as_ref().len() as u64).sum()
}

fn lane_of<const LANES: usize>(words: &Words<LANES>, lane: usize) -> [u32; 5] {
    words.each_ref().map(|row| row[lane])
}

fn set_lane<const LANES: usize>(words: &mut Words<LANES>, lane: usize, values: [u32; 5]) {
    for (row, value) in words.iter_mut().zip(values) {
        row[lane] = value;
    }
}

/// What one stream consumes next, always as a run of whole blocks: from the message's parts where they lie,
/// or from its own buffer where a block straddles parts, and at last its padding.
struct Stream<'a, B> {
    message: usize,
    parts: core::slice::Iter<'a, B>,
    run: Run<'a>,
    /// What is left of the current part behind the run.
    part: &'a [u8],
    /// The front of a block that straddles parts.
    begun: [u8; 64],
    begun_length: usize,
    length: u64,
}

enum Run<'a> {
    Part(&'a [[u8; 64]]),
    Straddling([u8; 64]),
    Padding(Padding, usize),
}

impl<'a, B: AsRef<[u8]>> Stream<'a, B> {
    fn new(message: usize, parts: &'a [B]) -> Self {
        let mut stream = Self {
            message,
            parts: parts.iter(),
            run: Run::Part(&[]),
            part: &[],
            begun: [0; 64],
            begun_length: 0,
            length: 0,
        };
        stream.refill();
        stream
    }

    /// The blocks to consume next; not empty until the stream has ended.
    fn run(&self) -> &[[u8; 64]] {
        match &self.run {
            Run::Part(blocks) => blocks,
            Run::Straddling(block) => core::slice::from_ref(block),
            Run::Padding(padding, consumed) => &padding.blocks()[*consumed..],
        }
    }

    /// Consumes `blocks` of the run. False when the stream has ended with them.
    fn advance(&mut self, blocks: usize) -> bool {
        match &mut self.run {
            Run::Part(run) => {
                *run = &run[blocks..];
                if !run.is_empty() {
                    return true;
                }
            }
            Run::Straddling(_) if blocks == 0 => return true,
            Run::Straddling(_) => {}
            Run::Padding(padding, consumed) => {
                *consumed += blocks;
                return *consumed < padding.blocks().len();
            }
        }
        self.refill();
        true
    }

    /// Finds the next run. The stream has not been padded.
    fn refill(&mut self) {
        loop {
            if self.begun_length == 0 {
                let (blocks, rest) = self.part.as_chunks();
                self.part = rest;
                if !blocks.is_empty() {
                    self.run = Run::Part(blocks);
                    return;
                }
            }
            let taken = self.part.len().min(64 - self.begun_length);
            let (front, back) = self.part.split_at(taken);
            self.begun[self.begun_length..self.begun_length + taken].copy_from_slice(front);
            self.begun_length += taken;
            self.part = back;
            if self.begun_length == 64 {
                self.begun_length = 0;
                self.run = Run::Straddling(self.begun);
                return;
            }
            let Some(next) = self.parts.next() else { break };
            self.part = next.as_ref();
            self.length += self.part.len() as u64;
        }
        self.run = Run::Padding(Padding::new(&self.begun[..self.begun_length], self.length), 0);
    }

    /// Consumes all that is left, alone.
    fn run_out(mut self, mut words: [u32; 5]) -> [u32; 5] {
        loop {
            let run = self.run();
            sha1::block_api::compress(&mut words, run);
            let blocks = run.len();
            if !self.advance(blocks) {
                return words;
            }
        }
    }
}
