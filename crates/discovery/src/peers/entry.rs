//! What is known of one address, and the rules of when it is tried again.

use core::cmp::Reverse;
use core::time::Duration;
use quelea_time::Time;

/// Where an address was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// It was saved by an earlier session.
    Resume,
    /// Another peer told it (BEP 11).
    Pex,
    /// A DHT node told it (BEP 5).
    Dht,
    /// It called us and said where it listens (BEP 10, `p`).
    Incoming,
    /// It was heard in the local network (BEP 14).
    Lsd,
    /// A tracker told it.
    Tracker,
    /// The user named it. It is tried first and never given up.
    Manual,
}

impl Source {
    /// Whether peers of a private torrent may come from it (BEP 27). What an earlier session saved came from there.
    pub(super) const fn is_of_private_torrents(self) -> bool {
        match self {
            Self::Tracker | Self::Manual | Self::Resume => true,
            Self::Pex | Self::Dht | Self::Incoming | Self::Lsd => false,
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It broke, or the peer closed it.
    Lost,
    /// The same, of a peer that had fetched the metadata: some begin the download anew with them, and know nobody then.
    LostWithMetadata,
    /// We closed it and do not miss it: no room, nothing to give or take, connected twice.
    Unneeded,
    /// We closed it because the peer broke the protocol.
    Faulty,
}

/// One minute for each failure and one more (libtorrent, `min_reconnect_time`).
const WAIT: Duration = Duration::from_secs(60);
/// After this many failures an address is as good as dead (libtorrent, `max_failcount`).
const DEAD_AFTER: u8 = 3;
/// The dead are tried again this rarely, unless somebody speaks of them.
const WAIT_DEAD: Duration = Duration::from_secs(30 * 60);
/// A connection that broke while data was wanted is made again after this, once: most breaks are accidents.
const WAIT_LOST: Duration = Duration::from_secs(5);
/// For each failure and one more, up to [`WAIT`], when nobody at all is connected.
const PROBE: Duration = Duration::from_secs(15);
/// For each failure of a peer that the user named, up to [`WAIT`]: it may just be starting.
const WAIT_MANUAL: Duration = Duration::from_secs(5);
/// After a parting that we wanted (libtorrent's turnover of peers has this period).
const WAIT_UNNEEDED: Duration = Duration::from_secs(300);
/// A connection that breaks before this counts as a failure, unless it is the first time.
const SHORT: Duration = Duration::from_secs(10);
/// A connection that lasted this long earns another quick try.
const LONG: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is under way.
    Idle,
    Dialling,
    Connected(Time),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The best of the sources that told it.
    pub(super) source: Source,
    /// How far behind in its list it was told, where it was told earliest.
    turn: u16,
    pub(super) place: Place,
    /// It has every piece, or wants nothing.
    pub(super) seed: bool,
    /// It is not tried before.
    pub(super) due: Time,
    fails: u8,
    last_tried: Option<Time>,
    /// A handshake was once exchanged with it.
    proven: bool,
    /// The quick try after a loss was used.
    hurried: bool,
    /// Where the list has it indexed.
    pub(super) index: Index,
    pub(super) worth: Option<Worth>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    Nowhere,
    Waiting(Time),
    Ready(Rank),
}

/// The order in which addresses are tried, the least first.
///
/// That of libtorrent (peer_list.cpp), with what the user named before everything, and lists that take turns:
/// fewest failures, longest not tried, earliest turn, best source, highest canonical priority.
pub(super) type Rank = (Reverse<bool>, u8, Option<Time>, u16, Reverse<Source>, Reverse<u32>);

/// What it would be to lose an address, the least first: many failures, never reached, far behind in its list, weak
/// source.
pub(super) type Worth = (Reverse<u8>, bool, Reverse<u16>, Source);

impl Entry {
    pub(super) const fn new(now: Time, source: Source, turn: u16) -> Self {
        Self {
            source,
            turn,
            place: Place::Idle,
            seed: false,
            due: now,
            fails: 0,
            last_tried: None,
            proven: false,
            hurried: false,
            index: Index::Nowhere,
            worth: None,
        }
    }

