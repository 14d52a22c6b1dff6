//! Connections: made, carrying bytes, broken.

use super::outputs::Brief;
use super::{Happening, World};
use crate::content::Block;
use crate::invariants::Violation;
use crate::link::{Link, LinkId, Side, Stage};
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
        let jitter = latency / 4;
        let pieces = self.scenario.geometry.pieces();
        let link = Link::new(now, (node, from), (callee, address), latency, jitter, pieces);
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
        if let Some(handshake) = self.nodes[end.node].handshake() {
            end.out.push_bytes(&handshake.encode());
            self.queue(id, side);
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
    pub(super) fn send_next(&mut self, number: usize) -> bool {
        let now = self.now();
        let node = &mut self.nodes[number];
        if node.uplink.is_busy || node.present.is_none() {
            return false;
        }
        while let Some((id, side)) = node.uplink.waiting.pop_front() {
            let Some(link) = self.links[id].as_mut() else { continue };
            let end = link.end_mut(side);
            end.is_queued = false;
            if end.is_closed() {
                continue;
            }
            let limit = node.uplink.turn(&mut self.rng);
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
            let left = now + node.uplink.time_for(bytes.len());
            self.agenda.plan(left, Happening::Sent(number));
            if !link.is_cut {
                let at = link.arrival(side, left, &mut self.rng);
                self.agenda.plan(at, Happening::Arrived { link: id, side: side.other(), bytes });
            }
            if let (Some(key), Some(present)) = (key, &mut node.present) {
                for &span in &finished {
                    present.machine.handle_uploaded(now, key, span);
                }
            }
            return !finished.is_empty();
        }
        false
    }

    /// Bytes have arrived at an end.
    pub(super) fn arrived(&mut self, id: LinkId, side: Side, bytes: &[u8]) -> Result<(), Violation> {
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
    fn admit(&mut self, id: LinkId, side: Side, hello: Hello) {
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
            Event::Block { piece, begin, block } => {
                let length = block.as_ref().len() as u32;
                present.machine.handle_block(now, key, BlockSpan { piece, begin, length }, block);
            }
        }
    }

    fn undecodable(&self, node: usize, fault: &Fault) -> Violation {
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
