//! The requests outstanding at one peer: how many there should be, and which.
//!
//! The depth follows bandwidth x delay: it grows by one with each block received (so it doubles in a round trip)
//! until the rate stops growing, and then holds what arrives in [`QUEUE_TIME`]. Constants are those that proved
//! themselves in libtorrent, with a shorter queue, because memory and fairness suffer from a longer one and
//! throughput does not gain.

use crate::rate::Rate;
use alloc::collections::VecDeque;
use core::time::Duration;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Span};
use quelea_time::Time;

/// Requests cover this much time at the peer's rate.
pub const QUEUE_TIME: Duration = Duration::from_millis(1_500);
/// The depth that a peer starts with. A slow one would keep more of them waiting, and the pieces that they open: in a
/// crowd of newcomers the fast had nothing to ask for that the slow had not been asked for already.
pub const INITIAL_DEPTH: usize = 4;
/// The least depth of a peer that sends.
pub const MIN_DEPTH: usize = 4;
/// The greatest depth: 16 MiB on their way.
pub const MAX_DEPTH: usize = 1_024;
/// The depth for a peer that does not say how many requests it takes (BEP 10, `reqq`).
pub const DEFAULT_REQQ: usize = 250;
/// A peer that sends nothing of what it was asked for this long is snubbed.
pub const SNUB_AFTER: Duration = Duration::from_secs(20);

/// A request on its way.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    span: Span,
    sent: Time,
}

/// The requests outstanding at one peer.
#[derive(Debug)]
pub struct Pipeline {
    outstanding: VecDeque<Outstanding>,
    depth: usize,
    reqq: usize,
    growing: bool,
    sampled: Time,
    sampled_rate: u64,
    last_block: Time,
    /// The peer does not send what it was asked for.
    snubbed: bool,
    rate: Rate,
}

impl Pipeline {
    /// An empty pipeline of a peer that connected at `now`.
    pub fn new(now: Time) -> Self {
        Self {
            outstanding: VecDeque::new(),
            depth: INITIAL_DEPTH,
            reqq: DEFAULT_REQQ,
            growing: true,
            sampled: now,
            sampled_rate: 0,
            last_block: now,
            snubbed: false,
            rate: Rate::default(),
        }
    }

    /// The peer takes this many requests at a time.
    pub fn set_reqq(&mut self, reqq: usize) {
        self.reqq = reqq.clamp(1, MAX_DEPTH);
    }