    pub(super) fn is_manual(&self) -> bool {
        self.source == Source::Manual
    }

    pub(super) const fn is_sound(&self) -> bool {
        self.fails == 0
    }

    pub(super) fn rank(&self, priority: u32) -> Rank {
        (
            Reverse(self.is_manual()),
            self.fails,
            self.last_tried,
            self.turn,
            Reverse(self.source),
            Reverse(priority),
        )
    }

    pub(super) const fn worth(&self) -> Worth {
        (Reverse(self.fails), self.proven, Reverse(self.turn), self.source)
    }

    /// Somebody speaks of it.
    pub(super) fn told(&mut self, now: Time, source: Source, turn: u16) {
        if source == Source::Manual && !self.is_manual() {
            self.due = now;
        }
        self.source = self.source.max(source);
        self.turn = self.turn.min(turn);
        if self.fails >= DEAD_AFTER && source != Source::Resume {
            let revived = self.last_tried.unwrap_or(now) + WAIT * (u32::from(DEAD_AFTER) + 1);
            self.due = self.due.min(revived);
        }
    }

    pub(super) const fn dialled(&mut self, now: Time) {
        self.place = Place::Dialling;
        self.last_tried = Some(now);
    }

    pub(super) const fn connected(&mut self, now: Time) {
        self.place = Place::Connected(now);
        self.proven = true;
    }

    /// When it may be tried though its time has not come; `None` for who is busy, or never was reached.
    pub(super) fn probe_due(&self) -> Option<Time> {
        let wait = (PROBE * (u32::from(self.fails) + 1)).min(WAIT);
        (self.place == Place::Idle && self.proven).then(|| self.last_tried.unwrap_or(Time::ZERO) + wait)
    }

    pub(super) const fn forgive(&mut self, now: Time) {
        self.fails = 0;
        self.due = now;
    }

    /// Data of it is wanted again: how long it was to rest was told when nothing was.
    pub(super) fn wanted(&mut self) {
        if let Some(last) = self.last_tried.filter(|_| self.is_sound()) {
            self.due = self.due.min(last + WAIT_LOST);
        }
    }

    /// It could not be reached, or gave no handshake that we can use.
    pub(super) fn failed(&mut self, now: Time) {
        self.place = Place::Idle;
        self.fails = self.fails.saturating_add(1);
        self.due = now + self.wait();
    }

    /// Its connection has ended; `wanted` says whether data of it is.
    pub(super) fn parted(&mut self, now: Time, how: Parting, wanted: bool) {
        let Place::Connected(since) = self.place else { return self.failed(now) };
        let lasted = now.since(since);
        self.place = Place::Idle;
        self.last_tried = Some(now);
        match how {
            Parting::Faulty => {
                self.proven = false;
                self.failed(now);
            }
            Parting::Unneeded => self.due = now + WAIT_UNNEEDED,
            Parting::Lost | Parting::LostWithMetadata => {
                if lasted >= SHORT {
                    self.fails = 0;
                }
                if lasted >= LONG {
                    self.hurried = false;
                }
                if (wanted || how == Parting::LostWithMetadata) && !self.hurried {
                    self.hurried = true;
                    self.due = now + WAIT_LOST;
                } else if lasted < SHORT {
                    self.failed(now);
                } else {
                    self.due = now + self.wait();
                }
            }
        }
    }

    fn wait(&self) -> Duration {
        if self.is_manual() {
            return (WAIT_MANUAL * u32::from(self.fails.max(1))).min(WAIT);
        }
        if self.fails < DEAD_AFTER { WAIT * (u32::from(self.fails) + 1) } else { WAIT_DEAD }
    }
}
