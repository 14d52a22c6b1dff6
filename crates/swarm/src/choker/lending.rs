//! Slots that a seed lends beyond those it has, while its uplink idles.
//!
//! Nobody says how fast an uplink is, and a socket takes bytes long before they have left. So it is found by trials.
//! While peers wait, some of them get a slot. Their first bytes, which fill sockets, do not count; after that it counts
//! whether more flows on the whole. If it does, the uplink had room: the slots stay, and twice as many follow. If not,
//! it was full: they are taken back, and the next trial comes after a pause, longer each time. What flowed then is what
//! the uplink can carry; when much less does, a trial is due at once. Somebody who was never served waits neither for
//! the end of a trial nor for that of a pause: nobody knows how much it takes.
//!
//! A trial costs little where it is in vain: the peers that have a slot are half as many again for some seconds.

use alloc::collections::VecDeque;
use core::time::Duration;
use quelea_metainfo::geometry::BLOCK_LENGTH;
use quelea_time::Time;

/// What a peer takes within this of its slot's begin may lie in sockets.
pub const SETTLE: Duration = Duration::from_secs(3);
/// More than this does not fit into sockets.
pub const BUFFERED: u64 = 16 << 20;
/// What flows is counted over this time, or over the time of [`ENOUGH`] if that is longer, and at most over [`LONGEST`]:
/// where little flows, a block more or less must not count as a change.
const WINDOW: Duration = Duration::from_secs(4);
/// See [`WINDOW`].
const ENOUGH: u128 = 16 * BLOCK_LENGTH as u128;
/// See [`WINDOW`].
const LONGEST: Duration = Duration::from_secs(20);
/// Bytes a second that are a change whatever flowed before.
const CLEARLY: u64 = 2 * BLOCK_LENGTH as u64;
/// What flowed is known for so long.
const KEPT: Duration = Duration::from_secs(60);
/// The pause after a trial in vain.
const PAUSE: Duration = Duration::from_secs(30);
/// The pause is doubled so many times at most.
const MOST_DOUBLINGS: u32 = 3;
/// Somebody new may be faster than all who were tried: a trial is no further away than this.
const NEWCOMER: Duration = Duration::from_secs(5);
/// After this some lent slots are taken back; after twice as long each time that less flowed without them.
const RETURN: Duration = Duration::from_secs(120);

/// How a seed's slots are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes that peers took, but for what may lie in sockets.
    pub flowed: u64,
    /// Slots that there are, lent ones aside.
    pub slots: usize,
    /// Slots that are held by peers that take something.
    pub held: usize,
    /// Interested peers without a slot.
    pub waiting: usize,
    /// Of those, peers that were never served.
    pub untried: usize,
}

/// The slots that a seed lends.
#[derive(Debug, Clone, Default)]
pub struct Lending {
    lent: usize,
    trial: Option<Trial>,
    /// Slots of the next trial if the last one was good.
    step: Option<usize>,
    next: Time,
    in_vain: u32,
    /// Bytes a second that the uplink carried when it was full.
    full: Option<u64>,
    /// When slots were last lent for good or taken back, and how often in a row they were missed.
    returned: Time,
    missed: u32,
    /// What had flowed at the last moments, oldest first.
    counts: VecDeque<(Time, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    began: Time,
    ends: Time,
    slots: usize,
    /// Slots that were held before it, and the bytes a second that flowed.
    held: usize,
    before: u64,
}

impl Lending {
    /// Slots beyond those that there are.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// A peer that was never served wants something.
    pub fn newcomer(&mut self, now: Time) {
        self.next = self.next.min(now + NEWCOMER);
    }

    /// Bytes a second that flowed lately; nothing as long as too little is known.
    pub fn flow(&self) -> Option<u64> {
        self.flow_in(self.window())
    }

    /// The most that flowed in such a time within the last minute. When slots move, less is counted for a moment.
    fn best_flow(&self) -> u64 {
        let (time, mut best, mut from) = (self.window(), 0, self.counts.iter().peekable());
        for &(until, after) in &self.counts {
            while from.peek().is_some_and(|&&(at, _)| until.since(at) > time) {
                from.next();
            }
            if let Some(&&(at, before)) = from.peek()
                && until.since(at) >= time
            {
                let bytes = u128::from(after.saturating_sub(before)) * 1_000_000_000;
                best = best.max((bytes / until.since(at).as_nanos().max(1)) as u64);
            }
        }
        best
    }

    fn flow_in(&self, time: Duration) -> Option<u64> {
        let now = self.counts.back()?.0;
        let before = self.counts.iter().rev().find(|(at, _)| now.since(*at) >= time)?;
        Some(self.since(before))
    }

