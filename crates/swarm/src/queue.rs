//! The queue: which of a session's torrents run, and when one has done enough.
//!
//! Owns: the order, who is paused or forced, the limits, what counts as slow, the goals of seeding. Does not own:
//! torrents, their tasks, or what is remembered of them.
//!
//! # Order
//! Every torrent has a position. Of those that want to run, the first ones do, as many as the limits allow: so
//! many downloads, so many seeds. What a person does (moving, resuming, forcing, changing a limit) takes effect
//! at once, also against one that runs further behind. What happens by itself never stops a torrent for the sake
//! of another, so nothing flaps: a torrent that runs goes on until a person, its completion, its goal or a
//! failure ends it.
//!
//! # Slow torrents
//! With [`Slow`], a torrent that moved next to nothing for a while gives its place free and goes on running, so
//! that a few dead ones do not hold up the rest. One that revives counts again as soon as there is room for it.
//! [`Slow::at_most`] bounds how many run in all.
//!
//! # Contract
//! Call a method with what happened, then drain [`Queue::poll_output`] until `None`; [`Queue::timeout`] tells
//! when [`Queue::handle_timeout`] is due. `now` never goes back. The same calls give the same outputs.

mod goals;
mod invariants;
mod limits;
mod row;

pub use goals::{Goal, Goals, Then};
pub use limits::{Limits, Slow};

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use quelea_time::Time;
use row::Row;

/// What a torrent does when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Wanted pieces are missing.
    Downloading,
    /// All wanted pieces are there.
    Seeding,
}

/// How a torrent stands in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A person, or its goal, has paused it.
    Paused,
    /// It could not run, and waits for a person.
    Failed,
    /// It waits for a place.
    Queued,
    /// It runs.
    Active,
}

/// Where a torrent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// One place forward.
    Up,
    /// One place back.
    Down,
    /// To the first place.
    Top,
    /// To the last place.
    Bottom,
    /// To this place, from 0; to the last where there are not so many.
    To(usize),
}

/// A torrent that comes into the queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Newcomer {
    /// Where it goes.
    pub to: Move,
    /// Whether it is not to run.
    pub paused: bool,
    /// Whether it runs whatever the limits say.
    pub forced: bool,
    /// What it would do.
    pub stage: Stage,
    /// Its own goals, in place of the session's.
    pub goals: Option<Goals>,
    /// Whether a person let it go on although it has reached its goal.
    pub waived: bool,
    /// Payload sent so far.
    pub uploaded: u64,
    /// Bytes that its ratio is measured by.
    pub size: u64,
    /// How long it has seeded so far.
    pub seeded: Duration,
}

/// How a running torrent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Bytes received a second.
    pub download_rate: u64,
    /// Bytes sent a second.
    pub upload_rate: u64,
    /// Payload sent in all its life.
    pub uploaded: u64,
    /// Bytes that its ratio is measured by.
    pub size: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<K> {
    /// It runs from here on.
    Start(K),
    /// It does not run any more.
    Stop(K),
    /// Its data may be hashed.
    Check(K),
    /// It has reached a goal and is paused; this is to follow.
    Reached(K, Goal, Then),
}

/// Decides which torrents run; `K` names one. See the module's head.
#[derive(Debug)]
pub struct Queue<K> {
    limits: Limits,
    goals: Goals,
    /// Every key once, in order.
    order: Vec<K>,
    rows: BTreeMap<K, Row>,
    /// Those with goals of their own.
    own_goals: BTreeSet<K>,
    /// Those that something happened to since it was last decided who runs.
    touched: BTreeSet<K>,
    /// Who waits until its data may be hashed.
    to_check: BTreeSet<K>,
    /// Whose data are being hashed.
    checking: BTreeSet<K>,
    outputs: VecDeque<Output<K>>,
    todo: Todo,
}

/// What is to be looked at before the next output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    Nothing,
    /// More data may be hashed.
    Checks,
    /// Places may have become free, or too few.
    Fill,
    /// A person changed something: who stands first runs, also in place of one that does.
    Reorder,
}

impl<K: Copy + Ord> Queue<K> {
    /// An empty queue. Torrents without goals of their own have `goals`.
    pub fn new(limits: Limits, goals: Goals) -> Self {
        Self {
            limits,
            goals,
            order: Vec::new(),
            rows: BTreeMap::new(),
            own_goals: BTreeSet::new(),
            touched: BTreeSet::new(),
            to_check: BTreeSet::new(),
            checking: BTreeSet::new(),
            outputs: VecDeque::new(),
            todo: Todo::Nothing,
        }
    }

