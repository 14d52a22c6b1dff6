//! Where torrents and the node meet: which torrents are announced, and who hears what is found for them.
//!
//! No private torrent comes in here, so nothing of one ever goes to the DHT (BEP 27).

use super::Command;
use crate::clock::Clock;
use crate::driver::ToTorrent;
use crate::entry::Entry;
use crate::events::{Event, TorrentId};
use crate::mapping::Transport;
use crate::outside::Outside;
use quelea_dht::schedule::{ENOUGH, Need, Outcome, Schedule};
use quelea_dht::{Announce, Found, Id};
use quelea_discovery::Source;
use quelea_discovery::external::Witness;
use quelea_time::Time;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast, mpsc};

/// Where torrents and the node meet.
pub(crate) struct Desk {
    pub(crate) commands: mpsc::Sender<Command>,
    clock: Clock,
    outside: Arc<Outside>,
    table: Mutex<Table>,
    /// Wakes the node when a torrent is due earlier than it knows.
    pub(super) stir: Notify,
    events: broadcast::WeakSender<Event>,
}

struct Table {
    schedule: Schedule<TorrentId>,
    rows: HashMap<TorrentId, Row>,
}

struct Row {
    info_hash: Id,
    need: Need,
    /// Weak, so that a torrent's mailbox does not live because the DHT does.
    mailbox: Option<mpsc::WeakSender<ToTorrent>>,
}

/// What to search for.
pub(super) struct Task {
    pub(super) torrent: TorrentId,
    pub(super) info_hash: Id,
    pub(super) announce: Announce,
}

impl Desk {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        clock: Clock,
        outside: Arc<Outside>,
        seed: u64,
        events: broadcast::WeakSender<Event>,
    ) -> Arc<Self> {
        let table = Table { schedule: Schedule::new(seed), rows: HashMap::new() };
        Arc::new(Self { commands, clock, outside, table: Mutex::new(table), stir: Notify::new(), events })
    }

    /// The port at which others reach the node.
    pub(crate) fn port(&self) -> u16 {
        self.outside.port(Transport::Udp)
    }

    /// A torrent begins to be announced, unless it is private. One that is already goes on as it is.
    pub(crate) fn enter(&self, entry: &Entry, need: Need) {
        if entry.private {
            return;
        }
        let mut table = self.table();
        let Table { schedule, rows } = &mut *table;
        rows.entry(entry.id).or_insert_with(|| {
            schedule.enter(self.clock.now(), entry.id, need);
            Row { info_hash: Id(entry.info_hash), need, mailbox: None }
        });
        drop(table);
        self.stir.notify_one();
    }

    /// A torrent of which only a magnet link is known begins to be searched for, and announced: nobody knows whether it
    /// is private. Whoever learns that it is has it [`leave`](Self::leave).
    pub(crate) fn enter_link(
        &self,
        torrent: TorrentId,
        info_hash: [u8; 20],
        mailbox: &mpsc::Sender<ToTorrent>,
    ) {
        let mut table = self.table();
        table.schedule.enter(self.clock.now(), torrent, Need::Hungry);
        let mailbox = Some(mailbox.downgrade());
        table.rows.insert(torrent, Row { info_hash: Id(info_hash), need: Need::Hungry, mailbox });
        drop(table);
        self.stir.notify_one();
    }

    /// A torrent is announced no more.
    pub(crate) fn leave(&self, torrent: TorrentId) {
        let mut table = self.table();
        table.schedule.leave(torrent);
        table.rows.remove(&torrent);
    }

    /// Where peers that are found for a torrent go while its task runs.
    pub(crate) fn attach(&self, torrent: TorrentId, mailbox: &mpsc::Sender<ToTorrent>) {
        if let Some(row) = self.table().rows.get_mut(&torrent) {
            row.mailbox = Some(mailbox.downgrade());
        }
    }

    /// Its task has ended.
    pub(crate) fn detach(&self, torrent: TorrentId) {
        if let Some(row) = self.table().rows.get_mut(&torrent) {
            row.mailbox = None;
        }
    }

    /// How much a torrent wants peers; `found_back` says that our network was gone.
    pub(crate) fn note(&self, torrent: TorrentId, need: Need, found_back: bool) {
        let now = self.clock.now();
        let mut table = self.table();
        let Some(row) = table.rows.get_mut(&torrent) else { return };
        let changed = std::mem::replace(&mut row.need, need) != need;
        if changed {
            table.schedule.set_need(now, torrent, need);
        }
        if found_back {
            table.schedule.network_is_back(now);
        }
        drop(table);
        if changed || found_back {
            self.stir.notify_one();
        }
    }

    /// A peer runs a node there. Where there is no room for it, others will tell of theirs.
    pub(crate) fn add_node(&self, node: SocketAddr) {
        let _ = self.commands.try_send(Command::AddNode(node));
    }

    /// A public torrent names nodes to begin with (BEP 5, `nodes`).
    pub(crate) fn add_routers(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            let _ = self.commands.try_send(Command::AddRouter(name));
        }
    }

    /// What to search for, until `None`.
    pub(super) fn next(&self, now: Time) -> Option<Task> {
        let mut table = self.table();
        let torrent = table.schedule.next(now)?;
        let row = table.rows.get(&torrent)?;
        let announce =
            Announce { port: Some(self.outside.port(Transport::Tcp)), seed: row.need == Need::Seeding };
        Some(Task { torrent, info_hash: row.info_hash, announce })
    }

    /// When [`Desk::next`] may give something.
    pub(super) fn timeout(&self) -> Option<Time> {
        self.table().schedule.timeout()
    }

    /// Torrents that are announced.
    pub(super) fn announced(&self) -> usize {
        self.table().rows.len()
    }

    /// Nodes are known at last.
    pub(super) fn network_is_back(&self, now: Time) {
        self.table().schedule.network_is_back(now);
    }

    /// Peers were found. A torrent without a task needs none: those that want something of it come.
    pub(super) fn found(&self, torrent: TorrentId, found: Vec<SocketAddr>) {
        if let Some(mailbox) = self.mailbox(torrent) {
            // Where there is no room the next search names them again.
            let _ = mailbox.try_send(ToTorrent::Addresses { found, source: Source::Dht });
        }
    }

    /// A search is over.
    pub(super) fn ended(&self, now: Time, torrent: TorrentId, peers: usize, found: &Found) {
        let outcome = match (found.nodes.len(), peers) {
            (0, 0) => Outcome::Nobody,
            _ if found.written < ENOUGH => Outcome::Few,
            (_, 0) => Outcome::Nothing,
            (_, _) => Outcome::Peers,
        };
        let mut table = self.table();
        table.schedule.ended(now, torrent, outcome);
        let known = table.rows.contains_key(&torrent);
        drop(table);
        if known {
            self.say(Event::DhtAnswered { id: torrent, peers, announced_to: found.written });
        }
    }

    /// Many nodes see us at this address.
    pub(super) fn external(&self, address: IpAddr) {
        self.outside.vote(Witness::Dht, address);
    }

    pub(super) fn say(&self, event: Event) {
        if let Some(events) = self.events.upgrade() {
            let _ = events.send(event);
        }
    }

    fn mailbox(&self, torrent: TorrentId) -> Option<mpsc::Sender<ToTorrent>> {
        self.table().rows.get(&torrent)?.mailbox.as_ref()?.upgrade()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
