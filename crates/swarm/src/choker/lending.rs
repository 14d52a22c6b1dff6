//! Slots that a seed lends beyond those it has, while its uplink idles.
//!
//! Nobody says how fast an uplink is, and a socket takes bytes long before they have left. So it is found by trials.
//! While peers wait, some of them get a slot. Their first bytes, which fill sockets, do not count; once it is known what
//! each holder takes ([`pace`](super::pace)), it counts whether more flows on the whole. If it does, the uplink had room:
//! the slots stay, and twice as many follow. If not, it was full: they are taken back, and the next trial comes after a
//! pause, longer each time, or soon after somebody new comes. What flowed then is what the uplink can carry; when much
//! less does, a trial is due at once. As long as no trial was in vain, whoever holds a slot keeps it until its turn ends.
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
/// A trial lasts for this after [`SETTLE`], or for the time of a block if that is longer, and until it is known what each
/// holder of a slot takes; but no longer than [`LONGEST`].
const WINDOW: Duration = Duration::from_secs(4);
/// See [`WINDOW`].
const LONGEST: Duration = Duration::from_secs(20);
/// For this long less may be known to flow than does, because slots have moved.
const MOVING: Duration = Duration::from_secs(10);
/// An uplink through which nothing has left for this long idles.
pub const STILL: Duration = Duration::from_secs(5);
/// A trial waits no longer than this until it is known what each holder of a slot takes.
const UNKNOWN: Duration = Duration::from_secs(12);
/// Bytes a second that are a change whatever flowed before.
const CLEARLY: u64 = 2 * BLOCK_LENGTH as u64;
/// What flowed is known for so long.
const KEPT: Duration = Duration::from_secs(60);
/// The pause after a trial in vain.
const PAUSE: Duration = Duration::from_secs(30);
/// The pause is doubled so many times at most.
const MOST_DOUBLINGS: u32 = 3;
/// Somebody new may be faster than all who were tried: a trial is no further away than this.
const NEWCOMER: Duration = Duration::from_secs(2);
/// After this some lent slots are taken back; after twice as long each time that less flowed without them.
const RETURN: Duration = Duration::from_secs(120);

/// How a seed's slots are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes a second that peers take, as far as is known.
    pub flow: u64,
    /// Whether a block has left in the last [`STILL`].
    pub moves: bool,
    /// Peers that hold a slot and of which it is not known yet what they take.
    pub unknown: usize,
    /// Slots that there are, lent ones aside.
    pub slots: usize,
    /// Peers that have a slot and take something, or of which it is not known yet.
    pub held: usize,
    /// Slots that are held beyond those that there are and those that are lent: by peers that for a while took nothing.
    pub beside: usize,
    /// Peers that are to lose their slot and take the rest of their piece.
    pub ending: usize,
    /// Interested peers without a slot.
    pub waiting: usize,
    /// Those of them that were never served.
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
    /// Slots that were taken back and are held still.
    over: usize,
    /// When it was last known what each holder of a slot takes.
    known: Time,
    /// What flowed at the last moments, oldest first.
    flows: VecDeque<Flow>,
}

/// What flowed at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    at: Time,
    /// Bytes a second.
    flow: u64,
    /// Peers that held a slot.
    held: usize,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    began: Time,
    slots: usize,
    /// The most that flowed shortly before it, in bytes a second, and the slots that were held at that moment.
    before: u64,
    held: usize,
    /// Slots held beyond those that there are and those that are lent.
    beside: usize,
}

impl Trial {
    /// As many of its slots as more flows. Half of what the holders that were added would bring if all took alike, and
    /// there was room for all, is enough to keep them. Turns that end meanwhile make them fewer than its slots.
    fn kept(&self, usage: Usage) -> usize {
        let more = usage.flow.saturating_sub(self.before);
        let (more_slots, per_slot) =
            (u128::from(more) * self.held.max(1) as u128, u128::from(self.before.max(1)));
        let added = match usage.held.saturating_sub(self.held) {
            0 => self.slots,
            added => added.min(self.slots),
        };
        let all = more > 0 && 2 * more_slots >= per_slot * added as u128;
        if all { self.slots } else { ((more_slots / per_slot) as usize).min(self.slots) }
    }
}

impl Lending {
    /// Slots beyond those that there are.
    pub fn lent(&self) -> usize {
        self.lent + self.trial.map_or(0, |trial| trial.beside)
    }

    /// A peer that was never served wants something.
    pub fn newcomer(&mut self, now: Time) {
        self.next = self.next.min(now + NEWCOMER);
    }

    /// Bytes a second that flowed when it was last looked, or if that is nothing, the most in the last minute.
    pub fn flow(&self) -> u64 {
        let flow = self.flows.back().map_or(0, |flow| flow.flow);
        if flow > 0 { flow } else { self.best(KEPT).flow }
    }

