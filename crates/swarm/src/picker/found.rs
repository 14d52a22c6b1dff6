//! What is here turns out to be something else than was thought: a check of the files.

use super::Picker;
use quelea_wire::Bitfield;

impl<B> Picker<B> {
    /// These pieces are here, and no others. While nothing is asked for or being verified. Bytes of pieces in progress
    /// that are of no use, since the whole piece is here.
    pub fn set_have(&mut self, have: &Bitfield) -> u64 {
        let mut useless = 0;
        for piece in self.geometry.iter() {
            match (self.have.has(piece), have.has(piece)) {
                (true, true) | (false, false) => {}
                (false, true) => {
                    self.have.set(piece);
                    self.needed.unset(piece);
                    self.unlist(piece);
                    self.clear_deadline(piece);
                    let open = self.close(piece);
                    useless += open.map_or(0, |open| open.received() as u64 * super::BLOCK);
                }
                (true, false) => {
                    self.have.unset(piece);
                    if self.priorities[piece.at()].is_wanted() {
                        self.needed.set(piece);
                        self.list(piece);
                    }
                }
            }
        }
        useless
    }
}