    fn window(&self) -> Duration {
        let millis = self.steady_flow().map(u128::from).and_then(|flow| (ENOUGH * 1_000).checked_div(flow));
        millis.map_or(WINDOW, |millis| Duration::from_millis(millis as u64).clamp(WINDOW, LONGEST))
    }

    /// Bytes a second that flowed in the last minute, or in what is known of it.
    pub fn steady_flow(&self) -> Option<u64> {
        self.counts.front().map(|first| self.since(first))
    }

    fn since(&self, &(from, before): &(Time, u64)) -> u64 {
        let Some(&(until, after)) = self.counts.back() else { return 0 };
        let bytes = u128::from(after.saturating_sub(before)) * 1_000_000_000;
        (bytes / until.since(from).as_nanos().max(1)) as u64
    }

    /// Looks at how the slots are used, once a second.
    pub fn look(&mut self, now: Time, usage: Usage) {
        self.count(now, usage.flowed);
        if usage.slots == 0 {
            *self = Self { counts: core::mem::take(&mut self.counts), next: self.next, ..Self::default() };
            return;
        }
        let Some(flow) = self.flow() else { return };
        self.widen(now, usage);
        if let Some(trial) = self.trial {
            // One that brings so much is good before it ends.
            let early = self.flow_in(WINDOW).filter(|&flow| {
                now.since(trial.began) >= SETTLE + WINDOW && flow >= 3 * trial.before + CLEARLY
            });
            if let Some(flow) = early.or((now >= trial.ends).then_some(flow)) {
                self.trial = None;
                self.judge(now, trial, flow);
            }
            return;
        }
        if self.full.is_some_and(|full| flow < full - full / 10) {
            (self.full, self.in_vain, self.next) = (None, 0, now);
            self.missed = (self.missed + 1).min(MOST_DOUBLINGS);
        }
        self.take_back(now, flow, usage);
        // While more are held, those of the last trial take the rest of their pieces. Somebody new does not wait for that.
        let all = usage.slots + self.lent;
        let is_settled = usage.held == all || (usage.untried > 0 && usage.held > all);
        if usage.waiting > 0 && is_settled && now >= self.next {
            let most = if usage.held == all { usage.waiting } else { usage.untried };
            let step = self.step.unwrap_or(usage.held.div_ceil(2)).clamp(1, most);
            self.lent = usage.held - usage.slots + step;
            let ends = now + SETTLE + self.window();
            let before = self.best_flow().max(flow);
            self.trial = Some(Trial { began: now, ends, slots: step, held: usage.held, before });
            self.next = ends;
        }
    }

    /// Lets somebody new into the trial that goes on: it need not wait for what comes of it. The slots do not become
    /// more than twice as many by it, however many come.
    fn widen(&mut self, now: Time, usage: Usage) {
        let ends = now + SETTLE + self.window();
        let Some(trial) = &mut self.trial else { return };
        let more = usage.untried.min(trial.held.saturating_sub(trial.slots));
        if more > 0 && now >= self.next && now < trial.ends {
            self.lent += more;
            trial.slots += more;
            (trial.began, trial.ends, self.next) = (now, ends, ends);
        }
    }

    /// Counts what has flowed, once a second, while nothing may be lent.
    pub fn count(&mut self, now: Time, flowed: u64) {
        self.counts.push_back((now, flowed));
        while self.counts.get(1).is_some_and(|&(at, _)| now.since(at) >= KEPT) {
            self.counts.pop_front();
        }
    }

    /// Keeps as many of a trial's slots as more flows. Half of what they would bring if all took alike, and there was
    /// room for all, is enough to keep them.
    fn judge(&mut self, now: Time, trial: Trial, after: u64) {
        let Trial { slots, held, before, .. } = trial;
        let more = after.saturating_sub(before);
        let (more_slots, per_slot) = (u128::from(more) * held.max(1) as u128, u128::from(before.max(1)));
        let all = more > 0 && 2 * more_slots >= per_slot * slots as u128;
        let kept = if all { slots } else { ((more_slots / per_slot) as usize).min(slots) };
        self.lent -= slots - kept;
        self.returned = now;
        if kept == slots {
            (self.in_vain, self.full, self.next) = (0, None, now);
            self.step = Some((2 * slots).max(held + slots));
        } else {
            (self.full, self.step, self.missed) = (Some(after.max(before)), None, 0);
            self.next = now + PAUSE * (1 << self.in_vain.min(MOST_DOUBLINGS));
            self.in_vain += 1;
        }
    }

