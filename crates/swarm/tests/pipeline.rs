//! What a pipeline gets of a link, from a peer next door to one on the moon.
#![allow(clippy::unwrap_used, missing_docs)]

use core::time::Duration;
use fastrand::Rng;
use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry, Span};
use quelea_swarm::pipeline::{DEFAULT_REQQ, MAX_DEPTH, Pipeline};
use quelea_time::Time;
use std::collections::VecDeque;

/// The way to a peer that answers requests in order.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Bytes a second.
    rate: u64,
    /// There and back.
    delay: Duration,
    /// Either way takes up to so many hundredths of the delay longer.
    jitter: u64,
    /// The peer sends for this long, and then waits as long: half of the rate on the whole.
    burst: Option<Duration>,
    reqq: usize,
}

const MS: Duration = Duration::from_millis(1);

fn way(rate: u64, delay: u64) -> Way {
    Way { rate, delay: delay as u32 * MS, jitter: 0, burst: None, reqq: 2_000 }
}

/// A pipeline and the link to its peer.
struct Run {
    way: Way,
    pipeline: Pipeline,
    now: Time,
    /// Requests that were sent: number, and when they are at the peer.
    asked: VecDeque<(u32, Time)>,
    at_peer: Time,
    peer_free: Time,
    here: Time,
    next: u32,
    received: u64,
    rng: Rng,
}

impl Run {
    fn new(way: Way) -> Self {
        let mut pipeline = Pipeline::new(Time::ZERO);
        pipeline.set_reqq(way.reqq);
        let (now, asked) = (Time::ZERO, VecDeque::new());
        let (at_peer, peer_free, here) = (now, now, now);
        Self {
            way,
            pipeline,
            now,
            asked,
            at_peer,
            peer_free,
            here,
            next: 0,
            received: 0,
            rng: Rng::with_seed(1),
        }
    }

    fn half_way(&mut self) -> Duration {
        let half = self.way.delay / 2;
        half + half * self.rng.u64(0..=self.way.jitter) as u32 / 100
    }

    fn ask(&mut self) {
        for _ in 0..self.pipeline.room() {
            self.pipeline.sent(self.now, span(self.next));
            self.at_peer = self.at_peer.max(self.now + self.half_way());
            self.asked.push_back((self.next, self.at_peer));
            self.next += 1;
        }
    }

    /// When the peer has sent a block that it begins with at this moment.
    fn served(&self, from: Time) -> Time {
        let takes = Duration::from_nanos(u64::from(BLOCK_LENGTH) * 1_000_000_000 / self.way.rate);
        let Some(burst) = self.way.burst else { return from + takes };
        let cycle = 2 * burst.as_nanos() as u64;
        let into = from.as_nanos() % cycle;
        let begins = if into >= cycle / 2 { from + Duration::from_nanos(cycle - into) } else { from };
        begins + takes
    }

    /// Runs until `end`; bytes that arrived meanwhile.
    fn until(&mut self, end: Time) -> u64 {
        let before = self.received;
        self.ask();
        while let Some(&(number, at_peer)) = self.asked.front() {
            let sent = self.served(self.peer_free.max(at_peer));
            let jitter = self.rng.clone().u64(0..=self.way.jitter) as u32;
            let here = self.here.max(sent + self.way.delay / 2 + self.way.delay / 2 * jitter / 100);
            if here > end {
                break;
            }
            self.rng.u64(..);
            (self.peer_free, self.here) = (sent, here);
            self.asked.pop_front();
            self.now = self.here;
            assert!(self.pipeline.received(self.now, span(number)));
            self.received += u64::from(BLOCK_LENGTH);
            self.ask();
        }
        self.now = end;
        self.received - before
    }

    /// The part of what is possible that arrives in `time` from here on.
    fn share(&mut self, time: Duration) -> f64 {
        let got = self.until(self.now + time);
        let rate = if self.way.burst.is_some() { self.way.rate / 2 } else { self.way.rate };
        let reqq = self.way.reqq.min(MAX_DEPTH) as f64 * f64::from(BLOCK_LENGTH);
        let delay = self.way.delay.as_secs_f64() * (1.0 + self.way.jitter as f64 / 100.0);
        got as f64 / time.as_secs_f64() / (rate as f64).min(reqq / delay)
    }
}