    /// A torrent comes. One that is there already stays as it is.
    pub fn insert(&mut self, now: Time, key: K, newcomer: Newcomer) {
        if self.rows.contains_key(&key) {
            return;
        }
        self.rows.insert(key, Row::new(now, newcomer, self.order.len()));
        self.order.push(key);
        if newcomer.goals.is_some() {
            self.own_goals.insert(key);
        }
        self.shift(key, newcomer.to);
        self.touch(key, Todo::Reorder);
    }

    /// A torrent goes. Nothing more is said of it.
    pub fn remove(&mut self, key: K) {
        if let Some(row) = self.rows.remove(&key) {
            self.order.remove(row.place);
            self.number(row.place, self.order.len());
            self.own_goals.remove(&key);
            self.touched.remove(&key);
            self.forget_check(key);
            self.outputs.retain(|output| output.key() != key);
            self.need(Todo::Fill);
        }
    }

    /// A person pauses a torrent.
    pub fn pause(&mut self, now: Time, key: K) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.settle(now);
            row.paused = true;
            row.forced = false;
            self.touch(key, Todo::Fill);
        }
    }

    /// A person lets a torrent run when its turn comes, whatever paused, forced or stopped it before. A goal that
    /// it has reached is waived.
    pub fn resume(&mut self, key: K) {
        self.want(key, false);
    }

    /// A person has a torrent run whatever the limits say.
    pub fn force(&mut self, key: K) {
        self.want(key, true);
    }

    fn want(&mut self, key: K, forced: bool) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.paused = false;
            row.failed = false;
            row.forced = forced;
            row.waived |= row.has_met(&self.goals);
            self.touch(key, Todo::Reorder);
        }
    }

    /// A torrent could not run; it waits for [`Queue::resume`].
    pub fn fail(&mut self, now: Time, key: K) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.settle(now);
            row.failed = true;
            self.touch(key, Todo::Fill);
        }
    }

    /// A person moves a torrent.
    pub fn shift(&mut self, key: K, to: Move) {
        let Some(at) = self.position(key) else { return };
        let last = self.order.len() - 1;
        let to = match to {
            Move::Up => at.saturating_sub(1),
            Move::Down => (at + 1).min(last),
            Move::Top => 0,
            Move::Bottom => last,
            Move::To(place) => place.min(last),
        };
        if at != to {
            let key = self.order.remove(at);
            self.order.insert(to, key);
            self.number(at.min(to), at.max(to) + 1);
            self.need(Todo::Reorder);
        }
    }

    /// Those in a part of the order learn their places.
    fn number(&mut self, from: usize, to: usize) {
        for (place, key) in self.order.iter().enumerate().take(to).skip(from) {
            if let Some(row) = self.rows.get_mut(key) {
                row.place = place;
            }
        }
    }

    /// A person changes the limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.touched.extend(self.rows.keys());
        self.need(Todo::Reorder);
    }

    /// A person gives a torrent goals of its own, or the session's back.
    pub fn set_goals(&mut self, key: K, goals: Option<Goals>) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.goals = goals;
            row.waived = false;
            if goals.is_some() {
                self.own_goals.insert(key);
            } else {
                self.own_goals.remove(&key);
            }
        }
    }

    /// A torrent has become complete, or wants more than it has.
    pub fn handle_stage(&mut self, now: Time, key: K, stage: Stage) {
        if let Some(row) = self.rows.get_mut(&key)
            && row.stage != stage
        {
            row.settle(now);
            row.stage = stage;
            row.begin(now);
            self.touch(key, Todo::Fill);
        }
    }

    /// How a running torrent does.
    pub fn handle_figures(&mut self, now: Time, key: K, figures: Figures) {
        let limits = self.limits;
        let Some(row) = self.rows.get_mut(&key) else { return };
        row.take_figures(now, figures, limits.slow);
        let slow = limits.slow.filter(|_| limits.of(row.stage).is_some());
        if row.active && !row.forced && row.counted == row.is_slow(now, slow) {
            self.touch(key, Todo::Fill);
        }
        self.look_at_goals(now, key);
    }

    /// A running torrent has data to be hashed; [`Output::Check`] tells when it may be.
    pub fn want_check(&mut self, key: K) {
        if self.rows.contains_key(&key) && !self.checking.contains(&key) && self.to_check.insert(key) {
            self.need(Todo::Checks);
        }
    }

    /// The hashing is over, or given up.
    pub fn end_check(&mut self, key: K) {
        self.forget_check(key);
        self.need(Todo::Checks);
    }

    fn forget_check(&mut self, key: K) {
        self.to_check.remove(&key);
        self.checking.remove(&key);
    }

    /// The time has come that [`Queue::timeout`] told.
    pub fn handle_timeout(&mut self, now: Time) {
        for at in 0..self.order.len() {
            if let Some(&key) = self.order.get(at) {
                self.look_at_goals(now, key);
            }
        }
        if self.limits.slow.is_some() {
            self.need(Todo::Fill);
        }
    }

    /// When [`Queue::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Time> {
        let may_be_slow = self.limits.slow.is_some() && self.limits.are_any();
        if !may_be_slow && !self.goals.are_any() && self.own_goals.is_empty() {
            return None;
        }
        let due = |row: &Row| {
            let limited = self.limits.of(row.stage).is_some();
            let slow = self.limits.slow.filter(|_| limited && row.counted);
            let slow = slow.map(|slow| row.slow_since + slow.after);
            let goal = row.goal_due(&self.goals);
            [slow, goal].into_iter().flatten().min()
        };
        self.rows.values().filter(|row| row.active).filter_map(due).min()
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self, now: Time) -> Option<Output<K>> {
        if self.outputs.is_empty() && self.todo > Todo::Nothing {
            let todo = core::mem::replace(&mut self.todo, Todo::Nothing);
            if todo > Todo::Checks {
                for stage in [Stage::Downloading, Stage::Seeding] {
                    match self.limits.of(stage) {
                        Some(limit) => self.balance(now, stage, limit, todo == Todo::Reorder),
                        None => self.run_all(now, stage),
                    }
                }
                self.tell(now);
            }
            self.grant_checks();
        }
        self.outputs.pop_front()
    }

    /// Whether [`Queue::poll_output`] may have something.
    pub fn has_work(&self) -> bool {
        !self.outputs.is_empty() || self.todo > Todo::Nothing
    }

    /// Every torrent, in order.
    pub fn order(&self) -> &[K] {
        &self.order
    }

    /// A torrent's place, from 0.
    pub fn position(&self, key: K) -> Option<usize> {
        self.rows.get(&key).map(|row| row.place)
    }

    /// How a torrent stands.
    pub fn standing(&self, key: K) -> Option<Standing> {
        self.rows.get(&key).map(|row| match row {
            Row { failed: true, .. } => Standing::Failed,
            Row { paused: true, .. } => Standing::Paused,
            Row { active: true, .. } => Standing::Active,
            Row { .. } => Standing::Queued,
        })
    }

    /// Whether a torrent runs whatever the limits say.
    pub fn is_forced(&self, key: K) -> bool {
        self.rows.get(&key).is_some_and(|row| row.forced)
    }

    /// Whether a torrent goes on although it has reached its goal.
    pub fn is_waived(&self, key: K) -> bool {
        self.rows.get(&key).is_some_and(|row| row.waived)
    }

    /// A torrent's own goals.
    pub fn goals(&self, key: K) -> Option<Goals> {
        self.rows.get(&key).and_then(|row| row.goals)
    }

    /// How long a torrent has seeded.
    pub fn seeded(&self, now: Time, key: K) -> Duration {
        self.rows.get(&key).map_or(Duration::ZERO, |row| row.seeded(now))
    }

    fn need(&mut self, todo: Todo) {
        self.todo = self.todo.max(todo);
    }

    fn touch(&mut self, key: K, todo: Todo) {
        self.touched.insert(key);
        self.need(todo);
    }

    /// Has all of one stage run that want to: those that nothing happened to do already.
    fn run_all(&mut self, now: Time, stage: Stage) {
        for key in &self.touched {
            let Some(row) = self.rows.get_mut(key).filter(|row| row.stage == stage) else { continue };
            if !row.wishes() || row.forced {
                row.active = row.wishes();
                row.counted = false;
            } else if row.active {
                row.counted = true;
            } else {
                row.run(now);
            }
        }
    }

    /// Chooses who of one stage runs.
    fn balance(&mut self, now: Time, stage: Stage, limit: usize, reorder: bool) {
        let slow = self.limits.slow;
        let at_most = slow.map_or(limit, |slow| slow.at_most.max(limit));
        let (mut counted, mut all, mut waits) = (0, 0, 0);
        // Those that do not run, or run beside the limits, count for nothing; of the others those that became slow
        // count no more.
        for row in self.rows.values_mut().filter(|row| row.stage == stage) {
            if !row.wishes() || row.forced {
                row.active = row.wishes();
                row.counted = false;
            } else if row.active {
                row.counted &= !row.is_slow(now, slow);
                counted += usize::from(row.counted);
                all += 1;
                waits += usize::from(!row.counted);
            } else {
                waits += 1;
            }
        }
        // Too many: the last ones stop.
        while counted > limit || all > at_most {
            let Some(worst) = self.last_active(stage, all <= at_most) else { break };
            counted -= usize::from(worst.counted);
            all -= 1;
            worst.stop();
        }
        // Room: first for those that revived, then for those that wait.
        let waiting = |row: &Row| row.stage == stage && row.wishes() && !row.forced && !row.counted;
        let candidates = if waits > 0 { self.in_order(waiting) } else { Vec::new() };
        for revived in [true, false] {
            for key in &candidates {
                if counted >= limit || (!revived && all >= at_most) {
                    break;
                }
                let Some(row) = self.rows.get_mut(key).filter(|row| row.stage == stage) else { continue };
                if revived && row.active && !row.forced && !row.counted && !row.is_slow(now, slow) {
                    row.counted = true;
                    counted += 1;
                } else if !revived && !row.active && row.wishes() {
                    row.run(now);
                    counted += 1;
                    all += 1;
                }
            }
        }
        if reorder && waits > 0 {
            self.prefer_the_first(now, stage);
        }
    }

    /// The torrents that suit, in order.
    fn in_order(&self, suits: impl Fn(&Row) -> bool) -> Vec<K> {
        let suiting = self.rows.iter().filter(|(_, row)| suits(row)).map(|(key, _)| *key);
        self.put_in_order(suiting.collect())
    }

    /// These by their places.
    fn put_in_order(&self, mut keys: Vec<K>) -> Vec<K> {
        keys.sort_by_cached_key(|key| self.position(*key));
        keys
    }

    /// Gives the places to those who stand first.
    fn prefer_the_first(&mut self, now: Time, stage: Stage) {
        let mut from = 0;
        loop {
            let waits = |key: &K| {
                self.rows.get(key).is_some_and(|row| row.stage == stage && row.wishes() && !row.active)
            };
            let Some(first) = self.order.iter().skip(from).position(waits).map(|at| at + from) else {
                return;
            };
            let counts = |key: &K| self.rows.get(key).is_some_and(|row| row.stage == stage && row.counted);
            let Some(last) = self.order.iter().rposition(counts).filter(|last| *last > first) else { return };
            if let Some(row) = self.order.get(last).and_then(|key| self.rows.get_mut(key)) {
                row.stop();
            }
            if let Some(row) = self.order.get(first).and_then(|key| self.rows.get_mut(key)) {
                row.run(now);
            }
            from = first + 1;
        }
    }

    /// The running torrent that stands last; with `counted` of those that count.
    fn last_active(&mut self, stage: Stage, counted: bool) -> Option<&mut Row> {
        let suits = |key: &&K| {
            let row = self.rows.get(*key);
            row.is_some_and(|row| {
                row.stage == stage && row.active && !row.forced && (row.counted || !counted)
            })
        };
        let key = *self.order.iter().rev().find(suits)?;
        self.rows.get_mut(&key)
    }

    /// Tells who starts and who stops.
    fn tell(&mut self, now: Time) {
        let touched = core::mem::take(&mut self.touched);
        let changed = if self.limits.are_any() {
            self.in_order(|row| row.told != row.active)
        } else {
            self.put_in_order(touched.into_iter().collect())
        };
        for started in [false, true] {
            for key in &changed {
                let Some(row) = self.rows.get_mut(key) else { continue };
                if row.told == row.active || row.active != started {
                    continue;
                }
                row.told = row.active;
                if row.active {
                    row.begin(now);
                    self.outputs.push_back(Output::Start(*key));
                } else {
                    row.settle(now);
                    self.outputs.push_back(Output::Stop(*key));
                    self.to_check.remove(key);
                    self.checking.remove(key);
                }
            }
        }
    }

    fn grant_checks(&mut self) {
        let most = self.limits.checks.max(1);
        for key in self.put_in_order(self.to_check.iter().copied().collect()) {
            let Some(row) = self.rows.get(&key) else { continue };
            if row.active && (row.forced || self.checking.len() < most) {
                self.to_check.remove(&key);
                self.checking.insert(key);
                self.outputs.push_back(Output::Check(key));
            }
        }
    }

    fn look_at_goals(&mut self, now: Time, key: K) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        let Some((goal, then)) = row.goal_reached(now, &self.goals) else { return };
        row.settle(now);
        row.paused = true;
        row.forced = false;
        self.outputs.push_back(Output::Reached(key, goal, then));
        self.touch(key, Todo::Fill);
    }
}

impl<K: Copy> Output<K> {
    fn key(&self) -> K {
        match *self {
            Self::Start(key) | Self::Stop(key) | Self::Check(key) | Self::Reached(key, ..) => key,
        }
    }
}
