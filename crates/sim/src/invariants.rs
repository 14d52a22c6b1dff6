//! What must hold: at every step, and at the end.

use crate::link::Side;
use crate::node::{Figures, Node};
use crate::scenario::{Kind, Role};
use crate::summary::Messages;
use crate::world::World;
use core::net::IpAddr;
use core::time::Duration;
use quelea_metainfo::geometry::{BLOCK_LENGTH, PieceIndex};
use quelea_swarm::event::Farewell;
use quelea_time::Time;

/// Something was not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("world {seed} ({kind}) at {at}: {what}\nreplay it with `cargo xtask sim {seed}`")]
pub struct Violation {
    /// The seed of the world.
    pub seed: u64,
    /// What the world is about.
    pub kind: Kind,
    /// When it was found.
    pub at: Time,
    /// What is wrong.
    pub what: String,
}

/// Blocks that an endgame may cost a node: about what is on its way to it when blocks are doubled.
const WASTED_AT_THE_END: u64 = 20;
/// Requests that are lost with one end of a link, of the sixteen that a pipeline begins with.
const REQUESTS_LOST: u64 = 8;
/// Two nodes that both have everything, and have read all that the other said, are done with each other after this.
const PEACE: Duration = Duration::from_secs(5);

impl World {
    /// After each step: the machine agrees with itself, and has what is on the disk.
    pub(crate) fn check_step(&mut self, number: usize) -> Result<(), Violation> {
        self.nodes[number].steps += 1;
        let node = &self.nodes[number];
        let due = node.steps.is_multiple_of(self.scenario.checks_every);
        let Some(present) = node.present.as_ref() else { return Ok(()) };
        let (held, budget) = (present.memory.bytes(), node.budget(&self.scenario));
        if held > budget {
            let name = &node.name;
            return Err(self.violation(format!("{name} holds {held} bytes of blocks, more than {budget}")));
        }
        if !due {
            return Ok(());
        }
        if let Err(contradiction) = present.machine.check_invariants() {
            return Err(self.violation(format!("{} contradicts itself: {contradiction}", node.name)));
        }
        let (have, written) = (present.machine.have(), &node.disk.written);
        if let Some(piece) = node.disk.torn.iter().find(|&&piece| have.has(piece)) {
            let name = &node.name;
            return Err(
                self.violation(format!("{name} tells of piece {piece}, of which a part is on its disk"))
            );
        }
        if have != written {
            let (name, have, written) = (&node.name, have.count(), written.count());
            return Err(
                self.violation(format!("{name} tells of {have} pieces, but {written} are on its disk"))
            );
        }
        Ok(())
    }

    /// Pieces fail only where somebody lies.
    pub(crate) fn check_failed_piece(&self, number: usize, piece: PieceIndex) -> Result<(), Violation> {
        if self.scenario.kind.is_honest() {
            let name = &self.nodes[number].name;
            return Err(self.violation(format!("piece {piece} failed at {name}, though nobody lies")));
        }
        Ok(())
    }

    /// Only those are banned who have sent spoilt blocks.
    pub(crate) fn check_ban(&self, number: usize, ip: IpAddr) -> Result<(), Violation> {
        let guilty = |node: &Node| node.disk.spoilt > 0 && node.address.ip() == ip;
        if self.nodes.iter().any(guilty) {
            return Ok(());
        }
        let (name, banned) = (&self.nodes[number].name, self.name_of(ip));
        Err(self.violation(format!("{name} has banned {banned}, who is honest")))
    }

    /// Nobody here breaks the protocol or falls silent.
    pub(crate) fn check_farewell(&self, number: usize, why: Farewell) -> Result<(), Violation> {
        // One that reads nothing hears nothing.
        let hears = self.nodes[number].plan.role != Role::Staller;
        if hears && matches!(why, Farewell::Fault(_) | Farewell::Silent) {
            let name = &self.nodes[number].name;
            return Err(self.violation(format!("{name} blames a peer that did nothing wrong: {why:?}")));
        }
        Ok(())
    }

