//! How much a peer may cost by messages that lead to nothing.
//!
//! What moves payload is free, however fast: requests that are granted, blocks, the first word of each piece that a
//! peer has. The rest is counted in units of about what a keep-alive costs us. A peer may cost [`BURST`] units at once
//! and [`PER_SECOND`] in the long run, which is many times what any client of the field does; one that costs more is
//! left, and its host is not let in again for a while.

use core::time::Duration;
use quelea_time::Time;
use quelea_wire::Message;

/// Units that a peer may cost at once: a leecher's 2,000 cancelled requests and a hundred changes of interest are a
/// tenth of that.
const BURST: u32 = 20_000;
/// Units that a peer may cost each second in the long run.
const PER_SECOND: u32 = 500;
/// How long it takes until one unit is forgiven.
const UNIT: Duration = Duration::from_micros(1_000_000 / PER_SECOND as u64);
/// A request for less than this is more work than payload, but at the end of a piece.
const SHORT_REQUEST: u32 = 1_024;
/// How often a peer may say of each piece that it has it: in a bitfield, in a `have`, and once more.
const HAVES: u32 = 2;

/// The units that a peer has cost and that time has not forgiven yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Toll {
    /// When all of it will be forgiven.
    forgiven: Time,
    /// Pieces that it said it has.
    haves: u32,
}

impl Toll {
    pub(crate) const NONE: Self = Self { forgiven: Time::ZERO, haves: 0 };

    /// Counts so many units. Whether that is still bearable.
    pub(crate) fn charge(&mut self, now: Time, units: u32) -> bool {
        if units == 0 {
            return true;
        }
        let debt = self.forgiven.since(now) + UNIT * units;
        self.forgiven = now + debt;
        debt <= UNIT * BURST
    }

    /// Units that a message costs by itself, in a torrent of so many pieces. Whether it is the one that says what the
    /// peer has at first is `opening`. What requests cost is known when they are looked at.
    pub(crate) fn price(&mut self, message: &Message, pieces: u32, opening: bool) -> u32 {
        let by_length = |bytes: usize| u32::try_from(bytes / 64).unwrap_or(u32::MAX);
        match message {
            Message::Request(_) => 0,
            Message::Have(_) => {
                self.haves = self.haves.saturating_add(1);
                u32::from(self.haves > pieces.saturating_mul(HAVES))
            }
            Message::Bitfield(_) | Message::HaveAll | Message::HaveNone if opening => 0,
            // All pieces are looked at.
            Message::Bitfield(_) | Message::HaveAll | Message::HaveNone => 16 + pieces / 512,
            // The other peers' requests and slots are looked at.
            Message::Choke | Message::Unchoke | Message::Interested | Message::NotInterested => 4,
            Message::KeepAlive
            | Message::Cancel(_)
            | Message::Port(_)
            | Message::Suggest(_)
            | Message::AllowedFast(_)
            | Message::Reject(_)
            | Message::HashReject(_)
            | Message::HashRequest(_) => 1,
            Message::Hashes { hashes, .. } => 1 + by_length(hashes.len()),
            Message::Extended { payload, .. } => 2 + by_length(payload.len()),
            // It was skipped, and may have been long.
            Message::Unknown(_) => 64,
        }
    }
}

/// Units that a block costs that was not asked for.
pub(crate) const PRICE_OF_MISFIT: u32 = 80;

/// Units that a request costs that is granted.
pub(crate) fn price_of_grant(length: u32, ends_piece: bool) -> u32 {
    u32::from(length < SHORT_REQUEST && !ends_piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quelea_wire::message::BlockSpan;

    const PIECES: u32 = 50_000;

    /// Whether a peer may send so many such messages, each so long after the one before.
    fn bears(message: &Message, count: u32, pace: Duration) -> bool {
        let (mut toll, mut now) = (Toll::NONE, Time::from_secs(5));
        (0..count).all(|_| {
            now += pace;
            let units = toll.price(message, PIECES, false);
            toll.charge(now, units)
        })
    }

    #[test]
    fn what_honest_clients_do_never_trips_it() {
        let at_once = Duration::ZERO;
        let request = BlockSpan { piece: 0, begin: 0, length: 16_384 };
        assert!(bears(&Message::Have(7), 2 * PIECES, at_once), "a lazy bitfield, and all of it again");
        assert!(bears(&Message::Cancel(request), 4_000, at_once), "an endgame");
        assert!(bears(&Message::Reject(request), 2_000, Duration::from_millis(10)), "choked, each time");
        assert!(bears(&Message::Request(request), 1_000_000, at_once));
        assert!(bears(&Message::Interested, 100_000, Duration::from_millis(10)));
        assert!(bears(
            &Message::Bitfield(alloc::vec![0xff; PIECES as usize / 8]),
            1_000,
            Duration::from_secs(1)
        ));
        assert!(bears(
            &Message::Extended { id: 1, payload: alloc::vec![0; 2_000] },
            1_000,
            Duration::from_secs(1)
        ));
    }

    #[test]
    fn floods_trip_it_soon() {
        let each_microsecond = Duration::from_micros(1);
        let flood = |message: &Message| !bears(message, 3 * PIECES, each_microsecond);
        assert!(flood(&Message::KeepAlive) && flood(&Message::Have(7)) && flood(&Message::Unknown(99)));
        assert!(flood(&Message::Choke) && flood(&Message::Interested) && flood(&Message::HaveAll));
        assert!(flood(&Message::Extended { id: 77, payload: alloc::vec![] }) && flood(&Message::Port(1)));
    }

    #[test]
    fn what_is_long_ago_is_forgiven() {
        let mut toll = Toll::NONE;
        assert!(toll.charge(Time::from_secs(1), BURST) && !toll.charge(Time::from_secs(1), 1));
        assert!(toll.charge(Time::from_secs(3), PER_SECOND));
        assert!(toll.charge(Time::from_secs(600), BURST));
    }
}