    /// Whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// How many requests are outstanding.
    pub fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// What is outstanding, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.outstanding.iter().map(|request| request.span)
    }

    /// What is outstanding at a peer that has sent none of it for this long; nothing while it sends.
    pub fn late(&self, now: Time, patience: Duration) -> impl Iterator<Item = Span> + '_ {
        let silent = now.since(self.last_block) >= patience;
        self.iter().filter(move |_| silent)
    }

    /// Whether the peer does not send what it was asked for.
    pub fn is_snubbed(&self) -> bool {
        self.snubbed
    }

    /// How many more requests to send. Zero until a quarter of the pipeline is drained, so that requests go out
    /// in bunches.
    pub fn room(&self) -> usize {
        let depth = if self.snubbed { 1 } else { self.depth.min(self.reqq) };
        let room = depth.saturating_sub(self.outstanding.len());
        if self.outstanding.is_empty() || room * 4 >= depth { room } else { 0 }
    }

    /// How many requests are missing until half of the pipeline is full.
    pub fn to_half(&self) -> usize {
        (self.depth.min(self.reqq) / 2).saturating_sub(self.outstanding.len())
    }

    /// A request was sent.
    pub fn sent(&mut self, now: Time, span: Span) {
        if self.outstanding.is_empty() {
            self.last_block = now;
        }
        self.outstanding.push_back(Outstanding { span, sent: now });
    }

    /// A block arrived. Whether it was outstanding.
    pub fn received(&mut self, now: Time, span: Span) -> bool {
        self.rate.add(now, u64::from(span.length));
        let Some(position) = self.outstanding.iter().position(|request| request.span == span) else {
            return false;
        };
        let request = self.outstanding.remove(position);
        self.last_block = now;
        self.snubbed = false;
        if self.growing {
            self.depth = (self.depth + 1).min(MAX_DEPTH);
        }
        let round = request.map_or(Duration::ZERO, |request| now.since(request.sent));
        self.adapt(now, round);
        true
    }

    /// A block arrived that had been given up: slow is not silent.
    pub fn came_late(&mut self, now: Time) {
        self.last_block = now;
        self.snubbed = false;
    }

    fn adapt(&mut self, now: Time, round: Duration) {
        let sample = round.clamp(Duration::from_millis(100), Duration::from_secs(2));
        if now.since(self.sampled) < sample {
            return;
        }
        let rate = self.rate.per_second(now);
        if self.growing && rate < self.sampled_rate + self.sampled_rate / 8 {
            self.growing = false;
        }
        if !self.growing {
            let wanted = u128::from(rate) * QUEUE_TIME.as_millis() / 1_000 / u128::from(BLOCK_LENGTH);
            self.depth = (wanted as usize).clamp(MIN_DEPTH, MAX_DEPTH);
        }
        self.sampled = now;
        self.sampled_rate = rate;
    }

    /// A request will not be answered. Whether it was outstanding.
    pub fn forget(&mut self, span: Span) -> bool {
        let before = self.outstanding.len();
        self.outstanding.retain(|request| request.span != span);
        self.outstanding.len() < before
    }

    /// Nothing that is outstanding will be answered: what that was.
    pub fn drain(&mut self) -> impl Iterator<Item = Span> + '_ {
        self.outstanding.drain(..).map(|request| request.span)
    }

    /// Looks at the clock. Whether the peer has just become snubbed: its requests are then to be given to others.
    pub fn check_snub(&mut self, now: Time) -> bool {
        let late = !self.outstanding.is_empty() && now.since(self.last_block) >= SNUB_AFTER;
        if late {
            self.last_block = now;
            self.growing = false;
            self.depth = MIN_DEPTH;
            self.snubbed = true;
        }
        late
    }

    /// Bytes of blocks a second, lately.
    pub fn rate(&mut self, now: Time) -> u64 {
        self.rate.per_second(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quelea_metainfo::geometry::Geometry;

    fn span(number: u32) -> Span {
        let geometry = Geometry::new(1 << 40, 1 << 20).unwrap();
        geometry.block(geometry.piece(number / 64).unwrap(), number % 64).unwrap()
    }

    /// Runs a link of `rate` bytes a second and `delay` round trip for ten seconds; the depth at its end.
    fn settle(rate: u64, delay: Duration, reqq: usize) -> usize {
        let mut pipeline = Pipeline::new(Time::ZERO);
        pipeline.set_reqq(reqq);
        let per_block = Duration::from_nanos(u64::from(BLOCK_LENGTH) * 1_000_000_000 / rate);
        let mut now = Time::ZERO;
        let mut link_free = Time::ZERO;
        let mut arrivals: VecDeque<(Time, Span)> = VecDeque::new();
        let mut next = 0;
        while now < Time::from_secs(10) {
            for _ in 0..pipeline.room() {
                pipeline.sent(now, span(next));
                link_free = link_free.max(now + delay) + per_block;
                arrivals.push_back((link_free, span(next)));
                next += 1;
            }
            let (at, block) = arrivals.pop_front().unwrap();
            now = at;
            assert!(pipeline.received(now, block));
        }
        pipeline.depth
    }

    #[test]
    fn depth_covers_bandwidth_times_delay() {
        // 10 MB/s at 100 ms: 61 blocks are on their way.
        assert!(settle(10_000_000, Duration::from_millis(100), 2_000) >= 61);
        // 1 MB/s at 300 ms: 18.
        let depth = settle(1_000_000, Duration::from_millis(300), 2_000);
        assert!((18..=120).contains(&depth), "{depth}");
    }

    #[test]
    fn a_slow_peer_gets_few_requests() {
        assert!(settle(20_000, Duration::from_millis(50), 2_000) <= 20);
    }

    #[test]
    fn the_peers_own_limit_holds() {
        let mut pipeline = Pipeline::new(Time::ZERO);
        pipeline.set_reqq(3);
        assert_eq!(pipeline.room(), 3);
    }

    #[test]
    fn a_silent_peer_is_snubbed_once_and_forgiven_by_a_block() {
        let mut pipeline = Pipeline::new(Time::ZERO);
        pipeline.sent(Time::ZERO, span(0));
        assert!(!pipeline.check_snub(Time::from_secs(19)));
        assert!(pipeline.check_snub(Time::from_secs(20)));
        assert!(!pipeline.check_snub(Time::from_secs(21)));
        assert!(pipeline.is_snubbed());
        assert!(pipeline.received(Time::from_secs(22), span(0)));
        assert!(!pipeline.is_snubbed());
    }

    #[test]
    fn a_block_that_was_not_asked_for_is_told() {
        let mut pipeline = Pipeline::new(Time::ZERO);
        assert!(!pipeline.received(Time::ZERO, span(0)));
        pipeline.sent(Time::ZERO, span(1));
        assert!(pipeline.forget(span(1)));
        assert!(!pipeline.forget(span(1)));
    }
}
