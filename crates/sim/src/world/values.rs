//! Links of large worlds: messages go as values and blocks as handles.
//!
//! Only their lengths count: a block takes its time at the uplink, on the way and at the downlink. Messages, which
//! are short, do not wait behind blocks of other links, as with fair queueing of packets, but what they take of the
//! uplink is taken from the next block.

use super::{Happening, World};
use crate::content::Block;
use crate::invariants::Violation;
use crate::link::{Cargo, LinkId, Side, Stage};
use crate::scenario::Role;
use core::time::Duration;
use quelea_swarm::event::Hello;
use quelea_wire::message::BlockSpan;

impl World {
    /// Sends something short at once.
    pub(super) fn send_light(&mut self, id: LinkId, side: Side, cargo: Cargo) {
        let now = self.now();
        let Some(link) = &mut self.links[id] else { return };
        let length = cargo.length();
        let uplink = &mut self.nodes[link.end(side).node].uplink;
        uplink.owed += length;
        let left = now + uplink.time_for(length);
        if !link.is_cut {
            let at = link.arrival(side, left, &mut self.rng);
            self.agenda.plan(at, Happening::Arrived { link: id, side: side.other(), cargo });
        }
    }

    fn send_messages(&mut self, number: usize) {
        let mut light = core::mem::take(&mut self.nodes[number].uplink.light);
        for (id, side) in light.drain(..) {
            let Some(link) = &mut self.links[id] else { continue };
            let values = core::mem::take(&mut link.end_mut(side).out.values);
            if !values.is_empty() {
                self.send_light(id, side, Cargo::Messages(values));
            }
        }
        self.nodes[number].uplink.light = light;
    }

    /// Sends the messages that wait, and gives an idle uplink its next block. Whether the machine was told of it.
    pub(super) fn send_next_handle(&mut self, number: usize) -> bool {
        self.send_messages(number);
        let now = self.now();
        let node = &mut self.nodes[number];
        if node.uplink.is_busy || node.present.is_none() {
            return false;
        }
        let mut held_up = None;
        for _ in 0..node.uplink.waiting.len() {
            let Some((id, side)) = node.uplink.waiting.pop_front() else { break };
            let Some(link) = self.links[id].as_mut() else { continue };
            let end = link.end_mut(side);
            if end.paced > now {
                held_up = Some(held_up.map_or(end.paced, |at| end.paced.min(at)));
                node.uplink.waiting.push_back((id, side));
                continue;
            }
            end.is_queued = false;
            if self.scenario.links.window.is_some_and(|window| end.under_way >= window) {
                // It is queued again when the other end has taken something.
                continue;
            }
            let Some(span) = end.out.take_handle().filter(|_| !end.is_closed()) else { continue };
            if !end.out.is_empty() {
                end.is_queued = true;
                node.uplink.waiting.push_back((id, side));
            }
            let key = end.key();
            let is_good = node.disk.reads_well(span.piece);
            let cargo = Cargo::Block { span, is_good };
            let bytes = cargo.length() + core::mem::take(&mut node.uplink.owed);
            let takes = node.uplink.time_for(bytes);
            node.uplink.worked += takes;
            node.uplink.is_busy = true;
            self.agenda.plan(now + takes, Happening::Sent(number));
            let (late, pace) = link.suffer(bytes, &mut self.rng);
            link.end_mut(side).paced = now + pace;
            link.end_mut(side).under_way += span.length as usize;
            self.faults.lost_packets += u64::from(!late.is_zero());
            if !link.is_cut {
                let at = link.arrival(side, now + takes + late, &mut self.rng);
                self.agenda.plan(at, Happening::Arrived { link: id, side: side.other(), cargo });
            }
            if let (Some(key), Some(present)) = (key, &mut node.present) {
                present.machine.handle_uploaded(now, key, span);
            }
            return true;
        }
        if let Some(at) = held_up {
            // Nothing can leave before lost packets are made up for.
            node.uplink.is_busy = true;
            self.agenda.plan(at.max(now + Duration::from_micros(1)), Happening::Sent(number));
        }
        false
    }

    /// The other end has taken so many bytes of blocks: there is room for others.
    pub(super) fn taken(&mut self, id: LinkId, side: Side, bytes: usize) -> Result<(), Violation> {
        let Some(link) = &mut self.links[id] else { return Ok(()) };
        let end = link.end_mut(side);
        let node = end.node;
        end.under_way = end.under_way.saturating_sub(bytes);
        if !end.out.is_empty() {
            self.queue(id, side);
        }
        self.settle(node)
    }

    /// A handshake, messages or a block have come.
    pub(super) fn read_value(&mut self, id: LinkId, side: Side, cargo: Cargo) -> Result<(), Violation> {
        let now = self.now();
        let Some(link) = &mut self.links[id] else { return Ok(()) };
        if link.is_cut {
            return Ok(());
        }
        let end = link.end_mut(side);
        let node = end.node;
        match (cargo, &end.stage) {
            (_, Stage::Closed) => return Ok(()),
            (Cargo::Hello(theirs), Stage::Greeting(_)) => {
                let hello = Hello {
                    address: end.remote,
                    incoming: side == Side::Callee,
                    peer_id: theirs.peer_id,
                    reserved: self.nodes[node].shared(theirs.reserved),
                };
                self.admit(id, side, hello);
            }
            (Cargo::Messages(messages), &Stage::Open(key)) => {
                let Some(present) = &mut self.nodes[node].present else { return Ok(()) };
                for message in &messages {
                    present.machine.handle_message(now, key, message);
                }
            }
            (Cargo::Block { span, is_good }, &Stage::Open(key)) => {
                self.messages.blocks += 1;
                if let Role::Seed = self.nodes[node].plan.role {
                    return Err(self.violation("a seed was sent a block".to_owned()));
                }
                self.nodes[node].note_served(now, span.length);
                let Some(present) = &mut self.nodes[node].present else { return Ok(()) };
                let asked = BlockSpan { piece: span.piece.get(), begin: span.begin, length: span.length };
                let mut block = Block::handle(span, is_good);
                block.hold(&present.memory);
                present.machine.handle_block(now, key, asked, block);
            }
            // What comes before the handshake is done is lost with the connection.
            (Cargo::Hello(_) | Cargo::Messages(_) | Cargo::Block { .. } | Cargo::Bytes(_), _) => {}
        }
        self.settle(node)
    }
}
