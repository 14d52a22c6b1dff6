//! What becomes of a piece when its hash is known, and who is to blame for a bad one.
//!
//! A piece that one peer alone sent and that fails bans that peer. Where several sent it, the digest of each
//! block is kept with its sender; when the piece is good at last, whoever sent a block of another digest is
//! banned. Meanwhile the piece is on parole: its blocks are asked of one peer at a time, so that a second failure
//! finds the liar.

use super::Torrent;
use crate::event::{Event, Output, Verdict};
use crate::picker::Source;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use quelea_metainfo::geometry::PieceIndex;
use quelea_time::Time;
use quelea_wire::Message;

/// Suspects kept for one piece; beyond that the piece has failed often enough to have found its liars.
const MAX_SUSPECTS: usize = 8_192;

/// Who sent which block of a piece that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspect {
    block: u32,
    digest: [u8; 20],
    ip: IpAddr,
}

impl<B> Torrent<B> {
    /// A piece that was to be verified is decided. `digests` are those of its blocks, in order, where they were
    /// made (always for [`Verdict::Mismatch`]).
    pub fn handle_verdict(&mut self, now: Time, piece: PieceIndex, verdict: Verdict, digests: &[[u8; 20]]) {
        match verdict {
            Verdict::Written => self.written(now, piece, digests),
            Verdict::Mismatch => self.mismatched(now, piece, digests),
        }
    }

    fn written(&mut self, now: Time, piece: PieceIndex, digests: &[[u8; 20]]) {
        let needed = self.picker.is_missing(piece);
        self.picker.verified(piece);
        self.tell(Event::PieceDone(piece));
        for key in self.peers.keys() {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            if needed && peer.has.has(piece) {
                peer.useful = peer.useful.saturating_sub(1);
            }
            // A seed has no use for it, but a peer that lacks other pieces learns what we can give.
            if !peer.is_seed {
                self.send(now, key, Message::Have(piece.get()));
            }
            self.update_interest(now, key);
        }
        if let Some(suspects) = self.suspects.remove(&piece) {
            let liars: BTreeSet<IpAddr> = suspects
                .iter()
                .filter(|suspect| {
                    digests.get(suspect.block as usize).is_some_and(|good| *good != suspect.digest)
                })
                .map(|suspect| suspect.ip)
                .collect();
            for ip in liars {
                self.ban(now, ip, "it sent a block that does not match the piece's hash");
            }
        }
        self.note_completion(now);
        self.wake_idle_peers();
    }

    fn mismatched(&mut self, now: Time, piece: PieceIndex, digests: &[[u8; 20]]) {
        let sources = self.picker.failed(piece);
        self.wasted += u64::from(self.geometry.length_of(piece));
        self.tell(Event::PieceFailed(piece));
        let senders: BTreeSet<IpAddr> = sources.iter().map(|source| source.ip).collect();
        let keys: BTreeSet<_> = sources.iter().map(|source| source.peer).collect();
        if keys.len() == 1 {
            for ip in senders {
                self.ban(now, ip, "it sent a whole piece that does not match its hash");
            }
        } else {
            self.suspect(piece, &sources, digests);
        }
        self.wake_idle_peers();
    }

    fn suspect(&mut self, piece: PieceIndex, sources: &[Source], digests: &[[u8; 20]]) {
        let suspects = self.suspects.entry(piece).or_default();
        let room = MAX_SUSPECTS.saturating_sub(suspects.len());
        let found: Vec<Suspect> = sources
            .iter()
            .zip(digests)
            .enumerate()
            .map(|(block, (source, digest))| Suspect { block: block as u32, digest: *digest, ip: source.ip })
            .take(room)
            .collect();
        suspects.extend(found);
    }

    /// The disk could not take a verified piece; its blocks are given back to be tried again.
    pub fn handle_write_failed(&mut self, piece: PieceIndex, blocks: Vec<B>) {
        let digest_blocks = self.suspects.contains_key(&piece);
        self.outputs.push_back(Output::Verify { piece, blocks, digest_blocks });
    }
}
