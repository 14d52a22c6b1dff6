//! What is here turns out to be something else than was thought.

use super::Torrent;
use quelea_time::Time;
use quelea_wire::Bitfield;

impl<B> Torrent<B> {
    /// These pieces are here, and no others, as a check of the files has found. While the torrent is stopped
    /// ([`Torrent::stop`]) and nothing is being verified: no peer has been told anything else.
    ///
    /// [`Event::Completed`] is told where that completes it.
    ///
    /// [`Event::Completed`]: crate::event::Event::Completed
    pub fn set_have(&mut self, now: Time, have: &Bitfield) {
        self.wasted += self.picker.set_have(have);
        self.note_completion(now);
    }
}
