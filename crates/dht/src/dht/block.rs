//! Addresses that the node has nothing to do with, as its user says.

use super::Dht;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use quelea_time::Time;

/// Whether an address is blocked.
pub type Blocks = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

impl Dht {
    /// From here on the node has nothing to do with the addresses that are blocked: it asks and answers nobody there,
    /// and names neither nodes nor peers there. What it knew of them is forgotten. What was blocked before and is not
    /// any more is free.
    pub fn block(&mut self, now: Time, blocks: Blocks) {
        let is_free = |ip: IpAddr| !blocks(ip);
        for side in self.sides.iter_mut().flatten() {
            side.table.retain(|entry| is_free(entry.address.ip()));
            side.routers.retain(|address| is_free(address.ip()));
            side.named.retain(|address| is_free(address.ip()));
        }
        self.peers.retain(is_free);
        self.transmits.retain(|transmit| is_free(transmit.to.ip()));
        for running in self.walks.values_mut() {
            running.walk.retain(is_free);
        }
        let gone = self.pending.iter().filter(|(_, pending)| !is_free(pending.to.ip()));
        let gone: Vec<[u8; 4]> = gone.map(|(transaction, _)| *transaction).collect();
        self.blocks = Some(blocks);
        for pending in
            gone.iter().filter_map(|transaction| self.pending.remove(transaction)).collect::<Vec<_>>()
        {
            self.not_answered(&pending);
        }
        self.continue_walks(now);
    }

    /// Whether the node has nothing to do with this address.
    pub(super) fn is_blocked(&self, ip: IpAddr) -> bool {
        is_blocked(self.blocks.as_ref(), ip)
    }
}

pub(super) fn is_blocked(blocks: Option<&Blocks>, ip: IpAddr) -> bool {
    blocks.is_some_and(|blocks| blocks(ip))
}
