//! Whether the picker's parts agree with each other.

use super::{Picker, PieceState};
use alloc::format;
use alloc::string::String;
use quelea_metainfo::geometry::PieceIndex;

impl<B> Picker<B> {
    /// Checks that the parts agree with each other. For tests and the simulator; looks at every piece.
    ///
    /// # Errors
    /// The first contradiction found, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_bytes()?;
        for piece in self.geometry.iter() {
            let (class, level) = self.order.standing(piece);
            let (state, priority) = (self.state(piece), self.priorities[piece.at()]);
            let needed = priority.is_wanted() && state != PieceState::Have;
            if self.needed.has(piece) != needed {
                return Err(format!(
                    "piece {piece} is {state:?} with priority {priority}, wrongly counted as wanted"
                ));
            }
            if !self.order.is_asleep()
                && class != if state == PieceState::Missing { priority.get() } else { 0 }
            {
                return Err(format!(
                    "piece {piece} is {state:?} with priority {priority} and listed as {class}"
                ));
            }
            let places = [
                self.have.has(piece),
                self.missing.has(piece),
                self.open.contains_key(&piece),
                self.verifying.contains_key(&piece),
            ];
            if places.into_iter().filter(|stands| *stands).count() > 1 {
                return Err(format!("piece {piece} is {state:?} and something else"));
            }
            let unasked_for =
                matches!(state, PieceState::Missing | PieceState::Open) && !priority.is_wanted();
            if unasked_for || (state == PieceState::Unwanted && priority.is_wanted()) {
                return Err(format!("piece {piece} is {state:?} with priority {priority}"));
            }
            if self.broad as i32 + level < 0 {
                return Err(format!("piece {piece} is at {} peers", self.broad as i32 + level));
            }
        }
        if self.open() > self.open_limit.max(self.open_before_limit) {
            return Err(format!("{} pieces are open, more than {}", self.open(), self.open_limit));
        }
        self.check_lists()
    }

    fn check_bytes(&self) -> Result<(), String> {
        let bytes = |counts: &dyn Fn(PieceIndex) -> bool| -> u64 {
            let pieces = self.geometry.iter().filter(|piece| counts(*piece));
            pieces.map(|piece| u64::from(self.geometry.length_of(piece))).sum()
        };
        let counted = (self.bytes_wanted(), self.bytes_needed(), self.bytes_left());
        let wanted = |piece: PieceIndex| self.priorities[piece.at()].is_wanted();
        let summed = (
            bytes(&wanted),
            bytes(&|piece| wanted(piece) && !self.have.has(piece)),
            bytes(&|piece| !self.have.has(piece)),
        );
        if counted == summed {
            return Ok(());
        }
        Err(format!("bytes wanted, needed and left are {summed:?}, not {counted:?}"))
    }

    fn check_lists(&self) -> Result<(), String> {
        for (piece, open) in &self.open {
            let free = open.has_free();
            let owner = open.owner.and_then(|owner| self.followers.get(&owner));
            let listed = (
                self.with_free.contains(piece),
                self.loose.contains(piece),
                owner.is_some_and(|follower| follower.free.contains(piece)),
                owner.is_some_and(|follower| follower.open.contains(piece)),
            );
            let owned = open.owner.is_some();
            if listed != (free, free && !owned, free && owned, owned) {
                return Err(format!(
                    "piece {piece} is wrongly listed among those with free blocks: {listed:?}"
                ));
            }
            if open.received() == 0 && !open.is_awaited() {
                return Err(format!("piece {piece} is open for nothing"));
            }
        }
        let owned = self.followers.values().flat_map(|follower| follower.open.iter().chain(&follower.free));
        let listed = self.with_free.iter().chain(&self.loose).chain(owned);
        if let Some(piece) = listed.copied().find(|piece| !self.open.contains_key(piece)) {
            return Err(format!("piece {piece} is listed as open"));
        }
        if self.deadlines.len() != self.by_deadline.len() {
            return Err("deadlines are listed twice".into());
        }
        match self.deadlines.keys().find(|piece| !self.needed.has(**piece)) {
            Some(piece) => Err(format!("piece {piece} has a deadline though it is not needed")),
            None => Ok(()),
        }
    }
}
