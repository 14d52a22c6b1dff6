//! A machine on the bench, with peers that say what a test wants.

use quelea_metainfo::geometry::{BLOCK_LENGTH, Geometry, PieceIndex, Span};
use quelea_swarm::event::{Hello, Output, Verdict};
use quelea_swarm::peers::PeerKey;
use quelea_swarm::torrent::{Config, Torrent};
use quelea_time::Time;
use quelea_wire::handshake::{Feature, Reserved};
use quelea_wire::message::BlockSpan;
use quelea_wire::{Bitfield, Message, PeerId};
use std::time::Duration;

/// Six pieces of four blocks.
pub(crate) fn geometry() -> Geometry {
    Geometry::new(24 * u64::from(BLOCK_LENGTH), 4 * BLOCK_LENGTH).unwrap()
}

pub(crate) fn piece(number: u32) -> PieceIndex {
    geometry().piece(number).unwrap()
}

pub(crate) struct Bench {
    pub(crate) machine: Torrent<()>,
    pub(crate) now: Time,
    peers: u8,
}

impl Bench {
    pub(crate) fn new(have: Bitfield, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            geometry: geometry(),
            info_hash: [7; 20],
            peer_id: PeerId([0xff; 20]),
            client: "test".into(),
            port: Some(6881),
            metadata: [].into(),
            private: false,
            pex: true,
            wanted: Bitfield::all(6),
            have,
            max_peers: 50,
            max_half_open: 10,
            upload_slots: 4,
            open_pieces: 64,
            seed: 1,
        };
        change(&mut config);
        Self { machine: Torrent::new(Time::ZERO, config), now: Time::ZERO, peers: 0 }
    }

    pub(crate) fn leecher() -> Self {
        Self::new(Bitfield::none(6), |_| {})
    }

    pub(crate) fn seed() -> Self {
        Self::new(Bitfield::all(6), |_| {})
    }

    pub(crate) fn seed_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::new(Bitfield::all(6), change)
    }

    pub(crate) fn hello(&mut self, reserved: Reserved) -> Hello {
        self.peers += 1;
        let address = ([10, 0, self.peers, 1], 50_000).into();
        Hello { address, incoming: true, peer_id: PeerId([self.peers; 20]), reserved }
    }

    /// A peer that speaks the fast extension.
    pub(crate) fn peer(&mut self) -> PeerKey {
        let hello = self.hello(Reserved::NONE.with(Feature::Fast));
        self.machine.handle_connected(self.now, hello).unwrap()
    }

    /// A peer that does not.
    pub(crate) fn old_peer(&mut self) -> PeerKey {
        let hello = self.hello(Reserved::NONE);
        self.machine.handle_connected(self.now, hello).unwrap()
    }

    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn says(&mut self, key: PeerKey, message: Message) -> Vec<Output<()>> {
        self.machine.handle_message(self.now, key, &message);
        self.outputs()
    }

    pub(crate) fn block(&mut self, key: PeerKey, span: BlockSpan) -> Vec<Output<()>> {
        self.machine.handle_block(self.now, key, span, ());
        self.outputs()
    }

    pub(crate) fn verdict(&mut self, number: u32, verdict: Verdict, digests: &[[u8; 20]]) -> Vec<Output<()>> {
        self.machine.handle_verdict(self.now, piece(number), verdict, digests);
        self.outputs()
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output<()>> {
        let outputs = std::iter::from_fn(|| self.machine.poll_output(self.now)).collect();
        self.machine.check_invariants().unwrap();
        outputs
    }

    /// Lets time pass, with a tick each second.
    pub(crate) fn pass(&mut self, seconds: u64) -> Vec<Output<()>> {
        let mut outputs = Vec::new();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.machine.handle_timeout(self.now);
            outputs.extend(self.outputs());
        }
        outputs
    }
}

pub(crate) fn requests(outputs: &[Output<()>], of: PeerKey) -> Vec<BlockSpan> {
    let request = |output: &Output<()>| match output {
        Output::Send(key, Message::Request(span)) if *key == of => Some(*span),
        _ => None,
    };
    outputs.iter().filter_map(request).collect()
}

pub(crate) fn uploads(outputs: &[Output<()>]) -> Vec<Span> {
    let upload = |output: &Output<()>| if let Output::Upload(_, span) = output { Some(*span) } else { None };
    outputs.iter().filter_map(upload).collect()
}

pub(crate) fn sent(outputs: &[Output<()>], to: PeerKey, message: &Message) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Send(key, sent) if *key == to && sent == message))
}

pub(crate) fn all(piece: u32) -> impl Iterator<Item = BlockSpan> {
    (0..4).map(move |block| wire(piece, block))
}

pub(crate) fn wire(piece: u32, block: u32) -> BlockSpan {
    BlockSpan { piece, begin: block * BLOCK_LENGTH, length: BLOCK_LENGTH }
}

pub(crate) fn bits(pieces: &[u32]) -> Message {
    let mut bits = Bitfield::none(6);
    for &number in pieces {
        bits.set(piece(number));
    }
    Message::Bitfield(bits.as_wire().to_vec())
}
