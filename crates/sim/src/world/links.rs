//! Connections: made, carrying bytes, broken.

use super::outputs::Brief;
use super::{Happening, World};
use crate::content::Block;
use crate::invariants::Violation;
use crate::link::{Cargo, Delay, Link, LinkId, Side, Stage, decoder};
use crate::scenario::Payload;
use core::net::SocketAddr;
use core::time::Duration;
use quelea_swarm::event::Hello;
use quelea_swarm::peers::PeerKey;
use quelea_wire::Fault;
use quelea_wire::decoder::Event;
use quelea_wire::message::BlockSpan;

/// Both ends of a broken link have noticed after this.
const NOTICED: Duration = Duration::from_secs(5);

impl World {
    /// A call has gone there and back.
    pub(super) fn dialled(&mut self, node: usize, life: u32, address: SocketAddr) -> Result<(), Violation> {
        if !self.is_alive(node, life) {
            return Ok(());
        }
        let callee = self.by_address.get(&address).copied();
        let Some(callee) = callee.filter(|&callee| self.nodes[callee].present.is_some()) else {
            return self.connect_failed(node, life, address);
        };
        let now = self.now();
        let from = self.nodes[node].calls_from();
        let latency = Duration::from_millis(self.rng.u64(self.scenario.links.latency.clone()));
        let loss = match *self.scenario.links.loss.end() {
            0 => 0,
            _ => self.rng.u32(self.scenario.links.loss.clone()),
        };
        let delay = Delay { latency, jitter: latency / 4, loss };
        let pieces = self.scenario.geometry.pieces();
        let link = match self.scenario.payload {
            Payload::Bytes => {
                Link::new(now, (node, from), (callee, address), delay, || Some(decoder(pieces)))
            }
            Payload::Handles => Link::new(now, (node, from), (callee, address), delay, || None),
        };
        let id = self.links.len();
        self.links.push(Some(link));
        for (node, side) in [(node, Side::Caller), (callee, Side::Callee)] {
            if let Some(present) = &mut self.nodes[node].present {
                present.ends.insert((id, side));
            }
        }
        if self.rng.u32(0..1_000) < self.scenario.links.breaks {
            let lasts = self.rng.u64(0..self.scenario.links.lasts.as_nanos() as u64);
            self.agenda.plan(now + Duration::from_nanos(lasts), Happening::Cut(id));
        }
        self.shake_hands(id, Side::Caller);
        self.settle(node)
    }

    fn shake_hands(&mut self, id: LinkId, side: Side) {
        let Some(link) = &mut self.links[id] else { return };
        let end = link.end_mut(side);
        let node = end.node;
        let Some(handshake) = self.nodes[node].handshake() else { return };
        match self.scenario.payload {
            Payload::Bytes => {
                end.out.push_bytes(&handshake.encode());
                self.queue(id, side);
            }
            Payload::Handles => self.send_light(id, side, Cargo::Hello(Box::new(handshake))),
        }
    }

    pub(super) fn connect_failed(
        &mut self,
        node: usize,
        life: u32,
        address: SocketAddr,
    ) -> Result<(), Violation> {
        if !self.is_alive(node, life) {
            return Ok(());
        }
        let now = self.now();
        if let Some(present) = &mut self.nodes[node].present {
            present.machine.handle_connect_failed(now, address);
        }
        let name = self.name_of(address.ip());
        self.tell(node, format_args!("cannot reach {name}"));
        self.settle(node)
    }

    /// An end has something to send: it takes its turn at the uplink.
    pub(super) fn queue(&mut self, id: LinkId, side: Side) {
        let Some(link) = &mut self.links[id] else { return };
        let end = link.end_mut(side);
        if !end.is_queued && !end.is_closed() {
            end.is_queued = true;
            self.nodes[end.node].uplink.waiting.push_back((id, side));
        }
    }

