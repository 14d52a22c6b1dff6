//! A copy of the dictionary of one length, as it comes together.

use crate::peers::PeerKey;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use quelea_time::Time;
use quelea_wire::extension::metadata::PIECE;

/// A copy that is worked at has this long, and twice as long after each time it was not whole by then; then it gives
/// way, if others wait.
const LEASE: Duration = Duration::from_secs(45);
/// The longest lease is this many times doubled.
const MAX_DOUBLINGS: u32 = 8;
/// A peer that is asked for the whole copy must give some of it in this time, or another is asked. When all were, each
/// is given twice as long.
const SOLO_PATIENCE: Duration = Duration::from_secs(15);
/// It must give the pieces at this pace as well.
const SOLO_PACE: Duration = Duration::from_millis(500);

/// A piece, and who sent it.
#[derive(Debug, Clone)]
struct Piece {
    key: PeerKey,
    ip: IpAddr,
    data: Box<[u8]>,
}

/// Who sent a piece of a copy that was wrong as a whole.
#[derive(Debug)]
pub(super) struct Suspect {
    ip: IpAddr,
    piece: u32,
    digest: [u8; 20],
}

/// The peer that is asked for the whole copy.
#[derive(Debug, Clone, Copy)]
struct Solo {
    key: PeerKey,
    chosen: Time,
    /// When it last gave something.
    gave: Time,
}

/// A copy of the dictionary of one length.
#[derive(Debug)]
pub(super) struct Assembly {
    /// In bytes.
    pub size: u32,
    pieces: Vec<Option<Piece>>,
    /// Bytes that are here.
    pub received: u32,
    /// Neighbourhoods of peers that say it is this long.
    pub votes: usize,
    /// Whether it is worked at.
    pub is_active: bool,
    /// Until when, if others wait.
    lease: Time,
    /// How often it was not whole in time.
    pub strikes: u32,
    /// A copy of several peers was wrong: the next is to come from one.
    is_solo: bool,
    solo: Option<Solo>,
    /// Those who were chosen and did not give all of it.
    slow: BTreeSet<PeerKey>,
    /// How often all of them were slow.
    rounds: u32,
    suspects: Vec<Suspect>,
}

/// What a whole copy turned out to be made of.
pub(super) enum Origin {
    /// All of it came from this peer.
    One(IpAddr),
    /// It came from several.
    Several,
}

/// Bytes of a piece in a copy of `size` bytes; 0 for one that does not exist.
pub(super) fn length_of(size: u32, piece: u32) -> usize {
    let begin = (piece as usize).saturating_mul(PIECE);
    (size as usize).saturating_sub(begin).min(PIECE)
}

impl Assembly {
    pub(super) fn new(size: u32) -> Self {
        let mut assembly = Self {
            size,
            pieces: Vec::new(),
            received: 0,
            votes: 0,
            is_active: false,
            lease: Time::ZERO,
            strikes: 0,
            is_solo: false,
            solo: None,
            slow: BTreeSet::new(),
            rounds: 0,
            suspects: Vec::new(),
        };
        assembly.clear();
        assembly
    }

    /// How many pieces there are.
    pub(super) const fn pieces(&self) -> u32 {
        self.size.div_ceil(PIECE as u32)
    }

    pub(super) fn lacks(&self, piece: u32) -> bool {
        self.pieces.get(piece as usize).is_some_and(Option::is_none)
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.received == self.size
    }

    /// Whether this peer may be asked for parts of it.
    pub(super) fn may_ask(&self, key: PeerKey) -> bool {
        !self.is_solo || self.solo.is_some_and(|solo| solo.key == key)
    }

    /// Whether this peer, which says it is this long, gives nothing because it is not asked.
    pub(super) fn waits_for_turn(&self, key: PeerKey) -> bool {
        if self.is_active { !self.may_ask(key) } else { self.strikes == 0 }
    }

