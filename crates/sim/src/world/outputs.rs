//! Doing what machines want.

use super::{Happening, World};
use crate::content::Block;
use crate::invariants::Violation;
use crate::link::{LinkId, Side};
use crate::scenario::{Payload, Role};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use quelea_metainfo::geometry::Span;
use quelea_swarm::event::{Event, Farewell, Output};
use quelea_swarm::peers::PeerKey;
use quelea_wire::Message;

/// An address where nobody answers is given up after this.
const UNREACHABLE: Duration = Duration::from_secs(10);

impl World {
    /// Does what a node's machines want, until they want nothing.
    pub(super) fn drain(&mut self, node: usize) -> Result<(), Violation> {
        let now = self.now();
        while let Some(present) = &mut self.nodes[node].present
            && let Some(output) = present.machine.poll_output(now)
        {
            self.obey(node, output)?;
        }
        self.announce(node);
        Ok(())
    }

    fn announce(&mut self, node: usize) {
        let now = self.now();
        while let Some(present) = &mut self.nodes[node].present
            && let Some(request) = present.announcer.poll_request()
        {
            let stats = present.stats(now, &self.scenario);
            let announce = request.announce(&present.identity, stats);
            let answer = self.tracker.announce(now, self.nodes[node].address, &announce);
            let (life, id) = (self.nodes[node].life, request.id);
            self.agenda.plan(answer.at, Happening::Answered { node, life, id, answer: answer.answer });
            self.tell(node, format_args!("announces {:?}, {} bytes left", announce.event, announce.left));
        }
        if let Some(present) = &mut self.nodes[node].present {
            while present.announcer.poll_notice().is_some() {}
        }
    }

    fn obey(&mut self, node: usize, output: Output<Block>) -> Result<(), Violation> {
        let now = self.now();
        let life = self.nodes[node].life;
        match output {
            Output::Connect(address) => {
                self.dial(node, address);
                Ok(())
            }
            Output::Send(key, message) => self.send(node, key, message),
            Output::Upload(key, span) => {
                let (link, side) = self.link_of(node, key)?;
                let (time, failed) = self.nodes[node].disk.read_time(&self.scenario.disks);
                // What a rider gives by the fast extension, it does not give either.
                let failed = failed || self.nodes[node].plan.role == Role::Rider;
                if time.is_zero() && !failed {
                    self.has_read(link, side, span);
                    return Ok(());
                }
                self.agenda.plan(now + time, Happening::Read { node, life, link, side, span, failed });
                Ok(())
            }
            // No node asks for more than it is told that it may.
            Output::Read(..) => Ok(()),
            Output::Disconnect(key, why) => self.disconnect(node, key, why),
            Output::Verify { piece, blocks, digest_blocks } => {
                let time = self.nodes[node].disk.write_time(&self.scenario.disks);
                let verified = Happening::Verified { node, life, piece, blocks, digest_blocks };
                self.agenda.plan(now + time, verified);
                Ok(())
            }
            Output::Event(event) => self.note(node, event),
        }
    }

