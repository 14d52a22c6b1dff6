//! What came of a world, in figures.

use crate::node::{Figures, Node};
use crate::scenario::{Kind, Role, Scenario};
use crate::trace::Trace;
use core::fmt;
use core::time::Duration;
use quelea_time::Time;
use quelea_wire::Message;

/// What went wrong in a world because it was meant to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Connections that broke.
    pub cuts: u64,
    /// Attempts to connect that failed by chance.
    pub failed_connects: u64,
    /// Peers that a machine did not let in.
    pub refusals: u64,
    /// Nodes that were gone without a word.
    pub crashes: u64,
    /// Nodes that left politely.
    pub goodbyes: u64,
    /// Blocks that could not be read.
    pub failed_reads: u64,
    /// Pieces that could not be written at the first try.
    pub failed_writes: u64,
    /// Pieces of which only a part was written at the first try.
    pub short_writes: u64,
    /// Times that a disk was full.
    pub full_disks: u64,
    /// Pieces that a crash took from a disk.
    pub lost_pieces: u64,
    /// Packets that were lost and sent again.
    pub lost_packets: u64,
    /// Pieces that turned bad on a disk.
    pub rotten_pieces: u64,
    /// Of those, pieces that their node found out when it started anew.
    pub found_rotten: u64,
    /// Writes that took about as long as one can.
    pub slow_writes: u64,
    /// Times that a limit kept bytes back.
    pub held_back: u64,
    /// Calls to somebody who cannot be dialled.
    pub unreachable: u64,
    /// Announces without an answer.
    pub silences: u64,
    /// Announces that the tracker refused.
    pub refused_announces: u64,
    /// Announces whose answer could not be read.
    pub garbled_answers: u64,
    /// Blocks that a liar spoilt.
    pub spoilt_blocks: u64,
    /// Pieces that did not match their hash.
    pub failed_pieces: u64,
    /// Addresses that were banned.
    pub bans: u64,
}

impl Faults {
    /// The faults of two worlds.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cuts: self.cuts + other.cuts,
            failed_connects: self.failed_connects + other.failed_connects,
            refusals: self.refusals + other.refusals,
            crashes: self.crashes + other.crashes,
            goodbyes: self.goodbyes + other.goodbyes,
            failed_reads: self.failed_reads + other.failed_reads,
            failed_writes: self.failed_writes + other.failed_writes,
            short_writes: self.short_writes + other.short_writes,
            full_disks: self.full_disks + other.full_disks,
            lost_pieces: self.lost_pieces + other.lost_pieces,
            lost_packets: self.lost_packets + other.lost_packets,
            rotten_pieces: self.rotten_pieces + other.rotten_pieces,
            found_rotten: self.found_rotten + other.found_rotten,
            slow_writes: self.slow_writes + other.slow_writes,
            held_back: self.held_back + other.held_back,
            unreachable: self.unreachable + other.unreachable,
            silences: self.silences + other.silences,
            refused_announces: self.refused_announces + other.refused_announces,
            garbled_answers: self.garbled_answers + other.garbled_answers,
            spoilt_blocks: self.spoilt_blocks + other.spoilt_blocks,
            failed_pieces: self.failed_pieces + other.failed_pieces,
            bans: self.bans + other.bans,
        }
    }
}

/// How many messages were sent, and blocks received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Messages {
    /// Blocks that arrived.
    pub blocks: u64,
    /// Requests.
    pub requests: u64,
    /// Cancels.
    pub cancels: u64,
    /// Rejects.
    pub rejects: u64,
    /// Haves.
    pub haves: u64,
    /// Chokes and unchokes.
    pub chokes: u64,
    /// Messages of interest or none.
    pub interest: u64,
    /// All others between peers.
    pub others: u64,
    /// Announces to the tracker.
    pub announces: u64,
}

impl Messages {
    pub(crate) fn count(&mut self, message: &Message) {
        let counter = match message {
            Message::Request(_) => &mut self.requests,
            Message::Cancel(_) => &mut self.cancels,
            Message::Reject(_) => &mut self.rejects,
            Message::Have(_) => &mut self.haves,
            Message::Choke | Message::Unchoke => &mut self.chokes,
            Message::Interested | Message::NotInterested => &mut self.interest,
            Message::KeepAlive
            | Message::Bitfield(_)
            | Message::Port(_)
            | Message::Suggest(_)
            | Message::HaveAll
            | Message::HaveNone
            | Message::AllowedFast(_)
            | Message::Extended { .. }
            | Message::HashRequest(_)
            | Message::Hashes { .. }
            | Message::HashReject(_)
            | Message::Unknown(_) => &mut self.others,
        };
        *counter += 1;
    }

    /// Messages between peers in all, blocks left out.
    pub const fn total(&self) -> u64 {
        self.requests + self.cancels + self.rejects + self.haves + self.chokes + self.interest + self.others
    }
}

/// What came of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSummary {
    /// Its name in the story.
    pub name: String,
    /// What it was there for.
    pub role: Role,
    /// Bytes a second that it could send.
    pub uplink: u64,
    /// When it came.
    pub joined: Time,
    /// When it had all that it wanted.
    pub completed: Option<Time>,
    /// Bytes that it carried.
    pub figures: Figures,
    /// The part of the time until the last completion that its uplink was busy, in thousandths (large worlds).
    pub busy: u64,
    /// Payload that it received in each second from the beginning.
    pub received_by_second: Vec<u32>,
    /// The longest that it waited for a block: for the first since it came, and until it had all that it wanted.
    pub longest_wait: Duration,
    /// Connections at the end.
    pub peers: usize,
    /// Others with whom it was ever connected.
    pub met: usize,
}