    /// Takes a piece of the right length.
    pub(super) fn insert(&mut self, now: Time, piece: u32, from: (PeerKey, IpAddr), data: &[u8]) {
        if !self.may_ask(from.0) {
            return;
        }
        if let Some(solo) = &mut self.solo {
            solo.gave = now;
        }
        if let Some(place @ None) = self.pieces.get_mut(piece as usize) {
            *place = Some(Piece { key: from.0, ip: from.1, data: data.into() });
            self.received += data.len() as u32;
        }
    }

    /// The whole copy.
    pub(super) fn whole(&self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.size as usize);
        for piece in self.pieces.iter().flatten() {
            whole.extend_from_slice(&piece.data);
        }
        whole
    }

    /// The whole copy is wrong: where it came from. From here on it comes from one peer at a time.
    pub(super) fn is_wrong(&mut self) -> Origin {
        let mut senders = self.pieces.iter().flatten().map(|piece| (piece.key, piece.ip));
        let first = senders.next();
        let origin = match first {
            Some((key, ip)) if senders.all(|(other, _)| other == key) => Origin::One(ip),
            Some(_) | None => Origin::Several,
        };
        if matches!(origin, Origin::Several) {
            self.suspects = (0..)
                .zip(&self.pieces)
                .filter_map(|(piece, place)| {
                    let Piece { ip, data, .. } = place.as_ref()?;
                    Some(Suspect { ip: *ip, piece, digest: quelea_digest::sha1(data) })
                })
                .collect();
        }
        self.is_solo = true;
        self.solo = None;
        self.clear();
        origin
    }

    /// Those who sent what is not in the right copy.
    pub(super) fn liars(&self, right: &[u8]) -> Vec<IpAddr> {
        let pieces: Vec<&[u8]> = right.chunks(PIECE).collect();
        let lied = |suspect: &&Suspect| {
            pieces.get(suspect.piece as usize).map(|data| quelea_digest::sha1(data)) != Some(suspect.digest)
        };
        self.suspects.iter().filter(lied).map(|suspect| suspect.ip).collect()
    }

    /// Gives up what is here.
    pub(super) fn clear(&mut self) {
        self.pieces = vec![None; self.pieces() as usize];
        self.received = 0;
    }

    /// Says who gives the whole of it, if one must: the one that does, or another of these that say it is this long.
    pub(super) fn choose_solo(&mut self, now: Time, voters: &[PeerKey], draw: impl FnOnce(usize) -> usize) {
        if !self.is_solo {
            return;
        }
        if let Some(solo) = self.solo {
            if voters.contains(&solo.key) && (voters.len() == 1 || !self.is_slow(now, solo)) {
                return;
            }
            self.slow.insert(solo.key);
            self.solo = None;
            self.clear();
        }
        self.slow.retain(|key| voters.contains(key));
        if !voters.is_empty() && self.slow.len() == voters.len() {
            self.slow.clear();
            self.rounds += 1;
        }
        let fresh: Vec<PeerKey> = voters.iter().copied().filter(|key| !self.slow.contains(key)).collect();
        if !fresh.is_empty() {
            self.solo = fresh.get(draw(fresh.len())).map(|&key| Solo { key, chosen: now, gave: now });
        }
    }

    fn is_slow(&self, now: Time, solo: Solo) -> bool {
        let patience = SOLO_PATIENCE * 2_u32.pow(self.rounds.min(MAX_DOUBLINGS));
        let pace = SOLO_PACE * 2_u32.pow(self.rounds.min(MAX_DOUBLINGS));
        let given = self.received.div_ceil(PIECE as u32);
        now.since(solo.gave) >= patience || now.since(solo.chosen) >= patience + pace * given
    }

    /// It is worked at from here on.
    pub(super) fn begin(&mut self, now: Time) {
        self.is_active = true;
        self.lease = now + LEASE * 2_u32.pow(self.strikes.min(MAX_DOUBLINGS));
    }

    /// Whether it should be whole.
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        self.is_active && now >= self.lease
    }
}