    /// The most that flowed within this time, and of equal flows the last.
    fn best(&self, time: Duration) -> Flow {
        let Some(&Flow { at: now, .. }) = self.flows.back() else { return Flow::default() };
        let lately = self.flows.iter().rev().take_while(|flow| now.since(flow.at) < time);
        lately
            .copied()
            .reduce(|best, flow| if flow.flow > best.flow { flow } else { best })
            .unwrap_or_default()
    }

    /// Whether nothing has flowed for a while.
    fn is_still(&self) -> bool {
        let began = self.flows.front().zip(self.flows.back());
        began.is_some_and(|(first, last)| last.at.since(first.at) >= STILL) && self.best(STILL).flow == 0
    }

    /// Looks at how the slots are used, once a second. Slots that a trial gives to peers that wait, if one begins.
    pub fn look(&mut self, now: Time, usage: Usage) -> usize {
        self.note(now, usage.flow, usage.held);
        if usage.slots == 0 {
            *self = Self { flows: core::mem::take(&mut self.flows), next: self.next, ..Self::default() };
            return 0;
        }
        let is_known = (usage.unknown == 0 && usage.held > 0) || (!usage.moves && self.is_still());
        if is_known {
            self.known = now;
        }
        if let Some(trial) = self.trial {
            // One that brings so much is good before it ends.
            let early = usage.flow >= 3 * trial.before + CLEARLY;
            let lasted = now.since(trial.began);
            let is_over = (lasted >= SETTLE && early)
                || (lasted >= SETTLE + self.block_time(usage)
                    && (is_known || trial.kept(usage) == trial.slots))
                || lasted >= SETTLE + LONGEST;
            if is_over {
                self.trial = None;
                self.judge(now, trial, usage, is_known);
            }
            return 0;
        }
        self.over = self.over.min(usage.beside);
        let best = self.best(now.since(self.known) + MOVING);
        if is_known && self.full.is_some_and(|full| best.flow < full - full / 10) {
            (self.full, self.in_vain, self.next) = (None, 0, now);
            self.missed = (self.missed + 1).min(MOST_DOUBLINGS);
        }
        self.take_back(now, best.flow, usage);
        if self.full.is_none() {
            self.lent += usage.beside.saturating_sub(usage.ending);
        }
        if now >= self.next && (is_known || now.since(self.known) >= UNKNOWN) {
            self.begin_trial(now, best, usage);
        }
        self.trial.map_or(0, |trial| trial.slots)
    }

    /// Notes what flows, once a second, while nothing may be lent.
    pub fn note(&mut self, now: Time, flow: u64, held: usize) {
        self.flows.push_back(Flow { at: now, flow, held });
        while self.flows.front().is_some_and(|flow| now.since(flow.at) >= KEPT) {
            self.flows.pop_front();
        }
    }

    /// The time in which each holder of a slot takes a block.
    fn block_time(&self, usage: Usage) -> Duration {
        let blocks = u64::from(BLOCK_LENGTH) * usage.held as u64 * 1_000;
        blocks
            .checked_div(usage.flow)
            .map_or(WINDOW, |millis| Duration::from_millis(millis).clamp(WINDOW, LONGEST))
    }

    /// Gives some of those who wait a slot, half as many as are held or twice as many as the last time. While peers that
    /// are to lose their slot take the rest of their pieces, others wait for that, but for those that were never served.
    fn begin_trial(&mut self, now: Time, best: Flow, usage: Usage) {
        let there = usage.slots + self.lent;
        let ending = usage.ending.max(self.over);
        let (among, most) = if ending == 0 || (self.full.is_none() && self.over == 0) {
            (usage.waiting, self.step.unwrap_or(usage.held.max(usage.slots).div_ceil(2)))
        } else {
            (usage.untried, there.div_ceil(2).saturating_sub(ending))
        };
        let slots = among.min(most);
        if slots > 0 {
            self.lent += slots;
            let Flow { flow: before, held, .. } = best;
            self.trial = Some(Trial { began: now, slots, held, before, beside: usage.beside });
        }
    }

    /// Keeps of a trial's slots those that bring something. If all do, the next trial is twice as large.
    fn judge(&mut self, now: Time, trial: Trial, usage: Usage, is_known: bool) {
        let (Trial { slots, held, before, beside, .. }, after) = (trial, usage.flow);
        let kept = trial.kept(usage);
        self.lent -= slots - kept;
        self.over += slots - kept;
        self.returned = now;
        if kept == slots {
            (self.in_vain, self.full, self.next) = (0, None, now);
            self.step = Some((2 * slots).max(held + slots));
            self.lent += beside.saturating_sub(usage.ending);
        } else {
            (self.full, self.step, self.missed) =
                (Some(if is_known { after.min(before) } else { before }), None, 0);
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
            let back = self.lent.div_ceil(4);
            self.lent -= back;
            self.over += back;
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
            usage.flow = flow;
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
            usage.flow = if second % 20 < 3 { 4_000 } else { 16_384 };
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
            usage.flow = (usage.held as u64 * each).min(500_000);
            lending.look(Time::from_secs(second), usage);
        }
        assert!(lending.lent() <= 16, "{}", lending.lent());
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
