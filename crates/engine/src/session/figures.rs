//! A torrent's figures while no task of its own publishes any.

use crate::driver::torrent::Published;
use crate::events::TorrentId;
use crate::wishes::length_of;
use crate::{Snapshot, State};
use quelea_metainfo::Info;
use quelea_metainfo::geometry::Geometry;
use quelea_wire::Bitfield;
use std::sync::{Arc, PoisonError};

/// The figures of a torrent of which nothing is known yet.
pub(super) fn first_snapshot(id: TorrentId, info: &Info, wanted: &[bool]) -> Snapshot {
    Snapshot {
        id,
        name: info.name.clone(),
        state: State::Checking,
        waiting: None,
        total_length: info.geometry.total_length(),
        wanted_length: length_of(&info.geometry, wanted),
        wanted_have: 0,
        wanted_received: 0,
        pieces: info.geometry.pieces(),
        pieces_have: 0,
        pieces_checked: 0,
        downloaded: 0,
        uploaded: 0,
        downloaded_ever: 0,
        uploaded_ever: 0,
        wasted: 0,
        download_rate: 0,
        upload_rate: 0,
        eta: None,
        peers_connected: 0,
        seeds_connected: 0,
        peers_known: 0,
        trackers: Vec::new(),
        error: None,
    }
}

/// Puts what the check found into a torrent's first figures.
pub(super) fn show_found(published: &Published, geometry: &Geometry, wanted: &[bool], have: &Bitfield) {
    let found: Vec<bool> = geometry.iter().map(|piece| wanted[piece.at()] && have.has(piece)).collect();
    let wanted_have = length_of(geometry, &found);
    let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
    let state = if wanted_have == published.wanted_length { State::Seeding } else { State::Downloading };
    *published = Arc::new(Snapshot {
        state,
        wanted_have,
        wanted_received: wanted_have,
        pieces_have: have.count(),
        ..(**published).clone()
    });
}
