//! Keeping connections to their limits: the trees of both directions, and the task that deals out.
//!
//! A connection has a [`Valve`]. While no limit holds for it that costs one load of a flag; else it moves what its
//! balance allows and asks for more when that is used up. The task deals out every 50 ms while anybody asks
//! (`quelea_swarm::limit`), and sleeps while nobody does.

use crate::clock::Clock;
use crate::limits::Limits;
use crate::outbox::Outbox;
use quelea_swarm::limit::{Dealt, NodeId, ROUND, Tree};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// Bytes that a connection asks for at least: what it asks for follows what it used.
const LEAST_WANT: u64 = 16 << 10;
/// Bytes that a connection asks for at most.
const MOST_WANT: u64 = 16 << 20;
/// Payload of a packet, for the bytes around it.
const SEGMENT: u64 = 1_448;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// The limits of a session.
pub(crate) struct Limiter {
    clock: Clock,
    state: Mutex<State>,
    asked: Notify,
    exempt_local: bool,
    count_overhead: bool,
}

struct State {
    /// Up and down; a node has the same name in both.
    trees: [Tree; 2],
    valves: BTreeMap<NodeId, Weak<Valve>>,
}

impl Limiter {
    pub(crate) fn new(clock: Clock, exempt_local: bool, count_overhead: bool) -> Arc<Self> {
        let now = clock.now();
        let trees = [Tree::new(now), Tree::new(now)];
        Arc::new(Self {
            clock,
            state: Mutex::new(State { trees, valves: BTreeMap::new() }),
            asked: Notify::new(),
            exempt_local,
            count_overhead,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node below another one, with limits of its own, as long as it is held.
    pub(crate) fn branch(self: &Arc<Self>, parent: NodeId, limits: Limits) -> Branch {
        let now = self.clock.now();
        let node = self.state().add(now, parent);
        self.set(node, limits);
        Branch { limiter: Arc::clone(self), node }
    }

    fn remove(&self, node: NodeId) {
        let mut state = self.state();
        state.trees.iter_mut().for_each(|tree| tree.remove(node));
        state.valves.remove(&node);
    }

    /// Sets a node's limits, which hold from here on: nobody goes on by what an old one gave, or waits for it.
    pub(crate) fn set(&self, node: NodeId, limits: Limits) {
        let now = self.clock.now();
        let mut state = self.state();
        for (tree, limit) in state.trees.iter_mut().zip([limits.upload, limits.download]) {
            tree.set_limit(now, node, limit.map(std::num::NonZeroU64::get));
        }
        let [up, down] = &state.trees;
        let valves = state.valves.iter().filter_map(|(&id, valve)| Some((id, valve.upgrade()?)));
        for (id, valve) in valves.filter(|(id, _)| up.is_below(*id, node)) {
            valve.up.change(up.is_limited(id));
            valve.down.change(down.is_limited(id));
            valve.outbox.wake();
        }
    }

    /// Whether a limit for downloads holds for a node.
    pub(crate) fn limits_downloads(&self, node: NodeId) -> bool {
        self.state().trees[1].is_limited(node)
    }

    fn valve(self: &Arc<Self>, torrent: NodeId, peer: IpAddr, outbox: Arc<Outbox>) -> Arc<Valve> {
        let free = self.exempt_local && is_local(peer);
        let now = self.clock.now();
        let mut state = self.state();
        let node = (!free).then(|| state.add(now, torrent));
        let limited = |tree: &Tree| node.is_some_and(|node| tree.is_limited(node));
        let header = if peer.is_ipv4() { 40 } else { 60 };
        let valve = Arc::new(Valve {
            node,
            limiter: Arc::clone(self),
            header: if self.count_overhead { header } else { 0 },
            up: Side::new(limited(&state.trees[0])),
            down: Side::new(limited(&state.trees[1])),
            outbox,
        });
        if let Some(node) = node {
            state.valves.insert(node, Arc::downgrade(&valve));
        }
        valve
    }

    fn want(&self, way: Way, node: NodeId, bytes: u64) {
        let mut state = self.state();
        let tree = &mut state.trees[way as usize];
        let first = tree.is_idle();
        tree.want(node, bytes);
        drop(state);
        if first {
            self.asked.notify_one();
        }
    }

    fn deal(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        for way in [Way::Up, Way::Down] {
            for Dealt { node, bytes } in state.trees[way as usize].deal(now) {
                let Some(valve) = state.valves.get(&node).and_then(Weak::upgrade) else { continue };
                let side = valve.side(way);
                side.balance.fetch_add(bytes, Ordering::Relaxed);
                side.asked.store(false, Ordering::Release);
                valve.outbox.wake();
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.state().trees.iter().all(Tree::is_idle)
    }

    /// Deals out as long as the session lives.
    pub(crate) async fn run(limiter: Weak<Self>) {
        while let Some(limiter) = limiter.upgrade() {
            if limiter.is_idle() {
                limiter.asked.notified().await;
            }
            tokio::time::sleep(ROUND).await;
            limiter.deal();
        }
    }
}

impl State {
    fn add(&mut self, now: quelea_time::Time, parent: NodeId) -> NodeId {
        let [up, down] = &mut self.trees;
        let node = up.add(now, parent);
        let same = down.add(now, parent);
        debug_assert_eq!(node, same, "both trees have the same nodes");
        node
    }
}

/// A torrent's place in the trees.
pub(crate) struct Branch {
    limiter: Arc<Limiter>,
    node: NodeId,
}

impl Branch {
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// The valve of one of its connections.
    pub(super) fn valve(&self, peer: IpAddr, outbox: Arc<Outbox>) -> Arc<Valve> {
        self.limiter.valve(self.node, peer, outbox)
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        self.limiter.remove(self.node);
    }
}

/// What a connection may move.
pub(crate) struct Valve {
    /// `None` for one that no limit concerns.
    node: Option<NodeId>,
    limiter: Arc<Limiter>,
    /// Bytes around the payload of a packet that count.
    header: u64,
    up: Side,
    down: Side,
    outbox: Arc<Outbox>,
}

/// One direction of a connection.
struct Side {
    limited: AtomicBool,
    balance: AtomicU64,
    /// Bytes used since it last asked.
    used: AtomicU64,
    asked: AtomicBool,
}

impl Side {
    fn new(limited: bool) -> Self {
        Self {
            limited: AtomicBool::new(limited),
            balance: AtomicU64::new(0),
            used: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        }
    }

    /// A limit above has changed.
    fn change(&self, limited: bool) {
        self.balance.store(0, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
        self.limited.store(limited, Ordering::Release);
    }
}

impl Valve {
    fn side(&self, way: Way) -> &Side {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    /// Bytes that may be moved now.
    pub(super) fn allowance(&self, way: Way) -> usize {
        let side = self.side(way);
        if !side.limited.load(Ordering::Acquire) {
            return usize::MAX;
        }
        let balance = side.balance.load(Ordering::Relaxed);
        // Where headers count, what is left of the balance beside them is for bytes.
        let bytes = if self.header == 0 { balance } else { balance * SEGMENT / (SEGMENT + self.header) };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Bytes were moved.
    pub(super) fn used(&self, way: Way, bytes: usize) {
        let side = self.side(way);
        if !side.limited.load(Ordering::Relaxed) {
            return;
        }
        let bytes = bytes as u64;
        let cost = bytes + if self.header == 0 { 0 } else { bytes.div_ceil(SEGMENT) * self.header };
        side.used.fetch_add(cost, Ordering::Relaxed);
        let less = |balance: u64| Some(balance.saturating_sub(cost));
        let _ = side.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Asks for more, once; the connection is woken when there is some.
    pub(super) fn ask(&self, way: Way) {
        let Some(node) = self.node else { return };
        let side = self.side(way);
        if side.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let used = side.used.swap(0, Ordering::Relaxed);
        self.limiter.want(way, node, (used * 2).clamp(LEAST_WANT, MOST_WANT));
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        if let Some(node) = self.node {
            self.limiter.remove(node);
        }
    }
}

/// Whether an address is in the same network as ours, by its form.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn valve(peer: &str, exempt_local: bool, count_overhead: bool) -> Arc<Valve> {
        let limiter = Limiter::new(Clock::start(), exempt_local, count_overhead);
        let limits = Limits { download: NonZeroU64::new(1_000_000), upload: None };
        let branch = limiter.branch(Tree::ROOT, limits);
        let valve = branch.valve(peer.parse().unwrap(), Arc::default());
        // With the branch the limit would go.
        std::mem::forget(branch);
        valve
    }

    #[test]
    fn headers_count_where_that_is_asked_for() {
        for (peer, count, cost) in
            [("192.0.2.1", false, 0), ("192.0.2.1", true, 40), ("2001:db8::1", true, 60)]
        {
            let valve = valve(peer, false, count);
            let packets = 1_000;
            valve.down.balance.store(packets * (SEGMENT + cost), Ordering::Relaxed);
            assert_eq!(valve.allowance(Way::Down) as u64, packets * SEGMENT, "{peer} {count}");
            valve.used(Way::Down, (packets * SEGMENT) as usize);
            assert_eq!(valve.allowance(Way::Down), 0, "{peer} {count}");
            assert_eq!(valve.allowance(Way::Up), usize::MAX, "nothing limits it");
        }
    }

    #[test]
    fn no_limit_concerns_local_peers_where_they_are_exempt() {
        let local =
            ["10.1.2.3", "192.168.0.9", "172.20.1.1", "169.254.1.1", "127.0.0.1", "fe80::1", "fd00::1"];
        for peer in local {
            assert_eq!(valve(peer, true, false).allowance(Way::Down), usize::MAX, "{peer}");
            assert_eq!(valve(peer, false, false).allowance(Way::Down), 0, "{peer}");
        }
        for peer in ["192.0.2.1", "172.32.0.1", "2001:db8::1"] {
            assert_eq!(valve(peer, true, false).allowance(Way::Down), 0, "{peer}");
        }
    }
}
