//! Local discovery (BEP 14): carries the announcements of all public torrents to the neighbours, and theirs to us.
//!
//! While no torrent is announced there are no sockets, and no group is joined. Interfaces are looked at from time to
//! time, since they come and go.

use super::ToTorrent;
use super::trackers::Found;
use crate::clock::Clock;
use crate::events::TorrentId;
use quelea_discovery::Source;
use quelea_discovery::local::message::{GROUP_V4, GROUP_V6, PORT};
use quelea_discovery::local::{InfoHash, Local, Network, Search};
use quelea_net::{Binding, GroupListener, Link, links, tell_group};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// How often interfaces are looked at.
const LOOK: Duration = Duration::from_secs(15);
/// The longest datagram that is read: more than a link of the usual kind carries at once.
const MAX_DATAGRAM: usize = 2_048;

/// Local discovery for all torrents of a session.
pub(crate) struct Neighbours {
    clock: Clock,
    binding: Arc<Binding>,
    table: Mutex<Table>,
    stir: Notify,
    found: mpsc::Sender<Found>,
}

struct Table {
    machine: Local,
    torrents: HashMap<InfoHash, Way>,
}

/// To whom neighbours are told.
enum Way {
    /// To a torrent, which may rest.
    Torrent(TorrentId),
    /// To who fetches the metadata of a magnet link.
    Link(mpsc::WeakSender<ToTorrent>),
}

impl Neighbours {
    /// No torrents yet. `port` is the one that peers are taken on.
    pub(crate) fn new(
        clock: Clock,
        binding: Arc<Binding>,
        port: u16,
        seed: u64,
        found: mpsc::Sender<Found>,
    ) -> Self {
        let table = Table { machine: Local::new(port, seed), torrents: HashMap::new() };
        Self { clock, binding, table: Mutex::new(table), stir: Notify::new(), found }
    }

    /// A public torrent is announced from here on.
    pub(crate) fn enter(&self, hash: InfoHash, torrent: TorrentId) {
        self.insert(hash, Way::Torrent(torrent));
    }

    /// What a magnet link leads to is announced from here on.
    pub(crate) fn enter_link(&self, hash: InfoHash, mailbox: &mpsc::Sender<ToTorrent>) {
        self.insert(hash, Way::Link(mailbox.downgrade()));
    }

    fn insert(&self, hash: InfoHash, way: Way) {
        let mut table = self.table();
        table.torrents.insert(hash, way);
        table.machine.enter(self.clock.now(), hash);
        drop(table);
        self.stir.notify_one();
    }

    /// A torrent is announced no more.
    pub(crate) fn leave(&self, hash: &InfoHash) {
        let mut table = self.table();
        if table.torrents.remove(hash).is_some() {
            table.machine.leave(*hash);
            drop(table);
            self.stir.notify_one();
        }
    }

