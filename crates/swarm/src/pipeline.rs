//! The requests outstanding at one peer: how many there should be, and which.
//!
//! The depth follows bandwidth x delay. Everything is measured by rounds: a round ends when a block arrives that was
//! asked for after it began, so it is as long as the delay, whatever that is, and at least `SHORTEST_ROUND`. A window
//! of fixed length would see nothing but silence of a peer that is farther away.
//!
//! - At first the depth grows by one with each block that did not wait long, so it doubles in a round. It pauses when a round brings no more
//!   than the one before, and has found the rate when the next one does not either.
//! - From then on it holds what arrives in the delay, a quarter more for a delay that varies, and what arrives in
//!   [`QUEUE_TIME`] beyond it. As long as the depth is what
//!   bounds the rate, each round brings more than the last one by that.
//! - Our own requests wait in the peer's queue, so the delay is measured with that queue nearly empty: in the first
//!   rounds, and now and then in two rounds in which the depth is a little less than bandwidth x delay. That happens at
//!   once when the rate has fallen, which is what a path looks like that has become longer.

use crate::rate::Rate;
use alloc::collections::VecDeque;
use core::time::Duration;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Span};
use quelea_time::Time;

/// Requests cover this much time at the peer's rate, beyond the delay.
pub const QUEUE_TIME: Duration = Duration::from_millis(1_500);
/// The depth that a peer starts with. A slow one would keep more of them waiting, and the pieces that they open: in a
/// crowd of newcomers the fast had nothing to ask for that the slow had not been asked for already.
pub const INITIAL_DEPTH: usize = 4;
/// The least depth of a peer that sends.
pub const MIN_DEPTH: usize = 4;
/// The greatest depth: 64 MiB on their way. Most clients take no more than 2,000 requests.
pub const MAX_DEPTH: usize = 4_096;
/// Requests that wait at a peer beyond those that the delay takes: 16 MiB.
const MAX_WAITING: usize = 1_024;
/// The depth for a peer that does not say how many requests it takes (BEP 10, `reqq`). libtorrent's is the same.
pub const DEFAULT_REQQ: usize = 500;
/// A peer that sends nothing of what it was asked for this long is snubbed.
pub const SNUB_AFTER: Duration = Duration::from_secs(20);

/// The depth with which the delay is measured, at least.
const LEAST_MEASURED: usize = 2;
/// This many new requests go out together from a deep pipeline.
const BUNCH: usize = 16;
/// What happens within less time says nothing of a rate.
const SHORTEST_ROUND: Duration = Duration::from_millis(100);
/// The least length of a round when the rate is known.
const STEADY_ROUND: Duration = Duration::from_secs(1);
/// The delay is measured again after so long, or after [`DELAY_ROUNDS`] times the delay if that is longer.
const DELAY_LASTS: Duration = Duration::from_secs(30);
/// See [`DELAY_LASTS`].
const DELAY_ROUNDS: u32 = 10;
/// It is measured no more often than this, or [`DELAY_PAUSE_ROUNDS`] times the delay.
const DELAY_PAUSE: Duration = Duration::from_secs(5);
/// See [`DELAY_PAUSE`].
const DELAY_PAUSE_ROUNDS: u32 = 4;

/// A request on its way.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    span: Span,
    sent: Time,
    /// The round in which it was sent.
    round: u32,
}

/// The time in which one pipeline's worth of requests is answered.
#[derive(Debug, Clone, Copy)]
struct Round {
    number: u32,
    began: Time,
    /// What arrived in it.
    bytes: u64,
    blocks: u32,
    /// The sum of their delays, and the least one.
    delays: Duration,
    least_delay: Duration,
    /// It began without anything outstanding: a part of it is the wait for the first block.
    is_opening: bool,
}

impl Round {
    fn new(now: Time, number: u32, is_opening: bool) -> Self {
        let (delays, least_delay) = (Duration::ZERO, Duration::MAX);
        Self { number, began: now, bytes: 0, blocks: 0, delays, least_delay, is_opening }
    }

    /// Bytes a second.
    fn rate(&self, now: Time) -> u64 {
        let time = now.since(self.began).max(Duration::from_millis(1)).as_nanos();
        (u128::from(self.bytes) * 1_000_000_000 / time) as u64
    }