    /// Takes lent slots back that nobody uses, and now and then a quarter of the others: those who hold slots may take
    /// more than they did, and fill the uplink alone. If less flows without them, they are missed, and lent again.
    fn take_back(&mut self, now: Time, flow: u64, usage: Usage) {
        if usage.waiting == 0 {
            self.lent = self.lent.min(usage.held.saturating_sub(usage.slots));
        }
        if self.lent > 0 && now.since(self.returned) >= RETURN * (1 << self.missed) {
            self.returned = now;
            self.lent -= self.lent.div_ceil(4);
            self.full = Some(flow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed with eight slots: `takers` peers that take so many bytes a second each, and an uplink of so many.
    fn run(takers: usize, each: u64, uplink: u64, seconds: u64) -> (Lending, Usage, u64) {
        let mut lending = Lending::default();
        let mut usage = Usage { slots: 8, ..Usage::default() };
        let mut flow = 0;
        for second in 0..seconds {
            usage.held = takers.min(8 + lending.lent());
            usage.waiting = takers - usage.held;
            flow = (usage.held as u64 * each).min(uplink);
            usage.flowed += flow;
            lending.look(Time::from_secs(second), usage);
        }
        (lending, usage, flow)
    }

    #[test]
    fn an_uplink_that_idles_serves_all_who_wait() {
        for takers in [9, 16, 40, 200] {
            let (_, usage, _) = run(takers, 5_000, 100_000_000, 60);
            assert_eq!(usage.waiting, 0, "{takers}");
        }
    }

    #[test]
    fn whatever_can_be_taken_of_an_uplink_is() {
        for takers in [9, 12, 20, 50, 200] {
            for uplink in [40_000, 45_000, 60_000, 150_000, 500_000] {
                let (_, _, flow) = run(takers, 5_000, uplink, 100);
                let most = (takers as u64 * 5_000).min(uplink);
                assert!(flow * 100 >= most * 95, "{takers} at {uplink}: {flow} of {most}");
            }
        }
    }

    #[test]
    fn a_full_uplink_lends_little_and_seldom() {
        let (mut lent, mut most) = (0, 0);
        for seconds in 1..600 {
            let (lending, _, _) = run(50, 1_000_000, 100_000, seconds);
            lent += lending.lent();
            most = most.max(lending.lent());
        }
        assert!(most <= 4 && lent < 240, "{most} at most, {lent} slot seconds of {}", 8 * 600);
    }

    #[test]
    fn what_is_not_counted_while_slots_move_is_no_room() {
        let mut lending = Lending::default();
        let mut usage = Usage { slots: 4, ..Usage::default() };
        let mut sum = 0;
        for second in 0..900_u64 {
            usage.held = 30.min(4 + lending.lent());
            usage.waiting = 30 - usage.held;
            usage.flowed += if second % 20 < 3 { 4_000 } else { 16_384 };
            lending.look(Time::from_secs(second), usage);
            sum += lending.lent();
        }
        assert!(sum < 900, "{sum} slot seconds");
    }

    #[test]
    fn lent_slots_become_fewer_when_those_who_come_take_more() {
        let mut lending = Lending::default();
        let mut usage = Usage { slots: 8, ..Usage::default() };
        for second in 0..3_000 {
            let each = if second < 100 { 5_000 } else { 1_000_000 };
            usage.held = 100.min(8 + lending.lent());
            usage.waiting = 100 - usage.held;
            usage.flowed += (usage.held as u64 * each).min(500_000);
            lending.look(Time::from_secs(second), usage);
        }
        assert!(lending.lent() <= 16, "{}", lending.lent());
    }

    #[test]
    fn somebody_new_waits_for_no_trial_to_end() {
        for comes in 5..60 {
            let mut lending = Lending::default();
            let mut usage = Usage { slots: 8, ..Usage::default() };
            for second in 0..comes + 7 {
                let takers = if second < comes { 12 } else { 13 };
                if second == comes {
                    lending.newcomer(Time::from_secs(second));
                }
                usage.held = takers.min(8 + lending.lent());
                usage.waiting = takers - usage.held;
                usage.untried = usage.waiting;
                usage.flowed += (usage.held as u64 * 10_000).min(200_000);
                lending.look(Time::from_secs(second), usage);
            }
            assert!(lending.lent() >= 5, "one that came at {comes}: {} lent", lending.lent());
        }
    }

    #[test]
    fn without_slots_nothing_is_lent() {
        let mut lending = Lending::default();
        for second in 0..100 {
            lending.look(Time::from_secs(second), Usage { waiting: 10, ..Usage::default() });
        }
        assert_eq!(lending.lent(), 0);
    }
}
