//! The world: nodes, links and a tracker, and what happens to them.
//!
//! One happening at a time: the machine that it concerns is told, everything that it wants is done, and it is
//! checked that nothing contradicts.

mod limits;
mod links;
mod outputs;
mod values;

use crate::agenda::Agenda;
use crate::content::{Block, Content};
use crate::disk::{Outcome, WriteFault};
use crate::invariants::Violation;
use crate::link::{Cargo, Link, LinkId, Side};
use crate::node::Node;
use crate::scenario::{Payload, Role, Scenario};
use crate::summary::{Faults, Messages, Summary};
use crate::trace::Trace;
use crate::tracker::Tracker;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use fastrand::Rng;
use quelea_discovery::peers::Source;
use quelea_metainfo::geometry::{PieceIndex, Span};
use quelea_swarm::event::Verdict;
use quelea_time::Time;
use quelea_tracker::{AnnounceResponse, Failure, RequestId, Urgency};
use std::collections::BTreeMap;
use std::io;

/// How long the world goes on when everybody has what it wants, to see that peace comes.
const EPILOGUE: Duration = Duration::from_secs(10);
/// A disk that could not write tries again after this.
const DISK_PAUSE: Duration = Duration::from_millis(500);

/// What can happen.
#[derive(Debug)]
enum Happening {
    Come(usize),
    Leave {
        node: usize,
        politely: bool,
    },
    /// A machine's time has come.
    Wake(usize),
    Dialled {
        node: usize,
        life: u32,
        address: SocketAddr,
    },
    ConnectFailed {
        node: usize,
        life: u32,
        address: SocketAddr,
    },
    /// The uplink has sent what it was given.
    Sent(usize),
    /// A node's limits give what is due.
    Deal {
        node: usize,
        life: u32,
    },
    /// Something is at the other end's downlink.
    Arrived {
        link: LinkId,
        side: Side,
        cargo: Cargo,
    },
    /// Something has come through the downlink.
    Delivered {
        link: LinkId,
        side: Side,
        cargo: Cargo,
    },
    /// An end learns that the other one has taken something.
    Taken {
        link: LinkId,
        side: Side,
        bytes: usize,
    },
    Cut(LinkId),
    /// An end learns that the link is over.
    Closed {
        link: LinkId,
        side: Side,
    },
    Read {
        node: usize,
        life: u32,
        link: LinkId,
        side: Side,
        span: Span,
        failed: bool,
    },
    Verified {
        node: usize,
        life: u32,
        piece: PieceIndex,
        blocks: Vec<Block>,
        digest_blocks: bool,
    },
    Answered {
        node: usize,
        life: u32,
        id: RequestId,
        answer: Result<AnnounceResponse, Failure>,
    },
    End,
}

/// A world, from its beginning to its end.
#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Option<Link>>,
    pub(crate) faults: Faults,
    pub(crate) messages: Messages,
    agenda: Agenda<Happening>,
    by_address: BTreeMap<SocketAddr, usize>,
    content: Content,
    tracker: Tracker,
    trace: Trace,
    rng: Rng,
    seed_left: bool,
    riders_got: u64,
    ending: bool,
}

impl World {
    /// The world of a scenario; its story goes to `story` if there is one.
    pub fn new(scenario: Scenario, story: Option<Box<dyn io::Write>>) -> Self {
        let mut rng = Rng::with_seed(scenario.seed ^ 0x51ea_0000_0000_0000);
        let nodes: Vec<Node> =
            (0..scenario.nodes.len()).map(|number| Node::new(&scenario, number, &mut rng)).collect();
        let tracker = Tracker::new(scenario.tracker, nodes.iter().map(|node| node.address), rng.u64(..));
        Self {
            by_address: nodes.iter().enumerate().map(|(number, node)| (node.address, number)).collect(),
            nodes,
            links: Vec::new(),
            faults: Faults::default(),
            messages: Messages::default(),
            agenda: Agenda::new(),
            content: Content::new(scenario.geometry, scenario.payload, rng.u64(..)),
            tracker,
            trace: Trace::new(story, scenario.payload == Payload::Bytes),
            rng,
            seed_left: false,
            riders_got: 0,
            ending: false,
            scenario,
        }
    }

