//! A torrent's figures while no task of its own publishes any.

use crate::driver::torrent::Published;
use crate::wishes::length_of;
use crate::{Snapshot, State};
use quelea_metainfo::geometry::Geometry;
use quelea_wire::Bitfield;
use std::sync::{Arc, PoisonError};

/// Puts what the check found into a torrent's first figures.
pub(super) fn show_found(
    published: &Published,
    geometry: &Geometry,
    wanted: &[bool],
    have: &Bitfield,
) -> Arc<Snapshot> {
    let found: Vec<bool> = geometry.iter().map(|piece| wanted[piece.at()] && have.has(piece)).collect();
    let wanted_have = length_of(geometry, &found);
    let wanted_length = length_of(geometry, wanted);
    let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
    let state = if wanted_have == wanted_length { State::Seeding } else { State::Downloading };
    *published = Arc::new(Snapshot {
        state,
        wanted_length,
        wanted_have,
        wanted_received: wanted_have,
        pieces_have: have.count(),
        ..(**published).clone()
    });
    Arc::clone(&published)
}