    /// Gives an idle uplink its next bytes. Whether the machine was told that blocks went out.
    pub(super) fn send_next(&mut self, number: usize) -> Result<bool, Violation> {
        let now = self.now();
        if self.scenario.payload == Payload::Handles {
            return Ok(self.send_next_handle(number));
        }
        if self.nodes[number].uplink.is_busy || self.nodes[number].present.is_none() {
            return Ok(false);
        }
        while let Some((id, side)) = self.nodes[number].uplink.waiting.pop_front() {
            let Some(link) = self.links[id].as_mut() else { continue };
            let end = link.end_mut(side);
            end.is_queued = false;
            if end.is_closed() || end.out.is_empty() {
                continue;
            }
            let allowance = self.allowance(number, (id, side));
            if allowance == 0 {
                continue;
            }
            let node = &mut self.nodes[number];
            let Some(link) = self.links[id].as_mut() else { continue };
            let end = link.end_mut(side);
            let limit = node.uplink.turn(&mut self.rng).min(allowance);
            let (bytes, finished) = end.out.take(limit, &mut node.disk, &self.content);
            if bytes.is_empty() {
                continue;
            }
            if !end.out.is_empty() {
                end.is_queued = true;
                node.uplink.waiting.push_back((id, side));
            }
            let key = end.key();
            node.uplink.is_busy = true;
            let length = bytes.len();
            let (late, pace) = link.suffer(length, &mut self.rng);
            // The bytes of a link that loses packets keep the uplink busy for as long as TCP takes for them: its
            // other links have their turns less often, which is worse than it would be.
            let left = now + node.uplink.time_for(length).max(pace);
            self.faults.lost_packets += u64::from(!late.is_zero());
            self.agenda.plan(left, Happening::Sent(number));
            if !link.is_cut {
                let at = link.arrival(side, left + late, &mut self.rng);
                let cargo = Cargo::Bytes(bytes);
                self.agenda.plan(at, Happening::Arrived { link: id, side: side.other(), cargo });
            }
            if let (Some(key), Some(present)) = (key, &mut node.present) {
                for &span in &finished {
                    present.machine.handle_uploaded(now, key, span);
                }
            }
            self.note_sent(number, (id, side), length)?;
            return Ok(!finished.is_empty());
        }
        Ok(false)
    }

    /// Something has arrived at a node's downlink, which takes its time for blocks.
    pub(super) fn arrived(&mut self, id: LinkId, side: Side, cargo: Cargo) -> Result<(), Violation> {
        let now = self.now();
        let Some(link) = &mut self.links[id] else { return Ok(()) };
        if link.is_cut {
            return Ok(());
        }
        let end = link.end_mut(side);
        let through =
            if cargo.is_light() { now } else { self.nodes[end.node].downlink.through(now, cargo.length()) };
        let at = through.max(end.delivers);
        end.delivers = at;
        if at > now {
            self.agenda.plan(at, Happening::Delivered { link: id, side, cargo });
            return Ok(());
        }
        self.delivered(id, side, cargo)
    }

    /// What arrived is there for its node to read.
    pub(super) fn delivered(&mut self, id: LinkId, side: Side, cargo: Cargo) -> Result<(), Violation> {
        if let (Cargo::Block { span, .. }, Some(link), Some(_)) =
            (&cargo, &self.links[id], self.scenario.links.window)
        {
            let taken = Happening::Taken { link: id, side: side.other(), bytes: span.length as usize };
            self.agenda.plan(self.agenda.now() + link.latency, taken);
        }
        match cargo {
            Cargo::Bytes(bytes) => self.read_bytes(id, side, &bytes),
            Cargo::Hello(_) | Cargo::Messages(_) | Cargo::Block { .. } => self.read_value(id, side, cargo),
        }
    }

    fn read_bytes(&mut self, id: LinkId, side: Side, bytes: &[u8]) -> Result<(), Violation> {
        let Some(link) = &mut self.links[id] else { return Ok(()) };
        if link.is_cut {
            return Ok(());
        }
        let end = link.end_mut(side);
        let node = end.node;
        let mut rest = bytes;
        match &mut end.stage {
            Stage::Closed => return Ok(()),
            Stage::Open(_) => {}
            Stage::Greeting(decoder) => match decoder.feed(&mut rest) {
                Ok(None) => return Ok(()),
                Ok(Some(theirs)) => {
                    let (remote, peer_id, reserved) = (end.remote, theirs.peer_id, theirs.reserved);
                    let hello = Hello {
                        address: remote,
                        incoming: side == Side::Callee,
                        peer_id,
                        reserved: self.nodes[node].shared(reserved),
                    };
                    self.admit(id, side, hello);
                }
                Err(fault) => return Err(self.undecodable(node, &fault)),
            },
        }
        self.take_in(id, side, rest)?;
        self.settle(node)
    }

    /// The handshake with a peer is done: its machine lets it in, or not.
    pub(super) fn admit(&mut self, id: LinkId, side: Side, hello: Hello) {
        let now = self.now();
        if side == Side::Callee {
            self.shake_hands(id, side);
        }
        let Some(link) = &mut self.links[id] else { return };
        let (node, other) = (link.end(side).node, link.end(side.other()).node);
        let name = self.nodes[other].name.clone();
        let Some(present) = &mut self.nodes[node].present else { return };
        match present.machine.handle_connected(now, hello) {
            Ok(key) => {
                link.end_mut(side).stage = Stage::Open(key);
                present.links.insert(key, (id, side));
                self.nodes[node].met.insert(other);
                let verb = if side == Side::Caller { "reached" } else { "let in" };
                self.tell(node, format_args!("has {verb} {name}"));
            }
            Err(refusal) => {
                self.faults.refusals += 1;
                self.tell(node, format_args!("does not let in {name}: {refusal:?}"));
                // A callee's handshake has gone out before its machine was asked.
                self.hang_up(id, side, Duration::ZERO);
            }
        }
    }

