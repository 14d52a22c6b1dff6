//! A node that has answered us, and a bucket of such.

use crate::Id;
use crate::id::{is_local, network};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use quelea_time::Time;

/// A router lets datagrams to a host behind it pass for some time after that host has sent something; no longer than
/// this, mostly.
pub(super) const HOLE: Duration = Duration::from_secs(180);
/// After this many unanswered queries in a row a node is bad.
pub(super) const FAILURES: u8 = 3;
/// Nodes of one network in a bucket.
pub(super) const PER_NETWORK: usize = 2;

/// A node that has answered us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is called.
    pub id: Id,
    /// Where it is.
    pub address: SocketAddr,
    /// When it last answered.
    pub answered: Time,
    /// When it was last asked by the table's upkeep.
    pub asked: Time,
    /// Queries in a row that it left unanswered.
    pub failures: u8,
    /// Whether it may have its id (BEP 42).
    pub fits: bool,
    /// When a query of it last came.
    pub heard: Option<Time>,
    /// It has answered when it had sent nothing for long, or before it had sent anything: so others reach it as well.
    pub reachable: bool,
}

impl Entry {
    /// Whether it is given up.
    pub(super) fn is_bad(&self) -> bool {
        self.failures >= FAILURES
    }

    /// It answered.
    pub(super) fn answered(&mut self, now: Time) {
        let last = self.heard.map_or(self.answered, |heard| heard.max(self.answered));
        self.reachable |= now.since(last) >= HOLE;
        self.answered = now;
        self.failures = 0;
    }
}

/// The nodes that have a certain number of leading bits in common with our id.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Those that have a place.
    pub(super) nodes: Vec<Entry>,
    /// Nodes that answered while the bucket was full, the latest last.
    pub(super) spare: Vec<Entry>,
    /// When a node of it last answered, or a look-up into it began.
    pub(super) touched: Time,
}

impl Bucket {
    /// Whether another node of this network may come in.
    pub(super) fn has_room_in_network(&self, ip: IpAddr) -> bool {
        let neighbours = self.nodes.iter().filter(|entry| network(entry.address.ip()) == network(ip));
        is_local(ip) || neighbours.count() < PER_NETWORK
    }
}