    // The machine's events may become more; those that concern a world are here.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn note(&mut self, node: usize, event: Event) -> Result<(), Violation> {
        let now = self.now();
        match event {
            Event::PieceFailed(piece) => {
                self.nodes[node].failed += 1;
                self.faults.failed_pieces += 1;
                self.check_failed_piece(node, piece)?;
            }
            Event::Banned(ip, why) => {
                self.nodes[node].banned.insert(ip);
                self.faults.bans += 1;
                let banned = self.name_of(ip);
                self.tell(node, format_args!("bans {banned}: {why}"));
                self.check_ban(node, ip)?;
            }
            Event::Completed => {
                self.tell(node, format_args!("has everything it wants"));
                self.nodes[node].completed = Some(now);
                self.note_contributors_done();
                if let Some(present) = &mut self.nodes[node].present {
                    present.announcer.completed(now);
                }
                self.look_whether_all_are_done();
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn name_of(&self, ip: IpAddr) -> String {
        let found = self.nodes.iter().find(|node| node.address.ip() == ip);
        found.map_or_else(|| ip.to_string(), |node| node.name.to_string())
    }

    fn dial(&mut self, node: usize, address: SocketAddr) {
        let now = self.now();
        let life = self.nodes[node].life;
        if self.trace.is_heard() {
            let name = self.name_of(address.ip());
            self.tell(node, format_args!("dials {name}"));
        }
        let there_and_back = 2 * Duration::from_millis(self.rng.u64(self.scenario.links.latency.clone()));
        if self.rng.u32(0..1_000) < self.scenario.links.failing_connects {
            self.faults.failed_connects += 1;
            let patience = if self.rng.bool() { there_and_back } else { UNREACHABLE };
            self.agenda.plan(now + patience, Happening::ConnectFailed { node, life, address });
        } else if self.by_address.get(&address).is_some_and(|&callee| !self.nodes[callee].plan.is_dialable) {
            self.faults.unreachable += 1;
            self.agenda.plan(now + UNREACHABLE, Happening::ConnectFailed { node, life, address });
        } else {
            self.agenda.plan(now + there_and_back, Happening::Dialled { node, life, address });
        }
    }

    /// The link that a machine names.
    fn link_of(&self, node: usize, key: PeerKey) -> Result<(LinkId, Side), Violation> {
        let present = self.nodes[node].present.as_ref();
        let found = present.and_then(|present| present.links.get(&key)).copied();
        found.ok_or_else(|| {
            self.violation(format!(
                "{} wants something of {key}, who is not connected",
                self.nodes[node].name
            ))
        })
    }

    fn send(&mut self, node: usize, key: PeerKey, message: Message) -> Result<(), Violation> {
        let (id, side) = self.link_of(node, key)?;
        self.messages.count(&message);
        let Some(link) = &mut self.links[id] else { return Ok(()) };
        if self.trace.is_heard() {
            let name = self.nodes[link.end(side.other()).node].name.clone();
            self.tell(node, format_args!("to {name}: {}", Brief(&message)));
        }
        let Some(link) = &mut self.links[id] else { return Ok(()) };
        let out = &mut link.end_mut(side).out;
        match self.scenario.payload {
            Payload::Bytes => {
                out.push_message(&message);
                self.queue(id, side);
            }
            Payload::Handles => {
                if out.values.is_empty() {
                    self.nodes[node].uplink.light.push((id, side));
                }
                out.values.push(message);
            }
        }
        Ok(())
    }

    fn disconnect(&mut self, node: usize, key: PeerKey, why: Farewell) -> Result<(), Violation> {
        let (id, side) = self.link_of(node, key)?;
        if let Some(link) = &self.links[id] {
            let name = self.nodes[link.end(side.other()).node].name.clone();
            self.tell(node, format_args!("leaves {name}: {why:?}"));
        }
        self.check_farewell(node, why)?;
        self.hang_up(id, side, Duration::ZERO);
        Ok(())
    }

    fn has_read(&mut self, id: LinkId, side: Side, span: Span) {
        let Some(link) = self.links[id].as_mut().filter(|link| !link.end(side).is_closed()) else { return };
        link.end_mut(side).out.push_block(span);
        self.queue(id, side);
    }

    /// A granted block was read, or could not be.
    pub(super) fn read(
        &mut self,
        node: usize,
        id: LinkId,
        side: Side,
        span: Span,
        failed: bool,
    ) -> Result<(), Violation> {
        let now = self.now();
        let Some(link) = self.links[id].as_mut().filter(|link| !link.end(side).is_closed()) else {
            return Ok(());
        };
        if !failed {
            self.has_read(id, side, span);
        } else if let (Some(key), Some(present)) = (link.end(side).key(), &mut self.nodes[node].present) {
            present.machine.handle_upload_failed(now, key, span);
            self.faults.failed_reads += 1;
            self.tell(node, format_args!("cannot read piece {} from {}", span.piece, span.begin));
        }
        self.settle(node)
    }
}

/// A message in few words.
pub(super) struct Brief<'a>(pub(super) &'a Message);

impl core::fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Message::Bitfield(bits) => {
                let count: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
                write!(f, "bitfield of {count} pieces")
            }
            Message::Extended { id, payload } => write!(f, "extended {id}, {} bytes", payload.len()),
            Message::Request(span) => write!(f, "request {}+{}", span.piece, span.begin),
            Message::Cancel(span) => write!(f, "cancel {}+{}", span.piece, span.begin),
            Message::Reject(span) => write!(f, "reject {}+{}", span.piece, span.begin),
            Message::Have(piece) => write!(f, "have {piece}"),
            Message::AllowedFast(piece) => write!(f, "allowed fast {piece}"),
            Message::KeepAlive
            | Message::Choke
            | Message::Unchoke
            | Message::Interested
            | Message::NotInterested
            | Message::Port(_)
            | Message::Suggest(_)
            | Message::HaveAll
            | Message::HaveNone
            | Message::HashRequest(_)
            | Message::Hashes { .. }
            | Message::HashReject(_)
            | Message::Unknown(_) => write!(f, "{:?}", self.0),
        }
    }
}