    pub(crate) fn who_is_late(&self) -> String {
        let late: Vec<String> = self
            .nodes
            .iter()
            .filter(|node| node.completed.is_none())
            .filter(|node| matches!(node.plan.role, Role::Leecher | Role::Rider))
            .map(|node| format!("{} has {}", node.name, node.disk.written.count()))
            .collect();
        let pieces = self.scenario.geometry.pieces();
        format!("out of time, and not everybody has what it wants of {pieces} pieces: {}", late.join(", "))
    }

    /// At the end: what was wanted is there, liars are found out, and nobody holds on to a peer without use.
    pub(crate) fn check_end(&self) -> Result<(), Violation> {
        for node in self.nodes.iter().filter(|node| node.plan.role != Role::Staller) {
            let missing = self
                .scenario
                .geometry
                .iter()
                .find(|&piece| node.plan.wanted.has(piece) && !node.disk.written.has(piece));
            if let Some(piece) = missing {
                return Err(self.violation(format!("{} is done without piece {piece}", node.name)));
            }
        }
        self.check_liars()?;
        self.check_peace()?;
        self.check_chatter()
    }

    /// Messages cost what they must: about one request a block, and slots that move when there is a reason.
    fn check_chatter(&self) -> Result<(), Violation> {
        let Messages { blocks, requests, chokes, interest, .. } = self.messages;
        let ends = 2 * self.links.len() as u64;
        // A peer that is choked, cut off or snubbed leaves its pipeline unanswered.
        if requests > blocks + blocks / 2 + REQUESTS_LOST * ends {
            return Err(self.violation(format!("{requests} requests were sent for {blocks} blocks")));
        }
        let rounds = self.now().since(Time::ZERO).as_secs() / 10 + 1;
        let slots: u64 = self.nodes.iter().map(|node| node.plan.upload_slots as u64).sum();
        // In a round every slot may move; in between one moves when an interest ends, a peer leaves, or a node
        // completes.
        if chokes > 2 * (rounds * slots + interest + ends) {
            return Err(self.violation(format!("{chokes} chokes and unchokes in {rounds} rounds")));
        }
        Ok(())
    }

    /// How much of what was received was of no use, when nothing but the endgame explains it.
    pub(crate) fn check_waste(&mut self) -> Result<(), Violation> {
        let now = self.now();
        let figures: Vec<Figures> = self.nodes.iter_mut().map(|node| node.figures(now)).collect();
        let wasted: u64 = figures.iter().map(|figures| figures.wasted).sum();
        let downloaded: u64 = figures.iter().map(|figures| figures.downloaded).sum();
        let endgame = WASTED_AT_THE_END * self.nodes.len() as u64 * u64::from(BLOCK_LENGTH);
        let spoilt = self.faults.failed_pieces * u64::from(self.scenario.geometry.piece_length());
        if wasted > downloaded / 20 + endgame + spoilt {
            return Err(self.violation(format!("{wasted} of {downloaded} bytes received were of no use")));
        }
        Ok(())
    }

    /// Whoever was sent a piece that failed has found out who spoilt it.
    fn check_liars(&self) -> Result<(), Violation> {
        let liars = self.nodes.iter().filter(|node| node.plan.role == Role::Liar);
        for liar in liars {
            let deceived =
                self.nodes.iter().find(|node| node.failed > 0 && !node.banned.contains(&liar.address.ip()));
            if let Some(deceived) = deceived {
                return Err(self.violation(format!(
                    "{} pieces failed at {}, which has not banned {}",
                    deceived.failed, deceived.name, liar.name
                )));
            }
        }
        Ok(())
    }

    fn check_peace(&self) -> Result<(), Violation> {
        let has_all = |number: usize| self.nodes[number].disk.written.is_all();
        let idle = self.links.iter().flatten().find(|link| {
            let [caller, callee] = Side::BOTH.map(|side| link.end(side).node);
            let done = has_all(caller) && has_all(callee);
            done && !link.is_cut && !link.is_hung_up() && link.is_quiet_since(self.now(), PEACE)
        });
        idle.map_or(Ok(()), |link| {
            let [caller, callee] = Side::BOTH.map(|side| &self.nodes[link.end(side).node].name);
            Err(self.violation(format!("{caller} and {callee} have everything and are still connected")))
        })
    }
}
