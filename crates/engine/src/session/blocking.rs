//! Addresses that a session has nothing to do with.

use super::Session;
use crate::driver::ToTorrent;
use crate::driver::dht::Command;
use crate::entry::Entry;
use quelea_discovery::filter::Filter;
use quelea_swarm::metadata::Fetch;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Addresses that the user banned one by one, at most.
const MOST_BANS: usize = 10_000;

/// Addresses that a session has nothing to do with.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    filter: Option<Arc<Filter>>,
    banned: BTreeSet<IpAddr>,
}

impl Session {
    /// Blocks these addresses in every torrent, where connections with them end, and in the DHT, which has nothing more
    /// to do with nodes there. The filter that was set before is gone.
    pub async fn set_filter(&self, filter: Filter) {
        let filter = Arc::new(filter);
        self.blocked().filter = Some(Arc::clone(&filter));
        self.tell_all(|| ToTorrent::Filter(Arc::clone(&filter))).await;
        self.tell_dht().await;
    }

    /// Bans an address in every torrent and in the DHT; connections with it end at once. Whether it was not banned
    /// before. There are 10,000 bans at most; for more there is [`Session::set_filter`]. When this returns, the library
    /// has it, if there is one ([`Session::restore`]), and bans it in later sessions too.
    pub async fn ban(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let new = {
            let mut blocked = self.blocked();
            blocked.banned.len() < MOST_BANS && blocked.banned.insert(ip)
        };
        if new {
            self.remember_ban(ip, true);
            self.tell_all(|| ToTorrent::Ban { ip, banned: true }).await;
            self.tell_dht().await;
            self.written().await;
        }
        new
    }

    /// Takes a ban back, also one that a torrent imposed because of what a peer did. Whether [`Session::ban`] had
    /// imposed it.
    pub async fn unban(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let was_banned = self.blocked().banned.remove(&ip);
        if was_banned {
            self.remember_ban(ip, false);
        }
        self.tell_all(|| ToTorrent::Ban { ip, banned: false }).await;
        if was_banned {
            self.tell_dht().await;
            self.written().await;
        }
        was_banned
    }

    /// The addresses that [`Session::ban`] banned.
    pub fn banned(&self) -> Vec<IpAddr> {
        self.blocked().banned.iter().copied().collect()
    }

    fn remember_ban(&self, ip: IpAddr, banned: bool) {
        if let Some(library) = self.inner.library.get() {
            library.set_banned(ip, banned);
        }
    }

    /// Bans whom earlier sessions did; those that this one banned before it knew are remembered from here on.
    pub(super) async fn restore_bans(&self, known: Vec<IpAddr>) {
        let new: Vec<IpAddr> = {
            let mut blocked = self.blocked();
            for ip in &blocked.banned {
                self.remember_ban(*ip, true);
            }
            let room = MOST_BANS.saturating_sub(blocked.banned.len());
            known.into_iter().take(room).filter(|ip| blocked.banned.insert(*ip)).collect()
        };
        for ip in &new {
            self.tell_all(|| ToTorrent::Ban { ip: *ip, banned: true }).await;
        }
        if !new.is_empty() {
            self.tell_dht().await;
        }
    }

    /// Tells every torrent, and every fetch of metadata.
    async fn tell_all(&self, message: impl Fn() -> ToTorrent) {
        for entry in self.entries() {
            tell(&entry, message()).await;
        }
        for fetch in self.fetches() {
            let _ = fetch.send(message()).await;
        }
    }

    /// Tells the node of the DHT all that is blocked.
    async fn tell_dht(&self) {
        let Some(desk) = &self.inner.dht else { return };
        let (filter, banned) = {
            let blocked = self.blocked();
            (blocked.filter.clone(), blocked.banned.clone())
        };
        let blocks = move |ip: IpAddr| {
            filter.as_ref().is_some_and(|filter| filter.blocks(ip)) || banned.contains(&ip.to_canonical())
        };
        // A node that is gone asks nobody.
        let _ = desk.commands.send(Command::Block(Arc::new(blocks))).await;
    }

    /// Tells a torrent that has just begun what is blocked.
    pub(super) async fn tell_blocked(&self, entry: &Entry) {
        let (filter, banned) = {
            let blocked = self.blocked();
            (blocked.filter.clone(), blocked.banned.clone())
        };
        if let Some(filter) = filter {
            tell(entry, ToTorrent::Filter(filter)).await;
        }
        for ip in banned {
            tell(entry, ToTorrent::Ban { ip, banned: true }).await;
        }
    }

    /// Tells a fetch of metadata that is to begin what is blocked.
    pub(super) fn block(&self, fetch: &mut Fetch) {
        let now = self.inner.clock.now();
        let blocked = self.blocked();
        if let Some(filter) = &blocked.filter {
            fetch.set_filter(now, Arc::clone(filter));
        }
        for ip in &blocked.banned {
            fetch.handle_ban(now, *ip);
        }
    }

    fn blocked(&self) -> MutexGuard<'_, Blocked> {
        self.inner.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tell(entry: &Entry, message: ToTorrent) {
    if let Some(mailbox) = entry.mailbox() {
        // A task that is gone connects to nobody.
        let _ = mailbox.send(message).await;
    }
}