    /// Decodes what came after the handshake and brings it to the machine.
    fn take_in(&mut self, id: LinkId, side: Side, bytes: &[u8]) -> Result<(), Violation> {
        let now = self.now();
        let Some(link) = &mut self.links[id] else { return Ok(()) };
        let other = link.end(side.other()).node;
        let end = link.end_mut(side);
        let (node, Some(key)) = (end.node, end.key()) else { return Ok(()) };
        let events = match end.decode(bytes, &mut self.rng) {
            Ok(events) => events,
            Err(fault) => return Err(self.undecodable(node, &fault)),
        };
        if let (true, Some(present)) = (events.is_empty(), &mut self.nodes[node].present) {
            present.machine.handle_alive(now, key);
        }
        let name = self.nodes[other].name.clone();
        for event in events {
            match &event {
                Event::Block { piece, begin, block } => {
                    self.messages.blocks += 1;
                    let length = block.as_ref().len();
                    self.tell(node, format_args!("from {name}: block {piece}+{begin}, {length} bytes"));
                }
                Event::Message(message) => self.tell(node, format_args!("from {name}: {}", Brief(message))),
            }
            self.bring(node, key, event);
        }
        Ok(())
    }

    fn bring(&mut self, node: usize, key: PeerKey, event: Event<Block>) {
        let now = self.now();
        let Some(present) = &mut self.nodes[node].present else { return };
        match event {
            Event::Message(message) => present.machine.handle_message(now, key, &message),
            Event::Block { piece, begin, mut block } => {
                self.nodes[node].note_served(now, block.as_ref().len() as u32);
                let Some(present) = &mut self.nodes[node].present else { return };
                block.hold(&present.memory);
                let length = block.as_ref().len() as u32;
                present.machine.handle_block(now, key, BlockSpan { piece, begin, length }, block);
            }
        }
    }

    pub(super) fn undecodable(&self, node: usize, fault: &Fault) -> Violation {
        self.violation(format!("{} cannot read what a peer sent: {fault}", self.nodes[node].name))
    }

    /// An end hangs up; the other learns of it behind what is on its way, and `notice` later.
    pub(super) fn hang_up(&mut self, id: LinkId, side: Side, notice: Duration) {
        let now = self.now();
        let Some(link) = &mut self.links[id] else { return };
        let learns = link.arrival(side, now, &mut self.rng) + notice;
        self.close_end(id, side);
        self.agenda.plan(learns, Happening::Closed { link: id, side: side.other() });
    }

    fn close_end(&mut self, id: LinkId, side: Side) {
        let Some(link) = &mut self.links[id] else { return };
        let end = link.end_mut(side);
        if let Some(present) = &mut self.nodes[end.node].present {
            present.ends.remove(&(id, side));
            if let Some(key) = end.key() {
                present.links.remove(&key);
            }
            if let Some(limiter) = &mut present.limiter {
                limiter.forget((id, side));
            }
        }
        end.close();
        if link.is_over() {
            self.links[id] = None;
        }
    }

    /// A link breaks: nothing arrives any more, and each end notices at some time.
    pub(super) fn cut(&mut self, id: LinkId) {
        let now = self.now();
        let Some(link) = self.links[id].as_mut().filter(|link| !link.is_cut) else { return };
        link.is_cut = true;
        self.faults.cuts += 1;
        let caller = link.end(Side::Caller).node;
        let name = self.nodes[link.end(Side::Callee).node].name.clone();
        self.tell(caller, format_args!("is cut off from {name}"));
        for side in Side::BOTH {
            let notices = self.rng.u64(0..NOTICED.as_nanos() as u64);
            self.agenda.plan(now + Duration::from_nanos(notices), Happening::Closed { link: id, side });
        }
    }

    /// An end learns that the link is over.
    pub(super) fn closed(&mut self, id: LinkId, side: Side) -> Result<(), Violation> {
        let now = self.now();
        let Some(link) = &self.links[id] else { return Ok(()) };
        let (end, other) = (link.end(side), link.end(side.other()).node);
        if end.is_closed() {
            return Ok(());
        }
        let (node, remote, key) = (end.node, end.remote, end.key());
        self.close_end(id, side);
        let name = self.nodes[other].name.clone();
        self.tell(node, format_args!("has lost {name}"));
        if let Some(present) = &mut self.nodes[node].present {
            match key {
                Some(key) => present.machine.handle_disconnected(now, key),
                None if side == Side::Caller => present.machine.handle_connect_failed(now, remote),
                None => {}
            }
        }
        self.settle(node)
    }
}