fn span(number: u32) -> Span {
    let geometry = Geometry::new(1 << 44, 1 << 20).unwrap();
    geometry.block(geometry.piece(number / 64).unwrap(), number % 64).unwrap()
}

const DELAYS: [u64; 8] = [5, 20, 100, 300, 600, 1_000, 2_000, 5_000];
const RATES: [u64; 5] = [10_000, 100_000, 1_000_000, 8_000_000, 100_000_000];

/// What a link gives after ten round trips, for as long as the delay is measured anew some times.
fn late_share(way: Way) -> f64 {
    let mut run = Run::new(way);
    // Of a slow peer four blocks take longer than ten round trips.
    let four = Duration::from_secs(u64::from(4 * BLOCK_LENGTH) / way.rate);
    let round = way.delay + way.delay * way.jitter as u32 / 100;
    run.until(Time::ZERO + (10 * round).max(four));
    // Of a fast one three seconds are enough.
    run.share(if way.rate > 10_000_000 {
        10 * round.max(300 * MS)
    } else {
        (20 * round).max(Duration::from_secs(80))
    })
}

#[test]
fn every_link_is_used_after_ten_round_trips_however_long_they_are() {
    for delay in DELAYS {
        for rate in RATES {
            let share = late_share(way(rate, delay));
            assert!(share >= 0.9, "{rate} bytes/s, {delay} ms: {share}");
        }
    }
}

#[test]
fn one_that_is_bound_by_the_requests_that_its_peer_takes_is_as_good_as_they_allow() {
    for reqq in [64, 250, DEFAULT_REQQ] {
        for delay in [300, 1_000, 5_000] {
            let share = late_share(Way { reqq, ..way(8_000_000, delay) });
            assert!(share >= 0.9, "{reqq} requests, {delay} ms: {share}");
        }
    }
}

#[test]
fn jitter_takes_little() {
    for (jitter, least) in [(10, 0.9), (50, 0.9), (100, 0.75)] {
        for delay in DELAYS {
            for rate in [10_000, 1_000_000, 8_000_000] {
                let share = late_share(Way { jitter, ..way(rate, delay) });
                assert!(share >= least, "{rate} bytes/s, {delay} ms and {jitter} %: {share}");
            }
        }
    }
}

#[test]
fn bursts_take_little() {
    for burst in [50, 200, 400] {
        for delay in DELAYS {
            for rate in [100_000, 1_000_000, 8_000_000] {
                let share = late_share(Way { burst: Some(burst * MS), ..way(rate, delay) });
                assert!(share >= 0.9, "{rate} bytes/s in bursts of {burst} ms, {delay} ms: {share}");
            }
        }
    }
}

#[test]
fn a_path_that_becomes_longer_faster_or_slower_is_followed() {
    for (before, after) in [
        (way(1_000_000, 20), way(1_000_000, 2_000)),
        (way(8_000_000, 100), way(8_000_000, 1_000)),
        (way(1_000_000, 2_000), way(1_000_000, 20)),
        (way(100_000, 300), way(8_000_000, 300)),
        (way(8_000_000, 300), way(100_000, 300)),
        (way(1_000_000, 5), way(1_000_000, 5_000)),
    ] {
        let mut run = Run::new(before);
        run.until(Time::from_secs(60));
        run.way = after;
        run.until(Time::from_secs(60) + 10 * after.delay + Duration::from_secs(20));
        let share = run.share(Duration::from_secs(60));
        assert!(share >= 0.9, "{before:?} and then {after:?}: {share}");
    }
}

#[test]
fn what_waits_at_a_peer_does_not_grow_with_time() {
    for (rate, delay) in [(1_000_000, 20), (1_000_000, 1_000), (100_000, 100)] {
        let mut run = Run::new(way(rate, delay));
        for minute in 1..=20 {
            run.until(Time::from_secs(minute * 60));
            let most = (rate as f64 * (delay.max(100) as f64 / 1_000.0 * 1.5 + 2.0)) as usize
                / BLOCK_LENGTH as usize;
            let len = run.pipeline.len();
            assert!(len <= most + 4, "{rate} bytes/s, {delay} ms: {len} after {minute} minutes, not {most}");
        }
    }
}

#[test]
fn a_slow_peer_next_door_is_asked_for_little() {
    let mut run = Run::new(way(20_000, 50));
    run.until(Time::from_secs(60));
    assert!(run.pipeline.len() <= 8, "{}", run.pipeline.len());
}
