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
mod lines;
mod order;
mod row;

pub use goals::{Goal, Goals, Then};
pub use limits::{Limits, Slow};

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use lines::Lines;
use order::{Order, Ranked};
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
    order: Order<K>,
    rows: BTreeMap<K, Row>,
    /// Who is to be looked at when something happens. Follows from the rows.
    lines: Lines<K>,
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
            order: Order::new(),
            rows: BTreeMap::new(),
            lines: Lines::new(),
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
        let row = Row::new(now, newcomer, self.order.push(key));
        self.lines.enter(key, row.spot(&self.limits, &self.goals));
        self.rows.insert(key, row);
        self.shift(key, newcomer.to);
        self.need(Todo::Reorder);
    }

    /// A torrent goes. Nothing more is said of it.
    pub fn remove(&mut self, key: K) {
        let Some(place) = self.position(key) else { return };
        self.order.remove(place);
        if let Some(row) = self.rows.remove(&key) {
            self.lines.leave(key, row.spot(&self.limits, &self.goals));
        }
        self.checking.remove(&key);
        self.outputs.retain(|output| output.key() != key);
        self.need(Todo::Fill);
    }

    /// Changes a row, and where it stands in the lines. What came of it, where there is such a torrent.
    fn change<T>(&mut self, key: K, change: impl FnOnce(&mut Row) -> T) -> Option<T> {
        let row = self.rows.get_mut(&key)?;
        let before = row.spot(&self.limits, &self.goals);
        let result = change(row);
        let after = row.spot(&self.limits, &self.goals);
        if before != after {
            self.lines.leave(key, before);
            self.lines.enter(key, after);
        }
        Some(result)
    }

    /// Changes what the place of every row in the lines depends upon.
    fn change_all(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        self.lines = Lines::new();
        for (key, rank) in self.order.ranked() {
            if let Some(row) = self.rows.get_mut(&key) {
                row.rank = rank;
                self.lines.enter(key, row.spot(&self.limits, &self.goals));
            }
        }
    }

    /// A person pauses a torrent.
    pub fn pause(&mut self, now: Time, key: K) {
        let pause = |row: &mut Row| {
            row.settle(now);
            row.paused = true;
            row.forced = false;
        };
        self.change_and(key, Todo::Fill, pause);
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
        let goals = self.goals;
        let want = |row: &mut Row| {
            row.paused = false;
            row.failed = false;
            row.forced = forced;
            row.waived |= row.has_met(&goals);
        };
        self.change_and(key, Todo::Reorder, want);
    }

    /// A torrent could not run; it waits for [`Queue::resume`].
    pub fn fail(&mut self, now: Time, key: K) {
        let fail = |row: &mut Row| {
            row.settle(now);
            row.failed = true;
        };
        self.change_and(key, Todo::Fill, fail);
    }

    /// A person moves a torrent.
    pub fn shift(&mut self, key: K, to: Move) {
        let Some(at) = self.position(key) else { return };
        match self.order.shift(at, to) {
            None => return,
            Some(Ranked::Alone(rank)) => _ = self.change(key, |row| row.rank = rank),
            Some(Ranked::Anew) => self.change_all(|_| {}),
        }
        self.need(Todo::Reorder);
    }

    /// A person changes the limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.change_all(|queue| queue.limits = limits);
        self.need(Todo::Reorder);
    }

    /// A person gives a torrent goals of its own, or the session's back.
    pub fn set_goals(&mut self, key: K, goals: Option<Goals>) {
        self.change(key, |row| {
            row.goals = goals;
            row.waived = false;
        });
    }

    /// A torrent has become complete, or wants more than it has.
    pub fn handle_stage(&mut self, now: Time, key: K, stage: Stage) {
        if self.rows.get(&key).is_some_and(|row| row.stage != stage) {
            let begin = |row: &mut Row| {
                row.settle(now);
                row.stage = stage;
                row.begin(now);
            };
            self.change_and(key, Todo::Fill, begin);
        }
    }

    /// How a running torrent does.
    pub fn handle_figures(&mut self, now: Time, key: K, figures: Figures) {
        let limits = self.limits;
        let changes = self.change(key, |row| {
            row.take_figures(now, figures, limits.slow);
            let slow = limits.slow.filter(|_| limits.of(row.stage).is_some());
            row.active && !row.forced && row.counted == row.is_slow(now, slow)
        });
        if changes == Some(true) {
            self.need(Todo::Fill);
        }
        self.look_at_goals(now, key);
    }

    /// A running torrent has data to be hashed; [`Output::Check`] tells when it may be.
    pub fn want_check(&mut self, key: K) {
        if !self.checking.contains(&key) {
            self.change_and(key, Todo::Checks, |row| row.wants_check = true);
        }
    }

    /// The hashing is over, or given up.
    pub fn end_check(&mut self, key: K) {
        self.checking.remove(&key);
        self.change_and(key, Todo::Checks, |row| row.wants_check = false);
    }

    /// The time has come that [`Queue::timeout`] told.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut due: Vec<K> = self.lines.due_by(now).collect();
        due.sort_by_cached_key(|key| self.rows.get(key).map(|row| row.rank));
        for key in due {
            self.look_at_goals(now, key);
        }
        if self.limits.slow.is_some() {
            self.need(Todo::Fill);
        }
    }

    /// When [`Queue::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Time> {
        self.lines.due.first().map(|(due, _)| *due)
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self, now: Time) -> Option<Output<K>> {
        if self.outputs.is_empty() && self.todo > Todo::Nothing {
            let todo = core::mem::replace(&mut self.todo, Todo::Nothing);
            if todo > Todo::Checks {
                self.heed();
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
        self.order.keys()
    }

    /// A torrent's place, from 0.
    pub fn position(&self, key: K) -> Option<usize> {
        self.order.place(self.rows.get(&key)?.rank)
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

    fn change_and(&mut self, key: K, todo: Todo, change: impl FnOnce(&mut Row)) {
        if self.change(key, change).is_some() {
            self.need(todo);
        }
    }

    /// Whatever is forced runs, and what was paused or failed does not; neither takes a place.
    fn heed(&mut self) {
        while let Some((_, &key)) = self.lines.unheeded.first_key_value() {
            self.change(key, |row| {
                row.active = row.wishes();
                row.counted = false;
            });
        }
    }

    /// Has all of one stage run that want to.
    fn run_all(&mut self, now: Time, stage: Stage) {
        while let Some((_, &key)) = self.lines.of(stage).waiting.first_key_value() {
            self.change(key, |row| row.run(now));
        }
        while let Some((_, &key)) = self.lines.of(stage).beside.first_key_value() {
            self.change(key, |row| row.counted = true);
        }
    }

    /// Chooses who of one stage runs.
    fn balance(&mut self, now: Time, stage: Stage, limit: usize, reorder: bool) {
        let slow = self.limits.slow;
        let at_most = slow.map_or(limit, |slow| slow.at_most.max(limit));
        // Those that became slow count no more.
        let due: Vec<K> = self.lines.due_by(now).collect();
        for key in due {
            self.change(key, |row| {
                if row.stage == stage && !row.forced {
                    row.counted &= !row.is_slow(now, slow);
                }
            });
        }
        // Too many: the last ones stop.
        while let Some(worst) = self.one_too_many(stage, limit, at_most) {
            self.change(worst, Row::stop);
        }
        // Room: first for those that revived, then for those that wait.
        if self.lines.of(stage).counted.len() < limit {
            let line = self.lines.of(stage);
            let revived = |key: &K| self.rows.get(key).is_some_and(|row| !row.is_slow(now, slow));
            let room = limit - line.counted.len();
            let revived: Vec<K> = line.beside.values().copied().filter(revived).take(room).collect();
            for key in revived {
                self.change(key, |row| row.counted = true);
            }
        }
        while self.lines.of(stage).counted.len() < limit
            && self.lines.of(stage).running() < at_most
            && let Some((_, &next)) = self.lines.of(stage).waiting.first_key_value()
        {
            self.change(next, |row| row.run(now));
        }
        if reorder {
            self.prefer_the_first(now, stage);
        }
    }

    /// Of one stage the running torrent that stands last, where more run or count than may.
    fn one_too_many(&self, stage: Stage, limit: usize, at_most: usize) -> Option<K> {
        let line = self.lines.of(stage);
        let counted = line.counted.last_key_value();
        let last = if line.running() > at_most {
            counted.max(line.beside.last_key_value())
        } else {
            counted.filter(|_| line.counted.len() > limit)
        };
        last.map(|(_, key)| *key)
    }

    /// Gives the places to those who stand first.
    fn prefer_the_first(&mut self, now: Time, stage: Stage) {
        loop {
            let line = self.lines.of(stage);
            let (Some((first, &waits)), Some((last, &counts))) =
                (line.waiting.first_key_value(), line.counted.last_key_value())
            else {
                return;
            };
            if last < first {
                return;
            }
            self.change(counts, Row::stop);
            self.change(waits, |row| row.run(now));
        }
    }

    /// Tells who starts and who stops.
    fn tell(&mut self, now: Time) {
        let changed: Vec<K> = self.lines.untold.values().copied().collect();
        for started in [false, true] {
            for &key in &changed {
                let told = self.change(key, |row| {
                    if row.active != started {
                        return None;
                    }
                    row.told = row.active;
                    if row.active {
                        row.begin(now);
                        return Some(Output::Start(key));
                    }
                    row.settle(now);
                    row.wants_check = false;
                    Some(Output::Stop(key))
                });
                let Some(told) = told.flatten() else { continue };
                if told == Output::Stop(key) {
                    self.checking.remove(&key);
                }
                self.outputs.push_back(told);
            }
        }
    }

    fn grant_checks(&mut self) {
        let most = self.limits.checks.max(1);
        loop {
            let usual = self.lines.checks.first_key_value().filter(|_| self.checking.len() < most);
            let forced = self.lines.forced_checks.first_key_value();
            let Some((_, &key)) = usual.into_iter().chain(forced).min() else { return };
            self.change(key, |row| row.wants_check = false);
            self.checking.insert(key);
            self.outputs.push_back(Output::Check(key));
        }
    }

    fn look_at_goals(&mut self, now: Time, key: K) {
        let reached = self.rows.get(&key).and_then(|row| row.goal_reached(now, &self.goals));
        let Some((goal, then)) = reached else { return };
        self.pause(now, key);
        self.outputs.push_back(Output::Reached(key, goal, then));
    }
}

impl<K: Copy> Output<K> {
    fn key(&self) -> K {
        match *self {
            Self::Start(key) | Self::Stop(key) | Self::Check(key) | Self::Reached(key, ..) => key,
        }
    }
}