    fn add(&mut self, bytes: u32, delay: Duration) {
        self.bytes += u64::from(bytes);
        self.blocks += 1;
        self.delays += delay;
        self.least_delay = self.least_delay.min(delay);
    }

    fn mean_delay(&self) -> Duration {
        self.delays / self.blocks.max(1)
    }
}

/// What the depth is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It looks for the rate. Whether the last round brought no more than the one before.
    Growing { paused: bool },
    /// It holds what the rate and the delay need.
    Steady,
    /// The queue at the peer is emptied.
    Draining,
    /// The queue at the peer is empty, and the delay is measured.
    Measuring,
}

/// The requests outstanding at one peer.
#[derive(Debug)]
pub struct Pipeline {
    outstanding: VecDeque<Outstanding>,
    depth: usize,
    reqq: usize,
    phase: Phase,
    round: Round,
    /// Bytes a second in the last round, and in the one before.
    rates: [u64; 2],
    /// The time between a request and its block, without what our own requests add.
    delay: Option<Duration>,
    /// When that was measured, and the rate then.
    measured: (Time, u64),
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
            phase: Phase::Growing { paused: false },
            round: Round::new(now, 0, true),
            rates: [0; 2],
            delay: None,
            measured: (now, 0),
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

    /// What is outstanding at a peer that has sent none of it for this long, and for longer than its blocks take;
    /// nothing while it sends.
    pub fn late(&self, now: Time, patience: Duration) -> impl Iterator<Item = Span> + '_ {
        let patience = patience.max(self.delay.unwrap_or_default() * 5 / 4);
        let silent = now.since(self.last_block) >= patience;
        self.iter().filter(move |_| silent)
    }

    /// Whether the peer does not send what it was asked for.
    pub fn is_snubbed(&self) -> bool {
        self.snubbed
    }

    /// The requests that there should be.
    fn depth(&self) -> usize {
        let depth = match self.phase {
            _ if self.snubbed => 1,
            Phase::Growing { .. } | Phase::Steady => self.depth,
            Phase::Draining | Phase::Measuring => {
                // What happens within a moment is no delay of the path.
                let in_flight = self.in_flight().max(self.blocks_in(SHORTEST_ROUND));
                (in_flight * 7 / 8).max(LEAST_MEASURED).min(self.depth)
            }
        };
        depth.min(self.reqq)
    }

    /// How many more requests to send. Zero until a part of the pipeline is drained, `BUNCH` at most, so that requests go
    /// out together.
    pub fn room(&self) -> usize {
        let depth = self.depth();
        let room = depth.saturating_sub(self.outstanding.len());
        if self.outstanding.is_empty() || room >= depth.div_ceil(BUNCH).min(BUNCH) { room } else { 0 }
    }

    /// How many requests are missing until half of the pipeline is full.
    pub fn to_half(&self) -> usize {
        (self.depth() / 2).saturating_sub(self.outstanding.len())
    }

    /// A request was sent.
    pub fn sent(&mut self, now: Time, span: Span) {
        if self.outstanding.is_empty() {
            self.last_block = now;
            self.round = Round::new(now, self.round.number.wrapping_add(1), true);
        }
        self.outstanding.push_back(Outstanding { span, sent: now, round: self.round.number });
    }

    /// A block arrived. Whether it was outstanding.
    pub fn received(&mut self, now: Time, span: Span) -> bool {
        self.rate.add(now, u64::from(span.length));
        let Some(position) = self.outstanding.iter().position(|request| request.span == span) else {
            return false;
        };
        let Some(request) = self.outstanding.remove(position) else { return false };
        self.last_block = now;
        self.snubbed = false;
        let delay = now.since(request.sent);
        self.round.add(span.length, delay);
        if self.phase == (Phase::Growing { paused: false }) && !self.has_waited(delay) {
            self.depth = (self.depth + 1).min(self.most_while_growing());
        }
        let least = match self.phase {
            Phase::Steady => STEADY_ROUND,
            Phase::Growing { .. } | Phase::Draining | Phase::Measuring => SHORTEST_ROUND,
        };
        if request.round == self.round.number && now.since(self.round.began) >= least {
            self.end_round(now);
        }
        true
    }

    /// A block arrived that had been given up: slow is not silent.
    pub fn came_late(&mut self, now: Time) {
        self.last_block = now;
        self.snubbed = false;
    }

    fn end_round(&mut self, now: Time) {
        let next = Round::new(now, self.round.number.wrapping_add(1), false);
        let ended = core::mem::replace(&mut self.round, next);
        match self.phase {
            Phase::Growing { .. } => {
                let least = ended.least_delay;
                self.delay = Some(self.delay.map_or(least, |delay| delay.min(least)));
                self.measured.0 = now;
            }
            Phase::Measuring => self.delay = Some(ended.mean_delay()),
            Phase::Steady | Phase::Draining => {}
        }
        if ended.is_opening {
            return;
        }
        let rate = ended.rate(now);
        let before = self.rates[0];
        match self.phase {
            Phase::Growing { paused } => {
                self.rates = [rate.max(if paused { before } else { 0 }), before];
                self.phase = match (rate < before + before / 8, paused) {
                    (false, _) => Phase::Growing { paused: false },
                    (true, false) => Phase::Growing { paused: true },
                    (true, true) => Phase::Steady,
                };
                self.measured.1 = self.best();
            }
            Phase::Steady => {
                self.rates = [rate, before];
                self.look_after_delay(now);
            }
            // A round with few requests says nothing of the rate.
            Phase::Draining => self.phase = Phase::Measuring,
            Phase::Measuring => {
                self.phase = Phase::Steady;
                self.measured = (now, self.best());
            }
        }
        if !matches!(self.phase, Phase::Growing { .. }) {
            let waiting = self.blocks_in(QUEUE_TIME).min(MAX_WAITING);
            self.depth = (self.in_flight() * 5 / 4 + waiting).clamp(MIN_DEPTH, MAX_DEPTH);
        }
    }

    /// Has the delay measured again if that is due.
    fn look_after_delay(&mut self, now: Time) {
        let (since, delay) = (now.since(self.measured.0), self.delay.unwrap_or_default());
        let is_old = since >= DELAY_LASTS.max(delay * DELAY_ROUNDS);
        let has_fallen = self.best() < self.measured.1 - self.measured.1 / 4
            && since >= DELAY_PAUSE.max(delay * DELAY_PAUSE_ROUNDS);
        // Where the peer's own limit holds, a queue cannot grow.
        if (is_old || has_fallen) && self.depth < self.reqq {
            self.phase = Phase::Draining;
        }
    }

    /// Bytes a second in the better one of the last two rounds.
    fn best(&self) -> u64 {
        self.rates[0].max(self.rates[1])
    }

    /// Blocks that arrive in this time.
    fn blocks_in(&self, time: Duration) -> usize {
        (u128::from(self.best()) * time.as_millis() / 1_000 / u128::from(BLOCK_LENGTH)) as usize
    }

    /// Blocks that the path holds: bandwidth x delay.
    fn in_flight(&self) -> usize {
        self.blocks_in(self.delay.unwrap_or_default())
    }

    /// Whether a block that took so long has waited in a queue that is as long as it should be.
    fn has_waited(&self, delay: Duration) -> bool {
        let least = self.delay.unwrap_or(self.round.least_delay).min(self.round.least_delay);
        delay > least + least.max(QUEUE_TIME)
    }

    /// What the depth doubles to, as of the round before the last one. A near peer needs no more than what may wait.
    fn most_while_growing(&self) -> usize {
        (8 * self.in_flight()).clamp(MAX_WAITING, MAX_DEPTH)
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
            self.phase = Phase::Growing { paused: false };
            self.rates = [0; 2];
            self.delay = None;
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

    #[test]
    fn nobody_is_late_before_its_blocks_can_be_here() {
        let mut pipeline = Pipeline::new(Time::ZERO);
        pipeline.sent(Time::ZERO, span(0));
        pipeline.received(Time::from_secs(8), span(0));
        pipeline.sent(Time::from_secs(8), span(1));
        let late = |at| pipeline.late(Time::from_secs(at), Duration::from_secs(5)).count();
        assert_eq!((late(13), late(17), late(18)), (0, 0, 1));
    }
}