    /// Lets the world run until everybody has what it wants, and a little longer.
    ///
    /// # Errors
    /// The first thing that was not as it must be.
    pub fn run(mut self) -> Result<Summary, Violation> {
        for number in 0..self.nodes.len() {
            let plan = &self.nodes[number].plan;
            self.agenda.plan(plan.joins, Happening::Come(number));
            for absence in &plan.absences {
                let politely = absence.politely;
                self.agenda.plan(absence.leaves, Happening::Leave { node: number, politely });
                self.agenda.plan(absence.returns, Happening::Come(number));
            }
        }
        let deadline = self.scenario.deadline();
        while let Some(happening) = self.agenda.next() {
            if self.now() > deadline && !self.ending {
                return Err(self.violation(self.who_is_late()));
            }
            if matches!(happening, Happening::End) {
                // A crash meanwhile may have taken pieces, which are fetched again first.
                if !self.has_everybody_everything() {
                    self.ending = false;
                    continue;
                }
                self.check_end()?;
                self.check_waste()?;
                return Ok(self.summary());
            }
            self.happen(happening)?;
        }
        Err(self.violation("nothing happens any more, and not everybody has what it wants".to_owned()))
    }

    pub(crate) fn now(&self) -> Time {
        self.agenda.now()
    }

    pub(crate) fn violation(&self, what: String) -> Violation {
        Violation { seed: self.scenario.seed, kind: self.scenario.kind, at: self.now(), what }
    }

    fn tell(&mut self, node: usize, what: fmt::Arguments<'_>) {
        self.trace.tell(self.agenda.now(), &self.nodes[node].name, what);
    }

