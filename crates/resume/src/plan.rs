//! Which pieces can be trusted without hashing, and which must be hashed, when a torrent starts again.
//!
//! A piece is trusted that the state calls good and whose files all stand as they stood then. A piece in a file
//! that changed is hashed. After a stop that was not clean, pieces that the state does not know of may be whole
//! all the same, so they are hashed too; where nothing was written a file has a hole or ends, which takes no time.

use super::database::Saved;
use super::number_of;
use quelea_metainfo::geometry::PieceIndex;
use quelea_storage::file_layer::Stamp;
use quelea_storage::{Holder, Store};
use quelea_wire::Bitfield;
use std::collections::HashMap;

/// What is known when a torrent starts.
#[derive(Debug)]
pub struct Plan {
    /// The pieces that are good without being hashed.
    pub trusted: Bitfield,
    /// The pieces that must be hashed.
    pub check: Vec<PieceIndex>,
    /// How the files stand that are not as the state says; without a stamp where the next start is to hash them too.
    pub changed: Vec<(i64, Option<Stamp>)>,
}

impl Plan {
    /// Does not take down how files stand that nothing shows to be the torrent's: the state would know them then.
    pub fn forget_unproven(&mut self, store: &Store) {
        for holder in store.holders().filter(|holder| store.is_unproven(*holder)) {
            let number = number_of(holder);
            self.changed
                .iter_mut()
                .filter(|(changed, _)| *changed == number)
                .for_each(|(_, stamp)| *stamp = None);
        }
    }
}

/// How a file stands beside what the state says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// As it says, and this long.
    Same(u64),
    /// Not there, as it says.
    Absent,
    Changed,
}

impl Plan {
    /// Looks at a store's files beside what is remembered of them, if anything is.
    pub fn new(saved: Option<&Saved>, store: &Store) -> Self {
        let geometry = store.layout().geometry();
        let mut plan =
            Self { trusted: Bitfield::none(geometry.pieces()), check: Vec::new(), changed: Vec::new() };
        let mut standings = HashMap::new();
        let holders: Vec<Holder> = store.holders().collect();
        for (&holder, stamp) in holders.iter().zip(store.take_stamps(&holders)) {
            let number = number_of(holder);
            let before = saved.and_then(|saved| saved.stamps.get(&number).copied());
            let standing = match (stamp, before) {
                (Ok(Some(stamp)), Some(before)) if stamp == before => Standing::Same(stamp.length),
                (Ok(None), None) => Standing::Absent,
                (Ok(_), _) => {
                    plan.changed.push((number, store.proof(holder)));
                    Standing::Changed
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "a file is checked, since it cannot be looked at");
                    plan.changed.push((number, None));
                    Standing::Changed
                }
            };
            standings.insert(holder, standing);
        }
        if !store.has_data() {
            return plan;
        }
        let have = saved.and_then(|saved| Bitfield::from_wire(&saved.have, geometry.pieces()).ok());
        let clean = saved.is_some_and(|saved| saved.clean) && have.is_some();
        for piece in geometry.iter() {
            let (mut changed, mut whole) = (false, true);
            for held in store.held(piece) {
                let of = |holder| standings.get(&holder).copied().unwrap_or(Standing::Absent);
                let file = of(Holder::File(held.file));
                let parts = if held.wanted { Standing::Absent } else { of(Holder::PartFile) };
                changed |= file == Standing::Changed || parts == Standing::Changed;
                let in_file = matches!(file, Standing::Same(length) if length >= held.end);
                whole &= in_file || matches!(parts, Standing::Same(_));
            }
            let had = have.as_ref().is_some_and(|have| have.has(piece));
            if had && whole && !changed {
                plan.trusted.set(piece);
            } else if had || changed || !clean {
                plan.check.push(piece);
            }
        }
        plan
    }
}