    /// Announces and listens until the session ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut sockets = Sockets::default();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let due = self.table().machine.timeout();
            tokio::select! {
                _ = look.tick(), if due.is_some() => self.look(&mut sockets),
                () = self.stir.notified() => {
                    if due.is_none() {
                        look.reset_immediately();
                    }
                    if self.table().torrents.is_empty() {
                        sockets = Sockets::default();
                    }
                }
                () = self.clock.sleep_until(due) => self.announce(&sockets).await,
                Ok((length, from)) = sockets.hear(&mut buffer) => {
                    self.handle(from, buffer.get(..length).unwrap_or_default());
                }
            }
        }
    }

    /// Takes note of the interfaces that there are.
    fn look(&self, sockets: &mut Sockets) {
        let links = links(&self.binding).unwrap_or_else(|error| {
            tracing::debug!(%error, "network interfaces cannot be listed");
            Vec::new()
        });
        if links == sockets.links {
            return;
        }
        sockets.follow(links);
        let network = |link: &Link| Network { address: link.address, prefix: link.prefix };
        let networks = sockets.links.iter().map(network).collect();
        self.table().machine.set_networks(self.clock.now(), networks);
    }

    async fn announce(&self, sockets: &Sockets) {
        let Some(search) = self.table().machine.poll_announcement(self.clock.now()) else { return };
        tracing::debug!(
            torrents = search.hashes.len(),
            links = sockets.links.len(),
            "telling the neighbours"
        );
        for link in &sockets.links {
            if let Err(error) = tell(link, &search).await {
                tracing::debug!(%error, address = %link.address, "the neighbours cannot be told");
            }
        }
    }

    fn handle(&self, from: SocketAddr, datagram: &[u8]) {
        let mut table = self.table();
        let heard = match table.machine.handle_datagram(self.clock.now(), from, datagram) {
            Ok(heard) => heard,
            Err(why) => return tracing::trace!(%from, %why, "a neighbour is not heeded"),
        };
        for (hash, new) in heard.torrents {
            tracing::debug!(peer = %heard.peer, "a neighbour takes part");
            let (peers, source) = (vec![heard.peer], Source::Lsd);
            // Where there is no room, it is heard again in five minutes.
            match table.torrents.get(&hash) {
                Some(&Way::Torrent(torrent)) => {
                    let _ = self.found.try_send(Found { torrent, peers, source, wakes: new });
                }
                Some(Way::Link(mailbox)) => {
                    if let Some(mailbox) = mailbox.upgrade() {
                        let _ = mailbox.try_send(ToTorrent::Addresses { found: peers, source });
                    }
                }
                None => {}
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sockets of both groups, and the links on which they were joined.
#[derive(Default)]
struct Sockets {
    links: Vec<Link>,
    four: Option<GroupListener>,
    six: Option<GroupListener>,
}

impl Sockets {
    /// Joins the groups on what is new, and leaves them on what is gone.
    fn follow(&mut self, links: Vec<Link>) {
        for gone in self.links.iter().filter(|link| !links.contains(link)) {
            if let Some(listener) = self.of(gone) {
                listener.leave(gone);
            }
        }
        for new in links.iter().filter(|link| !self.links.contains(link)) {
            let slot = if new.address.is_ipv4() { &mut self.four } else { &mut self.six };
            if slot.is_none() {
                match GroupListener::new(group_of(new)) {
                    Ok(listener) => *slot = Some(listener),
                    Err(error) => tracing::debug!(%error, "neighbours are not heard"),
                }
            }
            if let Some(Err(error)) = slot.as_ref().map(|listener| listener.join(new)) {
                tracing::debug!(%error, address = %new.address, "neighbours are not heard there");
            }
        }
        self.links = links;
    }

    const fn of(&self, link: &Link) -> Option<&GroupListener> {
        if link.address.is_ipv4() { self.four.as_ref() } else { self.six.as_ref() }
    }

    async fn hear(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        // One buffer each would be needed to wait for both with one call; a datagram that is not read stays.
        let (mut four, mut six) = ([0; MAX_DATAGRAM], [0; MAX_DATAGRAM]);
        let (length, from, datagram) = tokio::select! {
            heard = hear(self.four.as_ref(), &mut four) => heard.map(|(length, from)| (length, from, &four))?,
            heard = hear(self.six.as_ref(), &mut six) => heard.map(|(length, from)| (length, from, &six))?,
        };
        for (to, from) in buffer.iter_mut().zip(datagram) {
            *to = *from;
        }
        Ok((length, from))
    }
}

async fn hear(listener: Option<&GroupListener>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match listener {
        Some(listener) => listener.hear(buffer).await,
        None => std::future::pending().await,
    }
}

fn group_of(link: &Link) -> SocketAddr {
    let ip = if link.address.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() };
    SocketAddr::new(ip, PORT)
}

async fn tell(link: &Link, search: &Search) -> io::Result<()> {
    let group = group_of(link);
    tell_group(link, group, &search.encode(group)).await
}