    fn is_alive(&self, node: usize, life: u32) -> bool {
        self.nodes[node].present.is_some() && self.nodes[node].life == life
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Come(node) => self.come(node),
            Happening::Leave { node, politely } => self.leave(node, politely),
            Happening::Wake(node) => self.wake(node),
            Happening::Dialled { node, life, address } => self.dialled(node, life, address),
            Happening::ConnectFailed { node, life, address } => self.connect_failed(node, life, address),
            Happening::Sent(node) => {
                self.nodes[node].uplink.is_busy = false;
                self.settle(node)
            }
            Happening::Deal { node, life } => {
                if self.is_alive(node, life) {
                    self.deal(node)
                } else {
                    Ok(())
                }
            }
            Happening::Arrived { link, side, cargo } => self.arrived(link, side, cargo),
            Happening::Delivered { link, side, cargo } => self.delivered(link, side, cargo),
            Happening::Taken { link, side, bytes } => self.taken(link, side, bytes),
            Happening::Cut(link) => {
                self.cut(link);
                Ok(())
            }
            Happening::Closed { link, side } => self.closed(link, side),
            Happening::Read { node, life, link, side, span, failed } => {
                if self.is_alive(node, life) {
                    self.read(node, link, side, span, failed)
                } else {
                    Ok(())
                }
            }
            Happening::Verified { node, life, piece, blocks, digest_blocks } => {
                if self.is_alive(node, life) {
                    self.verified(node, piece, blocks, digest_blocks)
                } else {
                    Ok(())
                }
            }
            Happening::Answered { node, life, id, answer } => {
                if self.is_alive(node, life) {
                    self.answered(node, id, answer)
                } else {
                    Ok(())
                }
            }
            Happening::End => Ok(()),
        }
    }

    fn come(&mut self, node: usize) -> Result<(), Violation> {
        let now = self.now();
        if self.nodes[node].present.is_some() {
            return Ok(());
        }
        self.faults.found_rotten += self.nodes[node].disk.check();
        self.nodes[node].come(now, &self.scenario, &mut self.rng);
        let have = self.nodes[node].disk.written.count();
        self.tell(node, format_args!("comes with {have} pieces"));
        self.settle(node)?;
        self.look_whether_all_are_done();
        Ok(())
    }

    /// A node goes: politely, so that its peers and the tracker hear of it, or it is just gone.
    fn leave(&mut self, node: usize, politely: bool) -> Result<(), Violation> {
        let now = self.now();
        let Some(present) = &mut self.nodes[node].present else { return Ok(()) };
        if politely {
            self.faults.goodbyes += 1;
            present.machine.stop(now);
            present.announcer.stop(now);
            self.tell(node, format_args!("says goodbye"));
            self.drain(node)?;
        } else {
            self.faults.crashes += 1;
            let lost = self.nodes[node].disk.crash(now, &self.scenario.disks);
            self.faults.lost_pieces += lost;
            if lost > 0 {
                self.nodes[node].completed = None;
            }
            self.tell(node, format_args!("is gone, and {lost} pieces that were not on its disk yet"));
        }
        let ends = self.nodes[node].present.as_ref().map(|present| present.ends.clone());
        for (link, side) in ends.unwrap_or_default() {
            let notice = Duration::from_millis(if politely { 0 } else { self.rng.u64(0..5_000) });
            self.hang_up(link, side, notice);
        }
        self.nodes[node].leave(now);
        Ok(())
    }

    fn wake(&mut self, node: usize) -> Result<(), Violation> {
        let now = self.now();
        let planned = self.nodes[node].wake;
        if planned != Some(now) {
            // It was planned anew since.
            return Ok(());
        }
        self.nodes[node].wake = None;
        let Some(present) = &mut self.nodes[node].present else { return Ok(()) };
        if present.machine.timeout().is_some_and(|due| due <= now) {
            present.machine.handle_timeout(now);
        }
        if present.announcer.timeout().is_some_and(|due| due <= now) {
            present.announcer.handle_timeout(now);
        }
        let again = present.timeout();
        if again.is_some_and(|due| due <= now) {
            let due = (present.machine.timeout(), present.announcer.timeout());
            return Err(self.violation(format!(
                "{} is woken, and wants to be woken at once again: {due:?}",
                self.nodes[node].name
            )));
        }
        self.settle(node)
    }

    fn verified(
        &mut self,
        node: usize,
        piece: PieceIndex,
        blocks: Vec<Block>,
        digest_blocks: bool,
    ) -> Result<(), Violation> {
        let now = self.now();
        let (plan, disk) = (&self.scenario.disks, &mut self.nodes[node].disk);
        let outcome = disk.verify(now, plan, &self.content, piece, blocks, digest_blocks);
        let (verdict, digests) = match outcome {
            Outcome::Written(digests) => (Verdict::Written, digests),
            Outcome::Mismatch(digests) => (Verdict::Mismatch, digests),
            Outcome::Failed(blocks, why) => {
                match why {
                    WriteFault::Refused => self.faults.failed_writes += 1,
                    WriteFault::Short => self.faults.short_writes += 1,
                    WriteFault::Full => self.faults.full_disks += 1,
                }
                self.tell(node, format_args!("cannot write piece {piece}: {why:?}"));
                let life = self.nodes[node].life;
                let again = Happening::Verified { node, life, piece, blocks, digest_blocks };
                self.agenda.plan(now + DISK_PAUSE, again);
                return Ok(());
            }
        };
        self.tell(node, format_args!("finds piece {piece}: {verdict:?}"));
        if let Some(present) = &mut self.nodes[node].present {
            present.machine.handle_verdict(now, piece, verdict, &digests);
        }
        self.settle(node)?;
        self.let_the_seed_go();
        Ok(())
    }

    fn let_the_seed_go(&mut self) {
        if !self.scenario.seed_leaves || self.seed_left {
            return;
        }
        let holders: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|node| node.plan.role == Role::Leecher && node.present.is_some())
            .collect();
        let spread = |piece| holders.iter().any(|node| node.disk.written.has(piece));
        if self.scenario.geometry.iter().all(spread) {
            self.seed_left = true;
            let politely = self.rng.bool();
            self.agenda.plan(self.agenda.now(), Happening::Leave { node: 0, politely });
        }
    }

    fn answered(
        &mut self,
        node: usize,
        id: RequestId,
        answer: Result<AnnounceResponse, Failure>,
    ) -> Result<(), Violation> {
        let now = self.now();
        let Some(present) = &mut self.nodes[node].present else { return Ok(()) };
        let wanted = present.announcer.handle_answer(now, id, answer.as_ref().map_err(Clone::clone));
        match answer {
            Ok(response) => {
                let found = response.peers.len();
                if wanted {
                    present.machine.handle_addresses(now, response.peers, Source::Tracker);
                }
                self.tell(node, format_args!("hears of {found} peers"));
            }
            Err(failure) => self.tell(node, format_args!("gets no answer: {failure}")),
        }
        self.settle(node)
    }

    /// Does everything that a node's machines want, checks them, and plans their next wake-up.
    fn settle(&mut self, node: usize) -> Result<(), Violation> {
        loop {
            self.drain(node)?;
            if !self.send_next(node)? {
                break;
            }
        }
        let now = self.now();
        if let Some(present) = &mut self.nodes[node].present
            && present.is_hungry()
        {
            present.announcer.announce_now(now, Urgency::FewPeers);
            self.drain(node)?;
        }
        self.check_step(node)?;
        let due = self.nodes[node].present.as_ref().and_then(|present| present.timeout());
        if let Some(due) = due.map(|due| due.max(now))
            && self.nodes[node].wake != Some(due)
        {
            self.nodes[node].wake = Some(due);
            self.agenda.plan(due, Happening::Wake(node));
        }
        Ok(())
    }

    /// When the last of those who give is done: what those who do not have got till then.
    fn note_contributors_done(&mut self) {
        let now = self.now();
        let gives = |node: &Node| node.plan.role == Role::Leecher;
        let all = self.nodes.iter().filter(|node| gives(node)).all(|node| node.completed.is_some());
        if all && self.riders_got == 0 {
            let riders = self.nodes.iter_mut().filter(|node| node.plan.role == Role::Rider);
            self.riders_got = riders.map(|rider| rider.figures(now).downloaded).sum();
        }
    }

    fn has_everybody_everything(&self) -> bool {
        let has = |node: &Node| {
            matches!(node.plan.role, Role::Seed | Role::Liar | Role::Staller) || node.completed.is_some()
        };
        self.nodes.iter().all(has)
    }

    fn look_whether_all_are_done(&mut self) {
        let there = |node: &Node| {
            matches!(node.plan.role, Role::Seed | Role::Liar | Role::Staller) || node.present.is_some()
        };
        if !self.ending && self.has_everybody_everything() && self.nodes.iter().all(there) {
            self.ending = true;
            self.agenda.plan(self.agenda.now() + EPILOGUE, Happening::End);
        }
    }

    fn summary(mut self) -> Summary {
        self.faults.silences = self.tracker.silences;
        self.faults.refused_announces = self.tracker.refusals;
        self.faults.garbled_answers = self.tracker.garbage;
        self.faults.rotten_pieces = self.nodes.iter().map(|node| node.disk.rotted).sum();
        self.faults.slow_writes = self.nodes.iter().map(|node| node.disk.slow_writes).sum();
        self.faults.spoilt_blocks = self.nodes.iter().map(|node| node.disk.spoilt).sum();
        self.messages.announces = self.tracker.announces;
        let riders_got = self.riders_got;
        let summary = Summary::of(
            &self.scenario,
            self.nodes,
            self.faults,
            self.messages,
            &self.trace,
            self.agenda.now(),
        );
        Summary { riders_got, ..summary }
    }
}