/// What came of a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// What it was about.
    pub kind: Kind,
    /// Bytes of the torrent.
    pub total_length: u64,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// The nodes.
    pub nodes: Vec<NodeSummary>,
    /// The least time that any way of sharing takes.
    pub fluid_limit: Duration,
    /// When the last node had all that it wanted.
    pub last_completion: Time,
    /// Payload that those who give nothing had received when the last of the others was done.
    pub riders_got: u64,
    /// The end of the world.
    pub end: Time,
    /// What went wrong.
    pub faults: Faults,
    /// Messages sent.
    pub messages: Messages,
    /// How many things the story tells.
    pub told: u64,
    /// The digest of the story: two runs of one seed have the same.
    pub hash: u64,
}

impl Summary {
    pub(crate) fn of(
        scenario: &Scenario,
        nodes: Vec<Node>,
        faults: Faults,
        messages: Messages,
        trace: &Trace,
        end: Time,
    ) -> Self {
        let last = nodes.iter().filter_map(|node| node.completed).max().unwrap_or(end);
        let until_last = last.as_nanos().max(1);
        let nodes: Vec<NodeSummary> = nodes
            .into_iter()
            .map(|mut node| NodeSummary {
                busy: node.uplink.worked.as_nanos() as u64 * 1_000 / until_last,
                received_by_second: core::mem::take(&mut node.received_by_second),
                longest_wait: node.longest_wait,
                peers: node.present.as_ref().map_or(0, |present| present.links.len()),
                met: node.met.len(),
                figures: node.figures(end),
                role: node.plan.role,
                uplink: node.plan.uplink,
                joined: node.plan.joins,
                completed: node.completed,
                name: node.name.to_string(),
            })
            .collect();
        Self {
            seed: scenario.seed,
            kind: scenario.kind,
            total_length: scenario.geometry.total_length(),
            pieces: scenario.geometry.pieces(),
            fluid_limit: scenario.fluid_limit(),
            last_completion: last,
            nodes,
            riders_got: 0,
            end,
            faults,
            messages,
            told: trace.told(),
            hash: trace.hash(),
        }
    }

    /// Payload that the nodes received, useful or not.
    pub fn downloaded(&self) -> u64 {
        self.nodes.iter().map(|node| node.figures.downloaded).sum()
    }

    /// The part of it that was of no use, in thousandths.
    pub fn wasted_per_mille(&self) -> u64 {
        let wasted: u64 = self.nodes.iter().map(|node| node.figures.wasted).sum();
        wasted * 1_000 / self.downloaded().max(1)
    }

    /// How many times the least time the last completion took.
    pub fn times_fluid(&self) -> f64 {
        self.last_completion.as_secs_f64() / self.fluid_limit.as_secs_f64().max(1e-9)
    }

    /// What those who give nothing had received on average when the last of the others was done, as a part of all.
    pub fn riders_share(&self) -> f64 {
        let riders = self.nodes.iter().filter(|node| node.role == Role::Rider).count();
        self.riders_got as f64 / (riders.max(1) as f64 * self.total_length.max(1) as f64)
    }

    /// How many copies of the torrent the seed has sent.
    pub fn copies_from_seed(&self) -> f64 {
        let seeds = self.nodes.iter().filter(|node| node.role == Role::Seed);
        seeds.map(|seed| seed.figures.uploaded).sum::<u64>() as f64 / self.total_length.max(1) as f64
    }

    /// Everything in one line.
    pub fn line(&self) -> String {
        format!(
            "{:>6} {:<8} {:>3} pieces {:>5} KB  fluid {:>7.2}s  last {:>7.2}s ({:>4.1}x)  wasted {:>3}‰  \
             {:>5} blocks {:>4.1} messages each  {:016x}",
            self.seed,
            self.kind,
            self.pieces,
            self.total_length / 1_000,
            self.fluid_limit.as_secs_f64(),
            self.last_completion.as_secs_f64(),
            self.times_fluid(),
            self.wasted_per_mille(),
            self.messages.blocks,
            self.messages.total() as f64 / self.messages.blocks.max(1) as f64,
            self.hash
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "world {} ({}): {} nodes, {} pieces",
            self.seed,
            self.kind,
            self.nodes.len(),
            self.pieces
        )?;
        writeln!(f, "  node   uplink KB/s   came at   complete   received KB   sent KB   wasted KB")?;
        for node in &self.nodes {
            let completed = node.completed.map_or_else(|| "-".to_owned(), |at| at.to_string());
            let Figures { downloaded, uploaded, wasted } = node.figures;
            let (uplink, joined) = (node.uplink / 1_000, node.joined.to_string());
            writeln!(
                f,
                "  {:<6} {uplink:>11} {joined:>9} {completed:>10} {:>13} {:>9} {:>11}",
                node.name,
                downloaded / 1_000,
                uploaded / 1_000,
                wasted / 1_000
            )?;
        }
        writeln!(f, "  faults: {:?}", self.faults)?;
        writeln!(f, "  messages: {:?}", self.messages)?;
        writeln!(f, "  {} lines told", self.told)?;
        write!(f, "{}", self.line())
    }
}
